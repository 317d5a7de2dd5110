"""`itpipe report`: what the epochs of a recorded run held, and how to leave out what was in some of its steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from statistics import median
from typing import Any

from itpipe._core.keys import Batch, Zipped, is_pair, numbered
from itpipe._engine.stream import Stream
from itpipe.stages.exclude import exclude

from .pipelines import Pipeline
from .records import Step, Training

__all__ = ['leaving_out', 'report']


def report(trainings: list[Training], pipeline: Pipeline | None = None) -> Iterator[str]:
    """The lines of the report. Items are told apart by their keys, or with a pipeline by their places in the data."""
    for number, training in enumerate(trainings, 1):
        if number > 1:
            yield ''
        yield from _of_training(number, training, pipeline)


def leaving_out(training: Training, first: int, end: int, pipeline: Pipeline | None = None) -> Iterator[str]:
    """The stages that leave out what was in the steps from `first` to before `end`, one for each pass.

    With a pipeline whose data has an index, it is one stage, by the places of the items in the data.
    """
    steps = training.steps[first:end]
    if pipeline is not None and _by_index(pipeline):
        yield f'exclude(indices=[{", ".join(_runs(sorted(set(_indices(steps, pipeline)))))}])'
        return
    for pass_, of_pass in groupby(steps, key=lambda step: step.pass_):
        numbers: dict[Any, set[int]] = {}
        for step in of_pass:
            for key in _items_in(step.key):
                whole, number = _part(numbered(key))
                numbers.setdefault(whole, set()).add(number)
        items = [
            run if whole is None else f'({whole}, {run})' for whole in numbers for run in _runs(sorted(numbers[whole]))
        ]
        yield f'exclude({", ".join(items)}, passes={pass_})'


def _by_index(pipeline: Pipeline) -> bool:
    """Whether `exclude` can go by places in the data there."""
    try:
        _ = Stream(pipeline.source) | exclude(indices=[0])
    except TypeError:
        return False
    return True


def _items_in(key: Any) -> Iterator[Any]:
    """The keys of the items, for a row of `pack` of those that it has a part of."""
    for part in _flat(key):
        if is_pair(part) and isinstance(part[0], Batch):
            yield from _items_in(part[0])
        else:
            yield part


def _part(key: Any) -> tuple[Any, int]:
    """What `exclude` knows an item by: the key of what it is a part of, None if it is none, and its number there."""
    if isinstance(key, Zipped):
        return _part(key[0][0])
    return (None, key) if isinstance(key, int) else (key[0], key[1])


def _runs(numbers: list[int]) -> Iterator[str]:
    """The numbers, which are sorted, as code; those that follow each other as ranges."""
    for _, run in groupby(enumerate(numbers), key=lambda each: each[1] - each[0]):
        found = [number for _, number in run]
        if len(found) > 2:
            yield f'range({found[0]}, {found[-1] + 1})'
        else:
            yield from map(str, found)


def _of_training(number: int, training: Training, pipeline: Pipeline | None) -> Iterator[str]:
    header = training.header
    versions = ', '.join(f'{name} {version}' for name, version in header['versions'].items())
    yield f'run {number}: {_count(len(training.steps), "batch")}, begun {training.times[0]}'
    yield f'  {header["infinite"]}'
    yield f'  {versions}, {header["platform"]}{_rank(header["shard"])}'
    for start, time in list(zip(training.starts, training.times, strict=True))[1:]:
        if not training.restarts:
            yield f'  went on at step {start}, {time}'
    first = 0
    for epoch, steps in groupby(training.steps, key=lambda step: step.epoch):
        batches = list(steps)
        dropped = [each for at, each in training.dropped if _within(at, first, len(batches), len(training.steps))]
        yield from _of_epoch(epoch, first, batches, dropped, pipeline, header)
        missing = sum(n for at, n in training.missing if _within(at, first, len(batches), len(training.steps)))
        if missing:
            yield f'    {_count(missing, "item")} more dropped, too many at once for the record'
        first += len(batches)


def _within(at: int, first: int, count: int, total: int) -> bool:
    """Whether what was noticed before the step `at` belongs to these steps. What comes last belongs to the last."""
    return first <= min(at, total - 1) < first + count


def _of_epoch(
    epoch: int,
    first: int,
    steps: list[Step],
    dropped: list[list[Any]],
    pipeline: Pipeline | None,
    header: dict[str, Any],
) -> Iterator[str]:
    passes = sorted({step.pass_ for step in steps})
    through = f'pass {passes[0]}' if len(passes) == 1 else f'passes {passes[0]} to {passes[-1]}'
    yield (
        f'  epoch {epoch}: steps {first} to {first + len(steps) - 1}, {through}, {_count(len(steps), "batch")},'
        f' {_seconds(steps)}'
    )
    what = 'row' if pipeline is None and 'pack(' in header['infinite'] else 'item'
    yield f'    {_items(steps, pipeline, what)}{_ask_for_pipeline(header) if pipeline is None else ""}'
    stages = Counter((stage, error.partition('(')[0]) for _, stage, error in dropped)
    for (stage, error), count in stages.items():
        places = [number for number, other, _ in dropped if other == stage]
        shown = ', '.join(map(str, places[:8])) + (', …' if len(places) > 8 else '')
        yield f'    {_count(count, "item")} dropped by `{stage}`, {error}: {shown}'


def _ask_for_pipeline(header: dict[str, Any]) -> str:
    """What to say of a pipeline that draws the same item again, each time with another key."""
    draws = any(f'{name}(' in header['infinite'] for name in ('sample', 'load_by_random_id', 'cycle'))
    return ', as draws; to count the items of the data, give the pipeline as well' if draws else ''


def _items(steps: list[Step], pipeline: Pipeline | None, what: str) -> str:
    times = Counter(_identities(steps, pipeline))
    often = sorted(Counter(times.values()).items())
    if len(often) == 1 and often[0][0] == 1:
        return f'{_count(len(times), what)}, each once'
    shares = [f'{_times(each)}: {count:,}' for each, count in often[:4]]
    rest = sum(count for _, count in often[4:])
    if rest:
        shares.append(f'more often: {rest:,}')
    return f'{_count(times.total(), what)}, {len(times):,} different ({", ".join(shares)})'


def _identities(steps: list[Step], pipeline: Pipeline | None) -> Iterable[Any]:
    if pipeline is None:
        return (key for step in steps for key in _flat(step.key))
    found = _indices(steps, pipeline, parts=True)
    return map(repr, found) if any(isinstance(each, list) for each in found) else found


def _indices(steps: list[Step], pipeline: Pipeline, parts: bool = False) -> list[Any]:
    found: list[Any] = []
    for (pass_, entropy), of_pass in groupby(steps, key=lambda step: (step.pass_, step.entropy)):
        found += pipeline.indices([step.key for step in of_pass], pass_, entropy, parts)
    return found


def _flat(key: Any) -> Iterator[Any]:
    if isinstance(key, Batch):
        for part in key:
            yield from _flat(part)
    else:
        yield key


def _seconds(steps: list[Step]) -> str:
    times = sorted(step.seconds for step in steps)
    return f'{_time(sum(times))}, {_time(median(times))} a batch, the slowest {_time(times[-1])}'


def _time(seconds: float) -> str:
    for size, unit in ((1e-3, 'µs'), (1, 'ms'), (120, 's')):
        if seconds < size:
            value = seconds * {'µs': 1e6, 'ms': 1e3, 's': 1}[unit]
            return f'{value:.3g} {unit}'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 120 else f'{minutes // 60} h {minutes % 60} min'


def _times(count: int) -> str:
    return {1: 'once', 2: 'twice'}.get(count, f'{count} times')


def _count(number: int, what: str) -> str:
    ending = 'es' if what.endswith('ch') else 's'
    return f'{number:,} {what}{ending if number != 1 else ""}'


def _rank(shard: Any) -> str:
    return '' if shard is None else f', rank {shard[0]} of {shard[1]}'
