"""What is saved of a run: of which pipeline it is, where its consumer stood, of which rank; and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from itpipe._core.keys import is_count
from itpipe._core.show import format_call, format_step, shortened
from itpipe._core.steps import ItemStep, State, Step

from .dealing import deal
from .kinds import kind_of, kind_of_step
from .order import fused, last_shard, running

if TYPE_CHECKING:
    from .source import Source

__all__ = ['FORMAT', 'Pipeline', 'Place', 'check_position', 'key_test', 'lasting']

FORMAT: Final = 1
"""The version of what is saved; one that is not known is refused."""
MERGED: Final = 'merged'
"""In the place of the rank: it is the state of all of them."""
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
        self.source, self.steps = source, steps
        told: list[Any] = list(steps)
        self.shard: list[int] | None = None
        if (place := last_shard(steps)) is not None:  # this one may be another rank's, or one of another number of them
            self.shard = list(told[place].share)
            told[place] = replace(told[place], fingerprint=format_call('shard', (), told[place].kwargs))
        lines = lasting(source, told).splitlines()
        if seed is not None:
            lines.append(format_call('Infinite', (), {'seed': seed}))
        self.text = '\n'.join(map(_brief, lines))
        self._begun = _begun(self.text, self.shard)

    def state(self, entropy: int | None, pass_: int, batch: int, position: State | None) -> State:
        """A `Place` as JSON can hold it."""
        return {
            'itpipe': FORMAT,
            'pipeline': self.text,
            'shard': self.shard,
            'entropy': entropy,
            'pass': pass_,
            'batch': batch,
            'position': position,
            'check': _check(self._begun, entropy, pass_, batch, position),
        }

    def place(self, where: str, state: Any) -> Place:
        """The place that `state` made a state of; raises TypeError or ValueError, naming `where`, for anything else."""
        place = _read(where, 'state', state)
        there, here = state['shard'], self.shard
        if state['pipeline'] != self.text and (there is None) == (here is None):  # or else, that is what differs
            raise ValueError(
                f'{where}: `state` is that of another pipeline, {_difference(state["pipeline"], self.text)}'
            )
        if there == MERGED and here is not None:
            try:
                place = place._replace(position=deal(place.position, *here))
            except (AttributeError, LookupError, TypeError, ValueError):
                raise ValueError(f'{where}: `state` is damaged: it does not say what is left for each rank') from None
        elif there != here:
            raise ValueError(
                f'{where}: `state` is that of {_ranks(there)}, this is {_ranks(here)}; what `merge_states`'
                ' makes of the states of all ranks goes on with any number of them'
            )
        try:
            check_position(self.source, self.steps, place.position)
        except ValueError as error:
            raise ValueError(f'{where}: `state` is damaged: {error}') from None
        return place


def _ranks(shard: Any) -> str:
    if shard is None:
        return 'a run without `shard`'
    return 'merged ranks' if shard == MERGED else f'rank {shard[0]} of {shard[1]}'


def _read(where: str, name: str, state: Any) -> Place:
    if not isinstance(state, dict):
        raise TypeError(f'{where}: `{name}` must be a dict, as `state_dict()` gives it, got {type(state).__name__}')
    version = state.get('itpipe')
    if isinstance(version, bool) or not isinstance(version, int):
        raise ValueError(f'{where}: `{name}` is not a state of itpipe, in which "itpipe" is the number of a format')
    if version != FORMAT:
        raise ValueError(
            f'{where}: `{name}` has format {version}, but this version of itpipe knows format {FORMAT} only'
        )
    for part in ('pipeline', 'shard', 'entropy', 'pass', 'batch', 'position', 'check'):
        if part not in state:
            raise ValueError(f'{where}: `{name}` is incomplete, there is no "{part}" in it')
    try:
        place = Place(state['entropy'], state['pass'], state['batch'], _sorted(state['position']))
        undamaged = state['check'] == _check(_begun(state['pipeline'], state['shard']), *place)
    except Exception:  # it may be anything
        undamaged = False
    if not undamaged:
        raise ValueError(f'{where}: `{name}` is damaged, its checksum is that of another one')
    try:
        _check_form(state, place)
    except ValueError as error:
        raise ValueError(f'{where}: `{name}` is damaged: {error}') from None
    return place


# A checksum tells of an accident. What follows tells of anything else that no run can have written.


def _check_form(state: State, place: Place) -> None:
    """Raise ValueError for what is not the state of any pipeline."""
    shard = state['shard']
    if not isinstance(state['pipeline'], str):
        raise ValueError('its "pipeline" is not text')
    of_rank = isinstance(shard, list) and len(shard) == 2 and all(map(is_count, shard)) and shard[0] < shard[1]
    if not (shard is None or shard == MERGED or of_rank):
        raise ValueError(f'its "shard" cannot be {shortened(shard)}')
    for name, value in (('pass', place.pass_), ('batch', place.batch)):
        if not is_count(value):
            raise ValueError(f'its "{name}" cannot be {shortened(value)}')
    if place.entropy is not None and (type(place.entropy) is not int or not 0 <= place.entropy < 1 << 256):
        raise ValueError(f'its "entropy" cannot be {shortened(place.entropy)}')
    _check_parts(place.position)


def _check_parts(position: Any) -> list[Any]:
    """Raise ValueError for what is not the position of any pipeline; returns the entries of its steps."""
    if position is None:
        return []
    if not isinstance(position, dict) or sorted(position) != ['source', 'steps']:
        raise ValueError('its "position" must have a "source" and "steps"')
    if not isinstance(position['steps'], list):
        raise ValueError('the "steps" of its "position" are not a list')
    for entry in position['steps']:
        if entry is not None:
            kind_of(entry).check_form(entry)
    return position['steps']


def check_position(source: Source, steps: Sequence[Step | ItemStep], position: Any) -> None:
    """Raise ValueError for what is not a position of this pipeline."""
    if position is None:
        return
    entries = _check_parts(position)
    ordered = _as_they_run(steps)
    if len(entries) != sum(step.remembers for step in ordered):
        raise ValueError(f'its "position" has {len(entries)} entries for the steps')
    source.check_entry(position['source'])
    left = iter(entries)
    comes_in = source.key_test()
    for step in ordered:
        entry = next(left) if step.remembers else None
        if entry is not None and not kind_of_step(step).is_entry(step, entry, comes_in):
            raise ValueError(f'what it says of `{format_step(step)}` cannot be')
        comes_in = _behind(step, comes_in)


def key_test(source: Source, steps: Sequence[Step | ItemStep]) -> Callable[[Any], bool]:
    """What says whether such a key can come out of this pipeline, by its form."""
    comes_out = source.key_test()
    for step in _as_they_run(steps):
        comes_out = _behind(step, comes_out)
    return comes_out


def _behind(step: Step, comes_in: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return comes_in if step.same_key else partial(step.has_key, upstream=comes_in)


def _as_they_run(steps: Sequence[Step | ItemStep]) -> list[Step]:
    fused_steps = fused(steps)
    return [fused_steps[place] for place in running(fused_steps)[0]]


def lasting(source: Source, steps: Sequence[Step | ItemStep]) -> str:
    """What has to be the same where a run goes on, a line for each step: not the data, nor how it runs."""
    lines = [source.lasting()]
    for step in steps:
        told = step.fingerprint if isinstance(step, Step) else None
        lines += [format_step(step)] if told is None else told.splitlines()
    return '\n'.join(lines)


def _brief(line: str) -> str:
    line = re.sub(' at 0x[0-9a-fA-F]+', '', line)  # differs in the next process
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


def _begun(pipeline: str, shard: Any) -> int:
    return crc32(f'{pipeline}\n{shard}'.encode())


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
    if position is None or not isinstance(position['source'], dict):
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
