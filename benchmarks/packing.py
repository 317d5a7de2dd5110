"""Sequences of tokens, packed into rows: how long it takes, and how much is padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from itpipe import pack

from .feeds import Feed
from .works import Work

__all__ = ['LENGTH', 'PACKING', 'ROWS']

LENGTH, ROWS = 2048, 32
"""Tokens in a row, and how many rows are open at the same time."""


def texts(share: float = 1) -> Feed:
    """Lengths as those of texts are: most are short, a few longer than a row."""
    count = max(200, int(20_000 * share))
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.lognormal(5.5, 1.2, count).astype(int) + 1, 4 * LENGTH)
    return Feed([np.full(n, 1, np.int32) for n in lengths.tolist()], np.asarray, None, [], [], 0, count)


def by_hand(feed: Feed) -> Iterator[dict[str, Any]]:
    """One row after the other, filled with sequences in order, none of them cut but those that are too long."""
    row, number, filled = np.zeros(LENGTH, np.int32), np.zeros(LENGTH, np.int32), 0
    for text in feed.items:
        for start in range(0, len(text), LENGTH):
            part = text[start : start + LENGTH]
            if filled + len(part) > LENGTH:
                yield {'tokens': row, 'segment_ids': number}
                row, number, filled = np.zeros(LENGTH, np.int32), np.zeros(LENGTH, np.int32), 0
            row[filled : filled + len(part)] = part
            number[filled : filled + len(part)] = number[filled - 1] + 1 if filled else 1
            filled += len(part)
    yield {'tokens': row, 'segment_ids': number}


def packed(feed: Feed, **options: Any) -> Iterator[dict[str, Any]]:
    return iter(feed.items | pack(LENGTH, **options))


def seconds(feed: Feed, rows: Iterable[dict[str, Any]]) -> float:
    """How long a sequence takes."""
    begun = perf_counter()
    tokens = sum(int(row['tokens'].sum()) for row in rows)
    took = perf_counter() - begun
    if tokens != sum(map(len, feed.items)):
        raise AssertionError(f'{tokens} tokens came')
    return took / len(feed.items)


def padding(feed: Feed, rows: Iterable[dict[str, Any]]) -> float:
    """The percentage of what comes out that is padding."""
    filled = [int((row['segment_ids'] > 0).sum()) for row in rows]
    if sum(filled) != sum(map(len, feed.items)):
        raise AssertionError(f'{sum(filled)} tokens came')
    return 100 * (1 - sum(filled) / len(filled) / LENGTH)


def packing(title: str, aim: float, unit: str, measure: Callable[..., float], share: float = 1) -> Work:
    feed = texts(share)
    rows: dict[str, Callable[[], float]] = {
        'rows in order, by hand': lambda: measure(feed, by_hand(feed)),
        'itpipe': lambda: measure(feed, packed(feed, rows=ROWS)),
        "itpipe, cut='all'": lambda: measure(feed, packed(feed, cut='all')),
    }
    return Work(title, aim, unit, rows, feed, measure=measure)


PACKING: dict[str, Callable[[float], Work]] = {
    'tokens-pack': partial(packing, 'texts packed into rows of 2,048 tokens', 5, 'µs a text', seconds),
    'tokens-pack-padding': partial(packing, 'padding in rows of 2,048 tokens', 0.1, '% of the rows', padding),
}
