"""How many items may be between input and output, where that limit is given in bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from itpipe._core.averages import MovingAverage
from itpipe._core.memory import Held, Holding

from .task import Packed

if TYPE_CHECKING:
    from .task import Task

__all__ = ['MemoryBudget']

PER_WORKER = 64
"""Pending items for each worker, at most, however little they seem to hold."""


class MemoryBudget:
    """What the pending items and their results hold, and how many more items fit into the limit.

    An item counts until its result is there, and the result until it is taken. A result that is not there yet is
    expected to be as large as recent ones. If items are `copied`, their copies count.

    Only the thread of the run may use this, except for `settled`.
    """

    def __init__(self, limit: int, copied: bool = False):
        self._limit, self._copied = limit, copied
        self.settled: deque[Task] = deque()
        """Tasks whose result is there but not measured yet; any thread may append one."""
        self._items: dict[Task, Holding] = {}
        self._results: dict[Task, list[Holding]] = {}
        self._held = Held()
        self._item, self._result = MovingAverage(0.1), MovingAverage(0.1)

    def emptied(self) -> MemoryBudget:
        """One without tasks, which knows as much of how large they are."""
        if not self._items and not self._results:
            return self
        other = MemoryBudget(self._limit, self._copied)
        other._item, other._result = self._item, self._result
        return other

    def add(self, task: Task, item: Any) -> None:
        """Count the item of a new task."""
        self._measure()  # first: this item may have got the memory of one that is gone
        self._items[task] = holding = self._held.add(item, self._copied)
        self._item.add(holding.added)

    def remove(self, task: Task) -> None:
        """Count the task no more; its result, which is there, is taken."""
        self.settled.append(task)
        self._measure()
        for holding in self._results.pop(task):
            self._held.remove(holding)

    def max_pending(self, pending: int, workers: int) -> int:
        """How many tasks may be pending, if now this many are."""
        self._measure()
        result = self._result.value or 0.0
        left = self._limit - self._held.total - len(self._items) * result
        most = workers if self._result.value is None else PER_WORKER * workers
        each = (self._item.value or 0.0) + result
        return max(1, min(most, pending + int(min(most, left / each)) if each else most))

    def _measure(self) -> None:
        while self.settled:
            task = self.settled.popleft()
            if (item := self._items.pop(task, None)) is None:  # it has been measured
                continue
            result = self._held.add(task.value)  # first: it may be a part of the item
            if task.item is None:
                self._held.remove(item)
            self._results[task] = [result] if task.item is None else [result, item]
            failed = task.error is not None or (isinstance(task.value, Packed) and task.value.failed)
            if not failed:
                self._result.add(result.added)
