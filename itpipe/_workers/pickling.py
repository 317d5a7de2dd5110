"""What goes to another process and comes back: functions and values by cloudpickle, errors part by part."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from itertools import chain
from random import SystemRandom
from types import CodeType, NoneType
from typing import Any, ClassVar, TypeAlias
from warnings import warn

import numpy as np

from itpipe._core.inside import kind_of, path_to
from itpipe._core.keys import Key, describe
from itpipe._engine.functions import ItemFunction, Keyed, NeedsRng
from itpipe._engine.indexing import LookUp
from itpipe._engine.stacks import user_stacklevel
from itpipe.errors import NotPicklable

from .arrays import COPIED, IN_FUNCTION, IN_ITEM, Arrays, is_plain_array, reduce_plain_array
from .exceptions import message_of, pack_error, unpack_error
from .reducers import REDUCERS, generators, reduce_code, with_slots
from .task import Packed
from .tensors import reduce_tensor

__all__ = [
    'dumps_call', 'dumps_function', 'error_of', 'loads_call', 'loads_function', 'loads_item', 'pack', 'packed_error',
    'result_of',
]  # fmt: skip


GLOBAL_GENERATORS = (('numpy.random.mtrand', '_rand'), ('random', '_inst'), ('torch', 'default_generator'))
"""They are not copied: what refers to one gets that of the other process."""
ATOMS = {int, float, complex, bool, str, bytes, NoneType}
ATOMIC, WITH_ARRAYS, OTHER = range(3)

BufferCallback: TypeAlias = 'Callable[[pickle.PickleBuffer], object]'
"""As for pickle: takes a buffer that does not go into the pickle, or returns something true if it does."""


def dumps(
    value: Any,
    what: str,
    hint: str,
    buffer_callback: BufferCallback | None = None,
    arrays: Arrays = COPIED,
    key: Key | None = None,
    held: list[Any] | None = None,
) -> bytes:
    """The pickle of a value, or, with a key, of `(key, value)`; its arrays as `arrays` says.

    The random generators that are copied are added to `held`. Raises `NotPicklable`, which says what cannot be pickled,
    where it is in the value, why, and what to do.
    """
    content = value if key is None else (key, value)
    file = io.BytesIO()
    if (plain := _plainness(content)) != OTHER:  # pickle alone is several times as fast
        with suppress(MemoryError):  # it is raised again below
            if plain == ATOMIC:
                return pickle.dumps(content, protocol=5)
            _PlainPickler(file, protocol=5, buffer_callback=buffer_callback).dump(content)
            return file.getvalue()
        file = io.BytesIO()
    pickler = _pickler()(file, protocol=5, buffer_callback=buffer_callback)
    pickler.arrays, pickler.files = arrays, {}
    pickler.held, pickler.generators = held, () if held is None else generators()
    try:
        pickler.dump(content)
    except Exception as error:
        what = what if key is None else f'{what} of {describe(key)}'
        part = pickler.latest
        path = '' if isinstance(error, RecursionError) else path_to(part, value)
        why = f' because of {path}, class `{kind_of(part)}`' if path else ''
        raise NotPicklable(f'{what} cannot be pickled{why} ({message_of(error)}): {_hint(hint, error)}') from error
    return file.getvalue()


def _plainness(value: Any, depth: int = 4) -> int:
    """Whether the value is made of numbers and text, of these and arrays of them, or of anything else."""
    kind = type(value)
    if kind in ATOMS:
        return ATOMIC
    if kind is np.ndarray:
        return WITH_ARRAYS if is_plain_array(value) else OTHER
    if kind not in (tuple, list, dict):
        return ATOMIC if isinstance(value, np.generic) else OTHER
    if len(value) > 100 or not depth:
        return OTHER
    plainness = ATOMIC
    for part in (*value, *value.values()) if kind is dict else value:
        if type(part) not in ATOMS:
            plainness = max(plainness, _plainness(part, depth - 1))
    return plainness


class _PlainPickler(pickle.Pickler):
    dispatch_table: ClassVar[Any] = {np.ndarray: reduce_plain_array}  # type: ignore[misc]


@cache
def _pickler() -> Any:
    from cloudpickle import Pickler

    class Portable(Pickler):  # type: ignore[misc]
        """Cloudpickle's pickler, with some exceptions."""

        arrays: Arrays
        files: dict[int, Any]
        generators: tuple[type, ...]
        held: list[Any]
        latest: Any = None
        """The object that was begun last. If pickling fails, it is the one that cannot be pickled."""

        def reducer_override(self, value: Any) -> Any:
            kind = type(value)
            if kind is np.ndarray or kind is np.memmap:
                return self.arrays.reduce(value, self.files)
            self.latest = value
            if (reduce := REDUCERS.get(kind)) is not None:
                return reduce(value)
            if kind is CodeType:
                return reduce_code(self.dispatch_table[kind], value)
            # `numpy.random.normal` is a method of a generator: each process would get a copy of it in the same state
            for module, name in GLOBAL_GENERATORS:
                if value is getattr(sys.modules.get(module), name, self):
                    return getattr, (sys.modules[module], name)
            if issubclass(kind, self.generators) and not issubclass(kind, SystemRandom):
                self.held.append(value)
            if '_reduce_by_value' in kind.__dict__ and (reduced := value._reduce_by_value()) is not None:
                return reduced
            torch: Any = sys.modules.get('torch')
            if kind is getattr(torch, 'Tensor', None):
                return reduce_tensor(value)
            reduced = super().reducer_override(value)
            return with_slots(value, reduced) if isinstance(value, type) and type(reduced) is tuple else reduced

    return Portable


def loads(data: bytes, what: str, hint: str, buffers: Iterable[Any] = ()) -> Any:
    """The value of a pickle; an error that says what could not be unpickled, why, and what to do."""
    try:
        return pickle.loads(data, buffers=buffers)
    except Exception as error:
        raise NotPicklable(f'{what} cannot be unpickled ({message_of(error)}): {_hint(hint, error)}') from error


def _hint(hint: str, error: Exception) -> str:
    return 'there is too little memory for it' if isinstance(error, MemoryError) else hint


# ---------------------------------------------------------------------------------------------------------------------
# Calls


def dumps_function(function: ItemFunction, buffer_callback: BufferCallback | None = None) -> bytes:
    """The function for a process. With a callback, the process is on this machine, and gets large arrays read-only."""
    arrays = COPIED if buffer_callback is None else IN_FUNCTION
    there = (
        'inside it or in `setup=`'
        if buffer_callback is not None and getattr(function, 'takes_setup', True)
        else 'inside it'
    )
    hint = f'make what it needs {there}, or use threads'
    held: list[Any] = []
    try:
        data = dumps(function, 'the function', hint, buffer_callback, arrays, held=held)
    except NotPicklable:
        _check_steps_before(function.split()[0], arrays)
        raise
    if held := _to_tell_of(held, function):
        what = path_to(held[0], function) or 'the function'
        warn(
            f'{function.where}: {what} is a random generator ({kind_of(held[0])}). Each process gets a copy'
            ' of it, and all draw the same numbers: use `with_rng`, which gives each item a generator of its own',
            RuntimeWarning,
            stacklevel=user_stacklevel(),
        )
    return data


def _to_tell_of(held: list[Any], function: ItemFunction) -> list[Any]:
    """Those that are not only held by calls with a generator for each item, which may seed a copy of them from it."""
    found = [(each, [call for call in function.calls if path_to(each, call)]) for each in held]
    placed = [(each, calls) for each, calls in found if calls]  # the others are parts of these, or nobody knows
    told = [each for each, calls in placed if not all(isinstance(call, NeedsRng) for call in calls)]
    return told if placed else held


def _check_steps_before(function: ItemFunction, arrays: Arrays) -> None:
    """Say that it is not the function itself that cannot be pickled, but what the processes do before it, if so."""
    instead = "use threads, or give `parallel_map` `lookups='main'`"
    for look_up in _look_ups(function):
        hint = f'let it open what it needs in `__getitem__`, {instead}'
        dumps(look_up.sequence, 'the source, whose items the processes look up,', hint, _leave_out, arrays)
    dumps(function, 'what the processes do before the function', instead, _leave_out, arrays)


def _leave_out(_: Any) -> None:
    """A `BufferCallback`, where the pickle is not used."""


def _look_ups(function: ItemFunction) -> Iterator[LookUp]:
    for call in function.calls:
        if isinstance(call, LookUp):
            yield call
        elif isinstance(call, Keyed):
            yield from chain.from_iterable(map(_look_ups, call.inner))


def dumps_call(key: Key, value: Any, buffer_callback: BufferCallback | None = None) -> bytes:
    """An item for a process. With a callback, the process is on this machine."""
    hint = 'make it inside the function, or use threads'
    return dumps(value, 'the value', hint, buffer_callback, COPIED if buffer_callback is None else IN_ITEM, key)


def loads_function(data: bytes, buffers: Iterable[Any] = ()) -> ItemFunction:
    """The function in the process."""
    hint = 'what it uses must be importable in the process'
    return loads(data, 'the function', hint, buffers)  # type: ignore[no-any-return]


def loads_item(data: bytes, buffers: Iterable[Any] = ()) -> tuple[Key, Any]:
    """The key and the item in the process."""
    hint = 'what it is made of must be importable in the process'
    return loads(data, 'the value of an item', hint, buffers)  # type: ignore[no-any-return]


_loads_function = lru_cache(maxsize=8)(loads_function)


def loads_call(function: bytes, item: bytes, pass_: int = 0) -> Any:
    """What the function, which is unpickled only once, returns for the item in this pass."""
    return _loads_function(function).in_pass(pass_)(*loads_item(item))


def pack(call: Callable[..., Any], *args: Any, buffer_callback: BufferCallback | None = None) -> Packed:
    """The result of the call, or its error, ready to be sent."""
    try:
        result = call(*args)
        return Packed(dumps(result, 'the result', 'return arrays, numbers and other plain data', buffer_callback))
    except BaseException as error:
        return Packed(packed_error(error), failed=True)


def packed_error(error: BaseException) -> bytes:
    """The error, ready to be sent."""
    return pickle.dumps(pack_error(error, _dumps_part))


def error_of(data: bytes) -> Any:
    """The error that was sent."""
    return unpack_error(pickle.loads(data))


def _dumps_part(part: Any) -> bytes:
    return dumps(part, 'this part of an error', 'keep only plain data in it')


def result_of(packed: Packed) -> Any:
    """The result of the call; raises what the call raised."""
    if not packed.failed:
        return loads(packed.data, 'the result', 'what it is made of must be importable here', packed.buffers)
    raise error_of(packed.data)
