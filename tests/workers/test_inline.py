"""Cheap calls are made inline, in the thread of the run, and dear ones in workers."""

import threading
import time

import pytest
from running import LIMIT

import itpipe._workers.pool
from itpipe import parallel_map
from itpipe._workers.inline import InlinePolicy


@pytest.mark.parametrize('ordered', [True, False])
def test_a_cheap_function_is_called_inline(ordered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InlinePolicy, 'CHEAP', 1000)
    monkeypatch.setattr(itpipe._workers.pool, 'TRIAL', LIMIT)
    where = list(range(20) | parallel_map(lambda _: threading.current_thread(), threads=2, ordered=ordered))
    assert where[1:] == [threading.current_thread()] * 19


@pytest.mark.parametrize('ordered', [True, False])
def test_the_threads_take_over_when_it_becomes_dear(ordered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InlinePolicy, 'LONGEST_GIL_WAIT', 0.001)
    here = threading.current_thread()
    noticed = 100 + InlinePolicy.GROUP

    def function(x: int) -> bool:
        if x >= 100:
            time.sleep(0.002)
        return threading.current_thread() is here

    inline = list(range(noticed + 20) | parallel_map(function, threads=2, ordered=ordered))
    assert not any(inline[noticed + 1 :])


def test_a_few_slow_calls_among_cheap_ones_are_not_made_one_after_the_other() -> None:
    policy = InlinePolicy(calibrated=True)
    assert policy.LONGEST_GIL_WAIT < 0.05
    for _ in range(2 * policy.IN_A_ROW):
        policy.record(-1)
    assert policy.active
    policy.to_workers()
    for _ in range(2 * policy.IN_A_ROW - 1):
        policy.record(-1)
    assert not policy.active
    policy.record(-1)
    assert policy.active


def test_the_first_call_says_whether_to_begin_inline() -> None:
    for seconds, active in (InlinePolicy.CHEAP / 2, True), (InlinePolicy.CHEAP * 2, False):
        policy = InlinePolicy()
        assert not policy.calibrated
        policy.record(seconds)
        assert (policy.calibrated, policy.active) == (True, active)


def test_a_dear_call_begins_the_row_of_cheap_ones_anew() -> None:
    policy = InlinePolicy(calibrated=True)
    for seconds in [*[0.0] * (policy.IN_A_ROW - 1), 1.0, *[0.0] * (policy.IN_A_ROW - 1)]:
        policy.record(seconds)
    assert not policy.active
    policy.record(0.0)
    assert policy.active


def test_inline_calls_are_judged_by_their_average_and_by_what_no_wait_explains() -> None:
    policy = InlinePolicy()
    policy.record(0.0)
    policy.record_inline(policy.GIL_WAIT)  # one call waited for the GIL
    for _ in range(policy.ONE_BY_ONE):
        policy.record_inline(policy.CHEAP / 4)
    assert policy.active
    while policy.active:  # many calls that are a little too dear
        policy.record_inline(3 * policy.CHEAP)
    policy = InlinePolicy()
    policy.record(0.0)
    policy.record_inline(2 * policy.LONGEST_GIL_WAIT)
    assert not policy.active
