"""One run of an `Infinite`, over all passes of its source: `EpochRun`, and `Cursor`, which says where it stands."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from itpipe._core.keys import END, Key
from itpipe._core.steps import AsRun, Pair, State
from itpipe.errors import Dropped, NotRestartable

from .background import Background
from .chain import Chain
from .ledgers import Ledger
from .meters import Meter
from .pools import Pools, Spare
from .seeds import Seeds
from .source import Source
from .state_checks import Position
from .threads import close_outside
from .waiting import GRACE, StallTimer, warn_still_running
from .weighting import reweighted, take_over

if TYPE_CHECKING:
    from .checkpoint import StateCodec
    from .recording import RunRecord

__all__ = ['Cursor', 'EpochRun']


class Cursor(NamedTuple):
    """Where an epoch stands: behind a batch, or before the first batch of a pass."""

    pass_: int = 0
    batch: int = 0
    """The number of batches of the epoch that were received."""
    chain: Chain | None = None
    """The one that made the batch received last; None if no batch of this pass has been received."""
    key: Key | None = None
    """The key of that batch."""
    start: State | None = None
    """Where a resumed run begins within its first pass."""

    def indices(self) -> list[Any]:
        """The indices of the items in the batch received last, in the data that the source draws from."""
        return [] if self.chain is None or self.key is None else self.chain.indices(self.key)


class EpochRun:
    """The run of one epoch or of many, over all passes of its source, in a thread of its own unless `prefetch` is 0.

    Each epoch has its own cursor. The run remembers the cursor that moved last.
    """

    finalizer: weakref.finalize[..., Any]

    def __init__(
        self,
        source: Source,
        as_run: AsRun,
        seed: int | None,
        stall_timeout: float | None,
        dropped: deque[Dropped],
        start: Position,
        early: bool = False,
        before: StateCodec | None = None,
        spare: Spare | None = None,
    ):
        self._pid = os.getpid()
        self._source, self._steps, self._seed = source, as_run.steps, seed
        self._receive = as_run.receive
        self._stall_timeout, self._dropped = stall_timeout, dropped
        self.ledger = Ledger()
        self._consumer = self.ledger.consumer
        self._consumer.clocked = True
        self._background = None
        if as_run.prefetch != 0:
            self.ledger.buffer = Meter()
            self.ledger.buffer.upstream = self.ledger.probe
            self._background = Background('itpipe-Infinite', as_run.prefetch, self.ledger.buffer)
            self._background.stall_timer = StallTimer('no batch has come out of Infinite', stall_timeout)
        self._early = early
        """Whether the thread goes on with the next pass while the last batches of one are taken."""
        self._before = before
        """That of the source of the first pass, where that is another one: before data was appended."""
        self._first_pass = start.pass_
        self._asked = False
        """Whether it was asked for the pass behind the current one."""
        self._spare = spare
        """Where its workers come from, and go when it has ended."""
        self._pools = Pools() if spare is None else spare.take()
        self._lock = threading.RLock()
        """Held while a batch is taken. Whoever asks only for the position does not wait for it."""
        self.closed = False
        self.epochs: list[None] = []
        """As many as epochs are being iterated. Of two threads that add to a number at once, one may be lost."""
        self.record: RunRecord | None = None
        self.entropy = start.entropy
        self._cursor = Cursor(start.pass_, start.batch, start=start.in_pass)
        self.last = self._cursor
        """The cursor behind the batch received last. It stays there when the next pass begins."""
        self.batches_before = start.batch
        """The number of batches of the next epoch that were received in another run."""
        self._moving = threading.RLock()
        """Held for what takes no time: while the run moves from pass to pass, and while weights are replaced."""
        self._chain: Chain | None = None
        """The chain of the current pass; None between two passes, and up to the first batch of a pass."""
        self._opened: deque[Chain] = deque()
        """The chains of passes that were begun, but no batch of them was taken."""
        self._at_work: Chain | None = None
        """The chain that makes batches, or has made the last one."""
        self._pairs: Iterator[Pair] = iter(())

    def check_process(self) -> None:
        """Raise an error in a process that was forked after the run had started."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                f'Infinite: it was started in process {self._pid}. This process is a fork of that one, and has no'
                ' background thread: close() it here first, then it starts anew, or make one in each process'
            )

    def next_epoch(self) -> Cursor:
        """The cursor with which the next epoch begins."""
        with self._lock:
            self._cursor = self._cursor._replace(batch=self.batches_before)
            self.batches_before = 0
            return self._cursor

    def next(self, epoch: Cursor, asked: float, worked: float) -> tuple[Cursor, Any]:
        """The next batch of the epoch, and the cursor behind it. Instead of a batch, END if the pass has ended.

        It was `asked` for at this time, after the loop had `worked` for so long on the batch before.
        """
        with self._lock:
            consumer, pair, before = self._consumer, None, epoch.key
            consumer.worked += worked
            consumer.state, consumer.since = 'waits', asked
            try:
                if not self.closed:
                    pair = next(self._pairs, None) if self._chain is not None else None
                    pair = pair or self._pull(first=epoch.batch == 0)
            except Exception as error:
                if not self.closed:  # if it is, `close` in another thread has interrupted the wait
                    if (chain := self._chain or (self._opened[0] if self._opened else None)) is not None:
                        chain.note_index(error)
                    raise
            chain = self._chain
            if pair is None or chain is None:
                consumer.waited += perf_counter() - asked
                consumer.state = ''
                if self.closed:
                    self._close_chain()
                elif chain is not None:
                    with self._moving:
                        self._cursor, self._chain = Cursor(self._cursor.pass_ + 1), None
                    self._close_chain()
                    if chain.told:
                        with self._moving, suppress(NotRestartable):  # which is raised where the next pass begins
                            self._opened_after(chain, self._cursor)
                return epoch, END
            key, batch = pair
            if self._receive is not None:
                batch = self._receive(batch)
            with chain.lock:
                self._cursor = self.last = epoch = Cursor(self._cursor.pass_, epoch.batch + 1, chain, key)
                chain.last = key
                if chain.stateful:  # if not, it would do only the line above
                    chain.received(key)
            now = perf_counter()
            consumer.waited += now - asked
            consumer.taken += 1
            if self.ledger.first is None:  # before the loop works, which does not count in it
                consumer.first, consumer.state = consumer.waited, ''
                self.ledger.first = self.ledger.frozen()
            consumer.state, consumer.since = 'works', now
            trace = self.ledger.trace  # once: another thread may set it to None
            if trace is not None:
                if worked:
                    trace.add('step', consumer.meter, asked - worked, asked, before)
                trace.add('ask', consumer.meter, asked, now, key)
            return epoch, batch

    def _pull(self, first: bool) -> Pair | None:
        """The next pair, where the current pass has none; None if it has ended.

        The first pair of an epoch comes from the next pass then.
        """
        begun = self._chain is not None or self._cursor.start is not None
        if self._chain is None:
            if not begun and not first:
                return None
            self._begin(self._cursor)
        pair = self._next_pair()
        if pair is None and begun and first:
            self._begin(Cursor(self._cursor.pass_ + 1, self._cursor.batch))
            pair = self._next_pair()
        return pair

    def _next_pair(self) -> Pair | None:
        pair = next(self._pairs, None)
        if self._chain is None and self._opened:
            with self._moving:
                self._chain = self._opened[0]
                self._opened.popleft()
        return pair

    def _begin(self, cursor: Cursor) -> None:
        self.ledger.started = self.ledger.started or perf_counter()
        self._close_chain()
        with self._moving:
            before, self._chain = self._chain, None
            if self._background is None:
                self._pairs = self.ledger.timed(self._work(self._opened_after(before, cursor))[0])
            else:
                if not self._asked:  # its warnings tell where the caller is
                    self._background.make(partial(self._work, self._opened_after(before, cursor)))
                self._pairs = self._background.made()
                if self._early:
                    self._asked = True
                    self._background.make(partial(self._open_and_work, Cursor(cursor.pass_ + 1)))
            self._cursor = cursor

    def _opened_after(self, before: Chain | None, cursor: Cursor) -> Chain:
        """The chain of the pass that begins at the cursor, opened if it is not. Replaced weights hold there, too."""
        chain = self._opened[0] if self._opened else self._open(cursor)
        if before is not None:
            take_over(chain.source.weightings, before.source.weightings)
        return chain

    def reweight(self, where: str, weights: Any, at: int | None, name: str | None) -> int:
        """Replace weights in the pass of the cursor, which need not have begun, see `Infinite.reweight`."""
        self.check_process()
        with self._moving:
            chain = self._chain or self._opened_after(None, self._cursor)
            return reweighted(where, chain.source.weightings, weights, at, name)

    def _open(self, cursor: Cursor) -> Chain:
        before = self.before(cursor.pass_)
        source = self._source if before is None else before.source
        seeds = Seeds(self._seed, cursor.pass_, source.seed, self.entropy)
        pools = self._pools if self._source.lasting and before is None else None
        chain = Chain(
            source, self._steps, seeds,
            state=cursor.start, dropped=self._dropped, pools=pools, ledger=self.ledger,
        )  # fmt: skip
        self._opened.append(chain)
        return chain

    def _work(self, chain: Chain) -> tuple[Iterator[Pair], Callable[[], None]]:
        """The pairs of the chain, which is about to make them, and what closes it."""
        self._at_work = chain
        if self._background is None:
            chain.stop.stall_timeout = self._stall_timeout
        else:
            self._background.upstream = chain.stop.waitables
        if self.closed:
            chain.stop()
        return chain.pairs, chain.close

    def _open_and_work(self, cursor: Cursor) -> tuple[Iterator[Pair], Callable[[], None]]:
        return (iter(()), lambda: None) if self.closed else self._work(self._open(cursor))

    def position(self) -> Position:
        """The position of the cursor that moved last. Never waits for a batch."""
        while True:
            with self._moving:
                cursor = self._cursor
                chain = cursor.chain or self._chain or (self._opened[0] if self._opened else None)
            if chain is None or not (cursor.chain or chain.told):
                return Position(self.entropy, cursor.pass_, cursor.batch, cursor.start)
            with chain.lock:
                if self._cursor is cursor:  # if not, another batch has been received meanwhile
                    chain.last = cursor.key  # a signal handler may come before `Chain.received` did this
                    return Position(self.entropy, cursor.pass_, cursor.batch, chain.state())

    def before(self, pass_: int) -> StateCodec | None:
        """The codec of this pass, where its source is another one."""
        return self._before if pass_ == self._first_pass else None

    def rewind(self) -> None:
        """Let `position` be the beginning from now on."""
        self._cursor = Cursor()

    def close(self) -> None:
        """Stop the run, and wait until its thread has closed everything. In a forked process only set `closed`."""
        if self.closed:
            return
        self.closed = True
        if os.getpid() != self._pid:
            return
        if self._background is not None:
            self._background.stop()
        if (chain := self._at_work) is not None:
            chain.stop()
        try:
            if self._background is not None:
                self._background.close()
            elif self._lock.acquire(timeout=GRACE):
                try:
                    self._close_chain()
                finally:
                    self._lock.release()
            else:
                warn_still_running('thread that iterates')
        finally:
            self.ledger.end()
            self._pairs = iter(())  # it may hold the last batch, and a closed run is kept to tell where it stood
            try:
                if self._spare is None:
                    self._pools.close()
                else:
                    self._spare.keep(self._pools)
            finally:
                if self.record is not None:
                    self.record.end()

    def drop(self) -> None:
        """Close the run because its `Infinite` is gone, in whichever thread the garbage collector runs."""
        threads = [] if self._background is None else self._background.threads
        threads += self._pools.threads if (chain := self._at_work) is None else chain.stop.threads()
        close_outside(threads, self.close)

    def _close_chain(self) -> None:
        """Close the chain, unless the background thread does that."""
        # A step may end before what is upstream of it has ended.
        if self._background is None and self._at_work is not None:
            self._at_work.close()
