"""A thread that makes pairs ahead of the one who takes them.

The maker appends to `ready`, the taker pops from it; a deque needs no lock for that. Two locks are used as signals,
each to wake one side, and a signal may come in vain: who wakes looks at `ready` again.

Waking a thread costs more than making a cheap batch. So the maker signals at most once a millisecond, and the taker,
when it finds nothing, waits a millisecond for that signal. Had it to wait longer, it asks for a signal at the very
next pair. The maker sleeps when `depth` pairs are ready, and is woken when half of them are gone. Where no depth was
given, it is what is made in a few milliseconds, at least two. Where it was given in bytes, the maker sleeps when
another pair like those of late would go beyond it.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from itpipe._core.averages import MovingAverage
from itpipe._core.keys import END
from itpipe._core.memory import Held, Holding
from itpipe._core.notes import close_after
from itpipe._core.sizes import Bytes
from itpipe._core.steps import Pair

from .stacks import format_stack, stack_of
from .threads import Thread
from .waiting import POLL_SECONDS, StallTimer, Waitable, join, report, signal

__all__ = ['Background']

HOLD = 0.001
"""Seconds for which ready pairs are held back at most, to hand over several at once."""
AHEAD = 0.004
"""Seconds of work that are kept ready where no depth was given …"""
DEPTHS = (2, 64)
"""… within these numbers of pairs."""
MOST = 1024
"""Pairs that may be ready where the depth was given in bytes, however little they seem to hold."""


class _Raised:
    """Stands in `ready` for an error."""

    def __init__(self, error: BaseException):
        self.error = error


class Background:
    """A thread, started at the first `run`, that stays the same for every further one."""

    def __init__(self, name: str, depth: int | None = None):
        self.name, self.where = name, f'thread {name}'
        self.stall_timer = StallTimer()
        self.upstream: list[Waitable] = []
        """Who else may be waited for."""
        self._limit = depth if isinstance(depth, Bytes) else None
        self._depth = depth or DEPTHS[0] if self._limit is None else MOST
        self._adaptive = depth is None
        self._low = 0
        self._holdings: deque[Holding] = deque()
        self._held = Held()
        self._expected = MovingAverage(0.1)
        self._ready: deque[Any] = deque()
        self._wake_taker, self._wake_maker = threading.Lock(), threading.Lock()
        self._wake_taker.acquire()
        self._wake_maker.acquire()
        self._urgent = False
        self._full = False
        self._stopped = self._closed = False
        self._failure: BaseException | None = None
        self._pid = os.getpid()
        self._work: SimpleQueue[tuple[Iterator[Pair], Callable[[], None]] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    # The taker's side

    def run(self, pairs: Iterator[Pair], close: Callable[[], None] = lambda: None) -> Iterator[Pair]:
        """The same pairs, made in the thread; there `close` is called when they end, fail or are stopped."""
        if self._thread is None and not self._stopped:
            with self._starting:
                if not self._stopped:
                    self._thread = Thread(self._make_all, self.name)
                    self._thread.start()
            atexit.register(self.close)
        self._work.put((pairs, close))
        while (entry := self._take()) is not END:
            if isinstance(entry, _Raised):
                self._failure = None
                try:
                    raise entry.error
                finally:
                    del entry  # its traceback holds this frame
            yield entry

    def _take(self) -> Any:
        ready = self._ready
        if not ready:
            self.stall_timer.start()
        while not ready:
            self._wait()
        entry = ready.popleft()
        if self._full and len(ready) <= self._low:
            self._full = False
            signal(self._wake_maker)
        return entry

    def _wait(self) -> None:
        if not self._wake_taker.acquire(timeout=HOLD) and not self._ready:
            self._urgent = True
            if not self._ready and not self._stopped:  # looked at again, after asking: the maker looks after appending
                if self._thread is None or not self._thread.is_alive():
                    raise RuntimeError('the thread that makes the items is gone: was this process forked from its own?')
                self._wake_taker.acquire(timeout=self.stall_timer.wait_time(POLL_SECONDS, self._report))
            self._urgent = False
        if self._stopped and not self._ready:
            raise RuntimeError('the run was closed while an item was awaited')

    def _report(self) -> str:
        return report([self, *self.upstream])

    @property
    def threads(self) -> list[threading.Thread]:
        """The one thread, if it has been started."""
        return [] if self._thread is None else [self._thread]

    def doing(self) -> str:
        """Where the thread is, for the warning of a stall."""
        if self._thread is None or self._full:
            return ''
        return format_stack(stack_of(self._thread.ident)) or '  waits for those below\n'

    # The maker's side

    def _make_all(self) -> None:
        while (work := self._work.get()) is not None:
            pairs, close = work
            try:
                try:
                    if not self._stopped:
                        self._make(pairs)
                except BaseException as error:
                    if self._stopped:  # which is why it was raised
                        self._close(close)
                    else:
                        close_after(error, close)
                    raise
                self._close(close)
                if not self._stopped:  # to be stopped is not the end: who waits must not take it for one
                    self._ready.append(END)
            except BaseException as error:
                self._ready.append(_Raised(error))
            del work, pairs, close
            signal(self._wake_taker)

    def _close(self, close: Callable[[], None]) -> None:
        try:
            close()
        except BaseException as error:  # kept for `close`, in case that nobody asks for pairs any more
            self._failure = error
            raise

    def _make(self, pairs: Iterator[Pair]) -> None:
        ready, limit = self._ready, self._limit
        signalled = started = perf_counter()
        cost = MovingAverage(0.1)
        for pair in pairs:
            if self._stopped:
                return
            if limit is not None:
                self._measure(pair[1])
            ready.append(pair)
            del pair
            now = perf_counter()
            if self._adaptive:
                seconds = cost.add(now - started)
                self._depth = min(max(int(AHEAD / (seconds + 1e-9)), DEPTHS[0]), DEPTHS[1])
            if len(ready) >= self._depth if limit is None else self._crowded():
                self._rest()
                signalled = started = perf_counter()
                continue
            if self._urgent or now - signalled >= HOLD:
                signal(self._wake_taker)
                signalled = now
            started = now

    def _rest(self) -> None:
        signal(self._wake_taker)
        while self._crowded() and not self._stopped:
            self._full = True
            if len(self._ready) > self._low and not self._stopped:  # looked at again, as in `_wait`
                self._wake_maker.acquire()
        self._full = False

    def _crowded(self) -> bool:
        """Whether no other pair may be made before only `_low` are left."""
        count = len(self._ready)
        self._low = min(count, self._depth) // 2
        if count >= self._depth or self._limit is None:
            return count >= self._depth
        self._let_go(count)
        return count > 0 and self._held.total + (self._expected.value or 0) > self._limit

    def _measure(self, value: Any) -> None:
        self._let_go(len(self._ready))
        self._holdings.append(holding := self._held.add(value))
        self._expected.add(holding.added)

    def _let_go(self, count: int) -> None:
        while len(self._holdings) > count:  # the first ones have been taken
            self._held.remove(self._holdings.popleft())

    # Ending

    def stop(self) -> None:
        """Make the thread stop after the pair that it is making, and wake whoever waits; from any thread."""
        self._stopped = True
        self._work.put(None)
        signal(self._wake_maker)
        signal(self._wake_taker)

    def close(self) -> None:
        """Stop the thread and wait until it is gone; raises what closing the pairs raised. Again: does nothing."""
        atexit.unregister(self.close)
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        self.stop()
        with self._starting:
            pass
        if self._thread is not None:
            join([self._thread])
        self._ready.clear()
        if self._failure is not None:
            try:
                raise self._failure
            finally:
                self._failure = None
