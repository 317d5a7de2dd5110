"""A pool of asyncio tasks: coroutines that one event loop runs, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from inspect import isawaitable
from itertools import count
from time import perf_counter
from typing import Any, Final

from itpipe._core.keys import Key, describe
from itpipe._engine.functions import ItemFunction
from itpipe._engine.stacks import Stack, format_worker, stack_of, stack_of_coroutine
from itpipe._engine.threads import Thread
from itpipe._engine.waiting import join

from .failures import Retrying
from .pool import Pool
from .task import Task

__all__ = ['Awaited', 'Tasks']

_AWAITS: Final[ContextVar[bool]] = ContextVar('_AWAITS', default=False)
"""Whether the caller awaits what it gets."""


class Awaited:
    """A function whose results are awaited: by a pool of tasks, or else here, as where an item is made again."""

    def __init__(self, f: Callable[..., Any]):
        self.f = f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _AWAITS.get():
            return self._called(*args, **kwargs)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._alone(*args, **kwargs))
        with ThreadPoolExecutor(1) as executor:  # as in a notebook, whose loop runs in this thread
            return executor.submit(asyncio.run, self._alone(*args, **kwargs)).result()

    def _called(self, *args: Any, **kwargs: Any) -> Any:
        result = self.f(*args, **kwargs)
        if not isawaitable(result):
            raise TypeError(
                'parallel_map: with `tasks`, `f` must be a coroutine function (`async def`), got one that returned'
                f' {type(result).__name__}'
            )
        return result

    async def _alone(self, *args: Any, **kwargs: Any) -> Any:
        return await self._called(*args, **kwargs)


class Tasks(Pool):
    """Tasks of an event loop that call the function, and await what it returns."""

    unit = 'tasks'

    def __init__(self, size: int, function: ItemFunction, in_flight: int | None = None, timeout: float | None = None):
        super().__init__(size, function, in_flight)
        self.timeout = timeout
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: asyncio.Queue[tuple[ItemFunction, Task, Any]]
        self._end: asyncio.Event
        self._serving: list[asyncio.Task[None]] = []
        self._begun: dict[int, Task] = {}
        atexit.register(self.close)

    def _send(self, task: Task, value: Any) -> None:
        if self._thread is None:
            self._thread = Thread(self._run, 'itpipe-tasks')
            self._thread.start()
            self._ready.wait()
        if self._loop is None:
            raise RuntimeError('no event loop can be started')
        self._loop.call_soon_threadsafe(self._queue.put_nowait, (self.function, task, value))

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self._ready.set()

    async def _main(self) -> None:
        _AWAITS.set(True)
        self._queue, self._end = asyncio.Queue(), asyncio.Event()
        self._serving = [asyncio.create_task(self._serve(number)) for number in range(self.size)]
        self._loop = asyncio.get_running_loop()
        self._time(getattr(self._loop, '_selector', None))
        self._ready.set()
        await self._end.wait()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _time(self, selector: Any) -> None:
        """Count how long the loop does not wait for its selector. One of another library, such as uvloop, has none."""
        if selector is None:
            return
        select, begun = selector.select, None

        def timed(timeout: float | None = None) -> Any:
            nonlocal begun
            now = perf_counter()
            if begun is not None:
                self.meter.loop_busy += now - begun
            try:
                return select(timeout)
            finally:
                begun = perf_counter()

        selector.select = timed

    async def _serve(self, number: int) -> None:
        while True:
            function, task, value = await self._queue.get()
            if not (self._stopped or task.use.over):
                self._begun[number] = task
                begun = perf_counter()
                try:
                    try:
                        value = await self._outcome(function, task.key, value)
                    finally:  # if this fails, somebody waits for the outcome all the same
                        self.meter.worked(number, perf_counter() - begun, key=task.key)
                except asyncio.CancelledError as error:
                    if self._end.is_set():
                        raise
                    cancelled = RuntimeError(f'{describe(task.key)} was cancelled, but not by itpipe')
                    cancelled.__cause__ = error
                    self._settle(task, error=cancelled)
                except BaseException as error:
                    self._settle(task, error=error)
                else:
                    self._settle(task, value)
            del function, task, value

    async def _outcome(self, function: ItemFunction, key: Key, value: Any) -> Any:
        if not isinstance(function, Retrying):
            return await self._once(function, key, value)
        retries = function.retries
        for n in count():
            try:
                return await self._once(function.function, key, value)
            except retries.on:
                if n == retries.tries:
                    raise
            await asyncio.sleep(retries.pause(n))
            function.retried.append(None)
        return None

    async def _once(self, function: ItemFunction, key: Key, value: Any) -> Any:
        awaitable = function(key, value)
        try:
            async with asyncio.timeout(self.timeout) as limit:
                return await awaitable
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                error = TimeoutError(f'{describe(key)} took longer than `timeout={self.timeout:g}` seconds')
                function.blame(error, function.calls[-1], key, value)
                raise error from None
            function.blame(error, function.calls[-1], key, value)
            raise

    def _is_starving(self) -> bool:
        return self._queue.empty() and any(task.settled for task in list(self._begun.values()))

    def _tasks_of_system(self) -> list[str]:
        return [f'self/task/{thread.native_id}' for thread in self.threads if thread.native_id is not None]

    @property
    def threads(self) -> list[threading.Thread]:
        return [] if self._thread is None else [self._thread]

    def doing(self) -> str:
        return ''.join(
            format_worker(f'{describe(task.key)} in task {number}', self._stack(number))
            for number, task in sorted(self._begun.copy().items())
            if not task.settled
        )

    def _stack(self, number: int) -> Stack:
        serving = self._serving[number]
        if self._thread is not None and asyncio.current_task(self._loop) is serving:
            return stack_of(self._thread.ident)
        return stack_of_coroutine(serving.get_coro())

    def close(self) -> None:
        if os.getpid() == self._pid:
            self.stop()
            if self._loop is not None:
                with suppress(RuntimeError):  # it has ended
                    self._loop.call_soon_threadsafe(self._end.set)
            join(self.threads)
        atexit.unregister(self.close)
