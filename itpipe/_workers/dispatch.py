"""Which calls go to which process, and when.

Calls wait here, not in the processes, until a process has too little to do. Then it gets a group of calls in one
message: as many as take about a millisecond. This module knows nothing of sockets and threads. The pool calls it with
its lock held.
"""

from __future__ import annotations

from collections import OrderedDict, deque
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
    """When it answered a call last."""

    def give(self, calls: list[Call]) -> None:
        """Send these calls."""


W = TypeVar('W', bound=Worker)


class Dispatcher(Generic[W]):
    """Hands the waiting calls out to at most `size` workers, and starts a worker when all others have work.

    What it does for a call takes no longer if there are more workers. `start_worker` returns None if none can be
    started.
    """

    def __init__(self, size: int, start_worker: Callable[[], W | None], clock: Callable[[], float] = perf_counter):
        self.size, self._start_worker, self._clock = size, start_worker, clock
        self.workers: list[W] = []
        self.waiting: deque[Call] = deque()
        self.group_size = 1
        """How many calls are sent together at present."""
        self.closed = False
        """Whether no call is handed out any more; any thread may set it."""
        self._idle: OrderedDict[W, None] = OrderedDict()
        """The workers that have no call."""
        self._ahead: OrderedDict[W, None] = OrderedDict()
        """Those that have few, and may be given a group ahead."""
        self._max_group = MAX_GROUP
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

    def answered(self, worker: W, count: int, seconds: float) -> None:
        """The worker has answered so many calls, which took so long together. They are no longer among its calls."""
        self._seconds = self._average.add(seconds / count)
        self._resize()
        self._offer(worker)

    def withdraw(self, worker: W) -> None:
        """The worker gets no more calls; it still is one of the `size` until it is removed from `workers`."""
        self._idle.pop(worker, None)
        self._ahead.pop(worker, None)

    def remove(self, worker: W) -> None:
        """The worker, which was withdrawn, is gone: another one may take its place."""
        self.workers.remove(worker)

    def take_waiting(self) -> list[Call]:
        """Take the waiting calls out again."""
        calls = list(self.waiting)
        self.waiting.clear()
        return calls

    def take_stranded(self) -> list[Call]:
        """Take the waiting calls out that no worker there is will get."""
        return [] if self.workers else self.take_waiting()

    def limit_groups(self, size: int) -> None:
        """Make groups no larger than this from now on."""
        if size != self._max_group:
            self._max_group = size
            self._resize()

    def _resize(self) -> None:
        least = 2 if self._seconds < CHEAP_CALL else 1
        self.group_size = max(1, min(self._max_group, max(least, int(GROUP_SECONDS / (self._seconds + 1e-9)))))

    @property
    def is_starving(self) -> bool:
        """Whether there is a worker without a call, and no call for it."""
        return bool(self._idle) and not self.waiting

    def hand_out(self) -> None:
        """Give the waiting calls to processes that have too little to do."""
        while self.waiting and not self.closed:
            alone = self.waiting[0].suspect
            size = 1 if alone else self.group_size
            if self._caller_waits and self._idle:
                size = min(size, -(-len(self.waiting) // len(self._idle)))  # so that all of them have work
            if len(self.waiting) < size and not (self._caller_waits or self._slow_source):
                return
            if (worker := self._next_worker(alone, size)) is None:
                return
            group: list[Call] = []
            while self.waiting and len(group) < min(size, worker.calls_left) and self.waiting[0].suspect is alone:
                group.append(self.waiting.popleft())
            worker.give(group)
            self._offer(worker)

    def _offer(self, worker: W) -> None:
        """The worker can be given a group, now or ahead."""
        if worker.calls_left <= 0:
            return
        if worker.calls:
            self._ahead[worker] = None
        else:
            self._ahead.pop(worker, None)
            self._idle[worker] = None

    def _next_worker(self, alone: bool, size: int) -> W | None:
        """The worker that gets the next group; None while all have enough to do."""
        if self._idle:
            return self._idle.popitem(last=False)[0]
        if len(self.workers) < self.size and (started := self._start_worker()) is not None:
            self.workers.append(started)
            return started
        if alone or self._seconds >= CHEAP_CALL or len(self.waiting) < size:
            return None
        late = self._clock() - LATE
        while self._ahead:  # who is left out here is offered again when it answers
            worker, _ = self._ahead.popitem(last=False)
            if len(worker.calls) <= size and worker.answered_at >= late and not worker.calls[0].suspect:
                return worker
        return None
