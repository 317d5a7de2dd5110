"""Stages of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial, update_wrapper
from inspect import signature
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Protocol, overload

from itpipe._core.checks import is_function
from itpipe._core.notes import note, noted
from itpipe._core.show import format_call, format_value
from itpipe._core.steps import Opaque, Pair, UserStateful, is_json
from itpipe._engine.iterators import is_async, is_iterable, iterate
from itpipe._engine.stream import B, P, Stage, Stream, stream

if TYPE_CHECKING:
    from itpipe._core.keys import Key

__all__ = ['stage']


class Decorator(Protocol):
    def __call__(self, function: Callable[Concatenate[Any, Any, P], Iterable[B]], /) -> Factory[P, B]: ...


@overload
def stage(function: Callable[Concatenate[Any, P], Iterable[B]]) -> Factory[P, B]: ...
@overload
def stage(*, state: dict[str, Any]) -> Decorator: ...
def stage(function: Any = None, *, state: dict[str, Any] | None = None) -> Any:
    """Makes a stage factory of a generator function whose first argument is an iterator over the items.

    The arguments of the factory are passed to the function after the iterator. The items that come out are numbered
    anew: later random stages use these new numbers. The `finally` blocks of the generator run as soon as the run ends,
    for whatever reason. The generator may run in another thread than the loop.

    If a run goes on from the middle, see `Stream.resume`, the generator begins again at the beginning. With a `state`,
    it goes on from the place: `@stage(state={…})` is for a function `(items, state, …)` that keeps everything it
    remembers in the dict `state`. The dict begins as it is given here. **Each time the generator asks for an item, all
    that it remembers must be in the dict.** Items that it holds are in the list `state['slots']`, as it got them. They
    are made again. The other fields are JSON. To go on, the function is called anew with the saved state.

    Raises TypeError if it is not given a function, or if `state` is not JSON. The factory raises TypeError if the
    function does not take its arguments. While running with a state, raises TypeError if the state cannot be saved, and
    RuntimeError if a new generator would not go on from the state in the same way.

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

    >>> @stage(state={'total': 0})
    ... def running_sum(items, state):
    ...     for item in items:
    ...         state['total'] += item
    ...         yield state['total']
    >>> sums = range(6) | running_sum()
    >>> run = iter(sums)
    >>> next(run), next(run), next(run)
    (0, 1, 3)
    >>> list(sums.resume(run.state_dict()))
    [6, 10, 15]

    See also: `apply`, for what needs one item at a time.
    """
    if state is not None:
        if not isinstance(state, dict) or not is_json(state) or state.get('slots', []) != []:
            raise TypeError(f"stage: `state` must be a dict of JSON, in which 'slots', if any, is [], got {state!r}")
        state = deepcopy(state)
    elif function is None:
        raise TypeError('stage: give the generator function, or its `state`')
    return partial(Factory, state=state) if function is None else Factory(function, state)


stage.is_factory = True  # type: ignore[attr-defined]


class Factory(Generic[P, B]):
    """What `stage` makes of a function."""

    is_factory = True

    def __init__(self, function: Callable[..., Iterable[B]], state: dict[str, Any] | None = None):
        update_wrapper(self, is_function('stage', 'function', function), updated=())
        self.function, self.state = function, state
        if not hasattr(self, '__name__'):  # a partial, or an object with `__call__`
            self.__name__ = getattr(getattr(function, 'func', None), '__name__', type(function).__name__)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stage[Any, B]:
        try:
            signature(self.function).bind(iter(()), *([] if self.state is None else [{}]), *args, **kwargs)
        except TypeError as error:
            hint = ''
            if self.state is not None and 'state' in [*signature(self.function).parameters][2:]:
                hint = '; `state` must be the second parameter of its function, as it is given behind the items'
            raise TypeError(f'{self.__name__}: {error}{hint}') from None
        except ValueError:  # some builtins, such as `map`, do not say what they take
            pass
        described: Any = {'options': (self, args, kwargs), 'args': args, 'kwargs': kwargs}
        if self.state is None:
            return Stage((Opaque(self.__name__, _numbered, **described),))
        return Stage((UserStateful(self.__name__, _results, **described, state=self.state),))

    def __ror__(self, iterable: Iterable[Any]) -> Stream[B]:
        return stream(iterable) | self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Factory) and (self.function, self.state) == (other.function, other.state)

    def __hash__(self) -> int:
        return hash(self.function)

    def __reduce__(self) -> Any:
        found: Any = sys.modules.get(self.function.__module__)
        path = getattr(self.function, '__qualname__', '')
        for name in path.split('.'):
            found = getattr(found, name, None)
        return path if found is self else (Factory, (self.function, self.state))

    def _reduce_by_value(self) -> Any:
        """What our pickler asks for, for a process, where `__main__` is another module; None where a name will do."""
        return (Factory, (self.function, self.state)) if self.function.__module__ == '__main__' else None


def _results(values: Iterator[Any], *given: Any) -> Iterator[Any]:
    """What the user's function makes of the values; a `state` may be given before the factory and its arguments."""
    *state, made, args, kwargs = given
    results = made.function(values, *state, *args, **kwargs)
    if not is_iterable(results) or is_async(results):
        raise TypeError(f'{made.__name__}: its function must yield, or return an iterable, got {format_value(results)}')
    return iterate(results)


def _numbered(
    items: Iterator[Pair], made: Factory[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Pair]:
    last: list[Key | None] = [None]
    results: Any = None
    try:
        results = _results(_values(items, last), made, args, kwargs)
        yield from enumerate(results)
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
