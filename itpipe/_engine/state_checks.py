"""Checks of states, which may come from anywhere: of any pipeline, and of a given one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from itpipe._core.keys import is_count
from itpipe._core.show import format_step, shortened
from itpipe._core.steps import ItemStep, State, Step, in_order

from .fingerprint import entry_names, names_in
from .kinds import kind_of, kind_of_step
from .order import fused, running
from .same_data import is_data_text

if TYPE_CHECKING:
    from .source import Source

__all__ = [
    'FORMAT',
    'MERGED',
    'Position',
    'check_position',
    'checksum',
    'in_written_order',
    'is_merged',
    'key_test',
    'listed',
    'named',
    'rank_in_words',
    'ranks_of',
    'read_state',
]

FORMAT: Final = 1
"""The version of the format. States of other versions are refused."""
MERGED: Final = 'merged'
"""Stands in the place of the rank in the state that `merge_states` makes, before the number of ranks."""


class Position(NamedTuple):
    """Where a run stands."""

    entropy: int | None = None
    """The entropy that was drawn from the system if there is no seed."""
    pass_: int = 0
    batch: int = 0
    """How many batches of the epoch were received."""
    in_pass: State | None = None
    """`Chain.state()`, None for the beginning of the pass."""


def rank_in_words(shard: Any) -> str:
    """Whose state it is that has this for its "shard"."""
    if shard is None:
        return 'a run without `shard`'
    return 'merged ranks' if is_merged(shard) else f'rank {shard[0]} of {shard[1]}'


def is_merged(shard: Any) -> bool:
    """Whether the state that has this for its "shard" is one that `merge_states` has made."""
    return shard == MERGED or (isinstance(shard, list) and shard[:1] == [MERGED])


def ranks_of(shard: Any) -> int | None:
    """How many ranks received what the state that has this for its "shard" tells of; None if it does not say."""
    if shard is None:
        return 1
    count: int | None = None if shard == MERGED else shard[1]
    return count


def read_state(where: str, name: str, state: Any) -> Position:
    """The position whose state this is, of whatever pipeline.

    Raises TypeError or ValueError, naming `where` and `name`, for what is not a state.
    """
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
        position = Position(state['entropy'], state['pass'], state['batch'], in_written_order(state['position']))
        undamaged = state['check'] == checksum(state['pipeline'], state.get('data', ''), state['shard'])(position)
    except Exception:  # the state may be anything
        undamaged = False
    if not undamaged:
        raise ValueError(f'{where}: `{name}` is damaged, its checksum is that of another one')
    try:
        _check_form(state, position)
    except ValueError as error:
        raise ValueError(f'{where}: `{name}` is damaged: {error}') from None
    return position


# A checksum tells of an accident. What follows tells of anything else that no run can have written.


def _check_form(state: State, position: Position) -> None:
    """Raise ValueError for what is not the state of any pipeline."""
    shard = state['shard']
    if not isinstance(state['pipeline'], str):
        raise ValueError('its "pipeline" is not text')
    if not is_data_text(data := state.get('data', '')):  # states that were saved before have none
        raise ValueError(f'its "data" cannot be {shortened(data)}')
    if isinstance(shard, list) and len(shard) == 2 and is_count(shard[1]):
        known = shard[1] > 0 if is_merged(shard) else is_count(shard[0]) and shard[0] < shard[1]
    else:
        known = shard is None or shard == MERGED
    if not known:
        raise ValueError(f'its "shard" cannot be {shortened(shard)}')
    for name, value in (('pass', position.pass_), ('batch', position.batch)):
        if not is_count(value):
            raise ValueError(f'its "{name}" cannot be {shortened(value)}')
    if position.entropy is not None and (type(position.entropy) is not int or not 0 <= position.entropy < 1 << 256):
        raise ValueError(f'its "entropy" cannot be {shortened(position.entropy)}')
    if position.in_pass is not None and _check_parts(position.in_pass).keys() != set(names_in(state['pipeline'])):
        raise ValueError('its "position" has entries for other steps than its "pipeline"')


def _check_parts(position: Any) -> dict[str, Any]:
    """Raise ValueError for what is not the position of any pipeline; returns the entries of its steps."""
    if not isinstance(position, dict) or sorted(position) != ['source', 'steps']:
        raise ValueError('its "position" must have a "source" and "steps"')
    if not isinstance(position['steps'], dict):
        raise ValueError('the "steps" of its "position" are not a dict')
    for entry in position['steps'].values():
        if entry is not None:
            kind_of(entry).check_form(entry)
    return position['steps']


def check_position(source: Source, steps: Sequence[Step | ItemStep], position: Any) -> None:
    """Raise ValueError for what is not a position of this pipeline."""
    if position is None:
        return
    entries = _check_parts(position)
    ordered = _as_they_run(steps)
    if entries.keys() != {name for name, _ in ordered if name}:
        raise ValueError('its "position" has entries for other steps')
    source.check_entry(position['source'])
    comes_in = source.key_test()
    for name, step in ordered:
        entry = entries[name] if name else None
        if entry is not None and not kind_of_step(step).is_entry(step, entry, comes_in):
            raise ValueError(f'what it says of `{format_step(step)}` cannot be')
        comes_in = _behind(step, comes_in)


def key_test(source: Source, steps: Sequence[Step | ItemStep]) -> Callable[[Any], bool]:
    """What says whether such a key can come out of this pipeline, by its form."""
    comes_out = source.key_test()
    for _, step in _as_they_run(steps):
        comes_out = _behind(step, comes_out)
    return comes_out


def _behind(step: Step, comes_in: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return comes_in if step.same_key else partial(step.has_key, upstream=comes_in)


def _as_they_run(steps: Sequence[Step | ItemStep]) -> list[tuple[str, Step]]:
    """The steps in the order in which they run, each with the name of its entry."""
    fused_steps = fused(steps)
    names = entry_names(fused_steps)
    return [(names[index], fused_steps[index]) for index in running(fused_steps)]


def listed(position: State | None, names: Sequence[str]) -> State | None:
    """The position with its entries in a list, in the order of these names."""
    return None if position is None else position | {'steps': [position['steps'][name] for name in names]}


def named(position: State | None, names: Sequence[str]) -> State | None:
    """The position that `listed` made a list of."""
    return None if position is None else position | {'steps': dict(sorted(zip(names, position['steps'], strict=True)))}


def checksum(pipeline: str, data: str, shard: Any) -> Callable[[Position], int]:
    """What makes the checksum of a position in this pipeline, with this data."""
    return partial(_checksum, crc32('\n'.join([pipeline, *([data] if data else []), str(shard)]).encode()))


def _checksum(start: int, position: Position) -> int:
    """The checksum. It takes no time for the usual position, which is only a number."""
    entropy, pass_, batch, in_pass = position
    if in_pass is None:
        at = -1
    elif in_pass['steps'] or type(in_pass['source']) is not int:
        at = crc32(repr(_without_foreign(in_pass)).encode())
    else:
        at = in_pass['source']
    return (start + 7 * (entropy or 0) + 1_009 * pass_ + 104_729 * batch + 1_299_709 * at) % 0x7FFFFFFF


def _without_foreign(position: State | None) -> State | None:
    """The position without the states that sources have themselves, in which there may be anything."""
    if position is None or not isinstance(position['source'], dict):
        return position
    source = position['source']
    if 'branches' in source:
        return position | {'source': source | {'branches': [_without_foreign(branch) for branch in source['branches']]}}
    return position | {'source': source | {'state': None}}


def in_written_order(value: Any) -> Any:
    """The position with the entries of dicts sorted. They were written so, but a database may have reordered them.

    The states that sources have themselves stay as they are.
    """
    if isinstance(value, dict):
        return {
            name: part if name == 'state' else in_order(part) if name == 'steps' else in_written_order(part)
            for name, part in sorted(value.items())
        }
    return list(map(in_written_order, value)) if isinstance(value, list) else value
