"""What a state knows of the data, so that other data is noticed where a run goes on: text, a line for each source.

A line is `1000 items, 1f0c3a5e`: how many there are, and a checksum of a few of them where looking these up takes no
time. It is empty where the number is not known. Only what is surely the same on another machine is in the checksum:
of floats their number, of text what is behind the last slash, as it may be a path.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePath
from typing import Any, Final, NamedTuple

import numpy as np

from itpipe._core.part import Part
from itpipe._core.show import format_value, shortened

from .indexing import index_agrees, is_block, is_cheap
from .source import Seeded

__all__ = ['DataDifference', 'count_in', 'data_difference', 'data_text', 'first_items', 'is_data_text', 'may_grow']

MOST: Final = 1 << 10
"""Values, and characters or numbers of each, that are in the checksum of an item."""
LINE: Final = r'(?:(0|[1-9][0-9]*) items(?:, ([0-9a-f]{8}))?)?'


class DataDifference(NamedTuple):
    """In what the data differs."""

    words: str
    more: int = 0
    """How many more items there are here, negative for fewer; 0 if that is not in what it differs."""


def data_text(source: Any) -> str:
    """What a state knows of the data of this source.

    A source with a length says its data by a method `data`: what items are looked up in, and how many there are.
    """
    return '\n'.join(_lines(source))


def is_data_text(value: Any) -> bool:
    """Whether it can be what a state knows of its data."""
    return isinstance(value, str) and all(re.fullmatch(LINE, line, re.ASCII) for line in value.split('\n'))


def count_in(text: str) -> int | None:
    """How many items there were, if there was one source, and it knew."""
    count, _ = _read(text) if '\n' not in text else (None, None)
    return count


def data_difference(there: str, here: str) -> DataDifference | None:
    """In what the data here differs from that there, as far as both are known."""
    for theirs, ours in zip(there.split('\n'), here.split('\n'), strict=False):
        (count, checksum), (own_count, own_checksum) = _read(theirs), _read(ours)
        if None in (count, own_count):
            continue
        if count != own_count:
            more = (own_count or 0) - (count or 0)
            return DataDifference(f'which has {count} items where this one has {own_count}', more)
        if None not in (checksum, own_checksum) and checksum != own_checksum:
            places = _places(count or 0)
            which = f'one of the items {", ".join(map(str, places[:-1]))} and {places[-1]}' if places[1:] else 'item 0'
            return DataDifference(f'in which {which} is another one')
    return None


def may_grow(source: Any) -> bool:
    """Whether the source can be one of its first items for the rest of a pass."""
    return may_grow(source.source) if isinstance(source, Seeded) else hasattr(source, 'first')


def first_items(where: str, source: Any, count: int) -> Any:
    """The source, of its first items only. Raises ValueError, naming `where`, if it cannot be that for a pass.

    A source that can be has a method `first`, which makes another source of other data: the first items.
    """
    if isinstance(source, Seeded):
        return source.over(first_items(where, source.source, count))
    if not hasattr(source, 'first'):
        raise ValueError(
            f'{where}: `append=True` does not go with {shortened(source)}, which draws without end: there is no next'
            ' pass, with which the new items could come; `stream(data) | shuffle()` has passes'
        )
    data, _ = source.data()
    if not index_agrees(data):
        raise ValueError(
            f'{where}: `append=True` needs data whose index gives the items that iterating does, got {shortened(data)}'
        )
    return source.first(_first(data, count), count)


def _first(data: Any, count: int) -> Any:
    """The first items of the data, as something that is looked up in the same way: all passes have the same plan."""
    if isinstance(data, Part):
        return Part(data.data, data.indices[:count])
    if isinstance(data, deque):
        return list(islice(data, count))
    if is_cheap(data) or is_block(data):
        return data[:count]
    return _FirstTogether(data, count) if hasattr(data, '__getitems__') else _First(data, count)


class _First:
    """The first items of a dataset."""

    def __init__(self, data: Any, count: int):
        self.data, self.count = data, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.data[index]

    def __repr__(self) -> str:
        return f'<the first {self.count} items of {format_value(self.data)}>'


class _FirstTogether(_First):
    """The same of a dataset that gives several at once."""

    def __getitems__(self, indices: Sequence[int]) -> Any:
        return self.data.__getitems__(indices)


def _read(line: str) -> tuple[int | None, str | None]:
    found = re.fullmatch(LINE, line, re.ASCII)
    return (None, None) if found is None or found[1] is None else (int(found[1]), found[2])


def _lines(source: Any) -> Iterator[str]:
    while isinstance(source, Seeded):
        source = source.source
    for branch in getattr(source, 'branches', ()):
        yield from _lines(branch.source)
    if not hasattr(source, 'branches'):
        yield _line(source)


def _line(source: Any) -> str:
    try:
        data, count = source.data()
    except Exception:  # an error in the dataset's own code is left for the run to raise
        return ''
    if count is None:
        return ''
    checksum = _checksum(data, count) if count and _is_plain(data) else None
    return f'{count} items' if checksum is None else f'{count} items, {checksum}'


def _is_plain(data: Any) -> bool:
    """Whether to look items up takes no time. To look at tensors may take some, as they may be on a device."""
    while isinstance(data, Part):
        data = data.data
    return is_cheap(data) and (isinstance(data, np.ndarray) or not hasattr(data, '__dlpack__'))


def _places(count: int) -> list[int]:
    return sorted({0, count // 4, count // 2, count - count // 4 - 1, count - 1})


def _checksum(data: Any, count: int) -> str | None:
    result = hashlib.blake2b(digest_size=4)
    try:
        for place in _places(count):
            for part in islice(_parts(data[place]), MOST):
                result.update(b'%d\0' % len(part))
                result.update(part)
    except Exception:  # of other objects nobody knows what makes them the same
        return None
    return result.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    """What the value is made of. Raises TypeError for what is not known to be the same in another process."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in 'biufcSUMm':
            raise TypeError
        yield f'{value.dtype.kind} {value.shape}'.encode()
        if value.dtype.kind in 'biu':
            yield value.flat[:MOST].astype('<i8').tobytes()
    elif isinstance(value, (str, PurePath)):
        yield b'text' + re.split(r'[/\\]', str(value))[-1][:MOST].encode('utf-8', 'surrogatepass')
    elif isinstance(value, bytes):
        yield b'bytes' + value[:MOST]
    elif isinstance(value, (float, complex)):
        yield b'float'
    elif value is None or isinstance(value, int):
        yield repr(value).encode()
    elif isinstance(value, (tuple, list)):
        yield b'elements %d' % len(value)
        for part in value:
            yield from _parts(part)
    elif isinstance(value, Mapping):
        yield b'keys %d' % len(value)
        for key in sorted(value, key=repr):
            yield from _parts(key)
            yield from _parts(value[key])
    else:
        raise TypeError
