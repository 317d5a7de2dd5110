"""How many items may be between input and output where that was said in bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from itpipe._core.averages import MovingAverage
from itpipe._core.memory import Held, Holding

from .task import Packed

if TYPE_CHECKING:
    from .task import Task

__all__ = ['Room']

MOST = 64
"""Items for each worker that may be on their way, however little they seem to hold."""


class Room:
    """What the items and results hold that are on their way, and what is to be expected of the results to come.

    An item holds what it does until its result is there, and the result until it is asked for. If items are `copied`,
    it is their copies that are on their way. All this is for the thread of the run, except for `settled`.
    """

    def __init__(self, limit: int, copied: bool = False):
        self._limit, self._copied = limit, copied
        self.settled: deque[Task] = deque()
        """The tasks of which the result is there; any thread may append one."""
        self._items: dict[Task, Holding] = {}
        self._results: dict[Task, list[Holding]] = {}
        self._held = Held()
        self._item, self._result = MovingAverage(0.1), MovingAverage(0.1)

    def enter(self, task: Task, value: Any) -> None:
        """The item is on its way from now on."""
        self._measure()  # before the memory of what has gone can be taken for that of this one
        self._items[task] = holding = self._held.add(value, self._copied)
        self._item.add(holding.added)

    def leave(self, task: Task) -> None:
        """The result, which is there, is asked for: no more is held by this task."""
        self.settled.append(task)
        self._measure()
        for holding in self._results.pop(task):
            self._held.remove(holding)

    def window(self, count: int, workers: int) -> int:
        """How many tasks there may be, `count` being there."""
        self._measure()
        result = self._result.value or 0.0
        left = self._limit - self._held.total - len(self._items) * result
        most = workers if self._result.value is None else MOST * workers
        each = (self._item.value or 0.0) + result
        return max(1, min(most, count + int(min(most, left / each)) if each else most))

    def _measure(self) -> None:
        while self.settled:
            task = self.settled.popleft()
            if (item := self._items.pop(task, None)) is None:  # it has been here before
                continue
            result = self._held.add(task.value)  # first: it may be a part of the item
            if task.item is None:
                self._held.remove(item)
            self._results[task] = [result] if task.item is None else [result, item]
            failed = task.error is not None or (isinstance(task.value, Packed) and task.value.failed)
            if not failed:
                self._result.add(result.added)
