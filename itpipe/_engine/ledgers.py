"""All that one run counts: a `Ledger` has the meters of its stages, and those of the loop that takes its items."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from time import perf_counter
from typing import Any

from itpipe._core.steps import Pair

from .meters import Meter, Probe, Shows

__all__ = ['Consumer', 'Ledger']


class Consumer:
    """The loop that takes what a run makes."""

    __slots__ = ('clocked', 'first', 'meter', 'since', 'state', 'taken', 'waited', 'worked')

    def __init__(self) -> None:
        self.meter = Meter()
        self.meter.what = 'the loop'
        """What it takes to work on them, where the probe has it."""
        self.clocked = False
        """Whether all of its time is known, not only what the probe has."""
        self.taken = 0
        self.waited = self.worked = 0.0
        """Seconds in which it waited, and worked."""
        self.first = 0.0
        """Of the seconds in which it waited, those for the first of all."""
        self.state, self.since = '', 0.0
        """Whether it `'waits'` or `'works'`, and since when; empty between two epochs."""

    def seconds(self, now: float) -> tuple[float, float]:
        """The seconds in which it waited and worked, up to now."""
        waited, worked, state, since = self.waited, self.worked, self.state, self.since
        return waited + (now - since) * (state == 'waits'), worked + (now - since) * (state == 'works')


class Ledger:
    """The meters of a run, of all passes over its source."""

    def __init__(self, probe: Probe | None = None) -> None:
        self.probe = probe or Probe()
        """That of the thread that drives the last stages."""
        self.source = Meter(self.probe)
        self.branches: list[Ledger] = []
        """Those of the streams that the source is made of."""
        self.stages: list[Meter] = []
        self.buffer: Meter | None = None
        """That of what is ready for the consumer, if another thread makes it."""
        self.out: Meter | None = None
        """That of what takes the items of this stream, if a source is made of it."""
        self.path: tuple[int, ...] = ()
        """What the keys of its items get behind it, if a source is made of it: see `Meter.path`."""
        self.consumer = Consumer()
        self.started = self.ended = 0.0
        self.trace: Shows | None = None
        self.first: Ledger | None = None
        """It as it was when the first of all had come out."""
        self.stats: Any = None
        """What it comes to, where it does not change any more."""

    def branch(self, number: int) -> Ledger:
        """The ledger of a stream that the source is made of."""
        while len(self.branches) <= number:
            branch = Ledger(self.source.probe)
            branch.out = Meter(self.source.probe)
            branch.out.what = self.source.what
            branch.trace = self.trace
            branch.follow((len(self.branches), *self.path))
            self.source.begins = False
            self.branches.append(branch)
        return self.branches[number]

    def follow(self, path: tuple[int, ...]) -> None:
        """Let this be the path of all that is counted here."""
        self.path = path
        for meter in (self.source, *self.stages):
            meter.path = path
        for number, branch in enumerate(self.branches):
            branch.follow((number, *path))

    def show(self, trace: Shows | None) -> None:
        """Show all that happens in this trace, too; None: no more."""
        self.trace = trace
        for meter in filter(None, (self.source, *self.stages, self.buffer, self.out, self.consumer.meter)):
            meter.trace = meter.probe.trace = meter.upstream.trace = trace
        self.probe.trace = trace
        for branch in self.branches:
            branch.show(trace)

    def ask(self) -> None:
        """The loop asks for the next item, whose stages run in its own thread. The probe has to begin or to end."""
        probe = self.probe
        if probe.on:
            probe.charge(self.consumer.meter)
            probe.end()
            self.first = self.first or self.frozen()
        if probe.left <= 0:
            probe.begin()
            self.started = self.started or probe.since

    def timed(self, pairs: Iterator[Pair]) -> Iterator[Pair]:
        """The pairs that come out of the last stage, in the thread that takes them."""
        probe = self.probe
        while True:
            if probe.left <= 0:
                probe.begin()
            pair = next(pairs, None)
            if pair is None:
                return
            probe.left -= 1
            if probe.on:
                probe.charge(self.last, pair[0])
                probe.end()
            yield pair
            del pair

    @property
    def made(self) -> int:
        """How many have come out of the last stage."""
        end = self.buffer or self.out
        return self.probe.made if end is None else end.taken or 0

    def frozen(self) -> Ledger:
        """It as it is now."""
        ledger = copy(self)
        ledger.trace = ledger.stats = None
        ledger.probe = self.probe.frozen()
        ledger.branches = [branch.frozen() for branch in self.branches]
        ledger.source, ledger.stages = self.source.frozen(), [meter.frozen() for meter in self.stages]
        ledger.buffer, ledger.out = self.buffer and self.buffer.frozen(), self.out and self.out.frozen()
        ledger.consumer = copy(self.consumer)
        ledger.consumer.meter = self.consumer.meter.frozen()
        ledger.ended = self.ended or perf_counter()
        return ledger

    def end(self) -> None:
        """Nothing runs any more."""
        self.ended = self.ended or perf_counter()
        self.consumer.state = ''
        self.forget()

    def forget(self) -> None:
        """Nothing is held any more."""
        for meter in self.stages:
            meter.forget()
        for branch in self.branches:
            branch.forget()

    @property
    def last(self) -> Meter:
        """That of the last stage."""
        return self.stages[-1] if self.stages else self.source

    def lay_out(self, source: Any, apart: list[bool]) -> list[Meter]:
        """The meters of stages behind this source, of which these take what another thread makes."""
        self.source.what = source
        if not self.stages:
            probe, stages = self.probe, list[Meter]()
            for is_apart in reversed(apart):
                meter = Meter(probe)
                meter.apart = is_apart
                if is_apart:
                    probe = meter.upstream
                stages.insert(0, meter)
            self.source.probe, self.source.begins = probe, True
            before = self.source
            for meter in stages:
                meter.before, before = before, meter
            for end in filter(None, (self.buffer, self.out)):
                end.before = before
            self.stages = stages  # at once, as another thread may be looking
            self.follow(self.path)
            self.show(self.trace)
        return self.stages
