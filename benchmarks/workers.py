"""Works about workers: many of them, whole batches that they make, and items that take unequally long."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from time import process_time, sleep
from typing import Any

import numpy as np

from itpipe import batch_by, parallel_map

from .feeds import Feed, grouped, stacked
from .works import Work, bare_processes, in_processes, in_threads, infinite, raw_threads, whole_batches

__all__ = ['COUNTS', 'WORKERS', 'Stacked', 'with_workers']


@dataclass
class Stacked:
    """A whole batch by hand."""

    f: Callable[[int], Any]

    def __call__(self, numbers: list[int]) -> Any:
        return stacked([self.f(number) for number in numbers])


def numbered(size: int, batches: int) -> list[list[int]]:
    return list(grouped(range(size * batches), size))


# ---------------------------------------------------------------------------------------------------------------------
# Many workers


COUNTS = (2, 8, 32, 64, 128)
PACE = 0.00025
"""Seconds between items that together come out of all workers that sleep."""


@dataclass
class Nap:
    """It sleeps, so that two cores can have many workers, and gives an array of so many bytes."""

    pause: float
    nbytes: int

    def __call__(self, number: int) -> Any:
        sleep(self.pause)
        return np.full(self.nbytes // 4, number, np.int32)


def with_workers(feed: Feed, workers: int, whole: bool) -> Feed:
    """All workers together give an item every 1 ms, or every `PACE` where each makes whole batches.

    Before the clock starts, each has given four items, or two batches. While it runs, each gives as many whole batches.
    """
    size = feed.size or 1
    f = Nap(workers * (PACE if whole else 4 * PACE), feed.f.nbytes)  # type: ignore[attr-defined]
    warm = max(4, 2 * workers if whole else 4 * workers // size)
    count = -(-feed.count // workers) * workers if whole else feed.count
    expected = numbered(size, warm + count + 4 * workers)
    return replace(
        feed, f=f, workers=workers, warm=warm, count=count, items=range(size * len(expected)), expected=expected
    )


def many_workers(nbytes: int, counts: Iterable[int], share: float = 1) -> Work:
    """CPU time of the main process, of all its threads, for an item."""
    size = 32
    feed = Feed(
        items=range(size),
        f=Nap(0, nbytes),
        size=size,
        form=[((size, nbytes // 4), np.int32)],
        expected=[],
        warm=0,
        count=max(2, int(40 * share)),
        keys=lambda batch: batch[:, 0].tolist(),
        whole=lambda batch: bool((batch == batch[:, :1]).all()),
        clock=process_time,
    )

    def one_by_one(workers: int) -> float:
        now = with_workers(feed, workers, whole=False)
        return now.seconds(infinite(now, parallel_map(now.f, processes=workers), stall_timeout=None))

    def whole(workers: int) -> float:
        now = with_workers(feed, workers, whole=True)
        stage = whole_batches(now.f, size, processes=workers)
        return now.seconds(infinite(replace(now, size=None), stage, stall_timeout=None))

    def by_hand(workers: int) -> float:
        now = with_workers(feed, workers, whole=True)
        stages = batch_by(size), parallel_map(Stacked(now.f), processes=workers)
        return now.seconds(infinite(replace(now, size=None), *stages, stall_timeout=None))

    few = [workers for workers in counts if share >= 0.1 or workers <= 2]
    rows: dict[str, Callable[[], float]] = {}
    rows |= {f'itpipe, {workers} workers': partial(one_by_one, workers) for workers in few}
    rows |= {f'itpipe, whole batches, {workers} workers': partial(whole, workers) for workers in few}
    rows |= {f'whole batches by hand, {workers} workers': partial(by_hand, workers) for workers in few}
    aims = {title: 5.0 for title in rows if title.startswith('itpipe, whole')}
    return Work(
        f'many workers: CPU time of the main process, items of {nbytes:,} B, batches of 32', 15, 'µs an item',
        rows, feed, 'nothing', aims=aims,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Whole batches


def picture(number: int) -> Any:
    """A quarter of a millisecond of numpy, and 150 kB."""
    image = np.full((224, 224, 3), number % 251, np.uint8)
    np.sqrt(np.arange(40_000, dtype=np.float32))
    return image


def labelled(number: int) -> tuple[Any, int]:
    return picture(number), number


def whole(share: float = 1) -> Work:
    """Large items that are made quickly: what it costs to bring them back one by one, and as batches."""
    size, warm, count = 32, 10, max(2, int(100 * share))
    expected = numbered(size, warm + count + 30)
    feed = Feed(
        items=range(size * len(expected)),
        f=labelled,
        size=size,
        form=[((size, 224, 224, 3), np.uint8), ((size,), np.int64)],
        expected=expected,
        warm=warm,
        count=count,
        workers=2,
        keys=lambda batch: batch[1].tolist(),
        whole=lambda batch: bool((batch[0] == (batch[1] % 251)[:, None, None, None]).all()),
    )

    def in_batches(stage: Callable[[], Any], *before: Any) -> float:
        return feed.seconds(infinite(replace(feed, size=None), *before, stage()))

    rows: dict[str, Callable[[], float]] = {
        'two bare processes, no transfer': lambda: bare_processes(labelled, size * count, 224 * 224 * 3),
        'whole batches by hand': lambda: in_batches(
            lambda: parallel_map(Stacked(labelled), processes=2), batch_by(size)
        ),
        'itpipe': lambda: feed.seconds(in_processes(feed)),
        'itpipe, whole batches': lambda: in_batches(lambda: whole_batches(labelled, size, processes=2)),
    }
    return Work(
        'whole batches: items of 150 kB, 2 processes, batches of 32', 1.5, 'ms an item', rows, feed
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Stragglers


def uneven(number: int) -> int:
    """One item in twenty, on average, takes twenty times as long."""
    sleep(0.04 if zlib.crc32(number.to_bytes(8, 'little')) % 20 == 0 else 0.002)
    return number


def stragglers(share: float = 1) -> Work:
    """Items of uneven times, in order."""
    # torch's workers each make whole groups, so that 8 come at once: the clock runs for a multiple of these.
    group, warm, count = 32, 8, max(1, int(7 * share)) * 8
    expected = numbered(group, warm + count + 20)
    feed = Feed(
        items=range(group * len(expected)),
        f=uneven,
        size=None,
        form=group,
        expected=expected,
        warm=warm,
        count=count,
        workers=8,
        keys=list,
        form_of=len,
        group=group,
    )

    def in_window(**options: Any) -> Iterator[Any]:
        return infinite(feed, parallel_map(uneven, threads=feed.workers, **options))

    rows: dict[str, Callable[[], float]] = {
        'raw threads, without order': lambda: raw_threads(feed),
        'in_flight=256 by hand': lambda: feed.seconds(in_window(in_flight=256)),
        'ordered=False by hand': lambda: feed.seconds(in_window(ordered=False), ordered=False),
        'itpipe, threads': lambda: feed.seconds(in_threads(feed)),
        'itpipe, processes': lambda: feed.seconds(in_processes(feed)),
    }
    return Work('stragglers: 2 ms, one item in twenty 40 ms, 8 workers', 1.1, 'ms an item', rows, feed)


WORKERS: dict[str, Callable[[float], Work]] = {
    'whole-batches': whole,
    'stragglers': stragglers,
    'many-workers': partial(many_workers, 1000, COUNTS),
    'many-workers-large': partial(many_workers, 150_000, (2, 64)),
}
