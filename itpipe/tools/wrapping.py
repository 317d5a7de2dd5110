"""Steps whose functions, or random generators, are wrapped: to note what is drawn, or to debug a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from itpipe._core.steps import EachStep, Function, ItemStep, Step

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ['noting', 'with_functions', 'with_generators']

LONGEST: Final = 60
"""Characters of what was drawn at once."""


def with_functions(step: Any, wrap: Callable[[Any], Any]) -> Any:
    """The step with all functions of the user's wrapped; it prints as before."""
    return _changed(step, lambda each: each._replace(functions=tuple(_wrapped(f, wrap) for f in each.functions)))


def with_generators(step: Any, wrap: Callable[[Generator], Generator]) -> Any:
    """The step with the generator of each item wrapped, where its functions get one."""
    return _changed(step, lambda each: each._replace(make=partial(_make, each.make, wrap)) if each.draws else each)


def _changed(step: Any, change: Callable[[ItemStep], ItemStep]) -> Any:
    """The step, with the item-wise steps in it changed, also those within others."""
    if isinstance(step, ItemStep):
        functions = tuple(
            function._replace(target=tuple(_changed(inner, change) for inner in function.target))
            if isinstance(function.target, tuple)
            else function
            for function in step.functions
        )
        return change(step._replace(functions=functions))
    if isinstance(step, EachStep):
        return step._replace(steps=tuple(_changed(inner, change) for inner in step.steps))
    if isinstance(step, Step):
        return replace(step, options=tuple(_changed_option(option, change) for option in step.options))
    return step


def _changed_option(option: Any, change: Callable[[ItemStep], ItemStep]) -> Any:
    if isinstance(option, tuple) and option and isinstance(option[0], (ItemStep, EachStep)):
        return tuple(_changed(each, change) for each in option)
    return option


def _wrapped(function: Function, wrap: Callable[[Any], Any]) -> Function:
    return function if isinstance(function.target, tuple) else function._replace(target=wrap(function.target))


def _make(make: Callable[..., Any], wrap: Callable[[Generator], Generator], rng: Generator, *parts: Any) -> Any:
    return make(wrap(rng), *parts)


def noting(notes: list[str]) -> Callable[[Generator], Generator]:
    """A function that makes a generator note what is drawn from it, and else leaves it as it is."""
    from numpy.random import Generator

    class Noting(Generator):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            return partial(_noted, notes, name, value) if name[0] != '_' and callable(value) else value

    return lambda rng: Noting(rng.bit_generator)


def _noted(notes: list[str], name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    result = method(*args, **kwargs)
    given = [*map(_short, args), *(f'{key}={_short(value)}' for key, value in kwargs.items())]
    notes.append(f'{name}({", ".join(given)}) → {_short(args[0] if result is None and args else result)}')
    return result


def _short(value: Any) -> str:
    text = ' '.join((str(value) if hasattr(value, 'dtype') else repr(value)).split())
    return text if len(text) <= LONGEST else f'{text[: LONGEST - 1]}…'
