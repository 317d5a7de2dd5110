"""Which objects names stand for, to see later whether one of them was bound to another object.

This is looked at for each item of a cache. So objects are compared by identity, which takes some 50 ns for a name.
"""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from operator import attrgetter, is_, is_not
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

__all__ = ['MANY', 'Bindings', 'Uses', 'uses_of']

MISSING: Final = object()
MANY: Final = 64
"""Containers with more elements are not looked into, nor are more containers than this."""
BEGINNINGS: Final = ('__init__', '__new__', '__post_init__', '__setstate__')
"""Methods that set the attributes with which an object begins."""
CODE: Final = attrgetter('__code__')


class Uses(NamedTuple):
    """What code uses, with the functions within it."""

    names: list[str]
    """The names of globals, also of those that it binds."""
    sets: list[str]
    """The names of globals that it binds itself."""
    sets_attributes: list[str]
    """The names of attributes that it binds itself, but for those with which an object begins."""
    imports: list[str]
    all_names: list[str]
    """Of globals, of modules, and of attributes."""


def uses_of(code: CodeType) -> Uses:
    """What the code uses.

    >>> def f(x):
    ...     global last
    ...     last = x
    ...     return np.sin(x)
    >>> uses_of(f.__code__)
    Uses(names=['last', 'np'], sets=['last'], sets_attributes=[], imports=[], all_names=['last', 'np', 'sin'])
    """
    found: list[set[str]] = [set(), set(), set(), set(), set(code.co_names)]
    names, sets, attributes, imports, _ = found
    for step in dis.get_instructions(code):
        if step.opname in ('LOAD_GLOBAL', 'LOAD_NAME', 'STORE_GLOBAL', 'DELETE_GLOBAL'):
            names.add(step.argval)
        if step.opname == 'STORE_GLOBAL':
            sets.add(step.argval)
        if step.opname == 'STORE_ATTR' and code.co_name not in BEGINNINGS:
            attributes.add(step.argval)
        if step.opname == 'IMPORT_NAME':
            imports.add(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            for mine, more in zip(found, uses_of(constant), strict=True):
                mine.update(more)
    return Uses(*map(sorted, found))


class _Watched(NamedTuple):
    """Names and what they stood for. `get` takes a name and what to return if there is none."""

    get: Callable[..., Any]
    found: dict[Any, Any]
    own: set[str]
    """The names that the functions bind themselves, such as a file that they open in their first call."""


class Bindings:
    """What functions and objects are made of: the code of functions, and what names stand for.

    That is names of globals, of attributes of modules, classes and objects, and elements of dicts and lists. What the
    functions bind themselves is not looked at, nor is what is new.
    """

    def __init__(self) -> None:
        self._functions: dict[FunctionType, CodeType] = {}
        self._watched: dict[int, _Watched] = {}
        self._containers: dict[int, Any] = {}
        self._own_globals: set[str] = set()
        self._own_attributes: set[str] = set()

    def add_function(self, function: FunctionType, uses: Uses) -> None:
        self._functions[function] = function.__code__
        self._own_globals.update(uses.sets)
        self._own_attributes.update(uses.sets_attributes)
        self._add(function.__globals__, function.__globals__.get, uses.names, self._own_globals)

    def add_module(self, module: ModuleType, names: Iterable[str]) -> None:
        self._add(vars(module), vars(module).get, names, self._own_globals)

    def add_class(self, kind: type, names: Iterable[str]) -> None:
        self._add(kind, vars(kind).get, names, self._own_attributes)

    def add_attributes(self, attributes: dict[str, Any]) -> None:
        """Those of an object."""
        self._add_container(attributes, self._own_attributes)

    def add_elements(self, value: dict[Any, Any] | list[Any]) -> None:
        self._add_container(value, set())

    def leave_out(self, value: Any) -> None:
        self._containers[id(value)] = value

    def _add_container(self, value: Any, own: set[str]) -> None:
        if id(value) in self._containers or len(self._containers) >= MANY or len(value) > MANY:
            return
        self._containers[id(value)] = value  # its id could become that of another one
        if isinstance(value, dict):
            later = (name for name, part in value.items() if part is not None)  # None often stands for: not yet
            self._add(value, value.get, list(later), own)
        else:
            self._add(value, partial(_element, value), range(len(value)), own)

    def _add(self, owner: Any, get: Callable[..., Any], names: Iterable[Any], own: set[str]) -> None:
        found = self._watched.setdefault(id(owner), _Watched(get, {}, own)).found
        for name in names:
            found.setdefault(name, get(name, MISSING))

    def changes(self) -> Callable[[], str | None]:
        """A function that returns the name of something that has changed, or None."""
        functions, codes = tuple(self._functions), tuple(self._functions.values())
        watched = []
        for get, found, own in self._watched.values():
            if names := tuple(name for name in found if name not in own):
                watched.append((get, names, tuple(found[name] for name in names)))

        def changed() -> str | None:
            if not all(map(is_, map(CODE, functions), codes)):
                return 'a function'
            for get, names, values in watched:
                if not all(map(is_, map(get, names, repeat(MISSING)), values)):
                    others = map(is_not, map(get, names, repeat(MISSING)), values)
                    return next((str(name) for name, other in zip(names, others, strict=True) if other), 'a name')
            return None

        return changed


def _element(values: list[Any], index: int, default: Any) -> Any:
    return values[index] if index < len(values) else default
