"""Calls that each belong to a certain process: a lane is such a process, whichever it is at the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Generic

from .dispatch import Dispatcher, W
from .task import Call

__all__ = ['Lanes']


class Lanes(Generic[W]):
    """As a `Dispatcher`, but each call goes to the process of its task's lane, and a lane has one process at a time."""

    def __init__(self, size: int, start_worker: Callable[[], W | None]):
        self._lanes = [Dispatcher(1, partial(self._start, n, start_worker)) for n in range(size)]
        self._lane_of: dict[W, int] = {}

    def _start(self, lane: int, start_worker: Callable[[], W | None]) -> W | None:
        worker = start_worker()
        if worker is not None:
            self._lane_of[worker] = lane
        return worker

    def __getitem__(self, lane: int) -> Dispatcher[W]:
        return self._lanes[lane]

    @property
    def workers(self) -> list[W]:
        """Those of all lanes."""
        return list(chain.from_iterable(lane.workers for lane in self._lanes))

    @property
    def closed(self) -> bool:
        """Whether no call is handed out any more; any thread may set it."""
        return all(lane.closed for lane in self._lanes)

    @closed.setter
    def closed(self, closed: bool) -> None:
        for lane in self._lanes:
            lane.closed = closed

    @property
    def group_size(self) -> int:
        """How many calls are sent together at most."""
        return max(lane.group_size for lane in self._lanes)

    @property
    def is_starving(self) -> bool:
        """Whether a process has nothing to do."""
        return any(lane.is_starving for lane in self._lanes)

    def submit(self, call: Call) -> None:
        """Take a call in."""
        self._lanes[call.task.lane].submit(call)

    def flush(self) -> None:
        """Send what is waiting, even if it is little."""
        for lane in self._lanes:
            lane.flush()

    def hand_out(self) -> None:
        """Give the waiting calls to processes that have too little to do."""
        for lane in self._lanes:
            lane.hand_out()

    def put_back(self, calls: Sequence[Call]) -> None:
        """These calls of a process that ended are to be made again, before all others of their lane."""
        if calls:
            self._lanes[calls[0].task.lane].put_back(calls)

    def answered(self, worker: W, count: int, seconds: float) -> None:
        """The worker has answered so many calls, which took so long together."""
        self._lanes[self._lane_of[worker]].answered(worker, count, seconds)

    def withdraw(self, worker: W) -> None:
        """The worker gets no more calls."""
        self._lanes[self._lane_of[worker]].withdraw(worker)

    def remove(self, worker: W) -> None:
        """The worker is gone: another one takes its place."""
        self._lanes[self._lane_of.pop(worker)].remove(worker)

    def take_waiting(self) -> list[Call]:
        """Take the waiting calls out again."""
        return list(chain.from_iterable(lane.take_waiting() for lane in self._lanes))

    def take_stranded(self) -> list[Call]:
        """Take the waiting calls out that no worker there is will get."""
        return list(chain.from_iterable(lane.take_stranded() for lane in self._lanes))

    def limit_groups(self, size: int) -> None:
        """Make groups no larger than this from now on."""
        for lane in self._lanes:
            lane.limit_groups(size)
