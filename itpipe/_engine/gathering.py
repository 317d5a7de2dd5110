"""The items of a batch looked up together: by one indexing operation, or by `__getitems__` of a dataset."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from itpipe._core.blocks import SMALLEST, empty
from itpipe._core.show import format_value

from .functions import NOTHING, Each, ItemFunction
from .indexing import LookUp, is_block

__all__ = ['for_each', 'get_items', 'look_up_together', 'rows_of']


class WrongCount(Exception):
    """A dataset does not give an item for each index."""


def for_each(function: ItemFunction) -> ItemFunction:
    """The function of a batch that calls this one for each item, but looks the items up together if it can."""
    if function.calls and isinstance(look_up := function.calls[0], LookUp) and look_up.gathers:
        gathered = ItemFunction((Gather(look_up),), ('',))
        function = ItemFunction(function.calls[1:], function.names[1:], pass_=function.pass_)
        if not function.calls:
            return gathered
    else:
        gathered = NOTHING
    return ItemFunction((Each(function),), ('',), pass_=function.pass_).after(gathered)


class Gather(Each):
    """A function of the indices of a batch. If `call` is given, it is what this function makes of the items.

    If that raises, the items are looked up one by one, to find out which item raises.
    """

    __slots__ = ('call', 'look_up', 'rows')

    def __init__(self, look_up: LookUp, call: Callable[[list[Any]], Any] | None = None):
        super().__init__(look_up.function)
        self.look_up, self.call = look_up, call
        self.rows = rows_of(look_up.sequence)

    def at(self, key: Any) -> Callable[[Any], Any]:
        return partial(self._gather, key)

    def _gather(self, key: Any, indices: list[int]) -> Any:
        if (items := look_up_together(self.rows, indices)) is not None:
            return list(items) if self.call is None else items
        items = super().at(key)(indices)
        return items if self.call is None else self.call(items)

    def in_pass(self, pass_: int) -> Gather:
        return self

    def together_with(self, call: Any) -> Gather | None:
        """With a `call` that would make the array of its rows again, see `combine.keeps_block`."""
        sequence = self.look_up.sequence
        keeps = _is_plain(sequence) and self.call is None and getattr(call, 'keeps_block', False)
        return Gather(self.look_up, call) if keeps else None

    def __reduce__(self) -> Any:
        return Gather, (self.look_up, self.call)


def look_up_together(rows: Callable[[list[int]], Any], indices: list[int]) -> Any:
    """What `rows` gives, None if it raises: then they are looked up one by one, to find out which of them raises.

    Raises ValueError if there is not an item for each index: which of them there are is not known.
    """
    try:
        return rows(indices)
    except WrongCount as error:
        raise ValueError(*error.args) from None
    except Exception:
        return None


def rows_of(sequence: Any) -> Callable[[list[int]], Any]:
    """The function that looks up several items of the sequence together."""
    if not is_block(sequence):
        return partial(get_items, sequence)
    if not isinstance(sequence, np.ndarray):
        return partial(_take_rows, sequence)
    array = np.asarray(sequence)
    row = max(1, array.itemsize * math.prod(array.shape[1:]))
    return partial(_take, array, -(-SMALLEST // row))


def _is_plain(sequence: Any) -> bool:
    """Whether a batch of rows is the rows themselves: of an array of numbers, or of a tensor in the CPU's memory."""
    if type(sequence) in (np.ndarray, np.memmap):
        return sequence.dtype.kind in 'biufc' and bool(sequence.dtype.isnative)
    return is_block(sequence) and not (
        sequence.requires_grad
        or sequence.is_quantized
        or sequence.is_nested
        or sequence.is_conj()
        or sequence.is_neg()
        or sequence.device.type != 'cpu'
        or str(sequence.layout) != 'torch.strided'
    )


def _take(array: Any, large: int, indices: list[int]) -> Any:
    """These rows of the array; so many are `large`."""
    if len(indices) < large or max(indices) >= len(array):
        return array.take(indices, axis=0)
    out = empty((len(indices), *array.shape[1:]), array.dtype)
    return array.take(indices, axis=0, out=out, mode='clip')  # in another mode it would be made elsewhere, and copied


def _take_rows(tensor: Any, indices: list[int]) -> Any:
    return tensor[indices].contiguous()


def get_items(sequence: Any, indices: list[int]) -> list[Any]:
    """What `__getitems__` gives, if that is an item for each index."""
    found = sequence.__getitems__(indices)
    items = [] if isinstance(found, Mapping) else list(found)
    if len(items) != len(indices):
        got = f'a {type(found).__name__}' if isinstance(found, Mapping) else f'{len(items)} items'
        raise WrongCount(
            f'`__getitems__` of {format_value(sequence)} must give an item for each index, got {got} for'
            f' {len(indices)} indices'
        )
    return items
