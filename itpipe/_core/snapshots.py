"""Looks at what other threads are changing."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

__all__ = ['snapshot']

T = TypeVar('T')


def snapshot(entries: deque[T]) -> list[T]:
    """What is in the deque at one moment, while other threads append and pop."""
    while True:
        try:
            return list(entries)
        except RuntimeError:  # it was changed meanwhile, which happens without the interpreter lock only
            continue
