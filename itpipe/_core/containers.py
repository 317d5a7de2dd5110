"""Lists and tuples with other elements."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ['filled_like']


def filled_like(first: Any, elements: list[Any]) -> Any:
    """The elements in a list or tuple of the same type."""
    kind = type(first)
    if kind is list or kind is tuple:  # the most frequent types; the rest takes longer
        return kind(elements)
    if isinstance(first, list):
        result = copy.copy(first)
        result[:] = elements
        return result
    if hasattr(kind, '_make'):
        return kind._make(elements)
    try:
        result = tuple.__new__(kind, elements)
    except TypeError:  # a type of native code, such as `torch.Size` or `os.stat_result`, accepts only its own values
        return tuple(elements)
    if hasattr(first, '__dict__'):
        vars(result).update(vars(first))
    return result
