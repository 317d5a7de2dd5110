"""Coroutine functions in a `parallel_map`, which one event loop runs."""

import asyncio
import functools
import json
import pickle
import threading
import warnings
from itertools import islice
from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
from hypothesis import given
from running import LIMIT, raises
from strategies import examples

from itpipe import Infinite, apply, check, parallel_map, shuffle, stream, take
from itpipe._engine.functions import NOTHING
from itpipe._workers.tasks import Tasks
from itpipe.errors import StallWarning


async def squared(x, offset=0):
    for _ in range(x % 4):
        await asyncio.sleep(0)
    return x * x + offset


@given(st.integers(0, 30), st.integers(1, 5), st.none() | st.integers(1, 9), st.booleans())
@examples(100)
def test_gives_what_the_function_returns(count, tasks, in_flight, ordered):
    made = parallel_map(squared, 7, tasks=tasks, in_flight=in_flight, ordered=ordered)
    results = list(range(count) | made)
    assert (results if ordered else sorted(results)) == [x * x + 7 for x in range(count)]


def test_so_many_calls_run_at_once_in_one_thread():
    running, most, threads = 0, 0, set()
    together = []

    async def f(x):
        nonlocal running, most
        if not together:
            together.append(asyncio.Barrier(3))
        running += 1
        most = max(most, running)
        threads.add(threading.current_thread().name)
        async with asyncio.timeout(LIMIT):
            await together[0].wait()
        running -= 1
        return x

    assert list(range(9) | parallel_map(f, tasks=3)) == list(range(9))
    assert most == 3
    assert threads == {'itpipe-tasks'}


@pytest.mark.parametrize('ordered', [True, False])
def test_results_come_in_order_or_as_they_are_ready(ordered):
    """The first one waits for all others."""
    done, all_done = set(), threading.Event()

    async def f(x):
        while x == 0 and not all_done.is_set():
            await asyncio.sleep(0)
        done.add(x)
        if done >= {1, 2, 3}:
            all_done.set()
        return x

    results = list(range(4) | parallel_map(f, tasks=4, ordered=ordered))
    assert results == [0, 1, 2, 3] if ordered else (results[-1] == 0 and sorted(results) == [0, 1, 2, 3])


@pytest.mark.parametrize('ordered', [True, False])
def test_no_more_than_in_flight_are_between_input_and_output(ordered):
    pulled = []

    def source():
        for x in range(20):
            pulled.append(x)
            yield x

    for taken, _ in enumerate(source() | parallel_map(squared, tasks=2, in_flight=3, ordered=ordered)):
        assert len(pulled) <= taken + 1 + 3
    assert taken == 19


def test_items_are_looked_up_in_the_thread_of_the_run():
    threads = set()

    class Dataset:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            threads.add(threading.get_ident())
            return index

    assert list(Dataset() | apply(abs) | parallel_map(squared, tasks=2)) == [0, 1, 4, 9, 16]
    assert threads == {threading.get_ident()}


def test_the_loop_stays_for_all_passes():
    loops = set()

    async def f(x):
        loops.add(asyncio.get_running_loop())
        return x

    with Infinite(range(5), parallel_map(f, tasks=2), batch_size=2, combiner=list) as batch_iter:
        assert [list(batch_iter) for _ in range(3)] == [[[0, 1], [2, 3], [4]]] * 3
    assert len(loops) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Errors and ends


async def broken(x):
    await asyncio.sleep(0)
    if x == 2:
        raise OSError('disk')
    return x


def test_an_error_comes_as_it_was_raised_behind_the_results_before_it():
    run = iter(range(9) | parallel_map(broken, tasks=3))
    assert list(islice(run, 2)) == [0, 1]
    with raises(OSError, 'disk', 'itpipe: raised in parallel_map(broken, tasks=3), item 2'):
        next(run)


def test_items_that_fail_are_left_out_or_replaced():
    run = iter(range(4) | parallel_map(broken, tasks=3, on_error='skip'))
    assert list(run) == [0, 1, 3]
    assert [(each.ordinal, str(each.error)) for each in run.dropped] == [(2, 'disk')]
    assert list(range(4) | parallel_map(broken, tasks=3, on_error=lambda error, item, ordinal: -item)) == [0, 1, -2, 3]


@pytest.mark.parametrize('tries', [1, 2])
def test_calls_are_tried_again(tries):
    calls = []

    async def f(x):
        calls.append(x)
        await asyncio.sleep(0)
        if x == 2 and calls.count(2) <= 2:
            raise OSError('network')
        return x

    made = range(4) | parallel_map(f, tasks=2, retries=tries, retry_on=OSError, backoff=1e-6)
    if tries == 2:
        assert list(made) == [0, 1, 2, 3]
    else:
        with pytest.raises(OSError, match='^network'):
            list(made)
    assert calls.count(2) == tries + 1


def test_a_call_that_takes_too_long_is_cancelled():
    cancelled = []

    async def f(x):
        try:
            if x == 1:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(x)
            raise
        return x

    name = 'parallel_map(f, tasks=2, timeout=0.01)'
    run = iter(range(3) | parallel_map(f, tasks=2, timeout=0.01))
    assert next(run) == 0
    with raises(TimeoutError, 'item 1 took longer than `timeout=0.01` seconds', f'itpipe: raised in {name}, item 1'):
        next(run)
    assert cancelled == [1]
    run = iter(range(3) | parallel_map(f, tasks=2, timeout=0.01, on_error='skip'))
    assert list(run) == [0, 2]


def test_a_timeout_of_its_own_is_an_error_like_any_other():
    async def f(x):
        raise TimeoutError('of the server')

    with pytest.raises(TimeoutError, match='^of the server'):
        list([0] | parallel_map(f, tasks=1, timeout=50))


@pytest.mark.parametrize('how', ['close', 'drop', 'error', 'Infinite'])
def test_calls_on_their_way_are_cancelled_in_the_end(how):
    begun, ended, both = set(), set(), threading.Event()

    async def f(x):
        begun.add(x)
        if len(begun) == 3:
            both.set()
        try:
            if x:
                await asyncio.Event().wait()
            return x
        finally:
            ended.add(x)

    made = parallel_map(f, tasks=3)
    if how == 'Infinite':
        with Infinite(range(9), made) as batch_iter:
            assert next(iter(batch_iter)) == 0
            assert both.wait(LIMIT)
    else:
        run = iter(range(9) | made)
        assert next(run) == 0
        assert both.wait(LIMIT)
        if how == 'close':
            run.close()
        elif how == 'error':
            with pytest.raises(ZeroDivisionError):
                list(range(3) | parallel_map(f, tasks=3) | apply(lambda x: 1 / x))
        del run
    assert ended == begun


def test_a_call_that_is_cancelled_by_others_fails():
    async def f(x):
        if x == 1:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        return x

    run = iter(range(3) | parallel_map(f, tasks=1))
    assert next(run) == 0
    with pytest.raises(RuntimeError, match='^item 1 was cancelled, but not by itpipe') as caught:
        next(run)
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


def test_a_stall_says_where_the_call_waits(monkeypatch):
    waiting, texts = [], []

    async def inner():
        waiting.append((asyncio.get_running_loop(), event := asyncio.Event()))
        await event.wait()

    async def f(x):
        await inner()
        return x

    def shown(message, *_):
        texts.append(str(message))
        (loop, event), *_ = waiting
        loop.call_soon_threadsafe(event.set)

    with warnings.catch_warnings():
        warnings.simplefilter('always', StallWarning)
        monkeypatch.setattr(warnings, 'showwarning', shown)
        assert list([0] | parallel_map(f, tasks=1, stall_timeout=0.2)) == [0]
    (text,) = texts
    assert text.startswith('itpipe: no item has come out of parallel_map(f, tasks=1, stall_timeout=0.2) for 0.2 s')
    assert 'item 0 in task 0' in text
    assert text.index(', in f') < text.index(', in inner')


# ---------------------------------------------------------------------------------------------------------------------
# Around it


def test_a_run_goes_on_and_items_are_made_again():
    made = stream(range(9), seed=0) | parallel_map(squared, tasks=3) | shuffle(4)
    run = iter(made)
    got = list(islice(run, 4))
    state = json.loads(json.dumps(run.state_dict()))
    run.close()
    assert got + list(made.resume(state)) == list(made)
    assert made.item(5) == 25


def test_what_is_checked_is_called_without_tasks():
    report = check(stream(range(5)) | parallel_map(squared, tasks=200) | take(3))
    assert list(report) == []
    assert report.table[1]['items'] == 'int'


def test_runs_within_an_event_loop():
    """As in a notebook."""
    made = range(3) | parallel_map(squared, tasks=2)

    async def main():
        return list(made), made.item(2), made.source

    assert asyncio.run(main())[:2] == ([0, 1, 4], 4)


def test_what_returns_something_to_await_is_a_coroutine_function():
    class Squares:
        async def __call__(self, x):
            return x * x

    for f in (Squares(), lambda x: squared(x), functools.partial(squared, offset=0)):
        assert list(range(3) | parallel_map(f, tasks=2)) == [0, 1, 4]


def test_prints_and_pickles():
    made = parallel_map(squared, 3, tasks=2)
    assert repr(made) == 'parallel_map(squared, 3, tasks=2)'
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert list([2] | again) == [7]


@pytest.mark.parametrize(
    ('make', 'error', 'text'),
    [
        (lambda: parallel_map(squared, tasks=0), ValueError, 'parallel_map: `tasks` must be at least 1, got 0'),
        (lambda: parallel_map(squared, tasks=-1), ValueError, 'parallel_map: `tasks` must be at least 1, got -1'),
        (lambda: parallel_map(squared, tasks=1.5), TypeError, 'parallel_map: `tasks` must be an int, got float'),
        (
            lambda: parallel_map(apply(abs), tasks=2), TypeError,
            'parallel_map: with `tasks`, `f` must be a coroutine function, not a stage, got apply(abs)',
        ),
        (
            lambda: parallel_map(3, tasks=2), TypeError,
            'parallel_map: `f` must be a function or an item-wise stage, got int',
        ),
        (
            lambda: parallel_map(squared, tasks=2, setup=list), TypeError,
            (
                'parallel_map: `setup` goes with `threads` or `processes`; with `tasks`, the first call of `f` may open'
                ' what all need'
            ),
        ),
        (
            lambda: parallel_map(squared, tasks=2, stall_timeout=1, on_stall='restart'), TypeError,
            'parallel_map: `on_stall` goes with `processes`; `timeout` cancels a task',
        ),
        (
            lambda: list([0] | parallel_map(abs, tasks=2)), TypeError,
            'parallel_map: with `tasks`, `f` must be a coroutine function (`async def`), got one that returned int',
        ),
    ],
)  # fmt: skip
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text


def test_the_time_in_which_the_event_loop_does_not_wait_is_counted(monkeypatch):
    pool, selector = Tasks(1, NOTHING), SimpleNamespace(select=lambda timeout: [timeout])
    pool._time(selector)
    times = iter([1.0, 5.0, 7.0, 20.0, 23.0, 24.0])
    monkeypatch.setattr('itpipe._workers.tasks.perf_counter', lambda: next(times))
    assert [selector.select(n) for n in range(3)] == [[0], [1], [2]]
    assert pool.meter.loop_busy == (7 - 5) + (23 - 20)
    pool._time(None)  # a loop of another library
    pool.close()


def test_a_run_knows_how_long_its_event_loop_was_busy():
    run = iter(range(8) | parallel_map(squared, tasks=2))
    assert len(list(run)) == 8
    assert [stage.loop_busy > 0 for stage in run.stats().stages] == [False, True]
