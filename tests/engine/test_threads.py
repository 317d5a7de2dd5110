"""Runs that the garbage collector finds in one of their own threads."""

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest
from running import HAS_GIL, LIMIT, wait_until

import itpipe._workers.inline
from itpipe import Infinite, apply, interleave, parallel_map, prefetch, stage, stream
from itpipe._workers.dispatch import Dispatcher

Make = Callable[[Callable[[int], int], Executor], Any]
RUNS: dict[str, Make] = {
    'pool': lambda f, _: iter(range(99) | parallel_map(f, threads=2)),
    'pool, prefetch': lambda f, _: iter(range(99) | parallel_map(f, threads=2) | prefetch(2)),
    'pool, prefetch, prefetch': lambda f, _: iter(range(99) | parallel_map(f, threads=2) | prefetch(2) | prefetch(2)),
    'pool, Infinite': lambda f, _: Infinite(range(99), parallel_map(f, threads=2)),
    'pool, Infinite without a thread': lambda f, _: Infinite(range(99), parallel_map(f, threads=2), prefetch=0),
    'pool, prefetch, Infinite': lambda f, _: Infinite(range(99), parallel_map(f, threads=2), prefetch(2)),
    'interleave': lambda f, _: iter(range(99) | interleave(lambda x: map(f, [x]), prefetch=2)),
    'executor': lambda f, executor: iter(range(99) | parallel_map(f, executor=executor)),
    'executor, Infinite': lambda f, executor: Infinite(range(99), parallel_map(f, executor=executor)),
    'prefetch, Infinite': lambda f, _: Infinite(range(99), apply(f), prefetch(2)),
    'Infinite': lambda f, _: Infinite(range(99), apply(f)),
}


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def left_in_a_cycle(run: Any) -> None:
    cell = [run]
    cell.append(cell)


def are_gone() -> bool:
    return not any(thread.name.startswith('itpipe') for thread in threading.enumerate())


@pytest.mark.usefixtures('collected_by_hand')
@pytest.mark.parametrize('made', RUNS)
def test_a_run_collected_in_a_thread_of_its_own_ends_and_warns_of_nothing(
    made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread does not wait for itself, nor for those who wait for it."""
    if not HAS_GIL and 'Infinite' not in made:
        pytest.skip('without the GIL, Python may report that it closes a generator while another thread does')
    monkeypatch.setattr(itpipe._workers.inline.InlinePolicy, 'CHEAP', -1.0)  # calls stay in the threads
    begun, dropped, collected = threading.Event(), threading.Event(), threading.Event()

    def function(x: int) -> int:
        if x == 1:
            begun.set()
            assert dropped.wait(LIMIT)
            gc.collect()
            collected.set()
        return x

    with ThreadPoolExecutor(2) as executor:
        run = RUNS[made](function, executor)
        assert next(iter(run)) == 0
        assert begun.wait(LIMIT)
        left_in_a_cycle(run)
        del run
        dropped.set()
        assert collected.wait(LIMIT)
        wait_until(are_gone, 'all threads are gone')


@pytest.mark.many(3)
@pytest.mark.usefixtures('collected_by_hand')
@pytest.mark.parametrize('kind', ['run', 'prefetch', 'Infinite'])
def test_a_run_collected_in_the_thread_of_a_process(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the lock of the pool may be held."""
    dropped, collected = threading.Event(), threading.Event()
    hand_out = Dispatcher.hand_out

    def collect(dispatcher: Any) -> None:
        if dropped.is_set() and threading.current_thread().name.startswith('itpipe-process'):
            gc.collect()
            collected.set()
        hand_out(dispatcher)

    monkeypatch.setattr(Dispatcher, 'hand_out', collect)

    def function(x: int) -> int:
        threading.Event().wait(0.01)
        return x

    items = range(99) | parallel_map(function, processes=1)
    run = {'run': iter, 'prefetch': lambda items: iter(items | prefetch(2)), 'Infinite': Infinite}[kind](items)
    assert next(iter(run)) == 0
    left_in_a_cycle(run)
    del run
    dropped.set()
    assert collected.wait(LIMIT)
    wait_until(are_gone, 'all threads are gone')


def test_a_run_that_ends_waits_for_its_threads_where_it_is_not_collected() -> None:
    """Those below do wait for those above, threads though they are."""

    @stage
    def nested(items: Any) -> Any:
        for item in items:
            yield from [item] | parallel_map(abs, threads=1) | prefetch(1)

    items = stream(range(3)) | parallel_map(abs, threads=1) | prefetch(1) | nested() | prefetch(1) | prefetch(1)
    assert list(items) == [0, 1, 2]
    assert are_gone()
    with Infinite(items) as batches:
        assert next(iter(batches)) == 0
    assert are_gone()
