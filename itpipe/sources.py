"""Where endless random items come from."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload
from zlib import crc32

import numpy as np

from .binding import Sites, Stop, note
from .checkpoint import check_position, key_test, lasting
from .checks import is_function, truth
from .iterables import Ordinals, length, look_up, looking_up, misplaced, promised
from .keys import Key, is_count, is_pair
from .rng import BLOCK, Draws, check_seed
from .run import Chain, Opened
from .stage import Stream, no_stage, stream
from .steps import Pair, Step, literal, same, shown, unordered

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from .typing import Drawing, Indexed, X, Y, Z

__all__ = ['load_by_random_id', 'mix', 'sample']

Blocks: TypeAlias = 'Callable[[int], np.ndarray[Any, Any]]'


@no_stage('it makes a stream, with which a pipeline begins')
def sample(
    sequence: Indexed[X], weights: npt.ArrayLike | None = None, replace: bool = True, seed: int | None = None
) -> Stream[X]:
    """An endless stream of random items of a sequence.

    `sequence` is anything with a length and access by index: a list, an array (its rows, also of h5py and zarr), a
    torch dataset. `weights` are probabilities up to a common factor, one per item; without them all items are equally
    likely. With `replace=False` each item comes once per pass over the sequence, in an order that is drawn anew for
    every pass (with weights: items of weight 0 never come, heavier ones tend to come earlier). The `seed` is also that
    of every random stage behind it that has none of its own.

    Raises TypeError for what is not a sequence, weights that are not numbers, or a wrong seed; ValueError for an empty
    sequence, and for weights that are negative, not finite, all zero, or of another number.

    >>> from itpipe import take
    >>> list(sample('abc', seed=0) | take(6))
    ['b', 'b', 'b', 'a', 'a', 'a']
    >>> list(sample('abc', replace=False, seed=0) | take(6))
    ['c', 'a', 'b', 'a', 'c', 'b']

    See also: `load_by_random_id`, `mix`, `shuffle`.
    """
    size = _check_sequence('sample', 'sequence', sequence)
    written = _written(replace=(truth('sample', 'replace', replace), True), seed=(seed, None))
    return Stream(_Sample('sample', sequence, size, (sequence,), weights, replace, seed, written))


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
    *loaders: Callable[[Any], Any], ids: Indexed[Any], weights: npt.ArrayLike | None = None, seed: int | None = None
) -> Stream[Any]:
    """An endless stream of `(loader_1(id), loader_2(id), …)` for random ids; of the bare values for one loader.

    `ids` is a sequence of whatever the loaders take, `weights` and `seed` are as for `sample`.

    Raises TypeError or ValueError for wrong arguments, as `sample` does, and if there is no loader.

    >>> from itpipe import take
    >>> list(load_by_random_id(str.upper, len, ids=['a', 'bb'], seed=0) | take(3))
    [('BB', 2), ('BB', 2), ('A', 1)]

    See also: `sample`.
    """
    if not loaders:
        raise ValueError('load_by_random_id: `loaders` must not be empty')
    for n, loader in enumerate(loaders):
        is_function('load_by_random_id', f'loaders[{n}]', loader)
    size = _check_sequence('load_by_random_id', 'ids', ids)
    written = {'ids': ids} | _written(seed=(seed, None))
    loaded = _Loaded(loaders, ids)
    return Stream(_Sample('load_by_random_id', loaded, size, loaders, weights, True, seed, written))


@overload
def mix(only: Iterable[X], /, **options: Unpack[Drawing]) -> Stream[X]: ...
@overload
def mix(first: Iterable[X], second: Iterable[Y], /, **options: Unpack[Drawing]) -> Stream[X | Y]: ...
@overload
def mix(
    first: Iterable[X], second: Iterable[X], third: Iterable[X], /, *more: Iterable[X], **options: Unpack[Drawing]
) -> Stream[X]: ...
@no_stage('it makes a stream, with which a pipeline begins')
def mix(*streams: Iterable[Any], weights: npt.ArrayLike | None = None, seed: int | None = None) -> Stream[Any]:
    """The items of several streams, each next one from a randomly chosen stream.

    `streams` are streams or other iterables, each is read in its own order. `weights` are probabilities up to a common
    factor, one per stream. A stream that has ended is not chosen any more; when all have, so has the mix. Streams of
    weight 0 are read when all others have ended. The choices depend on the seed, not on the items. The `seed` is also
    that of the random stages in the streams and behind the mix, where they and their streams have none of their own.

    Raises TypeError for what is not iterable or weights that are not numbers; ValueError for no streams, and for
    weights that are negative, not finite, all zero, or of another number.

    >>> list(mix([1, 2, 3], 'abc', seed=0))
    ['a', 'b', 1, 2, 3, 'c']

    See also: `sample`.
    """
    if not streams:
        raise ValueError('mix: `streams` must not be empty')
    written = _written(weights=(weights, None), seed=(seed, None))
    branches = tuple(stream(branch) for branch in streams)
    return Stream(_Mix(branches, _check_weights('mix', weights, len(branches)), check_seed('mix', seed), written))


def _check_sequence(where: str, name: str, value: Any) -> int:
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


def _check_weights(where: str, weights: Any, count: int) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    if weights is None:
        return None
    try:
        given = np.asarray(weights)
        words = given.dtype.kind in 'SUTcmM' or any(isinstance(each, (str, bytes)) for each in _objects(given))
        result = np.zeros(0) if words else given.astype(np.float64)
    except OverflowError:
        raise ValueError(f'{where}: `weights` must fit into floats, got {literal(weights)}') from None
    except (TypeError, ValueError):
        words = True
    if words:
        raise TypeError(f'{where}: `weights` must be numbers, got {literal(weights)}')
    if result.shape != (count,):
        raise ValueError(f'{where}: `weights` must be {count} numbers, one for each, got shape {result.shape}')
    if not np.isfinite(result).all() or (result < 0).any():
        raise ValueError(f'{where}: `weights` must be finite and not negative, got {literal(weights)}')
    if not result.any():
        raise ValueError(f'{where}: `weights` must not all be zero')
    return result


def _objects(array: np.ndarray[Any, Any]) -> Iterable[Any]:
    return array.flat if array.dtype.kind == 'O' else ()


def _edges(weights: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The upper edges of their shares, up to a common factor, by which their sum neither overflows nor vanishes."""
    _, exponent = np.frexp(np.max(weights))
    return np.cumsum(np.ldexp(weights, -exponent))


class _Count(NamedTuple):
    """Stands for what is counted, and not looked at."""

    number: int
    what: str

    def __repr__(self) -> str:
        return f'<{self.number} {self.what}>'


def _sum(weights: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return f'{crc32(weights.astype("<f8").tobytes()):08x}'


def _written(**given: tuple[Any, Any]) -> dict[str, Any]:
    return {name: value for name, (value, default) in given.items() if value is not default}


# ---------------------------------------------------------------------------------------------------------------------
# What runs


class _Loaded:
    """The sequence of what the loaders make of the ids."""

    def __init__(self, loaders: tuple[Callable[[Any], Any], ...], ids: Any):
        self.loaders, self.ids = loaders, ids

    def __getitem__(self, index: int) -> Any:
        id_ = self.ids[index]
        if len(self.loaders) == 1:
            return self.loaders[0](id_)
        return tuple(loader(id_) for loader in self.loaders)


class _Sample:
    """Random indices into something, the t-th known without those before it."""

    random = True
    ordered = True

    def __init__(
        self,
        name: str,
        sequence: Any,
        size: int,
        args: tuple[Any, ...],
        weights: Any,
        replace: bool,
        seed: int | None,
        written: dict[str, Any],
    ):
        self.name, self.sequence, self.size, self.args, self.replace = name, sequence, size, args, replace
        self.seed = check_seed(name, seed)
        self.weights = _check_weights(name, weights, size)
        self.written = written if weights is None else {'weights': weights} | written
        self.period = BLOCK if replace else size if self.weights is None else int((self.weights > 0).sum())

    def open(self, sites: Sites, stop: Stop) -> Opened:
        draws = Draws(sites.next(self.seed))
        blocks = partial(self.blocks(), draws)
        return Ordinals(
            partial(self.read, blocks),
            partial(self.pick, blocks),
            partial(self.indices, blocks),
            partial(self.places, blocks),
            looking_up(self.sequence, self.__repr__),
        )

    def blocks(self) -> Callable[[Draws, int], np.ndarray[Any, Any]]:
        """From draws and a number, the indices of the ordinals from `number * period` on, as many as a period has."""
        size, weights = self.size, self.weights
        if weights is None:
            if self.replace:
                return lambda draws, number: (draws.block(number) * size).astype(np.int64)
            return lambda draws, number: draws.permutation(number, size)
        present = np.flatnonzero(weights)
        if self.replace:
            edges, last = _edges(weights), present[-1]
            return lambda draws, number: np.minimum(
                np.searchsorted(edges, draws.block(number) * edges[-1], side='right'), last
            )
        logs = np.log(weights[present])

        def weighted(draws: Draws, number: int) -> np.ndarray[Any, Any]:
            # Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006; their logarithms are finite
            with np.errstate(divide='ignore'):
                times = np.log(draws.exponential(number, len(present))) - logs
            return np.asarray(present[np.argsort(times, kind='stable')])

        return weighted

    def read(self, blocks: Blocks, start: int) -> Iterator[Pair]:
        number, first = divmod(start, self.period)
        ordinal, sequence, index = start, self.sequence, -1
        try:
            while True:
                for ordinal, index in enumerate(blocks(number)[first:].tolist(), ordinal):  # noqa: B020
                    yield ordinal, sequence[index]
                ordinal, number, first = ordinal + 1, number + 1, 0
        except StopIteration as error:
            instead = misplaced(error, sequence, index)
            note(instead, repr(self), ordinal)
            raise instead from error
        except Exception as error:
            note(error, repr(self), ordinal)
            promised(error, sequence, index)
            raise

    def places(self, blocks: Blocks, start: int) -> Iterator[Pair]:
        number, first = divmod(start, self.period)
        each = chain([blocks(number)[first:]], map(blocks, count(number + 1)))
        return zip(count(start), chain.from_iterable(block.tolist() for block in each), strict=False)

    def indices(self, blocks: Blocks, keys: Sequence[Any]) -> list[int]:
        found: dict[Any, int] = {}
        latest: dict[int, Any] = {}
        for key in sorted(keys):
            number, place = divmod(key, self.period)
            if number not in latest:
                latest = {number: blocks(number)}
            found[key] = int(latest[number][place])
        return [found[key] for key in keys]

    def pick(self, blocks: Blocks, keys: Sequence[Any]) -> dict[Key, Any]:
        places = zip(keys, self.indices(blocks, keys), strict=True)
        return dict(look_up(places, Stop(), self.sequence, self.__repr__))

    def key_test(self) -> Callable[[Any], bool]:
        return lambda key: isinstance(key, int)

    def check_entry(self, entry: Any) -> None:
        if not (entry is None or is_count(entry)):
            raise ValueError('what it says of the source cannot be')

    def lasting(self) -> str:
        told = {name: value for name, value in self.written.items() if name != 'ids'}
        if self.weights is not None:
            told['weights'] = _sum(self.weights)
        return shown(self.name, (*(() if self.name == 'sample' else self.args), _Count(self.size, 'items')), told)

    def __repr__(self) -> str:
        return shown(self.name, self.args, self.written)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sample) and all(
            same(getattr(self, part), getattr(other, part)) for part in ('name', 'args', 'written')
        )

    __hash__ = None  # type: ignore[assignment]


class _Mix:
    random = True

    def __init__(self, branches: tuple[Stream[Any], ...], weights: Any, seed: int | None, written: dict[str, Any]):
        self.branches, self.seed, self.written = branches, seed, written
        self.weights = [1.0] * len(branches) if weights is None else weights.tolist()
        steps = chain.from_iterable(branch.steps for branch in branches)
        self.ordered = all(branch.source.ordered for branch in branches) and not any(map(unordered, steps))

    def open(self, sites: Sites, stop: Stop) -> Opened:
        return _OpenedMix(self, sites, stop)

    def key_test(self) -> Callable[[Any], bool]:
        tests = [key_test(branch.source, branch.steps) for branch in self.branches]
        return lambda key: is_pair(key) and key[1] < len(tests) and tests[key[1]](key[0])

    def check_entry(self, entry: Any) -> None:
        if entry is None:
            return
        if not isinstance(entry, dict) or sorted(entry) != ['branches', 'ended', 't']:
            raise ValueError('what it says of the mix cannot be')
        ended, count = entry['ended'], len(self.branches)
        if not isinstance(ended, list) or not all(is_count(n) and n < count for n in ended):
            raise ValueError('what it says of the streams that ended cannot be')
        if len(set(ended)) < len(ended) or not is_count(entry['t']):
            raise ValueError('what it says of the mix cannot be')
        if not isinstance(entry['branches'], list) or len(entry['branches']) != count:
            raise ValueError('it is of a mix of another number of streams')
        for branch, position in zip(self.branches, entry['branches'], strict=True):
            check_position(branch.source, branch.steps, position)

    def lasting(self) -> str:
        told = self.written | ({} if 'weights' not in self.written else {'weights': _sum(np.array(self.weights))})
        return '\n'.join([
            shown('mix', (_Count(len(self.branches), 'streams'),), told),
            *(f'  {line}' for branch in self.branches for line in lasting(branch.source, branch.steps).splitlines()),
        ])  # fmt: skip

    def __repr__(self) -> str:
        return shown('mix', self.branches, self.written)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Mix) and same((self.branches, self.written), (other.branches, other.written))

    __hash__ = None  # type: ignore[assignment]


def _finished(pairs: Iterator[Pair], chains: list[Chain]) -> Iterator[Pair]:
    key: Any
    for key, value in pairs:
        value = chains[key[1]].finish(key[0], value)
        yield key, value
        del value


class _OpenedMix:
    """A mix at work: a chain per branch, the number of draws made, and the branches that have ended.

    The log holds, for each pair that went out, the state right after it.
    """

    stateful = True
    tracked = True
    complete = True

    def __init__(self, mix: _Mix, sites: Sites, stop: Stop):
        self.mix, self.sites, self.stop = mix, sites, stop
        self.draws = Draws(sites.next(mix.seed))
        self.chains: list[Chain] = []
        self.log: deque[tuple[Key, int, tuple[int, ...]]] = deque()
        self.t = 0
        self.ended: tuple[int, ...] = ()

    def apart(self) -> Step | None:
        self.complete = False
        return Step('finished', _finished, (self.chains,), itemwise=True)

    def start(self, entry: Any = None) -> Iterator[Pair]:
        if not self.tracked:
            self.log = deque(maxlen=0)
        if entry is not None:
            self.t, self.ended = entry['t'], tuple(entry['ended'])
        for n, branch in enumerate(self.mix.branches):
            state = None if entry is None else entry['branches'][n]
            sites = self.sites.branch(branch.source.seed)
            made = Chain(branch.source, branch.steps, sites, self.stop, state, self.tracked, complete=self.complete)
            self.chains.append(made)
        return self.run(self.t, self.ended)

    def run(self, t: int, ended: tuple[int, ...]) -> Iterator[Pair]:
        with ExitStack() as closing:
            for each in self.chains:
                closing.callback(each.close)
            alive, edges = self.choices(ended)
            while alive:
                branch = alive[bisect_right(edges, self.draws.uniform(t) * edges[-1], hi=len(edges) - 1)]
                t += 1
                pair = next(self.chains[branch].pairs, None)
                if pair is None:
                    self.chains[branch].close()
                    ended = (*ended, branch)
                    alive, edges = self.choices(ended)
                    continue
                key = (pair[0], branch)
                self.log.append((key, t, ended))
                yield key, pair[1]

    def choices(self, ended: tuple[int, ...]) -> tuple[list[int], list[float]]:
        """The branches to choose from, and the upper edges of their shares."""
        left = [n for n in range(len(self.mix.branches)) if n not in ended]
        alive = [n for n in left if self.mix.weights[n] > 0] or left
        return alive, _edges([self.mix.weights[n] or 1.0 for n in alive]).tolist() if alive else []

    def commit(self, key: Key) -> None:
        done: Any = None
        while done != key:
            done, self.t, self.ended = self.log.popleft()
            self.chains[done[1]].received(done[0])

    def entry(self) -> Any:
        return {'branches': [each.state() for each in self.chains], 'ended': list(self.ended), 't': self.t}

    def gives(self, key: Any) -> bool:
        return is_pair(key) and key[1] in range(len(self.chains)) and self.chains[key[1]].gives(key[0])

    def indices(self, keys: Sequence[Any]) -> list[Any]:
        return [(n, index) for key, n in keys for index in self.chains[n].indices(key)]

    def remake(self, keys: Sequence[Key]) -> dict[Key, Any]:
        result: dict[Key, Any] = {}
        for n, branch in enumerate(self.chains):
            own = [key[0] for key in keys if key[1] == n]  # type: ignore[index]
            if own:
                result |= {(key, n): value for key, value in branch.remake(len(branch.links) - 1, own).items()}
        return result
