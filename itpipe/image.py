"""Zoom, pad and crop: plain functions of one array, for pipelines such as `images | map_at(0, zoom, scale_factor=2)`.

All four take arrays of any number of dimensions, choose axes in the same way, leave their input as it is and return a
new C-contiguous array of the same dtype, never a view: it can be written to, and does not keep the original alive.

With `axis=None`, one number stands for every axis and a sequence for the last `len(sequence)` axes, so that
`scale_factor=[2, 2]` zooms the rows and columns of a channels-first image. `axis` names the axes instead: an int or
ints, counted from the end where negative, such as `axis=(0, 1)` for channels last; a single value, bare or in a
sequence, then serves all of them. The names and conventions come from deep-pipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any, SupportsFloat, SupportsIndex, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from .checks import integer

__all__ = ['crop_to_shape', 'pad_to_shape', 'zoom', 'zoom_to_shape']

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
    image: npt.NDArray[T], shape: Ints, axis: Ints | None = None, padding_values: Padding = 0, ratio: Floats = 0.5
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
    values = _padding(image, padding_values)
    result = np.empty(lengths, image.dtype)
    try:
        result[...] = values
    except ValueError:
        rule = f"must broadcast to the result's shape {result.shape}"
        raise ValueError(f'pad_to_shape: `padding_values` {rule}, got shape {values.shape}') from None
    result[inner] = image
    return result


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


def _array(where: str, image: npt.NDArray[T]) -> npt.NDArray[T]:
    # Lists and tuples are refused: they are whole items that someone forgot to take apart with `map_at`.
    if not hasattr(image, '__array__'):
        raise TypeError(f'{where}: `image` must be a numpy array, got {type(image).__name__}')
    return np.asarray(image)


def _axes(where: str, image: Array, axis: object, parameter: str, value: Any) -> list[int]:
    """The axes named by `axis` or, where it is None, meant by the `value` of the leading parameter."""
    if axis is None:
        count = np.size(value) if np.ndim(value) else image.ndim
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
    starts = [math.floor((b - a) * share) for a, b, share in zip(small, large, ratios, strict=True)]
    return (..., *(slice(start, start + a) for start, a in zip(starts, small, strict=True)))


def _padding(image: Array, values: Any) -> Array:
    """The padding values as an array of the image's dtype."""
    if callable(values):
        values = values(image)
    given, kind = np.asarray(values), image.dtype.kind
    if kind not in 'biufc':
        return given.astype(image.dtype)
    if given.dtype.kind not in 'biufc':
        rule = 'a number, an array of numbers or a function of the image that returns them'
        raise TypeError(f'pad_to_shape: `padding_values` must be {rule}, got {type(values).__name__}')
    real = given if kind == 'c' else given.real
    with np.errstate(all='ignore'):
        cast = real.astype(image.dtype)
    if kind in 'fc':
        fits = np.array_equal(np.isfinite(cast), np.isfinite(real))
    else:
        fits = np.array_equal(cast, np.trunc(real) if real.dtype.kind == 'f' else real)
    if not fits or (kind != 'c' and given.imag.any()):
        raise ValueError(f"pad_to_shape: `padding_values` must fit the image's dtype {image.dtype}, got {values!r}")
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
