"""Which workers are found to be best, with times that are made up."""

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

import itpipe._workers.tuning
from itpipe._workers.tuning import FIRST, Setting, Tuner, search

CORES = 4
CALL = 0.01


def best(cost: Callable[[Setting], float], most: int = 1000) -> tuple[Setting, list[Setting]]:
    """What the search returns if an item costs this, and all that it tries."""
    searching = search(CORES, lambda: most)
    tried = [next(searching)]
    while True:
        try:
            tried.append(searching.send(cost(tried[-1])))
        except StopIteration as found:
            setting, its_cost = found.value
            assert its_cost == cost(setting)
            return setting, tried


def waits(setting: Setting) -> float:
    return max(CALL / setting.size, 0.0001)


def holds_the_lock(setting: Setting) -> float:
    return CALL * 1.1 if setting.kind == 'threads' and setting.size > 1 else CALL / min(setting.size, CORES)


def releases_the_lock(setting: Setting) -> float:
    return CALL / min(setting.size, CORES)


def cannot_be_pickled(setting: Setting) -> float:
    return inf if setting.kind == 'processes' else holds_the_lock(setting)


def the_source_is_slow(setting: Setting) -> float:
    return CALL


def waits_and_holds_the_lock(setting: Setting) -> float:
    """Half of the time each."""
    return max(CALL / setting.size, CALL / 2 / (1 if setting.kind == 'threads' else CORES))


@pytest.mark.parametrize(
    ('cost', 'expected'),
    [
        (waits, ('threads', 64)),
        (holds_the_lock, ('processes', CORES)),
        (releases_the_lock, ('threads', CORES)),
        (cannot_be_pickled, FIRST),
        (the_source_is_slow, FIRST),
        (waits_and_holds_the_lock, ('processes', 2 * CORES)),
    ],
)
def test_the_best_workers(cost: Callable[[Setting], float], expected: tuple[str, int]) -> None:
    assert best(cost)[0] == expected


def test_no_processes_are_started_where_threads_keep_all_cores_busy() -> None:
    assert {setting.kind for setting in best(releases_the_lock)[1]} == {'threads'}


def test_no_more_workers_than_there_may_be() -> None:
    assert max(setting.size for setting in best(waits, most=20)[1]) == 16


class Run:
    """A run with a tuner and a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 100.0
        monkeypatch.setattr(itpipe._workers.tuning, 'perf_counter', lambda: self.now)
        self.tuner = Tuner(CORES, lambda: 1000)

    def take(self, seconds: float, cost: Callable[[Setting], float], consumer: float = 0.0) -> list[Setting]:
        """Items for so long. An item costs this, and the consumer takes so long for each. What was changed to."""
        before, end = len(self.tuner.settings), self.now + seconds
        while self.now < end:
            self.now += cost(self.tuner.setting)
            if self.tuner.goes_out(True) is not None:
                self.tuner.restart()
            self.now += consumer
            self.tuner.came_back()
        return self.tuner.settings[before:]


def test_ten_seconds_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for cost in (waits, holds_the_lock, releases_the_lock, waits_and_holds_the_lock):
        run = Run(monkeypatch)
        run.take(10, cost)
        assert run.tuner.setting == best(cost)[0]
        assert not run.take(100, cost)


def test_a_consumer_that_never_waits_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Run(monkeypatch).take(100, lambda _: 0.0001, consumer=0.1)


def test_what_the_consumer_does_between_items_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    run.take(60, holds_the_lock, consumer=0.05)
    assert run.tuner.setting == ('processes', CORES)


def test_it_begins_anew_when_items_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    run.take(30, lambda _: 0.00001, consumer=0.01)
    assert run.tuner.setting == FIRST
    run.take(30, releases_the_lock, consumer=0.001)
    assert run.tuner.setting == ('threads', CORES)


def test_it_does_not_try_again_and_again_what_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    slower: Any = iter(range(1, 10**9))
    run.take(3000, lambda _: 0.01 + 1e-7 * next(slower))
    assert len(run.tuner.settings) < 40


def test_items_that_take_very_long_are_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    run.take(120, lambda setting: 100 * releases_the_lock(setting))
    assert run.tuner.setting == ('threads', CORES)


def test_only_the_best_setting_is_kept_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(monkeypatch)
    kept = []
    while run.tuner.setting.kind == 'threads':
        run.take(0.01, holds_the_lock)
        kept.append(len(run.tuner.kept))
    assert max(kept) == 2
    run.take(10, holds_the_lock)
    assert run.tuner.kept == {('processes', CORES)}
