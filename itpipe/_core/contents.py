"""A hash of what a value is made of: a function of its code, an object of its attributes, a list of its items."""

from __future__ import annotations

import copyreg
import dis
import hashlib
import marshal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, Final

import numpy as np

from .bindings import MANY, Bindings, uses_of
from .show import format_value

__all__ = ['Contents', 'Unknown', 'content_hash']

PLAIN = (int, float, complex, bool, str, bytes, type(None), type(...), np.generic, PurePath, range)
ATOMS: Final = frozenset([int, float, complex, bool, str, bytes, type(None)])
DEEPEST: Final = 8
"""Levels of lists in lists of which the items are hashed together."""
TOGETHER: Final = 1 << 12
"""Items that are hashed together."""
LIBRARIES: Final = frozenset([*sys.stdlib_module_names, 'itpipe'])
MOST_NAMES: Final = 1000
"""Parts of which it is known by name whether they have changed."""
NO_CODE = frozenset([
    '__module__', '__qualname__', '__doc__', '__dict__', '__weakref__', '__annotations__', '__firstlineno__',
    '__static_attributes__', '__parameters__', '__orig_bases__', '__abstractmethods__', '_abc_impl',
    '__annotate_func__', '__annotations_cache__', '__slotnames__',
])  # fmt: skip
"""What classes have besides what they do."""
HAS_DOCSTRING: Final = 0x4000000
"""The flag of code, from Python 3.13 on."""

KINDS_OF_FUNCTIONS: Final = sum(
    flag
    for flag, name in dis.COMPILER_FLAG_NAMES.items()
    if name in ('VARARGS', 'VARKEYWORDS', 'GENERATOR', 'COROUTINE', 'ITERABLE_COROUTINE', 'ASYNC_GENERATOR')
)
"""The flags of code that say what calls of it do."""


class Unknown(TypeError):
    """A value of which nothing can be told but its class."""


def content_hash(*values: Any) -> str:
    """16 characters that are the same for values that do the same, also in another process, and others for others.

    Functions count by their code, defaults, closures, and what they use of their module and of other modules; so do
    the classes of objects. What is of an installed library counts by its name. Objects count by what pickle would save
    of them.

    Raises `Unknown` for a value that says nothing of what is in it.

    >>> content_hash({'paths': ['a', 'b']}) == content_hash({'paths': ['a', 'b']})
    True
    >>> content_hash({'paths': ['a', 'b']}) == content_hash({'paths': ['a', 'c']})
    False
    """
    return Contents(*values).hash


class Contents:
    """The content hash of values, and what it was made of, to see whether that has changed.

    `by_identity` is for this process alone: then a value that says nothing of what is in it is itself, and no other.
    """

    def __init__(self, *values: Any, by_identity: bool = False):
        hashing = _Hashing(by_identity, set())
        result = hashing.of(values)
        if hashing.own:  # other functions, seen before, may read what one of them binds
            hashing = _Hashing(by_identity, hashing.own)
            result = hashing.of(values)
        self.hash = result.hex()
        self.plain = hashing.plain
        """Whether there is no code among it, so that it is the same in any process that gets the values."""
        self.changed: Callable[[], str | None] = hashing.bindings.changes()
        """Whether something was bound anew; its name, or None. It takes microseconds, and sees no other changes."""
        self.named = hashing.named
        """The hashes of parts that have a name, the inner ones first."""
        self._kept = hashing.unknown  # their identities could become those of others

    def differs(self, before: Contents) -> str | None:
        """The name of a part that is not as it was before, if one has a name."""
        pairs = ((name, before.named.get(name, found), found) for name, found in self.named.items())
        return next((name for name, was, found in pairs if was != found), None)


class _Hashing:
    def __init__(self, by_identity: bool, own: set[str]) -> None:
        self.by_identity = by_identity
        self.own = own
        """The names of globals that the functions bind themselves, such as a counter, or a model loaded once."""
        self.bindings = Bindings()
        self.plain = True
        self.unknown: list[Any] = []
        self.named: dict[str, bytes] = {}
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
            try:
                self.done[id(value)] = _hashed(type(value).__name__, *self.parts(value)), value
            except Unknown:
                if not self.by_identity:
                    raise
                self.unknown.append(value)
                self.done[id(value)] = _hashed(type(value).__name__, id(value)), value
            finally:
                self.within.pop()
        return self.done[id(value)][0]

    def name(self, name: str, value: Any) -> None:
        """So it is called where it has changed."""
        if len(self.named) < MOST_NAMES and name not in self.named and not isinstance(value, ModuleType):
            self.named[name] = self.of(value)

    def parts(self, value: Any) -> Iterable[Any]:
        """What the value is made of: bytes and words."""
        kind = type(value)
        if kind in (list, tuple) and set(map(type, value)) == {str}:
            return (marshal.dumps(list(value), 2),)  # version 2 writes equal strings alike, whichever they are
        if kind in (list, tuple) and len(value) > MANY and (written := _written(value)) is not None:
            return written  # there may be millions
        if kind in (list, dict):
            self.bindings.add_elements(value)
        if kind in (list, tuple):
            return map(self.of, value)
        if kind is dict:
            return (self.of(part) for pair in list(value.items()) for part in pair)
        if kind is MappingProxyType:  # dataclasses have some
            return (self.of(dict(value)),)
        if kind in (set, frozenset):
            return sorted(map(self.of, list(value)))
        if isinstance(value, FunctionType):
            return self.function(value)
        if isinstance(value, MethodType):
            return map(self.of, (value.__func__, value.__self__))
        if isinstance(value, CodeType):
            return self.code(value)
        if isinstance(value, (ModuleType, np.ufunc)):
            return (value.__name__,)
        if isinstance(value, type):
            return self.kind(value)
        if isinstance(value, (staticmethod, classmethod)):
            return (self.of(value.__func__),)
        if isinstance(value, property):
            return map(self.of, (value.fget, value.fset, value.fdel))
        if isinstance(value, cached_property):
            return (self.of(value.func),)
        if isinstance(value, np.memmap):
            return _mapped(value)
        if isinstance(value, np.ndarray):
            return self.array(value)
        if kind is getattr(sys.modules.get('torch'), 'Tensor', None):
            return _tensor(value)
        return self.pickled(value)

    def pickled(self, value: Any) -> Iterator[Any]:
        """What pickle would save of an object, or what it says that it is made of, and what a decorator has wrapped."""
        self.plain = False
        if (made_of := getattr(type(value), '_made_of', None)) and type(value).__module__.startswith('itpipe.'):
            yield self.of(made_of(value))
            return
        if isinstance(wrapped := getattr(value, '__wrapped__', None), FunctionType):
            yield self.of(wrapped)
        try:
            reduce: Any = copyreg.dispatch_table.get(type(value), _reduced)
            reduced = reduce(value)
        except Exception:
            raise Unknown(f'{format_value(value)}, of class `{type(value).__qualname__}`') from None
        if isinstance(reduced, str):  # the name of a global
            yield from (type(value).__module__, reduced, getattr(value, '__module__', ''))
            return
        function, args, *rest = reduced
        yield from (self.of(function), self.of(args))
        if rest and type(rest[0]) is dict:
            installed = _is_installed(type(value).__module__)  # then it is not known what it binds itself
            (self.bindings.leave_out if installed else self.bindings.add_attributes)(rest[0])
        for part in rest:
            yield self.of(list(part) if isinstance(part, Iterator) else part)
        if rest and type(rest[0]) is dict and len(self.named) < MOST_NAMES:
            for name, part in rest[0].items():
                self.name(f'the attribute `{name}` of `{type(value).__qualname__}`', part)

    def function(self, function: FunctionType) -> Iterator[Any]:
        self.plain = False
        if _is_installed(function.__module__):
            yield from (function.__module__, function.__qualname__)
            return
        uses = uses_of(function.__code__)
        self.bindings.add_function(function, uses)
        yield from map(self.of, (function.__code__, function.__defaults__, function.__kwdefaults__))
        self.name(f'the code of `{function.__qualname__}`', function.__code__)
        self.name(f'a default of `{function.__qualname__}`', (function.__defaults__, function.__kwdefaults__))
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                yield self.of(cell.cell_contents)
                self.name(f'`{name}` of `{function.__qualname__}`', cell.cell_contents)
            except ValueError:
                yield 'empty'
        if wrapped := getattr(function, '__wrapped__', None):
            yield self.of(wrapped)
        self.own.update(uses.sets)
        for name in uses.names:
            if name in function.__globals__ and name not in self.own:
                yield from (name, *self.used(function.__globals__[name], uses.all_names))
                self.name(f'the global `{name}`', function.__globals__[name])
        for name in uses.imports:
            if name and not _is_installed(name):
                with suppress(Exception):  # it may be there on other systems only
                    import_module(name)
                yield name
                if (module := sys.modules.get(name)) is not None:
                    yield from self.used(module, uses.all_names)

    def used(self, value: Any, names: list[str]) -> Iterator[Any]:
        """A global, or, of a module of the user's, what has one of these names there."""
        if isinstance(value, ModuleType) and not _is_installed(value.__name__):
            self.bindings.add_module(value, names)
            for name in names:
                if name in vars(value):
                    part = vars(value)[name]
                    yield from (name, *self.used(part, names)) if part is not value else ()
                    self.name(f'`{value.__name__}.{name}`', part)
        else:
            yield self.of(value)

    def code(self, code: CodeType) -> Iterator[Any]:
        kinds = code.co_flags & KINDS_OF_FUNCTIONS
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
        arguments = code.co_argcount + code.co_kwonlyargcount  # by keyword they are given by name
        yield from (code.co_code, code.co_exceptiontable, kinds, counts, code.co_varnames[:arguments])
        yield from code.co_names
        yield from map(self.of, code.co_consts[_has_only_docstring_first(code) :])

    def kind(self, kind: type) -> Iterator[Any]:
        self.plain = False
        yield from (kind.__module__, kind.__qualname__) if _is_installed(kind.__module__) else (kind.__qualname__,)
        if _is_installed(kind.__module__):
            return
        yield from map(self.of, (type(kind), *kind.__bases__))
        parts = {name: value for name, value in vars(kind).items() if name not in NO_CODE}
        self.bindings.add_class(kind, parts)
        for name, value in parts.items():
            if type(value).__name__ in ('getset_descriptor', 'member_descriptor', 'wrapper_descriptor'):
                yield name
            else:
                yield from (name, self.of(value))
                self.name(f'`{name}` of the class `{kind.__qualname__}`', value)

    def array(self, array: np.ndarray[Any, Any]) -> Iterator[Any]:
        yield from (array.dtype.str, str(array.dtype), array.shape)
        yield self.of(array.tolist()) if array.dtype.hasobject else np.ascontiguousarray(array).tobytes()


def _reduced(value: Any) -> Any:
    return value.__reduce_ex__(4)


def _hashed(*parts: Any) -> bytes:
    result = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode('utf-8', 'surrogatepass')
        result.update(b'%d\0' % len(data))
        result.update(data)
    return result.digest()


def _is_of_atoms(values: Any) -> bool:
    """Whether these are numbers and texts, and lists of these, down to a few levels, and not many of them in each."""
    level: Any = values
    for _ in range(DEEPEST):  # it may be a part of itself
        kinds = {*map(type, level)}
        if kinds <= ATOMS:
            return True
        if not kinds <= ATOMS | {list, tuple, dict}:
            return False
        lists = [each for each in level if type(each) in (list, tuple)]
        dicts = [each for each in level if type(each) is dict] if dict in kinds else []
        if sum(map(len, lists)) + sum(map(len, dicts)) > MANY * len(values):  # a part of many is hashed once elsewhere
            return False
        if not {*map(type, chain.from_iterable(dicts))} <= ATOMS:
            return False
        level = [*chain.from_iterable(lists), *chain.from_iterable(map(dict.values, dicts))]
    return False


def _written(values: Any) -> list[bytes] | None:
    """The hashes of so many items together, None if they have to be looked at one by one."""
    kinds = {*map(type, values)}
    if len(kinds) == 1 and issubclass(kind := kinds.pop(), PurePath):
        values = [kind.__name__, *map(str, values)]
    elif not _is_of_atoms(values):
        return None
    return [
        _hashed(marshal.dumps(list(values[n : n + TOGETHER]), 2)) for n in range(0, len(values), TOGETHER)
    ]  # version 2 writes equal strings alike, whichever they are


def _mapped(array: np.memmap[Any, Any]) -> tuple[Any, ...]:
    """A mapped file may be larger than memory: it counts by its name, size and time."""
    file = array.filename
    where = (array.dtype.str, array.shape, array.offset)
    if not isinstance(file, (str, Path)):
        return (*where, np.ascontiguousarray(array).tobytes())
    about = Path(file).stat()
    return (*where, str(file), about.st_size, about.st_mtime_ns)


def _tensor(tensor: Any) -> tuple[Any, ...]:
    torch: Any = sys.modules['torch']
    try:
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    except Exception:
        raise Unknown(f'a tensor of dtype {tensor.dtype} and layout {tensor.layout}') from None
    return str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad, data


def _has_only_docstring_first(code: CodeType) -> bool:
    """Whether the first constant of the code is its docstring, or None if it has none, and nothing that it uses."""
    has_place = code.co_flags & HAS_DOCSTRING if sys.version_info >= (3, 13) else not code.co_name.startswith('<')
    return bool(has_place) and not any(
        step.arg == 0 and step.opcode in dis.hasconst for step in dis.get_instructions(code)
    )


def _is_installed(module: str | None) -> bool:
    """Whether the module is of a library: of Python, of itpipe, or of what was installed."""
    if module == '__main__':  # whatever it was started as: what a notebook defines is in no file
        return False
    if module is None or module.partition('.')[0] in LIBRARIES:
        return True
    file = getattr(sys.modules.get(module), '__file__', None)
    if file is None and module not in sys.modules:
        with suppress(Exception):
            spec = find_spec(module)
            file = None if spec is None else spec.origin
    return file is not None and ('site-packages' in file or 'dist-packages' in file)
