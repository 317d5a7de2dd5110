"""The work of generators that compute while they read, in processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from itpipe import interleave

from .feeds import Feed
from .works import Work, bare_processes, infinite, python

__all__ = ['GENERATORS']

ITEMS, OPEN, SIZE = 50, 2, 10
"""In a shard; shards at once; in a batch."""


def items_of(shard: int) -> Iterator[Any]:
    """The items of a shard, of which each takes about 1 ms of pure Python."""
    yield from map(python, range(shard * ITEMS, (shard + 1) * ITEMS))


def in_turns(shards: int) -> list[list[int]]:
    """The numbers of the items in each batch: as all shards are of one length, of each that is open the same."""
    return [
        [shard * ITEMS + item for item in range(at, at + SIZE // OPEN) for shard in range(first, first + OPEN)]
        for first in range(0, shards, OPEN)
        for at in range(0, ITEMS, SIZE // OPEN)
    ]


def shards_processes(share: float = 1) -> Work:
    """Items of generators, made by two processes; behind fifty items, a shard ends."""
    warm, count = 20, max(2, int(200 * share))
    shards = -(-(warm + count + 30) * SIZE // (ITEMS * OPEN)) * OPEN
    feed = Feed(
        items=range(shards),
        f=items_of,
        size=SIZE,
        form=[((SIZE, 128), np.int64)],
        expected=in_turns(shards),
        warm=warm,
        count=count,
        workers=OPEN,
        keys=lambda batch: batch[:, 0].tolist(),
        whole=lambda batch: bool((batch == np.tile(batch[:, :2], 64)).all()),
    )
    rows: dict[str, Callable[[], float]] = {
        'two bare processes, no transfer': lambda: bare_processes(python, SIZE * count, 1024),
        'itpipe': lambda: feed.seconds(infinite(feed, interleave(feed.f, cycle=OPEN, prefetch=16, processes=True))),
        'itpipe, default depth': lambda: feed.seconds(infinite(feed, interleave(feed.f, cycle=OPEN, processes=True))),
    }
    title = f'interleave: generators of 1 ms of Python an item, {OPEN} processes, batches of {SIZE}'
    return Work(title, 1.1, 'ms an item', rows, feed)


GENERATORS: dict[str, Callable[[float], Work]] = {'generators': shards_processes}
