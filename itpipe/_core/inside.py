"""Where inside a function or a value another object is, for error messages: '`self.file` of `Data.load`'."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from copyreg import _slotnames  # type: ignore[attr-defined]
from functools import partial
from types import BuiltinMethodType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

__all__ = ['kind_of', 'path_to']

MAX_OBJECTS = 100_000
"""The search ends after so many objects."""
MAX_LENGTH = 120
"""Characters; a longer path says little."""
LEAVES = (str, bytes, bytearray, int, float, complex, type(None), ModuleType)


class _Found(NamedTuple):
    """An object inside another one: `step` leads to it, or is its name in the code of the function `of`."""

    value: Any
    step: str = ''
    of: str = ''


def path_to(wanted: Any, root: Any) -> str:
    """How the code of `root` would refer to the object; empty if that is unknown, or if it is `root` itself."""
    seen: dict[int, Any] = {id(root): root}  # keeps the objects alive, so that no other gets the id
    todo = deque([_Found(root)])
    while todo and len(seen) < MAX_OBJECTS:
        value, path, of = todo.popleft()
        if value is wanted:
            path = path.removeprefix('.')
            text = f'`{path}`' + (f' of `{of}`' if of else '')
            return text if path and len(text) <= MAX_LENGTH else ''
        with suppress(Exception):  # attributes of user classes may raise anything
            for found in _parts(value):
                if id(found.value) not in seen and not isinstance(found.value, LEAVES):
                    seen[id(found.value)] = found.value
                    todo.append(found if found.of else _Found(found.value, path + found.step, of))
    return ''


def kind_of(value: Any) -> str:
    """The name of the object's class."""
    kind = type(value)
    return (
        kind.__qualname__ if kind.__module__ in ('builtins', '__main__') else f'{kind.__module__}.{kind.__qualname__}'
    )


def _parts(value: Any) -> Iterator[_Found]:
    if isinstance(value, MethodType):
        yield _Found(value.__self__, 'self', _name(value))
        yield _Found(value.__func__)
    elif isinstance(value, BuiltinMethodType):
        yield _Found(value.__self__, '.__self__')
    elif isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, partial):
        yield from _parts_of_partial(value)
    elif isinstance(value, CellType):
        yield _Found(value.cell_contents)
    elif isinstance(value, (property, staticmethod, classmethod)):
        for name in 'fget', 'fset', 'fdel', '__func__':
            yield _Found(getattr(value, name, None))
    elif isinstance(value, type):
        # other classes are pickled by name
        if value.__module__ == '__main__' or '<locals>' in value.__qualname__:
            for name, part in vars(value).items():
                yield _Found(part, name, _name(value))
    else:
        yield from _parts_of_object(value)


def _parts_of_function(function: FunctionType) -> Iterator[_Found]:
    code, of = function.__code__, _name(function)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is empty
            yield _Found(cell.cell_contents, name, of)
    for name in _names(code):
        yield _Found(function.__globals__.get(name), name, of)
    count, defaults = code.co_argcount, function.__defaults__ or ()
    for name, default in zip(code.co_varnames[count - len(defaults) : count], defaults, strict=True):
        yield _Found(default, name, of)
    for name, default in {**(function.__kwdefaults__ or {}), **vars(function)}.items():
        yield _Found(default, name, of)


def _names(code: CodeType) -> set[str]:
    """The names that the code uses, and the code of functions inside it: globals, and attributes."""
    return {*code.co_names}.union(*(_names(part) for part in code.co_consts if isinstance(part, CodeType)))


def _parts_of_partial(function: partial[Any]) -> Iterator[_Found]:
    yield _Found(function.func)
    ours = _is_ours(function.func)
    code = getattr(function.func, '__code__', None)
    names: tuple[str, ...] = () if code is None else code.co_varnames[: code.co_argcount]
    for n, part in enumerate(function.args):
        name = names[n] if n < len(names) else f'args[{n}]'
        yield _Found(part, name if not ours or name in ('args', 'kwargs') else '', '' if ours else _name(function.func))
    for name, part in function.keywords.items():
        yield _Found(part, name, _name(function.func))


def _parts_of_object(value: Any) -> Iterator[_Found]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield _Found(part, f'[{key!r}]')
            yield _Found(key)
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for n, part in enumerate(value):
            yield _Found(part, f'[{n}]')
    names = [*_slotnames(type(value)), *getattr(value, '__dict__', ())]
    ours = _is_ours(type(value))
    for name in names:
        with suppress(AttributeError):
            part = getattr(value, name)
            if ours and isinstance(part, (list, tuple)):
                yield from map(_Found, part)
            else:
                yield _Found(part, '' if ours else f'.{name}')
    yield _Found(type(value))


def _is_ours(maker: Any) -> bool:
    return str(getattr(maker, '__module__', '')).partition('.')[0] == 'itpipe'


def _name(value: Any) -> str:
    return str(getattr(value, '__qualname__', type(value).__qualname__)).rpartition('<locals>.')[2]
