"""What identifies an item in its run.

A key is an ordinal (the item's place in the source: 0, 1, 2, …), a pair `(key, n)` for the n-th thing made of one
item (its parts after `flatten`, its repetitions after `reuse`, its branch in a `mix`), or a `Batch` of keys.
The item's place in the source always comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from operator import index
from typing import Any, Final, TypeAlias

__all__ = [
    'END',
    'Batch',
    'Key',
    'as_key',
    'check_keys',
    'checked_key',
    'decode',
    'decode_all',
    'describe',
    'encode',
    'encode_all',
    'is_count',
    'is_pair',
    'ordinals',
    'word',
]  # fmt: skip

Key: TypeAlias = 'int | tuple[Any, ...]'
_MASK: Final = (1 << 64) - 1
DEEPEST: Final = 50
"""How many `flatten`s, `batch_by`s and the like may be behind each other in a state that is read …"""
MOST_IN_RUNS: Final = 1 << 23
"""… and how many items a few numbers of it may stand for; more are written one by one."""


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


def encode_all(keys: Sequence[Any]) -> Any:
    """Many keys as JSON can hold them, in fewer characters: those of the same form without repeating it.

    >>> encode_all([5, 3]), encode_all([(5, 0), (3, 1)]), encode_all([Batch(range(10, 30)), Batch(range(20))])
    ([5, 3], {'n': [0, 1], 'of': [5, 3]}, {'of': {'runs': [10, 20, 0, 20]}, 'sizes': [20, 20]})
    """
    kinds = set(map(type, keys))
    if kinds == {tuple}:
        return {'n': [n for _, n in keys], 'of': encode_all([key for key, _ in keys])}
    if kinds == {Batch}:
        parts = encode_all(list(chain.from_iterable(keys)))
        return {'of': _in_runs(parts) if isinstance(parts, list) else parts, 'sizes': list(map(len, keys))}
    return list(keys) if kinds == {int} else list(map(encode, keys))


def decode_all(code: Any) -> list[Any]:
    """What `encode_all` made of keys, as keys again.

    >>> decode_all(encode_all([Batch(range(10, 30)), Batch((1, 2))])) == [Batch(range(10, 30)), Batch((1, 2))]
    True
    """
    if isinstance(code, list):
        return list(map(decode, code))
    if 'runs' in code:
        pairs = zip(code['runs'][::2], code['runs'][1::2], strict=True)
        return [key for start, count in pairs for key in range(start, start + count)]
    parts = iter(decode_all(code['of']))
    if 'n' in code:
        return list(zip(parts, code['n'], strict=True))
    return [Batch(islice(parts, size)) for size in code['sizes']]


def check_keys(code: Any) -> int:
    """How many keys these are; raises ValueError for what no keys are encoded as.

    A key may come twice, as where ranks get some items twice.

    >>> check_keys({'runs': [0, 10**12]})
    Traceback (most recent call last):
    ValueError: not keys: too many
    """
    return _check_codes(code, 0)


def checked_key(code: Any) -> Key:
    """As `decode`, of what may be anything: raises ValueError for what is not the code of a key."""
    _check_code(code, 0)
    return decode(code)


def is_count(value: Any) -> bool:
    """Whether it is an int that can be a number of items."""
    return type(value) is int and 0 <= value < 1 << 63


def _check_code(code: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError('not a key: too deep')
    if isinstance(code, list):
        if len(code) != 2 or not is_count(code[1]):
            raise ValueError('not a key')
        _check_code(code[0], depth + 1)
    elif isinstance(code, dict):
        if list(code) != ['batch'] or not isinstance(code['batch'], list) or not code['batch']:
            raise ValueError('not a key')
        for part in code['batch']:
            _check_code(part, depth + 1)
    elif not is_count(code):
        raise ValueError('not a key')


def _check_codes(code: Any, depth: int) -> int:
    """Raises ValueError if these are not the codes of keys; returns how many there are."""
    if depth > DEEPEST:
        raise ValueError('not keys: too deep')
    if isinstance(code, list):
        for each in code:
            _check_code(each, depth)
        return len(code)
    if not isinstance(code, dict):
        raise ValueError('not keys')
    if sorted(code) == ['runs']:
        runs = _counts(code['runs'])
        if len(runs) % 2:
            raise ValueError('not keys')
        if (count := sum(runs[1::2])) > MOST_IN_RUNS:
            raise ValueError('not keys: too many')
        return count
    if sorted(code) == ['n', 'of']:
        counts = _counts(code['n'])
        if _check_codes(code['of'], depth + 1) != len(counts):
            raise ValueError('not keys')
        return len(counts)
    if sorted(code) == ['of', 'sizes']:
        sizes = _counts(code['sizes'])
        if not all(sizes) or _check_codes(code['of'], depth + 1) != sum(sizes):
            raise ValueError('not keys')
        return len(sizes)
    raise ValueError('not keys')


def _counts(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(map(is_count, value)):
        raise ValueError('not numbers')
    return value


def _in_runs(keys: list[Any]) -> Any:
    """Ordinals as beginnings and lengths of what is consecutive, if that is shorter and may be read."""
    runs: list[Any] = []
    end: Any = None
    for key in keys:
        if not isinstance(key, int):
            return keys
        if key != end:
            runs += key, 0
        runs[-1] += 1
        end = key + 1
    return {'runs': runs} if 2 * len(runs) < len(keys) <= MOST_IN_RUNS else keys
