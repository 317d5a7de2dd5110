"""Calls that each belong to a certain process."""

from collections import deque
from math import inf
from typing import Any

import pytest

from itpipe._workers.lanes import Lanes
from itpipe._workers.task import Call, Task


class FakeWorker:
    """Keeps what it was given."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.calls_left, self.answered_at = inf, 0.0

    def give(self, calls: list[Call]) -> None:
        self.calls.extend(calls)

    @property
    def keys(self) -> list[Any]:
        return [call.task.key for call in self.calls]


def call(lane: int, key: int) -> Call:
    task = Task(key)
    task.lane = lane
    return Call(task, b'', ())


@pytest.fixture
def lanes() -> Lanes[FakeWorker]:
    lanes = Lanes(3, FakeWorker)
    for lane, key in (2, 0), (0, 1), (2, 2), (0, 3):
        lanes.submit(call(lane, key))
    lanes.flush()
    return lanes


def test_each_call_goes_to_the_process_of_its_lane_in_order(lanes: Lanes[FakeWorker]) -> None:
    """And a lane without calls has no process."""
    assert [worker.keys for worker in lanes.workers] == [[1], [0]]
    for worker in lanes.workers:
        worker.calls.clear()
        lanes.answered(worker, 1, 1.0)
    lanes.hand_out()
    assert [worker.keys for worker in lanes.workers] == [[3], [2]]
    assert not lanes.is_starving


def test_what_a_process_leaves_goes_to_the_next_one_of_its_lane_first(lanes: Lanes[FakeWorker]) -> None:
    first, other = lanes.workers
    lanes.withdraw(first)
    lanes.remove(first)
    lanes.put_back(first.calls)  # type: ignore[arg-type]
    lanes.put_back([])
    lanes.hand_out()
    second, _ = lanes.workers
    assert second is not first
    assert second.keys == [1]
    assert other.keys == [0]


def test_calls_can_be_taken_out_again(lanes: Lanes[FakeWorker]) -> None:
    assert lanes.take_stranded() == []
    assert [call.task.key for call in lanes.take_waiting()] == [3, 2]
    assert lanes.take_waiting() == []


def test_calls_for_which_no_process_can_be_started_are_stranded() -> None:
    lanes: Lanes[FakeWorker] = Lanes(2, lambda: None)
    for lane in 0, 1:
        lanes.submit(call(lane, lane))
    assert [call.task.key for call in lanes.take_stranded()] == [0, 1]


def test_what_is_set_for_all_is_set_for_each() -> None:
    lanes: Lanes[FakeWorker] = Lanes(2, FakeWorker)
    lanes.closed = True
    assert lanes.closed
    lanes.submit(call(0, 0))
    lanes.flush()
    assert lanes.workers == []
    lanes.closed = False
    lanes.limit_groups(1)
    lanes.hand_out()
    assert len(lanes.workers) == lanes.group_size == 1
