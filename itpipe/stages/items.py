"""Stages that handle each item by itself.

Where a stage takes a function, it also takes an item-wise stage: `map_at(0, random_apply(0.5, flip))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from itpipe._core.checks import is_function, number
from itpipe._core.names import step_name
from itpipe._core.steps import Function, ItemStep, identity
from itpipe._engine.factories import factory, function_of
from itpipe._engine.iterators import is_iterable, iterate
from itpipe._engine.stream import Stage

from .structure import by_names, has_fields, replaced

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy.typing as npt

    from itpipe._engine.stream import Changed, Perhaps, S
    from itpipe._engine.types import AnyFunction, Map, Sampler, X, Y
else:
    Changed = Stage

__all__ = ['apply', 'map_all', 'map_at', 'random_apply', 'sample_args', 'unpack', 'with_rng', 'zip_apply']


@overload
def apply(f: S, /, *args: Any, **kwargs: Any) -> S: ...
@overload
def apply(f: Map[X, Y], /, *args: Any, **kwargs: Any) -> Stage[X, Y]: ...
@overload
def apply(f: AnyFunction[Y], /, *args: Any, **kwargs: Any) -> Stage[Any, Y]: ...
@factory
def apply(f: Any, /, *args: Any, **kwargs: Any) -> Stage[Any, Any]:
    """`f(item, *args, **kwargs)` for each item; `stream | f` is short for `stream | apply(f)`.

    Raises TypeError if `f` is neither a function nor an item-wise stage.

    >>> list([1, 2, 3] | apply(pow, 2))
    [1, 4, 9]

    See also: `unpack`, `map_at`, `parallel_map`.
    """
    return _stage('apply', identity, [function_of('apply', f, args, kwargs, read=True)])


@factory
def map_at(
    index: Hashable | Sequence[Hashable] | npt.NDArray[Any], f: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Changed:
    """The items with `f(element, *args, **kwargs)` in the place of the element(s) at `index`.

    `index` is an int for tuples and lists, where negative ones count from the end. It is a key for dicts, and the name
    of a field for dataclasses and classes of attrs. A list or tuple has several of these. Tuples, named tuples, lists,
    dicts and classes keep their type: `dataclasses.replace`, or `attrs.evolve`, makes the new one. The item itself is
    not changed.

    Raises TypeError if `f` is neither a function nor an item-wise stage, ValueError if `index` is empty. While running,
    raises IndexError or KeyError for an item without that element, TypeError for an item without elements.

    >>> list([(1, 'a'), (2, 'b')] | map_at(0, float))
    [(1.0, 'a'), (2.0, 'b')]
    >>> list([{'image': 3, 'mask': 4, 'id': 'x'}] | map_at(['image', 'mask'], pow, 2))
    [{'image': 9, 'mask': 16, 'id': 'x'}]

    See also: `map_all`, `zip_apply`.
    """
    indices: tuple[Any, ...] = tuple(index) if isinstance(index, (list, tuple, np.ndarray)) else (index,)
    if not indices:
        raise ValueError(f'map_at: `index` must not be empty, got {index!r}')
    for one in indices:
        if isinstance(one, (bool, float)) or getattr(type(one), '__hash__', None) is None:
            raise TypeError(f'map_at: `index` must be ints or dict keys, got {one!r}')
    alone = len(indices) == 1 and isinstance(indices[0], (int, np.integer))
    make = partial(_map_at_one, indices[0]) if alone else partial(partial, _mapped_at, indices)
    return _stage('map_at', make, [function_of('map_at', f, args, kwargs)])


@overload
def unpack(f: Stage[Any, Y], /, *args: Any, **kwargs: Any) -> Stage[Any, Y]: ...
@overload
def unpack(f: AnyFunction[Y], /, *args: Any, **kwargs: Any) -> Stage[Any, Y]: ...
@factory
def unpack(f: Any, /, *args: Any, **kwargs: Any) -> Stage[Any, Any]:
    """`f(*item, *args, **kwargs)` for each item, or `f(*args, **item, **kwargs)` where the item is a dict.

    Raises TypeError if `f` is neither a function nor an item-wise stage.

    >>> list([(2, 3), (4, 2)] | unpack(pow))
    [8, 16]
    >>> list([{'base': 2, 'exp': 5}] | unpack(pow))
    [32]

    See also: `apply`, `map_all`.
    """
    return _stage('unpack', partial(partial, _unpacked), [function_of('unpack', f, args, kwargs, read=True)])


@factory
def map_all(f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Changed:
    """The items with `f(element, *args, **kwargs)` in the place of every element.

    Tuples, named tuples and lists keep their type. Dicts keep their keys.

    Raises TypeError if `f` is neither a function nor an item-wise stage, and, while running, for an item without
    elements.

    >>> list([(1, -2), [3, -4], {'x': -5}] | map_all(abs))
    [(1, 2), [3, 4], {'x': 5}]

    See also: `map_at`, `zip_apply`.
    """
    make = partial(partial, _mapped_all)
    return _stage('map_all', make, [function_of('map_all', f, args, kwargs)])


@factory
def zip_apply(*functions: Callable[..., Any], **kwargs: Any) -> Changed:
    """The items with the first function applied to the first element, the second to the second, and so on.

    There must be as many functions as the items have elements. `kwargs` are passed to each function. Tuples, named
    tuples and lists keep their type. The elements of a dict are its values, in their order; it keeps its keys.

    Raises TypeError if one of `functions` is neither a function nor an item-wise stage, ValueError if there is none.
    While running, raises ValueError for an item with another number of elements.

    >>> list([('a', 1), ('b', 2)] | zip_apply(str.upper, float))
    [('A', 1.0), ('B', 2.0)]

    See also: `map_at`, `map_all`.
    """
    if not functions:
        raise ValueError('zip_apply: `functions` must not be empty')
    given = [function_of('zip_apply', f, (), kwargs, f'functions[{n}]') for n, f in enumerate(functions)]
    return _stage('zip_apply', _zip_apply, given)


@overload
def random_apply(p: float, f: Stage[Any, Y], /, *args: Any, **kwargs: Any) -> Perhaps[Y]: ...
@overload
def random_apply(p: float, f: AnyFunction[Y], /, *args: Any, **kwargs: Any) -> Perhaps[Y]: ...
@factory
def random_apply(p: float, f: Any, /, *args: Any, name: str | None = None, **kwargs: Any) -> Stage[Any, Any]:
    """`f(item, *args, **kwargs)` with probability `p` for each item, otherwise the item as it is.

    The item's own generator decides, see `with_rng`. Within another stage, such as `map_all(random_apply(0.5, flip))`,
    it decides about each element separately. `name` is as for `with_rng`.

    Raises TypeError if `p` is not a number, if `f` is neither a function nor an item-wise stage, or for a wrong `name`.
    Raises ValueError if `p` is not between 0 and 1.

    >>> from itpipe import stream
    >>> list(stream('abcdef', seed=0) | random_apply(0.5, str.upper))
    ['A', 'b', 'C', 'd', 'e', 'F']

    See also: `sample_args`, `with_rng`.
    """
    make = partial(_random_apply, number('random_apply', 'p', p, 0, 1))
    function = function_of('random_apply', f, args, kwargs)
    return _random('random_apply', make, function, name)


@overload
def sample_args(
    f: Stage[Any, Y], /, *samplers: Sampler, name: Sampler | str | None = None, **named: Sampler
) -> Stage[Any, Y]: ...
@overload
def sample_args(
    f: AnyFunction[Y], /, *samplers: Sampler, name: Sampler | str | None = None, **named: Sampler
) -> Stage[Any, Y]: ...
@factory
def sample_args(f: Any, /, *samplers: Sampler, name: Any = None, **named: Sampler) -> Stage[Any, Any]:
    """`f(item, …)` for each item, with arguments drawn anew by the samplers, positional and named ones.

    A sampler is a function of a `numpy.random.Generator`: the item's own, see `with_rng`. Within `unpack`, the drawn
    arguments come after the elements. `name` is as for `with_rng`, unless it is a sampler itself.

    Raises TypeError if `f` is neither a function nor an item-wise stage, if a sampler is not a function, or for a wrong
    `name`.

    >>> from itpipe import stream
    >>> def shift(x, by):
    ...     return x + by
    >>> list(stream([10, 20, 30], seed=0) | sample_args(shift, by=lambda rng: int(rng.integers(10))))
    [18, 25, 34]

    See also: `random_apply`, `with_rng`.
    """
    if callable(name):
        named, name = named | {'name': name}, None
    for n, sampler in enumerate(samplers):
        is_function('sample_args', f'samplers[{n}]', sampler)
    for parameter, sampler in named.items():
        is_function('sample_args', parameter, sampler)
    make = partial(_sample_args, samplers, named)
    return _random('sample_args', make, function_of('sample_args', f), name)


@overload
def with_rng(f: Stage[Any, Y], /, *args: Any, **kwargs: Any) -> Stage[Any, Y]: ...
@overload
def with_rng(f: AnyFunction[Y], /, *args: Any, **kwargs: Any) -> Stage[Any, Y]: ...
@factory
def with_rng(f: Any, /, *args: Any, name: str | None = None, **kwargs: Any) -> Stage[Any, Any]:
    """`f(item, *args, rng=…, **kwargs)` for each item; `rng` is the item's own `numpy.random.Generator`.

    It can be used where a function of an item can be used, such as `map_at(0, with_rng(add_noise))` or
    `unpack(with_rng(augment))`. It then gets the arguments of that function. The generator depends on the seed, the
    name of the stage, the item's place in the source and the pass over it. It depends on nothing else: not on the item
    itself, on other stages, on threads or processes. It may be kept, pickled and spawned.

    The name of the stage is that of the function. If several have the same name, their order counts, too. `name`, if
    given, replaces the function's name. Give the old name if you rename a function.

    The generators are Philox, of Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011.

    Raises TypeError if `f` is neither a function nor an item-wise stage, for a `name` that is not a str, and if `f`
    itself has a parameter `name`. Raises ValueError for an empty `name`.

    >>> from itpipe import stream
    >>> def jitter(x, rng, scale=1):
    ...     return x + int(rng.integers(-scale, scale + 1))
    >>> list(stream([10, 20, 30], seed=0) | with_rng(jitter, scale=9))
    [7, 17, 39]

    See also: `random_apply`, `sample_args`.
    """
    return _random('with_rng', _with_rng, function_of('with_rng', f, args, kwargs), name)


def _stage(stage: str, make: Any, functions: Iterable[Function], draws: str = '') -> Changed:
    return Changed((ItemStep(stage, make, tuple(functions), draws=draws),))


def _random(stage: str, make: Any, function: Function, name: str | None) -> Changed:
    return _stage(stage, make, [function], step_name(stage, function.target, name))


# ---------------------------------------------------------------------------------------------------------------------
# What runs


def _map_at_one(index: int, f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    # what most pipelines do with each item: three times as fast as the general form
    def mapped(item: Any) -> Any:
        kind = type(item)
        if kind is not tuple and kind is not list:
            return _mapped_at((index,), f, item)
        elements = [*item]
        try:
            element = elements[index]
        except IndexError:
            raise IndexError(f'map_at: no element {index!r} in an item of {len(item)}') from None
        elements[index] = f(element)
        return tuple(elements) if kind is tuple else elements

    def mapped_first(item: Any) -> Any:
        if type(item) is tuple and len(item) == 2:  # an image and its label
            return f(item[0]), item[1]
        return mapped(item)

    return mapped_first if index == 0 else mapped


def _mapped_at(indices: tuple[Any, ...], f: Callable[[Any], Any], item: Any) -> Any:
    if isinstance(item, dict):
        for index in indices:
            if index not in item:
                raise KeyError(f'map_at: no key {index!r} in an item with the keys {list(item)}')
        return {**item, **{index: f(item[index]) for index in indices}}
    if has_fields(type(item)):
        parts = by_names(item)
        for index in indices:
            if index not in parts:
                raise KeyError(f'map_at: no field {index!r} in an item with the fields {list(parts)}')
        return replaced(item, {index: f(parts[index]) for index in indices})
    elements = _elements('map_at', item)
    count = len(elements)
    for index in indices:
        if isinstance(index, str) or not -count <= index < count:
            raise IndexError(f'map_at: no element {index!r} in an item of {count}')
    for index in dict.fromkeys(index % count for index in indices):
        elements[index] = f(elements[index])
    return _like(item, elements)


def _mapped_all(f: Callable[[Any], Any], item: Any) -> Any:
    if isinstance(item, dict):
        return {key: f(element) for key, element in item.items()}
    return _like(item, [f(element) for element in _elements('map_all', item)])


def _zip_apply(*functions: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return partial(_zip_applied, functions)


def _zip_applied(functions: tuple[Callable[[Any], Any], ...], item: Any) -> Any:
    elements = list(item.values()) if isinstance(item, dict) else _elements('zip_apply', item)
    if len(elements) != len(functions):
        raise ValueError(f'zip_apply: {len(functions)} functions for an item of {len(elements)} elements')
    results = [f(element) for f, element in zip(functions, elements, strict=True)]
    return dict(zip(item, results, strict=True)) if isinstance(item, dict) else _like(item, results)


def _unpacked(f: Callable[..., Any], item: Any) -> Any:
    if isinstance(item, (tuple, list)):
        return f(*item)
    return f(**item) if isinstance(item, dict) else f(*(iterate(item) if is_iterable(item) else item))


def _random_apply(p: float, rng: np.random.Generator, f: Callable[..., Any]) -> Callable[..., Any]:
    def maybe(*item: Any, **named: Any) -> Any:
        if rng.random() < p:
            return f(*item, **named)
        return item[0] if len(item) == 1 else item or named  # what is named besides an item are arguments of `f`

    return maybe


def _sample_args(
    samplers: tuple[Callable[..., Any], ...],
    named: dict[str, Callable[..., Any]],
    rng: np.random.Generator,
    f: Callable[..., Any],
) -> Callable[..., Any]:
    def with_drawn(*item: Any, **others: Any) -> Any:
        drawn = [sampler(rng) for sampler in samplers]
        return f(*item, *drawn, **others, **{name: sampler(rng) for name, sampler in named.items()})

    return with_drawn


def _with_rng(rng: np.random.Generator, f: Callable[..., Any]) -> Callable[..., Any]:
    return partial(f, rng=rng)


def _elements(where: str, item: Any) -> list[Any]:
    if not isinstance(item, (tuple, list)):
        raise TypeError(f'{where}: items must be tuples, lists or dicts, got {type(item).__name__}')
    return [*item]


def _like(item: Any, elements: list[Any]) -> Any:
    if type(item) is tuple:
        return tuple(elements)
    if isinstance(item, list):
        return elements
    return item._make(elements) if hasattr(item, '_make') else tuple(elements)
