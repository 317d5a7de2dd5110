"""Pools of threads and borrowed executors: waits that can be broken, ends that are waited for."""

import gc
import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from running import LIMIT, AtOnce, Lazily, raises, run_script, wait_until

import itpipe._engine.waiting
import itpipe._workers.executors
import itpipe._workers.threads
from itpipe import NotPicklable
from itpipe._engine.functions import ItemFunction
from itpipe._engine.seeds import Sites
from itpipe._engine.stream import itemwise
from itpipe._workers.executors import Borrowed
from itpipe._workers.pool import Pool
from itpipe._workers.threads import Threads

CLOSED = 'the run was closed while a result was awaited'


def function_of(f: Callable[[Any], Any]) -> ItemFunction:
    return ItemFunction(itemwise('f', f).steps, Sites())


@pytest.fixture(params=['threads', 'executor'])
def open_pool(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pool]]:
    """Makes a pool of `size` workers for a function."""
    executors = []

    def make(f: Callable[[Any], Any], size: int = 1) -> Pool:
        if request.param == 'threads':
            return Threads(size, function_of(f))
        executors.append(ThreadPoolExecutor(size))
        return Borrowed(executors[-1], function_of(f))

    yield make
    for executor in executors:
        executor.shutdown()


def awaited_in_a_thread(pool: Pool, future: Any) -> Callable[[], Any]:
    """Waits for the future in another thread; gives a function that says what came of it."""
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(pool.result(future))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()

    def joined() -> Any:
        thread.join(LIMIT)
        return outcome[0]

    return joined


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


@pytest.mark.parametrize('kind', [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_function_raises_is_a_result_of_its_call(kind: type[BaseException]) -> None:
    def function(x: Any) -> None:
        raise kind(3)

    pool = Threads(1, function_of(function))
    for key in range(2):  # the thread is still there for the second
        with pytest.raises(kind) as caught:
            pool.result(pool.submit(key, None))
        assert caught.value.args == (3,)
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


def test_futures_that_only_have_a_result_come_in_the_order_in_which_they_were_submitted() -> None:
    calls: list[int] = []
    pool = Borrowed(Lazily(), function_of(calls.append))
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

    pool = Borrowed(Holding(), function_of(abs))
    outcome = awaited_in_a_thread(pool, pool.submit(0, -1))
    pool.stop()
    assert repr(outcome()) == repr(RuntimeError(CLOSED))
    held[0].set_result(1)
    pool.close()


def test_an_executor_that_refuses() -> None:
    class Refusing:
        def submit(self, function: Any) -> Any:
            raise OSError('full')

    pool = Borrowed(Refusing(), function_of(abs))
    with raises(OSError, 'full'):
        pool.result(pool.submit(0, -1))
    pool.close()


def test_an_executor_that_cancels() -> None:
    with ThreadPoolExecutor(1) as executor:
        begun, go_on = threading.Event(), threading.Event()
        executor.submit(lambda: (begun.set(), go_on.wait(LIMIT)))
        assert begun.wait(LIMIT)
        pool = Borrowed(executor, function_of(abs))
        future = pool.submit(0, -1)
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(Exception, match='^$') as caught:
            pool.result(future)
        assert type(caught.value).__name__ == 'CancelledError'
        go_on.set()
        pool.close()


def test_an_executor_that_is_not_in_a_hurry_keeps_nothing() -> None:
    """Futures, and with them results, are let go as soon as they are delivered."""
    pool = Borrowed(AtOnce(), function_of(abs))
    for key in range(10):
        assert pool.result(pool.submit(key, -key)) == key
    assert (pool._theirs, pool._plain) == ({}, {})
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
    pool = Borrowed(Pickling(), function_of(Counted()))
    before = Counted.pickled
    assert [pool.result(pool.submit(key, key)) for key in range(5)] == [0, -1, -2, -3, -4]
    assert Counted.pickled == before + 1
    pool.close()


def test_openmp_does_not_use_more_threads_than_there_are_cores() -> None:
    pytest.importorskip('threadpoolctl')
    pytest.importorskip('sklearn')
    run_script(
        """
        import os, sklearn.cluster
        from threadpoolctl import threadpool_info
        from itpipe import parallel_map

        def count(_=None):
            return {lib['num_threads'] for lib in threadpool_info() if lib['user_api'] == 'openmp'}

        before = count()
        for threads in (1, 2, 64):
            share = max(1, len(os.sched_getaffinity(0)) // threads)
            assert list([0] | parallel_map(count, threads=threads)) == [{share}]
        assert count() == before  # in the thread that trains, nothing has changed
        """,
        options=(),
    )


def test_a_forked_process_leaves_the_threads_alone() -> None:
    out = run_script(
        """
        import os, sys
        from itpipe import parallel_map

        run = iter(range(10) | parallel_map(abs, threads=2))
        next(run)
        child = os.fork()
        if not child:
            run.close()
            print('child', flush=True)
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print('parent', list(run))
        """,
        options=('-W', 'ignore'),
    )
    assert out == 'child\nparent [1, 2, 3, 4, 5, 6, 7, 8, 9]\n'


def test_whatever_is_the_matter_with_openmp_the_threads_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'no')

    monkeypatch.setattr(itpipe._workers.threads, '_limit_native_threads', fail)
    pool = Threads(2, function_of(abs))
    assert pool.result(pool.submit(0, -3)) == 3
    pool.close()


def test_an_executor_s_results_are_let_go_at_once() -> None:
    class Result:
        pass

    gc.disable()
    try:
        with ThreadPoolExecutor(1) as executor:
            pool = Borrowed(executor, function_of(lambda _: Result()))
            result = weakref.ref(pool.result(pool.submit(0, 0)))
            executor.submit(abs, 0).result()  # its thread has let go of the task, too
            assert result() is None
            pool.close()
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork')
def test_in_a_forked_process_there_is_an_error_and_no_wait() -> None:
    out = run_script(
        """
        import os, threading
        from itpipe import parallel_map

        go_on = threading.Event()
        run = iter(range(10) | parallel_map(lambda x: go_on.wait(20 if x else 0.1), threads=1))
        next(run)
        if not (pid := os.fork()):
            try:
                next(run)
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        go_on.set()
        """
    )
    assert out.startswith('the workers belong to the process that this one was forked from')


def test_processes_of_an_executor_get_the_item_as_it_was_submitted() -> None:
    """Though they pickle it later, when the source may have filled the same array anew."""

    class ProcessPoolExecutor:
        def submit(self, call: Any) -> Any:
            class Future:
                def result(self) -> Any:
                    return pickle.loads(pickle.dumps(call))()

            return Future()

    buffer = np.zeros(10)
    pool = Borrowed(ProcessPoolExecutor(), function_of(lambda array: float(array.sum())))
    tasks = []
    for x in range(5):
        buffer[:] = x
        tasks.append(pool.submit(x, buffer))
    assert [pool.result(task) for task in tasks] == [0.0, 10.0, 20.0, 30.0, 40.0]
    pool.close()
