"""What the rules of `check` look at: a pipeline, its trial, and its functions called again."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from itpipe._core.steps import ItemStep, Step, draws
from itpipe._engine.branches import Branched
from itpipe._engine.indexing import length
from itpipe._engine.seeds import Seeds
from itpipe._engine.source import Seeded, Source
from itpipe._workers.opening import Workers

from .comparing import difference
from .copying import UNKNOWN, copied, is_large
from .seen import Call, Seen
from .single_steps import workers_of
from .trial import Trial

__all__ = ['Again', 'Examined', 'Running', 'items_in', 'leaves']

CHEAP: Final = 0.005
"""Seconds; functions that take less are called again several times."""
SLOW: Final = 0.25
"""Seconds; of one that takes longer, only one item is made again, and of one with large items."""
QUICK: Final = 0.1
"""Seconds; if a trial took less, its items are made in other passes, too."""


@dataclass(frozen=True)
class Running:
    """What an `Infinite` adds to its stream."""

    name: str
    batches_per_epoch: int | None
    prefetch: int | None
    restart: bool


@dataclass(eq=False)
class Again:
    """A call that was made again with a copy of what it got."""

    first: Call
    differs: str | None = None
    """Where the result is another one; None if it is the same."""
    error: Exception | None = None
    overwrites: bool = False
    """Whether a later call has changed this result."""


@dataclass(eq=False)
class Examined:
    """A pipeline and what was seen of it."""

    source: Source
    steps: Sequence[Step | ItemStep]
    seeds: Seeds
    """Those of the trial, before it."""
    seeded: bool
    running: Running | None
    trial: Trial
    seconds: dict[Seen, float] = field(default_factory=dict)
    """The least that a call took."""
    again: dict[Seen, list[Again]] = field(default_factory=dict)
    others: list[Trial] = field(default_factory=list)
    """The same items in other passes, where other random numbers are drawn for them."""

    def __post_init__(self) -> None:
        threaded = self.running is not None and self.running.prefetch != 0
        for seen in self.trial.stages:
            workers = seen.workers
            in_thread = threaded or (workers is not None and workers.kind == 'threads')
            if seen.function is not None:
                _run(lambda seen=seen: self._call_again(seen), in_thread)
            times = [call.seconds for call in seen.calls if call.error is None and call.seconds]
            if times:
                self.seconds[seen] = min([self.seconds.get(seen, times[0]), *times])

        self._draw_again()

    def _draw_again(self) -> None:
        is_random = getattr(self.source, 'random', False) or any(map(draws, self.steps))
        seconds = sum(call.seconds for seen in self.trial.stages for call in seen.calls)
        if is_random and self.source.early and seconds < QUICK:
            for pass_ in range(1, 3):
                self.others.append(Trial(self.source, self.steps, self.seeds.copy().in_pass(pass_), self.trial.items))

    def calls(self, seen: Seen) -> list[Call]:
        """Its calls in all passes."""
        at = self.stages.index(seen)
        return [call for trial in [self.trial, *self.others] for call in trial.stages[at].calls]

    def _call_again(self, seen: Seen) -> None:
        again = self.again[seen] = []
        calls = [call for call in seen.calls if call.error is None and call.given is not UNKNOWN][: self.trial.items]
        if not calls:
            return
        resource = None if seen.workers is None else seen.workers.resource
        if resource is not None:
            resource.open()
        try:
            least = min(call.seconds for call in calls)
            large = any(is_large(value) for value in (calls[0].given, calls[0].result))
            made: list[tuple[Again, Any, Any]] = []
            for call in calls if least < SLOW and not large else calls[:1]:
                for _ in range(3 if least < CHEAP and not large else 1):
                    once_more = Again(call)
                    again.append(once_more)
                    given, begun = copied(call.given), perf_counter()
                    try:
                        result = seen.function(call.key, given)  # type: ignore[misc]
                    except Exception as error:
                        once_more.error = error
                        break
                    least = min(least, perf_counter() - begun)
                    if call.made is not UNKNOWN:
                        once_more.differs = difference(call.made, result)
                    made.append((once_more, result, copied(result)))
            for once_more, result, then in made:
                once_more.overwrites = then is not UNKNOWN and difference(then, result) is not None
            self.seconds[seen] = least
        finally:
            if resource is not None:
                resource.close()

    @property
    def stages(self) -> list[Seen]:
        """The stages that were seen, in order; those of streams in streams before the stage that joins them."""
        return self.trial.stages

    @property
    def workers(self) -> list[tuple[Step | ItemStep, Workers]]:
        """The `parallel_map`s, with the workers that they ask for."""
        found = [(step, workers_of(step)) for steps in _all_steps(self.source, self.steps) for step in steps]
        return [(step, workers) for step, workers in found if workers is not None]

    @property
    def groups(self) -> list[tuple[Workers, list[Seen]]]:
        """The workers, each with the stages that they do."""
        found: dict[int, tuple[Workers, list[Seen]]] = {}
        for seen in self.stages:
            if seen.workers is not None:
                found.setdefault(id(seen.workers), (seen.workers, []))[1].append(seen)
        return list(found.values())


def _run(function: Any, in_thread: bool) -> None:
    """Call it, in a thread of its own if functions will run in other threads than this one."""
    if not in_thread:
        function()
        return
    errors: list[BaseException] = []

    def work() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name='itpipe-check')
    thread.start()
    thread.join()
    for error in errors:
        raise error


def leaves(source: Any) -> Iterator[Any]:
    """The sources that a source is made of."""
    while isinstance(source, Seeded):
        source = source.source
    if isinstance(source, Branched):
        for branch in source.branches:
            yield from leaves(branch.source)
    else:
        yield source


def _all_steps(source: Any, steps: Any) -> Iterator[Any]:
    while isinstance(source, Seeded):
        source = source.source
    if isinstance(source, Branched):
        for branch in source.branches:
            yield from _all_steps(branch.source, branch.steps)
    yield steps


def items_in(source: Any) -> int | None:
    """How many items a source has in a pass, as far as it says so."""
    while isinstance(source, Seeded):
        source = source.source
    if getattr(source, 'replace', None) is True:
        return None
    data = getattr(source, 'sequence', getattr(source, 'iterable', None))
    with suppress(Exception):
        return length(data)
    return None
