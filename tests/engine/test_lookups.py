"""Where the items of a dataset are looked up: behind what only orders them, and in the workers that follow."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from enum import Enum
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looked_up import Data

from itpipe import (
    Infinite,
    NotPicklable,
    WorkerCrashed,
    apply,
    batch_by,
    combine_lists,
    concat,
    cycle,
    filter_by,
    load_by_random_id,
    mix,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shard,
    shuffle,
    skip,
    stream,
    take,
    with_rng,
    zip_with,
)


class Where(Data):
    """The process and the thread of each look-up."""

    def __getitem__(self, index: int) -> Any:
        return os.getpid(), threading.current_thread().name


class Iterable(Data):
    def __iter__(self) -> Iterator[int]:
        return iter(range(self.size))


def where(_: Any) -> Any:
    return os.getpid(), threading.current_thread().name


def same(x: Any) -> Any:
    return x


def noisy(x: Any, rng: np.random.Generator) -> Any:
    return x, rng.random()


HERE = os.getpid()
SOURCES: dict[str, Callable[[], Any]] = {
    'stream': lambda: stream(Where(), seed=0),
    'sample': lambda: sample(Where(), seed=0),
    'by id': lambda: load_by_random_id(where, ids=range(9), seed=0),
    'shuffled': lambda: stream(Where(), seed=0) | shuffle(9),
    'skipped': lambda: sample(Where(), seed=0) | skip(3),
    'of a rank': lambda: sample(Where(), seed=0) | shard(1, 2),
    'with steps between': lambda: stream(Where(), seed=0) | apply(same) | shuffle(4) | apply(same),
    'mix': lambda: mix(sample(Where()) | apply(same), stream(Where()) | shuffle(3), seed=0),
    'mix of mixes': lambda: mix(mix(Where(), seed=1), Where(), seed=0),
    'concat': lambda: stream(Where()) | concat(Where()),
    'cycle': lambda: stream(Where(), seed=0) | shuffle(5) | cycle(),
    'batches': lambda: stream(Where()) | batch_by(1) | apply(lambda batch: batch[0]),
}


@pytest.mark.many(9)
@pytest.mark.parametrize('name', SOURCES)
@pytest.mark.parametrize('mode', ['threads', 'processes'])
def test_the_workers_that_follow_look_up(name: str, mode: str) -> None:
    workers: Any = parallel_map(lambda x, setup: x, setup=object, **{mode: 2})  # type: ignore[arg-type]
    for pid, thread in SOURCES[name]() | workers | take(20):
        assert (pid == HERE) is (mode == 'threads')
        assert thread.startswith('itpipe-' if mode == 'threads' else 'MainThread')


def test_zipped_streams_too() -> None:
    run = stream(Where()) | zip_with(Where() | apply(same)) | parallel_map(same, processes=1)
    assert {pid for pair in run for pid, _ in pair}.isdisjoint({HERE})


def test_with_an_executor_too() -> None:
    with ProcessPoolExecutor(1, get_context('spawn')) as executor:
        assert HERE not in {pid for pid, _ in Where(5) | parallel_map(same, executor=executor)}


def test_a_dataset_that_is_too_large_to_go_with_each_call_stays_here() -> None:
    class Large(Where):
        def __init__(self) -> None:
            super().__init__(5)
            self.table = os.urandom(1 << 20)

    with ProcessPoolExecutor(1, get_context('spawn')) as executor:
        assert {pid for pid, _ in Large() | parallel_map(same, executor=executor)} == {HERE}


@pytest.mark.many(3)
@pytest.mark.parametrize(
    'pipeline',
    [
        lambda: Where() | parallel_map(same, processes=1, lookups='main'),
        lambda: Where() | prefetch(2) | parallel_map(same, processes=1),
        lambda: Where() | filter_by(bool) | parallel_map(same, processes=1),
        lambda: Where() | reuse(2, 2) | parallel_map(same, processes=1),
        lambda: Where() | batch_by(lambda *_: False) | parallel_map(lambda batch: batch[0], processes=1),
    ],
)
def test_here_where_it_is_asked_for_or_a_step_needs_the_values(pipeline: Callable[[], Any]) -> None:
    assert {pid for pid, _ in pipeline()} == {HERE}


@pytest.mark.many(3)
@pytest.mark.parametrize('items', [list(range(9)), range(9), 'abcdefghi', np.arange(9), bytes(9)], ids=repr)
def test_what_takes_no_time_stays_here(items: Any) -> None:
    class Refuses:
        def __reduce__(self) -> Any:
            raise AssertionError('the items would go to each process')

    kept = [*items, Refuses()] if isinstance(items, list) else items
    assert len(list(stream(kept) | take(9) | parallel_map(same, processes=1))) == 9


def test_a_memory_map_is_opened_by_the_processes(tmp_path: Path) -> None:
    rows = np.lib.format.open_memmap(tmp_path / 'rows.npy', 'w+', np.int64, (6, 2))
    rows[:] = np.arange(12).reshape(6, 2)
    got = list(sample(rows, replace=False, seed=0) | parallel_map(np.sum, processes=2) | take(6))
    assert sorted(got) == [1, 5, 9, 13, 17, 21]


@pytest.mark.parametrize('data', [Data, Iterable])
def test_a_shuffle_orders_places_and_only_what_goes_out_is_looked_up(data: Callable[[int], Data]) -> None:
    items = data(400)
    with Infinite(items, apply(same), shuffle(400), batch_size=32, prefetch=0, seed=0) as batches:
        first = next(batches())
    probed = [0] if isinstance(items, Iterable) else []
    assert items.seen == [*probed, *first]


def test_what_is_skipped_or_of_another_rank_is_not_looked_up() -> None:
    items = Data()
    assert list(items | skip(10) | shard(0, 3) | take(4)) == items.seen == [10, 13, 16, 19]


def test_the_same_bits_wherever_items_are_looked_up() -> None:
    def pipeline(**workers: Any) -> Any:
        pairs = mix(sample(Data()) | with_rng(noisy), stream(Data()) | with_rng(noisy) | shuffle(7) | cycle(), seed=3)
        rest = parallel_map(with_rng(noisy), **workers) if workers else with_rng(noisy)
        return pairs | with_rng(noisy) | shuffle(5) | rest | take(120)

    expected = list(pipeline())
    assert len({repr(item) for item in expected}) == 120
    for workers in [{'threads': 3}, {'processes': 2}, {'threads': 2, 'lookups': 'main'}]:
        assert list(pipeline(**workers)) == expected
        run = iter(pipeline(**workers))
        received = [next(run) for _ in range(50)]
        state = run.state_dict()
        run.close()
        assert received + list(pipeline().resume(state)) == expected


def test_each_pass_draws_anew_in_workers() -> None:
    steps = apply(same), with_rng(noisy), cycle(2), shuffle(3)
    with Infinite(Data(4), *steps, parallel_map(same, processes=1), seed=0) as it:
        passes = [list(it), list(it)]
    with Infinite(Data(4), *steps, seed=0) as it:
        assert passes == [list(it), list(it)]
    assert len({noise for epoch in passes for _, noise in epoch}) == 16


class Fragile(Data):
    def __getitem__(self, index: int) -> int:
        if index == 3:
            raise OSError('no such file')
        return index


@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 1}, {'threads': 2, 'lookups': 'main'}])
def test_an_error_says_where_the_item_lies(workers: dict[str, Any]) -> None:
    run = iter(Fragile() | parallel_map(same, **workers))
    assert [next(run) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match='no such file') as caught:
        next(run)
    assert caught.value.__notes__ == ['itpipe: raised in the source Fragile(size=40, seen=[]), item 3']


@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 1}])
def test_what_cannot_be_looked_up_is_left_out_or_replaced_like_what_the_function_fails_for(workers: Any) -> None:
    run = iter(Fragile(6) | parallel_map(same, on_error='skip', **workers))
    assert list(run) == [0, 1, 2, 4, 5]
    (dropped,) = run.dropped
    assert (dropped.ordinal, dropped.stage) == (3, f'the source {Fragile(6)!r}')  # and not the function


def refuse(x: int) -> int:
    if x == 7:
        raise ValueError(x)
    return x


@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 1}, {'threads': 2, 'lookups': 'main'}])
def test_on_error_gets_the_item_that_the_function_got(workers: Any) -> None:
    got: list[Any] = []

    def handle(error: Exception, item: Any, ordinal: int) -> Any:
        got.append((type(error), item, ordinal))
        return 'skip'

    run = Data(9) | apply(lambda x: x + 5) | parallel_map(refuse, on_error=handle, **workers)
    assert list(run) == [5, 6, 8, 9, 10, 11, 12, 13]
    assert got == [(ValueError, 7, 2)]


def test_if_the_item_cannot_be_looked_up_on_error_gets_its_index() -> None:
    got: list[Any] = []
    list(Fragile(5) | parallel_map(same, threads=1, on_error=lambda *args: got.append(args[1:]) or 'skip'))
    assert got == [(3, 3)]


class Locked(Data):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def test_a_dataset_that_cannot_be_pickled_is_an_error_with_the_ways_out() -> None:
    with pytest.raises(NotPicklable) as caught:
        next(iter(sample(Locked(), seed=0) | apply(same) | parallel_map(same, processes=1)))
    assert str(caught.value) == (
        'the source, whose items the processes look up, cannot be pickled because of `lock`, class `_thread.lock`'
        " (TypeError: cannot pickle '_thread.lock' object): let it open what it needs in `__getitem__`,"
        " use threads, or give `parallel_map` `lookups='main'`"
    )
    assert next(iter(sample(Locked(), seed=0) | parallel_map(same, processes=1, lookups='main'))) in range(40)


@pytest.mark.parametrize(
    'pipeline',
    [
        lambda: stream(Locked()) | cycle() | parallel_map(same, processes=1),
        lambda: mix(Data(), stream(Locked()) | apply(same)) | parallel_map(same, processes=1),
        lambda: Locked() | parallel_map(apply(same) | batch_by(2), processes=1),
        lambda: load_by_random_id(Locked().__getitem__, ids=[1]) | parallel_map(batch_by(2), processes=1),
    ],
)
def test_the_dataset_is_named_wherever_it_is(pipeline: Callable[[], Any]) -> None:
    with pytest.raises(NotPicklable, match='the source, whose items the processes look up, cannot be pickled because'):
        next(iter(pipeline()))


def test_so_are_the_steps_behind_it() -> None:
    lock = threading.Lock()
    with pytest.raises(NotPicklable) as caught:
        next(iter(Data() | apply(lambda x: lock and x) | parallel_map(same, processes=1)))
    assert str(caught.value) == (
        'what the processes do before the function cannot be pickled because of `lock` of `<lambda>`, class'
        " `_thread.lock` (TypeError: cannot pickle '_thread.lock' object): use threads, or give `parallel_map`"
        " `lookups='main'`"
    )


@pytest.mark.long
def test_a_dataset_that_draws_from_a_generator_of_its_own_is_warned_of() -> None:
    class Random(Data):
        def __init__(self) -> None:
            super().__init__(3)
            self.rng = np.random.default_rng(0)

    for stage in same, apply(same) | batch_by(2):
        with pytest.warns(
            RuntimeWarning, match=r'^(parallel_map|apply)\(same.*`.*rng.*` of `getitem` is a random generator'
        ):
            list(Random() | parallel_map(stage, processes=1))


@pytest.mark.long
def test_a_look_up_that_kills_workers_is_not_made_in_the_main_process_for_on_error() -> None:
    here: list[int] = []

    class Deadly(Data):
        def __getitem__(self, index: int) -> int:
            if index == 2:
                if os.getpid() != HERE:
                    os.kill(os.getpid(), signal.SIGKILL)
                here.append(index)
            return index

    got: list[Any] = []

    def handle(error: Exception, item: Any, ordinal: int) -> str:
        got.append((type(error), item, ordinal))
        return 'skip'

    assert list(Deadly(4) | parallel_map(same, processes=1, on_error=handle)) == [0, 1, 3]
    assert (got, here) == ([(WorkerCrashed, 2, 2)], [])


@pytest.mark.parametrize(
    ('given', 'error', 'got'),
    [('here', ValueError, "'here'"), (True, TypeError, 'bool'), (None, TypeError, 'NoneType')],
)
def test_other_places_are_refused(given: Any, error: type[Exception], got: str) -> None:
    with pytest.raises(error) as caught:
        parallel_map(same, threads=1, lookups=given)
    assert str(caught.value) == f"parallel_map: `lookups` must be one of 'workers', 'main', got {got}"


def test_a_dataset_whose_length_is_too_large_ends_with_its_own_error() -> None:
    class Shrunk(Data):
        def __getitem__(self, index: int) -> int:
            return list(range(5))[index]

    run = iter(Shrunk(8) | parallel_map(same, threads=2))
    assert [next(run) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError) as caught:
        next(run)
    assert caught.value.__notes__[-1].endswith('has 8 items, and so one at 5')


def test_a_single_item_is_made_as_in_the_workers() -> None:
    made = (
        stream(Data(), seed=0) | with_rng(noisy) | shuffle(9) | parallel_map(with_rng(noisy), threads=2) | batch_by(4)
    )
    run = iter(made)
    batch = next(run)
    assert [made.item(key) for key in run.item_keys] == batch
    assert run.indices == [x for (x, _), _ in batch]
    run.close()


def test_none_is_an_item() -> None:
    class Empty(Data):
        def __getitem__(self, index: int) -> None:
            return None

    with Infinite(Empty(3), parallel_map(same, threads=2), batch_size=3, combiner=combine_lists) as it:
        assert list(it) == [[None] * 3]


class Graph(Iterable):
    """What iterating gives has another class than what the index gives."""

    def __iter__(self) -> Iterator[str]:
        return map(str, range(self.size))


class Keyed(Iterable):
    def __iter__(self) -> Iterator[int]:
        return iter(range(1, 9))

    def __getitem__(self, index: int) -> int:
        return {key: -key for key in range(1, 9)}[index]


class Color(Enum):
    RED, GREEN, BLUE = range(3)


class Once(Iterable):
    """Its own iterator, which may stand anywhere."""

    at = 2

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.at == self.size:
            raise StopIteration
        self.at += 1
        return self.at - 1


@pytest.mark.parametrize('make', [lambda: Graph(8), lambda: Keyed(8), lambda: Color, lambda: Once(8)])
def test_what_iterating_gives_is_kept_where_the_index_means_something_else(make: Callable[[], Any]) -> None:
    items = list(make())
    assert list(stream(make()) | parallel_map(same, threads=2)) == items
    assert sorted(map(str, stream(make(), seed=0) | shuffle(3))) == sorted(map(str, items))
    run = iter(stream(make()))
    assert next(run) == items[0]
    assert list(stream(make()).resume(run.state_dict())) == items[1:]


def test_what_a_dataset_opens_to_look_up_is_not_opened_before_it_goes_to_processes() -> None:
    class Lazy(Iterable):
        lock = None

        def __getitem__(self, index: int) -> int:
            self.lock = self.lock or threading.Lock()
            return index

    assert list(Lazy(4) | parallel_map(same, processes=1)) == [0, 1, 2, 3]
