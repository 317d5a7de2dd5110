"""Keys: what identifies an item in its run.

A key is one of

- an ordinal: the index of the item in the source, 0, 1, 2, …;
- a pair `(key, n)`: the n-th of several items that have the same key: the parts of an item after `flatten`, its
  repetitions after `reuse`, the items of the n-th branch of a `mix`;
- a `Draw`: the number of a draw, and the index in the data that was drawn;
- a `Batch` of keys;
- a `Zipped` key of a tuple of items.

In all of them, the ordinal comes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from operator import index
from typing import Any, Final, TypeAlias

__all__ = [
    'END',
    'Batch',
    'Draw',
    'Key',
    'Zipped',
    'as_key',
    'describe',
    'is_count',
    'is_pair',
    'key_hash',
    'keys_of',
    'numbered',
    'ordinals',
]

Key: TypeAlias = 'int | tuple[Any, ...]'
_MASK: Final = (1 << 64) - 1


class Batch(tuple[Key, ...]):
    """The key of a batch: the keys of its items."""

    __slots__ = ()


class Draw(tuple[int, int]):
    """The key of an item that was drawn with weights which may be replaced: the number of the draw, and the index.

    It is equal to the pair of these, which is what it becomes in JSON, and has the same random bits.
    """

    __slots__ = ()


class Zipped(tuple[tuple[Any, int], ...]):
    """The key of a tuple that `zip_with` makes: a pair `(key, n)` for each of its elements, n being the branch."""

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
"""In a log of keys: the items have ended."""


def key_hash(key: Key) -> int:
    """The 64 bits that make the random generator of this key different from all others of its step.

    A batch and a zipped tuple have the bits of their first item.

    >>> key_hash(7), key_hash(Batch((7, 3))), key_hash(Zipped.of([7, 3])), key_hash((7, 0)) == key_hash((7, 1))
    (7, 7, 7, False)
    """
    if isinstance(key, int):
        return key & _MASK
    if isinstance(key, Batch):
        return key_hash(key[0])
    if isinstance(key, Zipped):
        return key_hash(key[0][0])
    z: int = (key_hash(key[0]) * 0x9E3779B97F4A7C15 + (key[1] + 1) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def ordinals(key: Key) -> list[int]:
    """The ordinals of the items that this key was made of; for a zipped tuple, those of its first item.

    >>> ordinals(Batch(((4, 0), (4, 1), 6))), ordinals(Zipped.of([4, 6]))
    ([4, 4, 6], [4])
    """
    if isinstance(key, int):
        return [key]
    return [ordinal for part in (key if isinstance(key, Batch) else key[:1]) for ordinal in ordinals(part)]


def keys_of(key: Key | None) -> list[Any]:
    """The keys of the items in a batch, or the key of an item, in a list. Empty if there is no item yet."""
    return [] if key is None else list(key) if isinstance(key, Batch) else [key]


def numbered(key: Any) -> Any:
    """The key with the number of each draw in the place of the draw.

    >>> numbered((Draw((38, 7)), 2))
    (38, 2)
    """
    if isinstance(key, Draw):
        return key[0]
    if isinstance(key, Batch):
        return Batch(map(numbered, key))
    if isinstance(key, Zipped):
        return Zipped.of(map(numbered, key.keys))
    return (numbered(key[0]), *key[1:]) if isinstance(key, tuple) and key else key


def describe(key: Key) -> str:
    """The key in words, for the note on an error.

    >>> describe(5), describe((5, 2)), describe(Batch(range(64, 96))), describe(Batch((3, 9, 1)))
    ('item 5', 'item 5 (part 2)', 'items 64 to 95', 'items 3, 9, 1')
    >>> describe(Zipped.of([5, 5])), describe(Zipped.of([5, 7]))
    ('item 5', 'item 5 with item 7')
    >>> describe(Draw((38, 7))), describe((Draw((38, 7)), 2))
    ('item 38 (index 7)', 'item 38 (index 7) (part 2)')
    """
    if isinstance(key, int):
        return f'item {key}'
    if isinstance(key, Zipped):
        return ' with '.join(dict.fromkeys(map(describe, key.keys)))
    if isinstance(key, Draw):
        return f'item {key[0]} (index {key[1]})'
    if not isinstance(key, Batch):
        path = []
        while isinstance(key, tuple) and not isinstance(key, (Batch, Draw, Zipped)):
            path.append(str(key[1]))
            key = key[0]
        return f'{describe(key)} (part {", ".join(reversed(path))})'
    items = ordinals(key)
    if len(items) == 1:
        return f'item {items[0]}'
    if items == list(range(items[0], items[0] + len(items))):
        return f'items {items[0]} to {items[-1]}'
    return f'items {", ".join(map(str, items[:8]))}{", …" if len(items) > 8 else ""}'


def as_key(value: Any) -> Any:
    """The key that a value from JSON or numpy stands for; any other value unchanged.

    >>> as_key([[3, 0], 1]), as_key([[3, 0], [5, 1]]) == Zipped.of([3, 5])
    (((3, 0), 1), True)
    """
    if isinstance(value, (list, tuple)) and not isinstance(value, (Batch, Draw, Zipped)):
        key = tuple(map(as_key, value))
        zipped = key and all(is_pair(part) and part[1:] == (n,) for n, part in enumerate(key))
        return Zipped(key) if zipped else key
    if isinstance(value, bool) or not hasattr(type(value), '__index__'):
        return value
    try:
        return index(value)
    except TypeError:  # an array can be an index only if it has no axes
        return value


def is_count(value: Any) -> bool:
    """Whether the value is an int that can be a number of items."""
    return type(value) is int and 0 <= value < 1 << 63
