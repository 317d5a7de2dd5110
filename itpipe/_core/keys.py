"""What identifies an item in its run.

A key is an ordinal (the item's place in the source: 0, 1, 2, …), a pair `(key, n)` for the n-th thing made of one
item (its parts after `flatten`, its repetitions after `reuse`, its branch in a `mix`), or a `Batch` of keys.
The item's place in the source always comes first.
"""

from __future__ import annotations

from operator import index
from typing import Any, Final, TypeAlias

__all__ = ['END', 'Batch', 'Key', 'as_key', 'describe', 'is_count', 'is_pair', 'ordinals', 'word']

Key: TypeAlias = 'int | tuple[Any, ...]'
_MASK: Final = (1 << 64) - 1


class Batch(tuple[Key, ...]):
    """The key of a batch: the keys of its items."""

    __slots__ = ()


def is_pair(key: Any) -> bool:
    """Whether the key is of the form `(key, n)`."""
    return isinstance(key, tuple) and not isinstance(key, Batch)


class _End:
    def __repr__(self) -> str:
        return 'END'


END: Final = _End()
"""Stands in a log where the items ended."""


def word(key: Key) -> int:
    """The 64 bits that tell this key's random generator from all others of its step; a batch counts as its first item.

    >>> word(7), word(Batch((7, 3))), word((7, 0)) == word((7, 1))
    (7, 7, False)
    """
    if isinstance(key, int):
        return key & _MASK
    if isinstance(key, Batch):
        return word(key[0])
    z: int = (word(key[0]) * 0x9E3779B97F4A7C15 + (key[1] + 1) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def ordinals(key: Key) -> list[int]:
    """The places in the source of the items that this key was made of.

    >>> ordinals(Batch(((4, 0), (4, 1), 6)))
    [4, 4, 6]
    """
    if isinstance(key, int):
        return [key]
    return [ordinal for part in (key if isinstance(key, Batch) else key[:1]) for ordinal in ordinals(part)]


def describe(key: Key) -> str:
    """The key in words, for the note on an error.

    >>> describe(5), describe((5, 2)), describe(Batch(range(64, 96))), describe(Batch((3, 9, 1)))
    ('item 5', 'item 5 (part 2)', 'items 64 to 95', 'items 3, 9, 1')
    """
    if isinstance(key, int):
        return f'item {key}'
    if not isinstance(key, Batch):
        path = []
        while isinstance(key, tuple) and not isinstance(key, Batch):
            path.append(str(key[1]))
            key = key[0]
        return f'{describe(key)} (part {", ".join(reversed(path))})'
    places = ordinals(key)
    if len(places) == 1:
        return f'item {places[0]}'
    if places == list(range(places[0], places[0] + len(places))):
        return f'items {places[0]} to {places[-1]}'
    return f'items {", ".join(map(str, places[:8]))}{", …" if len(places) > 8 else ""}'


def as_key(value: Any) -> Any:
    """A key that went through JSON or numpy as it was; anything else as it is.

    >>> as_key([[3, 0], 1])
    ((3, 0), 1)
    """
    if isinstance(value, (list, tuple)) and not isinstance(value, Batch):
        return tuple(map(as_key, value))
    if isinstance(value, bool) or not hasattr(type(value), '__index__'):
        return value
    try:
        return index(value)
    except TypeError:  # an array has an index or not, depending on its shape
        return value


def is_count(value: Any) -> bool:
    """Whether it is an int that can be a number of items."""
    return type(value) is int and 0 <= value < 1 << 63
