"""Tracebacks that read like those of errors, but hold nothing; and the errors that belong to an error."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import CodeType, FunctionType, TracebackType
from typing import Any, NamedTuple

__all__ = ['Frame', 'add_note', 'frames_of', 'made_of', 'members', 'notes_of', 'own', 'related', 'without_values']


class Frame(NamedTuple):
    """What a traceback shows of a frame."""

    filename: str
    name: str
    qualname: str
    module: str
    first: int
    """The line that its function begins in …"""
    line: int
    """… and the one that it was at, …"""
    place: tuple[int, int, int] | None = None
    """… with what of it was being evaluated, if that is known: the last line, and the bytes in the first and last."""


DEEPEST = 256
"""The most frames of a traceback that is kept."""


def own(error: BaseException, name: str, kind: type[BaseException] = BaseException) -> Any:
    """What Python keeps of the error under this name, whatever its class makes of being asked for it."""
    return getattr(kind, name).__get__(error)


def members(error: BaseException) -> tuple[BaseException, ...]:
    """The errors of a group, none of any other error."""
    if not issubclass(type(error), BaseExceptionGroup):  # `isinstance` asks the error for its class, too
        return ()
    return own(error, 'exceptions', BaseExceptionGroup)  # type: ignore[no-any-return]


def related(error: BaseException) -> list[BaseException]:
    """The error, and all that it was raised from or groups, each once."""
    found: dict[int, BaseException] = {}
    todo = [error]
    while todo:
        each = todo.pop()
        if id(each) not in found:
            found[id(each)] = each
            todo.extend(
                other
                for other in (own(each, '__cause__'), own(each, '__context__'), *members(each))
                if other is not None
            )
    return list(found.values())


def notes_of(error: BaseException) -> list[Any]:
    """The notes on the error; none where it has something else in their place, or does not say."""
    try:
        notes = error.__notes__
    except Exception:  # not only AttributeError: its class may look up attributes in its own way
        return []
    return notes if isinstance(notes, list) else []


def add_note(error: BaseException, text: str) -> None:
    """Add a note, also to an error that is frozen; not where there is something else than notes."""
    attributes = object.__getattribute__(error, '__dict__')
    if isinstance(notes := attributes.setdefault('__notes__', []), list):
        notes.append(text)


def without_values(tb: TracebackType | None) -> TracebackType | None:
    """A traceback that reads like this one, but holds no frame of it."""
    return made_of(list(islice(frames_of(tb), DEEPEST)))  # the same error, raised again, has ever more of them


def frames_of(tb: TracebackType | None) -> Iterator[Frame]:
    """What a traceback shows, and what made of it shows the same."""
    while tb is not None:
        code = tb.tb_frame.f_code
        names = code.co_filename, code.co_name, code.co_qualname, str(tb.tb_frame.f_globals.get('__name__'))
        line, *place = _position(code, tb.tb_lasti)
        known = line == tb.tb_lineno and None not in place
        # there is no line where the compiler made up the code
        yield Frame(*names, code.co_firstlineno, tb.tb_lineno or code.co_firstlineno, tuple(place) if known else None)
        tb = tb.tb_next


def _position(code: CodeType, instruction: int) -> Any:
    if instruction < 0:
        return (None, None, None, None)
    return next(islice(code.co_positions(), instruction // 2, None), (None, None, None, None))


def made_of(frames: list[Frame]) -> TracebackType | None:
    """A traceback that reads like the one it was made from: frames of the same files, places and names, but empty.

    To whoever looks, each frame stands at an instruction that there is, and which has the place: those who show sources
    look for it, some of them without end.
    """
    result: TracebackType | None = None
    for each in reversed(frames):
        code = _blank.__code__.replace(
            co_filename=each.filename,
            co_name=each.name,
            co_qualname=each.qualname,
            co_firstlineno=each.first,
            co_linetable=_places(each),
        )
        # that of a generator which never runs: it knows no caller, whose values it would keep
        frame = FunctionType(code, {'__name__': each.module})().gi_frame
        result = TracebackType(result, frame, frame.f_lasti, each.line)
    return result


def _blank() -> Iterator[None]:
    yield


def _places(frame: Frame) -> bytes:
    """The table that gives all instructions of `_blank` the frame's place; its form is CPython's `locations.md`."""
    table, left, lines = bytearray(), len(_blank.__code__.co_code) // 2, frame.line - frame.first
    while left:
        count = min(left, 8)
        table.append(0x80 | (13 if frame.place is None else 14) << 3 | count - 1)
        table += _varint(lines << 1 if lines >= 0 else -lines << 1 | 1)
        if frame.place is not None:
            last, column, end = frame.place
            table += _varint(last - frame.line) + _varint(column + 1) + _varint(end + 1)
        left, lines = left - count, 0
    return bytes(table)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 63:
        parts.append(64 | number & 63)
        number >>= 6
    return bytes([*parts, number])
