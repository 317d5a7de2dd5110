"""Executors of the user, as pools."""

import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pools import CLOSED, awaited_in_a_thread, function_of
from running import LIMIT, AtOnce, Lazily, raises

from itpipe._workers.executors import ExecutorPool


def test_futures_that_only_have_a_result_come_in_the_order_in_which_they_were_submitted() -> None:
    calls: list[int] = []
    pool = ExecutorPool(Lazily(), function_of(calls.append))
    pool.watch()
    pool.submit(0, 7)
    task = pool.next_done()
    assert calls == []
    assert pool.result(task) is None
    assert calls == [7]
    pool.close()


def test_futures_that_cannot_be_cancelled() -> None:
    held: list[Any] = []

    class Holding:
        def submit(self, function: Any) -> Any:
            held.append(Future())
            return Callbacks(held[-1])

    class Callbacks:
        def __init__(self, future: Any):
            self.result, self.add_done_callback = future.result, future.add_done_callback

    pool = ExecutorPool(Holding(), function_of(abs))
    outcome = awaited_in_a_thread(pool, pool.submit(0, -1))
    pool.stop()
    assert repr(outcome()) == repr(RuntimeError(CLOSED))
    held[0].set_result(1)
    pool.close()


def test_an_executor_that_refuses() -> None:
    class Refusing:
        def submit(self, function: Any) -> Any:
            raise OSError('full')

    pool = ExecutorPool(Refusing(), function_of(abs))
    with raises(OSError, 'full'):
        pool.result(pool.submit(0, -1))
    pool.close()


def test_an_executor_that_cancels() -> None:
    with ThreadPoolExecutor(1) as executor:
        begun, go_on = threading.Event(), threading.Event()
        executor.submit(lambda: (begun.set(), go_on.wait(LIMIT)))
        assert begun.wait(LIMIT)
        pool = ExecutorPool(executor, function_of(abs))
        future = pool.submit(0, -1)
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(Exception, match='^$') as caught:
            pool.result(future)
        assert type(caught.value).__name__ == 'CancelledError'
        go_on.set()
        pool.close()


def test_an_executor_that_is_not_in_a_hurry_keeps_nothing() -> None:
    """Futures, and with them results, are let go as soon as they are delivered."""
    pool = ExecutorPool(AtOnce(), function_of(abs))
    for key in range(10):
        assert pool.result(pool.submit(key, -key)) == key
    assert (pool._futures, pool._lazy_futures) == ({}, {})
    pool.close()


class Counted:
    """Counts how many times it is pickled."""

    pickled = 0

    def __call__(self, item: int) -> int:
        return -item

    def __getstate__(self) -> None:
        Counted.pickled += 1


class Pickling(AtOnce):
    """An executor that pickles what it gets."""

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return super().submit(pickle.loads(pickle.dumps(function)), *args, **kwargs)


def test_the_function_is_pickled_once_for_all_calls() -> None:
    pool = ExecutorPool(Pickling(), function_of(Counted()))
    before = Counted.pickled
    assert [pool.result(pool.submit(key, key)) for key in range(5)] == [0, -1, -2, -3, -4]
    assert Counted.pickled == before + 1
    pool.close()


def test_an_executor_s_results_are_let_go_at_once() -> None:
    class Result:
        pass

    gc.disable()
    try:
        with ThreadPoolExecutor(1) as executor:
            pool = ExecutorPool(executor, function_of(lambda _: Result()))
            result = weakref.ref(pool.result(pool.submit(0, 0)))
            executor.submit(abs, 0).result()  # its thread has let go of the task, too
            assert result() is None
            pool.close()
    finally:
        gc.enable()


@pytest.mark.parametrize('name', ['ProcessPoolExecutor', 'MPIPoolExecutor', 'RayExecutor'])
def test_processes_of_an_executor_get_the_item_as_it_was_submitted(name: str) -> None:
    """Though they pickle it later, when the source may have filled the same array anew."""

    class Remote:
        def submit(self, call: Any) -> Any:
            class Future:
                def result(self) -> Any:
                    return pickle.loads(pickle.dumps(call))()

            return Future()

    buffer = np.zeros(10)
    pool = ExecutorPool(type(name, (Remote,), {})(), function_of(lambda array: float(array.sum())))
    tasks = []
    for x in range(5):
        buffer[:] = x
        tasks.append(pool.submit(x, buffer))
    assert [pool.result(task) for task in tasks] == [0.0, 10.0, 20.0, 30.0, 40.0]
    pool.close()


def test_an_executor_is_asked_to_end_futures_that_would_never_end() -> None:
    class Disconnected:
        num_workers = 1
        future: Future[Any] = Future()

        def submit(self, function: Any) -> Any:
            return self.future

        def end_if_disconnected(self) -> None:
            if not self.future.done():
                self.future.set_exception(ConnectionError('gone'))

    pool = ExecutorPool(Disconnected(), function_of(abs))
    task = pool.submit(0, -1)
    assert not pool.starves(task)  # which waits
    with raises(ConnectionError, 'gone'):
        pool.result(task)
    pool.close()
