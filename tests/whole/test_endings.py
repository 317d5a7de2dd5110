"""However a run ends, whatever its source and wherever it worked: nothing of it remains, and nobody waits for ever.

Where the reference to the run is held, a `break`, an exception in the consumer or `del` of another reference do not end
it: it goes on with the very next item, and ends when it is let go of, or with the interpreter.
"""

import asyncio
import itertools
import os
import signal
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from leftovers import alive, listdir, shared_memory, still_left
from running import LIMIT, is_gone, run_script, session, start_script, wait_until

from itpipe import Infinite, Stream, WorkerCrashed, interleave, parallel_map, sample, stream, take

WHERE = {'threads': 2, 'processes': 1, 'workers': 'auto'}
"""With how many workers."""
IN_PROCESSES = ('processes', 'shards')
"""The second are those of `interleave`, where each item is a shard."""

# ---------------------------------------------------------------------------------------------------------------------
# In this interpreter

COUNT, FEW = 24, 5
ITEMS = [np.full(5000, n) for n in range(COUNT)]  # each large enough for shared memory
HERE = os.getpid()

Received = list[tuple[int, int, int]]
"""Of each item its value, and the process that made it with the one which that had started."""


def generated(closed: list[str]) -> Iterator[Any]:
    try:
        yield from ITEMS
    finally:
        closed.append('closed')


async def awaited(closed: list[str]) -> AsyncIterator[Any]:
    try:
        for item in ITEMS:
            await asyncio.sleep(0)
            yield item
    finally:
        await asyncio.sleep(0)
        closed.append('closed')


SOURCES: dict[str, Callable[[list[str]], Stream[Any]]] = {
    'list': lambda _: stream(ITEMS),
    'generator': lambda closed: stream(generated(closed)),
    'async generator': lambda closed: stream(awaited(closed)),
    'sample': lambda _: sample(ITEMS, replace=False, seed=0),
}
KINDS: dict[str, Callable[[Stream[Any]], Any]] = {'stream': iter, 'Infinite': Infinite}


def minus(item: Any, here: int) -> tuple[Any, int, int]:
    """Takes so long that a thread is worth it; a process for it starts another one, which does not end by itself."""
    threading.Event().wait(1e-4)
    if os.getpid() == here:
        return -item, 0, 0
    if 'STARTED' not in os.environ:
        os.environ['STARTED'] = str(os.posix_spawnp('sleep', ['sleep', '1000'], os.environ))
    return -item, os.getpid(), int(os.environ['STARTED'])


SIGNALLED = threading.Event()
"""Set by the handler of a signal: what a thread waits in is not broken. In a process it is another one."""


def wait_for_the_signal() -> None:
    SIGNALLED.wait()


def read(result: tuple[Any, int, int]) -> tuple[int, int, int]:
    values, worker, started = result
    assert (values == values[0]).all()
    return int(values[0]), worker, started


def finished(run: Any) -> Received:
    return list(map(read, run))


def broken_off(run: Any) -> Received:
    received = []
    for result in run:
        received.append(read(result))
        if len(received) == FEW:
            break
    return received


def consumer_fails(run: Any) -> Received:
    received = []

    def consume(run: Any) -> None:
        for result in run:
            received.append(read(result))
            if len(received) == FEW:
                raise LookupError

    with suppress(LookupError):
        consume(run)
    return received


def closed(run: Any) -> Received:
    received = broken_off(run)
    run.close()
    return received


def deleted(run: Any) -> Received:
    epoch = iter(run)
    del run
    received = [read(next(epoch)) for _ in range(FEW)]
    del epoch
    return received


def raises(error: type[Exception]) -> Callable[[Any], Received]:
    def function_fails(run: Any) -> Received:
        received = []
        with pytest.raises(error):
            for result in run:
                received.append(read(result))
        return received

    return function_fails


def worker_killed(run: Any) -> Received:
    received = broken_off(run)
    os.kill(received[-1][1], signal.SIGKILL)
    return received + finished(run)


def signalled(run: Any) -> Received:
    """The handler of a signal raises while the run is being waited for."""
    received, here = [], threading.get_ident()

    def handler(*_: Any) -> None:
        SIGNALLED.set()
        sys.exit()

    def is_awaited() -> bool:
        return len(received) == 2 * FEW and 'itpipe' in sys._current_frames()[here].f_code.co_filename

    def send() -> None:
        wait_until(is_awaited, 'the run is being waited for')
        os.kill(HERE, signal.SIGTERM)

    SIGNALLED.clear()
    before = signal.signal(signal.SIGTERM, handler)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(SystemExit):
            for result in run:
                received.append(read(result))
    finally:
        sender.join()
        signal.signal(signal.SIGTERM, before)
    return received


ENDINGS: dict[str, Callable[[Any], Received]] = {
    'finished': finished,
    'break': broken_off,
    'error in the function': raises(ZeroDivisionError),
    'exception in the consumer': consumer_fails,
    'close': closed,
    'del': deleted,
    'signal': signalled,
    'worker killed': worker_killed,
    'workers keep dying': raises(WorkerCrashed),
}
GO_ON = {'break', 'exception in the consumer', 'del'}
ENDED = {'finished', 'worker killed'}
"""Where the source has, and an `Infinite` has begun the next pass, with the same workers."""
FAILED = {'error in the function', 'signal', 'workers keep dying'}
OPTIONS = {'signal': {'in_flight': 1}, 'workers keep dying': {'max_crashes': 0}}


PASSED_OVER = {('generator', 'Infinite'), ('sample', 'stream'), ('async generator', 'stream')}


def cells() -> Iterator[Any]:
    for where, ending, source, kind in itertools.product((*WHERE, 'shards'), ENDINGS, SOURCES, KINDS):
        if where not in IN_PROCESSES and 'worker' in ending:
            continue
        if where in IN_PROCESSES and (source, kind) in PASSED_OVER:
            continue  # starting processes takes a while
        yield pytest.param(where, ending, source, kind, id=f'{where}-{ending}-{source}-{kind}')


@pytest.mark.many(14)
@pytest.mark.parametrize('held', [True, False], ids=['held', 'not held'])
@pytest.mark.parametrize(('where', 'ending', 'source', 'kind'), [*cells()])
def test_nothing_remains(where: str, ending: str, source: str, kind: str, held: bool) -> None:
    before = alive()
    marks: list[str] = []
    expected = [-int(item[0]) for item in SOURCES[source]([]) | take(COUNT)]
    bad = expected[2 * FEW]

    def function(item: Any, here: int) -> Any:
        if -item[0] == bad:
            if ending == 'error in the function':
                return 1 // 0
            if ending == 'signal':
                wait_for_the_signal()
            if ending == 'workers keep dying':
                os.kill(os.getpid(), signal.SIGKILL)
        return minus(item, here)

    if where == 'shards':
        items = SOURCES[source](marks) | interleave(
            lambda item: (function(each, HERE) for each in [item]), cycle=1, processes=True
        )
    else:
        options = {where: WHERE[where]} | OPTIONS.get(ending, {})
        items = SOURCES[source](marks) | parallel_map(function, HERE, **options)
    if source == 'sample' and ending in ENDED:
        items = items | take(COUNT)
    runs = [KINDS[kind](items)]
    received = ENDINGS[ending](runs[0] if held else runs.pop())
    goes_on = held and ending in GO_ON
    if goes_on:
        received.append(read(next(iter(runs[0]))))
        assert marks == []
    else:
        rests = held and kind == 'Infinite' and ending in ENDED
        assert rests == any(each.name == 'itpipe-Infinite' for each in threading.enumerate())
        assert rests or still_left(before) == set()
    runs.clear()

    assert still_left(before) == set()
    assert marks == (['closed'] if 'generator' in source else [])
    count = COUNT if ending in ENDED else 2 * FEW if ending in FAILED else FEW + goes_on
    assert [value for value, *_ in received] == expected[:count]
    others = {pid for _, *pids in received for pid in pids} - {0}
    assert bool(others) == (where in IN_PROCESSES)
    wait_until(lambda: all(map(is_gone, others)), 'workers, and what they started, are gone')


# ---------------------------------------------------------------------------------------------------------------------
# In an interpreter of their own

SCRIPT = """
    import asyncio, os, signal, sys, threading
    import numpy as np
    from itpipe import Infinite, parallel_map, sample

    where, ending, source = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # inherited as ignored where the tests run in background
    items, here, kept = [np.full(5000, n) for n in range(1000)], os.getpid(), []

    def generated():
        try:
            yield from items
        finally:
            print('closed', flush=True)

    async def awaited():
        try:
            for item in items:
                yield item
        finally:
            await asyncio.sleep(0)
            print('closed', flush=True)

    def function(item):
        threading.Event().wait(1e-4)  # so long that a thread is worth it
        if os.getpid() != here and 'STARTED' not in os.environ:
            os.environ['STARTED'] = str(os.posix_spawnp('sleep', ['sleep', '1000'], os.environ))
        return -item

    def runs(source, function=function):
        for kind in iter, Infinite:
            items_of = {
                'list': lambda: items, 'sample': lambda: sample(items), 'generator': generated,
                'async generator': awaited,
            }
            yield kind(items_of[source]() | parallel_map(function, **{where: 'auto' if where == 'workers' else 1}))
"""

BY_SIGNAL = """
    if ending == 'SIGTERM with a handler':
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    kept.extend(runs(source))
    for n, _ in enumerate(zip(*kept, *runs(source))):
        if n == 5:
            print('ready', flush=True)
            while True:  # a signal just before a wait is not seen before that ends
                threading.Event().wait(0.05)
"""

SIGNALS = {
    'Ctrl-C': (signal.SIGINT, -signal.SIGINT),
    'SIGTERM': (signal.SIGTERM, -signal.SIGTERM),
    'SIGTERM with a handler': (signal.SIGTERM, 3),
    'parent killed': (signal.SIGKILL, -signal.SIGKILL),
}


@pytest.mark.many(11)
@pytest.mark.parametrize('source', SOURCES)
@pytest.mark.parametrize('ending', SIGNALS)
@pytest.mark.parametrize('where', WHERE)
def test_a_signal_ends_the_interpreter_and_nothing_remains(where: str, ending: str, source: str) -> None:
    """In it are a bare run and an `Infinite` that are held, and the same again that are not."""
    sent, code = SIGNALS[ending]
    before = set(listdir('/dev/shm'))  # perhaps of a process with the same number, that was killed some time
    with start_script(textwrap.dedent(SCRIPT) + textwrap.dedent(BY_SIGNAL), where, ending, source) as script:
        try:
            assert script.stdout.readline() == 'ready\n'
            others = set(session(script.pid)) - {script.pid}
            assert len(others) >= (8 if where == 'processes' else 0)  # of each run one, and what that has started
            script.send_signal(sent)
            out, err = script.communicate(timeout=LIMIT)
        finally:
            script.kill()
    unwound = ending in {'Ctrl-C', 'SIGTERM with a handler'}  # else it dies at once
    assert script.returncode == code
    assert out == ('closed\n' * 4 if 'generator' in source and unwound else '')
    assert err.count('Traceback (most recent call last)') == (ending == 'Ctrl-C')
    assert err.endswith('KeyboardInterrupt\n' if ending == 'Ctrl-C' else '')
    wait_until(lambda: not session(script.pid) and all(map(is_gone, others)), 'processes of the script are gone')
    assert not set(shared_memory(script.pid)) - before


WHILE_AWAITED = """
    kind, error, signalled = source, {'SystemExit': SystemExit(3)}.get(ending, KeyboardInterrupt), []

    def handler(*_):
        signalled.append(True)  # what a thread waits in is not broken
        raise error

    def waits(item):
        while item[0] == 200 and not signalled:  # in a process, where this is another list, for ever
            threading.Event().wait(0.01)
        return function(item)

    def tell():
        main = threading.main_thread().ident
        while 'itpipe' not in sys._current_frames()[main].f_code.co_filename:
            threading.Event().wait(0.01)
        print('ready', flush=True)

    signal.signal(signal.SIGTERM, handler)
    each = dict(zip(['stream', 'Infinite'], runs('generator', waits)))
    awaited = each.pop(kind)
    for other in each.values():
        next(iter(other))
    for n, _ in enumerate(awaited):
        if n == 100:  # those that travel with the one that waits may be held back
            threading.Thread(target=tell, daemon=True).start()
"""


@pytest.mark.many(5)
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('error', 'code', 'last'),
    [('SystemExit', 3, ''), ('KeyboardInterrupt', -signal.SIGINT, 'KeyboardInterrupt\n')],
)
@pytest.mark.parametrize('where', WHERE)
def test_what_the_handler_of_a_signal_raises_while_a_run_is_awaited_ends_the_interpreter(
    where: str, error: str, code: int, last: str, kind: str
) -> None:
    with start_script(textwrap.dedent(SCRIPT) + textwrap.dedent(WHILE_AWAITED), where, error, kind) as script:
        try:
            assert script.stdout.readline() == 'ready\n'
            others = set(session(script.pid)) - {script.pid}
            script.send_signal(signal.SIGTERM)
            out, err = script.communicate(timeout=LIMIT)
        finally:
            script.kill()
    assert (script.returncode, out) == (code, 'closed\n' * 2)
    assert err.count('Traceback (most recent call last)') == bool(last)
    assert err.endswith(last)
    wait_until(lambda: not session(script.pid) and all(map(is_gone, others)), 'processes of the script are gone')


LEFT_OPEN = """
    def ends(run):
        for n, _ in enumerate(run):
            if n == 5 and ending == 'break':
                return
            if n == 5 and ending == 'exception in the consumer':
                raise LookupError
            if n == 5 and ending == 'worker killed':
                for worker in workers():
                    os.kill(worker, signal.SIGKILL)
            if n == 10:
                return

    def workers():
        import psutil
        children = psutil.Process().children()
        return [child.pid for child in children if 'loky.backend.popen_loky_posix' in child.cmdline()]

    for source in 'list', 'generator', 'sample':
        kept.extend(runs(source))
    for run in kept:
        try:
            ends(run)
        except LookupError:
            pass
"""


@pytest.mark.many(9)
@pytest.mark.parametrize(
    ('where', 'ending'),
    [
        ('threads', 'break'),
        ('threads', 'exception in the consumer'),
        ('processes', 'break'),
        ('processes', 'exception in the consumer'),
        ('processes', 'worker killed'),
    ],
)
def test_the_interpreter_exits_by_itself_with_runs_of_all_sources_open(where: str, ending: str) -> None:
    out = run_script(textwrap.dedent(SCRIPT) + textwrap.dedent(LEFT_OPEN), where, ending, 'all')
    assert out == 'closed\n' * 2
