"""Functions of one item, and `pad_batch_equal`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from itpipe._core.checks import is_function
from itpipe._core.steps import ItemStep
from itpipe._engine.factories import function_of
from itpipe._engine.functions import NeedsRng, bind_step
from itpipe._engine.seeds import Seeds
from itpipe._engine.stream import Stage
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

    `padding_values` is a value or a function of an array that returns one. `ratio` is as in `combine_pad`.

    Raises what `combine_pad` raises.

    >>> pad_batch_equal([[1, 2, 3], [4]])
    array([[1, 2, 3],
           [0, 4, 0]])

    See also: `combine_pad`, which does this for each element of the items.
    """
    return combine_pad([(value,) for value in batch], padding_values, ratio)[0]


class ItemStage(Stage[Any, Any]):
    """An item-wise stage that can also be called as a function of one item."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result for one item and further arguments; random numbers are drawn afresh at each call."""
        call = bind_step(self.steps[0], Seeds())  # type: ignore[arg-type]
        return (call.at(0) if isinstance(call, NeedsRng) else call)(*args, **kwargs)


def unpack_args(func: Any, *args: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: `func(*item, *args, **kwargs)`.

    Raises TypeError if `func` is not a function.

    >>> unpack_args(pow)([2, 3]), unpack_args(pow, 2)([5])
    (8, 25)

    See also: `itpipe.unpack`.
    """
    return _item_stage('unpack_args', items.unpack, func, args, kwargs)


def apply_at(index: Any, func: Any, *args: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: the tuple of its elements, with `func(x, *args, **kwargs)` for the one(s) at `index`.

    `index` is an int or several ints; whole floats are taken, too. Negative ones count from the end.

    Raises TypeError if `func` is not a function or `index` is not an int. When called, raises IndexError for an item
    without that element.

    >>> apply_at(0, pow, 2)([3, 2, 1]), apply_at([0, -1], abs)((-1, -2, -3))
    ((9, 2, 1), (1, -2, 3))

    See also: `itpipe.map_at`.
    """
    indices = np.asarray(index)
    if indices.dtype.kind == 'f' and (indices == np.trunc(indices)).all():
        indices = indices.astype(int)
    return _item_stage('apply_at', partial(items.map_at, indices.tolist()), func, args, kwargs)


def multiply(func: Any, *args: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: the tuple of `func(x, *args, **kwargs)` for each element.

    Raises TypeError if `func` is not a function.

    >>> multiply(pow, 2)([1, 2, 3])
    (1, 4, 9)

    See also: `itpipe.map_all`.
    """
    return _item_stage('multiply', items.map_all, func, args, kwargs)


def zip_apply(*functions: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: the tuple of the first function of the first element, the second of the second, ….

    `kwargs` are passed to each function. If there are more functions than elements, or more elements than functions,
    the rest is left out.

    Raises TypeError if one of `functions` is not a function.

    >>> zip_apply(abs, str)([-4, 9])
    (4, '9')

    See also: `itpipe.zip_apply`, which leaves nothing out.
    """
    checked = [function_of('zip_apply', f, (), kwargs, f'functions[{n}]') for n, f in enumerate(functions)]
    return ItemStage((ItemStep('zip_apply', _zip_apply, tuple(checked), functions, kwargs),))


def random_apply(p: float, func: Any, *args: Any, **kwargs: Any) -> ItemStage:
    """A function of one item: `func(item, *args, **kwargs)` with probability `p`, otherwise the item.

    A bool is a probability of 0 or 1.

    Raises TypeError if `func` is not a function, ValueError if `p` is not between 0 and 1.

    >>> random_apply(1, abs)(-1), random_apply(0, abs)(-1)
    (1, -1)
    >>> flip = random_apply(0.5, abs)
    >>> [flip.item(-1, ordinal, seed=0) for ordinal in range(6)]
    [1, 1, 1, -1, -1, 1]

    See also: `itpipe.random_apply`.
    """
    probability = int(p) if isinstance(p, (bool, np.bool_)) else p
    return _item_stage('random_apply', partial(items.random_apply, probability), func, args, kwargs)


def sample_args(func: Any, *args: Callable[[], Any], **kwargs: Callable[[], Any]) -> ItemStage:
    """A function of one item: `func(item, …)` with arguments drawn by `args` and `kwargs`, functions of no argument.

    Functions of `numpy.random` and `random`, methods of a generator of yours, and a `functools.partial` of these draw
    from the item's own generator. Other functions are called as they are.

    Raises TypeError if one of the arguments is not a function.

    >>> def shift(x, by):
    ...     return x + by
    >>> augment = sample_args(shift, by=partial(np.random.randint, 10))
    >>> [augment.item(100, ordinal, seed=0) for ordinal in range(3)]
    [100, 109, 102]

    See also: `itpipe.sample_args`, whose samplers are functions of a `numpy.random.Generator`.
    """
    function_of('sample_args', func, name='func')
    samplers = [_sampler(f'args[{n}]', sampler) for n, sampler in enumerate(args)]
    named = {name: _sampler(name, sampler) for name, sampler in kwargs.items()}
    step: Any
    (step,) = items.sample_args(func, *samplers, **named).steps
    return ItemStage((step._replace(args=(func, *args), kwargs=kwargs),))


def _item_stage(name: str, stage_of: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ItemStage:
    """The stage `stage_of(func, *args, **kwargs)` under its old name and with the old way of calling it."""
    function_of(name, func, args, kwargs, 'func')  # its errors have the names of dpipe
    (step,) = stage_of(func, *args, **kwargs).steps
    make = step.make if step.draws else partial(_with_old_calls, step.make)
    return ItemStage((step._replace(name=name, make=make),))


def _with_old_calls(make: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
    """`make(f)` that takes any iterable in the place of a tuple, and passes further arguments on to `f`."""
    made = make(f)

    def call(item: Any, *args: Any, **kwargs: Any) -> Any:
        item = item if isinstance(item, (tuple, dict)) else tuple(item)
        if args or kwargs:
            return make(lambda *x, **named: f(*x, *args, **named, **kwargs))(item)
        return made(item)

    return call


def _zip_apply(*functions: Callable[..., Any]) -> Callable[..., Any]:
    def call(item: Any, *args: Any, **kwargs: Any) -> Any:
        return tuple(f(x, *args, **kwargs) for f, x in zip(functions, item, strict=False))

    return call


# How to make a generator of each kind that draws from the item's own one.
GENERATORS: dict[type, Callable[[np.random.Generator], Any]] = {
    np.random.Generator: lambda rng: rng,
    np.random.RandomState: lambda rng: np.random.RandomState(rng.bit_generator),
    random.Random: lambda rng: random.Random(int(rng.integers(1 << 63))),
}


def _sampler(name: str, sampler: Any) -> Callable[[np.random.Generator], Any]:
    """The sampler as a function of the item's generator.

    A bound method of a generator is called on the item's generator instead: each worker would have a copy of its own
    generator, and all copies would draw the same.
    """
    is_function('sample_args', name, sampler)
    method, args, kwargs = sampler, (), {}
    if isinstance(sampler, partial):
        method, args, kwargs = sampler.func, sampler.args, sampler.keywords
    owner = getattr(method, '__self__', None)
    for kind in GENERATORS:
        if isinstance(owner, kind):
            return partial(_draw, kind, method.__name__, args, kwargs)
    return partial(_ignore_rng, sampler)


def _draw(kind: type, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], rng: np.random.Generator) -> Any:
    return getattr(GENERATORS[kind](rng), method)(*args, **kwargs)


def _ignore_rng(sampler: Callable[[], Any], rng: np.random.Generator) -> Any:  # noqa: ARG001
    return sampler()
