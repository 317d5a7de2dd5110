"""Pools of workers, each for one function of one run, and executors that are somebody else's.

A pool takes `(key, value)` and gives a future; `result` makes of it what the function returned or raises what it
raised. `stop`, from any thread, breaks the waits for all of them; `close` waits until the workers are gone.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import Any, Protocol

from .background import join
from .binding import ItemFunction
from .keys import Key, describe
from .portable import Packed, dumps, pack, unpack

__all__ = ['Borrowed', 'Pool', 'Processes', 'Threads']

NATIVE_THREADS = (
    'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'BLIS_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS',
    'NUMEXPR_NUM_THREADS', 'NUMBA_NUM_THREADS',
)  # fmt: skip
"""What native thread pools read their size from."""


class Pool(Protocol):
    """What `parallel_map` needs of workers."""

    size: int

    def submit(self, key: Key, value: Any) -> Any:
        """A future of the function's result."""

    def result(self, future: Any) -> Any:
        """What the function returned, awaited, or what it raised."""

    def when_done(self, future: Any, callback: Callable[[], object]) -> None:
        """Call back, in any thread, when the future is done."""

    def stop(self) -> None:
        """Break all waits; from any thread."""

    def close(self) -> None:
        """Wait until nothing of this pool is left."""


def usable_cores() -> int:
    """The number of cores that this process may use."""
    from loky import cpu_count

    return int(cpu_count())


def count_workers(n: int) -> int:
    """The number of workers that `n` stands for, negative ones counting from the number of cores."""
    return n if n > 0 else max(1, usable_cores() + 1 + n)


class _Futures:
    """The futures that are not done yet, so that waiting for them can be broken."""

    def __init__(self) -> None:
        self._pending: set[Future[Any]] = set()
        self._stopped = False

    def new(self) -> Future[Any]:
        future: Future[Any] = Future()
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        if self._stopped:
            self.stop()
        return future

    def result(self, future: Any) -> Any:
        return future.result()

    def when_done(self, future: Any, callback: Callable[[], object]) -> None:
        future.add_done_callback(lambda _: callback())

    def stop(self) -> None:
        self._stopped = True
        for future in list(self._pending):
            if not future.cancel():
                with suppress(InvalidStateError):
                    future.set_exception(RuntimeError('the run was closed while a result was awaited'))


class Threads(_Futures):
    """Threads that call the function."""

    def __init__(self, count: int, function: ItemFunction):
        super().__init__()
        self.size = count_workers(count)
        self._function = function
        self._tasks: SimpleQueue[tuple[Future[Any], Key, Any] | None] = SimpleQueue()
        self._pid = os.getpid()
        target = partial(_serve, self._tasks, function, max(1, (os.cpu_count() or 1) // self.size))
        self._threads = [threading.Thread(target=target, name=f'itpipe-{n}', daemon=True) for n in range(self.size)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def submit(self, key: Key, value: Any) -> Future[Any]:
        future = self.new()
        self._tasks.put((future, key, value))
        return future

    def close(self) -> None:
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            return
        self.stop()
        for _ in self._threads:
            self._tasks.put(None)
        join(self._threads)


def _serve(tasks: SimpleQueue[Any], function: ItemFunction, native_threads: int) -> None:
    limit_native_threads(native_threads)
    while (task := tasks.get()) is not None:
        future, key, value = task
        if future.set_running_or_notify_cancel():
            try:
                result = function(key, value)
            except BaseException as error:
                with suppress(InvalidStateError):
                    future.set_exception(error)
            else:
                with suppress(InvalidStateError):
                    future.set_result(result)
                del result
        del task, future, key, value


def limit_native_threads(count: int) -> None:
    """Let OpenMP use `count` threads where the calling thread asks for them, if threadpoolctl is there to say so."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(count, user_api='openmp')


class Processes:
    """Processes of loky's, started without fork, that get the function once and live as long as the run."""

    def __init__(self, count: int, function: ItemFunction):
        from loky.backend import get_context
        from loky.process_executor import ProcessPoolExecutor

        self.size = count_workers(count)
        self._pid = os.getpid()
        payload = dumps(function, 'the function', 'make what it needs inside it, or use threads')
        share = str(max(1, usable_cores() // self.size))
        self._executor = ProcessPoolExecutor(
            self.size,
            context=get_context('loky'),
            initializer=_begin,
            initargs=(payload,),
            env={name: share for name in NATIVE_THREADS if name not in os.environ},
        )
        self._started = False

    def submit(self, key: Key, value: Any) -> Any:
        task = dumps((key, value), f'the value of {describe(key)}', 'it has to, to reach a process; use threads')
        if self._started:
            return self._executor.submit(_run, task)
        self._started = True
        with _without_interrupts():
            return self._executor.submit(_run, task)

    def result(self, future: Any) -> Any:
        return unpack(future.result())

    def when_done(self, future: Any, callback: Callable[[], object]) -> None:
        future.add_done_callback(lambda _: callback())

    def stop(self) -> None:
        if os.getpid() == self._pid:
            self._executor.shutdown(wait=False, kill_workers=True)

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._executor.shutdown(wait=True, kill_workers=True)


@contextmanager
def _without_interrupts() -> Any:
    # a worker inherits the mask, so that Ctrl-C does not reach it before it can say that it does not want it
    if not hasattr(signal, 'pthread_sigmask'):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """In a worker process: the function that it was started for."""

    payload: bytes
    function: ItemFunction | None = None


def _begin(payload: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _Worker.payload = payload


def _run(task: bytes) -> Packed:
    return pack(_call, task)


def _call(task: bytes) -> Any:
    from pickle import loads

    if _Worker.function is None:
        _Worker.function = loads(_Worker.payload)
    return _Worker.function(*loads(task))


class Borrowed(_Futures):
    """Somebody else's executor: anything with `submit`."""

    def __init__(self, executor: Any, function: ItemFunction):
        super().__init__()
        self._executor, self._function = executor, _Portable(function)
        self.size = _size(executor)
        distributed = type(executor).__module__.split('.')[0] == 'distributed'
        self._options = {'pure': False} if distributed else {}  # the same arguments are to be computed twice
        self._theirs: set[Any] = set()

    def submit(self, key: Key, value: Any) -> Any:
        theirs = self._executor.submit(self._function, key, value, **self._options)
        if not callable(getattr(theirs, 'add_done_callback', None)):
            return theirs
        future = self.new()
        self._theirs.add(theirs)
        theirs.add_done_callback(partial(self._pass_on, future))
        return future

    def _pass_on(self, future: Future[Any], theirs: Any) -> None:
        self._theirs.discard(theirs)
        try:
            result = theirs.result()
        except BaseException as error:
            with suppress(InvalidStateError):
                future.set_exception(error)
        else:
            with suppress(InvalidStateError):
                future.set_result(result)

    def result(self, future: Any) -> Any:
        result = future.result()
        return unpack(result) if isinstance(result, Packed) else result

    def when_done(self, future: Any, callback: Callable[[], object]) -> None:
        if hasattr(future, 'add_done_callback'):
            future.add_done_callback(lambda _: callback())
        else:  # the order of submission will do, there being no other
            callback()

    def stop(self) -> None:
        for theirs in list(self._theirs):
            theirs.cancel()
        super().stop()

    def close(self) -> None:
        self.stop()


def _size(executor: Any) -> int:
    for name in ('_max_workers', 'num_workers'):
        if isinstance(size := getattr(executor, name, None), int) and size > 0:
            return size
    if callable(nthreads := getattr(executor, 'nthreads', None)):
        return sum(nthreads().values()) or 1
    return os.cpu_count() or 1


class _Portable:
    """The function as an executor gets it: called as it is in this process, unpickled once in any other."""

    def __init__(self, function: ItemFunction):
        self.function = function
        self.payload: bytes | None = None

    def __call__(self, key: Key, value: Any) -> Any:
        return self.function(key, value)

    def __reduce__(self) -> Any:
        if self.payload is None:
            self.payload = dumps(self.function, 'the function', 'make what it needs inside it, or use threads')
        return _elsewhere, (self.payload,)


@lru_cache(maxsize=8)
def _elsewhere(payload: bytes) -> Callable[[Key, Any], Packed]:
    from pickle import loads

    return partial(pack, loads(payload))
