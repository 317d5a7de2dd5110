"""How a source and its steps become a live run.

A run moves pairs `(key, value)` through a chain of generators; whoever consumes it strips the keys.

Where the consumer stands. The run may be far ahead of its consumer. The consumer says which key it received last, and
`Chain.commit` walks from there up to the source: a stateless step tells from a key that came out which keys had gone
in. A stateful step is a generator over pairs that never looks at the values and keeps what it has to remember in a
dict: numbers, and `slots`, the pairs that it holds. The chain logs the keys that go in, and a second instance of the
same generator, the replica, is fed from that log until it has made the key in question; the replica's dict is then
the state at the consumer.

Starting again there. `Chain(…, state=…)` starts each stateful step from its dict, with the values of its slots made
again: `remake` goes up through the steps and runs them on the keys asked for, and on no others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from copy import deepcopy
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .binding import ItemFunction, Sites, Stop, bind_option, close_after
from .errors import Dropped
from .keys import END, Key, decode, encode
from .steps import STOP, ItemStep, Pair, State, Step, unchanged

__all__ = ['Chain', 'Opened', 'Run', 'Source', 'copy_state', 'each', 'revive', 'snapshot']

B = TypeVar('B', covariant=True)

COMMIT_EVERY = 256
"""After so many deliveries the logs are replayed, so that they stay short however long the run. Behind a step with a
log, one that drops nearly all items makes it grow by a key an item until the next delivery."""


class Source(Protocol):
    """Where items come from: a description, which `open` makes live, once per run."""

    seed: int | None

    def open(self, sites: Sites, stop: Stop) -> Opened: ...


class Opened(Protocol):
    """A source at work."""

    stateful: bool
    tracked: bool
    """Whether `commit` will be called; set before `start`. If not, nothing has to be remembered for it."""

    def start(self, entry: Any = None) -> Iterator[Pair]:
        """The pairs from the beginning, or from where the consumer of another run stood when this was its entry."""

    def commit(self, key: Key) -> None:
        """The consumer has received what was made of `key`."""

    def entry(self) -> Any:
        """Where the consumer stands, as JSON can hold it."""

    def remake(self, keys: Sequence[Key]) -> dict[Key, Any]:
        """The values of these keys, made again."""


class Link:
    """One step at work."""

    def __init__(self, step: Step, sites: Sites, stop: Stop, tracked: bool = True):
        self.step = step
        self.options = tuple(bind_option(option, sites, stop) for option in step.options)
        self.entry: Any = None
        self.log: deque[Any] = deque(maxlen=None if tracked else 0)
        self.position: list[Any] = [None]
        self.replica: Iterator[Pair] | None = None

    def start(
        self, items: Iterator[Pair], entry: Any, upstream: Callable[[list[Key]], dict[Key, Any]]
    ) -> Iterator[Pair]:
        """The pairs that come out, from the beginning or from the entry of another run."""
        step = self.step
        self.entry = entry
        if step.state is None:
            return step.work(items, *self.options) if entry is None else self._resumed(items, upstream)
        state = deepcopy(step.state) if entry is None else revive(entry)
        self.entry = copy_state(state)
        if step.replay is None:
            self.replica = step.work(_replayed(self.log, self.position), self.entry, *self.options)
        else:
            self.replica = step.replay(self.log, self.position, self.entry)
        return self._stateful(iter(()) if state.get('ended') else items, state, upstream)

    def _stateful(
        self, items: Iterator[Pair], state: State, upstream: Callable[[list[Key]], dict[Key, Any]]
    ) -> Iterator[Pair]:
        if slots := state.get('slots'):
            values = upstream([key for key, _ in slots])
            slots[:] = [(key, values[key]) for key, _ in slots]
        if self.step.replay is None:
            yield from self.step.work(_logged(items, self.log), state, *self.options)
        else:
            yield from self.step.work(items, state, self.log, *self.options)

    def _resumed(self, items: Iterator[Pair], upstream: Callable[[list[Key]], dict[Key, Any]]) -> Iterator[Pair]:
        if self.step.opaque:
            yield from islice(self.step.work(items, *self.options), self.entry, None)
            return
        parent, last = decode(self.entry[0]), self.entry[1]
        for key, value in self.step.work(iter(upstream([parent]).items()), *self.options):
            if key[1] > last:  # type: ignore[index]
                yield key, value
        yield from self.step.work(items, *self.options)

    def commit(self, key: Key) -> Any:
        """The consumer has what was made of `key`; says up to which key this had consumed then, None for no news."""
        if self.step.opaque:
            self.entry = key + 1  # type: ignore[operator]
            return None
        if self.step.parts:
            before, self.entry = self.entry, [encode(key[0]), key[1]]  # type: ignore[index]
            return None if before and before[0] == self.entry[0] else self.step.origin(key)[-1]
        if self.replica is None:
            return self.step.origin(key)[-1]
        self.position[0] = None
        while next(self.replica)[0] != key:
            pass
        if self.position[0] is END:
            self.entry['ended'] = True
        return self.position[0]

    def remake(self, keys: Sequence[Key], upstream: Callable[[list[Key]], dict[Key, Any]]) -> dict[Key, Any]:
        """The values that had come out with these keys, made again from those upstream."""
        origins = {key: self.step.origin(key) for key in keys}
        values = upstream(list(dict.fromkeys(chain.from_iterable(origins.values()))))
        if self.step.remake == 'list':
            return {key: [values[part] for part in parts] for key, parts in origins.items()}
        if self.step.remake == 'pass':
            return {key: values[parts[-1]] for key, parts in origins.items()}
        return {key: value for key, value in self._work(iter(values.items())) if key in origins}

    def _work(self, items: Iterator[Pair]) -> Iterator[Pair]:
        if self.step.state is None:
            return self.step.work(items, *self.options)
        return self.step.work(items, deepcopy(self.step.state), deque(), *self.options)


class Chain:
    """A source and its steps at work: `pairs` is what comes out."""

    def __init__(
        self,
        source: Source,
        steps: Sequence[Step | ItemStep],
        sites: Sites,
        stop: Stop | None = None,
        state: State | None = None,
        tracked: bool = True,
        dropped: deque[Dropped] | None = None,
    ):
        self.sites, self.stop = sites, stop or Stop(dropped)
        self._described, self._first_site = (source, steps), sites.number
        steps = fused(steps)
        # commits go up to the last opaque step, from where a run starts again at the beginning
        opaque = max((index for index, step in enumerate(steps) if step.opaque), default=-1)
        self.source = source.open(sites, self.stop)
        self.source.tracked = tracked and opaque < 0
        self.pairs = self.source.start(None if state is None else state['source'])
        self.links = [Link(step, sites, self.stop, tracked and index >= opaque) for index, step in enumerate(steps)]
        self.stateful = self.source.stateful or any(link.step.state is not None for link in self.links)
        self.last: Key | None = None
        self._since = 0
        self._closing: list[Callable[[], object]] = []
        self._close_later(self.pairs)
        if not isinstance(self.pairs, enumerate) and not (self.links and self.links[0].step.work is each):
            self.pairs = each(self.pairs, ItemFunction((), sites), self.stop)  # to be stopped between items
        for index, link in enumerate(self.links):
            entry = None if state is None else state['steps'][index]
            self.pairs = link.start(self.pairs, entry, partial(self.remake, index - 1))
            self._close_later(self.pairs)
        if stop is None:
            self._closing.append(self.stop)  # first of all, so that nothing is waited for in vain

    def _close_later(self, items: Iterator[Pair]) -> None:
        if hasattr(items, 'close'):
            self._closing.append(partial(_close, items))

    def received(self, key: Key) -> None:
        """The consumer has received `key`."""
        self.last = key
        if self.stateful:
            self._since += 1
            if self._since >= COMMIT_EVERY:
                self.commit()

    def commit(self) -> None:
        """Bring every entry to where the consumer stands."""
        key: Any = self.last
        self.last, self._since = None, 0
        for link in reversed(self.links):
            if key is None or key is END:
                return
            key = link.commit(key)
        if key is not None and key is not END:
            self.source.commit(key)

    def state(self) -> State:
        """Where the consumer stands, as JSON can hold it: what `state` of another chain of the same steps takes."""
        self.commit()
        return {'source': self.source.entry(), 'steps': [snapshot(link.entry) for link in self.links]}

    def remake(self, index: int, keys: list[Key]) -> dict[Key, Any]:
        """The values that had come out of the step at `index` (the source: -1) with these keys, made again."""
        if index < 0:
            return self.source.remake(keys)
        if self.links[index].step.opaque:
            return self._forward(index, keys)
        return self.links[index].remake(keys, partial(self.remake, index - 1))

    def _forward(self, index: int, keys: list[Key]) -> dict[Key, Any]:
        source, steps = self._described
        again = Chain(source, fused(steps)[: index + 1], self.sites.again(self._first_site), self.stop)
        missing, found = set(keys), {}
        try:
            while missing:
                key, value = next(again.pairs)
                if key in missing:
                    missing.remove(key)
                    found[key] = value
        finally:
            again.close()
        return found

    def close(self) -> None:
        """Close all that is upstream, the user's generators included; for the thread that runs it, or after that."""
        if self._closing:
            try:
                self._closing.pop()()
            finally:  # not by an ExitStack, which would take the error that this is done for out of the context
                self.close()


def _close(items: Any) -> None:
    # Where a thread is still in a function of the user's, it closes them itself when that returns.
    if not getattr(items, 'gi_running', False):
        items.close()


class Run(Iterator[B]):
    """One live iteration of a stream: an iterator over its items, which `close` ends before its end."""

    if TYPE_CHECKING:
        __sizeof__: None  # type: ignore[assignment]  # says that it is not an item, see typing.Item

    def __init__(self, chain: Chain):
        self._chain = chain
        self._next = chain.pairs.__next__

    def __next__(self) -> B:
        try:
            key, value = self._next()
        except StopIteration:
            self.close()
            raise
        except BaseException as error:
            close_after(error, self.close)
            raise
        chain = self._chain
        chain.last = key
        if chain.stateful:  # if not, this is all that it would do
            chain.received(key)
        return value  # type: ignore[no-any-return]

    @property
    def dropped(self) -> list[Dropped]:
        """What `on_error` has left out so far, the last 10,000 at most."""
        return list(self._chain.stop.dropped.copy())

    def close(self) -> None:
        """End the run and close all that is upstream of it, the source included; again: does nothing."""
        self._chain.close()

    def __del__(self) -> None:
        if hasattr(self, '_chain'):
            self.close()


def fused(steps: Sequence[Step | ItemStep]) -> list[Step]:
    """The steps, with neighbouring item-wise ones as one."""
    result: list[Step] = []
    items: list[ItemStep] = []
    for step in steps:
        if isinstance(step, ItemStep):
            items.append(step)
            continue
        if items:
            result.append(_each_step(items))
            items = []
        result.append(step)
    return [*result, _each_step(items)] if items else result


def _each_step(steps: list[ItemStep]) -> Step:
    return Step('each', each, (tuple(steps), STOP))


def each(items: Iterator[Pair], function: ItemFunction, stop: Stop) -> Generator[Pair, None, Any]:
    """What the function makes of the items; returns the key of the last one, END if there was none."""
    key: Any = END
    if function.random:
        for key, value in items:
            yield key, function(key, value)
            stop.check()
        return key
    first, *others = function.calls or [unchanged]
    for key, value in items:  # the same without a call for each item, which is most of what such a step costs
        call = first
        try:
            value = first(value)
            for call in others:
                value = call(value)
        except StopIteration as error:
            raise function.misplaced(error, call, key) from error
        except Exception as error:
            function.blame(error, call, key)
            raise
        if stop.called:
            stop.check()
        yield key, value
        del value
    return key


# The state of a stateful step: live, its slots are pairs; in a replica, pairs without values; as JSON, encoded keys.


def snapshot(entry: Any) -> Any:
    """An entry as JSON can hold it, independent of the live one."""
    if not isinstance(entry, dict):
        return entry
    return {name: [encode(key) for key, _ in v] if name == 'slots' else deepcopy(v) for name, v in entry.items()}


def revive(entry: State) -> State:
    """The state that `snapshot` made an entry of, with slots that have no values yet."""
    return {name: [(decode(code), None) for code in v] if name == 'slots' else deepcopy(v) for name, v in entry.items()}


def copy_state(state: State) -> State:
    """The state without the values."""
    return {name: [(key, None) for key, _ in v] if name == 'slots' else deepcopy(v) for name, v in state.items()}


def _logged(items: Iterator[Pair], log: deque[Any]) -> Iterator[Pair]:
    for pair in items:
        log.append(pair[0])
        yield pair
    log.append(END)


def _replayed(log: deque[Any], position: list[Any]) -> Iterator[Pair]:
    while True:
        key = position[0] = log.popleft()
        if key is END:
            return
        yield key, None
