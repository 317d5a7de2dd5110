"""A pool on top of an executor that the user gives."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any, Final

from itpipe._core.keys import Batch, Key, describe
from itpipe._engine.functions import NOTHING, ItemFunction
from itpipe._engine.waiting import GRACE, warn_still_running

from .pickling import dumps_call, dumps_function, loads_call, pack, result_of
from .pool import Pool
from .task import Packed, Task

__all__ = ['ExecutorPool']


MAX_FUNCTION: Final = 1 << 18
"""Bytes. Executors get the function with each call, so one that has a larger dataset in it does not look items up."""
PICKLED: Final = {'ProcessPoolExecutor', 'MPIPoolExecutor', 'RayExecutor'}
"""Executors that get calls that are pickled already. They would pickle a call later, when the item may have changed."""


class ExecutorPool(Pool):
    """An executor is anything with a method `submit` that returns futures; these need a method `result`."""

    def __init__(self, executor: Any, function: ItemFunction, in_flight: int | None = None):
        super().__init__(_size(executor), function, in_flight)
        self._executor, self._function = executor, _Function(function)
        self._is_dask = type(executor).__module__.split('.')[0] == 'distributed'  # it does not say why it cannot pickle
        self._is_remote = self._is_dask or any(kind.__name__ in PICKLED for kind in type(executor).__mro__)
        self._first: ItemFunction | None = None
        self._futures: dict[Task, Any] = {}
        self._lazy_futures: dict[Task, Any] = {}
        """Those that do not tell when they are done."""
        self._idle = threading.Event()

    def _send(self, task: Task, value: Any) -> None:
        if self._first is None:
            self._first = self._look_ups_to_do_here()
        try:
            value = self._first.in_pass(self.function.pass_)(task.key, value)
        except Exception as error:
            self._settle(task, error=error)
            return
        call = _ExecutorCall(self._function, self.function, task.key, value)
        if self._is_dask:  # if it took the function for pure, it would not compute the same call twice
            future = self._executor.submit(call.pickled(), pure=False)
        else:
            future = self._executor.submit(call.pickled() if self._is_remote else call)
        if callable(getattr(future, 'add_done_callback', None)):
            self._futures[task] = future
            future.add_done_callback(partial(self._pass_on, task))  # without the future, which would hold itself
        else:
            self._lazy_futures[task] = future
            if task.use.done is not None:  # nothing tells which is done first, so they count as done in their order
                task.use.done.append(task)

    def serves(self, function: ItemFunction) -> bool:
        return False  # its function may have gone to other processes, and a new pool has nothing to start

    def _look_ups_to_do_here(self) -> ItemFunction:
        """The look-ups, if each call to another process would have a large dataset with it; else nothing to do."""
        if not (self._is_remote and self.function.lead and len(self._function.data) > MAX_FUNCTION):
            return NOTHING
        first, own = self.function.split()
        self._function = _Function(own)
        return first

    def _pass_on(self, task: Task, _: object) -> None:
        self._settle(task, *_outcome(self._futures.pop(task)))
        if not self._futures:
            self._idle.set()

    def _await(self, task: Task) -> None:
        if (future := self._lazy_futures.pop(task, None)) is not None:
            task.value, task.error, task.fatal = _outcome(future)
            task.settled = True
        super()._await(task)

    def _sleep(self, seconds: float) -> None:
        super()._sleep(seconds)
        if (end := getattr(self._executor, 'end_if_disconnected', None)) is not None:
            end()

    def _received(self, value: Any) -> Any:
        try:
            return result_of(value) if isinstance(value, Packed) else value
        except SystemExit:  # of a worker that was told to end, rather than of the function
            if (check := getattr(self._executor, 'check_shut_down', None)) is not None:
                check()
            raise

    def starves(self, task: Task) -> bool:
        # futures that do not tell when they are done settle nothing before they are asked
        return not self._lazy_futures and super().starves(task)

    def _is_starving(self) -> bool:
        return bool(self._futures) and len(self._futures) < self.size

    @property
    def threads(self) -> list[threading.Thread]:
        return list(self._function.threads)

    def doing(self) -> str:
        keys = Batch(task.key for task in [*self._futures, *self._lazy_futures])
        return f'  {describe(keys)} in {type(self._executor).__name__}\n' if keys else ''

    def rest(self) -> None:
        super().rest()
        self._lazy_futures.clear()

    def stop(self) -> None:
        super().stop()
        for future in list(self._futures.values()):
            if hasattr(future, 'cancel'):
                future.cancel()

    def close(self) -> None:
        self._idle.clear()
        self.stop()
        called_here = threading.current_thread() in self.threads  # by the garbage collector
        if self._futures and not called_here and not self._idle.wait(GRACE):
            warn_still_running('executor')


def _size(executor: Any) -> int:
    for name in ('_max_workers', 'num_workers'):
        if isinstance(size := getattr(executor, name, None), int) and size > 0:
            return size
    if callable(nthreads := getattr(executor, 'nthreads', None)):
        return sum(nthreads().values()) or 1
    return os.cpu_count() or 1


def _outcome(future: Any) -> tuple[Any, BaseException | None, bool]:
    """What the function returned, what it raised, and whether it was the executor that raised it."""
    try:
        value = future.result()
    except BaseException as error:
        return None, error, True
    return (None, value.error, False) if isinstance(value, _Failed) else (value, None, False)


class _Function:
    """The function of all passes, pickled at most once."""

    def __init__(self, function: ItemFunction):
        self.function = function
        self.threads: set[threading.Thread] = set()
        """The threads of the executor that are in the function now, if they are in this process."""
        self._data: bytes | None = None

    @property
    def data(self) -> bytes:
        if self._data is None:
            self._data = dumps_function(self.function)
        return self._data


class _Failed:
    """An error of the function, as opposed to one of the executor."""

    def __init__(self, error: Exception):
        self.error = error


class _ExecutorCall:
    """A call as an executor gets it. In this process it calls the function itself, in another one an unpickled copy."""

    def __init__(self, lasting: _Function, function: ItemFunction, key: Key, value: Any):
        self.parts = lasting, function, key, value

    def __call__(self) -> Any:
        lasting, function, key, value = self.parts
        lasting.threads.add(thread := threading.current_thread())
        try:
            return function(key, value)
        except Exception as error:
            return _Failed(error)
        finally:
            lasting.threads.discard(thread)

    def pickled(self) -> partial[Packed]:
        """The call for another process, its parts pickled."""
        lasting, function, key, value = self.parts
        return partial(pack, loads_call, lasting.data, dumps_call(key, value), function.pass_)

    def __reduce__(self) -> Any:
        return self.pickled().__reduce__()
