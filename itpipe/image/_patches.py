"""Patches: parts of images and volumes, at random places or side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final, Literal

import numpy as np

from itpipe._core.checks import integer, number
from itpipe._core.instead import renames
from itpipe._core.show import format_value

from ._arguments import Array, Ints, as_ints

__all__ = ['grid_patches', 'join_patches', 'random_patches']

WIDTH: Final = 1 / 8
"""The standard deviation of the weights of a patch, as a share of its length."""
SMALLEST: Final = 1e-3
"""The least weight, in the corners."""


@renames
def random_patches(
    item: Any,
    size: Ints,
    count: int = 1,
    *,
    rng: np.random.Generator,
    centers: Any = None,
    share: float = 1.0,
) -> list[Any]:
    """`count` items that hold patches of `size` at random places, for `with_rng` and `flatten`.

    `item` is an image, or a tuple, list or dict with images of the same shape, such as a volume and its mask; all of
    them are cut at the same place. An image is anything with a shape that gives arrays when it is sliced: also arrays
    of zarr and h5py, memory maps and `dataobj` of nibabel, of which only the patch is read. `size` is for the last
    axes: `(64, 64)` cuts a patch of shape (3, 64, 64) from an image of shape (3, H, W). An int is for images of one
    axis. Elements with fewer axes, such as labels, stay as they are. The patches are copies: arrays, and tensors of
    torch where the image is one.

    Without `centers`, all places are equally likely. `centers` may be an array of shape (n, number of axes) with the
    centers to choose from, or an array as large as the image with a weight for each center: a mask, for patches of the
    foreground. Or a function of the item that returns one of these. Patches that would reach beyond the image are moved
    into it. A `share` of the patches, from 0 to 1, is chosen by `centers`, and the others anywhere; so are all if there
    is no center to choose.

    Raises ValueError if an image is smaller than `size`, if images differ in shape, for an int and images of several
    axes, and for weights that are negative or not finite. Raises TypeError if there is no image in the item.

    >>> image = np.arange(36).reshape(6, 6)
    >>> random_patches((image, 'a label'), (2, 2), rng=np.random.default_rng(0))
    [(array([[27, 28],
           [33, 34]]), 'a label')]
    >>> [patch.max() for patch in random_patches(image, (3, 3), 3, rng=np.random.default_rng(0), centers=image > 34)]
    [np.int64(35), np.int64(35), np.int64(35)]

    See also: `grid_patches`, `with_rng`, `flatten`, `reuse`.
    """
    where = 'random_patches'
    sizes = _sizes(where, size)
    integer(where, 'count', count, least=0)
    number(where, 'share', share, least=0, most=1)
    shape = _shape(where, item, size)
    last = [length - part for length, part in zip(shape, sizes, strict=True)]
    choose = None if centers is None else _chooser(where, centers(item) if callable(centers) else centers, shape)
    result = []
    for _ in range(count):
        if choose is not None and (share == 1 or rng.random() < share):
            center = choose(rng)
            starts = [min(max(0, at - part // 2), most) for at, part, most in zip(center, sizes, last, strict=True)]
        else:
            starts = [int(rng.integers(most + 1)) for most in last]
        result.append(_cut(item, starts, sizes))
    return result


@renames
def grid_patches(item: Any, size: Ints, overlap: Ints = 0) -> list[Any]:
    """Items that hold patches of `size` that cover the whole image, in the order of their places.

    `item` and `size` are as for `random_patches`. Neighbours share at least `overlap` pixels, one int or one for each
    axis: the patches are spread evenly, from one border to the other. `join_patches` puts them together again.

    Raises ValueError if an image is smaller than `size`, if images differ in shape, and if `overlap` is not smaller
    than `size`. Raises TypeError if there is no image in the item.

    >>> [patch.tolist() for patch in grid_patches(np.arange(7), 3, overlap=1)]
    [[0, 1, 2], [2, 3, 4], [4, 5, 6]]

    See also: `join_patches`, `random_patches`.
    """
    sizes = _sizes('grid_patches', size)
    shape = _shape('grid_patches', item, size)
    return [_cut(item, starts, sizes) for starts in _grid('grid_patches', shape, sizes, overlap)]


@renames
def join_patches(
    patches: Iterable[Any], shape: Ints, overlap: Ints = 0, *, weights: Literal['gaussian'] | None = None
) -> Any:
    """The image of which these are the patches of `grid_patches`, or what a model has made of each of them.

    `shape` is that of the whole image along the last axes, and `overlap` what `grid_patches` was given. Where patches
    overlap, the result is their mean: float64, or the common dtype of the patches if that is a float. It is computed in
    float32 at least. With `weights='gaussian'`, it is a weighted mean: a model sees less around a voxel near the border
    of its patch, so that voxel counts less. The weights are those of a Gaussian at the center of the patch, with an
    eighth of its length as standard deviation, as in nnU-Net (Isensee et al., 2021) and MONAI. The axes in front of the
    last ones are those of the patches, so a model may give any number of channels. It is an array; a tensor in the
    memory of the CPU if the patches are tensors of torch, on whatever device and with a gradient or not.

    Raises ValueError for another number of patches than the grid has, for patches of different shapes, for patches
    larger than `shape`, and for other `weights`.

    >>> join_patches(grid_patches(np.arange(7), 3, overlap=1), 7, overlap=1)
    array([0., 1., 2., 3., 4., 5., 6.])

    See also: `grid_patches`.
    """
    where = 'join_patches'
    if weights not in (None, 'gaussian'):
        raise ValueError(f"{where}: `weights` must be None or 'gaussian', got {format_value(weights)}")
    given = list(patches)
    parts = [_as_array(patch) for patch in given]
    lengths = _sizes(where, shape, 'shape')
    if not parts or {part.shape for part in parts} != {parts[0].shape}:
        got = sorted({part.shape for part in parts})
        raise ValueError(f'{where}: `patches` must be arrays of one shape, got {got}')
    if parts[0].ndim < len(lengths):
        raise ValueError(f'{where}: `patches` must have the axes of `shape`, got patches of shape {parts[0].shape}')
    lead, sizes = parts[0].shape[: -len(lengths)], parts[0].shape[-len(lengths) :]
    if any(size > length for size, length in zip(sizes, lengths, strict=True)):
        raise ValueError(f'{where}: the patches must be at most as large as `shape`, {tuple(lengths)}, got {sizes}')
    places = _grid(where, lengths, sizes, overlap)
    if len(places) != len(parts):
        raise ValueError(f'{where}: the grid has {len(places)} patches, got {len(parts)}')
    common = np.result_type(*{part.dtype for part in parts})
    kind = common if common.kind == 'f' else np.dtype(np.float64)
    exact = np.result_type(kind, np.float32)  # the sum of some float16 is larger than the largest of them
    total, counts = np.zeros((*lead, *lengths), exact), np.zeros(lengths, np.float64)
    weight = np.ones((), exact) if weights is None else _gaussian(sizes).astype(exact)
    for part, starts in zip(parts, places, strict=True):
        inside: Any = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        total[(..., *inside)] += part if weights is None else part * weight
        counts[inside] += weight
    result = np.asarray(total / counts.astype(exact)).astype(kind, copy=False)
    return sys.modules['torch'].from_numpy(result) if _is_tensor(given[0]) else result


def _gaussian(sizes: Sequence[int]) -> Array:
    """The weights of a patch: 1 in its middle, and nowhere so small that they would be lost."""
    result = np.ones(sizes)
    for axis, size in enumerate(sizes):
        distance = (np.arange(size) - (size - 1) / 2) / (size * WIDTH)
        shape = [-1 if each == axis else 1 for each in range(len(sizes))]
        result *= np.exp(-(distance**2) / 2).reshape(shape)
    return np.asarray(np.maximum(result / result.max(), SMALLEST))


def _is_tensor(value: Any) -> bool:
    torch: Any = sys.modules.get('torch')
    return torch is not None and isinstance(value, torch.Tensor)


def _as_array(value: Any) -> Array:
    """A tensor, of any device, as an array."""
    if _is_tensor(value):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == 'torch.bfloat16' else value  # which numpy does not have
    return np.asarray(value)


def _sizes(where: str, size: Ints, name: str = 'size') -> list[int]:
    sizes = as_ints(where, name, size, 'an int or a sequence of ints', 1).ravel().tolist()
    if not sizes or min(sizes) < 1:
        raise ValueError(f'{where}: `{name}` must be at least 1 on every axis, got {format_value(size)}')
    return sizes


def _is_image(value: Any, axes: int) -> bool:
    if isinstance(value, Mapping):  # one of TorchIO has a shape, and is not sliced as its array is
        return False
    return len(getattr(value, 'shape', ())) >= axes and hasattr(type(value), '__getitem__')


def _elements(item: Any) -> Sequence[Any]:
    return [*item.values()] if isinstance(item, Mapping) else item if isinstance(item, (tuple, list)) else [item]


def _shape(where: str, item: Any, size: Ints) -> list[int]:
    """The shape of the images in the item along the axes of the patches."""
    sizes = _sizes(where, size)
    axes = len(sizes)
    whole = [tuple(map(int, element.shape)) for element in _elements(item) if _is_image(element, axes)]
    shapes = [shape[-axes:] for shape in whole]
    if not shapes:
        raise TypeError(
            f'{where}: the item must have an image of at least {axes} axes, got {format_value(item)}{_hint(item)}'
        )
    if isinstance(size, (int, np.integer)) and (several := next((shape for shape in whole if len(shape) > 1), None)):
        such = tuple(sizes * min(len(several), 3))
        raise ValueError(
            f'{where}: `size` must have a length for each axis of the patch, such as {such}, for an image of shape'
            f' {several}, got {sizes[0]}'
        )
    if len({*shapes}) > 1:
        raise ValueError(f'{where}: the images of an item must have one shape, got {shapes}')
    if any(length < part for length, part in zip(shapes[0], sizes, strict=True)):
        raise ValueError(
            f'{where}: `size` must be at most the shape of the image, {shapes[0]}, got {sizes}; `pad_to_shape` first'
        )
    return list(shapes[0])


def _hint(item: Any) -> str:
    for element in (item, *_elements(item)):
        if isinstance(element, Mapping) and hasattr(type(element), 'data'):
            return f'; give it the `data` of the {type(element).__name__}'
    return ''


def _cut(item: Any, starts: Sequence[int], sizes: Sequence[int]) -> Any:
    inside = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))

    def part(value: Any) -> Any:
        if not _is_image(value, len(sizes)):
            return value
        cut = value[(slice(None),) * (len(value.shape) - len(sizes)) + inside]
        if _is_tensor(value):
            return cut.clone(memory_format=sys.modules['torch'].contiguous_format)
        return np.array(cut)

    if isinstance(item, Mapping):
        return {name: part(value) for name, value in item.items()}
    if isinstance(item, (tuple, list)):
        parts = map(part, item)
        return type(item)(*parts) if hasattr(item, '_fields') else type(item)(parts)
    return part(item)


def _chooser(where: str, centers: Any, shape: list[int]) -> Callable[[np.random.Generator], list[int]] | None:
    """A function that chooses one of the centers; None if there are none."""
    array = np.asarray(centers)
    if array.shape == tuple(shape):
        weights = array.ravel().astype(np.float64)
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError(f'{where}: the weights of `centers` must be finite and not negative')
        places = np.flatnonzero(weights)
        edges = np.cumsum(weights[places])
        if not places.size:
            return None

        def weighted(rng: np.random.Generator) -> list[int]:
            index = np.searchsorted(edges[:-1], rng.random() * edges[-1], side='right')
            return [int(at) for at in np.unravel_index(places[index], shape)]

        return weighted
    if array.ndim != 2 or array.shape[1] != len(shape) or array.dtype.kind not in 'iu':
        if array.size == 0:
            return None
        raise ValueError(
            f'{where}: `centers` must be ints of shape (n, {len(shape)}), or weights of shape {tuple(shape)}, got'
            f' {array.dtype} of shape {array.shape}'
        )
    return (lambda rng: array[rng.integers(len(array))].tolist()) if len(array) else None


def _grid(where: str, shape: Sequence[int], sizes: Sequence[int], overlap: Ints) -> list[tuple[int, ...]]:
    """Where the patches begin."""
    given = as_ints(where, 'overlap', overlap, 'an int or a sequence of ints', 1).ravel()
    if given.size not in (1, len(sizes)):
        raise ValueError(f'{where}: `overlap` must be one value or one for each axis, got {format_value(overlap)}')
    overlaps = np.broadcast_to(given, len(sizes)).tolist()
    if not all(0 <= each < size for each, size in zip(overlaps, sizes, strict=True)):
        raise ValueError(
            f'{where}: `overlap` must be at least 0 and less than the patches, got {format_value(overlap)}'
        )
    starts = []
    for length, size, each in zip(shape, sizes, overlaps, strict=True):
        count = 1 + -(-max(0, length - size) // (size - each))
        starts.append([round(n * (length - size) / max(1, count - 1)) for n in range(count)])
    return [*product(*starts)]
