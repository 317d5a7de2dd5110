"""Works about where a pass begins: the first batch after a shuffle, and the first one of the next pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from statistics import mean
from time import perf_counter, sleep
from typing import Any

import numpy as np

from itpipe import Infinite, parallel_map, shuffle

from .feeds import Feed, grouped, stacked
from .loading import Photographs, files, in_batches, labels, right
from .works import Work, run

__all__ = ['PASSES', 'next_pass']

# ---------------------------------------------------------------------------------------------------------------------
# The first batch after a shuffle


@dataclass
class Counting(Photographs):
    """It knows what it was asked for."""

    asked: list[int] = field(default_factory=list)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        self.asked.append(index)
        return super().__getitem__(index)


def first_shuffled(feed: Feed, batches: Iterator[Any]) -> float:
    """From nothing to the first batch of a dataset in random order."""
    started = perf_counter()
    batch = next(batches)
    elapsed = perf_counter() - started
    check_shuffled(feed, batch)
    batches.close()  # type: ignore[attr-defined]
    return elapsed


def asked_for(feed: Feed, batches: Iterator[Any]) -> float:
    """How many items have been looked up when the first batch is there."""
    feed.dataset.asked.clear()
    batch = next(batches)
    count = len(feed.dataset.asked)
    check_shuffled(feed, batch)
    batches.close()  # type: ignore[attr-defined]
    return count


def check_shuffled(feed: Feed, batch: Any) -> None:
    """The first batch has different items, and not simply the first ones."""
    keys = feed.keys(batch)
    if feed.form_of(batch) != feed.form or len(set(keys)) < len(keys) or keys == sorted(keys):
        raise AssertionError((feed.form_of(batch), keys))
    if not feed.whole(batch):
        raise AssertionError(f'wrong values in {keys}')


def shuffled(share: float) -> Feed:
    dataset = Counting(files(), max(100, int(1000 * share)))
    f = Photographs(dataset.paths, dataset.length).__getitem__
    return Feed(
        items=range(len(dataset)),
        f=dataset.__getitem__,
        size=32,
        form=[((32, 240, 240, 3), np.uint8), ((32,), np.int64)],
        expected=[],
        warm=0,
        count=1,
        keys=labels,
        whole=partial(right, f),
        dataset=dataset,
    )


def shuffling(feed: Feed, measure: Callable[[Feed, Iterator[Any]], float]) -> dict[str, Callable[[], float]]:
    def by_hand() -> Iterator[Any]:
        order = np.random.default_rng(0).permutation(len(feed.dataset)).tolist()
        for chosen in in_batches(order, 32):
            yield stacked([feed.dataset[index] for index in chosen])

    def itpipe(prefetch: int | None) -> Iterator[Any]:
        stage = shuffle(len(feed.dataset), seed=0)
        return run(feed.dataset, stage, batch_size=32, prefetch=prefetch)

    return {
        'permutation by hand': lambda: measure(feed, by_hand()),
        'itpipe': lambda: measure(feed, itpipe(None)),
        'itpipe, prefetch=0': lambda: measure(feed, itpipe(0)),
    }


def first_after_shuffle(share: float = 1) -> Work:
    feed = shuffled(share)
    title = f'first batch of 32 after shuffle({len(feed.dataset)}) of JPEG files'
    return Work(title, 1.2, 'ms', shuffling(feed, first_shuffled), feed, measure=first_shuffled)


def look_ups_after_shuffle(share: float = 1) -> Work:
    feed = shuffled(share)
    title = f'items looked up for the first batch of 32 after shuffle({len(feed.dataset)})'
    return Work(title, 5, 'look-ups', shuffling(feed, asked_for), feed, measure=asked_for)


# ---------------------------------------------------------------------------------------------------------------------
# The next pass


def short(number: int) -> Any:
    sleep(0.0005)
    return np.full(128, number)


def next_pass(feed: Feed, passes: Iterator[Iterable[Any]]) -> float:
    """How long the first batch of a pass is waited for, when the last one before it has been used for a while."""
    waits = []
    with closing(passes):  # type: ignore[type-var]
        for number, batches in enumerate(islice(passes, feed.count + 1)):
            asked, batch_number = perf_counter(), -1
            for batch_number, batch in enumerate(batches):
                if number and not batch_number:
                    waits.append(perf_counter() - asked)
                found = feed.form_of(batch), feed.keys(batch)
                if found != (feed.form, feed.expected[batch_number]):
                    raise AssertionError(f'batch {batch_number} of pass {number} is {found}')
                sleep(feed.pause)
            if batch_number + 1 != len(feed.expected):
                raise AssertionError(f'{batch_number + 1} batches came in pass {number}, of {len(feed.expected)}')
    return mean(waits)


def passing(share: float = 1) -> Work:
    """A finite source, pass after pass, and a consumer that is slower than the workers."""
    size = 32
    feed = Feed(
        items=range(6 * size),
        f=short,
        size=size,
        form=[((size, 128), np.int64)],
        expected=list(grouped(range(6 * size), size)),
        warm=0,
        count=max(2, int(8 * share)),
        workers=2,
        keys=lambda batch: batch[:, 0].tolist(),
        pause=0.02,
    )

    def passes(**options: int) -> Iterator[Any]:
        with Infinite(feed.items, parallel_map(feed.f, **options), batch_size=size) as batches:
            while True:
                yield batches

    rows: dict[str, Callable[[], float]] = {
        'itpipe, threads': lambda: next_pass(feed, passes(threads=2)),
        'itpipe, processes': lambda: next_pass(feed, passes(processes=2)),
    }
    return Work(
        'from the last batch of a pass to the next pass, 2 workers', 1, 'ms', rows, feed, 'nothing', measure=next_pass
    )


PASSES: dict[str, Callable[[float], Work]] = {
    'first-batch-after-shuffle': first_after_shuffle,
    'look-ups-after-shuffle': look_ups_after_shuffle,
    'next-pass': passing,
}
