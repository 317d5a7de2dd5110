"""A hash of what a value is made of: a function of its code, an object of its attributes, a list of its items."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

import numpy as np

__all__ = ['content_hash']

WHOLE: Final = 1 << 26
"""Bytes. Of larger arrays, this many bytes are hashed, in rows all over the array."""
PLAIN = (int, float, complex, bool, str, bytes, type(None), type(...), np.generic, PurePath, range)
HAS_DOCSTRING: Final = 0x4000000
"""The flag of code, from Python 3.14 on."""
CALLED = ('__call__', '__getitem__', '__getitems__', '__iter__', '__len__')
"""The methods of Python's own protocols that make items."""


def content_hash(*values: Any) -> str:
    """16 characters that are the same for values that do the same, also in another process.

    Functions count by their code, defaults, closures, and what they use of their module; so do the classes of objects,
    unless they are of an installed library, which counts by its name. Objects count by their attributes, or by what
    their `__getstate__` gives.

    >>> content_hash({'paths': ['a', 'b']}) == content_hash({'paths': ['a', 'b']})
    True
    >>> content_hash({'paths': ['a', 'b']}) == content_hash({'paths': ['a', 'c']})
    False
    """
    return _Hashing().of(values).hex()


class _Hashing:
    def __init__(self) -> None:
        self.done: dict[int, tuple[bytes, Any]] = {}
        """The hashes of values, by id; the values with them, or their ids could become those of others."""
        self.within: list[int] = []
        """The ids of the values that this one is a part of. A value may be a part of itself."""

    def of(self, value: Any) -> bytes:
        if isinstance(value, PLAIN):
            return _hashed(type(value).__name__, repr(value))
        if id(value) in self.within:
            return _hashed('part of itself', self.within.index(id(value)))
        if id(value) not in self.done:
            self.within.append(id(value))
            self.done[id(value)] = _hashed(type(value).__name__, *self.parts(value)), value
            self.within.pop()
        return self.done[id(value)][0]

    def parts(self, value: Any) -> Iterable[Any]:
        """What the value is made of: bytes and words."""
        if isinstance(value, np.ndarray) and value.dtype != object:
            return _array(value)
        if isinstance(value, (list, tuple)):
            return map(repr, value) if all(isinstance(part, str) for part in value) else map(self.of, value)
        if isinstance(value, Mapping):
            return (self.of(part) for pair in value.items() for part in pair)
        if isinstance(value, AbstractSet):
            return sorted(map(self.of, value))
        if isinstance(value, partial):
            return map(self.of, (value.func, value.args, value.keywords))
        if isinstance(value, MethodType):
            return map(self.of, (value.__func__, value.__self__))
        if isinstance(value, FunctionType):
            return self.function(value)
        if isinstance(value, CodeType):
            return self.code(value)
        if isinstance(value, (ModuleType, BuiltinFunctionType, np.ufunc)):
            return getattr(value, '__module__', ''), value.__name__
        if isinstance(value, type):
            return self.kind(value)
        if any('__getstate__' in vars(kind) for kind in type(value).__mro__[:-1]):
            return map(self.of, (type(value), value.__getstate__()))
        slots = [getattr(value, name, None) for name in _slots(type(value))]
        array = None
        if hasattr(type(value), '__array__'):  # such as a tensor
            with suppress(Exception):
                array = np.asarray(value)
        return map(self.of, (type(value), getattr(value, '__dict__', None), slots, array))

    def function(self, function: FunctionType) -> Iterator[Any]:
        if _is_installed(function.__module__):
            yield from (function.__module__, function.__qualname__)
            return
        yield from map(self.of, (function.__code__, function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                yield self.of(cell.cell_contents)
            except ValueError:
                yield 'empty'
        for name in _names_in(function.__code__):
            if name in function.__globals__:
                yield from (name, self.of(function.__globals__[name]))

    def code(self, code: CodeType) -> Iterator[Any]:
        yield code.co_code
        yield from code.co_names
        yield from map(self.of, code.co_consts[_has_place_for_docstring(code) :])

    def kind(self, kind: type) -> Iterator[Any]:
        yield kind.__qualname__
        if _is_installed(kind.__module__):
            yield kind.__module__
            return
        yield from map(self.of, kind.__bases__)
        for name, value in vars(kind).items():
            if not name.startswith('__') or name in CALLED:
                yield from (name, self.of(getattr(value, '__func__', value)))


def _hashed(*parts: Any) -> bytes:
    result = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode('utf-8', 'surrogatepass')
        result.update(b'%d\0' % len(data))
        result.update(data)
    return result.digest()


def _array(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    shape = array.shape
    if array.nbytes > WHOLE and len(array) > 1:
        array = array[:: -(-array.nbytes // WHOLE)]
    return array.dtype.str, shape, np.ascontiguousarray(array).tobytes()


def _has_place_for_docstring(code: CodeType) -> bool:
    """Whether the first constant of the code is its docstring, or None if it has none."""
    return bool(code.co_flags & HAS_DOCSTRING) if sys.version_info >= (3, 14) else not code.co_name.startswith('<')


def _slots(kind: type) -> list[str]:
    names = [vars(base).get('__slots__', ()) for base in kind.__mro__]
    return sorted({name for each in names for name in ([each] if isinstance(each, str) else each)})


def _names_in(code: CodeType) -> list[str]:
    """The global names that the code uses, also in functions within it."""
    inner = [_names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return sorted({*code.co_names, *(name for names in inner for name in names)})


def _is_installed(module: str | None) -> bool:
    """Whether the module is of a library: of Python, of itpipe, or of what was installed."""
    if module is None or module.partition('.')[0] in {*sys.stdlib_module_names, 'itpipe'}:
        return True
    file = getattr(sys.modules.get(module), '__file__', None) or ''
    return 'site-packages' in file or 'dist-packages' in file
