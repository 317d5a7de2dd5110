"""The run behind an `Infinite`: over all passes of its source, in a thread of its own or in that which iterates."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from .background import GRACE, Background, still_running
from .binding import Sites
from .checkpoint import Place
from .errors import Dropped
from .keys import END, Key
from .run import Chain, Source
from .stalls import Patience
from .steps import ItemStep, Pair, State, Step
from .threads import close_for

__all__ = ['Live']


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
            self._background.patience = Patience('no batch has come out of Infinite', stall_timeout)
        self._lock = threading.RLock()
        self._closed = False
        self.key: Key | None = None
        self._seen: Chain | None = None
        self._batch = place.batch
        self._moving = False
        """Whether what is known of where the consumer stands is about to change."""
        self._first_epoch = True
        self._next_pass = place.pass_
        self._ended = self._from_beginning = place.position is None
        self._chain: Chain | None = None
        self._pairs: Iterator[Pair] = iter(())

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
                self._batch = 0
            return self._batch

    def next(self, received: int) -> Any:
        """The batch behind the `received` ones of its epoch, or END when the pass has ended."""
        with self._lock:
            pair = None
            try:
                if not self._closed:
                    pair = self._pull(again=not received)
            except Exception:
                if not self._closed:  # if it is, `close` in another thread has broken the wait
                    raise
            if pair is None or self._chain is None:
                if not self._closed:
                    self._ended, self._batch = True, 0
                self._close_chain()
                return END
            self._moving = True
            self._chain.received(pair[0])
            self.key, self._seen = pair[0], self._chain
            self._batch = received + 1
            self._moving = False
            return pair[1]

    def place(self) -> tuple[int | None, int, int, State | None]:
        """Where the consumer stands, a `Place`."""
        with self._lock:
            if self._chain is None:
                return self._begun_at._replace(batch=self._batch)
            if self._ended:
                return self.entropy, self._next_pass, 0, None
            if self._from_beginning and self._seen is not self._chain:  # if the pass is empty, it is an epoch still
                return self.entropy, self.pass_, self._batch, None
            if self._moving:  # the lock keeps other threads out, but not a signal handler of this one
                raise RuntimeError(
                    'Infinite.state_dict: called by a signal handler in the very moment in which a batch is received;'
                    ' let the handler set a flag, and take the state in the loop'
                )
            self._moving = True
            try:
                return self.entropy, self.pass_, self._batch, self._chain.state()
            finally:
                self._moving = False

    def indices(self) -> list[Any]:
        """The places in the data of the items in the batch received last."""
        with self._lock:
            return [] if self._seen is None or self.key is None else self._seen.indices(self.key)

    def _pull(self, again: bool) -> Pair | None:
        if self._ended:  # then `again` asks for the first batch of the next pass
            if not again:
                return None
            self._begin()
            again = False
        elif self._chain is None:
            self._begin(self._begun_at.position)
        pair = next(self._pairs, None)
        if pair is None and again:
            self._begin()
            pair = next(self._pairs, None)
        return pair

    def _begin(self, position: State | None = None) -> None:
        self._close_chain()
        sites = Sites(self._seed, self._next_pass, self._source.seed, self.entropy)
        self._chain = Chain(self._source, self._steps, sites, state=position, dropped=self._dropped)
        self.pass_ = self._next_pass
        self._next_pass += 1
        self._ended = False
        self._from_beginning = position is None
        if self._background is None:
            self._chain.stop.stall_timeout = self._stall_timeout
            self._pairs = self._chain.pairs
        else:
            self._background.upstream = self._chain.stop.parties
            self._pairs = self._background.run(self._chain.pairs, self._chain.close)

    def close(self) -> None:
        """Stop the run, and wait until the thread that it runs in has closed it."""
        if self._closed or os.getpid() != self.pid:
            return
        self._closed = True
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
