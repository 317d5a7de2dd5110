"""What becomes of the calls of processes that die."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
from pools import await_file, dies_once, function_of, pool_of, set_cost
from running import is_gone, raises, wait_until

import itpipe._workers.files
import itpipe._workers.shared_memory
from itpipe import WorkerCrashed, parallel_map
from itpipe._workers.crashes import CrashPolicy
from itpipe._workers.processes import Processes
from itpipe._workers.task import Call, Task


def died(how: str, item: str, times: int = 3) -> str:
    who = f'{times} worker processes, one after the other,' if times > 1 else 'a worker process'
    return f'{who} died ({how}) while working on {item} alone; it may take too much memory, or crash in native code'


def calls_of(*keys: int) -> list[Call]:
    return [Call(Task(key), b'', ()) for key in keys]


def test_calls_of_a_process_that_died_are_suspect_and_made_again() -> None:
    policy, calls = CrashPolicy(0), calls_of(3, 4)
    assert policy.judge(calls, len(calls), True, -9, None) is None
    assert [(call.suspect, call.crashes) for call in calls] == [(True, 0)] * 2


@pytest.mark.parametrize('max_crashes', [0, 1, 2])
def test_a_call_of_which_too_many_processes_died_is_given_up(max_crashes: int) -> None:
    policy, calls = CrashPolicy(max_crashes), calls_of(3)
    for _ in range(max_crashes):
        assert policy.judge(calls, len(calls), True, -9, None) is None
    call, error, fatal = policy.judge(calls, len(calls), True, -9, None) or pytest.fail('it is not given up')
    assert (call, fatal, str(error)) == (calls[0], False, died('SIGKILL', 'item 3', max_crashes + 1))


def test_processes_that_die_before_they_have_set_up_end_the_run() -> None:
    policy, calls = CrashPolicy(1), calls_of(3, 4)
    assert policy.judge(calls, 0, False, 5, None) is None
    policy.record_start()
    assert policy.judge(calls, 0, False, 5, None) is None
    call, error, fatal = policy.judge(calls, 0, False, 5, None) or pytest.fail('it is not given up')
    assert (call, fatal, type(error)) == (calls[0], True, WorkerCrashed)
    assert 'while it was being set up' in str(error)
    assert not any(call.suspect for call in calls)


def test_an_error_is_that_of_the_first_call() -> None:
    policy, error = CrashPolicy(2), OSError('no more processes')
    calls = calls_of(3, 4)
    assert policy.judge(calls, 0, False, None, error) == (calls[0], error, True)
    assert policy.judge([], 0, False, None, error) is None
    assert policy.failed_starts == 0


def test_no_call_is_blamed_that_the_process_has_not_got() -> None:
    policy, calls = CrashPolicy(0), calls_of(3, 4)
    assert policy.judge(calls[:1], 0, True, -9, None) is None
    assert [call.suspect for call in calls] == [False, False]
    assert policy.judge(calls, 1, True, -9, None) == (calls[0], ANY, False)
    assert not calls[1].suspect


# ---------------------------------------------------------------------------------------------------------------------
# With processes


def kill(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def leave(x: int) -> int:
    if x == 3:
        os._exit(5)
    return x


def crash(x: int) -> int:
    if x == 3:
        sys.stderr = None  # type: ignore[assignment]
        ctypes.string_at(0)
    return x


@pytest.mark.many(3)
@pytest.mark.parametrize(('function', 'how'), [(kill, 'SIGKILL'), (leave, 'exit code 5'), (crash, 'SIGSEGV')])
def test_a_worker_that_dies_is_an_error_that_names_the_stage_and_the_item(
    function: Callable[[int], int], how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run = iter(range(10) | parallel_map(function, processes=2))
    results = []
    note = f'itpipe: raised in parallel_map({function.__name__}, processes=2), item 3'
    with raises(WorkerCrashed, died(how, 'item 3'), note):
        for result in run:
            results.append(result)
    assert results == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(run)


@pytest.mark.long
def test_without_order_a_worker_that_dies_is_the_same_error() -> None:
    results = []
    note = 'itpipe: raised in parallel_map(kill, processes=2, ordered=False), item 3'
    with raises(WorkerCrashed, died('SIGKILL', 'item 3'), note):
        for result in range(10) | parallel_map(kill, processes=2, ordered=False):
            results.append(result)
    assert set(results) <= set(range(10)) - {3}


@pytest.mark.many(8)
@pytest.mark.parametrize('ordered', [True, False])
@pytest.mark.parametrize('in_flight', [1, 3, None])
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    tmp_path: Path, ordered: bool, in_flight: int | None
) -> None:
    def function(x: int) -> int:
        return dies_once(tmp_path / str(x), x) if x % 40 == 7 else x

    stage = parallel_map(function, processes=2, ordered=ordered, in_flight=in_flight)
    results = list(range(100) | stage)
    assert (results if ordered else sorted(results)) == list(range(100))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.long
def test_large_results_of_workers_that_are_killed(tmp_path: Path) -> None:
    """Those that were ready stay what they are, those that were not are made again."""

    def function(x: Any) -> Any:
        result = np.full(10**5, x[0])
        if x[0] % 20 == 7:
            dies_once(tmp_path / str(x[0]), 0)
        return result

    kept = list((np.full(10**5, n) for n in range(60)) | parallel_map(function, processes=2))
    assert [int(each[0]) for each in kept] == list(range(60))
    assert all((each == each[0]).all() for each in kept)


@pytest.mark.parametrize('max_crashes', [0, 1])
def test_an_item_of_which_more_processes_die_ends_the_run(tmp_path: Path, max_crashes: int) -> None:
    def function(x: int) -> int:
        if x == 3:
            (tmp_path / f'{time.perf_counter_ns()}').touch()
            os._exit(5)
        return x

    stage = parallel_map(function, processes=2, in_flight=1, max_crashes=max_crashes)
    run = iter(range(10) | stage)
    assert [next(run) for _ in range(3)] == [0, 1, 2]
    with raises(WorkerCrashed, died('exit code 5', 'item 3', max_crashes + 1), f'itpipe: raised in {stage!r}, item 3'):
        next(run)
    assert len(list(tmp_path.iterdir())) == max_crashes + 1


@pytest.mark.long
def test_the_innocent_are_not_blamed() -> None:
    """Of several items that a process had, the one it died of is found."""
    pool = pool_of(lambda x: (x, os.getpid()) if x != 4 else os._exit(5))
    pool.result(pool.submit(0, 0))
    set_cost(pool, 1e-6)  # so that they are given to the worker together
    tasks = [pool.submit(key, key) for key in (1, 2, 3, 4, 5)]
    assert [pool.result(task)[0] for task in tasks[:3]] == [1, 2, 3]
    with raises(WorkerCrashed, died('exit code 5', 'item 4')):
        pool.result(tasks[3])
    assert pool.result(tasks[4])[0] == 5
    pool.close()


def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced() -> None:
    pool = pool_of(lambda _: os.getpid())
    pid = pool.result(pool.submit(0, 0))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not pool._dispatcher.workers, 'the death is noticed')
    assert pool.result(pool.submit(1, 0)) != pid
    pool.close()


class DeadlyToUnpickle:
    def __reduce__(self) -> Any:
        return os._exit, (5,)

    def __call__(self, item: Any) -> Any:
        return item


def test_a_function_that_kills_whoever_unpickles_it() -> None:
    with pytest.raises(WorkerCrashed) as caught:
        list(range(3) | parallel_map(DeadlyToUnpickle(), processes=1, on_error='skip'))
    assert str(caught.value) == (
        '3 worker processes, one after the other, died (exit code 5) while it was being set up; it may have printed why'
    )


def test_what_a_process_that_died_did_to_its_item_is_not_seen_by_the_next(tmp_path: Path) -> None:
    """Large arrays lie in memory that the process may write to."""
    died_once = tmp_path / 'died'

    def function(array: np.ndarray) -> float:
        array += 1
        if array[0] == 3 and not died_once.exists():
            died_once.touch()
            os._exit(1)
        return float(array[0])

    arrays = [np.full(10_000, float(n)) for n in range(6)]
    assert list(arrays | parallel_map(function, processes=1)) == [1, 2, 3, 4, 5, 6]


REUSED: dict[str, Callable[[], Any]] = {
    'a large array': lambda: np.zeros(10**5),
    'a small array': lambda: np.zeros(100),
    'many of them': lambda: [np.zeros(3000)] * 20,
    'a part of an array': lambda: np.zeros((400, 500))[::2, ::3],
    'bytes': lambda: bytearray(10**5),
    'a table': lambda: pytest.importorskip('pandas').DataFrame({'a': np.zeros(10**5), 'b': np.zeros(10**5)}),
}


def fill(buffer: Any, x: int) -> None:
    if isinstance(buffer, list):
        fill(buffer[0], x)
    elif hasattr(buffer, 'iloc'):
        buffer.iloc[:, :] = x
    else:
        buffer[:] = bytes([x]) * len(buffer) if isinstance(buffer, bytearray) else x


def numbers_in(buffer: Any) -> list[int]:
    return sorted({int(x) for part in (buffer if isinstance(buffer, list) else [buffer]) for x in np.unique(part)})


@pytest.mark.many(9)
@pytest.mark.parametrize('pipe', [False, True])
@pytest.mark.parametrize('kind', REUSED)
def test_what_is_run_again_is_what_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, pipe: bool
) -> None:
    """Though the source has filled the same memory anew since, and the function that died had changed its item."""
    buffer = REUSED[kind]()
    if pipe:
        monkeypatch.setattr(itpipe._workers.files.File, 'new', lambda size: None)

    def source() -> Any:
        for x in range(8):
            fill(buffer, x)
            (tmp_path / f'at {x}').touch()
            yield buffer

    def function(item: Any) -> list[int]:
        numbers = numbers_in(item)
        fill(item, 77)
        if numbers == [3]:
            await_file(tmp_path / 'at 4')
            dies_once(tmp_path / 'died', 0)
        return numbers

    assert list(source() | parallel_map(function, processes=1)) == [[x] for x in range(8)]
    assert (tmp_path / 'died').exists()


def test_what_a_dead_worker_has_answered_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory does not go with it, so nothing is made again."""
    views = itpipe._workers.shared_memory.Borrower.views
    pool = Processes(1, function_of(lambda x: (x + 1, os.getpid())), max_crashes=0)
    pids = []

    def kill_first(borrower: Any, buffers: Any) -> Any:
        if not pids:
            (worker,) = pool._dispatcher.workers
            pids.append(worker.process.pid)
            worker.kill()
            worker.process.join()
        return views(borrower, buffers)

    monkeypatch.setattr(itpipe._workers.shared_memory.Borrower, 'views', kill_first)
    array, pid = pool.result(pool.submit(0, np.full(10**5, 0)))
    assert (array == 1).all()
    assert [pid] == pids
    wait_until(lambda: not pool._dispatcher.workers, 'the death is noticed')
    array, pid = pool.result(pool.submit(1, np.full(10**5, 1)))
    assert (array == 2).all()
    assert pid not in pids
    pool.close()


def forked() -> int:
    if not (child := os.fork()):
        time.sleep(1000)
    return child


def spawned() -> int:
    return os.posix_spawnp('sleep', ['sleep', '1000'], os.environ)


@pytest.mark.parametrize('start', [forked, spawned])
def test_a_worker_that_dies_and_leaves_a_child(tmp_path: Path, start: Callable[[], int]) -> None:
    """The child would have a copy of the socket; the death is seen all the same, and the child killed."""
    pid = tmp_path / 'pid'

    def function(x: int) -> int:
        if x == 2:
            pid.write_text(str(start()))
            os._exit(1)
        return x

    run = iter(range(4) | parallel_map(function, processes=1, max_crashes=0, in_flight=1))
    assert [next(run), next(run)] == [0, 1]
    with pytest.raises(WorkerCrashed):
        next(run)
    wait_until(lambda: is_gone(int(pid.read_text())), 'the child is gone')
