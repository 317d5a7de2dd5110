"""A few items go through a stream once, in this thread, and what happens to them is written down.

Each stage runs on the items as it would in a run: with the same keys, so with the same random numbers. But no stage
waits for more items than there are: a batch is made of what is there, buffers let pass, and a skip is made at the
source. Errors of functions are written down, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice, takewhile
from typing import Any, Final

from itpipe._core.keys import Batch, Zipped
from itpipe._core.show import format_step
from itpipe._core.steps import Expanding, ItemStep, Opaque, Pair, Stateful, Step
from itpipe._engine.branches import Branched, Joined
from itpipe._engine.functions import ItemFunction
from itpipe._engine.kinds import kind_of_step
from itpipe._engine.order import LOOK_UP, goes_by_keys, is_by_count, lets_pass, takes_indices
from itpipe._engine.resources import Resource
from itpipe._engine.seeds import Seeds
from itpipe._engine.source import Seeded, Source
from itpipe._engine.waiting import Stop
from itpipe._workers.failures import Retrying
from itpipe._workers.opening import Workers

from .copying import UNKNOWN, copied
from .own_copies import with_own_data, with_own_functions
from .placing import who_does_what
from .seen import Budget, Call, Seen, Watch
from .single_steps import map_failing, map_one, single_steps, workers_of

__all__ = ['Trial']

MOST_SKIPPED: Final = 1000
"""More items than this are not made only to be skipped."""


class Trial:
    """The trial of a stream with so many items of each of its sources."""

    def __init__(self, source: Source, steps: Sequence[Step | ItemStep], seeds: Seeds, items: int):
        self.items = items
        self.stages: list[Seen] = []
        self.untouched: list[str] = []
        """Iterators, of which no item was taken, since it could not be put back."""
        self.stop = Stop()
        self._closing = ExitStack()
        self._budgets: list[Budget] = []
        self.watch = Watch()
        with self._closing:
            for _ in self._stream(source, steps, seeds, ()):
                pass

    def _stream(
        self,
        source: Source,
        steps: Sequence[Step | ItemStep],
        seeds: Seeds,
        branch: tuple[int, ...],
        looks_up: Workers | None = None,
        complete: bool = True,
    ) -> Iterator[Pair]:
        """What comes out. All functions are bound now, in reading order, so that they draw what they draw in a run."""
        begun, given, source = len(self.stages), source, with_own_data(source)
        opened: Any = source.open(seeds, self.stop) if not source.one_shot else None
        workers, indices = who_does_what(source, opened, steps, looks_up, complete)
        pairs = self._source(source, opened, steps, seeds, branch, workers.get(LOOK_UP))
        self.stages[-1].original = data_of(given)
        for step, at in single_steps(steps):
            seen = Seen(format_step(step), step, branch, workers=workers.get(at), before=self.stages[begun:])
            seen.holds_indices = at in indices
            self.stages.append(seen)
            unused = kind_of_step(step)(step, seeds.copy(), self.stop, tracked=False).options
            seen.unused = unused[0] if unused and isinstance(unused[0], ItemFunction) else None
            pairs = self._guarded(seen, self._stage(seen, with_own_functions(step), seeds, pairs))
        return pairs

    # Sources

    def _source(
        self, source: Any, opened: Any, steps: Any, seeds: Seeds, branch: tuple[int, ...], workers: Workers | None
    ) -> Iterator[Pair]:
        described = source
        while isinstance(described, Seeded):
            described = described.source
        if isinstance(described, Branched):
            pairs = self._branches(described, seeds, branch, workers)
            name = format_step(described.step) if isinstance(described, Joined) else repr(source)
            seen = Seen(name, None, branch, source=described, before=self.stages[:])
            self.stages.append(seen)
            return self._recorded(seen, pairs)
        seen = Seen(repr(source), None, branch, workers=workers, source=described)
        seen.sequence = data_of(described)
        self.stages.append(seen)
        if source.one_shot:
            self.untouched.append(seen.stage)
            return iter(())
        budget = Budget(self.items)
        self._budgets.append(budget)
        start = _skipped_at_once(steps)
        if opened.has_look_up and opened.split():
            function = opened.look_up()
            seen.function = function.calls[0].look_up.function if opened.skips else function
            pairs = self._not_excluded(opened.start(start), steps, seeds)
            return self._guarded(seen, self._mapped(seen, self._limited(pairs, budget)))
        pairs = self._not_excluded(opened.start(start), steps, seeds)
        return self._guarded(seen, self._iterated(seen, pairs, budget))

    def _not_excluded(self, pairs: Iterator[Pair], steps: Any, seeds: Seeds) -> Iterator[Pair]:
        """Without what a run leaves out before it does anything else."""
        first = list(takewhile(lets_pass, steps))
        for n, step in enumerate(steps):
            if takes_indices(step) or (n < len(first) and goes_by_keys(step)):
                pairs = step.work(pairs, *kind_of_step(step)(step, seeds.copy(), self.stop, tracked=False).options)
        return pairs

    def _limited(self, pairs: Iterator[Pair], budget: Budget) -> Iterator[Pair]:
        while budget.left > 0:
            budget.left -= 1
            pair = next(pairs, None)
            if pair is None:
                return
            yield pair

    def _iterated(self, seen: Seen, pairs: Any, budget: Budget) -> Iterator[Pair]:
        """The items of what has no index, each with the time that it took."""
        if hasattr(pairs, 'close'):
            self._closing.callback(pairs.close)
        while budget.left > 0:
            budget.left -= 1
            call = Call(None, UNKNOWN, None)
            pair = self.watch.timed(call, lambda: next(pairs, None))
            if pair is None:
                seen.ended = True
                return
            call.key, call.result = pair
            call.made = copied(pair[1])
            seen.calls.append(call)
            seen.out.append(pair)
            yield pair

    def _branches(
        self, source: Branched, seeds: Seeds, branch: tuple[int, ...], workers: Workers | None
    ) -> Iterator[Pair]:
        streams = [
            self._stream(
                each.source, each.steps, seeds.branch(each.source.seed), (*branch, n), workers, workers is None
            )
            for n, each in enumerate(source.branches)
        ]
        if source.name == 'zip_with':
            together = zip(*streams, strict=False)
            return ((Zipped.of(key for key, _ in pairs), tuple(value for _, value in pairs)) for pairs in together)
        return chain.from_iterable(map(_of_branch, streams, range(len(streams))))

    # Stages

    def _stage(self, seen: Seen, step: Any, seeds: Seeds, pairs: Iterator[Pair]) -> Iterator[Pair]:
        if takes_indices(step):  # it has left out what it does, see `_not_excluded`
            return self._recorded(seen, pairs)
        if (isinstance(step, Stateful) and not step.replay and step.gives == 'same') or step.share is not None:
            kind_of_step(step)(step, seeds, self.stop, tracked=False)  # counts as one of its name
            return self._recorded(seen, pairs)
        operator = kind_of_step(step)(step, seeds, self.stop, tracked=False)
        function: Any = operator.options[0] if operator.options else None
        if step.work in (map_one, map_failing):
            workers = workers_of(step)
            seen.function = function if workers is None or not workers.retries else Retrying(function, workers.retries)
            return self._mapped(seen, pairs)
        if step.name == 'filter_by' and isinstance(function, ItemFunction):
            seen.function = function
            return self._filtered(seen, pairs)
        if is_by_count(step):
            return self._recorded(seen, self._batches(seen, pairs, step.options[0]))
        if step.name == 'skip':
            return self._recorded(seen, self._skipped(seen, pairs, step.options[0]))
        if isinstance(step, Stateful) and step.gives == 'repeated':
            return self._recorded(seen, (((key, 0), value) for key, value in pairs))
        if isinstance(step, Expanding):
            return self._recorded(seen, self._expanded(seen, operator, pairs))
        if isinstance(step, Stateful) and step.again is not None:
            return self._recorded(seen, self._parts(seen, operator, pairs))
        own = isinstance(step, Opaque)
        upstream: Any = None  # which is asked where a run goes on
        watched = operator.start(self._asked(seen, pairs, spare=own), None, upstream)
        return self._recorded(seen, islice(watched, 4 * self.items if own else None))

    def _mapped(self, seen: Seen, pairs: Iterator[Pair]) -> Iterator[Pair]:
        resource: Resource | None = None if seen.workers is None else seen.workers.resource
        for n, (key, value) in enumerate(pairs):
            if resource is not None and n == 0:
                resource.open()
                self._closing.callback(resource.close)
            call = self.watch.call(seen, key, value)
            if call.error is None:
                seen.out.append((key, call.result))
                yield key, call.result

    def _filtered(self, seen: Seen, pairs: Iterator[Pair]) -> Iterator[Pair]:
        for key, value in pairs:
            call = self.watch.call(seen, key, value)
            if call.error is None and call.result:
                seen.out.append((key, value))
                yield key, value
            else:
                self._more()

    def _batches(self, seen: Seen, pairs: Iterator[Pair], size: int) -> Iterator[Pair]:
        while part := list(islice(pairs, size)):
            seen.size = size
            self._scale(seen, size / len(part))
            yield Batch(key for key, _ in part), [value for _, value in part]

    def _skipped(self, seen: Seen, pairs: Iterator[Pair], count: int) -> Iterator[Pair]:
        source, *others = [stage for stage in seen.before if stage.branch == seen.branch]
        if not source.source_is_joined and all(_keeps_places(stage.step) for stage in others):
            return pairs  # they were skipped at the source
        for budget in self._budgets:
            budget.left += min(count, MOST_SKIPPED)
        return islice(pairs, min(count, MOST_SKIPPED), None)

    def _expanded(self, seen: Seen, operator: Any, pairs: Iterator[Pair]) -> Iterator[Pair]:
        self._scale(seen, 1.0)
        for pair in pairs:
            yield from islice(operator.start(iter([pair]), None, None), self.items)

    def _parts(self, seen: Seen, operator: Any, pairs: Iterator[Pair]) -> Iterator[Pair]:
        self._scale(seen, 1.0)
        for key, value in pairs:
            first = [(key, n) for n in range(self.items)]
            yield from operator.step.again({key: value}, first, *operator.options).items()

    def _asked(self, seen: Seen, pairs: Iterator[Pair], spare: bool) -> Iterator[Pair]:
        """The items for a generator of the user's, which may need some before it gives any."""
        while True:
            self.watch.note(seen)
            if spare and not seen.out:
                self._more()
            pair = next(pairs, None)
            self.watch.begin()
            if pair is None:
                return
            yield pair

    def _recorded(self, seen: Seen, pairs: Iterator[Pair]) -> Iterator[Pair]:
        self.watch.begin()
        for pair in pairs:
            self.watch.note(seen)
            seen.out.append(pair)
            yield pair
            self.watch.begin()

    def _guarded(self, seen: Seen, pairs: Iterator[Pair]) -> Iterator[Pair]:
        """The pairs up to an error, which is written down."""
        if hasattr(pairs, 'close'):
            self._closing.callback(pairs.close)
        try:
            yield from pairs
        except Exception as error:
            seen.calls.append(Call(None, UNKNOWN, None, error=error))

    def _more(self) -> None:
        for budget in self._budgets:
            budget.more()

    def _scale(self, seen: Seen, scale: float) -> None:
        for stage in self.stages[self.stages.index(seen) :]:
            stage.scale = scale


def data_of(source: Any) -> Any:
    """What a source looks its items up in, or iterates."""
    while isinstance(source, Seeded):
        source = source.source
    return getattr(source, 'sequence', getattr(source, 'iterable', None))


def _of_branch(pairs: Iterator[Pair], n: int) -> Iterator[Pair]:
    return (((key, n), value) for key, value in pairs)


def _keeps_places(step: Any) -> bool:
    return step.itemwise or step.work is map_one or step.name in ('skip', 'shuffle', 'prefetch')


def _skipped_at_once(steps: Sequence[Step | ItemStep]) -> int:
    """How many items the first `skip` stages leave out, if nothing before them leaves out others."""
    count = 0
    for step in steps:
        if isinstance(step, ItemStep):
            continue
        if step.name == 'skip':
            count += step.options[0]
        elif not _keeps_places(step):
            break
    return count
