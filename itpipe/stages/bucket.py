"""Batches of items of similar length."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import compress, pairwise
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from itpipe._core.checks import integer, is_function, number
from itpipe._core.keys import Batch
from itpipe._core.show import format_value
from itpipe._core.steps import Grouping, Pair, State
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage

from .batch import rounded_up

if TYPE_CHECKING:
    from itpipe._engine.stream import Lists
else:
    Lists = Stage

__all__ = ['bucket_by']

Fits: TypeAlias = 'Callable[[int, float], bool]'
"""Whether so many items make a list, if the longest has this length."""


@factory
def bucket_by(
    length: Callable[[Any], float],
    edges: Iterable[float] | None = None,
    *,
    window: int | None = None,
    size: int | None = None,
    limit: float | None = None,
    multiple_of: int | None = None,
) -> Lists:
    """Lists of items of similar length, so that padding them wastes little.

    `length(item)` is a number. Give one of

    - `edges=[64, 128, 256]`: there are four buckets, for lengths up to 64, up to 128, up to 256, and for longer items.
      A bucket that has enough for a list becomes one. The rest comes at the end, a list for each bucket.
    - `window=1000`: 1,000 items wait. The item that has waited longest goes out, with those nearest to it in length. So
      no item waits for ever. The items of a list are in order of length.

    and one or both of

    - `size=32`: the number of items in a list; those at the end may have fewer.
    - `limit=8192`: the number of items times the largest length stays within the limit, as in a padded batch. An item
      that is over it by itself makes a list of its own. With `multiple_of=8`, the largest length counts as the next
      multiple of 8, to which `combine_pad(multiple_of=8)` pads.

    What is in which list depends on the lengths and on the order only. Lists keep no order. If a run goes on from a
    state, the items in open buckets are made again. If `items` are indices, with `length=lengths.__getitem__`, and a
    later stage loads the items of a list, no item is read twice, and each rank only reads its own lists.

    Raises TypeError or ValueError for wrong arguments, and for arguments that do not go together.

    >>> words = ['a', 'bcdef', 'gh', 'i', 'jklmn', 'o', 'pq']
    >>> list(words | bucket_by(len, edges=[2], size=2))
    [['a', 'gh'], ['bcdef', 'jklmn'], ['i', 'o'], ['pq']]
    >>> list(words | bucket_by(len, window=4, limit=6))
    [['a', 'i', 'gh'], ['bcdef'], ['jklmn'], ['o', 'pq']]

    See also: `batch_by`, for lists of consecutive items; `pack`, which leaves hardly any padding; `combine_pad`.
    """
    if (edges is None) == (window is None):
        raise TypeError('bucket_by: give either `edges` or `window`')
    if size is None and limit is None:
        raise TypeError('bucket_by: give `size` or `limit`')
    is_function('bucket_by', 'length', length)
    most = None if size is None else integer('bucket_by', 'size', size, least=1)
    within = None if limit is None else number('bucket_by', 'limit', limit, least=0)
    multiple = None if multiple_of is None else integer('bucket_by', 'multiple_of', multiple_of, least=1)
    if multiple is not None and within is None:
        raise TypeError('bucket_by: `multiple_of` goes with `limit`')
    work: Any = _by_edges if window is None else _by_window
    bound = _edges(edges) if window is None else integer('bucket_by', 'window', window, least=1)
    state: State = {'lengths': [], 'slots': []}
    step = Grouping('bucket_by', work, (length, partial(_fits, most, within, multiple), bound), state=state)
    return Lists((step,))


def _edges(edges: Any) -> list[float]:
    try:
        result = [float(edge) for edge in edges]
    except (TypeError, ValueError):
        raise TypeError(f'bucket_by: `edges` must be numbers, got {format_value(edges)}') from None
    if not result or any(not low < high for low, high in pairwise([-inf, *result])):
        raise ValueError(f'bucket_by: `edges` must be ascending, and at least one, got {format_value(edges)}')
    return result


def _fits(size: int | None, limit: float | None, multiple: int | None, count: int, longest: float) -> bool:
    if (size is not None and count > size) or limit is None or count == 1:
        return size is None or count <= size
    return count * rounded_up(longest, multiple) <= limit


def _by_edges(
    items: Iterator[Pair], state: State, length: Callable[[Any], float], fits: Fits, edges: list[float]
) -> Iterator[Pair]:
    slots, lengths = state['slots'], state['lengths']
    counts, longest = _fill_of(lengths, edges)

    def taken(bucket: int) -> Pair:
        inside = [bisect_left(edges, each) == bucket for each in lengths]
        outside = [not each for each in inside]
        result = [*compress(slots, inside)]
        slots[:], lengths[:] = compress(slots, outside), compress(lengths, outside)
        counts[bucket] = longest[bucket] = 0
        return _as_list(result)

    for pair in items:
        new = _length(length, pair[1])
        bucket = bisect_left(edges, new)
        if counts[bucket] and not fits(counts[bucket] + 1, max(longest[bucket], new)):
            yield taken(bucket)
        slots.append(pair)
        lengths.append(new)
        counts[bucket] += 1
        longest[bucket] = max(longest[bucket], new)
        if not fits(counts[bucket] + 1, longest[bucket]):
            yield taken(bucket)
    for bucket in range(len(counts)):
        if counts[bucket]:
            yield taken(bucket)


def _fill_of(lengths: list[float], edges: list[float]) -> tuple[list[int], list[float]]:
    """How many items there are in each bucket, and the largest of their lengths."""
    counts, longest = [0] * (len(edges) + 1), [0.0] * (len(edges) + 1)
    for each in lengths:
        bucket = bisect_left(edges, each)
        counts[bucket] += 1
        longest[bucket] = max(longest[bucket], each)
    return counts, longest


def _by_window(
    items: Iterator[Pair], state: State, length: Callable[[Any], float], fits: Fits, window: int
) -> Iterator[Pair]:
    slots, lengths = state['slots'], state['lengths']
    for pair in items:
        slots.append(pair)
        lengths.append(_length(length, pair[1]))
        if len(slots) == window:
            yield _nearest(slots, lengths, fits)
    while slots:
        yield _nearest(slots, lengths, fits)


def _nearest(slots: list[Pair], lengths: list[float], fits: Fits) -> Pair:
    """The first item, and of the others those of the nearest lengths, as many as fit; they are taken out."""
    order = np.argsort(lengths, kind='stable').tolist()
    first = order.index(0)
    begin, end = first, first + 1
    while True:
        shorter = lengths[0] - lengths[order[begin - 1]] if begin else inf
        longer = lengths[order[end]] - lengths[0] if end < len(order) else inf
        count = end - begin + 1
        if longer < shorter and fits(count, lengths[order[end]]):
            end += 1
        elif begin and fits(count, lengths[order[end - 1]]):
            begin -= 1
        elif end < len(order) and fits(count, lengths[order[end]]):
            end += 1
        else:
            break
    chosen = order[begin:end]
    result = [slots[index] for index in chosen]
    for index in sorted(chosen, reverse=True):
        del slots[index], lengths[index]
    return _as_list(result)


def _as_list(pairs: list[Pair]) -> Pair:
    return Batch([key for key, _ in pairs]), [value for _, value in pairs]


def _length(length: Callable[[Any], float], value: Any) -> float:
    result = length(value)
    if not isinstance(result, (int, float, np.integer, np.floating)) or not 0 <= result < inf:
        raise ValueError(f'bucket_by: `length` must return a number, finite and not negative, got {result!r}')
    return result.item() if isinstance(result, np.generic) else result
