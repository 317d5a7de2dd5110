"""A part of what a user's stage with a state has done, from which a run can go on."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from itpipe._core.key_codes import decode_all, encode_all
from itpipe._core.keys import END, Key, is_count
from itpipe._core.show import shortened
from itpipe._core.steps import State, is_json

__all__ = ['Segment', 'check_segment']


class Segment:
    """A copy of the state, when `start` items had come out, and what went in and came out behind it."""

    def __init__(self, start: int, base: int, own: State, slots: list[Key] | None):
        self.start, self.own, self.slots = start, own, slots
        self.least = 1 + _size(own) // 8
        """So many items go in before the next copy is taken."""
        self.base = base
        """How many items had gone in."""
        self.keys: list[Any] = []
        """Of the items that went in since, and END behind the last one."""
        self.again = 0
        """How many of its items came out in another run, …"""
        self.outs: list[int] = []
        """… and how many items had gone in when each of the others came out."""

    @property
    def count(self) -> int:
        """How many items came out since."""
        return self.again + len(self.outs)

    def entry(self, went_in: int, count: int) -> State:
        """The segment as JSON, up to where so many items had gone in and come out."""
        keys = self.keys[: went_in - self.base]
        ended = keys[-1:] == [END]
        entry: State = {'count': count}
        if ended:
            entry['ended'] = True
        entry |= {'keys': encode_all(keys[:-1] if ended else keys), 'own': self.own}
        if self.slots is not None:
            entry['slots'] = encode_all(self.slots)
        return entry | {'start': self.start}

    @classmethod
    def of(cls, entry: State) -> Segment:
        """The segment whose `entry` it is."""
        slots = decode_all(entry['slots']) if 'slots' in entry else None
        segment = cls(entry['start'], 0, entry['own'], slots)
        segment.keys = decode_all(entry['keys']) + ([END] if 'ended' in entry else [])
        segment.again = entry['count']
        return segment

    @property
    def origins(self) -> list[Key]:
        """The keys of the items that are needed to run it again."""
        return [*(self.slots or ()), *(key for key in self.keys if key is not END)]

    def state(self, values: dict[Key, Any]) -> State:
        """The state, with these values."""
        state: State = deepcopy(self.own)
        if self.slots is not None:
            state['slots'] = [values[key] for key in self.slots if key in values]
        return state


def check_segment(entry: Any, start: int) -> None:
    """Raise ValueError for what cannot be the entry of a segment. The segment before it ends at `start`."""
    known = {'count', 'keys', 'own', 'start'}
    if not isinstance(entry, dict) or not known <= entry.keys() <= known | {'ended', 'slots'}:
        raise ValueError(f'an entry of its "steps" has a segment {shortened(entry)}')
    decode_all(entry['keys'])
    decode_all(entry.get('slots', []))
    if not (is_count(entry['start']) and is_count(entry['count']) and entry['start'] >= start):
        raise ValueError('an entry of its "steps" has segments that do not follow each other')
    if not (isinstance(entry['own'], dict) and is_json(entry['own']) and entry.get('ended', True) is True):
        raise ValueError(f'an entry of its "steps" has {shortened(entry["own"])} for \'own\'')


def _size(value: Any) -> int:
    """How many numbers and texts there are in what JSON can hold."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return 1
    return sum(map(_size, value))
