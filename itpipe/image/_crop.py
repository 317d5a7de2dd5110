"""Cropping: parts of images, and the boxes that say which part."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._arguments import (
    Array,
    Floats,
    Ints,
    Padding,
    T,
    as_image,
    as_ints,
    check_lengths,
    chosen_axes,
    part_at,
    per_axis,
    shape_arguments,
    starts_by_ratio,
)
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
    image, axes, lengths = shape_arguments('crop_to_shape', image, shape, axis)
    rule = "`shape` must be at least 0 and at most the image's shape on every axis"
    check_lengths('crop_to_shape', image, lengths, lambda before, after: 0 <= after <= before, rule)
    starts = starts_by_ratio('crop_to_shape', lengths, image.shape, ratio, axes)
    part: npt.NDArray[T] = image[part_at(starts, lengths)]
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
    image = as_image('crop_to_box', image)
    first, last = _as_box('crop_to_box', box)
    axes = chosen_axes('crop_to_box', image, axis, 'box', first)
    starts = per_axis('crop_to_box', 'box', first, axes, [0] * image.ndim)
    ends = per_axis('crop_to_box', 'box', last, axes, image.shape)
    if padding_values is None:
        for k, (start, n, end) in enumerate(zip(starts, image.shape, ends, strict=True)):
            if start < 0 or end > n:
                rule = '`box` must lie within the image where no `padding_values` are given'
                raise ValueError(f'crop_to_box: {rule}; axis {k} has {n}, asked {start} to {end}')
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    low, high = (np.clip(side, 0, image.shape).astype(int) for side in (starts, ends))
    part: npt.NDArray[T] = image[part_at(low, high - low)]
    if padding_values is None:
        return part.copy()
    # a box wholly beyond the image has an empty part of it, which may start anywhere within the box
    return padded('crop_to_box', part, lengths, np.clip(low - starts, 0, lengths).astype(int), padding_values)


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
    image = as_image('restore_crop', image)
    axes = list(range(image.ndim))
    first, last = _as_box('restore_crop', box)
    starts = per_axis('restore_crop', 'box', first, axes, axes)
    ends = per_axis('restore_crop', 'box', last, axes, axes)
    lengths = per_axis('restore_crop', 'shape', shape, axes, axes)
    sizes = [end - start for start, end in zip(starts, ends, strict=True)]
    check_lengths('restore_crop', image, sizes, int.__eq__, "`box` must have the image's shape")
    for k, (start, end, n) in enumerate(zip(starts, ends, lengths, strict=True)):
        if start < 0 or end > n:
            raise ValueError(f'restore_crop: `box` must lie within `shape`; axis {k} has {n}, asked {start} to {end}')
    return padded('restore_crop', image, lengths, starts, padding_values)


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
