"""Figures that have no limit: how long it takes to import, to start, to end; and what a stage costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from time import perf_counter, sleep
from typing import Any

import numpy as np

from itpipe import stream

from .feeds import Feed
from .works import Work, in_processes, in_threads

__all__ = ['FIGURES', 'closing_time', 'end_descendants', 'first_batch', 'stage_cost']

PATIENCE = 5.0
"""Seconds after which what is still left counts as left for good."""


def import_time(share: float = 1) -> Work:
    """Importing itpipe where numpy is there already."""
    code = 'import numpy; from time import perf_counter as t; s = t(); import itpipe; print(t() - s)'

    def took() -> float:
        return float(subprocess.run([sys.executable, '-c', code], check=True, stdout=subprocess.PIPE).stdout)

    del share  # there is no less of it
    return Work('import itpipe, over numpy', 15, 'ms', {'itpipe': took}, against='nothing')


def marked(number: int) -> Any:
    return np.full(1024, number % 256, np.uint8)


def little(share: float = 1) -> Feed:
    """Cheap items in small batches: what remains is what starting and ending cost."""
    return Feed(
        items=range(8 * max(20, int(200 * share))),
        f=marked,
        size=8,
        form=[((8, 1024), np.uint8)],
        expected=[list(range(8))],
        warm=0,
        count=1,
        workers=2,
        keys=lambda batch: batch[:, 0].tolist(),
    )


def first_batch(feed: Feed, batches: Iterator[Any]) -> float:
    """From nothing to the first batch."""
    started = perf_counter()
    batch = next(batches)
    elapsed = perf_counter() - started
    if feed.form_of(batch) != feed.form or feed.keys(batch) != feed.expected[0]:
        raise AssertionError((feed.form_of(batch), feed.keys(batch)))
    batches.close()  # type: ignore[attr-defined]
    return elapsed


def first_in_threads(share: float = 1) -> Work:
    feed = little(share)
    rows = {'itpipe': lambda: first_batch(feed, in_threads(feed))}
    return Work('first batch, 2 threads', 5, 'ms', rows, feed, 'nothing', fresh=True, measure=first_batch)


def first_in_processes(share: float = 1) -> Work:
    feed = little(share)
    rows = {'itpipe': lambda: first_batch(feed, in_processes(feed))}
    return Work('first batch, 2 processes', 300, 'ms', rows, feed, 'nothing', fresh=True, measure=first_batch)


def closing_time(feed: Feed, batches: Iterator[Any]) -> float:
    """From `close()`, in the middle of a run, until every thread and process that it started is gone."""
    before = alive()
    for _ in range(4):
        batch = next(batches)
    if feed.form_of(batch) != feed.form:
        raise AssertionError(feed.form_of(batch))
    if not alive() - before:
        raise AssertionError('nothing is running that could end')
    started = perf_counter()
    batches.close()  # type: ignore[attr-defined]
    while left := alive() - before:
        if perf_counter() - started > PATIENCE:
            raise AssertionError(f'still {len(left)} of its threads and processes there after {PATIENCE:g} s')
        sleep(0.0005)
    return perf_counter() - started


def alive() -> set[Any]:
    """This process' threads and descendants, but for the trackers that Python and loky start once."""
    return set(threading.enumerate()) | {child for child in descendants(os.getpid()) if not tracks(child)}


def descendants(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f'/proc/{pid}/task')
    except FileNotFoundError:
        if not os.path.isdir('/proc/self/task'):  # no Linux
            import psutil

            yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
        return
    for thread in threads:
        try:
            with open(f'/proc/{pid}/task/{thread}/children') as file:
                children = [int(child) for child in file.read().split()]
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        for child in children:
            yield child
            yield from descendants(child)


def tracks(pid: int) -> bool:
    try:
        with open(f'/proc/{pid}/cmdline') as file:
            return 'resource_tracker' in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False


def end_descendants(pid: int) -> None:
    """Kill what a process has started; the trackers, which tidy up after it, end by themselves."""
    for child in list(descendants(pid)):
        if not tracks(child):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def closing_threads(share: float = 1) -> Work:
    feed = little(share)
    rows = {'itpipe': lambda: closing_time(feed, in_threads(feed))}
    title = 'from close() to everything gone, 2 threads'
    return Work(title, 20, 'ms', rows, feed, 'nothing', measure=closing_time)


def closing_processes(share: float = 1) -> Work:
    feed = little(share)
    rows = {'itpipe': lambda: closing_time(feed, in_processes(feed))}
    title = 'from close() to everything gone, 2 processes'
    return Work(title, 150, 'ms', rows, feed, 'nothing', measure=closing_time)


def stage_cost(count: int, stages: Callable[[range, int], Iterable[int]]) -> float:
    """What each of five more stages costs an item; `stages` gives a range that went through so many."""

    def took(number: int) -> float:
        started = perf_counter()
        total = sum(stages(range(count), number))
        elapsed = perf_counter() - started
        if total != count * (count - 1) // 2:
            raise AssertionError(total)
        return elapsed

    return (took(6) - took(1)) / 5 / count


def one_more_stage(share: float = 1) -> Work:
    count = max(1000, int(300_000 * share))

    def by_hand(items: Iterable[int], number: int) -> Iterable[int]:
        for _ in range(number):
            items = map(abs, items)
        return items

    def itpipe(items: Iterable[int], number: int) -> Iterable[int]:
        items = stream(items)
        for _ in range(number):
            items = items | abs
        return items

    rows = {'map by hand': lambda: stage_cost(count, by_hand), 'itpipe': lambda: stage_cost(count, itpipe)}
    return Work('one more stage of abs', 0.1, 'µs an item', rows, count, 'nothing')


FIGURES: dict[str, Callable[[float], Work]] = {
    'import': import_time,
    'first-threads': first_in_threads,
    'first-processes': first_in_processes,
    'close-threads': closing_threads,
    'close-processes': closing_processes,
    'one-more-stage': one_more_stage,
}
