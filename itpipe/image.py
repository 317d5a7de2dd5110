"""Zoom, pad, crop and scale: plain functions of one array, for pipelines such as `images | map_at(0, zoom, [2, 2])`.

All take arrays of any number of dimensions, or nested lists of numbers, choose axes in the same way, leave their input
as it is and return a new C-contiguous array, never a view: it can be written to, and does not keep the original alive.
It has the dtype of the input, but for `normalize` and `min_max_scale`, whose results are floats.

With `axis=None`, one number stands for every axis and a sequence for the last `len(sequence)` axes, so that
`scale_factor=[2, 2]` zooms the rows and columns of a channels-first image. `axis` names the axes instead: an int or
ints, counted from the end where negative, such as `axis=(0, 1)` for channels last; a single value, bare or in a
sequence, then serves all of them.

A box is an array of shape (2, number of axes): where it starts on each axis, and where it ends, as in a slice.

The names and conventions come from deep-pipe. `num_threads` and `backend` are taken for code that was written for it,
and have no effect: `parallel_map(…, threads=N)` has N images worked on at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ._core.checks import integer

__all__ = [
    'crop_to_box', 'crop_to_shape', 'get_centered_box', 'mask2bounding_box', 'min_max_scale', 'normalize', 'pad',
    'pad_to_divisible', 'pad_to_shape', 'proportional_zoom_to_shape', 'restore_crop', 'zoom', 'zoom_to_shape',
]  # fmt: skip

T = TypeVar('T', bound=np.generic)
Array: TypeAlias = npt.NDArray[Any]
Ints: TypeAlias = SupportsIndex | Sequence[SupportsIndex] | npt.NDArray[np.integer[Any]]
Floats: TypeAlias = SupportsFloat | Sequence[SupportsFloat] | Array
Padding: TypeAlias = npt.ArrayLike | Callable[[Array], npt.ArrayLike]


def zoom(
    image: npt.NDArray[T],
    scale_factor: Floats,
    axis: Ints | None = None,
    order: int = 1,
    fill_value: object = 0,  # noqa: ARG001
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """The image with `scale_factor` times as many pixels along each chosen axis, interpolated by splines of `order`.

    An axis of `n` pixels gets `round(n * scale_factor)`, halves to even; its first and last pixel stay in place. Axes
    that keep their length are not interpolated, nothing leaks from channel to channel; where all of them do, the
    result is a copy. Empty axes stay empty.

    `order` is 0 (nearest pixel: any dtype, values copied exactly, right for label masks), 1 (linear) or up to 5.
    Above 0 the work is done by `scipy.ndimage.zoom`, in float64, and returned in the image's dtype: integers are
    rounded to nearest (halves away from zero) and clipped to their range; bools are True where the interpolated mask
    is at least 0.5; float16 goes through float32. A NaN spreads to its neighbours, above order 1 along whole lines.
    scipy works outside of the GIL: `parallel_map(…, threads=N)` zooms on N cores.

    Values differ from those of a bare `scipy.ndimage.zoom` in two places: there, rounding errors replace the last row
    or column by zeros at about 3 % of all sizes, and interpolated bools have holes. `fill_value` is accepted for code
    written for deep-pipe: no pixel is ever taken from outside of the image, so it has no effect.

    Raises ValueError for a scale factor that is not positive or leaves an axis without pixels, an unknown order or
    axis; TypeError for arguments that are no numbers and, above order 0, for images that are not of real or complex
    numbers (or wider than float64 and complex128).

    >>> zoom(np.array([[0., 2.], [4., 6.]]), 1.5)
    array([[0., 1., 2.],
           [2., 3., 4.],
           [4., 5., 6.]])
    >>> zoom(np.zeros((3, 32, 32)), [2, 2]).shape, zoom(np.zeros((32, 32, 3)), 2, axis=(0, 1)).shape
    ((3, 64, 64), (64, 64, 3))
    >>> zoom(np.array([False, True]), 2, order=0)
    array([False, False,  True,  True])

    See also: `zoom_to_shape` for a wanted shape; `pad_to_shape` and `crop_to_shape` to get there without interpolation.
    """
    image = _array('zoom', image)
    axes = _axes('zoom', image, axis, 'scale_factor', scale_factor)
    factors = _per_axis('zoom', 'scale_factor', scale_factor, axes, [1] * image.ndim, 'iuf')
    if not all(factor > 0 for factor in factors):
        raise ValueError(f'zoom: `scale_factor` must be positive, got {scale_factor!r}')
    if not all(map(math.isfinite, factors)):
        raise ValueError(f'zoom: `scale_factor` must be finite, got {scale_factor!r}')
    lengths = [round(before * factor) for before, factor in zip(image.shape, factors, strict=True)]
    rule = f'`scale_factor` must leave at least one pixel on every axis, got {scale_factor!r}'
    _compare('zoom', image, lengths, lambda before, after: not before or after > 0, rule, 'would get')
    return _resample('zoom', image, lengths, order)


def zoom_to_shape(
    image: npt.NDArray[T],
    shape: Ints,
    axis: Ints | None = None,
    order: int = 1,
    fill_value: object = 0,  # noqa: ARG001
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """The image interpolated to exactly `shape` along each chosen axis.

    As `zoom` in everything else: orders, dtypes, `fill_value`, TypeErrors. An axis that has the wanted length is left
    as it is. Raises ValueError for a length of 0, unless the axis is empty already; an empty axis can only stay so.

    >>> zoom_to_shape(np.array([0, 10, 20]), 5)
    array([ 0,  5, 10, 15, 20])
    >>> zoom_to_shape(np.zeros((3, 20, 30)), (64, 64)).shape
    (3, 64, 64)

    See also: `zoom` for a factor instead of a shape; `pad_to_shape`, `crop_to_shape`.
    """
    image = _array('zoom_to_shape', image)
    axes = _axes('zoom_to_shape', image, axis, 'shape', shape)
    lengths = _per_axis('zoom_to_shape', 'shape', shape, axes, image.shape)
    rule = "`shape` must be at least 1, and 0 on the image's empty axes"
    _compare('zoom_to_shape', image, lengths, lambda before, after: after > 0 if before else after == 0, rule)
    return _resample('zoom_to_shape', image, lengths, order)


def pad_to_shape(
    image: npt.NDArray[T],
    shape: Ints,
    axis: Ints | None = None,
    padding_values: Padding = 0,
    ratio: Floats = 0.5,
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """The image with `padding_values` around it, so that it has `shape` along each chosen axis.

    `ratio` (from 0 to 1; one number, or one per chosen axis) is the share of the padding that goes before the image,
    rounded down to whole pixels; the rest goes after it. Where there is nothing to pad, the result is a copy.

    `padding_values` is a number, an array that broadcasts to the result (a value per channel, say), or a function
    of the image that returns either, such as `numpy.min`. It takes the image's dtype: fractions are cut off for
    integer images, and what the dtype cannot hold, such as -1 or NaN for uint8, is refused with a ValueError.

    Other ValueErrors: a `shape` smaller than the image's, a `ratio` outside of its range, an unknown axis. TypeError
    for arguments that are no numbers.

    >>> pad_to_shape(np.array([5, 6, 7]), 6)
    array([0, 5, 6, 7, 0, 0])
    >>> pad_to_shape(np.array([[1, 2], [3, 4]]), 3, axis=1, padding_values=np.min, ratio=1)
    array([[1, 1, 2],
           [1, 3, 4]])

    See also: `crop_to_shape`, which undoes it with the same ratio; `itpipe.combine_pad` for the items of a batch.
    """
    image = _array('pad_to_shape', image)
    axes = _axes('pad_to_shape', image, axis, 'shape', shape)
    lengths = _per_axis('pad_to_shape', 'shape', shape, axes, image.shape)
    rule = "`shape` must be at least the image's shape on every axis"
    _compare('pad_to_shape', image, lengths, lambda before, after: after >= before, rule)
    inner = _inner('pad_to_shape', image.shape, lengths, ratio, axes)
    return _padded('pad_to_shape', image, lengths, inner, padding_values)


def pad(
    image: npt.NDArray[T],
    padding: Ints | Sequence[Sequence[SupportsIndex]],
    axis: Ints | None = None,
    padding_values: Padding = 0,
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """The image with `padding` pixels before and behind it along each chosen axis.

    `padding` is an int; an int for each axis; or a pair `(before, behind)` for each axis, where one alone serves all
    that `axis` names. `padding_values` are those of `pad_to_shape`.

    Raises ValueError for a negative `padding`, an unknown axis, values that the dtype cannot hold; TypeError for
    arguments that are no ints.

    >>> pad(np.array([5, 6]), [[1, 3]])
    array([0, 5, 6, 0, 0, 0])
    >>> pad(np.zeros((3, 20, 30)), [1, 2]).shape, pad(np.zeros((20, 30, 3)), 2, axis=(0, 1)).shape
    ((3, 22, 34), (24, 34, 3))

    See also: `pad_to_shape` and `pad_to_divisible`, for a wanted shape; `numpy.pad`, for borders that are mirrored.
    """
    image = _array('pad', image)
    given = _ints('pad', 'padding', padding, 'an int, ints, or pairs of ints')
    if given.ndim > 2 or (given.ndim == 2 and given.shape[1] != 2):
        raise TypeError(f'pad: `padding` must be an int, ints, or pairs of ints, got {padding!r}')
    axes = _axes('pad', image, axis, 'padding', padding)
    if given.ndim and len(given) not in (1, len(axes)):
        raise ValueError(f'pad: `padding` must be one value or one per chosen axis ({len(axes)}), got {padding!r}')
    if (given < 0).any():
        raise ValueError(f'pad: `padding` must not be negative, got {padding!r}')
    before, behind = given.T if given.ndim == 2 else (given, given)
    starts, ends = (_per_axis('pad', 'padding', side, axes, [0] * image.ndim) for side in (before, behind))
    lengths = [start + n + end for start, n, end in zip(starts, image.shape, ends, strict=True)]
    return _padded('pad', image, lengths, _part(starts, image.shape), padding_values)


def pad_to_divisible(
    image: npt.NDArray[T],
    divisor: Ints,
    axis: Ints | None = None,
    padding_values: Padding = 0,
    ratio: Floats = 0.5,
    remainder: Ints = 0,
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """The image, padded as little as makes each chosen axis a multiple of `divisor`, plus `remainder`.

    For networks that halve the image several times. An axis shorter than its `remainder` gets that length.
    `padding_values` and `ratio` are those of `pad_to_shape`.

    Raises ValueError for a `divisor` below 1, a negative `remainder` and what `pad_to_shape` refuses; TypeError for
    arguments that are no ints.

    >>> pad_to_divisible(np.zeros((3, 20, 30)), [16, 16]).shape
    (3, 32, 32)
    >>> pad_to_divisible(np.array([5, 6, 7]), 4, remainder=1, ratio=0)
    array([5, 6, 7, 0, 0])

    See also: `pad_to_shape`; `itpipe.combine_pad`, whose `multiple_of` does it for a batch.
    """
    image = _array('pad_to_divisible', image)
    axes = _axes('pad_to_divisible', image, axis, 'divisor', divisor)
    divisors = _per_axis('pad_to_divisible', 'divisor', divisor, axes, [1] * image.ndim)
    remainders = _per_axis('pad_to_divisible', 'remainder', remainder, axes, [0] * image.ndim)
    if min(divisors, default=1) < 1:
        raise ValueError(f'pad_to_divisible: `divisor` must be at least 1, got {divisor!r}')
    if min(remainders, default=0) < 0:
        raise ValueError(f'pad_to_divisible: `remainder` must be at least 0, got {remainder!r}')
    least = map(max, image.shape, remainders)
    lengths = [n + (rest - n) % by for n, rest, by in zip(least, remainders, divisors, strict=True)]
    inner = _inner('pad_to_divisible', image.shape, lengths, ratio, axes)
    return _padded('pad_to_divisible', image, lengths, inner, padding_values)


def proportional_zoom_to_shape(
    image: npt.NDArray[T], shape: Ints, axis: Ints | None = None, padding_values: Padding = 0, order: int = 1
) -> npt.NDArray[T]:
    """The image, zoomed by one factor until it just fits `shape` along the chosen axes, and padded to that.

    A thin axis keeps at least one pixel. `order` is that of `zoom`; `padding_values` are those of `pad_to_shape`, a
    function is called with the zoomed image. The image is in the middle.

    Raises ValueError for a length of 0 and what `zoom` and `pad_to_shape` refuse; TypeError as they do.

    >>> proportional_zoom_to_shape(np.ones((2, 4)), (4, 4), padding_values=-1)
    array([[-1., -1., -1., -1.],
           [ 1.,  1.,  1.,  1.],
           [ 1.,  1.,  1.,  1.],
           [-1., -1., -1., -1.]])

    See also: `zoom_to_shape`, which distorts instead; `pad_to_shape`.
    """
    where = 'proportional_zoom_to_shape'
    image = _array(where, image)
    axes = _axes(where, image, axis, 'shape', shape)
    lengths = _per_axis(where, 'shape', shape, axes, image.shape)
    rule = "`shape` must be at least 1, and at least 0 on the image's empty axes"
    _compare(where, image, lengths, lambda before, after: after > 0 if before else after >= 0, rule)
    factor = min((lengths[k] / image.shape[k] for k in axes if image.shape[k]), default=1)
    inside = list(image.shape)
    for k in axes:
        inside[k] = min(max(round(image.shape[k] * factor), 1), lengths[k]) if image.shape[k] else 0
    zoomed = _resample(where, image, inside, order)
    return _padded(where, zoomed, lengths, _inner(where, inside, lengths, 0.5, axes), padding_values)


def crop_to_shape(image: npt.NDArray[T], shape: Ints, axis: Ints | None = None, ratio: Floats = 0.5) -> npt.NDArray[T]:
    """The part of the image that has `shape` along each chosen axis, by default from its middle.

    `ratio` (from 0 to 1; one number, or one per chosen axis) is the share of what is cut off that lies before the
    part, rounded down to whole pixels; the rest lies after it. A length of 0 gives an empty array.

    Raises ValueError for a `shape` larger than the image's or negative, a `ratio` outside of its range, an unknown
    axis; TypeError for arguments that are no numbers.

    >>> crop_to_shape(np.arange(6), 3)
    array([1, 2, 3])
    >>> crop_to_shape(np.zeros((3, 40, 50)), (32, 32), ratio=[0, 1]).shape
    (3, 32, 32)

    See also: `pad_to_shape`, the other way; `zoom_to_shape`, which keeps the whole picture.
    """
    image = _array('crop_to_shape', image)
    axes = _axes('crop_to_shape', image, axis, 'shape', shape)
    lengths = _per_axis('crop_to_shape', 'shape', shape, axes, image.shape)
    rule = "`shape` must be at least 0 and at most the image's shape on every axis"
    _compare('crop_to_shape', image, lengths, lambda before, after: 0 <= after <= before, rule)
    part: npt.NDArray[T] = image[_inner('crop_to_shape', lengths, image.shape, ratio, axes)]
    return part.copy()


def crop_to_box(
    image: npt.NDArray[T],
    box: npt.ArrayLike,
    axis: Ints | None = None,
    padding_values: Padding | None = None,
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """The part of the image within `box`: of shape `box[1] - box[0]` along each chosen axis.

    The box may reach beyond the image where `padding_values` are given. They are those of `pad_to_shape`; a function is
    called with the part of the image within the box.

    Raises ValueError for a box that ends before it starts, or reaches beyond the image without `padding_values`, an
    unknown axis, values that the dtype cannot hold; TypeError for arguments that are no ints.

    >>> crop_to_box(np.arange(6), [[2], [5]])
    array([2, 3, 4])
    >>> crop_to_box(np.arange(6), [[-2], [3]], padding_values=9)
    array([9, 9, 0, 1, 2])
    >>> crop_to_box(np.zeros((20, 30, 3)), [[5, 0], [15, 30]], axis=(0, 1)).shape
    (10, 30, 3)

    See also: `mask2bounding_box` and `get_centered_box`, for boxes; `restore_crop`, which undoes it; `crop_to_shape`.
    """
    image = _array('crop_to_box', image)
    first, last = _box('crop_to_box', box)
    axes = _axes('crop_to_box', image, axis, 'box', first)
    starts = _per_axis('crop_to_box', 'box', first, axes, [0] * image.ndim)
    ends = _per_axis('crop_to_box', 'box', last, axes, image.shape)
    if padding_values is None:
        for k, (start, n, end) in enumerate(zip(starts, image.shape, ends, strict=True)):
            if start < 0 or end > n:
                rule = '`box` must lie within the image where no `padding_values` are given'
                raise ValueError(f'crop_to_box: {rule}; axis {k} has {n}, asked {start} to {end}')
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    low = [min(max(start, 0), n) for start, n in zip(starts, image.shape, strict=True)]
    high = [min(max(end, 0), n) for end, n in zip(ends, image.shape, strict=True)]
    part: npt.NDArray[T] = image[_part(low, [end - start for start, end in zip(low, high, strict=True)])]
    if padding_values is None:
        return part.copy()
    # what lies wholly beyond the image has nothing of it, and no place for that
    before = [min(max(k - start, 0), n) for k, start, n in zip(low, starts, lengths, strict=True)]
    return _padded('crop_to_box', part, lengths, _part(before, part.shape), padding_values)


def restore_crop(
    image: npt.NDArray[T],
    box: npt.ArrayLike,
    shape: Ints,
    padding_values: Padding = 0,
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """An image of the given `shape` that has this one within `box`, and `padding_values` around it.

    `box` and `shape` are of all axes. `padding_values` are those of `pad_to_shape`.

    Raises ValueError for a box that has not the image's shape or reaches beyond `shape`, values that the dtype cannot
    hold; TypeError for arguments that are no ints.

    >>> box = [[2], [5]]
    >>> restore_crop(crop_to_box(np.arange(6), box), box, [6])
    array([0, 0, 2, 3, 4, 0])

    See also: `crop_to_box`.
    """
    image = _array('restore_crop', image)
    axes = list(range(image.ndim))
    first, last = _box('restore_crop', box)
    starts = _per_axis('restore_crop', 'box', first, axes, axes)
    ends = _per_axis('restore_crop', 'box', last, axes, axes)
    lengths = _per_axis('restore_crop', 'shape', shape, axes, axes)
    sizes = [end - start for start, end in zip(starts, ends, strict=True)]
    _compare('restore_crop', image, sizes, int.__eq__, "`box` must have the image's shape")
    for k, (start, end, n) in enumerate(zip(starts, ends, lengths, strict=True)):
        if start < 0 or end > n:
            raise ValueError(f'restore_crop: `box` must lie within `shape`; axis {k} has {n}, asked {start} to {end}')
    return _padded('restore_crop', image, lengths, _part(starts, image.shape), padding_values)


def get_centered_box(center: npt.ArrayLike, box_size: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The box of `box_size` pixels with `center` in its middle: an int array of shape (2, number of axes).

    Of an even number of pixels one more lies before the center. `center` or `box_size` may be one int for all axes. The
    box may reach beyond an image.

    Raises TypeError for arguments that are no ints, ValueError for a negative `box_size`.

    >>> get_centered_box([10, 20], [5, 4])
    array([[ 8, 18],
           [13, 22]])

    See also: `crop_to_box`.
    """
    rule = 'an int or a sequence of ints'
    middle = np.atleast_1d(_ints('get_centered_box', 'center', center, rule, 1))
    size = np.atleast_1d(_ints('get_centered_box', 'box_size', box_size, rule, 1))
    if (size < 0).any():
        raise ValueError(f'get_centered_box: `box_size` must be at least 0, got {box_size!r}')
    if len(middle) != len(size) and 1 not in (len(middle), len(size)):
        rule = f'one value or one per axis of `center` ({len(middle)})'
        raise ValueError(f'get_centered_box: `box_size` must be {rule}, got {box_size!r}')
    start = middle - size // 2
    return np.stack([start, start + size])


def mask2bounding_box(mask: Array) -> npt.NDArray[np.intp]:
    """The smallest box that has all true pixels of the mask: an int array of shape (2, number of axes).

    Of numbers, those that are not 0 are true.

    Raises ValueError for a mask without a true pixel, TypeError for what is no array of numbers or bools.

    >>> mask2bounding_box(np.array([[0, 0, 0, 0], [0, 1, 0, 1]]))
    array([[1, 1],
           [2, 4]])

    See also: `crop_to_box`.
    """
    mask = _array('mask2bounding_box', mask, 'mask')
    if mask.dtype.kind not in 'biufc':
        raise TypeError(f'mask2bounding_box: `mask` must be of bools or numbers, got dtype {mask.dtype}')
    if not mask.any():
        raise ValueError(f'mask2bounding_box: `mask` must have a true pixel, got none in shape {mask.shape}')
    box = np.empty((2, mask.ndim), np.intp)
    for k in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != k)))
        box[:, k] = filled[0], filled[-1] + 1
    return box


def min_max_scale(image: Array, axis: Ints | None = None) -> Array:
    """The image, shifted and scaled so that its smallest value is 0 and its largest is 1.

    With `axis`, each place along these axes by itself: `axis=0` scales each channel of a channels-first image. Where
    all values are the same, the result is 0; a NaN makes all of them NaN. Floats keep their dtype, integers and bools
    become float64.

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
    # exact for all integers: the difference of two int8 need not be one, and float64 has not all int64
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

    `percentiles`, a pair `(low, high)` or `low` for `(low, 100 - low)`, leaves what lies outside of them out of the
    estimate, but in the image. With `axis`, each place along these axes by itself: `axis=0` normalizes each channel of
    a channels-first image. Where all values (between the percentiles) are the same, the image is only shifted. Floats
    keep their dtype, integers and bools become float64, if no `dtype` is given.

    Raises TypeError for images that are not of real numbers or percentiles that are no numbers; ValueError for an image
    without pixels, an unknown axis, percentiles that are not in order between 0 and 100 or leave nothing to estimate
    from.

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
    # The mean of equal values need not be quite that value, and their deviation not quite 0.
    least = values.min(others, keepdims=True, initial=np.inf, where=kept)
    same = least == values.max(others, keepdims=True, initial=-np.inf, where=kept)
    center = np.where(same, least, values.mean(others, keepdims=True, where=kept))
    scale = np.where(same, values.dtype.type(1), values.std(others, keepdims=True, where=kept)) if std else None
    result = values - center if mean else values.copy()
    result = np.asarray(result if scale is None else result / scale)
    return result.astype(kind if dtype is None else dtype, copy=False)


def _array(where: str, image: npt.NDArray[T], name: str = 'image') -> npt.NDArray[T]:
    given = image
    if isinstance(image, (list, tuple)):
        given = _from_lists(image)
    if not hasattr(given, '__array__'):
        raise TypeError(f'{where}: `{name}` must be a numpy array, got {type(image).__name__}')
    return np.asarray(given)


def _from_lists(image: list[Any] | tuple[Any, ...]) -> Any:
    """An array of numbers, or None: then it is a whole item that someone forgot to take apart with `map_at`."""
    if isinstance(image, tuple) and any(getattr(element, 'ndim', 0) for element in image):
        return None
    try:
        made = np.asarray(image)
    except (TypeError, ValueError):  # of different lengths
        return None
    return made if made.dtype.kind in 'biufc' else None


def _ints(where: str, name: str, value: Any, rule: str, most: int = 2) -> Array:
    try:
        given = np.asarray(value)
    except ValueError:  # of different lengths
        raise TypeError(f'{where}: `{name}` must be {rule}, got {value!r}') from None
    if given.ndim > most or (given.size and given.dtype.kind not in 'iu'):
        raise TypeError(f'{where}: `{name}` must be {rule}, got {value!r}')
    return given.astype(np.intp)


def _box(where: str, box: Any) -> Array:
    rule = 'an array of ints, of shape (2, number of axes)'
    given = _ints(where, 'box', box, rule)
    if given.ndim == 0 or len(given) != 2:
        raise ValueError(f'{where}: `box` must be {rule}, got {box!r}')
    if (given[0] > given[1]).any():
        raise ValueError(f'{where}: `box` must not end before it starts, got {box!r}')
    return given


def _real(where: str, image: Array, axis: Ints | None) -> tuple[Array, tuple[int, ...]]:
    """The image as a C-contiguous array of real numbers, and the axes that are not chosen."""
    image = np.asarray(_array(where, image), order='C')
    if image.dtype.kind not in 'biuf':
        raise TypeError(f'{where}: `image` must be of real numbers, got dtype {image.dtype}')
    chosen = [] if axis is None else _axes(where, image, axis, 'axis', axis)
    if not image.size:
        raise ValueError(f'{where}: `image` must have a pixel, got shape {image.shape}')
    return image, tuple(k for k in range(image.ndim) if k not in chosen)


def _percentiles(percentiles: Any) -> tuple[float, float]:
    given = np.asarray(percentiles)
    if given.dtype.kind not in 'iuf' or given.size not in (1, 2):
        raise TypeError(f'normalize: `percentiles` must be a number or two, got {percentiles!r}')
    low, high = given.ravel().tolist() if given.size == 2 else (given.item(), 100 - given.item())
    if not 0 <= low <= high <= 100:
        raise ValueError(f'normalize: `percentiles` must be in order between 0 and 100, got {percentiles!r}')
    return low, high


def _axes(where: str, image: Array, axis: object, parameter: str, value: Any) -> list[int]:
    """The axes named by `axis` or, where it is None, meant by the `value` of the leading parameter."""
    if axis is None:
        count = len(value) if np.ndim(value) else image.ndim
        if count > image.ndim:
            rule = f'at most one value per axis of the image ({image.ndim})'
            raise ValueError(f'{where}: `{parameter}` must have {rule}, got {value!r}')
        return list(range(image.ndim - count, image.ndim))
    given = np.asarray(axis)
    if given.ndim > 1 or (given.size and given.dtype.kind not in 'iu'):
        raise TypeError(f'{where}: `axis` must be an int or a sequence of ints, got {axis!r}')
    axes = [int(k) for k in given.ravel()]
    if not all(-image.ndim <= k < image.ndim for k in axes):
        raise ValueError(f"{where}: `axis` must be among the image's {image.ndim} axes, got {axis!r}")
    axes = [k % image.ndim for k in axes]
    if len(set(axes)) < len(axes):
        raise ValueError(f'{where}: `axis` must name each axis once, got {axis!r}')
    return axes


def _per_axis(
    where: str, parameter: str, value: Any, axes: list[int], default: Sequence[int], kinds: str = 'iu'
) -> list[Any]:
    """For every axis of the image a number: `value`, broadcast, on the chosen `axes`, `default` on the others."""
    given = np.asarray(value)
    if given.ndim > 1 or (given.size and given.dtype.kind not in kinds):
        rule = 'a number or a sequence of numbers' if 'f' in kinds else 'an int or a sequence of ints'
        raise TypeError(f'{where}: `{parameter}` must be {rule}, got {value!r}')
    if given.size not in (1, len(axes)):
        rule = f'one value or one per chosen axis ({len(axes)})'
        raise ValueError(f'{where}: `{parameter}` must be {rule}, got {value!r}')
    full: list[Any] = list(default)
    for k, each in zip(axes, np.broadcast_to(given, len(axes)).tolist(), strict=True):
        full[k] = each
    return full


def _compare(
    where: str, image: Array, lengths: list[int], allowed: Callable[[int, int], bool], rule: str, verb: str = 'asked'
) -> None:
    for k, (before, after) in enumerate(zip(image.shape, lengths, strict=True)):
        if not allowed(before, after):
            raise ValueError(f'{where}: {rule}; axis {k} has {before}, {verb} {after}')


def _inner(
    where: str, small: Sequence[int], large: Sequence[int], ratio: object, axes: list[int]
) -> tuple[EllipsisType | slice, ...]:
    """Where an array of shape `small` lies in one of shape `large`."""
    ratios = _per_axis(where, 'ratio', ratio, axes, [0] * len(small), 'iuf')
    if not all(0 <= share <= 1 for share in ratios):
        raise ValueError(f'{where}: `ratio` must be between 0 and 1, got {ratio!r}')
    return _part([math.floor((b - a) * share) for a, b, share in zip(small, large, ratios, strict=True)], small)


def _part(starts: Sequence[int], lengths: Sequence[int]) -> tuple[EllipsisType | slice, ...]:
    return (..., *(slice(start, start + n) for start, n in zip(starts, lengths, strict=True)))


def _padded(
    where: str,
    image: npt.NDArray[T],
    lengths: Sequence[int],
    inner: tuple[EllipsisType | slice, ...],
    padding_values: Padding,
) -> npt.NDArray[T]:
    values = _padding(where, image, padding_values)
    result = np.empty(lengths, image.dtype)
    try:
        result[...] = values
    except ValueError:
        rule = f"must broadcast to the result's shape {result.shape}"
        raise ValueError(f'{where}: `padding_values` {rule}, got shape {values.shape}') from None
    result[inner] = image
    return result


def _padding(where: str, image: Array, values: Any) -> Array:
    """The padding values as an array of the image's dtype."""
    if callable(values):
        values = values(image)
    given, kind = np.asarray(values), image.dtype.kind
    if kind not in 'biufc':
        return given.astype(image.dtype)
    if given.dtype.kind not in 'biufc':
        rule = 'a number, an array of numbers or a function of the image that returns them'
        raise TypeError(f'{where}: `padding_values` must be {rule}, got {type(values).__name__}')
    real = given if kind == 'c' else given.real
    with np.errstate(all='ignore'):
        cast = real.astype(image.dtype)
    if kind in 'fc':
        fits = np.array_equal(np.isfinite(cast), np.isfinite(real))
    else:
        fits = np.array_equal(cast, np.trunc(real) if real.dtype.kind == 'f' else real)
    if not fits or (kind != 'c' and given.imag.any()):
        raise ValueError(f"{where}: `padding_values` must fit the image's dtype {image.dtype}, got {values!r}")
    return cast


def _resample(where: str, image: npt.NDArray[T], shape: Sequence[int], order: int) -> npt.NDArray[T]:
    if not 0 <= integer(where, 'order', order) <= 5:
        raise ValueError(f'{where}: `order` must be between 0 and 5, got {order}')
    if order and image.dtype.char not in '?bBhHiIlLqQefdFD':
        raise TypeError(f'{where}: `image` must be of numbers that scipy can interpolate, got dtype {image.dtype}')
    changed = [k for k in range(image.ndim) if image.shape[k] != shape[k]]
    if not changed:
        return image.copy()
    if order == 0 or image.size == 0:
        for k in changed:
            image = image.take(_nearest(image.shape[k], shape[k]), axis=k)
        return image

    from scipy import ndimage

    source: Array = image.astype({'?': 'B', 'e': 'f'}.get(image.dtype.char, image.dtype), copy=False)
    result: Array = np.empty(shape, source.dtype)
    # Planes are zoomed one by one, so that scipy, which reads `order + 1` pixels along each axis for each result, does
    # not do so along the axes that stay. A call costs as much as a thousand pixels: smaller planes go all at once,
    # unless there is something (0 * nan) that even a weight of 0 would carry from plane to plane.
    if math.prod(shape[k] for k in changed) < 1000 and np.isfinite(source).all():
        changed = list(range(image.ndim))
    factors = [shape[k] / image.shape[k] for k in changed]
    last = range(-len(changed), 0)
    planes, results = np.moveaxis(source, changed, last), np.moveaxis(result, changed, last)
    for index in np.ndindex(planes.shape[: image.ndim - len(changed)]):
        # "mirror" differs from the default only where rounding puts the last pixel just outside of the image: the
        # default replaces it by a constant.
        ndimage.zoom(planes[index], factors, output=results[index], order=order, mode='mirror')
    return result.astype(image.dtype, copy=False)


def _nearest(before: int, after: int) -> npt.NDArray[np.intp]:
    """For each of `after` pixels the nearest of `before`, by the same floating point steps as in scipy."""
    step = (before - 1) / (after - 1) if after > 1 else 1.0
    nearest: npt.NDArray[np.intp] = np.minimum(np.floor(np.arange(after) * step + 0.5), before - 1).astype(np.intp)
    return nearest
