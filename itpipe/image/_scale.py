"""Scaling: images with other values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._arguments import Array, Call, Floats, Ints, as_image

__all__ = ['min_max_scale', 'normalize']


def min_max_scale(image: Array, axis: Ints | None = None) -> Array:
    """The image, shifted and scaled so that its smallest value is 0 and its largest is 1.

    With `axis`, each index along these axes is scaled by itself: `axis=0` scales each channel of a channels-first
    image. If all values are the same, the result is 0. A NaN makes all of them NaN. Floats keep their dtype, integers
    and bools become float64.

    Raises TypeError for images that are not of real numbers, ValueError for an image without pixels or an unknown axis.

    >>> min_max_scale(np.array([[1, 3], [10, 30]]))
    array([[0.        , 0.06896552],
           [0.31034483, 1.        ]])
    >>> min_max_scale(np.array([[1, 3], [10, 30]]), axis=0)
    array([[0., 1.],
           [0., 1.]])

    See also: `normalize`, for the mean and the standard deviation.
    """
    image, others = _real('min_max_scale', image, axis)
    kind = image.dtype
    low, high = image.min(others, keepdims=True), image.max(others, keepdims=True)
    # uint64 is exact for all integers: a difference of two int8 may be too large for int8, an int64 for float64
    wide = np.dtype(np.uint64 if kind.kind in 'biu' else np.float32 if kind == np.float16 else kind)
    image, low, high = image.astype(wide, copy=False), low.astype(wide), high.astype(wide)
    spread = high - low
    scaled = np.asarray((image - low) / np.where(spread == 0, wide.type(1), spread))
    return scaled.astype(kind, copy=False) if kind.kind == 'f' else scaled


def normalize(
    image: Array,
    mean: bool = True,
    std: bool = True,
    percentiles: Floats | None = None,
    axis: Ints | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """The image, shifted to mean 0 and scaled to standard deviation 1, or one of the two.

    `percentiles` is a pair `(low, high)`, or `low` for `(low, 100 - low)`. Mean and deviation are then estimated from
    the values between them; the values outside stay in the image. With `axis`, each index along these axes is
    normalized by itself: `axis=0` normalizes each channel of a channels-first image. If all values (between the
    percentiles) are the same, the image is only shifted. Floats keep their dtype, integers and bools become float64,
    unless `dtype` is given.

    Raises TypeError for images that are not of real numbers and for percentiles that are not numbers. Raises ValueError
    for an image without pixels, for an unknown axis, and for percentiles that are not in order between 0 and 100 or
    leave no values to estimate from.

    >>> normalize(np.array([1, 2, 3, 2]))
    array([-1.41421356,  0.        ,  1.41421356,  0.        ])
    >>> normalize(np.array([0., 1., 2., 3., 1000.]), std=False, percentiles=25)
    array([ -2.,  -1.,   0.,   1., 998.])

    See also: `min_max_scale`, for the smallest and the largest value.
    """
    image, others = _real('normalize', image, axis)
    kind = image.dtype if image.dtype.kind == 'f' else np.dtype(np.float64)
    values = image.astype(np.float32 if kind == np.float16 else kind, copy=False)
    kept: Any = True
    if percentiles is not None:
        low, high = np.percentile(values, _percentiles(percentiles), others, keepdims=True)
        kept = ~((values < low) | (values > high))
        if not kept.any(others).all():
            raise ValueError(f'normalize: `percentiles` must leave values to estimate from, got {percentiles!r}')
    # By rounding errors, the mean of equal values may differ from that value, and their deviation from 0.
    least = values.min(others, keepdims=True, initial=np.inf, where=kept)
    same = least == values.max(others, keepdims=True, initial=-np.inf, where=kept)
    center = np.where(same, least, values.mean(others, keepdims=True, where=kept))
    scale = np.where(same, values.dtype.type(1), values.std(others, keepdims=True, where=kept)) if std else None
    result = values - center if mean else values.copy()
    result = np.asarray(result if scale is None else result / scale)
    return result.astype(kind if dtype is None else dtype, copy=False)


def _real(where: str, image: Array, axis: Ints | None) -> tuple[Array, tuple[int, ...]]:
    """The image as a C-contiguous array of real numbers, and the axes that are not chosen."""
    image = np.asarray(as_image(where, image), order='C')
    if image.dtype.kind not in 'biuf':
        raise TypeError(f'{where}: `image` must be of real numbers, got dtype {image.dtype}')
    chosen = [] if axis is None else Call(where, image, axis, 'axis', axis).axes
    if not image.size:
        raise ValueError(f'{where}: `image` must have a pixel, got shape {image.shape}')
    return image, tuple(k for k in range(image.ndim) if k not in chosen)


def _percentiles(percentiles: Any) -> tuple[float, float]:
    array = np.asarray(percentiles)
    if array.dtype.kind not in 'iuf' or array.size not in (1, 2):
        raise TypeError(f'normalize: `percentiles` must be a number or two, got {percentiles!r}')
    low, high = array.ravel().tolist() if array.size == 2 else (array.item(), 100 - array.item())
    if not 0 <= low <= high <= 100:
        raise ValueError(f'normalize: `percentiles` must be in order between 0 and 100, got {percentiles!r}')
    return low, high
