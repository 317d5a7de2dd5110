"""Sources of random items of a sequence: what `sample`, and `shuffle()` of a dataset, are at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from itertools import chain, count, takewhile
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from itpipe._core.keys import Key, is_count
from itpipe._core.notes import note
from itpipe._core.permutation import permuted
from itpipe._core.rng import BLOCK, Draws, check_seed
from itpipe._core.show import Counted, format_call, format_step, same
from itpipe._core.weights import check_weights, checksum, inverse
from itpipe._engine.indexing import (
    Indices,
    LookUp,
    as_runtime_error,
    is_cheap,
    length,
    note_length,
    note_source,
    run_begins,
)
from itpipe._engine.iterables import Items
from itpipe._engine.source import MadeOf, Numbered, Opened, Seeded
from itpipe._engine.source_states import has_states

if TYPE_CHECKING:
    from itpipe._core.steps import Joins, Pair
    from itpipe._engine.failures import Policy
    from itpipe._engine.seeds import Seeds
    from itpipe._engine.stream import Stream
    from itpipe._engine.waiting import Stop

__all__ = ['Sampled', 'shuffled']

Blocks: TypeAlias = 'Callable[[int], np.ndarray[Any, Any]]'


class Sampled:
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
        policy: Policy | None = None,
    ):
        self.name, self.draws, self.sequence, self.size = name, draws, sequence, size
        self.args, self.replace = args, replace
        self.own_seed = self.seed = check_seed(name, seed)
        self.weights = check_weights(name, weights, size)
        self.options = options if weights is None else {'weights': weights} | options
        self.policy, self.skips = policy, policy is not None
        self.cheap = is_cheap(sequence)
        self.period = BLOCK if replace else size if self.weights is None else int((self.weights > 0).sum())

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        run_begins(self.sequence, seeds.pass_)
        draws = Draws(seeds.next(self.draws, self.own_seed))
        blocks = partial(self.blocks(), draws)
        return Numbered(*self.parts(partial(self.indices, blocks), partial(self.read_indices, blocks), seeds, stop))

    def parts(
        self,
        indices: Callable[[Sequence[Any]], list[int]],
        read_indices: Callable[[int], Iterator[Pair]],
        seeds: Seeds,
        stop: Stop,
    ) -> tuple[Any, ...]:
        """What a `Numbered` source is made of."""
        look_up = LookUp(self.sequence, self.__repr__)
        if self.policy is not None:
            from itpipe._engine.look_ups import failing

            named = self.options['ids'].__getitem__ if 'ids' in self.options else None
            return failing(read_indices, indices, look_up, self.policy, seeds, stop, named)
        return partial(self.read, read_indices), partial(self.pick, indices), indices, read_indices, look_up

    def blocks(self) -> Callable[[Draws, int], np.ndarray[Any, Any]]:
        """A function of draws and a number n, which gives the indices of the n-th block of `period` items."""
        size, weights = self.size, self.weights
        if weights is None:
            if self.replace:
                return lambda draws, number: (draws.block(number) * size).astype(np.int64)
            return lambda draws, number: draws.permutation(number, size)
        if self.replace:
            chosen = inverse(weights)
            return lambda draws, number: chosen(draws.block(number))
        present = np.flatnonzero(weights)
        logs = np.log(weights[present])

        def weighted(draws: Draws, number: int) -> np.ndarray[Any, Any]:
            # Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006, in logarithms to stay finite
            with np.errstate(divide='ignore'):
                times = np.log(draws.exponential(number, len(present))) - logs
            return np.asarray(present[np.argsort(times, kind='stable')])

        return weighted

    def read(self, read_indices: Callable[[int], Iterator[Pair]], start: int) -> Iterator[Pair]:
        sequence, index = self.sequence, -1
        key: Any = start
        try:
            for key, index in read_indices(start):
                yield key, sequence[index]
        except StopIteration as error:
            instead = as_runtime_error(error, sequence, index)
            note(instead, repr(self), key)
            raise instead from error
        except Exception as error:
            note_source(error, repr(self), key, sequence, index)
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

    def pick(self, indices: Callable[[Sequence[Any]], list[int]], keys: Sequence[Any]) -> dict[Key, Any]:
        look_up = LookUp(self.sequence, self.__repr__).function
        return {key: look_up(key, index) for key, index in zip(keys, indices(keys), strict=True)}

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
        return format_call(self.name, self.args, self.options | ({} if self.policy is None else self.policy.options))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(
            same(getattr(self, part), getattr(other, part)) for part in ('name', 'args', 'options', 'policy')
        )

    __hash__ = None  # type: ignore[assignment]


class _Shuffled(Sampled):
    """All items of a sequence in random order, once. Each index is known without those before it."""

    def __init__(self, left: Stream[Any], step: Joins, items: Items, size: int):
        draws, seed = step.kwargs.get('name') or 'shuffle', step.kwargs.get('seed')
        super().__init__('shuffle', draws, items.iterable, size, (), None, True, seed, step.kwargs, items.policy)
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
        return len(self.left) if self.skips else self.size

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


def _instead_of_shuffle(left: Stream[Any], source: Any) -> str:
    from itpipe._engine.branches import Branched

    if isinstance(source, Branched):
        return 'shuffle each of its streams, or give `buffer_size`'
    if isinstance(source, Items) and not source.indexed():
        return 'what has no index needs a buffer: `shuffle(1000)`'
    if left.steps and isinstance(source, Items) and not has_states(source.iterable):
        return f'write `shuffle()` before `{format_step(left.steps[0])}`, or give `buffer_size`'
    return 'put it there, before all other stages, or give `buffer_size`'


def shuffled(left: Stream[Any], step: Joins) -> _Shuffled:
    """The source that `shuffle()` without a buffer makes of the stream before it."""
    source: Any = left.source
    while isinstance(source, Seeded):
        source = source.source
    if left.steps or not isinstance(source, Items) or has_states(source.iterable) or not source.indexed():
        raise TypeError(
            'shuffle: without `buffer_size` it must stand directly behind data with a length and access by index, got'
            f' {left!r}; {_instead_of_shuffle(left, source)}'
        )
    return _Shuffled(left, step, source, length(source.iterable) or 0)
