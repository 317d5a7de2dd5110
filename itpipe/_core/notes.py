"""Notes on errors that say where they come from."""

from __future__ import annotations

from collections.abc import Callable

from .keys import Key, describe
from .tracebacks import add_note, notes_of

__all__ = ['note', 'noted', 'remark']


MAX_NOTES = 16
"""A function may raise the same error for every item; it gets no more notes than this."""


def note(error: BaseException, where: str, key: Key | None) -> None:
    """Note on the error which stage and which item it comes from."""
    remark(error, f'itpipe: raised in {where}' + ('' if key is None else f', {describe(key)}'))


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
    return any(isinstance(text, str) and text.startswith('itpipe: raised in ') for text in notes_of(error))
