"""Which calls go to which process, and when."""

import time
from collections import deque
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any

import psutil
import pytest
from pools import await_file, pool_of, set_cost

from itpipe import parallel_map
from itpipe._workers.dispatch import LATE, MAX_GROUP, Dispatcher
from itpipe._workers.task import GROUP_SECONDS, Call, Task


class FakeWorker:
    """Keeps the groups that it was given."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.calls_left = inf
        self.answered_at = 0.0
        self.groups: list[list[int]] = []

    def give(self, calls: list[Call]) -> None:
        self.calls.extend(calls)
        self.calls_left -= len(calls)
        self.groups.append(keys(calls))


def keys(calls: Iterable[Call]) -> list[Any]:
    return [call.task.key for call in calls]


def call(key: int) -> Call:
    return Call(Task(key), b'', ())


class Hub:
    """A dispatcher of fake workers, with a clock that stands still."""

    def __init__(self, size: int = 1, seconds: float | None = None):
        self.now = 0.0
        self.can_start = True
        self.dispatcher = Dispatcher(size, self._start, lambda: self.now)
        if seconds is not None:
            self.cost(1, seconds)

    def cost(self, count: int, seconds: float) -> None:
        """So many calls took so long together."""
        idle = FakeWorker()
        self.dispatcher.answered(idle, count, seconds)
        self.dispatcher.withdraw(idle)

    def _start(self) -> FakeWorker | None:
        return FakeWorker() if self.can_start else None

    @property
    def workers(self) -> list[FakeWorker]:
        return self.dispatcher.workers

    @property
    def groups(self) -> list[list[list[int]]]:
        return [worker.groups for worker in self.workers]

    def submit(self, *keys: int) -> None:
        for key in keys:
            self.dispatcher.submit(call(key))

    def answer(self, worker: FakeWorker, count: int = 1) -> None:
        for _ in range(count):
            worker.calls.popleft()
        worker.answered_at = self.now
        self.dispatcher._offer(worker)
        self.dispatcher.hand_out()


@pytest.mark.parametrize(
    ('seconds', 'size'), [(0.00019, 5), (0.0, MAX_GROUP), (0.0007, 2), (0.004, 2), (0.006, 1), (None, 1)]
)
def test_a_group_has_as_many_calls_as_take_a_millisecond(seconds: float | None, size: int) -> None:
    hub = Hub(seconds=seconds)
    assert hub.dispatcher.group_size == size
    hub.submit(*range(size - 1))
    assert hub.groups == []
    hub.submit(size - 1)
    assert hub.groups == [[list(range(size))]]


def test_the_cost_of_a_call_is_a_moving_average() -> None:
    hub = Hub(seconds=0.0002)
    hub.cost(4, 4 * 0.0007)
    assert hub.dispatcher.group_size == 3  # of 0.0003 seconds


def test_a_group_is_no_larger_than_the_pool_allows() -> None:
    hub = Hub(seconds=0.0)
    for most, size in ((3, 3), (1, 1), (0, 1)):
        hub.dispatcher.limit_groups(most)
        assert hub.dispatcher.group_size == size


def test_if_items_come_slowly_no_call_waits_for_others() -> None:
    hub = Hub(seconds=0.0)
    hub.submit(0)
    assert hub.groups == []
    hub.now = 2 * GROUP_SECONDS
    hub.submit(1)
    assert hub.groups == [[[0, 1]]]


def test_a_caller_that_waits_gets_what_is_there() -> None:
    hub = Hub(seconds=0.0)
    hub.submit(0, 1)
    hub.dispatcher.flush()
    assert hub.groups == [[[0, 1]]]
    hub.submit(2)  # it does not wait any more
    assert hub.groups == [[[0, 1]]]


def test_a_worker_is_started_when_all_others_have_work() -> None:
    hub = Hub(size=2)
    hub.submit(0, 1, 2)
    assert hub.groups == [[[0]], [[1]]]
    hub.answer(hub.workers[1])
    assert hub.groups == [[[0]], [[1], [2]]]
    hub.answer(hub.workers[0])
    hub.submit(3)
    assert hub.groups == [[[0], [3]], [[1], [2]]]


def test_if_no_worker_can_be_started_the_others_do_the_work() -> None:
    hub = Hub(size=2)
    hub.can_start = False
    hub.submit(0)
    assert (hub.groups, keys(hub.dispatcher.waiting)) == ([], [0])
    hub.can_start = True
    hub.dispatcher.hand_out()
    hub.can_start = False
    hub.submit(1)
    hub.answer(hub.workers[0])
    assert hub.groups == [[[0], [1]]]


@pytest.mark.parametrize(('seconds', 'ahead'), [(0.004, 2), (0.006, 1)])
def test_of_cheap_calls_the_next_group_is_sent_ahead(seconds: float, ahead: int) -> None:
    hub = Hub(seconds=seconds)
    hub.submit(*range(10))
    assert len(hub.workers[0].groups) == ahead


def test_a_worker_that_has_not_answered_for_long_gets_no_next_group() -> None:
    hub = Hub(seconds=0.004)
    hub.submit(0, 1)
    hub.now = 2 * LATE
    hub.submit(*range(2, 6))
    assert hub.groups == [[[0, 1]]]
    hub.answer(hub.workers[0])
    assert hub.groups == [[[0, 1], [2, 3]]]


def test_the_worker_with_the_least_to_do_gets_the_next_group() -> None:
    hub = Hub(size=2, seconds=0.004)
    hub.submit(*range(8))
    assert hub.groups == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]
    hub.answer(hub.workers[1], 2)
    hub.submit(8, 9)
    assert hub.groups == [[[0, 1], [4, 5]], [[2, 3], [6, 7], [8, 9]]]


def test_suspects_are_sent_alone() -> None:
    hub = Hub(size=2, seconds=0.0)
    calls = [call(key) for key in range(4)]
    for suspect in calls[:2]:
        suspect.suspect = True
    hub.dispatcher.put_back(calls)
    hub.dispatcher.flush()
    assert hub.groups == [[[0]], [[1]]]
    hub.answer(hub.workers[0])
    assert hub.groups == [[[0], [2, 3]], [[1]]]


def test_calls_that_are_put_back_come_before_all_others() -> None:
    hub = Hub()
    hub.submit(0, 1, 2)
    (worker,) = hub.workers
    hub.workers.clear()
    hub.dispatcher.put_back(list(worker.calls))
    assert keys(hub.dispatcher.waiting) == [0, 1, 2]


def test_a_worker_gets_no_more_calls_than_it_may_have() -> None:
    hub = Hub(seconds=0.0)
    hub.dispatcher.limit_groups(4)
    hub.submit(*range(4))
    (worker,) = hub.workers
    worker.calls_left = 3
    hub.answer(worker, 4)
    hub.submit(*range(4, 12))
    assert worker.groups == [[0, 1, 2, 3], [4, 5, 6]]
    hub.answer(worker, 3)
    assert keys(hub.dispatcher.waiting) == [7, 8, 9, 10, 11]
    hub.workers.remove(worker)
    hub.dispatcher.hand_out()
    assert hub.groups == [[[7, 8, 9, 10]]]


def test_a_closed_dispatcher_hands_nothing_out() -> None:
    hub = Hub()
    hub.dispatcher.closed = True
    hub.submit(0)
    hub.dispatcher.flush()
    assert hub.groups == []


# ---------------------------------------------------------------------------------------------------------------------
# With processes


def test_a_slow_item_holds_no_other_up(tmp_path: Path) -> None:
    others_came = tmp_path / 'others came'

    def function(x: int) -> int:
        if x == 0:
            await_file(others_came)
        return x

    run = iter(range(8) | parallel_map(function, processes=2, in_flight=4, ordered=False))
    assert [next(run) for _ in range(7)] == list(range(1, 8))
    others_came.touch()
    assert list(run) == [0]


def test_a_few_that_wait_for_company_are_sent_when_they_are_awaited() -> None:
    pool = pool_of(abs)
    pool.result(pool.submit(0, 0))
    set_cost(pool, 1e-6)
    assert [pool.result(pool.submit(key, -key)) for key in range(5)] == list(range(5))
    futures = [pool.submit(key, -key) for key in range(3)]
    assert [pool.result(future) for future in reversed(futures)] == [2, 1, 0]
    pool.close()


@pytest.mark.long
@pytest.mark.parametrize('ordered', [True, False])
def test_with_few_in_flight_cheap_tasks_are_not_waited_for(ordered: bool) -> None:
    for in_flight in (1, 2, 5):
        run = range(300) | parallel_map(abs, processes=2, in_flight=in_flight, ordered=ordered)
        assert sorted(run) == list(range(300))


def test_no_more_processes_are_started_than_there_is_work_for() -> None:
    pool = pool_of(abs, 8)
    pool.result(pool.submit(0, 0))
    pool.result(pool.submit(1, 0))
    assert len(pool._dispatcher.workers) == 1
    children = [child for child in psutil.Process().children() if 'popen_loky' in ' '.join(child.cmdline())]
    assert len(children) == 1
    pool.close()


@pytest.mark.parametrize('ordered', [True, False])
def test_with_a_slow_source_results_do_not_wait_for_more_items(ordered: bool) -> None:
    """However many would be sent together."""
    pulled, ahead = [], []

    def source() -> Any:
        for x in range(300):
            pulled.append(x)
            time.sleep(2 * GROUP_SECONDS)  # which makes it slow
            yield x

    for received, _ in enumerate(source() | parallel_map(abs, processes=2, ordered=ordered), 1):
        ahead.append(len(pulled) - received)
    assert min(ahead[:-20]) < 20  # of the 256 that the window has, and that come in while the processes start
