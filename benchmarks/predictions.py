"""Whether `stats()` predicts what more workers bring: each work is run, and run again with more of them.

python -m benchmarks.predictions [--rounds N]

The works wait rather than compute, where they can, so that other load on the machine changes little. Pure Python in
processes has to compute: there, a prediction can only be right if nothing else needs the cores. One is right if it is
within 15 % of the rate that is then measured. The exit status is 1 if one is not.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from time import perf_counter, sleep
from typing import Any, NamedTuple

from itpipe import Infinite, parallel_map
from itpipe._engine.stats import Stats

__all__ = ['WORKS', 'Prediction', 'Prophecy', 'predicted']

WITHIN = 0.15
BATCHES = 60


class Prediction(NamedTuple):
    """A work, with a number of workers that is then larger by `more`."""

    title: str
    batches: Callable[[int], Infinite[Any]]
    label: str
    workers: int
    more: int
    step: float = 0.0  # seconds that the loop takes for a batch


class Prophecy(NamedTuple):
    """What was predicted, and what came: both as shares by which the rate grows."""

    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """By which share of the measured rate the predicted one is wrong."""
        return (1 + self.predicted) / (1 + self.measured) - 1


def waits(seconds: float) -> Callable[[Any], Any]:
    def function(item: Any) -> Any:
        sleep(seconds)
        return item

    return function


class Slow:
    """A source that takes so long for each of its items."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            sleep(self.seconds)
            yield number
            number += 1


def computes(number: int) -> int:
    """Some milliseconds of pure Python."""
    total = number
    for _ in range(60_000):
        total = (total * 31 + 7) % 1_000_003
    return total


def slow_list(items: list[Any]) -> list[Any]:
    sleep(0.018)
    return items


def of_items(function: Any, kind: str, size: int = 2, combiner: Any = list, source: Any = None) -> Any:
    """Batches of what workers make of single items."""

    def batches(workers: int) -> Infinite[Any]:
        stage: Any = parallel_map(function, **{kind: workers})  # type: ignore[call-overload]
        items = range(10**9) if source is None else source
        return Infinite(items, stage, batch_size=size, combiner=combiner, batches_per_epoch=BATCHES)

    return batches


def whole_batches(workers: int) -> Infinite[Any]:
    return Infinite(range(10**9), waits(0.005), batch_size=4, combiner=list, batches_per_epoch=BATCHES, threads=workers)


WORKS = [
    Prediction('threads that wait', of_items(waits(0.01), 'threads'), 'function', 2, 2),
    Prediction('threads that wait, until the loop limits', of_items(waits(0.02), 'threads'), 'function', 2, 4, 0.012),
    Prediction('pure Python in processes', of_items(computes, 'processes'), 'computes', 1, 1),
    Prediction('slow source', of_items(waits(0.012), 'threads', source=Slow(0.008)), 'function', 1, 3),
    Prediction('slow loop', of_items(waits(0.004), 'threads'), 'function', 2, 2, 0.015),
    Prediction('slow combine', of_items(waits(0.02), 'threads', combiner=slow_list), 'function', 1, 3),
    Prediction('whole batches', whole_batches, 'parallel_map', 2, 1),
]


def measured(work: Prediction, workers: int) -> tuple[float, Stats]:
    """Batches a second, from the second on, and the stats."""
    with work.batches(workers) as batch_iter:
        begun = 0.0
        for number, _ in enumerate(batch_iter):
            sleep(work.step)
            if number == 9:  # the buffers are filled, as they are in a long run
                begun = perf_counter()
                before = batch_iter.stats()
        return (BATCHES - 10) / (perf_counter() - begun), batch_iter.stats() - before


def predicted(work: Prediction) -> Prophecy:
    rate, stats = measured(work, work.workers)
    more, _ = measured(work, work.workers + work.more)
    return Prophecy(stats.gain(work.label, work.more), more / rate - 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.predictions', description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=3, metavar='N', help='how often each is run (default: 3)')
    options = parser.parse_args()
    print('| work | more workers | predicted | measured | off by |\n|---|---|---|---|---|')
    wrong = 0
    for work in WORKS:
        rounds = [predicted(work) for _ in range(options.rounds)]
        median = Prophecy(*(statistics.median(values) for values in zip(*rounds, strict=True)))
        shares = f'{median.predicted:+.0%} | {median.measured:+.0%} | {median.error:+.1%}'
        print(f'| {work.title} | {work.workers} + {work.more} | {shares} |', flush=True)
        wrong += abs(median.error) > WITHIN
    return min(wrong, 1)


if __name__ == '__main__':
    sys.exit(main())
