"""Functions of one item, and `pad_batch_equal`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from itpipe._core.checks import is_function
from itpipe._core.steps import Function, ItemStep
from itpipe._engine.functions import NeedsRng, bind_step
from itpipe._engine.seeds import Sites
from itpipe._engine.stream import Stage, function_of
from itpipe.stages import items

from .combiner import combine_pad

__all__ = [
    'apply_at',
    'multiply',
    'pad_batch_equal',
    'random_apply',
    'sample_args',
    'unpack_args',
    'zip_apply',
]


def pad_batch_equal(batch: Iterable[Any], padding_values: Any = 0, ratio: Any = 0.5) -> np.ndarray[Any, Any]:
    """An array of the values, padded to their largest shape.

    `padding_values` is a value or a function of an array that gives one, `ratio` as in `combine_pad`.

    Raises what `combine_pad` does.

    >>> pad_batch_equal([[1, 2, 3], [4]])
    array([[1, 2, 3],
           [0, 4, 0]])

    See also: `combine_pad`, which does this for each element of the items.
    """
    return combine_pad([(value,) for value in batch], padding_values, ratio)[0]


class ItemStage(Stage[Any, Any]):
    """A function of one item that is an item-wise stage, too, so that it has the item's generator in a stream."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function makes of one item and further arguments; what is random is drawn afresh."""
        call = bind_step(self.steps[0], Sites())  # type: ignore[arg-type]
        return (call.at(0) if isinstance(call, NeedsRng) else call)(*args, **kwargs)


def unpack_args(func: Any, *args: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: `func(*item, *args, **kwargs)`.

    Raises TypeError if `func` is not a function.

    >>> unpack_args(pow)([2, 3]), unpack_args(pow, 2)([5])
    (8, 25)

    See also: `itpipe.unpack`.
    """
    function = function_of('unpack_args', func, args, kwargs, 'func')
    return _extensible('unpack_args', function, items.unpack(func), (func, *args), kwargs)


def apply_at(index: Any, func: Any, *args: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: the tuple of its elements, with `func(x, *args, **kwargs)` for the one(s) at `index`.

    `index` is an int or several, also as whole floats; negative ones count from the end.

    Raises TypeError if `func` is not a function or `index` no int; when called, IndexError for an item without that
    element.

    >>> apply_at(0, pow, 2)([3, 2, 1]), apply_at([0, -1], abs)((-1, -2, -3))
    ((9, 2, 1), (1, -2, 3))

    See also: `itpipe.map_at`.
    """
    function = function_of('apply_at', func, args, kwargs, 'func')
    places = [int(each) if isinstance(each, float) and each.is_integer() else each for each in _listed(index)]
    return _extensible('apply_at', function, items.map_at(places, func), (index, func, *args), kwargs)


def multiply(func: Any, *args: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: the tuple of `func(x, *args, **kwargs)` for each element.

    Raises TypeError if `func` is not a function.

    >>> multiply(pow, 2)([1, 2, 3])
    (1, 4, 9)

    See also: `itpipe.map_all`.
    """
    function = function_of('multiply', func, args, kwargs, 'func')
    return _extensible('multiply', function, items.map_all(func), (func, *args), kwargs)


def zip_apply(*functions: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: the first function of its first element, the second of the second, …, as a tuple.

    `kwargs` are passed to each function. Of functions and elements, what is more than the others is left out.

    Raises TypeError if one of `functions` is not a function.

    >>> zip_apply(abs, str)([-4, 9])
    (4, '9')

    See also: `itpipe.zip_apply`, which leaves nothing out.
    """
    given = [function_of('zip_apply', f, (), kwargs, f'functions[{n}]') for n, f in enumerate(functions)]
    return ItemStage((ItemStep('zip_apply', _zip_apply, tuple(given), functions, kwargs),))


def random_apply(p: float, func: Any, *args: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: `func(item, *args, **kwargs)` with probability `p`, otherwise the item.

    A bool is a probability of 0 or 1.

    Raises TypeError if `func` is not a function, ValueError if `p` is not between 0 and 1.

    >>> random_apply(1, abs)(-1), random_apply(0, abs)(-1)
    (1, -1)
    >>> flip = random_apply(0.5, abs)
    >>> [flip.item(-1, ordinal, seed=0) for ordinal in range(6)]
    [-1, 1, 1, 1, 1, -1]

    See also: `itpipe.random_apply`.
    """
    function = function_of('random_apply', func, args, kwargs, 'func')
    (step,) = items.random_apply(int(p) if isinstance(p, (bool, np.bool_)) else p, func).steps
    return _renamed(step, 'random_apply', function, (p, func, *args), kwargs)


def sample_args(func: Any, *args: Callable[[], Any], **kwargs: Callable[[], Any]) -> ItemStage:
    """A function of one item: `func(item, …)` with arguments drawn by `args` and `kwargs`, functions of no argument.

    Functions of `numpy.random` and `random`, methods of a generator of yours, and a `functools.partial` of either, draw
    from the item's own generator. Other functions are called as they are; what those draw from is up to them.

    Raises TypeError if one of the arguments is not a function.

    >>> def shift(x, by):
    ...     return x + by
    >>> augment = sample_args(shift, by=partial(np.random.randint, 10))
    >>> [augment.item(100, ordinal, seed=0) for ordinal in range(3)]
    [109, 105, 108]

    See also: `itpipe.sample_args`, whose samplers are functions of a `numpy.random.Generator`.
    """
    function = function_of('sample_args', func, name='func')
    samplers = [_sampler(f'args[{n}]', sampler) for n, sampler in enumerate(args)]
    named = {name: _sampler(name, sampler) for name, sampler in kwargs.items()}
    (step,) = items.sample_args(func, *samplers, **named).steps
    return _renamed(step, 'sample_args', function, (func, *args), kwargs)


def _renamed(step: Any, name: str, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ItemStage:
    return ItemStage((step._replace(name=name, functions=(function,), args=args, kwargs=kwargs),))


def _extensible(
    name: str, function: Function, real: Stage[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> ItemStage:
    """The item-wise stage under its old name, with tuples for items and further arguments in its calls."""
    step: Any
    (step,) = real.steps
    return _renamed(step._replace(make=partial(_extended, step.make)), name, function, args, kwargs)


def _listed(index: Any) -> list[Any]:
    listed: list[Any] = np.atleast_1d(index).tolist()
    return listed


def _extended(make: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
    return partial(_called, make, f, make(f))


def _called(
    make: Callable[..., Any], f: Callable[..., Any], call: Callable[..., Any], item: Any, *args: Any, **kwargs: Any
) -> Any:
    if args or kwargs:
        call = make(lambda *x, **named: f(*x, *args, **named, **kwargs))
    return call(item if isinstance(item, (tuple, dict)) else tuple(item))


def _zip_apply(*functions: Callable[..., Any]) -> Callable[..., Any]:
    return partial(_zip_applied, functions)


def _zip_applied(functions: tuple[Callable[..., Any], ...], item: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return tuple(f(x, *args, **kwargs) for f, x in zip(functions, item, strict=False))


def _sampler(name: str, sampler: Any) -> Callable[[np.random.Generator], Any]:
    """The function of no argument as one of the item's generator.

    A method of a generator must not go to other processes with that generator: each would have a copy, and draw the
    same.
    """
    is_function('sample_args', name, sampler)
    call, args, kwargs = sampler, (), {}
    if isinstance(sampler, partial):
        call, args, kwargs = sampler.func, sampler.args, sampler.keywords
    owner = getattr(call, '__self__', None)
    if isinstance(owner, np.random.Generator):
        return partial(_draw, _itself, call.__name__, args, kwargs)
    if isinstance(owner, np.random.RandomState):
        return partial(_draw, _legacy, call.__name__, args, kwargs)
    if isinstance(owner, random.Random):
        return partial(_draw, _standard, call.__name__, args, kwargs)
    return partial(_draw_alone, sampler)


def _draw(
    like: Callable[[np.random.Generator], Any],
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    rng: np.random.Generator,
) -> Any:
    return getattr(like(rng), name)(*args, **kwargs)


def _draw_alone(sampler: Callable[[], Any], rng: np.random.Generator) -> Any:  # noqa: ARG001
    return sampler()


def _itself(rng: np.random.Generator) -> np.random.Generator:
    return rng


def _legacy(rng: np.random.Generator) -> np.random.RandomState:
    return np.random.RandomState(rng.bit_generator)


def _standard(rng: np.random.Generator) -> random.Random:
    return random.Random(int(rng.integers(1 << 63)))
