"""Stages of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import update_wrapper
from inspect import signature
from typing import Any, Concatenate, Generic

from itpipe._core.checks import is_function
from itpipe._core.keys import Key
from itpipe._core.notes import note, noted
from itpipe._core.show import format_call, format_value
from itpipe._core.steps import Opaque, Pair
from itpipe._engine.iterators import is_iterable, iterate
from itpipe._engine.stream import B, P, Stage, Stream, stream

__all__ = ['stage']


class stage(Generic[P, B]):  # noqa: N801  (a decorator)
    """Makes a stage factory of a generator function whose first argument is an iterator over the items.

    What the factory is called with is passed on behind the iterator. The items that come out are numbered anew: for
    random stages behind it, an item is its place in what comes out. If the generator cleans up in `finally`, it does so
    as soon as the run ends, however that happens. It may run in another thread than the one that iterates.

    Raises TypeError for what is not a function, and, when the factory is called, if the function does not take these
    arguments.

    >>> @stage
    ... def pairwise_sums(items, scale=1):
    ...     last = next(items)
    ...     for item in items:
    ...         yield scale * (last + item)
    ...         last = item
    >>> list(range(4) | pairwise_sums(scale=10))
    [10, 30, 50]
    >>> pairwise_sums(scale=10)
    pairwise_sums(scale=10)

    See also: `apply`, for what needs one item at a time.
    """

    is_factory = True

    def __init__(self, function: Callable[Concatenate[Any, P], Iterable[B]]):
        update_wrapper(self, is_function('stage', 'function', function), updated=())
        self.function = function
        if not hasattr(self, '__name__'):  # a partial, or an object with `__call__`
            self.__name__ = getattr(getattr(function, 'func', None), '__name__', type(function).__name__)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stage[Any, B]:
        try:
            signature(self.function).bind(iter(()), *args, **kwargs)
        except TypeError as error:
            raise TypeError(f'{self.__name__}: {error}') from None
        except ValueError:  # some builtins, such as `map`, do not say what they take
            pass
        step = Opaque(self.__name__, _custom, (self, args, kwargs), args=args, kwargs=kwargs)
        return Stage((step,))

    def __ror__(self, iterable: Iterable[Any]) -> Stream[B]:
        return stream(iterable) | self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, stage) and self.function is other.function

    def __hash__(self) -> int:
        return hash(self.function)

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(self.function.__module__)
        path = getattr(self.function, '__qualname__', '')
        for name in path.split('.'):
            found = getattr(found, name, None)
        return path if found is self else (stage, (self.function,))

    def _reduce_by_value(self) -> Any:
        """What our pickler asks for, for a process, where `__main__` is another module; None where a name will do."""
        return (stage, (self.function,)) if self.function.__module__ == '__main__' else None


def _custom(
    items: Iterator[Pair], made: stage[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Pair]:
    last: list[Key | None] = [None]
    results: Any = made.function(_values(items, last), *args, **kwargs)
    try:
        if not is_iterable(results):
            raise TypeError(
                f'{made.__name__}: its function must yield, or return an iterable, got {format_value(results)}'
            )
        yield from enumerate(iterate(results))
    except Exception as error:
        if not noted(error):
            note(error, format_call(made.__name__, args, kwargs), last[0])
        raise
    finally:
        if hasattr(results, 'close'):
            results.close()


def _values(items: Iterator[Pair], last: list[Key | None]) -> Iterator[Any]:
    for last[0], value in items:
        yield value
