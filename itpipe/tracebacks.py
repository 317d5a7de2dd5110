"""Tracebacks that read like those of errors, but hold nothing; and the errors that belong to an error."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from itertools import islice
from types import FunctionType, TracebackType
from typing import TypeAlias

__all__ = ['Frame', 'frames_of', 'made_of', 'members', 'related', 'without_values']

Frame: TypeAlias = 'tuple[str, int, str, str, str]'
"""File, line, name, qualified name and module."""
DEEPEST = 256
"""The most frames of a traceback that is kept."""


def members(error: BaseException) -> tuple[BaseException, ...]:
    """The errors of a group, none of any other error."""
    return error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def related(error: BaseException) -> list[BaseException]:
    """The error, and all that it was raised from or groups, each once."""
    found: dict[int, BaseException] = {}
    todo = [error]
    while todo:
        each = todo.pop()
        if id(each) not in found:
            found[id(each)] = each
            todo.extend(other for other in (each.__cause__, each.__context__, *members(each)) if other is not None)
    return list(found.values())


def without_values(tb: TracebackType | None) -> TracebackType | None:
    """A traceback that reads like this one, but holds no frame of it."""
    return made_of(list(islice(frames_of(tb), DEEPEST)))  # the same error, raised again, has ever more of them


def frames_of(tb: TracebackType | None) -> Iterator[Frame]:
    """What a traceback shows, and what made of it shows the same."""
    for frame, line in traceback.walk_tb(tb):
        code = frame.f_code
        yield code.co_filename, line, code.co_name, code.co_qualname, str(frame.f_globals.get('__name__'))


def made_of(frames: list[Frame]) -> TracebackType | None:
    """A traceback that reads like the one it was made from: frames of the same files, lines and names, but empty."""
    result: TracebackType | None = None
    for filename, line, name, qualname, module in reversed(frames):
        code = _blank.__code__.replace(co_filename=filename, co_name=name, co_qualname=qualname, co_firstlineno=line)
        # that of a generator which never runs: it knows no caller, whose values it would keep
        frame = FunctionType(code, {'__name__': module})().gi_frame
        result = TracebackType(result, frame, -1, line)  # -1: no place in the line
    return result


def _blank() -> Iterator[None]:
    yield
