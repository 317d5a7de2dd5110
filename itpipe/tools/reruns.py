"""Runs of one pipeline in several ways: without workers, in threads, in a process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from itpipe._core.keys import END, Key
from itpipe._core.steps import ItemStep, Pair, State, Stateful, Step
from itpipe._engine.epochs import Epochs
from itpipe._engine.functions import ItemFunction
from itpipe._engine.source import Source
from itpipe._engine.stream import Stage, Stream, stream
from itpipe._workers.opening import Workers
from itpipe._workers.seeding import SeedGlobals
from itpipe.infinite import Infinite
from itpipe.stages.parallel import parallel_map

from .rewriting import rewritten
from .single_steps import map_failing, workers_of

__all__ = ['MODES', 'Made', 'Rerun', 'maker']

MODES: Final = ('serial', 'threads', 'processes')
WORKERS: Final = {'threads': 2, 'processes': 1}


@dataclass(frozen=True)
class Made:
    """A pipeline; an Infinite also has passes and options."""

    source: Source
    steps: tuple[Step | ItemStep, ...]
    options: tuple[Any, ...] | None = None
    """The seed, `batches_per_epoch` and `restart` of an Infinite."""

    @property
    def stream(self) -> Stream[Any]:
        return Stream(self.source, self.steps)


def maker(pipeline: Any) -> Callable[[], Made]:
    made = pipeline() if callable(pipeline) and not isinstance(pipeline, (Infinite, Stream)) else pipeline
    if made is not pipeline:
        first = [_made(made)]
        return lambda: first.pop() if first else _made(pipeline())
    found = _made(pipeline)
    if found.source.one_shot:
        raise ValueError(
            'check_resume: the stream reads from an iterator, of which there is only one run; give a function that'
            ' makes the pipeline, with a new iterator each time'
        )
    return lambda: found


def _made(pipeline: Any) -> Made:
    if isinstance(pipeline, Infinite):
        epochs = pipeline._epochs
        options = epochs.seed, epochs.batches_per_epoch, epochs.restart
        return Made(epochs.source, tuple(epochs.steps), options)
    found: Stream[Any] = stream(pipeline)
    return Made(found.source, tuple(found.steps))


class Rerun:
    """A run of a pipeline in a mode (None: as it is written), from the beginning or from a state."""

    def __init__(self, made: Made, mode: str | None, state: State | None = None):
        small = made.stream if mode is None else rewritten(made.stream, lambda steps: _in_mode(steps, mode))
        self.run: Any
        if made.options is None:
            self.run = iter(small) if state is None else small.resume(state)
            self.values = iter(self.run)
            return
        seed, batches_per_epoch, restart = made.options
        prefetch = 0 if mode == 'serial' else None
        self.run = Epochs(small.source, small.steps, seed, prefetch, None, batches_per_epoch, restart)
        if state is not None:
            self.run.load('check_resume', state)
        self.values = self._over_epochs()

    def _over_epochs(self) -> Iterator[Any]:
        empty = 0  # there is one if the run begins behind the last batch of an epoch
        while empty < 2:
            empty += 1
            for value in self.run.batches():
                empty = 0
                yield value

    def next(self) -> Any:
        """The next value, END if there is none."""
        return next(self.values, END)

    def key(self) -> Key | None:
        return self.run.last.key if isinstance(self.run, Epochs) else self.run._key

    def state(self) -> State:
        """The state, through JSON."""
        state = self.run.state() if isinstance(self.run, Epochs) else self.run.state_dict()
        return json.loads(json.dumps(state))  # type: ignore[no-any-return]

    def close(self) -> None:
        if hasattr(self.values, 'close'):
            self.values.close()
        self.run.close()


# ---------------------------------------------------------------------------------------------------------------------
# The steps in a mode


def _in_mode(steps: Sequence[Step | ItemStep], mode: str) -> Iterator[Step | ItemStep]:
    has_workers = any(workers_of(step) is not None for step in steps)
    items: list[ItemStep] = []
    for step in steps:
        if isinstance(step, ItemStep) and mode != 'serial' and not has_workers:
            items.append(step)
            continue
        if items:
            yield from parallel_map(Stage(tuple(items)), **{mode: WORKERS[mode]}).steps  # type: ignore[call-overload]
            items, has_workers = [], True
        if isinstance(step, ItemStep) or (workers := workers_of(step)) is None or workers.kind == 'executor':
            yield step
        else:
            yield _with_workers(step, workers, mode)
    if items:
        yield from parallel_map(Stage(tuple(items)), **{mode: WORKERS[mode]}).steps  # type: ignore[call-overload]


def _with_workers(step: Any, workers: Workers, mode: str) -> Step:
    functions, _, *rest = step.options
    unordered = isinstance(step, Stateful)
    if mode == 'serial' and not unordered:
        return replace(step, work=_serial, in_workers=False)  # type: ignore[no-any-return]
    kind = 'threads' if mode == 'serial' else mode
    seeds_globals = any(isinstance(getattr(item, 'make', None), SeedGlobals) for item in _items(functions))
    count = 1 if unordered or seeds_globals else WORKERS[kind]
    changed = workers._replace(
        kind=kind, given=count, in_flight=1 if unordered else None, max_tasks=None, timeout=None, restart=False
    )
    return replace(step, options=(functions, changed, *rest))  # type: ignore[no-any-return]


def _items(functions: Any) -> Iterator[Any]:
    for function in functions:
        yield from getattr(function, 'steps', (function,))


def _serial(items: Iterator[Pair], function: ItemFunction, workers: Workers, *rest: Any) -> Iterator[Pair]:
    """What `parallel_map` gives, without workers."""
    if workers.resource is None:
        yield from map_failing(items, function, workers, *rest)
        return
    workers.resource.open()
    try:
        yield from map_failing(items, function, workers, *rest)
    finally:
        workers.resource.close()
