"""Any iterable as a source, whose n-th item has the key n."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from itpipe._core.keys import Key, is_count
from itpipe._core.show import format_call, format_value, same
from itpipe.errors import NotRestartable

from .indexing import Indices, LookUp, has_index, index_agrees, is_cheap, length, note_source, only_index, run_begins
from .iterators import close_own, is_async, is_one_shot, is_plain, iterator_of, may_rewind, pick, without_first
from .samplers import Samplers, SamplersPass, is_sampler
from .source import Numbered, Opened
from .source_states import Rewinder, has_epochs, has_states, warn_of_buffer

if TYPE_CHECKING:
    from itpipe._core.steps import Pair

    from .failures import Policy
    from .seeds import Seeds, StepSeed
    from .waiting import Stop

__all__ = ['Items', 'check_index']

STATE_PAUSE: Final = 50
"""A source is asked for its next state after this many times the time that the last one took. What came in between is
read again where a run goes on."""


class Items:
    """Any iterable as a source.

    With `reread`, a run that goes on reads it again from its beginning, even if it has an index or states. With a
    policy, which `check_index` must have allowed, items that cannot be looked up may be left out.
    """

    ordered = True

    def __init__(self, iterable: Any, seed: int | None = None, reread: bool = False, policy: Policy | None = None):
        self.iterable, self.seed, self.reread = iterable, seed, reread
        self.policy, self.skips = policy, policy is not None
        self.one_shot = is_one_shot(iterable)
        self.samplers = Samplers(iterable) if is_sampler(iterable) and not has_states(iterable) else None
        self.random = self.samplers is not None and self.samplers.random
        if self.samplers is not None:
            self.early = self.samplers.copied
        else:
            self.early = not (self.one_shot or has_states(iterable) or has_epochs(iterable))
        self.rewinder = Rewinder(iterable)
        self.running: list[None] = []
        """As many as runs are reading it. Of two threads that add to a number at once, one may be lost."""
        self._read_before = self._ended_before = False
        """Of an iterator, whether it was read, and whether to its end."""
        self._warned = False

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        self._check()
        if has_states(self.iterable):
            return _OpenedWithStates(self, seeds.pass_, stop)
        if self.samplers is not None:
            return _OpenedSampler(self.samplers, seeds.pass_, partial(_drawn, seeds.next_step('sampler')), stop)
        if not self.indexed():
            return Numbered(partial(self.read, stop), self.pick)
        run_begins(self.iterable, seeds.pass_)
        look_up = LookUp(self.iterable, self._where)
        agrees = partial(index_agrees, self.iterable)
        if self.policy is not None:
            from .look_ups import failing

            return Numbered(*failing(self._read_indices, list, look_up, self.policy, seeds, stop), agrees)
        return Numbered(partial(self.read, stop), self.pick, list, self._read_indices, look_up, agrees)

    @property
    def lasting(self) -> bool:
        return not (has_epochs(self.iterable) and self.indexed())

    @property
    def cheap(self) -> bool:
        return is_cheap(self.iterable) or has_states(self.iterable) or not self.indexed()

    def length(self) -> int:
        """How many items it has; raises TypeError if it does not say."""
        if self.skips:
            raise TypeError(f'`{self!r}` does not say how many items it leaves out')
        count = None if self.one_shot else length(self.iterable)
        if count is None:
            raise TypeError(f'{format_value(self.iterable)} does not say how many items it has')
        return count

    def data(self) -> tuple[Any, int | None]:
        """What its items are looked up in, and how many there are; None if that may change, or is not known."""
        known = self.indexed() and not has_states(self.iterable)
        return self.iterable, length(self.iterable) if known else None

    def first(self, data: Any, _: int) -> Items:
        """The same of the first items of its data."""
        return Items(data, self.seed, self.reread, self.policy)

    def indexed(self) -> bool:
        """Whether its items are looked up rather than read again."""
        return only_index(self.iterable) or (not self.reread and has_index(self.iterable))

    def _where(self) -> str:
        return f'the source {format_value(self.iterable)}'

    def _check(self) -> None:
        """Raise an error for an iterator that had its one run. Whether one that has ended begins anew is seen later."""
        may_begin_anew = not self.running and (self.rewinder.first or may_rewind(self.iterable))
        if self._read_before and not self._ended_before and not may_begin_anew:
            raise self._had_its_run()

    def _had_its_run(self) -> NotRestartable:
        example = 'an object of a class with `async def __aiter__`' if is_async(self.iterable) else 'a list'
        return NotRestartable(
            f'the stream reads from an iterator ({format_value(self.iterable)}) that had its one run;'
            f' give it something that can be iterated again, such as {example}'
        )

    def warn(self) -> None:
        """Warn, once, if a run does not go on exactly from the states of the source."""
        if not self._warned:
            self._warned = True
            if not self.reread:
                warn_of_buffer(self.iterable)

    def read(self, stop: Stop, start: int) -> Iterator[Pair]:
        """The items from the one at `start` on."""
        return enumerate(self.iterable) if start == 0 and is_plain(self.iterable) else self.follow(stop, start)

    def _read_indices(self, start: int) -> Indices:
        return Indices(start, [range(start, length(self.iterable) or 0)])

    def follow(self, stop: Stop, start: int, begin: int = 0) -> Iterator[Pair]:
        """The items from the one at `start` on, where the iterable itself begins with the one at `begin`."""
        self._check()
        again, self._read_before, self._ended_before = self._read_before, self.one_shot, False
        number = start - 1
        iterator: Any = None
        self.running.append(None)
        try:
            iterator = iterator_of(self.iterable, stop)
            items = self._once_more(iterator) if again else iterator
            made_of = self.iterable if begin == 0 and not self.reread else None
            for number, value in enumerate(without_first(start - begin, items, made_of), start):
                yield number, value
            self._ended_before = True
        except Exception as error:
            if not isinstance(error, NotRestartable):
                note_source(error, self._where(), number + 1, self.iterable, number + 1)
            raise
        finally:
            self.running.pop()
            close_own(iterator, self.iterable)

    def _once_more(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """The items of an iterator that was read before. Some begin anew, as datasets that are their own iterators."""
        count = 0
        while True:  # `for` would ask it for its iterator again
            try:
                value = next(iterator)
            except StopIteration:
                if count == 0:
                    raise self._had_its_run() from None
                return
            count += 1
            yield value

    def pick(self, keys: Sequence[Any]) -> dict[Key, Any]:
        """The items with these keys, made again."""
        if self.indexed() and index_agrees(self.iterable):
            look_up = LookUp(self.iterable, self._where).function
            return {key: look_up(key, key) for key in keys}
        return pick(self.iterable, keys)

    def key_test(self) -> Callable[[Any], bool]:
        end = inf
        with suppress(Exception):  # an error in the dataset's own code is left for the run to raise
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
        options = ({} if self.seed is None else {'seed': self.seed}) | ({'reread': True} if self.reread else {})
        options |= {} if self.policy is None else self.policy.options
        return format_call('stream', (self.iterable,), options) if options else format_value(self.iterable)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Items) and same(
            (self.seed, self.reread, self.policy, self.iterable),
            (other.seed, other.reread, other.policy, other.iterable),
        )

    __hash__ = None  # type: ignore[assignment]


def check_index(items: Items) -> None:
    """Raise an error for items that are not looked up, so that none of them can be left out."""
    iterable = items.iterable
    got = 'data that reads itself, by its `state_dict`' if has_states(iterable) else ''
    if items.samplers is not None:
        got = 'a sampler'
    elif not items.indexed():
        got = 'data that is read again, by `reread=True`' if items.reread and has_index(iterable) else 'none'
    if got:
        raise TypeError(
            'stream: `on_error` needs data with a length and access by index, as what is iterated has ended when it has'
            f' raised, got {type(iterable).__name__}{"" if got == "none" else f", {got}"}; read the items in a stage,'
            ' as in `paths | parallel_map(read, threads=8, on_error=…)`, or give `flatten` or `interleave` the'
            ' `on_error`'
        )


def _drawn(step: StepSeed) -> int:
    """A seed for a sampler."""
    from itpipe._core.rng import generator

    return int(generator(step.key, 0).integers(2**63))


class _OpenedSampler(Numbered):
    """A pass over a sampler, at work."""

    def __init__(self, samplers: Samplers, pass_: int, seed: Callable[[], int], stop: Stop):
        items = Items(SamplersPass(samplers, pass_, seed, stop))
        super().__init__(partial(items.read, stop), items.pick)
        self.samplers, self.pass_ = samplers, pass_

    def start(self, entry: Any = None) -> Iterator[Pair]:
        pairs = super().start(entry)
        self.samplers.check(self.pass_, self.position)
        return pairs


class _OpenedWithStates(Numbered):
    """An iterable that has states itself, at work. It remembers a state from before the consumer's item.

    Where it stands belongs to the iterable, not to an iterator over it. A state is only used if at least one item came
    after it, since some iterables begin anew from one that was taken at the end.
    """

    stateful = True

    def __init__(self, items: Items, pass_: int, stop: Stop):
        super().__init__(partial(items.read, stop), self._pick)
        self.items, self.pass_, self.stop = items, pass_, stop
        self.states: deque[tuple[int, Any]] = deque()
        """States, each with the number of items before it."""
        self.made = 0
        """How many items came."""

    def start(self, entry: Any = None) -> Iterator[Pair]:
        number, state = 0, None
        if entry is not None:
            self.position = entry['position'] if isinstance(entry, dict) else entry
            self.items.rewinder.require()
        # A state that was saved with `reread` has no dict: the user may change that where a run goes on.
        if isinstance(entry, dict) and not self.items.reread and entry['state'] is not None:
            number, (first, state) = entry['at'], entry['state']
            self.items.rewinder.first = self.items.rewinder.first or ([] if first is None else [first])
            self.made = number + 1
            self.states.append((number, state))
        return self._run(number, state)

    def _run(self, number: int, state: Any) -> Iterator[Pair]:
        items = self.items
        iterable: Any = items.iterable
        loaded = state is not None
        items.rewinder.rewind(iterable, self.pass_, loading=loaded)
        if loaded:
            iterable.load_state_dict(deepcopy(state))
        due = 0.0
        key: Any
        items.running.append(None)
        try:
            for key, value in items.follow(self.stop, self.position, 0 if only_index(iterable) else number):
                self.made = key + 1
                if self.tracked and not items.reread and (asked := perf_counter()) >= due:
                    self.states.append((key + 1, deepcopy(iterable.state_dict())))
                    due = (1 + STATE_PAUSE) * perf_counter() - STATE_PAUSE * asked
                yield key, value
            items.rewinder.unfinished = loaded
        finally:
            items.running.pop()

    def _pick(self, keys: Sequence[Any]) -> dict[Key, Any]:
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
        items.rewinder.rewind(iterable, self.pass_)
        if iterable is items.iterable:
            items.rewinder.require()
        return pick(iterable, keys)

    def commit(self, key: Any) -> None:
        self.position = key + 1
        while len(self.states) > 1 and self._may_use(self.states[1][0]):
            self.states.popleft()

    def entry(self) -> Any:
        self.items.warn()
        number, state = self.states[0] if self.states else (0, None)
        if state is None or not self._may_use(number):
            return {'at': 0, 'position': self.position, 'state': None}
        first = self.items.rewinder.first[0] if self.items.rewinder.first else None
        return {'at': number, 'position': self.position, 'state': deepcopy([first, state])}

    def _may_use(self, number: int) -> bool:
        """Whether the state behind so many items is not ahead of the consumer, and was not taken at the end."""
        return number <= self.position and number < self.made
