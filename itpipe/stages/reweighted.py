"""Sources of random items whose weights may be replaced while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from itpipe._core.keys import Draw, is_count, is_pair
from itpipe._core.rng import BLOCK, Draws
from itpipe._core.weights import inverse
from itpipe._engine.indexing import run_begins
from itpipe._engine.source import Numbered
from itpipe._engine.weighting import Weighting, are_changes

from .sampled import Sampled

if TYPE_CHECKING:
    from itpipe._core.steps import Pair
    from itpipe._engine.seeds import Seeds
    from itpipe._engine.source import Opened
    from itpipe._engine.waiting import Stop

__all__ = ['Reweighted']

TOGETHER: Final = 16
"""So many draws are made at once. More take less time each, but fewer can still have other weights."""


class Reweighted(Sampled):
    """A source of random items of a sequence, drawn with weights that may be replaced.

    The key of an item is a `Draw`: the number of the draw, and the index that was drawn. So it can be made again
    without the weights.
    """

    early, reweight = False, True

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        run_begins(self.sequence, seeds.pass_)
        draws = Draws(seeds.next(self.draws, self.own_seed))
        weighting = Weighting(
            self.options.get('name') or self.name, np.ones(self.size) if self.weights is None else self.weights
        )
        parts = self.parts(_indices, partial(self.drawn, draws, weighting), seeds, stop)
        return _Opened(self, weighting, parts)

    def drawn(self, draws: Draws, weighting: Weighting, t: int) -> Iterator[Pair]:
        """The indices from draw `t` on, with their keys."""
        latest, uniform = -1, np.empty(0)
        weights: Any = None
        while True:
            number, offset = divmod(t, BLOCK)
            if number != latest:
                latest, uniform = number, draws.block(number)
            now, end = weighting.claim(t, TOGETHER - t % TOGETHER)
            if now is not weights:
                weights, choose = now, inverse(now)
            for index in choose(uniform[offset : offset + end - t]).tolist():
                yield Draw((t, index)), index
                t += 1

    def key_test(self) -> Callable[[Any], bool]:
        size = self.size
        return lambda key: (
            (isinstance(key, Draw) or is_pair(key))  # a pair where it comes from JSON
            and is_count(key[0])
            and is_count(key[1])
            and key[1] < size
        )

    def check_entry(self, entry: Any) -> None:
        if isinstance(entry, dict) and entry.keys() == {'t', 'weights'} and are_changes(entry['weights'], self.size):
            entry = entry['t']
        super().check_entry(entry)


class _Opened(Numbered):
    """Where it stands: the number of draws, and the weights that were announced, as long as they are needed."""

    stateful = True  # it forgets weights while the run lasts

    def __init__(self, source: Reweighted, weighting: Weighting, parts: tuple[Any, ...]):
        super().__init__(*parts)
        self.weightings, self.test = (weighting,), source.key_test()

    def start(self, entry: Any = None) -> Iterator[Pair]:
        self.position, changes = (entry['t'], entry['weights']) if isinstance(entry, dict) else (entry or 0, ())
        self.weightings[0].start(self.position, changes)
        return self.read(self.position)

    def commit(self, key: Any) -> None:
        self.position = key[0] + 1
        self.weightings[0].forget(self.position)

    def has_key(self, key: Any) -> bool:
        return self.test(key)

    def entry(self) -> Any:
        changes = self.weightings[0].changes(self.position)
        return {'t': self.position, 'weights': changes} if changes else self.position


def _indices(keys: Sequence[Any]) -> list[int]:
    return list(map(itemgetter(1), keys))
