"""A pool of threads."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from itpipe._core.allocator import keep_freed_memory
from itpipe._core.keys import describe
from itpipe._engine.functions import ItemFunction
from itpipe._engine.stacks import format_worker, stack_of
from itpipe._engine.threads import Thread
from itpipe._engine.waiting import join

from .cores import count_workers, limit_openmp
from .inline import InlinePolicy
from .pool import Pool
from .task import Task

__all__ = ['Threads']

KEPT = 1 << 24
"""Bytes. Twice as much, what a worker frees of a batch, is kept for each of many arenas."""


class Threads(Pool):
    """Threads that call the function. Each of the first tasks starts one."""

    unit = 'threads'

    def __init__(self, count: int, function: ItemFunction, in_flight: int | None = None):
        super().__init__(count_workers(count), function, in_flight)
        self.inline = InlinePolicy(calibrated=function.resource is not None)
        self._tasks: SimpleQueue[tuple[ItemFunction, Task, Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._begun: dict[threading.Thread, Task] = {}
        keep_freed_memory(KEPT)
        atexit.register(self.close)

    def _send(self, task: Task, value: Any) -> None:
        self._tasks.put((self.function, task, value))
        if len(self._threads) < self.size:
            number = len(self._threads)
            self._threads.append(Thread(self._serve, f'itpipe-{number}', number))
            self._threads[-1].start()

    def _serve(self, number: int) -> None:
        with suppress(Exception):  # of a library that is of no concern to the function
            limit_openmp(self.size)
        resource, failure = self.function.resource, None
        if resource is not None:
            try:
                resource.open()
            except BaseException as error:
                failure = error
        thread = threading.current_thread()
        while (entry := self._tasks.get()) is not None:
            function, task, value = entry
            if failure is not None:
                self._settle(task, error=failure, fatal=True)
            elif not (self._stopped or task.use.over):
                self._begun[thread] = task
                begun = perf_counter()
                try:
                    try:
                        value = function(task.key, value)
                    finally:  # if this fails, somebody waits for the outcome all the same
                        seconds = perf_counter() - begun
                        self.meter.worked(number, seconds, key=task.key)
                except BaseException as error:
                    self._settle(task, error=error)
                else:
                    if resource is None:  # where there is one, calls cannot be made inline
                        self.inline.record(seconds)
                    self._settle(task, value)
            del entry, function, task, value
        self._tasks.put(None)  # so that the next thread ends, too
        if resource is not None:
            try:
                resource.close()
            except BaseException as error:
                self._failures.append(error)

    def _is_starving(self) -> bool:
        return self._tasks.empty() and any(task.settled for task in list(self._begun.values()))

    def _tasks_of_system(self) -> list[str]:
        return [f'self/task/{thread.native_id}' for thread in self.threads if thread.native_id is not None]

    @property
    def threads(self) -> list[threading.Thread]:
        return list(self._threads)

    def doing(self) -> str:
        text = ''
        for thread in self.threads:
            task, stack = self._begun.get(thread), stack_of(thread.ident)
            if stack if task is None else not task.settled:
                text += format_worker(f'{describe(task.key) if task else "setup"} in thread {thread.name}', stack)
        return text

    def close(self) -> None:
        if os.getpid() == self._pid:
            self._tasks.put(None)
            self.stop()
            join(self._threads)
        atexit.unregister(self.close)
        self._raise_failure()
