"""Checks of arguments, with messages that name the function, the parameter, the rule and the value."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache, partial
from inspect import isasyncgenfunction, iscoroutinefunction
from numbers import Integral, Real
from typing import Any, Final

__all__ = ['check_rank', 'in_use', 'integer', 'is_function', 'not_async', 'number', 'one_of', 'positive', 'truth']

_CACHED: Final = type(lru_cache(len))


def integer(where: str, name: str, value: object, least: int | None = None) -> int:
    """The value as an int, which must be at least `least`."""
    if isinstance(value, bool) or not hasattr(type(value), '__index__'):
        raise TypeError(f'{where}: `{name}` must be an int, got {type(value).__name__}')
    try:
        result = operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # an array can be an index only if it has no axes
        raise TypeError(f'{where}: `{name}` must be an int, got {type(value).__name__}') from None
    if least is not None and result < least:
        raise ValueError(f'{where}: `{name}` must be at least {least}, got {result}')
    return result


def number(where: str, name: str, value: object, least: float | None = None, most: float | None = None) -> float:
    """The value, which must be a number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f'{where}: `{name}` must be a number, got {type(value).__name__}')
    if value != value:
        raise ValueError(f'{where}: `{name}` must be a number, got nan')
    if least is not None and most is not None and not least <= value <= most:  # type: ignore[operator]
        raise ValueError(f'{where}: `{name}` must be between {least} and {most}, got {value}')
    if least is not None and value < least:
        raise ValueError(f'{where}: `{name}` must be at least {least}, got {value}')
    return value  # type: ignore[return-value]


def positive(where: str, name: str, value: object) -> float:
    """The value, which must be a number above zero."""
    result = number(where, name, value)
    if result <= 0:
        raise ValueError(f'{where}: `{name}` must be positive, got {value}')
    return result


def is_function(where: str, name: str, value: Any) -> Callable[..., Any]:
    """The value, which must be callable."""
    if not callable(value):
        raise TypeError(f'{where}: `{name}` must be a function, got {type(value).__name__}')
    not_async(f'{where}: `{name}`', value)
    return value  # type: ignore[no-any-return]


def not_async(what: str, function: Any, generators: bool = False) -> None:
    """Raise TypeError for a coroutine function or an async generator function; the message begins with `what`.

    With `generators`, the second is right, as what it yields may be read.
    """
    while isinstance(function, (partial, staticmethod, _CACHED)):
        function = function.func if isinstance(function, partial) else function.__wrapped__
    for called in (function, getattr(type(function), '__call__', None)):  # noqa: B004
        if isasyncgenfunction(called) and not generators:
            raise TypeError(
                f'{what} must be a function that returns its result, got an async generator function, which nothing'
                ' here would read; `apply(f) | flatten` and `interleave(f)` give what it yields'
            )
        if iscoroutinefunction(called):
            raise TypeError(
                f'{what} must be a function that returns its result, got a coroutine function (`async def`), which'
                ' nothing here would await; `parallel_map(f, tasks=…)` awaits it, for many items at once; elsewhere, a'
                ' plain function may run it, such as `lambda x: asyncio.run(f(x))`'
            )


def truth(where: str, name: str, value: object) -> bool:
    """The value, which must be True or False."""
    if not isinstance(value, bool):
        raise TypeError(f'{where}: `{name}` must be True or False, got {type(value).__name__}')
    return value


def one_of(where: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    """The value, which must be one of these words."""
    rule = f'{where}: `{name}` must be one of {", ".join(map(repr, choices))}'
    if not isinstance(value, str):
        raise TypeError(f'{rule}, got {type(value).__name__}')
    if value not in choices:
        raise ValueError(f'{rule}, got {value!r}')
    return value


def auto(where: str, value: Any) -> None:
    """Check the option `workers`, for which other libraries take a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise TypeError(
            f"{where}: `workers` must be 'auto', got {value}; for a number of workers, give `threads={value}` or"
            f' `processes={value}`'
        )
    one_of(where, 'workers', value, ('auto',))


def in_use(workers: dict[str, Any]) -> dict[str, Any]:
    """Those kinds of workers of which there are to be some: None and 0 are none."""
    return {
        name: value
        for name, value in workers.items()
        if value is not None and not (isinstance(value, Integral) and not isinstance(value, bool) and value == 0)
    }


def check_rank(where: str, rank: Any, ranks: Any, name: str, name_of_all: str) -> tuple[int, int]:
    """Rank and number of ranks as ints, with 0 <= rank < ranks."""
    ranks = integer(where, name_of_all, ranks, least=1)
    rank = integer(where, name, rank, least=0)
    if rank >= ranks:
        raise ValueError(f'{where}: `{name}` must be less than `{name_of_all}` ({ranks}), got {rank}')
    return rank, ranks
