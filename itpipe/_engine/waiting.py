"""What breaks the waits of a run, and how long is waited for an item before a warning."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Protocol

from itpipe.errors import StallWarning

from .stacks import user_stacklevel

if TYPE_CHECKING:
    from itpipe.errors import Dropped

__all__ = [
    'GRACE',
    'MAX_DROPPED',
    'POLL_SECONDS',
    'StallTimer',
    'Stop',
    'Waitable',
    'join',
    'report',
    'signal',
    'still_running',
]


MAX_DROPPED = 10_000
"""The most dropped items of which a run remembers the errors."""
POLL_SECONDS = 0.5
"""Seconds after which who waits looks up: Ctrl-C just before a wait begins would not be seen before it ends."""
GRACE = 2.0
"""Seconds that closing waits for a user's function that does not return."""


class Waitable(Protocol):
    """Somebody that a run waits for."""

    @property
    def where(self) -> str:
        """What it is called in the warning."""

    @property
    def threads(self) -> list[threading.Thread]:
        """Its own, which may be waited for when it is closed."""

    def doing(self) -> str:
        """What it is at, in lines for the warning; nothing if it is idle."""

    def stop(self) -> None:
        """Break the waits; from any thread."""


class StallTimer:
    """How long one waits for an item before a warning asks where it stays, once for each item."""

    def __init__(self, awaited: str = '', seconds: float | None = None):
        self._awaited, self._seconds = awaited, seconds
        self._until = inf

    def start(self) -> None:
        """From now on, the next item is waited for."""
        if self._seconds is not None:
            self._until = perf_counter() + self._seconds

    def wait_time(self, most: float, doing: Callable[[], str]) -> float:
        """How long, at most, to wait now before looking up again; warns when it is time to."""
        if self._until == inf:
            return most
        if (left := self._until - perf_counter()) > 0:
            return min(most, left)
        self._until = inf
        message = f'itpipe: {self._awaited} for {self._seconds:g} s\n{doing()}'
        warnings.warn(message.rstrip(), StallWarning, stacklevel=user_stacklevel())
        return most


def report(waitables: Iterable[Waitable]) -> str:
    """What each of them is at."""
    return ''.join(f'{waitable.where}\n{doing}' for waitable in waitables if (doing := waitable.doing()))


class Stop:
    """Breaks, from any thread, the waits of a run: all `waitables` that it may be waiting for are stopped once.

    Being all that the steps of a run have in common, it has the list of what was `dropped`, too.
    """

    def __init__(self, dropped: deque[Dropped] | None = None) -> None:
        self.dropped: deque[Dropped] = deque(maxlen=MAX_DROPPED) if dropped is None else dropped
        self.waitables: list[Waitable] = []
        self.called = False
        self.stall_timeout: float | None = None
        """For stages that have none of their own."""

    def add(self, waitable: Waitable) -> None:
        self.waitables.append(waitable)
        if self.called:
            waitable.stop()

    def remove(self, waitable: Waitable) -> None:
        self.waitables.remove(waitable)  # in place: another thread may be adding one

    def threads(self, above: Waitable | None = None) -> list[threading.Thread]:
        """Those of all waitables, or of the ones that were added after this one: it may wait for them."""
        waitables = self.waitables[:] if above is None else self.waitables[self.waitables.index(above) + 1 :]
        return [thread for waitable in waitables for thread in waitable.threads]

    def check(self) -> None:
        """Raise an error if the run was stopped; for whoever calls the user's functions without giving anything out."""
        if self.called:
            raise RuntimeError('the run was closed while an item was awaited')

    def __call__(self) -> None:
        self.called = True
        for waitable in list(self.waitables):
            waitable.stop()


def join(threads: list[threading.Thread]) -> None:
    """Wait for threads that were told to end, but no longer than a user's function may keep us."""
    if threading.current_thread() in threads:  # the garbage collector closes; the others may wait for this one
        return
    deadline = monotonic() + GRACE
    for thread in threads:
        if thread.ident is not None:  # it has been started, and was not interrupted while it was
            thread.join(max(0.0, deadline - monotonic()))
    if stuck := [thread.name for thread in threads if thread.is_alive()]:
        still_running(f'thread(s) {", ".join(stuck)}')


def still_running(where: str) -> None:
    """Warn of what did not end when it was told to."""
    message = f'itpipe: closed, but a function or source is still running in the {where}'
    warnings.warn(message, ResourceWarning, stacklevel=4)


def signal(lock: threading.Lock) -> None:
    """Wake who waits for this lock, or will; several signals are one."""
    with suppress(RuntimeError):  # it has been signalled already
        lock.release()
