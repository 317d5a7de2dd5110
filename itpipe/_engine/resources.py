"""The resource of `setup`: what each worker makes once for the function, such as a file, a connection, a model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from itpipe._core.notes import note
from itpipe._core.show import format_value, same

if TYPE_CHECKING:
    from itpipe._core.steps import Function

__all__ = ['Resource', 'with_setup']


class Resource(threading.local):
    """What `setup` returned, in each thread on its own."""

    def __init__(self, setup: Callable[[], Any]):
        self.setup = setup

    def open(self) -> None:
        """Call `setup`."""
        try:
            self.value = self.setup()
        except Exception as error:
            note(error, f'setup={format_value(self.setup)}', None)
            raise

    def close(self) -> None:
        """Close what `setup` returned, if it has a `close`."""
        value = self.__dict__.pop('value', None)
        if callable(close := getattr(value, 'close', None)):
            try:
                close()
            except Exception as error:
                note(error, f'closing what setup={format_value(self.setup)} returned', None)
                raise

    def __reduce__(self) -> Any:
        return Resource, (self.setup,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resource) and same(self.setup, other.setup)

    __hash__ = None  # type: ignore[assignment]


def with_setup(where: str, function: Function, resource: Resource) -> Function:
    """The function with the resource of its worker as `setup`. For a stage, this is the function that it applies.

    Raises TypeError for a stage with no function or with several.
    """
    if callable(function.target):
        return function._replace(target=partial(_call, resource, function.target))
    if len(function.target) != 1 or len(function.target[0].functions) != 1:
        raise TypeError(f'{where}: with `setup`, `f` must be a function, or a stage that applies one function')
    (step,) = function.target
    return function._replace(target=(step._replace(functions=(with_setup(where, step.functions[0], resource),)),))


def _call(resource: Resource, f: Callable[..., Any], /, *item: Any, **named: Any) -> Any:
    return f(*item, setup=resource.value, **named)
