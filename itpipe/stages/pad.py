"""Batches padded to a common shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from itpipe._core.checks import integer, not_async, number, truth
from itpipe._engine.stream import Stage, itemwise

from .combine import (
    _CONTAINER,
    _NO_ITEMS,
    Array,
    Kinds,
    Path,
    _arrays,
    _batch,
    _combined,
    _dtype,
    _odd,
    _place,
    _refuse,
    _shape,
    _stack,
    _type,
    _walk,
)

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from itpipe._engine.stream import Combined
    from itpipe._engine.types import G, HalfKnown, K, Named, Padding, Pair, Unknown

__all__ = ['combine_pad']
_DEFAULTS: dict[str, Any] = {'padding_values': 0, 'ratio': 0.5, 'multiple_of': None, 'lengths': False}


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
def combine_pad(
    items: Iterable[Any], *, lengths: bool, padding_values: Any = 0, ratio: Any = 0.5, multiple_of: Any = None
) -> tuple[Any, Any]: ...
@overload
def combine_pad(**options: Unpack[Padding]) -> Combined: ...
@overload
def combine_pad(
    *, lengths: bool, padding_values: Any = 0, ratio: Any = 0.5, multiple_of: Any = None
) -> Stage[Iterable[Any], tuple[Any, Any]]: ...
def combine_pad(
    items: Iterable[Any] = _NO_ITEMS,
    *,
    padding_values: Any = 0,
    ratio: Any = 0.5,
    multiple_of: Any = None,
    lengths: bool = False,
) -> Any:
    """A batch as `combine` makes it, in which arrays of different shapes are padded to their common, largest shape.

    - `padding_values`: what to pad with: a value, or a function of an array that gives one, such as `numpy.min`.
    - `ratio`: the share of the padding, between 0 and 1, that goes before the array, rounded down: 0.5 puts the array
      in the middle, 0 at the beginning.
    - `multiple_of`: the common shape is rounded up to a multiple of this.
    - `lengths`: if true, the result is a pair: the batch, and the same structure with the true shapes, one row for
      each item, in an int64 array in place of each padded array, and None in place of all else.

    One value counts for all. Otherwise an option is read along with the structure of an item: where the item is a tuple
    or list, a tuple or list has one value for each element; where it is a dict, a dict has values for some of the keys,
    and the others take the default; and where it is an array, a tuple or list has one value for each axis
    (`padding_values` has no such form). So with items `(image, mask)`, `ratio=(0.5, 0)` centres images only, and
    `ratio=([0, 0.5], 0)` centres them along their second axis only.

    Called with options alone, this gives the stage that does it to each list of items. Options are checked at once,
    and against the items once there are some; a padding value is looked at only where there is something to pad.

    Raises what `combine` does, except that shapes may differ, though not in the number of axes; TypeError and
    ValueError for options of the wrong type or value, or that do not fit the structure of the items; and ValueError
    for a padding value that the dtype cannot hold, such as -1 in uint8.

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

    The idea, and padding by a function, are from deep_pipe.

    See also: `combine`, `combine_lists`, `batch_by` with `padded=True`, which bounds the size after padding.
    """
    options = {'padding_values': padding_values, 'ratio': ratio, 'multiple_of': multiple_of}
    for value in _single_values(ratio):
        number('combine_pad', 'ratio', value, least=0, most=1)
    for value in _single_values(multiple_of):
        if value is not None:
            integer('combine_pad', 'multiple_of', value, least=1)
    for value in filter(callable, _single_values(padding_values)):
        not_async('combine_pad: `padding_values`', value)
    truth('combine_pad', 'lengths', lengths)
    if items is _NO_ITEMS:
        given = {name: v for name, v in {**options, 'lengths': lengths}.items() if v is not _DEFAULTS[name]}
        return itemwise('combine_pad', partial(combine_pad, **given), kwargs=given)
    batch, path = _batch('combine_pad', items), ('combine_pad',)
    combined = _walk(batch, partial(_combined, partial(_pad, options, batch[0])), path)
    return (combined, _walk(batch, _true_shapes, path)) if lengths else combined


def _true_shapes(values: Sequence[Any], kinds: Kinds, path: Path) -> Array | None:
    arrays = _arrays(values, kinds, path)
    return np.array([array.shape for array in arrays], np.int64) if arrays and arrays[0].ndim else None


def _pad(options: dict[str, Any], item: Any, arrays: Sequence[Array], path: Path) -> Array:
    shapes, ndim = [array.shape for array in arrays], arrays[0].ndim
    if len(set(map(len, shapes))) > 1:
        hint = '; only shapes with the same number of axes have a common one'
        _refuse(path, arrays, _odd(map(len, shapes)), _shape, hint)
    value, ratio, multiple = (_option_at(path, name, value, item) for name, value in options.items())
    if _is_many(value):
        got = type(value).__name__
        raise TypeError(f'combine_pad: `padding_values` for {_place(path)} must be one value or a function, got {got}')
    ratios, multiples = _per_axis('ratio', ratio, ndim, path), _per_axis('multiple_of', multiple, ndim, path)
    different = set(shapes)
    common = tuple(
        -(-max(sizes) // (multiple or 1)) * (multiple or 1)
        for sizes, multiple in zip(zip(*different, strict=True), multiples, strict=True)
    )
    if different == {common}:
        return _stack(arrays, path)

    out, filled = _padding((len(arrays), *common), _dtype(arrays, path), value, path)
    axes = [
        (axis, size, ratios[axis]) for axis, size in enumerate(common) if {shape[axis] for shape in shapes} != {size}
    ]
    box = [slice(None)] * ndim
    for i, (target, array, shape) in enumerate(zip(out, arrays, shapes, strict=True)):
        if not filled and shape != common:
            target.fill(_fitting(value(array), out.dtype, path, f'item {i}') if callable(value) else value)
        for axis, size, ratio in axes:
            start = int((size - shape[axis]) * ratio)
            box[axis] = slice(start, start + shape[axis])
        target[tuple(box)] = array
    return out


def _padding(shape: Sequence[int], dtype: np.dtype[Any], value: Any, path: Path) -> tuple[Array, bool]:
    """What the arrays go into, and whether it holds the padding already."""
    size = math.prod(shape) * dtype.itemsize
    if callable(value):
        return np.empty(shape, dtype), False
    zero = type(value) is int and value == 0
    if not (zero and dtype.kind in 'biufc'):  # which every such dtype has
        _fitting(value, dtype, path)
    # Zeros come from the system, which has them for free where they are many. Of other values, fastest is to fill what
    # lies in the cache when the arrays come: all at once, or later one item at a time.
    if zero:
        return np.zeros(shape, dtype), True
    if size <= 2**20:
        return np.full(shape, value, dtype), True
    return np.empty(shape, dtype), False


def _fitting(value: Any, dtype: np.dtype[Any], path: Path, item: str = 'an item') -> Any:
    if not _fits(np.asarray(value), dtype):
        raise ValueError(
            f'combine_pad: `padding_values` for {_place(path, item)} must fit dtype {dtype}, got {value!r};'
            ' give another value, or convert the arrays before'
        )
    return value


def _fits(value: Array, dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this dtype can hold the value, but for the rounding of floats."""
    kind, target = value.dtype.kind, dtype.kind
    if (dtype.hasobject and target != 'T') or (value.dtype == dtype and not value.ndim):
        return True
    if (
        value.ndim
        or kind == 'V'
        or not (kind == target or kind + target == 'UT' or (kind in 'biuf' and target in 'biufc'))
    ):
        return False
    with np.errstate(all='ignore'):
        cast = value.astype(dtype)
    if target in 'fc' and kind == 'f':
        return bool(np.isfinite(cast) or not np.isfinite(value))
    return bool(np.isnat(value) or cast == value) if kind in 'mM' else bool(cast.item() == value.item())


# ---------------------------------------------------------------------------------------------------------------------
# Options


def _is_many(value: Any) -> bool:
    if value is None or isinstance(value, (int, float)):  # most often; the other checks take longer
        return False
    return isinstance(value, _CONTAINER) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _single_values(option: Any) -> Iterator[Any]:
    if not _is_many(option):
        yield option
        return
    for value in option.values() if isinstance(option, Mapping) else option:
        yield from _single_values(value)


def _option_at(path: Path, name: str, value: Any, item: Any) -> Any:
    """What the option says for this place in the item."""
    for depth, key in enumerate(path[1:], 1):
        if not _is_many(value):
            return value
        place = _place(path[:depth])
        if isinstance(value, Mapping) is not isinstance(item, Mapping):
            raise TypeError(f'combine_pad: `{name}` has {_type(value)}, but {place} has {_type(item)}')
        if isinstance(value, Mapping):
            if not value.keys() <= item.keys():
                raise ValueError(f'combine_pad: `{name}` has keys {list(value)}, but {place} has keys {list(item)}')
            value = value.get(key, _DEFAULTS[name])
        else:
            _check_length(name, value, len(item), 'elements', place)
            value = value[key]
        item = item[key]
    return value


def _per_axis(name: str, value: Any, ndim: int, path: Path) -> Sequence[Any]:
    if not _is_many(value):
        return [value] * ndim
    if isinstance(value, Mapping):
        raise TypeError(f'combine_pad: `{name}` has {_type(value)}, but {_place(path)} is an array')
    _check_length(name, value, ndim, 'axes', _place(path))
    return value  # type: ignore[no-any-return]


def _check_length(name: str, value: Sequence[Any], length: int, what: str, place: str) -> None:
    if len(value) != length:
        raise ValueError(f'combine_pad: `{name}` has {len(value)} values, but {place} has {length} {what}')
