"""Limits in bytes, and an estimate of what a value holds."""

from __future__ import annotations

import re
from collections import UserDict, deque
from contextlib import suppress
from numbers import Integral
from types import NoneType
from typing import Any

from .checks import integer

__all__ = ['Bytes', 'expected', 'nbytes', 'size']

UNITS = {
    'B': 1, 'kB': 10**3, 'MB': 10**6, 'GB': 10**9, 'TB': 10**12,
    'KiB': 1 << 10, 'MiB': 1 << 20, 'GiB': 1 << 30, 'TiB': 1 << 40,
}  # fmt: skip
WRITTEN = re.compile(r'\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([A-Za-z]+)\s*')

NUMBERS = {int, float, complex, bool, NoneType}


class Bytes(int):
    """A limit in bytes, where an int is a number of items."""


def size(where: str, name: str, value: object, least: int = 1) -> int:
    """The value as a number of items that is at least `least`, or, of a text such as '512MB', as `Bytes`."""
    rule = f"{where}: `{name}` must be an int or a size such as '512MB', got"
    if not isinstance(value, str):
        if isinstance(value, bool) or not hasattr(type(value), '__index__'):
            raise TypeError(f'{rule} {type(value).__name__}')
        return integer(where, name, value, least)
    written = WRITTEN.fullmatch(value)
    # in one case throughout, if not as above: 'Mb' would be megabits
    units = [n for unit, n in UNITS.items() if written and written[2] in (unit, unit.lower(), unit.upper())]
    if written is None or not units:
        raise ValueError(f'{rule} {value!r}')
    result = Bytes(round(float(written[1]) * units[0]))
    if result < 1:
        raise ValueError(f'{where}: `{name}` must be at least one byte, got {value!r}')
    return result


def nbytes(value: Any) -> int:
    """An estimate of the bytes that the value holds.

    It counts whatever says so by `nbytes` (arrays, tensors), tables, and text, also inside of tuples, lists, sets,
    dicts and dataclasses, each of them once. Numbers, and objects that do not say what they hold, count as nothing.
    """
    total, parts, seen = 0, [value], set()
    while parts:
        part = parts.pop()
        if type(part) in NUMBERS or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, (str, bytes, bytearray)):
            total += len(part)
        elif isinstance(part, (tuple, list, set, frozenset, deque)):
            parts.extend(part)
        elif isinstance(part, (dict, UserDict)):
            parts.extend(part.values())
        elif (said := _said(part)) is not None:
            total += said
        elif not isinstance(part, type):
            parts.extend(getattr(part, name, None) for name in getattr(part, '__dataclass_fields__', ()))
    return total


def _said(value: Any) -> int | None:
    with suppress(Exception):  # sparse tensors raise, and so may anything that is a property
        said = getattr(value, 'nbytes', None)
        if said is None and callable(usage := getattr(value, 'memory_usage', None)):  # a table of pandas
            said = usage().sum()
        if isinstance(said, Integral):
            return int(said)
    return None


def expected(before: float | None, n: int) -> float:
    """The bytes to expect of the next value, after one of `n`: the mean of those of late."""
    return n if before is None else before + 0.1 * (n - before)
