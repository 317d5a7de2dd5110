"""Notes on errors: where they come from."""

from __future__ import annotations

from collections.abc import Callable

from .keys import Key, describe
from .tracebacks import add_note, notes_of

__all__ = ['note', 'noted', 'remark']


MOST_NOTES = 16
"""On one error, which a function may keep and raise for every item."""


def note(error: BaseException, where: str, key: Key | None) -> None:
    """Say on the error which stage and which item it comes from; the error stays what it was."""
    remark(error, f'itpipe: raised in {where}' + ('' if key is None else f', {describe(key)}'))


def remark(error: BaseException, text: str) -> None:
    """Say something more on the error, if it is not said there yet."""
    notes = notes_of(error)
    if text not in notes and len(notes) < MOST_NOTES:  # the same one may be raised again and again
        add_note(error, text)


def close_after(error: BaseException, close: Callable[[], object]) -> None:
    """Close because of an error, which stays the one that is raised: what closing raises is noted on it."""
    try:
        close()
    except Exception as second:
        add_note(error, f'itpipe: closing raised {second!r} as well')


def noted(error: BaseException) -> bool:
    """Whether it is said on the error where it comes from."""
    return any(isinstance(text, str) and text.startswith('itpipe: raised in ') for text in notes_of(error))
