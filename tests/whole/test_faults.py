"""What goes wrong in the user's code, in workers, or by Ctrl-C, arrives as it was raised, once, and leaves nothing."""

import multiprocessing
import os
import signal
import textwrap
import threading
import traceback
from _thread import interrupt_main
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from typing import Any
from unittest import mock

import pytest
from restless import Restless
from running import LIMIT, AtOnce, Lazily, run_script, session, start_script, wait_until

from itpipe import Infinite, NotPicklable, apply, parallel_map, prefetch

# ---------------------------------------------------------------------------------------------------------------------
# Ways to run a function


@pytest.fixture(scope='module')
def thread_executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        together = threading.Barrier(2)
        wait_for_futures([executor.submit(together.wait) for _ in range(2)])  # both threads are there from now on
        yield executor


@pytest.fixture(scope='module')
def process_executor() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn')) as executor:
        wait_for_futures([executor.submit(int) for _ in range(2)])  # one process is started for each
        yield executor


WAYS = {
    'serial': None,
    'threads': {'threads': 2},
    'processes': {'processes': 2},
    'found out': {'workers': 'auto'},
    'thread executor': {'executor': 'thread_executor'},
    'process executor': {'executor': 'process_executor'},
    'lazy futures': {'executor': Lazily()},
    'futures at once': {'executor': AtOnce()},
}


@pytest.fixture(scope='module', autouse=True)
def restless() -> Iterator[None]:
    """With `workers='auto'`, the workers change all the time."""
    with mock.patch('itpipe._workers.auto.Tuner', Restless):
        yield


@pytest.fixture(scope='module', params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any] | None:
    """The arguments of `parallel_map` that say where to run; None: in the stream itself."""
    where = WAYS[request.param]
    if where and isinstance(where.get('executor'), str):
        return {'executor': request.getfixturevalue(where['executor'])}
    return where


@pytest.fixture(scope='module', params=['processes', 'process executor'])
def process_way(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == 'processes':
        return {'processes': 2}
    return {'executor': request.getfixturevalue('process_executor')}


def mapped(function: Any, way: dict[str, Any] | None, **options: Any) -> Any:
    return apply(function) if way is None else parallel_map(function, **way, **options)


RUNS = {
    'stream': lambda source, stage: source | stage,
    'prefetched': lambda source, stage: source | stage | prefetch(3),
    'Infinite': lambda source, stage: Infinite(source, stage),
    'Infinite here': lambda source, stage: Infinite(source, stage, prefetch=0),
}


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> Any:
    return RUNS[request.param]


@pytest.fixture(params=['stream', 'Infinite'])
def one_of_two_runs(request: pytest.FixtureRequest) -> Any:
    """For tests that start processes, which takes a while."""
    return RUNS[request.param]


def received(items: Any, error: type[BaseException]) -> tuple[list[Any], Any]:
    """What is received before the error, and the error."""
    results, iterator = [], iter(items)
    with pytest.raises(error) as caught:
        for item in iterator:
            results.append(item)
    assert type(caught.value) is error
    assert next(iterator, 'nothing more') == 'nothing more'
    return results, caught.value


# ---------------------------------------------------------------------------------------------------------------------
# Functions that raise


class TwoArguments(Exception):
    def __init__(self, where: str, *, code: int):
        super().__init__(f'{where}: {code}')
        self.where, self.code = where, code


def check(x: int) -> None:
    if x == 100:
        raise TwoArguments('here', code=x)


def fails_at_100(x: int) -> int:
    check(x)
    return -x


@pytest.mark.many(5)
def test_an_error_at_item_100_comes_after_what_is_before_it_as_it_was_raised(way: Any, run: Any) -> None:
    stage = mapped(fails_at_100, way)
    results, error = received(run(range(200), stage), TwoArguments)
    assert results == [-x for x in range(100)]
    assert (error.args, error.where, error.code) == (('here: 100',), 'here', 100)
    assert error.__notes__ == [f'itpipe: raised in {stage!r}, item 100']
    frames = [(frame.filename, frame.name, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-2:] == [
        (__file__, 'fails_at_100', fails_at_100.__code__.co_firstlineno + 1),
        (__file__, 'check', check.__code__.co_firstlineno + 2),
    ]


def test_without_order_an_error_is_the_same(way: Any) -> None:
    if way is None:
        pytest.skip('there is always an order')
    stage = mapped(fails_at_100, way, ordered=False)
    results, error = received(range(200) | stage, TwoArguments)
    assert (error.args, error.where, error.code) == (('here: 100',), 'here', 100)
    assert error.__notes__ == [f'itpipe: raised in {stage!r}, item 100']
    assert len(results) == len(set(results))
    assert set(results) <= {-x for x in range(200)} - {-100}


@pytest.mark.many(5)
def test_an_error_of_the_source_comes_after_what_is_before_it(way: Any, run: Any) -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise OSError('gone')

    results, error = received(run(source(), mapped(abs, way)), OSError)
    assert (results, error.args) == (list(range(5)), ('gone',))
    assert error.__notes__ == ['itpipe: raised in the source <generator>, item 5']


def test_after_an_error_nothing_runs() -> None:
    calls: list[int] = []

    def function(x: int) -> int:
        calls.append(x)
        return 1 // (3 - x)

    run = iter(range(10**9) | parallel_map(function, threads=2, in_flight=8))
    with pytest.raises(ZeroDivisionError):
        list(run)
    made = len(calls)
    assert made <= 3 + 8
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('itpipe')]
    assert len(calls) == made


@pytest.mark.many(9)
@pytest.mark.parametrize('kind', [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_means_to_end_the_program_goes_through(way: Any, run: Any, kind: type[BaseException]) -> None:
    def function(x: int) -> int:
        if x == 3:
            raise kind('why')
        return x

    results, error = received(run(range(10), mapped(function, way)), kind)
    assert (results, error.args) == ([0, 1, 2], ('why',))


@pytest.mark.many(5)
def test_stop_iteration_does_not_end_the_stream_silently(way: Any, run: Any) -> None:
    """As in any generator of Python's, it becomes the cause of a RuntimeError."""

    def function(x: int) -> int:
        if x == 3:
            raise StopIteration('why')
        return x

    stage = mapped(function, way)
    results, error = received(run(range(10), stage), RuntimeError)
    assert results == [0, 1, 2]
    assert str(error) == f"{stage!r}: the function raised StopIteration('why')"
    assert error.__notes__ == [f'itpipe: raised in {stage!r}, item 3']
    assert type(error.__cause__) is StopIteration
    assert error.__cause__.args == ('why',)


def test_the_first_of_several_errors_arrives(way: Any) -> None:
    def function(x: int) -> int:
        raise KeyError(x)

    results, error = received(range(10) | mapped(function, way), KeyError)
    assert (results, error.args) == ([], (0,))


def test_causes_and_groups_come_out_of_workers(way: Any) -> None:
    def function(x: int) -> int:
        try:
            fails_at_100(100)
        except TwoArguments as error:
            raise ExceptionGroup('some', [error, ValueError(x)]) from error
        return x

    _, error = received([7] | mapped(function, way), ExceptionGroup)
    assert [type(member) for member in error.exceptions] == [TwoArguments, ValueError]
    assert error.__cause__ is error.exceptions[0]
    assert [frame.name for frame in traceback.extract_tb(error.__cause__.__traceback__)][-2:] == [
        'fails_at_100',
        'check',
    ]


def test_an_error_in_one_of_several_steps_names_the_step() -> None:
    steps = apply(abs) | apply(fails_at_100) | str
    for where in ({'threads': 1}, {'processes': 1}):
        _, error = received([-100] | parallel_map(steps, **where), TwoArguments)
        assert error.__notes__ == ['itpipe: raised in apply(fails_at_100), item 0']


def test_an_error_in_cleaning_up_after_an_error_is_noted_on_it(run: Any) -> None:
    def source() -> Iterator[int]:
        try:
            yield 100
        finally:
            raise OSError('cannot close')

    _, error = received(run(source(), apply(fails_at_100)), TwoArguments)
    assert error.__notes__ == [
        'itpipe: raised in apply(fails_at_100), item 0',
        "itpipe: closing raised OSError('cannot close') as well",
    ]


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be pickled

CANNOT = "TypeError: cannot pickle '_thread.lock' object"


def test_a_function_that_cannot_be_pickled(process_way: Any, one_of_two_runs: Any) -> None:
    lock = threading.Lock()
    stage = parallel_map(lambda x: lock, **process_way)
    results, error = received(one_of_two_runs(range(3), stage), NotPicklable)
    assert results == []
    there = ' or in `setup=`' if 'processes' in process_way else ''
    assert str(error) == (
        f'the function cannot be pickled because of `lock` of `<lambda>`, class `_thread.lock` ({CANNOT}): make what it'
        f' needs inside it{there}, or use threads'
    )
    assert len(error.__notes__) == 1
    assert error.__notes__[0].startswith(f'itpipe: raised in {stage!r}')


@pytest.mark.many(2)
def test_an_item_that_cannot_be_pickled(process_way: Any, one_of_two_runs: Any) -> None:
    stage = parallel_map(lambda x: x, **process_way)
    results, error = received(one_of_two_runs([0, 1, 2, threading.Lock(), 4], stage), NotPicklable)
    assert results == [0, 1, 2]
    assert str(error) == (
        f'the value of item 3 cannot be pickled ({CANNOT}): make it inside the function, or use threads'
    )
    assert error.__notes__ == [f'itpipe: raised in {stage!r}, item 3']


@pytest.mark.many(2)
def test_a_result_that_cannot_be_pickled(process_way: Any, one_of_two_runs: Any) -> None:
    stage = parallel_map(lambda x: threading.Lock() if x == 3 else x, **process_way)
    results, error = received(one_of_two_runs(range(6), stage), NotPicklable)
    assert results == [0, 1, 2]
    assert str(error) == f'the result cannot be pickled ({CANNOT}): return arrays, numbers and other plain data'
    assert error.__notes__ == [f'itpipe: raised in {stage!r}, item 3']


class WithLock(Exception):
    def __init__(self, text: str):
        super().__init__(text)
        self.lock = threading.Lock()


def fails_with_lock_at_3(x: int) -> int:
    if x == 3:
        raise WithLock('important')
    return x


@pytest.mark.many(2)
def test_an_error_that_holds_what_cannot_be_pickled(process_way: Any, one_of_two_runs: Any) -> None:
    stage = parallel_map(fails_with_lock_at_3, **process_way)
    results, error = received(one_of_two_runs(range(6), stage), WithLock)
    assert results == [0, 1, 2]
    assert str(error) == 'important'
    assert error.__notes__ == [
        f'itpipe: raised in {stage!r}, item 3',
        f'itpipe: without `lock`, which could not leave the process ({CANNOT})',
    ]
    assert traceback.extract_tb(error.__traceback__)[-1].name == 'fails_with_lock_at_3'


def test_what_cannot_be_pickled_goes_through_threads() -> None:
    lock = threading.Lock()
    assert list([lock] | parallel_map(lambda x: (x, lock), threads=1)) == [(lock, lock)]


# ---------------------------------------------------------------------------------------------------------------------
# Ctrl-C

SCRIPT = """
    import fcntl, signal, sys, termios, time
    from itpipe import Infinite, interleave, parallel_map, prefetch

    signal.signal(signal.SIGINT, signal.default_int_handler)  # inherited as ignored where the tests run in background
    kind, where, state = sys.argv[1:]
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C in this terminal is meant for this session from now on

    def function(x):
        if x == 500 and state == 'waiting':
            time.sleep(1000 if where in ('processes', 'shards') else 0.5)
        return x

    def read(x):
        yield function(x)

    stage = {'serial': function, 'threads': parallel_map(function, threads=2), 'prefetch': prefetch(2),
             'processes': parallel_map(function, processes=2),
             'shards': interleave(read, cycle=2, processes=True)}[where]
    batches = Infinite(range(10**9), stage) if kind == 'Infinite' else range(10**9) | stage
    for batch in batches:
        if batch == 400:  # those before 500 that travel with it are held back
            print('ready', flush=True)
            if state == 'training':
                time.sleep(1000)
"""


@pytest.mark.many(9)
@pytest.mark.parametrize('state', ['training', 'waiting'])
@pytest.mark.parametrize(
    ('kind', 'where'),
    [
        ('Infinite', 'serial'),
        ('Infinite', 'threads'),
        ('Infinite', 'processes'),
        ('Infinite', 'shards'),
        ('stream', 'shards'),
        ('stream', 'threads'),
        ('stream', 'prefetch'),
        ('stream', 'processes'),
    ],
)
def test_ctrl_c_in_a_terminal_ends_the_script_with_one_traceback(kind: str, where: str, state: str) -> None:
    terminal, inner = os.openpty()
    with start_script(SCRIPT, kind, where, state, options=(), stdin=inner) as script:
        os.close(inner)
        try:
            assert script.stdout.readline() == 'ready\n'
            os.write(terminal, b'\x03')
            out, err = script.communicate(timeout=LIMIT)
        finally:
            script.kill()
            os.close(terminal)
    assert script.returncode == -signal.SIGINT
    assert out == ''
    assert err.count('Traceback (most recent call last)') == 1
    assert err.endswith('KeyboardInterrupt\n')
    wait_until(lambda: not session(script.pid), 'processes of the script are left')


@pytest.mark.many(3)
@pytest.mark.parametrize(
    'stage',
    [
        lambda f: parallel_map(f, threads=1),
        lambda f: parallel_map(f, threads=1, ordered=False),
        lambda f: apply(f) | prefetch(1),
    ],
    ids=['ordered', 'unordered', 'prefetch'],
)
@pytest.mark.parametrize('kind', ['stream', 'Infinite'])
def test_a_signal_that_does_not_break_the_wait_is_seen_all_the_same(kind: str, stage: Any) -> None:
    """Python sees a signal that comes just before a wait begins when the wait ends."""
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def function(x: int) -> int:
        begun.set()
        seen.append(go_on.wait(LIMIT))
        return x

    def handler(*_: Any) -> None:
        go_on.set()
        raise KeyboardInterrupt

    def interrupt() -> None:
        assert begun.wait(LIMIT)
        interrupt_main()

    before = signal.signal(signal.SIGINT, handler)
    shooting = threading.Thread(target=interrupt)
    shooting.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(iter(RUNS[kind](range(10), stage(function))))
        assert seen[0]  # while the function ran, not after it had waited in vain
    finally:
        signal.signal(signal.SIGINT, before)
        shooting.join()


# ---------------------------------------------------------------------------------------------------------------------
# The interpreter exits by itself

LEFT_OPEN = """
    import itertools, queue, sys, threading, time
    import itpipe._engine.waiting
    from itpipe import Infinite, parallel_map, prefetch

    itpipe._engine.waiting.GRACE = 0.05
    where, state = sys.argv[1:]
    stages = {'serial': [], 'threads': [parallel_map(lambda x: x, threads=2)], 'prefetch': [prefetch(2)],
              'processes': [parallel_map(lambda x: x, processes=2)]}[where]
    ahead = {'prefetch': 0} if where == 'prefetch' else {}
    reached = threading.Event()
    threading.excepthook = lambda *_: None  # the thread may be told that what it waits for is closed

    def sleeps(x):
        reached.set()
        time.sleep(1000)

    def blocks():
        reached.set()
        queue.Queue().get()
        yield 0

    def fails(x):
        raise ValueError(x)

    def consumed(*args, **kwargs):
        batch_iter = Infinite(*args, **kwargs)
        threading.Thread(target=list, args=(batch_iter,), daemon=True).start()
        return batch_iter
"""

STATES = {
    'open in all states': """
        never = Infinite(range(10**9), *stages, **ahead)
        begun = iter(Infinite(range(10**9), *stages, **ahead))
        next(begun)
        resting = Infinite(range(10**9), *stages, batches_per_epoch=2, prefetch=1)
        list(resting)
        ended = Infinite(range(3), *stages, **ahead)
        list(ended)
        stream = iter(range(10**9) | prefetch(1))
        next(stream)
        dropped = iter(Infinite(range(10**9), *stages, **ahead))
        next(dropped)
        del dropped
        failed = iter(Infinite(range(3), *stages, fails, **ahead))
        try:
            next(failed)
        except ValueError:
            pass
        closed = Infinite(range(3), *stages, **ahead)
        next(iter(closed))
        closed.close()
    """,
    'just starting': 'batch_iter = consumed(range(10**9), *stages, **ahead)',
    'in a function': """
        if where != 'processes':
            sleeping = parallel_map(sleeps, threads=2) if where == 'threads' else sleeps
            batch_iter = consumed(range(10**9), sleeping, **ahead)
            reached.wait()
        else:
            batch_iter = consumed(itertools.repeat(1000), parallel_map(time.sleep, processes=2))
            time.sleep(0.5)
    """,
    'in the source': """
        batch_iter = consumed(blocks(), *stages, **ahead)
        reached.wait()
    """,
    'by sys.exit in an epoch': """
        for batch in Infinite(range(10**9), *stages, **ahead):
            sys.exit(0)
    """,
}


@pytest.mark.many(5)
@pytest.mark.parametrize('where', ['serial', 'threads', 'processes', 'prefetch'])
@pytest.mark.parametrize('state', STATES)
def test_the_interpreter_exits_by_itself(where: str, state: str) -> None:
    run_script(textwrap.dedent(LEFT_OPEN) + textwrap.dedent(STATES[state]), where, state, options=())
