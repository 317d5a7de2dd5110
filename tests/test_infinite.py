"""Infinite: epochs of one run that goes on, in one background thread, and all the ways in which it ends."""

import copy
import gc
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from running import LIMIT, raises, run_script, wait_until
from taken import Taken

import itpipe._engine.epoch_run
import itpipe._engine.epochs
import itpipe._engine.waiting
from itpipe import (
    Infinite,
    NotRestartable,
    apply,
    batch_by,
    combine,
    combine_lists,
    combine_pad,
    filter_by,
    flatten,
    interleave,
    mix,
    parallel_map,
    prefetch,
    sample,
    shuffle,
    stage,
    stream,
    take,
    with_rng,
)
from itpipe._core.instead import LOADER_PAGE, PAGE
from itpipe._core.other_names import INSTEAD, OF_LOADER

pytestmark = pytest.mark.filterwarnings('ignore:Infinite. an epoch')  # which is shorter, or has nothing

MODES = {'background': {}, 'one': {'prefetch': 1}, 'three': {'prefetch': 3}, 'here': {'prefetch': 0}}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How far ahead batches are made."""
    return MODES[request.param]


@pytest.fixture
def infinite(mode: dict[str, Any]) -> Iterator[Callable[..., Infinite[Any]]]:
    """Makes an `Infinite` in that mode, which is closed at the end."""
    made = []

    def make(*args: Any, **kwargs: Any) -> Infinite[Any]:
        made.append(Infinite(*args, **{**mode, **kwargs}))
        return made[-1]

    yield make
    for each in made:
        each.close()


def epochs(batch_iter: Infinite[Any], n: int) -> list[list[Any]]:
    return [list(batch_iter) for _ in range(n)]


def plain(batch: Any) -> Any:
    return batch.tolist() if isinstance(batch, np.ndarray) else batch


# ---------------------------------------------------------------------------------------------------------------------
# Epochs


def test_an_epoch_is_the_next_batches(infinite: Any) -> None:
    batch_iter = infinite(range(10**9), batches_per_epoch=3)
    assert epochs(batch_iter, 3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_called_or_not(infinite: Any) -> None:
    batch_iter = infinite(range(10**9), batches_per_epoch=2)
    assert [list(batch_iter), list(batch_iter()), list(iter(batch_iter))] == [[0, 1], [2, 3], [4, 5]]


def test_batches_are_lists_of_items_combined(infinite: Any) -> None:
    items = [(np.full(2, x), x) for x in range(7)]
    images, labels = next(iter(infinite(items, batch_size=3)))
    assert (images.tolist(), labels.tolist()) == ([[0, 0], [1, 1], [2, 2]], [0, 1, 2])


def test_transforms_are_stages_or_functions_of_an_item(infinite: Any) -> None:
    batch_iter = infinite(range(6), apply(pow, 2), str, batch_by(2), prefetch(1), ''.join)
    assert list(batch_iter) == ['01', '49', '1625']


def test_a_stream_is_a_source(infinite: Any) -> None:
    assert list(infinite(range(4) | apply(pow, 2))) == [0, 1, 4, 9]


def test_batch_size_may_be_a_predicate(infinite: Any) -> None:
    batch_iter = infinite([1, 2, 4, 3, 5], batch_size=lambda items, item: item > items[-1], combiner=combine_lists)
    assert list(batch_iter) == [[1, 2, 4], [3, 5]]


def test_the_combiner_gets_its_arguments(infinite: Any) -> None:
    arrays = [np.ones(1), np.ones(3)]
    (batch,) = infinite(arrays, batch_size=2, combiner=combine_pad, padding_values=-1, ratio=0)
    assert batch.tolist() == [[1, -1, -1], [1, 1, 1]]
    (batch,) = infinite([1, 2], batch_size=2, combiner=lambda items, by: sum(items) * by, by=10)
    assert batch == 30


def test_len_is_what_tqdm_shows(infinite: Any) -> None:
    tqdm = pytest.importorskip('tqdm')
    batch_iter = infinite(range(10**9), batches_per_epoch=7)
    assert len(batch_iter) == 7
    output = io.StringIO()
    for _ in tqdm.tqdm(batch_iter, file=output):
        pass
    assert '7/7' in output.getvalue()


def test_without_batches_per_epoch_len_is_that_of_a_pass(infinite: Any) -> None:
    batch_iter = infinite(range(3))
    assert len(batch_iter) == 3
    assert list(batch_iter) == [0, 1, 2]
    endless = infinite(iter(range(3)))
    with raises(
        TypeError,
        'Infinite: there is no len(), as <range_iterator> does not say how many items it has;'
        ' give `batches_per_epoch`, which is then the length',
    ):
        len(endless)
    assert list(endless) == [0, 1, 2]  # which asks for a len(), too


def test_after_a_break_the_next_epoch_goes_on_with_the_next_batch(infinite: Any) -> None:
    batch_iter = infinite(range(10**9), batches_per_epoch=3)
    for batch in batch_iter:
        if batch == 1:
            break
    assert list(batch_iter) == [2, 3, 4]


def test_two_epochs_at_once_share_the_run(infinite: Any) -> None:
    batch_iter = infinite(range(10**9), batches_per_epoch=3)
    assert list(zip(batch_iter, batch_iter, strict=True)) == [(0, 1), (2, 3), (4, 5)]


def test_two_epochs_at_once_share_the_end_of_the_source(infinite: Any) -> None:
    batch_iter = infinite(range(3))
    one, other = iter(batch_iter), iter(batch_iter)
    assert [next(one), next(other), next(one)] == [0, 1, 2]
    assert next(one, 'end') == 'end'
    assert next(other, 'end') == 'end'
    assert list(batch_iter) == [0, 1, 2]


def test_threads_that_share_it_get_each_batch_once(infinite: Any) -> None:
    batch_iter = infinite(range(10**9), batches_per_epoch=500)
    together = threading.Barrier(4)

    def consume(_: int) -> list[int]:
        together.wait(LIMIT)
        return list(batch_iter)

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(consume, range(4)))
    assert [len(share) for share in shares] == [500] * 4
    assert all(share == sorted(share) for share in shares)
    assert sorted(batch for share in shares for batch in share) == list(range(2000))


def test_threads_that_start_it_at_once_start_one_run(infinite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = itpipe._engine.epoch_run.EpochRun.__init__

    def slowly(self: Any, *args: Any) -> None:
        original(self, *args)
        made.append(self)
        threading.Event().wait(0.01)

    monkeypatch.setattr(itpipe._engine.epoch_run.EpochRun, '__init__', slowly)
    batch_iter, together = infinite(range(10**9)), threading.Barrier(4)

    def consume(_: int) -> int:
        together.wait(LIMIT)
        return next(iter(batch_iter))

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(consume, range(4))) == [0, 1, 2, 3]
    assert len(made) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Sources that end


def test_a_source_that_ends_ends_the_epoch_and_the_next_one_starts_it_again(infinite: Any) -> None:
    batch_iter = infinite(range(5), batches_per_epoch=3)
    assert epochs(batch_iter, 4) == [[0, 1, 2], [3, 4], [0, 1, 2], [3, 4]]


def test_a_source_that_ends_just_where_an_epoch_does_makes_no_empty_epoch(infinite: Any) -> None:
    assert epochs(infinite(range(4), batches_per_epoch=2), 4) == [[0, 1], [2, 3], [0, 1], [2, 3]]
    assert epochs(infinite(range(2), batches_per_epoch=2), 3) == [[0, 1]] * 3


def test_without_batches_per_epoch_an_epoch_is_a_pass(infinite: Any) -> None:
    assert epochs(infinite(range(3)), 3) == [[0, 1, 2]] * 3


def test_a_pass_that_was_broken_off_is_finished_by_the_next_epoch(infinite: Any) -> None:
    batch_iter = infinite(range(3))
    next(iter(batch_iter))
    assert epochs(batch_iter, 2) == [[1, 2], [0, 1, 2]]


def test_an_epoch_longer_than_the_source(infinite: Any) -> None:
    assert epochs(infinite(range(2), batches_per_epoch=5), 2) == [[0, 1], [0, 1]]


def test_an_empty_source_makes_empty_epochs(infinite: Any) -> None:
    for options in ({}, {'batches_per_epoch': 2}):
        assert epochs(infinite([], **options), 3) == [[], [], []]


def test_a_short_last_batch_comes_and_the_next_pass_begins_anew(infinite: Any) -> None:
    batch_iter = infinite(range(5), batch_size=2, combiner=combine_lists)
    assert epochs(batch_iter, 2) == [[[0, 1], [2, 3], [4]]] * 2


def test_a_one_shot_source_ends_and_says_why_there_is_no_more(infinite: Any) -> None:
    batch_iter = infinite((x for x in range(3)), batches_per_epoch=2)
    assert epochs(batch_iter, 2) == [[0, 1], [2]]
    message = (
        'the stream reads from an iterator (<generator>) that had its one run;'
        ' give it something that can be iterated again, such as a list'
    )
    for _ in range(3):
        with raises(NotRestartable, message):
            next(iter(batch_iter))


def test_a_one_shot_source_that_was_used_before(infinite: Any) -> None:
    numbers = stream(x for x in range(3))
    assert list(numbers) == [0, 1, 2]
    with pytest.raises(NotRestartable):
        next(iter(infinite(numbers)))


def test_passes_differ_and_are_the_same_when_run_again(infinite: Any) -> None:
    def passes() -> list[list[Any]]:
        noise = with_rng(lambda x, rng: (x, int(rng.integers(10**9))))
        batch_iter = infinite(range(20), shuffle(20), noise, seed=1)
        try:
            return epochs(batch_iter, 3)
        finally:
            batch_iter.close()

    first = passes()
    assert passes() == first
    assert len({tuple(each) for each in first}) == 3
    assert [sorted(x for x, _ in each) for each in first] == [list(range(20))] * 3
    assert len({value for each in first for _, value in each}) == 60


def test_a_seed_of_the_source_counts_passes_too(infinite: Any) -> None:
    batch_iter = infinite(stream(range(20), seed=1), shuffle(20))
    one, two = epochs(batch_iter, 2)
    assert one != two
    assert one == list(stream(range(20), seed=1) | shuffle(20))


def test_what_is_upstream_of_a_stage_that_ends_is_closed_at_the_end_of_the_pass(infinite: Any) -> None:
    log = []

    class Source:
        def __iter__(self) -> Iterator[int]:
            log.append('begin')
            try:
                yield from range(10**9)
            finally:
                log.append('end')

    with infinite(Source(), take(2), batches_per_epoch=2) as batch_iter:
        assert epochs(batch_iter, 3) == [[0, 1]] * 3
    assert log.count('begin') == log.count('end') >= 3
    log.clear()
    batch_iter = infinite(Source(), take(2))
    assert epochs(batch_iter, 3) == [[0, 1]] * 3
    assert log[:6] == ['begin', 'end'] * 3  # and perhaps the next pass has begun


# ---------------------------------------------------------------------------------------------------------------------
# Ahead


def counted(log: list[int]) -> Iterator[int]:
    for number in range(10**9):
        log.append(number)
        yield number


def test_nothing_starts_before_the_first_batch_is_asked_for(infinite: Any) -> None:
    before, pulled = threading.enumerate(), []
    batch_iter = infinite(counted(pulled), parallel_map(abs, threads=2), batches_per_epoch=2)
    len(batch_iter), repr(batch_iter), iter(batch_iter), batch_iter()
    with batch_iter:
        pass
    assert (threading.enumerate(), pulled) == (before, [])


def test_without_prefetch_nothing_is_ahead() -> None:
    pulled: list[int] = []
    with Infinite(counted(pulled), batches_per_epoch=3, prefetch=0) as batch_iter:
        for n in range(1, 10):
            next(iter(batch_iter))
            assert len(pulled) == n


@pytest.mark.parametrize('prefetch', [1, 2, 5])
def test_as_many_batches_are_ahead_as_were_asked_for_across_epochs_too(prefetch: int) -> None:
    pulled: list[int] = []
    with Infinite(counted(pulled), batches_per_epoch=2, prefetch=prefetch) as batch_iter:
        for taken in (2, 4, 6, 8):
            list(batch_iter)
            wait_until(lambda: batch_iter._epochs.run._background._full, 'the thread rests')
            assert prefetch // 2 < len(pulled) - taken <= prefetch


def test_as_many_batches_are_ahead_as_fit_into_bytes_across_epochs_and_passes_too() -> None:
    pulled: list[int] = []
    arrays = (np.full(100, x, np.uint8) for x in counted(pulled))
    with Infinite(arrays, batch_size=4, batches_per_epoch=2, prefetch='1.3kB') as batch_iter:
        for taken in (2, 4, 6, 8):
            assert [batch.nbytes for batch in batch_iter] == [400, 400]
            wait_until(lambda: batch_iter._epochs.run._background._full, 'the thread rests')
            assert 1 < len(pulled) // 4 - taken <= 3
    with Infinite([np.zeros(100)] * 5, batch_size=2, prefetch='1B') as batch_iter:
        assert [len(list(batch_iter)) for _ in range(4)] == [3] * 4


def test_by_default_two_dear_batches_are_ahead() -> None:
    pulled: list[int] = []

    def dear(x: int) -> int:
        threading.Event().wait(0.005)
        return x

    with Infinite(counted(pulled), dear) as batch_iter:
        run = iter(batch_iter)
        for _ in range(5):
            next(run)
        wait_until(lambda: batch_iter._epochs.run._background._full, 'the thread rests')
        assert len(pulled) - 5 <= 2


def test_by_default_cheap_batches_are_further_ahead_but_not_many() -> None:
    pulled: list[int] = []
    with Infinite(counted(pulled)) as batch_iter:
        run = iter(batch_iter)
        for _ in range(1000):
            next(run)
        wait_until(lambda: batch_iter._epochs.run._background._full, 'the thread rests')
        assert len(pulled) - 1000 <= 64


def test_one_thread_runs_it_all_in_all_passes() -> None:
    seen = []

    class Source:
        def __iter__(self) -> Iterator[int]:
            seen.append(threading.current_thread())
            try:
                for x in range(3):
                    seen.append(threading.current_thread())
                    yield x
            finally:
                seen.append(threading.current_thread())

    with Infinite(Source(), lambda x: seen.append(threading.current_thread())) as batch_iter:
        epochs(batch_iter, 3)
    assert len(seen) >= 3 * (1 + 3 + 3 + 1)
    assert len(set(seen)) == 1
    assert seen[0].name == 'itpipe-Infinite'


def test_with_prefetch_0_it_runs_in_the_thread_that_iterates() -> None:
    threads = set(Infinite(range(3), lambda x: threading.current_thread(), prefetch=0))
    assert threads == {threading.current_thread()}


def test_a_source_that_waits_until_the_batch_before_was_received_gets_it(infinite: Any) -> None:
    received = threading.Semaphore(1)

    def source() -> Iterator[int]:
        for x in range(300):
            assert received.acquire(timeout=LIMIT)
            yield x

    batch_iter = infinite(source(), batches_per_epoch=7)
    results: list[int] = []
    while len(results) < 300:
        for batch in batch_iter:
            results.append(batch)
            received.release()
    assert results == list(range(300))


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def test_an_error_comes_after_the_batches_before_it_and_ends_everything(infinite: Any) -> None:
    before = threading.enumerate()
    batch_iter = infinite(range(10), lambda x: 1 / (3 - x), parallel_map(abs, threads=2), batches_per_epoch=2)
    assert [len(list(batch_iter))] == [2]
    run = iter(batch_iter)
    assert next(run) == 1.0
    with pytest.raises(ZeroDivisionError) as caught:
        next(run)
    assert caught.value.__notes__ == ['itpipe: raised in apply(<lambda>), item 3']
    assert threading.enumerate() == before
    assert next(run, 'end') == 'end'
    assert len(list(batch_iter)) == 2  # from the beginning


def test_an_error_of_the_source_in_a_later_pass(infinite: Any) -> None:
    passes = []

    class Source:
        def __iter__(self) -> Iterator[int]:
            passes.append(len(passes))
            yield from range(2)
            if len(passes) == 2:
                raise OSError('gone')

    batch_iter = infinite(Source())
    assert list(batch_iter) == [0, 1]
    run = iter(batch_iter)
    assert [next(run), next(run)] == [0, 1]
    with pytest.raises(OSError, match='gone'):
        next(run)


def test_what_a_generator_raises_when_it_is_closed_reaches_who_closes(infinite: Any) -> None:
    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            raise OSError('cannot close')

    batch_iter = infinite(source())
    next(iter(batch_iter))
    with pytest.raises(OSError, match='cannot close'):
        batch_iter.close()
    batch_iter.close()


# ---------------------------------------------------------------------------------------------------------------------
# Closing


def test_with_closes(infinite: Any) -> None:
    before, closed = threading.enumerate(), []

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(True)

    with infinite(source()) as batch_iter:
        assert next(iter(batch_iter)) == 0
        assert closed == []
    assert closed == [True]
    assert threading.enumerate() == before


def test_with_lets_the_error_of_its_body_through(infinite: Any) -> None:
    with raises(KeyError, "'mine'"), infinite(range(10)) as batch_iter:
        for _ in batch_iter:
            raise KeyError('mine')


def test_closing_in_any_state_and_again(infinite: Any) -> None:
    batch_iter = infinite(range(5), batches_per_epoch=2)
    for batches in range(7):
        batch_iter.close()
        batch_iter.close()
        run = iter(batch_iter)
        for _ in range(batches):
            next(run, None)


def test_after_closing_it_starts_from_the_beginning(infinite: Any) -> None:
    batch_iter = infinite(sample(range(1000), seed=1), batches_per_epoch=3)
    first = list(batch_iter)
    assert list(batch_iter) != first
    batch_iter.close()
    assert list(batch_iter) == first


def test_without_a_seed_each_run_draws_its_own(infinite: Any) -> None:
    batch_iter = infinite(sample(range(10**9)), batches_per_epoch=3)
    first = list(batch_iter)
    batch_iter.close()
    assert list(batch_iter) != first


def test_closing_ends_the_epoch_that_is_going_on(infinite: Any) -> None:
    batch_iter = infinite(range(10**9))
    results = []
    for batch in batch_iter:
        results.append(batch)
        if batch == 3:
            batch_iter.close()
    assert results == [0, 1, 2, 3]


def test_an_old_epoch_does_not_go_on_in_a_new_run(infinite: Any) -> None:
    batch_iter = infinite(range(10))
    old = iter(batch_iter)
    next(old)
    batch_iter.close()
    assert next(iter(batch_iter)) == 0
    assert next(old, 'end') == 'end'
    assert next(iter(batch_iter)) == 1


def test_closing_in_another_thread_ends_the_wait_for_a_batch(infinite: Any) -> None:
    begun, go_on, closed = threading.Event(), threading.Event(), []

    def source() -> Iterator[int]:
        try:
            yield 0
            begun.set()
            assert go_on.wait(LIMIT)
            yield 1
        finally:
            closed.append(threading.current_thread())

    batch_iter = infinite(source())
    results: list[int] = []
    consumer = threading.Thread(target=lambda: results.extend(batch_iter))
    consumer.start()
    assert begun.wait(LIMIT)
    wait_until(lambda: results, 'the consumer has the first batch')
    live = batch_iter._epochs.run
    closing = threading.Thread(target=batch_iter.close)
    closing.start()
    wait_until(lambda: live.closed, 'closing has begun')
    go_on.set()
    closing.join(LIMIT)
    consumer.join(LIMIT)
    assert results[0] == 0
    assert len(closed) == 1


def test_closing_while_the_function_runs_in_a_pool(infinite: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def function(x: int) -> int:
        begun.set()
        assert go_on.wait(LIMIT)
        return x

    batch_iter = infinite(range(10**9), parallel_map(function, threads=2))
    results: list[int] = []
    consumer = threading.Thread(target=lambda: results.extend(batch_iter))
    consumer.start()
    assert begun.wait(LIMIT)
    live = batch_iter._epochs.run
    closing = threading.Thread(target=batch_iter.close)
    closing.start()
    wait_until(lambda: live.closed, 'closing has begun')
    go_on.set()
    closing.join(LIMIT)
    consumer.join(LIMIT)
    assert results == []


def test_closing_from_within_the_run(infinite: Any) -> None:
    """A function of the pipeline may find that it is time to end."""

    def function(x: int) -> int:
        if x == 3:
            batch_iter.close()
        return x

    batch_iter = infinite(range(10**9), function)
    assert set(batch_iter) <= {0, 1, 2, 3}
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == 'itpipe-Infinite'], 'the thread ends')


def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (itpipe._engine.waiting, itpipe._engine.epoch_run):
        monkeypatch.setattr(module, 'GRACE', 0.02)
    for ahead, where in ((1, 'thread(s) itpipe-Infinite'), (0, 'thread that iterates')):
        begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

        def source() -> Iterator[int]:
            try:
                begun.set()  # noqa: B023
                go_on.wait(LIMIT)  # noqa: B023
                yield 0
            finally:
                closed.set()  # noqa: B023

        batch_iter = Infinite(source(), prefetch=ahead)
        consumer = threading.Thread(target=list, args=(batch_iter,))
        consumer.start()
        assert begun.wait(LIMIT)
        with pytest.warns(ResourceWarning) as caught:
            batch_iter.close()
        assert [str(warning.message) for warning in caught] == [
            f'itpipe: closed, but a function or source is still running in the {where}'
        ]
        go_on.set()
        consumer.join(LIMIT)
        assert closed.wait(LIMIT)


@pytest.mark.parametrize('batches', [0, 1, 3, 4, 7])
def test_dropping_the_last_reference_closes_in_any_state(infinite: Any, batches: int) -> None:
    before = threading.enumerate()

    def use() -> None:
        batch_iter = Infinite(range(4), parallel_map(abs, threads=2), prefetch(2), batches_per_epoch=3)
        run = iter(batch_iter)
        for _ in range(batches):
            if next(run, None) is None:
                run = iter(batch_iter)

    use()
    gc.collect()
    assert threading.enumerate() == before


def test_an_epoch_that_is_kept_keeps_it_alive(infinite: Any, mode: dict[str, Any]) -> None:
    before = threading.enumerate()
    run = iter(Infinite(range(10), **mode))
    assert [next(run), next(run)] == [0, 1]
    gc.collect()
    assert next(run) == 2
    del run
    gc.collect()
    assert threading.enumerate() == before


def test_dropped_in_a_cycle(infinite: Any, mode: dict[str, Any]) -> None:
    before = threading.enumerate()
    batch_iter: Any = Infinite(range(10), **mode)
    batch_iter.itself = batch_iter
    next(iter(batch_iter))
    del batch_iter
    gc.collect()
    assert threading.enumerate() == before


def test_dropped_while_the_generators_raise_when_closed() -> None:
    """Nobody is there to raise it to: Python prints it."""

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            raise OSError('cannot close')

    batch_iter = Infinite(source())
    next(iter(batch_iter))
    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda failure: unraisable.append(failure.exc_value)
    excepthook, sys.excepthook = sys.excepthook, lambda kind, error, tb: unraisable.append(error)
    try:
        del batch_iter
        gc.collect()
    finally:
        sys.unraisablehook, sys.excepthook = hook, excepthook
    assert [str(error) for error in unraisable] == ['cannot close']


# ---------------------------------------------------------------------------------------------------------------------
# Other processes


def train(batch_iter: Infinite[Any], results: Any) -> None:
    with batch_iter:
        results.put([plain(batch) for batch in batch_iter])


def double(x: int) -> int:
    return 2 * x


def seeded() -> Infinite[Any]:
    noise = with_rng(noisy)
    return Infinite(
        sample(range(10**6), seed=1), parallel_map(double, threads=2), noise, batch_size=3, batches_per_epoch=4
    )


def noisy(x: int, rng: Any) -> float:
    return x + float(rng.random())


def test_a_spawned_training_process_gets_its_own() -> None:
    context = multiprocessing.get_context('spawn')
    results = context.SimpleQueue()
    batch_iter = seeded()
    process = context.Process(target=train, args=(batch_iter, results))
    process.start()
    theirs = results.get()
    process.join()
    with batch_iter:
        assert theirs == [plain(batch) for batch in batch_iter]
    process.close()
    results.close()


def test_a_copy_is_one_of_its_own(infinite: Any) -> None:
    batch_iter = infinite(range(10**9), batches_per_epoch=2)
    for make in (lambda each: pickle.loads(pickle.dumps(each)), copy.copy, copy.deepcopy):
        other = make(batch_iter)
        with other:
            assert epochs(other, 2) == [[0, 1], [2, 3]]
        assert repr(other) == repr(batch_iter)
    assert list(batch_iter) == [0, 1]
    with raises(TypeError, 'Infinite: it has started and cannot be pickled; pickle it before, or close() it first'):
        pickle.dumps(batch_iter)
    batch_iter.close()
    assert list(pickle.loads(pickle.dumps(batch_iter))) == [0, 1]


@pytest.mark.long
def test_a_forked_process_is_told_quickly_and_leaves_the_one_it_comes_from_alone() -> None:
    out = run_script(
        """
        import os, sys
        from itpipe import Infinite, parallel_map

        for where in ({'threads': 2}, {'processes': 1}):
            for prefetch in (None, 0):
                batch_iter = Infinite(range(10), parallel_map(abs, **where), batches_per_epoch=2, prefetch=prefetch)
                run = iter(batch_iter)
                next(run)
                child = os.fork()
                if not child:
                    for refused in (run, iter(batch_iter), iter(batch_iter)):
                        try:
                            next(refused)
                        except RuntimeError as error:
                            print(str(error).replace(str(os.getppid()), 'PARENT'))
                    batch_iter.close()
                    batch_iter.close()
                    print(list(batch_iter))
                    batch_iter.close()
                    sys.stdout.flush()
                    if where == {'threads': 2}:
                        sys.exit(0)  # and with processes, multiprocessing would say that they are not its own
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                print(list(run), list(batch_iter), flush=True)
                batch_iter.close()
        """,
        options=('-W', 'ignore'),
    )
    told = (
        'Infinite: it was started in process PARENT. This process is a fork of that one, and has no'
        ' background thread: close() it here first, then it starts anew, or make one in each process\n'
    )
    assert out == (3 * told + '[0, 1]\n[1] [2, 3]\n') * 4


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'source': 3}, TypeError, 'stream: what stands left of `|` must be iterable, got int'),
        ({'batches_per_epoch': 0}, ValueError, 'Infinite: `batches_per_epoch` must be at least 1, got 0'),
        ({'batches_per_epoch': -1}, ValueError, 'Infinite: `batches_per_epoch` must be at least 1, got -1'),
        ({'batches_per_epoch': 1.5}, TypeError, 'Infinite: `batches_per_epoch` must be an int, got float'),
        ({'prefetch': -1}, ValueError, 'Infinite: `prefetch` must be at least 0, got -1'),
        ({'prefetch': True}, TypeError, "Infinite: `prefetch` must be an int or a size such as '512MB', got bool"),
        ({'prefetch': '512'}, ValueError, "Infinite: `prefetch` must be an int or a size such as '512MB', got '512'"),
        ({'prefetch': '0MB'}, ValueError, "Infinite: `prefetch` must be at least one byte, got '0MB'"),
        ({'batch_size': 0}, ValueError, 'Infinite: `batch_size` must be at least 1, got 0'),
        ({'batch_size': '3'}, TypeError, 'Infinite: `batch_size` must be an int, got str'),
        ({'seed': -1}, ValueError, 'Infinite: `seed` must not be negative, got -1'),
        ({'seed': 0.5}, TypeError, 'Infinite: `seed` must be an int or None, got float'),
        ({'seed': 'x'}, TypeError, 'Infinite: `seed` must be an int or None, got str'),
        ({'stall_timeout': 0.0}, ValueError, 'Infinite: `stall_timeout` must be positive, got 0.0'),
        ({'stall_timeout': True}, TypeError, 'Infinite: `stall_timeout` must be a number, got bool'),
        ({'combiner': combine_pad}, TypeError, 'Infinite: `combiner` goes with `batch_size`'),
        (
            {'source': range(4) | batch_by(2), 'combiner': combine_pad},
            TypeError,
            'Infinite: `combiner` goes with `batch_size`',
        ),
        ({'padding_values': 0}, TypeError, 'Infinite: `padding_values` goes with `batch_size`'),
        (
            {'batch_size': 2, 'combiner': 3},
            TypeError,
            'Infinite: `combiner` must be a stage or a function of one item, got int',
        ),
        ({'batch_sise': 2}, TypeError, 'Infinite: there is no `batch_sise`: did you mean `batch_size`?'),
        (
            {'stal_timeout': 2},
            TypeError,
            'Infinite: there is no `stal_timeout`: did you mean `stall_timeout`?',
        ),
        ({'seeds': 2}, TypeError, 'Infinite: there is no `seeds`: did you mean `seed`?'),
        (
            {'batch_size': 2, 'size': 5},
            TypeError,
            (
                'Infinite: combine: there is no `size`: it takes `items`, `missing`, `ragged`, `types` (options that'
                ' are not its own go to the combiner)'
            ),
        ),
        (
            {'batch_size': 2, 'combiner': combine_pad, 'batch_per_epoch': 5},
            TypeError,
            'Infinite: there is no `batch_per_epoch`: did you mean `batches_per_epoch`?',
        ),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with raises(error, message):
        Infinite(**{'source': [1], **arguments})


def test_wrong_transforms() -> None:
    with raises(TypeError, 'Infinite: `transforms[1]` must be a stage or a function of one item, got str'):
        Infinite([1], abs, '3')
    with raises(TypeError, '`batch_by` makes a stage when it is called: did you mean `batch_by(…)`?'):
        Infinite([1], batch_by)


def test_what_is_wrong_with_a_combiners_option_is_its_own_error() -> None:
    with raises(ValueError, 'combine_pad: `ratio` must be between 0 and 1, got 2'):
        Infinite([1], batch_size=2, combiner=combine_pad, ratio=2)


def test_it_prints_as_the_stream_and_the_options() -> None:
    assert repr(Infinite(range(3))) == 'Infinite(range(0, 3))'
    assert repr(Infinite(range(3), prefetch='512MB')) == "Infinite(range(0, 3), prefetch='512MB')"
    batch_iter = Infinite(
        range(3), abs, flatten, batch_size=2, combiner=combine, batches_per_epoch=5, prefetch=0, seed=7
    )
    assert repr(batch_iter) == (
        'Infinite(range(0, 3) | apply(abs) | flatten() | batch_by(2) | apply(combine),'
        ' batches_per_epoch=5, prefetch=0, seed=7)'
    )
    assert repr(Infinite([1], stall_timeout=None)) == 'Infinite([1], stall_timeout=None)'
    assert repr(Infinite([1], stall_timeout=60)) == 'Infinite([1])'


def test_a_stage_of_ones_own_sees_one_pass_at_a_time(infinite: Any) -> None:
    @stage
    def total(items: Iterator[int]) -> Iterator[int]:
        yield sum(items)

    assert epochs(infinite(range(4), total()), 2) == [[6], [6]]


# ---------------------------------------------------------------------------------------------------------------------
# Epochs that start anew


def with_number(x: int, rng: np.random.Generator) -> tuple[int, float]:
    return x, rng.random()


@pytest.mark.parametrize('seed', [None, 0])
@pytest.mark.parametrize('options', [{}, {'batches_per_epoch': 3}, {'batches_per_epoch': 5}])
def test_with_restart_each_epoch_is_the_same(infinite: Any, options: dict[str, Any], seed: int | None) -> None:
    """Also after a break, whatever had been made ahead; the same items with the same random numbers."""
    made = [range(10), shuffle(4), with_rng(with_number)]
    batch_iter = infinite(*made, batch_size=2, combiner=combine_lists, restart=True, seed=seed, **options)
    first = list(batch_iter)
    assert len(first) == options.get('batches_per_epoch', 5)
    for cut in (1, 2, 3, 1):
        for n, batch in enumerate(batch_iter):
            assert batch == first[n]
            if n + 1 == cut:
                break
        assert batch_iter.state_dict()['position'] is None
    assert list(batch_iter) == first


def test_with_restart_a_state_is_within_an_epoch_and_only_for_the_next_one(infinite: Any) -> None:
    made = [range(10), shuffle(4)]
    batch_iter = infinite(*made, batch_size=2, combiner=list, restart=True, seed=0)
    whole = list(batch_iter)
    epoch = batch_iter()
    head = [next(epoch), next(epoch)]
    state = batch_iter.state_dict()
    other = infinite(*made, batch_size=2, combiner=list, restart=True, seed=0)
    other.load_state_dict(state)
    assert head + list(other) == whole
    assert list(other) == whole
    assert state['batch'] == 2


def test_with_restart_two_epochs_at_once_share_nothing(infinite: Any) -> None:
    batch_iter = infinite(range(10), shuffle(10), restart=True)
    whole = list(batch_iter)
    assert list(zip(batch_iter, batch_iter, strict=True)) == list(zip(whole, whole, strict=True))
    first, second = batch_iter(), batch_iter()
    assert [next(first), next(second), next(first)] == [whole[0], whole[0], whole[1]]
    batch_iter.close()
    assert [*first, *second] == []
    assert list(batch_iter) == whole


RETRYING = {'retries': 1, 'retry_on': OSError}


@pytest.mark.parametrize('options', [{}, RETRYING], ids=['', 'retrying'])
def test_with_restart_only_workers_stay_between_epochs(infinite: Any, options: dict[str, Any]) -> None:
    batch_iter = infinite(range(10) | parallel_map(abs, threads=2, **options), restart=True)
    before = threading.active_count()
    assert list(batch_iter) == [*range(10)]
    assert before < threading.active_count() <= before + 2
    for _ in batch_iter:
        break
    assert before < threading.active_count() <= before + 2
    assert list(batch_iter) == [*range(10)]
    assert before < threading.active_count() <= before + 2
    batch_iter.close()
    assert threading.active_count() == before
    assert list(batch_iter) == [*range(10)]


def test_with_restart_processes_stay_also_after_a_break(infinite: Any) -> None:
    batch_iter = infinite(range(10) | parallel_map(process, processes=1), restart=True)
    (first,) = set(batch_iter)
    for _ in batch_iter:
        break
    assert set(batch_iter) == {first}
    batch_iter.close()
    assert first not in set(batch_iter)


def process(_: int) -> int:
    return os.getpid()


def added(x: int, box: dict[str, Any]) -> tuple[int, int]:
    return x + int(box['n'][0]), os.getpid()


def parts(x: int, box: dict[str, Any]) -> list[tuple[int, int]]:
    return [added(x, box)]


@pytest.mark.parametrize('large', [False, True])
@pytest.mark.parametrize('shards', [False, True])
def test_with_restart_processes_are_new_after_an_edit_and_only_then(shards: bool, large: bool) -> None:
    box: Any = {'n': np.zeros(20_000 if large else 1, int)}
    read = interleave(partial(parts, box=box), cycle=1, processes=True)
    mapped = parallel_map(partial(added, box=box), processes=1, retries=1, retry_on=OSError)
    with Infinite(range(3) | (read if shards else mapped), restart=True, seed=0) as it:
        first, second = list(it), list(it)
        assert [x for x, _ in first] == [0, 1, 2]
        assert set(first) == set(second)
        for change in 'in place', 'another':
            if change == 'in place':
                box['n'][0] = 100
            else:
                box['n'] = box['n'] + 100
            before, second = second, list(it)
            assert [x - 100 for x, _ in second] == [x for x, _ in before]
            assert {pid for _, pid in second}.isdisjoint(pid for _, pid in before)


def test_with_restart_a_killed_process_is_replaced_in_the_next_epoch(infinite: Any) -> None:
    batch_iter = infinite(range(10) | parallel_map(process, processes=1), restart=True)
    (first,) = set(batch_iter)
    os.kill(first, signal.SIGKILL)
    (second,) = set(batch_iter)
    assert second != first


def test_with_restart_a_forked_process_has_workers_of_its_own(infinite: Any) -> None:
    batch_iter = infinite(range(10) | parallel_map(abs, threads=2), restart=True)
    assert list(batch_iter) == [*range(10)]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # there are threads
        child = os.fork()
    if not child:
        alike = list(batch_iter) == [*range(10)]
        batch_iter.close()
        os._exit(alike and threading.active_count() == 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert list(batch_iter) == [*range(10)]


def test_with_restart_the_workers_end_with_it(mode: dict[str, Any]) -> None:
    before = threading.active_count()
    batch_iter = Infinite(range(10) | parallel_map(abs, threads=2), restart=True, **mode)
    assert list(batch_iter) == [*range(10)]
    assert before < threading.active_count() <= before + 2
    del batch_iter
    assert threading.active_count() == before


def test_with_restart_epochs_at_once_have_workers_of_their_own(infinite: Any) -> None:
    batch_iter = infinite(range(10) | parallel_map(abs, threads=2), restart=True)
    before = threading.active_count()
    assert list(zip(batch_iter, batch_iter, batch_iter, strict=True)) == [(n, n, n) for n in range(10)]
    assert before < threading.active_count() <= before + 2
    batch_iter.close()
    assert threading.active_count() == before


def test_with_restart_a_source_has_to_be_iterable_again(infinite: Any) -> None:
    batch_iter = infinite(iter(range(4)), restart=True)
    assert next(batch_iter()) == 0
    with pytest.raises(NotRestartable, match='give it something that can be iterated again'):
        list(batch_iter)


def test_with_restart_it_prints_and_pickles() -> None:
    batch_iter = Infinite(range(4), restart=True)
    assert repr(batch_iter) == 'Infinite(range(0, 4), restart=True)'
    assert list(batch_iter) == [0, 1, 2, 3]
    copied = pickle.loads(pickle.dumps(batch_iter))
    assert [next(copied()), next(copied())] == [0, 0]
    with raises(TypeError, 'Infinite: `restart` must be True or False, got int'):
        Infinite(range(4), restart=1)


# ---------------------------------------------------------------------------------------------------------------------
# Where it stands, while the next batch is made


def asked(batch_iter: Infinite[Any]) -> list[Any]:
    """What it says of the batch received last, asked by another thread, which must not wait."""
    said: list[Any] = []

    def ask() -> None:
        state = batch_iter.state_dict()
        said.append((state['batch'], batch_iter.indices, batch_iter.ordinals, batch_iter.item_keys, batch_iter.dropped))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(LIMIT)
    return said


@pytest.mark.parametrize('stages', [[], [shuffle(1)], [prefetch(1)], [parallel_map(abs, threads=1)]])
def test_nobody_who_asks_where_it_stands_waits_for_the_next_batch(infinite: Any, stages: list[Any]) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def load(x: int) -> int:
        if x == 3:
            hangs.set()
            assert goes_on.wait(LIMIT)
        return x

    batch_iter = infinite(range(6), load, *stages, batch_size=1, combiner=list, batches_per_epoch=10)
    epoch = batch_iter()
    assert [next(epoch) for _ in range(2)] == [[0], [1]]
    with ThreadPoolExecutor(1) as consumer:
        rest = consumer.submit(lambda: [next(epoch) for _ in range(4)])
        assert hangs.wait(LIMIT)
        wait_until(lambda: asked(batch_iter)[0][0] in (2, 3), 'it has what was ready')
        ((batch, *keys),) = asked(batch_iter)
        goes_on.set()
        assert rest.result(LIMIT) == [[2], [3], [4], [5]]
    assert keys == [[batch - 1]] * 3 + [[]]


@pytest.mark.parametrize('where', ['source', 'function', 'thread', 'prefetch', 'batch'])
def test_it_can_be_asked_from_within_the_pipeline(infinite: Any, where: str) -> None:
    said = []

    def ask(x: Any) -> Any:
        said.append((batch_iter.state_dict()['batch'], batch_iter.indices, batch_iter.ordinals, batch_iter.item_keys))
        return x

    def source() -> Iterator[int]:
        yield from map(ask, range(6))

    once = iter(range(6))  # so that no next pass is begun
    made: dict[str, list[Any]] = {
        'source': [source(), batch_by(2)],
        'function': [once, ask, batch_by(2)],
        'thread': [once, parallel_map(ask, threads=2), batch_by(2)],
        'prefetch': [once, ask, prefetch(2), shuffle(1), batch_by(2)],
        'batch': [once, batch_by(2), ask],
    }
    batch_iter = infinite(*made[where], stall_timeout=None)
    assert list(batch_iter) == [[0, 1], [2, 3], [4, 5]]
    assert len(said) == (3 if where == 'batch' else 6)
    for batch, *keys in said:
        assert keys == [[2 * batch - 2, 2 * batch - 1] if batch else []] * 3


def test_states_taken_by_another_thread_all_the_time_are_those_of_whole_batches() -> None:
    """Each goes on behind the batch that it names, and the run is not disturbed."""
    made = [range(2000), shuffle(50), lambda x: [x, -x], flatten, batch_by(3)]
    with Infinite(*made, seed=0) as batch_iter:
        batches = list(batch_iter)
    taken, ended = [], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            taken.append(batch_iter.state_dict())

    with Infinite(*made, seed=0) as batch_iter:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            assert list(batch_iter) == batches
        finally:
            ended.set()
            watcher.join(LIMIT)
        different = {repr(state): state for state in taken if state['pass'] == 0}
        for state in list(different.values())[:: max(1, len(different) // 20)]:
            batch_iter.load_state_dict(state)
            assert list(batch_iter) == batches[state['batch'] :]


# ---------------------------------------------------------------------------------------------------------------------
# What is said of short epochs, of options of others, of threads that share an epoch


SHORT = (
    'Infinite: an epoch ended after {} of `batches_per_epoch={}` batches, because the source ended; the next epoch'
    ' begins it again'
)
NONE = (
    'Infinite: an epoch had no batches: the source is empty, or all items were left out, as by `filter_by`, or by'
    ' `drop_last` if there are fewer items than make a batch'
)


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    ('made', 'options', 'message'),
    [
        (
            [range(10)],
            {'batch_size': 4, 'batches_per_epoch': 2},
            SHORT.format(1, 2),
        ),
        (
            [range(10)],
            {'batches_per_epoch': 20},
            SHORT.format(10, 20),
        ),
        *(
            (
                made,
                options,
                NONE,
            )
            for made in ([[]], [range(3), batch_by(4, drop_last=True)], [range(9), filter_by(lambda x: x > 10)])
            for options in ({}, {'batches_per_epoch': 2}, {'restart': True})
        ),
    ],
)
def test_one_warning_of_epochs_that_are_short(infinite: Any, made: Any, options: Any, message: str) -> None:
    batch_iter = infinite(*made, **options)
    with pytest.warns(UserWarning, match='an epoch') as said:
        epochs(batch_iter, 4)
    assert [str(each.message) for each in said] == [message]
    assert said[0].filename == __file__


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
    'made',
    [lambda: iter(range(5)), lambda: stream(iter(range(5)), seed=0), lambda: mix(iter(range(5)))],
)
def test_the_warning_says_that_an_iterator_may_not_begin_again(infinite: Any, made: Any) -> None:
    batch_iter = infinite(made(), batch_size=2, batches_per_epoch=4)
    text = (
        'Infinite: an epoch ended after 3 of `batches_per_epoch=4` batches, because the source ended; it is an'
        ' iterator, and most iterators cannot be iterated again, so the next epoch may raise NotRestartable: give it'
        ' something that can be iterated again, such as a list'
    )
    with pytest.warns(UserWarning, match='an epoch') as said:
        assert len(list(batch_iter)) == 3
    assert [str(each.message) for each in said] == [text]
    with pytest.raises(NotRestartable):
        list(batch_iter)


@pytest.mark.filterwarnings('error')
def test_no_warning_of_epochs_that_are_as_long_as_they_are(infinite: Any) -> None:
    assert len(list(infinite(range(10), batch_size=4))) == 3
    assert len(list(infinite(range(10), batch_size=4, batches_per_epoch=5, restart=True))) == 3
    assert list(map(len, epochs(infinite(range(9), batches_per_epoch=3), 7))) == [3] * 7
    batch_iter = infinite(range(10), batches_per_epoch=20)
    assert next(batch_iter()) == 0
    batch_iter.close()
    first, second = infinite(range(4), batches_per_epoch=4), None
    for _ in first():
        second = first()
        list(second)
        break


@pytest.mark.many(5)
@pytest.mark.parametrize('combiner', [combine, combine_lists, lambda items, of_its_own=0: items])
@pytest.mark.parametrize('name', sorted(INSTEAD))
def test_options_of_other_loaders_are_refused_with_what_to_write(name: str, combiner: Any) -> None:
    for options in ({'batch_size': 2}, {}):
        page = LOADER_PAGE if name in OF_LOADER else PAGE
        with raises(TypeError, f'Infinite: there is no `{name}`: {INSTEAD[name]}{page}'):
            Infinite(range(4), combiner=combiner, **options, **{name: 1})


def test_all_options_of_other_loaders_are_named_at_once() -> None:
    message = (
        'Infinite: there are no options `num_workers`, `shuffle`, `pin_memory`; the page "Coming from DataLoader" has'
        f' more\n- `num_workers`: {INSTEAD["num_workers"]}\n- `shuffle`: leave it out\n- `pin_memory`: leave it out'
    )
    with raises(TypeError, message):
        Infinite(range(4), batch_size=2, num_workers=2, shuffle=False, pin_memory=None)


def test_a_combiner_may_have_an_option_of_such_a_name() -> None:
    def collate(items: list[int], shuffle: int) -> list[int]:
        return [shuffle * item for item in items]

    with Infinite(range(4), batch_size=2, combiner=collate, shuffle=3) as batch_iter:
        assert list(batch_iter) == [[0, 3], [6, 9]]
    with Infinite(range(4), batch_size=4, combiner=lambda items, **options: options, timeout=3) as batch_iter:
        assert list(batch_iter) == [{'timeout': 3}]


def test_two_threads_in_one_epoch_are_told(mode: dict[str, Any]) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def load(x: int) -> int:
        hangs.set()
        assert goes_on.wait(LIMIT)
        return x

    with Infinite(range(4), load, **mode) as batch_iter, ThreadPoolExecutor(1) as other:
        epoch = batch_iter()
        first = other.submit(next, epoch)
        assert hangs.wait(LIMIT)
        text = (
            'Infinite: two threads have asked one epoch for a batch at the same time, or the epoch has asked itself;'
            ' let each thread iterate over the Infinite by itself, they share its batches'
        )
        with raises(RuntimeError, text):
            next(epoch)
        goes_on.set()
        assert first.result(LIMIT) == 0
        assert list(epoch) == [1, 2, 3]


def test_a_function_that_asks_its_own_epoch_is_told() -> None:
    def load(x: int) -> int:
        return next(epoch)

    batch_iter = Infinite(range(4), load, prefetch=0)
    epoch = batch_iter()
    with pytest.raises(RuntimeError, match='or the epoch has asked itself'):
        next(epoch)


def test_the_run_may_be_reset_while_another_thread_asks_for_it(monkeypatch):
    with Infinite(range(8), batch_size=4) as batch_iter:
        next(iter(batch_iter))
        epochs = batch_iter._epochs
        run = epochs.run
        looks = (lambda: epochs.show(None), lambda: epochs.stats().loop.items, lambda: epochs.last.batch)
        found = []
        for look in looks:
            monkeypatch.setattr(type(epochs), 'run', Taken(run), raising=False)
            found.append(look())
        monkeypatch.setattr(type(epochs), 'run', Taken(run), raising=False)
        with pytest.raises(TypeError, match='has started'):
            epochs.__getstate__()
        monkeypatch.undo()
    assert found == [None, 1, 1]


@pytest.mark.parametrize('workers', [{}, {'threads': 2}, {'processes': 1}], ids=str)
def test_a_short_last_batch_may_be_left_out(workers: dict[str, Any]) -> None:
    """In each pass, and in `len`."""
    with Infinite(range(10), abs, batch_size=4, drop_last=True, **workers) as batch_iter:
        assert len(batch_iter) == 2
        for _ in range(2):
            assert [batch.tolist() for batch in batch_iter] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize('batch_size', [None, lambda items, item: True])
def test_only_a_batch_of_a_given_size_may_be_short(batch_size: Any) -> None:
    with raises(TypeError, 'Infinite: `drop_last` goes with a `batch_size` that is an int'):
        Infinite([1], batch_size=batch_size, drop_last=True)
    with raises(TypeError, 'Infinite: `drop_last` must be True or False, got int'):
        Infinite([1], batch_size=2, drop_last=1)
