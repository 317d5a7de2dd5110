"""Processes that are like any other: whatever the one that starts them is, and whatever the function starts there."""

import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from running import HAS_GIL, LIMIT, environment, run_script, session, start_script, wait_until

from itpipe import Infinite, parallel_map

METHODS = [None, *multiprocessing.get_all_start_methods()]


# ---------------------------------------------------------------------------------------------------------------------
# What the function starts


@pytest.mark.many(9)
@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('kind', ['pool', 'process', 'executor'])
def test_multiprocessing_works_with_what_the_script_defines(kind: str, method: str | None) -> None:
    """Without a guard in the script, which no process imports; classes come back as what they were."""
    out = run_script(
        """
        import multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor
        from itpipe import parallel_map

        class Point:
            def __init__(self, x):
                self.x = x

        class Far(Exception):
            pass

        def moved(point):
            if point.x > 5:
                raise Far(point.x)
            return Point(point.x + 1)

        def put(queue, point):
            queue.put(moved(point))

        def pool(x, context):
            with context.Pool(1) as pool:
                try:
                    pool.map(moved, [Point(7)])
                except Far as error:
                    assert error.args == (7,)
                return pool.map(moved, [Point(x)])[0]

        def process(x, context):
            queue = context.SimpleQueue()
            child = context.Process(target=put, args=(queue, Point(x)))
            child.start()
            result = queue.get()
            child.join()
            assert child.exitcode == 0
            return result

        def executor(x, context):
            with ProcessPoolExecutor(1, context) as executor:
                return executor.submit(moved, Point(x)).result()

        def work(x, kind, method):
            result = globals()[kind](x, multiprocessing.get_context(method))
            assert type(result) is Point
            return result.x

        kind, method = sys.argv[1:]
        used = pool, process, executor
        print(list([2] | parallel_map(work, kind, None if method == 'None' else method, processes=1)))
        """.replace('globals()[kind]', '{f.__name__: f for f in used}[kind]'),
        kind,
        method,
    )
    assert out == '[3]\n'


def managed(x: int) -> Any:
    with multiprocessing.Manager() as manager:
        shared = manager.dict()
        shared['x'] = x
        return shared['x']


def count_up(array: Any) -> None:
    with array.get_lock():
        array[0] += 1


def shared_array(x: int) -> int:
    array = multiprocessing.Array('i', [x])
    process = multiprocessing.Process(target=count_up, args=(array,))
    process.start()
    process.join()
    return int(array[0])


def shared_memory(x: int) -> int:
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=1)
    try:
        memory.buf[0] = x
        return int(memory.buf[0])
    finally:
        memory.close()
        memory.unlink()


def double(x: int) -> int:
    return 2 * x


def nested(x: int) -> list[int]:
    return list(range(x) | parallel_map(double, processes=2))


def nested_infinite(x: int) -> list[list[int]]:
    with Infinite(range(x), parallel_map(double, processes=1), batch_size=2) as batches:
        return [batch.tolist() for batch in batches]


def by_joblib(x: int, backend: str) -> list[int]:
    import joblib

    return joblib.Parallel(2, backend=backend)(joblib.delayed(double)(n) for n in range(x))  # type: ignore[no-any-return]


@pytest.mark.many(6)
@pytest.mark.parametrize(
    ('function', 'result'),
    [
        (managed, 4),
        (shared_array, 5),
        (shared_memory, 4),
        (nested, [0, 2, 4, 6]),
        (nested_infinite, [[0, 2], [4, 6]]),
    ],
)
def test_what_works_elsewhere_works_in_a_worker(function: Any, result: Any) -> None:
    assert list([4] | parallel_map(function, processes=1)) == [result]


@pytest.mark.long
@pytest.mark.many(2)
@pytest.mark.parametrize('backend', ['loky', 'multiprocessing', 'threading'])
def test_joblib_in_a_worker(backend: str) -> None:
    pytest.importorskip('joblib')
    assert list([4] | parallel_map(by_joblib, backend, processes=1)) == [[0, 2, 4, 6]]


@pytest.mark.long
def test_a_torch_loader_with_workers_in_a_worker() -> None:
    pytest.importorskip('torch')

    def load(x: int) -> list[list[int]]:
        from torch.utils.data import DataLoader

        return [batch.tolist() for batch in DataLoader(range(x), batch_size=2, num_workers=2)]  # type: ignore[arg-type]

    assert list([4] | parallel_map(load, processes=1)) == [[[0, 1], [2, 3]]]


def check_rank(rank: int, x: int) -> None:
    assert (rank, x) == (0, 4)


@pytest.mark.long
@pytest.mark.timeout(180)
def test_torch_spawn_in_a_worker() -> None:
    pytest.importorskip('torch')

    def spawn(x: int) -> None:
        import torch.multiprocessing

        torch.multiprocessing.spawn(check_rank, (x,), nprocs=1)

    assert list([4] | parallel_map(spawn, processes=1)) == [None]


@pytest.mark.many(5)
@pytest.mark.parametrize('method', METHODS)
def test_the_start_method_is_that_of_the_script(method: str | None) -> None:
    out = run_script(
        """
        import multiprocessing, sys
        from itpipe import parallel_map

        if sys.argv[1] != 'None':
            multiprocessing.set_start_method(sys.argv[1])
        print(*[0] | parallel_map(lambda _: multiprocessing.get_start_method(allow_none=True), processes=1))
        """,
        method,
    )
    assert out == f'{method}\n'


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing
            from itpipe import parallel_map

            print('begun')

            def work(x):
                with multiprocessing.get_context('spawn').Pool(1) as pool:
                    return pool.map(abs, [x]), list(range(2) | parallel_map(lambda y: y, processes=1))

            print(list([-3] | parallel_map(work, processes=1)))
            """
        )
    )
    command = [sys.executable, '-W', 'error', script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=environment(), check=False)
    assert (done.stdout, done.stderr) == ('begun\n[([3], [0, 1])]\n', '')


@pytest.mark.long
@pytest.mark.parametrize('who', ['script', 'worker'])
def test_what_the_function_has_started_ends_with_the_worker_and_the_script(who: str) -> None:
    source = """
        import multiprocessing, os, time
        from concurrent.futures import ProcessPoolExecutor
        from itpipe import parallel_map

        def work(x):
            pools = [multiprocessing.get_context(method).Pool(1) for method in ('fork', 'spawn', 'forkserver')]
            executor = ProcessPoolExecutor(1)
            for pool in pools:
                pool.apply(abs, (x,))
            for submit in (*(pool.apply_async for pool in pools), lambda f, args: executor.submit(f, *args)):
                submit(time.sleep, (1000,))
            run = iter(range(9) | parallel_map(abs, processes=1))
            next(run)
            print(os.getpid(), flush=True)
            time.sleep(1000)

        list([0] | parallel_map(work, processes=1, max_crashes=0))
    """
    with start_script(source) as script:
        pid = int(script.stdout.readline())
        assert len(session(script.pid)) > 5
        os.kill(script.pid if who == 'script' else pid, signal.SIGKILL)
        wait_until(lambda: not session(script.pid), 'all are gone')


# ---------------------------------------------------------------------------------------------------------------------
# Where they are started


CLOSED = ['<&-', '>&-', '2>&-', '<&- >&-', '<&- 2>&-', '>&- 2>&-', '<&- >&- 2>&-']
DAEMON = """
    import os, sys
    import numpy as np
    from itpipe import Infinite, parallel_map

    def work(x):
        print('x' * 10_000)
        print('x' * 10_000, file=sys.stderr)
        for number in (1, 2):
            try:
                os.write(number, b'x' * 100_000)
            except OSError:
                pass
        assert os.read(0, 1) == b''
        return np.full(10_000, x)

    def run(**where):
        return [int(x.sum()) for x in range(4) | parallel_map(work, **where)]

    results = [run(**{kind: 2}) for kind in sys.argv[2:]]
    with Infinite(range(4), parallel_map(lambda x: x, **{sys.argv[2]: 1}), batch_size=2) as batches:
        results.append([batch.tolist() for batch in batches])
    with open(sys.argv[1], 'w') as file:
        print(results, file=file)
"""


def daemon(tmp_path: Path, closed: str, kinds: list[str], file: bool, **changes: str) -> None:
    """Run the script with these descriptors closed, and the others at what takes and gives nothing."""
    source, results = textwrap.dedent(DAEMON), tmp_path / 'results'
    (tmp_path / 'script.py').write_text(source)
    how = [str(tmp_path / 'script.py')] if file else ['-c', source]
    command = shlex.join([sys.executable, *how, str(results), *kinds])
    subprocess.run(
        ['sh', '-c', f'exec {command} {closed}'],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment(**changes), timeout=LIMIT, check=True,
    )  # fmt: skip
    sums = [0, 10_000, 20_000, 30_000]
    assert results.read_text() == f'{[*[sums] * len(kinds), [[0, 1], [2, 3]]]}\n'


@pytest.mark.many(7)
@pytest.mark.parametrize('closed', CLOSED)
def test_a_daemon_without_standard_streams(tmp_path: Path, closed: str) -> None:
    """What is printed there goes nowhere, and certainly not into what was opened instead of them."""
    daemon(tmp_path, closed, ['processes'], file=len(closed) > 5)


def test_threads_of_a_daemon_without_standard_streams(tmp_path: Path) -> None:
    source = textwrap.dedent(DAEMON).replace('assert os.read', '# ')
    (tmp_path / 'script.py').write_text(source)
    command = shlex.join([sys.executable, str(tmp_path / 'script.py'), str(tmp_path / 'results'), 'threads'])
    subprocess.run(['sh', '-c', f'exec {command} <&- >&- 2>&-'], env=environment(), timeout=LIMIT, check=True)
    assert (tmp_path / 'results').exists()


@pytest.mark.long
@pytest.mark.parametrize('closed', ['', '<&-', '2>&-', '<&- >&- 2>&-'])
def test_without_a_null_device(tmp_path: Path, closed: str) -> None:
    (tmp_path / 'sitecustomize.py').write_text("import os\nos.devnull = '/nowhere/null'\n")
    path = os.pathsep.join([str(tmp_path), environment()['PYTHONPATH']])
    daemon(tmp_path, closed, ['processes'], file=True, PYTHONPATH=path)


@pytest.mark.long
def test_standard_streams_that_cannot_be_flushed() -> None:
    out = run_script(
        """
        import io, sys
        from itpipe import parallel_map

        before = sys.stdout, sys.stderr
        for stream in (None, object(), io.StringIO()):
            sys.stdout = sys.stderr = stream
            result = list(range(3) | parallel_map(abs, processes=1))
            sys.stdout.close() if hasattr(sys.stdout, 'close') else None
            result += list(range(3) | parallel_map(abs, processes=1))
            sys.stdout, sys.stderr = before
            print(result)
        """
    )
    assert out == '[0, 1, 2, 0, 1, 2]\n' * 3


def children_of_a_worker(x: int) -> list[int]:
    with multiprocessing.Pool(1) as pool:
        return pool.map(abs, range(x))


def in_a_daemonic_process(queue: Any) -> None:
    assert multiprocessing.current_process().daemon
    queue.put(list([3] | parallel_map(children_of_a_worker, processes=1)))
    run = iter(range(100) | parallel_map(lambda _: os.getpid(), processes=1))
    queue.put(next(run))
    signal.pause()


@pytest.mark.long
@pytest.mark.parametrize('method', ['fork', 'spawn'])
@pytest.mark.filterwarnings('ignore:This process .* is multi-threaded:DeprecationWarning')
def test_a_daemonic_process_may_have_them(method: Any) -> None:
    """They end with it, which is why others may not."""
    from running import is_gone

    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=in_a_daemonic_process, args=(queue,), daemon=True)
    process.start()
    assert queue.get() == [[0, 1, 2]]
    pid = queue.get()
    assert not is_gone(pid)
    process.terminate()
    process.join()
    process.close()
    queue.close()
    wait_until(lambda: is_gone(pid), 'the worker is gone')


@pytest.mark.long
def test_a_process_of_a_pool_may_have_them() -> None:
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        assert pool.apply(nested, (3,)) == [0, 2, 4]
        pool.terminate()
        pool.join()


@pytest.mark.many(2)
@pytest.mark.parametrize('idle', [True, False])
def test_workers_end_when_the_script_is_killed_though_a_fork_of_it_lives_on(idle: bool) -> None:
    source = """
        import os, sys, time
        from itpipe import parallel_map

        def work(x):
            if x and sys.argv[1] == 'False':
                time.sleep(1000)
            return os.getpid()

        sys.argv[1]
        run = iter(range(3) | parallel_map(work, processes=2, in_flight=1))
        pid = next(run)
        fork = os.fork()
        if not fork:
            time.sleep(1000)
        print(pid, fork, flush=True)
        list(run)
        time.sleep(1000)
    """
    from running import is_gone

    with start_script(source, idle) as script:
        pid, fork = map(int, script.stdout.readline().split())
        script.kill()
        wait_until(lambda: is_gone(pid), 'the worker is gone')
        assert not is_gone(fork)
        os.kill(fork, signal.SIGKILL)
        wait_until(lambda: not session(script.pid), 'all are gone')


# ---------------------------------------------------------------------------------------------------------------------
# When they are started

cannot_fork = (3, 12) <= sys.version_info < (3, 12, 2)


@pytest.mark.many(5)
@pytest.mark.skipif(cannot_fork, reason='this Python starts no processes when the main thread has ended')
@pytest.mark.parametrize('count', [1, -1])
@pytest.mark.parametrize('where', ['processes', 'threads'])
def test_a_thread_that_goes_on_after_the_last_line_of_the_script(where: str, count: int) -> None:
    out = run_script(
        """
        import sys, threading, time

        def train():
            threading.main_thread().join()
            from itpipe import Infinite, parallel_map, prefetch
            where = {sys.argv[1]: int(sys.argv[2])}
            print(list(range(3) | parallel_map(abs, **where) | prefetch(2)))
            with Infinite(range(4), parallel_map(abs, **where), batch_size=2) as batches:
                print([batch.tolist() for batch in batches])
            left = Infinite(range(4), parallel_map(abs, **where), batch_size=2)
            print(next(iter(left)).tolist(), flush=True)

        threading.Thread(target=train).start()
        """,
        where,
        count,
    )
    assert out == '[0, 1, 2]\n[[0, 1], [2, 3]]\n[0, 1]\n'


@pytest.mark.many(2)
@pytest.mark.skipif(not HAS_GIL, reason='without the GIL, modules are gone by then')
@pytest.mark.parametrize('where', ['threads', 'processes', 'prefetch', 'Infinite'])
def test_what_is_begun_while_the_interpreter_shuts_down_is_an_error(where: str) -> None:
    """And no wait for a thread that never runs."""
    out = run_script(
        """
        import sys
        from itpipe import Infinite, parallel_map, prefetch

        streams = {
            'threads': lambda: range(3) | parallel_map(abs, threads=2),
            'processes': lambda: range(3) | parallel_map(abs, processes=1),
            'prefetch': lambda: range(3) | prefetch(2),
            'Infinite': lambda: Infinite(range(3), seed=0),
        }
        make = streams[sys.argv[1]]
        assert list(make()) == [0, 1, 2]

        class Late:
            def __del__(self, make=make, list=list, print=print, errors=(ImportError, RuntimeError)):
                try:
                    list(make())
                except errors as error:  # of imports, as what runs is imported where it is made
                    print(error, flush=True)

        late = Late()
        """,
        where,
    )
    assert out.endswith('shutting down\n')  # as Python says it of an import, or itpipe of a thread
    assert out.count('\n') == 1
