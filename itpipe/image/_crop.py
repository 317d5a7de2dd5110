"""Cropping: parts of images, and the boxes that say which part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._arguments import Array, Call, Floats, Ints, Padding, T, as_image, as_ints, part_at
from ._pad import padded

__all__ = ['crop_to_box', 'crop_to_shape', 'get_centered_box', 'mask2bounding_box', 'restore_crop']


def crop_to_shape(image: npt.NDArray[T], shape: Ints, axis: Ints | None = None, ratio: Floats = 0.5) -> npt.NDArray[T]:
    """The part of the image that has `shape` along each chosen axis, by default from its middle.

    `ratio` (from 0 to 1; one number, or one per chosen axis) is the share of the removed pixels that lies before the
    part, rounded down to whole pixels. The rest lies after it. A length of 0 gives an empty array.

    Raises ValueError for a negative `shape` or one larger than the image's, for a `ratio` out of range, for an unknown
    axis. Raises TypeError for arguments that are not numbers.

    >>> crop_to_shape(np.arange(6), 3)
    array([1, 2, 3])
    >>> crop_to_shape(np.zeros((3, 40, 50)), (32, 32), ratio=[0, 1]).shape
    (3, 32, 32)

    See also: `pad_to_shape`, the other way; `zoom_to_shape`, which keeps the whole picture.
    """
    call = Call('crop_to_shape', image, axis, 'shape', shape)
    lengths = call.per_axis('shape', shape, call.image.shape)
    rule = "`shape` must be at least 0 and at most the image's shape on every axis"
    call.check_lengths(lengths, lambda before, after: 0 <= after <= before, rule)
    part: npt.NDArray[T] = call.image[part_at(call.starts(lengths, call.image.shape, ratio), lengths)]
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

    The box may reach beyond the image if `padding_values` are given. These are as in `pad_to_shape`; a function is
    called with the part of the image within the box.

    Raises ValueError for a box that ends before it starts, for one that reaches beyond the image without
    `padding_values`, for an unknown axis, for padding values that the dtype cannot hold. Raises TypeError for arguments
    that are not ints.

    >>> crop_to_box(np.arange(6), [[2], [5]])
    array([2, 3, 4])
    >>> crop_to_box(np.arange(6), [[-2], [3]], padding_values=9)
    array([9, 9, 0, 1, 2])
    >>> crop_to_box(np.zeros((20, 30, 3)), [[5, 0], [15, 30]], axis=(0, 1)).shape
    (10, 30, 3)

    See also: `mask2bounding_box` and `get_centered_box`, for boxes; `restore_crop`, which undoes it; `crop_to_shape`.
    """
    first, last = _as_box('crop_to_box', box)
    call = Call('crop_to_box', image, axis, 'box', first)
    shape = call.image.shape
    starts, ends = call.per_axis('box', first, 0), call.per_axis('box', last, shape)
    if padding_values is None:
        rule = '`box` must lie within the image where no `padding_values` are given'
        _check_within(f'crop_to_box: {rule}', starts, ends, shape)
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    low, high = _clipped(starts, shape), _clipped(ends, shape)
    inside: Any = (..., *map(slice, low, high))
    part: npt.NDArray[T] = call.image[inside]
    if padding_values is None:
        return part.copy()
    # a box wholly beyond the image has an empty part of it, which may start anywhere within the box
    before = _clipped([first - start for first, start in zip(low, starts, strict=True)], lengths)
    return padded('crop_to_box', part, lengths, before, padding_values)


def restore_crop(
    image: npt.NDArray[T],
    box: npt.ArrayLike,
    shape: Ints,
    padding_values: Padding = 0,
    num_threads: int = -1,  # noqa: ARG001
    backend: object = None,  # noqa: ARG001
) -> npt.NDArray[T]:
    """An image of the given `shape` that has this one within `box`, and `padding_values` around it.

    `box` and `shape` are for all axes. `padding_values` are as in `pad_to_shape`.

    Raises ValueError for a box of another shape than the image's, for one that reaches beyond `shape`, for padding
    values that the dtype cannot hold. Raises TypeError for arguments that are not ints.

    >>> box = [[2], [5]]
    >>> restore_crop(crop_to_box(np.arange(6), box), box, [6])
    array([0, 0, 2, 3, 4, 0])

    See also: `crop_to_box`.
    """
    call = Call('restore_crop', image, None, 'box', 0)
    starts, ends = (call.per_axis('box', side, 0) for side in _as_box('restore_crop', box))
    lengths = call.per_axis('shape', shape, 0)
    sizes = [end - start for start, end in zip(starts, ends, strict=True)]
    call.check_lengths(sizes, int.__eq__, "`box` must have the image's shape")
    _check_within('restore_crop: `box` must lie within `shape`', starts, ends, lengths)
    return padded('restore_crop', call.image, lengths, starts, padding_values)


def get_centered_box(center: npt.ArrayLike, box_size: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The box of `box_size` pixels with `center` in its middle: an int array of shape (2, number of axes).

    If the number of pixels is even, one more lies before the center than after it. `center` or `box_size` may be one
    int for all axes. The box may reach beyond an image.

    Raises TypeError for arguments that are not ints, ValueError for a negative `box_size`.

    >>> get_centered_box([10, 20], [5, 4])
    array([[ 8, 18],
           [13, 22]])

    See also: `crop_to_box`.
    """
    rule = 'an int or a sequence of ints'
    middle = np.atleast_1d(as_ints('get_centered_box', 'center', center, rule, 1))
    size = np.atleast_1d(as_ints('get_centered_box', 'box_size', box_size, rule, 1))
    if (size < 0).any():
        raise ValueError(f'get_centered_box: `box_size` must be at least 0, got {box_size!r}')
    if len(middle) != len(size) and 1 not in (len(middle), len(size)):
        rule = f'one value or one per axis of `center` ({len(middle)})'
        raise ValueError(f'get_centered_box: `box_size` must be {rule}, got {box_size!r}')
    start = middle - size // 2
    return np.stack([start, start + size])


def mask2bounding_box(mask: Array) -> npt.NDArray[np.intp]:
    """The smallest box that holds all true pixels of the mask: an int array of shape (2, number of axes).

    In a mask of numbers, all but 0 are true.

    Raises ValueError for a mask without a true pixel, TypeError for one that is not an array of numbers or bools.

    >>> mask2bounding_box(np.array([[0, 0, 0, 0], [0, 1, 0, 1]]))
    array([[1, 1],
           [2, 4]])

    See also: `crop_to_box`.
    """
    mask = as_image('mask2bounding_box', mask, 'mask')
    if mask.dtype.kind not in 'biufc':
        raise TypeError(f'mask2bounding_box: `mask` must be of bools or numbers, got dtype {mask.dtype}')
    if not mask.any():
        raise ValueError(f'mask2bounding_box: `mask` must have a true pixel, got none in shape {mask.shape}')
    box = np.empty((2, mask.ndim), np.intp)
    for k in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != k)))
        box[:, k] = filled[0], filled[-1] + 1
    return box


def _as_box(where: str, box: Any) -> Array:
    rule = 'an array of ints, of shape (2, number of axes)'
    array = as_ints(where, 'box', box, rule)
    if array.ndim == 0 or len(array) != 2:
        raise ValueError(f'{where}: `box` must be {rule}, got {box!r}')
    if (array[0] > array[1]).any():
        raise ValueError(f'{where}: `box` must not end before it starts, got {box!r}')
    return array


def _clipped(numbers: Sequence[int], upper: Sequence[int]) -> list[int]:
    """Each number between 0 and its upper limit; `numpy.clip` would take longer."""
    return [min(max(number, 0), n) for number, n in zip(numbers, upper, strict=True)]


def _check_within(message: str, starts: Sequence[int], ends: Sequence[int], shape: Sequence[int]) -> None:
    for k, (start, end, n) in enumerate(zip(starts, ends, shape, strict=True)):
        if start < 0 or end > n:
            raise ValueError(f'{message}; axis {k} has {n}, asked {start} to {end}')
