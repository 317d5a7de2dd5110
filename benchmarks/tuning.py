"""How near `workers='auto'` comes to the best workers that are found by hand, ten seconds after it has begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any

from itpipe import Infinite, parallel_map, sample, stream

from .loading import Photographs, augment, files, labels, order_of
from .works import Work, digested, waited

__all__ = ['TUNING']

SEARCH = 10.0
"""Seconds in which the best workers must be found."""
MEASURED = 4.0
"""Seconds that count then."""


def paced(results: Iterator[Any], expected: Iterator[Any], share: float, each: int = 1) -> float:
    """Seconds an item, after those of the search. Each result, of so many items, is checked."""
    begun, taken = perf_counter(), 0
    started: float | None = None
    with closing(results):  # type: ignore[type-var]
        for result, right in zip(results, expected, strict=False):
            if result != right:
                raise AssertionError(f'{result}, not {right}')
            now = perf_counter()
            if started is None:
                if now - begun > SEARCH * share:
                    started = now
                continue
            taken += each
            if now - started > MEASURED * share:
                return (now - started) / taken
    raise AssertionError('the results have come to an end')


def mapped(f: Callable[[int], int], expected: Callable[[int], int], share: float, **workers: Any) -> float:
    return paced(iter(stream(range(10**9)) | parallel_map(f, **workers)), map(expected, count()), share)


def waits(share: float = 1) -> Work:
    """Many threads are best."""
    run = partial(mapped, waited, int, share)
    rows = {'64 threads': lambda: run(threads=64), 'itpipe, auto': lambda: run(workers='auto')}
    return Work("auto: waits of 5 ms, `workers='auto'` after 10 s", 1.05, 'µs an item', rows)


def python(share: float = 1) -> Work:
    """Processes are best, one for each core."""
    known: dict[int, int] = {}

    def expected(number: int) -> int:
        return known[number] if number in known else known.setdefault(number, digested(number))

    run = partial(mapped, digested_in_turn, lambda number: expected(number % 64), share)
    rows = {
        'a process for each core': lambda: run(processes=-1),
        '2 threads': lambda: run(threads=2),
        'itpipe, auto': lambda: run(workers='auto'),
    }
    return Work("auto: 1 ms of pure Python, `workers='auto'` after 10 s", 1.05, 'µs an item', rows)


def digested_in_turn(number: int) -> int:
    return digested(number % 64)


def jpeg(share: float = 1) -> Work:
    """Whole batches of decoded images; threads and processes are about as fast."""
    size = 32
    dataset = Photographs(files(), 100_000)
    order = order_of(size * 3000, len(dataset))

    def run(**workers: Any) -> float:
        with Infinite(sample(dataset, seed=0), augment, batch_size=size, **workers) as batches:
            expected = (order[start : start + size] for start in range(0, len(order), size))
            return paced((labels(batch) for batch in batches), expected, share, size)

    rows = {
        'a thread for each core': lambda: run(threads=-1),
        'a process for each core': lambda: run(processes=-1),
        'itpipe, auto': lambda: run(workers='auto'),
    }
    return Work("auto: jpeg, whole batches of 32, `workers='auto'` after 10 s", 1.05, 'ms an item', rows)


TUNING: dict[str, Callable[[float], Work]] = {'auto-waits': waits, 'auto-python': python, 'auto-jpeg': jpeg}
