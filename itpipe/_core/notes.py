"""Notes on errors that say where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from .keys import Key, describe
from .tracebacks import add_note, notes_of

__all__ = ['close_after', 'note', 'note_index', 'noted', 'remark']


MAX_NOTES = 16
"""A function may raise the same error for every item; it gets no more notes than this."""
ITEM: Final = r', item \d+( \(part \d+(, \d+)*\))?$'
"""The end of a note about one item."""


def note(error: BaseException, where: str, key: Key | None) -> None:
    """Note on the error which stage and which item it comes from."""
    remark(error, f'itpipe: raised in {where}' + ('' if key is None else f', {describe(key)}'))


def note_index(error: BaseException, index_of: Callable[[list[int]], int | None]) -> None:
    """Where the last of these notes names an item by its ordinal, add its index in the data, if that is another number.

    `index_of` gets the numbers in the key of the item, the ordinal first.
    """
    notes = notes_of(error)
    last = next((n for n in reversed(range(len(notes))) if _is_ours(notes[n])), None)
    if last is None or (found := re.search(ITEM, notes[last])) is None:
        return
    numbers = [int(number) for number in re.findall(r'\d+', found[0])]
    if (index := index_of(numbers)) is not None and index != numbers[0]:
        text = f'{notes[last]} (index {index})'
        notes[last : last + 1] = [] if text in notes else [text]


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
    return isinstance(text, str) and text.startswith('itpipe: raised in ')
