"""The pool of processes: what dies, what is left, and what the processes get to see."""

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from running import LIMIT, is_gone, raises, run_script, session, start_script, wait_until

import itpipe._workers.processes
import itpipe._workers.shared_memory
from itpipe import NotPicklable, WorkerCrashed, parallel_map, stage
from itpipe._engine.functions import ItemFunction
from itpipe._engine.seeds import Sites
from itpipe._engine.stream import itemwise
from itpipe._workers.cores import NATIVE_THREADS
from itpipe._workers.processes import Processes


def function_of(f: Callable[[Any], Any]) -> ItemFunction:
    return ItemFunction(itemwise('f', f).steps, Sites())


def pool_of(f: Callable[[Any], Any], size: int = 1) -> Processes:
    return Processes(size, function_of(f))


def died(how: str, item: str, times: int = 3) -> str:
    who = f'{times} worker processes, one after the other,' if times > 1 else 'a worker process'
    return f'{who} died ({how}) while working on {item} alone; it may take too much memory, or crash in native code'


def await_file(path: Path) -> None:
    wait_until(path.exists, f'{path} is there')


# ---------------------------------------------------------------------------------------------------------------------
# Workers that die


def kill(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def leave(x: int) -> int:
    if x == 3:
        os._exit(5)
    return x


def crash(x: int) -> int:
    if x == 3:
        sys.stderr = None  # type: ignore[assignment]
        ctypes.string_at(0)
    return x


@pytest.mark.parametrize(('function', 'how'), [(kill, 'SIGKILL'), (leave, 'exit code 5'), (crash, 'SIGSEGV')])
def test_a_worker_that_dies_is_an_error_that_names_the_stage_and_the_item(
    function: Callable[[int], int], how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    run = iter(range(10) | parallel_map(function, processes=2))
    results = []
    note = f'itpipe: raised in parallel_map({function.__name__}, processes=2), item 3'
    with raises(WorkerCrashed, died(how, 'item 3'), note):
        for result in run:
            results.append(result)
    assert results == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(run)


def test_without_order_a_worker_that_dies_is_the_same_error() -> None:
    results = []
    note = 'itpipe: raised in parallel_map(kill, processes=2, ordered=False), item 3'
    with raises(WorkerCrashed, died('SIGKILL', 'item 3'), note):
        for result in range(10) | parallel_map(kill, processes=2, ordered=False):
            results.append(result)
    assert set(results) <= set(range(10)) - {3}


def dies_once(mark: Path, x: int, how: Callable[[], Any] = lambda: os.kill(os.getpid(), signal.SIGKILL)) -> int:
    with suppress(FileExistsError):
        mark.touch(exist_ok=False)
        how()
    return x


@pytest.mark.parametrize('ordered', [True, False])
@pytest.mark.parametrize('in_flight', [1, 3, None])
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(
    tmp_path: Path, ordered: bool, in_flight: int | None
) -> None:
    def function(x: int) -> int:
        return dies_once(tmp_path / str(x), x) if x % 40 == 7 else x

    stage = parallel_map(function, processes=2, ordered=ordered, in_flight=in_flight)
    results = list(range(100) | stage)
    assert (results if ordered else sorted(results)) == list(range(100))
    assert len(list(tmp_path.iterdir())) == 3


def test_large_results_of_workers_that_are_killed(tmp_path: Path) -> None:
    """Those that were ready stay what they are, those that were not are made again."""

    def function(x: Any) -> Any:
        result = np.full(10**5, x[0])
        if x[0] % 20 == 7:
            dies_once(tmp_path / str(x[0]), 0)
        return result

    kept = list((np.full(10**5, n) for n in range(60)) | parallel_map(function, processes=2))
    assert [int(each[0]) for each in kept] == list(range(60))
    assert all((each == each[0]).all() for each in kept)


@pytest.mark.parametrize('max_crashes', [0, 1])
def test_an_item_of_which_more_processes_die_ends_the_run(tmp_path: Path, max_crashes: int) -> None:
    def function(x: int) -> int:
        if x == 3:
            (tmp_path / f'{time.perf_counter_ns()}').touch()
            os._exit(5)
        return x

    stage = parallel_map(function, processes=2, in_flight=1, max_crashes=max_crashes)
    run = iter(range(10) | stage)
    assert [next(run) for _ in range(3)] == [0, 1, 2]
    with raises(WorkerCrashed, died('exit code 5', 'item 3', max_crashes + 1), f'itpipe: raised in {stage!r}, item 3'):
        next(run)
    assert len(list(tmp_path.iterdir())) == max_crashes + 1


def test_the_innocent_are_not_blamed() -> None:
    """Of several items that a process had, the one it died of is found."""
    pool = pool_of(lambda x: (x, os.getpid()) if x != 4 else os._exit(5))
    pool.result(pool.submit(0, 0))
    pool._cost = 1e-6  # so that they are given to the worker together
    tasks = [pool.submit(key, key) for key in (1, 2, 3, 4, 5)]
    assert [pool.result(task)[0] for task in tasks[:3]] == [1, 2, 3]
    with raises(WorkerCrashed, died('exit code 5', 'item 4')):
        pool.result(tasks[3])
    assert pool.result(tasks[4])[0] == 5
    pool.close()


def test_processes_are_replaced_after_so_many_items() -> None:
    for most in (1, 3):
        pids = list(range(12) | parallel_map(lambda _: os.getpid(), processes=2, max_tasks_per_worker=most))
        assert max(Counter(pids).values()) <= most
    assert repr(parallel_map(abs, processes=2, max_tasks_per_worker=3, max_crashes=1)) == (
        'parallel_map(abs, processes=2, max_crashes=1, max_tasks_per_worker=3)'
    )


def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced() -> None:
    pool = pool_of(lambda _: os.getpid())
    pid = pool.result(pool.submit(0, 0))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not pool._workers, 'the death is noticed')
    assert pool.result(pool.submit(1, 0)) != pid
    pool.close()


class DeadlyToUnpickle:
    def __reduce__(self) -> Any:
        return os._exit, (5,)

    def __call__(self, item: Any) -> Any:
        return item


def test_a_function_that_kills_whoever_unpickles_it() -> None:
    with pytest.raises(WorkerCrashed) as caught:
        list(range(3) | parallel_map(DeadlyToUnpickle(), processes=1, on_error='skip'))
    assert str(caught.value) == (
        '3 worker processes, one after the other, died (exit code 5) while it was being set up; it may have printed why'
    )


def test_what_a_process_that_died_did_to_its_item_is_not_seen_by_the_next(tmp_path: Path) -> None:
    """Large arrays lie in memory that the process may write to."""
    died_once = tmp_path / 'died'

    def function(array: np.ndarray) -> float:
        array += 1
        if array[0] == 3 and not died_once.exists():
            died_once.touch()
            os._exit(1)
        return float(array[0])

    arrays = [np.full(10_000, float(n)) for n in range(6)]
    assert list(arrays | parallel_map(function, processes=1)) == [1, 2, 3, 4, 5, 6]


def await_stopping(worker: Any) -> None:
    process = psutil.Process(worker.process.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 'the process has stopped')


@pytest.mark.parametrize('there_is_room', [True, False])
def test_nobody_waits_for_a_process_at_work_to_take_a_large_message(there_is_room: bool) -> None:
    def function(value: bytes) -> int:
        if value[0] == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return value[0]

    pool = pool_of(function)
    if not there_is_room:
        pool._arena._holes.clear()
    assert pool.result(pool.submit(0, bytes(1))) == 0
    (worker,) = pool._workers
    pool._cost, pool._since, worker.answered = itpipe._workers.processes.TOGETHER, inf, inf
    tasks = [pool.submit(n, bytes([n])) for n in (1, 2)]
    await_stopping(worker)
    tasks += [pool.submit(n, bytes([n]) * 2**20) for n in (3, 4)]
    assert len(worker.calls) == 4
    assert pool._arena.lent == there_is_room
    assert 'item 1 in process' in pool.doing()
    os.kill(worker.process.pid, signal.SIGCONT)
    assert [pool.result(task) for task in tasks] == [1, 2, 3, 4]
    pool.close()


def test_the_memory_of_large_messages_is_used_again() -> None:
    pool = pool_of(len)
    for n in range(10):
        tasks = [pool.submit((n, k), ['text'] * 10_000) for k in range(10)]
        assert [pool.result(task) for task in tasks] == [10_000] * 10
    assert pool._arena.lent <= 10
    assert max(pool._arena._ends) < 2**20  # where the last hole begins
    pool.close()


def test_a_process_that_takes_no_large_message_is_told_of_and_closed() -> None:
    """There is no room for it in shared memory."""
    pool = pool_of(len)
    pool._arena._holes.clear()
    assert pool.result(pool.submit(0, bytes(1))) == 1
    (worker,) = pool._workers
    os.kill(worker.process.pid, signal.SIGSTOP)
    await_stopping(worker)
    pool._since = -inf  # so that it is sent at once
    stuck = threading.Thread(target=pool.submit, args=(1, bytes(2**20)))
    stuck.start()
    wait_until(pool._lock.locked, 'a message is stuck')
    assert 'takes no message' in pool.doing()
    pool.close()
    stuck.join(LIMIT)
    assert not stuck.is_alive()


def raise_on_unpickling() -> None:
    raise ModuleNotFoundError("No module named 'nowhere'")


class NotThere:
    def __reduce__(self) -> Any:
        return raise_on_unpickling, ()

    def __call__(self, item: Any) -> Any:
        return item


def test_a_function_that_cannot_be_unpickled_in_the_process() -> None:
    message = (
        "the function cannot be unpickled (ModuleNotFoundError: No module named 'nowhere'):"
        ' what it uses must be importable in the process'
    )
    note = 'itpipe: raised in parallel_map(<NotThere>, processes=1), item 0'
    with raises(NotPicklable, message, note):
        list(range(3) | parallel_map(NotThere(), processes=1))


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(abs, 2)

    def refuse(**options: Any) -> Any:
        raise OSError('no more processes')

    monkeypatch.setattr(pool._context, 'Process', refuse, raising=False)
    for future in [pool.submit(key, key) for key in range(3)]:
        with raises(OSError, 'no more processes'):
            pool.result(future)
    pool.close()


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has one; where the system refuses more, there is an error and no wait."""
    pool = pool_of(lambda x: (x, os.getpid()) if x != 3 else os._exit(5))
    pool.result(pool.submit(0, 0))
    pool._cost = 0.0  # so that the next one is given to the worker before it has answered

    def refuse(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, 'start', refuse)
    futures = [pool.submit(key, key) for key in (3, 4)]
    for future in (*futures, pool.submit(5, 5)):
        with raises(RuntimeError, "can't start new thread"):
            pool.result(future)
    monkeypatch.undo()
    pool.close()


# ---------------------------------------------------------------------------------------------------------------------
# Closing


def test_closing_ends_a_worker_that_does_not_take_its_input(tmp_path: Path) -> None:
    """More is waiting for it than fits into any buffer."""
    begun = tmp_path / 'begun'

    def function(x: Any) -> None:
        begun.touch()
        threading.Event().wait()

    big = stage(lambda items: (np.zeros(10**6) for _ in items))()
    run = iter(range(100) | big | parallel_map(function, processes=1))

    def consume() -> None:
        with raises(
            RuntimeError,
            'the run was closed while a result was awaited',
            'itpipe: raised in parallel_map(function, processes=1), item 0',
        ):
            next(run)

    consumer = threading.Thread(target=consume)
    consumer.start()
    await_file(begun)
    run.close()
    consumer.join(LIMIT)
    assert not consumer.is_alive()


def test_closing_while_the_processes_are_being_started() -> None:
    for _ in range(5):
        pool = pool_of(abs, 2)
        futures = [pool.submit(key, -key) for key in range(4)]
        pool.close()
        for future in futures:
            with raises(RuntimeError, 'the run was closed while a result was awaited'):
                pool.result(future)
        assert pool._workers == []


def test_stopping_breaks_the_wait_and_closing_again_does_nothing() -> None:
    pool = pool_of(lambda _: threading.Event().wait())
    future = pool.submit(0, 0)
    threading.Thread(target=pool.stop).start()
    with raises(RuntimeError, 'the run was closed while a result was awaited'):
        pool.result(future)
    pool.close()
    pool.close()


def test_what_the_function_started_ends_with_it(tmp_path: Path) -> None:
    started = tmp_path / 'pids'

    def function(x: int) -> int:
        sleeper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])
        nested = iter(range(5) | parallel_map(lambda _: os.getpid(), processes=1))
        started.with_suffix('.tmp').write_text(f'{os.getpid()} {sleeper.pid} {next(nested)}')
        started.with_suffix('.tmp').rename(started)
        threading.Event().wait()
        return x

    pool = pool_of(function)
    pool.submit(0, 0)
    await_file(started)
    pids = [int(pid) for pid in started.read_text().split()]
    assert not any(map(is_gone, pids))
    pool.close()
    wait_until(lambda: all(map(is_gone, pids)), 'all are gone')


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize('idle', [True, False])
def test_the_processes_end_when_the_one_that_started_them_is_killed(how: signal.Signals, idle: bool) -> None:
    source = """
        import sys, threading, time
        from itpipe import parallel_map

        def function(x):
            if x == 1:
                time.sleep(1000)
            return x

        run = iter(range(10) | parallel_map(function, processes=2, in_flight=2))
        print(next(run), flush=True)
        if sys.argv[1] == 'False':
            next(run)
        threading.Event().wait()
    """
    with start_script(source, idle) as script:
        assert script.stdout.readline() == '0\n'
        assert len(session(script.pid)) >= 3
        script.send_signal(how)
        wait_until(lambda: not session(script.pid), 'all of the session are gone')
        assert script.stderr.read() == ''


def test_where_files_have_names_none_is_left_of_a_run_that_is_killed(tmp_path: Path) -> None:
    """Nor are there any while it runs, here or in the processes."""
    source = """
        import os, sys, tempfile, threading
        import numpy as np
        from itpipe import parallel_map

        tempfile.tempdir = sys.argv[1]
        if hasattr(os, 'memfd_create'):
            del os.memfd_create
        data = np.ones(10**5)
        run = iter((np.full(10**5, n) for n in range(10)) | parallel_map(lambda x: x + data, processes=2))
        print(all((next(run) == n + 1).all() for n in range(3)), flush=True)
        threading.Event().wait()
    """
    with start_script(source, tmp_path) as script:
        assert script.stdout.readline() == 'True\n'
        assert list(tmp_path.iterdir()) == []
        script.kill()
        wait_until(lambda: not session(script.pid), 'all of the session are gone')
    assert list(tmp_path.iterdir()) == []


def test_neither_psutil_nor_pgrep_is_needed() -> None:
    """loky's executor needs one of them, and without hangs when it is closed."""
    run_script(
        """
        import os, sys, time
        sys.modules['psutil'] = None
        os.environ['PATH'] = ''
        from itpipe import parallel_map

        run = iter(range(10) | parallel_map(abs, processes=2))
        next(run)
        run.close()
        list([0] | parallel_map(abs, processes=1))
        next(iter(range(10) | parallel_map(lambda x: x and time.sleep(1000), processes=2)))
        """
    )


def test_a_forked_process_leaves_the_processes_alone() -> None:
    out = run_script(
        """
        import os
        from itpipe import parallel_map

        run = iter(range(10) | parallel_map(abs, processes=2))
        next(run)
        child = os.fork()
        if not child:
            run.close()
            print('child', flush=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print('parent', list(run))
        """,
        options=('-W', 'ignore'),
    )
    assert out == 'child\nparent [1, 2, 3, 4, 5, 6, 7, 8, 9]\n'


# ---------------------------------------------------------------------------------------------------------------------
# What all processes share


def pss(pids: list[int]) -> int:
    """Bytes that these processes have, shared ones divided among those who share them."""
    rollups = [Path(f'/proc/{pid}/smaps_rollup').read_text() for pid in pids]
    return sum(1024 * int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith('Pss:'))


@pytest.mark.skipif(not os.path.exists('/proc/self/smaps_rollup'), reason='the system does not tell')
@pytest.mark.parametrize('mapped', [False, True])
def test_an_array_that_all_processes_use_is_in_memory_once(tmp_path: Path, mapped: bool) -> None:
    count, size = 4, 1 << 26
    (tmp_path / 'array').write_bytes(bytes(size))

    def used(data: Any, meet: Path) -> int:
        def function(_: int) -> int:
            assert not data.any()  # all of it is looked at
            (meet / str(os.getpid())).touch()
            wait_until(lambda: len(list(meet.iterdir())) == count, 'each process has an item')
            return os.getpid()

        meet.mkdir()
        run = iter(range(count) | parallel_map(function, processes=count))
        try:
            pids = [next(run) for _ in range(count)]
            assert len(set(pids)) == count
            return pss(pids)
        finally:
            run.close()

    data = np.memmap(tmp_path / 'array', np.uint8, 'r') if mapped else np.zeros(size, np.uint8)
    cost = used(data, tmp_path / 'with') - used(data[:1000].copy(), tmp_path / 'without')
    assert 0.9 * size < cost < 1.5 * size


class Dataset:
    def __init__(self, path: Path):
        self.images = np.arange(10**5).reshape(10, 100, 100)
        self.labels = {'names': list('abcdefghij'), 'weights': np.arange(10.0)}
        np.save(path, self.images)
        self.mapped = np.load(path, mmap_mode='r')

    def load(self, x: int) -> Any:
        assert not self.images.flags.writeable
        assert isinstance(self.mapped, np.memmap)
        assert np.array_equal(self.images, self.mapped)
        return self.images[x], self.labels['names'][x], self.labels['weights'][x : x + 1], self.mapped[x]


def test_a_dataset_and_what_comes_out_of_it(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / 'images.npy')
    for x, (image, name, weight, mapped) in enumerate(range(10) | parallel_map(dataset.load, processes=2)):
        assert np.array_equal(image, dataset.images[x])
        assert np.array_equal(mapped, image)
        assert (name, weight[0]) == ('abcdefghij'[x], x)
        assert type(image) is type(mapped) is np.ndarray
        image += 1  # its own, as if it had gone through the pipe
        weight += 1


def test_what_all_processes_share_cannot_be_written_to() -> None:
    scratch = np.zeros(10**5)

    def function(x: int) -> None:
        scratch[0] = x

    note = 'itpipe: raised in parallel_map(function, processes=1), item 0'
    with raises(ValueError, 'assignment destination is read-only', note):
        list(range(3) | parallel_map(function, processes=1))


def test_a_process_that_comes_later_sees_the_same(tmp_path: Path) -> None:
    data = np.arange(10**5)

    def function(x: int) -> Any:
        return dies_once(tmp_path / 'died', int(data[x])) if x == 3 else int(data[x])

    stage = parallel_map(function, processes=1, max_tasks_per_worker=4)
    assert list(range(10) | stage) == list(range(10))


def test_where_the_memory_cannot_be_had_arrays_go_through_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'pwrite', refuse)
    data, frozen = np.arange(10**5), np.arange(10**5) + 1
    frozen.flags.writeable = False

    def function(x: int) -> Any:
        return data[x:], data.flags.writeable, frozen[x:], frozen.flags.writeable

    for x, (got, *others) in enumerate(range(3) | parallel_map(function, processes=2)):
        assert np.array_equal(got, data[x:])
        assert got.flags.writeable
        assert np.array_equal(others[1], frozen[x:])
        assert (others[0], others[2]) == (False, False)


@pytest.mark.skipif(not hasattr(os, 'memfd_create'), reason='nameless blocks are of Linux')
def test_what_is_shared_goes_with_the_pool() -> None:
    def files() -> int:
        links = [Path('/proc/self/fd', fd) for fd in os.listdir('/proc/self/fd')]
        return sum('memfd:itpipe' in os.readlink(link) for link in links if link.is_symlink())

    data = np.arange(10**5)
    for ending in ('close', 'error', 'drop'):
        run = iter(range(4) | parallel_map(lambda x: 1 / int(data[3 - x]), processes=1))
        next(run)
        assert files() == 3  # what the function has, the items, and the results of the one process
        assert '/memfd:itpipe' not in Path('/proc/self/maps').read_text()  # only the processes have any mapped
        if ending == 'close':
            run.close()
        elif ending == 'error':
            with pytest.raises(ZeroDivisionError):
                list(run)
        del run
        wait_until(lambda: files() == 0, 'the file is closed')


def test_large_mapped_items_are_opened_again_and_come_back_as_copies(tmp_path: Path) -> None:
    np.save(tmp_path / 'a.npy', np.arange(10**6).reshape(4, -1))
    items = np.load(tmp_path / 'a.npy', mmap_mode='r')

    def function(item: Any) -> Any:
        return type(item) is np.memmap, item.filename, item

    for given, (opened, name, got) in zip(items, items | parallel_map(function, processes=2), strict=True):
        assert opened
        assert Path(name) == tmp_path / 'a.npy'
        assert type(got) is np.ndarray
        assert np.array_equal(got, given)


# ---------------------------------------------------------------------------------------------------------------------
# What a process gets to see


def test_a_slow_item_holds_no_other_up(tmp_path: Path) -> None:
    others_came = tmp_path / 'others came'

    def function(x: int) -> int:
        if x == 0:
            await_file(others_came)
        return x

    run = iter(range(8) | parallel_map(function, processes=2, in_flight=4, ordered=False))
    assert [next(run) for _ in range(7)] == list(range(1, 8))
    others_came.touch()
    assert list(run) == [0]


def test_cheap_tasks_are_given_ahead_and_dear_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(abs)
    most = []
    give = itpipe._workers.process._Worker.give

    def watch(worker: Any, task: Any) -> None:
        give(worker, task)
        most.append(len(worker.calls))

    monkeypatch.setattr(itpipe._workers.process._Worker, 'give', watch)
    monkeypatch.setattr(itpipe._workers.processes, 'TOGETHER', 0)
    for cheap, limit in ((0.0, 1), (1000.0, 4)):
        monkeypatch.setattr(itpipe._workers.processes, 'CHEAP', cheap)
        most.clear()
        for future in [pool.submit(key, key) for key in range(20)]:
            pool.result(future)
        assert max(most) == limit
    pool.close()


def test_native_thread_pools_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itpipe._workers.processes, 'usable_cores', lambda: 6)
    for name in NATIVE_THREADS:
        monkeypatch.delenv(name, raising=False)

    def see(_: int) -> Any:
        import threadpoolctl

        libraries = {lib['internal_api']: lib['num_threads'] for lib in threadpoolctl.threadpool_info()}
        return [os.environ.get(name) for name in NATIVE_THREADS], libraries

    pytest.importorskip('threadpoolctl')
    (seen, libraries), *_ = list([0] | parallel_map(see, processes=3))
    assert seen == ['2'] * len(NATIVE_THREADS)
    assert set(libraries.values()) <= {2}
    assert libraries
    assert not any(name in os.environ for name in NATIVE_THREADS)
    (seen, _), *_ = list([0] | parallel_map(see, processes=100))
    assert seen == ['1'] * len(NATIVE_THREADS)


def polars_pool() -> int:
    import polars as pl

    return pl.thread_pool_size()


def opencv_pool() -> int:
    import cv2

    return cv2.getNumThreads()


def torch_pool() -> int:
    import torch

    return torch.get_num_threads()


def arrow_pool() -> int:
    import pyarrow as pa

    return pa.cpu_count()


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ('library', 'pool', 'variable'),
    [
        ('polars', polars_pool, 'POLARS_MAX_THREADS'),
        ('cv2', opencv_pool, 'OPENCV_FOR_THREADS_NUM'),
        ('torch', torch_pool, 'OMP_NUM_THREADS'),
        ('pyarrow', arrow_pool, 'OMP_NUM_THREADS'),
    ],
)
def test_the_pools_of_libraries_share_the_cores_unless_the_user_says_otherwise(
    library: str, pool: Callable[[], int], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library)
    for name in NATIVE_THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(itpipe._workers.processes, 'usable_cores', lambda: 2)  # none uses more than there are
    assert list([0] | parallel_map(lambda _: pool(), processes=2)) == [1]
    monkeypatch.setenv(variable, '2')
    assert list([0] | parallel_map(lambda _: pool(), processes=2)) == [2]


def test_what_the_user_says_of_native_threads_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('OMP_NUM_THREADS', '7')
    assert list([0] | parallel_map(lambda _: os.environ['OMP_NUM_THREADS'], processes=1)) == ['7']


def test_no_process_reads_from_the_terminal_or_is_interrupted_by_it() -> None:
    out = run_script(
        """
        import os, signal
        from itpipe import parallel_map

        def see(_):
            os.kill(os.getpid(), signal.SIGINT)
            return os.getpgrp() == os.getpid(), os.read(0, 1), os.readlink('/proc/self/fd/0')

        print(list([0] | parallel_map(see, processes=1)))
        """,
        stdin=subprocess.PIPE,
    )
    assert out == "[(True, b'', '/dev/null')]\n"


def test_cheap_tasks_are_sent_together_up_to_a_millisecond_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(abs)
    pool.result(pool.submit(0, 0))
    sizes = []
    give = itpipe._workers.process._Worker.give

    def watch(worker: Any, tasks: Any) -> None:
        sizes.append(len(tasks))
        give(worker, tasks)

    monkeypatch.setattr(itpipe._workers.process._Worker, 'give', watch)
    for cost, together in ((0.00019, 5), (0.0, itpipe._workers.processes.MOST), (0.0007, 2), (0.006, 1)):
        sizes.clear()
        pool._cost, pool._since = cost, inf
        monkeypatch.setattr(
            itpipe._workers.processes.Processes,
            '_cost',
            property(lambda _, cost=cost: cost, lambda *_: None),
            raising=False,
        )
        futures = [pool.submit(key, -key) for key in range(2 * together)]
        assert [pool.result(future) for future in futures] == list(range(2 * together))
        assert sizes == [together] * 2
        monkeypatch.delattr(itpipe._workers.processes.Processes, '_cost')
    pool.close()


def test_a_few_that_wait_for_company_are_sent_when_they_are_awaited() -> None:
    pool = pool_of(abs)
    pool.result(pool.submit(0, 0))
    pool._cost = 1e-6
    assert [pool.result(pool.submit(key, -key)) for key in range(5)] == list(range(5))
    futures = [pool.submit(key, -key) for key in range(3)]
    assert [pool.result(future) for future in reversed(futures)] == [2, 1, 0]
    pool.close()


@pytest.mark.parametrize('ordered', [True, False])
def test_with_few_in_flight_cheap_tasks_are_not_waited_for(ordered: bool) -> None:
    for in_flight in (1, 2, 5):
        run = range(300) | parallel_map(abs, processes=2, in_flight=in_flight, ordered=ordered)
        assert sorted(run) == list(range(300))


def test_a_ready_result_is_held_back_by_no_more_than_one_item(tmp_path: Path) -> None:
    """Of tasks that were sent together, too: the first is answered although the last one takes long."""
    go_on = tmp_path / 'go on'

    def function(x: int) -> int:
        if x == 2:
            time.sleep(2 * itpipe._workers.processes.TOGETHER)
        if x == 3:
            await_file(go_on)
        return x

    pool = pool_of(function)
    pool.result(pool.submit(0, 0))
    pool._cost, pool._since = 1e-6, inf
    futures = [pool.submit(key, key) for key in (1, 2, 3)]
    assert [pool.result(future) for future in futures[:2]] == [1, 2]
    go_on.touch()
    assert pool.result(futures[2]) == 3
    pool.close()


def test_large_values_and_large_results_do_not_wait_for_each_other() -> None:
    """The next values are on their way while the results of the ones before still come, one after the other."""

    def function(value: bytes) -> bytes:
        time.sleep(2 * itpipe._workers.processes.TOGETHER)
        return value

    pool = pool_of(function)
    pool.result(pool.submit(0, b''))
    pool._cost, pool._since = itpipe._workers.processes.TOGETHER / 4, inf
    values = [bytes([n]) * 2**20 for n in range(8)]
    tasks = [pool.submit(key, value) for key, value in enumerate(values)]
    assert [pool.result(task) for task in tasks] == values
    pool.close()


def test_nothing_is_forked() -> None:
    """A fork would have this process's memory, and with it this module's changed value."""
    global changed
    changed = True
    try:
        assert list([0] | parallel_map(see_change, processes=1)) == [False]
    finally:
        changed = False


changed = False


def see_change(_: int) -> bool:
    return changed


def test_no_more_processes_are_started_than_there_is_work_for() -> None:
    pool = pool_of(abs, 8)
    pool.result(pool.submit(0, 0))
    pool.result(pool.submit(1, 0))
    assert len(pool._workers) == 1
    children = [child for child in psutil.Process().children() if 'popen_loky' in ' '.join(child.cmdline())]
    assert len(children) == 1
    pool.close()


REUSED: dict[str, Callable[[], Any]] = {
    'a large array': lambda: np.zeros(10**5),
    'a small array': lambda: np.zeros(100),
    'many of them': lambda: [np.zeros(3000)] * 20,
    'a part of an array': lambda: np.zeros((400, 500))[::2, ::3],
    'bytes': lambda: bytearray(10**5),
    'a table': lambda: pytest.importorskip('pandas').DataFrame({'a': np.zeros(10**5), 'b': np.zeros(10**5)}),
}


def fill(buffer: Any, x: int) -> None:
    if isinstance(buffer, list):
        fill(buffer[0], x)
    elif hasattr(buffer, 'iloc'):
        buffer.iloc[:, :] = x
    else:
        buffer[:] = bytes([x]) * len(buffer) if isinstance(buffer, bytearray) else x


def numbers_in(buffer: Any) -> list[int]:
    return sorted({int(x) for part in (buffer if isinstance(buffer, list) else [buffer]) for x in np.unique(part)})


@pytest.mark.parametrize('pipe', [False, True])
@pytest.mark.parametrize('kind', REUSED)
def test_what_is_run_again_is_what_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, pipe: bool
) -> None:
    """Though the source has filled the same memory anew since, and the function that died had changed its item."""
    buffer = REUSED[kind]()
    if pipe:
        monkeypatch.setattr(itpipe._workers.shared_memory.File, 'new', lambda size: None)

    def source() -> Any:
        for x in range(8):
            fill(buffer, x)
            (tmp_path / f'at {x}').touch()
            yield buffer

    def function(item: Any) -> list[int]:
        numbers = numbers_in(item)
        fill(item, 77)
        if numbers == [3]:
            await_file(tmp_path / 'at 4')
            dies_once(tmp_path / 'died', 0)
        return numbers

    assert list(source() | parallel_map(function, processes=1)) == [[x] for x in range(8)]
    assert (tmp_path / 'died').exists()


def test_results_are_what_they_were_when_they_were_returned() -> None:
    """Though the function fills the same memory anew for each, and they are kept."""
    buffers = {}

    def function(x: int) -> Any:
        large, small = buffers.setdefault('both', (np.zeros(10**5), np.zeros(100)))
        large[:] = small[:] = x
        return large, small

    for x, both in enumerate(list(range(30) | parallel_map(function, processes=2))):
        assert all((array == x).all() for array in both)


def test_what_a_dead_worker_has_answered_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory does not go with it, so nothing is made again."""
    views = itpipe._workers.shared_memory.Borrower.views
    pool = Processes(1, function_of(lambda x: (x + 1, os.getpid())), max_crashes=0)
    pids = []

    def kill_first(borrower: Any, buffers: Any) -> Any:
        if not pids:
            (worker,) = pool._workers
            pids.append(worker.process.pid)
            worker.kill()
            worker.process.join()
        return views(borrower, buffers)

    monkeypatch.setattr(itpipe._workers.shared_memory.Borrower, 'views', kill_first)
    array, pid = pool.result(pool.submit(0, np.full(10**5, 0)))
    assert (array == 1).all()
    assert [pid] == pids
    array, pid = pool.result(pool.submit(1, np.full(10**5, 1)))
    assert (array == 2).all()
    assert pid not in pids
    pool.close()


@pytest.mark.parametrize('end', ['here', 'there', 'both'])
def test_memory_that_cannot_be_mapped_is_no_loss(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """What is sent is read and written then; no process dies of it, and each item is worked on once."""
    data = np.arange(10**5)

    def refuse(*_: Any, **__: Any) -> None:
        return None

    def setup() -> Any:
        if end != 'here':
            itpipe._workers.shared_memory.File._map = refuse  # type: ignore[method-assign]

    def function(item: Any, setup: Any) -> Any:
        item += data
        return item, os.getpid()

    if end != 'there':
        monkeypatch.setattr(itpipe._workers.shared_memory.File, '_map', refuse)
    stage = parallel_map(function, processes=2, setup=setup, max_crashes=0, on_error='skip')
    run = iter((np.full(10**5, n) for n in range(40)) | stage)
    results = list(run)
    assert not run.dropped  # type: ignore[attr-defined]
    assert len(results) == 40
    assert all(np.array_equal(array, data + n) for n, (array, _) in enumerate(results))
    assert len({pid for _, pid in results}) <= 2


NO_MEMORY = """
    import resource, sys
    import numpy as np
    import psutil
    import itpipe._workers.processes
    from itpipe import parallel_map

    what, budget, too_large = sys.argv[1], int(sys.argv[2]), 300 << 20
    if not budget:
        itpipe._workers.processes.budget = lambda: 0

    def setup():
        limit = psutil.Process().memory_info().vms + (100 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def function(item, setup):
        if what == 'an item':
            return len(item)
        result = np.broadcast_to(np.ones(1, np.uint8), item)  # which takes memory only when it is sent
        return result if item == too_large else item

    items = [bytes(10), bytes(too_large), bytes(10)] if what == 'an item' else [10, too_large, 10]
    run = iter(items | parallel_map(function, processes=1, setup=setup, on_error='skip', in_flight=1))
    try:
        print(next(run), list(run))
    except Exception as error:
        print(type(error).__name__, str(error).split(' (')[0], len(run.dropped))
"""


@pytest.mark.skipif(not hasattr(os, 'memfd_create'), reason='limits of the address space are of Linux')
@pytest.mark.parametrize('budget', [0, 1])
@pytest.mark.parametrize('what', ['an item', 'a result'])
def test_what_a_process_has_no_memory_for_is_no_error_of_an_item(what: str, budget: int) -> None:
    """Not to be left out, then, nor a crash: the run says so, and ends."""
    with start_script(NO_MEMORY, what, budget) as script:
        out, err = script.communicate(timeout=3 * LIMIT)
    assert out in {
        'MemoryError a process has too little memory for an item that it got, or for a result to send 0\n',
        'NotPicklable the value of an item cannot be unpickled 0\n',
        'NotPicklable the result cannot be pickled 0\n',
    }
    assert 'Traceback' not in err


def forked() -> int:
    if not (child := os.fork()):
        time.sleep(1000)
    return child


def spawned() -> int:
    return os.posix_spawnp('sleep', ['sleep', '1000'], os.environ)


@pytest.mark.parametrize('start', [forked, spawned])
def test_a_worker_that_dies_and_leaves_a_child(tmp_path: Path, start: Callable[[], int]) -> None:
    """The child would have a copy of the socket; the death is seen all the same, and the child killed."""
    pid = tmp_path / 'pid'

    def function(x: int) -> int:
        if x == 2:
            pid.write_text(str(start()))
            os._exit(1)
        return x

    run = iter(range(4) | parallel_map(function, processes=1, max_crashes=0, in_flight=1))
    assert [next(run), next(run)] == [0, 1]
    with pytest.raises(WorkerCrashed):
        next(run)
    wait_until(lambda: is_gone(int(pid.read_text())), 'the child is gone')


@pytest.mark.parametrize('ordered', [True, False])
def test_with_a_slow_source_results_do_not_wait_for_more_items(ordered: bool) -> None:
    """However many would be sent together."""
    pulled, ahead = [], []

    def source() -> Any:
        for x in range(300):
            pulled.append(x)
            time.sleep(2 * itpipe._workers.processes.TOGETHER)  # which makes it slow
            yield x

    for received, _ in enumerate(source() | parallel_map(abs, processes=2, ordered=ordered), 1):
        ahead.append(len(pulled) - received)
    assert min(ahead[:-20]) < 20  # of the 256 that the window has, and that come in while the processes start
