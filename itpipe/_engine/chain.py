"""How a source and its steps become a live run.

A run moves pairs `(key, value)` through a chain of generators; whoever consumes it strips the keys.

Where the consumer stands. The run may be far ahead of its consumer. The consumer says which key it received last, and
`Chain.commit` walks from there up to the source: each step, a `Link`, tells from a key that came out which keys had
gone in.

Starting again there. `Chain(…, state=…)` starts each step that remembers something from its entry, with the values
that it held made again: `remake` goes up through the steps and runs them on the keys asked for, and on no others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

from itpipe._core.keys import END, Key, as_key, describe
from itpipe._core.show import format_step
from itpipe._core.steps import ItemStep, Pair, State, Step, itself
from itpipe.errors import Dropped

from .functions import ItemFunction
from .operators import Link, snapshot
from .order import apart, check_alike, each, fused, running
from .seeds import Seeds
from .source import Source
from .waiting import Stop

__all__ = ['Chain', 'is_running', 'item_again']

B = TypeVar('B', covariant=True)

COMMIT_EVERY = 256
"""After so many deliveries the logs are replayed, so that they stay short however long the run …"""
LONG = 10_000
"""… and earlier if one has more keys than this: behind a step with a log, one that drops nearly all items makes it grow
by a key an item until the next delivery."""


class Chain:
    """A source and its steps at work: `pairs` is what comes out.

    If it is not to be complete, the last item-wise steps are left to `finish`, which does them for one item.
    """

    def __init__(
        self,
        source: Source,
        steps: Sequence[Step | ItemStep],
        seeds: Seeds,
        stop: Stop | None = None,
        state: State | None = None,
        tracked: bool = True,
        dropped: deque[Dropped] | None = None,
        complete: bool = True,
    ):
        self.seeds, self.stop = seeds, stop or Stop(dropped)
        self.described, self._first_seeds = (source, steps), seeds.copy()
        check_alike('shard', source, steps, seeds.seeded)
        steps = fused(steps)
        order, behind, left = (*running(steps), []) if complete else apart(steps)
        # commits go up to the last opaque step, from where a run starts again at the beginning
        opaque = max((index for index, step in enumerate(steps) if step.opaque), default=-1)
        self.source = source.open(seeds, self.stop)
        self.source.tracked = tracked and opaque < 0
        look_up = self.source.apart() if behind else None
        # random steps of one name are counted in reading order, those of the source first
        self.pairs = self.source.start(None if state is None else state['source'])
        links = [Link(step, seeds, self.stop, tracked and index >= opaque) for index, step in enumerate(steps)]
        self.links = [links[place] for place in order]
        self._left = [links[place] for place in left]
        self._look_up = None if look_up is None else Link(look_up, seeds, self.stop)
        if self._look_up is not None and behind > len(self.links):
            self._left.insert(0, self._look_up)
        elif self._look_up is not None:
            self.links.insert(behind, self._look_up)
        self._remembering = [link for link in self.links if link.step.remembers]
        # what gives keys as they are has nothing to say; of a batch, the last part was consumed last
        self._commits: list[tuple[Link, Callable[[Any], Any]]] = [
            (link, itemgetter(-1) if link.step.origin is tuple and not link.step.remembers else link.commit)
            for link in reversed(self.links)
            if link.step.remembers or link.step.origin is not itself
        ]
        self.stateful = self.source.stateful or any(link.step.state is not None for link in self.links)
        self._logs = [self.source.log, *(link.log for link in self.links if link.step.state is not None)]
        self.last: Key | None = None
        """What the consumer received last; only its thread writes it."""
        self._committed: Key | None = None
        self._since = 0
        self.lock = threading.RLock()
        """Held for what takes no time, never while an item is made."""
        self._committing = False
        self._closing: list[Callable[[], object]] = []
        self._close_later(self.pairs)
        if not isinstance(self.pairs, (enumerate, zip)) and not (self.links and self.links[0].step.work is each):
            self.pairs = each(self.pairs, ItemFunction((), seeds), self.stop)  # to be stopped between items
        entries = iter(() if state is None else state['steps'])
        for index, link in enumerate(self.links):
            entry = next(entries, None) if link.step.remembers else None
            self.pairs = link.start(self.pairs, entry, partial(self.remake, index - 1))
            self._close_later(self.pairs)
        if stop is None:
            self._closing.append(self.stop)  # first of all, so that nothing is waited for in vain

    def _close_later(self, items: Iterator[Pair]) -> None:
        if hasattr(items, 'close'):
            self._closing.append(partial(_close, items))

    def finish(self, key: Key, value: Any) -> Any:
        """What the steps that were left out make of the value."""
        pairs: Iterator[Pair] = iter([(key, value)])
        for link in self._left:
            pairs = link.step.work(pairs, *link.options)
        ((_, value),) = pairs
        return value

    def received(self, key: Key) -> None:
        """The consumer has received `key`."""
        self.last = key
        if self.stateful:
            self._since += 1
            if self._since >= COMMIT_EVERY or any(len(log) > LONG for log in self._logs):
                self.commit()

    def commit(self) -> None:
        """Bring every entry to where the consumer stands."""
        with self.lock:
            if self._committing:  # the lock keeps other threads out, but not a signal handler of this one
                raise RuntimeError(
                    'state_dict: called by a signal handler in the very moment in which the state is worked out,'
                    ' or after one has raised there; let the handler set a flag, and take the state in the loop'
                )
            key: Any = self.last
            if key is self._committed:
                return
            self._committing = True
            self._committed, self._since = key, 0
            for link, commit in self._commits:
                if key is None:
                    break
                key = link.end() if key is END else commit(key)
            if key is not None and key is not END:
                self.source.commit(key)
            self._committing = False

    def state(self) -> State:
        """Where the consumer stands, as JSON can hold it: what `state` of another chain of the same steps takes.

        There is an entry for each step that remembers something, so that others may come and go.
        """
        with self.lock:
            self.commit()
            remembering = self._remembering
            return {
                'source': self.source.entry(),
                'steps': [snapshot(link.entry) for link in remembering] if remembering else [],
            }

    def remake(self, index: int, keys: list[Key]) -> dict[Key, Any]:
        """The values that had come out of the step at `index` (the source: -1) with these keys, made again."""
        if index < 0:
            return self.source.remake(keys)
        if self.links[index].step.opaque:
            return self._forward(index, keys)
        return self.links[index].remake(keys, partial(self.remake, index - 1))

    def _forward(self, index: int, keys: list[Key]) -> dict[Key, Any]:
        source, steps = self.described  # in which no step changes places with this one
        index -= self._look_up in self.links[:index]
        again = Chain(source, fused(steps)[: index + 1], self._first_seeds.copy(), self.stop)
        missing = set(keys)
        found: dict[Key, Any] = {}
        try:
            while missing and (pair := next(again.pairs, None)) is not None:
                if pair[0] in missing:
                    missing.remove(pair[0])
                    found |= [pair]
        finally:
            again.close()
        return found

    def gives(self, key: Any, index: int | None = None) -> bool:
        """Whether such a key can come out of the step at `index`, by default of the last one."""
        if index is None:
            index = len(self.links) - 1
        return (
            self.source.gives(key) if index < 0 else self.links[index].gives(key, partial(self.gives, index=index - 1))
        )

    def indices(self, key: Key) -> list[Any]:
        """Where the items that `key` was made of lie in what the source draws from."""
        keys: Sequence[Any] = [key]
        for link in reversed(self.links):
            if link.step.opaque:
                raise RuntimeError(f'`{format_step(link.step)}` does not say of which items it makes what it gives')
            keys = [origin for key in keys for origin in link.step.origin(key)]
        return self.source.indices(keys)

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


def is_running(error: BaseException) -> bool:
    """Whether the generator that was asked is running, rather than one within it."""
    asked = error.__traceback__
    return asked is not None and asked.tb_next is None and error.args == ('generator already executing',)


def item_again(where: str, source: Source, steps: Sequence[Step | ItemStep], seeds: Seeds, key: Any) -> Any:
    """The value with this key, made again, from behind the last step that gives such keys."""
    key = as_key(key)
    chain = Chain(source, steps, seeds, tracked=False)
    try:
        for index in range(len(chain.links) - 1, -2, -1):
            if chain.gives(key, index):
                found = chain.remake(index, [key])
                if key not in found:
                    raise LookupError(f'{where}: there is no {describe(key)}')
                return found[key]
    finally:
        chain.close()
    raise ValueError(f'{where}: `key` must be an ordinal or one of `item_keys`, got {key!r}')
