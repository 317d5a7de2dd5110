"""Errors on their way out of a process: their classes, what they hold, and where they were raised.

An error is taken apart and put together again without a call of what its class defines. So it arrives, whatever its
class does when an error is made, copied or changed. Each part of it is pickled by itself. If a part cannot be pickled
or unpickled, a `LostPart` that prints like it stands in its place, and a note on the error says so.
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

__all__ = ['PackedError', 'message_of', 'pack_error', 'unpack_error']

Dumps: TypeAlias = 'Callable[[Any], bytes]'
PRINTED = 10_000
"""The most characters that are kept of how a part prints."""
NOT_FIELDS = ('__suppress_context__', 'exceptions', 'message', 'obj')
"""Members of Python's own errors that are packed in another way, or that only the constructor can set."""
HEAP_TYPE = 1 << 9
"""The flag of classes that are not built into Python."""


class LostPart:
    """Stands for a part of an error that could not leave its process, and prints as the part did there."""

    __slots__ = ('__reason', '__repr', '__str')

    def __init__(self, reason: BaseException, as_repr: str = '<lost>', as_str: str = '<lost>'):
        self.__reason, self.__repr, self.__str = message_of(reason), as_repr, as_str

    def __repr__(self) -> str:
        return self.__repr

    def __str__(self) -> str:
        return self.__str

    @staticmethod
    def reason(value: Any) -> str:
        """Why the part is not there; empty for any other object."""
        return value.__reason if type(value) is LostPart else ''


@dataclass
class PackedError:
    """An error as plain data. It refers to other errors, and to its parts, by their indices in lists."""

    text: str
    notes: list[str]
    frames: list[Frame]
    suppress: bool
    cause: int | None = None
    context: int | None = None
    members: list[int] = field(default_factory=list)
    kind: bytes = b''  # the pickle of its class …
    lost: str = ''  # … or why the class cannot be pickled
    whole: bytes = b''  # the pickle of the error by its own `__reduce__`, if it has one
    parts: list[bytes | LostPart] = field(default_factory=list)
    arguments: list[int] = field(default_factory=list)  # the parts that its constructor gets,
    args: list[int] = field(default_factory=list)  # those of its `args`,
    fields: dict[str, int] = field(default_factory=dict)  # those in slots,
    attributes: dict[str, int] = field(default_factory=dict)  # and those in its dict


def message_of(error: BaseException) -> str:
    """The error in a line, if it can be printed."""
    try:
        return f'{type(error).__name__}: {text}' if (text := str(error)) else type(error).__name__
    except Exception:
        return type(error).__name__


def pack_error(error: BaseException, dumps: Dumps) -> list[PackedError]:
    """The error, and all errors that it was raised from or groups, as plain data."""
    found = related(error)
    indices = {id(one): index for index, one in enumerate(found)}
    result = [_pack_one(one, dumps) for one in found]
    for one, packed in zip(found, result, strict=True):
        packed.cause, packed.context = (indices.get(id(own(one, name))) for name in ('__cause__', '__context__'))
        packed.members = [indices[id(member)] for member in members(one)]
    return result


def _pack_one(error: BaseException, dumps: Dumps) -> PackedError:
    notes = [_printed(str, note) for note in notes_of(error)]
    frames = list(frames_of(own(error, '__traceback__')))
    packed = PackedError(message_of(error), notes, frames, own(error, '__suppress_context__'))
    try:
        packed.kind = dumps(type(error))
        _pack_parts(error, packed, dumps)
    except Exception as reason:
        packed.kind, packed.lost = b'', message_of(reason.__cause__ or reason)
    return packed


def _pack_parts(error: BaseException, packed: PackedError, dumps: Dumps) -> None:
    kind = type(error)
    base: Any = _builtin(kind)
    if any(getattr(kind, name, None) is not getattr(base, name, None) for name in ('__reduce__', '__reduce_ex__')):
        with suppress(Exception):
            packed.whole = dumps(error)
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
    indices = dict[int, int]()

    def add(value: Any) -> int:
        if id(value) not in indices:
            indices[id(value)] = len(packed.parts)
            try:
                packed.parts.append(dumps(value))
            except Exception as reason:
                printed = _printed(repr, value), _printed(str, value)
                packed.parts.append(LostPart(reason.__cause__ or reason, *printed))
        return indices[id(value)]

    packed.arguments = list(map(add, args[:1] if is_group else reduced[1]))
    packed.args = list(map(add, args[:1] if is_group else args))
    has_notes = isinstance(attributes.get('__notes__'), list)
    packed.attributes = {n: add(value) for n, value in attributes.items() if not (has_notes and n == '__notes__')}
    packed.fields = {name: add(value) for name, value in fields.items() if name not in attributes}


def _printed(show: Callable[[Any], str], value: Any) -> str:
    try:
        return show(value)[:PRINTED]
    except Exception:
        return f'<{type(value).__name__}>'


def _members(base: type[BaseException]) -> Iterator[str]:
    """The names of what the constructor made of its arguments, and what may have been changed since."""
    every = (pair for each in base.__mro__ for pair in vars(each).items())
    return (name for name, member in every if isinstance(member, MemberDescriptorType) and name not in NOT_FIELDS)


def _builtin(kind: type[BaseException]) -> type[BaseException]:
    """The class of Python's own that says how an error of this class lies in memory."""
    while kind.__flags__ & HEAP_TYPE:
        kind = kind.__base__  # type: ignore[assignment]
    return kind


def unpack_error(packed: list[PackedError]) -> BaseException:
    """The error, with all errors that it was raised from or groups."""
    errors: dict[int, BaseException] = {}

    def unpack(index: int) -> BaseException:
        if index not in errors:
            errors[index] = _unpack_one(packed[index], [unpack(member) for member in packed[index].members])
        return errors[index]

    for index, one in enumerate(packed):
        error = unpack(index)
        BaseException.with_traceback(error, made_of(one.frames))
        _set(error, '__cause__', None if one.cause is None else unpack(one.cause))
        _set(error, '__context__', None if one.context is None else unpack(one.context))
        _set(error, '__suppress_context__', one.suppress)
    return errors[0]


def _unpack_one(packed: PackedError, members: list[BaseException]) -> BaseException:
    error: BaseException
    parts: list[Any] = []
    if packed.lost:
        error = NotPicklable(
            f'{packed.text} (raised by the function, but the class of this exception cannot be pickled'
            f' ({packed.lost}): it must be importable, or refer to plain data only)'
        )
    else:
        try:
            error, parts = _made(packed, pickle.loads(packed.kind), members)
        except Exception as reason:
            error = NotPicklable(
                f'{packed.text} (raised by the function, but this exception cannot be unpickled ({message_of(reason)}):'
                ' its class must be importable here)'
            )
    for text in packed.notes:
        add_note(error, text)
    if parts:
        _note_lost_parts(error, packed, parts)
    return error


def _made(
    packed: PackedError, kind: type[BaseException], members: list[BaseException]
) -> tuple[BaseException, list[Any]]:
    """The error, and the parts that it was made of."""
    if packed.whole:
        with suppress(Exception):
            whole: BaseException = pickle.loads(packed.whole)
            if type(whole) is kind:
                object.__getattribute__(whole, '__dict__').pop('__notes__', None)
                return whole, []
    parts = list(map(_part, packed.parts))
    arguments = [parts[index] for index in packed.arguments]
    args = tuple(parts[index] for index in packed.args)
    if members:
        arguments, args = [*arguments, members], (*args, members)
    base: Any = _builtin(kind)
    error: BaseException = base.__new__(kind, *arguments)
    base.__init__(error, *arguments)
    _set(error, 'args', args)
    for name, index in packed.fields.items():
        if parts[index] is not None:  # None is not the same as not being there
            member = getattr(base, name, None)  # the class may have something else under this name
            if isinstance(member, MemberDescriptorType):
                member.__set__(error, parts[index])
            else:
                object.__setattr__(error, name, parts[index])
    object.__getattribute__(error, '__dict__').update({n: parts[index] for n, index in packed.attributes.items()})
    return error, parts


def _part(part: bytes | LostPart) -> Any:
    try:
        return part if isinstance(part, LostPart) else pickle.loads(part)
    except Exception as reason:
        return LostPart(reason)


def _set(error: BaseException, name: str, value: Any) -> None:
    getattr(BaseException, name).__set__(error, value)  # its class may be frozen


def _note_lost_parts(error: BaseException, packed: PackedError, parts: list[Any]) -> None:
    named = {f'`{name}`': parts[index] for name, index in (packed.fields | packed.attributes).items()}
    named |= {f'`args[{n}]`': parts[index] for n, index in enumerate(packed.args)}
    if missing := {name: reason for name, part in named.items() if (reason := LostPart.reason(part))}:
        names, reason = ', '.join(missing), next(iter(missing.values()))
        add_note(error, f'itpipe: without {names}, which could not leave the process ({reason})')
        if message_of(error) != packed.text:
            add_note(error, f'itpipe: it was {packed.text}')
