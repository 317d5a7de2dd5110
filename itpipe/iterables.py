"""Any iterable as a source, whose n-th item has the key n."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from copy import deepcopy
from functools import partial
from itertools import islice
from math import inf
from time import perf_counter
from typing import Any, Final

import numpy as np

from .binding import Sites, Stop, note
from .errors import NotRestartable
from .keys import Key
from .run import Opened, Run, Source
from .steps import STOP, Pair, Step, literal, same, shown

__all__ = ['Items', 'Ordinals', 'Seeded', 'has_index', 'is_iterable', 'look_up', 'looking_up']

SELDOM: Final = 50
"""How many times the time that the state of a source takes has to pass before it is asked for the next one; what came
in between is read again where a run goes on."""


class Ordinals:
    """A source at work whose n-th item has the key n: `read(n)` goes on from there, `pick` makes single ones again.

    `indices` says where the items with these keys lie in what the source draws from. Where they can be looked up there,
    `places(n)` are the indices from the n-th on, with their keys, and `look_up` makes items of them.
    """

    stateful = False
    tracked = True
    log = ()

    def __init__(
        self,
        read: Callable[[int], Iterator[Pair]],
        pick: Callable[[Sequence[Any]], dict[Key, Any]],
        indices: Callable[[Sequence[Any]], list[Any]] = list,
        places: Callable[[int], Iterator[Pair]] | None = None,
        look_up: Step | None = None,
    ):
        self.read, self.pick, self.indices = read, pick, indices
        self.places, self.look_up = places, look_up
        self.position = 0

    def apart(self) -> Step | None:
        if self.places is not None:
            self.read = self.places
            self.pick = lambda keys: dict(zip(keys, self.indices(keys), strict=True))
        return self.look_up

    def start(self, entry: Any = None) -> Iterator[Pair]:
        self.position = entry or 0
        return self.read(self.position)

    def commit(self, key: Any) -> None:
        self.position = key + 1

    def entry(self) -> Any:
        return self.position

    def remake(self, keys: Sequence[Key]) -> dict[Key, Any]:
        return self.pick(keys)

    def gives(self, key: Any) -> bool:
        return isinstance(key, int) and key >= 0


class _WithStates(Ordinals):
    """Such a source over an iterable that has states itself: the last one before the consumer is remembered.

    Where it stands belongs to the iterable, not to an iterator over it. Some also begin where they were left, or at the
    state that was loaded last: so they are rewound to their first state, but not where the next pass comes in its turn,
    which may be another one to them. `set_epoch`, as those of Hugging Face have it, tells them which pass it is.
    """

    stateful = True

    def __init__(self, items: Items, pass_: int):
        super().__init__(items.read, self.read_aside)
        self.items, self.pass_ = items, pass_
        self.states: deque[tuple[int, Any]] = deque()

    def start(self, entry: Any = None) -> Iterator[Pair]:
        if entry is not None:
            self.position, self.items.pass_ = entry['position'], inf
            self.states.append((entry['at'], entry['state']))
        return self.run(entry)

    def run(self, entry: Any) -> Iterator[Pair]:
        items = self.items
        iterable: Any = items.iterable
        start = 0
        self.rewind(iterable)
        loaded = entry is not None and entry['state'] is not None
        if loaded:
            iterable.load_state_dict(deepcopy(entry['state']))
            start = entry['at']
        due = 0.0
        key: Any
        items.running += 1
        try:
            for key, value in items.follow(self.position, start):
                if self.tracked and (begun := perf_counter()) >= due:
                    self.states.append((key + 1, deepcopy(iterable.state_dict())))
                    due = (1 + SELDOM) * perf_counter() - SELDOM * begun
                yield key, value
            items.moved = loaded
        finally:
            items.running -= 1

    def rewind(self, iterable: Any) -> None:
        items = self.items
        if not items.first:
            with suppress(Exception):  # some have none before they have begun
                items.first = [deepcopy(iterable.state_dict())]
        elif self.pass_ < items.pass_ or (items.moved and self.pass_ == items.pass_):
            iterable.load_state_dict(deepcopy(items.first[0]))
        if hasattr(iterable, 'set_epoch'):
            iterable.set_epoch(self.pass_)
        if iterable is items.iterable:
            items.moved, items.pass_ = True, self.pass_

    def read_aside(self, keys: Sequence[Any]) -> dict[Key, Any]:
        items = self.items
        if has_index(items.iterable):
            return items.pick(keys)
        iterable: Any = items.iterable
        if items.running:
            try:
                iterable = deepcopy(iterable)
            except Exception as error:
                raise NotRestartable(
                    f'cannot make items of {literal(iterable)} again while it is read: it cannot be copied'
                ) from error
        self.rewind(iterable)
        if iterable is items.iterable:
            items.pass_ = inf
        return Items(iterable).pick(keys)

    def commit(self, key: Any) -> None:
        self.position = key + 1
        while len(self.states) > 1 and self.states[1][0] <= self.position:
            self.states.popleft()

    def entry(self) -> Any:
        at, state = self.states[0] if self.states and self.states[0][0] <= self.position else (0, None)
        return {'at': at, 'position': self.position, 'state': deepcopy(state)}


class Items:
    """Any iterable as a source."""

    random = False
    ordered = True

    def __init__(self, iterable: Iterable[Any], seed: int | None = None):
        self.iterable, self.seed = iterable, seed
        self.spent = False
        self.first: list[Any] = []
        """The first state of an iterable that has states, if it is known."""
        self.pass_, self.moved, self.running = 0.0, False, 0
        """Of such: in which pass it was read last (inf: the next one rewinds it, whichever it is), whether that may not
        have ended by itself, and how many are reading it."""

    def open(self, sites: Sites, stop: Stop) -> Opened:
        self.check()
        if all(hasattr(self.iterable, name) for name in ('state_dict', 'load_state_dict')):
            return _WithStates(self, sites.pass_)
        if not has_index(self.iterable) or _has_no_index_after_all(self.iterable):
            return Ordinals(self.read, self.pick)
        return Ordinals(self.read, self.pick, places=self.places, look_up=looking_up(self.iterable, self.where))

    def where(self) -> str:
        """What is said on errors."""
        return f'the source {literal(self.iterable)}'

    def check(self) -> None:
        if self.spent:
            raise NotRestartable(
                f'the stream reads from an iterator ({literal(self.iterable)}) that had its one run;'
                ' give it something that can be iterated again, such as a list'
            )

    def read(self, start: int) -> Iterator[Pair]:
        if start == 0 and _is_plain(self.iterable):
            return enumerate(self.iterable)
        return self.follow(start)

    def places(self, start: int) -> Iterator[Pair]:
        rest = range(start, len(self.iterable))  # type: ignore[arg-type]
        return zip(rest, rest, strict=True)

    def follow(self, start: int, begin: int = 0) -> Iterator[Pair]:
        """The items from the one at `start` on, where the iterable itself begins with the one at `begin`."""
        self.check()
        one_shot = isinstance(self.iterable, Iterator)
        self.spent = one_shot
        place = start - 1
        iterator: Any = None
        try:
            iterator = iter(self.iterable)
            for place, value in enumerate(_without(start - begin, iterator, None if begin else self.iterable), start):
                yield place, value
        except Exception as error:
            note(error, self.where(), place + 1)
            raise
        finally:
            # what was made for this run is closed, and generators and runs; a file that was passed in is its owner's
            if hasattr(iterator, 'close') and (not one_shot or hasattr(iterator, 'throw') or isinstance(iterator, Run)):
                iterator.close()

    def pick(self, keys: Sequence[Any]) -> dict[Key, Any]:
        if has_index(self.iterable):
            with suppress(NotImplementedError):  # torch's IterableDataset has a `__getitem__`
                return dict(look_up(zip(keys, keys, strict=True), Stop(), self.iterable, self.where))
        wanted, last = set(keys), max(keys, default=-1)
        if isinstance(self.iterable, Iterator):  # what it would be asked for is behind it, or must be left in it
            raise NotRestartable(f'cannot make items of {literal(self.iterable)} again: it is a one-shot iterator')
        return {key: value for key, value in enumerate(islice(self.iterable, last + 1)) if key in wanted}

    def lasting(self) -> str:
        return shown('stream', (), {} if self.seed is None else {'seed': self.seed})

    def __repr__(self) -> str:
        return literal(self.iterable) if self.seed is None else shown('stream', (self.iterable,), {'seed': self.seed})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Items) and self.seed == other.seed and same(self.iterable, other.iterable)

    __hash__ = None  # type: ignore[assignment]


class Seeded:
    """A source with another seed for the stages behind it."""

    def __init__(self, source: Source, seed: int | None):
        self.source, self.seed = source, seed
        self.random, self.ordered = source.random, source.ordered

    def open(self, sites: Sites, stop: Stop) -> Opened:
        return self.source.open(sites, stop)

    def lasting(self) -> str:
        return f'{self.source.lasting()}\n{shown("stream", (), {"seed": self.seed})}'

    def __repr__(self) -> str:
        return shown('stream', (self.source,), {'seed': self.seed})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seeded) and (self.source, self.seed) == (other.source, other.seed)

    __hash__ = None  # type: ignore[assignment]


def look_up(places: Iterable[Pair], stop: Stop, sequence: Any, where: Callable[[], str]) -> Iterator[Pair]:
    """The items at these places of a sequence; `where()` is what is said on an error."""
    for key, place in places:
        try:
            value = sequence[place]
        except Exception as error:
            note(error, where(), key)
            raise
        stop.check()
        yield key, value
        del value


def looking_up(sequence: Any, where: Callable[[], str]) -> Step:
    """The step that does so."""
    return Step('look_up', partial(look_up, sequence=sequence, where=where), (STOP,), itemwise=True)


def _is_plain(iterable: object) -> bool:
    return type(iterable) in (list, tuple, range, str, bytes, dict, set, frozenset, np.ndarray)


def is_iterable(value: object) -> bool:
    """Whether `iter` takes the value, which for arrays depends on their shape."""
    kind = type(value)
    return bool(getattr(kind, '__iter__', None) or hasattr(kind, '__getitem__')) and getattr(value, 'ndim', 1) != 0


def has_index(value: Any) -> bool:
    """Whether the items of an iterable are those at 0, 1, 2, …"""
    if isinstance(value, (Sequence, np.ndarray)):
        return True
    if isinstance(value, (Mapping, AbstractSet)) or any(hasattr(value, name) for name in ('iloc', 'keys', 'columns')):
        return False  # such as tables, whose index is of rows, while iterating gives columns
    return hasattr(value, '__getitem__') and hasattr(value, '__len__')


def _has_no_index_after_all(value: Any) -> bool:
    """Whether it is one of torch's IterableDatasets, which have a `__getitem__` that raises NotImplementedError.

    By name, since this has to be known before any item is asked for; where one is, the error tells.
    """
    return any(kind.__name__ == 'IterableDataset' for kind in type(value).__mro__)


_PLACED: Final[list[Any]] = [[], (), 'a', 'é', b'', range(1), range(2**70), np.zeros(1)]
_WITH_PLACE: Final = tuple({type(iter(each)) for each in _PLACED})
"""The iterators of Python's that can be told their place, counted from the beginning."""


def _without(count: int, iterator: Any, iterable: Any) -> Iterator[Any]:
    """The items but the first ones; `iterable` is what the iterator was made of, if it begins at the same item."""
    if count and _is_plain(iterable) and isinstance(iterator, _WITH_PLACE):
        iterator.__setstate__(count)  # of another iterable, it might not be at the beginning
    elif count and has_index(iterable) and not isinstance(iterable, Iterator):
        return _by_index(count, iterator, iterable)
    elif count:
        return islice(iterator, count, None)
    if has_index(iterable) and not hasattr(type(iterable), '__iter__'):  # torch's map-style datasets: never IndexError
        return islice(iterator, len(iterable))
    return iterator  # type: ignore[no-any-return]


def _by_index(start: int, iterator: Iterator[Any], sequence: Any) -> Iterator[Any]:
    for place in range(start, len(sequence)):
        try:
            value = sequence[place]
        except NotImplementedError:  # as in `pick`
            if place > start:
                raise
            yield from islice(iterator, start, None)
            return
        yield value
