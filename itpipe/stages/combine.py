"""Batches made of lists of items: the same structure, holding arrays or lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from itpipe._core.checks import truth
from itpipe._core.instead import renames
from itpipe._core.show import non_defaults
from itpipe._engine.stream import Stage, itemwise

from .array_likes import as_arrays, is_array_like
from .dtypes import EXACT
from .joins import Array, Join, Ragged, concatenated, stack
from .libraries import alike, blanked, join_others, library_of
from .options import check_types, option_at, single_values
from .structure import NUMBER, TEXT, Kinds, Path, as_list, walk

if TYPE_CHECKING:
    import numpy.typing as npt

    from itpipe._engine.stream import Combined
    from itpipe._engine.types import G, HalfKnown, K, Named, Pair, Unknown, X

    from .structure import Types

__all__ = ['combine', 'combine_lists']

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
def combine(items: Iterable[Any], *, missing: bool = False, ragged: Any = False, types: Types | None = None) -> Any: ...
@overload
def combine() -> Combined: ...
@overload
def combine(*, missing: bool = False, ragged: Any = False, types: Types | None = None) -> Stage[Iterable[Any], Any]: ...
@renames
def combine(
    items: Iterable[Any] = NO_ITEMS, *, missing: bool = False, ragged: Any = False, types: Types | None = None
) -> Any:
    """A batch with the structure of one item, in which the items' arrays are stacked on a new first axis.

    Items are tuples, lists, namedtuples, dicts, dataclasses or classes of attrs, nested to any depth, or bare values.
    All items have the same structure. Subclasses keep their type, except tuples of native code, and dicts with a shape,
    such as TorchIO's images. A dict keeps the order
    of the first item's keys. Namedtuples with the same name and fields are of the same type. A batch of a dataclass is
    of that dataclass; it is made without `__init__` and `__post_init__`, and has nothing but its fields. Lists are
    structure, too: lists of three numbers become a list of three arrays. If you want one array with a row for each
    list, make arrays of the lists first, for example with `map_at('ids', np.asarray)`. At each position in the
    structure

    - arrays of equal shape become one array; so do objects that numpy can make arrays of, such as series;
    - tensors of torch become a tensor, arrays of JAX and other libraries with `__array_namespace__` one of theirs;
    - numbers and arrays without axes become an array with one axis;
    - `str` and `bytes` become a list;
    - other objects, also mixed with text or numbers, become an object array with one axis.

    The dtype is `numpy.result_type` of the items' dtypes, but int64 and uint64 together become integers. Of tensors, it
    is that of `torch.promote_types`. An integer or a time never changes its value: items whose common dtype cannot hold
    it are refused. Arrays are copied once. The result is C-contiguous and writable. Subclasses such as `numpy.matrix`
    become plain arrays. Labels (of pandas, polars, Arrow, xarray) and units are dropped, so they must be the same for
    all items, in the same order. Row numbers that count from 0 are not labels.

    - `missing`: if true, values may be None, or keys missing. The result is a pair: the batch, and the same structure
      with bool arrays that say for which items the value is there. Where it is not, the batch has zeros, None in a list
      or object array, and nothing where arrays are ragged. Where it is missing in all items, the batch has None.
    - `ragged`: if true, arrays may have different lengths. They are put one after the other along their first axis,
      and become a namedtuple `Ragged(values, offsets)`. Arrays without axes are stacked, as are numbers. A dict,
      tuple or list says it for the elements of an item, such as `{'ids': True}`; what it does not name is stacked.
    - `types`: a dict of types and functions. Values of such a type, or of a subclass, are given as a list to its
      function, which returns their batch. They are not looked into.

    `combine()`, without items, is the stage that does this to each list of items. `combine` after `|` is the same.

    Raises ValueError for an empty batch, and if items differ in their number of elements, keys or fields, shapes,
    labels or devices. Also raises it if the common dtype cannot hold an integer or a time.

    Raises TypeError for containers of different types, dtypes without a common one, and arrays of different libraries
    at one position. Also raises it for masked arrays, for tensors that are sparse, nested, quantized or need a
    gradient, and if `items` itself is an array, a dict or a string.

    >>> combine([(np.array([1, 2]), 0.5, 'a'), (np.array([3, 4]), 1.5, 'b')])
    (array([[1, 2],
           [3, 4]]), array([0.5, 1.5]), ['a', 'b'])
    >>> combine([{'image': np.zeros((2, 3)), 'label': i} for i in range(32)])['image'].shape
    (32, 2, 3)
    >>> combine([('a', {1, 2}), ('b', {3})], types={set: lambda sets: set.union(*sets)})
    (['a', 'b'], {1, 2, 3})

    See also: `combine_pad` for arrays of different shapes, `combine_lists`, `batch_by`.
    """
    truth('combine', 'missing', missing)
    for value in single_values(ragged):
        truth('combine', 'ragged', value)
    check_types('combine', types)
    if items is NO_ITEMS:
        options = non_defaults(missing=(missing, False), ragged=(ragged, False), types=(types, None))
        return itemwise('combine', partial(combine, **options) if options else combine, kwargs=options)
    batch, path = as_batch('combine', items), ('combine',)
    if not missing:
        leaf = partial(combine_values, stack) if ragged is False else partial(_combined, ragged, batch)
        return walk(batch, leaf, path, types)
    there = walk(batch, _there, path, dict.fromkeys(types or ()), missing)
    return walk(batch, partial(_combined_known, ragged, batch), path, types, missing), there


def _combined(ragged: Any, batch: list[Any], values: Sequence[Any], kinds: Kinds, path: Path) -> Any:
    is_ragged = option_at(path, 'ragged', ragged, batch, False)
    return combine_values(concatenated if is_ragged else stack, values, kinds, path)


def _combined_known(ragged: Any, batch: list[Any], values: Sequence[Any], kinds: Kinds, path: Path) -> Any:
    """The values as one array, with zeros in the place of None, and nothing there where arrays are ragged."""
    missing = [i for i, value in enumerate(values) if value is None]
    if len(missing) in (0, len(values)):
        return None if missing else _combined(ragged, batch, values, kinds, path)
    instead = next(value for value in values if value is not None)
    if option_at(path, 'ragged', ragged, batch, False) and getattr(instead, 'ndim', 0):
        instead = instead[:0]
    found = _combined(ragged, batch, [instead if value is None else value for value in values], kinds, path)
    return found if isinstance(found, Ragged) else blanked(found, missing)


def _there(values: Sequence[Any], *_: Any) -> Any:
    """Which of the values are not None: an array of the same library."""
    there = np.array([value is not None for value in values])
    return alike(there, values[int(there.argmax())])


@overload
def combine_lists(items: Iterable[Unknown | Named | list[Any]]) -> Any: ...
@overload
def combine_lists(items: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]: ...
@overload
def combine_lists(items: Iterable[Mapping[K, Any]]) -> dict[K, Any]: ...
@overload
def combine_lists(items: Iterable[X]) -> list[X]: ...
@overload
def combine_lists(items: Iterable[Any], *, types: Types | None = None) -> Any: ...
@overload
def combine_lists(*, types: Types | None = None) -> Stage[Iterable[Any], Any]: ...
@renames
def combine_lists(items: Iterable[Any] = NO_ITEMS, *, types: Types | None = None) -> Any:
    """A batch with the structure of one item, in which lists hold the values of the items as they are.

    Tuples, namedtuples, dicts and dataclasses are structure, nested to any depth, as in `combine`. An item that is a
    list is structure, too, but lists inside items are values, of any length. Types are kept as by `combine`. Bare
    values become a list. `types` is as for `combine`. `combine_lists()`, without items, is the stage that does this to
    each list of items.

    Raises ValueError for an empty batch and for items that differ in their number of elements, in keys or fields.
    Raises TypeError for containers of different types, and if `items` itself is an array, a dict or a string.

    >>> combine_lists([(1, 'a'), (2, 'b'), (3, 'c')])
    ([1, 2, 3], ['a', 'b', 'c'])
    >>> combine_lists([{'size': (1, 2), 'boxes': [5]}, {'size': (3, 4), 'boxes': [6, 7]}])
    {'size': ([1, 3], [2, 4]), 'boxes': [[5], [6, 7]]}

    See also: `combine`, `combine_pad`, `batch_by`.
    """
    check_types('combine_lists', types)
    if items is NO_ITEMS:
        options = non_defaults(types=(types, None))
        return itemwise(
            'combine_lists', partial(combine_lists, **options) if options else combine_lists, kwargs=options
        )
    return walk(as_batch('combine_lists', items), as_list, ('combine_lists',), types)


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


def combine_values(join: Join, values: Sequence[Any], kinds: Kinds, path: Path, by_value: bool = False) -> Any:
    """The values as one array, made by `join` where they are arrays, or as a list where they are text.

    For `by_value`, see `join_others`.
    """
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
    if any(map(library_of, kinds)) and all(map(is_array_like, kinds)):
        return join_others(join, values, kinds, path, by_value)
    arrays = as_arrays(values, kinds, path)
    return np.fromiter(values, object, len(values)) if arrays is None else join(arrays, path)


def _is_exact(array: Array, kinds: Kinds) -> bool:
    """Whether numpy has certainly not changed the numbers; if not, `common_dtype` looks more closely."""
    if array.dtype.kind in 'fc' and any(issubclass(kind, (int, np.integer)) for kind in kinds):
        return not (np.abs(array) >= EXACT).any()
    return array.dtype.kind not in 'mM'
