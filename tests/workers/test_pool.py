"""What all pools have in common: waits that can be broken, ends that are waited for."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import CLOSED, awaited_in_a_thread, function_of
from running import LIMIT, raises, wait_until

import itpipe._engine.waiting
import itpipe._workers.executors
import itpipe._workers.pool
import itpipe._workers.threads
from itpipe import NotPicklable, parallel_map
from itpipe._core.sizes import Bytes
from itpipe._workers.executors import ExecutorPool
from itpipe._workers.pool import Pool
from itpipe._workers.threads import Threads


@pytest.fixture(params=['threads', 'executor'])
def open_pool(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pool]]:
    """Makes a pool of `size` workers for a function."""
    executors = []

    def make(f: Callable[[Any], Any], size: int = 1) -> Pool:
        if request.param == 'threads':
            return Threads(size, function_of(f))
        executors.append(ThreadPoolExecutor(size))
        return ExecutorPool(executors[-1], function_of(f))

    yield make
    for executor in executors:
        executor.shutdown()


def test_results_and_errors(open_pool: Any) -> None:
    pool = open_pool(lambda x: 1 / x, size=2)
    good, bad = pool.submit(0, 2), pool.submit(1, 0)
    assert pool.result(good) == 0.5
    with raises(ZeroDivisionError, 'division by zero', 'itpipe: raised in f(), item 1'):
        pool.result(bad)
    pool.close()


def raise_not_picklable(_: Any) -> None:
    raise NotPicklable('of the function itself')


@pytest.mark.parametrize('function', [lambda x: 1 / x, raise_not_picklable])
def test_an_error_of_the_function_is_one_of_the_item(open_pool: Any, function: Callable[[Any], Any]) -> None:
    pool = open_pool(function)
    task = pool.submit(0, 0)
    with pytest.raises((ZeroDivisionError, NotPicklable)):
        pool.result(task)
    assert task.item_failed
    pool.close()


def test_an_error_of_the_pool_is_not_one_of_the_item(open_pool: Any) -> None:
    pool = open_pool(lambda x: 1 / x)
    done, other = pool.submit(0, 0), pool.submit(1, 1)
    assert pool.result(other) == 1  # and so the first one is done, too
    pool.stop()
    with raises(RuntimeError, CLOSED):
        pool.result(done)
    assert not done.item_failed
    pool.close()


@pytest.mark.parametrize('awaited', [0, 2])
def test_stopping_breaks_the_wait_for_what_runs_and_for_what_does_not_yet(open_pool: Any, awaited: int) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def function(x: int) -> int:
        begun.set()
        assert go_on.wait(LIMIT)
        return x

    pool = open_pool(function)
    tasks = [pool.submit(key, key) for key in range(3)]
    outcome = awaited_in_a_thread(pool, tasks[awaited])
    assert begun.wait(LIMIT)
    pool.stop()
    assert repr(outcome()) == repr(RuntimeError(CLOSED))
    go_on.set()
    pool.close()


def test_nothing_runs_after_stopping(open_pool: Any) -> None:
    calls: list[int] = []
    pool = open_pool(calls.append)
    pool.result(pool.submit(0, 0))
    pool.stop()
    with raises(RuntimeError, CLOSED):
        pool.result(pool.submit(1, 1))
    pool.stop()
    pool.close()
    pool.close()
    assert calls == [0]


def test_closing_waits_for_the_function_that_runs(open_pool: Any) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def function(x: int) -> None:
        begun.set()
        assert go_on.wait(LIMIT)
        ended.append(x)

    pool = open_pool(function)
    pool.submit(0, 0)
    assert begun.wait(LIMIT)
    closing = threading.Thread(target=pool.close)
    closing.start()
    wait_until(lambda: pool._stopped, 'closing has begun')
    go_on.set()
    closing.join(LIMIT)
    assert ended == [0]


def test_closing_does_not_wait_for_ever(open_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itpipe._engine.waiting, 'GRACE', 0.02)
    monkeypatch.setattr(itpipe._workers.executors, 'GRACE', 0.02)
    begun, go_on = threading.Event(), threading.Event()

    def function(x: int) -> None:
        begun.set()
        go_on.wait(LIMIT)

    pool = open_pool(function)
    pool.submit(0, 0)
    assert begun.wait(LIMIT)
    where = 'thread(s) itpipe-0' if isinstance(pool, Threads) else 'executor'
    with pytest.warns(ResourceWarning) as caught:
        pool.close()
    assert [str(warning.message) for warning in caught] == [
        f'itpipe: closed, but a function or source is still running in the {where}'
    ]
    go_on.set()


def test_tasks_come_as_they_are_done(open_pool: Any) -> None:
    go_on = threading.Event()

    def function(x: int) -> int:
        assert x or go_on.wait(LIMIT)
        return x

    pool = open_pool(function, size=2)
    pool.watch()
    assert not pool.any_done
    for key in range(3):
        pool.submit(key, key)
    assert [pool.result(pool.next_done()) for _ in range(2)] == [1, 2]
    assert not pool.any_done
    go_on.set()
    assert pool.next_done().key == 0
    pool.close()


def test_stopping_breaks_the_wait_for_whatever_comes_next(open_pool: Any) -> None:
    go_on, asked = threading.Event(), threading.Event()
    pool = open_pool(lambda _: go_on.wait(LIMIT))
    pool.watch()
    pool.submit(0, 0)

    def stop() -> None:
        assert asked.wait(LIMIT)
        pool.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    asked.set()
    with raises(RuntimeError, CLOSED):
        pool.next_done()
    stopping.join()
    go_on.set()
    pool.close()


# ---------------------------------------------------------------------------------------------------------------------
# Between two passes


def test_after_a_rest_it_calls_the_function_of_the_next_pass(open_pool: Any) -> None:
    pool = open_pool(lambda x: (x, 'first'))
    assert pool.result(pool.submit(0, 0)) == (0, 'first')
    pool.rest()
    pool.begin(function_of(lambda x: (x, 'second')))
    assert pool.result(pool.submit(0, 0)) == (0, 'second')
    pool.close()


@pytest.mark.parametrize('stopped', [False, True])
def test_what_was_not_taken_is_not_seen_in_the_next_pass(open_pool: Any, stopped: bool) -> None:
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def first(x: int) -> int:
        calls.append(x)
        begun.set()
        assert go_on.wait(LIMIT)
        return x

    pool = open_pool(first)
    pool.watch()
    for key in range(3):
        pool.submit(key, key)
    assert begun.wait(LIMIT)
    if stopped:
        pool.stop()
    pool.rest()
    pool.begin(function_of(lambda x: -x))
    pool.watch()
    tasks = [pool.submit(key, key) for key in range(2)]
    assert not pool.any_done
    go_on.set()
    taken = [pool.next_done() for _ in range(2)]
    assert taken == tasks
    assert [pool.result(task) for task in taken] == [0, -1]
    assert calls == [0] or (isinstance(pool, ExecutorPool) and not stopped)  # an executor has its own queue
    pool.close()


def test_bytes_of_what_was_not_taken_do_not_count() -> None:
    pool = Threads(1, function_of(len), Bytes(10_000))
    for key in range(2):
        pool.submit(key, bytes(9_000))
    pool.rest()
    assert pool.can_submit(0)
    assert pool.result(pool.submit(0, bytes(9_000))) == 9_000
    pool.close()


def slow_first(last: int) -> tuple[Any, Any]:
    """A function that ends for item 0 when it has ended for the item `last`, and the list of the items it got."""
    got: list[int] = []
    done = threading.Event()

    def call(x: int) -> int:
        got.append(x)
        if x == last:
            done.set()
        if x == 0:
            assert done.wait(30)
        return x

    return call, got


def with_threads(_: Any) -> Any:
    return contextlib.nullcontext({'threads': 2})


@contextlib.contextmanager
def with_executor(_: Any) -> Iterator[Any]:
    with ThreadPoolExecutor(2) as executor:
        yield {'executor': executor}


@pytest.mark.parametrize('workers', [with_threads, with_executor])
def test_behind_an_item_that_takes_long_the_others_go_on(workers: Any) -> None:
    call, _ = slow_first(last=99)
    with workers(None) as options:
        assert list(range(200) | parallel_map(call, **options)) == list(range(200))


def test_processes_go_on_behind_an_item_that_takes_long(tmp_path: Path) -> None:
    path = tmp_path / 'done'

    def call(x: int) -> int:
        if x == 99:
            path.touch()
        while x == 0 and not path.exists():
            time.sleep(0.01)
        return x

    assert list(range(200) | parallel_map(call, processes=2)) == list(range(200))


def test_no_further_than_in_flight_says() -> None:
    call, got = slow_first(last=3)
    run = iter(range(99) | parallel_map(call, threads=2, in_flight=4))
    assert [next(run) for _ in range(4)] == [0, 1, 2, 3]
    run.close()
    assert max(got) <= 7


def test_no_further_than_large_results_allow(monkeypatch: Any) -> None:
    monkeypatch.setattr(itpipe._workers.pool, 'WIDEST_BYTES', 20_000)
    asked: list[int] = []

    def source() -> Iterator[int]:
        for n in range(99):
            asked.append(n)
            yield n

    begun = threading.Semaphore(0)
    may_end = threading.Event()

    def call(x: int) -> Any:
        begun.release()
        if x == 0:
            assert may_end.wait(30)
        return np.zeros(1000)

    run = iter(source() | parallel_map(call, threads=2))
    with ThreadPoolExecutor(1) as other:
        first = other.submit(next, run)
        for _ in range(4):
            assert begun.acquire(timeout=30)
        assert not begun.acquire(timeout=0.1)
        may_end.set()
        first.result(30)
    assert asked == [0, 1, 2, 3]
    run.close()
