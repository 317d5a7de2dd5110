"""Several streams mixed into one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from itpipe._core.checks import truth
from itpipe._core.instead import renames
from itpipe._core.keys import Key, is_count
from itpipe._core.names import step_name
from itpipe._core.notes import note
from itpipe._core.rng import Draws, check_seed
from itpipe._core.show import Counted, format_call, non_defaults, same
from itpipe._core.weights import check_weights, checksum, upper_edges
from itpipe._engine.branches import Branched, OpenedBranches, branches_of, fingerprints
from itpipe._engine.source import MadeOf
from itpipe._engine.stream import Stream, no_stage
from itpipe._engine.weighting import Weighting, are_changes

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from itpipe._core.steps import Pair
    from itpipe._engine.seeds import Seeds
    from itpipe._engine.types import AnyIterable, Mixing, X, Y
    from itpipe._engine.waiting import Stop

__all__ = ['mix']


@overload
def mix(only: AnyIterable[X], /, **options: Unpack[Mixing]) -> Stream[X]: ...
@overload
def mix(first: AnyIterable[X], second: AnyIterable[Y], /, **options: Unpack[Mixing]) -> Stream[X | Y]: ...
@overload
def mix(
    first: AnyIterable[X],
    second: AnyIterable[X],
    third: AnyIterable[X],
    /,
    *more: AnyIterable[X],
    **options: Unpack[Mixing],
) -> Stream[X]: ...
@no_stage('it makes a stream, with which a pipeline begins')
@renames
def mix(
    *streams: AnyIterable[Any],
    weights: npt.ArrayLike | Callable[[int], npt.ArrayLike] | None = None,
    seed: int | None = None,
    name: str | None = None,
    reweight: bool = False,
) -> Stream[Any]:
    """The items of several streams. Each next item comes from a randomly chosen stream.

    `streams` are streams or other iterables. Each is read in its own order. `weights` are probabilities up to a common
    factor, one for each stream. `weights` may also be a function of the number of the draw, counted from 0 in each
    pass, that returns them: a schedule. A stream that has ended is not chosen again. The mix ends when all streams have
    ended. Streams of weight 0 are read when all others have ended. The choices depend on the seed, not on the items.
    The `seed` is also that of random stages in the streams and after the mix, if they and their streams have no seed of
    their own. `name` is as for `sample`. With `reweight=True`, the training loop may replace the weights while it runs,
    see `Infinite.reweight`.

    Raises TypeError for streams that are not iterable, for weights that are not numbers, and for a wrong seed or name.
    Raises ValueError if there are no streams, if weights are negative, not finite or all zero, if there is not one
    weight for each stream, and for `reweight` with a schedule. What a schedule raises, and the errors in what it
    returns, arrive with a note that says which draw it was.

    >>> list(mix([1, 2, 3], 'abc', seed=0))
    ['a', 1, 'b', 'c', 2, 3]
    >>> def towards_b(draw):
    ...     return [1, min(draw / 10, 4)]
    >>> ''.join(mix('a' * 20, 'b' * 20, weights=towards_b, seed=0))
    'aabbbaaabaaabbbabbbbababbbbbbbbaaaaaaaaa'

    See also: `concat`, `zip_with`, `sample`, `Infinite.reweight`.
    """
    branches = branches_of('mix', 'streams', streams)
    count = _count(weights)
    if count > 1 == len(streams) and isinstance(streams[0], (list, tuple)) and len(streams[0]) == count:
        raise ValueError(
            f'mix: `weights` must be one number for each stream, got {count} for one stream, a'
            f' {type(streams[0]).__name__} of {count}: did you mean `mix(*streams, weights=…)`?'
        )
    if callable(weights):
        _scheduled(weights, 0, len(branches))
    if truth('mix', 'reweight', reweight) and callable(weights):
        raise ValueError('mix: `reweight=True` does not go with a schedule, which says all weights itself')
    checked = weights if callable(weights) else check_weights('mix', weights, len(branches))
    options = non_defaults(weights=(weights, None), seed=(seed, None), name=(name, None), reweight=(reweight, False))
    kind = _ReweightedMix if reweight else _Mix
    return Stream(kind(branches, checked, step_name('mix', name=name), check_seed('mix', seed), options))


def _count(weights: Any) -> int:
    """How many weights there are, 0 if that is not known."""
    return len(weights) if isinstance(weights, (list, tuple, np.ndarray)) and np.ndim(weights) == 1 else 0


def _scheduled(schedule: Callable[[int], Any], draw: int, count: int) -> list[float]:
    """The weights for this draw."""
    try:
        weights = check_weights('mix', schedule(draw), count)
        if weights is None:
            raise TypeError('mix: `weights` must return the weight of each stream, got None')
    except Exception as error:
        note(error, f'the `weights` of mix for draw {draw}', None)
        raise
    return weights.tolist()  # type: ignore[no-any-return]


class _OpenedMix(OpenedBranches):
    """Where it stands: the number of draws so far, and the branches that have ended."""

    def __init__(self, source: _Mix, seeds: Seeds, stop: Stop):
        super().__init__(source, seeds, stop)
        self.draws = Draws(seeds.next(source.draws, source.seed))
        name = source.options.get('name') or 'mix'
        self.weighting = Weighting(name, np.array(source.weights)) if source.reweight else None

    @property
    def weightings(self) -> list[Weighting]:
        own = [] if self.weighting is None else [self.weighting]
        return [*own, *super().weightings]

    def start_at(self, entry: dict[str, Any] | None) -> tuple[int, tuple[int, ...]]:
        entry = entry or {'t': 0, 'ended': ()}
        if self.weighting is not None:
            self.weighting.start(entry['t'], entry.get('weights', ()))
        return entry['t'], tuple(entry['ended'])

    def run(self, at: tuple[int, tuple[int, ...]]) -> Iterator[Pair]:
        t, ended = at
        source, draws, weighting, edges, latest = self.source, self.draws, self.weighting, list[float](), None
        alive = [n for n in self.chains if n not in ended]
        while alive:
            now = source.weights_at(t) if weighting is None else weighting.claim(t, 1)[0]
            if now is not latest or not edges:
                latest = now
                chosen, edges = choices(alive, now)
            branch = chosen[bisect_right(edges, draws.uniform(t) * edges[-1], hi=len(edges) - 1)]
            t += 1
            pair = next(self.chains[branch].pairs, None)
            if pair is None:
                self.chains[branch].close()
                ended, edges = (*ended, branch), []
                alive.remove(branch)
                continue
            key = (pair[0], branch)
            self.log.append((key, (t, ended)))
            yield key, pair[1]

    def commit(self, key: Key) -> None:
        super().commit(key)
        if self.weighting is not None:
            self.weighting.forget(self.at[0])

    def entry(self) -> Any:
        t, ended = self.at
        changes = {} if self.weighting is None else {'weights': self.weighting.changes(t)}
        return super().entry() | {'ended': list(ended), 't': t} | changes


def choices(alive: list[int], weights: Any) -> tuple[list[int], list[float]]:
    """The branches to choose from, and the upper edges of their shares."""
    alive = [n for n in alive if weights[n] > 0] or alive
    return alive, upper_edges([weights[n] or 1.0 for n in alive]).tolist()


class _Mix(Branched):
    name, opened = 'mix', _OpenedMix
    entry_names: ClassVar = {'ended', 't'}
    reweight = False

    def __init__(
        self, branches: tuple[Stream[Any], ...], weights: Any, draws: str, seed: int | None, options: dict[str, Any]
    ):
        super().__init__(branches)
        self.draws, self.seed, self.random, self.options = draws, seed, True, options
        self.schedule: Callable[[int], Any] | None = weights if callable(weights) else None
        self.early = self.early and not self.reweight
        self.weights = [1.0] * len(branches) if weights is None or callable(weights) else weights.tolist()

    def weights_at(self, draw: int) -> list[float]:
        """The weights for this draw."""
        return self.weights if self.schedule is None else _scheduled(self.schedule, draw, len(self.branches))

    def fits(self, entry: dict[str, Any]) -> bool:
        ended = entry['ended']
        if not isinstance(ended, list) or not all(is_count(n) and n < len(self.branches) for n in ended):
            return False
        return len(set(ended)) == len(ended) and is_count(entry['t'])

    @property
    def made_of(self) -> MadeOf:
        whole = sum(self.weights)
        shares = tuple(f'{n}: {100 * weight / whole:.3g} %' for n, weight in enumerate(self.weights))
        if self.reweight:
            shares = tuple(f'{share} at first' for share in shares)
        labels = shares if self.schedule is None else tuple(f'{n}: as scheduled' for n in range(len(self.branches)))
        return MadeOf(format_call('mix', (), self.options), self.branches, labels)

    def fingerprint(self) -> str:
        given = 'weights' in self.options and self.schedule is None  # of a schedule, the name, as of other functions
        weights = {'weights': checksum(np.array(self.weights))} if given else {}
        head = format_call('mix', (Counted(len(self.branches), 'stream'),), self.options | weights)
        return '\n'.join([head, *fingerprints(self.branches)])

    def __repr__(self) -> str:
        return format_call('mix', self.branches, self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Mix) and same((self.branches, self.options), (other.branches, other.options))

    __hash__ = None


class _ReweightedMix(_Mix):
    """A mix whose weights may be replaced while it runs."""

    entry_names: ClassVar = {'ended', 't', 'weights'}
    reweight = True

    def fits(self, entry: dict[str, Any]) -> bool:
        return super().fits(entry) and are_changes(entry['weights'], len(self.branches))
