"""Batches made of lists of items: the same structure, holding arrays or lists."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, overload

import numpy as np

from itpipe._engine.stream import Stage, itemwise

from .tables import changes_integers, is_table, labels

if TYPE_CHECKING:
    import numpy.typing as npt

    from itpipe._engine.stream import Combined
    from itpipe._engine.types import G, HalfKnown, K, Named, Pair, Unknown, X

__all__ = ['combine', 'combine_lists']

Array: TypeAlias = 'npt.NDArray[Any]'
Kinds: TypeAlias = 'set[type]'
Path: TypeAlias = 'tuple[Any, ...]'
"""Of the values in one place of all the items: the function's name, for messages, then the keys in an item."""
Leaf: TypeAlias = 'Callable[[Sequence[Any], Kinds, Path], Any]'
Join: TypeAlias = 'Callable[[Sequence[Array], Path], Array]'

_NO_ITEMS: Any = object()
_CONTAINER = (tuple, list, Mapping)
_TEXT = (str, bytes)
_NUMBER = (int, float, complex, np.number, np.bool_, np.datetime64)
_BUILTIN_NUMBERS = {bool, int, float, complex}
_PLAIN = {np.ndarray, str, bytes, *_BUILTIN_NUMBERS}
EXACT = 2**53
"""All integers up to this one are floats."""


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
def combine(items: Iterable[Any] = _NO_ITEMS) -> Any:
    """A batch with the structure of one item, in which the items' arrays are stacked on a new first axis.

    Items are tuples, lists, namedtuples or dicts, nested to any depth, or bare values; all have the same structure.
    Subclasses keep their type, those of native code excepted, and a dict has the order of the first item's keys.
    Namedtuples of one name with the same fields are of one type. A list is structure, of numbers, too: of lists of
    three numbers come three arrays; to have one, with a row for each list, make them arrays before, such as by
    `map_at('ids', np.asarray)`. Of the values in one place

    - arrays of equal shape become one array, and so do objects that numpy takes for arrays: CPU tensors, series;
    - numbers and arrays without axes become an array with one axis;
    - `str` and `bytes` become a list;
    - other objects, and mixtures of them with text or numbers, become an object array with one axis.

    The dtype is the `numpy.result_type` of the values', except that of int64 and uint64 come integers. No integer and
    no time changes by that, or the items are refused. Arrays are copied once; the result is C-contiguous and writable.
    Subclasses such as `numpy.matrix` come out as plain arrays. Labels (of pandas, polars, Arrow, xarray) and units must
    be the same, in the same order, as they are lost; rows that are only numbered from 0 have none.

    `combine()`, without items, is the stage that does this to each list of items; so is `combine` itself after `|`.

    Raises ValueError for an empty batch, for items that differ in their number of elements, in keys, in shapes or in
    labels, and for integers and times that the common dtype does not hold; TypeError for containers of different
    types, for dtypes that have nothing in common, for masked arrays, whose mask would be lost, for tensors that numpy
    does not take, and for `items` that is itself an array, a dict or a string.

    >>> combine([(np.array([1, 2]), 0.5, 'a'), (np.array([3, 4]), 1.5, 'b')])
    (array([[1, 2],
           [3, 4]]), array([0.5, 1.5]), ['a', 'b'])
    >>> combine([{'image': np.zeros((2, 3)), 'label': i} for i in range(32)])['image'].shape
    (32, 2, 3)

    See also: `combine_pad` for arrays of different shapes, `combine_lists`, `batch_by`.
    """
    if items is _NO_ITEMS:
        return itemwise('combine', combine)
    return _walk(_batch('combine', items), partial(_combined, _stack), ('combine',))


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
def combine_lists(items: Iterable[Any] = _NO_ITEMS) -> Any:
    """A batch with the structure of one item, in which lists hold the items' values as they are.

    Tuples, namedtuples and dicts are structure, nested to any depth, as in `combine`, and so are items that are lists;
    lists inside of items are values, of any length. Types are kept as by `combine`. Bare values give a list.
    `combine_lists()`, without items, is the stage that does this to each list of items.

    Raises ValueError for an empty batch, and for items that differ in their number of elements or in keys; TypeError
    for containers of different types, and for `items` that is itself an array, a dict or a string.

    >>> combine_lists([(1, 'a'), (2, 'b'), (3, 'c')])
    ([1, 2, 3], ['a', 'b', 'c'])
    >>> combine_lists([{'size': (1, 2), 'boxes': [5]}, {'size': (3, 4), 'boxes': [6, 7]}])
    {'size': ([1, 3], [2, 4]), 'boxes': [[5], [6, 7]]}

    See also: `combine`, `combine_pad`, `batch_by`.
    """
    if items is _NO_ITEMS:
        return itemwise('combine_lists', combine_lists)
    return _walk(_batch('combine_lists', items), _listed, ('combine_lists',))


def _batch(function: str, items: Any) -> list[Any]:
    if not isinstance(items, list):
        try:
            if isinstance(items, (*_TEXT, Mapping)) or _is_array(type(items)):
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


# ---------------------------------------------------------------------------------------------------------------------
# Structure


def _walk(values: Sequence[Any], leaf: Leaf, path: Path) -> Any:
    """The structure that all the values have, with what `leaf` makes of the values in each place of it."""
    kinds, kind = set(map(type, values)), type(values[0])
    if kinds <= _PLAIN or (leaf is _listed and path[1:] and all(issubclass(kind, list) for kind in kinds)):
        return leaf(values, kinds, path)
    if len(kinds) > 1 or not issubclass(kind, _CONTAINER):
        containers = set(map(_container, kinds))
        if containers == {None}:
            return leaf(values, kinds, path)
        if len(containers) > 1:
            i = _odd(_container(type(value)) for value in values)
            same_name = type(values[i]).__name__ == kind.__name__
            _refuse(path, values, i, _type_in_full if same_name else _type, error=TypeError)

    if not issubclass(kind, (tuple, list)):
        return _walk_keys(values, leaf, path)
    try:
        columns = list(zip(*values, strict=True))
    except ValueError:
        i = _odd(map(len, values))
        hint = '' if leaf is _listed else _array_hint(path, values[i])
        _refuse(path, values, i, lambda value: f'{len(value)} elements', hint)
    return _like(values[0], [_walk(column, leaf, (*path, i)) for i, column in enumerate(columns)])


def _container(kind: type) -> Any:
    """What tells this type of containers from others; None for one of values."""
    if not issubclass(kind, _CONTAINER):
        return None
    # of each table, pandas makes a class of its own for its rows
    return (kind.__name__, kind._fields) if hasattr(kind, '_make') and hasattr(kind, '_fields') else kind


def _like(first: Any, elements: list[Any]) -> Any:
    """The elements in a list or tuple of the same type."""
    kind = type(first)
    if kind is list or kind is tuple:  # most often; the rest takes longer
        return kind(elements)
    if isinstance(first, list):
        result = copy.copy(first)
        result[:] = elements
        return result
    if hasattr(kind, '_make'):
        return kind._make(elements)
    try:
        result = tuple.__new__(kind, elements)
    except TypeError:  # a type of native code, which takes its own values only: `torch.Size`, `os.stat_result`
        return tuple(elements)
    if hasattr(first, '__dict__'):
        vars(result).update(vars(first))
    return result


def _array_hint(path: Path, value: Any) -> str:
    """Where numbers of any count seem to be meant."""
    if isinstance(value, tuple) and not (path[1:] and all(isinstance(element, _NUMBER) for element in value)):
        return ''
    how = 'np.asarray'
    if len(path) < 3:
        how = 'apply(np.asarray)' if len(path) == 1 else f'map_at({path[1]!r}, np.asarray)'
    padded = '' if path[0] == 'combine_pad' else ', which combine_pad pads'
    return f'; a {"tuple" if isinstance(value, tuple) else "list"} is structure: `{how}` makes an array of it{padded}'


def _walk_keys(values: Sequence[Any], leaf: Leaf, path: Path) -> Any:
    first, keys = values[0], values[0].keys()
    for i, value in enumerate(values):
        if value.keys() != keys:
            _refuse(path, values, i, lambda value: f'keys {list(value)}')
    result = copy.copy(first) if isinstance(first, dict) else {}
    for key in first:
        result[key] = _walk([value[key] for value in values], leaf, (*path, key))
    return result


def _listed(values: Sequence[Any], *_: Any) -> list[Any]:
    return list(values)


def _combined(join: Join, values: Sequence[Any], kinds: Kinds, path: Path) -> Array | list[Any]:
    if kinds == {np.ndarray}:
        return join(values, path)
    if kinds <= _BUILTIN_NUMBERS or (len(kinds) == 1 and issubclass(next(iter(kinds)), _NUMBER)):
        array = np.array(values)
        return array if _is_exact(array, kinds) else join(list(map(np.asarray, values)), path)
    if all(issubclass(kind, _TEXT) for kind in kinds):
        return list(values)
    arrays = _arrays(values, kinds, path)
    return np.fromiter(values, object, len(values)) if arrays is None else join(arrays, path)


def _arrays(values: Sequence[Any], kinds: Kinds, path: Path) -> Sequence[Array] | None:
    """The values as plain arrays, or None if some are none."""
    if any(issubclass(kind, np.ndarray) for kind in kinds - {np.ndarray}):  # only then load `np.ma`
        for i, value in enumerate(values):
            if isinstance(value, np.ma.MaskedArray):
                place, hint = _place(path, f'item {i}'), 'use its `filled()`, or make the mask an element of its own'
                raise TypeError(f'{path[0]}: {place} is a masked array, whose mask would be lost; {hint}')
    arrays = {kind for kind in kinds if _is_array(kind)}
    if arrays == kinds:
        found = [_array(value, path, i) for i, value in enumerate(values)]
        if any(map(is_table, kinds)):
            _check_tables(values, found, path)
        return found
    with_axes = [type(value) in arrays and np.ndim(value) > 0 for value in values]
    if any(with_axes):
        _refuse(path, values, _odd(with_axes), _type, error=TypeError)
    return None


def _array(value: Any, path: Path, i: int) -> Array:
    try:
        return np.asarray(value)
    except Exception as error:
        what = f'{_place(path, f"item {i}")}, a {type(value).__name__},'
        why = f'{type(error).__name__}: {error}'
        raise TypeError(f'{path[0]}: {what} cannot be made an array ({why}){_way_out(value)}') from error


def _way_out(value: Any) -> str:
    """What a tensor needs before numpy takes it."""
    device, dtype = getattr(getattr(value, 'device', None), 'type', 'cpu'), str(getattr(value, 'dtype', ''))
    if device == 'meta':
        return '; it has no values'
    calls = {
        '.detach()': getattr(value, 'requires_grad', False),
        '.to_dense()': str(getattr(value, 'layout', 'torch.strided')) != 'torch.strided',
        '.dequantize()': getattr(value, 'is_quantized', False),
        '.cpu()': device != 'cpu',
        '.float()': dtype.startswith(('torch.bfloat', 'torch.float8', 'torch.float4')),
        '.cfloat()': dtype == 'torch.complex32',
    }
    written = ''.join(call for call, needed in calls.items() if needed)
    return f'; convert it before, by `{written}`' if written else '; convert it before'


def _check_tables(values: Sequence[Any], arrays: Sequence[Array], path: Path) -> None:
    for i, (value, array) in enumerate(zip(values, arrays, strict=True)):
        if changes_integers(value, array):
            raise ValueError(
                f'{path[0]}: {_place(path, f"item {i}")}, a {type(value).__name__}, has 64-bit integers that are others'
                f' in {array.dtype}, which numpy makes of it; fill what is missing, or combine each column by itself'
            )
    first = labels(values[0])
    for i, value in enumerate(values):
        others = labels(value)
        for name in first | others:
            if not _are_equal(others.get(name), first.get(name)):
                hint = '; labels must be the same, in the same order, or be dropped before, by `np.asarray`'
                _refuse(path, values, i, partial(_labelled, name), hint)


def _are_equal(some: Any, others: Any) -> bool:
    if some is None or others is None:
        return some is others
    return some is others or bool(some.equals(others) if hasattr(some, 'equals') else some == others)


def _labelled(name: str, value: Any) -> str:
    if (found := labels(value).get(name)) is None:
        return f'no {name}'
    if isinstance(found, str) or not hasattr(found, '__len__'):
        return f'{name} {found}'
    shown = ', '.join(map(repr, found[:6]))
    return f'{name} [{shown}{", …" if len(found) > 6 else ""}]'


def _is_array(kind: type) -> bool:
    """Whether values of this type are arrays to numpy, with axes or without."""
    if issubclass(kind, _TEXT):
        return False
    return issubclass(kind, _NUMBER) or hasattr(kind, '__array__') or hasattr(kind, '__array_interface__')


def _odd(traits: Iterable[Any]) -> int:
    """The first place where there is something else than in the first."""
    first, *others = traits
    return next(i for i, trait in enumerate(others, 1) if trait != first)


def _place(path: Path, item: str = 'an item') -> str:
    return f'element {"".join(f"[{key!r}]" for key in path[1:])} of {item}' if path[1:] else item


def _refuse(
    path: Path,
    values: Sequence[Any],
    i: int,
    has: Callable[[Any], str],
    hint: str = '',
    error: type[Exception] = ValueError,
) -> NoReturn:
    but = f'but item 0 has {has(values[0])}{hint}'
    raise error(f'{path[0]}: {_place(path, f"item {i}")} has {has(values[i])}, {but}')


def _type(value: Any) -> str:
    return f'type {type(value).__name__}'


def _type_in_full(value: Any) -> str:
    kind = type(value)
    if hasattr(kind, '_fields'):
        return f'type {kind.__name__} with fields {list(kind._fields)}'
    return f'type {kind.__module__}.{kind.__qualname__}'


def _shape(value: Any) -> str:
    return f'shape {value.shape}'


# ---------------------------------------------------------------------------------------------------------------------
# Arrays


def _stack(arrays: Sequence[Array], path: Path) -> Array:
    shape = arrays[0].shape
    out = np.empty((len(arrays), *shape), _dtype(arrays, path))
    try:
        if not shape:
            np.stack(arrays, out=out, casting='unsafe')  # `_dtype` has seen to it that it is not
        elif len(set(map(len, arrays))) > 1:
            raise ValueError('`concatenate` checks the other axes')
        else:
            # Takes half the time of `np.stack`, which makes a view of each array first. Without `out`, the axes would
            # be in the order that those of the arrays have in memory.
            np.concatenate(arrays, out=out.reshape(len(arrays) * shape[0], *shape[1:]), casting='unsafe')
    except (TypeError, ValueError):
        shapes = [array.shape for array in arrays]
        if len(set(shapes)) == 1:
            raise
        hint = '; combine_pad pads to a common shape' if len(set(map(len, shapes))) == 1 else ''
        _refuse(path, arrays, _odd(shapes), _shape, hint)
    return out


def _dtype(arrays: Sequence[Array], path: Path) -> np.dtype[Any]:
    """The common dtype, in which no integer and no time is another one."""
    if len(found := {array.dtype for array in arrays}) == 1:
        (common,) = found
        # in the order of bytes of this machine
        return common if common.isnative and common.names is None else np.result_type(common, common)
    dtypes = list(dict.fromkeys([array.dtype for array in arrays]))
    common = dtypes[0]
    for count in range(2, len(dtypes) + 1):
        if (promoted := _promoted(dtypes[:count])) is None:
            i = next(i for i, array in enumerate(arrays) if array.dtype == dtypes[count - 1])
            hint = '; they have no common dtype'
            _refuse(path, arrays, i, lambda array: f'dtype {array.dtype}', hint, TypeError)
        common = promoted
    if common.names is not None:
        fields = {name: _dtype([array[name] for array in arrays], (*path, name)) for name in common.names}
        return np.dtype([(name, field, common[name].shape) for name, field in fields.items()])
    if common.kind == 'f' and all(dtype.kind in 'biu' for dtype in dtypes):
        common = np.dtype(np.int64)
        if any(_changed(array, common).size for array in arrays if array.dtype.kind == 'u'):
            common = np.dtype(np.uint64)
    may_change = {dtype for dtype in dtypes if dtype != common and _may_change(dtype, common)}
    for i, array in enumerate(arrays):
        if array.dtype in may_change and (others := _changed(array, common)).size:
            raise ValueError(
                f'{path[0]}: {_place(path, f"item {i}")} has {others[0]} in dtype {array.dtype}, which {common}, the'
                ' common dtype, does not hold; convert the items to one dtype before'
            )
    return common


def _promoted(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any] | None:
    """The dtype that holds all of them; None if there is none, or numbers, times, text and bytes would get mixed."""
    kinds = {dtype.kind for dtype in dtypes}
    if len(kinds) > 1 and kinds != {'U', 'T'} and kinds & set('mM' if 'O' in kinds else 'mMSU'):
        return None
    try:
        return np.result_type(*dtypes)
    except TypeError:
        return None


def _may_change(dtype: np.dtype[Any], common: np.dtype[Any]) -> bool:
    """Whether there are integers or times of this dtype that are others in the common one."""
    return common.kind != 'O' and (dtype.kind in 'mM' or (dtype.kind in 'iu' and dtype.itemsize == 8))


def _changed(array: Array, dtype: np.dtype[Any]) -> Array:
    """The integers and times of the array that are others in this dtype."""
    kind, target, array = array.dtype.kind, dtype.kind, np.atleast_1d(array)
    if not array.size:
        return array
    if kind in 'iu' and array.max() <= EXACT and array.min() >= (0 if target == 'u' else -EXACT):
        return array[:0]
    if target == 'c':
        dtype = np.empty(0, dtype).real.dtype
    changed: Any
    with np.errstate(all='ignore'):
        cast = array.astype(dtype)
        changed = cast.astype(array.dtype) != array
        if kind in 'mM':
            changed &= ~np.isnat(array)
        elif target in 'iu':
            changed |= (cast < 0) != (array < 0)
        else:  # the cast back may take the float above the largest integer for that
            changed |= cast >= dtype.type(2) ** (8 * array.dtype.itemsize - (kind == 'i'))
        found: Array = array[changed]
    return found


def _is_exact(array: Array, kinds: Kinds) -> bool:
    """Whether what numpy makes of numbers is sure to be these; of what it may have changed, `_dtype` finds out."""
    if array.dtype.kind in 'fc' and any(issubclass(kind, (int, np.integer)) for kind in kinds):
        return not (np.abs(array) >= EXACT).any()
    return array.dtype.kind not in 'mM'
