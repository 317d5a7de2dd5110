"""Whatever workers are tried, and whenever: the results are those without workers, and nothing is left behind."""

import threading
from collections.abc import Iterator
from itertools import islice
from math import inf
from typing import Any
from unittest import mock

import numpy as np
import pytest
from restless import Restless, WithProcesses

import itpipe._workers.auto
from itpipe import Infinite, NotPicklable, apply, batch_by, combine, parallel_map, shuffle, stream, with_rng
from itpipe._workers.tuning import FIRST, Setting

LOCK = threading.Lock()


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Restless]]:
    """The tuners that were made."""
    monkeypatch.setattr(itpipe._workers.auto, 'Tuner', WithProcesses)
    yield WithProcesses.made
    WithProcesses.made.clear()


def noise(x: Any, rng: np.random.Generator) -> float:
    for _ in range(100):  # too long to be called inline
        rng.random(100)
    return x + rng.random()


def square(x: int) -> int:
    sum(range(5000))
    return x * x


def test_every_kind_of_workers_is_tried_and_gives_the_same(made: list[Restless]) -> None:
    assert list(range(400) | parallel_map(square, workers='auto')) == [x * x for x in range(400)]
    assert {*made[0].settings} == {*WithProcesses.order}


def test_without_order_each_result_comes_once(made: list[Restless]) -> None:
    results = list(range(400) | parallel_map(square, workers='auto', ordered=False))
    assert sorted(results) == [x * x for x in range(400)]
    assert {*made[0].settings} == {*WithProcesses.order}


def test_the_same_random_numbers() -> None:
    def pipeline(**workers: Any) -> list[float]:
        source = stream(range(50), seed=1) | shuffle(8)
        return list(source | (parallel_map(with_rng(noise), **workers) if workers else with_rng(noise)))

    assert pipeline(workers='auto') == pipeline() == pipeline(processes=2)


def test_infinite_makes_its_batches_with_them(made: list[Restless]) -> None:
    def batches(**workers: Any) -> list[bytes]:
        with Infinite(range(30), shuffle(10), with_rng(noise), batch_size=4, seed=0, **workers) as batch_iter:
            return [batch.tobytes() for _ in range(3) for batch in batch_iter]

    assert batches(workers='auto') == batches()
    assert len(made) == 1, 'the pools stay from pass to pass'
    assert len(made[0].settings) > 3


def test_a_state_goes_to_any_other_workers() -> None:
    def batches(**workers: Any) -> Any:
        return Infinite(range(40), shuffle(10), with_rng(noise), batch_size=4, seed=0, **workers)

    with batches(workers='auto') as first:
        taken = [batch.tolist() for batch in islice(first, 7)]
        state = first.state_dict()
        rest = [batch.tolist() for batch in first]
    assert len(taken) == 7
    for workers in ({}, {'workers': 'auto'}, {'threads': 2}):
        with batches(**workers) as second:
            second.load_state_dict(state)
            assert [batch.tolist() for batch in second] == rest


def fails_at_17(x: int) -> int:
    if x == 17:
        raise ValueError(x)
    return square(x)


def test_errors_come_in_their_turn_and_are_skipped() -> None:
    run = iter(range(40) | parallel_map(fails_at_17, workers='auto'))
    assert list(islice(run, 17)) == [x * x for x in range(17)]
    with pytest.raises(ValueError, match='17'):
        next(run)
    skipping = iter(range(40) | parallel_map(fails_at_17, workers='auto', on_error='skip'))
    assert list(skipping) == [x * x for x in range(40) if x != 17]
    assert [dropped.ordinal for dropped in skipping.dropped] == [17]


def with_lock(x: int) -> Any:
    square(x)
    return x, LOCK if x % 7 == 3 else None


def raises_not_picklable(x: int) -> int:
    if square(x) == 25:
        raise NotPicklable('by the function')
    return x


@pytest.mark.long
def test_what_cannot_be_pickled_stays_in_threads() -> None:
    expected = [(x, LOCK if x % 7 == 3 else None) for x in range(40)]
    assert list(range(40) | parallel_map(with_lock, workers='auto')) == expected  # results
    locks = [LOCK if x % 7 == 3 else x for x in range(40)]
    assert list(locks | parallel_map(lambda x: (square(1), x)[1], workers='auto')) == locks  # items
    lock = LOCK
    assert list(range(40) | parallel_map(lambda x: (square(x), lock), workers='auto')) == [
        (x * x, LOCK) for x in range(40)
    ]  # the function
    with pytest.raises(NotPicklable, match='by the function'):
        list(range(40) | parallel_map(raises_not_picklable, workers='auto'))


class Settled(WithProcesses):
    """Takes processes after a few items, and stays with them."""

    is_searching = False

    def goes_out(self, warm: bool) -> Setting | None:
        return super().goes_out(warm) if self.setting == FIRST else None


def test_what_stays_here_draws_in_each_pass_what_it_draws_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settled, 'order', [FIRST, Setting('processes', 2)])
    monkeypatch.setattr(itpipe._workers.auto, 'Tuner', Settled)
    items = [x if x % 9 else [LOCK] for x in range(1, 30)]

    def draw(item: Any, rng: np.random.Generator) -> float:
        return noise(0, rng)

    def passes(**workers: Any) -> list[list[float]]:
        with Infinite(items, parallel_map(with_rng(draw), **workers), seed=0) as batch_iter:
            return [list(batch_iter) for _ in range(3)]

    assert passes(workers='auto') == passes(threads=1)


def test_what_fails_is_tried_again_in_all_workers() -> None:
    failed = set()

    def fails_once(x: int) -> int:
        square(x)
        if x not in failed:
            failed.add(x)
            raise OSError(x)
        return x

    mapped = range(60) | parallel_map(fails_once, workers='auto', retries=1, retry_on=OSError, backoff=0)
    with mock.patch.object(WithProcesses, 'order', Restless.order), mock.patch.object(WithProcesses, 'stays', FIRST):
        assert list(mapped) == list(range(60))


def test_workers_that_cannot_be_started_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    monkeypatch.setattr(WithProcesses, 'order', [FIRST, Setting('threads', 3)])
    monkeypatch.setattr(WithProcesses, 'stays', FIRST)
    refused = []

    def start_one(thread: threading.Thread) -> None:
        if thread.name == 'itpipe-2':
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, 'start', start_one)
    assert list(range(60) | parallel_map(square, workers='auto')) == [x * x for x in range(60)]
    assert refused


def test_an_error_of_an_item_that_stays_here_is_its_own() -> None:
    def f(item: Any) -> Any:
        square(1)
        if not isinstance(item, int):
            raise ValueError('no number')
        return item

    items = [x if x % 13 else LOCK for x in range(1, 40)]
    run = iter(items | parallel_map(f, workers='auto', on_error='skip'))
    assert list(run) == [x for x in range(1, 40) if x % 13]
    assert [dropped.ordinal for dropped in run.dropped] == [12, 25, 38]
    assert {type(dropped.error) for dropped in run.dropped} == {ValueError}


@pytest.mark.parametrize('count', [1, 7, 14, 23])
def test_a_run_that_is_left_leaves_nothing(count: int) -> None:
    run = iter(range(1000) | parallel_map(square, workers='auto'))
    assert len(list(islice(run, count))) == count
    run.close()


class Resource:
    def __init__(self) -> None:
        self.threads = {threading.get_ident()}

    def close(self) -> None:
        pass


def with_setup(x: int, setup: Resource) -> int:
    return square(x) + 0 * len(setup.threads)


def test_each_worker_is_set_up() -> None:
    mapped = range(40) | parallel_map(with_setup, workers='auto', setup=Resource)
    assert list(mapped) == [x * x for x in range(40)]


def test_whole_batches() -> None:
    mapped = range(50) | parallel_map(apply(square) | batch_by(4) | combine, workers='auto')
    assert np.concatenate(list(mapped)).tolist() == [x * x for x in range(50)]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"parallel_map: `workers` must be one of 'auto', got 'best'"):
        parallel_map(square, workers='best')  # type: ignore[call-overload]
    rule = r"parallel_map: `workers` must be 'auto', got 4; for a number of workers, give `threads=4` or `processes=4`"
    with pytest.raises(TypeError, match=rule):
        parallel_map(square, workers=4)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match='`timeout` goes with `processes`'):
        parallel_map(square, workers='auto', timeout=inf)
    with pytest.raises(TypeError, match='Infinite: give only one of `threads` and `workers`'):
        Infinite([1], batch_size=1, threads=2, workers='auto')
    with pytest.raises(TypeError, match='Infinite: `workers` goes with `batch_size`'):
        Infinite([1], workers='auto')
