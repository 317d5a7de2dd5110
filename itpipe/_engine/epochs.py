"""The epochs of an `Infinite`: `Epochs` starts and ends its runs, and slices them into `Epoch`s."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from itpipe._core.keys import END
from itpipe._core.notes import close_after
from itpipe._core.rng import fresh_seed
from itpipe._core.steps import AsRun, ItemStep, State, Step
from itpipe._core.tracebacks import fold_own

from .chain import is_running, item_again
from .epoch_run import Cursor, EpochRun
from .left_out import uneven
from .meters import Shows
from .pools import Spare
from .seeds import Seeds
from .source import Source
from .stacks import user_stacklevel
from .state_checks import Position
from .waiting import DroppedLog

if TYPE_CHECKING:
    from .checkpoint import StateCodec
    from .recording import Recorder
    from .stats import Stats

__all__ = ['Epoch', 'Epochs']

B = TypeVar('B', covariant=True)


class Epochs:
    """All epochs of one `Infinite`.

    Only the `Infinite` and the epochs that are being iterated refer to it. When the last of them is gone, its runs end.
    """

    def __init__(
        self,
        source: Source,
        steps: Sequence[Step | ItemStep],
        seed: int | None,
        prefetch: int | None,
        stall_timeout: float | None,
        batches_per_epoch: int | None,
        restart: bool,
        recorder: Recorder | None = None,
        as_run: AsRun | None = None,
        distributed: Callable[[], object] = bool,
    ):
        self.source, self.steps, self.seed = source, steps, seed
        self.as_run = as_run or AsRun(steps, prefetch)
        self.distributed = distributed
        """Whether other ranks may wait for this one."""
        self.prefetch, self.stall_timeout = prefetch, stall_timeout
        self.batches_per_epoch, self.restart, self.recorder = batches_per_epoch, restart, recorder
        self.warned_of_restart = False
        """Whether Lightning's callback has warned of it."""
        self._next_start: Position | None = None
        """Where the next run begins, if that is known."""
        self._before: StateCodec | None = None
        """The codec of the rest of the pass there, whose source lacks what was appended to the data since."""
        self._warned = self._warned_of_ranks = False
        self._set_up()

    def _set_up(self) -> None:
        self.trace: Shows | None = None
        """Where what runs is shown, too."""
        self.run: EpochRun | None = None
        """The run that was started last. It may be closed. `load` sets it to None in any thread: look at it once."""
        self._running: set[EpochRun] = set()
        """At most one; with `restart`, one for each epoch that is being iterated."""
        self._spare: Spare | None = None
        if self.restart:
            self._spare = Spare()
            weakref.finalize(self, self._spare.drop)
        self.dropped = DroppedLog()
        self._starting = threading.RLock()

    def epoch(self) -> Epoch[Any]:
        """The next epoch."""
        return Epoch(self.batches())

    def batches(self) -> Iterator[Any]:
        """The batches of the next epoch."""
        run, most = self._start(), self.batches_per_epoch
        record = None if run.record is None else run.record.epoch()
        epoch, worked, asked = run.next_epoch(), 0.0, perf_counter()
        try:
            run.epochs.append(None)
            while most is None or epoch.batch < most:
                run.check_process()
                if run.record is not None:
                    run.record.warn()  # here, as it may raise an error, no batch is lost
                try:
                    epoch, batch = run.next(epoch, asked, worked)
                except BaseException as error:
                    close_after(error, partial(self._end, run))
                    raise
                if batch is END:
                    self._warn_if_short(run, epoch)
                    self._warn_if_uneven()
                    return
                if record is not None:
                    record.received(epoch.pass_, epoch.batch, epoch.key, batch)
                received = perf_counter()
                yield batch
                del batch
                asked = perf_counter()
                worked = asked - received
            run.next_epoch()
        finally:
            run.epochs.pop()
            run.ledger.consumer.state = ''
            if self.restart:
                run.rewind()
                self._end(run)

    def _warn_if_short(self, run: EpochRun, epoch: Cursor) -> None:
        """Warn, once, if an epoch that the source has ended is shorter than it should be."""
        most = self.batches_per_epoch
        # With `restart`, `batches_per_epoch` is only the most that an epoch may have.
        enough = epoch.batch > 0 and (most is None or self.restart)
        if self._warned or run.closed or len(run.epochs) > 1 or enough:
            return
        self._warned = True
        if epoch.batch == 0:
            message = (
                'Infinite: an epoch had no batches: the source is empty, or all items were left out, as by `filter_by`,'
                ' or by `drop_last` if there are fewer items than make a batch'
            )
        else:
            message = f'Infinite: an epoch ended after {epoch.batch} of `batches_per_epoch={most}` batches, because the'
            message += (
                ' source ended; it is an iterator, and most iterators cannot be iterated again, so the next epoch may'
                ' raise NotRestartable: give it something that can be iterated again, such as a list'
                if self.source.one_shot
                else ' source ended; the next epoch begins it again'
            )
        warnings.warn(message, stacklevel=user_stacklevel())

    def _warn_if_uneven(self) -> None:
        """Warn, once, if other ranks, which wait for this one, may have more batches than it had, or fewer."""
        if self._warned_of_ranks or not self.distributed() or (found := uneven(self.source, self.steps)) is None:
            return
        self._warned_of_ranks = True
        what, instead = found
        rank, ranks = next(step.share for step in reversed(self.steps) if isinstance(step, Step) and step.share)
        warnings.warn(
            f'Infinite: rank {rank} of {ranks} has ended its pass; `{what}`, behind the place where items'
            ' are dealt, may give other ranks more items or fewer, and what waits for all ranks in each step hangs'
            f' then; {instead}, or let the stream go on by `cycle()`, with'
            " `batches_per_epoch`; where no rank waits, give `even='keep'`",
            stacklevel=user_stacklevel(),
        )

    def _start(self) -> EpochRun:
        with self._starting:
            if self.run is None or self.run.closed or self.restart:
                start = self._next_start = self._next_start or self._beginning()
                self.dropped = DroppedLog()
                early = self.source.early and not self.restart
                recorder = self.recorder
                record = None if recorder is None else recorder.begin(self.codec, start, self.dropped)
                self.run = EpochRun(
                    self.source, self.as_run, self.seed, self.stall_timeout, self.dropped, start, early, self._before,
                    self._spare,
                )  # fmt: skip
                self.run.record = record
                self.run.ledger.show(self.trace)
                self.run.finalizer = weakref.finalize(self, self.run.drop)
                self._next_start, self._before = Position(start.entropy) if self.restart else None, None
                self._running.add(self.run)
            return self.run

    def _beginning(self) -> Position:
        return Position(None if self.seeded else fresh_seed())

    @property
    def seeded(self) -> bool:
        """Whether a step without a seed of its own gets one that was given."""
        return self.seed is not None or self.source.seed is not None

    def _end(self, run: EpochRun) -> None:
        self._running.discard(run)
        run.finalizer.detach()
        run.close()

    def close(self) -> None:
        """End all runs. The next epoch starts from the beginning."""
        with ExitStack() as closing:
            if self._spare is not None:
                closing.callback(self._spare.close)  # behind the runs, which leave their workers there
            for run in [*self._running]:
                closing.callback(self._end, run)

    @property
    def taken_before(self) -> int:
        """How many batches of the next epoch were received in the run whose state was loaded."""
        run = self.run
        if run is None or run.closed or self.restart:
            return 0 if self._next_start is None else self._next_start.batch
        return run.batches_before

    def leave_epoch(self) -> None:
        """Let the next epoch be a new one, not the rest of the epoch in which a loaded state was taken."""
        if self.restart:
            self._next_start, self._before = Position((self._next_start or self._beginning()).entropy), None
        else:
            self._start().next_epoch()

    def show(self, trace: Shows | None) -> None:
        """Show all that happens in this trace, too; None: no more."""
        self.trace = trace
        run = self.run
        if run is not None:
            run.ledger.show(trace)

    def stats(self) -> Stats:
        """What the run that was started last has done so far."""
        from .collecting import collect, nothing_yet  # it takes time, and not everybody needs it

        run = self.run
        return nothing_yet() if run is None else collect(run.ledger)

    @cached_property
    def codec(self) -> StateCodec:
        from .checkpoint import StateCodec  # for states only

        return StateCodec(self.source, self.steps, self.seed)

    def state(self) -> State:
        """The state behind the batch received last."""
        run = self.run
        if run is None:
            with self._starting:
                run = self.run  # another thread may have started it
                if run is None:
                    self._next_start = self._next_start or self._beginning()
                    return (self._before or self.codec).state(self._next_start)
        position = run.position()
        before = None if position.in_pass is None else run.before(position.pass_)
        return (before or self.codec).state(position)

    def reweight(self, where: str, weights: Any, at: int | None, name: str | None) -> int:
        """Replace weights, see `Infinite.reweight`."""
        if self.restart:
            raise ValueError(f'{where}: with `restart=True` all epochs are the same; leave that out, or this')
        return self._start().reweight(where, weights, at, name)

    def load(self, where: str, state: State, strict: bool = True, append: bool = False) -> None:
        """Let the next run begin where this state was taken. Raises TypeError or ValueError, naming `where`."""
        start, codec = (
            self.codec.read_appended(where, state, strict)
            if append
            else (self.codec.read(where, state, strict), self.codec)
        )
        if codec is not self.codec and self.recorder is not None:
            raise ValueError(
                f'{where}: `append=True` does not go with `record` in the middle of a pass, as a record is of'
                ' one pipeline; record from the next pass on'
            )
        start = start._replace(batch=codec.batches(where, state))
        with self._starting:
            run, self.run, self._next_start = self.run, None, start
            self._before = None if codec is self.codec else codec
        if run is not None:
            self._end(run)

    @property
    def last(self) -> Cursor:
        """The cursor behind the batch received last."""
        run = self.run
        return Cursor() if run is None else run.last

    @property
    def last_seeds(self) -> Seeds:
        """The seeds of the pass of the batch received last."""
        if (run := self.run) is not None:
            pass_, entropy = run.last.pass_, run.entropy
        else:
            entropy, pass_, *_ = self._next_start or Position()
        return Seeds(self.seed, pass_, self.source.seed, entropy)

    def item(self, where: str, key: Any) -> Any:
        """One item, made again as it was in the pass of the batch received last."""
        return item_again(where, self.last_source, self.steps, self.last_seeds, key)

    @property
    def last_source(self) -> Source:
        """The source of the pass of the batch received last."""
        run = self.run
        before = self._before if run is None else run.before(run.last.pass_)
        return self.source if before is None else before.source

    def __getstate__(self) -> dict[str, Any]:
        run = self.run
        if run is not None and not run.closed:
            raise TypeError('Infinite: it has started and cannot be pickled; pickle it before, or close() it first')
        return {
            name: value
            for name, value in self.__dict__.items()
            if name not in ('run', '_running', '_spare', '_starting', 'dropped', 'codec', 'trace')
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._set_up()


class Epoch(Iterator[B]):
    """The batches of one epoch, for one thread."""

    __slots__ = ('_batches',)

    def __init__(self, batches: Iterator[B]):
        self._batches = batches

    def __next__(self) -> B:
        try:
            return next(self._batches)
        except StopIteration:
            raise
        except BaseException as error:
            if is_running(error):
                raise RuntimeError(
                    'Infinite: two threads have asked one epoch for a batch at the same time, or the epoch has asked'
                    ' itself; let each thread iterate over the Infinite by itself, they share its batches'
                ) from None
            fold_own(error)
            raise

    def close(self) -> None:
        """End the iteration, as a `break` does."""
        self._batches.close()  # type: ignore[attr-defined]
