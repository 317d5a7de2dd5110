"""Errors on their way out of a process: their classes, what they hold, and where they were raised.

An error is taken apart and put together without its class being called, or asked: so it arrives whatever its class does
when it is made, copied or changed. Each part goes by itself. One that cannot be pickled, or unpickled, stays behind: in
its place is what prints as the part did, and a note on the error says so.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from copyreg import _slotnames  # type: ignore[attr-defined]
from dataclasses import dataclass, field
from types import MemberDescriptorType
from typing import Any, TypeAlias

from itpipe._core.tracebacks import Frame, add_note, frames_of, made_of, members, notes_of, own, related
from itpipe.errors import NotPicklable

__all__ = ['Raised', 'restored', 'said', 'taken_apart']

Dumps: TypeAlias = 'Callable[[Any], bytes]'
LONGEST = 10_000
"""Characters that are kept of how a part prints."""
UNPICKLED = ('__suppress_context__', 'exceptions', 'message', 'obj')
"""What Python does not pickle of its own errors, or makes of their arguments once and for all, or goes by itself."""
HEAP_TYPE = 1 << 9
"""The flag of classes that were not written in C, as all those of Python itself are."""


class LeftBehind:
    """Stands for a part of an error that could not leave its process, and prints as it did there."""

    __slots__ = ('__reason', '__repr', '__str')

    def __init__(self, reason: BaseException, as_repr: str, as_str: str):
        self.__reason, self.__repr, self.__str = said(reason), as_repr, as_str

    def __repr__(self) -> str:
        return self.__repr

    def __str__(self) -> str:
        return self.__str

    @staticmethod
    def reason(value: Any) -> str:
        """Why it is not there; empty for any other object."""
        return value.__reason if type(value) is LeftBehind else ''


def _shown(show: Callable[[Any], str], value: Any) -> str:
    try:
        return show(value)[:LONGEST]
    except Exception:
        return f'<{type(value).__name__}>'


def said(error: BaseException) -> str:
    """The error in a line, if it can be printed."""
    try:
        return f'{type(error).__name__}: {text}' if (text := str(error)) else type(error).__name__
    except Exception:
        return type(error).__name__


@dataclass
class _Part:
    """A part of an error: its pickle, or what is left of it."""

    data: bytes = b''
    left: Any = None

    def value(self) -> Any:
        if self.left is not None:
            return self.left
        try:
            return pickle.loads(self.data)
        except Exception as reason:
            return LeftBehind(reason, '<lost>', '<lost>')


@dataclass
class Raised:
    """An error and, by their places in a list, those that belong to it."""

    text: str
    notes: list[str]
    frames: list[Frame]
    suppress: bool
    cause: int | None = None
    context: int | None = None
    members: list[int] = field(default_factory=list)
    kind: bytes = b''
    """Its class …"""
    lost: str = ''
    """… or why that cannot be pickled."""
    whole: bytes = b''
    """The error as its own `__reduce__` wants it, if it has one."""
    parts: list[_Part] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    """Where in `parts` the arguments are that it is made of …"""
    args: list[int] = field(default_factory=list)
    """… and its `args` …"""
    fields: dict[str, int] = field(default_factory=dict)
    """… and what it has in slots …"""
    attributes: dict[str, int] = field(default_factory=dict)
    """… and in its dict."""


# ---------------------------------------------------------------------------------------------------------------------
# Apart


def taken_apart(error: BaseException, dumps: Dumps) -> list[Raised]:
    """The error, and all that it was raised from or groups, as plain data."""
    found = related(error)
    places = {id(each): place for place, each in enumerate(found)}
    result = []
    for each in found:
        raised = _apart(each, dumps)
        raised.cause, raised.context = (places.get(id(own(each, name))) for name in ('__cause__', '__context__'))
        raised.members = [places[id(member)] for member in members(each)]
        result.append(raised)
    return result


def _apart(error: BaseException, dumps: Dumps) -> Raised:
    raised = Raised(
        said(error),
        [_shown(str, note) for note in notes_of(error)],
        list(frames_of(own(error, '__traceback__'))),
        own(error, '__suppress_context__'),
    )
    try:
        raised.kind = dumps(type(error))
        _take_parts(error, raised, dumps)
    except Exception as reason:
        raised.kind, raised.lost = b'', said(reason.__cause__ or reason)
    return raised


def _take_parts(error: BaseException, raised: Raised, dumps: Dumps) -> None:
    kind = type(error)
    base: Any = _builtin(kind)
    if any(getattr(kind, name, None) is not getattr(base, name, None) for name in ('__reduce__', '__reduce_ex__')):
        with suppress(Exception):
            raised.whole = dumps(error)
    reduced = base.__reduce__(error)
    args = BaseException.args.__get__(error)  # type: ignore[attr-defined]
    is_group = issubclass(kind, BaseExceptionGroup)
    attributes = object.__getattribute__(error, '__dict__')
    fields: dict[str, Any] = dict(*reduced[2:])
    for name in _members(base):
        with suppress(AttributeError):
            fields[name] = own(error, name, base)
    for name in _slotnames(kind):
        with suppress(AttributeError):
            fields[name] = object.__getattribute__(error, name)
    places = dict[int, int]()

    def place(value: Any) -> int:
        if id(value) not in places:
            places[id(value)] = len(raised.parts)
            try:
                part = _Part(dumps(value))
            except Exception as reason:
                left = LeftBehind(reason.__cause__ or reason, _shown(repr, value), _shown(str, value))
                part = _Part(left=left)
            raised.parts.append(part)
        return places[id(value)]

    raised.given = list(map(place, args[:1] if is_group else reduced[1]))
    raised.args = list(map(place, args[:1] if is_group else args))
    noted = isinstance(attributes.get('__notes__'), list)
    raised.attributes = {n: place(value) for n, value in attributes.items() if not (noted and n == '__notes__')}
    raised.fields = {name: place(value) for name, value in fields.items() if name not in attributes}


def _members(base: type[BaseException]) -> Iterator[str]:
    """What an error has that its constructor made of the arguments, and which may have been changed since."""
    for each in base.__mro__:
        for name, member in vars(each).items():
            if isinstance(member, MemberDescriptorType) and name not in UNPICKLED:
                yield name


def _builtin(kind: type[BaseException]) -> type[BaseException]:
    """The class of Python's own that says what an error of this class is in memory."""
    while kind.__flags__ & HEAP_TYPE:
        kind = kind.__base__  # type: ignore[assignment]
    return kind


# ---------------------------------------------------------------------------------------------------------------------
# Together


def restored(packed: list[Raised]) -> BaseException:
    """The error, with all that belong to it."""
    errors: dict[int, BaseException] = {}

    def restore(place: int) -> BaseException:
        if place not in errors:
            errors[place] = _together(packed[place], [restore(member) for member in packed[place].members])
        return errors[place]

    for place, each in enumerate(packed):
        error = restore(place)
        BaseException.with_traceback(error, made_of(each.frames))
        _set(error, '__cause__', None if each.cause is None else restore(each.cause))
        _set(error, '__context__', None if each.context is None else restore(each.context))
        _set(error, '__suppress_context__', each.suppress)
    return errors[0]


def _together(raised: Raised, members: list[BaseException]) -> BaseException:
    error: BaseException
    parts: list[Any] = []
    if raised.lost:
        error = NotPicklable(
            f'{raised.text} (raised by the function, but the class of this exception cannot be pickled'
            f' ({raised.lost}): it must be importable, or refer to plain data only)'
        )
    else:
        try:
            error, parts = _made(raised, pickle.loads(raised.kind), members)
        except Exception as reason:
            error = NotPicklable(
                f'{raised.text} (raised by the function, but this exception cannot be unpickled ({said(reason)}):'
                ' its class must be importable here)'
            )
    for text in raised.notes:
        add_note(error, text)
    if parts:
        _note_what_is_left(error, raised, parts)
    return error


def _made(raised: Raised, kind: type[BaseException], members: list[BaseException]) -> tuple[BaseException, list[Any]]:
    """The error, and the parts that it was made of."""
    if raised.whole:
        with suppress(Exception):
            whole: BaseException = pickle.loads(raised.whole)
            if type(whole) is kind:
                object.__getattribute__(whole, '__dict__').pop('__notes__', None)
                return whole, []
    parts = [part.value() for part in raised.parts]
    given, args = tuple(parts[place] for place in raised.given), tuple(parts[place] for place in raised.args)
    if members:
        given, args = (*given, members), (*args, members)
    base: Any = _builtin(kind)
    error: BaseException = base.__new__(kind, *given)
    base.__init__(error, *given)
    _set(error, 'args', args)
    for name, place in raised.fields.items():
        if parts[place] is not None:  # which is something else than not being there
            member = getattr(base, name, None)  # the class may have something else under this name
            if isinstance(member, MemberDescriptorType):
                member.__set__(error, parts[place])
            else:
                object.__setattr__(error, name, parts[place])
    object.__getattribute__(error, '__dict__').update({n: parts[place] for n, place in raised.attributes.items()})
    return error, parts


def _set(error: BaseException, name: str, value: Any) -> None:
    getattr(BaseException, name).__set__(error, value)  # its class may be frozen


def _note_what_is_left(error: BaseException, raised: Raised, parts: list[Any]) -> None:
    left = {f'`{name}`': parts[place] for name, place in (raised.fields | raised.attributes).items()}
    left |= {f'`args[{n}]`': parts[place] for n, place in enumerate(raised.args)}
    left = {name: reason for name, part in left.items() if (reason := LeftBehind.reason(part))}
    if left:
        names, reason = ', '.join(left), next(iter(left.values()))
        add_note(error, f'itpipe: without {names}, which could not leave the process ({reason})')
        if said(error) != raised.text:
            add_note(error, f'itpipe: it was {raised.text}')
