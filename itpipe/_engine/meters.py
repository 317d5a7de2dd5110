"""What a run counts while it runs, in one place: a `Meter` for each stage, a `Probe` for each thread.

To look at the clock at each stage for each item would take as long as a cheap stage does. So counts are exact, and so
are waits, which are long. But of what the stages of a thread do, only one item in many is timed. When it comes to that
item, the probe of the thread is `on`. Then each boundary between two stages that is passed says whose the time since
the last boundary was. The time of this item counts for all that came since the last one that was timed.

How many these are depends on how long they take. All items are timed where that costs nothing, as in a run of slow
ones. A number of items, not a time, because else items that follow a slow one would be chosen more often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from itpipe._core.averages import MovingAverage
from itpipe._core.keys import Key
from itpipe._core.steps import Pair

from .cpu import seconds_on_cores

if TYPE_CHECKING:
    from .waiting import Stop

__all__ = ['Meter', 'Probe', 'Shows', 'passed']

SHARE = 0.004
"""The share of a thread's time that its probe may take."""
MARK = 2e-6
"""Seconds that it takes to look at the clock once, with all that is slower where an item is timed …"""
TRACED = 2
"""… and so many times as long if that is shown in a trace."""


class Shows(Protocol):
    """What shows each time that is measured, see `tracing.Trace`."""

    def add(
        self, kind: str, meter: Meter, begun: float, ended: float, key: Key | None = None, process: int | None = None
    ) -> None:
        """In this time something was done, or waited for, in this thread, or in the process with this number."""

    def count(self, meter: Meter, held: int) -> None:
        """So many items are held now."""


class Probe:
    """The clock of one thread of a run. Only that thread changes it."""

    __slots__ = (
        '_average',
        '_before',
        '_charged',
        '_ended',
        '_marks',
        '_owed',
        '_random',
        '_room',
        '_skipped',
        'left',
        'lost',
        'on',
        'since',
        'trace',
        'weight',
    )

    def __init__(self) -> None:
        self.on = False
        """Whether what is being made is timed."""
        self.left = 0
        """How many are made before the next one that is timed. If there are none, `begin` is called before it is asked
        for. When it has come, this is counted down."""
        self.since = 0.0
        """Up to when the time is accounted for."""
        self.trace: Shows | None = None
        """Where what is timed is shown, too. Another thread may set it to None at any time, so look at it once."""
        self.weight = 0
        """How many the one that is timed stands for."""
        self._before = self._skipped = self._marks = 0
        self._ended, self._random = 0.0, 1
        self._average = MovingAverage(0.3)
        self.lost = 0.0
        """Seconds in which the thread waited since the last one that was timed."""
        self._room = 0.0
        """Seconds that the thread had so far, without those that it waited, and less those that stages were charged."""
        self._charged: dict[ref[Meter], float] = {}
        """What the one that is timed has added to each stage."""
        self._owed: dict[ref[Meter], float] = {}
        """What was taken from each stage again, see `_cap`."""

    @property
    def made(self) -> int:
        """How many were made."""
        return self._before + self._skipped - self.left

    def frozen(self) -> Probe:
        """One that has made as many."""
        probe = Probe()
        probe._before = self.made
        return probe

    def begin(self) -> None:
        """Time what is made next, because none are left."""
        self.weight = self._skipped + 1
        self._before, self._skipped, self.left, self._marks = self.made, 0, 0, 0
        self.since = perf_counter()
        if not self._ended:
            self._ended = self.since
        self.on = True

    def charge(self, meter: Meter, key: Key | None = None) -> None:
        """The time since the last boundary was that of this stage, maybe for the pair with this key."""
        now = perf_counter()
        trace = self.trace
        if trace is not None:
            trace.add('work', meter, self.since, now, key)
        seconds = (now - self.since) * self.weight
        meter.seconds += seconds
        self._charged[meter.ref] = self._charged.get(meter.ref, 0.0) + seconds
        self.since = now
        self._marks += 1

    def _cap(self) -> None:
        """Let the stages have no more time than the thread had: one that was interrupted stands for too much.

        What is taken from one is given back to it as soon as there is time for it, so that sums stay true on average.
        """
        charged = sum(self._charged.values())
        before, self._room = self._room, self._room + self.since - self._ended - self.lost - charged
        owed, change = self._owed, min(self._room, 0.0) - min(before, 0.0)
        if change < 0 < charged:
            for at, seconds in self._charged.items():
                taken = seconds * min(1.0, -change / charged)
                _add(at, -taken)
                owed[at] = owed.get(at, 0.0) + taken
        elif change > 0:
            for at, seconds in owed.items():
                given = seconds * min(1.0, change / -before)
                _add(at, given)
                owed[at] -= given
            if self._room >= 0:
                owed.clear()
        self._charged.clear()
        self.lost = 0.0

    def end(self) -> None:
        """It is made. All of its time has been charged."""
        self.on, self._before = False, self.made
        self._cap()
        seconds = self._average.add((self.since - self._ended) / self.weight)
        self._ended = self.since
        self._random = (self._random * 1103515245 + 12345) % (
            1 << 31
        )  # else a rhythm of the items may be met each time
        spread = 0.5 + self._random / (1 << 31)
        marks = self._marks if self.trace is None else TRACED * self._marks
        self.left = self._skipped = int(marks * MARK / (SHARE * seconds + 1e-12) * spread)


class Meter:
    """What one stage has done so far.

    Only the thread of the stage adds to it, apart from `workers`, in which each worker has an entry of its own, and
    `retried`, whose length counts.
    """

    def __init__(self, probe: Probe | None = None, before: Meter | None = None, records: bool = True):
        self.probe, self.before = probe or Probe(), before or self
        self.ref = ref(self)
        """For its probe, or they would keep each other alive."""
        self.records = records
        """Whether what is left out is listed, as it is not where items are made again."""
        self.trace: Shows | None = None
        """Where the waits here, and the calls of workers, are shown, too. Look at it once, as at that of the probe."""
        self.upstream = Probe()
        """The probe of the thread that makes what is taken here, if that is another one."""
        self.what: Any = None
        """The step and its options, or a source: what it looks like."""
        self.path: tuple[int, ...] = ()
        """In one that `mix` or the like takes: behind that, the key `k` of an item is `(k, path[0])`; and so on."""
        self.begins = False
        """Whether items begin here: it is that of a source that is not made of streams."""
        self.names: tuple[str, str] | None = None
        """Its name and its short name, if they have been asked for."""
        self.apart = False
        """Whether what comes in is made by another thread."""
        self.taken: int | None = None
        """How many came in. None if that is as many as came out, are held, or did not pass."""
        self.refused = 0
        """How many did not pass, as at a `filter_by`."""
        self.seconds = 0.0
        """Seconds at work in the thread of the stage, as the probe has them."""
        self.waited, self.waiting_since = 0.0, 0.0
        """Seconds in which that thread waited here, for workers or for the thread before it, and since when it does so
        again."""
        self.full, self.full_since = 0.0, 0.0
        """Seconds in which the thread before it waited because enough is held, and since when it does so again."""
        self.forget()
        self.size, self.unit = 0, ''
        """How many workers there are at most, and what they are: threads, processes or workers."""
        self.tasks: Callable[[], list[str]] | None = None
        """What Linux calls them, see `seconds_on_cores`."""
        self.cpu_seconds: float | None = None
        self.loop_busy = 0.0
        """Of an event loop that runs coroutines: seconds in which it did not wait for anything."""
        self.tried: Sequence[tuple[str, int]] = ()
        """Which workers were tried, and how many, where they are looked for while it runs."""
        self.workers: dict[int, list[float]] = {}
        """For each worker: seconds of its calls, and how many these were."""
        self.errors = self.dropped = self.restarts = 0
        self.retried: list[None] = []

    def wait(self, sleep: Callable[..., object], *args: Any) -> None:
        """Wait, by calling this: the time is no work of this stage."""
        probe = self.probe
        if probe.on:
            probe.charge(self)
        begun = self.waiting_since = perf_counter()
        try:
            sleep(*args)
        finally:
            now = perf_counter()
            self.waiting_since = 0.0
            self.waited += now - begun
            probe.lost += now - begun
            trace = self.trace
            if trace is not None:
                trace.add('wait', self, begun, now)
            if probe.on:
                probe.since = now

    def wait_full(self, sleep: Callable[..., object]) -> None:
        """Wait, by calling this, until less is held. For the thread that makes what is held."""
        begun = self.full_since = perf_counter()
        try:
            sleep()
        finally:
            now = perf_counter()
            self.full_since = 0.0
            self.full += now - begun
            self.upstream.lost += now - begun
            trace = self.trace
            if trace is not None:
                trace.add('full', self, begun, now)

    def forget(self) -> None:
        """Nothing is held any more."""
        self.pending: int | None = None
        """How many are held; None if as many as `values`."""
        self.values: Callable[[], list[Any]] = list
        """What is held and can be seen."""
        self.capacity: Callable[[], int | None] = _no_limit
        """How many may be held at most."""

    def read_cpu(self) -> float | None:
        """Seconds for which the workers have needed a core, now or when they were seen last."""
        seconds = None if self.tasks is None else seconds_on_cores(self.tasks())
        if seconds is not None:
            self.cpu_seconds = seconds
        return self.cpu_seconds

    @property
    def held(self) -> int:
        """How many are held."""
        return len(self.values()) if self.pending is None else self.pending

    def came(self, out: int) -> int:
        """How many came in, if so many came out."""
        return out + self.held + self.dropped + self.refused if self.taken is None else self.taken

    def frozen(self) -> Meter:
        """It as it is now."""
        meter = copy(self)
        meter.workers = {number: entry[:] for number, entry in self.workers.copy().items()}
        meter.retried, meter.pending = self.retried[:], self.held
        meter.values, meter.capacity = list, _no_limit
        meter.cpu_seconds, meter.tasks = self.read_cpu(), None
        return meter

    def worked(self, worker: int, seconds: float, calls: int = 1, key: Key | None = None) -> None:
        """A worker has made so many calls, the first of them for the item with this key."""
        entry = self.workers.get(worker)
        if entry is None:
            entry = self.workers[worker] = [0.0, 0]
        entry[0] += seconds
        entry[1] += calls
        trace = self.trace
        if trace is not None:
            now = perf_counter()
            trace.add('call', self, now - seconds, now, key, worker if self.unit == 'processes' else None)
            trace.count(self, self.held)


def _add(at: ref[Meter], seconds: float) -> None:
    meter = at()
    if meter is not None:
        meter.seconds += seconds


def _no_limit() -> None:
    return None


def passed(items: Iterator[Pair], meter: Meter, stop: Stop | None = None) -> Iterator[Pair]:
    """The pairs that come into a stage that does not count them by itself. With `stop`, it can be stopped between."""
    probe, before = meter.probe, meter.before
    taken = meter.taken or 0
    for pair in items:
        taken += 1
        meter.taken = taken
        if probe.on:
            probe.charge(before, pair[0])
        if stop is not None and stop.called:
            stop.check()
        yield pair
        del pair
        if probe.on:
            probe.charge(meter)
