"""What a process of a pool is like from inside."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import await_file, pool_of, set_cost
from running import LIMIT, run_script, start_script

import itpipe._workers.files
import itpipe._workers.launching
from itpipe import parallel_map
from itpipe._workers.task import GROUP_SECONDS


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


def test_a_ready_result_is_held_back_by_no_more_than_one_item(tmp_path: Path) -> None:
    """Of tasks that were sent together, too: the first is answered although the last one takes long."""
    go_on = tmp_path / 'go on'

    def function(x: int) -> int:
        if x == 2:
            time.sleep(2 * GROUP_SECONDS)
        if x == 3:
            await_file(go_on)
        return x

    pool = pool_of(function)
    pool.result(pool.submit(0, 0))
    set_cost(pool, 1e-6, fast_source=True)
    futures = [pool.submit(key, key) for key in (1, 2, 3)]
    assert [pool.result(future) for future in futures[:2]] == [1, 2]
    go_on.touch()
    assert pool.result(futures[2]) == 3
    pool.close()


def test_results_are_what_they_were_when_they_were_returned() -> None:
    """Though the function fills the same memory anew for each, and they are kept."""
    buffers = {}

    def function(x: int) -> Any:
        large, small = buffers.setdefault('both', (np.zeros(10**5), np.zeros(100)))
        large[:] = small[:] = x
        return large, small

    for x, both in enumerate(list(range(30) | parallel_map(function, processes=2))):
        assert all((array == x).all() for array in both)


@pytest.mark.many(2)
@pytest.mark.parametrize('end', ['here', 'there', 'both'])
def test_memory_that_cannot_be_mapped_is_no_loss(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """What is sent is read and written then; no process dies of it, and each item is worked on once."""
    data = np.arange(10**5)

    def refuse(*_: Any, **__: Any) -> None:
        return None

    def setup() -> Any:
        if end != 'here':
            itpipe._workers.files.File._map = refuse  # type: ignore[method-assign]

    def function(item: Any, setup: Any) -> Any:
        item += data
        return item, os.getpid()

    if end != 'there':
        monkeypatch.setattr(itpipe._workers.files.File, '_map', refuse)
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
    import itpipe._workers.launching
    from itpipe import parallel_map

    what, budget, too_large = sys.argv[1], int(sys.argv[2]), 300 << 20
    if not budget:
        itpipe._workers.launching.arena_memory = lambda: 0

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


@pytest.mark.many(5)
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
