"""Limits in items or in bytes, such as 4 or '512MB'."""

from __future__ import annotations

import re

from .checks import integer

__all__ = ['Bytes', 'size']

UNITS = {
    'B': 1, 'kB': 10**3, 'MB': 10**6, 'GB': 10**9, 'TB': 10**12,
    'KiB': 1 << 10, 'MiB': 1 << 20, 'GiB': 1 << 30, 'TiB': 1 << 40,
}  # fmt: skip
SIZE = r'\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([A-Za-z]+)\s*'


class Bytes(int):
    """A limit in bytes; a plain int is a number of items."""


def size(where: str, name: str, value: object, least: int = 1) -> int:
    """The limit: a number of items, at least `least`, or `Bytes` for text such as '512MB'."""
    rule = f"{where}: `{name}` must be an int or a size such as '512MB', got"
    if not isinstance(value, str):
        if isinstance(value, bool) or not hasattr(type(value), '__index__'):
            raise TypeError(f'{rule} {type(value).__name__}')
        return integer(where, name, value, least)
    match = re.fullmatch(SIZE, value)
    # all in lower or all in upper case will do, but not mixed: 'Mb' would be megabits
    units = [n for unit, n in UNITS.items() if match and match[2] in (unit, unit.lower(), unit.upper())]
    if match is None or not units:
        raise ValueError(f'{rule} {value!r}')
    result = Bytes(round(float(match[1]) * units[0]))
    if result < 1:
        raise ValueError(f'{where}: `{name}` must be at least one byte, got {value!r}')
    return result
