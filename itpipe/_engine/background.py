"""A thread, the maker, that makes pairs ahead of the thread that takes them, the taker.

The maker appends to `ready`, the taker pops from it. A deque needs no lock for that. Two locks are used as signals, one
to wake each side. A signal may come without need: whichever side wakes up looks at `ready` again. Where a side is about
to sleep, it first says so and then looks once more. That is safe without the GIL, too: there, each change of a deque or
an attribute takes the lock of that object, so no read comes before the change that is written before it.

Waking a thread costs more than making a cheap batch. So the maker signals at most once in two milliseconds. The taker,
if it finds nothing, waits as long for that signal. If that was not enough, it sets `_urgent`, and the maker signals at
the next pair. The maker sleeps when `depth` pairs are ready, and is woken when half of them are gone. Without a given
depth, that is the number of pairs made in a few milliseconds, at least two. With a depth in bytes, the maker sleeps if
one more pair of the size of recent ones would exceed it.
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
from itpipe._core.snapshots import snapshot
from itpipe._core.steps import Pair

from .meters import Meter
from .stacks import format_stack, stack_of
from .threads import Thread
from .waiting import POLL_SECONDS, StallTimer, Waitable, join, report, signal

__all__ = ['Background']

HOLD = 0.002
"""The most seconds for which ready pairs are held back, so that several are handed over at once."""
AHEAD = 0.004
"""Seconds of work that are kept ready if no depth is given …"""
DEPTHS = (2, 64)
"""… but no fewer and no more pairs than these."""
MAX_READY = 1024
"""The most pairs that may be ready if the depth is given in bytes, however small they are."""


class _Raised:
    """An error of the maker, in `ready`."""

    def __init__(self, error: BaseException):
        self.error = error


class Background:
    """A thread that is started at the first `run`, and is the same for all later ones."""

    def __init__(self, name: str, depth: int | None = None, meter: Meter | None = None):
        self.meter = meter or Meter()
        self.name, self.where = name, f'thread {name}'
        self.stall_timer = StallTimer()
        self.upstream: list[Waitable] = []
        """What the thread itself may wait for."""
        self._limit = depth if isinstance(depth, Bytes) else None
        self._depth = depth or DEPTHS[0] if self._limit is None else MAX_READY
        self._adaptive = depth is None
        self._wake_at = 0
        self.meter.values = self._values
        self.meter.capacity = lambda: None if self._limit is not None else self._depth
        self._holdings: deque[Holding] = deque()
        self._held = Held()
        self._expected, self._cost = MovingAverage(0.1), MovingAverage(0.1)
        self._ready: deque[Any] = deque()
        self._wake_taker, self._wake_maker = threading.Lock(), threading.Lock()
        self._wake_taker.acquire()
        self._wake_maker.acquire()
        self._urgent = False
        self._full = False
        self._stopped = self._closed = False
        self._failure: BaseException | None = None
        self._pid = os.getpid()
        self._work: SimpleQueue[Callable[[], tuple[Iterator[Pair], Callable[[], None]]] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    # The taker's side

    def _values(self) -> list[Any]:
        """What is ready."""
        return [entry[1] for entry in snapshot(self._ready) if type(entry) is tuple]

    def run(self, pairs: Iterator[Pair], close: Callable[[], None] = lambda: None) -> Iterator[Pair]:
        """The same pairs, made in the thread. It calls `close` when they end, fail or are stopped."""
        self.make(lambda: (pairs, close))
        yield from self.made()

    def make(self, begin: Callable[[], tuple[Iterator[Pair], Callable[[], None]]]) -> None:
        """Have the thread call `begin`, make the pairs that it returns, and call the function beside them in the end.

        It does so when it has made all that it was asked for before, and as far ahead as ever.
        """
        if self._thread is None and not self._stopped:
            with self._starting:
                if not self._stopped:
                    self._thread = Thread(self._make_all, self.name)
                    self._thread.start()
            atexit.register(self.close)
        self._work.put(begin)

    def made(self) -> Iterator[Pair]:
        """The pairs of the next `make`."""
        ready = self._ready
        while True:
            if not ready:
                self.stall_timer.start()
                while not ready:
                    self.meter.wait(self._wait)
            entry = ready.popleft()
            if self._full and len(ready) <= self._wake_at:
                self._full = False
                signal(self._wake_maker)
            if type(entry) is not tuple:
                break
            yield entry
            del entry
        if isinstance(entry, _Raised):
            self._failure = None
            try:
                raise entry.error
            finally:
                del entry  # its traceback holds this frame

    def _wait(self) -> None:
        if not self._wake_taker.acquire(timeout=HOLD) and not self._ready:
            self._urgent = True
            # Looked at again after asking, because the maker looks at `_urgent` only after it has appended a pair.
            if not self._ready and not self._stopped:
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
        """The thread, if it has been started."""
        return [] if self._thread is None else [self._thread]

    def doing(self) -> str:
        """Where the thread is, for the warning about a stall."""
        if self._thread is None or self._full:
            return ''
        return format_stack(stack_of(self._thread.ident)) or '  waits for those below\n'

    def wake(self) -> None:
        """Have the taker look again, if it waits, and do what its meter does before it waits. From any thread."""
        signal(self._wake_taker)

    # The maker's side

    def _make_all(self) -> None:
        while (begin := self._work.get()) is not None:
            try:
                self._make_one(begin)
                if not self._stopped:  # whoever waits must not take the stop for the end
                    self._append_end()
            except BaseException as error:
                self._ready.append(_Raised(error))
            del begin
            signal(self._wake_taker)

    def _make_one(self, begin: Callable[[], tuple[Iterator[Pair], Callable[[], None]]]) -> None:
        pairs, close = begin()
        try:
            if not self._stopped:
                self._make(pairs)
        except BaseException as error:
            if self._stopped:  # the error comes from that
                self._close(close)
            else:
                close_after(error, close)
            raise
        self._close(close)

    def _append_end(self) -> None:
        if self._limit is not None:  # there is a holding for each entry
            self._holdings.append(Holding(0, (), 0))
        self._ready.append(END)

    def _close(self, close: Callable[[], None]) -> None:
        try:
            close()
        except BaseException as error:  # `close` raises it if nobody asks for pairs any more
            self._failure = error
            raise

    def _make(self, pairs: Iterator[Pair]) -> None:
        ready, limit, meter = self._ready, self._limit, self.meter
        probe = meter.upstream
        meter.taken = meter.taken or 0
        signalled, count = perf_counter(), 0
        if probe.left <= 0:
            probe.begin()
        for pair in pairs:
            if self._stopped:
                return
            probe.left -= 1
            if probe.on:
                probe.charge(meter.before, pair[0])
                probe.end()
            if limit is not None:
                self._measure(pair[1])
            ready.append(pair)
            del pair
            count += 1
            meter.taken += 1
            trace = meter.trace  # once: another thread may set it to None
            if trace is not None:
                trace.count(meter, len(ready))
            now = perf_counter()
            full = len(ready) >= self._depth if limit is None else self._must_sleep()
            if not full and not self._urgent and now - signalled < HOLD:
                if probe.left <= 0:
                    probe.begin()
                continue
            if self._adaptive:
                seconds = self._cost.add((now - signalled) / count)
                self._depth = min(max(int(AHEAD / (seconds + 1e-9)), DEPTHS[0]), DEPTHS[1])
                full = len(ready) >= self._depth
            if full:
                self._sleep()
                if self._stopped:  # before another pair is asked for
                    return
                now = perf_counter()
            else:
                signal(self._wake_taker)
            signalled, count = now, 0
            if probe.left <= 0:
                probe.begin()

    def _sleep(self) -> None:
        signal(self._wake_taker)
        while self._must_sleep() and not self._stopped:
            self._full = True
            if len(self._ready) > self._wake_at and not self._stopped:  # looked at again, see `_wait`
                self.meter.wait_full(self._wake_maker.acquire)
        self._full = False

    def _must_sleep(self) -> bool:
        """Whether the maker has to sleep until only `_wake_at` pairs are left."""
        count = len(self._ready)
        self._wake_at = min(count, self._depth) // 2
        if count >= self._depth or self._limit is None:
            return count >= self._depth
        self._forget_taken(count)
        return count > 0 and self._held.total + (self._expected.value or 0) > self._limit

    def _measure(self, value: Any) -> None:
        self._forget_taken(len(self._ready))
        self._holdings.append(holding := self._held.add(value))
        self._expected.add(holding.added)

    def _forget_taken(self, count: int) -> None:
        """Let only the last `count` pairs, which have not been taken, count as held."""
        while len(self._holdings) > count:
            self._held.remove(self._holdings.popleft())

    # Ending

    def stop(self) -> None:
        """Let the thread stop after the pair that it is making, and wake both sides. May be called from any thread."""
        self._stopped = True
        self._work.put(None)
        signal(self._wake_maker)
        signal(self._wake_taker)

    def close(self) -> None:
        """Stop the thread, wait until it is gone, raise what closing the pairs raised. A second call does nothing."""
        atexit.unregister(self.close)
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        self.meter.forget()
        self.stop()
        with self._starting:
            pass
        if self._thread is not None:
            join([self._thread])
        self._ready.clear()
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
