"""Where endless random items come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, overload

from itpipe._core.checks import is_function, truth
from itpipe._core.instead import check_source, renames
from itpipe._core.names import step_name
from itpipe._core.show import non_defaults
from itpipe._engine.indexing import length
from itpipe._engine.samplers import is_sampler
from itpipe._engine.stream import Stream, no_stage, reading_policy

from .sampled import Sampled

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from itpipe._engine.failures import OnError
    from itpipe._engine.types import Drawing, Indexed, X, Y, Z

__all__ = ['load_by_random_id', 'sample']


@no_stage('it makes a stream, with which a pipeline begins')
@renames
def sample(
    sequence: Indexed[X],
    weights: npt.ArrayLike | None = None,
    replace: bool = True,
    seed: int | None = None,
    *,
    name: str | None = None,
    reweight: bool = False,
    on_error: OnError = 'raise',
    max_errors: float | None = None,
) -> Stream[X]:
    """An endless stream of random items of a sequence.

    `sequence` is anything with a length and access by index: a list, an array (its rows, also of h5py and zarr), a
    torch dataset. If a `parallel_map` follows, its workers look the items up; see there what a dataset must allow.
    `weights` are probabilities up to a common factor, one for each item. Without them, all items are equally likely.
    With `replace=False`, each item comes once in each pass over the sequence, in a new random order for every pass.
    With weights, items of weight 0 never come, and heavier ones tend to come earlier. The `seed` is also that of every
    later random stage that has no seed of its own. If a `mix` has several samples, give each a `name`. Then its draws
    stay the same when another sample is added. `on_error` and `max_errors`, for items that cannot be looked up, are as
    for `stream`; a function gets `(error, index, ordinal)`.

    With `reweight=True`, the training loop may replace the weights while it runs, see `Infinite.reweight`. Then the key
    of an item is a pair: the number of the draw, and the index.

    The order with weights is that of Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.

    Raises TypeError if `sequence` is not a sequence, for weights that are not numbers, and for a wrong seed or name.
    Raises ValueError for an empty sequence, for weights that are negative, not finite or all zero, and if there is not
    one weight for each item, and for `reweight` with `replace=False`.

    >>> from itpipe import take
    >>> list(sample('abc', seed=0) | take(6))
    ['c', 'c', 'b', 'b', 'a', 'b']
    >>> list(sample('abc', replace=False, seed=0) | take(6))
    ['c', 'b', 'a', 'a', 'c', 'b']

    See also: `load_by_random_id`, `mix`, `shuffle`; `Infinite.reweight`; `parallel_map`, about datasets in workers.
    """
    for name_of, value in (('sequence', sequence), ('weights', weights)):
        if is_sampler(value):
            raise TypeError(
                f'sample: `{name_of}` must not be a sampler, got {type(value).__name__}; a sampler is a source by'
                ' itself: `stream(sampler) | dataset.__getitem__`'
            )
    size = _check_sequence('sample', 'sequence', sequence)
    draws = step_name('sample', name=name)
    options = non_defaults(replace=(truth('sample', 'replace', replace), True), seed=(seed, None), name=(name, None))
    if truth('sample', 'reweight', reweight) and not replace:
        raise ValueError(
            'sample: `reweight=True` does not go with `replace=False`, where the order of all items is drawn at once;'
            ' leave out one of them'
        )
    kind, policy = _kind(reweight, options), reading_policy('sample', on_error, max_errors)
    return Stream(kind('sample', draws, sequence, size, (sequence,), weights, replace, seed, options, policy))


@overload
def load_by_random_id(loader: Callable[[X], Y], /, *, ids: Indexed[X], **options: Unpack[Drawing]) -> Stream[Y]: ...
@overload
def load_by_random_id(
    first: Callable[[X], Y], second: Callable[[X], Z], /, *, ids: Indexed[X], **options: Unpack[Drawing]
) -> Stream[tuple[Y, Z]]: ...
@overload
def load_by_random_id(
    first: Callable[[X], Any],
    second: Callable[[X], Any],
    third: Callable[[X], Any],
    /,
    *more: Callable[[X], Any],
    ids: Indexed[X],
    **options: Unpack[Drawing],
) -> Stream[tuple[Any, ...]]: ...
@no_stage('it makes a stream, with which a pipeline begins')
@renames
def load_by_random_id(
    *loaders: Callable[[Any], Any],
    ids: Indexed[Any],
    weights: npt.ArrayLike | None = None,
    seed: int | None = None,
    name: str | None = None,
    reweight: bool = False,
    on_error: OnError = 'raise',
    max_errors: float | None = None,
) -> Stream[Any]:
    """An endless stream of `(loader_1(id), loader_2(id), …)` for random ids. With one loader it has the bare values.

    `ids` is a sequence of anything that the loaders take. If a `parallel_map` follows, its workers call the loaders.
    `weights`, `seed`, `name` and `reweight` are as for `sample`. Without a `name`, that of the first loader tells its
    draws from those of others. `on_error` and `max_errors`, for ids that cannot be loaded, are as for `stream`; a
    function gets `(error, id, ordinal)`.

    Raises TypeError or ValueError for wrong arguments, as `sample` does, and if there is no loader.

    >>> from itpipe import take
    >>> list(load_by_random_id(str.upper, len, ids=['a', 'bb'], seed=0) | take(3))
    [('A', 1), ('BB', 2), ('A', 1)]

    See also: `sample`, `parallel_map`.
    """
    if not loaders:
        raise ValueError('load_by_random_id: `loaders` must not be empty')
    for n, loader in enumerate(loaders):
        is_function('load_by_random_id', f'loaders[{n}]', loader)
    size = _check_sequence('load_by_random_id', 'ids', ids)
    draws = step_name('load_by_random_id', None if name is not None else loaders[0], name)
    options = {'ids': ids} | non_defaults(seed=(seed, None), name=(name, None))
    loaded = _Loaded(loaders, ids)
    kind = _kind(truth('load_by_random_id', 'reweight', reweight), options)
    policy = reading_policy('load_by_random_id', on_error, max_errors)
    return Stream(kind('load_by_random_id', draws, loaded, size, loaders, weights, True, seed, options, policy))


def _kind(reweight: bool, options: dict[str, Any]) -> type[Sampled]:
    """What the source is; it is noted in its options."""
    if not reweight:
        return Sampled
    from .reweighted import Reweighted  # seldom needed

    options['reweight'] = True
    return Reweighted


def _check_sequence(where: str, name: str, value: Any) -> int:
    if isinstance(value, dict):
        check_source(f'{where}: `{name}`', value)
    if isinstance(value, (Mapping, set, frozenset)) or hasattr(value, 'iloc') or not hasattr(value, '__getitem__'):
        raise TypeError(f'{where}: `{name}` must be a sequence (len and access by index), got {type(value).__name__}')
    try:
        size = length(value)
    except TypeError as error:
        raise TypeError(f'{where}: `{name}` must have a length, got {type(value).__name__}') from error
    if size is None:
        raise TypeError(f'{where}: `{name}` must have a length, got {type(value).__name__}')
    if not size:
        raise ValueError(f'{where}: `{name}` must not be empty')
    return size


class _Loaded:
    """A sequence: the ids, loaded when they are looked up."""

    def __init__(self, loaders: tuple[Callable[[Any], Any], ...], ids: Any):
        self.loaders, self.ids = loaders, ids

    def __getitem__(self, index: int) -> Any:
        id_ = self.ids[index]
        if len(self.loaders) == 1:
            return self.loaders[0](id_)
        return tuple(loader(id_) for loader in self.loaders)
