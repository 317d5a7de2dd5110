"""Batches padded to a common shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from itpipe._core.blocks import empty, lends
from itpipe._core.checks import integer, not_async, number, truth
from itpipe._engine.stream import Stage, itemwise

from .array_likes import as_arrays, is_array_like
from .combine import NO_ITEMS, as_batch, combine_values
from .dtypes import common_dtype
from .joins import Array, stack
from .libraries import alike, library_of
from .options import check_types, is_many, option_at, per_axis, single_values
from .structure import Kinds, Path, element, first_different, refuse, shape_of, walk

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from itpipe._engine.stream import Combined
    from itpipe._engine.types import G, HalfKnown, K, Named, Padding, Pair, Unknown

    from .structure import Types

__all__ = ['combine_pad']

DEFAULTS: dict[str, Any] = {'padding_values': 0, 'ratio': 0.5, 'multiple_of': None, 'lengths': False, 'types': None}
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
def combine_pad(
    items: Iterable[Any], *, lengths: bool, padding_values: Any = 0, ratio: Any = 0.5, multiple_of: Any = None
) -> tuple[Any, Any]: ...
@overload
def combine_pad(
    items: Iterable[Any],
    *,
    types: Types,
    padding_values: Any = 0,
    ratio: Any = 0.5,
    multiple_of: Any = None,
    lengths: bool = False,
) -> Any: ...
@overload
def combine_pad(**options: Unpack[Padding]) -> Combined: ...
@overload
def combine_pad(
    *, lengths: bool, padding_values: Any = 0, ratio: Any = 0.5, multiple_of: Any = None
) -> Stage[Iterable[Any], tuple[Any, Any]]: ...
@overload
def combine_pad(
    *,
    types: Types,
    padding_values: Any = 0,
    ratio: Any = 0.5,
    multiple_of: Any = None,
    lengths: bool = False,
) -> Stage[Iterable[Any], Any]: ...
def combine_pad(
    items: Iterable[Any] = NO_ITEMS,
    *,
    padding_values: Any = 0,
    ratio: Any = 0.5,
    multiple_of: Any = None,
    lengths: bool = False,
    types: Types | None = None,
) -> Any:
    """A batch as `combine` makes it, in which arrays of different shapes are padded to their common, largest shape.

    - `padding_values`: the value to pad with, or a function of an array that returns one, such as `numpy.min`. The
      function gets an array of numpy also where the items have tensors.
    - `ratio`: the share of the padding, between 0 and 1, that goes before the array, rounded down: 0.5 puts the array
      in the middle, 0 at the beginning.
    - `multiple_of`: the common shape is rounded up to a multiple of this number.
    - `lengths`: if true, the result is a pair: the batch, and the same structure with the true shapes. In it, each
      padded array becomes an int64 array with a row for each item, and everything else becomes None.
    - `types`: functions for types of your own, as for `combine`.

    A single value is for all arrays. Otherwise an option has the structure of an item. For a tuple or list it is a
    tuple or list with one value for each element. For a dict or dataclass it is a dict with values for some of the
    keys or fields; the others have the default. For an array it is a tuple or list with one value for each axis (not
    for `padding_values`). So with items `(image, mask)`, `ratio=(0.5, 0)` centres images only, and
    `ratio=([0, 0.5], 0)` centres them along their second axis only.

    If it is called with options only, it returns the stage that does this to each list of items. The options are
    checked at once, and against the structure when there are items. A padding value is checked only when something is
    padded.

    Tensors and arrays of JAX must be in the memory of the CPU.

    Raises what `combine` raises, but shapes may differ if the number of axes is the same. Raises TypeError and
    ValueError for options of the wrong type or value, or that do not fit the structure of the items. Raises ValueError
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

    The idea, and the padding with a function, are from deep-pipe.

    See also: `combine`, `combine_lists`, `batch_by` with `padded=True`, which bounds the size after padding.
    """
    options = {'padding_values': padding_values, 'ratio': ratio, 'multiple_of': multiple_of}
    for value in single_values(ratio):
        number('combine_pad', 'ratio', value, least=0, most=1)
    for value in single_values(multiple_of):
        if value is not None:
            integer('combine_pad', 'multiple_of', value, least=1)
    for value in filter(callable, single_values(padding_values)):
        not_async('combine_pad: `padding_values`', value)
    truth('combine_pad', 'lengths', lengths)
    check_types('combine_pad', types)
    if items is NO_ITEMS:
        given = options | {'lengths': lengths, 'types': types}
        non_defaults = {name: value for name, value in given.items() if value is not DEFAULTS[name]}
        return itemwise('combine_pad', partial(combine_pad, **non_defaults), kwargs=non_defaults)
    batch, path = as_batch('combine_pad', items), ('combine_pad',)
    padded = walk(batch, partial(combine_values, partial(_pad, options, batch), by_value=True), path, types)
    return (padded, walk(batch, _true_shapes, path, dict.fromkeys(types or (), _nothing))) if lengths else padded


def _true_shapes(values: Sequence[Any], kinds: Kinds, path: Path) -> Any:
    arrays: Any = values
    if not (any(map(library_of, kinds)) and all(map(is_array_like, kinds))):
        arrays = as_arrays(values, kinds, path)
    if arrays is None or not arrays[0].ndim:
        return None
    return alike(np.array([array.shape for array in arrays], np.int64), arrays[0])


def _nothing(_: list[Any]) -> None:
    return None


def _pad(options: dict[str, Any], batch: list[Any], arrays: Sequence[Array], path: Path) -> Array:
    shapes, ndim = [array.shape for array in arrays], arrays[0].ndim
    if len(set(map(len, shapes))) > 1:
        hint = '; only shapes with the same number of axes have a common one'
        refuse(path, arrays, first_different(map(len, shapes)), shape_of, hint)
    value, ratio, multiple = (option_at(path, name, option, batch, DEFAULTS[name]) for name, option in options.items())
    if is_many(value):
        got = type(value).__name__
        raise TypeError(f'combine_pad: `padding_values` for {element(path)} must be one value or a function, got {got}')
    ratios, multiples = per_axis('ratio', ratio, ndim, path), per_axis('multiple_of', multiple, ndim, path)
    different = set(shapes)
    largest = map(max, zip(*different, strict=True))
    common = tuple(n + -n % (multiple or 1) for n, multiple in zip(largest, multiples, strict=True))
    if different == {common}:
        return stack(arrays, path)

    out, filled = _allocate((len(arrays), *common), common_dtype(arrays, path), value, path)
    axes = [
        (axis, size, ratios[axis]) for axis, size in enumerate(common) if {shape[axis] for shape in shapes} != {size}
    ]
    box = [slice(None)] * ndim
    for i, (target, array, shape) in enumerate(zip(out, arrays, shapes, strict=True)):
        if not filled and shape != common:
            target.fill(_checked(value(array), out.dtype, path, f'item {i}') if callable(value) else value)
        for axis, size, ratio in axes:
            start = int((size - shape[axis]) * ratio)
            box[axis] = slice(start, start + shape[axis])
        target[tuple(box)] = array
    return out


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
    if not _fits(np.asarray(value), dtype):
        raise ValueError(
            f'combine_pad: `padding_values` for {element(path, item)} must fit dtype {dtype}, got {value!r};'
            ' give another value, or convert the arrays before'
        )
    return value


def _fits(value: Array, dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this dtype can hold the value; floats may be rounded."""
    kind, target = value.dtype.kind, dtype.kind
    if (dtype.hasobject and target != 'T') or (value.dtype == dtype and not value.ndim):
        return True
    if value.ndim or not (kind == target != 'V' or kind + target == 'UT' or (kind in 'biuf' and target in 'biufc')):
        return False
    with np.errstate(all='ignore'):
        cast = value.astype(dtype)
    if target in 'fc' and kind in 'fc':
        return bool(np.isfinite(cast) or not np.isfinite(value))
    return bool(np.isnat(value) or cast == value) if kind in 'mM' else bool(cast.item() == value.item())
