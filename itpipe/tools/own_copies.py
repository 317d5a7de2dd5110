"""Copies of the user's objects for a trial, so that what they open or count in it does not stay in the originals.

A dataset that opens its file when it is first asked, for example, must not go to processes with the file open.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import partial
from types import MethodType
from typing import Any

from itpipe._core.steps import EachStep, Function, ItemStep, Step
from itpipe._engine.iterables import Items
from itpipe._engine.source import Seeded

__all__ = ['own_copy', 'with_own_data', 'with_own_functions']


def own_copy(value: Any) -> Any:
    """Another object with the same attributes; or the value itself, if it has none, or is not made of Python alone.

    What the attributes are is not copied. A method is that of a copy. No code of the user runs.
    """
    if isinstance(value, MethodType):
        return MethodType(value.__func__, own_copy(value.__self__))
    if type(value) is partial:
        return partial(own_copy(value.func), *value.args, **value.keywords)
    kind = type(value)
    is_function = hasattr(value, '__code__') or hasattr(value, '__wrapped__')
    if not getattr(value, '__dict__', None) or isinstance(value, type) or is_function or hasattr(kind, '__del__'):
        return value
    try:
        twin = object.__new__(kind)
        vars(twin).update(vars(value))
    except TypeError:  # such as a subclass of an array
        return value
    if kind.__module__.partition('.')[0] == 'itpipe' and 'loaders' in vars(twin):  # of `load_by_random_id`
        twin.loaders = tuple(map(own_copy, twin.loaders))
    return twin


def with_own_functions(step: Any) -> Any:
    """The step with copies of the functions of items that it calls."""
    if isinstance(step, ItemStep):
        return step._replace(functions=tuple(map(_function, step.functions)))
    if isinstance(step, EachStep):
        return step._replace(steps=tuple(map(with_own_functions, step.steps)))
    assert isinstance(step, Step)
    return replace(step, options=tuple(map(_option, step.options)))


def _option(option: Any) -> Any:
    if isinstance(option, tuple) and option and isinstance(option[0], (ItemStep, EachStep)):
        return tuple(map(with_own_functions, option))
    return option


def _function(function: Function) -> Function:
    target: Any = function.target
    return function._replace(target=_option(target) if isinstance(target, tuple) else own_copy(target))


def with_own_data(source: Any) -> Any:
    """The source over copies of the datasets that it reads."""
    if isinstance(source, Seeded):
        return source.over(with_own_data(source.source))
    if isinstance(source, Items):
        data = own_copy(source.iterable)
        return source if data is source.iterable else Items(data, source.seed, source.reread, source.policy)
    if hasattr(source, 'sequence'):
        twin = copy(source)
        twin.sequence = own_copy(source.sequence)
        return twin
    return source
