"""A user's stage with a state, at work: how a run goes on in the middle of it.

It looks at values, so where the consumer stands cannot be found from keys alone. Instead, the user's state is copied
when the generator asks for its next item: then it has all that is needed to go on, if the user keeps to the rule. The
keys that go in after that are logged. Such a copy with what went in behind it is a `Segment`. A run goes on from the
last segment before the consumer: a new generator gets the state and, once more, the items of the segment; what it then
gives again is left out. Copies are rare, so that they take no more time than the items: before the next copy, as many
items must have gone in as the generator holds, and one more for every eight values in its other fields.

Items that come out are numbered. Steps behind may hold some of them, which have to be made again; so their segments are
kept, too. One that is in none of the segments is made again by running from the beginning.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import islice
from typing import Any

from itpipe._core.key_codes import decode_all
from itpipe._core.keys import END, Key
from itpipe._core.notes import note, noted
from itpipe._core.show import format_step, shortened
from itpipe._core.steps import Pair, State, UserStateful, in_order, is_json

from .operators import Operator, Upstream
from .seeds import Seeds
from .segments import Segment, check_segment
from .trials import Trials
from .waiting import Stop

__all__ = ['UserStatefulOperator']


class UserStatefulOperator(Operator):
    """A user's stage with a state; its entry is `{'segments': […]}`, the last of which is the consumer's."""

    def __init__(self, step: UserStateful, seeds: Seeds, stop: Stop, tracked: bool = True):
        super().__init__(step, seeds, stop, tracked)
        self._tracked = tracked
        self._segments: list[Segment] = []
        self.log = self._segments  # type: ignore[assignment]  # its length says when to commit
        self._has_slots = 'slots' in step.state
        self._given: dict[int, Pair] = {}
        """The items that may be in the slots, by their `id`: a slot has a value, of which the key is asked for."""
        self._trials: Trials | None = None
        self._results: Any = None
        self._last_out = 0
        """How many items had gone in when the last one came out."""
        self._received = self._went_in = 0
        """How many items the consumer has received, and how many had gone in then."""

    # What runs, maybe in a thread of its own.

    def start(self, items: Iterator[Pair], entry: Any, upstream: Upstream) -> Iterator[Pair]:
        if entry is None:
            own = deepcopy({name: value for name, value in self.step.state.items() if name != 'slots'})
            self._segments.append(Segment(0, 0, in_order(own), [] if self._has_slots else None))
        else:
            self._segments.extend(map(Segment.of, entry['segments']))
            last = self._segments[-1]
            self._received, self._went_in = last.start + last.again, len(last.keys)
            self._last_out = self._went_in
        return self._run(items, self._segments[-1], upstream)

    def _run(self, items: Iterator[Pair], segment: Segment, upstream: Upstream) -> Iterator[Pair]:
        values = upstream.recompute(segment.origins) if segment.origins else {}
        state = segment.state(values)
        if self._tracked and segment.slots:
            self._given = {id(values[key]): (key, values[key]) for key in segment.slots if key in values}
        again = deque((key, values[key]) for key in segment.keys if key in values)
        del values
        if segment.keys[-1:] == [END]:
            items = iter(())
        last: list[Any] = [None]
        try:
            self._results = self.step.work(self._asking(items, again, state, last), state, *self.options)
            if hasattr(self._results, 'gi_frame'):
                self._trials = Trials(self.step, self.options)
            for number, value in enumerate(islice(self._results, segment.again, None), segment.start + segment.again):
                if self._tracked:
                    now = self._segments[-1]
                    self._last_out = now.base + len(now.keys)
                    now.outs.append(self._last_out)
                yield number, value
                del value
        except Exception as error:
            if not noted(error):
                note(error, format_step(self.step), last[0])
            raise
        finally:
            if hasattr(self._results, 'close'):
                self._results.close()

    def _asking(
        self, items: Iterator[Pair], again: deque[Pair], state: State, last: list[Any]
    ) -> Generator[Any, None, None]:
        """The items, for the user's generator: each time that it asks for one, its state can be copied."""
        while again:
            last[0], value = again.popleft()
            if self._tracked and self._has_slots:
                self._given[id(value)] = last[0], value
            yield value
        if not self._tracked:
            for last[0], value in items:
                yield value
            return
        while True:
            segment = self._segments[-1]
            if segment.keys[-1:] == [END]:
                return
            if len(segment.keys) >= max(segment.least, len(self._slots(state))):
                copied = self._copy(state, segment)
                if segment.count == 0 and segment.base > self._last_out:  # then nobody will ever stand there
                    self._segments[-1] = copied  # at once: the other thread may be looking for an index
                else:
                    self._segments.append(copied)
                segment = copied
            pair = next(items, None)
            if pair is None:
                segment.keys.append(END)
                return
            last[0], value = pair
            segment.keys.append(last[0])
            if self._has_slots:
                self._given[id(value)] = pair
            del pair
            yield value
            del value

    def _slots(self, state: State) -> list[Any]:
        slots = state.get('slots')
        if not self._has_slots:
            if 'slots' not in state:
                return []
            raise TypeError(f"{self.step.name}: its state has 'slots', which it must have from the beginning")
        if type(slots) is not list:
            got = f'got {shortened(slots)}' if 'slots' in state else 'but it is gone'
            raise TypeError(f"{self.step.name}: `state['slots']` must be a list, {got}")
        return slots

    def _copy(self, state: State, segment: Segment) -> Segment:
        name = self.step.name
        own = {field: value for field, value in state.items() if field != 'slots'}
        for field, value in own.items():
            if not is_json({field: value}):
                raise TypeError(
                    f'{name}: its state must be JSON, got {shortened(value)} for {field!r};'
                    " items that it holds go into its 'slots'"
                )
        slots = None
        if self._has_slots:
            held = [self._given.get(id(value)) for value in state['slots']]
            if None in held:
                value = state['slots'][held.index(None)]
                raise TypeError(
                    f"{name}: `state['slots']` must hold items as it got them, got {shortened(value)};"
                    ' what it makes of them goes into other fields, as JSON'
                )
            slots = [pair[0] for pair in held]  # type: ignore[index]
            self._given = {id(pair[1]): pair for pair in held}  # type: ignore[index, misc]
        if self._trials is not None:
            self._trials.at(self._results, state)
        return Segment(segment.start + segment.count, segment.base + len(segment.keys), in_order(own), slots)

    # What the consumer's thread asks.

    def consumed(self, key: Any) -> Any:
        index = bisect_right(self._segments, key, key=lambda segment: segment.start) - 1
        while key >= self._segments[index].start + self._segments[index].count:
            index -= 1
        segment = self._segments[index]
        at = key - segment.start - segment.again
        return self._moved(key + 1, segment, self._went_in if at < 0 else segment.outs[at])

    def end(self) -> Any:
        last = self._segments[-1]
        return self._moved(last.start + last.count, last, last.base + len(last.keys))

    def _moved(self, received: int, segment: Segment, went_in: int) -> Any:
        news = went_in > max(self._went_in, segment.base)
        self._received, self._went_in = received, went_in
        return segment.keys[went_in - segment.base - 1] if news else None

    def _current(self) -> int:
        """The index of the segment in which the consumer stands."""
        index = bisect_right(self._segments, self._received, key=lambda segment: segment.start) - 1
        while self._segments[index].base > self._went_in:
            index -= 1
        return index

    def forget(self, held: Iterable[Any]) -> None:
        """Forget the segments before the consumer's in which there is none of these keys."""
        needed = sorted(held)
        for index in range(self._current() - 1, -1, -1):
            segment = self._segments[index]
            if bisect_left(needed, segment.start) == bisect_left(needed, segment.start + segment.count):
                del self._segments[index]

    def held(self) -> list[Key]:
        current = self._current()
        segment = self._segments[current]
        keys = segment.keys[: self._went_in - segment.base]
        needed = [key for earlier in self._segments[:current] for key in earlier.origins]
        return [*needed, *(segment.slots or ()), *(key for key in keys if key is not END)]

    def snapshot(self) -> Any:
        if not (self._received or self._went_in):
            return None
        current = self._current()
        segment = self._segments[current]
        entries = [
            earlier.entry(earlier.base + len(earlier.keys), earlier.count) for earlier in self._segments[:current]
        ]
        return {'segments': [*entries, segment.entry(self._went_in, self._received - segment.start)]}

    def recompute(self, keys: Sequence[Any], upstream: Upstream) -> dict[Key, Any]:
        missing = set(keys)
        ascending = sorted(missing)
        segments = {}
        for segment in self._segments:
            first = bisect_left(ascending, segment.start)
            wanted = set(ascending[first : bisect_left(ascending, segment.start + segment.count, first)])
            if wanted:
                segments[segment] = wanted
                missing -= wanted
        origins = dict.fromkeys(key for segment in segments for key in segment.origins)
        values = upstream.recompute(list(origins)) if origins else {}
        found: dict[Key, Any] = {}
        for segment, wanted in segments.items():
            given = (values[key] for key in segment.keys if key in values)
            found |= self._again(given, segment.state(values), segment.start, wanted)
        if missing:
            chain = upstream.again()
            try:
                found |= self._again((value for _, value in chain.pairs), deepcopy(self.step.state), 0, missing)
            finally:
                chain.close()
        return found

    def _again(self, items: Iterator[Any], state: State, start: int, wanted: set[Any]) -> dict[Key, Any]:
        results = self.step.work(items, state, *self.options)
        try:
            numbered = zip(range(start, max(wanted) + 1), results)  # noqa: B905
            return {number: value for number, value in numbered if number in wanted}
        finally:
            if hasattr(results, 'close'):
                results.close()

    # What is asked without a run.

    @staticmethod
    def check_form(entry: Any) -> None:
        segments = entry['segments']
        if entry.keys() != {'segments'} or not isinstance(segments, list) or not segments:
            raise ValueError(f'an entry of its "steps" has {shortened(segments)} for \'segments\'')
        start = 0
        for segment in segments:
            check_segment(segment, start)
            start = segment['start'] + segment['count']

    @classmethod
    def is_entry(cls, step: Any, entry: Any, has_key: Callable[[Any], bool]) -> bool:
        return (
            isinstance(entry, dict)
            and 'segments' in entry
            and all(
                ('slots' in segment) == ('slots' in step.state)
                and all(map(has_key, decode_all(segment['keys']) + decode_all(segment.get('slots', []))))
                for segment in entry['segments']
            )
        )

    @staticmethod
    def form(entry: Any) -> Any:
        return 'segments'
