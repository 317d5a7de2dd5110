"""Where endless random items come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import chain, count, takewhile
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from itpipe._core.checks import is_function, truth
from itpipe._core.instead import check_source, renames
from itpipe._core.keys import Key, is_count
from itpipe._core.names import step_name
from itpipe._core.notes import note
from itpipe._core.permutation import permuted
from itpipe._core.rng import BLOCK, Draws, check_seed
from itpipe._core.show import Counted, format_call, format_step, non_defaults, same
from itpipe._core.weights import check_weights, checksum, upper_edges
from itpipe._engine.indexing import Indices, LookUp, as_runtime_error, is_cheap, length, note_length, run_begins
from itpipe._engine.iterables import Items
from itpipe._engine.samplers import is_sampler
from itpipe._engine.source import MadeOf, Numbered, Opened, Seeded
from itpipe._engine.source_states import has_states
from itpipe._engine.stream import Stream, no_stage

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from itpipe._core.steps import Joins, Pair
    from itpipe._engine.seeds import Seeds
    from itpipe._engine.types import Drawing, Indexed, X, Y, Z
    from itpipe._engine.waiting import Stop

__all__ = ['load_by_random_id', 'sample', 'shuffled']

Blocks: TypeAlias = 'Callable[[int], np.ndarray[Any, Any]]'


@no_stage('it makes a stream, with which a pipeline begins')
@renames
def sample(
    sequence: Indexed[X],
    weights: npt.ArrayLike | None = None,
    replace: bool = True,
    seed: int | None = None,
    *,
    name: str | None = None,
) -> Stream[X]:
    """An endless stream of random items of a sequence.

    `sequence` is anything with a length and access by index: a list, an array (its rows, also of h5py and zarr), a
    torch dataset. If a `parallel_map` follows, its workers look the items up; see there what a dataset must allow.
    `weights` are probabilities up to a common factor, one for each item. Without them, all items are equally likely.
    With `replace=False`, each item comes once in each pass over the sequence, in a new random order for every pass.
    With weights, items of weight 0 never come, and heavier ones tend to come earlier. The `seed` is also that of every
    later random stage that has no seed of its own. If a `mix` has several samples, give each a `name`. Then its draws
    stay the same when another sample is added.

    The order with weights is that of Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.

    Raises TypeError if `sequence` is not a sequence, for weights that are not numbers, and for a wrong seed or name.
    Raises ValueError for an empty sequence, for weights that are negative, not finite or all zero, and if there is not
    one weight for each item.

    >>> from itpipe import take
    >>> list(sample('abc', seed=0) | take(6))
    ['c', 'c', 'b', 'b', 'a', 'b']
    >>> list(sample('abc', replace=False, seed=0) | take(6))
    ['c', 'b', 'a', 'a', 'c', 'b']

    See also: `load_by_random_id`, `mix`, `shuffle`; `parallel_map`, about datasets in workers.
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
    return Stream(_Sample('sample', draws, sequence, size, (sequence,), weights, replace, seed, options))


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
def load_by_random_id(
    *loaders: Callable[[Any], Any],
    ids: Indexed[Any],
    weights: npt.ArrayLike | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> Stream[Any]:
    """An endless stream of `(loader_1(id), loader_2(id), …)` for random ids. With one loader it has the bare values.

    `ids` is a sequence of anything that the loaders take. If a `parallel_map` follows, its workers call the loaders.
    `weights`, `seed` and `name` are as for `sample`. The default
    `name` is that of the first loader.

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
    return Stream(_Sample('load_by_random_id', draws, loaded, size, loaders, weights, True, seed, options))


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


# ---------------------------------------------------------------------------------------------------------------------
# What runs


class _Loaded:
    """A sequence: the ids, loaded when they are looked up."""

    def __init__(self, loaders: tuple[Callable[[Any], Any], ...], ids: Any):
        self.loaders, self.ids = loaders, ids

    def __getitem__(self, index: int) -> Any:
        id_ = self.ids[index]
        if len(self.loaders) == 1:
            return self.loaders[0](id_)
        return tuple(loader(id_) for loader in self.loaders)


class _Sample:
    """A source of random items of a sequence. The t-th index is known without those before it."""

    random = True
    ordered = True
    one_shot, early, lasting = False, True, True

    def __init__(
        self,
        name: str,
        draws: str,
        sequence: Any,
        size: int,
        args: tuple[Any, ...],
        weights: Any,
        replace: bool,
        seed: int | None,
        options: dict[str, Any],
    ):
        self.name, self.draws, self.sequence, self.size = name, draws, sequence, size
        self.args, self.replace = args, replace
        self.own_seed = self.seed = check_seed(name, seed)
        self.weights = check_weights(name, weights, size)
        self.options = options if weights is None else {'weights': weights} | options
        self.cheap = is_cheap(sequence)
        self.period = BLOCK if replace else size if self.weights is None else int((self.weights > 0).sum())

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        run_begins(self.sequence, seeds.pass_)
        draws = Draws(seeds.next(self.draws, self.own_seed))
        blocks = partial(self.blocks(), draws)
        return Numbered(
            partial(self.read, blocks),
            partial(self.pick, blocks),
            partial(self.indices, blocks),
            partial(self.read_indices, blocks),
            LookUp(self.sequence, self.__repr__),
        )

    def blocks(self) -> Callable[[Draws, int], np.ndarray[Any, Any]]:
        """A function of draws and a number n, which gives the indices of the n-th block of `period` items."""
        size, weights = self.size, self.weights
        if weights is None:
            if self.replace:
                return lambda draws, number: (draws.block(number) * size).astype(np.int64)
            return lambda draws, number: draws.permutation(number, size)
        present = np.flatnonzero(weights)
        if self.replace:
            edges, last = upper_edges(weights), present[-1]
            return lambda draws, number: np.minimum(
                np.searchsorted(edges, draws.block(number) * edges[-1], side='right'), last
            )
        logs = np.log(weights[present])

        def weighted(draws: Draws, number: int) -> np.ndarray[Any, Any]:
            # Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006, in logarithms to stay finite
            with np.errstate(divide='ignore'):
                times = np.log(draws.exponential(number, len(present))) - logs
            return np.asarray(present[np.argsort(times, kind='stable')])

        return weighted

    def read(self, blocks: Blocks, start: int) -> Iterator[Pair]:
        sequence, index = self.sequence, -1
        ordinal: Any = start
        try:
            for ordinal, index in self.read_indices(blocks, start):
                yield ordinal, sequence[index]
        except StopIteration as error:
            instead = as_runtime_error(error, sequence, index)
            note(instead, repr(self), ordinal)
            raise instead from error
        except Exception as error:
            note(error, repr(self), ordinal)
            note_length(error, sequence, index)
            raise

    def read_indices(self, blocks: Blocks, start: int) -> Indices:
        number, first = divmod(start, self.period)
        arrays = takewhile(len, chain([blocks(number)[first:]], map(blocks, count(number + 1))))
        return Indices(start, (array.tolist() for array in arrays))

    def indices(self, blocks: Blocks, keys: Sequence[Any]) -> list[int]:
        found: dict[Any, int] = {}
        latest: dict[int, Any] = {}
        for key in sorted(keys):
            number, offset = divmod(key, self.period)
            if number not in latest:
                latest = {number: blocks(number)}
            found[key] = int(latest[number][offset])
        return [found[key] for key in keys]

    def pick(self, blocks: Blocks, keys: Sequence[Any]) -> dict[Key, Any]:
        look_up = LookUp(self.sequence, self.__repr__).function
        return {key: look_up(key, index) for key, index in zip(keys, self.indices(blocks, keys), strict=True)}

    def length(self) -> int:
        raise TypeError(f'`{self.name}` gives items without end')

    def data(self) -> tuple[Any, int | None]:
        return self.sequence, self.size

    def key_test(self) -> Callable[[Any], bool]:
        return lambda key: isinstance(key, int)

    def check_entry(self, entry: Any) -> None:
        if not (entry is None or is_count(entry)):
            raise ValueError('what it says of the source cannot be')

    def fingerprint(self) -> str:
        options = {name: value for name, value in self.options.items() if name != 'ids'}
        if self.weights is not None:
            options['weights'] = checksum(self.weights)
        args = () if self.name == 'sample' else self.args
        return format_call(self.name, (*args, Counted(self.size, 'item')), options)

    def __repr__(self) -> str:
        return format_call(self.name, self.args, self.options)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            same(getattr(self, part), getattr(other, part)) for part in ('name', 'args', 'options')
        )

    __hash__ = None  # type: ignore[assignment]


class _Shuffled(_Sample):
    """All items of a sequence in random order, once. Each index is known without those before it."""

    def __init__(self, left: Stream[Any], step: Joins, items: Items, size: int):
        draws, seed = step.kwargs.get('name') or 'shuffle', step.kwargs.get('seed')
        super().__init__('shuffle', draws, items.iterable, size, (), None, True, seed, step.kwargs)
        self.left, self.step = left, step
        self.own_seed, self.seed = self.seed, left.source.seed

    @property
    def made_of(self) -> MadeOf:
        return MadeOf(format_step(self.step), (self.left,), ('',), 'places')

    def first(self, data: Any, count: int) -> _Shuffled:
        """The same of the first items of its data."""
        result = copy(self)
        result.sequence, result.size = data, count
        return result

    def blocks(self) -> Callable[[Draws, int], np.ndarray[Any, Any]]:
        return lambda draws, number: permuted(draws.step, self.size, number * BLOCK, (number + 1) * BLOCK)

    def length(self) -> int:
        return self.size

    def key_test(self) -> Callable[[Any], bool]:
        return lambda key: isinstance(key, int) and key < self.size

    def fingerprint(self) -> str:
        call = format_call(self.name, (Counted(self.size, 'item'),), self.options)
        return f'{self.left.source.fingerprint()}\n{call}'

    def __repr__(self) -> str:
        return f'{self.left!r} | {format_step(self.step)}'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shuffled) and same((self.left, self.step), (other.left, other.step))

    __hash__ = None


def _instead_of_shuffle(source: Any) -> str:
    from itpipe._engine.branches import Branched

    if isinstance(source, Branched):
        return 'shuffle each of its streams, or give `buffer_size`'
    if isinstance(source, Items) and not source.indexed():
        return 'what has no index needs a buffer: `shuffle(1000)`'
    return 'put it there, before all other stages, or give `buffer_size`'


def shuffled(left: Stream[Any], step: Joins) -> _Shuffled:
    """The source that `shuffle()` without a buffer makes of the stream before it."""
    source: Any = left.source
    while isinstance(source, Seeded):
        source = source.source
    if left.steps or not isinstance(source, Items) or has_states(source.iterable) or not source.indexed():
        raise TypeError(
            'shuffle: without `buffer_size` it must stand directly behind data with a length and access by index, got'
            f' {left!r}; {_instead_of_shuffle(source)}'
        )
    return _Shuffled(left, step, source, length(source.iterable) or 0)
