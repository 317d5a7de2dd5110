"""Any iterable as a source, whose n-th item has the key n."""

from __future__ import annotations

import warnings
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

from itpipe._core.keys import Key, is_count
from itpipe._core.notes import note, remark
from itpipe._core.show import format_call, format_value, same
from itpipe._core.steps import STOP, Pair, Stateless, Step
from itpipe.errors import NotRestartable

from .run import Run
from .seeds import Seeds
from .source import Opened, Source
from .stacks import user_stacklevel
from .waiting import Stop

__all__ = [
    'Items',
    'Ordinals',
    'Seeded',
    'as_runtime_error',
    'is_iterable',
    'iterate',
    'length',
    'look_up',
    'look_up_step',
    'note_length',
]  # fmt: skip

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
        self.position = entry['position'] if isinstance(entry, dict) else entry or 0
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
    """Such a source over an iterable that has states itself: one from before the consumer is remembered.

    Where it stands belongs to the iterable, not to an iterator over it. Some also begin where they were left, or at the
    state that was loaded last: so they are rewound to their first state, but not where the next pass comes in its turn,
    which may be another one to them. `set_epoch`, as those of Hugging Face have it, tells them which pass it is.

    A state is only used if at least one item came after it, since some begin anew from one that was taken at the end.
    A state is not asked for before another one is loaded, since some then do not go on from that.
    """

    stateful = True

    def __init__(self, items: Items, pass_: int):
        super().__init__(items.read, self.read_aside)
        self.items, self.pass_ = items, pass_
        self.states: deque[tuple[int, Any]] = deque()
        self.made = 0
        """How many items came."""

    def start(self, entry: Any = None) -> Iterator[Pair]:
        at, state = 0, None
        if isinstance(entry, dict):
            self.position, self.items.pass_ = entry['position'], inf
            if not self.items.reread and entry['state'] is not None:
                at, (first, state) = entry['at'], entry['state']
                self.items.first = self.items.first or ([] if first is None else [first])
                self.made = at + 1
                self.states.append((at, state))
        elif entry is not None:  # it was read again, which is for whoever goes on to choose
            self.position, self.items.pass_ = entry, inf
        return self.run(at, state)

    def run(self, at: int, state: Any) -> Iterator[Pair]:
        items = self.items
        iterable: Any = items.iterable
        loaded = state is not None
        self.rewind(iterable, ask=not loaded)
        if loaded:
            iterable.load_state_dict(deepcopy(state))
        due = 0.0
        key: Any
        items.running += 1
        try:
            begin = 0 if only_index(iterable) else at
            for key, value in items.follow(self.position, begin):
                self.made = key + 1
                if self.tracked and not items.reread and (asked := perf_counter()) >= due:
                    self.states.append((key + 1, deepcopy(iterable.state_dict())))
                    due = (1 + SELDOM) * perf_counter() - SELDOM * asked
                yield key, value
            items.moved = loaded
        finally:
            items.running -= 1

    def asked(self, iterable: Any) -> Any:
        """Its state, if it has one: some have none before they have begun."""
        try:
            return deepcopy(iterable.state_dict())
        except Exception:
            return None

    def rewind(self, iterable: Any, ask: bool = True) -> None:
        items = self.items
        if not items.first:
            first = self.asked(iterable) if ask else None
            items.first = [] if first is None else [first]
        elif ask and (
            self.pass_ < items.pass_ or (items.moved and (self.pass_ == items.pass_ or _stays_loaded(iterable)))
        ):
            iterable.load_state_dict(deepcopy(items.first[0]))
        if hasattr(iterable, 'set_epoch'):
            iterable.set_epoch(self.pass_)
        if iterable is items.iterable:
            items.moved, items.pass_ = True, self.pass_

    def read_aside(self, keys: Sequence[Any]) -> dict[Key, Any]:
        items = self.items
        if items.indexed():
            return items.pick(keys)
        iterable: Any = items.iterable
        if items.running:
            try:
                iterable = deepcopy(iterable)
            except Exception as error:
                raise NotRestartable(
                    f'cannot make items of {format_value(iterable)} again while it is read: it cannot be copied'
                ) from error
        self.rewind(iterable)
        if iterable is items.iterable:
            items.pass_ = inf
        return Items(iterable).pick(keys)

    def commit(self, key: Any) -> None:
        self.position = key + 1
        while len(self.states) > 1 and self.has_passed(self.states[1][0]):
            self.states.popleft()

    def entry(self) -> Any:
        self.items.warn()
        at, state = self.states[0] if self.states else (0, None)
        if state is None or not self.has_passed(at):
            return {'at': 0, 'position': self.position, 'state': None}
        first = self.items.first[0] if self.items.first else None
        return {'at': at, 'position': self.position, 'state': deepcopy([first, state])}

    def has_passed(self, at: int) -> bool:
        """Whether a state that was taken there may be used."""
        return at <= self.position and at < self.made


class Items:
    """Any iterable as a source.

    With `reread` it is read again up to the place where a run goes on, whatever else it would allow.
    """

    random = False
    ordered = True

    def __init__(self, iterable: Iterable[Any], seed: int | None = None, reread: bool = False):
        self.iterable, self.seed, self.reread = iterable, seed, reread
        self.one_shot = isinstance(iterable, Iterator)
        self.spent = self.ended = False
        """Whether it was read before, and whether up to its end then."""
        self.warned = False
        self.first: list[Any] = []
        """The first state of an iterable that has states, if it is known."""
        self.pass_, self.moved, self.running = 0.0, False, 0
        """Of such: in which pass it was read last (inf: the next one rewinds it, whichever it is), whether that may not
        have ended by itself; and of all, how many are reading it."""

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        self.check()
        if all(hasattr(self.iterable, name) for name in ('state_dict', 'load_state_dict')):
            return _WithStates(self, seeds.pass_)
        if not self.indexed():
            return Ordinals(self.read, self.pick)
        return Ordinals(self.read, self.pick, places=self.places, look_up=look_up_step(self.iterable, self.where))

    def indexed(self) -> bool:
        """Whether its items are looked up rather than read again."""
        return only_index(self.iterable) or (not self.reread and has_index(self.iterable))

    def where(self) -> str:
        """What is said on errors."""
        return f'the source {format_value(self.iterable)}'

    def check(self) -> None:
        """Raise an error for an iterator that had its run, unless it may begin anew, which is seen when it is asked."""
        if not self.spent or self.ended or (not self.running and (self.first or _may_rewind(self.iterable))):
            return
        raise self.had_its_run()

    def had_its_run(self) -> NotRestartable:
        return NotRestartable(
            f'the stream reads from an iterator ({format_value(self.iterable)}) that had its one run;'
            ' give it something that can be iterated again, such as a list'
        )

    def warn(self) -> None:
        """Say once if a run does not go on exactly from the states of the source."""
        if self.warned:
            return
        self.warned = True
        if not self.reread and _has_buffer(self.iterable):
            warnings.warn(
                f'itpipe: {type(self.iterable).__name__} has a `.shuffle(buffer_size=…)`, but not what is in the buffer'
                ' in its own state, so a run that goes on from there loses some items and repeats others; use `shuffle`'
                ' of itpipe behind it instead, or `stream(…, reread=True)`, which reads it again up to the place',
                stacklevel=user_stacklevel(),
            )

    def read(self, start: int) -> Iterator[Pair]:
        if start == 0 and _is_plain(self.iterable):
            return enumerate(self.iterable)
        return self.follow(start)

    def places(self, start: int) -> Iterator[Pair]:
        rest = range(start, length(self.iterable) or 0)
        return zip(rest, rest, strict=True)

    def follow(self, start: int, begin: int = 0) -> Iterator[Pair]:
        """The items from the one at `start` on, where the iterable itself begins with the one at `begin`."""
        self.check()
        again, self.spent, self.ended = self.spent, self.one_shot, False
        place = start - 1
        iterator: Any = None
        self.running += 1
        try:
            iterator = iter(self.iterable)
            items = self.once_more(iterator) if again else iterator
            itself = self.iterable if begin == 0 and not self.reread else None
            for place, value in enumerate(_without(start - begin, items, itself), start):
                yield place, value
            self.ended = True
        except Exception as error:
            if not isinstance(error, NotRestartable):
                note(error, self.where(), place + 1)
            raise
        finally:
            self.running -= 1
            # what was made for this run is closed, and generators and runs; a file that was passed in is its owner's
            if hasattr(iterator, 'close') and (
                not self.one_shot or hasattr(iterator, 'throw') or isinstance(iterator, Run)
            ):
                iterator.close()

    def once_more(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """What an iterator gives that was read before: some begin anew, as datasets whose `__iter__` returns them."""
        count = 0
        while True:  # `for` would ask it for its iterator again
            try:
                value = next(iterator)
            except StopIteration:
                if count == 0:
                    raise self.had_its_run() from None
                return
            count += 1
            yield value

    def pick(self, keys: Sequence[Any]) -> dict[Key, Any]:
        if self.indexed():
            with suppress(NotImplementedError):  # torch's IterableDataset has a `__getitem__`
                return dict(look_up(zip(keys, keys, strict=True), Stop(), self.iterable, self.where))
        wanted, last = set(keys), max(keys, default=-1)
        if self.one_shot:  # what it would be asked for is behind it, or must be left in it
            raise NotRestartable(f'cannot make items of {format_value(self.iterable)} again: it is a one-shot iterator')
        return {key: value for key, value in enumerate(islice(iterate(self.iterable), last + 1)) if key in wanted}

    def key_test(self) -> Callable[[Any], bool]:
        end = inf
        with suppress(Exception):  # a dataset's own, which is for the run to raise
            end = (length(self.iterable) or 0) if self.indexed() else inf
        return lambda key: isinstance(key, int) and key < end

    def check_entry(self, entry: Any) -> None:
        if isinstance(entry, dict):
            fits = sorted(entry) == ['at', 'position', 'state']
            fits = fits and is_count(entry['at']) and is_count(entry['position']) and entry['at'] <= entry['position']
            fits = fits and (entry['state'] is None or (isinstance(entry['state'], list) and len(entry['state']) == 2))
        else:
            fits = entry is None or is_count(entry)
        if not fits:
            raise ValueError('what it says of the source cannot be')

    def fingerprint(self) -> str:
        return format_call('stream', (), {} if self.seed is None else {'seed': self.seed})

    def __repr__(self) -> str:
        told = ({} if self.seed is None else {'seed': self.seed}) | ({'reread': True} if self.reread else {})
        return format_call('stream', (self.iterable,), told) if told else format_value(self.iterable)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Items) and same(
            (self.seed, self.reread, self.iterable), (other.seed, other.reread, other.iterable)
        )

    __hash__ = None  # type: ignore[assignment]


class Seeded:
    """A source with another seed for the stages behind it."""

    def __init__(self, source: Source, seed: int | None):
        self.source, self.seed = source, seed
        self.random, self.ordered, self.one_shot = source.random, source.ordered, source.one_shot

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        return self.source.open(seeds, stop)

    def key_test(self) -> Callable[[Any], bool]:
        return self.source.key_test()

    def check_entry(self, entry: Any) -> None:
        self.source.check_entry(entry)

    def fingerprint(self) -> str:
        return f'{self.source.fingerprint()}\n{format_call("stream", (), {"seed": self.seed})}'

    def __repr__(self) -> str:
        return format_call('stream', (self.source,), {'seed': self.seed})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seeded) and (self.source, self.seed) == (other.source, other.seed)

    __hash__ = None  # type: ignore[assignment]


def look_up(places: Iterable[Pair], stop: Stop, sequence: Any, where: Callable[[], str]) -> Iterator[Pair]:
    """The items at these places of a sequence; `where()` is what is said on an error."""
    for key, place in places:
        try:
            value = sequence[place]
        except StopIteration as error:
            instead = as_runtime_error(error, sequence, place)
            note(instead, where(), key)
            raise instead from error
        except Exception as error:
            note(error, where(), key)
            note_length(error, sequence, place)
            raise
        stop.check()
        yield key, value
        del value


def look_up_step(sequence: Any, where: Callable[[], str]) -> Step:
    """The step that does so."""
    return Stateless('look_up', partial(look_up, sequence=sequence, where=where), (STOP,), itemwise=True)


def as_runtime_error(error: StopIteration, sequence: Any, place: Any) -> RuntimeError:
    """The error instead of one that would be taken for the end."""
    return RuntimeError(f'`__getitem__({place})` of {format_value(sequence)} raised {error!r}')


def note_length(error: Exception, sequence: Any, place: Any) -> None:
    """Say on an IndexError that there should be an item, if that is so."""
    with suppress(Exception):
        if isinstance(error, IndexError) and place < (size := length(sequence)):
            remark(error, f'itpipe: by its length, {format_value(sequence)} has {size} items, and so one at {place}')


def iterate(iterable: Any) -> Iterator[Any]:
    """The items, as by `iter`, but no error of one of them is taken for the end."""
    return iter(iterable) if _is_plain(iterable) else _without(0, iter(iterable), iterable)


def _is_plain(iterable: object) -> bool:
    return type(iterable) in _PLAIN


_PLAIN: Final = frozenset({list, tuple, range, str, bytes, dict, set, frozenset, np.ndarray})


def is_iterable(value: object) -> bool:
    """Whether `iter` takes the value, which for arrays depends on their shape."""
    kind = type(value)
    return bool(getattr(kind, '__iter__', None) or hasattr(kind, '__getitem__')) and getattr(value, 'ndim', 1) != 0


def length(value: Any) -> int | None:
    """How many items it says it has; None if it does not say."""
    kind = type(value)
    try:
        if hasattr(kind, '__len__'):
            return len(value)
        if all(hasattr(kind, trait) for trait in ('shape', 'dtype', 'ndim')) and value.ndim:  # as zarr's arrays
            return int(value.shape[0])
    except NotImplementedError:
        pass
    except Exception as error:
        note(error, f'the length of {format_value(value)}', None)
        raise
    return None


def only_index(value: Any) -> bool:
    """Whether its items are those at 0, 1, 2, … up to its length, and there is no other way to them.

    What Python makes of such a `__getitem__`, and what `abc.Sequence` has, takes an IndexError of an item for the end.
    Without a length, that is what it means.
    """
    kind = type(value)
    own = getattr(kind, '__iter__', Sequence.__iter__) is not Sequence.__iter__
    return not own and hasattr(kind, '__getitem__') and length(value) is not None


def has_index(value: Any) -> bool:
    """Whether the items of an iterable are those at 0, 1, 2, …"""
    if isinstance(value, np.ndarray) or only_index(value):
        return True
    if isinstance(value, (Mapping, AbstractSet)) or not hasattr(type(value), '__getitem__'):
        return False
    if any(hasattr(value, name) for name in ('iloc', 'keys', 'columns')) and not isinstance(value, Sequence):
        return False  # such as tables, whose index is of rows, while iterating gives columns
    if any(kind.__name__ == 'IterableDataset' for kind in type(value).__mro__):
        return False  # torch's has a `__getitem__`: by name, as it has to be known before any item is asked for
    with suppress(Exception):  # then it is iterated
        return length(value) is not None
    return False


def _may_rewind(iterator: Any) -> bool:
    """Whether what returns itself as its iterator does anything before that, such as to begin anew."""
    code = getattr(getattr(type(iterator), '__iter__', None), '__code__', None)
    return code is not None and code.co_code != _RETURNS_ITSELF


_RETURNS_ITSELF: Final = (lambda self: self).__code__.co_code


def _with_states(iterable: Any) -> Iterator[Any]:
    """It, and what it holds that has a state, too."""
    seen: dict[int, Any] = {}
    left = [iterable]
    while left and len(seen) < 10_000:
        each = left.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        if isinstance(each, (list, tuple)):
            left += each[:1000]
        elif isinstance(each, dict):
            left += islice(each.values(), 1000)
        elif hasattr(type(each), 'state_dict'):
            yield each
            left += getattr(each, '__dict__', {}).values()


def _has_buffer(iterable: Any) -> bool:
    """Whether one of Hugging Face's buffers is in it, which are not in its states."""
    return any(
        kind.__name__ == 'BufferShuffledExamplesIterable' and getattr(each, 'buffer_size', 2) > 1
        for each in _with_states(iterable)
        for kind in type(each).__mro__
    )


def _stays_loaded(iterable: Any) -> bool:
    """Whether it has a dataset of Hugging Face, and does not tell that the epoch.

    Each of its passes would begin at the state that was loaded last.
    """
    inner = (each for each in _with_states(iterable) if each is not iterable)
    return not hasattr(iterable, 'set_epoch') and any(hasattr(each, '_ex_iterable') for each in inner)


_PLACED: Final[list[Any]] = [[], (), 'a', 'é', b'', range(1), range(2**70), np.zeros(1)]
_WITH_PLACE: Final = tuple({type(iter(each)) for each in _PLACED})
"""The iterators of Python's that can be told their place, counted from the beginning."""


class _Indexed:
    def __getitem__(self, index: int) -> Any:
        raise IndexError


_UNTIL_ERROR: Final = type(iter(_Indexed()))
"""What Python makes of a `__getitem__`."""


def _until_error(iterator: Any) -> tuple[Any, int] | None:
    """The sequence that an iterator reads until an error, and the place in it where it stands; None for all others."""
    if type(iterator) is _UNTIL_ERROR:
        sequence, place = (*iterator.__reduce__()[1:], 0)[:2]
        return sequence[0], place
    frame = iterator.gi_frame if getattr(iterator, 'gi_code', None) is Sequence.__iter__.__code__ else None
    if frame is None:
        return None
    return frame.f_locals['self'], frame.f_locals.get('i', -1) + 1


def _without(count: int, iterator: Any, iterable: Any) -> Any:
    """The items but the first ones; `iterable` is what the iterator was made of, if it begins at the same item."""
    if count and _is_plain(iterable) and isinstance(iterator, _WITH_PLACE):
        iterator.__setstate__(count)  # of another iterable, it might not be at the beginning
        return iterator
    found = _until_error(iterator)  # which may be of what `__iter__` of the iterable has made it of
    if found is not None and length(found[0]) is not None:
        return _by_index(count + found[1], found[0], iterator if type(iterator) is _UNTIL_ERROR else None)
    if count and not isinstance(iterable, Iterator) and has_index(iterable):
        return _by_index(count, iterable, otherwise=islice(iterator, count, None))
    return islice(iterator, count, None) if count else iterator


def _by_index(start: int, sequence: Any, moved: Any = None, otherwise: Iterator[Any] | None = None) -> Iterator[Any]:
    """The items from `start` on; `moved` is an iterator that is to stand behind each, as it would if it were asked."""
    for place in range(start, length(sequence) or 0):
        try:
            value = sequence[place]
        except NotImplementedError:  # as in `pick`
            if otherwise is None or place > start:
                raise
            yield from otherwise
            return
        except StopIteration as error:
            raise as_runtime_error(error, sequence, place) from error
        except Exception as error:
            note_length(error, sequence, place)
            raise
        if moved is not None:
            moved.__setstate__(place + 1)
        yield value
