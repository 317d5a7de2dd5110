"""Batches made of lists of items: the same structure, holding arrays or lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from itpipe._core.blocks import empty
from itpipe._engine.stream import Stage, itemwise

from .array_likes import as_arrays, is_array_like
from .dtypes import EXACT, common_dtype
from .structure import NUMBER, TEXT, Kinds, Path, as_list, first_different, refuse, shape_of, walk

if TYPE_CHECKING:
    import numpy.typing as npt

    from itpipe._engine.stream import Combined
    from itpipe._engine.types import G, HalfKnown, K, Named, Pair, Unknown, X

__all__ = ['combine', 'combine_lists']

Array: TypeAlias = 'npt.NDArray[Any]'
Join: TypeAlias = 'Callable[[Sequence[Array], Path], Array]'

NO_ITEMS: Any = object()
BUILTIN_NUMBERS = {bool, int, float, complex}


@overload
def combine(items: Iterable[Unknown | Named]) -> Any: ...
@overload
def combine(items: Iterable[HalfKnown]) -> tuple[Any, Any]: ...
@overload
def combine(items: Iterable[Pair]) -> tuple[Array, Array]: ...
@overload
def combine(items: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]: ...
@overload
def combine(items: Iterable[Mapping[K, Any]]) -> dict[K, Any]: ...
@overload
def combine(items: Iterable[npt.NDArray[G]]) -> npt.NDArray[G]: ...
@overload
def combine(items: Iterable[Any]) -> Any: ...
@overload
def combine() -> Combined: ...
def combine(items: Iterable[Any] = NO_ITEMS) -> Any:
    """A batch with the structure of one item, in which the items' arrays are stacked on a new first axis.

    Items are tuples, lists, namedtuples or dicts, nested to any depth, or bare values. All items have the same
    structure. Subclasses keep their type, except tuples of native code. A dict keeps the order of the first item's
    keys. Namedtuples with the same name and fields are of the same type. Lists are structure, too: lists of three
    numbers become a list of three arrays. If you want one array with a row for each list, make arrays of the lists
    first, for example with `map_at('ids', np.asarray)`. At each position in the structure

    - arrays of equal shape become one array; so do objects that numpy can make arrays of, such as CPU tensors, series;
    - numbers and arrays without axes become an array with one axis;
    - `str` and `bytes` become a list;
    - other objects, also mixed with text or numbers, become an object array with one axis.

    The dtype is `numpy.result_type` of the items' dtypes, but int64 and uint64 together become integers. An integer or
    a time never changes its value: items whose common dtype cannot hold it are refused. Arrays are copied once. The
    result is C-contiguous and writable. Subclasses such as `numpy.matrix` become plain arrays. Labels (of pandas,
    polars, Arrow, xarray) and units are dropped, so they must be the same for all items, in the same order. Row numbers
    that count from 0 are not labels.

    `combine()`, without items, is the stage that does this to each list of items. `combine` after `|` is the same.

    Raises ValueError for an empty batch, for items that differ in their number of elements, in keys, in shapes or in
    labels, and if the common dtype cannot hold an integer or a time. Raises TypeError for containers of different
    types, for dtypes without a common one, for masked arrays, and for tensors that numpy cannot read. Also raises
    TypeError if `items` itself is an array, a dict or a string.

    >>> combine([(np.array([1, 2]), 0.5, 'a'), (np.array([3, 4]), 1.5, 'b')])
    (array([[1, 2],
           [3, 4]]), array([0.5, 1.5]), ['a', 'b'])
    >>> combine([{'image': np.zeros((2, 3)), 'label': i} for i in range(32)])['image'].shape
    (32, 2, 3)

    See also: `combine_pad` for arrays of different shapes, `combine_lists`, `batch_by`.
    """
    if items is NO_ITEMS:
        return itemwise('combine', combine)
    return walk(as_batch('combine', items), partial(combine_values, stack), ('combine',))


@overload
def combine_lists(items: Iterable[Unknown | Named | list[Any]]) -> Any: ...
@overload
def combine_lists(items: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]: ...
@overload
def combine_lists(items: Iterable[Mapping[K, Any]]) -> dict[K, Any]: ...
@overload
def combine_lists(items: Iterable[X]) -> list[X]: ...
@overload
def combine_lists() -> Stage[Iterable[Any], Any]: ...
def combine_lists(items: Iterable[Any] = NO_ITEMS) -> Any:
    """A batch with the structure of one item, in which lists hold the values of the items as they are.

    Tuples, namedtuples and dicts are structure, nested to any depth, as in `combine`. An item that is a list is
    structure, too, but lists inside items are values, of any length. Types are kept as by `combine`. Bare values
    become a list. `combine_lists()`, without items, is the stage that does this to each list of items.

    Raises ValueError for an empty batch and for items that differ in their number of elements or in keys. Raises
    TypeError for containers of different types, and if `items` itself is an array, a dict or a string.

    >>> combine_lists([(1, 'a'), (2, 'b'), (3, 'c')])
    ([1, 2, 3], ['a', 'b', 'c'])
    >>> combine_lists([{'size': (1, 2), 'boxes': [5]}, {'size': (3, 4), 'boxes': [6, 7]}])
    {'size': ([1, 3], [2, 4]), 'boxes': [[5], [6, 7]]}

    See also: `combine`, `combine_pad`, `batch_by`.
    """
    if items is NO_ITEMS:
        return itemwise('combine_lists', combine_lists)
    return walk(as_batch('combine_lists', items), as_list, ('combine_lists',))


combine.keeps_block = True  # type: ignore[attr-defined]  # of the rows of an array of numbers it makes that array


def as_batch(function: str, items: Any) -> list[Any]:
    """The items as a list, which must not be empty."""
    if not isinstance(items, list):
        try:
            if isinstance(items, (*TEXT, Mapping)) or is_array_like(type(items)):
                raise TypeError
            iterator = iter(items)
        except TypeError:
            got = type(items).__name__
            raise TypeError(
                f'{function}: `items` must be a list of items, as `batch_by` makes them, got {got}'
            ) from None
        items = list(iterator)
    if not items:
        raise ValueError(f'{function}: `items` must not be empty')
    return items  # type: ignore[no-any-return]


def combine_values(join: Join, values: Sequence[Any], kinds: Kinds, path: Path) -> Array | list[Any]:
    """The values as one array, made by `join` where they are arrays, or as a list where they are text."""
    if kinds == {np.ndarray}:
        return join(values, path)
    if kinds <= BUILTIN_NUMBERS or (len(kinds) == 1 and issubclass(next(iter(kinds)), NUMBER)):
        try:
            array = np.array(values)
        except OverflowError:  # of times in several units, from numpy 2.5 on: `common_dtype` says which
            return join(list(map(np.asarray, values)), path)
        return array if _is_exact(array, kinds) else join(list(map(np.asarray, values)), path)
    if all(issubclass(kind, TEXT) for kind in kinds):
        return list(values)
    arrays = as_arrays(values, kinds, path)
    return np.fromiter(values, object, len(values)) if arrays is None else join(arrays, path)


def _is_exact(array: Array, kinds: Kinds) -> bool:
    """Whether numpy has certainly not changed the numbers; if not, `common_dtype` looks more closely."""
    if array.dtype.kind in 'fc' and any(issubclass(kind, (int, np.integer)) for kind in kinds):
        return not (np.abs(array) >= EXACT).any()
    return array.dtype.kind not in 'mM'


def stack(arrays: Sequence[Array], path: Path) -> Array:
    """The arrays, which must have equal shapes, on a new first axis."""
    shape = arrays[0].shape
    out = empty((len(arrays), *shape), common_dtype(arrays, path))
    try:
        if not shape:
            np.stack(arrays, out=out, casting='unsafe')  # `common_dtype` has checked that no value changes
        elif len(set(map(len, arrays))) > 1:
            raise ValueError('`concatenate` checks the other axes')
        else:
            # Twice as fast as `np.stack`, which makes a view of each array first. Without `out`, the axes would be in
            # the order that the arrays' axes have in memory.
            np.concatenate(arrays, out=out.reshape(len(arrays) * shape[0], *shape[1:]), casting='unsafe')
    except (TypeError, ValueError):
        shapes = [array.shape for array in arrays]
        if len(set(shapes)) == 1:
            raise
        hint = '; combine_pad pads to a common shape' if len(set(map(len, shapes))) == 1 else ''
        refuse(path, arrays, first_different(shapes), shape_of, hint)
    return out
