"""For how long workers have used a core, as the system says."""

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
def test_workers_that_wait():
    never = threading.Event()
    run = iter(range(3) | parallel_map(lambda _: never.wait(0.05), threads=1))
    list(run)
    assert run.stats().stages[1].cpu_seconds <= 0.1
