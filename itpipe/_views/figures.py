"""Numbers as people read them."""

from __future__ import annotations

__all__ = ['bytes_of', 'count', 'plural', 'rate', 'seconds', 'share', 'singular']


def count(number: float) -> str:
    """A count.

    >>> count(12345)
    '12,345'
    """
    return f'{number:,.0f}'


def plural(number: int, what: str) -> str:
    """So many of something.

    >>> plural(1, 'retry'), plural(2, 'retry'), plural(2, 'error'), plural(2, 'left out'), plural(2, 'batch')
    ('1 retry', '2 retries', '2 errors', '2 left out', '2 batches')
    """
    if number == 1 or ' ' in what:
        return f'{count(number)} {what}'
    many = f'{what[:-1]}ies' if what.endswith('y') else f'{what}es' if what.endswith(('ch', 'ss')) else f'{what}s'
    return f'{count(number)} {many}'


def singular(what: str) -> str:
    """One of them.

    >>> singular('threads'), singular('processes')
    ('thread', 'process')
    """
    return what.removesuffix('es') if what.endswith('sses') else what.removesuffix('s')


def rate(number: float) -> str:
    """How many in a second, with three digits.

    >>> rate(12345), rate(12.345), rate(0.0123)
    ('12,345', '12.3', '0.0123')
    """
    return count(number) if number >= 100 or not number else f'{number:.3g}'


def seconds(number: float) -> str:
    """A time.

    >>> seconds(0), seconds(0.0000123), seconds(0.0123), seconds(1.234), seconds(75), seconds(4000)
    ('0 s', '12 µs', '12 ms', '1.23 s', '75 s', '1 h 06 min')
    """
    if number >= 3600:
        return f'{number // 3600:.0f} h {number % 3600 // 60:02.0f} min'
    if number >= 99.95 or not number:
        return f'{number:,.0f} s'
    for unit, size in ('s', 1.0), ('ms', 1e-3):
        if number >= size:
            return f'{number / size:.3g} {unit}' if unit == 's' else f'{number / size:.0f} {unit}'
    return f'{number * 1e6:.0f} µs'


def share(number: float) -> str:
    """A share of a whole.

    >>> share(0.384), share(0.004), share(0)
    ('38 %', '0.4 %', '0 %')
    """
    return f'{number:.1%}'.replace('%', ' %') if 0.0005 <= number < 0.01 else f'{number:.0%}'.replace('%', ' %')


def bytes_of(number: float) -> str:
    """A number of bytes.

    >>> bytes_of(100), bytes_of(12345), bytes_of(5e6)
    ('100 B', '12.3 kB', '5 MB')
    """
    for unit, size in ('GB', 1e9), ('MB', 1e6), ('kB', 1e3):
        if number >= size:
            return f'{number / size:.3g} {unit}'
    return f'{number:.0f} B'
