"""What goes to another process and comes back: functions and values by cloudpickle, errors as they were raised."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, lru_cache
from random import SystemRandom
from types import CodeType, NoneType
from typing import Any, TypeAlias
from warnings import warn

import numpy as np

from itpipe._core.inside import kind_of, place_of
from itpipe._core.keys import Key, describe
from itpipe._engine.functions import ItemFunction
from itpipe._engine.stacks import user_stacklevel
from itpipe.errors import NotPicklable

from .arrays import COPIED, IN_FUNCTION, IN_ITEM, Arrays, is_plain
from .exceptions import restored, said, taken_apart
from .reducers import REDUCERS, generators, reduce_code, with_slots
from .task import Packed
from .tensors import reduce_tensor

__all__ = ['dumps_call', 'dumps_function', 'loads_call', 'loads_function', 'loads_item', 'pack', 'unpack']


HIDDEN = (('numpy.random.mtrand', '_rand'), ('random', '_inst'), ('torch', 'default_generator'))
"""The global generators, which stay those of the process."""
_ATOMS = {int, float, complex, bool, str, bytes, NoneType}

Apart: TypeAlias = 'Callable[[pickle.PickleBuffer], object]'
"""Takes a buffer that is to be sent apart from the pickle, or says by something true that it is not."""


def dumps(
    value: Any,
    what: str,
    hint: str,
    apart: Apart | None = None,
    arrays: Arrays = COPIED,
    root: Any = None,
    held: list[Any] | None = None,
) -> bytes:
    """The pickle of a value, without the buffers that `apart` keeps, its arrays as `arrays` says.

    The random generators that are copied are added to `held`. Raises an error that says what could not be pickled,
    where in `root`, by default the value, why, and what to do.
    """
    if _is_plain(value):  # which is several times as fast
        with suppress(MemoryError):  # to be said below
            return pickle.dumps(value, protocol=5, buffer_callback=apart)
    file = io.BytesIO()
    pickler = _pickler()(file, protocol=5, buffer_callback=apart)
    pickler.arrays, pickler.files = arrays, {}
    pickler.held, pickler.generators = held, () if held is None else generators()
    try:
        pickler.dump(value)
    except Exception as error:
        part = pickler.latest
        place = '' if isinstance(error, RecursionError) else place_of(part, value if root is None else root)
        why = f' because of {place}, class `{kind_of(part)}`' if place else ''
        raise NotPicklable(f'{what} cannot be pickled{why} ({said(error)}): {_hint(hint, error)}') from error
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
        """Cloudpickle's, with some exceptions."""

        arrays: Arrays
        files: dict[int, Any]
        generators: tuple[type, ...]
        held: list[Any]
        latest: Any = None
        """What was looked at last: where that fails, it cannot be pickled."""

        def reducer_override(self, value: Any) -> Any:
            kind = type(value)
            if kind is np.ndarray or kind is np.memmap:
                return self.arrays.reduce(value, self.files)
            self.latest = value
            if (reduce := REDUCERS.get(kind)) is not None:
                return reduce(value)
            if kind is CodeType:
                return reduce_code(self.dispatch_table[kind], value)
            # `numpy.random.normal` belongs to a generator, of which each process would get a copy in the same state
            for module, name in HIDDEN:
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
        raise NotPicklable(f'{what} cannot be unpickled ({said(error)}): {_hint(hint, error)}') from error


def _hint(hint: str, error: Exception) -> str:
    return 'there is too little memory for it' if isinstance(error, MemoryError) else hint


# ---------------------------------------------------------------------------------------------------------------------
# Calls


def dumps_function(function: ItemFunction, apart: Apart | None = None) -> bytes:
    """The function as it goes to a process; with `apart`, to one of this machine, where its arrays are read-only."""
    arrays = COPIED if apart is None else IN_FUNCTION
    there = 'inside it' if apart is None else 'inside it or in `setup=`'
    held: list[Any] = []
    data = dumps(function, 'the function', f'make what it needs {there}, or use threads', apart, arrays, held=held)
    if held:
        what = place_of(held[0], function) or 'the function'
        warn(
            f'{" | ".join(function.names)}: {what} is a random generator ({kind_of(held[0])}). Each process gets a copy'
            ' of it, and all draw the same numbers: use `with_rng`, which gives each item a generator of its own',
            RuntimeWarning,
            stacklevel=user_stacklevel(),
        )
    return data


def dumps_call(key: Key, value: Any, apart: Apart | None = None) -> bytes:
    """An item as it goes to a process; with `apart`, to one of this machine."""
    what, hint = f'the value of {describe(key)}', 'make it inside the function, or use threads'
    return dumps((key, value), what, hint, apart, COPIED if apart is None else IN_ITEM, root=value)


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


def pack(call: Callable[..., Any], *args: Any, apart: Apart | None = None) -> Packed:
    """The result of the call, or its error, ready to be sent."""
    try:
        return Packed(dumps(call(*args), 'the result', 'return arrays, numbers and other plain data', apart))
    except BaseException as error:
        return Packed(pickle.dumps(taken_apart(error, _dumps_part)), failed=True)


def _dumps_part(part: Any) -> bytes:
    return dumps(part, 'this part of an error', 'keep only plain data in it')


def unpack(packed: Packed) -> Any:
    """The result of the call; raises what the call raised."""
    if not packed.failed:
        return loads(packed.data, 'the result', 'what it is made of must be importable here', packed.buffers)
    raise restored(pickle.loads(packed.data))
