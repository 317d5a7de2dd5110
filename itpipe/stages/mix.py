"""Several streams mixed into one."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from textwrap import indent
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from itpipe._core.keys import Key, is_count, is_pair
from itpipe._core.names import step_name
from itpipe._core.rng import Draws, check_seed
from itpipe._core.show import format_call, non_defaults, same
from itpipe._core.steps import Pair, Stateless, Step
from itpipe._engine.chain import Chain
from itpipe._engine.fingerprint import fingerprint
from itpipe._engine.seeds import Seeds
from itpipe._engine.source import Opened
from itpipe._engine.state_checks import check_position, key_test
from itpipe._engine.stream import Stream, no_stage, stream
from itpipe._engine.waiting import Stop

from .sample import _check_weights, _Count, _edges, _sum

if TYPE_CHECKING:
    from typing import Unpack

    import numpy.typing as npt

    from itpipe._engine.types import Drawing, X, Y

__all__ = ['mix']


@overload
def mix(only: Iterable[X], /, **options: Unpack[Drawing]) -> Stream[X]: ...
@overload
def mix(first: Iterable[X], second: Iterable[Y], /, **options: Unpack[Drawing]) -> Stream[X | Y]: ...
@overload
def mix(
    first: Iterable[X], second: Iterable[X], third: Iterable[X], /, *more: Iterable[X], **options: Unpack[Drawing]
) -> Stream[X]: ...
@no_stage('it makes a stream, with which a pipeline begins')
def mix(
    *streams: Iterable[Any], weights: npt.ArrayLike | None = None, seed: int | None = None, name: str | None = None
) -> Stream[Any]:
    """The items of several streams, each next one from a randomly chosen stream.

    `streams` are streams or other iterables, each is read in its own order. `weights` are probabilities up to a common
    factor, one per stream. A stream that has ended is not chosen any more; when all have, so has the mix. Streams of
    weight 0 are read when all others have ended. The choices depend on the seed, not on the items. The `seed` is also
    that of the random stages in the streams and behind the mix, where they and their streams have none of their own.
    The `name` is as for `sample`.

    Raises TypeError for what is not iterable, weights that are not numbers, or a wrong seed or name; ValueError for no
    streams, and for weights that are negative, not finite, all zero, or of another number.

    >>> list(mix([1, 2, 3], 'abc', seed=0))
    ['a', 1, 'b', 'c', 2, 3]

    See also: `sample`.
    """
    if not streams:
        raise ValueError('mix: `streams` must not be empty')
    written = non_defaults(weights=(weights, None), seed=(seed, None), name=(name, None))
    branches = tuple(stream(branch) for branch in streams)
    checked = _check_weights('mix', weights, len(branches))
    return Stream(_Mix(branches, checked, step_name('mix', name=name), check_seed('mix', seed), written))


class _Mix:
    random = True

    def __init__(
        self, branches: tuple[Stream[Any], ...], weights: Any, draws: str, seed: int | None, written: dict[str, Any]
    ):
        self.branches, self.draws, self.seed, self.written = branches, draws, seed, written
        self.weights = [1.0] * len(branches) if weights is None else weights.tolist()
        steps = chain.from_iterable(branch.steps for branch in branches)
        self.one_shot = any(branch.source.one_shot for branch in branches)
        self.ordered = all(branch.source.ordered for branch in branches) and not any(
            isinstance(step, Step) and step.yields_as_completed for step in steps
        )

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        return _OpenedMix(self, seeds, stop)

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

    def fingerprint(self) -> str:
        told = self.written | ({} if 'weights' not in self.written else {'weights': _sum(np.array(self.weights))})
        inner = '\n'.join(fingerprint(branch.source, branch.steps) for branch in self.branches)
        return format_call('mix', (_Count(len(self.branches), 'streams'),), told) + '\n' + indent(inner, '  ')

    def __repr__(self) -> str:
        return format_call('mix', self.branches, self.written)

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

    def __init__(self, mix: _Mix, seeds: Seeds, stop: Stop):
        self.mix, self.seeds, self.stop = mix, seeds, stop
        self.draws = Draws(seeds.next(mix.draws, mix.seed))
        self.chains: list[Chain] = []
        self.log: deque[tuple[Key, int, tuple[int, ...]]] = deque()
        self.t = 0
        self.ended: tuple[int, ...] = ()

    def split_lookup(self) -> Step | None:
        self.complete = False
        return Stateless('finished', _finished, (self.chains,), itemwise=True)

    def start(self, entry: Any = None) -> Iterator[Pair]:
        if not self.tracked:
            self.log = deque(maxlen=0)
        if entry is not None:
            self.t, self.ended = entry['t'], tuple(entry['ended'])
        for n, branch in enumerate(self.mix.branches):
            state = None if entry is None else entry['branches'][n]
            seeds = self.seeds.branch(branch.source.seed)
            made = Chain(branch.source, branch.steps, seeds, self.stop, state, self.tracked, complete=self.complete)
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

    def has_key(self, key: Any) -> bool:
        return is_pair(key) and key[1] in range(len(self.chains)) and self.chains[key[1]].has_key(key[0])

    def indices(self, keys: Sequence[Any]) -> list[Any]:
        return [(n, index) for key, n in keys for index in self.chains[n].indices(key)]

    def recompute(self, keys: Sequence[Key]) -> dict[Key, Any]:
        result: dict[Key, Any] = {}
        for n, branch in enumerate(self.chains):
            own = [key[0] for key in keys if key[1] == n]  # type: ignore[index]
            if own:
                result |= {(key, n): value for key, value in branch.recompute(len(branch.operators) - 1, own).items()}
        return result
