"""What goes to another process and comes back: functions and values by cloudpickle, errors as they were raised."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from copyreg import _slotnames  # type: ignore[attr-defined]
from dataclasses import dataclass, field
from functools import cache, lru_cache
from types import NoneType
from typing import Any, TypeAlias

import numpy as np

from .arrays import COPIED, IN_FUNCTION, IN_ITEM, Arrays, is_plain, thawed
from .binding import ItemFunction
from .errors import NotPicklable
from .keys import Key, describe
from .stage import stage
from .tracebacks import frames_of, made_of, members, related

__all__ = [
    'Packed', 'dumps_call', 'dumps_function', 'loads_call', 'loads_function', 'loads_item', 'pack', 'unpack',
]  # fmt: skip


_ATOMS = {int, float, complex, bool, str, bytes, NoneType}

Apart: TypeAlias = 'Callable[[pickle.PickleBuffer], object]'
"""Takes a buffer that is to be sent apart from the pickle, or says by something true that it is not."""


def dumps(value: Any, what: str, hint: str, apart: Apart | None = None, arrays: Arrays = COPIED) -> bytes:
    """The pickle of a value, without the buffers that `apart` keeps, its arrays as `arrays` says.

    Raises an error that says what could not be pickled, why, and what to do.
    """
    if _is_plain(value):  # which is several times as fast
        return pickle.dumps(value, protocol=5, buffer_callback=apart)
    file = io.BytesIO()
    pickler = _pickler()(file, protocol=5, buffer_callback=apart)
    pickler.arrays, pickler.files = arrays, {}
    try:
        pickler.dump(value)
    except Exception as error:
        raise NotPicklable(f'{what} cannot be pickled ({_said(error)}): {hint}') from error
    return file.getvalue()


def _is_plain(value: Any, depth: int = 4) -> bool:
    """Whether the value is made of numbers, text and arrays of them, which need nothing of cloudpickle."""
    kind = type(value)
    if kind in _ATOMS or isinstance(value, np.generic):
        return True
    if kind is np.ndarray:
        return is_plain(value)
    if kind not in (tuple, list, dict) or len(value) > 100 or not depth:
        return False
    parts = (*value, *value.values()) if kind is dict else value
    return all(_is_plain(part, depth - 1) for part in parts)


@cache
def _pickler() -> Any:
    from cloudpickle import Pickler

    class Portable(Pickler):  # type: ignore[misc]
        """Cloudpickle's, with four exceptions."""

        arrays: Arrays
        files: dict[int, Any]

        def reducer_override(self, value: Any) -> Any:
            if type(value) is np.ndarray or type(value) is np.memmap:
                return self.arrays.reduce(value, self.files)
            # `numpy.random.normal` belongs to a generator, of which each process would get a copy in the same state
            for module, name in (('numpy.random.mtrand', '_rand'), ('random', '_inst')):
                if value is getattr(sys.modules.get(module), name, self):
                    return getattr, (sys.modules[module], name)
            if isinstance(value, stage) and value.function.__module__ == '__main__':  # another one in the process
                return stage, (value.function,)
            torch: Any = sys.modules.get('torch')
            if type(value) is getattr(torch, 'Tensor', None):
                # what numpy does not have goes as usual: tensors that are not on the CPU, or have a gradient
                with suppress(TypeError, RuntimeError):
                    return _tensor, (value.numpy(),)
            return super().reducer_override(value)

    return Portable


def _tensor(array: Any) -> Any:
    from torch import from_numpy

    return from_numpy(thawed(array))  # there are no tensors that are read-only


def loads(data: bytes, what: str, hint: str, buffers: Iterable[Any] = ()) -> Any:
    """The value of a pickle; an error that says what could not be unpickled, why, and what to do."""
    try:
        return pickle.loads(data, buffers=buffers)
    except Exception as error:
        raise NotPicklable(f'{what} cannot be unpickled ({_said(error)}): {hint}') from error


def _said(error: BaseException) -> str:
    return f'{type(error).__name__}: {error}' if str(error) else type(error).__name__


# ---------------------------------------------------------------------------------------------------------------------
# Calls


def dumps_function(function: ItemFunction, apart: Apart | None = None) -> bytes:
    """The function as it goes to a process; with `apart`, to one of this machine, where its arrays are read-only."""
    arrays = COPIED if apart is None else IN_FUNCTION
    return dumps(function, 'the function', 'make what it needs inside it, or use threads', apart, arrays)


def dumps_call(key: Key, value: Any, apart: Apart | None = None) -> bytes:
    """An item as it goes to a process; with `apart`, to one of this machine."""
    what, hint = f'the value of {describe(key)}', 'make it inside the function, or use threads'
    return dumps((key, value), what, hint, apart, COPIED if apart is None else IN_ITEM)


def loads_function(data: bytes, buffers: Iterable[Any] = ()) -> ItemFunction:
    """The function in the process."""
    hint = 'what it uses must be importable in the process'
    return loads(data, 'the function', hint, buffers)  # type: ignore[no-any-return]


def loads_item(data: bytes, buffers: Iterable[Any] = ()) -> tuple[Key, Any]:
    """The item in the process, as the function takes it."""
    hint = 'what it is made of must be importable in the process'
    return loads(data, 'the value of an item', hint, buffers)  # type: ignore[no-any-return]


_loads_function = lru_cache(maxsize=8)(loads_function)


def loads_call(function: bytes, item: bytes) -> Any:
    """What the function, which is unpickled once, makes of the item."""
    return _loads_function(function)(*loads_item(item))


@dataclass
class Packed:
    """What a call in another process came to."""

    data: bytes
    failed: bool = False
    buffers: Any = ()

    @property
    def nbytes(self) -> int:
        """The bytes that it holds."""
        return len(self.data) + sum(map(len, self.buffers))


def pack(call: Callable[..., Any], *args: Any, apart: Apart | None = None) -> Packed:
    """The result of the call, or its error, ready to be sent."""
    try:
        return Packed(dumps(call(*args), 'the result', 'return arrays, numbers and other plain data', apart))
    except BaseException as error:
        return Packed(pickle.dumps(_packed(error)), failed=True)


def unpack(packed: Packed) -> Any:
    """The result of the call; raises what the call raised."""
    if not packed.failed:
        return loads(packed.data, 'the result', 'what it is made of must be importable here', packed.buffers)
    raise _unpacked(pickle.loads(packed.data))


# ---------------------------------------------------------------------------------------------------------------------
# Errors


@dataclass
class _Error:
    """An error and, by their places in a list, those that belong to it."""

    data: bytes
    text: str
    frames: list[tuple[str, int, str, str, str]]
    suppress: bool
    cause: int | None = None
    context: int | None = None
    members: list[int] = field(default_factory=list)


def _packed(error: BaseException) -> list[_Error]:
    """The error, and all that it was raised from or groups."""
    found = related(error)
    places = {id(each): place for place, each in enumerate(found)}
    return [
        _Error(
            _dumps_error(each),
            _text(each),
            list(frames_of(each.__traceback__)),
            each.__suppress_context__,
            places.get(id(each.__cause__)),
            places.get(id(each.__context__)),
            [places[id(member)] for member in members(each)],
        )
        for each in found
    ]


def _unpacked(packed: list[_Error]) -> BaseException:
    errors: dict[int, BaseException] = {}

    def restore(place: int) -> BaseException:
        if place not in errors:
            members = [restore(member) for member in packed[place].members]
            try:
                errors[place] = _restored(pickle.loads(packed[place].data), members)
            except Exception as reason:
                errors[place] = NotPicklable(
                    f'{packed[place].text} (raised by the function, but this exception cannot be unpickled'
                    f' ({_said(reason)}): its class must be importable here)'
                )
        return errors[place]

    for place, each in enumerate(packed):
        error = restore(place)
        error.__traceback__ = made_of(each.frames)
        error.__cause__ = None if each.cause is None else restore(each.cause)
        error.__context__ = None if each.context is None else restore(each.context)
        error.__suppress_context__ = each.suppress
    return errors[0]


def _dumps_error(error: BaseException) -> bytes:
    from cloudpickle import dumps

    try:
        data: bytes = dumps(_recipe(error))
        _restored(pickle.loads(data), list(members(error)))
        return data
    except Exception as reason:
        lost = NotPicklable(
            f'{_text(error)} (raised by the function, but this exception cannot be pickled ({_said(reason)}):'
            ' keep only plain data in it)'
        )
        for note in getattr(error, '__notes__', ()):
            lost.add_note(str(note))
        return dumps(_recipe(lost))  # type: ignore[no-any-return]


def _text(error: BaseException) -> str:
    try:
        return _said(error)
    except Exception:  # it cannot even be printed
        return type(error).__name__


def _recipe(error: BaseException) -> tuple[Any, ...]:
    """What `_restored` makes the error of, without calling its class, whose arguments may be others than `args`."""
    kind, base = type(error), _builtin(type(error))
    if any(getattr(kind, name, None) is not getattr(base, name, None) for name in ('__reduce__', '__reduce_ex__')):
        return error, getattr(error, '__notes__', [])  # it knows how, but for the notes
    state = {name: getattr(error, name) for name in _slotnames(kind) if hasattr(error, name)} | error.__dict__
    if isinstance(error, BaseExceptionGroup):
        return kind, (error.message,), error.args[:1], state
    reduced: tuple[Any, ...] = error.__reduce__()  # type: ignore[assignment]
    return kind, reduced[1], error.args, *map(dict, reduced[2:]), state


def _restored(recipe: Any, members: list[BaseException]) -> BaseException:
    error: BaseException
    if isinstance(recipe[0], BaseException):
        error, notes = recipe
        if notes:
            error.__notes__ = notes
        return error
    kind, given, args, *states = recipe
    if members:
        given, args = (*given, members), (*args, members)
    error = kind.__new__(kind, *given)
    _builtin(kind).__init__(error, *given)
    error.args = args
    for state in states:
        for name, value in state.items():
            setattr(error, name, value)
    return error


def _builtin(kind: type[BaseException]) -> Any:
    return next(base for base in kind.__mro__ if base.__module__ == 'builtins')
