"""One process, as its parent sees it."""

import os
import signal
import threading
import time
from collections import Counter
from math import inf
from typing import Any

import psutil
import pytest
from pools import pool_of, set_cost
from running import LIMIT, raises, wait_until

from itpipe import parallel_map
from itpipe._workers.task import GROUP_SECONDS


def await_stopping(worker: Any) -> None:
    process = psutil.Process(worker.process.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 'the process has stopped')


@pytest.mark.many(2)
@pytest.mark.parametrize('there_is_room', [True, False])
def test_nobody_waits_for_a_process_at_work_to_take_a_large_message(there_is_room: bool) -> None:
    def function(value: bytes) -> int:
        if value[0] == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return value[0]

    pool = pool_of(function)
    if not there_is_room:
        pool._arena._holes.clear()
    assert pool.result(pool.submit(0, bytes(1))) == 0
    (worker,) = pool._dispatcher.workers
    set_cost(pool, GROUP_SECONDS, fast_source=True)
    worker.answered_at = inf
    tasks = [pool.submit(n, bytes([n])) for n in (1, 2)]
    await_stopping(worker)
    tasks += [pool.submit(n, bytes([n]) * 2**20) for n in (3, 4)]
    assert len(worker.calls) == 4
    assert pool._arena.lent == there_is_room
    assert 'item 1 in process' in pool.doing()
    os.kill(worker.process.pid, signal.SIGCONT)
    assert [pool.result(task) for task in tasks] == [1, 2, 3, 4]
    pool.close()


def test_the_memory_of_large_messages_is_used_again() -> None:
    pool = pool_of(len)
    for n in range(10):
        tasks = [pool.submit((n, k), ['text'] * 10_000) for k in range(10)]
        assert [pool.result(task) for task in tasks] == [10_000] * 10
    assert pool._arena.lent <= 10
    assert max(pool._arena._ends) < 2**20  # where the last hole begins
    pool.close()


@pytest.mark.long
def test_a_process_that_takes_no_large_message_is_told_of_and_closed() -> None:
    """There is no room for it in shared memory."""
    pool = pool_of(len)
    pool._arena._holes.clear()
    assert pool.result(pool.submit(0, bytes(1))) == 1
    (worker,) = pool._dispatcher.workers
    os.kill(worker.process.pid, signal.SIGSTOP)
    await_stopping(worker)
    pool._dispatcher._submitted_at = -inf  # so that it is sent at once
    stuck = threading.Thread(target=pool.submit, args=(1, bytes(2**20)))
    stuck.start()
    wait_until(pool._lock.locked, 'a message is stuck')
    assert 'takes no message' in pool.doing()
    pool.close()
    stuck.join(LIMIT)
    assert not stuck.is_alive()


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(abs, 2)

    def refuse(**options: Any) -> Any:
        raise OSError('no more processes')

    monkeypatch.setattr(pool._launcher._context, 'Process', refuse, raising=False)
    for future in [pool.submit(key, key) for key in range(3)]:
        with raises(OSError, 'no more processes'):
            pool.result(future)
    pool.close()


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has one; where the system refuses more, there is an error and no wait."""
    pool = pool_of(lambda x: (x, os.getpid()) if x != 3 else os._exit(5))
    pool.result(pool.submit(0, 0))
    set_cost(pool, 0.0)  # so that the next one is given to the worker before it has answered

    def refuse(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, 'start', refuse)
    futures = [pool.submit(key, key) for key in (3, 4)]
    for future in (*futures, pool.submit(5, 5)):
        with raises(RuntimeError, "can't start new thread"):
            pool.result(future)
    monkeypatch.undo()
    pool.close()


@pytest.mark.long
def test_processes_are_replaced_after_so_many_items() -> None:
    for most in (1, 3):
        pids = list(range(6) | parallel_map(lambda _: os.getpid(), processes=2, max_tasks_per_worker=most))
        assert max(Counter(pids).values()) <= most
    assert repr(parallel_map(abs, processes=2, max_tasks_per_worker=3, max_crashes=1)) == (
        'parallel_map(abs, processes=2, max_crashes=1, max_tasks_per_worker=3)'
    )


def test_large_values_and_large_results_do_not_wait_for_each_other() -> None:
    """The next values are on their way while the results of the ones before still come, one after the other."""

    def function(value: bytes) -> bytes:
        time.sleep(2 * GROUP_SECONDS)
        return value

    pool = pool_of(function)
    pool.result(pool.submit(0, b''))
    set_cost(pool, GROUP_SECONDS / 4, fast_source=True)
    values = [bytes([n]) * 2**20 for n in range(8)]
    tasks = [pool.submit(key, value) for key, value in enumerate(values)]
    assert [pool.result(task) for task in tasks] == values
    pool.close()
