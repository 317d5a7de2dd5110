"""Keys as few bytes: how a record of a run writes them, and how they are read back.

Keys of one form lie in columns: those of the pairs `(5, 0), (3, 1)` are the columns 5, 3 and 0, 1. A column begins with
a byte that says how it is written. Ordinals that follow each other are written as the first of them. Other numbers are
written byte by byte: first the lowest byte of each, and so on. Where all have the same byte, as the high ones nearly
always are, it is written once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, islice
from struct import Struct, error
from typing import Any, Final

import numpy as np

from .key_codes import decode_all, encode_all
from .keys import Batch, Draw, Key, Zipped

__all__ = ['keys_from', 'keys_to_bytes']

RUN, WIDE, PAIRS, DRAWS, ZIPPED, BATCHES, OTHERS = b'RWPDZBO'
"""How a column is written: consecutive numbers, 8 bytes each, keys that have columns of their own, as JSON."""
PLANES: Final = 128
"""And from here on, 4 bytes each, of which this number tells which ones are written once."""
FIRST = Struct('<BQ')
COUNT = Struct('<I')
TOO_LONG: Final = 256
"""From this size on, that of a batch is not written as one byte."""
BYTES: Final = [bytes((value,)) for value in range(256)]
SHORT: Final = np.dtype('<u4')


def keys_to_bytes(key: Key, *second: Key) -> bytes:
    """One or two keys as bytes: 10 for batches of consecutive items, else 1 to 4 for each item and a few more.

    >>> len(keys_to_bytes(Batch(range(1000, 1032)))), len(keys_to_bytes(Batch((1016, 1000, 1007, 1031))))
    (10, 12)
    """
    if type(key) is Batch and (size := len(key)) < TOO_LONG:
        if not second:
            return BYTES[size] + _column(key, size)
        if type(second[0]) is Batch and len(second[0]) == size:
            return BYTES[size] + _column(key + second[0], 2 * size)
    return b'\0' + _column((key, *second), 1 + len(second))


def keys_from(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    """The keys, so many of them, whose bytes begin there, and where they end.

    Raises LookupError, ValueError or struct.error if they are cut off, or not those of keys.

    >>> keys_from(keys_to_bytes(Batch((5, (3, 0)))), 0, 1)
    ([(5, (3, 0))], 15)
    """
    size, at = data[at], at + 1
    keys, at = _read(data, at, count * size if size else count)
    return [Batch(keys[n : n + size]) for n in range(0, len(keys), size)] if size else list(keys), at


@lru_cache(maxsize=64)
def _packer(form: str, count: int) -> Struct:
    return Struct(f'<{count}{form}')


def _column(keys: Sequence[Any], count: int) -> bytes:
    first, last = keys[0], keys[-1]
    if type(first) is not int or type(last) is not int:
        return _columns(keys)
    try:
        raw = _packer('I', count).pack(*keys)
    except error:  # one of them is larger, or not a number
        if set(map(type, keys)) != {int}:
            return _columns(keys)
        if last - first == count - 1 and keys == (*range(first, last + 1),):
            return FIRST.pack(RUN, first)
        return b'W' + _packer('Q', count).pack(*keys)
    if last - first == count - 1 and raw == np.arange(first, last + 1, dtype=SHORT).tobytes():
        return FIRST.pack(RUN, first)
    # not in a loop, which would take longer
    a, b, c, d = raw[::4], raw[1::4], raw[2::4], raw[3::4]
    form = PLANES
    if d == (once := d[:1]) * count:
        d, form = once, PLANES + 8
    if c == (once := c[:1]) * count:
        c, form = once, form + 4
    if b == (once := b[:1]) * count:
        b, form = once, form + 2
    return b''.join((BYTES[form], a, b, c, d))


def _columns(keys: Sequence[Any]) -> bytes:
    kinds = set(map(type, keys))
    count = len(keys)
    if kinds in ({tuple}, {Draw}):
        inner, numbers = zip(*keys, strict=True)
        return (b'P' if kinds == {tuple} else b'D') + _column(inner, count) + _column(numbers, count)
    if kinds == {Zipped} and len(set(map(len, keys))) == 1:
        columns = list(zip(*(key.keys for key in keys), strict=True))
        return b'Z' + COUNT.pack(len(columns)) + b''.join(_column(column, count) for column in columns)
    if kinds == {Batch}:
        parts = (*chain.from_iterable(keys),)
        return b'B' + _column((*map(len, keys),), count) + _column(parts, len(parts))
    code = json.dumps(encode_all(keys), separators=(',', ':')).encode()
    return b'O' + COUNT.pack(len(code)) + code


def _read(data: bytes, at: int, count: int) -> tuple[Sequence[Any], int]:
    form, at = data[at], at + 1
    if form >= PLANES:
        return _read_planes(data, at, count, form - PLANES)
    if form == RUN:
        (first,) = Struct('<Q').unpack_from(data, at)
        return range(first, first + count), at + 8
    if form == WIDE:
        return Struct(f'<{count}Q').unpack_from(data, at), at + 8 * count
    if form in (PAIRS, DRAWS):
        inner, at = _read(data, at, count)
        numbers, at = _read(data, at, count)
        pairs = zip(inner, numbers, strict=True)
        return list(pairs if form == PAIRS else map(Draw, pairs)), at
    if form == BATCHES:
        sizes, at = _read(data, at, count)
        keys, at = _read(data, at, sum(sizes))
        parts = iter(keys)
        return [Batch(islice(parts, size)) for size in sizes], at
    (size,) = COUNT.unpack_from(data, at)
    at += 4
    if form == ZIPPED:
        columns = []
        for _ in range(size):
            column, at = _read(data, at, count)
            columns.append(column)
        return list(map(Zipped.of, zip(*columns, strict=True))), at
    if form != OTHERS or at + size > len(data):
        raise ValueError('not a key')
    return decode_all(json.loads(data[at : at + size])), at + size


def _read_planes(data: bytes, at: int, count: int, once: int) -> tuple[Sequence[Any], int]:
    raw = bytearray(4 * count)
    for n in range(4):
        size = 1 if once >> n & 1 else count
        plane = data[at : at + size]
        if len(plane) < size:
            raise ValueError('not a key: cut off')
        raw[n::4] = plane * (count // size)
        at += size
    return Struct(f'<{count}I').unpack(raw), at
