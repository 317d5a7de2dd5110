"""How what cloudpickle gets wrong, or does not know, is pickled: caches, slots, the files of functions."""

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
    """As cloudpickle does it, but with the file, which tracebacks show."""
    return _code, (code.co_filename, *reduce(code))


def _code(filename: str, make: Any, args: tuple[Any, ...]) -> Any:
    return make(*args).replace(co_filename=filename)


def with_slots(kind: type, reduced: Any) -> Any:
    """What cloudpickle makes of a class that goes by value, with its slots, or the copy has a `__dict__` instead."""
    made_anew = getattr(reduced[0], '__name__', '') == '_make_skeleton_class'
    if not made_anew or '__slots__' not in vars(kind) or issubclass(kind, tuple):  # which can have none
        return reduced
    make, args, state, *rest = reduced
    members = vars(kind).items()
    names = [name for name, each in members if isinstance(each, MemberDescriptorType) and each.__objclass__ is kind]
    others = [name for name in ('__dict__', '__weakref__') if name in vars(kind)]
    keywords = args[3] | {'__slots__': (*names, *others)}
    contents = {name: value for name, value in state[0].items() if name not in names}
    return make, (*args[:3], keywords, *args[4:]), (contents, *state[1:]), *rest


def _reduce_cached(function: Any) -> Any:
    """A function behind a cache, which is empty where it arrives."""
    if _is_importable(function):
        return NotImplemented
    state = {name: value for name, value in vars(function).items() if name != '__wrapped__'}
    return _cached, (function.__wrapped__, *function.cache_parameters().values()), state


def _cached(function: Any, maxsize: int | None, typed: bool) -> Any:
    return lru_cache(maxsize, typed)(function)


def _is_importable(function: Any) -> bool:
    from cloudpickle import list_registry_pickle_by_value

    module, qualname = getattr(function, '__module__', None), getattr(function, '__qualname__', None)
    # that of a `partial` has no name
    if module is None or qualname is None or module in {'__main__', *list_registry_pickle_by_value()}:
        return False
    found: Any = sys.modules.get(module)
    for name in qualname.split('.'):
        found = getattr(found, name, None)
    return found is function


def _reduce_cached_property(made: Any) -> Any:
    """Without its lock, which there is in Python 3.11."""
    return _cached_property, (made.func, made.attrname, made.__doc__)


def _cached_property(function: Any, name: str | None, doc: str | None) -> Any:
    made: Any = cached_property(function)
    made.attrname, made.__doc__ = name, doc
    return made


def _reduce_system_random(_: Any) -> Any:
    """The generator of the system, which every process has. It has no state, and Python's own pickle asks for one."""
    return SystemRandom, ()


def _reduce_weak(entries: Any) -> Any:
    """What `singledispatch` keeps its choices in."""
    return WeakKeyDictionary, (dict(entries),)


REDUCERS: dict[type, Callable[[Any], Any]] = {
    type(lru_cache(abs)): _reduce_cached,
    cached_property: _reduce_cached_property,
    SystemRandom: _reduce_system_random,
    WeakKeyDictionary: _reduce_weak,
}


def generators() -> tuple[type, ...]:
    """The classes of random generators that there are by now, without that of the system, which has no state."""
    names = [('random', 'Random'), *(('numpy.random', name) for name in ('Generator', 'RandomState', 'BitGenerator'))]
    found = [getattr(sys.modules.get(module), name, None) for module, name in [*names, ('torch', 'Generator')]]
    return tuple(kind for kind in found if isinstance(kind, type))
