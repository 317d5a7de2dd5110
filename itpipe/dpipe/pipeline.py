"""`Infinite`, and the transformers that are more than a function."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar

from itpipe import infinite
from itpipe._core.checks import integer
from itpipe._core.steps import ItemStep, identity
from itpipe._engine.factories import function_of
from itpipe._engine.stream import Stage
from itpipe._workers.cores import count_workers
from itpipe.stages.custom import stage
from itpipe.stages.items import apply
from itpipe.stages.parallel import parallel_map
from itpipe.stages.prefetch import prefetch

from .combiner import combine_batches, combine_pad, combine_to_arrays

__all__ = [
    'Infinite',
    'Iterator',
    'Loky',
    'Threads',
    'combine_batches',
    'combine_pad',
    'combine_to_arrays',
    'make_infinite_batch_iter',
]


class Infinite(infinite.Infinite[Any]):
    """Batches made in the background, epoch after epoch.

    `source` is an iterable. `transformers` are functions of one item, `Threads`, `Loky`, `Iterator`, or stages of
    itpipe. Functions run one after the other in the one background thread; in dpipe each had a thread of its own. Wrap
    a function in `Threads` where that matters. `batch_size` is a number of items, or a function
    `should_add(items_so_far, item)`. `kwargs` go to the `combiner`. `buffer_size` batches are kept ready; by default 2,
    or more if they are cheap.

    An epoch is `for batch in batch_iter()` or `for batch in batch_iter`: the next `batches_per_epoch` batches.
    `close()`, leaving `with` or dropping the last reference ends everything.

    `seed` is new: it seeds every random function that has no `random_state` of its own.

    Raises TypeError or ValueError for wrong arguments; while iterating, what your functions raise.

    >>> from itpipe.dpipe import unpack_args
    >>> def add(x, y):
    ...     return x + y, y
    >>> with Infinite(zip(range(8), range(8)), unpack_args(add), batch_size=2, batches_per_epoch=2) as batch_iter:
    ...     for epoch in range(2):
    ...         for xs, ys in batch_iter():
    ...             print(epoch, xs, ys)
    0 [0 2] [0 1]
    0 [4 6] [2 3]
    1 [ 8 10] [4 5]
    1 [12 14] [6 7]

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
        if not isinstance(combiner, Stage):
            function_of('Infinite', combiner, (), kwargs, 'combiner')
            combiner = apply(combiner, **kwargs)
        elif kwargs:
            raise ValueError(f'Infinite: `{next(iter(kwargs))}` goes to a function, but `combiner` is {combiner!r}')
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
    """An `Infinite` of these arguments; `batches_per_epoch` was once called `n_iters_per_epoch`.

    >>> with make_infinite_batch_iter([(1,), (2,)], batch_size=2, n_iters_per_epoch=3) as batch_iter:
    ...     len(batch_iter), next(batch_iter())
    (3, (array([1, 2]),))

    See also: `Infinite`.
    """
    count = integer('make_infinite_batch_iter', 'n_iters_per_epoch', n_iters_per_epoch, least=1)
    return Infinite(source, *transformers, batches_per_epoch=count, **kwargs)


class _Workers(Stage[Any, Any]):
    """`func(item, *args, **kwargs)` for each item, in order, in `n_workers` workers of the kind that `option` names."""

    __slots__ = ()
    name: ClassVar[str]
    option: ClassVar[str]

    def __init__(self, func: Any, *args: Any, n_workers: int = 1, buffer_size: int = 1, **kwargs: Any):
        function = function_of(self.name, func, args, kwargs, 'func')
        if integer(self.name, 'n_workers', n_workers) == 0:
            raise ValueError(f'{self.name}: `n_workers` must not be 0')
        options: dict[str, Any] = {self.option: n_workers}
        arguments = kwargs | {'n_workers': n_workers}
        if integer(self.name, 'buffer_size', buffer_size, least=1) > 1:
            count = count_workers(n_workers)
            options['in_flight'] = count + max(count, buffer_size)
            arguments['buffer_size'] = buffer_size
        call = ItemStep(self.name, identity, (function,), (func, *args), arguments)
        (step,) = parallel_map(Stage((call,)), **options).steps
        super().__init__((replace(step, name=call.name, args=call.args, kwargs=call.kwargs),))  # type: ignore[type-var]


class Threads(_Workers):
    """`func(item, *args, **kwargs)` for each item, in `n_workers` threads, in order.

    `buffer_size` results may wait for the next step, but at least as many as there are threads.

    Raises TypeError or ValueError for wrong arguments.

    >>> list(Threads(pow, 2, n_workers=2)([1, 2, 3]))
    [1, 4, 9]

    See also: `itpipe.parallel_map`.
    """

    __slots__ = ()
    name = 'Threads'
    option = 'threads'


class Loky(_Workers):
    """`func(item, *args, **kwargs)` for each item, in `n_workers` processes, in order.

    Negative `n_workers` count from the number of usable cores: -1 is all of them. `buffer_size` is as for `Threads`.
    `func` is sent to each process once. It may be a lambda or a function of a notebook.

    Raises TypeError or ValueError for wrong arguments.

    >>> Loky(pow, 2, n_workers=-1)
    Loky(pow, 2, n_workers=-1)

    See also: `itpipe.parallel_map`.
    """

    __slots__ = ()
    name = 'Loky'
    option = 'processes'


class Iterator(Stage[Any, Any]):
    """The items that `transform(iterator, *args, **kwargs)` yields, given an iterator over the items.

    With a `buffer_size` above 1, it runs in a thread of its own, together with the steps before it, up to that many
    items ahead. An `n_workers` above 1 only gives a warning: several generators that share the items would have no
    order.

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
