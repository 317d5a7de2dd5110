"""How many items may be between input and output where that was said in bytes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .portable import Packed
from .sizes import expected, nbytes

if TYPE_CHECKING:
    from .workers import Task

__all__ = ['Room']

MOST = 64
"""Items for each worker that may be on their way, however little they seem to hold."""


class Room:
    """What the items and results hold that are on their way, and what is to be expected of the results to come.

    An item holds what it does until its result is there, and the result until it is asked for. All this is for the
    thread of the run, except for `settled`.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self.settled: deque[Task] = deque()
        """The tasks of which the result is there; any thread may append one."""
        self._items: dict[Task, int] = {}
        self._results: dict[Task, int] = {}
        self._held = 0
        self._item: float | None = None
        self._result: float | None = None

    def enter(self, task: Task, value: Any) -> None:
        """The item is on its way from now on."""
        self._items[task] = size = nbytes(value)
        self._held += size
        self._item = expected(self._item, size)

    def leave(self, task: Task) -> None:
        """The result, which is there, is asked for: no more is held by this task."""
        self.settled.append(task)
        self._measure()
        self._held -= self._results.pop(task)

    def window(self, count: int, workers: int) -> int:
        """How many tasks there may be, `count` being there."""
        self._measure()
        result = self._result or 0.0
        left = self._limit - self._held - len(self._items) * result
        most = workers if self._result is None else MOST * workers
        each = (self._item or 0.0) + result
        return max(1, min(most, count + int(min(most, left / each)) if each else most))

    def _measure(self) -> None:
        while self.settled:
            task = self.settled.popleft()
            if (item := self._items.pop(task, None)) is None:  # it has been here before
                continue
            size = nbytes(task.value)
            self._results[task] = size if task.item is None else size + item
            self._held += self._results[task] - item
            failed = task.error is not None or (isinstance(task.value, Packed) and task.value.failed)
            if not failed:
                self._result = expected(self._result, size)
