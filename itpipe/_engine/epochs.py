"""The run behind an `Infinite`: over all passes of its source, in a thread of its own or in that which iterates."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from itpipe._core.keys import END, Key
from itpipe._core.steps import ItemStep, Pair, Step
from itpipe.errors import Dropped

from .background import Background
from .chain import Chain
from .checkpoint import Place
from .seeds import Seeds
from .source import Source
from .threads import close_for
from .waiting import GRACE, StallTimer, still_running

__all__ = ['Live']


class _Received(NamedTuple):
    """Where the consumer stands: behind this batch."""

    chain: Chain
    key: Key
    pass_: int
    batch: int
    """How many of its epoch have been received."""


class Live:
    """The run of an `Infinite`, over all passes of its source."""

    finalizer: weakref.finalize[..., Any]

    def __init__(
        self,
        source: Source,
        steps: Sequence[Step | ItemStep],
        seed: int | None,
        ahead: int | None,
        stall_timeout: float | None,
        dropped: deque[Dropped],
        place: Place,
    ):
        self.pid = os.getpid()
        self._source, self._steps = source, steps
        self._seed, self._dropped = seed, dropped
        self._begun_at = place
        self.entropy, self.pass_ = place.entropy, place.pass_
        self._background = None if ahead == 0 else Background('itpipe-Infinite', ahead)
        self._stall_timeout = stall_timeout
        if self._background is not None:
            self._background.stall_timer = StallTimer('no batch has come out of Infinite', stall_timeout)
        self._lock = threading.RLock()
        """Of who takes a batch; nobody who only asks where the consumer stands waits for it."""
        self.closed = False
        self.epochs = 0
        """How many are being iterated."""
        self._at: Place | _Received = place
        self._last: _Received | None = None
        self._first_epoch = True
        self._next_pass = place.pass_
        self._ended = place.position is None
        self._chain: Chain | None = None
        self._pairs: Iterator[Pair] = iter(())

    @property
    def key(self) -> Key | None:
        """Of the batch received last."""
        return None if self._last is None else self._last.key

    def check_process(self) -> None:
        """Raise an error in a process that was forked from the one that this belongs to."""
        if os.getpid() != self.pid:
            raise RuntimeError(
                f'Infinite: it was started in process {self.pid}, of which this one is a fork that has no'
                ' background thread: close() it here first, then it starts anew, or make one in each process'
            )

    def epoch(self) -> int:
        """Begin the next epoch; returns how many of its batches have been received, before this run."""
        with self._lock:
            first, self._first_epoch = self._first_epoch, False
            if not first:
                self._at = self._at._replace(batch=0)
            return self._at.batch

    def next(self, received: int) -> Any:
        """The batch behind the `received` ones of its epoch, or END when the pass has ended."""
        with self._lock:
            pair = None
            try:
                if not self.closed:
                    pair = self._pull(again=not received)
            except Exception:
                if not self.closed:  # if it is, `close` in another thread has broken the wait
                    raise
            chain = self._chain
            if pair is None or chain is None:
                if not self.closed:
                    self._ended, self._at = True, Place(self.entropy, self._next_pass)
                self._close_chain()
                return END
            with chain.lock:
                self._at = self._last = _Received(chain, pair[0], self.pass_, received + 1)
                chain.received(pair[0])
            return pair[1]

    def place(self) -> Place:
        """Where the consumer stands. Never waits for a batch."""
        at = self._at
        while isinstance(at, _Received):
            with at.chain.lock:
                if self._at is at:  # or else another batch has been received meanwhile
                    at.chain.last = at.key  # a signal handler may come before `Chain.received` did this
                    return Place(self.entropy, at.pass_, at.batch, at.chain.state())
            at = self._at
        return at

    def rewind(self) -> None:
        """From now on, the consumer stands at the beginning."""
        self._at = Place(self.entropy)

    def indices(self) -> list[Any]:
        """The places in the data of the items in the batch received last."""
        return [] if self._last is None else self._last.chain.indices(self._last.key)

    def _pull(self, again: bool) -> Pair | None:
        if self._ended:  # then `again` asks for the first batch of the next pass
            if not again:
                return None
            self._begin()
            again = False
        elif self._chain is None:
            self._begin(self._begun_at)
        pair = next(self._pairs, None)
        if pair is None and again:
            self._begin()
            pair = next(self._pairs, None)
        return pair

    def _begin(self, at: Place | None = None) -> None:
        self._close_chain()
        position = None if at is None else at.position
        seeds = Seeds(self._seed, self._next_pass, self._source.seed, self.entropy)
        self._chain = Chain(self._source, self._steps, seeds, state=position, dropped=self._dropped)
        self.pass_ = self._next_pass
        self._next_pass += 1
        self._ended = False
        if position is None:
            self._at = Place(self.entropy, self.pass_, self._at.batch)
        if self._background is None:
            self._chain.stop.stall_timeout = self._stall_timeout
            self._pairs = self._chain.pairs
        else:
            self._background.upstream = self._chain.stop.waitables
            self._pairs = self._background.run(self._chain.pairs, self._chain.close)

    def close(self) -> None:
        """Stop the run, and wait until the thread that it runs in has closed it."""
        if self.closed or os.getpid() != self.pid:
            return
        self.closed = True
        if self._background is not None:
            self._background.stop()
        if self._chain is not None:
            self._chain.stop()
        if self._background is not None:
            self._background.close()
        elif self._lock.acquire(timeout=GRACE):
            try:
                self._close_chain()
            finally:
                self._lock.release()
        else:
            still_running('thread that iterates')
        self._pairs = iter(())  # which may hold the last batch, while this is kept for what it says of it

    def drop(self) -> None:
        """Close it because the `Infinite` is gone, in whatever thread the garbage collector runs."""
        threads = [] if self._background is None else self._background.threads
        if self._chain is not None:
            threads += self._chain.stop.threads()
        close_for(threads, self.close)

    def _close_chain(self) -> None:
        # Where there is a thread, it does this. What is upstream of a step that has ended may not have ended itself.
        if self._background is None and self._chain is not None:
            self._chain.close()
