"""Items in several files, one after the other."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

__all__ = ['Joined']


class Joined(Sequence[Any]):
    """The items of several parts. How many there are in each is found out when it is first needed."""

    name: str

    def __init__(self) -> None:
        self._ends: list[int] | None = None
        """How many items each part and those before it have."""

    def sizes(self) -> list[int]:
        """How many items each part has."""
        raise NotImplementedError

    def item(self, part: int, place: int) -> Any:
        """The item at this place of this part."""
        raise NotImplementedError

    def at(self, index: int) -> tuple[int, int]:
        """The part that the item is in, and its place there."""
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f'{self.name}: there are {size} items, but none with the index {index}')
        assert self._ends is not None
        index = int(index) % size
        part = bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)

    def __len__(self) -> int:
        if self._ends is None:
            self._ends = [*accumulate(self.sizes())]
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        return self.item(*self.at(index))
