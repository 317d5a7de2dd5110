"""From pass to pass of an `Infinite`: its workers stay, with what they have set up, and the next pass begins ahead."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from leftovers import alive, still_left
from running import LIMIT, is_gone, run_script, wait_until

from itpipe import (
    Infinite,
    NotRestartable,
    Stream,
    batch_by,
    concat,
    cycle,
    flatten,
    interleave,
    mix,
    parallel_map,
    prefetch,
    shuffle,
    stream,
    take,
    with_rng,
    zip_with,
)

pytestmark = pytest.mark.filterwarnings('ignore:Infinite. an epoch')  # which is shorter

WORKERS: dict[str, dict[str, Any]] = {'threads': {'threads': 2}, 'processes': {'processes': 2}}
OPTIONS: dict[str, dict[str, Any]] = {
    'plain': {},
    'unordered': {'ordered': False},
    'bytes': {'in_flight': '1MB'},
    'skip': {'on_error': 'skip'},
    'retries': {'retries': 1, 'retry_on': KeyError},
}

# ---------------------------------------------------------------------------------------------------------------------
# Workers stay


class Setups:
    """Counts, by a file, in which workers `setup` was called; and has each of them say who it is."""

    def __init__(self, folder: Path):
        self.path = folder / 'setups'

    def setup(self) -> tuple[int, int]:
        here = os.getpid(), threading.get_ident()
        with open(self.path, 'a') as file:
            file.write(f'{here}\n')
        return here

    def worker(self, x: Any, setup: tuple[int, int]) -> tuple[int, int]:
        assert setup == (os.getpid(), threading.get_ident())
        return setup

    def check(self, workers: set[Any], most: int = 2) -> None:
        """Each of the workers has set up once, and there were no others."""
        called = self.path.read_text().splitlines()
        assert set(called) >= set(map(str, workers))
        assert len(called) == len(set(called)) <= most


@pytest.fixture
def setups(tmp_path: Path) -> Setups:
    return Setups(tmp_path)


def seen(batch_iter: Infinite[Any], passes: int = 3) -> set[Any]:
    return {worker for _ in range(passes) for worker in batch_iter}


@pytest.mark.many(3)
@pytest.mark.parametrize('ahead', [{}, {'prefetch': 0}, {'prefetch': 1}, {'batches_per_epoch': 5}], ids=str)
@pytest.mark.parametrize('where', WORKERS)
def test_workers_set_up_once_for_all_passes(setups: Setups, where: str, ahead: dict[str, Any]) -> None:
    described = stream(range(12)) | parallel_map(setups.worker, setup=setups.setup, **WORKERS[where])
    with Infinite(described, **ahead) as batch_iter:
        setups.check(seen(batch_iter))


@pytest.mark.many(5)
@pytest.mark.parametrize('options', OPTIONS)
@pytest.mark.parametrize('where', WORKERS)
def test_with_all_options(setups: Setups, where: str, options: str) -> None:
    described = range(12) | parallel_map(setups.worker, setup=setups.setup, **WORKERS[where], **OPTIONS[options])
    with Infinite(described) as batch_iter:
        setups.check(seen(batch_iter))


PLACES: dict[str, tuple[Callable[[Any], Stream[Any]], int]] = {
    'before a take': (lambda work: stream(range(40)) | work | take(6), 1),
    'before a thread and a take': (lambda work: stream(range(40)) | work | prefetch(2) | take(6), 1),
    'cycle': (lambda work: stream(range(3)) | work | cycle(3), 1),
    'concat': (lambda work: stream(range(3)) | work | concat(range(3) | work, range(3) | work), 3),
    'zip_with': (lambda work: stream(range(3)) | work | zip_with(range(3) | work) | flatten, 2),
    'mix': (lambda work: mix(range(5) | work, range(6) | work | prefetch(1), seed=0) | take(8), 2),
}
"""Pipelines with a `parallel_map`, and in how many places."""


@pytest.mark.many(7)
@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('where', WORKERS)
def test_wherever_the_map_is(setups: Setups, where: str, place: str) -> None:
    make, pools = PLACES[place]
    with Infinite(make(parallel_map(setups.worker, setup=setups.setup, **WORKERS[where]))) as batch_iter:
        setups.check(seen(batch_iter), 2 * pools)


def test_in_the_passes_of_cycle_without_an_infinite(setups: Setups) -> None:
    work = parallel_map(setups.worker, setup=setups.setup, threads=2)
    setups.check(set(stream(range(4)) | work | cycle(3)))


@pytest.mark.parametrize('where', WORKERS)
def test_a_function_keeps_what_it_has_cached(where: str) -> None:
    cached: list[Any] = []

    def function(x: int) -> int:
        cached.append(x)
        return len(cached)

    with Infinite(range(4), parallel_map(function, **{where: 1})) as batch_iter:
        assert [list(batch_iter) for _ in range(3)] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


class Told:
    """A dataset whose items depend on the epoch."""

    epoch = 0

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[int, int]:
        return self.epoch, range(3)[index]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


@pytest.mark.many(4)
@pytest.mark.parametrize('joined', [False, True])
@pytest.mark.parametrize('where', WORKERS)
def test_a_dataset_that_is_told_the_epoch_goes_to_new_workers(where: str, joined: bool) -> None:
    told = Told()
    source = mix(told, weights=[1]) if joined else stream(told)
    with Infinite(source | parallel_map(list, **WORKERS[where])) as batch_iter:
        for epoch in 5, 6:
            told.set_epoch(epoch)
            assert list(batch_iter) == [[epoch, n] for n in range(3)]


def test_workers_stay_also_where_epochs_start_anew(setups: Setups) -> None:
    work = parallel_map(setups.worker, setup=setups.setup, threads=1)
    with Infinite(range(4), work, restart=True) as batch_iter:
        for _ in range(3):
            list(batch_iter)
            assert len(setups.path.read_text().splitlines()) == 1


# ---------------------------------------------------------------------------------------------------------------------
# The same bits


def noisy(x: Any, rng: Any) -> Any:
    return x, float(rng.random())


RANDOM: dict[str, Callable[[Any], Stream[Any]]] = {
    'one': lambda work: stream(range(9), seed=1) | shuffle(4) | work,
    'two': lambda work: stream(range(9), seed=1) | work | work,
    'take': lambda work: stream(range(40), seed=1) | work | take(5),
    'cycle': lambda work: stream(range(3), seed=1) | work | cycle(3),
    'concat': lambda work: stream(range(3), seed=1) | work | concat(range(4) | work),
    'mix': lambda work: mix(range(3) | work, range(4) | work | prefetch(2), seed=1) | take(6),
    'zip_with': lambda work: stream(range(3), seed=1) | work | zip_with(range(3) | work),
}


def passes(described: Any, **options: Any) -> list[list[Any]]:
    with Infinite(described, **options) as batch_iter:
        return [list(batch_iter) for _ in range(4)]


@pytest.mark.many(7)
@pytest.mark.parametrize('made', RANDOM)
@pytest.mark.parametrize('where', [*WORKERS, 'executor'])
def test_random_functions_draw_in_each_pass_what_they_draw_without_workers(where: str, made: str) -> None:
    expected = passes(RANDOM[made](with_rng(noisy)), prefetch=0)
    assert len({repr(each) for each in expected}) == 4
    with ThreadPoolExecutor(2) as executor:
        work = parallel_map(with_rng(noisy), **{**WORKERS, 'executor': {'executor': executor}}[where])
        assert passes(RANDOM[made](work)) == expected


# ---------------------------------------------------------------------------------------------------------------------
# What happens to workers


@pytest.mark.long
@pytest.mark.parametrize('ahead', [{}, {'prefetch': 0}], ids=str)
def test_processes_that_are_killed_between_two_passes_are_replaced(ahead: dict[str, Any]) -> None:
    work = with_rng(lambda x, rng: (noisy(x, rng), os.getpid()), name='noisy')
    described = stream(range(20), seed=1) | parallel_map(work, processes=2)
    expected = passes(stream(range(20), seed=1) | with_rng(noisy, name='noisy'), prefetch=0)
    with Infinite(described, **ahead) as batch_iter:
        killed: set[int] = set()
        for count in range(4):
            results = list(batch_iter)
            assert [value for value, _ in results] == expected[count]
            for pid in {pid for _, pid in results} - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                wait_until(partial(is_gone, pid), 'it is gone')
    assert len(killed) >= 4


@pytest.mark.long
@pytest.mark.parametrize('ahead', [{}, {'prefetch': 0}], ids=str)
def test_processes_that_read_shards_stay_and_are_replaced_and_draw_the_same(ahead: dict[str, Any]) -> None:
    def read(x: Any, rng: Any) -> Iterator[Any]:
        for _ in range(x):
            yield noisy(x, rng), os.getpid()

    def described(**where: Any) -> Stream[Any]:
        return stream(range(9), seed=1) | shuffle(4) | interleave(with_rng(read), cycle=2, **where)

    expected = [[value for value, _ in results] for results in passes(described(), prefetch=0)]
    assert len({repr(each) for each in expected}) == 4
    with Infinite(described(processes=True), **ahead) as batch_iter:
        killed: set[int] = set()
        for count in range(4):
            results = list(batch_iter)
            assert [value for value, _ in results] == expected[count]
            for pid in {pid for _, pid in results} - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                wait_until(partial(is_gone, pid), 'it is gone')
    assert len(killed) >= 4


def test_after_an_error_processes_that_read_shards_end() -> None:
    before = alive()

    def read(x: int) -> Iterator[int]:
        yield x // (x - 2)

    batch_iter = Infinite(range(4), interleave(read, cycle=2, processes=True), prefetch=0)
    with pytest.raises(ZeroDivisionError):
        list(batch_iter)
    assert still_left(before) == set()


def test_processes_are_replaced_after_so_many_items_of_all_passes() -> None:
    described = range(6) | parallel_map(lambda _: os.getpid(), processes=1, max_tasks_per_worker=4)
    with Infinite(described, prefetch=0) as batch_iter:
        pids = [pid for _ in range(2) for pid in batch_iter]
    assert [len(set(pids[n : n + 4])) for n in (0, 4, 8)] == [1, 1, 1]
    assert len(set(pids)) == 3


@pytest.mark.parametrize('where', WORKERS)
def test_after_an_error_it_begins_anew_with_other_workers(where: str) -> None:
    before = alive()
    fails = [False]

    def source() -> Iterator[int]:
        yield 0
        if fails[0]:
            raise OSError('gone')

    class Source:
        def __iter__(self) -> Iterator[int]:
            return source()

    work = parallel_map(lambda x, setup: setup, setup=threading.get_ident, **{where: 1})
    batch_iter = Infinite(Source(), work, prefetch=0)
    first = list(batch_iter)
    assert list(batch_iter) == first
    fails[0] = True
    with pytest.raises(OSError, match='gone'):
        list(batch_iter)
    assert still_left(before) == set()
    fails[0] = False
    assert len(list(batch_iter)) == 1
    batch_iter.close()
    assert still_left(before) == set()


@pytest.mark.many(3)
@pytest.mark.parametrize('where', WORKERS)
@pytest.mark.parametrize('how', ['close', 'del', 'load_state_dict'])
def test_idle_workers_end_with_it(where: str, how: str) -> None:
    before = alive()
    batch_iter = Infinite(range(6), parallel_map(abs, **WORKERS[where]), take(3), prefetch=0)
    first = list(batch_iter)
    assert still_left(before, wait=0) != set()
    if how == 'close':
        batch_iter.close()
        batch_iter.close()
    elif how == 'load_state_dict':
        batch_iter.load_state_dict(batch_iter.state_dict())
    else:
        del batch_iter
    assert still_left(before) == set()
    assert first == [0, 1, 2]


@pytest.mark.parametrize('where', WORKERS)
def test_the_interpreter_exits_by_itself_while_workers_are_idle(where: str) -> None:
    out = run_script(
        """
        import sys
        from itpipe import Infinite, parallel_map

        kept = [Infinite(range(4), parallel_map(str, **{sys.argv[1]: 2}), prefetch=prefetch) for prefetch in (None, 0)]
        print([list(batch_iter) for batch_iter in kept])
        """,
        where,
    )
    assert out == f'{[list("0123")] * 2}\n'


def test_an_error_in_closing_what_a_worker_has_set_up_is_raised_by_close() -> None:
    class Resource:
        def close(self) -> None:
            raise OSError('cannot be closed')

    batch_iter = Infinite(range(3), parallel_map(lambda x, setup: x, setup=Resource, threads=1))
    assert [list(batch_iter) for _ in range(2)] == [[0, 1, 2]] * 2
    with pytest.raises(OSError, match='cannot be closed'):
        batch_iter.close()
    batch_iter.close()


# ---------------------------------------------------------------------------------------------------------------------
# The next pass begins ahead


class Source:
    """Counts its passes, and has each of them its own items."""

    def __init__(self, size: int = 4):
        self.size, self.begun = size, 0

    def __iter__(self) -> Iterator[int]:
        self.begun += 1
        begun = self.begun
        return (10 * begun + n for n in range(self.size))


def test_the_next_pass_begins_while_the_last_batches_are_taken_and_only_that() -> None:
    source = Source()
    with Infinite(source, prefetch=2) as batch_iter:
        epoch = iter(batch_iter)
        assert [next(epoch) for _ in range(3)] == [10, 11, 12]
        wait_until(lambda: source.begun == 2, 'the next pass begins')
        state, indices = batch_iter.state_dict(), batch_iter.indices
        assert (state['pass'], state['batch'], state['position']['source'], indices) == (0, 3, 3, [2])
        assert batch_iter._epochs.last.pass_ == 0
        assert list(epoch) == [13]
        assert list(batch_iter) == [20, 21, 22, 23]
        wait_until(lambda: source.begun == 3, 'the pass behind that begins')
    assert source.begun == 3


def test_small_passes_do_not_run_away() -> None:
    source = Source(1)
    with Infinite(source, prefetch=8) as batch_iter:
        assert list(batch_iter) == [10]
        wait_until(lambda: source.begun == 2, 'the next pass begins')
        assert list(batch_iter) == [20]
    assert source.begun in (2, 3)


@pytest.mark.parametrize('options', [{'prefetch': 0}, {'restart': True}], ids=str)
def test_without_a_thread_and_if_all_epochs_start_anew_it_does_not(options: dict[str, Any]) -> None:
    source = Source()
    with Infinite(source, **options) as batch_iter:
        for count in 1, 2, 3:
            assert len(list(batch_iter)) == 4
            assert source.begun == count


class WithEpochs(Source):
    def set_epoch(self, epoch: int) -> None:
        self.begun = 100 * epoch


class WithStates(Source):
    def state_dict(self) -> Any:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


class Loader(Source):
    def __init__(self) -> None:
        super().__init__()
        self.sampler = WithEpochs()


@pytest.mark.parametrize('kind', [WithEpochs, WithStates, Loader])
@pytest.mark.parametrize('joined', [False, True])
def test_it_does_not_if_somebody_may_still_tell_the_source_where_to_begin(kind: Any, joined: bool) -> None:
    source = kind()
    with Infinite(stream(source) | zip_with(range(4)) if joined else source) as batch_iter:
        list(batch_iter)
        begun = source.begun
        background = batch_iter._epochs.run._background
        wait_until(lambda: background._work.empty() and not background._ready, 'nothing more is asked for')
        assert source.begun == begun


def test_an_iterator_is_read_once_and_says_so_when_the_next_epoch_is_asked_for() -> None:
    with Infinite(iter(range(3))) as batch_iter:
        assert list(batch_iter) == [0, 1, 2]
        with pytest.raises(NotRestartable):
            list(batch_iter)


class FailsInItsSecondPass(Source):
    """It sets the event when it is about to raise, behind its two items."""

    def __init__(self, failed: threading.Event):
        super().__init__(2)
        self.failed = failed

    def __iter__(self) -> Iterator[int]:
        yield from super().__iter__()
        if self.begun == 2:
            self.failed.set()
            raise OSError('gone')


def test_an_error_of_the_next_pass_is_raised_in_the_next_epoch() -> None:
    failed = threading.Event()
    with Infinite(FailsInItsSecondPass(failed), prefetch=8) as batch_iter:
        epoch = iter(batch_iter)
        assert next(epoch) == 10
        assert failed.wait(LIMIT)
        assert list(epoch) == [11]
        received = []
        with pytest.raises(OSError, match='gone'):
            for batch in batch_iter:
                received.append(batch)
        assert received == [20, 21]
        assert list(batch_iter) == [30, 31]  # it begins anew


def test_an_error_of_the_next_pass_that_nobody_asks_for_is_not_raised() -> None:
    failed = threading.Event()
    with Infinite(FailsInItsSecondPass(failed), prefetch=8) as batch_iter:
        assert list(batch_iter) == [10, 11]
        assert failed.wait(LIMIT)


@pytest.mark.parametrize('where', WORKERS)
def test_it_can_be_closed_while_the_next_pass_waits_for_its_first_item(tmp_path: Path, where: str) -> None:
    before = alive()
    begun, here = tmp_path / 'begun', os.getpid()

    def function(x: int) -> int:
        if x == 20:
            begun.touch()
            threading.Event().wait(0.1 if os.getpid() == here else LIMIT)
        return x

    batch_iter = Infinite(Source(), parallel_map(function, **{where: 1}))
    assert list(batch_iter) == [10, 11, 12, 13]
    wait_until(begun.exists, 'the next pass is at its first item')
    batch_iter.close()
    assert still_left(before) == set()
    assert next(iter(batch_iter)) == 30
    batch_iter.close()


def test_two_epochs_in_turn_share_the_passes() -> None:
    with Infinite(Source(), prefetch=3) as batch_iter:
        one, other = iter(batch_iter), iter(batch_iter)
        assert [next(one), next(other), next(one), next(other)] == [10, 11, 12, 13]
        assert next(one, None) is None
        assert next(other, None) is None
        assert list(batch_iter) == [20, 21, 22, 23]


@pytest.mark.parametrize('per_epoch', [2, 3, 4, 5])
def test_epochs_of_so_many_batches_are_those_without_a_thread(per_epoch: int) -> None:
    described = stream(range(8), seed=0) | shuffle(8) | batch_by(2)
    expected, received = (
        [list(batch_iter) for _ in range(6)]
        for batch_iter in [Infinite(described, batches_per_epoch=per_epoch, prefetch=n) for n in (0, 3)]
    )
    assert received == expected


@pytest.mark.parametrize('made', RANDOM)
def test_from_each_batch_of_two_passes_it_goes_on(made: str) -> None:
    described = RANDOM[made](with_rng(noisy))
    whole = [batch for each in passes(described, prefetch=0)[:3] for batch in each]
    states = []
    with Infinite(described, prefetch=3) as batch_iter:
        for _ in range(2):
            for _ in batch_iter:
                states.append(batch_iter.state_dict())
    for count, state in enumerate(states, 1):
        with Infinite(described) as batch_iter:
            batch_iter.load_state_dict(state)
            rest = [batch for _ in range(4) for batch in batch_iter]
            assert rest[: len(whole) - count] == whole[count:]
