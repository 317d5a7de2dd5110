"""The memory that several values hold together."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import NoneType
from typing import Any, NamedTuple

from .nbytes import owners_in

__all__ = ['Held', 'Holding']

MIN_SHARED = 1 << 12
"""Bytes; smaller memory is not worth finding out whether several values share it."""


class Holding(NamedTuple):
    """What a value adds to the memory that is held."""

    own: int
    """Bytes that no other value shares."""
    keys: tuple[int, ...]
    """The owners of memory that other values may share."""
    added: int
    """Bytes by which the total grew."""


class Held:
    """The bytes that several values hold together; memory that they share counts once.

    If memory comes again after all values that held it were removed, somebody else holds it, for example a dataset. No
    limit can free it, so it does not count any more. Not thread-safe.
    """

    def __init__(self) -> None:
        self.total = 0
        self._owners: dict[int, list[Any]] = {}
        """For each owner, by its id: bytes, the number of values that hold it, and a weak reference."""
        self._elsewhere: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def add(self, value: Any, copied: bool = False) -> Holding:
        """Count the value; if `copied`, count a copy of it, which shares no memory."""
        own, owners = owners_in(value, copied)
        keys, added = [], 0
        for key, (size, owner) in owners.items():
            if copied or size < MIN_SHARED:
                own += size
            elif key in self._owners:
                self._owners[key][1] += 1
                keys.append(key)
            elif self._elsewhere.get(key) is not owner:
                self._owners[key] = [size, 1, _reference(owner)]
                keys.append(key)
                added += size
        self.total += own + added
        return Holding(own, tuple(keys), own + added)

    def remove(self, holding: Holding) -> None:
        """Count the value with this holding no more."""
        self.total -= holding.own
        for key in holding.keys:
            entry = self._owners[key]
            entry[1] -= 1
            if not entry[1]:
                del self._owners[key]
                self.total -= entry[0]
                if (owner := entry[2]()) is not None:
                    self._elsewhere[key] = owner


def _reference(owner: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(owner)
    except TypeError:
        return NoneType
