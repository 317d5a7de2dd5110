"""Waits of a run: how they are ended from outside, and the warning when one takes long."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from itpipe.errors import Dropped, StallWarning

from .stacks import user_stacklevel

if TYPE_CHECKING:
    from .pools import Pools

__all__ = [
    'GRACE',
    'MAX_DROPPED',
    'POLL_SECONDS',
    'DroppedLog',
    'StallTimer',
    'Stop',
    'Waitable',
    'join',
    'report',
    'signal',
    'warn_still_running',
]


MAX_DROPPED = 10_000
"""The most dropped items that a run remembers."""
POLL_SECONDS = 0.5
"""The most seconds of one wait. A Ctrl-C that comes just before a wait begins is only seen after it."""
GRACE = 2.0
"""Seconds for which closing waits for a user's function to return."""


class DroppedLog(deque[Dropped]):
    """The last `MAX_DROPPED` items that were left out, and how many there were. Any thread may append."""

    def __init__(self) -> None:
        super().__init__(maxlen=MAX_DROPPED)
        self.total = 0
        """How many there were."""
        self._lock = threading.RLock()

    def append(self, item: Dropped) -> None:
        """Add one."""
        with self._lock:
            self.total += 1
            super().append(item)

    def since(self, count: int) -> tuple[int, list[Dropped]]:
        """How many there were up to now, and those behind the first `count`, as far as they are still here."""
        with self._lock:
            new = self.total - count
            return self.total, [*self][-new:] if new > 0 else []


class Waitable(Protocol):
    """A pool or a thread that a run waits for."""

    @property
    def where(self) -> str:
        """Its name in the warning."""

    @property
    def threads(self) -> list[threading.Thread]:
        """Its own threads. Closing it waits for them."""

    def doing(self) -> str:
        """What it is doing, in lines for the warning. Empty if it is idle."""

    def stop(self) -> None:
        """End the waits for it. May be called from any thread."""


class StallTimer:
    """Warns, once for each item, if an item is waited for longer than `seconds`."""

    def __init__(self, awaited: str = '', seconds: float | None = None):
        self._awaited, self._seconds = awaited, seconds
        self._until = inf

    def start(self) -> None:
        """Begin to wait for the next item."""
        if self._seconds is not None:
            self._until = perf_counter() + self._seconds

    def wait_time(self, most: float, doing: Callable[[], str]) -> float:
        """For how long to wait now, at most, before this is called again. Warns if it is time, with `doing()`."""
        if self._until == inf:
            return most
        if (left := self._until - perf_counter()) > 0:
            return min(most, left)
        self._until = inf
        message = f'itpipe: {self._awaited} for {self._seconds:g} s\n{doing()}'
        warnings.warn(message.rstrip(), StallWarning, stacklevel=user_stacklevel())
        return most


def report(waitables: Iterable[Waitable]) -> str:
    """What each of them is doing."""
    return ''.join(f'{waitable.where}\n{doing}' for waitable in waitables if (doing := waitable.doing()))


class Stop:
    """Ends all waits of a run: a call stops all `waitables`. Any thread may call it.

    It is the only thing that all steps of a run have in common, so it also has the list of items that were `dropped`,
    and the `pools` that outlive a pass. If that is None, none do. And it says who looks at items that are made again.
    """

    def __init__(self, dropped: deque[Dropped] | None = None, pools: Pools | None = None) -> None:
        self.pools = pools
        self.dropped: deque[Dropped] = DroppedLog() if dropped is None else dropped
        self.waitables: list[Waitable] = []
        self.called = False
        self.stall_timeout: float | None = None
        """The timeout of stages that have none of their own."""
        self.made_again: Callable[[Any, int, dict[Any, Any]], object] | None = None
        """If given, it is told what each step gives where items are made again, see `Chain.recompute`."""

    def add(self, waitable: Waitable) -> None:
        self.waitables.append(waitable)
        if self.called:
            waitable.stop()

    def remove(self, waitable: Waitable) -> None:
        self.waitables.remove(waitable)  # in the same list, because another thread may be adding one

    def threads(self, above: Waitable | None = None) -> list[threading.Thread]:
        """The threads of all waitables, or only of those added after this one, which may wait for them."""
        waitables = self.waitables[:]  # at once, because other threads add and remove some
        if above is not None:
            del waitables[: waitables.index(above) + 1]
        idle = [] if above is not None or self.pools is None else self.pools.threads
        return [*idle, *(thread for waitable in waitables for thread in waitable.threads)]

    def check(self) -> None:
        """Raise an error if the run was stopped. For steps that call the user's functions for long without a result."""
        if self.called:
            raise RuntimeError('the run was closed while an item was awaited')

    def __call__(self) -> None:
        self.called = True
        for waitable in list(self.waitables):
            waitable.stop()


def join(threads: list[threading.Thread]) -> None:
    """Wait for threads that were told to end, at most `GRACE` seconds."""
    if threading.current_thread() in threads:  # the garbage collector runs in it, and the others may wait for it
        return
    deadline = monotonic() + GRACE
    for thread in threads:
        if thread.ident is not None:  # its start was not interrupted
            thread.join(max(0.0, deadline - monotonic()))
    if stuck := [thread.name for thread in threads if thread.is_alive()]:
        warn_still_running(f'thread(s) {", ".join(stuck)}')


def warn_still_running(where: str) -> None:
    """Warn of something that did not end when it was told to."""
    message = f'itpipe: closed, but a function or source is still running in the {where}'
    warnings.warn(message, ResourceWarning, stacklevel=4)


def signal(lock: threading.Lock) -> None:
    """Wake the thread that waits for this lock, or the next one that will. Several signals count as one."""
    with suppress(RuntimeError):  # it was signalled before
        lock.release()
