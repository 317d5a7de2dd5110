"""Batches padded to a common shape."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from itpipe._core.blocks import empty, lends
from itpipe._core.checks import integer, not_async, number, truth
from itpipe._core.instead import renames
from itpipe._core.show import format_value
from itpipe._engine.stream import Stage, itemwise

from .array_likes import as_arrays, is_array_like
from .combine import NO_ITEMS, as_batch, combine_values
from .dtypes import common_dtype, fits
from .joins import Array, stack
from .libraries import alike, library_of
from .options import check_types, is_many, option_at, per_axis, single_values
from .structure import Kinds, Path, element, first_different, refuse, shape_of, walk

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from itpipe._engine.stream import Combined
    from itpipe._engine.types import G, HalfKnown, K, Named, Padding, Pair, Shaping, Unknown

    from .structure import Types

__all__ = ['combine_pad']

DEFAULTS: dict[str, Any] = {
    'padding_values': 0,
    'ratio': 0.5,
    'multiple_of': None,
    'to': None,
    'edges': None,
    'lengths': False,
    'mask': False,
    'types': None,
}
CACHE = 2**20
"""Bytes that surely stay in the cache from filling to copying."""


@overload
def combine_pad(items: Iterable[Unknown | Named], **options: Unpack[Padding]) -> Any: ...
@overload
def combine_pad(items: Iterable[HalfKnown], **options: Unpack[Padding]) -> tuple[Any, Any]: ...
@overload
def combine_pad(items: Iterable[Pair], **options: Unpack[Padding]) -> tuple[Array, Array]: ...
@overload
def combine_pad(items: Iterable[tuple[Any, ...]], **options: Unpack[Padding]) -> tuple[Any, ...]: ...
@overload
def combine_pad(items: Iterable[Mapping[K, Any]], **options: Unpack[Padding]) -> dict[K, Any]: ...
@overload
def combine_pad(items: Iterable[npt.NDArray[G]], **options: Unpack[Padding]) -> npt.NDArray[G]: ...
@overload
def combine_pad(items: Iterable[Any], **options: Unpack[Padding]) -> Any: ...
@overload
def combine_pad(items: Iterable[Any], *, lengths: bool, **options: Unpack[Shaping]) -> tuple[Any, Any]: ...
@overload
def combine_pad(items: Iterable[Any], *, mask: Any, **options: Unpack[Shaping]) -> tuple[Any, Any]: ...
@overload
def combine_pad(
    items: Iterable[Any],
    *,
    lengths: bool = False,
    mask: Any = False,
    types: Types | None = None,
    **options: Unpack[Shaping],
) -> Any: ...
@overload
def combine_pad(**options: Unpack[Padding]) -> Combined: ...
@overload
def combine_pad(*, lengths: bool, **options: Unpack[Shaping]) -> Stage[Iterable[Any], tuple[Any, Any]]: ...
@overload
def combine_pad(*, mask: Any, **options: Unpack[Shaping]) -> Stage[Iterable[Any], tuple[Any, Any]]: ...
@overload
def combine_pad(
    *, lengths: bool = False, mask: Any = False, types: Types | None = None, **options: Unpack[Shaping]
) -> Stage[Iterable[Any], Any]: ...
@renames
def combine_pad(
    items: Iterable[Any] = NO_ITEMS,
    *,
    padding_values: Any = 0,
    ratio: Any = 0.5,
    multiple_of: Any = None,
    to: Any = None,
    edges: Any = None,
    lengths: bool = False,
    mask: Any = False,
    types: Types | None = None,
) -> Any:
    """A batch as `combine` makes it, in which arrays of different shapes are padded to their common, largest shape.

    - `padding_values`: the value to pad with, or a function of an array that returns one, such as `numpy.min`. The
      function gets an array of numpy also where the items have tensors.
    - `ratio`: the share of the padding, between 0 and 1, that goes before the array, rounded down: 0.5 puts the array
      in the middle, 0 at the beginning (all padding on the right), 1 at the end (all on the left).
    - `multiple_of`: the common shape is rounded up to a multiple of this number.
    - `to`: the common length of each axis, whatever the items have. None for the largest of the batch.
    - `edges`: lengths in ascending order, such as `[64, 128, 256]`. The common length is the first of them that no item
      exceeds. So there are few different shapes, for which a compiler runs only a few times.
    - `lengths`: if true, the result is a pair: the batch, and the same structure with the true shapes. In it, each
      array becomes an int64 array with a row for each item, and everything else becomes None.
    - `mask`: if true, the result is a pair: the batch, and the same structure with masks. In it, each array becomes a
      bool array of the shape that it has in the batch, true where the values are of an item, false where there is
      padding. Everything else becomes None. A dict, tuple or list says it for the elements of an item, such as
      `{'ids': True}`. With `lengths`, too, the result is `(batch, lengths, masks)`.
    - `types`: functions for types of your own, as for `combine`.

    A single value is for all arrays. Otherwise an option has the structure of an item. For a tuple or list it is a
    tuple or list with one value for each element. For a dict or dataclass it is a dict with values for some of the
    keys or fields; the others have the default. For an array it is a tuple or list with one value for each axis (not
    for `padding_values` and `mask`). So with items `(image, mask)`, `ratio=(0.5, 0)` centres images only, and
    `ratio=([0, 0.5], 0)` centres them along their second axis only. The single value of `edges` is a list of numbers:
    `edges=[None, [64, 128]]` has None for one axis or element, and two edges for the next. Where an axis has `to`, its
    `edges` and `multiple_of` do nothing; where it has `edges`, `multiple_of` does nothing.

    If it is called with options only, it returns the stage that does this to each list of items. The options are
    checked at once, and against the structure when there are items. A padding value is checked only when something is
    padded.

    Tensors and arrays of JAX must be in the memory of the CPU.

    Raises what `combine` raises, but shapes may differ if the number of axes is the same. Raises TypeError and
    ValueError for options of the wrong type or value, or that do not fit the structure of the items. Raises ValueError
    for a padding value that the dtype cannot hold, such as -1 in uint8, and for an item longer than `to` or than the
    last of `edges`.

    >>> combine_pad([np.array([1, 2, 3]), np.array([4])])
    array([[1, 2, 3],
           [0, 4, 0]])
    >>> items = [(np.array([1, 2, 3]), 'a'), (np.array([4]), 'b')]
    >>> (values, names), (shapes, _) = combine_pad(items, padding_values=-1, ratio=0, multiple_of=4, lengths=True)
    >>> values
    array([[ 1,  2,  3, -1],
           [ 4, -1, -1, -1]])
    >>> shapes
    array([[3],
           [1]])
    >>> (values, _), (masks, _) = combine_pad(items, ratio=0, edges=[2, 4, 8], mask=True)
    >>> masks
    array([[ True,  True,  True, False],
           [ True, False, False, False]])
    >>> combine_pad([np.ones(3), np.ones((2, 2)).sum(0)], to=5).shape
    (2, 5)

    The idea, and the padding with a function, are from deep-pipe.

    See also: `combine`, `combine_lists`, `batch_by` with `padded=True`, which bounds the size after padding.
    """
    shaping = {'ratio': ratio, 'multiple_of': multiple_of, 'to': to, 'edges': edges}
    for value in single_values(ratio):
        number('combine_pad', 'ratio', value, least=0, most=1)
    for name in ('multiple_of', 'to'):
        for value in single_values(shaping[name]):
            if value is not None:
                integer('combine_pad', name, value, least=1)
    shaping['edges'] = _edges(edges)
    for value in filter(callable, single_values(padding_values)):
        not_async('combine_pad: `padding_values`', value)
    truth('combine_pad', 'lengths', lengths)
    for value in single_values(mask):
        truth('combine_pad', 'mask', value)
    check_types('combine_pad', types)
    if items is NO_ITEMS:
        given = {
            'padding_values': padding_values, 'ratio': ratio, 'multiple_of': multiple_of, 'to': to, 'edges': edges,
            'lengths': lengths, 'mask': mask, 'types': types,
        }  # fmt: skip
        non_defaults = {name: value for name, value in given.items() if value is not DEFAULTS[name]}
        return itemwise('combine_pad', partial(combine_pad, **non_defaults), kwargs=non_defaults)
    batch, path = as_batch('combine_pad', items), ('combine_pad',)
    join = partial(_pad, padding_values, shaping, batch)
    results = [walk(batch, partial(combine_values, join, by_value=True), path, types)]
    others = dict.fromkeys(types or (), _nothing)
    if lengths:
        results.append(walk(batch, _true_shapes, path, others))
    if mask is not False:
        results.append(walk(batch, partial(_masks, mask, shaping, batch), path, others))
    return results[0] if len(results) == 1 else tuple(results)


@dataclass(frozen=True)
class _Edges:
    """The edges for an axis, which are one value, unlike a tuple of them."""

    lengths: tuple[int, ...]


def _edges(option: Any) -> Any:
    """The option with the edges for an axis as one value: a list of numbers, at any depth."""
    if option is None:
        return None
    if isinstance(option, Mapping):
        return {key: _edges(value) for key, value in option.items()}
    if not isinstance(option, (tuple, list, range, np.ndarray)):
        raise TypeError(f'combine_pad: `edges` must be lists of numbers, got {type(option).__name__}')
    values = list(option)
    if any(value is None or isinstance(value, (tuple, list, range, Mapping, np.ndarray)) for value in values):
        return list(map(_edges, values))
    lengths = tuple(integer('combine_pad', 'edges', value, least=1) for value in values)
    if not lengths or any(low >= high for low, high in pairwise(lengths)):
        raise ValueError(f'combine_pad: `edges` must be ascending, and at least one, got {format_value(option)}')
    return _Edges(lengths)


def _true_shapes(values: Sequence[Any], kinds: Kinds, path: Path) -> Any:
    shapes = _shapes(values, kinds, path)
    return alike(np.array(shapes, np.int64), values[0]) if shapes else None


def _masks(
    mask: Any, shaping: dict[str, Any], batch: list[Any], values: Sequence[Any], kinds: Kinds, path: Path
) -> Any:
    shown = option_at(path, 'mask', mask, batch, False)
    _check_single('mask', shown, 'True or False', path)
    shapes = _shapes(values, kinds, path) if shown else None
    if not shapes:
        return None
    common, ratios = _common(shaping, batch, shapes, path)
    masks = np.zeros((len(shapes), *common), np.bool_)
    for target, shape in zip(masks, shapes, strict=True):
        target[_box(shape, common, ratios)] = True
    return alike(masks, values[0])


def _shapes(values: Sequence[Any], kinds: Kinds, path: Path) -> list[tuple[int, ...]] | None:
    """The shapes of the values where these become arrays with axes."""
    arrays: Any = values
    if not (any(map(library_of, kinds)) and all(map(is_array_like, kinds))):
        arrays = as_arrays(values, kinds, path)
    return None if arrays is None or not arrays[0].ndim else [tuple(array.shape) for array in arrays]


def _nothing(_: list[Any]) -> None:
    return None


def _pad(value: Any, shaping: dict[str, Any], batch: list[Any], arrays: Sequence[Array], path: Path) -> Array:
    shapes = [array.shape for array in arrays]
    if len(set(map(len, shapes))) > 1:
        hint = '; only shapes with the same number of axes have a common one'
        refuse(path, arrays, first_different(map(len, shapes)), shape_of, hint)
    value = option_at(path, 'padding_values', value, batch, DEFAULTS['padding_values'])
    _check_single('padding_values', value, 'one value or a function', path)
    common, ratios = _common(shaping, batch, shapes, path)
    if set(shapes) == {common}:
        return stack(arrays, path)

    out, filled = _allocate((len(arrays), *common), common_dtype(arrays, path), value, path)
    for i, (target, array, shape) in enumerate(zip(out, arrays, shapes, strict=True)):
        if not filled and shape != common:
            target.fill(_checked(value(array), out.dtype, path, f'item {i}') if callable(value) else value)
        target[_box(shape, common, ratios)] = array
    return out


def _check_single(name: str, value: Any, what: str, path: Path) -> None:
    if is_many(value):
        raise TypeError(f'combine_pad: `{name}` for {element(path)} must be {what}, got {type(value).__name__}')


def _common(
    shaping: dict[str, Any], batch: list[Any], shapes: Sequence[tuple[int, ...]], path: Path
) -> tuple[tuple[int, ...], Sequence[Any]]:
    """The shape that the arrays get, and for each axis the share of the padding that goes before."""
    ndim = len(shapes[0])
    options = {
        name: per_axis(name, option_at(path, name, option, batch, DEFAULTS[name]), ndim, path)
        for name, option in shaping.items()
    }
    common = list(map(max, zip(*set(shapes), strict=True)))
    for axis, length in enumerate(common):
        to, edges, multiple = options['to'][axis], options['edges'][axis], options['multiple_of'][axis]
        most = to if edges is None or to is not None else edges.lengths[-1]
        if most is not None and length > most:
            i = next(i for i, shape in enumerate(shapes) if shape[axis] > most)
            limit = f'`to` is {most}' if to is not None else f'the last of `edges` is {most}'
            raise ValueError(
                f'combine_pad: {element(path, f"item {i}")} has length {shapes[i][axis]} on axis {axis}, but {limit};'
                ' cut the items before, or give a larger one'
            )
        if to is not None:
            common[axis] = to
        elif edges is not None:
            common[axis] = edges.lengths[bisect_left(edges.lengths, length)]
        else:
            common[axis] = length + -length % (multiple or 1)
    return tuple(map(int, common)), options['ratio']


def _box(shape: tuple[int, ...], common: tuple[int, ...], ratios: Sequence[Any]) -> tuple[slice, ...]:
    """Where in the common shape an array of this shape lies."""
    starts = [int((size - length) * ratio) for length, size, ratio in zip(shape, common, ratios, strict=True)]
    return tuple(slice(start, start + length) for start, length in zip(starts, shape, strict=True))


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any], value: Any, path: Path) -> tuple[Array, bool]:
    """An array for the batch, and whether it is filled with the padding value already."""
    if callable(value):
        return empty(shape, dtype), False
    zero = type(value) is int and value == 0
    if not (zero and dtype.kind in 'biufc'):  # all of these can hold a zero
        _checked(value, dtype, path)
    # The system provides fresh blocks of zeros without writing them. Any other value is fastest to write shortly before
    # the arrays are copied, while the memory is in the cache: all at once if it fits there, otherwise item by item.
    if zero and lends(shape, dtype) is None:
        return np.zeros(shape, dtype), True
    if math.prod(shape) * dtype.itemsize <= CACHE:
        return np.full(shape, value, dtype), True
    return empty(shape, dtype), False


def _checked(value: Any, dtype: np.dtype[Any], path: Path, item: str = 'an item') -> Any:
    if not fits(np.asarray(value), dtype):
        raise ValueError(
            f'combine_pad: `padding_values` for {element(path, item)} must fit dtype {dtype}, got {value!r};'
            ' give another value, or convert the arrays before'
        )
    return value
