"""Shards that are read by threads."""

import threading
from collections import Counter
from itertools import chain, islice

from running import LIMIT

from itpipe import Infinite, interleave
from itpipe._engine.meters import Meter
from itpipe._engine.readers import _WaitsAtStage


def test_the_open_shards_are_read_at_once():
    together = threading.Barrier(3)

    def read(number):
        together.wait(LIMIT)
        yield number

    assert list(range(3) | interleave(read, cycle=3, prefetch=1)) == list(range(3))


def test_each_shard_is_read_so_far_ahead_and_no_further():
    made, taken, enough = Counter(), Counter(), threading.Event()

    def read(number):
        for _ in range(9):
            made[number] += 1
            if min(made[0], made[1]) >= 2:
                enough.set()
            yield number

    run = iter(range(5) | interleave(read, cycle=2, prefetch=2))
    first = next(run)
    assert enough.wait(LIMIT)
    for number in chain([first], run):
        taken[number] += 1
        assert all(made[each] <= taken[each] + 2 for each in range(5))
    assert made == taken == dict.fromkeys(range(5), 9)


def test_what_is_read_ahead_may_be_limited_in_bytes():
    made = []

    def read(number):
        for n in range(9):
            made.append(n)
            yield bytes(1000)

    for taken, _ in enumerate([1] | interleave(read, prefetch='4kB')):
        assert len(made) <= taken + 1 + 4
    assert taken == 8


def test_the_next_shard_is_opened_when_one_has_been_read():
    """Although there are items left of the one, so that its turn comes later."""
    ended, opened = threading.Event(), threading.Event()

    def read(number):
        if number == 1:
            opened.set()
        yield from [number] * 3
        ended.set()

    run = iter(range(2) | interleave(read, cycle=1, prefetch=4))
    assert next(run) == 0
    assert ended.wait(LIMIT)
    assert next(run) == 0
    assert opened.wait(LIMIT)
    assert list(run) == [0, 1, 1, 1]


def test_the_next_shards_are_opened_while_an_item_is_awaited():
    """Those that are read are so many at any time, even if the run waits for one of them."""
    together = threading.Barrier(3)

    def read(number):
        together.wait(LIMIT)
        yield number

    assert list(range(9) | interleave(read, cycle=3, prefetch=1)) == list(range(9))


def test_no_more_than_twice_as_many_are_open():
    """However short they are; and no more threads are started than that."""
    opened, threads = [], set()

    def read(number):
        opened.append(number)
        threads.add(threading.get_ident())
        yield number

    run = iter(range(50) | interleave(read, cycle=2, prefetch=3))
    for taken, number in enumerate(run):
        assert number == taken
        assert len(opened) <= taken + 4
    assert taken == 49
    assert len(threads) <= 4


def test_the_source_is_asked_in_the_thread_of_the_run():
    threads = set()

    def source():
        for number in range(9):
            threads.add(threading.get_ident())
            yield number

    assert len(list(source() | interleave(lambda number: [number], prefetch=1))) == 9
    assert threads == {threading.get_ident()}


def test_who_waits_for_a_thread_waits_at_the_stage():
    stage, done = Meter(), []
    thread = _WaitsAtStage(stage, lambda: done.append('before'))
    thread.wait(done.append, 'waited')
    assert done == ['before', 'waited']
    assert stage.waited > 0 == thread.waited


def test_a_run_may_be_closed_while_an_item_is_awaited():
    asked, closing = threading.Event(), threading.Event()

    def read(number):
        yield number
        if number == 1:
            asked.set()
            closing.wait(LIMIT)
        yield number

    with Infinite(range(3), interleave(read, prefetch=1), prefetch=1) as batch_iter:
        assert list(islice(batch_iter, 3)) == [0, 1, 2]
        assert asked.wait(LIMIT)
        closing.set()
