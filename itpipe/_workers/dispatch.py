"""Which calls go to which process, and when.

Calls wait here, not in the processes, until a process has too little to do. Then it gets a group of calls in one
message: as many as take about a millisecond. This module knows nothing of sockets and threads. The pool calls it with
its lock held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from itpipe._core.averages import MovingAverage

from .task import GROUP_SECONDS, Call

__all__ = ['MAX_GROUP', 'Dispatcher', 'Worker']

MAX_GROUP = 64
"""The most calls in a group."""
CHEAP_CALL = 0.005
"""Seconds. Calls that take less are sent at least in pairs, and the next group is sent before the last is answered."""
LATE = 0.02
"""Seconds. A process that has not answered for so long gets no next group: its call may take much longer than most."""


class Worker(Protocol):
    """What the dispatcher knows of a process."""

    calls: deque[Call]
    """The calls that it was given and has not answered yet."""
    calls_left: float
    """How many calls it may still be given."""
    answered_at: float
    """When it answered last."""

    def give(self, calls: list[Call]) -> None:
        """Send these calls."""


W = TypeVar('W', bound=Worker)


class Dispatcher(Generic[W]):
    """Hands the waiting calls out to at most `size` workers, and starts a worker when all others have work.

    `start_worker` returns None if none can be started.
    """

    def __init__(self, size: int, start_worker: Callable[[], W | None], clock: Callable[[], float] = perf_counter):
        self.size, self._start_worker, self._clock = size, start_worker, clock
        self.workers: list[W] = []
        self.waiting: deque[Call] = deque()
        self.max_group = MAX_GROUP
        self.closed = False
        """Whether no call is handed out any more; any thread may set it."""
        self._average, self._seconds = MovingAverage(0.2), inf  # of a call
        self._caller_waits = self._slow_source = False
        self._submitted_at = 0.0

    def submit(self, call: Call) -> None:
        """Take a call in. A group that is not full is sent only if calls come slowly, so that waiting gains nothing."""
        now = self._clock()
        self._slow_source = now - self._submitted_at > GROUP_SECONDS
        self._submitted_at = now
        self._caller_waits = False
        self.waiting.append(call)
        self.hand_out()

    def flush(self) -> None:
        """Send what is waiting, even if it is little: the caller does not submit more before it gets an answer."""
        self._caller_waits = True
        self.hand_out()

    def put_back(self, calls: Sequence[Call]) -> None:
        """These calls of a process that ended are to be made again, before all others."""
        self.waiting.extendleft(reversed(calls))

    def record(self, count: int, seconds: float) -> None:
        """So many calls took so long together."""
        self._seconds = self._average.add(seconds / count)

    @property
    def group_size(self) -> int:
        """How many calls are sent together at present."""
        least = 2 if self._seconds < CHEAP_CALL else 1
        return max(1, min(self.max_group, max(least, int(GROUP_SECONDS / (self._seconds + 1e-9)))))

    def hand_out(self) -> None:
        """Give the waiting calls to processes that have too little to do."""
        while self.waiting and not self.closed:
            alone = self.waiting[0].suspect
            size = 1 if alone else self.group_size
            if self._caller_waits and (idle := sum(not worker.calls for worker in self.workers)):
                size = min(size, -(-len(self.waiting) // idle))  # so that all of them have work
            if len(self.waiting) < size and not (self._caller_waits or self._slow_source):
                return
            if (worker := self._next_worker(alone, size)) is None:
                return
            group: list[Call] = []
            while self.waiting and len(group) < min(size, worker.calls_left) and self.waiting[0].suspect is alone:
                group.append(self.waiting.popleft())
            worker.give(group)

    def _next_worker(self, alone: bool, size: int) -> W | None:
        """The worker that gets the next group; None while all have enough to do."""
        if len(self.workers) < self.size and all(worker.calls for worker in self.workers):
            if (worker := self._start_worker()) is not None:
                self.workers.append(worker)
            elif not self.workers:
                return None
        late = self._clock() - LATE
        worker = min(
            self.workers,
            key=lambda worker: (
                worker.calls_left <= 0,
                bool(worker.calls) and worker.answered_at < late,
                len(worker.calls),
                worker.answered_at,
            ),
        )
        if worker.calls_left <= 0:  # the others have none left, either
            return None
        if not worker.calls:
            return worker
        if alone or worker.calls[0].suspect or worker.answered_at < late:
            return None
        return worker if self._seconds < CHEAP_CALL and len(worker.calls) <= size <= len(self.waiting) else None
