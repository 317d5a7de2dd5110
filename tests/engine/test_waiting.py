"""Warnings of stalls: when they come, what they say, and that a run goes on, or ends, as it would without them."""

import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import inf
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest
from pools import set_cost
from running import LIMIT, wait_until

import itpipe._engine.background
import itpipe._engine.waiting
import itpipe._workers.executors
import itpipe._workers.inline
import itpipe._workers.pool
import itpipe._workers.stall_query
from itpipe import Infinite, StallWarning, apply, batch_by, mix, parallel_map, prefetch, stage, stream
from itpipe._engine.background import Background
from itpipe._engine.functions import item_function
from itpipe._engine.seeds import Seeds
from itpipe._engine.stacks import stack_of
from itpipe._engine.stream import itemwise
from itpipe._engine.waiting import StallTimer
from itpipe._workers.process import WorkerProcess
from itpipe._workers.processes import Processes


class Clock:
    """Stands for the clock by which stalls are noticed: it stands still, but jumps while `held` is."""

    def __init__(self) -> None:
        self.now = 100.0
        self.held: Any = None

    def __call__(self) -> float:
        if self.held is not None and self.held.is_held():
            self.now += 1000
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Besides, who waits looks up often, and what is to run in threads does, however cheap."""
    made = Clock()
    monkeypatch.setattr(itpipe._engine.waiting, 'perf_counter', made)
    monkeypatch.setattr(itpipe._engine.background, 'POLL_SECONDS', 0.002)
    monkeypatch.setattr(itpipe._workers.pool, 'POLL_SECONDS', 0.002)
    monkeypatch.setattr(itpipe._workers.inline.InlinePolicy, 'CHEAP', 0)
    return made


class Held:
    """A function that is held up, from the item `first` on, until it is released; in it there is no other frame."""

    def __init__(self, first: int = 0, count: int = 1):
        self.begun: list[int] = []
        self.count, self.released = count, False
        self._gate: SimpleQueue[Any] = SimpleQueue()
        begun, gate = self.begun, self._gate

        def hold(x: int) -> int:
            _ = x < first or (begun.append(x), gate.get(timeout=LIMIT))
            return x

        self.function = hold

    def is_held(self) -> bool:
        return len(self.begun) >= self.count and not self.released

    def release(self) -> None:
        self.released = True
        for _ in range(16):
            self._gate.put(None)


class HeldThere:
    """The same in another process, for one item."""

    def __init__(self, folder: Path, item: int = 0):
        self.begun, self.gate, self.released = folder / 'begun', folder / 'gate', False
        os.mkfifo(self.gate)
        begun, gate = str(self.begun), str(self.gate)

        def hold(x: int) -> int:
            _ = x != item or (os.mkdir(begun), os.close(os.open(gate, os.O_RDONLY)))
            return x

        self.function = hold

    def is_held(self) -> bool:
        return self.begun.exists() and not self.released

    def release(self) -> None:
        self.released = True
        os.close(os.open(self.gate, os.O_WRONLY))


IN_HOLD = """File …, in hold
  _ = x < first or (begun.append(x), gate.get(timeout=LIMIT))
"""
IN_HOLD_THERE = """File …, in hold
  _ = x != item or (os.mkdir(begun), os.close(os.open(gate, os.O_RDONLY)))
"""


def plain(text: str) -> str:
    """Without what differs from run to run, and from line to line."""
    text = re.sub(r'File ".*", line \d+', 'File …', text)
    text = re.sub(r'pid \d+', 'pid …', text)
    return re.sub(r'(?m)^ +', '  ', text) + '\n'


@contextmanager
def stalls(then: Callable[[], object]) -> Iterator[list[str]]:
    """The texts of the warnings; `then` is called when one comes."""
    texts: list[str] = []

    def show(message: Any, category: type[Warning], *_: Any) -> None:
        assert category is StallWarning
        texts.append(plain(str(message)))
        then()

    with warnings.catch_warnings():
        warnings.simplefilter('always', StallWarning)
        warnings.showwarning = show
        yield texts


def pool_of(f: Callable[[Any], Any]) -> Processes:
    return Processes(1, item_function(itemwise('f', f).steps, Seeds()))


# ---------------------------------------------------------------------------------------------------------------------
# When


def test_one_warning_for_each_item_that_is_waited_for_too_long(clock: Clock) -> None:
    stall_timer = StallTimer('nothing has come', 2.0)
    with stalls(int) as texts:
        for n in range(1, 4):
            stall_timer.start()
            beats = []
            for _ in range(8):
                beats.append(stall_timer.wait_time(0.5, lambda: '  it is there\n'))
                clock.now += 0.4
            assert beats == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.4, 0.5, 0.5, 0.5])
            assert texts == n * ['itpipe: nothing has come for 2 s\n  it is there\n']


@pytest.mark.parametrize('seconds', [None, inf, 1e9])
def test_no_warning_of_who_has_time(clock: Clock, seconds: float | None) -> None:
    stall_timer = StallTimer('nothing has come', seconds)
    stall_timer.start()
    clock.now += 1e8
    assert stall_timer.wait_time(0.5, str) == 0.5


@pytest.mark.parametrize('way', ['ordered', 'unordered', 'Infinite'])
def test_one_warning_for_each_stall_however_often_one_looks_up(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    beats = 0
    wait_time = StallTimer.wait_time

    def count(*args: Any) -> float:
        nonlocal beats
        beats += held.is_held()  # before that, the thread may not have begun
        if beats > 20:
            held.release()
        return wait_time(*args)

    def function(x: int) -> int:
        assert asked.acquire(timeout=LIMIT)
        return held.function(x)

    monkeypatch.setattr(StallTimer, 'wait_time', count)
    asked = threading.Semaphore(0)
    if way == 'Infinite':
        batch_iter = Infinite(iter(range(3)), function)  # which has no next pass
        run = iter(batch_iter)
    else:
        run = iter(range(3) | parallel_map(function, threads=1, ordered=way == 'ordered', stall_timeout=60))
    for _ in range(3):
        clock.held, beats = None, 0
        held = clock.held = Held()
        asked.release()
        with stalls(int) as texts:
            next(run)
        assert beats > 20
        assert len(texts) == 1
    assert list(run) == []
    if way == 'Infinite':
        batch_iter.close()


def test_no_warning_of_a_consumer_that_takes_its_time(clock: Clock) -> None:
    made = Background('itpipe-test', 2)
    made.stall_timer = StallTimer('nothing has come', 60)
    run = made.run(zip(range(8), range(8), strict=True))
    for n in range(8):
        assert next(run) == (n, n)  # a warning would be an error
        clock.now += 1000
    made.close()


@pytest.mark.parametrize('ordered', [True, False])
def test_no_warning_of_a_stage_for_a_source_that_takes_its_time(clock: Clock, ordered: bool) -> None:
    def source() -> Iterator[int]:
        for x in range(20):
            clock.now += 1000
            yield x

    for _ in source() | parallel_map(abs, threads=2, ordered=ordered, stall_timeout=60):
        clock.now += 1000


# ---------------------------------------------------------------------------------------------------------------------
# Where


def test_without_the_users_functions_it_is_the_innermost_of_itpipe(clock: Clock) -> None:
    gate: SimpleQueue[int] = SimpleQueue()
    mapped = parallel_map(gate.get, threads=1, stall_timeout=60)
    run = iter([True] | mapped)
    clock.held = Held(count=0)  # though it may not have begun
    with stalls(lambda: gate.put(7)) as texts:
        assert next(run) == 7
    run.close()
    assert re.fullmatch(
        r'itpipe: no item has come out of parallel_map\(<SimpleQueue>\.get, threads=1, stall_timeout=60\) for 60 s\n'
        r'(  (item 0 in thread itpipe-0\n  File …, in \w+\n  .*|setup in thread itpipe-0\n(  .*\n)*  .*)\n)?',
        texts[0],
    )


@pytest.mark.parametrize('ordered', [True, False])
def test_the_warning_points_to_who_asks_for_the_item(clock: Clock, ordered: bool) -> None:
    held = clock.held = Held()
    places = []
    with stalls(held.release):
        show = warnings.showwarning

        def showing(message: Any, category: Any, filename: str, lineno: int, *_: Any) -> None:
            places.append((filename, lineno))
            show(message, category, filename, lineno)

        warnings.showwarning = showing
        run = iter(range(1) | parallel_map(held.function, threads=1, ordered=ordered, stall_timeout=60))
        line = test_the_warning_points_to_who_asks_for_the_item.__code__.co_firstlineno
        assert next(run) == 0
    assert [(file, found > line) for file, found in places] == [(__file__, True)]
    run.close()


# ---------------------------------------------------------------------------------------------------------------------
# In stages


@pytest.mark.parametrize('ordered', [True, False])
def test_threads_and_the_items_that_they_have(clock: Clock, ordered: bool) -> None:
    held = clock.held = Held(count=2)
    mapped = parallel_map(held.function, threads=2, ordered=ordered, stall_timeout=60)
    with stalls(held.release) as texts:
        assert sorted(range(2) | mapped) == [0, 1]
    (text,) = texts
    assert sorted(re.sub(r'itpipe-\d', 'itpipe-…', text).split('  item ')) == [
        *(f'{n} in thread itpipe-…\n  {IN_HOLD}' for n in range(2)),
        f'itpipe: no item has come out of {mapped!r} for 60 s\n',
    ]


def test_threads_that_have_nothing_to_do_are_not_shown(clock: Clock) -> None:
    held = clock.held = Held(first=5)
    with stalls(held.release) as texts:
        assert list(range(6) | parallel_map(held.function, threads=3, stall_timeout=60)) == list(range(6))
    (text,) = texts
    assert re.findall(r'item .* in thread', text) == ['item 5 in thread']


def test_a_thread_that_is_still_being_set_up(clock: Clock) -> None:
    held = clock.held = Held()
    function = held.function

    def open_file() -> int:
        return function(0)

    def read(x: int, setup: int) -> int:
        return x + setup

    mapped = parallel_map(read, threads=1, setup=open_file, stall_timeout=60)
    with stalls(held.release) as texts:
        assert list(range(3) | mapped) == [0, 1, 2]
    (text,) = texts
    assert text == (
        f'itpipe: no item has come out of {mapped!r} for 60 s\n  setup in thread itpipe-0\n'
        f'  File …, in open_file\n  return function(0)\n  {IN_HOLD}'
    )


def test_batches_are_the_items_in_them(clock: Clock) -> None:
    held = clock.held = Held()
    function = held.function
    mapped = parallel_map(apply(len) | function, threads=1, stall_timeout=60)
    with stalls(held.release) as texts:
        assert list(range(3) | batch_by(3) | mapped) == [3]
    (text,) = texts
    assert text == (
        'itpipe: no item has come out of apply(len) | apply(hold) for 60 s\n'
        f'  items 0 to 2 in thread itpipe-0\n  {IN_HOLD}'
    )


@pytest.mark.parametrize('ordered', [True, False])
def test_an_executor_and_the_items_that_it_has(clock: Clock, ordered: bool) -> None:
    held = clock.held = Held()
    with ThreadPoolExecutor(1) as executor, stalls(held.release) as texts:
        mapped = parallel_map(held.function, executor=executor, ordered=ordered, in_flight=4, stall_timeout=60)
        assert list(range(3) | mapped) == [0, 1, 2]
    assert texts == [f'itpipe: no item has come out of {mapped!r} for 60 s\n  items 0 to 2 in ThreadPoolExecutor\n']


@pytest.mark.parametrize('ordered', [True, False])
def test_a_process_and_the_item_that_it_has(clock: Clock, tmp_path: Path, ordered: bool) -> None:
    held = clock.held = HeldThere(tmp_path)
    mapped = parallel_map(held.function, processes=1, ordered=ordered, stall_timeout=60)
    with stalls(held.release) as texts:
        assert list(range(1) | mapped) == [0]
    (text,) = texts
    assert text == (
        f'itpipe: no item has come out of {mapped!r} for 60 s\n'
        f'  item 0 in process itpipe-process-0 (pid …)\n  {IN_HOLD_THERE}'
    )


# ---------------------------------------------------------------------------------------------------------------------
# Processes, asked where they are


SILENT = 'which does not answer: it is starting, or in native code that holds the interpreter lock'


def await_beginning(held: HeldThere) -> None:
    wait_until(held.begun.exists, 'the function has begun')


def test_of_several_items_that_a_process_has_it_is_the_one_that_runs(tmp_path: Path) -> None:
    """Even where the answer to the one before it is held back, to be sent with others."""
    held = HeldThere(tmp_path, 2)
    pool = pool_of(held.function)
    pool.result(pool.submit(0, 0))
    set_cost(pool, 1e-6, fast_source=True)
    tasks = [pool.submit(key, key) for key in (1, 2, 3)]
    pool._flush()
    await_beginning(held)
    assert plain(pool.doing()) == f'  item 2 in process itpipe-process-0 (pid …)\n  {IN_HOLD_THERE}\n'
    held.release()
    assert [pool.result(task) for task in tasks] == [1, 2, 3]
    assert pool.doing() == ''
    pool.close()


def stop_process(worker: Any) -> None:
    os.kill(worker.process.pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED, 'it has stopped')


def test_a_process_that_does_not_say_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked again before it has answered, and a late answer is not taken for a new one."""
    (tmp_path / 'first').mkdir()
    (tmp_path / 'second').mkdir()
    first, second = HeldThere(tmp_path / 'first'), HeldThere(tmp_path / 'second')

    def again(x: int) -> int:
        return second.function(x)

    def twice(x: int) -> int:
        return again(first.function(x))

    pool = pool_of(twice)
    task = pool.submit(0, 0)
    await_beginning(first)
    (worker,) = pool._dispatcher.workers
    who = '  item 0 in process itpipe-process-0 (pid …)'
    stop_process(worker)
    monkeypatch.setattr(itpipe._workers.stall_query, 'ANSWER_SECONDS', 0.0)
    assert [plain(pool.doing()) for _ in range(3)] == 3 * [f'{who}, {SILENT}\n\n']
    os.kill(worker.process.pid, signal.SIGCONT)
    assert worker._control.poll(LIMIT)
    first.release()
    await_beginning(second)
    monkeypatch.setattr(itpipe._workers.stall_query, 'ANSWER_SECONDS', LIMIT)
    where = (
        '  File …, in twice\n  return again(first.function(x))\n  File …, in again\n  return second.function(x)\n'
        f'  {IN_HOLD_THERE}'
    )
    assert [plain(pool.doing()) for _ in range(3)] == 3 * [f'{who}\n{where}\n']
    assert not worker._control.poll()
    second.release()
    assert pool.result(task) == 0
    pool.close()


def test_a_process_that_is_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, start = threading.Event(), WorkerProcess.start

    def start_late(worker: WorkerProcess, launcher: Any) -> None:
        assert go_on.wait(LIMIT)
        start(worker, launcher)

    monkeypatch.setattr(WorkerProcess, 'start', start_late)
    pool = pool_of(abs)
    task = pool.submit(0, -1)
    assert pool.doing() == f'  item 0 in process itpipe-process-0, {SILENT}\n'
    go_on.set()
    assert pool.result(task) == 1
    pool.close()


def test_a_process_that_has_died_is_asked_in_vain(tmp_path: Path) -> None:
    held = HeldThere(tmp_path)
    pool = pool_of(held.function)
    pool.submit(0, 0)
    await_beginning(held)
    with pool._stall_query.lock:  # until which its end is not dealt with
        (worker,) = pool._dispatcher.workers
        stop_process(worker)
        worker.request_stack()
        os.kill(worker.process.pid, signal.SIGKILL)
        for _ in range(3):
            assert worker.stack(LIMIT) is None
            worker.request_stack()
    pool.close()


# ---------------------------------------------------------------------------------------------------------------------
# In Infinite


class Awaited:
    """Held, and the thread of an `Infinite` waits for that."""

    def __init__(self, held: Any):
        self.held = held

    def is_held(self) -> bool:
        (thread,) = [each for each in threading.enumerate() if each.name == 'itpipe-Infinite']
        return self.held.is_held() and not stack_of(thread.ident)


def stalled(held: Any, *stages: Any, **options: Any) -> str:
    """What is said when the first batch does not come."""
    with stalls(held.release) as texts, Infinite(range(1), *stages, batches_per_epoch=1, **options) as batch_iter:
        assert list(batch_iter) == [0]
    (text,) = texts
    return text


BATCH = 'itpipe: no batch has come out of Infinite for 60 s\n'
WAITS = 'thread itpipe-Infinite\n  waits for those below\n'


def test_a_function_in_the_background(clock: Clock) -> None:
    held = clock.held = Held()
    assert stalled(held, held.function) == f'{BATCH}thread itpipe-Infinite\n  {IN_HOLD}'


def test_a_source_in_the_background(clock: Clock) -> None:
    held = clock.held = Held()

    @stage
    def read(items: Iterator[int]) -> Iterator[int]:
        yield from map(held.function, items)

    text = stalled(held, read())
    assert text == (
        f'{BATCH}thread itpipe-Infinite\n  File …, in read\n  yield from map(held.function, items)\n  {IN_HOLD}'
    )


def test_threads_that_the_background_waits_for(clock: Clock) -> None:
    held = Held()
    clock.held = Awaited(held)
    text = stalled(held, parallel_map(held.function, threads=2), stall_timeout=60.5)
    assert text.replace('itpipe-1', 'itpipe-0') == (
        f'{BATCH.replace("60", "60.5")}{WAITS}parallel_map(hold, threads=2)\n  item 0 in thread itpipe-0\n  {IN_HOLD}'
    )


def test_processes_that_the_background_waits_for(clock: Clock, tmp_path: Path) -> None:
    held = HeldThere(tmp_path)
    clock.held = Awaited(held)
    assert stalled(held, parallel_map(held.function, processes=1)) == (
        f'{BATCH}{WAITS}'
        f'parallel_map(hold, processes=1)\n  item 0 in process itpipe-process-0 (pid …)\n  {IN_HOLD_THERE}'
    )


def test_a_thread_that_prefetches_for_the_background(clock: Clock) -> None:
    held = Held()
    clock.held = Awaited(held)
    text = stalled(held, held.function, prefetch(1))
    assert text == f'{BATCH}{WAITS}thread itpipe-prefetch\n  {IN_HOLD}'


def test_a_thread_that_rests_is_not_shown() -> None:
    made = Background('itpipe-test', 2)
    run = made.run(zip(range(8), range(8), strict=True))
    next(run)
    wait_until(lambda: made._full, 'the thread rests')
    assert made.doing() == ''
    made.close()


def test_workers_in_a_branch(clock: Clock) -> None:
    held = clock.held = Held()
    branch = stream(range(1)) | parallel_map(held.function, threads=1)
    with stalls(held.release) as texts, Infinite(mix(branch)) as batch_iter:
        assert next(iter(batch_iter)) == 0
    assert texts[0].endswith(f'\nparallel_map(hold, threads=1)\n  item 0 in thread itpipe-0\n  {IN_HOLD}')


def test_without_a_background_the_waits_for_workers_are_watched(clock: Clock) -> None:
    held = clock.held = Held()
    assert stalled(held, parallel_map(held.function, threads=1), prefetch=0) == (
        f'itpipe: no item has come out of parallel_map(hold, threads=1) for 60 s\n'
        f'  item 0 in thread itpipe-0\n  {IN_HOLD}'
    )


def test_a_stage_s_own_time_goes_first(clock: Clock) -> None:
    held = clock.held = Held()
    text = stalled(held, parallel_map(held.function, threads=1, stall_timeout=7), prefetch=0)
    assert text.startswith('itpipe: no item has come out of parallel_map(hold, threads=1, stall_timeout=7) for 7 s\n')


@pytest.mark.parametrize('prefetch', [None, 0])
def test_none_turns_it_off(clock: Clock, monkeypatch: pytest.MonkeyPatch, prefetch: int | None) -> None:
    wait_time = StallTimer.wait_time
    beats = []

    def count(*args: Any) -> float:
        beats.append(0)
        if held.begun and len(beats) > 20:
            held.release()
        return wait_time(*args)  # a warning would be an error

    held = clock.held = Held()
    monkeypatch.setattr(StallTimer, 'wait_time', count)
    mapped = parallel_map(held.function, threads=1)
    with Infinite(range(1), mapped, batches_per_epoch=1, stall_timeout=None, prefetch=prefetch) as batch_iter:
        assert list(batch_iter) == [0]


# ---------------------------------------------------------------------------------------------------------------------
# Warnings that are errors


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All warnings are errors, also that functions still run."""
    monkeypatch.setattr(itpipe._engine.waiting, 'GRACE', 0.02)
    monkeypatch.setattr(itpipe._workers.executors, 'GRACE', 0.02)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield


@pytest.mark.parametrize('ordered', [True, False])
@pytest.mark.parametrize('way', ['threads', 'processes', 'executor'])
@pytest.mark.usefixtures('errors')
def test_the_error_ends_the_run(clock: Clock, tmp_path: Path, way: str, ordered: bool) -> None:
    held: Any = HeldThere(tmp_path) if way == 'processes' else Held()
    clock.held = held
    with ThreadPoolExecutor(1) as executor:
        where = executor if way == 'executor' else 1
        run = iter(range(3) | parallel_map(held.function, ordered=ordered, stall_timeout=60, **{way: where}))
        with pytest.raises(StallWarning, match=r'\Aitpipe: no item has come out of parallel_map\(hold, '):
            next(run)
        assert list(run) == []
        if way != 'processes':
            held.release()


@pytest.mark.parametrize('way', [None, 'threads', 'processes', 'prefetch'])
@pytest.mark.usefixtures('errors')
def test_the_error_ends_the_epoch_and_the_next_one_begins_anew(clock: Clock, tmp_path: Path, way: str | None) -> None:
    held: Any = HeldThere(tmp_path) if way == 'processes' else Held()
    clock.held = held
    stages: list[Any] = [held.function, prefetch(1)]
    if way != 'prefetch':
        stages = [parallel_map(held.function, **{way: 1})] if way else [held.function]
    with Infinite(range(1), *stages) as batch_iter:
        with pytest.raises(StallWarning, match=r'\Aitpipe: no batch has come out of Infinite for 60 s\n'):
            list(batch_iter)
        if way == 'processes':
            held.released = True
        else:
            held.release()
            assert list(batch_iter) == [0]
