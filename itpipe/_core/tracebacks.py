"""Tracebacks that print like those of errors, but keep no values alive; and the errors related to an error."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import CodeType, FunctionType, TracebackType
from typing import Any, NamedTuple

__all__ = [
    'Frame', 'add_note', 'fold_own', 'frames_of', 'made_of', 'members', 'notes_of', 'own', 'position_of', 'related',
    'without_values',
]  # fmt: skip


class Frame(NamedTuple):
    """What a traceback shows for a frame."""

    filename: str
    name: str
    qualname: str
    module: str
    first_line: int
    """The first line of its function."""
    line: int
    """The line that it was at."""
    position: tuple[int, int, int] | None = None
    """The expression that was being evaluated, if known: its last line, the columns of its begin and its end."""


MAX_FRAMES = 256
"""An error that is raised again and again has more frames every time; no more than these are kept."""


def own(error: BaseException, name: str, kind: type[BaseException] = BaseException) -> Any:
    """The attribute that Python itself set on the error, even if its class overrides the attribute."""
    return getattr(kind, name).__get__(error)


def members(error: BaseException) -> tuple[BaseException, ...]:
    """The errors in a group; none for any other error."""
    if not issubclass(type(error), BaseExceptionGroup):  # `isinstance` would also ask the error for `__class__`
        return ()
    return own(error, 'exceptions', BaseExceptionGroup)  # type: ignore[no-any-return]


def related(error: BaseException) -> list[BaseException]:
    """The error, its causes and contexts, and the errors in its groups, each once."""
    found: dict[int, BaseException] = {}
    todo = [error]
    while todo:
        one = todo.pop()
        if id(one) not in found:
            found[id(one)] = one
            others = own(one, '__cause__'), own(one, '__context__'), *members(one)
            todo.extend(other for other in others if other is not None)
    return list(found.values())


def notes_of(error: BaseException) -> list[Any]:
    """The notes on the error; none if `__notes__` is missing or not a list."""
    try:
        notes = error.__notes__
    except Exception:  # not only AttributeError: its class may have its own `__getattribute__`
        return []
    return notes if isinstance(notes, list) else []


def add_note(error: BaseException, text: str) -> None:
    """Add a note, also to a frozen error; not if `__notes__` is something else than a list."""
    attributes = object.__getattribute__(error, '__dict__')
    if isinstance(notes := attributes.setdefault('__notes__', []), list):
        notes.append(text)


def without_values(tb: TracebackType | None) -> TracebackType | None:
    """A traceback that prints like this one, but keeps none of its frames alive."""
    return made_of(list(islice(frames_of(tb), MAX_FRAMES)))


def fold_own(error: BaseException) -> None:
    """Let IPython and pytest leave itpipe's own frames out of the error's traceback. Python itself prints all.

    They look for a local variable with this name in each frame, and show at least the last one.
    """
    for each in related(error):
        tb = each.__traceback__
        while tb is not None:
            frame, tb = tb.tb_frame, tb.tb_next
            if str(frame.f_globals.get('__name__')).startswith('itpipe.'):
                local: Any = frame.f_locals
                if isinstance(local, dict):  # before Python 3.13, a copy, which would keep values and the error alive
                    local.clear()
                local['__tracebackhide__'] = True


def frames_of(tb: TracebackType | None) -> Iterator[Frame]:
    """What a traceback shows, frame by frame; `made_of` makes a traceback of it that shows the same."""
    while tb is not None:
        code = tb.tb_frame.f_code
        names = code.co_filename, code.co_name, code.co_qualname, str(tb.tb_frame.f_globals.get('__name__'))
        line, *position = position_of(code, tb.tb_lasti)
        known = line == tb.tb_lineno and None not in position
        # code that the compiler added has no line
        yield Frame(
            *names, code.co_firstlineno, tb.tb_lineno or code.co_firstlineno, tuple(position) if known else None
        )
        tb = tb.tb_next


def position_of(code: CodeType, instruction: int) -> Any:
    """The lines and the columns of the expression that the instruction is of: four numbers, None where unknown."""
    if instruction < 0:
        return (None, None, None, None)
    return next(islice(code.co_positions(), instruction // 2, None), (None, None, None, None))


def made_of(frames: list[Frame]) -> TracebackType | None:
    """A traceback of empty frames with these files, lines and names.

    Each frame is at an instruction that exists and that has the frame's position in the source: tools that show sources
    look for it, and some would loop forever without it.
    """
    result: TracebackType | None = None
    for frame in reversed(frames):
        code = _blank.__code__.replace(
            co_filename=frame.filename,
            co_name=frame.name,
            co_qualname=frame.qualname,
            co_firstlineno=frame.first_line,
            co_linetable=_line_table(frame),
        )
        # the frame of a generator that never runs has no caller, and so keeps no values of one alive
        empty = FunctionType(code, {'__name__': frame.module})().gi_frame
        result = TracebackType(result, empty, empty.f_lasti, frame.line)
    return result


def _blank() -> Iterator[None]:
    yield


def _line_table(frame: Frame) -> bytes:
    """The line table that gives all instructions of `_blank` the frame's position, see `locations.md` of CPython."""
    table, left, lines = bytearray(), len(_blank.__code__.co_code) // 2, frame.line - frame.first_line
    while left:
        count = min(left, 8)
        table.append(0x80 | (13 if frame.position is None else 14) << 3 | count - 1)
        table += _varint(lines << 1 if lines >= 0 else -lines << 1 | 1)
        if frame.position is not None:
            last, column, end = frame.position
            table += _varint(last - frame.line) + _varint(column + 1) + _varint(end + 1)
        left, lines = left - count, 0
    return bytes(table)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 63:
        parts.append(64 | number & 63)
        number >>= 6
    return bytes([*parts, number])
