"""parallel_map: the same results in every kind of worker, in order, lazily, within its bound; its arguments."""

import gc
import itertools
import multiprocessing
import os
import pickle
import random
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from typing import Any

import numpy as np
import pytest
from pools import set_cost
from running import HAS_GIL, LIMIT, AtOnce, Lazily, raises, run_script, wait_until

import itpipe._workers.budget
import itpipe._workers.cores
import itpipe._workers.dispatch
import itpipe._workers.executors
import itpipe._workers.inline
import itpipe._workers.pool
import itpipe._workers.processes
import itpipe._workers.window
from itpipe import (
    apply,
    batch_by,
    combine,
    map_at,
    parallel_map,
    prefetch,
    sample,
    shuffle,
    stream,
    take,
    unpack,
    with_rng,
)
from itpipe._core.sizes import Bytes
from itpipe._engine.chain import Chain
from itpipe._engine.functions import item_function
from itpipe._engine.seeds import Seeds
from itpipe._engine.stream import itemwise


@pytest.fixture(scope='module')
def thread_executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        together = threading.Barrier(2)
        wait_for_futures([executor.submit(together.wait) for _ in range(2)])  # both threads are there from now on
        yield executor


def process_executor(method: str) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        wait_for_futures([executor.submit(int) for _ in range(2)])  # one process is started for each
        yield executor


@pytest.fixture(scope='module')
def spawning_executor() -> Iterator[ProcessPoolExecutor]:
    yield from process_executor('spawn')


@pytest.fixture(scope='module')
def forkserver_executor() -> Iterator[ProcessPoolExecutor]:
    yield from process_executor('forkserver')


def dask_client(**options: Any) -> Iterator[Any]:
    distributed = pytest.importorskip('distributed')
    options |= {'dashboard_address': ':0', 'silence_logs': 50}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        client.submit(int).result()
        yield client


@pytest.fixture(scope='module')
def dask_threads() -> Iterator[Any]:
    yield from dask_client(n_workers=1, threads_per_worker=2, processes=False)


@pytest.fixture(scope='module')
def dask_processes() -> Iterator[Any]:
    yield from dask_client(n_workers=2, threads_per_worker=1, processes=True)


SIZE = "must be an int or a size such as '512MB'"

DASK = [
    pytest.param(
        name, marks=pytest.mark.leaves_threads('a cluster starts and ends threads and connections when it likes')
    )
    for name in ('dask_threads', 'dask_processes')
]
EXECUTORS = ['thread_executor', 'spawning_executor', 'forkserver_executor', *DASK]
PLAIN = {'lazily': Lazily(), 'at once': AtOnce()}


@pytest.fixture(autouse=True)
def pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to run in threads does, however cheap, and in the thread of the run, where the test says so."""
    callspec = getattr(request.node, 'callspec', None)
    inline = callspec is not None and callspec.params.get('workers') == 'inline'
    monkeypatch.setattr(itpipe._workers.inline.InlinePolicy, 'CHEAP', 1000 if inline else 0)
    monkeypatch.setattr(itpipe._workers.window, 'HELD', 1000)


@pytest.fixture(scope='module', params=['threads', 'inline', 'processes', *EXECUTORS, *PLAIN])
def workers(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments of `parallel_map` that say where to run."""
    name = request.param
    if name == 'inline':
        return {'threads': 2}
    if name in ('threads', 'processes'):
        return {name: 2}
    return {'executor': PLAIN[name] if name in PLAIN else request.getfixturevalue(name)}


@pytest.fixture(scope='module', params=['processes', 'spawning_executor', DASK[1]])
def processes(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The same for those workers that are processes."""
    name = request.param
    return {name: 2} if name == 'processes' else {'executor': request.getfixturevalue(name)}


@pytest.fixture(scope='module', params=[*EXECUTORS, *PLAIN])
def executor(request: pytest.FixtureRequest) -> Any:
    name = request.param
    return PLAIN[name] if name in PLAIN else request.getfixturevalue(name)


def counted(log: list[Any], limit: int = 10**9) -> Iterator[int]:
    for number in range(limit):
        log.append(number)
        yield number


# ---------------------------------------------------------------------------------------------------------------------
# The same results everywhere


@pytest.mark.many(2)
def test_results_come_in_order_and_each_once(workers: dict[str, Any]) -> None:
    assert list(range(30) | parallel_map(lambda x: x * x, **workers)) == [x * x for x in range(30)]


def test_without_order_each_result_comes_once(workers: dict[str, Any]) -> None:
    results = list(range(30) | parallel_map(lambda x: x * x, **workers, ordered=False))
    assert sorted(results) == [x * x for x in range(30)]


@pytest.mark.many(3)
@pytest.mark.parametrize('ordered', [True, False])
def test_random_items_have_the_same_bits_in_all_workers(workers: dict[str, Any], ordered: bool) -> None:
    def noise(x: int, rng: Any) -> tuple[int, Any]:
        return x, rng.normal(size=3).tobytes()

    source = sample(range(100), seed=3) | take(20)
    assert sorted(source | parallel_map(with_rng(noise), **workers, ordered=ordered)) == sorted(
        source | with_rng(noise)
    )


def test_an_item_wise_stage_runs_in_the_workers_as_a_whole(workers: dict[str, Any]) -> None:
    offset = 3
    steps = map_at(0, lambda x: x + offset) | unpack(pow) | with_rng(lambda x, rng: (x, int(rng.integers(10**9))))
    items = stream([(x, 2) for x in range(10)], seed=5)
    assert list(items | parallel_map(steps, **workers)) == list(items | steps)


def test_arguments_reach_the_function(workers: dict[str, Any]) -> None:
    assert list([1, 2] | parallel_map(lambda x, y, z=0: (x, y, z), 5, z=6, **workers)) == [(1, 5, 6), (2, 5, 6)]


def test_nothing_in_nothing_out(workers: dict[str, Any]) -> None:
    assert list([] | parallel_map(abs, **workers)) == []


@pytest.mark.parametrize('ordered', [True, False])
@pytest.mark.parametrize('kind', ['threads', 'processes'])
def test_more_workers_than_items(kind: str, ordered: bool) -> None:
    assert list([-1] | parallel_map(abs, **{kind: 4}, ordered=ordered)) == [1]


def test_stages_follow_each_other(workers: dict[str, Any]) -> None:
    stages = parallel_map(lambda x: x + 1, **workers) | batch_by(3) | parallel_map(sum, threads=2)
    assert list(range(7) | stages) == [1 + 2 + 3, 4 + 5 + 6, 7]


def test_the_same_call_is_made_for_each_of_equal_items(workers: dict[str, Any]) -> None:
    """A cluster that takes functions for pure would answer from memory."""
    assert len(set([0] * 10 | parallel_map(lambda _: uuid.uuid4().hex, **workers))) == 10


def test_a_stream_runs_again_with_new_workers() -> None:
    squares = range(3) | parallel_map(pow, 2, threads=2)
    assert [list(squares), list(squares)] == [[0, 1, 4]] * 2


def test_values_that_only_cloudpickle_can_pickle(workers: dict[str, Any]) -> None:
    assert list([lambda: 7] | parallel_map(lambda f: f(), **workers)) == [7]


def test_tuples_that_look_like_tasks_are_values(workers: dict[str, Any]) -> None:
    """To a task graph, `(abs, -1)` may mean a call."""
    assert list([(abs, -1), [(abs, -1)]] | parallel_map(lambda x: x, **workers)) == [(abs, -1), [(abs, -1)]]


def test_workers_are_others_than_the_caller() -> None:
    assert os.getpid() not in set(range(4) | parallel_map(lambda _: os.getpid(), processes=2))
    threads = set(range(4) | parallel_map(lambda _: threading.current_thread(), threads=2))
    assert threading.current_thread() not in threads


def test_parallel_maps_nest() -> None:
    def inner(x: int) -> list[int]:
        return list(range(x) | parallel_map(lambda y: y + x, processes=1) | parallel_map(lambda y: -y, threads=2))

    assert list([1, 2] | parallel_map(inner, processes=1)) == [[-1], [-2, -3]]


# ---------------------------------------------------------------------------------------------------------------------
# Where functions come from


def test_functions_of_a_notebook(tmp_path: Any) -> None:
    """A notebook's functions live in a namespace that no process can import, and use its other names."""
    notebook: dict[str, Any] = {'__name__': '__main__'}
    exec(
        'import math\n'
        'class Scale:\n    by = 10\n'
        'def scaled(x): return math.floor(x * Scale.by)\n'
        'def twice(x): return 2 * scaled(x)\n',
        notebook,
    )
    assert list([0.15, 0.25] | parallel_map(notebook['twice'], processes=1)) == [2, 4]


FUNCTIONS = """
    from itpipe import parallel_map

    factor = 3

    class Error(Exception):
        pass

    def scaled(x):
        if x < 0:
            raise Error(x)
        return factor * x

    def closure(y):
        return lambda x: scaled(x) + y

    results = []
    try:
        for result in [0, 1, 2, -1] | parallel_map(closure(1), processes=1):
            results.append(result)
    except Error as error:
        print(results, error.args)
"""
PRINTED = '[1, 4, 7] (-1,)\n'


def test_functions_and_errors_of_a_command_line() -> None:
    assert run_script(FUNCTIONS) == PRINTED


def test_functions_and_errors_of_a_script_without_main_guard(tmp_path: Any) -> None:
    script = tmp_path / 'script.py'
    script.write_text('\n'.join(line[4:] for line in FUNCTIONS.splitlines()))
    assert run_script('import runpy, sys; runpy.run_path(sys.argv[1], run_name="__main__")', script) == PRINTED


class Logged:
    """Writes down in which process it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __call__(self, item: int) -> tuple[int, int]:
        return item, os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        with open(self.path, 'a') as file:
            file.write(f'{os.getpid()}\n')


@pytest.mark.many(3)
def test_the_function_goes_to_each_process_once(processes: dict[str, Any], tmp_path: Any) -> None:
    log = tmp_path / 'log'
    results = list(range(40) | parallel_map(Logged(str(log)), **processes))
    assert [item for item, _ in results] == list(range(40))
    unpickled = log.read_text().split()
    assert len(unpickled) == len(set(unpickled))
    assert {int(pid) for pid in unpickled} == {pid for _, pid in results}
    assert os.getpid() not in {pid for _, pid in results}


# ---------------------------------------------------------------------------------------------------------------------
# Lazy and bounded


@pytest.mark.many(3)
@pytest.mark.parametrize('ordered', [True, False])
def test_in_flight_is_exactly_the_number_of_items_on_the_way(
    request: pytest.FixtureRequest, workers: dict[str, Any], ordered: bool
) -> None:
    inline = request.node.callspec.params['workers'] == 'inline'
    for in_flight in (3,) if 'processes' in workers else (1, 2, 3, 7):
        pulled: list[int] = []
        run = iter(counted(pulled) | parallel_map(abs, **workers, in_flight=in_flight, ordered=ordered))
        for consumed in range(1, 12):
            next(run)
            on_the_way = len(pulled) - consumed  # and one more while the consumer waited
            assert on_the_way == in_flight - 1 or (inline and on_the_way < in_flight)
        run.close()


def arrays(log: list[int], sizes: Iterator[int]) -> Iterator[Any]:
    for number, size in zip(counted(log), sizes, strict=False):
        yield np.full(size, number % 256, np.uint8)


@pytest.mark.many(2)
@pytest.mark.parametrize('ordered', [True, False])
def test_in_flight_in_bytes_bounds_what_items_and_results_hold(
    request: pytest.FixtureRequest, workers: dict[str, Any], ordered: bool
) -> None:
    """An item of 100 kB and the 300 kB of its result are 400 kB until it is there; of those there may be five."""
    inline = request.node.callspec.params['workers'] == 'inline'
    pulled: list[int] = []
    source = arrays(pulled, itertools.repeat(100_000))
    most = 0
    run = iter(source | parallel_map(np.tile, 3, **workers, in_flight='2.1MB', ordered=ordered))
    for consumed in range(1, 40):
        assert next(run).size == 300_000
        on_the_way = len(pulled) - consumed
        assert on_the_way <= 6  # one that is not there yet, and the results of six others
        most = max(most, on_the_way)
    assert most >= 4 or inline
    run.close()


@pytest.mark.parametrize('ordered', [True, False])
def test_an_item_of_more_than_in_flight_passes_alone(workers: dict[str, Any], ordered: bool) -> None:
    pulled: list[int] = []
    source = arrays(pulled, itertools.repeat(100_000))
    run = iter(source | parallel_map(lambda x: x[0], **workers, in_flight='99kB', ordered=ordered))
    for consumed in range(1, 8):
        assert next(run) == consumed - 1
        assert len(pulled) == consumed
    run.close()


@pytest.mark.many(5)
@pytest.mark.parametrize('ordered', [True, False])
def test_results_are_the_same_whatever_they_hold(workers: dict[str, Any], ordered: bool) -> None:
    sizes = [random.Random(0).choice([0, 10, 10_000, 100_000]) for _ in range(50)]
    stage = parallel_map(lambda x: (x, x.tobytes()), **workers, in_flight='250kB', ordered=ordered)
    results = [bytes(x) + y for x, y in arrays([], iter(sizes)) | stage]
    expected = [2 * bytes([number] * size) for number, size in enumerate(sizes)]
    assert (results, sorted(results))[not ordered] == (expected, sorted(expected))[not ordered]


class Weighed:
    """Says that it holds some bytes, and how many all that there are hold."""

    alive, most = 0, 0
    # without the GIL, the thread that made one lets it go, at any time, even while it makes another
    lock = threading.RLock()

    def __init__(self, nbytes: int):
        self.nbytes = nbytes
        with self.lock:
            Weighed.alive += nbytes
            Weighed.most = max(Weighed.most, Weighed.alive)

    def __del__(self) -> None:
        with self.lock:
            Weighed.alive -= self.nbytes


@pytest.mark.parametrize('where', ['threads', 'executor'])
@pytest.mark.parametrize('ordered', [True, False])
def test_no_more_bytes_are_alive_than_in_flight_says(where: str, ordered: bool) -> None:
    """But for one result that has been delivered, and what each thread is just letting go of.

    Without the GIL, what a thread has made is only freed when that thread runs again, and it may be idle.
    """
    Weighed.alive = Weighed.most = 0
    with ThreadPoolExecutor(4) as executor:
        workers: dict[str, Any] = {'threads': 4} if where == 'threads' else {'executor': executor}
        source = (Weighed(10) for _ in range(1000))
        run = source | parallel_map(lambda _: Weighed(90), **workers, in_flight='2kB', ordered=ordered)
        assert sum(1 for _ in run) == 1000
    gc.collect()
    assert Weighed.most <= (2000 + 90 + 4 * (10 + 90)) * (1 if HAS_GIL else 1 + 4)
    assert Weighed.alive == 0


def test_before_a_result_has_come_no_more_items_than_workers_are_on_their_way() -> None:
    class Sized(Lazily):
        num_workers = 3

    pulled: list[int] = []
    run = iter(counted(pulled) | parallel_map(lambda _: len(pulled), executor=Sized(), in_flight='1GB'))
    assert [next(run), next(run)] == [3, 1 + 3 * itpipe._workers.budget.PER_WORKER]
    run.close()


@pytest.mark.parametrize('ordered', [True, False])
def test_all_threads_are_busy_before_a_result_has_come(ordered: bool) -> None:
    together = threading.Barrier(3, timeout=LIMIT)
    list(range(9) | parallel_map(lambda _: together.wait(), threads=3, in_flight='1MB', ordered=ordered))


def test_few_items_that_fit_are_shared_among_processes() -> None:
    """However cheap they are, one process does not get all of them."""
    pool = itpipe._workers.processes.Processes(2, item_function(itemwise('f', abs).steps, Seeds()), Bytes(1000))
    assert pool.result(pool.submit(0, 0)) == 0
    set_cost(pool, 1e-6)
    assert pool._dispatcher.group_size == 1
    pool._memory._item.value = pool._memory._result.value = 50.0
    assert pool.can_submit(0)
    assert pool.max_pending == 10
    assert pool.result(pool.submit(1, 1)) == 1
    set_cost(pool, 1e-6)
    assert pool._dispatcher.group_size == 2
    pool.close()


@pytest.mark.parametrize('ordered', [True, False])
def test_as_many_functions_run_at_once_as_there_are_threads(ordered: bool) -> None:
    together = threading.Barrier(3, timeout=LIMIT)
    list(range(9) | parallel_map(lambda _: together.wait(), threads=3, in_flight=3, ordered=ordered))


def test_never_more_functions_run_than_are_in_flight() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def function(x: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0)
        with lock:
            running -= 1
        return x

    assert list(range(200) | parallel_map(function, threads=8, in_flight=2)) == list(range(200))
    assert 1 <= most <= 2


def test_an_endless_source_and_an_idle_consumer(workers: dict[str, Any]) -> None:
    pulled: list[int] = []
    assert list(counted(pulled) | parallel_map(abs, **workers) | take(5)) == [0, 1, 2, 3, 4]
    # the first call in a process takes longer, so the window may have been doubled
    assert len(pulled) <= 5 + 2 * 2 * 2 * itpipe._workers.dispatch.MAX_GROUP


def test_nothing_starts_before_the_first_item_is_asked_for() -> None:
    before, pulled = threading.enumerate(), []
    run = iter(counted(pulled) | parallel_map(abs, threads=2) | parallel_map(abs, processes=2))
    assert (threading.enumerate(), pulled) == (before, [])
    run.close()


def test_twice_the_number_of_workers_are_in_flight_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_flight(**where: Any) -> int:
        pulled: list[int] = []
        run = iter(counted(pulled) | parallel_map(abs, **where))
        next(run)
        run.close()
        return len(pulled)

    class Sized(Lazily):
        num_workers = 5

    monkeypatch.setattr(itpipe._workers.cores, 'usable_cores', lambda: 8)
    monkeypatch.setattr(os, 'cpu_count', lambda: 3)
    assert in_flight(threads=3) == 6
    assert in_flight(threads=-6) == 6
    assert in_flight(processes=1) == 2
    assert in_flight(executor=Lazily()) == 6
    assert in_flight(executor=Sized()) == 10
    with ThreadPoolExecutor(4) as executor:
        assert in_flight(executor=executor) == 8


@pytest.mark.leaves_threads('a cluster starts and ends threads and connections when it likes')
def test_the_size_of_a_cluster_is_its_number_of_threads(dask_processes: Any) -> None:
    assert itpipe._workers.executors.ExecutorPool(dask_processes, lambda key, value: value).size == 2


def test_negative_numbers_count_from_the_usable_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itpipe._workers.cores, 'usable_cores', lambda: 8)
    counts = {n: itpipe._workers.cores.count_workers(n) for n in (1, 5, 100, -1, -2, -8, -9, -100)}
    assert counts == {1: 1, 5: 5, 100: 100, -1: 8, -2: 7, -8: 1, -9: 1, -100: 1}


def test_usable_cores_are_those_that_this_process_may_run_on() -> None:
    assert 1 <= itpipe._workers.cores.usable_cores() <= len(os.sched_getaffinity(0))


def test_without_order_a_slow_item_holds_no_other_up() -> None:
    others_came = threading.Event()

    def function(x: int) -> int:
        if x == 0:
            assert others_came.wait(LIMIT)
        return x

    run = iter(range(10) | parallel_map(function, threads=2, in_flight=2, ordered=False))
    assert [next(run) for _ in range(9)] == list(range(1, 10))
    others_came.set()
    assert list(run) == [0]


def test_a_source_that_waits_for_the_result_before_gets_it_with_one_in_flight() -> None:
    received = threading.Semaphore(1)

    def source() -> Iterator[int]:
        for x in range(5):
            assert received.acquire(timeout=LIMIT)
            yield x

    results = []
    for x in source() | parallel_map(abs, threads=2, in_flight=1):
        results.append(x)
        received.release()
    assert results == list(range(5))


@pytest.mark.parametrize('ordered', [True, False])
def test_after_an_error_of_the_source_a_run_can_be_resumed_where_it_stopped(ordered: bool) -> None:
    """An error is not the end, after which there would be nothing to go on with."""
    broken = [True]

    class Source:
        def __iter__(self) -> Iterator[int]:
            for x in range(10):
                if x == 6 and broken:
                    raise OSError('gone')
                yield x

    squares = Source() | parallel_map(pow, 2, threads=2, in_flight=3, ordered=ordered)
    chain = Chain(squares.source, squares.steps, Seeds(0))
    results = []
    with pytest.raises(OSError, match='gone'):
        for key, value in chain.pairs:
            chain.received(key)
            results.append(value)
    chain.close()
    state = chain.state()
    broken.clear()
    chain = Chain(squares.source, squares.steps, Seeds(0), state=state)
    results.extend(value for _, value in chain.pairs)
    chain.close()
    assert sorted(results) == [x * x for x in range(10)]


# ---------------------------------------------------------------------------------------------------------------------
# Executors are somebody else's


def test_an_executor_is_not_shut_down(executor: Any) -> None:
    for _ in range(2):
        run = iter(range(100) | parallel_map(abs, executor=executor))
        next(run)
        run.close()
    assert executor.submit(abs, -5).result() == 5


class Telling(ThreadPoolExecutor):
    """Tells when a future is cancelled."""

    def __init__(self, size: int):
        super().__init__(size)
        self.cancelled = threading.Event()

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(*args, **kwargs)
        future.add_done_callback(lambda future: future.cancelled() and self.cancelled.set())
        return future


def test_what_an_executor_has_not_begun_is_cancelled_and_what_it_has_is_waited_for() -> None:
    one_begun, log = threading.Event(), []

    def function(x: int) -> int:
        log.append(f'begin {x}')
        if x == 1:
            one_begun.set()
            assert executor.cancelled.wait(LIMIT)
            time.sleep(0.05)
        log.append(f'end {x}')
        return x

    with Telling(1) as executor:
        run = iter(range(10) | parallel_map(function, executor=executor, in_flight=4))
        assert next(run) == 0
        assert one_begun.wait(LIMIT)
        run.close()
        assert log == ['begin 0', 'end 0', 'begin 1', 'end 1']
    assert log[4:] == []


def test_an_executor_that_is_shut_down_meanwhile_ends_the_run_after_what_came_before() -> None:
    executor = ThreadPoolExecutor(1)
    run = iter(range(10) | parallel_map(abs, executor=executor, in_flight=3))
    assert [next(run), next(run)] == [0, 1]
    executor.shutdown(wait=True)
    assert [next(run), next(run)] == [2, 3]
    note = 'itpipe: raised in parallel_map(abs, executor=<ThreadPoolExecutor>, in_flight=3), item 4'
    with raises(RuntimeError, 'cannot schedule new futures after shutdown', note):
        next(run)


@pytest.mark.leaves_threads('a cluster starts and ends threads and connections when it likes')
def test_a_cluster_forgets_what_a_run_left(dask_threads: Any) -> None:
    run = iter(range(1000) | parallel_map(abs, executor=dask_threads))
    next(run)
    run.close()
    del run
    tasks = lambda: dask_threads.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    wait_until(lambda: tasks() == 0, 'the scheduler forgets the tasks')


# ---------------------------------------------------------------------------------------------------------------------
# Wrong arguments


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (
            {},
            TypeError,
            (
                'parallel_map: give exactly one of `threads`, `processes`, `tasks`, `executor` and `workers`,'
                ' got none of them'
            ),
        ),
        (
            {'threads': 1, 'processes': 2},
            TypeError,
            (
                'parallel_map: give exactly one of `threads`, `processes`, `tasks`, `executor` and `workers`,'
                ' got threads, processes'
            ),
        ),
        ({'tasks': 0}, ValueError, 'parallel_map: `tasks` must be at least 1, got 0'),
        ({'threads': 1.5}, TypeError, 'parallel_map: `threads` must be an int, got float'),
        ({'threads': True}, TypeError, 'parallel_map: `threads` must be an int, got bool'),
        ({'processes': '2'}, TypeError, 'parallel_map: `processes` must be an int, got str'),
        ({'executor': 3}, TypeError, 'parallel_map: `executor` must have a method `submit`, got int'),
        ({'threads': 1, 'ordered': 1}, TypeError, 'parallel_map: `ordered` must be True or False, got int'),
        ({'threads': 1, 'in_flight': 0}, ValueError, 'parallel_map: `in_flight` must be at least 1, got 0'),
        ({'threads': 1, 'in_flight': -1}, ValueError, 'parallel_map: `in_flight` must be at least 1, got -1'),
        ({'threads': 1, 'in_flight': 1.0}, TypeError, f'parallel_map: `in_flight` {SIZE}, got float'),
        ({'threads': 1, 'in_flight': '5XB'}, ValueError, f"parallel_map: `in_flight` {SIZE}, got '5XB'"),
        (
            {'threads': 1, 'in_flight': '0MB'},
            ValueError,
            "parallel_map: `in_flight` must be at least one byte, got '0MB'",
        ),
        ({'processes': 1, 'max_crashes': -1}, ValueError, 'parallel_map: `max_crashes` must be at least 0, got -1'),
        ({'processes': 1, 'max_crashes': None}, TypeError, 'parallel_map: `max_crashes` must be an int, got NoneType'),
        ({'threads': 1, 'max_crashes': 1}, TypeError, 'parallel_map: `max_crashes` goes with `processes`'),
        (
            {'processes': 1, 'max_tasks_per_worker': 0},
            ValueError,
            'parallel_map: `max_tasks_per_worker` must be at least 1, got 0',
        ),
        (
            {'executor': AtOnce(), 'max_tasks_per_worker': 5},
            TypeError,
            'parallel_map: `max_tasks_per_worker` goes with `processes`',
        ),
        ({'threads': 1, 'stall_timeout': 0}, ValueError, 'parallel_map: `stall_timeout` must be positive, got 0'),
        ({'threads': 1, 'stall_timeout': '5'}, TypeError, 'parallel_map: `stall_timeout` must be a number, got str'),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with raises(error, message):
        parallel_map(abs, **arguments)


@pytest.mark.parametrize(
    ('f', 'message'),
    [
        (None, 'parallel_map: `f` must be a function or an item-wise stage, got NoneType'),
        (apply, 'parallel_map: `apply` makes a stage when it is called: did you mean `apply(…)`?'),
        (apply(abs) | prefetch(2), 'parallel_map: `f` must be item-wise, but `prefetch(2)` is not'),
    ],
)
def test_wrong_functions(f: Any, message: str) -> None:
    with raises(TypeError, message):
        parallel_map(f, threads=1)


def test_arguments_for_a_stage_of_several_steps() -> None:
    message = 'parallel_map: `f` is a stage of several steps, give the arguments to those: got apply(abs) | apply(str)'
    with raises(TypeError, message):
        parallel_map(apply(abs) | str, 5, threads=1)


def test_it_prints_as_it_was_written() -> None:
    written = 'parallel_map(pow, 2, mod=7, threads=2, ordered=False, in_flight=3)'
    assert repr(parallel_map(pow, 2, mod=7, threads=2, ordered=False, in_flight=3)) == written
    assert repr(parallel_map(abs, processes=-1)) == 'parallel_map(abs, processes=-1)'
    assert repr(parallel_map(abs, threads=1, in_flight='1.5 GB')) == "parallel_map(abs, threads=1, in_flight='1.5 GB')"
    assert repr(parallel_map(abs, threads=1, stall_timeout=5)) == 'parallel_map(abs, threads=1, stall_timeout=5)'


def test_a_size_is_no_number_of_items() -> None:
    made = parallel_map(abs, threads=2, in_flight='3B')
    assert made == pickle.loads(pickle.dumps(made)) == parallel_map(abs, threads=2, in_flight='3B')
    assert made != parallel_map(abs, threads=2, in_flight=3)


@pytest.mark.parametrize('kind', ['threads', 'processes'])
def test_no_workers_are_the_function_alone(kind):
    """As `num_workers=0` of a DataLoader, so that a script has one line for any number."""

    def noisy(x, rng):
        threads.add(threading.current_thread())
        return x + rng.random()

    def pipelines(**workers):
        numbers = stream(range(9), seed=3) | shuffle(4)
        yield numbers | parallel_map(pow, 2, in_flight=3, **workers)
        yield numbers | parallel_map(with_rng(noisy), **workers)
        yield numbers | parallel_map(with_rng(noisy) | batch_by(2) | combine, lookups='main', **workers)

    threads = set()
    without = list(pipelines(**{kind: 0}))
    results = [list(map(repr, made)) for made in without]
    assert threads == {threading.current_thread()}
    assert results == [list(map(repr, made)) for made in pipelines(threads=2)]
    assert repr(without[0]) == 'stream(range(0, 9), seed=3) | shuffle(4) | apply(pow, 2)'
    for alone, beside in zip(without, pipelines(threads=2), strict=True):
        run = iter(alone)
        next(run)
        assert list(map(repr, beside.resume(run.state_dict()))) == list(map(repr, run))
    whole = noted = apply(abs) | apply(str)
    assert list([-1] | parallel_map(whole, **{kind: 0})) == ['1']
    assert whole == noted
    with raises(TypeError, 'parallel_map: `f` must be item-wise, but `shuffle()` is not'):
        parallel_map(shuffle(), **{kind: 0})


def test_none_of_one_kind_leaves_the_choice_to_another():
    """A script may have an option for each."""
    here = os.getpid(), threading.get_ident()

    def place(_):
        if os.getpid() != here[0]:
            return 'process'
        return 'here' if threading.get_ident() == here[1] else 'thread'

    for none in 0, np.int64(0):
        assert [*range(1) | parallel_map(place, threads=none, processes=1)] == ['process']
        assert [*range(1) | parallel_map(place, threads=1, processes=none, tasks=none)] == ['thread']
        assert [*range(1) | parallel_map(place, threads=none, processes=none)] == ['here']
        parallel_map(place, threads=none, processes=none, seed_globals=True)
    with raises(ValueError, 'parallel_map: `tasks` must be at least 1, got 0'):
        parallel_map(abs, tasks=0, workers=None)
    with pytest.raises(TypeError, match='got threads, processes$'):
        parallel_map(abs, threads=False, processes=2)


def test_without_workers_one_does_what_needs_one():
    def f(x, setup=0):
        return 1 / (x + setup)

    run = iter(range(4) | parallel_map(f, processes=0, on_error='skip', timeout=5, max_tasks_per_worker=1))
    assert list(run) == [1.0, 0.5, 1 / 3]
    assert [each.ordinal for each in run.dropped] == [0]
    assert list(range(3) | parallel_map(f, threads=0, setup=lambda: 1)) == [1.0, 0.5, 1 / 3]
    assert list(range(1, 3) | parallel_map(f, threads=0, retries=1, retry_on=OSError)) == [1.0, 0.5]


def test_no_more_is_held_than_stats_say_may_be(monkeypatch):
    """Where the limit is no option, it follows what items cost, and those that are on their way stay there."""
    run = iter(range(100) | parallel_map(abs, processes=1))
    assert [next(run) for _ in range(40)] == [*range(40)]
    monkeypatch.setattr(itpipe._workers.processes.Processes, 'max_pending', 0)
    stage = run.stats().stages[1]
    assert 0 < stage.held == stage.capacity
    monkeypatch.undo()
    run.close()
