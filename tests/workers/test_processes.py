"""The pool of processes: how it closes, and what is left of it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import await_file, pool_of
from running import LIMIT, is_gone, raises, run_script, session, start_script, wait_until

from itpipe import parallel_map, stage
from itpipe._engine.pools import Pools
from itpipe._workers.dispatch import Dispatcher


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
        assert pool._dispatcher.workers == []


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


@pytest.mark.many(5)
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


@pytest.mark.long
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
# Between two passes


@pytest.mark.parametrize('stopped', [False, True])
def test_what_was_not_taken_gives_up_its_memory_and_is_not_seen_in_the_next_pass(tmp_path: Path, stopped: bool) -> None:
    begun, go_on = tmp_path / 'begun', tmp_path / 'go_on'
    os.mkfifo(go_on)

    def function(x: Any) -> int:
        if not begun.exists():
            begun.touch()
            os.close(os.open(go_on, os.O_RDONLY))
        return int(x[0])

    pool = pool_of(function)
    for key in range(3):
        pool.submit(key, np.full(10**5, key))
    pool._flush()
    await_file(begun)
    if stopped:
        pool.stop()
    pool.rest()
    assert pool._arena.lent == 1  # that of the call which runs
    pool.begin(pool.function)
    pool.watch()
    tasks = [pool.submit(key, np.full(10**5, -key)) for key in range(2)]
    os.close(os.open(go_on, os.O_WRONLY))
    taken = [pool.next_done() for _ in range(2)]
    assert taken == tasks
    assert [pool.result(task) for task in taken] == [0, -1]
    assert pool._arena.lent == 0
    pool.close()


def test_what_was_not_taken_is_not_done_again_if_its_process_dies(tmp_path: Path) -> None:
    begun = tmp_path / 'begun'

    def function(x: int) -> int:
        if x < 0:
            begun.touch()
            signal.pause()
        return x

    pool = pool_of(function)
    pool.submit(0, -1)
    pool._flush()
    await_file(begun)
    pool.rest()
    pool.begin(pool.function)
    (worker,) = pool._dispatcher.workers
    os.kill(worker.process.pid, signal.SIGKILL)
    assert [pool.result(task) for task in [pool.submit(key, key) for key in range(3)]] == [0, 1, 2]
    pool.close()


def test_a_pool_in_which_ctrl_c_broke_something_off_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer may have been read and not been kept."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    pool, pools = pool_of(abs), Pools()
    assert pool.result(pool.submit(0, -1)) == 1
    monkeypatch.setattr(Dispatcher, 'hand_out', interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.submit(1, -1)
    monkeypatch.undo()
    pools.give_back(pool)
    assert pools.take(lambda pool: True, None) is None
    assert not any(thread.is_alive() for thread in pool.threads)
    pools.close()


def test_a_pool_that_was_closed_with_items_in_it_is_given_back_and_not_used_again(tmp_path: Path) -> None:
    """When the interpreter exits, its pools are closed before its runs are."""
    begun, go_on = tmp_path / 'begun', tmp_path / 'go_on'
    os.mkfifo(go_on)

    def function(x: Any) -> None:
        begun.touch()
        os.close(os.open(go_on, os.O_RDONLY))

    pool, pools = pool_of(function), Pools()
    for key in range(3):
        pool.submit(key, np.full(10**5, key))
    pool._flush()
    await_file(begun)
    pool.close()
    pools.give_back(pool)
    assert pools.take(lambda pool: True, None) is None
    pools.close()
