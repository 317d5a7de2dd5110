"""Padding: images with more pixels around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from ._arguments import Array, Call, Floats, Ints, Padding, T, as_ints, part_at

__all__ = ['pad', 'pad_to_divisible', 'pad_to_shape']


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
    rounded down to whole pixels. The rest goes after it. If there is nothing to pad, the result is a copy.

    `padding_values` is a number, an array that broadcasts to the result (for example, a value per channel), or a
    function of the image that returns one of these, such as `numpy.min`. The values are converted to the image's dtype;
    for integers, fractions are cut off.

    Raises ValueError for padding values that the dtype cannot hold, such as -1 or NaN for uint8. Also raises it for a
    `shape` smaller than the image's, a `ratio` out of range, and an unknown axis. Raises TypeError for arguments that
    are not numbers.

    >>> pad_to_shape(np.array([5, 6, 7]), 6)
    array([0, 5, 6, 7, 0, 0])
    >>> pad_to_shape(np.array([[1, 2], [3, 4]]), 3, axis=1, padding_values=np.min, ratio=1)
    array([[1, 1, 2],
           [1, 3, 4]])

    See also: `crop_to_shape`, which undoes it with the same ratio; `itpipe.combine_pad` for the items of a batch.
    """
    call = Call('pad_to_shape', image, axis, 'shape', shape)
    lengths = call.per_axis('shape', shape, call.image.shape)
    rule = "`shape` must be at least the image's shape on every axis"
    call.check_lengths(lengths, lambda before, after: after >= before, rule)
    starts = call.starts(call.image.shape, lengths, ratio)
    return padded(call.where, call.image, lengths, starts, padding_values)


def pad(
    image: npt.NDArray[T],
    padding: Ints | Sequence[Sequence[SupportsIndex]],
    axis: Ints | None = None,
    padding_values: Padding = 0,
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """The image with `padding` pixels before and behind it along each chosen axis.

    `padding` is an int, an int for each axis, or a pair `(before, behind)` for each axis. A single pair is for all axes
    that `axis` names. `padding_values` are as in `pad_to_shape`.

    Raises ValueError for a negative `padding`, for an unknown axis, for padding values that the dtype cannot hold.
    Raises TypeError for arguments that are not ints.

    >>> pad(np.array([5, 6]), [[1, 3]])
    array([0, 5, 6, 0, 0, 0])
    >>> pad(np.zeros((3, 20, 30)), [1, 2]).shape, pad(np.zeros((20, 30, 3)), 2, axis=(0, 1)).shape
    ((3, 22, 34), (24, 34, 3))

    See also: `pad_to_shape` and `pad_to_divisible`, for a wanted shape; `numpy.pad`, for borders that are mirrored.
    """
    widths = as_ints('pad', 'padding', padding, 'an int, ints, or pairs of ints')
    if widths.ndim == 2 and widths.shape[1] != 2:
        raise TypeError(f'pad: `padding` must be an int, ints, or pairs of ints, got {padding!r}')
    call = Call('pad', image, axis, 'padding', padding)
    if widths.ndim and len(widths) not in (1, len(call.axes)):
        rule = f'one value or one per chosen axis ({len(call.axes)})'
        raise ValueError(f'pad: `padding` must be {rule}, got {padding!r}')
    if (widths < 0).any():
        raise ValueError(f'pad: `padding` must not be negative, got {padding!r}')
    before, behind = widths.T if widths.ndim == 2 else (widths, widths)
    starts, ends = (call.per_axis('padding', side, 0) for side in (before, behind))
    lengths = [start + n + end for start, n, end in zip(starts, call.image.shape, ends, strict=True)]
    return padded('pad', call.image, lengths, starts, padding_values)


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
    """The image, padded so that the length of each chosen axis is the next multiple of `divisor`, plus `remainder`.

    This is for networks that halve the image several times. An axis shorter than its `remainder` gets that length.
    `padding_values` and `ratio` are as in `pad_to_shape`.

    Raises ValueError for a `divisor` below 1, for a negative `remainder`, and as `pad_to_shape` does. Raises TypeError
    for arguments that are not ints.

    >>> pad_to_divisible(np.zeros((3, 20, 30)), [16, 16]).shape
    (3, 32, 32)
    >>> pad_to_divisible(np.array([5, 6, 7]), 4, remainder=1, ratio=0)
    array([5, 6, 7, 0, 0])

    See also: `pad_to_shape`; `itpipe.combine_pad`, whose `multiple_of` does it for a batch.
    """
    call = Call('pad_to_divisible', image, axis, 'divisor', divisor)
    divisors, remainders = call.per_axis('divisor', divisor, 1), call.per_axis('remainder', remainder, 0)
    if min(divisors, default=1) < 1:
        raise ValueError(f'pad_to_divisible: `divisor` must be at least 1, got {divisor!r}')
    if min(remainders, default=0) < 0:
        raise ValueError(f'pad_to_divisible: `remainder` must be at least 0, got {remainder!r}')
    least = map(max, call.image.shape, remainders)
    lengths = [n + (rest - n) % by for n, rest, by in zip(least, remainders, divisors, strict=True)]
    starts = call.starts(call.image.shape, lengths, ratio)
    return padded(call.where, call.image, lengths, starts, padding_values)


def padded(
    where: str, image: npt.NDArray[T], lengths: Sequence[int], starts: Sequence[int], padding_values: Padding
) -> npt.NDArray[T]:
    """An array of these lengths that has the image at these starts, and the padding values elsewhere."""
    values = _as_padding(where, image, padding_values)
    result = np.empty(lengths, image.dtype)
    try:
        result[...] = values
    except ValueError:
        rule = f"must broadcast to the result's shape {result.shape}"
        raise ValueError(f'{where}: `padding_values` {rule}, got shape {values.shape}') from None
    result[part_at(starts, image.shape)] = image
    return result


def _as_padding(where: str, image: Array, values: Any) -> Array:
    """The padding values as an array of the image's dtype."""
    if callable(values):
        values = values(image)
    array, kind = np.asarray(values), image.dtype.kind
    if kind not in 'biufc':
        return array.astype(image.dtype)
    if array.dtype.kind not in 'biufc':
        rule = 'a number, an array of numbers or a function of the image that returns them'
        raise TypeError(f'{where}: `padding_values` must be {rule}, got {type(values).__name__}')
    real = array if kind == 'c' else array.real
    with np.errstate(all='ignore'):
        cast = real.astype(image.dtype)
    if kind in 'fc':
        fits = np.array_equal(np.isfinite(cast), np.isfinite(real))
    else:
        fits = np.array_equal(cast, np.trunc(real) if real.dtype.kind == 'f' else real)
    if not fits or (kind != 'c' and array.imag.any()):
        raise ValueError(f"{where}: `padding_values` must fit the image's dtype {image.dtype}, got {values!r}")
    return cast
