"""One step at work: what comes out of it, where its consumer stands, and what it has given once more.

A stateful step is a generator over pairs that never looks at the values and keeps what it has to remember in a dict:
numbers, and `slots`, the pairs that it holds. The keys that go in are logged, and a second instance of the same
generator, the replica, is fed from that log until it has made the key that the consumer received last; the replica's
dict is then the state at the consumer. A run that goes on there starts the step from this dict, with the values of its
slots made again. What cannot be made again, because a step now leaves it out, is left out where it would have come.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import chain, dropwhile, islice
from typing import Any, Final

from itpipe._core.key_codes import decode, decode_all, encode, encode_all
from itpipe._core.keys import END, Batch, Key, is_pair
from itpipe._core.show import format_step
from itpipe._core.steps import Pair, State, Step, itself

from .functions import bind_option
from .seeds import Seeds
from .stacks import user_stacklevel
from .waiting import Stop

__all__ = ['Link', 'copy_state', 'gives', 'revive', 'snapshot']

_MISSING: Final = object()
"""In the place of a value in a slot: it could not be made again."""


class Link:
    """One step at work."""

    def __init__(self, step: Step, seeds: Seeds, stop: Stop, tracked: bool = True):
        self.step = step
        self.options = tuple(bind_option(option, seeds, stop) for option in step.options)
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
        if step.opaque and entry:
            warnings.warn(
                f'itpipe: nothing is known of `{format_step(step)}`,'
                f' so it runs again from the beginning to item {entry}',
                stacklevel=user_stacklevel(),
            )
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
        slots = state.get('slots', ())
        if slots:
            values = upstream([key for key, _ in slots])
            slots[:] = [(key, values.get(key, _MISSING)) for key, _ in slots]
            del values  # or they are held as long as the run lasts
        if self.step.replay is None:
            pairs = self.step.work(_logged(items, self.log), state, *self.options)
        else:
            if slots:
                slots[:] = [pair for pair in slots if pair[1] is not _MISSING]
            pairs = self.step.work(items, state, self.log, *self.options)
        if any(value is _MISSING for _, value in slots):
            pairs = (pair for pair in pairs if pair[1] is not _MISSING)
        yield from pairs

    def _resumed(self, items: Iterator[Pair], upstream: Callable[[list[Key]], dict[Key, Any]]) -> Iterator[Pair]:
        if self.step.opaque:
            yield from islice(self.step.work(items, *self.options), self.entry, None)
            return
        last = {decode(code): n for code, n in self.entry}
        values = upstream(list(last))
        begun = ((key, values.pop(key)) for key in last if key in values)
        for key, value in self.step.work(begun, *self.options):
            if key[1] > last[key[0]]:  # type: ignore[index]
                yield key, value
            del value
        yield from self.step.work(items, *self.options)

    def commit(self, key: Key) -> Any:
        """The consumer has what was made of `key`; says up to which key this had consumed then, None for no news."""
        if self.step.opaque:
            self.entry = key + 1  # type: ignore[operator]
            return None
        if self.step.parts:
            code, n = encode(key[0]), key[1]  # type: ignore[index]
            begun = list(dropwhile(lambda each: each[0] != code, self.entry or ()))
            self.entry = [[code, n], *begun[1:]]
            return None if begun else self.step.origin(key)[-1]
        if self.replica is None:
            return self.step.origin(key)[-1]
        self.position[0] = None
        while next(self.replica)[0] != key:
            pass
        return self._consumed()

    def end(self) -> Any:
        """The consumer has had all that there is; says the same as `commit`."""
        if self.replica is not None:
            self.position[0] = None
            for _ in self.replica:
                pass
            return self._consumed()
        if self.step.parts:
            self.entry = None
        return None if self.step.opaque else END

    def _consumed(self) -> Any:
        if self.position[0] is END:
            if self.entry.get('ended'):  # then upstream knows, or has not even begun
                return None
            self.entry['ended'] = True
        return self.position[0]

    def remake(self, keys: Sequence[Key], upstream: Callable[[list[Key]], dict[Key, Any]]) -> dict[Key, Any]:
        """The values that had come out with these keys, made again from those upstream."""
        origins = {key: self.step.origin(key) for key in keys}
        values = upstream(list(dict.fromkeys(chain.from_iterable(origins.values()))))
        if self.step.remake == 'list':
            return {key: [values[part] for part in parts if part in values] for key, parts in origins.items()}
        if self.step.remake == 'pass':
            return {key: values[parts[-1]] for key, parts in origins.items() if parts[-1] in values}
        return {key: value for key, value in self._work(iter(values.items())) if key in origins}

    def gives(self, key: Any, upstream: Callable[[Any], bool]) -> bool:
        """Whether such a key can come out, by its form."""
        return gives(self.step, key, upstream)

    def _work(self, items: Iterator[Pair]) -> Iterator[Pair]:
        if self.step.state is None:
            return self.step.work(items, *self.options)
        return self.step.work(items, deepcopy(self.step.state), deque(), *self.options)


def gives(step: Step, key: Any, upstream: Callable[[Any], bool]) -> bool:
    """Whether such a key can come out of the step, by its form; `upstream` says so of the one before it."""
    if step.opaque:
        return isinstance(key, int) and key >= 0
    if step.origin is itself:
        return upstream(key)
    if step.remake == 'list':
        return isinstance(key, Batch) and all(map(upstream, key))
    return is_pair(key) and upstream(key[0])


# The state of a stateful step: live, its slots are pairs; in a replica, pairs without values; as JSON, encoded keys.


def snapshot(entry: Any) -> Any:
    """An entry as JSON can hold it, independent of the live one."""
    if not isinstance(entry, dict):
        return entry
    return {
        name: encode_all([key for key, _ in v]) if name == 'slots' else list(v) if isinstance(v, list) else v
        for name, v in sorted(entry.items())
    }


def revive(entry: State) -> State:
    """The state that `snapshot` made an entry of, with slots that have no values yet."""
    return {
        name: [(key, None) for key in decode_all(v)] if name == 'slots' else deepcopy(v) for name, v in entry.items()
    }


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
