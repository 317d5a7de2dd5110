"""The names of random steps, by which their seeds are told apart."""

from __future__ import annotations

from functools import partial
from inspect import Parameter, signature
from typing import Any

from .steps import ItemStep

__all__ = ['step_name']


def step_name(stage: str, f: Any = None, name: Any = None) -> str:
    """The name of a random step: that of its stage and that of the user's function.

    `f` is the function, or the steps of a stage that stands for it. `name`, if given, takes the place of its name.

    Raises TypeError or ValueError for a `name` that cannot be one, and TypeError where `f` takes a `name` itself.

    >>> from functools import partial
    >>> step_name('with_rng', partial(pow, 2)), step_name('with_rng', lambda x: x), step_name('shuffle', name='first')
    ('with_rng:pow', 'with_rng:<lambda>', 'shuffle:first')
    """
    if name is None:
        return stage if f is None else f'{stage}:{_name_of(f)}'
    if not isinstance(name, str):
        raise TypeError(f'{stage}: `name` must be a str, got {type(name).__name__}')
    if not name.strip() or not name.isprintable():  # lone surrogates, for one, have no bytes to hash
        raise ValueError(f'{stage}: `name` must have characters that print, and no others, got {name!r}')
    if f is not None and _takes_name(_first_function(f)):
        raise TypeError(
            f'{stage}: `name` is the name of the random step here, but `{_name_of(f)}` has a parameter `name`, too;'
            ' to give it that one, use `functools.partial`'
        )
    return f'{stage}:{name}'


def _name_of(f: Any) -> str:
    f = _first_function(f)
    if isinstance(f, ItemStep):
        return f.name
    while isinstance(f, partial):
        f = f.func
    name = getattr(f, '__name__', None)
    return name if isinstance(name, str) else type(f).__name__


def _first_function(f: Any) -> Any:
    """The function that a user gave: where it is within stages, the first one of these; a stage if it takes none."""
    while isinstance(f, tuple) and not callable(f):
        step: ItemStep = f[0]
        f = step.functions[0].target if step.functions else step
        if callable(f) and not any(f is argument for argument in step.args):  # it is ours, as that of `combine`
            return step
        if f is step:
            return step
    return f


def _takes_name(f: Any) -> bool:
    if isinstance(f, ItemStep):
        return False
    while isinstance(f, partial):
        if 'name' in f.keywords:  # so it has one
            return False
        f = f.func
    try:
        parameter = signature(f).parameters.get('name')
    except (TypeError, ValueError):  # some builtins do not say what they take
        return False
    return parameter is not None and parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
