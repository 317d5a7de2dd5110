"""What is saved of a run: of which pipeline it is, and where its consumer stood; and what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from .steps import ItemStep, State, Step, show, shown

if TYPE_CHECKING:
    from .run import Source

__all__ = ['FORMAT', 'Pipeline', 'Place', 'lasting']

FORMAT: Final = 1
"""The version of what is saved; one that is not known is refused."""
LONG: Final = 40
"""Characters; a step that takes more is known by its first ones and a checksum, which keeps states small."""


class Place(NamedTuple):
    """Where a run stands."""

    entropy: int | None = None
    """What was drawn of the system's, where there is no seed."""
    pass_: int = 0
    batch: int = 0
    """How many batches of the epoch were received."""
    position: State | None = None
    """`Chain.state()`, None for the beginning of the pass."""


class Pipeline:
    """Writes and reads the states of one pipeline."""

    def __init__(self, source: Source, steps: Sequence[Step | ItemStep], seed: int | None = None):
        lines = lasting(source, steps).splitlines()
        if seed is not None:
            lines.append(shown('Infinite', (), {'seed': seed}))
        self.text = '\n'.join(map(_brief, lines))
        self._begun = crc32(self.text.encode())

    def state(self, entropy: int | None, pass_: int, batch: int, position: State | None) -> State:
        """A `Place` as JSON can hold it."""
        return {
            'itpipe': FORMAT,
            'pipeline': self.text,
            'entropy': entropy,
            'pass': pass_,
            'batch': batch,
            'position': position,
            'check': _check(self._begun, entropy, pass_, batch, position),
        }

    def place(self, where: str, state: Any) -> Place:
        """The place that `state` made a state of; raises TypeError or ValueError, naming `where`, for anything else."""
        if not isinstance(state, dict):
            raise TypeError(f'{where}: `state` must be a dict, as `state_dict()` gives it, got {type(state).__name__}')
        version = state.get('itpipe')
        if isinstance(version, bool) or not isinstance(version, int):
            raise ValueError(f'{where}: `state` is not a state of itpipe, in which "itpipe" is the number of a format')
        if version != FORMAT:
            raise ValueError(
                f'{where}: `state` has format {version}, but this version of itpipe knows format {FORMAT} only'
            )
        for name in ('pipeline', 'entropy', 'pass', 'batch', 'position', 'check'):
            if name not in state:
                raise ValueError(f'{where}: `state` is incomplete, there is no "{name}" in it')
        try:
            place = Place(state['entropy'], state['pass'], state['batch'], _sorted(state['position']))
            undamaged = state['check'] == _check(crc32(state['pipeline'].encode()), *place)
            undamaged &= all(isinstance(number, int) and number >= 0 for number in (place.entropy or 0, *place[1:3]))
        except Exception:  # it may be anything
            undamaged = False
        if not undamaged:
            raise ValueError(f'{where}: `state` is damaged, its checksum is that of another one')
        if state['pipeline'] != self.text:
            raise ValueError(
                f'{where}: `state` is that of another pipeline, {_difference(state["pipeline"], self.text)}'
            )
        return place


def lasting(source: Source, steps: Sequence[Step | ItemStep]) -> str:
    """What has to be the same where a run goes on, a line for each step: not the data, nor how it runs."""
    lines = [source.lasting()]
    for step in steps:
        told = step.lasting if isinstance(step, Step) else None
        lines += [show(step)] if told is None else told.splitlines()
    return '\n'.join(lines)


def _brief(line: str) -> str:
    line = re.sub(' at 0x[0-9a-f]+', '', line)  # differs in the next process
    return line if len(line) <= LONG else f'{line[: LONG - 9]}…{crc32(line.encode()):08x}'


def _difference(there: str, here: str) -> str:
    for theirs, ours in zip_longest(there.splitlines(), here.splitlines()):
        if theirs is None:
            return f'which ends where this one goes on with `{ours.strip()}`'
        if ours is None:
            return f'which goes on with `{theirs.strip()}` where this one ends'
        if theirs != ours:
            break
    return f'which has `{theirs.strip()}` where this one has `{ours.strip()}`'


def _check(begun: int, entropy: int | None, pass_: int, batch: int, position: State | None) -> int:
    """A checksum; where the position is but a number, one that takes no time."""
    if position is None:
        at = -1
    elif position['steps'] or type(position['source']) is not int:
        at = crc32(repr(_own(position)).encode())
    else:
        at = position['source']
    return (begun + 7 * (entropy or 0) + 1_009 * pass_ + 104_729 * batch + 1_299_709 * at) % 0x7FFFFFFF


def _own(position: State | None) -> State | None:
    """The position without the states that sources have themselves, in which there may be anything."""
    if position is None or type(position['source']) is int:
        return position
    source = position['source']
    if 'branches' in source:
        return position | {'source': source | {'branches': [_own(branch) for branch in source['branches']]}}
    return position | {'source': source | {'state': None}}


def _sorted(value: Any) -> Any:
    """With the entries of dicts in the order in which they were written, whatever had them since."""
    if isinstance(value, dict):
        return {name: each if name == 'state' else _sorted(each) for name, each in sorted(value.items())}
    return [_sorted(each) for each in value] if isinstance(value, list) else value
