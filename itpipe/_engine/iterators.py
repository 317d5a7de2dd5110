"""Python's iterators: how one is made of any iterable, begins at a later item, and whether it may begin anew."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from itpipe._core.show import format_value
from itpipe.errors import NotRestartable

from .indexing import has_index, index_agrees, items_from, length

if TYPE_CHECKING:
    from .waiting import Stop

__all__ = [
    'close_iterator',
    'close_own',
    'is_async',
    'is_iterable',
    'is_one_shot',
    'is_plain',
    'iterate',
    'iterator_of',
    'may_rewind',
    'pick',
    'without_first',
]

_PLAIN: Final = frozenset({list, tuple, range, str, bytes, dict, set, frozenset, np.ndarray})
_EXAMPLES: Final[list[Any]] = [[], (), 'a', 'é', b'', range(1), range(2**70), np.zeros(1)]
_CAN_SKIP: Final = tuple({type(iter(example)) for example in _EXAMPLES})
"""The types of Python's iterators whose `__setstate__` takes the index of the next item."""


class _Indexed:
    def __getitem__(self, index: int) -> Any:
        raise IndexError


_OF_GETITEM: Final = type(iter(_Indexed()))
"""The type of the iterators that Python makes of a `__getitem__`."""
_RETURNS_ITSELF: Final = (lambda self: self).__code__.co_code


def is_plain(iterable: object) -> bool:
    """Whether it has one of the builtin types, for which `iter` is always right."""
    return type(iterable) in _PLAIN


def is_iterable(value: object) -> bool:
    """Whether `iterator_of` takes the value. For arrays that depends on their shape."""
    return (_has_iter(value) and getattr(value, 'ndim', 1) != 0) or is_async(value)


def is_async(value: object) -> bool:
    """Whether only `async for` takes the value."""
    return not _has_iter(value) and hasattr(type(value), '__aiter__')


def _has_iter(value: object) -> bool:
    kind = type(value)
    return bool(getattr(kind, '__iter__', None) or hasattr(kind, '__getitem__'))


def is_one_shot(value: object) -> bool:
    """Whether it is an iterator, and so probably can be read once only."""
    return isinstance(value, Iterator) or (is_async(value) and isinstance(value, AsyncIterator))


def iterator_of(iterable: Any, stop: Stop | None = None) -> Any:
    """An iterator over the items, as by `iter`, also of an async iterable. There, a call of `stop` ends the waits."""
    if not is_async(iterable):
        return iter(iterable)
    from .async_items import awaited  # it takes time, and not everybody needs it

    return awaited(iterable, stop)


def iterate(iterable: Any, stop: Stop | None = None) -> Iterator[Any]:
    """The items, as by `iterator_of`, but an IndexError of an item is not taken for the end."""
    return iter(iterable) if is_plain(iterable) else without_first(0, iterator_of(iterable, stop), iterable)


def without_first(count: int, iterator: Any, iterable: Any) -> Any:
    """The items of an iterator without the first `count`.

    `iterable` is what the iterator was made of, None if the two do not begin at the same item.
    """
    if count and is_plain(iterable) and isinstance(iterator, _CAN_SKIP):
        iterator.__setstate__(count)  # for another iterable, the iterator might not stand at the beginning
        return iterator
    found = _read_by_index(iterator)  # `__iter__` may have made the iterator of another sequence
    if found is not None and length(found[0]) is not None:
        return items_from(count + found[1], found[0], iterator if type(iterator) is _OF_GETITEM else None)
    if count and has_index(iterable) and index_agrees(iterable):
        return items_from(count, iterable)
    return islice(iterator, count, None) if count else iterator


def _read_by_index(iterator: Any) -> tuple[Any, int] | None:
    """The sequence that an iterator reads until an IndexError, and the index where it stands; None for all others."""
    if type(iterator) is _OF_GETITEM:
        sequence, index = (*iterator.__reduce__()[1:], 0)[:2]
        return sequence[0], index
    frame = iterator.gi_frame if getattr(iterator, 'gi_code', None) is Sequence.__iter__.__code__ else None
    return None if frame is None else (frame.f_locals['self'], frame.f_locals.get('i', -1) + 1)


def close_iterator(iterator: Any) -> None:
    """Close a generator, a file, or a run, rather than leave that to whoever refers to it last."""
    if callable(close := getattr(iterator, 'close', None)):
        close()


def close_own(iterator: Any, iterable: Any) -> None:
    """Close an iterator over the iterable if it was made for this run, is a generator, or a run.

    An open file belongs to the user.
    """
    if not hasattr(iterator, 'close'):
        return
    own = not is_one_shot(iterable) or hasattr(iterator, 'throw')
    if not own:
        from .run import Run  # which takes all that runs

        own = isinstance(iterator, Run)
    if own:
        close_iterator(iterator)


def may_rewind(iterator: Any) -> bool:
    """Whether its `__iter__` does more than to return the iterator: then it may begin anew."""
    name = '__aiter__' if is_async(iterator) else '__iter__'
    code = getattr(getattr(type(iterator), name, None), '__code__', None)
    return code is not None and code.co_code != _RETURNS_ITSELF


def pick(iterable: Any, keys: Sequence[Any]) -> dict[Any, Any]:
    """The items with these numbers, found by iterating up to the last of them."""
    if is_one_shot(iterable):  # they are behind it, or have to be left in it
        raise NotRestartable(f'cannot make items of {format_value(iterable)} again: it is a one-shot iterator')
    wanted, last = set(keys), max(keys, default=-1)
    return {key: value for key, value in enumerate(islice(iterate(iterable), last + 1)) if key in wanted}
