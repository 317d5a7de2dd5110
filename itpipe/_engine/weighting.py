"""Weights that are replaced while a run lasts: a `Weighting` knows from which draw on which weights hold.

A draw depends on the seed, on its number, and on the weights that hold at this number. So a run is the same wherever
the same weights are announced for the same draws. What it draws ahead cannot be taken back: weights can be announced
for draws that are still to be made. Old weights are not kept. What makes an item again finds its index in the key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import Any

from itpipe._core.checks import integer
from itpipe._core.keys import is_count
from itpipe._core.show import format_step
from itpipe._core.steps import ItemStep, Step
from itpipe._core.weights import Weights, check_weights, from_text, to_text

__all__ = ['Weighting', 'are_changes', 'check_kept', 'check_told_alike', 'may_change', 'reweighted', 'take_over']


class _Change:
    """Weights, and the number of the draw from which on they hold; -1 for those with which a run begins."""

    def __init__(self, at: int, weights: Weights):
        self.at, self.weights = at, weights

    @cached_property
    def text(self) -> str:
        """The weights as text."""
        return to_text(self.weights)


class Weighting:
    """The weights of the draws of a source. One thread draws, others may announce weights."""

    def __init__(self, name: str, weights: Weights):
        import threading  # not where only a pipeline is written

        self.name, self.count = name, len(weights)
        self._changes = [_Change(-1, weights)]
        """In the order of draws. The first holds where the consumer stands, the others later."""
        self._claimed = 0
        self._lock = threading.RLock()  # as a signal handler may ask for the state

    @property
    def last(self) -> Weights | None:
        """The weights that were announced for the latest draw; None if none were."""
        change = self._changes[-1]
        return None if change.at < 0 else change.weights

    def start(self, t: int, changes: Sequence[tuple[int, str]] = ()) -> None:
        """Go on with draw `t` of a run in which these weights, as `changes` gives them, were announced."""
        self._changes += [_Change(at, from_text(text, self.count)) for at, text in changes]
        self._claimed = t

    def claim(self, t: int, most: int) -> tuple[Weights, int]:
        """The weights that hold at draw `t`, and the end of the draws that have them, at most `most` of them.

        These draws are made now: weights cannot be announced for them any more.
        """
        with self._lock:
            changes = self._changes
            if len(changes) == 1:
                self._claimed = end = t + most
                return changes[0].weights, end
            n = bisect_right(changes, t, key=attrgetter('at'))
            self._claimed = end = min([t + most, *(change.at for change in changes[n : n + 1])])
            return changes[n - 1].weights, end

    def announce(self, where: str, weights: Any, at: int | None = None) -> int:
        """Let these weights hold from draw `at` on; None: from the next one that will be made. Returns its number.

        Raises TypeError or ValueError, naming `where`, for wrong weights, and for a draw that was made.
        """
        new = check_weights(where, weights, self.count)
        if new is None:
            raise TypeError(f'{where}: `weights` must be numbers, got None')
        with self._lock:
            at = self._claimed if at is None else at
            if at < self._claimed:
                raise ValueError(
                    f'{where}: `at` must be at least {self._claimed}, as all draws before that were made, got {at};'
                    ' give a later draw, or let the run be less far ahead, such as by `prefetch=2`'
                )
            others = [change for change in self._changes if change.at != at]
            self._changes = sorted([*others, _Change(at, new)], key=attrgetter('at'))
            return at

    def forget(self, t: int) -> None:
        """Forget the weights that hold before draw `t` only."""
        with self._lock:
            del self._changes[: bisect_right(self._changes, t, key=attrgetter('at')) - 1]

    def changes(self, t: int) -> list[list[Any]]:
        """The weights that were announced, and hold at draw `t` or later, as JSON: [number of the draw, text], …"""
        with self._lock:
            self.forget(t)
            return [[change.at, change.text] for change in self._changes if change.at >= 0]


def are_changes(value: Any, count: int) -> bool:
    """Whether it can be what `changes` returns for so many weights."""
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return False
    numbers = [at for at, _ in value]
    if not all(map(is_count, numbers)) or not all(a < b for a, b in pairwise(numbers)):
        return False
    try:
        return all(check_weights('', from_text(text, count), count) is not None for _, text in value)
    except (TypeError, ValueError):
        return False


def reweighted(where: str, weightings: Sequence[Weighting], weights: Any, at: int | None, name: str | None) -> int:
    """Announce weights for draw `at`, see `Weighting.announce`: to the only one, or to the one with this name.

    Raises TypeError or ValueError, naming `where`, for wrong arguments, and if it is not clear which one is meant.
    """
    at = None if at is None else integer(where, 'at', at, least=0)
    return _chosen(where, weightings, name).announce(where, weights, at)


def take_over(weightings: Sequence[Weighting], before: Sequence[Weighting]) -> None:
    """Begin a pass with the weights that were announced in the pass before."""
    for weighting, other in zip(weightings, before, strict=True):
        if other.last is not None and weighting.last is None:
            weighting.announce('', other.last, 0)


def _chosen(where: str, weightings: Sequence[Weighting], name: str | None) -> Weighting:
    names = [weighting.name for weighting in weightings]
    if not names:
        raise ValueError(f'{where}: there are no weights that can be replaced; give `sample` or `mix` `reweight=True`')
    if name is None and len(names) > 1:
        raise ValueError(f'{where}: `name` must say whose weights are meant, one of {names}')
    found = [weighting for weighting in weightings if name in (None, weighting.name)]
    if not found:
        raise ValueError(f'{where}: `name` must be one of {names}, got {name!r}')
    if len(found) > 1:
        raise ValueError(
            f'{where}: there are {len(found)} of the name {name!r}; give each its own `name` where it is made'
        )
    return found[0]


# ---------------------------------------------------------------------------------------------------------------------
# What is known without a run


def may_change(source: Any) -> bool:
    """Whether weights in this source, or in a stream that it is made of, can be replaced."""
    return (
        getattr(source, 'reweight', False)
        or (hasattr(source, 'source') and may_change(source.source))
        or any(may_change(branch.source) for branch in getattr(source, 'branches', ()))
    )


def check_kept(source: Any, steps: Sequence[Step | ItemStep]) -> None:
    """Raise ValueError if a step behind weights that can be replaced has to run again from the beginning."""
    for branch in getattr(source, 'branches', ()):
        check_kept(branch.source, branch.steps)
    opaque = next((step for step in steps if isinstance(step, Step) and step.from_beginning), None)
    if opaque is not None and may_change(source):
        raise ValueError(
            f'{opaque.name}: `{format_step(opaque)}` runs again from the beginning where a run goes on, but weights'
            ' that were replaced are not kept for that: make it a `stage` with a `state`, or leave out `reweight`'
        )


def check_told_alike(where: str, positions: Iterable[Any]) -> None:
    """Raise ValueError, naming `where`, if the ranks that stand at these positions were not told the same weights."""
    rows = [dict(_told(position)) for position in positions]
    for path in {path for row in rows for path in row}:
        told = [row.get(path, (0, ())) for row in rows]
        latest = max(t for t, _ in told)
        if len({_from(latest, changes) for _, changes in told}) > 1:
            raise ValueError(
                f'{where}: `states` cannot be merged: the ranks were told different weights, or for different draws;'
                ' call `reweight` with the same weights and the same `at` in all of them'
            )


def _told(position: Any, path: tuple[int, ...] = ()) -> Iterable[tuple[tuple[int, ...], tuple[int, Any]]]:
    """The number of the next draw, and the weights that were announced, for each source that can be told weights."""
    entry = None if position is None else position['source']
    if not isinstance(entry, dict):
        return
    if 'weights' in entry:
        yield path, (entry['t'], entry['weights'])
    for n, branch in enumerate(entry.get('branches', ())):
        yield from _told(branch, (*path, n))


def _from(t: int, changes: Sequence[Any]) -> tuple[Any, ...]:
    """The changes that hold at draw `t` or later."""
    n = bisect_right(changes, t, key=lambda change: change[0])
    return tuple((at, from_text(text).tobytes()) for at, text in changes[max(n - 1, 0) :])
