"""One step at work: what comes out of it, where its consumer stands, and what it has given once more.

There is an operator for each kind of step. It has the entry of the step in the position of a run, which is what has to
be remembered besides the last key. Only the kind knows the form of its entry. It is told by that form, also where there
is no pipeline, as in `merge_states`, see `kinds`. Those of steps with a state are in `stateful` and `user_state`.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import chain, dropwhile, islice
from operator import itemgetter
from typing import Any, Protocol

from itpipe._core.key_codes import decode, encode
from itpipe._core.keys import END, Key, is_count
from itpipe._core.show import format_step
from itpipe._core.steps import METER, Pair

from .functions import ItemFunction, bind_option
from .indexing import has_index, index_agrees
from .meters import Meter
from .seeds import Seeds
from .stacks import user_stacklevel
from .waiting import Stop

__all__ = ['BatchOperator', 'ExpandingOperator', 'OpaqueOperator', 'Operator', 'StatelessOperator', 'Upstream']


class Upstream(Protocol):
    """What an operator may ask of the steps before it."""

    def recompute(self, keys: list[Key]) -> dict[Key, Any]:
        """The values that had come out with these keys, made again, where there are such."""

    def again(self) -> Any:
        """All that comes out, from the beginning, in a chain of its own."""


class Operator:
    """A step at work."""

    def __init__(self, step: Any, seeds: Seeds, stop: Stop, tracked: bool = True):
        self.step = step
        self.options: tuple[Any, ...] = tuple(
            # a meter for what is made again; that of the run takes its place where that starts
            Meter(records=False) if option is METER else bind_option(option, step, seeds, stop)
            for option in step.options
        )
        self.meter = Meter()
        """What it counts; set before `start`."""
        self.entry: Any = None
        self.log: deque[Any] = deque(maxlen=None if tracked else 0)
        """What it remembers of what the consumer has not received yet."""

    def do_first(self, function: ItemFunction) -> None:
        """Do this function, of steps before it, together with its own."""
        own, *options = self.options
        self.options = (own.after(function), *options)

    @property
    def running_options(self) -> tuple[Any, ...]:
        """The options for what runs, rather than for what is made again."""
        return tuple(self.meter if isinstance(option, Meter) else option for option in self.options)

    @property
    def counts_itself(self) -> bool:
        """Whether it counts by itself what comes in."""
        return METER in self.step.options

    def start(self, items: Iterator[Pair], entry: Any, upstream: Upstream) -> Iterator[Pair]:
        """The pairs that come out, from the beginning or from the entry of another run."""
        return self.step.work(items, *self.running_options)  # type: ignore[no-any-return]

    def consumed(self, key: Any) -> Any:
        """The consumer has what was made of `key`; returns up to which key this had consumed then, None for no news."""
        return key

    def end(self) -> Any:
        """The consumer has had all that there is; returns the same as `consumed`."""
        return END

    def recompute(self, keys: Sequence[Key], upstream: Upstream) -> dict[Key, Any]:
        """The values that had come out with these keys, made again from those upstream."""
        origins = {key: self.step.origins(key) for key in keys}
        values = upstream.recompute(list(dict.fromkeys(chain.from_iterable(origins.values()))))
        return self._recomputed(origins, values)

    def _recomputed(self, origins: dict[Key, tuple[Key, ...]], values: dict[Key, Any]) -> dict[Key, Any]:
        return {key: value for key, value in self.step.work(iter(values.items()), *self.options) if key in origins}

    def held(self) -> list[Key]:
        """The keys of what it holds where the consumer stands: their values will be asked for in a run that goes on."""
        return []

    def snapshot(self) -> Any:
        """The entry as JSON can hold it, independent of the live one."""
        return self.entry

    # What follows is asked without a run.

    @staticmethod
    def check_form(entry: Any) -> None:
        """Raise ValueError for what is not an entry of any step of this kind."""

    @classmethod
    def is_entry(cls, step: Any, entry: Any, has_key: Callable[[Any], bool]) -> bool:
        """Whether an entry of the right form can be one of the step; `has_key` tells which keys come in."""
        return entry is None

    @staticmethod
    def form(entry: Any) -> Any:
        """What entries of one step have in common."""
        return type(entry)

    @staticmethod
    def merge(entries: Sequence[Any], complete: bool) -> Any:
        """One entry of those of ranks, `complete` if of all; None if they cannot be put together."""

    @staticmethod
    def split(entry: Any, rank: int, ranks: int) -> Any:
        """The part of a merged entry that is dealt to the rank."""
        return entry


class StatelessOperator(Operator):
    """A stateless step, which has no entry."""

    def _recomputed(self, origins: dict[Key, tuple[Key, ...]], values: dict[Key, Any]) -> dict[Key, Any]:
        return values if self.step.gives == 'same' else super()._recomputed(origins, values)


class BatchOperator(Operator):
    """A stateless step that gives lists: of a batch, the last part was consumed last."""

    consumed = itemgetter(-1)  # type: ignore[assignment]

    def _recomputed(self, origins: dict[Key, tuple[Key, ...]], values: dict[Key, Any]) -> dict[Key, Any]:
        return {key: [values[part] for part in parts if part in values] for key, parts in origins.items()}


class ExpandingOperator(Operator):
    """Its entry: codes of the items that it is at, each with the number of what it gave of it last.

    Of items with an index, what was given is not read again.
    """

    def start(self, items: Iterator[Pair], entry: Any, upstream: Upstream) -> Iterator[Pair]:
        self.entry = entry
        return self._resumed(items, entry, upstream) if entry else self.step.work(items, *self.running_options)

    def _resumed(self, items: Iterator[Pair], entry: Any, upstream: Upstream) -> Iterator[Pair]:
        last = {decode(code): n for code, n in entry}
        values = upstream.recompute(list(last))
        for key, n in last.items():
            if key in values:
                yield from self._parts((key, values.pop(key)), n + 1, self.running_options)
        yield from self.step.work(items, *self.running_options)

    def _parts(self, pair: Pair, first: int, options: tuple[Any, ...]) -> Generator[Pair]:
        return self.step.work(iter([pair]), *options, first=first)  # type: ignore[no-any-return]

    def _recomputed(self, origins: dict[Any, tuple[Key, ...]], values: dict[Key, Any]) -> dict[Key, Any]:
        wanted: dict[Key, list[int]] = {}
        for origin, number in origins:
            wanted.setdefault(origin, []).append(number)
        found: dict[Key, Any] = {}
        for origin in [*values]:
            pair, numbers = (origin, values.pop(origin)), wanted[origin]
            if has_index(pair[1]) and index_agrees(pair[1]):
                for n in numbers:
                    with closing(self._parts(pair, n, self.options)) as parts:
                        found.update(islice(parts, 1))
            else:
                last = max(numbers)
                with closing(self._parts(pair, 0, self.options)) as parts:
                    for key, part in parts:
                        if key in origins:
                            found[key] = part
                        if key[1] >= last:  # type: ignore[index]
                            break
        return found

    def consumed(self, key: Any) -> Any:
        code, n = encode(key[0]), key[1]
        begun = list(dropwhile(lambda entry: entry[0] != code, self.entry or ()))
        self.entry = [[code, n], *begun[1:]]
        return None if begun else key[0]

    def end(self) -> Any:
        self.entry = None
        return END

    def held(self) -> list[Key]:
        return [decode(code) for code, _ in self.entry or ()]

    @staticmethod
    def check_form(entry: Any) -> None:
        if not all(isinstance(part, list) and len(part) == 2 and is_count(part[1]) for part in entry):
            raise ValueError('an entry of its "steps" is not of keys and numbers')
        if len({decode(code) for code, _ in entry}) < len(entry):
            raise ValueError('an entry of its "steps" has a key twice')

    @classmethod
    def is_entry(cls, step: Any, entry: Any, has_key: Callable[[Any], bool]) -> bool:
        return isinstance(entry, list) and all(has_key(decode(code)) for code, _ in entry)

    @staticmethod
    def merge(entries: Sequence[Any], complete: bool) -> Any:
        begun: dict[Any, int] = {}  # an item may be at two ranks, by `even='repeat'`; nothing of it is lost then
        for code, n in chain.from_iterable(entries):
            key = decode(code)
            begun[key] = max(n, begun.get(key, n))
        return [[encode(key), n] for key, n in begun.items()]

    @staticmethod
    def split(entry: Any, rank: int, ranks: int) -> Any:
        return entry[rank::ranks] or None


class OpaqueOperator(Operator):
    """Its entry: how many came out."""

    def start(self, items: Iterator[Pair], entry: Any, upstream: Upstream) -> Iterator[Pair]:
        self.entry = entry
        if not entry:
            return self.step.work(items, *self.options)  # type: ignore[no-any-return]
        warnings.warn(
            f'itpipe: nothing is known of `{format_step(self.step)}`,'
            f' so it runs again from the beginning to item {entry}',
            stacklevel=user_stacklevel(),
        )
        return self._rest(items, entry)

    def _rest(self, items: Iterator[Pair], entry: int) -> Iterator[Pair]:
        yield from islice(self.step.work(items, *self.options), entry, None)

    def consumed(self, key: Any) -> Any:
        self.entry = key + 1

    def end(self) -> Any:
        return None

    def recompute(self, keys: Sequence[Key], upstream: Upstream) -> dict[Key, Any]:
        missing = set(keys)
        found: dict[Key, Any] = {}
        again = upstream.again()
        try:
            pairs = self.step.work(again.pairs, *self.options)
            while missing and (pair := next(pairs, None)) is not None:
                key, value = pair
                if key in missing:
                    missing.remove(key)
                    found[key] = value
        finally:
            again.close()
        return found

    @classmethod
    def is_entry(cls, step: Any, entry: Any, has_key: Callable[[Any], bool]) -> bool:
        return is_count(entry)
