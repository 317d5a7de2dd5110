"""Sequences: whether a value has a length and an index, and how its items are looked up at 0, 1, 2, …"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from copy import copy
from functools import partial
from itertools import chain, count, islice
from operator import getitem
from typing import Any, Self

import numpy as np

from itpipe._core.keys import Batch, Key
from itpipe._core.notes import note, note_of_other, remark
from itpipe._core.part import Part, gives_together
from itpipe._core.show import format_value
from itpipe._core.steps import Pair

from .functions import Blames, ItemFunction

__all__ = [
    'Indices',
    'LookUp',
    'LookUpFailed',
    'Watchful',
    'as_runtime_error',
    'has_index',
    'index_agrees',
    'is_block',
    'is_cheap',
    'items_from',
    'length',
    'note_length',
    'note_source',
    'only_index',
    'run_begins',
]


class Watchful(Sequence[Any]):
    """Data that see for themselves whether they have changed."""

    def run_begins(self, pass_: int) -> None:
        """A pass over them begins."""


def note_source(error: Exception, where: str, key: Key, sequence: Any, index: Any) -> None:
    """Note on the error that it was raised for this item of the source. Data that are made by steps say by which."""
    if not (isinstance(sequence, Watchful) and note_of_other(error, index, key)):
        note(error, where, key)


def length(value: Any) -> int | None:
    """How many items it says it has; None if it does not say."""
    kind = type(value)
    try:
        if hasattr(kind, '__len__'):
            return len(value)
        if all(hasattr(kind, trait) for trait in ('shape', 'dtype', 'ndim')) and value.ndim:  # such as zarr's arrays
            return int(value.shape[0])
    except NotImplementedError:
        pass
    except Exception as error:
        note(error, f'the length of {format_value(value)}', None)
        raise
    return None


def only_index(value: Any) -> bool:
    """Whether an index and a length are the only way to its items.

    For such a value, the iterators of Python and of `abc.Sequence` take an IndexError of an item for the end. Without a
    length, that is what the error means.
    """
    kind = type(value)
    own_iter = getattr(kind, '__iter__', Sequence.__iter__) is not Sequence.__iter__
    return not own_iter and hasattr(kind, '__getitem__') and length(value) is not None


def has_index(value: Any) -> bool:
    """Whether iterating gives the items at 0, 1, 2, …, and these can be looked up."""
    if isinstance(value, np.ndarray) or only_index(value):
        return True
    if isinstance(value, (Mapping, AbstractSet)) or not hasattr(type(value), '__getitem__'):
        return False
    if any(hasattr(value, name) for name in ('iloc', 'keys', 'columns')) and not isinstance(value, Sequence):
        return False  # such as tables: their index is of rows, but iterating gives columns
    if any(kind.__name__ == 'IterableDataset' for kind in type(value).__mro__):
        return False  # torch's has a `__getitem__` that only raises; found by name, before any item is asked for
    with suppress(Exception):  # if it has no length after all, it is iterated
        return length(value) is not None
    return False


def index_agrees(value: Any) -> bool:
    """Whether the index of a value with `has_index` gives what iterating does: of another class, as the keys of a graph
    next to its nodes, would be the first item already."""
    if only_index(value) or is_cheap(value) or isinstance(value, Sequence):
        return True
    if isinstance(value, Iterator):  # it may stand elsewhere than at its beginning
        return False
    if not hasattr(type(value), '__del__'):
        with suppress(Exception):
            value = copy(value)  # what it opens for this item must not go to processes with it
    try:
        first = next(iter(value), None)
    except Exception:  # left for the run to raise
        return True
    try:
        return type(value[0]) is type(first)
    except Exception:
        return False


def is_cheap(sequence: Any) -> bool:
    """Whether to look an item up takes no time, as in lists and arrays."""
    while isinstance(sequence, Part):
        sequence = sequence.data
    kind = type(sequence)
    is_array = hasattr(kind, '__dlpack__') and not isinstance(sequence, np.memmap)
    of_python = kind in (list, tuple, range, str, bytes, bytearray, memoryview, deque)
    return is_array or of_python or (kind.__module__, kind.__name__) == ('array', 'array')


def is_block(sequence: Any) -> bool:
    """Whether one indexing operation gives the items at several indices, as an array."""
    if type(sequence) in (np.ndarray, np.memmap):
        return bool(sequence.ndim > 0 and sequence.dtype != object)
    torch: Any = sys.modules.get('torch')
    return torch is not None and type(sequence) is torch.Tensor and bool(sequence.ndim > 0)


def run_begins(sequence: Any, pass_: int) -> None:
    """Say so, where it is of interest."""
    if isinstance(sequence, Watchful):
        sequence.run_begins(pass_)


class LookUp(partial[Any], Blames):
    """A function of an index: the item of a sequence there. `where`, or what it returns, describes that in errors."""

    where: str | Callable[[], str]
    skips = False
    """Whether items may be left out that cannot be looked up."""

    def __new__(cls, sequence: Any, where: str | Callable[[], str]) -> Self:
        self = super().__new__(cls, getitem, sequence)
        self.where = where
        return self

    @property
    def sequence(self) -> Any:
        """What items are looked up in."""
        return self.args[0]

    @property
    def described(self) -> str:
        """The description of the sequence in errors."""
        return self.where if isinstance(self.where, str) else self.where()

    @property
    def gathers(self) -> bool:
        """Whether the items of a batch are looked up together."""
        sequence = self.sequence
        return is_block(sequence) or gives_together(sequence) or (isinstance(sequence, Part) and is_cheap(sequence))

    @property
    def function(self) -> ItemFunction:
        """It as a function of an item."""
        return ItemFunction((self,), ('',))

    def blame(self, error: Exception, key: Key, value: Any) -> None:
        note_source(error, self.described, key, self.sequence, value)
        note_length(error, self.sequence, value)

    def misplaced(self, error: StopIteration, value: Any) -> RuntimeError:
        return as_runtime_error(error, self.sequence, value)

    def __reduce__(self) -> Any:
        return LookUp, (*self.args, self.described)


class LookUpFailed(Exception):
    """An item could not be looked up, because of the error that is its `__cause__`."""

    def __init__(self, place: int, ordinal: int, index: Any):
        super().__init__(place, ordinal, index)
        self.place, self.ordinal, self.index = place, ordinal, index
        self.path: tuple[int, ...] = ()
        """Where in the tuples of `zip_with` the item would be."""


class Indices(Iterator[Pair]):
    """The indices of the items from the ordinal `start` on, in pairs with their ordinals, or many at once."""

    def __init__(self, start: int, indices: Iterable[Iterable[int]]):
        self._ordinals, self._indices = count(start), chain.from_iterable(indices)
        self._pairs = zip(self._ordinals, self._indices, strict=False)

    def __iter__(self) -> Iterator[Pair]:  # noqa: PYI034
        return self._pairs  # which is faster in a loop

    def __next__(self) -> Pair:
        return next(self._pairs)

    def batch(self, size: int) -> tuple[Batch, list[int]]:
        """The next `size` of them, or as many as are left, and the key of them together."""
        indices = list(islice(self._indices, size))
        return Batch(islice(self._ordinals, len(indices))), indices


def items_from(start: int, sequence: Any, moved: Any = None) -> Iterator[Any]:
    """The items of a sequence from the index `start` on.

    `moved` is an iterator over the sequence. It is set to stand behind each item, as if it had given the item.
    """
    for index in range(start, length(sequence) or 0):
        try:
            value = sequence[index]
        except StopIteration as error:
            raise as_runtime_error(error, sequence, index) from error
        except Exception as error:
            note_length(error, sequence, index)
            raise
        if moved is not None:
            moved.__setstate__(index + 1)
        yield value


def as_runtime_error(error: StopIteration, sequence: Any, index: Any) -> RuntimeError:
    """What to raise instead of a StopIteration that a `__getitem__` has raised: that would be taken for the end."""
    return RuntimeError(f'`__getitem__({index})` of {format_value(sequence)} raised {error!r}')


def note_length(error: Exception, sequence: Any, index: Any) -> None:
    """Note on an IndexError that the length of the sequence promises an item at this index, if it does."""
    with suppress(Exception):
        if isinstance(sequence, Watchful):  # the error may be of a step
            return
        if isinstance(error, IndexError) and index < (size := length(sequence)):
            remark(error, f'itpipe: by its length, {format_value(sequence)} has {size} items, and so one at {index}')
