"""Whether a run can go on exactly with a pipeline that has been edited, and if not, why.

It is exact if the new pipeline makes every item that comes, and no item is lost or comes twice. Before the first item
of a pass, any edit is exact. In the middle of a pass, the steps that remember something must be the same as before, and
the same items must have come to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from enum import IntEnum
from typing import Any

from itpipe._core.key_codes import decode_all
from itpipe._core.keys import is_count
from itpipe._core.steps import State

from .fingerprint import names_in, split_lines

__all__ = ['edited']


class _Changed(IntEnum):
    """What the edits so far may have changed of the items that come to a step."""

    NOTHING = 0
    VALUES = 1
    ITEMS = 2
    """Others come, or more or fewer of them."""
    KEYS = 3


_EDITS = {'': _Changed.VALUES, '?': _Changed.ITEMS}
"""What an edit of a step with this mark changes; with any other one, the keys."""


def edited(position: State | None, there: str, here: str) -> State | None:
    """The position in the second pipeline, made of one in the first. Raises ValueError where that is not exact."""
    if position is None:
        return None
    (old_head, old_steps), (head, steps) = split_lines(there), split_lines(here)
    if old_head != head:
        raise ValueError('the source and the seed have to be the same in the middle of a pass')
    entries = position['steps']
    changed = _Changed.NOTHING
    chooses = ''
    for removed, inserted, kept in _regions(old_steps, steps):
        for mark, line in removed:
            _check_removed(mark, line, entries.get(mark[1:]), inserted)
        for mark, line in inserted:
            if mark[:1] in ('=', '!'):
                raise ValueError(f'`{line}` is new, but it would have to begin with the pass')
        for mark, _ in [*removed, *inserted]:
            changed = max(changed, _EDITS.get(mark, _Changed.KEYS))
        chooses = next((line for mark, line in inserted if mark == '?'), chooses)
        for mark, line in kept:
            _check_kept(mark, line, entries.get(mark[1:]), changed, chooses)
            if changed is _Changed.VALUES and mark[:1] in ('?', '*'):  # which items come depends on the values
                changed = _Changed.ITEMS
            elif mark[:1] == '!' or mark == '[?]' or (mark == '[]' and changed is _Changed.ITEMS):
                changed = changed and _Changed.KEYS
    return position | {'steps': {name: entries.get(name) for name in sorted(names_in(here))}}


def _regions(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> Iterator[tuple[Any, Any, Any]]:
    """Runs of steps, from the source on: those that are gone, those that are new, and those that are in both."""
    for kind, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        yield ([], [], old[i:j]) if kind == 'equal' else (old[i:j], new[k:m], [])


def _check_removed(mark: str, line: str, entry: Any, inserted: list[tuple[str, str]]) -> None:
    """Raise ValueError if the step has something that is lost without it."""
    if entry is None:
        return
    if (become := dict(inserted).get(mark)) is not None:
        raise ValueError(f'`{line}` has become `{become}`, which is not possible in the middle of a pass')
    if mark.startswith('!'):
        raise ValueError(f'`{line}` is gone, and nothing is known of what it had read')
    if mark.startswith('*'):
        raise ValueError(f'`{line}` is gone, but it was in the middle of an item')
    if isinstance(entry, dict) and (held := len(decode_all(entry.get('slots', [])))):
        raise ValueError(f'`{line}` is gone, but it holds {held} items that have not been delivered')


def _check_kept(mark: str, line: str, entry: Any, changed: _Changed, chooses: str) -> None:
    """Raise ValueError if the step cannot go on with what comes to it now. `chooses` is a new step before it."""
    if entry is None or not changed:
        return
    if is_count(entry):
        raise ValueError(f'`{line}` has to run again from the beginning, but a step before it has changed')
    if mark.startswith('*'):
        if changed is _Changed.KEYS:
            raise ValueError(f'`{line}` was in the middle of an item that is not made any more')
    elif changed > _Changed.VALUES or mark.startswith('!'):
        text = f'`{line}` remembers which items came to it, and these would have been others'
        if chooses and mark == '=shard':
            text += f'; write the stage `shard(…)` in front of `{chooses}`, in the place of the option'
        elif chooses and not mark.startswith('!'):
            text += f'; put `{chooses}` behind it'
        raise ValueError(text)
