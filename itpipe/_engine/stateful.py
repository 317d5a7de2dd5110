"""A stateful step at work: how its state at the consumer is found, and what it looks like as JSON.

A step runs ahead of the consumer, and its state with it. So the keys that go in are logged. A second instance of the
same generator, the replica, is fed from that log until it has made the key that the consumer received last. The
replica's dict is then the state at the consumer. A run that goes on there starts the step from this dict, with the
values of its slots made again. What cannot be made again, because a step now leaves it out, is left out where it would
have come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, Final

from itpipe._core.key_codes import decode_all, encode_all
from itpipe._core.keys import END, Key, is_count, is_pair
from itpipe._core.notes import note
from itpipe._core.show import format_step, shortened
from itpipe._core.steps import HIDDEN, MISSING, Hidden, Pair, State, Stateful, in_order, is_json

from .operators import Operator, Upstream
from .seeds import Seeds
from .waiting import Stop

__all__ = ['StatefulOperator']

CHECKED: Final = 100
"""Of so many items, it is checked that a value comes out with a key from which it can be made again."""


class StatefulOperator(Operator):
    """A stateful step; `entry` is the dict of its replica.

    As JSON, the fields of the state lie in `'clock'`, `'beside'` and `'own'`, by their role; `'slots'` are keys.
    """

    def __init__(self, step: Stateful, seeds: Seeds, stop: Stop, tracked: bool = True):
        super().__init__(step, seeds, stop, tracked)
        self.position: list[Any] = [None]
        self.replica: Iterator[Pair] = iter(())

    @property
    def counts_itself(self) -> bool:
        return self.step.replay is None or super().counts_itself

    def start(self, items: Iterator[Pair], entry: Any, upstream: Upstream) -> Iterator[Pair]:
        step = self.step
        state = deepcopy(step.state) if entry is None else revived(entry)
        self.entry = _without_values(state)
        if step.replay is None:
            self.replica = step.work(self._replayed(), self.entry, *self.options)
        else:
            self.replica = step.replay(self.log, self.position, self.entry)
        return self._run(iter(()) if state.get('ended') else items, state, upstream)

    def _run(self, items: Iterator[Pair], state: State, upstream: Upstream) -> Iterator[Pair]:
        slots = state.get('slots', ())
        if slots:
            values = upstream.recompute([key for key, _ in slots])
            slots[:] = [(key, values.get(key, MISSING)) for key, _ in slots]
            del values  # or they are held as long as the run lasts
        if self.step.replay is None:
            pairs = self.step.work(self._logged(items), state, *self.options)
        else:
            if slots and self.step.gives == 'results':
                slots[:] = [pair for pair in slots if pair[1] is not MISSING]
            pairs = self.step.work(items, state, self.log, *self.running_options)
        if any(value is MISSING for _, value in slots):
            pairs = (pair for pair in pairs if pair[1] is not MISSING)
        if self.step.replay is None:
            self.meter.values = lambda: [value for _, value in list(slots)]
        try:
            yield from pairs
        finally:
            self.meter.forget()

    def _logged(self, items: Iterator[Pair]) -> Iterator[Pair]:
        log, meter = self.log, self.meter
        probe, before = meter.probe, meter.before
        taken = meter.taken or 0
        for pair in items:
            log.append(pair[0])
            taken += 1
            meter.taken = taken
            if probe.on:
                probe.charge(before, pair[0])
            yield pair
            if probe.on:
                probe.charge(meter)
        log.append(END)

    def _replayed(self) -> Iterator[Pair]:
        log, position, count = self.log, self.position, 0
        while log:
            key = log.popleft()
            if key is END:  # upstream stands at its last key, where it goes on without this step, too
                self.entry['ended'] = True
                return
            position[0] = key
            count += 1
            yield key, Hidden(key) if count <= CHECKED else HIDDEN
        raise self._differs()

    def _differs(self) -> RuntimeError:
        return RuntimeError(
            f'`{format_step(self.step)}` does not do the same again with the same keys,'
            ' so it is not known where it stands; all that it remembers must be in its state'
        )

    def consumed(self, key: Any) -> Any:
        self.position[0] = None
        try:
            for made, value in self.replica:
                if value is not HIDDEN:
                    self._check(made, value)
                if made == key:
                    return self._position()
        except Exception as error:
            note(error, format_step(self.step), key)
            raise
        raise self._differs()

    def _check(self, key: Any, value: Any) -> None:
        """Raise TypeError if another value would be made again for this key."""
        if type(value) is not Hidden:
            raise TypeError(f'a stateful step must give values as they came, got {value!r} for one')
        repeated = self.step.gives == 'repeated'
        if (not is_pair(key) or key[0] != value.key) if repeated else key != value.key:
            form = f'({value.key}, n)' if repeated else value.key
            raise TypeError(f'by its `gives`, the step must give the value of {value.key} with key {form}, got {key}')

    def end(self) -> Any:
        self.position[0] = None
        for _ in self.replica:
            pass
        return self._position()

    def _position(self) -> Any:
        if self.position[0] is END:
            if self.entry.get('ended'):  # then upstream knows, or has not even begun
                return None
            self.entry['ended'] = True
        return self.position[0]

    def _recomputed(self, origins: dict[Key, tuple[Key, ...]], values: dict[Key, Any]) -> dict[Key, Any]:
        if self.step.again is not None:
            return self.step.again(values, origins, *self.options)  # type: ignore[no-any-return]
        if self.step.gives == 'results':
            pairs = self.step.work(iter(values.items()), deepcopy(self.step.state), deque(), *self.options)
            return {key: value for key, value in pairs if key in origins}
        return {key: values[parts[0]] for key, parts in origins.items() if parts[0] in values}

    def held(self) -> list[Key]:
        return [key for key, _ in self.entry.get('slots', ())]

    def snapshot(self) -> Any:
        step, state = self.step, self.entry
        entry: State = {}
        if step.beside:
            entry['beside'] = {name: list(state[name]) for name in sorted(step.beside)}
        if step.clock:
            entry['clock'] = {name: state[name] for name in sorted(step.clock)}
        if 'ended' in state:
            entry['ended'] = True
        if own := step.own:
            entry['own'] = {name: state[name] for name in own}
        if 'slots' in state:
            entry['slots'] = encode_all([key for key, _ in state['slots']])
        try:
            _check_fields(entry, len(state.get('slots', ())))
        except ValueError as error:
            raise TypeError(f'`{format_step(step)}` keeps in its state what cannot be saved: {error}') from None
        if own:
            entry['own'] = in_order(entry['own'])
        return entry

    @staticmethod
    def check_form(entry: Any) -> None:
        if not entry.keys() <= {'beside', 'clock', 'ended', 'own', 'slots'}:
            raise ValueError(f'an entry of its "steps" has {shortened(sorted(map(str, entry)))}')
        held = len(decode_all(entry.get('slots', [])))
        if entry.get('ended', True) is not True:
            raise ValueError('an entry of its "steps" has an "ended" that is not true')
        for role in ('beside', 'clock', 'own'):
            if not isinstance(entry.get(role, {}), dict):
                raise ValueError(f'an entry of its "steps" has {shortened(entry[role])} for {role!r}')
        _check_fields(entry, held)

    @classmethod
    def is_entry(cls, step: Any, entry: Any, has_key: Callable[[Any], bool]) -> bool:
        if not isinstance(entry, dict):
            return False
        fields = {
            'beside': {*step.beside}, 'clock': {*step.clock}, 'own': {*step.own}, 'slots': {'slots'} & step.state.keys()
        }  # fmt: skip
        if entry.keys() - {'ended'} != {role for role, names in fields.items() if names}:
            return False
        if any(entry[role].keys() != names for role, names in fields.items() if names and role != 'slots'):
            return False
        if any(type(value) is not type(step.state[name]) for name, value in entry.get('own', {}).items()):
            return False
        keys = decode_all(entry.get('slots', []))
        return all(map(has_key, keys)) and (step.fits is None or step.fits(revived(entry) | {'slots': keys}))

    @staticmethod
    def form(entry: Any) -> Any:
        return tuple(
            (role, *sorted(entry[role] if isinstance(entry[role], dict) and role != 'slots' else ()))
            for role in sorted(entry.keys() - {'ended'})
        )

    @staticmethod
    def merge(entries: Sequence[Any], complete: bool) -> Any:
        first = entries[0]
        if 'own' in first:
            return None
        merged: State = {}
        if 'beside' in first:
            merged['beside'] = {
                name: list(chain.from_iterable(entry['beside'][name] for entry in entries)) for name in first['beside']
            }
        if 'clock' in first:
            merged['clock'] = {name: max(entry['clock'][name] for entry in entries) for name in first['clock']}
        if 'slots' in first:
            merged['slots'] = encode_all(list(chain.from_iterable(decode_all(entry['slots']) for entry in entries)))
        if complete and all(entry.get('ended') for entry in entries):
            merged['ended'] = True
        return merged

    @staticmethod
    def split(entry: Any, rank: int, ranks: int) -> Any:
        part = dict(entry)
        if 'slots' in entry:
            part['slots'] = encode_all(decode_all(entry['slots'])[rank::ranks])
        if 'beside' in entry:
            part['beside'] = {name: values[rank::ranks] for name, values in entry['beside'].items()}
        return part


# The state of a stateful step: live, its slots are pairs; in a replica, pairs without values; as JSON, encoded keys.


def revived(entry: State) -> State:
    """The state whose `snapshot` is the entry, with slots that have no values yet."""
    state: State = {}
    for role in ('beside', 'clock', 'own'):
        state |= deepcopy(entry.get(role, {}))
    if 'slots' in entry:
        state['slots'] = [(key, HIDDEN) for key in decode_all(entry['slots'])]
    return state | ({'ended': True} if 'ended' in entry else {})


def _without_values(state: State) -> State:
    return {
        name: [(key, HIDDEN) for key, _ in value] if name == 'slots' else deepcopy(value)
        for name, value in state.items()
    }


def _check_fields(entry: State, held: int) -> None:
    """Raise ValueError for fields that cannot be written, where there are so many slots."""
    for name, value in entry.get('clock', {}).items():
        if not is_count(value):
            raise ValueError(f'an entry of its "steps" has {shortened(value)} for {shortened(name)}')
    for name, value in entry.get('beside', {}).items():
        if not (isinstance(value, list) and len(value) == held and all(map(is_count, value))):
            raise ValueError(f'an entry of its "steps" has {shortened(value)} for {shortened(name)}')
    if not is_json(entry.get('own', {})):
        raise ValueError(f'an entry of its "steps" has {shortened(entry["own"])} for \'own\'')
