"""What identifies an item in its run.

A key is an ordinal (the item's place in the source: 0, 1, 2, …), a pair `(key, n)` for the n-th thing made of one
item (its parts after `flatten`, its repetitions after `reuse`, its branch in a `mix`), or a `Batch` of keys.
The item's place in the source always comes first.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

__all__ = ['END', 'Batch', 'Key', 'decode', 'describe', 'encode', 'word']

Key: TypeAlias = 'int | tuple[Any, ...]'
_MASK: Final = (1 << 64) - 1


class Batch(tuple[Key, ...]):
    """The key of a batch: the keys of its items."""

    __slots__ = ()


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


def encode(key: Key) -> Any:
    """The key as JSON can hold it.

    >>> encode(Batch((1, (2, 0))))
    {'batch': [1, [2, 0]]}
    """
    if isinstance(key, int):
        return key
    if isinstance(key, Batch):
        return {'batch': [encode(part) for part in key]}
    return [encode(key[0]), key[1]]


def decode(code: Any) -> Key:
    """What `encode` made of a key, as a key again.

    >>> decode({'batch': [1, [2, 0]]}) == Batch((1, (2, 0)))
    True
    """
    if isinstance(code, int):
        return code
    if isinstance(code, dict):
        return Batch(decode(part) for part in code['batch'])
    if isinstance(code, (list, tuple)) and len(code) == 2:
        return (decode(code[0]), code[1])
    raise TypeError(f'not the code of a key: {code!r}')
