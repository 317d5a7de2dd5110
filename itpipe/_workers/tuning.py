"""Which workers are best: settings are tried one after another, by what an item costs the thread of the run.

Nothing here knows of pools. A `Tuner` is told when items go out, and says which setting to try next.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from math import inf
from time import perf_counter
from typing import NamedTuple, TypeAlias

__all__ = ['FIRST', 'Setting', 'Tuner']

SECONDS = 0.4
"""Seconds for which a setting is measured, at least, …"""
ROUNDS = 3
"""… and so many items for each of its workers, …"""
MAX_SECONDS = 4.0
"""… but no longer than this if an item takes very long."""
SETTLING = 2
"""Items for each worker that do not count at first, because the window is still being filled."""
MOST_THREADS = 64
GAIN = 0.9
"""A setting is worth going on from if an item costs so many times what it did before, or less."""
CLOSE = 1.05
"""Of settings whose costs differ by this factor or less, the one with fewest workers is taken."""
GOOD_ENOUGH = 0.05
"""If the run spends a smaller share of its time on getting items, no other workers make it faster."""
CHANGED = 1.5
"""The search begins anew if an item costs so many times what it did …"""
CHANGED_SHARE = 0.15
"""… and getting items takes more than this share of the time …"""
REST = 10.0
"""… but not before so many seconds are over, twice as many after each search."""


class Setting(NamedTuple):
    """So many workers of one kind."""

    kind: str
    """`'threads'` or `'processes'`."""
    size: int


FIRST = Setting('threads', 1)
_Search: TypeAlias = Generator[Setting, float, tuple[Setting, float]]


class Tuner:
    """Says which setting to try. It measures what an item costs: the time in which the run's thread cannot go on.

    What the consumer does between two items does not count. While it takes its time, workers go on, and the next items
    cost less.
    """

    def __init__(self, cores: int, most: Callable[[], int]):
        self.setting = FIRST
        """The one that is measured."""
        self.settings = [FIRST]
        """All that were tried, in this order."""
        self._new_search: Callable[[], _Search] = lambda: search(cores, most)
        self._search: _Search | None = self._new_search()
        next(self._search)
        self._cost, self._best = inf, FIRST
        self._rest, self._rested_at = REST, 0.0
        self.restart()

    @property
    def is_searching(self) -> bool:
        """Whether it tries settings, and has not found the best one yet."""
        return self._search is not None

    @property
    def kept(self) -> set[Setting]:
        """The settings that are needed still: that of now, and the best one while others are tried."""
        return {self.setting} if self._search is None else {self.setting, self._best}

    def restart(self) -> None:
        """Measure the setting from here on."""
        self._settling, self._left_at = True, 0.0
        self._measure(perf_counter())

    def _measure(self, now: float) -> None:
        self._begun, self._outside, self._items = now, 0.0, 0

    def came_back(self) -> None:
        """The consumer wants the next item."""
        if self._left_at:
            self._outside += perf_counter() - self._left_at
            self._left_at = 0.0

    def goes_out(self, warm: bool) -> Setting | None:
        """An item goes to the consumer. Returns the setting to change to, None if it is not time for another one.

        `warm` says whether all workers have been started.
        """
        now = self._left_at = perf_counter()
        self._items += 1
        if self._settling:
            if warm and self._items >= SETTLING * self.setting.size:
                self._settling = False
                self._measure(now)
            return None
        seconds = now - self._begun
        if seconds < SECONDS or (self._items < ROUNDS * self.setting.size and seconds < MAX_SECONDS):
            return None
        own = seconds - self._outside
        cost, share = own / self._items, own / seconds
        self._measure(now)
        if self._search is not None:
            return self._next(cost, share, now)
        if cost > CHANGED * self._cost and share > CHANGED_SHARE and now - self._rested_at > self._rest:
            self._rest *= 2
            self._search, self._cost = self._new_search(), inf
            return self._changed_to(next(self._search))
        return None

    def failed(self) -> Setting:
        """The setting that is tried cannot be used. Returns the one to change to."""
        return self._next(inf, 1.0, perf_counter()) or FIRST

    def _next(self, cost: float, share: float, now: float) -> Setting | None:
        assert self._search is not None
        if share < GOOD_ENOUGH:
            return self._settle(self.setting, cost, now)
        if cost < self._cost:
            self._cost, self._best = cost, self.setting
        try:
            return self._changed_to(self._search.send(cost))
        except StopIteration as found:
            best, its_cost = found.value
            return self._settle(best, its_cost, now)

    def _settle(self, setting: Setting, cost: float, now: float) -> Setting | None:
        self._search, self._cost, self._rested_at = None, cost, now
        return self._changed_to(setting)

    def _changed_to(self, setting: Setting) -> Setting | None:
        if setting == self.setting:
            self.restart()
            return None
        self.setting = setting
        self.settings.append(setting)
        return setting


def search(cores: int, most: Callable[[], int]) -> _Search:
    """Yields the setting to try next, and is sent what an item costs then; infinity if the setting cannot be used.
    Returns the best one, and its cost.

    Threads come first, twice as many each time. If they are nowhere near as fast as the cores could be, the function
    may hold the interpreter lock. Then processes are tried, too. There are at most `most()` workers.
    """
    costs: dict[Setting, float] = {}

    def climb(kind: str, counts: Iterator[int]) -> Generator[Setting, float, None]:
        for count in counts:
            least = min(costs.values(), default=inf)
            costs[Setting(kind, count)] = cost = yield Setting(kind, count)
            if cost > GAIN * least:
                return

    yield from climb('threads', iter([1]))
    yield from climb('threads', _doubled(cores, min(most(), MOST_THREADS)))
    if costs[FIRST] < GAIN * cores * min(costs.values()):
        yield from climb('processes', _doubled(cores, min(most(), 2 * cores)))
    least = min(costs.values())
    good = [setting for setting, cost in costs.items() if cost <= CLOSE * least]
    best = min(good, key=lambda setting: setting.size)  # threads, if there are as many
    return best, costs[best]


def _doubled(first: int, last: int) -> Iterator[int]:
    count = max(2, first)
    while count <= last:
        yield count
        count *= 2
