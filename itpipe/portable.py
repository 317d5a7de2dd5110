"""What goes to another process and comes back: functions and values by cloudpickle, errors as they were raised."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pickle import loads
from types import CodeType, TracebackType
from typing import Any

from .errors import NotPicklable
from .steps import same

__all__ = ['Packed', 'dumps', 'pack', 'unpack']


def dumps(value: Any, what: str, hint: str) -> bytes:
    """The pickle of a value; an error that says what could not be pickled, why, and what to do."""
    from cloudpickle import dumps

    try:
        return dumps(value, protocol=5)  # type: ignore[no-any-return]
    except Exception as error:
        raise NotPicklable(f'{what} cannot be pickled ({error}): {hint}') from error


@dataclass
class Packed:
    """What a call in another process came to."""

    data: bytes
    failed: bool = False


def pack(call: Callable[..., Any], *args: Any) -> Packed:
    """The result of the call, or its error, ready to be sent."""
    try:
        return Packed(dumps(call(*args), 'the result', 'return arrays, numbers and other plain data'))
    except BaseException as error:
        return Packed(dumps(_packed_error(error), 'the error', 'this is a defect of itpipe'), failed=True)


def unpack(packed: Packed) -> Any:
    """The result of the call; raises what the call raised."""
    value = loads(packed.data)
    if packed.failed:
        raise _unpacked_error(value)
    return value


def _packed_error(error: BaseException) -> dict[str, Any]:
    frames = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in traceback.walk_tb(error.__traceback__)]
    links = {name: getattr(error, name) for name in ('__cause__', '__context__')}
    return {
        'error': _data(error),
        'frames': frames,
        'suppress': error.__suppress_context__,
        'links': {name: _packed_error(link) for name, link in links.items() if link is not None},
    }


def _data(error: BaseException) -> bytes:
    from cloudpickle import dumps

    try:
        data: bytes = dumps(error)
        again = loads(data)
        if type(again) is type(error) and same(again.args, error.args):
            return data
    except Exception:  # its class takes other arguments than it keeps in `args`
        pass
    try:
        data = dumps(_Rebuilt(type(error), error.args, error.__dict__))
        loads(data)
        return data
    except Exception as reason:
        lost = NotPicklable(
            f'{type(error).__name__}: {error} (raised by the function, but this exception cannot be pickled ({reason}):'
            ' keep only plain data in it)'
        )
        for note in getattr(error, '__notes__', ()):
            lost.add_note(note)
        return dumps(lost)  # type: ignore[no-any-return]


class _Rebuilt:
    """An exception without the call of its class."""

    def __init__(self, kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]):
        self.content = kind, args, state

    def __reduce__(self) -> Any:
        return _rebuild, self.content


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _unpacked_error(packed: dict[str, Any]) -> BaseException:
    error: BaseException = loads(packed['error'])
    for name, link in packed['links'].items():
        setattr(error, name, _unpacked_error(link))
    error.__suppress_context__ = packed['suppress']
    return error.with_traceback(_traceback(packed['frames']))


def _traceback(frames: list[tuple[str, int, str]]) -> TracebackType | None:
    """A traceback that reads like the one in the other process: frames of the same files, lines and names."""
    result: TracebackType | None = None
    blank: CodeType = compile('raise Exception', '', 'exec')
    for filename, line, name in reversed(frames):
        code = blank.replace(co_filename=filename, co_name=name, co_qualname=name, co_firstlineno=line)
        try:
            exec(code, {'__name__': name, '__builtins__': {'Exception': Exception}})
        except Exception as error:
            assert error.__traceback__ is not None and error.__traceback__.tb_next is not None
            frame = error.__traceback__.tb_next.tb_frame
            result = TracebackType(result, frame, frame.f_lasti, line)
    return result
