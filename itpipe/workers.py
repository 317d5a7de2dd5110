"""Workers that call one function for one run: threads, processes, and executors that are somebody else's.

A pool takes `(key, value)` and gives a future; `result` makes of it what the function returned or raises what it
raised. `stop`, from any thread, breaks the waits for all of them; `close` waits until the workers are gone.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from .background import BEAT, GRACE, join, still_running
from .binding import ItemFunction
from .keys import Key
from .pace import Pace
from .portable import Packed, dumps_call, dumps_function, loads_call, pack, unpack

__all__ = ['Borrowed', 'Pool', 'Threads', 'count_workers', 'settle', 'usable_cores']


TRIAL = 0.001
"""Seconds that the first call may take before others are made beside it."""


def usable_cores() -> int:
    """The number of cores that this process may use."""
    from loky import cpu_count

    return int(cpu_count())


def count_workers(n: int) -> int:
    """The number of workers that `n` stands for, negative ones counting from the number of cores."""
    return n if n > 0 else max(1, usable_cores() + 1 + n)


class Pool:
    """What `parallel_map` needs of workers; `_send` is what tells one kind from another."""

    size: int

    def __init__(self) -> None:
        self.pace = Pace(known=True)
        self._pending: set[Future[Any]] = set()
        self._stopped = False

    @property
    def window(self) -> int:
        """The number of tasks that keep the workers busy while results are taken in order."""
        return 2 * self.size

    def flush(self) -> None:
        """Begin with what was submitted, if its beginning was put off: whoever did so is about to wait."""

    def try_out(self, future: Future[Any]) -> None:
        """Wait a moment for the first call, which has no other beside it, to see how long one takes."""
        with suppress(TimeoutError, CancelledError):
            future.exception(timeout=TRIAL)
        self.pace.known = True

    def submit(self, key: Key, value: Any) -> Future[Any]:
        """A future of what the function makes of the item."""
        future: Future[Any] = Future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        try:
            self._send(future, key, value)
        except Exception as error:  # it has to wait for its turn, too
            settle(future, error=error)
        if self._stopped:
            self.stop()
        return future

    def _send(self, future: Future[Any], key: Key, value: Any) -> None:
        raise NotImplementedError

    def result(self, future: Future[Any]) -> Any:
        """What the function returned, awaited, or what it raised."""
        if not future.done():
            self.flush()
        while not future.done():
            with suppress(TimeoutError, CancelledError):
                future.exception(timeout=BEAT)
        try:
            result = future.result()
        except CancelledError:
            if self._stopped:
                raise RuntimeError('the run was closed while a result was awaited') from None
            raise
        return unpack(result) if isinstance(result, Packed) else result

    def when_done(self, future: Future[Any], callback: Callable[[], object]) -> None:
        """Call back, in any thread, when the future is done."""
        future.add_done_callback(lambda _: callback())

    def stop(self) -> None:
        """Break all waits; from any thread."""
        self._stopped = True
        for future in list(self._pending):
            if not future.cancel():
                settle(future, error=RuntimeError('the run was closed while a result was awaited'))

    def close(self) -> None:
        """Stop, and wait until nothing of this pool is left."""
        raise NotImplementedError


def settle(future: Future[Any], result: Any = None, error: BaseException | None = None) -> None:
    """Give the future its outcome, if it has none yet."""
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class Threads(Pool):
    """Threads that call the function; each of the first tasks starts one."""

    def __init__(self, count: int, function: ItemFunction):
        super().__init__()
        self.size = count_workers(count)
        self.pace = Pace()
        self._function = function
        self._tasks: SimpleQueue[tuple[Future[Any], Key, Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pid = os.getpid()
        atexit.register(self.close)

    def _send(self, future: Future[Any], key: Key, value: Any) -> None:
        self._tasks.put((future, key, value))
        if len(self._threads) < self.size:
            name = f'itpipe-{len(self._threads)}'
            target = partial(_serve, self._tasks, self._function, self.size, self.pace)
            self._threads.append(threading.Thread(target=target, name=name, daemon=True))
            self._threads[-1].start()

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._tasks.put(None)
            self.stop()
            join(self._threads)
        atexit.unregister(self.close)


def _serve(tasks: SimpleQueue[Any], function: ItemFunction, size: int, pace: Pace) -> None:
    _limit_native_threads(size)
    while (task := tasks.get()) is not None:
        future, key, value = task
        if future.set_running_or_notify_cancel():
            begun = perf_counter()
            try:
                result = function(key, value)
            except BaseException as error:
                settle(future, error=error)
            else:
                pace.seen(perf_counter() - begun)
                settle(future, result)
                del result
        del task, future, key, value
    tasks.put(None)  # for the next thread


def _limit_native_threads(size: int) -> None:
    """Let OpenMP use its share of the cores in the calling thread, if threadpoolctl is there to say so."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threadpool_limits(max(1, cores // size), user_api='openmp')


class Borrowed(Pool):
    """Somebody else's executor: anything with `submit`, the futures of which have `result` at least."""

    def __init__(self, executor: Any, function: ItemFunction):
        super().__init__()
        self._executor, self._function = executor, _Portable(function)
        self.size = _size(executor)
        self._distributed = type(executor).__module__.split('.')[0] == 'distributed'
        self._plain: dict[Future[Any], Any] = {}
        self._theirs: set[Any] = set()
        self._idle = threading.Event()

    def _send(self, future: Future[Any], key: Key, value: Any) -> None:
        call = _Call(self._function, key, value)
        if self._distributed:  # it would hide why a call cannot be pickled, and not compute the same one twice
            theirs = self._executor.submit(call.portable(), pure=False)
        else:
            theirs = self._executor.submit(call)
        if callable(getattr(theirs, 'add_done_callback', None)):
            self._theirs.add(theirs)
            theirs.add_done_callback(lambda _: self._pass_on(future, theirs))
        else:
            self._plain[future] = theirs

    def _pass_on(self, future: Future[Any], theirs: Any) -> None:
        try:
            settle(future, theirs.result())
        except BaseException as error:
            settle(future, error=error)
        self._theirs.discard(theirs)
        if not self._theirs:
            self._idle.set()

    def result(self, future: Future[Any]) -> Any:
        if (theirs := self._plain.pop(future, None)) is not None:
            self._pass_on(future, theirs)
        return super().result(future)

    def when_done(self, future: Future[Any], callback: Callable[[], object]) -> None:
        if future in self._plain:  # the order of submission will do, there being no other
            callback()
        else:
            super().when_done(future, callback)

    def stop(self) -> None:
        super().stop()
        for theirs in list(self._theirs):
            if hasattr(theirs, 'cancel'):
                theirs.cancel()

    def close(self) -> None:
        self._idle.clear()
        self.stop()
        if self._theirs and not self._idle.wait(GRACE):
            still_running('executor')


def _size(executor: Any) -> int:
    for name in ('_max_workers', 'num_workers'):
        if isinstance(size := getattr(executor, name, None), int) and size > 0:
            return size
    if callable(nthreads := getattr(executor, 'nthreads', None)):
        return sum(nthreads().values()) or 1
    return os.cpu_count() or 1


class _Portable:
    """The function, pickled at most once."""

    def __init__(self, function: ItemFunction):
        self.function = function
        self._data: bytes | None = None

    @property
    def data(self) -> bytes:
        if self._data is None:
            self._data = dumps_function(self.function)
        return self._data


class _Call:
    """A call of the function as an executor gets it: in this process called as it is, in any other unpickled first."""

    def __init__(self, function: _Portable, key: Key, value: Any):
        self.parts = function, key, value

    def __call__(self) -> Any:
        function, key, value = self.parts
        return function.function(key, value)

    def portable(self) -> partial[Packed]:
        """What it is in any other process."""
        function, key, value = self.parts
        return partial(pack, loads_call, function.data, dumps_call(key, value))

    def __reduce__(self) -> Any:
        return self.portable().__reduce__()
