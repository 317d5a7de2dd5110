"""What identifies an item in its run.

A key is an ordinal (the item's place in the source: 0, 1, 2, …), a pair `(key, n)` for the n-th thing made of one
item (its parts after `flatten`, its repetitions after `reuse`, its branch in a `mix`), a `Batch` of keys, or a
`Zipped` key, of a tuple of items.
The item's place in the source always comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, count, islice
from operator import index
from typing import Any, Final, TypeAlias

__all__ = [
    'END',
    'Batch',
    'Key',
    'Zipped',
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
        while is_pair(key):
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
    if isinstance(key, Zipped):
        return {'zip': [encode(part) for part in key.keys]}
    return [encode(key[0]), key[1]]


def decode(code: Any) -> Key:
    """What `encode` made of a key, as a key again.

    >>> decode({'batch': [1, [2, 0]]}) == Batch((1, (2, 0)))
    True
    """
    if isinstance(code, int):
        return code
    if isinstance(code, dict):
        return Zipped.of(map(decode, code['zip'])) if 'zip' in code else Batch(map(decode, code['batch']))
    if isinstance(code, (list, tuple)) and len(code) == 2:
        return (decode(code[0]), code[1])
    raise TypeError(f'not the code of a key: {code!r}')


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


def encode_all(keys: Sequence[Any]) -> Any:
    """Many keys as JSON can hold them, in fewer characters: those of the same form without repeating it.

    >>> encode_all([5, 3]), encode_all([(5, 0), (3, 1)]), encode_all([Batch(range(10, 30)), Batch(range(20))])
    ([5, 3], {'n': [0, 1], 'of': [5, 3]}, {'of': {'runs': [10, 20, 0, 20]}, 'sizes': [20, 20]})
    """
    kinds = set(map(type, keys))
    if kinds == {tuple}:
        return {'n': [n for _, n in keys], 'of': encode_all([key for key, _ in keys])}
    if kinds == {Zipped} and len(set(map(len, keys))) == 1:
        return {'zip': [encode_all([part for part, _ in column]) for column in zip(*keys, strict=True)]}
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
    if 'zip' in code:
        return list(map(Zipped.of, zip(*map(decode_all, code['zip']), strict=True)))
    parts = iter(decode_all(code['of']))
    if 'n' in code:
        return list(zip(parts, code['n'], strict=True))
    return [Batch(islice(parts, size)) for size in code['sizes']]


def check_keys(code: Any) -> None:
    """Raises ValueError for what no keys are encoded as; one may come twice, as where ranks get some items twice.

    >>> check_keys({'runs': [0, 10**12]})
    Traceback (most recent call last):
    ValueError: not keys: too many
    """
    _check_codes(code, 0)


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
        parts = code[next(iter(code))] if code.keys() in ({'batch'}, {'zip'}) else None
        if not isinstance(parts, list) or not parts:
            raise ValueError('not a key')
        for part in parts:
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
    if sorted(code) == ['zip']:
        if not isinstance(code['zip'], list) or len(counts := {_check_codes(c, depth + 1) for c in code['zip']}) != 1:
            raise ValueError('not keys')
        return counts.pop()
    if sorted(code) == ['n', 'of']:
        numbers = _counts(code['n'])
        if _check_codes(code['of'], depth + 1) != len(numbers):
            raise ValueError('not keys')
        return len(numbers)
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
