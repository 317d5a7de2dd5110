"""For how long workers have used a core, as the system says."""

import hashlib
import os
import sys
import threading
import time

import pytest
from running import wait_until

from itpipe import parallel_map
from itpipe._engine.cpu import cores, seconds_on_cores

linux = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux tells')


def computes(number: int) -> int:
    until = time.process_time() + 0.05
    while time.process_time() < until:
        number += 1
    return number


def digested(_: int) -> bytes:
    """It uses a core for about 50 ms, mostly without the GIL."""
    return hashlib.pbkdf2_hmac('sha256', b'', b'', 50_000)


def test_there_are_cores():
    assert 1 <= cores() <= (os.cpu_count() or 1)


@linux
def test_this_process_and_this_thread():
    wait_until(lambda: computes(0) and (seconds_on_cores([str(os.getpid())]) or 0) > 0.05, 'a tick')
    assert seconds_on_cores([f'self/task/{threading.get_native_id()}']) >= 0
    assert seconds_on_cores(['self', 'self']) >= seconds_on_cores(['self'])


def test_what_is_not_known():
    assert seconds_on_cores([]) is None
    assert seconds_on_cores(['no-such-task']) is None


@linux
@pytest.mark.parametrize('how', [{'processes': 1}, {'threads': 1}])
def test_workers_that_compute(how):
    run = iter(range(6) | parallel_map(computes, **how))
    assert len(list(run)) == 6
    pool = run.stats().stages[1]
    assert pool.cpu_seconds >= 0.15
    assert pool.cores == cores()


@linux
@pytest.mark.skipif(not os.path.exists('/proc/self/schedstat'), reason='it does not count the time in its queue')
@pytest.mark.parametrize('how', [{'processes': 2}, {'threads': 2}])
def test_to_wait_for_a_core_is_to_need_one(how):
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})  # what starts from here has this core only
    try:
        run = iter(range(8) | parallel_map(digested, **how))
        assert len(list(run)) == 8
        pool = run.stats().stages[1]
    finally:
        os.sched_setaffinity(0, mine)
    assert pool.cpu_seconds >= 0.7 * sum(pool.worker_seconds)


@linux
def test_workers_that_wait():
    never = threading.Event()
    run = iter(range(3) | parallel_map(lambda _: never.wait(0.05), threads=1))
    list(run)
    assert run.stats().stages[1].cpu_seconds <= 0.1
