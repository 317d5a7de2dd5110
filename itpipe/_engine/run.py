"""`Run`: one iteration over a stream, what `iter(stream)` returns."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import ExitStack
from os import PathLike
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from itpipe._core.keys import Key, keys_of, ordinals
from itpipe._core.notes import close_after
from itpipe._core.show import format_steps, shortened
from itpipe._core.snapshots import snapshot
from itpipe._core.steps import State
from itpipe._core.tracebacks import fold_own
from itpipe.errors import Dropped

from .chain import B, Chain, is_running
from .threads import close_outside
from .weighting import reweighted

if TYPE_CHECKING:
    import numpy.typing as npt

    from itpipe._views.picture import Picture

    from .checkpoint import StateCodec
    from .stats import Stats
    from .tracing import Tracing

__all__ = ['Run']


class Run(Iterator[B]):
    """One iteration over a stream: an iterator over its items that can be closed before its end."""

    if TYPE_CHECKING:
        __sizeof__: None  # type: ignore[assignment]  # tells type checkers that it is no item, see `types.Item`

    def __init__(self, chain: Chain):
        self._chain = chain
        self._next = chain.pairs.__next__
        self._probe = chain.ledger.probe
        self._codec: StateCodec | None = None
        _runs.add(self)

    def __next__(self) -> B:
        probe = self._probe
        if probe.left <= 0:
            self._chain.ledger.ask()
        try:
            key, value = self._next()
        except StopIteration:
            self.close()
            raise
        except BaseException as error:
            if is_running(error):
                raise RuntimeError(
                    'two threads have asked one run for an item at the same time, or the run has asked itself;'
                    ' give each thread a run of its own, by `iter(stream)`, or let them share an `Infinite`'
                ) from None
            self._chain.note_index(error)
            close_after(error, self.close)
            fold_own(error)
            raise
        probe.left -= 1
        chain = self._chain
        if probe.on:
            probe.charge(chain.ledger.last, key)
        chain.last = key
        if chain.stateful:  # if not, it would do only the line above
            chain.received(key)
        return value  # type: ignore[no-any-return]

    @property
    def _key(self) -> Key | None:
        """The key of the item received last."""
        return self._chain.last

    @property
    def dropped(self) -> list[Dropped]:
        """The items that `on_error` has left out so far, at most the last 10,000."""
        return snapshot(self._chain.stop.dropped)

    def stats(self) -> Stats:
        """What the run has done so far: what each stage did, what limits it, and what would help.

        It can be called at any time, from any thread; after the end, it is what had been done then.

        >>> from itpipe import batch_by
        >>> run = iter(range(6) | batch_by(2))
        >>> next(run), next(run)
        ([0, 1], [2, 3])
        >>> run.stats().loop.items
        2

        See also: `Infinite.stats`.
        """
        from .collecting import collect  # it takes time, and not everybody needs it

        return collect(self._chain.ledger)

    def draw(self) -> Picture:
        """A picture of the stream, with what each stage has done so far, and what limits.

        See also: `Stream.draw`, `Run.stats`.
        """
        from .drawing import draw_stream

        source, steps = self._chain.described
        return draw_stream(source, steps, ' | '.join([shortened(source), *format_steps(steps)]), self.stats())

    def trace(self, path: str | PathLike[str], limit: int = 100_000) -> Tracing:
        """Write a trace of what runs while a `with` block does, which Perfetto (https://ui.perfetto.dev) opens.

        It is in the Trace Event Format of Chrome, as JSON. There is a track for each thread and process, with what it
        does and where it waits, and one for each buffer, with how many items it holds. Arrows join what was done for
        the same item. The file is written when the block ends. It has the last `limit` spans, of about 200 bytes each.
        Of stages that take microseconds, only one item in many is shown.

        Raises TypeError or ValueError for a `path` that is none or a `limit` that is not a positive int, OSError if the
        file cannot be opened or written, and RuntimeError while another trace is written. An error in the block comes
        out as it is.

        See also: `stats`.
        """
        from .tracing import Tracing  # it takes time, and not everybody needs it

        return Tracing('Run.trace', path, limit, self._chain.ledger)

    def state_dict(self) -> State:
        """Where the run stands: behind the item received last. JSON can hold it, and `Stream.resume` takes it.

        >>> from itpipe import shuffle, stream
        >>> letters = stream('abcdefgh', seed=0) | shuffle(3)
        >>> run = iter(letters)
        >>> next(run), next(run)
        ('a', 'd')
        >>> state = run.state_dict()
        >>> list(run) == list(letters.resume(state))
        True

        See also: `Infinite.state_dict`.
        """
        from .checkpoint import StateCodec
        from .state_checks import Position

        chain = self._chain
        in_pass = None if self._key is None and not (chain.resumed or chain.told) else chain.state()
        if self._codec is None:
            self._codec = StateCodec(*chain.described)
        return self._codec.state(Position(chain.seeds.entropy, chain.seeds.pass_, 0, in_pass))

    def reweight(self, weights: npt.ArrayLike, at: int | None = None, *, name: str | None = None) -> int:
        """Replace the weights of a `sample` or a `mix` with `reweight=True`, as `Infinite.reweight` does.

        >>> from itpipe import sample
        >>> run = iter(sample('abc', [1, 0, 0], seed=0, reweight=True))
        >>> next(run), next(run)
        ('a', 'a')
        >>> run.reweight([0, 1, 1], at=1000)
        1000
        """
        return reweighted('Run.reweight', self._chain.source.weightings, weights, at, name)

    @property
    def item_keys(self) -> list[Any]:
        """The keys of the item received last, as `Infinite.item_keys`."""
        return keys_of(self._key)

    @property
    def ordinals(self) -> list[int]:
        """The ordinals of the item received last, as `Infinite.ordinals`."""
        return [] if self._key is None else ordinals(self._key)

    @property
    def indices(self) -> list[Any]:
        """The indices of the item received last, as `Infinite.indices`."""
        return [] if self._key is None else self._chain.indices(self._key)

    def close(self) -> None:
        """End the run and close everything upstream, the source included. A second call does nothing."""
        self._chain.ledger.end()
        self._chain.close()

    def __del__(self) -> None:
        if hasattr(self, '_chain') and close_outside is not None:  # it may outlive the modules when the process ends
            close_outside(self._chain.stop.threads(), self._chain.close)


_runs: WeakSet[Run[Any]] = WeakSet()
"""All that may be open."""


@atexit.register
def _close_all() -> None:
    """Close the runs that are open when the interpreter ends, as long as the modules that this takes are there."""
    with ExitStack() as closing:
        for run in list(_runs):
            closing.callback(run.close)
