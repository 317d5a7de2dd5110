"""Pools of threads."""

import os
from typing import Any

import pytest
from pools import function_of
from running import HAS_GIL, run_script

import itpipe._workers.threads
from itpipe._workers.threads import Threads


@pytest.mark.parametrize('kind', [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_function_raises_is_a_result_of_its_call(kind: type[BaseException]) -> None:
    def function(x: Any) -> None:
        raise kind(3)

    pool = Threads(1, function_of(function))
    for key in range(2):  # the thread is still there for the second
        with pytest.raises(kind) as caught:
            pool.result(pool.submit(key, None))
        assert caught.value.args == (3,)
    pool.close()


def test_if_counting_a_call_fails_that_is_its_result_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **options: Any) -> None:
        raise RuntimeError('not counted')

    pool = Threads(1, function_of(abs))
    monkeypatch.setattr(pool.meter, 'worked', fail)
    for key, value in enumerate([-3, 'x']):  # the thread is still there for the second
        with pytest.raises(RuntimeError, match='not counted'):
            pool.result(pool.submit(key, value))
    monkeypatch.undo()
    assert pool.result(pool.submit(2, -3)) == 3
    pool.close()


@pytest.mark.long
def test_openmp_does_not_use_more_threads_than_there_are_cores() -> None:
    pytest.importorskip('threadpoolctl')
    pytest.importorskip('sklearn')
    run_script(
        """
        import os, sklearn.cluster
        from threadpoolctl import threadpool_info
        from itpipe import parallel_map

        def count(_=None):
            return {lib['num_threads'] for lib in threadpool_info() if lib['user_api'] == 'openmp'}

        before = count()
        for threads in (1, 2, 64):
            share = max(1, len(os.sched_getaffinity(0)) // threads)
            assert list([0] | parallel_map(count, threads=threads)) == [{share}]
        assert count() == before  # in the thread that trains, nothing has changed
        """,
        options=(),
    )


def test_a_forked_process_leaves_the_threads_alone() -> None:
    out = run_script(
        """
        import os, sys
        from itpipe import parallel_map

        run = iter(range(10) | parallel_map(abs, threads=2))
        next(run)
        child = os.fork()
        if not child:
            run.close()
            print('child', flush=True)
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print('parent', list(run))
        """,
        options=('-W', 'ignore'),
    )
    assert out == 'child\nparent [1, 2, 3, 4, 5, 6, 7, 8, 9]\n'


def test_whatever_is_the_matter_with_openmp_the_threads_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'no')

    monkeypatch.setattr(itpipe._workers.threads, 'limit_openmp', fail)
    pool = Threads(2, function_of(abs))
    assert pool.result(pool.submit(0, -3)) == 3
    pool.close()


@pytest.mark.skipif(not HAS_GIL, reason='without the GIL, a run that is left open outlives the modules, as Python says')
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork')
def test_in_a_forked_process_there_is_an_error_and_no_wait() -> None:
    out = run_script(
        """
        import os, threading
        from itpipe import parallel_map

        go_on = threading.Event()
        run = iter(range(10) | parallel_map(lambda x: go_on.wait(20 if x else 0.1), threads=1))
        next(run)
        if not (pid := os.fork()):
            try:
                next(run)
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        go_on.set()
        """
    )
    assert out.startswith('the workers belong to the process that this one was forked from')
