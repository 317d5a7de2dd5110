"""Copies of values that may be anything."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

__all__ = ['UNKNOWN', 'copied']


class _Unknown:
    def __repr__(self) -> str:
        return 'UNKNOWN'


UNKNOWN: Final = _Unknown()
"""In the place of a value that there is no copy of."""


def copied(value: Any) -> Any:
    """A copy that shares nothing with the value; UNKNOWN if there is none."""
    try:
        return deepcopy(value)
    except Exception:
        return UNKNOWN
