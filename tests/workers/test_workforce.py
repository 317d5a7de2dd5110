"""Processes that are killed because of the time that an item takes."""

import os
import threading
from math import inf
from pathlib import Path
from typing import Any

import pytest
from pools import dies_once, function_of, set_cost
from running import LIMIT as LONG
from running import raises

from itpipe import StallWarning, WorkerCrashed, parallel_map
from itpipe._workers.channel import Channel
from itpipe._workers.crashes import CrashPolicy, Timeout
from itpipe._workers.processes import Processes
from itpipe._workers.task import Call, Task

LIMIT = 'took longer than `timeout=1` seconds'


def never_returns() -> None:
    threading.Event().wait()


def stuck(x: int) -> int:
    if x == 3:
        never_returns()
    return x


def test_a_call_that_takes_too_long_is_given_up_at_once_or_after_its_tries() -> None:
    for tries in range(3):
        policy, call = CrashPolicy(0, Timeout(1.0, tries)), Call(Task(3), b'', ())
        for _ in range(tries):
            assert policy.judge([call], 1, True, -9, None, 'timeout') is None
        given_up = policy.judge([call], 1, True, -9, None, 'timeout') or pytest.fail('it is not given up')
        assert (given_up.call, given_up.fatal, type(given_up.error)) == (call, False, TimeoutError)
        killed = f'{tries + 1} processes, one after the other, were' if tries else 'its process was'
        assert str(given_up.error) == f'item 3 {LIMIT}; {killed} killed'
        assert call.crashes == 0


def test_which_of_several_calls_takes_too_long_is_found_out() -> None:
    policy, calls = CrashPolicy(0, Timeout(1.0)), [Call(Task(key), b'', ()) for key in range(2)]
    assert policy.judge(calls, 2, True, -9, None, 'timeout') is None
    assert [(call.suspect, call.timeouts) for call in calls] == [(True, 0)] * 2


@pytest.mark.long
@pytest.mark.parametrize('ordered', [True, False])
def test_an_item_that_takes_too_long_is_an_error_of_the_item(ordered: bool) -> None:
    stage = parallel_map(stuck, processes=2, timeout=1, ordered=ordered)
    with raises(TimeoutError, f'item 3 {LIMIT}; its process was killed', f'itpipe: raised in {stage!r}, item 3'):
        list(range(10) | stage)
    run = iter(range(10) | parallel_map(stuck, processes=2, timeout=1, ordered=ordered, on_error='skip'))
    assert sorted(run) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [(each.ordinal, type(each.error)) for each in run.dropped] == [(3, TimeoutError)]  # type: ignore[attr-defined]


@pytest.mark.long
def test_an_item_that_took_too_long_is_tried_again_elsewhere(tmp_path: Path) -> None:
    def function(x: int) -> int:
        return dies_once(tmp_path / str(x), x, never_returns) if x == 3 else x

    options: Any = {'processes': 2, 'timeout': 1, 'max_crashes': 0, 'in_flight': 2}  # so that each is sent alone
    assert list(range(6) | parallel_map(function, retries=1, retry_on=OSError, **options)) == list(range(6))
    (tmp_path / '3').unlink()
    with pytest.raises(TimeoutError):
        list(range(6) | parallel_map(function, retries=1, retry_on=ValueError, **options))


@pytest.mark.long
def test_of_items_that_were_sent_together_the_slow_one_is_found() -> None:
    pool = Processes(1, function_of(stuck), timeout=Timeout(1.0))
    pool.result(pool.submit(0, 0))
    set_cost(pool, 1e-6, fast_source=True)
    tasks = [pool.submit(key, key) for key in (1, 2, 3, 4, 5)]
    assert [pool.result(task) for task in tasks[:2]] == [1, 2]
    with raises(TimeoutError, f'item 3 {LIMIT}; its process was killed'):
        pool.result(tasks[2])
    assert [pool.result(task) for task in tasks[3:]] == [4, 5]
    pool.close()


def test_an_answer_that_is_there_is_not_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long nobody has looked. A process that has nothing to do does not take too long either."""
    pool = Processes(1, function_of(lambda x: (x, os.getpid())))
    _, pid = pool.result(pool.submit(0, 0))
    (worker,) = pool._dispatcher.workers
    assert worker.busy_since == inf
    read = Channel.receive
    with pool._lock:  # so that nobody reads
        monkeypatch.setattr(Channel, 'receive', lambda channel: [])
    task = pool.submit(1, 1)
    assert worker.busy_since < inf
    assert worker._channel.poll(LONG)
    pool._workforce.end_overdue(0.0, 'timeout')
    assert worker.overdue is None
    monkeypatch.setattr(Channel, 'receive', read)
    assert pool.result(task) == (1, pid)
    pool.close()


@pytest.mark.long
def test_an_item_at_which_processes_stall_is_run_again(tmp_path: Path) -> None:
    def function(x: int) -> int:
        return dies_once(tmp_path / str(x), x, never_returns) if x == 3 else x

    with pytest.warns(StallWarning):
        assert list(range(6) | parallel_map(function, processes=2, stall_timeout=1, on_stall='restart')) == [*range(6)]


@pytest.mark.long
def test_an_item_at_which_too_many_processes_stall_ends_the_run() -> None:
    stage = parallel_map(stuck, processes=1, stall_timeout=1, on_stall='restart', max_crashes=1)
    with pytest.warns(StallWarning), pytest.raises(WorkerCrashed) as caught:
        list(range(6) | stage)
    assert str(caught.value) == (
        '2 worker processes, one after the other, died (SIGKILL) while working on item 3 alone; the last one was killed'
        " by `on_stall='restart'`, because it took longer than `stall_timeout`"
    )


@pytest.mark.parametrize(('where', 'what'), [('threads', 'a thread'), ('executor', 'a call in an executor')])
def test_what_cannot_be_killed_has_no_limit(where: str, what: str) -> None:
    class Executor:
        submit = abs

    given: Any = {where: 2 if where == 'threads' else Executor()}
    for option, others in ({'timeout': 1}, {}), ({'on_stall': 'restart'}, {'stall_timeout': 1}):
        (name,) = option
        message = f'parallel_map: `{name}` goes with `processes`, as {what} cannot be stopped from outside'
        with raises(TypeError, message):
            parallel_map(abs, **given, **option, **others)


def test_limits_that_make_no_sense() -> None:
    with raises(ValueError, "parallel_map: `on_stall` must be one of 'warn', 'restart', got 'kill'"):
        parallel_map(abs, processes=1, on_stall='kill')  # type: ignore[arg-type]
    with raises(TypeError, 'parallel_map: `on_stall` goes with `stall_timeout`, the seconds after which it restarts'):
        parallel_map(abs, processes=1, on_stall='restart')
    with raises(ValueError, 'parallel_map: `timeout` must be positive, got 0'):
        parallel_map(abs, processes=1, timeout=0)
