"""Calls that are so cheap that the thread of the run makes them itself."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

from itpipe._core.averages import MovingAverage
from itpipe._core.keys import END, Key
from itpipe._core.steps import Pair
from itpipe._engine.failures import SKIPPED
from itpipe._engine.functions import ItemFunction
from itpipe._engine.look_ups import LookUps
from itpipe._engine.meters import Meter
from itpipe._engine.order import map_items

if TYPE_CHECKING:
    from itpipe._engine.waiting import Stop

    from .failures import FunctionFailures

__all__ = ['InlinePolicy', 'call_inline']


class InlinePolicy:
    """Decides, by the times of calls, whether they are made inline, in the thread of the run, or in workers.

    The first call, which has no other beside it, may start inline mode. Later, many cheap calls in a row do. Calls made
    inline are judged by a moving average, because one call may only have waited for the GIL. A call longer than any GIL
    wait ends inline mode at once. Each end doubles the number of cheap calls that it takes to start again.

    Without the GIL it is the same. There, calls in threads run beside each other, but it takes the run's thread about
    as long to hand one over as to make a cheap one itself. Threads may be recording at the same time; then some of the
    calls may not count.

    To time a call costs as much as a cheap call. So inline calls are timed in groups, together with what happens
    between them. Only when a group was slow, the next calls are timed one by one.
    """

    CHEAP = 30e-6
    """Seconds; it takes about as long to hand a call to a thread."""
    IN_A_ROW = 16
    """Cheap calls in a row that start inline mode."""
    GROUP = 16
    """Inline calls that are timed together, at most."""
    ONE_BY_ONE = 256
    """Inline calls that are timed one by one after a slow group; the average reaches as far back."""
    GIL_WAIT = 0.005
    """Seconds of one wait for the GIL; no call counts for more in the average."""
    LONGEST_GIL_WAIT = 0.02
    """Seconds; a longer call has not only waited for the GIL."""

    def __init__(self, calibrated: bool = False):
        self.active = False
        """Whether calls are made inline."""
        self.calibrated = calibrated
        """Whether the first call has been timed, or need not be."""
        self._row, self._needed = 0, self.IN_A_ROW
        self._average = MovingAverage(1 / self.ONE_BY_ONE, 0.0)

    def record(self, seconds: float) -> None:
        """Take in how long a call in a worker took."""
        cheap = seconds < self.CHEAP
        if self.calibrated:
            self._row = self._row + 1 if cheap else 0
            cheap = self._row >= self._needed
        if cheap:  # else nothing is written, as the thread of the run may be ending inline mode
            self.active = True
        self.calibrated = True

    def record_inline(self, seconds: float) -> None:
        """Take in how long an inline call took."""
        if self._average.add(min(self.GIL_WAIT, seconds)) > self.CHEAP or seconds > self.LONGEST_GIL_WAIT:
            self.to_workers()

    def to_workers(self) -> None:
        """End inline mode."""
        self.active, self._row, self._average.value = False, 0, 0.0
        self._needed = min(2 * self._needed, 1 << 20)


def call_inline(
    items: Iterator[Pair],
    function: ItemFunction,
    policy: InlinePolicy,
    failures: FunctionFailures | None,
    look_ups: LookUps,
    stop: Stop,
    meter: Meter,
) -> Iterator[Pair]:
    """What the function makes of the items, without those left out, until the policy ends inline mode."""
    one_by_one = partial(_map_items, function=function, failures=failures, look_ups=look_ups, stop=stop, meter=meter)
    plain = failures is None and not look_ups and type(function) is ItemFunction
    group: Any = partial(map_items, function=function, stop=stop, meter=meter) if plain else one_by_one
    count = 1
    while policy.active:
        begun = perf_counter()
        if (yield from group(islice(items, count))) is END:
            return
        if perf_counter() - begun <= count * policy.CHEAP:
            count = min(2 * count, policy.GROUP)
        else:  # it may also be the consumer that was slow
            yield from one_by_one(islice(items, policy.ONE_BY_ONE), policy=policy)


def _map_items(
    items: Iterator[Pair],
    function: ItemFunction,
    failures: FunctionFailures | None,
    look_ups: LookUps,
    stop: Stop,
    meter: Meter,
    policy: InlinePolicy | None = None,
) -> Generator[Pair, None, Any]:
    """As `map_items`, for any function and with failures. A policy times the calls, and may end them."""
    key: Any = END
    probe, before = meter.probe, meter.before
    for key, value in items:
        if probe.on:
            probe.charge(before, key)
        begun = perf_counter()
        value = _call(function, key, value, failures, look_ups, stop)
        if policy is not None:
            policy.record_inline(perf_counter() - begun)
        if probe.on:
            probe.charge(meter, key)
        if value is not SKIPPED:
            yield key, value
        del value
        if policy is not None and not policy.active:
            break
    return key


def _call(
    function: ItemFunction, key: Key, item: Any, failures: FunctionFailures | None, look_ups: LookUps, stop: Stop
) -> Any:
    if failures is None:
        value = look_ups.call(function, key, item)
        stop.check()
        return value

    def outcome(error: Exception, item: Any) -> Any:
        stop.check()
        return failures.outcome(error, key, item)

    failures.seen += 1
    return look_ups.call(function, key, item, outcome)
