"""What identifies an item in its run.

A key is an ordinal (the item's place in the source: 0, 1, 2, …), a pair `(key, n)` for the n-th thing made of one
item (its parts after `flatten`, its repetitions after `reuse`, its branch in a `mix`), a `Batch` of keys, or a
`Zipped` key, of a tuple of items.
The item's place in the source always comes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from operator import index
from typing import Any, Final, TypeAlias

__all__ = ['END', 'Batch', 'Key', 'Zipped', 'as_key', 'describe', 'is_count', 'is_pair', 'ordinals', 'word']

Key: TypeAlias = 'int | tuple[Any, ...]'
_MASK: Final = (1 << 64) - 1


class Batch(tuple[Key, ...]):
    """The key of a batch: the keys of its items."""

    __slots__ = ()


class Zipped(tuple[tuple[Any, int], ...]):
    """The key of a tuple that `zip_with` makes: the pairs `(key, n)` of its elements, the n-th one out of branch n."""

    __slots__ = ()

    @classmethod
    def of(cls, keys: Iterable[Key]) -> Zipped:
        """The key of the tuple whose elements have these keys."""
        return cls(zip(keys, count(), strict=False))

    @property
    def keys(self) -> list[Key]:
        """The keys of the elements, each in its own branch."""
        return [key for key, _ in self]


def is_pair(key: Any) -> bool:
    """Whether the key is of the form `(key, n)`."""
    return type(key) is tuple


class _End:
    def __repr__(self) -> str:
        return 'END'


END: Final = _End()
"""Stands in a log where the items ended."""


def word(key: Key) -> int:
    """The 64 bits that tell this key's random generator from all others of its step.

    Those of a batch and of a zipped tuple are those of its first item.

    >>> word(7), word(Batch((7, 3))), word(Zipped.of([7, 3])), word((7, 0)) == word((7, 1))
    (7, 7, 7, False)
    """
    if isinstance(key, int):
        return key & _MASK
    if isinstance(key, Batch):
        return word(key[0])
    if isinstance(key, Zipped):
        return word(key[0][0])
    z: int = (word(key[0]) * 0x9E3779B97F4A7C15 + (key[1] + 1) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def ordinals(key: Key) -> list[int]:
    """The places in the source of the items that this key was made of; of a zipped tuple, those of its first item.

    >>> ordinals(Batch(((4, 0), (4, 1), 6))), ordinals(Zipped.of([4, 6]))
    ([4, 4, 6], [4])
    """
    if isinstance(key, int):
        return [key]
    return [ordinal for part in (key if isinstance(key, Batch) else key[:1]) for ordinal in ordinals(part)]


def describe(key: Key) -> str:
    """The key in words, for the note on an error.

    >>> describe(5), describe((5, 2)), describe(Batch(range(64, 96))), describe(Batch((3, 9, 1)))
    ('item 5', 'item 5 (part 2)', 'items 64 to 95', 'items 3, 9, 1')
    >>> describe(Zipped.of([5, 5])), describe(Zipped.of([5, 7]))
    ('item 5', 'item 5 with item 7')
    """
    if isinstance(key, int):
        return f'item {key}'
    if isinstance(key, Zipped):
        return ' with '.join(dict.fromkeys(map(describe, key.keys)))
    if not isinstance(key, Batch):
        path = []
        while isinstance(key, tuple) and not isinstance(key, (Batch, Zipped)):
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

    >>> as_key([[3, 0], 1]), as_key([[3, 0], [5, 1]]) == Zipped.of([3, 5])
    (((3, 0), 1), True)
    """
    if isinstance(value, (list, tuple)) and not isinstance(value, (Batch, Zipped)):
        key = tuple(map(as_key, value))
        zipped = key and all(is_pair(part) and part[1:] == (n,) for n, part in enumerate(key))
        return Zipped(key) if zipped else key
    if isinstance(value, bool) or not hasattr(type(value), '__index__'):
        return value
    try:
        return index(value)
    except TypeError:  # an array has an index or not, depending on its shape
        return value


def is_count(value: Any) -> bool:
    """Whether it is an int that can be a number of items."""
    return type(value) is int and 0 <= value < 1 << 63
