"""Async iterables as sources: an event loop in a thread of its own makes their items, and ends with the run."""

import asyncio
import contextvars
import gc
import signal
import sys
import threading
import warnings
import weakref
from collections import Counter
from itertools import islice

import pytest
from leftovers import alive, still_left
from running import LIMIT, raises, run_script, start_script

from itpipe import (
    Infinite,
    NotRestartable,
    apply,
    batch_by,
    concat,
    cycle,
    flatten,
    headspace,
    interleave,
    mix,
    parallel_map,
    pipe,
    prefetch,
    stage,
    stream,
    take,
    unpack,
    zip_with,
)
from itpipe._engine import waiting
from itpipe._engine.async_items import awaited
from itpipe.errors import StallWarning

NOTE = 'itpipe: raised in the source <async_generator>, item '


async def numbers(size, begin=0):
    for n in range(begin, begin + size):
        await asyncio.sleep(0)
        yield n


class Numbers:
    """It can be iterated again."""

    def __init__(self, size, begin=0):
        self.given = size, begin

    def __aiter__(self):
        return numbers(*self.given)


def waits_for_ever(*_):
    return asyncio.get_running_loop().create_future()


# ---------------------------------------------------------------------------------------------------------------------
# Where they may stand


@pytest.mark.parametrize(
    ('make', 'expected'),
    [
        (lambda: stream(numbers(3)), [0, 1, 2]),
        (lambda: numbers(3) | batch_by(2), [[0, 1], [2]]),
        (lambda: pipe(numbers(3), str), ['0', '1', '2']),
        (lambda: batch_by(2)(numbers(3)), [[0, 1], [2]]),
        (lambda: numbers(2) | concat(Numbers(2, 5), 'a'), [0, 1, 5, 6, 'a']),
        (lambda: numbers(3) | zip_with(Numbers(3, 5)), [(0, 5), (1, 6), (2, 7)]),
        (lambda: mix(numbers(2), numbers(2, 5), weights=[1, 0]) | take(2), [0, 1]),
        (lambda: Numbers(2) | cycle(3), [0, 1] * 3),
        (lambda: [Numbers(2), 'ab', numbers(1)] | flatten, [0, 1, 'a', 'b', 0]),
        (lambda: [1, 2] | apply(numbers) | flatten, [0, 0, 1]),
        (lambda: [(1, 5), (2, 7)] | unpack(numbers) | flatten, [5, 7, 8]),
        (lambda: stream([1, 2]) | numbers | flatten, [0, 0, 1]),
        (lambda: [2, 1] | interleave(numbers, cycle=2), [0, 0, 1]),
        (lambda: [2, 1] | interleave(Numbers, cycle=2, prefetch=2), [0, 0, 1]),
        (lambda: [2, 1] | interleave(apply(numbers), cycle=2), [0, 0, 1]),
        (lambda: [2, 1] | interleave(numbers, cycle=2, processes=True), [0, 0, 1]),
        (lambda: [numbers(2, 1)] | unpack(pow), [1]),
        (lambda: numbers(3) | parallel_map(abs, threads=2) | prefetch(2), [0, 1, 2]),
        (lambda: numbers(0), []),
    ],
)
def test_gives_the_items_wherever_an_iterable_is_read(make, expected):
    assert list(stream(make())) == expected


def test_an_infinite_begins_anew_what_can_be_iterated_again():
    with Infinite(Numbers(3), str) as batch_iter:
        assert [list(batch_iter) for _ in range(3)] == [['0', '1', '2']] * 3


def test_a_generator_has_one_run():
    made = stream(numbers(3))
    assert made.source.one_shot
    assert list(made) == [0, 1, 2]
    with pytest.raises(NotRestartable, match='again, such as an object of a class with `async def __aiter__`$'):
        list(made)


def test_what_can_also_be_iterated_without_a_loop_is():
    class Both(Numbers):
        def __iter__(self):
            return iter('ab')

    assert list(stream(Both(3))) == ['a', 'b']


def test_a_length_that_it_says_is_known():
    class Sized(Numbers):
        def __len__(self):
            return self.given[0]

    assert len(Sized(5) | batch_by(2)) == 3


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (
            lambda: stream(numbers),
            (
                'stream: what stands left of `|` must be iterable, got an async generator function; call it, or, for'
                ' several epochs, write a class with an `async def __aiter__` that yields'
            ),
        ),
        (
            lambda: zip_with('ab', numbers),
            (
                'zip_with: `others[1]` must be iterable, got an async generator function; call it, or, for several'
                ' epochs, write a class with an `async def __aiter__` that yields'
            ),
        ),
        (
            lambda: parallel_map(numbers, threads=2),
            (
                'parallel_map: `f` must be a function that returns its result, got an async generator function, which'
                ' nothing here would read; `apply(f) | flatten` and `interleave(f)` give what it yields'
            ),
        ),
        (lambda: headspace(numbers(2)), 'headspace: `batches` must be iterable, got async_generator'),
        (
            lambda: list([1] | stage(lambda items: numbers(2))()),
            '<lambda>: its function must yield, or return an iterable, got <async_generator>',
        ),
    ],
)
def test_what_is_refused(make, text):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == text


# ---------------------------------------------------------------------------------------------------------------------
# How they run


def counted(made):
    async def items():
        for n in range(20):
            made.append(n)
            yield n

    return items()


def test_an_item_is_asked_for_when_it_is_needed():
    made = []
    run = iter(stream(counted(made)))
    assert made == []
    for n, _ in enumerate(run):
        assert made == list(range(n + 1))
    assert n == 19


def test_a_prefetch_reads_so_far_ahead_and_no_further():
    made = []
    for taken, _ in enumerate(counted(made) | prefetch(3)):
        assert len(made) <= taken + 1 + 3 + 1
    assert taken == 19


def test_tasks_of_its_own_run_on_between_the_items():
    ready = threading.Event()

    async def items():
        async def prepare():
            ready.set()
            return 'prepared'

        task = asyncio.create_task(prepare())
        yield 'first'
        yield await task

    run = iter(stream(items()))
    assert next(run) == 'first'
    assert ready.wait(LIMIT)
    assert list(run) == ['prepared']


def test_one_task_in_one_thread_makes_all_items():
    async def items():
        for _ in range(5):
            yield asyncio.current_task(), threading.current_thread()

    ((_, thread),) = set(stream(items()))
    assert (thread.name, thread.is_alive()) == ('itpipe-async', False)


def test_runs_within_an_event_loop():
    """As in a notebook, whose loop runs in the main thread."""

    async def main():
        return list(numbers(3) | batch_by(2)), stream(Numbers(3)).item(1), list(Infinite(Numbers(2)))

    assert asyncio.run(main()) == ([[0, 1], [2]], 1, [0, 1])


def test_context_variables_are_those_of_whoever_asks_first():
    variable = contextvars.ContextVar('variable', default='none')

    async def items():
        yield variable.get()
        variable.set('inside')
        yield variable.get()

    variable.set('outside')
    run = iter(stream(items()))
    assert next(run) == 'outside'
    variable.set('later')
    assert next(run) == 'inside'
    assert variable.get() == 'later'


def test_items_are_not_held_while_the_next_one_is_awaited():
    class Item:
        pass

    async def items():
        first = Item()
        seen = weakref.ref(first)
        yield first
        del first
        yield seen() is None

    run = awaited(items())
    next(run)
    assert list(run) == [True]


def test_several_run_at_once():
    together = threading.Barrier(3)

    async def read(n):
        await asyncio.to_thread(together.wait, LIMIT)
        yield n

    assert list(range(3) | interleave(read, cycle=3, prefetch=1)) == [0, 1, 2]


def test_a_run_goes_on_and_reads_again_what_was_delivered():
    made = stream(Numbers(9), seed=0) | batch_by(2)
    run = iter(made)
    got = list(islice(run, 2))
    state = run.state_dict()
    run.close()
    assert got + list(made.resume(state)) == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
    assert list(made.at(3)) == [[6, 7], [8]]
    rest = stream(numbers(9), seed=0) | batch_by(2)
    assert list(rest.resume(state)) == [[4, 5], [6, 7], [8]]


# ---------------------------------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize(
    'error', [OSError(5, 'disk'), KeyboardInterrupt(), SystemExit(3), BaseExceptionGroup('', [OSError()])]
)
def test_an_error_comes_as_it_was_raised_behind_the_items_before_it(error):
    async def items():
        yield 0
        raise error

    run = iter(stream(items()))
    assert next(run) == 0
    with pytest.raises(type(error)) as caught:
        next(run)
    assert caught.value is error
    assert getattr(error, '__notes__', []) == ([f'{NOTE}1'] if isinstance(error, Exception) else [])
    assert list(run) == []


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        (StopIteration, 'async generator raised StopIteration'),
        (StopAsyncIteration, 'async generator raised StopAsyncIteration'),
        (asyncio.CancelledError, 'the async iterable was cancelled, but not by itpipe'),
    ],
)
def test_what_would_be_taken_for_the_end_is_an_error(error, text):
    async def items():
        yield 0
        raise error

    run = iter(stream(items()))
    assert next(run) == 0
    with raises(RuntimeError, text, f'{NOTE}1') as caught:
        next(run)
    assert isinstance(caught.value.__cause__, error)


def test_an_error_names_the_shard_and_the_item():
    async def read(n):
        yield n
        raise OSError('disk')

    with raises(OSError, 'disk', 'itpipe: raised in interleave(read, cycle=1), shard 7, item 0 (part 1)'):
        list([7] | interleave(read, cycle=1))
    with raises(OSError, 'disk', 'itpipe: raised in flatten(), item 0'):
        list([7] | apply(read) | flatten)


def test_what_is_no_async_iterator_is_an_error():
    class Wrong:
        def __aiter__(self):
            return iter('ab')

    with pytest.raises(TypeError, match='not an async iterator'):
        list(stream(Wrong()))


def wait_for(event):
    assert event.wait(LIMIT)


def test_a_task_that_fails_between_the_items_fails_the_next_one():
    """Its group cancels the task that is about to be asked for an item; the group knows why."""
    failed = threading.Event()

    async def items():
        async def fail():
            await start.wait()
            asyncio.get_running_loop().call_later(0, failed.set)
            raise OSError('in a task')

        start = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            start.set()
            yield 0
            yield 1

    run = iter(stream(items()))
    assert next(run) == 0
    wait_for(failed)
    with pytest.raises(ExceptionGroup) as caught:
        next(run)
    assert [str(each) for each in caught.value.exceptions] == ['in a task']
    assert caught.value.__notes__ == [f'{NOTE}1']


def test_a_timeout_around_a_yield_is_one():
    timed_out = threading.Event()

    async def items():
        try:
            async with asyncio.timeout(0.001):
                yield 0
        finally:
            timed_out.set()

    run = iter(stream(items()))
    assert next(run) == 0
    wait_for(timed_out)
    with raises(TimeoutError, '', f'{NOTE}1'):
        next(run)


def test_one_that_is_cancelled_at_a_yield_may_go_on():
    cancelled = threading.Event()

    async def items():
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        loop.call_later(0.001, task.cancel)
        try:
            yield 0
        except asyncio.CancelledError:
            task.uncancel()
            cancelled.set()
        yield 1
        yield 2

    run = iter(stream(items()))
    assert next(run) == 0
    wait_for(cancelled)
    assert list(run) == [1, 2]


def test_an_iterator_that_is_cancelled_between_the_items_fails():
    cancelled = threading.Event()

    class Cancelled:
        def __aiter__(self):
            return self

        async def __anext__(self):
            task = asyncio.current_task()
            task.add_done_callback(lambda _: cancelled.set())
            asyncio.get_running_loop().call_later(0.001, task.cancel)
            return 0

    run = iter(stream(Cancelled()))
    assert next(run) == 0
    wait_for(cancelled)
    with pytest.raises(RuntimeError, match='^the async iterable was cancelled, but not by itpipe'):
        next(run)


# ---------------------------------------------------------------------------------------------------------------------
# Ends


class Watched:
    """It notes what runs when it ends: its `finally`, and the tasks that it has started."""

    def __init__(self, waits=False):
        self.ended, self.waits, self.awaited = Counter(), waits, threading.Event()

    async def __aiter__(self):
        self.loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._watch('task'))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch('task of a group'))
                await asyncio.sleep(0)
                yield 0
                if self.waits:
                    self.awaited.set()
                    await waits_for_ever()
                yield 1
                yield 2
                raise OSError('disk')
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            self.ended['generator'] += asyncio.get_running_loop() is self.loop
            del task

    async def _watch(self, name):
        try:
            await waits_for_ever()
        finally:
            await asyncio.sleep(0)
            self.ended[name] += 1

    def check(self):
        assert self.ended == {'generator': 1, 'task': 1, 'task of a group': 1}
        assert self.loop.is_closed()
        assert not [thread for thread in threading.enumerate() if thread.name == 'itpipe-async']


@pytest.mark.parametrize('how', ['close', 'drop', 'consumer', 'error', 'Infinite', 'prefetch', 'flatten', 'interleave'])
def test_what_is_left_half_way_cleans_up_and_is_gone(how):
    source = Watched()
    if how == 'Infinite':
        with Infinite(source, prefetch=1) as batch_iter:
            assert next(iter(batch_iter)) == 0
    elif how == 'error':
        with pytest.raises(ExceptionGroup):
            list(stream(source))
    elif how == 'consumer':
        with pytest.raises(ZeroDivisionError):
            list(stream(source) | (lambda x: 1 // x))
    else:
        run = iter({
            'prefetch': lambda: source | prefetch(1),
            'flatten': lambda: [source] | flatten,
            'interleave': lambda: [source] | interleave(lambda each: each, prefetch=1),
        }.get(how, lambda: stream(source))())  # fmt: skip
        assert next(run) == 0
        if how != 'drop':
            run.close()
        del run
    source.check()


@pytest.mark.parametrize('how', ['stream', 'Infinite', 'prefetch', 'flatten', 'interleave', 'states'])
def test_a_run_is_closed_while_an_item_is_awaited(how):
    """By another thread: the item is cancelled, so that nobody waits for it."""
    source = Watched(waits=True)
    if how == 'states':
        source.state_dict, source.load_state_dict = dict, print
    run = {
        'Infinite': lambda: Infinite(source),
        'prefetch': lambda: iter(source | prefetch(1)),
        'flatten': lambda: iter([source] | flatten),
        'interleave': lambda: iter([source] | interleave(lambda each: each, prefetch=1)),
    }.get(how, lambda: iter(stream(source)))()
    items = iter(run)
    assert next(items) == 0

    def close(run):
        wait_for(source.awaited)
        run.close()

    closing = threading.Thread(target=close, args=(run,))
    closing.start()
    with pytest.raises((RuntimeError, StopIteration)):  # which of them depends on who comes first
        next(items)
    closing.join()
    del items, run
    source.check()


def test_what_cleaning_up_raises_comes_from_close():
    async def items():
        try:
            yield 0
        finally:
            await asyncio.sleep(0)
            raise OSError('not closed')

    run = iter(stream(items()))
    next(run)
    with pytest.raises(OSError, match='^not closed'):
        run.close()
    run.close()


def test_errors_of_a_task_group_that_is_closed_are_told():
    """But not the GeneratorExit that the group takes for one."""

    async def items():
        async def fail():
            try:
                await waits_for_ever()
            finally:
                raise OSError('in a task')

        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(0)
            yield 0

    run = iter(stream(items()))
    next(run)
    with pytest.raises(ExceptionGroup) as caught:
        run.close()
    assert [str(each) for each in caught.value.exceptions] == ['in a task']


def test_one_that_yields_when_it_is_cancelled_is_closed():
    begun, closed = threading.Event(), []

    def take_one(batch_iter):
        with pytest.raises((RuntimeError, StopIteration)):
            next(iter(batch_iter))

    async def items():
        try:
            begun.set()
            await waits_for_ever()
        except asyncio.CancelledError:
            try:
                yield 1
            finally:
                closed.append(True)

    with Infinite(items()) as batch_iter:
        taking = threading.Thread(target=take_one, args=(batch_iter,))
        taking.start()
        wait_for(begun)
        batch_iter.close()
        taking.join()
    assert closed == [True]


def test_one_that_hangs_in_its_end_is_warned_of(monkeypatch):
    monkeypatch.setattr(waiting, 'GRACE', 0.01)
    release = []

    async def items():
        try:
            yield 0
        finally:
            event = asyncio.Event()
            release.append((asyncio.get_running_loop(), event))
            await event.wait()

    run = iter(stream(items()))
    next(run)
    before = alive()
    with pytest.warns(ResourceWarning, match='closed, but a function or source is still running in the thread.*async'):
        run.close()
    ((loop, event),) = release
    loop.call_soon_threadsafe(event.set)
    assert still_left(before) == set()


class Iterator:
    """With an `aclose`, and no generator."""

    def __init__(self):
        self.closed = []

    def __aiter__(self):
        return self

    async def __anext__(self):
        return 1

    async def aclose(self):
        self.closed.append(True)


class Iterable:
    def __init__(self):
        self.iterator = Iterator()

    def __aiter__(self):
        return self.iterator


def test_an_iterator_is_closed_unless_it_was_given():
    for source, iterator in [((given := Iterator()), given), ((given := Iterable()), given.iterator)]:
        run = iter(stream(source))
        assert next(run) == 1
        run.close()
        assert iterator.closed == [True] * (source is not iterator)


def test_the_last_reference_may_go_in_the_loop_itself():
    held, closed = [], threading.Event()

    async def items():
        try:
            yield 0
            held.clear()
            gc.collect()
            yield 1
        finally:
            closed.set()

    async def outer():
        inner = iter(stream(items()))
        yield next(inner)
        held.append(inner)
        del inner
        yield 5

    assert list(stream(outer())) == [0, 5]
    held.clear()
    wait_for(closed)


def test_the_loop_closes_a_run_that_it_was_the_last_to_know():
    closed = threading.Event()
    runs = []

    async def items():
        try:
            yield 0
            await asyncio.sleep(0)
            runs.clear()  # nobody else refers to the run of which this is the source
            yield 1
        finally:
            closed.set()

    def take():
        run = iter(stream(items()) | prefetch(1))
        runs.append(run)
        next(run)

    take()
    wait_for(closed)


def test_a_stop_before_the_first_item_starts_nothing():
    stop = waiting.Stop()
    stop()
    with pytest.raises(RuntimeError, match='closed while'):
        next(awaited(numbers(3), stop))
    assert stop.waitables == []


def test_no_loop_is_an_error(monkeypatch):
    def none():
        raise OSError('Too many open files')

    monkeypatch.setattr(asyncio, 'new_event_loop', none)
    policy = asyncio.get_event_loop_policy()
    monkeypatch.setattr(type(policy), 'new_event_loop', lambda self: none())
    with pytest.raises(OSError, match='Too many'):
        next(iter(stream(numbers(3))))


def test_a_stall_says_where_the_item_is_awaited(monkeypatch):
    pending, texts = [], []

    async def inner():
        future = waits_for_ever()
        pending.append(future)
        return await future

    async def items():
        yield await inner()

    class Items:
        def __aiter__(self):
            return self

        async def __anext__(self):
            if pending and pending[-1].done():
                raise StopAsyncIteration
            return await inner()

    def shown(message, *_):
        texts.append(str(message))
        future = pending[-1]
        future.get_loop().call_soon_threadsafe(future.set_result, 3)

    monkeypatch.setattr(warnings, 'showwarning', shown)
    for source, name in [(items(), 'items'), (Items(), '__anext__')]:
        texts.clear()
        pending.clear()
        with warnings.catch_warnings():
            warnings.simplefilter('always', StallWarning)
            monkeypatch.setattr(warnings, 'showwarning', shown)
            with Infinite(source, stall_timeout=0.05) as batch_iter:
                assert list(batch_iter) == [3]
        (text,) = texts
        assert text.startswith('itpipe: no batch has come out of Infinite for 0.05 s')
        assert 'event loop itpipe-async' in text
        assert text.index(f', in {name}\n') < text.index(', in inner')


# ---------------------------------------------------------------------------------------------------------------------
# Around it

SERVER = """
    import asyncio, sys, threading

    from itpipe import Infinite, batch_by, interleave, stream

    LINES = 20
    ready, seen, ended, all_ended = [], [], [], threading.Event()

    async def serve(reader, writer):
        name = (await reader.readline()).decode().strip()
        seen.append(name)
        try:
            for n in range(LINES):
                writer.write(f'{name} {n}\\n'.encode())
                await writer.drain()
            writer.write_eof()
            await reader.read()  # until the client closes
        except ConnectionError:
            pass
        finally:
            writer.close()
            ended.append(name)
            if len(ended) == len(seen):
                all_ended.set()

    async def server(listening, over):
        async with await asyncio.start_server(serve, '127.0.0.1', 0) as serving:
            ready.append(serving.sockets[0].getsockname()[1])
            listening.set()
            await asyncio.to_thread(over.wait)

    async def lines(name):
        reader, writer = await asyncio.open_connection('127.0.0.1', ready[0])
        try:
            writer.write(f'{name}\\n'.encode())
            queue = asyncio.Queue(2)

            async def ahead():
                while line := await reader.readline():
                    await queue.put(line.decode().strip())
                await queue.put(None)

            async with asyncio.TaskGroup() as group:
                group.create_task(ahead())
                while (line := await queue.get()) is not None:
                    yield line
        finally:
            writer.close()
            await writer.wait_closed()

    listening, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(server(listening, over)))
    thread.start()
    listening.wait()

    assert list(stream(lines('a'))) == [f'a {n}' for n in range(LINES)]
    run = iter(stream(lines('half')))
    assert [next(run) for _ in range(5)] == [f'half {n}' for n in range(5)]
    run.close()
    both = list('bc' | interleave(lines, cycle=2, prefetch=4))
    assert both == [f'{name} {n}' for n in range(LINES) for name in 'bc']
    with Infinite('bcd' | interleave(lines, cycle=2, prefetch=4), batch_size=3, combiner=list) as batch_iter:
        print(next(iter(batch_iter)))
    all_ended.wait()
    assert sorted(set(seen)) == ['a', 'b', 'c', 'd', 'half'] or sorted(set(seen)) == ['a', 'b', 'c', 'half'], seen
    over.set()
    thread.join()
    assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
"""


def test_reads_from_a_server_with_tasks_of_its_own():
    assert run_script(SERVER) == "['b 0', 'c 0', 'b 1']\n"


def test_ctrl_c_ends_it():
    """While an item is awaited, with what the source has to clean up."""
    source = """
        import asyncio, signal
        from itpipe import stream

        signal.signal(signal.SIGINT, signal.default_int_handler)

        async def items():
            try:
                yield 0
                print('ready', flush=True)
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                print('closed', flush=True)

        for item in stream(items()):
            pass
    """
    with start_script(source) as script:
        try:
            assert script.stdout.readline() == 'ready\n'
            script.send_signal(signal.SIGINT)
            out, err = script.communicate(timeout=LIMIT)
        finally:
            script.kill()
    assert (script.returncode, out) == (-signal.SIGINT, 'closed\n')
    assert err.endswith('KeyboardInterrupt\n')
    assert err.count('Traceback') == 1  # asyncio complains of nothing; it may have been waking its loop, though
    assert 'destroyed' not in err


def test_the_interpreter_ends_with_a_run_that_was_left_open():
    source = """
        import asyncio
        from itpipe import Infinite, stream

        async def items():
            try:
                while True:
                    yield 0
            finally:
                await asyncio.sleep(0)
                print('closed', flush=True)

        run = iter(stream(items()))
        batch_iter = Infinite(items())
        print(next(run), next(iter(batch_iter)))
    """
    assert run_script(source) == '0 0\nclosed\nclosed\n'


def test_a_fork_says_that_it_has_no_loop():
    out = run_script(
        """
        import os, sys
        from itpipe import stream

        async def items():
            for n in range(5):
                yield n

        run = iter(stream(items()))
        next(run)
        child = os.fork()
        if not child:
            try:
                next(run)
            except RuntimeError as error:
                print(error, flush=True)
            run.close()
            print(list(stream(items())), flush=True)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print(list(run))
        """,
        options=('-W', 'ignore'),
    )
    gone = 'the event loop that makes the items is gone: this process was forked from its own\n'
    assert out == gone + '[0, 1, 2, 3, 4]\n[1, 2, 3, 4]\n'


def test_asyncio_is_not_imported_before():
    code = "import sys, itpipe; list(itpipe.stream('ab') | itpipe.flatten); print('asyncio' in sys.modules)"
    assert run_script(code) == f'{sys.version_info < (3, 0)}\n'
