"""Notes on errors that say where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from .keys import Key, describe
from .show import shortened
from .tracebacks import add_note, frames_of, notes_of

__all__ = ['close_after', 'note', 'note_arguments', 'note_index', 'note_of_other', 'noted', 'raised_in', 'remark']


RAISED_IN: Final = 'itpipe: raised in '
MAX_NOTES = 16
"""A function may raise the same error for every item; it gets no more notes than this."""
ITEM: Final = r', item \d+(?: \(part \d+(?:, \d+)*\))?$'
ITEMS: Final = r', items (?:(\d+) to (\d+)|(\d+(?:, \d+)*)(, …)?)(?: \(part \d+(?:, \d+)*\))?$'
"""The ends of notes about one item, and about those of a batch, as `describe` writes them."""
MOST_INDICES: Final = 8
MISSING: Final = r'missing \d+ required (?:positional|keyword-only) arguments?: (.+)$'
"""The end of what Python says of a call with too few arguments."""


def note(error: BaseException, where: str, key: Key | None) -> None:
    """Note on the error which stage and which item it comes from."""
    remark(error, f'{RAISED_IN}{where}' + ('' if key is None else f', {describe(key)}'))


def raised_in(error: BaseException, places: Iterable[str]) -> str | None:
    """Which of the places the last of these notes names; None if it names none of them."""
    last = next(filter(_is_ours, reversed(notes_of(error))), '')
    return next((place for place in places if place and last.startswith(f'{RAISED_IN}{place}, ')), None)


def note_of_other(error: BaseException, key: Key, as_key: Key) -> bool:
    """Let the last note, if it is about the item with one key, be about that with another; whether it was."""
    notes, end = notes_of(error), f', {describe(key)}'
    if notes and _is_ours(notes[-1]) and notes[-1].endswith(end):
        notes[-1] = f'{notes[-1].removesuffix(end)}, {describe(as_key)}'
        return True
    return False


def note_index(error: BaseException, index_of: Callable[[list[int]], int | None]) -> None:
    """Where the last of these notes names items by their ordinals, add their indices in the data, if these are others.

    `index_of` gets the numbers in the key of an item, the ordinal first.
    """
    notes = notes_of(error)
    last = next((n for n in reversed(range(len(notes))) if _is_ours(notes[n])), None)
    keys, more = ([], '') if last is None else _keys_in(notes[last])
    indices = [index_of(key) for key in keys]
    if last is not None and None not in indices and indices != [key[0] for key in keys]:
        text = f'{notes[last]} ({"index" if len(keys) == 1 else "indices"} {", ".join(map(str, indices))}{more})'
        notes[last : last + 1] = [] if text in notes else [text]


def note_arguments(error: BaseException, item: Any) -> None:
    """Note on the error of a function that was called with an item, but takes more arguments, what would give them."""
    if type(error) is not TypeError or (found := re.search(MISSING, str(error))) is None:
        return
    *_, last = frames_of(error.__traceback__)
    if found[1] == "'rng'" and last.module.startswith('itpipe.'):
        remark(error, 'itpipe: `with_rng(f)` calls f(item, rng=…), with a random generator for each item')
    if found[1] == "'rng'" or not last.module.startswith('itpipe._engine.'):  # but by a stage such as `map_at`
        return
    if type(item) is dict and item:
        key = shortened(next(iter(item)))
        remark(
            error, f'itpipe: the item is a dict: `unpack(f)` calls f(**item), `map_at({key}, f)` calls f(item[{key}])'
        )
    elif isinstance(item, tuple) and item:
        remark(
            error,
            f'itpipe: the item is a tuple of {len(item)}: `unpack(f)` calls f(*item), `map_at(0, f)` calls f(item[0])',
        )


def _keys_in(text: str) -> tuple[list[list[int]], str]:
    """The numbers in the keys of the items that a note is about, and `', …'` if there are more of these."""
    if (found := re.search(ITEM, text)) is not None:
        return [[int(number) for number in re.findall(r'\d+', found[0])]], ''
    if (found := re.search(ITEMS, text)) is None:
        return [], ''
    first, last, listed, more = found.groups()
    items = range(int(first), int(last) + 1) if listed is None else [int(item) for item in listed.split(', ')]
    return [[item] for item in items[:MOST_INDICES]], more or (', …' if len(items) > MOST_INDICES else '')


def remark(error: BaseException, text: str) -> None:
    """Add the text as a note, unless the error has that note already."""
    notes = notes_of(error)
    if text not in notes and len(notes) < MAX_NOTES:
        add_note(error, text)


def close_after(error: BaseException, close: Callable[[], object]) -> None:
    """Call `close` because of the error. If it raises another error, that is noted on the first one."""
    try:
        close()
    except Exception as second:
        add_note(error, f'itpipe: closing raised {second!r} as well')


def noted(error: BaseException) -> bool:
    """Whether a note on the error says where it comes from."""
    return any(map(_is_ours, notes_of(error)))


def _is_ours(text: object) -> bool:
    return isinstance(text, str) and text.startswith(RAISED_IN)
