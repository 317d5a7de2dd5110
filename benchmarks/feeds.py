"""What the works feed on: items, a function, how they are batched, and how what comes out is checked and timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from time import perf_counter, sleep
from typing import Any

import numpy as np

__all__ = ['Feed', 'batched', 'grouped']


def form_of(batch: Any) -> Any:
    """The shape and dtype of each array in a batch."""
    return [(a.shape, a.dtype) for a in batch] if isinstance(batch, tuple) else [(batch.shape, batch.dtype)]


def numbers(batch: Any) -> list[Any]:
    """The items' keys in a batch that is an array of nothing else."""
    return batch.tolist()  # type: ignore[no-any-return]


def stacked(items: list[Any]) -> Any:
    """A batch by hand."""
    if isinstance(items[0], tuple):
        return tuple(map(stacked, zip(*items, strict=True)))
    return np.stack(items) if isinstance(items[0], np.ndarray) else np.array(items)


@dataclass
class Feed:
    """`f` of each of `items`, in batches of `size`, or without batches; more items than are asked for."""

    items: Sequence[Any]
    f: Callable[[Any], Any]
    size: int | None
    form: Any
    """What `form_of` must say of each batch."""
    expected: Sequence[list[Any]]
    """What `keys` must say of each batch, in order."""
    warm: int
    """Batches before the clock starts …"""
    count: int
    """… and how many it counts."""
    workers: int = 1
    keys: Callable[[Any], list[Any]] = numbers
    form_of: Callable[[Any], Any] = form_of
    whole: Callable[[Any], bool] = field(default=lambda _: True)
    """Whether every value in a batch is right: asked about the last one, when the clock has stopped."""
    pause: float = 0
    """Seconds for which the consumer sleeps after each batch."""
    group: int | None = None
    """How many single results the consumer takes for a batch."""
    known: frozenset[Any] | None = None
    """All keys there are, where `expected` has not all of them."""
    dataset: Any = None
    """What the items are looked up in, for those that are given a dataset and an order."""
    combined: Callable[[list[Any]], Any] = stacked
    """A batch by hand."""
    clock: Callable[[], float] = perf_counter
    """What is counted: by default all time that passes."""

    @property
    def batches(self) -> int:
        """How many batches may be asked for: what is made ahead when the clock stops is never the end."""
        return len(self.items) // (self.size or self.group or 1)

    def seconds(self, batches: Iterable[Any], ordered: bool = True, most: float = math.inf) -> float:
        """The time an item takes, every batch checked; closes what it takes the batches from.

        After `most` seconds it has seen enough.
        """
        if self.group is not None and self.size is None:
            batches = grouped(batches, self.group)
        last, started, elapsed = self.warm + self.count - 1, 0.0, 0.0
        seen: list[Any] = []
        with closing(batches):  # type: ignore[type-var]
            for number, batch in enumerate(batches):
                if self.form_of(batch) != self.form:
                    raise AssertionError(f'batch {number} is {self.form_of(batch)}, not {self.form}')
                keys = self.keys(batch)
                if not ordered:
                    seen += keys
                elif keys != self.expected[number]:
                    raise AssertionError(f'batch {number} has {keys}, not {self.expected[number]}')
                if self.pause:
                    sleep(self.pause)
                if number == self.warm - 1:
                    started = self.clock()
                elif number >= self.warm and ((elapsed := self.clock() - started) > most or number == last):
                    break
            else:
                raise AssertionError(f'{number + 1} batches came, of {last + 1}')
        if not self.whole(batch):
            raise AssertionError(f'batch {number} has wrong values')
        if unknown := set(seen).difference(self.known or chain.from_iterable(self.expected)):
            raise AssertionError(f'not asked for: {sorted(unknown)[:10]}')
        return elapsed / ((number + 1 - self.warm) * (self.size or self.group or 1))

    def check_results(self, keys: list[Any]) -> None:
        """For limits that make no batches: the keys of the first items, in order."""
        if keys != list(islice(chain.from_iterable(self.expected), len(keys))):
            raise AssertionError(f'wrong results: {keys[:10]} …')


def batched(items: Iterable[Any], size: int | None, combine: Callable[[list[Any]], Any]) -> Iterator[Any]:
    """What has no batches of its own, in batches."""
    if size is None:
        yield from items
        return
    for group in grouped(items, size):
        batch = combine(group)
        del group
        yield batch


def grouped(results: Iterable[Any], size: int) -> Iterator[list[Any]]:
    results = iter(results)
    try:
        while group := list(islice(results, size)):
            yield group
    finally:
        if hasattr(results, 'close'):
            results.close()
