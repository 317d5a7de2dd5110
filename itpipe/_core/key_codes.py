"""Keys as JSON: how a state writes them, and how they are read back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, Final

from .keys import Batch, Draw, Key, Zipped, is_count

__all__ = ['decode', 'decode_all', 'encode', 'encode_all']

MAX_DEPTH: Final = 50
"""How deeply the keys of a state may be nested: each `flatten` and each `batch_by` is one level."""
MAX_IN_RUNS: Final = 1 << 23
"""How many keys the runs of a state may stand for. Without a limit, two numbers could fill the memory."""


def encode(key: Key) -> Any:
    """The key as JSON.

    >>> encode(Batch((1, (2, 0))))
    {'batch': [1, [2, 0]]}
    """
    if isinstance(key, int):
        return key
    if isinstance(key, Batch):
        return {'batch': [encode(part) for part in key]}
    if isinstance(key, Zipped):
        return {'zip': [encode(part) for part in key.keys]}
    if isinstance(key, Draw):
        return {'draw': [*key]}
    return [encode(key[0]), key[1]]


def decode(code: Any, depth: int = 0) -> Key:
    """The key that `encode` was given.

    Raises ValueError for everything that `encode` does not return.

    >>> decode({'batch': [1, [2, 0]]}) == Batch((1, (2, 0)))
    True
    """
    if is_count(code):
        return code  # type: ignore[no-any-return]
    if depth == MAX_DEPTH:
        raise ValueError('not a key: too deep')
    if isinstance(code, list) and len(code) == 2 and is_count(code[1]):
        return decode(code[0], depth + 1), code[1]
    if isinstance(code, dict) and code.keys() == {'draw'}:
        draw = _counts(code['draw'])
        if len(draw) == 2:
            return Draw(draw)
    form, parts = next(iter(code.items())) if isinstance(code, dict) and len(code) == 1 else (None, None)
    if form in ('batch', 'zip') and isinstance(parts, list) and parts:
        keys = [decode(part, depth + 1) for part in parts]
        return Batch(keys) if form == 'batch' else Zipped.of(keys)
    raise ValueError('not a key')


def encode_all(keys: Sequence[Any]) -> Any:
    """Many keys as JSON, shorter than a list of their codes: keys of the same form share that form.

    >>> encode_all([5, 3]), encode_all([(5, 0), (3, 1)]), encode_all([Batch(range(10, 30)), Batch(range(20))])
    ([5, 3], {'n': [0, 1], 'of': [5, 3]}, {'of': {'runs': [10, 20, 0, 20]}, 'sizes': [20, 20]})
    """
    kinds = set(map(type, keys))
    if kinds == {tuple}:
        return {'n': [n for _, n in keys], 'of': encode_all([key for key, _ in keys])}
    if kinds == {Draw}:
        return {'draw': [[t for t, _ in keys], [index for _, index in keys]]}
    if kinds == {Zipped} and len(set(map(len, keys))) == 1:
        return {'zip': list(map(encode_all, zip(*(key.keys for key in keys), strict=True)))}
    if kinds == {Batch}:
        parts = encode_all(list(chain.from_iterable(keys)))
        return {'of': _in_runs(parts) if isinstance(parts, list) else parts, 'sizes': list(map(len, keys))}
    return list(keys) if kinds == {int} else list(map(encode, keys))


def decode_all(code: Any, depth: int = 0) -> list[Any]:
    """The keys that `encode_all` was given.

    A key may come twice: ranks may get some items twice. Raises ValueError for everything that `encode_all` does not
    return.

    >>> decode_all(encode_all([Batch(range(10, 30)), Batch((1, 2))])) == [Batch(range(10, 30)), Batch((1, 2))]
    True
    >>> decode_all({'runs': [0, 10**12]})
    Traceback (most recent call last):
    ValueError: not keys: too many
    """
    if isinstance(code, list):
        return [decode(each, depth) for each in code]
    form = set(code) if isinstance(code, dict) else None
    if form == {'runs'}:
        runs = _counts(code['runs'])
        if len(runs) % 2:
            raise ValueError('not keys')
        if sum(runs[1::2]) > MAX_IN_RUNS:
            raise ValueError('not keys: too many')
        return [key for i in range(0, len(runs), 2) for key in range(runs[i], runs[i] + runs[i + 1])]
    if form == {'draw'}:
        columns = list(map(_counts, code['draw'])) if isinstance(code['draw'], list) else []
        if len(columns) != 2 or len(columns[0]) != len(columns[1]):
            raise ValueError('not keys')
        return list(map(Draw, zip(*columns, strict=True)))
    if form not in ({'n', 'of'}, {'of', 'sizes'}, {'zip'}):
        raise ValueError('not keys')
    if depth == MAX_DEPTH:
        raise ValueError('not keys: too deep')
    if 'zip' in code:
        columns = [decode_all(each, depth + 1) for each in code['zip']] if isinstance(code['zip'], list) else []
        if len(set(map(len, columns))) != 1:
            raise ValueError('not keys')
        return list(map(Zipped.of, zip(*columns, strict=True)))
    inner = decode_all(code['of'], depth + 1)
    if 'n' in code:
        numbers = _counts(code['n'])
        if len(numbers) != len(inner):
            raise ValueError('not keys')
        return list(zip(inner, numbers, strict=True))
    sizes = _counts(code['sizes'])
    if not all(sizes) or sum(sizes) != len(inner):
        raise ValueError('not keys')
    parts = iter(inner)
    return [Batch(islice(parts, size)) for size in sizes]


def _counts(value: Any) -> list[int]:
    if not isinstance(value, list) or not all(map(is_count, value)):
        raise ValueError('not numbers')
    return value


def _in_runs(keys: list[Any]) -> Any:
    """Consecutive ordinals as pairs of start and length, if that is shorter and `decode_all` accepts as many."""
    runs: list[Any] = []
    end: Any = None
    for key in keys:
        if not isinstance(key, int):
            return keys
        if key != end:
            runs += key, 0
        runs[-1] += 1
        end = key + 1
    return {'runs': runs} if 2 * len(runs) < len(keys) <= MAX_IN_RUNS else keys
