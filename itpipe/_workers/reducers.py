"""How to pickle what cloudpickle does not know or gets wrong: caches, slots, the files of functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property, lru_cache
from random import SystemRandom
from types import CodeType, MemberDescriptorType
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ['REDUCERS', 'generators', 'reduce_code', 'with_slots']


def reduce_code(reduce: Callable[[Any], Any], code: CodeType) -> Any:
    """As cloudpickle, but with the name of the file, which tracebacks show."""
    return _code, (code.co_filename, *reduce(code))


def _code(filename: str, make: Any, args: tuple[Any, ...]) -> Any:
    return make(*args).replace(co_filename=filename)


def with_slots(kind: type, reduced: Any) -> Any:
    """What cloudpickle makes of a class by value, with its slots; else the copy would have a `__dict__` instead."""
    by_value = getattr(reduced[0], '__name__', '') == '_make_skeleton_class'
    if not by_value or '__slots__' not in vars(kind) or issubclass(kind, tuple):  # a tuple has no slots
        return reduced
    make, args, state, *rest = reduced
    members = vars(kind).items()
    names = [name for name, each in members if isinstance(each, MemberDescriptorType) and each.__objclass__ is kind]
    others = [name for name in ('__dict__', '__weakref__') if name in vars(kind)]
    keywords = args[3] | {'__slots__': (*names, *others)}
    contents = {name: value for name, value in state[0].items() if name not in names}
    return make, (*args[:3], keywords, *args[4:]), (contents, *state[1:]), *rest


def _reduce_cached(function: Any) -> Any:
    """A function with a cache, which arrives empty."""
    if _is_importable(function):
        return NotImplemented
    state = {name: value for name, value in vars(function).items() if name != '__wrapped__'}
    return _cached, (function.__wrapped__, *function.cache_parameters().values()), state


def _cached(function: Any, maxsize: int | None, typed: bool) -> Any:
    return lru_cache(maxsize, typed)(function)


def _is_importable(function: Any) -> bool:
    from cloudpickle import list_registry_pickle_by_value

    module, qualname = getattr(function, '__module__', None), getattr(function, '__qualname__', None)
    # the cache of a `partial` has no name
    if module is None or qualname is None or module in {'__main__', *list_registry_pickle_by_value()}:
        return False
    found: Any = sys.modules.get(module)
    for name in qualname.split('.'):
        found = getattr(found, name, None)
    return found is function


def _reduce_cached_property(value: Any) -> Any:
    """Without its lock, which it has in Python 3.11."""
    return _cached_property, (value.func, value.attrname, value.__doc__)


def _cached_property(function: Any, name: str | None, doc: str | None) -> Any:
    value: Any = cached_property(function)
    value.attrname, value.__doc__ = name, doc
    return value


def _reduce_system_random(_: Any) -> Any:
    """The generator of the system, which has no state; Python's own way to pickle it would ask for one."""
    return SystemRandom, ()


def _reduce_weak(entries: Any) -> Any:
    """`singledispatch` keeps its choices in such a dict."""
    return WeakKeyDictionary, (dict(entries),)


REDUCERS: dict[type, Callable[[Any], Any]] = {
    type(lru_cache(abs)): _reduce_cached,
    cached_property: _reduce_cached_property,
    SystemRandom: _reduce_system_random,
    WeakKeyDictionary: _reduce_weak,
}


def generators() -> tuple[type, ...]:
    """The classes of random generators, of those libraries that are imported."""
    names = [('random', 'Random'), *(('numpy.random', name) for name in ('Generator', 'RandomState', 'BitGenerator'))]
    found = [getattr(sys.modules.get(module), name, None) for module, name in [*names, ('torch', 'Generator')]]
    return tuple(kind for kind in found if isinstance(kind, type))
