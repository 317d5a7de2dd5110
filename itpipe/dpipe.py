"""The names of `dpipe.batch_iter` with its calling conventions, so that a script of its users changes one import.

`from dpipe.batch_iter import …` becomes `from itpipe.dpipe import …`. Each name is a line or two over the real thing:

========================================  =============================================
dpipe                                     itpipe
========================================  =============================================
Infinite(…, buffer_size=4)                Infinite(…, prefetch=4)
make_infinite_batch_iter(…)               Infinite(…), with batches_per_epoch
sample(…, random_state=0)                 sample(…, seed=0)
load_by_random_id(…, random_state=0)      load_by_random_id(…, seed=0)
unpack_args(f)                            unpack(f)
apply_at(0, f)                            map_at(0, f)
multiply(f)                               map_all(f)
zip_apply(f, g)                           zip_apply(f, g)
random_apply(p, f)                        random_apply(p, f)
sample_args(f, x=sampler)                 sample_args(f, x=sampler), of the item's rng
Threads(f, n_workers=4)                   parallel_map(f, threads=4)
Loky(f, n_workers=4)                      parallel_map(f, processes=4)
Iterator(g, …)                            stage(g)(…)
ExpirationPool(…), expiration_pool(…)     reuse(…)
combine_batches                           combine_lists
combine_to_arrays                         combine
combine_pad(…), pad_batch_equal(…)        combine_pad(…)
========================================  =============================================

What is kept is how things are called: sources answer `next()`, samplers take no argument, `apply_at(0, f)` and its kin
are functions of one item that return tuples and pass further arguments on to `f`. What is better: order is kept,
errors arrive as they were raised, and what is random is reproducible. All of it can be mixed with the real thing.

Randomness. The `random_state` of the source, or `Infinite(seed=…)`, seeds the functions behind it, too. In a stream,
`random_apply` and `sample_args` draw from each item's own generator, in threads and processes just as in order; called
as functions of one item, from a fresh one every time, which `f.item(x, seed=0)` fixes. The global state of
`numpy.random` and `random` is neither read nor changed, except by functions of yours that do so themselves.
"""

from __future__ import annotations

import random
import warnings
from collections import abc
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import combining, infinite, items, sources
from .binding import Drawn, Sites, bind_step
from .checks import integer, is_function
from .flow import prefetch, reuse
from .parallel import parallel_map
from .stage import Stage, Stream, function_of, stage, stream
from .steps import Function, ItemStep

if TYPE_CHECKING:
    from .run import Run

__all__ = [
    'ExpirationPool',
    'Infinite',
    'Iterator',
    'Loky',
    'Threads',
    'apply_at',
    'combine_batches',
    'combine_pad',
    'combine_to_arrays',
    'expiration_pool',
    'load_by_random_id',
    'make_infinite_batch_iter',
    'multiply',
    'pad_batch_equal',
    'random_apply',
    'sample',
    'sample_args',
    'unpack_args',
    'zip_apply',
]


# ---------------------------------------------------------------------------------------------------------------------
# Batches


def combine_batches(inputs: Iterable[Sequence[Any]]) -> tuple[tuple[Any, ...], ...]:
    """For each element of the items, a tuple of its values; nothing is stacked.

    Raises ValueError for items of different length.

    >>> combine_batches([(1, 'a'), (2, 'b'), (3, 'c')])
    ((1, 2, 3), ('a', 'b', 'c'))

    See also: `itpipe.combine_lists`, which also takes dicts and nested items apart.
    """
    return tuple(zip(*inputs, strict=True))


def combine_to_arrays(inputs: Iterable[Sequence[Any]]) -> tuple[np.ndarray[Any, Any], ...]:
    """For each element of the items, an array of its values, as `numpy.array` would make it of their list.

    Raises ValueError for no items, for items of different length and for arrays of different shapes.

    >>> combine_to_arrays([([1, 2], 'a'), ([3, 4], 'b')])
    (array([[1, 2],
           [3, 4]]), array(['a', 'b'], dtype='<U1'))

    See also: `itpipe.combine`, for items of any structure; `combine_pad`.
    """
    return combining.combine(_arrays(inputs))  # type: ignore[no-any-return]


def combine_pad(
    inputs: Iterable[Sequence[Any]], padding_values: Any = 0, ratio: Any = 0.5
) -> tuple[np.ndarray[Any, Any], ...]:
    """For each element of the items, an array of its values, padded to their largest shape.

    `padding_values` is a value, a function of an array that gives one, such as `numpy.min`, or several of these, one
    for each element of the items. `ratio` is the share of the padding that goes before: a number, or one for each axis
    of the arrays. Elements without axes are not padded.

    Raises ValueError and TypeError as `itpipe.combine_pad` does; other than in dpipe, also for a padding value that the
    dtype cannot hold.

    >>> combine_pad([([1, 2, 3], 0), ([4], 1)], padding_values=-1, ratio=0)
    (array([[ 1,  2,  3],
           [ 4, -1, -1]]), array([0, 1]))

    See also: `itpipe.combine_pad`, for items of any structure and with more options.
    """
    arrays = _arrays(inputs)
    ratio = _one_or_more(ratio)
    if isinstance(ratio, tuple) and arrays:
        ratio = tuple(list(ratio) if array.ndim else 0.5 for array in arrays[0])
    return combining.combine_pad(arrays, padding_values=_one_or_more(padding_values), ratio=ratio)  # type: ignore[no-any-return]


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


def _arrays(inputs: Iterable[Sequence[Any]]) -> list[tuple[np.ndarray[Any, Any], ...]]:
    return [tuple(map(np.asarray, item)) for item in inputs]


def _one_or_more(option: Any) -> Any:
    if not np.ndim(option):
        return option
    return tuple(option) if len(option) > 1 else option[0]


class Infinite(infinite.Infinite[Any]):
    """Batches made in the background, epoch after epoch.

    `source` is an iterable, `transformers` are functions of one item, `Threads`, `Loky`, `Iterator`, or stages of
    itpipe. Functions are applied in order in the background thread; in dpipe each had a thread of its own, which is
    now what `Threads` is for. `batch_size` is a number of items, or a function `should_add(items_so_far, item)`.
    `kwargs` go to the `combiner`. `buffer_size` batches are kept ready; by default 2, or more where they are cheap.

    An epoch is `for batch in batch_iter()` or `for batch in batch_iter`: the next `batches_per_epoch` batches.
    `close()`, leaving `with` or dropping the last reference ends everything.

    `seed`, which dpipe did not have, is that of all that is random and has no `random_state` of its own.

    Raises TypeError or ValueError for wrong arguments; while iterating, what your functions raise.

    >>> def add(x, y):
    ...     return x + y, y
    >>> with Infinite(zip(range(6), range(6)), unpack_args(add), batch_size=2, batches_per_epoch=2) as batch_iter:
    ...     for epoch in range(2):
    ...         for xs, ys in batch_iter():
    ...             print(epoch, xs, ys)
    0 [0 2] [0 1]
    0 [4 6] [2 3]
    1 [ 8 10] [4 5]

    See also: `itpipe.Infinite`.
    """

    def __init__(
        self,
        source: Iterable[Any],
        *transformers: Any,
        batch_size: int | Callable[[list[Any], Any], bool],
        batches_per_epoch: int,
        buffer_size: int | None = None,
        combiner: Any = combine_to_arrays,
        seed: int | None = None,
        **kwargs: Any,
    ):
        if buffer_size is not None:
            integer('Infinite', 'buffer_size', buffer_size, least=1)
        if isinstance(combiner, Stage) and kwargs:
            raise ValueError(f'Infinite: `{next(iter(kwargs))}` goes to a function, but `combiner` is {combiner!r}')
        if not isinstance(combiner, Stage):
            function = function_of('Infinite', combiner, (), kwargs, 'combiner')
            combiner = Stage((ItemStep('apply', _itself, (function,), (combiner,), kwargs),))
        super().__init__(
            source,
            *transformers,
            batch_size=batch_size,
            batches_per_epoch=batches_per_epoch,
            combiner=combiner,
            prefetch=buffer_size,
            seed=seed,
        )


def make_infinite_batch_iter(
    source: Iterable[Any], *transformers: Any, n_iters_per_epoch: int, **kwargs: Any
) -> Infinite:
    """What `Infinite` makes of the same arguments; `batches_per_epoch` was once called `n_iters_per_epoch`.

    >>> with make_infinite_batch_iter([(1,), (2,)], batch_size=2, n_iters_per_epoch=3) as batch_iter:
    ...     len(batch_iter), next(batch_iter())
    (3, (array([1, 2]),))

    See also: `Infinite`.
    """
    count = integer('make_infinite_batch_iter', 'n_iters_per_epoch', n_iters_per_epoch, least=1)
    return Infinite(source, *transformers, batches_per_epoch=count, **kwargs)


# ---------------------------------------------------------------------------------------------------------------------
# Sources


class Source(Stream[Any]):
    """An endless stream that is its own iterator, too: `next(source)`.

    Only `next` and `for` share a place in it. A stream or an `Infinite` made of it has a run of its own, from the
    beginning.
    """

    __slots__ = ('_run',)

    def __init__(self, source: Any, steps: Any = ()):
        super().__init__(source, steps)
        self._run: Run[Any] | None = None

    def __iter__(self) -> Source:  # type: ignore[override]
        return self

    def __next__(self) -> Any:
        if self._run is None:
            self._run = super().__iter__()
        return next(self._run)

    def __reduce__(self) -> Any:
        return Source, (self.source, self.steps)


def sample(sequence: Any, weights: Any = None, random_state: np.random.RandomState | int | None = None) -> Source:
    """Endless random items of a sequence.

    `weights` are probabilities up to a common factor, one per item. `random_state` makes the items reproducible, and
    what is random behind them; a `RandomState` is asked once, for a seed.

    Raises TypeError or ValueError for wrong arguments, as `itpipe.sample` does.

    >>> source = sample(['a', 'b'], weights=[0, 1])
    >>> next(source), next(source)
    ('b', 'b')

    See also: `itpipe.sample`, which has permutations, too.
    """
    return _source(sources.sample(sequence, weights, seed=_seed('sample', random_state)))


def load_by_random_id(
    *loaders: Callable[[Any], Any],
    ids: Any,
    weights: Any = None,
    random_state: np.random.RandomState | int | None = None,
) -> Source:
    """Endless `(loader_1(id), loader_2(id), …)` for random ids; bare values for one loader.

    `weights` and `random_state` are as for `sample`.

    Raises TypeError or ValueError for wrong arguments, as `itpipe.load_by_random_id` does.

    >>> next(load_by_random_id(str.upper, len, ids=['abc']))
    ('ABC', 3)

    See also: `itpipe.load_by_random_id`.
    """
    seed = _seed('load_by_random_id', random_state)
    return _source(sources.load_by_random_id(*loaders, ids=ids, weights=weights, seed=seed))


def _source(made: Stream[Any]) -> Source:
    return Source(made.source, made.steps)


def _seed(where: str, random_state: Any) -> int | None:
    if random_state is None:
        return None
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(1 << 63, dtype=np.uint64))
    if isinstance(random_state, (bool, np.bool_)) or not isinstance(random_state, (int, np.integer)):
        got = type(random_state).__name__
        raise TypeError(f'{where}: `random_state` must be an int, a RandomState or None, got {got}')
    return integer(where, 'random_state', random_state, least=0)


# ---------------------------------------------------------------------------------------------------------------------
# Functions of one item


class ItemStage(Stage[Any, Any]):
    """A function of one item that is an item-wise stage, too, so that it has the item's generator in a stream."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function makes of one item and further arguments; what is random is drawn afresh."""
        call = bind_step(self.steps[0], Sites())  # type: ignore[arg-type]
        return (call.at(0) if isinstance(call, Drawn) else call)(*args, **kwargs)


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

    `index` is an int or several; negative ones count from the end.

    Raises TypeError if `func` is not a function or `index` no int; when called, IndexError for an item without that
    element.

    >>> apply_at(0, pow, 2)([3, 2, 1]), apply_at([0, -1], abs)((-1, -2, -3))
    ((9, 2, 1), (1, -2, 3))

    See also: `itpipe.map_at`.
    """
    function = function_of('apply_at', func, args, kwargs, 'func')
    return _extensible(
        'apply_at', function, items.map_at(np.atleast_1d(index).tolist(), func), (index, func, *args), kwargs
    )


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

    Raises TypeError if `func` is not a function, ValueError if `p` is not between 0 and 1.

    >>> random_apply(1, abs)(-1), random_apply(0, abs)(-1)
    (1, -1)
    >>> flip = random_apply(0.5, abs)
    >>> [flip.item(-1, ordinal, seed=0) for ordinal in range(6)]
    [-1, 1, 1, 1, 1, -1]

    See also: `itpipe.random_apply`.
    """
    function = function_of('random_apply', func, args, kwargs, 'func')
    (step,) = items.random_apply(p, func).steps
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


def _itself(given: Any) -> Any:
    return given


def _legacy(rng: np.random.Generator) -> np.random.RandomState:
    return np.random.RandomState(rng.bit_generator)


def _standard(rng: np.random.Generator) -> random.Random:
    return random.Random(int(rng.integers(1 << 63)))


# ---------------------------------------------------------------------------------------------------------------------
# Transforms


class Threads(Stage[Any, Any]):
    """`func(item, *args, **kwargs)` for each item, in `n_workers` threads, in order.

    `buffer_size` is how many results may wait for the next step; at least as many as there are threads may.

    Raises TypeError or ValueError for wrong arguments.

    >>> list(Threads(pow, 2, n_workers=2)([1, 2, 3]))
    [1, 4, 9]

    See also: `itpipe.parallel_map`.
    """

    __slots__ = ()

    def __init__(self, func: Any, *args: Any, n_workers: int = 1, buffer_size: int = 1, **kwargs: Any):
        super().__init__(_parallel('Threads', 'threads', func, args, kwargs, n_workers, buffer_size))


class Loky(Stage[Any, Any]):
    """`func(item, *args, **kwargs)` for each item, in `n_workers` processes, in order.

    Negative `n_workers` count from the number of usable cores: -1 is all of them. `buffer_size` is as for `Threads`.
    `func` goes to each process once; it may be a lambda or a function of a notebook.

    Raises TypeError or ValueError for wrong arguments.

    >>> Loky(pow, 2, n_workers=-1)
    Loky(pow, 2, n_workers=-1)

    See also: `itpipe.parallel_map`.
    """

    __slots__ = ()

    def __init__(self, func: Any, *args: Any, n_workers: int = 1, buffer_size: int = 1, **kwargs: Any):
        super().__init__(_parallel('Loky', 'processes', func, args, kwargs, n_workers, buffer_size))


def _parallel(
    name: str, kind: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], n_workers: int, buffer_size: int
) -> Any:
    function = function_of(name, func, args, kwargs, 'func')
    if integer(name, 'n_workers', n_workers) == 0:
        raise ValueError(f'{name}: `n_workers` must not be 0')
    integer(name, 'buffer_size', buffer_size, least=1)
    in_flight = None
    if buffer_size > 1:
        from .workers import count_workers  # and with it concurrent.futures, which takes a while

        count = count_workers(n_workers)
        in_flight = count + max(count, buffer_size)
    written = kwargs | {'n_workers': n_workers} | ({} if buffer_size == 1 else {'buffer_size': buffer_size})
    call = ItemStep(name, _itself, (function,), (func, *args), written)
    workers: Any = {kind: n_workers}
    (step,) = parallel_map(Stage((call,)), in_flight=in_flight, **workers).steps
    return (step._replace(name=name, args=(func, *args), kwargs=written),)


class Iterator(Stage[Any, Any]):
    """What `transform(iterator, *args, **kwargs)` yields, given an iterator over the items.

    `buffer_size` above 1 runs it and what is upstream in a thread of its own, that many items ahead. `n_workers` above
    1 has no effect but a warning: several generators that share the items would have no order.

    Raises TypeError or ValueError for wrong arguments.

    >>> def pairs(iterator):
    ...     yield from zip(iterator, iterator)
    >>> list(Iterator(pairs)(range(5)))
    [(0, 1), (2, 3)]

    See also: `itpipe.stage`.
    """

    __slots__ = ()

    def __init__(
        self, transform: Callable[..., Any], *args: Any, n_workers: int = 1, buffer_size: int = 1, **kwargs: Any
    ):
        if integer('Iterator', 'n_workers', n_workers, least=1) > 1:
            message = 'Iterator: `n_workers` above 1 has no effect; `Threads` runs a function of one item in several'
            warnings.warn(message, stacklevel=2)
        integer('Iterator', 'buffer_size', buffer_size, least=1)
        made = stage(transform)(*args, **kwargs)
        super().__init__((made | prefetch(buffer_size)).steps if buffer_size > 1 else made.steps)


class ExpirationPool(Stage[Any, Any]):
    """Each item `repetitions` times, in random order, from a pool of at most `pool_size` items.

    For items that are dear to make, such as those read from disk: what stands behind the pool does the cheap rest.
    `iterations` values are drawn from the pool after each new item, and more while it is full.

    Raises TypeError or ValueError for wrong arguments.

    >>> sorted(ExpirationPool(2, repetitions=2)('abc'))
    ['a', 'a', 'b', 'b', 'c', 'c']

    See also: `itpipe.reuse`.
    """

    __slots__ = ()

    def __init__(self, pool_size: int, repetitions: int, iterations: int = 1):
        super().__init__(reuse(pool_size, repetitions, iterations).steps)


def expiration_pool(
    iterable: Iterable[Any], pool_size: int, repetitions: int, iterations: int = 1
) -> abc.Iterator[Any]:
    """An iterator over what `ExpirationPool` makes of the iterable.

    >>> sorted(expiration_pool([1, 2], pool_size=2, repetitions=3))
    [1, 1, 1, 2, 2, 2]

    See also: `itpipe.reuse`.
    """
    return iter(stream(iterable) | reuse(pool_size, repetitions, iterations))
