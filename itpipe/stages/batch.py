"""Batches: lists of items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from itpipe._core.checks import integer, is_function, number, truth
from itpipe._core.keys import Batch, Key
from itpipe._core.notes import note
from itpipe._core.steps import AS_WRITTEN, METER, STOP, Pair, Stateless
from itpipe._engine.factories import factory
from itpipe._engine.indexing import Indices
from itpipe._engine.stream import Stage

if TYPE_CHECKING:
    from itpipe._engine.meters import Meter
    from itpipe._engine.stream import Lists
    from itpipe._engine.waiting import Stop
else:
    Lists = Stage

__all__ = ['batch_by', 'rounded_up']

Rule: TypeAlias = 'Callable[[list[Any], Any], object]'
"""Says of each item whether it goes into the batch that has these items so far."""


@overload
def batch_by(size: int, drop_last: bool = False) -> Lists: ...
@overload
def batch_by(size: Callable[[list[Any], Any], object]) -> Lists: ...
@overload
def batch_by(
    *, limit: float, cost: Callable[[Any], float], padded: bool = False, multiple_of: int | None = None
) -> Lists: ...
@factory
def batch_by(
    size: int | Callable[[list[Any], Any], object] | None = None,
    drop_last: bool = False,
    *,
    limit: float | None = None,
    cost: Callable[[Any], float] | None = None,
    padded: bool = False,
    multiple_of: int | None = None,
) -> Lists:
    """Lists of consecutive items.

    - `batch_by(32)`: lists of 32 items; the last one may be shorter, or is left out with `drop_last=True`. Directly
      behind a dataset with `__getitems__`, an array or a tensor, the items of a list are looked up together. Within a
      `parallel_map`, each worker makes whole lists: `parallel_map(apply(f) | batch_by(32) | combine, processes=8)`.
    - `batch_by(should_add)`: an item is added while `should_add(items_so_far, item)` is true. Otherwise it begins the
      next list. The first item of a list is never asked about.
    - `batch_by(limit=…, cost=f)`: the sum of `f(item)` stays within the limit. `f` is called once for each item.
    - `batch_by(limit=…, cost=f, padded=True)`: the number of items times the largest `f(item)` stays within the limit.
      This is the real size of a padded batch. With `multiple_of=8`, the largest counts as the next multiple of 8, to
      which `combine_pad(multiple_of=8)` pads.

    An item that is over the limit by itself makes a list of its own. No list is empty.

    Raises TypeError or ValueError for arguments of the wrong type or value, and for arguments that do not go together.

    >>> list(range(7) | batch_by(3))
    [[0, 1, 2], [3, 4, 5], [6]]
    >>> list(['a', 'bcd', 'ef', 'g'] | batch_by(limit=4, cost=len))
    [['a', 'bcd'], ['ef', 'g']]
    >>> list(['a', 'bcd', 'ef', 'g'] | batch_by(limit=4, cost=len, padded=True))
    [['a'], ['bcd'], ['ef', 'g']]
    >>> list([1, 2, 4, 3, 5] | batch_by(lambda items, item: item > items[-1]))
    [[1, 2, 4], [3, 5]]

    See also: `combine`, `combine_pad`, `combine_lists`, which make arrays of a list of items; `flatten`.
    """
    truth('batch_by', 'drop_last', drop_last)
    truth('batch_by', 'padded', padded)
    if multiple_of is not None and not padded:
        raise ValueError('batch_by: `multiple_of` goes with `padded=True`')
    if size is not None:
        if limit is not None or cost is not None or padded:
            raise ValueError('batch_by: `limit`, `cost` and `padded` do not go with `size`')
        if not callable(size):
            return _lists(_by_size, integer('batch_by', 'size', size, least=1), drop_last, METER)
        if drop_last:
            raise ValueError('batch_by: `drop_last` goes with an int `size` only')
        return _lists(_by_rule, STOP, AS_WRITTEN, _predicate, _plain('size', size))
    if limit is None or cost is None:
        raise TypeError('batch_by: give either `size` or both `limit` and `cost`')
    if drop_last:
        raise ValueError('batch_by: `drop_last` goes with an int `size` only')
    options = number('batch_by', 'limit', limit, least=0), _plain('cost', cost)
    if not padded:
        return _lists(_by_rule, STOP, AS_WRITTEN, _cost, *options)
    multiple = None if multiple_of is None else integer('batch_by', 'multiple_of', multiple_of, least=1)
    return _lists(_by_rule, STOP, AS_WRITTEN, _padded_cost, *options, multiple)


def _lists(work: Any, *options: Any) -> Lists:
    counts = partial(_count_lists, *options[:2]) if work is _by_size else None
    return Lists((Stateless('batch_by', work, options, gives='lists', by_count=work is _by_size, counts=counts),))


def _count_lists(size: int, drop_last: bool, items: int) -> int:
    return items // size if drop_last else -(-items // size)


def _plain(name: str, function: Any) -> Any:
    if isinstance(function, Stage):
        raise TypeError(f'batch_by: `{name}` must be a function, got the stage {function!r}')
    return is_function('batch_by', name, function)


def _by_size(items: Iterator[Pair], size: int, drop_last: bool, meter: Meter) -> Iterator[Pair]:
    probe, before = meter.probe, meter.before
    next_batch = items.batch if isinstance(items, Indices) else partial(_next_batch, items)
    while (batch := next_batch(size))[1]:
        if probe.on:
            probe.charge(before, batch[0][-1])
        meter.taken = (meter.taken or 0) + len(batch[1])
        if len(batch[1]) == size or not drop_last:
            yield batch
        del batch
        if probe.on:
            probe.charge(meter)


def _next_batch(items: Iterator[Pair], size: int) -> tuple[Batch, list[Any]]:
    pairs = list(islice(items, size))
    return Batch([key for key, _ in pairs]), [value for _, value in pairs]


def _by_rule(items: Iterator[Pair], stop: Stop, name: str, rule: Callable[..., Rule], *options: Any) -> Iterator[Pair]:
    fits = rule(*options)
    keys: list[Key] = []
    values: list[Any] = []
    for key, value in items:
        try:
            added = fits(values, value)
        except Exception as error:
            note(error, name, key)
            raise
        if not added:
            yield Batch(keys), values
            keys, values = [], []
        else:
            stop.check()
        keys.append(key)
        values.append(value)
    if values:
        yield Batch(keys), values


def _predicate(should_add: Rule) -> Rule:
    return lambda values, value: not values or should_add(values, value)


def _cost(limit: float, cost: Callable[[Any], float]) -> Rule:
    total: float = 0

    def fits(values: list[Any], value: Any) -> bool:
        nonlocal total
        more = cost(value)
        added = not values or total + more <= limit
        total = total + more if values and added else more
        return added

    return fits


def _padded_cost(limit: float, cost: Callable[[Any], float], multiple: int | None) -> Rule:
    largest: float = 0

    def fits(values: list[Any], value: Any) -> bool:
        nonlocal largest
        more = cost(value)
        added = not values or (len(values) + 1) * rounded_up(max(largest, more), multiple) <= limit
        largest = max(largest, more) if values and added else more
        return added

    return fits


def rounded_up(length: float, multiple: int | None) -> float:
    """The length to which such items are padded."""
    return length if multiple is None else -(-length // multiple) * multiple
