"""Items that are left out by their numbers, or by their places in the data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from itpipe._core.keys import Batch, Draw, Key, Zipped, as_key, is_count, is_pair, numbered
from itpipe._core.show import format_value
from itpipe._core.steps import METER, PASS, STOP, Pair, Stateless
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage

from .select import let_pass

if TYPE_CHECKING:
    from itpipe._engine.meters import Meter
    from itpipe._engine.stream import Same
    from itpipe._engine.waiting import Stop
else:
    Same = Stage

__all__ = ['exclude']

Excluded: TypeAlias = 'dict[Key | None, tuple[set[int], list[range]]]'
"""By the key of an item, the numbers of its parts that do not come; by None, those of items."""


@factory
def exclude(*items: Any, indices: Iterable[int | range] = (), passes: int | range | None = None) -> Same:
    """All items but those with these numbers or indices. All others stay as they are, with the same randomness.

    An item's number is its place in the order of the source, counted from 0: what notes on errors call `item 17`, and
    what `Infinite.ordinals` and records have. `items` are any number of

    - numbers and ranges: `exclude(17, range(32000, 38400))`. What was made of such an item is left out, too: all its
      parts after `flatten` and `interleave`, its repetitions after `reuse`, and the batches and rows of `bucket_by` and
      `pack` that it is in. After `mix`, `concat` and `cycle`, it is the item with this number of each stream and in
      each pass; after `zip_with`, the tuples whose first element it is.
    - pairs `(item, n)`, `n` being a number or a range: part `n` of an item after `flatten` and `interleave`, or the
      item of the stream `n` of a `mix`. `Infinite.item_keys` are of this form, so `exclude(*batch_iter.item_keys)`
      leaves out the batch received last.

    Behind `sample`, `shuffle()` and other sources that draw an order in each pass, the same number is another item in
    the next pass, and the same item may be drawn again. `indices` are places in the data instead, as in
    `Infinite.indices`, numbers and ranges: `exclude(indices=[17, range(30, 40)])`. These items never come again. The
    data must have a length and access by index, and it must stand in front of the stages that need the items
    themselves; of streams that are put together, behind the data of each.

    `passes=3` or `passes=range(3, 5)` leaves items out in these passes only, counted from 0. `shuffle(n)` changes no
    number. Behind a `stage` of your own, numbers are those of what that gives.

    It looks at numbers and indices only. So it runs before the item-wise stages that it is written behind, and before
    items are looked up: nothing is read for what it leaves out. Ranks leave out the same, and share the others.

    A run goes on from a state in the middle of a pass with another `exclude`, or with one where there was none, by
    `strict=False`. Then it has to stand behind the stages that remember which items came, such as `shuffle(n)` and the
    stage `shard`.

    Raises TypeError or ValueError for what is not the number or the index of an item, and for other `passes`. Where it
    stands behind stages or data that do not go with `indices`, making the stream raises TypeError.

    >>> list('abcdefgh' | exclude(1, range(3, 6)))
    ['a', 'c', 'g', 'h']
    >>> from itpipe import flatten
    >>> list(['ab', 'cde', 'f'] | flatten | exclude(0, (1, 2)))
    ['c', 'd', 'f']
    >>> from itpipe import sample, take
    >>> list(sample('abc', seed=0) | exclude(indices=[1]) | take(6))
    ['c', 'c', 'a', 'c', 'a', 'a']

    See also: `filter_by`, which looks at the items; `skip`, `take`; `Infinite.ordinals`, `Infinite.indices`.
    """
    excluded: Excluded = {}
    for n, item in enumerate(items):
        _add(excluded, item, f'items[{n}]')
    if isinstance(indices, (str, bytes)) or not isinstance(indices, Iterable):
        raise TypeError(f'exclude: `indices` must be a list of places in the data, got {format_value(indices)}')
    places: Excluded = {}
    for n, index in enumerate(indices if isinstance(indices, Collection) else list(indices)):
        _add_number(places, None, index, f'indices[{n}]', index, 'a place in the data, or a range of places')
    step = Stateless(
        'exclude', _exclude, (excluded, places, _passes(passes), PASS, STOP, METER), reorders_only=True,
        by_index=bool(places),
    )  # fmt: skip
    return Same((step,))


def _add(excluded: Excluded, item: Any, name: str) -> None:
    if is_pair(item) and item and isinstance(item[0], Batch):  # the key of a row of `pack`
        item = item[0]
    if isinstance(item, Batch):
        for part in item:
            _add(excluded, part, name)
        return
    while isinstance(item, Zipped):
        item = item[0][0]
    item = numbered(item)
    whole, number = item if isinstance(item, tuple) and len(item) == 2 else (None, item)
    _add_number(
        excluded, as_key(whole), number, name, item, 'the number of an item, a range of numbers, or a pair (item, part)'
    )


def _add_number(excluded: Excluded, whole: Any, number: Any, name: str, item: Any, what: str) -> None:
    number = number if isinstance(number, range) else as_key(number)
    if not ((whole is None or _is_key(whole)) and (isinstance(number, range) or type(number) is int)):
        several = isinstance(item, Iterable) and not isinstance(item, (str, tuple)) and name.startswith('items')
        raise TypeError(
            f'exclude: `{name}` must be {what}, got'
            f' {format_value(item)}{"; give its elements: exclude(*…)" if several else ""}'
        )
    if not all(map(is_count, [*number[:1], *number[-1:]] if isinstance(number, range) else [number])):
        raise ValueError(f'exclude: `{name}` must not be negative, got {format_value(item)}')
    numbers, ranges = excluded.setdefault(whole, (set(), []))
    if isinstance(number, range):
        ranges.append(number)
    else:
        numbers.add(number)


def _is_key(value: Any) -> bool:
    return is_count(value) or (is_pair(value) and len(value) == 2 and is_count(value[1]) and _is_key(value[0]))


def _passes(passes: Any) -> range | None:
    if passes is None or isinstance(passes, range):
        return passes
    number = as_key(passes)
    if not is_count(number):
        kind = ValueError if type(number) is int else TypeError
        raise kind(f'exclude: `passes` must be the number of a pass, or a range of them, got {format_value(passes)}')
    return range(number, number + 1)


# ---------------------------------------------------------------------------------------------------------------------
# What runs


def _exclude(
    items: Iterator[Pair],
    excluded: Excluded,
    places: Excluded,
    passes: range | None,
    pass_: int,
    stop: Stop,
    meter: Meter,
) -> Iterator[Pair]:
    if passes is not None and pass_ not in passes:
        return items
    if places:  # the values are indices
        return let_pass(
            items, lambda key, index: not (_is_among(places, None, index) or _is_excluded(excluded, key)), stop, meter
        )
    return let_pass(items, lambda key, _: not _is_excluded(excluded, key), stop, meter)


def _is_excluded(excluded: Excluded, key: Any) -> bool:
    if isinstance(key, int):
        return _is_among(excluded, None, key)
    if isinstance(key, Batch):
        return any(_is_excluded(excluded, part) for part in key)
    if isinstance(key, Draw) and _is_among(excluded, *key):  # what was its key has become a pair in JSON
        return True
    return _is_made_of(excluded, numbered(key)) or _is_made_of(excluded, key)


def _is_made_of(excluded: Excluded, key: Any) -> bool:
    while not isinstance(key, int):
        if isinstance(key, Draw):
            return _is_among(excluded, None, key[0])
        if _is_among(excluded, key[0], key[1]):
            return True
        key = key[0]
        if isinstance(key, Batch):
            return _is_excluded(excluded, key)
    return _is_among(excluded, None, key)


def _is_among(excluded: Excluded, whole: Any, number: Any) -> bool:
    if (parts := excluded.get(whole)) is None:
        return False
    numbers, ranges = parts
    return number in numbers or any(number in each for each in ranges)
