"""What the modules that define stages need: `factory`, and what the functions that users give stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial, wraps
from inspect import Parameter, signature
from typing import Any, TypeVar

import numpy as np

from itpipe._core.checks import not_async
from itpipe._core.instead import renamed
from itpipe._core.show import same
from itpipe._core.steps import Function, ItemStep, Joins

from .stream import Stage, only_items

__all__ = ['factory', 'function_of']

C = TypeVar('C', bound=Callable[..., Any])


def factory(function: C) -> C:
    """Decorates a function that returns a stage, so that its one step that is not hidden prints as the call.

    The signature says how arguments print: the first one and those without a default by position, the others by name,
    and those that are the default not at all. A step that already has arguments keeps them. `stream | function`
    recognizes a factory, and says so if the call was forgotten.
    """

    @wraps(function)
    def make(*args: Any, **kwargs: Any) -> Any:
        try:
            made = function(*args, **kwargs)
        except TypeError as error:
            if told := renamed(function, error, kwargs):
                raise told from None
            raise
        *hidden, step = made.steps
        if not step.args and not step.kwargs:
            change: Any = step._replace if isinstance(step, (ItemStep, Joins)) else partial(replace, step)
            args, kwargs = _arguments(function, args, kwargs)
            made.steps = (*hidden, change(args=args, kwargs=kwargs))
        return made

    make.is_factory = True  # type: ignore[attr-defined]
    return make  # type: ignore[return-value]


_signature = lru_cache(maxsize=None)(signature)  # which takes a while


def _arguments(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call as they print and compare, however they were given."""
    called = _signature(function)
    arguments = called.bind(*args, **kwargs).arguments
    positional: list[Any] = []
    further: dict[str, Any] = {}
    named: dict[str, Any] = {}
    for number, (name, parameter) in enumerate(called.parameters.items()):
        if name not in arguments or same(arguments[name], parameter.default):
            continue
        value = arguments[name]
        if parameter.kind is Parameter.VAR_POSITIONAL:
            positional.extend(value)
        elif parameter.kind is Parameter.VAR_KEYWORD:
            further = value
        else:
            value = value.item() if isinstance(value, np.generic) else value
            if (number and parameter.default is not Parameter.empty) or parameter.kind is Parameter.KEYWORD_ONLY:
                named[name] = value
            else:
                positional.append(value)
    return tuple(positional), further | named


def function_of(
    where: str,
    f: Any,
    args: tuple[Any, ...] = (),
    kwargs: Any = None,
    name: str = 'f',
    awaited: bool = False,
    read: bool = False,
) -> Function:
    """A function of an item as the user gave it: a callable or an item-wise stage, with further arguments.

    It may only be a coroutine function where what it returns is `awaited`, and an async generator function where what
    that gives may be `read`.
    """
    if isinstance(f, Stage):
        steps = only_items(where, f, name)
        if (args or kwargs) and len(steps) > 1:
            raise TypeError(f'{where}: `{name}` is a stage of several steps, give the arguments to those: got {f!r}')
        return Function(steps, args, kwargs or {})
    if getattr(f, 'is_factory', False):
        raise TypeError(f'{where}: `{f.__name__}` makes a stage when it is called: did you mean `{f.__name__}(…)`?')
    if not callable(f):
        raise TypeError(f'{where}: `{name}` must be a function or an item-wise stage, got {type(f).__name__}')
    if not awaited:
        not_async(f'{where}: `{name}`', f, generators=read)
    return Function(f, args, kwargs or {})
