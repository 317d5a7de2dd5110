"""Works about rows of tables and arrays, which can be looked up many at once."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from itpipe import sample

from .feeds import Feed
from .loading import in_batches, order_of, written
from .works import Work, run

__all__ = ['ROWS']


def looked_up(
    title: str, aim: float, dataset: Any, gather: Callable[[list[int]], Any], feed: Feed, others: dict[str, Any]
) -> Work:
    """Batches of rows in random order: `gather` gets them at once, by hand, which is the limit."""
    indices = in_batches(list(feed.items), feed.size or 1)

    def from_source(source: Any, prefetch: int | None = None) -> float:
        return feed.seconds(run(sample(source, seed=0), batch_size=feed.size, prefetch=prefetch))

    rows: dict[str, Callable[[], float]] = {
        'rows at once, by hand': lambda: feed.seconds(gather(chosen) for chosen in indices),
        'row by row, by hand': lambda: feed.seconds(feed.combined([dataset[i] for i in chosen]) for chosen in indices),
        'itpipe': lambda: from_source(dataset),
        'itpipe, prefetch=0': lambda: from_source(dataset, 0),
    }
    rows |= {name: partial(from_source, other) for name, other in others.items()}
    return Work(title, aim, 'µs an item', rows, feed)


def hf_rows(share: float = 1) -> Work:
    """A Hugging Face dataset, which can look many rows up at once: `__getitems__`."""
    from datasets import Dataset

    size, warm, count, length = 32, 5, max(2, int(200 * share)), 20_000
    numbers = np.arange(length)
    dataset = Dataset.from_dict({'id': numbers, 'value': numbers / 2, 'label': numbers % 10})
    order = order_of(size * (warm + count + 100), length)
    feed = Feed(
        items=order,
        f=dataset.__getitem__,
        size=size,
        form={'id': ((size,), np.int64), 'value': ((size,), np.float64), 'label': ((size,), np.int64)},
        expected=in_batches(order, size),
        warm=warm,
        count=count,
        keys=lambda batch: batch['id'].tolist(),
        form_of=lambda batch: {name: (column.shape, column.dtype) for name, column in batch.items()},
        whole=lambda batch: bool(
            (batch['value'] == batch['id'] / 2).all() and (batch['label'] == batch['id'] % 10).all()
        ),
        dataset=dataset,
        combined=columns,
    )
    title = 'hf-rows: rows of a Hugging Face dataset, batches of 32'
    return looked_up(title, 1.2, dataset, lambda chosen: columns(dataset.__getitems__(chosen)), feed, {})


def columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def gather(share: float = 1) -> Work:
    """Rows of an array: one indexing operation makes a batch."""
    size, warm, count, length = 32, 50, max(2, int(4000 * share)), 20_000
    array = np.empty((length, 196), np.int32)
    array[:] = np.arange(length)[:, None]
    path = written('rows.npy', lambda: saved(array))
    order = order_of(size * (warm + count + 200), length)
    feed = Feed(
        items=order,
        f=array.__getitem__,
        size=size,
        form=[((size, 196), np.int32)],
        expected=in_batches(order, size),
        warm=warm,
        count=count,
        keys=lambda batch: batch[:, 0].tolist(),
        whole=lambda batch: bool((batch == batch[:, :1]).all()),
        dataset=array,
    )
    memmap = np.load(path, mmap_mode='r')
    title = 'gather: rows of 784 B of an array, batches of 32'
    return looked_up(title, 1.2, array, lambda chosen: array[chosen], feed, {'itpipe, memmap': memmap})


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ROWS: dict[str, Callable[[float], Work]] = {'hf-rows': hf_rows, 'gather': gather}
