"""Copies of values that may be anything."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from itpipe._core.nbytes import owners_in

__all__ = ['UNKNOWN', 'copied', 'is_large', 'own_bytes']

MOST: Final = 1 << 28
"""Bytes; what is larger is not copied."""
LARGE: Final = 1 << 26
"""Bytes; of what is larger, only the first item is copied and made again."""


class _Unknown:
    def __repr__(self) -> str:
        return 'UNKNOWN'


UNKNOWN: Final = _Unknown()
"""In the place of a value that there is no copy of."""


def copied(value: Any) -> Any:
    """A copy that shares nothing with the value; UNKNOWN if there is none, or if it would be very large."""
    try:
        return deepcopy(value) if own_bytes(value) <= MOST else UNKNOWN
    except Exception:
        return UNKNOWN


def is_large(value: Any) -> bool:
    """Whether a copy of it takes so long that one has to be enough."""
    return own_bytes(value) > LARGE


def own_bytes(value: Any) -> int:
    """An estimate of the bytes that a copy of the value would take: of a view, only what it shows."""
    small, owners = owners_in(value, copied=True)
    return small + sum(size for size, _ in owners.values())
