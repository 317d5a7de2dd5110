"""Every figure of `stats()`, against runs of which the times and counts are known."""

import json
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from clock import Clock, virtual
from running import wait_until

from itpipe import (
    Infinite,
    apply,
    batch_by,
    combine,
    concat,
    cycle,
    filter_by,
    flatten,
    map_at,
    mix,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shuffle,
    skip,
    stage,
    stream,
    take,
    unpack,
    zip_with,
)  # fmt: skip
from itpipe._engine.figures import StageFigures
from itpipe._engine.stats import Stats


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return virtual(monkeypatch)


def rows(stats: Stats, *names: str) -> list[Any]:
    return [tuple(getattr(each, name) for name in names) for each in stats.stages]


def one(stats: Stats, label: str) -> StageFigures:
    (found,) = [each for each in stats.stages if each.label == label]
    return found


class Source:
    """Gives numbers, each of which takes so long."""

    def __init__(self, clock: Clock, n: int, seconds: float):
        self.clock, self.n, self.seconds = clock, n, seconds

    def __iter__(self) -> Iterator[int]:
        for number in range(self.n):
            self.clock.work(self.seconds)
            yield number

    def __repr__(self) -> str:
        return 'Source()'


# ---------------------------------------------------------------------------------------------------------------------
# Counts


def test_what_came_in_and_went_out_of_each_stage():
    run = iter(
        range(100) | apply(abs) | filter_by(lambda x: x % 2) | skip(2) | take(40) | batch_by(4) | flatten
        | reuse(3, 2, seed=0) | shuffle(5, seed=0) | batch_by(10) | combine
    )  # fmt: skip
    assert len(list(run)) == 8
    assert rows(run.stats(), 'label', 'items_in', 'items_out') == [
        ('source', 84, 84), ('abs', 84, 84), ('filter_by', 84, 42), ('skip', 42, 40), ('take', 40, 40),
        ('batch_by', 40, 10), ('flatten', 10, 40), ('reuse', 40, 80), ('shuffle', 80, 80), ('batch_by#2', 80, 8),
        ('combine', 8, 8),
    ]  # fmt: skip


def test_stages_of_a_users_own_are_counted():
    @stage
    def pairwise(items):
        yield from zip(items, items, strict=False)

    @stage(state={'total': 0})
    def sums(items, state):
        for item in items:
            state['total'] += sum(item)
            yield state['total']

    run = iter(range(8) | pairwise() | sums())
    list(run)
    assert rows(run.stats(), 'label', 'items_in', 'items_out') == [
        ('source', 8, 8), ('pairwise', 8, 4), ('sums', 4, 4)
    ]  # fmt: skip


def test_streams_that_a_source_is_made_of_have_their_stages_shown():
    evens = range(6) | apply(abs) | filter_by(lambda x: x % 2 == 0)
    run = iter(mix(evens, range(2), seed=0) | batch_by(2))
    list(run)
    assert rows(run.stats(), 'label', 'depth', 'items_in', 'items_out', 'behind') == [
        ('source', 1, 6, 6, 1), ('abs', 1, 6, 6, 2), ('filter_by', 1, 6, 3, 4), ('source#2', 1, 2, 2, 4),
        ('source#3', 0, 5, 5, 5), ('batch_by', 0, 5, 3, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    'described',
    [
        stream(range(4)) | concat(range(3)),
        range(7) | zip_with(range(7)),
        range(7) | cycle(1),
        [*range(7)] | shuffle(),
        mix(range(4), range(3), seed=1) | apply(abs),
    ],
)
def test_sources_of_all_kinds(described):
    run = iter(described)
    assert len(list(run)) == 7
    stats = run.stats()
    assert (stats.loop.items, stats.stages[-1].items_out) == (7, 7)


@pytest.mark.parametrize('how', [{'threads': 2}, {'processes': 2}, {'threads': 2, 'ordered': False}])
def test_workers_count_their_calls(how):
    run = iter(range(40) | parallel_map(abs, **how) | batch_by(4))
    assert len(list(run)) == 10
    pool = run.stats().stages[1]
    assert (pool.items_in, pool.items_out, pool.workers, pool.unit) == (40, 40, 2, next(iter(how)))
    assert sum(pool.worker_seconds) > 0
    assert pool.calls == 40 or 'threads' in how  # cheap calls are made in the thread of the run


def test_which_workers_auto_has_tried():
    run = iter(range(40) | parallel_map(abs, workers='auto'))
    list(run)
    assert run.stats().stages[1].tried[0] == ('threads', 1)


def test_passes_are_counted_together():
    with Infinite(range(6), batch_size=2, batches_per_epoch=3, prefetch=0) as batch_iter:
        for _ in range(3):
            assert len(list(batch_iter)) == 3
    stats = batch_iter.stats()
    assert stats.loop.items == 9
    assert rows(stats, 'label', 'items_out') == [('source', 18), ('batch_by', 9), ('combine', 9)]


# ---------------------------------------------------------------------------------------------------------------------
# Times


def test_the_seconds_of_each_stage_and_of_the_loop(clock):
    run = iter(Source(clock, 12, 1) | apply(clock.takes(2)) | filter_by(lambda x: clock.takes(3)(x) % 2) | batch_by(3))
    for _ in run:
        clock.work(10)
    stats = run.stats()
    assert rows(stats, 'seconds', 'upstream', 'downstream', 'waited') == [
        (12, 0, 24 + 36 + 20, 0),
        (24, 12, 36 + 20, 0),
        (36, 36, 20, 0),
        (0, 72, 20, 0),
    ]
    loop = stats.loop
    assert (loop.items, loop.waited, loop.worked, loop.first, stats.elapsed) == (2, 72, 20, 36, 92)
    assert loop.waiting_share == pytest.approx(36 / 56)
    assert stats.rate == pytest.approx(1 / 46)


def test_the_loop_of_an_infinite_without_a_thread(clock):
    with Infinite(Source(clock, 8, 1), clock.takes(2), batch_size=4, prefetch=0) as batch_iter:
        for _ in batch_iter:
            clock.work(10)
        clock.work(1000)  # between two epochs
        for _ in batch_iter:
            clock.work(30)
        stats = batch_iter.stats()
    assert rows(stats, 'seconds') == [(16,), (32,), (0,), (0,)]
    loop = stats.loop
    assert (loop.items, loop.waited, loop.worked, loop.first) == (4, 48, 80, 12)
    assert batch_iter.stats().loop == loop


def test_idle_time_changes_no_rate_and_no_share(clock):
    with Infinite(Source(clock, 8, 1), clock.takes(2), batch_size=2, prefetch=0) as batch_iter:
        for _ in batch_iter:
            clock.work(4)
        before = batch_iter.stats()
        clock.work(1000)
        after = batch_iter.stats()
    assert (before.rate, before.elapsed) == (3 / 34, 40)
    assert (after.rate, after.elapsed, str(after)) == (3 / 34, 40, str(before))
    assert '16 s  47 %' in str(after)  # of the loop


def test_the_start_changes_no_rate_and_no_share(clock):
    times = iter([100, 2, 2, 2, 2])
    with Infinite(range(5), lambda item: clock.work(next(times)), batch_size=1, prefetch=0) as batch_iter:
        for _ in batch_iter:
            clock.work(2)
        stats = batch_iter.stats()
    assert stats.rate == stats.as_dict()['rate'] == stats.as_dict()['source/rate'] == 4 / 18
    assert '10 s  56 %' in str(stats)  # of the loop
    assert '108 s  44 %' in str(stats)  # of the function


def test_waiting_for_workers_is_no_work(monkeypatch):
    clock = virtual(monkeypatch, shared=True)
    runs = []

    def slow(item):
        wait_until(lambda: runs and runs[0]._chain.ledger.stages[0].waiting_since, 'a wait')
        clock.work(3)
        return item

    runs.append(iter(Source(clock, 4, 1) | parallel_map(slow, threads=1, in_flight=1)))
    for _ in runs[0]:
        clock.work(10)
    pool = runs[0].stats().stages[1]
    assert (pool.waited, pool.seconds, pool.upstream, pool.downstream) == (12, 0, 4, 40)
    assert (pool.worker_seconds, pool.calls) == ((12,), 4)


def test_waits_of_both_sides_of_a_buffer(monkeypatch):
    clock = virtual(monkeypatch, shared=True)
    asked, made = threading.Semaphore(0), threading.Event()
    described = Source(clock, 6, 0) | apply(lambda item: (made.set(), asked.acquire(), item)[-1]) | prefetch(1)
    run = iter(described)
    ledger = run._chain.ledger
    buffer = ledger.stages[1]
    maker = threading.Thread(target=next, args=(run,))
    maker.start()
    wait_until(lambda: buffer.waiting_since, 'a wait')
    clock.work(5)  # the loop waits for the first item
    assert run.stats().stages[2].waited == 5  # while it is waiting
    asked.release(6)
    maker.join()
    wait_until(lambda: buffer.full_since, 'a wait')
    clock.work(7)  # the loop works, and one item is ready
    assert run.stats().stages[2].full == 7
    assert len(list(run)) == 5
    stats = run.stats()
    assert rows(stats, 'label', 'waited', 'full')[2] == ('prefetch', 5, 7)
    assert (stats.stages[2].upstream, stats.stages[2].downstream) == (5, 7)
    assert stats.stages[1].downstream == 7
    assert rows(stats, 'thread') == [(1,), (1,), (0,)]


def test_a_loop_that_waits_right_now_is_seen(monkeypatch):
    clock = virtual(monkeypatch, shared=True)
    held = threading.Event()
    with Infinite(range(4), lambda item: held.wait() and item, batch_size=2) as batch_iter:
        assert batch_iter.stats().elapsed == 0
        loop = threading.Thread(target=next, args=(batch_iter(),))
        loop.start()
        wait_until(lambda: batch_iter._epochs.run and batch_iter._epochs.run.ledger.consumer.state == 'waits', 'a wait')
        clock.work(8)
        assert batch_iter.stats().loop.waited == 8
        held.set()
        loop.join()
        assert batch_iter.stats().loop.waited == 8


# ---------------------------------------------------------------------------------------------------------------------
# What is held, and what went wrong


def test_what_a_shuffle_holds():
    run = iter(np.zeros((20, 1000)) | apply(np.copy) | shuffle(8, seed=0))
    next(run)
    shuffled = run.stats().stages[-1]
    assert (shuffled.items_in, shuffled.items_out, shuffled.held) == (9, 1, 8)
    assert 8 * 8000 <= shuffled.held_bytes < 8 * 8200
    run.close()
    assert run.stats().stages[-1].held == 0


def test_what_is_ready_for_the_loop():
    with Infinite(np.zeros((64, 1000)), batch_size=2, prefetch=3) as batch_iter:
        next(batch_iter())
        wait_until(lambda: batch_iter.stats().stages[-1].full, 'a wait')
        ready = batch_iter.stats().stages[-1]
        assert (ready.label, ready.kind, ready.capacity) == ('ready', 'buffer', 3)
        assert ready.held in (2, 3)  # it is filled again when half of it is gone
        assert ready.held * 16_000 <= ready.held_bytes < ready.held * 16_200
        assert (ready.items_in, ready.items_out) == (1 + ready.held, 1)


def test_what_is_on_its_way_through_workers():
    go = threading.Event()
    run = iter(range(9) | parallel_map(lambda x: go.wait() and x if x else sum(range(10_000)), threads=2, in_flight=4))
    next(run)
    assert run.stats().stages[1].held == 3
    go.set()
    list(run)
    assert run.stats().stages[1].held == 0


def test_errors_and_what_they_led_to():
    def fails(x):
        if x % 3 == 0:
            raise ValueError(x)
        return x

    run = iter(
        range(9)
        | parallel_map(fails, threads=2, on_error='skip', retries=2, retry_on=ValueError, backoff=0)
        | batch_by(2)
    )
    assert len(list(run)) == 3
    pool = run.stats().stages[1]
    assert (pool.errors, pool.dropped, pool.retries, pool.items_in, pool.items_out) == (3, 3, 6, 9, 6)


def test_processes_that_are_replaced_are_counted():
    run = iter(range(12) | parallel_map(abs, processes=1, max_tasks_per_worker=4))
    list(run)
    assert run.stats().stages[1].restarts in (2, 3)


# ---------------------------------------------------------------------------------------------------------------------
# As values, text and numbers


def test_before_the_start_and_from_other_threads():
    run = iter(range(3) | batch_by(2))
    assert run.stats() == Infinite([1]).stats()
    assert (run.stats().loop.items, run.stats().stages, run.stats().advice, run.stats().rate) == (0, (), '', 0.0)
    assert str(run.stats()).splitlines()[0] == 'not started yet'
    seen: list[Stats] = []
    next(run)
    thread = threading.Thread(target=lambda: seen.append(run.stats()))
    thread.start()
    thread.join()
    assert seen[0].loop.items == 1


def test_other_threads_may_ask_all_the_time():
    described = mix(range(30) | parallel_map(abs, threads=2), range(20), seed=0) | shuffle(5)
    for _ in range(5):
        ended, failures = threading.Event(), []

        def look(batch_iter: Any, ended: Any, failures: list[Any]) -> None:
            while not ended.is_set():
                try:
                    str(batch_iter.stats())
                except Exception as error:
                    failures.append(error)

        with Infinite(described, np.sign, batch_size=2, threads=2, seed=1) as batch_iter:
            threads = [threading.Thread(target=look, args=(batch_iter, ended, failures)) for _ in range(2)]
            for thread in threads:
                thread.start()
            assert [len(list(batch_iter)) for _ in range(2)] == [25, 25]
        ended.set()
        for thread in threads:
            thread.join()
        assert not failures


def test_the_difference_of_two_is_what_was_done_between(clock):
    run = iter(Source(clock, 30, 1) | apply(clock.takes(2)))
    for _ in range(10):
        next(run)
    before = run.stats()
    for _ in range(5):
        next(run)
        clock.work(1)
    between = run.stats() - before
    assert (between.loop.items, between.elapsed, between.rate) == (5, 20, 0.25)
    assert rows(between, 'items_out', 'seconds') == [(5, 5), (5, 10)]
    run.close()


def test_numbers_by_name():
    with Infinite(range(8), abs, batch_size=2, threads=2) as batch_iter:
        list(batch_iter)
        numbers = batch_iter.stats().as_dict()
    assert all(type(number) in (int, float) for number in numbers.values())
    assert json.loads(json.dumps(numbers)) == numbers
    assert numbers['loop/items'] == 4
    assert numbers['parallel_map/items_out'] >= 4
    assert numbers['parallel_map/workers'] == 2
    assert {'loop/waiting_share', 'source/rate', 'ready/held', 'parallel_map/worker_seconds'} <= numbers.keys()


def test_it_prints_as_a_table(clock):
    run = iter(Source(clock, 24, 1) | apply(clock.takes(3)) | batch_by(2))
    for _ in run:
        clock.work(2)
    *table, advice = str(run.stats()).splitlines()
    assert table == [
        '12 items in 120 s, 0.1 a second; the loop waited 79 % of the time, and 8 s for the first',
        'stage            items  a second  works  busy  waits before  waits behind',
        'Source()            24       0.2   24 s  20 %           0 s          96 s',
        'apply(function)     24       0.2   72 s  60 %          24 s          24 s',
        'batch_by(2)         12       0.1    0 s   0 %          96 s          24 s',
        'the loop            12       0.1   24 s  20 %          96 s',
    ]
    assert advice == (
        '`function` limits, in the thread of the loop: with 2 workers, as by `parallel_map` or'
        ' `Infinite(…, threads=2)`, about +150 %.'
    )
    html = run.stats()._repr_html_()
    assert html.startswith('<table style=')
    assert '>12 items in 120 s' in html
    assert '>apply(function)</td>' in html


def test_its_repr_is_the_table():
    run = iter(range(4) | apply(abs))
    list(run)
    stats = run.stats()
    assert repr(stats) == str(stats)
    assert repr(stats).startswith('4 items in ')


def test_what_an_infinite_gives_are_batches():
    with Infinite(range(8), batch_size=2) as batch_iter:
        list(batch_iter)
    assert str(batch_iter.stats()).startswith('4 batches in ')


def to_float(item: Any) -> float:
    return float(item)


def test_item_wise_stages_together_are_named_by_their_functions():
    run = iter(stream([(1, 2)] * 3) | map_at(0, abs) | map_at(1, to_float) | unpack(divmod) | apply(with_label, 'x'))
    list(run)
    stats = run.stats()
    assert [each.label for each in stats.stages] == ['source', 'abs+to_float+divmod+with_label']
    assert 'abs+to_float+divmod+with_label  ' in str(stats)
    assert (
        "map_at(0, abs) | map_at(1, to_float) | unpack(divmod) | apply(with_label, 'x')"
        in stats._repr_html_().replace('&#x27;', "'")
    )


def with_label(item: Any, label: str) -> Any:
    return item, label


def test_one_stage_keeps_its_name():
    run = iter(stream([(1, 2)] * 3) | map_at(0, abs))
    list(run)
    assert run.stats().stages[1].label == 'map_at'
    assert 'map_at(0, abs)  ' in str(run.stats())


def test_it_can_be_pickled():
    run = iter(range(4) | apply(abs))
    list(run)
    stats = run.stats()
    assert pickle.loads(pickle.dumps(stats)) == stats


def test_nothing_of_a_run_is_kept_that_has_ended():
    class Item:
        alive = 0

        def __init__(self, _: Any):
            Item.alive += 1

        def __del__(self) -> None:
            Item.alive -= 1

    with Infinite(sample(range(9)), apply(Item) | shuffle(4), batch_size=2, combiner=len) as batch_iter:
        next(batch_iter())
    assert Item.alive == 0
    assert batch_iter.stats().stages[-1].held == 0


def test_the_time_of_the_first_batch_is_a_part_of_all():
    """Also where the others take less time than to write down what the first one took: the rate is not negative."""
    with Infinite(range(12), batch_size=4) as batch_iter:
        list(batch_iter)
        found = batch_iter.stats()
    assert found.first.elapsed <= found.elapsed
    assert found.rate > 0
