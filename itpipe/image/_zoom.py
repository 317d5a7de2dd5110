"""Zooming: images of another size, interpolated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from itpipe._core.checks import integer

from ._arguments import Array, Call, Floats, Ints, Padding, T
from ._pad import padded

__all__ = ['proportional_zoom_to_shape', 'zoom', 'zoom_to_shape']


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

    An axis of `n` pixels gets `round(n * scale_factor)` pixels; halves are rounded to even. Its first and last pixel
    stay in place. An axis that keeps its length is not interpolated, so nothing leaks from channel to channel. If all
    axes keep their length, the result is a copy. Empty axes stay empty.

    `order` is 0 (nearest pixel: any dtype, values copied exactly, right for label masks), 1 (linear) or up to 5. Above
    0, `scipy.ndimage.zoom` does the work in float64, and the result has the image's dtype: integers are rounded to
    nearest (halves away from zero) and clipped to their range; bools are True where the interpolated mask is at least
    0.5; float16 goes through float32. A NaN spreads to its neighbours, above order 1 along whole lines. scipy releases
    the GIL: `parallel_map(…, threads=N)` zooms on N cores.

    A bare `scipy.ndimage.zoom` gives other values in two cases: at about 3 % of all sizes, rounding errors replace the
    last row or column by zeros; and interpolated bools have holes. `fill_value` is accepted for code written for
    deep-pipe. It has no effect, because no pixel is taken from outside the image.

    Raises ValueError for a scale factor that is not positive or leaves an axis without pixels, and for an unknown order
    or axis. Raises TypeError for arguments that are not numbers and, above order 0, for images that are not of real or
    complex numbers, or wider than float64 and complex128.

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
    call = Call('zoom', image, axis, 'scale_factor', scale_factor)
    factors = call.per_axis('scale_factor', scale_factor, 1, 'iuf')
    if not all(factor > 0 for factor in factors):
        raise ValueError(f'zoom: `scale_factor` must be positive, got {scale_factor!r}')
    if not all(map(math.isfinite, factors)):
        raise ValueError(f'zoom: `scale_factor` must be finite, got {scale_factor!r}')
    lengths = [round(before * factor) for before, factor in zip(call.image.shape, factors, strict=True)]
    rule = f'`scale_factor` must leave at least one pixel on every axis, got {scale_factor!r}'
    call.check_lengths(lengths, lambda before, after: not before or after > 0, rule, 'would get')
    return _resample('zoom', call.image, lengths, order)


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

    Everything else is as in `zoom`: orders, dtypes, `fill_value`, TypeErrors. An axis that has the wanted length
    already is not interpolated.

    Raises ValueError for a length of 0, unless the axis is empty, and for any other length of an empty axis.

    >>> zoom_to_shape(np.array([0, 10, 20]), 5)
    array([ 0,  5, 10, 15, 20])
    >>> zoom_to_shape(np.zeros((3, 20, 30)), (64, 64)).shape
    (3, 64, 64)

    See also: `zoom` for a factor instead of a shape; `pad_to_shape`, `crop_to_shape`.
    """
    call = Call('zoom_to_shape', image, axis, 'shape', shape)
    lengths = call.per_axis('shape', shape, call.image.shape)
    rule = "`shape` must be at least 1, and 0 on the image's empty axes"
    call.check_lengths(lengths, lambda before, after: after > 0 if before else after == 0, rule)
    return _resample('zoom_to_shape', call.image, lengths, order)


def proportional_zoom_to_shape(
    image: npt.NDArray[T], shape: Ints, axis: Ints | None = None, padding_values: Padding = 0, order: int = 1
) -> npt.NDArray[T]:
    """The image, zoomed by one factor until it just fits `shape` along the chosen axes, and padded to that.

    A thin axis keeps at least one pixel. The image is in the middle. `order` is as in `zoom`, `padding_values` are as
    in `pad_to_shape`; a function is called with the zoomed image.

    Raises ValueError for a length of 0, and ValueError and TypeError as `zoom` and `pad_to_shape` do.

    >>> proportional_zoom_to_shape(np.ones((2, 4)), (4, 4), padding_values=-1)
    array([[-1., -1., -1., -1.],
           [ 1.,  1.,  1.,  1.],
           [ 1.,  1.,  1.,  1.],
           [-1., -1., -1., -1.]])

    See also: `zoom_to_shape`, which distorts instead; `pad_to_shape`.
    """
    call = Call('proportional_zoom_to_shape', image, axis, 'shape', shape)
    before, lengths = call.image.shape, call.per_axis('shape', shape, call.image.shape)
    rule = "`shape` must be at least 1, and at least 0 on the image's empty axes"
    call.check_lengths(lengths, lambda before, after: after > 0 if before else after >= 0, rule)
    factor = min((lengths[k] / before[k] for k in call.axes if before[k]), default=1)
    inside = list(before)
    for k in call.axes:
        inside[k] = min(max(round(before[k] * factor), 1), lengths[k]) if before[k] else 0
    zoomed = _resample(call.where, call.image, inside, order)
    return padded(call.where, zoomed, lengths, call.starts(inside, lengths, 0.5), padding_values)


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
    # For each result, scipy reads `order + 1` pixels along each axis. To spare that along the axes that keep their
    # length, planes are zoomed one by one. But a call costs as much as a thousand pixels, so smaller planes are zoomed
    # all at once, unless a value is not finite: 0 * nan is nan, so it would spread from plane to plane.
    if math.prod(shape[k] for k in changed) < 1000 and np.isfinite(source).all():
        changed = list(range(image.ndim))
    factors = [shape[k] / image.shape[k] for k in changed]
    last = range(-len(changed), 0)
    planes, results = np.moveaxis(source, changed, last), np.moveaxis(result, changed, last)
    for index in np.ndindex(planes.shape[: image.ndim - len(changed)]):
        # 'mirror' differs from the default only where rounding puts the last pixel just outside the image. There, the
        # default fills in a constant.
        ndimage.zoom(planes[index], factors, output=results[index], order=order, mode='mirror')
    return result.astype(image.dtype, copy=False)


def _nearest(before: int, after: int) -> npt.NDArray[np.intp]:
    """For each of `after` pixels the nearest of `before`, by the same floating-point steps as in scipy."""
    step = (before - 1) / (after - 1) if after > 1 else 1.0
    nearest: npt.NDArray[np.intp] = np.minimum(np.floor(np.arange(after) * step + 0.5), before - 1).astype(np.intp)
    return nearest
