"""Workers that call one function for one run: what is common to them, and threads.

A pool takes `(key, value)` and gives a task; `result` makes of it what the function returned or raises what it raised.
The run's thread alone does these two. A task is settled, once, by whoever has done it, in any thread. `stop`, from any
thread, breaks the waits; `close` waits until the workers are gone.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any

from .background import BEAT, join, signal
from .binding import ItemFunction
from .keys import Key, describe
from .pace import Pace
from .stalls import Patience, placed, stack_of

__all__ = ['Pool', 'Task', 'Threads', 'count_workers', 'usable_cores']

TRIAL = 0.002
"""Seconds that the first call may take before others are made beside it."""


def usable_cores() -> int:
    """The number of cores that this process may use."""
    from loky import cpu_count

    return int(cpu_count())


def count_workers(n: int) -> int:
    """The number of workers that `n` stands for, negative ones counting from the number of cores."""
    return n if n > 0 else max(1, usable_cores() + 1 + n)


class Task:
    """An item on its way through a worker, and what came of it."""

    __slots__ = ('error', 'key', 'settled', 'value')

    def __init__(self, key: Key):
        self.key = key
        self.value: Any = None
        self.error: BaseException | None = None
        self.settled = False


class Pool:
    """What `parallel_map` needs of workers; `_send` is what tells one kind from another."""

    def __init__(self, size: int, in_flight: int | None = None):
        self.size, self.in_flight = size, in_flight
        self.pace = Pace(known=True)
        self.where, self.patience = '', Patience()
        self._pid = os.getpid()
        self._stopped = False
        self._awaited: Task | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        self._done: SimpleQueue[Task | None] | None = None

    @property
    def window(self) -> int:
        """How many tasks may have been submitted and not been asked for: what was said, or what keeps workers busy."""
        return self.in_flight or 2 * self.size

    def submit(self, key: Key, value: Any) -> Task:
        """Have the function called with the item."""
        task = Task(key)
        try:
            if not self._stopped:
                self._send(task, value)
        except Exception as error:  # it has to wait for its turn, too
            self._settle(task, error=error)
        return task

    def _send(self, task: Task, value: Any) -> None:
        """Hand the item to a worker; each kind of pool has its own way."""
        raise NotImplementedError

    def _settle(self, task: Task, value: Any = None, error: BaseException | None = None) -> None:
        if not task.settled:
            task.value, task.error = value, error
            task.settled = True
            if self._done is not None:
                self._done.put(task)
            if self._awaited is task:  # looked at after settling; who waits looks after asking
                signal(self._wake)

    def try_out(self, task: Task) -> None:
        """Wait a moment for the first call, which has no other beside it, to see how long one takes."""
        self._wait(task, TRIAL)
        self.pace.known = True

    def result(self, task: Task) -> Any:
        """What the function returned, awaited, or what it raised."""
        if not task.settled:
            self._flush()
            self.patience.begin()
        while not task.settled:
            self._check()
            self._wait(task, self.patience.beat(BEAT, self.doing))
        self._check()  # when it was, tasks are cancelled, and workers die
        value, error, task.value, task.error = task.value, task.error, None, None
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def _wait(self, task: Task, seconds: float) -> None:
        self._awaited = task
        if not task.settled and not self._stopped:
            self._wake.acquire(timeout=seconds)  # or a signal in vain
        self._awaited = None

    def watch(self) -> None:
        """From now on, tasks are asked for by `next_done`, in the order in which they are settled."""
        self._done = SimpleQueue()

    @property
    def any_done(self) -> bool:
        """Whether there is a task that `next_done` would give at once."""
        return self._done is not None and not self._done.empty()

    def next_done(self) -> Task:
        """The task that has been settled next, awaited."""
        assert self._done is not None
        if self._done.empty():
            self._flush()
        self.patience.begin()
        while True:
            self._check()
            try:
                task = self._done.get(timeout=self.patience.beat(BEAT, self.doing))
            except Empty:
                continue
            if task is not None:
                return task

    def _flush(self) -> None:
        """Begin with what was submitted, if its beginning was put off: whoever did so is about to wait."""

    def _check(self) -> None:
        if self._stopped:
            raise RuntimeError('the run was closed while a result was awaited')
        if os.getpid() != self._pid:
            raise RuntimeError(
                'the workers belong to the process that this one was forked from: start a run of its own'
            )

    def doing(self) -> str:
        """Who works on which item, and where in it, for the warning of a stall; each kind of pool has its own way."""
        raise NotImplementedError

    def stop(self) -> None:
        """Break all waits, and begin with no other task; from any thread."""
        self._stopped = True
        signal(self._wake)
        if self._done is not None:
            self._done.put(None)

    def close(self) -> None:
        """Stop, and wait until nothing of this pool is left; each kind of pool has its own way."""
        raise NotImplementedError


class Threads(Pool):
    """Threads that call the function; each of the first tasks starts one."""

    def __init__(self, count: int, function: ItemFunction, in_flight: int | None = None):
        super().__init__(count_workers(count), in_flight)
        self.pace = Pace()
        self._function = function
        self._tasks: SimpleQueue[tuple[Task, Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._begun: dict[threading.Thread, Task] = {}
        atexit.register(self.close)

    def _send(self, task: Task, value: Any) -> None:
        self._tasks.put((task, value))
        if len(self._threads) < self.size:
            name = f'itpipe-{len(self._threads)}'
            self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
            self._threads[-1].start()

    def _serve(self) -> None:
        with suppress(Exception):  # whatever that library comes across
            _limit_native_threads(self.size)
        thread = threading.current_thread()
        while (entry := self._tasks.get()) is not None:
            task, value = entry
            if not self._stopped:
                self._begun[thread] = task
                begun = perf_counter()
                try:
                    value = self._function(task.key, value)
                except BaseException as error:
                    self._settle(task, error=error)
                else:
                    self.pace.seen(perf_counter() - begun)
                    self._settle(task, value)
            del entry, task, value
        self._tasks.put(None)  # for the next thread

    def doing(self) -> str:
        at_work = [(thread, task) for thread, task in list(self._begun.items()) if not task.settled]
        return ''.join(
            placed(f'{describe(task.key)} in thread {thread.name}', stack_of(thread.ident)) for thread, task in at_work
        )

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._tasks.put(None)
            self.stop()
            join(self._threads)
        atexit.unregister(self.close)


def _limit_native_threads(size: int) -> None:
    """Let OpenMP, if it is there, use its share of the cores in the calling thread, if threadpoolctl is there, too."""
    with suppress(OSError), open('/proc/self/maps', 'rb') as file:  # which takes less time than to import threadpoolctl
        libraries = file.read()
        if not any(name in libraries for name in (b'libgomp', b'libomp', b'libiomp')):
            return
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threadpool_limits(max(1, cores // size), user_api='openmp')
