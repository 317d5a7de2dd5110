"""The thread that makes pairs ahead: exactly as far as it may, never holding back what is awaited, and how it ends."""

import itertools
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from naming import named
from running import HAS_GIL, LIMIT, raises, run_script, wait_until

import itpipe._engine.background
import itpipe._engine.waiting
from itpipe import Infinite, apply, batch_by, prefetch, shard, shuffle, skip, stage, take
from itpipe._core.sizes import Bytes
from itpipe._engine.background import DEPTHS, Background

AWAITED = 'the run was closed while an item was awaited'


@pytest.fixture
def background() -> Iterator[Callable[..., Background]]:
    """Makes a `Background`, which is closed at the end."""
    made = []

    def make(depth: int | None = 2) -> Background:
        made.append(Background('itpipe-test', depth))
        return made[-1]

    yield make
    for each in made:
        each.close()


def pairs(n: int) -> Iterator[tuple[int, int]]:
    return zip(range(n), range(n), strict=True)


def in_a_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Calls the function in another thread; gives a function that waits for its result, or for the error."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()

    def joined() -> Any:
        thread.join(LIMIT)
        return outcome[0]

    return joined


# ---------------------------------------------------------------------------------------------------------------------
# Ahead


@pytest.mark.parametrize('depth', [1, 2, 3, 100, None])
def test_all_pairs_come_in_order(background: Any, depth: int | None) -> None:
    assert list(background(depth).run(pairs(1000))) == list(pairs(1000))


def test_further_runs_are_made_in_the_same_thread(background: Any) -> None:
    same, threads = background(), []

    def source() -> Iterator[Any]:
        threads.append(threading.current_thread())
        yield from pairs(3)

    for _ in range(4):
        assert list(same.run(source())) == list(pairs(3))
    assert len(threads) == 4
    assert len(set(threads)) == 1
    assert threads[0].name == 'itpipe-test'


@pytest.mark.parametrize(
    ('given', 'depth'),
    [
        *((n, n) for n in (1, 2, 3, 4, 5, 16)),
        *((Bytes(1), 1), (Bytes(10), 1), (Bytes(19), 1), (Bytes(20), 2), (Bytes(59), 5)),
    ],
)
def test_the_thread_is_exactly_so_far_ahead(background: Any, given: int, depth: int) -> None:
    """Never has it begun more pairs than were asked for and `depth`; when half of these are taken, it makes them up.

    Given in bytes, `depth` is as many as fit, or one."""
    value = bytes(10)
    asked, begun, most = 0, 0, 0

    def source() -> Iterator[Any]:
        nonlocal begun, most
        for pair in pairs(10**6):
            begun += 1
            most = max(most, begun - asked)
            yield pair[0], value

    made = background(given)
    run = made.run(source())
    for _ in range(10):
        wait_until(lambda asked=asked: made._full or not asked, 'the thread rests')
        assert begun <= asked + depth
        while not asked or len(made._ready) > depth // 2:
            asked += 1
            assert next(run) == (asked - 1, value)
        wait_until(lambda: made._full and len(made._ready) == depth, 'the thread has made up')
        assert begun == asked + depth
    for _ in range(200):
        asked += 1
        next(run)
    assert most == depth


def test_a_pair_of_more_than_the_limit_is_ready_alone(background: Any) -> None:
    begun = []

    def source() -> Iterator[Any]:
        for key, size in enumerate([5, 100, *30 * [5]]):
            begun.append(key)
            yield key, bytes(size)

    made = background(Bytes(20))
    run = made.run(source())
    assert next(run)[0] == 0
    wait_until(lambda: made._full and len(made._ready) == 1 and made._wake_at == 0, 'the thread rests again')
    assert begun == [0, 1]
    assert [key for key, _ in run] == [*range(1, 32)]


def asked(made: Background, *runs: Any) -> list[Iterator[Any]]:
    """Asks for all runs at once."""
    for items in runs:
        made.make(lambda items=items: (items, lambda: None))  # type: ignore[misc]
    return [made.made() for _ in runs]


@pytest.mark.parametrize('depth', [1, 2, 100, None, Bytes(30)])
def test_a_run_that_was_asked_for_follows_in_its_turn(background: Any, depth: Any) -> None:
    one, none, other = asked(background(depth), pairs(5), pairs(0), pairs(100))
    assert [list(one), list(none), list(other)] == [list(pairs(5)), [], list(pairs(100))]


def test_it_begins_before_the_last_pairs_of_the_run_before_are_taken_and_goes_no_further_than_ever(
    background: Any,
) -> None:
    made, begun = background(3), []
    one, other = asked(made, pairs(2), ((key, begun.append(key)) for key in range(9)))
    assert next(one) == (0, 0)
    wait_until(lambda: made._full, 'the thread rests')
    assert begun == [0]  # the last pair, the end, and this one
    assert len(list(one)) == 1
    assert len(list(other)) == 9


def test_bytes_of_two_runs_count_together(background: Any) -> None:
    made, begun = background(Bytes(150)), []

    def source() -> Iterator[Any]:
        for key in range(9):
            begun.append(key)
            yield key, bytes(60)

    one, other = asked(made, ((key, bytes(60)) for key in range(2)), source())
    next(one)
    wait_until(lambda: made._full, 'the thread rests')
    assert begun == [0]
    assert (len(list(one)), len(list(other))) == (1, 9)


def test_an_error_in_the_beginning_of_a_run_comes_in_its_turn(background: Any) -> None:
    made = background()
    made.make(lambda: (pairs(2), lambda: None))
    made.make(lambda: 1 // 0)
    one, other = made.made(), made.made()
    assert list(one) == list(pairs(2))
    with pytest.raises(ZeroDivisionError):
        next(other)


def test_crops_hold_the_volumes_that_they_are_views_of(background: Any) -> None:
    made = background(Bytes(50_000))
    run = made.run((key, np.zeros(10_000, np.uint8)[:10]) for key in range(100))
    next(run)
    wait_until(lambda: made._full, 'the thread rests')
    assert len(made._ready) <= 5
    assert len(list(run)) == 99


def test_crops_of_one_volume_hold_it_once(background: Any) -> None:
    volume = np.zeros(10_000, np.uint8)
    made = background(Bytes(50_000))
    run = made.run((key, volume[key:]) for key in range(10**6))
    next(run)
    wait_until(lambda: made._full, 'the thread rests')
    assert len(made._ready) >= itpipe._engine.background.MAX_READY - 1


def test_what_is_ready_stays_within_the_limit_and_the_growth_of_a_pair(background: Any) -> None:
    """What is ready is seen from the source, which runs when another pair may be made."""
    rng = random.Random(0)
    ready: list[int] = []

    def source() -> Iterator[Any]:
        for key in range(2000):
            ready.append(sum(len(value) for _, value in [*made._ready]))
            yield key, bytes(rng.randrange(50, 100))

    made = background(Bytes(1000))
    assert [key for key, _ in made.run(source())] == [*range(2000)]
    assert max(ready) <= 1000 - 50


def test_pairs_that_seem_to_hold_nothing_are_limited_in_number(background: Any) -> None:
    made = background(Bytes(10**9))
    run = made.run(pairs(10**6))
    next(run)
    wait_until(lambda: made._full, 'the thread rests')
    assert len(made._ready) in (itpipe._engine.background.MAX_READY - 1, itpipe._engine.background.MAX_READY)


@pytest.mark.parametrize('depth', [1, 2, 5, None])
def test_nothing_is_held_back_from_who_needs_it_to_go_on(background: Any, depth: int | None) -> None:
    """The source makes the next pair when the one before it has been received; the thread gets no other chance to
    hand it over."""
    received = threading.Semaphore(1)

    def source() -> Iterator[Any]:
        for pair in pairs(200):
            assert received.acquire(timeout=LIMIT)
            yield pair

    results = []
    for pair in background(depth).run(source()):
        results.append(pair)
        received.release()
    assert results == list(pairs(200))


@pytest.mark.timeout(20)
@pytest.mark.parametrize('depth', [2, 100, None])
def test_a_pair_that_is_waited_for_is_handed_over_when_it_is_made(background: Any, depth: int | None) -> None:
    """And not when the one who waits looks up, which alone would take longer than the test may."""
    received = threading.Semaphore(1)

    def source() -> Iterator[Any]:
        for pair in pairs(20 * round(2 / itpipe._engine.waiting.POLL_SECONDS)):
            assert received.acquire(timeout=LIMIT)
            time.sleep(2 * itpipe._engine.background.HOLD)
            yield pair

    for _ in background(depth).run(source()):
        received.release()


def test_nothing_starts_before_the_first_pair_is_asked_for(background: Any) -> None:
    begun: list[Any] = []
    made = background()
    run = made.run(map(begun.append, range(3)))
    assert (made._thread, begun) == (None, [])
    run.close()


@pytest.mark.parametrize(('cost', 'depth'), [(1.0, 2), (0.003, 2), (0.0009, 4), (0.00049, 8), (1e-6, 64), (0.0, 64)])
def test_without_a_depth_it_is_what_is_made_in_a_few_milliseconds(
    background: Any, monkeypatch: pytest.MonkeyPatch, cost: float, depth: int
) -> None:
    now = 0.0

    def source() -> Iterator[Any]:
        nonlocal now
        for pair in pairs(10**6):
            now += cost
            yield pair

    monkeypatch.setattr(itpipe._engine.background, 'perf_counter', lambda: now)
    made = background(None)
    run = made.run(source())
    for _ in range(3 * DEPTHS[1]):
        next(run)
    wait_until(lambda: made._full, 'the thread rests')
    assert made._depth == depth
    assert len(made._ready) <= depth


@pytest.mark.many(3)
@pytest.mark.parametrize('depth', [1, 2, 3, 8, None, Bytes(1), Bytes(300), Bytes(1000)])
def test_no_signal_is_missed_however_the_threads_take_turns(background: Any, depth: int | None) -> None:
    """If one was, both sides would sleep, and the test with them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    rng = random.Random(depth)
    values = [bytes(rng.choice([0, 10, 100, 400])) for _ in range(100)]

    def pauses(n: int) -> list[float | None]:
        return [rng.choice([None] * 20 + [0, 0, 1e-5, 0.002]) for _ in range(n)]

    def source(n: int) -> Iterator[Any]:
        for pair, pause in zip(pairs(n), pauses(n), strict=True):
            if pause is not None:
                time.sleep(pause)
            yield pair[0], values[pair[0] % 100]

    try:
        made = background(depth)
        for n in (1, 2, 3, 10, 3000):
            results = []
            for pair, pause in zip(made.run(source(n)), pauses(n), strict=True):
                if pause is not None:
                    time.sleep(pause)
                results.append(pair)
            assert results == [(key, values[key % 100]) for key in range(n)]
    finally:
        sys.setswitchinterval(interval)


# ---------------------------------------------------------------------------------------------------------------------
# Ending


def test_closing_follows_the_last_pair_in_the_thread(background: Any) -> None:
    closed: list[Any] = []
    made = background()
    assert list(made.run(pairs(3), lambda: closed.append(threading.current_thread()))) == list(pairs(3))
    assert closed == [made._thread]


def test_an_error_follows_the_pairs_before_it_and_what_is_upstream_is_closed_by_then(background: Any) -> None:
    closed: list[Any] = []

    def source() -> Iterator[Any]:
        yield from pairs(2)
        raise KeyError('x')

    run = background().run(source(), lambda: closed.append(1))
    assert [next(run), next(run)] == list(pairs(2))
    with raises(KeyError, "'x'"):
        next(run)
    assert closed == [1]


@pytest.mark.parametrize('kind', [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_errors_that_are_no_exceptions_arrive_too(background: Any, kind: type[BaseException]) -> None:
    def source() -> Iterator[Any]:
        yield 0, 0
        raise kind

    run = background().run(source())
    assert next(run) == (0, 0)
    with pytest.raises(kind):
        next(run)


def test_stopping_ends_the_wait_for_a_pair(background: Any) -> None:
    made, begun, go_on = background(), threading.Event(), threading.Event()

    def source() -> Iterator[Any]:
        begun.set()
        assert go_on.wait(LIMIT)
        yield 0, 0

    outcome = in_a_thread(lambda: next(made.run(source())))
    assert begun.wait(LIMIT)
    made.stop()
    assert repr(outcome()) == repr(RuntimeError(AWAITED))
    go_on.set()


def test_a_pair_that_is_ready_when_it_is_stopped_is_still_given(background: Any) -> None:
    made = background(1)
    run = made.run(pairs(3))
    next(run)
    wait_until(lambda: made._full, 'the thread rests')
    made.stop()
    assert next(run) == (1, 1)
    with raises(RuntimeError, AWAITED):
        next(run)


def test_stopped_while_it_rests_it_asks_for_nothing_more(background: Any) -> None:
    begun: list[Any] = []

    def source() -> Iterator[Any]:
        for pair in pairs(100):
            begun.append(pair)
            yield pair

    made = background(2)
    assert next(made.run(source())) == begun[0]
    wait_until(lambda: made._full, 'the thread rests')
    asked_for = len(begun)
    made.stop()
    made._thread.join(LIMIT)
    assert len(begun) == asked_for


def test_stopped_before_it_begins_it_makes_nothing(background: Any) -> None:
    made, made_pairs = background(), []
    made.stop()
    run = made.run(map(made_pairs.append, range(3)))
    with raises(RuntimeError, AWAITED):
        next(run)
    assert made_pairs == []
    assert made._thread is None


def test_stopped_between_two_runs_it_closes_the_second_without_having_begun_it(background: Any) -> None:
    made, log = background(), []
    assert list(made.run(pairs(1))) == [(0, 0)]
    made.make(lambda: (map(log.append, range(3)), lambda: log.append('closed')))
    made._stopped = True
    made.close()
    assert log in (['closed'], [0, 'closed'])  # the thread may have been at it when it was stopped


def test_stopped_while_it_rests_it_closes_what_is_upstream_in_its_thread(background: Any) -> None:
    made, closed = background(), []
    run = made.run(pairs(100), lambda: closed.append(threading.current_thread()))
    next(run)
    wait_until(lambda: made._full, 'the thread rests')
    thread = made._thread
    made.close()
    assert closed == [thread]
    assert not thread.is_alive()


def test_stopping_and_closing_again_do_nothing(background: Any) -> None:
    made = background()
    next(made.run(pairs(100)))
    for _ in range(3):
        made.stop()
        made.close()


def test_closed_from_its_own_thread(background: Any) -> None:
    made = background()

    def source() -> Iterator[Any]:
        yield 0, 0
        made.close()
        yield 1, 1

    run = made.run(source())
    with raises(RuntimeError, AWAITED):
        list(run)
    made._thread.join(LIMIT)
    assert not made._thread.is_alive()


def test_what_fails_while_it_is_closed_is_raised_by_who_closes(background: Any) -> None:
    def fail() -> None:
        raise OSError('cannot close')

    made = background()
    next(made.run(pairs(100), fail))
    with raises(OSError, 'cannot close'):
        made.close()
    made.close()


def test_what_fails_while_it_is_closed_at_the_end_is_raised_there_and_only_there(background: Any) -> None:
    def fail() -> None:
        raise OSError('cannot close')

    made = background()
    with raises(OSError, 'cannot close'):
        list(made.run(pairs(3), fail))
    made.close()


def test_an_error_that_nobody_came_for_is_not_raised_by_closing(background: Any) -> None:
    def source() -> Iterator[Any]:
        yield 0, 0
        raise KeyError('x')

    made = background()
    next(made.run(source()))
    wait_until(lambda: len(made._ready) == 1, 'the error is ready')
    made.close()


def test_closing_does_not_wait_for_ever_for_a_source(background: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itpipe._engine.waiting, 'GRACE', 0.02)
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def source() -> Iterator[Any]:
        yield 0, 0
        begun.set()
        go_on.wait(LIMIT)
        yield 1, 1

    made = background()
    next(made.run(source(), closed.set))
    assert begun.wait(LIMIT)
    with pytest.warns(ResourceWarning) as caught:
        made.close()
    assert [str(warning.message) for warning in caught] == [
        'itpipe: closed, but a function or source is still running in the thread(s) itpipe-test'
    ]
    go_on.set()
    assert closed.wait(LIMIT)  # when the source comes back after all, everything is closed


@pytest.mark.skipif(not HAS_GIL, reason='without the GIL, a run that is left open outlives the modules, as Python says')
def test_a_run_that_was_forked_says_so() -> None:
    out = run_script(
        """
        import os
        from itpipe import prefetch

        run = iter(range(1000) | prefetch(1))
        next(run)
        child = os.fork()
        if not child:
            try:
                for _ in range(3):
                    next(run)
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print([next(run), next(run)])
        """,
        options=('-W', 'ignore'),
    )
    gone = 'the thread that makes the items is gone: was this process forked from its own?\n'
    assert out == gone + '[1, 2]\n'


# ---------------------------------------------------------------------------------------------------------------------
# As a stage


def test_prefetch_runs_what_is_upstream_in_one_other_thread() -> None:
    threads = set(range(20) | stage(lambda items: (threading.current_thread() for _ in items))() | prefetch(3))
    assert len(threads) == 1
    assert threads != {threading.current_thread()}


def test_prefetch_closes_generators_upstream_when_the_run_is_closed() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    run = iter(source() | prefetch(2) | prefetch(3))
    assert next(run) == 0
    run.close()
    assert closed.is_set()


def test_what_a_generator_raises_when_it_is_closed_reaches_who_closes() -> None:
    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            raise OSError('cannot close')

    run = iter(source() | prefetch(2))
    next(run)
    with pytest.raises(OSError, match='cannot close'):
        run.close()


def test_a_run_closed_by_another_thread_ends_there_with_an_error() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        begun.set()
        assert go_on.wait(LIMIT)
        yield 0

    run = iter(source() | prefetch(1))
    outcome = in_a_thread(lambda: next(run))
    assert begun.wait(LIMIT)
    run.close()
    go_on.set()
    assert repr(outcome()) == repr(RuntimeError(AWAITED))


def test_prefetch_stops_with_its_consumer() -> None:
    assert list(range(10**9) | prefetch(4) | take(3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ('n', 'error', 'message'),
    [
        (0, ValueError, 'prefetch: `n` must be at least 1, got 0'),
        (-1, ValueError, 'prefetch: `n` must be at least 1, got -1'),
        (1.5, TypeError, "prefetch: `n` must be an int or a size such as '512MB', got float"),
        (None, TypeError, "prefetch: `n` must be an int or a size such as '512MB', got NoneType"),
        (True, TypeError, "prefetch: `n` must be an int or a size such as '512MB', got bool"),
    ],
)
def test_wrong_arguments(n: Any, error: type[Exception], message: str) -> None:
    with raises(error, message):
        prefetch(n)


@pytest.mark.parametrize('made', [batch_by(10**6), shuffle(10**6), shard(5, 10**4), skip(10**6)], ids=named)
@pytest.mark.parametrize('slow_source', [False, True])
def test_closing_stops_a_stage_that_takes_many_items_for_one(made, slow_source):
    """After the item in hand, not when the stage has enough of them; the check for leftovers would find the thread."""
    reached, calls = threading.Event(), []

    def slow(x):
        calls.append(x)
        if len(calls) == 50:
            reached.set()
        return x

    def source():
        for x in range(10**9):
            yield slow(x) if slow_source else x

    stream = source() | made if slow_source else itertools.count() | apply(slow) | made
    taker = threading.Thread(target=lambda: list(batch_iter))
    with Infinite(stream) as batch_iter:
        taker.start()
        assert reached.wait(20)
    taker.join(20)
    assert not taker.is_alive()
