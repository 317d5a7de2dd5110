"""What is timed, what that stands for, and that all of it is timed where that costs nothing."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from clock import Clock, virtual

from itpipe._engine.meters import MARK, SHARE, Meter, Probe, passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return virtual(monkeypatch)


def drive(probe: Probe, meter: Meter, items: Iterator[Any]) -> list[bool]:
    """Takes the items as a thread does; whether each of them was timed."""
    timed = []
    while True:
        if probe.left <= 0:
            probe.begin()
        if next(items, None) is None:
            return timed
        probe.left -= 1
        timed.append(probe.on)
        if probe.on:
            probe.charge(meter)
            probe.end()


def works(clock: Clock, seconds: float, count: int) -> Iterator[int]:
    for number in range(count):
        clock.work(seconds)
        yield number


def test_slow_items_are_all_timed_and_so_their_seconds_are_exact(clock):
    meter = Meter()
    timed = drive(meter.probe, meter, works(clock, 0.5, 20))
    assert timed == [True] * 20
    assert meter.seconds == pytest.approx(10)
    assert meter.probe.made == 20


def test_of_fast_items_as_many_are_timed_as_the_share_of_time_allows(clock):
    meter, count, seconds = Meter(), 20_000, 1e-5
    timed = drive(meter.probe, meter, works(clock, seconds, count))
    spent = sum(timed) * MARK
    assert spent / (count * seconds) == pytest.approx(SHARE, rel=0.1)
    assert meter.probe.made == count
    assert meter.seconds == pytest.approx(count * seconds, rel=0.01)


@pytest.mark.parametrize('period', [2, 3, 5, 7])
def test_items_that_are_slow_in_a_rhythm_are_timed_as_often_as_others(clock, period):
    def items() -> Iterator[int]:
        for number in range(200_000):
            clock.work(2e-5 if number % period == 0 else 1e-6)
            yield number

    meter = Meter()
    begun = clock()
    drive(meter.probe, meter, items())
    assert meter.seconds == pytest.approx(clock() - begun, rel=0.05)


def test_one_that_was_interrupted_does_not_stand_for_more_time_than_there_was(clock):
    """It may be timed while another thread or process has the core."""
    probe = Probe()
    first, second = Meter(probe), Meter(probe)
    begun, waited = clock(), 0.0
    for number in range(20_000):
        if probe.left <= 0:
            probe.begin()
        probe.left -= 1
        clock.work(0.02 if probe.on and number > 1000 else 1e-5)
        if probe.on:
            probe.charge(first)
        clock.work(1e-5)
        if probe.on:
            probe.charge(second)
            probe.end()
        if number % 100 == 0:
            first.wait(clock.work, 0.01)
            waited += 0.01
        assert first.seconds + second.seconds <= clock() - begun - waited + 1e-9
    assert second.seconds > 0


def test_what_an_interrupted_one_was_charged_too_much_is_given_to_no_other_stage(clock):
    probe = Probe()
    slow, fast = Meter(probe), Meter(probe)
    for number in range(20_000):
        if probe.left <= 0:
            probe.begin()
        probe.left -= 1
        clock.work(0.5 if number % 1500 == 7 or (probe.on and 1000 < number < 3000) else 1e-5)
        if probe.on:
            probe.charge(slow)
        clock.work(1e-5)
        if probe.on:
            probe.charge(fast)
            probe.end()
    assert fast.seconds == pytest.approx(0.2, rel=0.2)


def test_the_first_item_stands_for_itself_only(clock):
    def items() -> Iterator[int]:
        clock.work(50)
        yield 0
        yield from works(clock, 1e-5, 20_000)

    meter = Meter()
    drive(meter.probe, meter, items())
    assert meter.seconds == pytest.approx(50.2, rel=0.01)


def test_pairs_that_pass_are_counted_and_their_time_is_told_apart(clock):
    probe = Probe()
    source = Meter(probe)
    stage = Meter(probe, source)

    def pairs() -> Iterator[tuple[int, int]]:
        for number in range(4):
            clock.work(2)
            yield number, number

    def work(items: Iterator[tuple[int, int]]) -> Iterator[int]:
        for key, _ in items:
            clock.work(5)
            if key % 2:
                yield key + 1

    assert drive(probe, stage, work(passed(pairs(), stage))) == [True, True]
    assert (stage.taken, source.seconds, stage.seconds) == (4, pytest.approx(8), pytest.approx(20))


def test_a_wait_is_not_the_work_of_the_stage_that_waits(clock):
    meter = Meter()
    probe = meter.probe
    probe.begin()
    clock.work(1)
    seen = []

    def sleep(seconds: float) -> None:
        seen.append(meter.waiting_since)
        clock.work(seconds)

    meter.wait(sleep, 10)
    clock.work(2)
    probe.charge(meter)
    assert (meter.seconds, meter.waited, seen, meter.waiting_since) == (3, 10, [1001.0], 0)


def test_a_wait_that_is_interrupted_counts(clock):
    meter = Meter()

    def interrupted() -> None:
        clock.work(3)
        raise KeyboardInterrupt

    for wait in meter.wait, meter.wait_full:
        with pytest.raises(KeyboardInterrupt):
            wait(interrupted)
    assert (meter.waited, meter.full, meter.waiting_since, meter.full_since) == (3, 3, 0, 0)


def test_each_worker_counts_by_itself():
    meter = Meter()
    meter.worked(1, 2.0)
    meter.worked(0, 1.0, 5)
    meter.worked(1, 0.5)
    assert meter.workers == {1: [2.5, 2], 0: [1.0, 5]}


def test_what_is_frozen_stays_as_it_is():
    meter = Meter()
    meter.worked(0, 1.0)
    meter.values = lambda: [1, 2, 3]
    frozen = meter.frozen()
    meter.worked(0, 1.0)
    meter.retried.append(None)
    assert (frozen.workers, frozen.held, frozen.retried, frozen.values()) == ({0: [1.0, 1]}, 3, [], [])


def test_a_probe_keeps_no_stage_alive():
    """Or what a stage holds would stay until the garbage collector runs."""
    probe = Probe()
    probe.begin()
    meter = Meter(probe, Meter(probe))
    probe.charge(meter)
    kept = meter.ref
    gc.disable()
    try:
        del meter
        assert kept() is None
        probe.end()
    finally:
        gc.enable()
