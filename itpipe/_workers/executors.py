"""Executors that are somebody else's, as a pool of workers."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import Any

from itpipe._core.keys import Batch, Key, describe
from itpipe._engine.functions import ItemFunction
from itpipe._engine.waiting import GRACE, still_running

from .pickling import dumps_call, dumps_function, loads_call, pack, unpack
from .pool import Pool
from .task import Packed, Task

__all__ = ['Borrowed']


class Borrowed(Pool):
    """An executor: anything with `submit`, the futures of which have `result` at least."""

    def __init__(self, executor: Any, function: ItemFunction, in_flight: int | None = None):
        super().__init__(_size(executor), function, in_flight)
        self._executor, self._portable = executor, _Portable(function)
        # One that would pickle the call itself does so later, when the item may have been changed; and dask hides why
        # it cannot.
        self._elsewhere = any(kind.__name__ == 'ProcessPoolExecutor' for kind in type(executor).__mro__)
        self._distributed = type(executor).__module__.split('.')[0] == 'distributed'
        self._plain: dict[Task, Any] = {}
        self._theirs: dict[Task, Any] = {}
        self._idle = threading.Event()

    def _send(self, task: Task, value: Any) -> None:
        call = _Call(self._portable, task.key, value)
        if self._distributed:  # it would not compute the same call twice
            theirs = self._executor.submit(call.portable(), pure=False)
        else:
            theirs = self._executor.submit(call.portable() if self._elsewhere else call)
        if callable(getattr(theirs, 'add_done_callback', None)):
            self._theirs[task] = theirs
            # not with the future itself, which would hold itself by its callbacks
            theirs.add_done_callback(partial(self._pass_on, task))
        else:
            self._plain[task] = theirs
            if self._done is not None:  # the order of submission will do, there being no other
                self._done.put(task)

    def _pass_on(self, task: Task, _: object) -> None:
        self._settle(task, *_outcome(self._theirs.pop(task)))
        if not self._theirs:
            self._idle.set()

    def _await(self, task: Task) -> None:
        if (theirs := self._plain.pop(task, None)) is not None:
            task.value, task.error, task.fatal = _outcome(theirs)
            task.settled = True
        super()._await(task)

    def _received(self, value: Any) -> Any:
        return unpack(value) if isinstance(value, Packed) else value

    @property
    def threads(self) -> list[threading.Thread]:
        return list(self._portable.threads)

    def doing(self) -> str:
        keys = Batch(task.key for task in [*self._theirs, *self._plain])
        return f'  {describe(keys)} in {type(self._executor).__name__}\n' if keys else ''

    def stop(self) -> None:
        super().stop()
        for theirs in list(self._theirs.values()):
            if hasattr(theirs, 'cancel'):
                theirs.cancel()

    def close(self) -> None:
        self._idle.clear()
        self.stop()
        called_here = threading.current_thread() in self.threads  # by the garbage collector
        if self._theirs and not called_here and not self._idle.wait(GRACE):
            still_running('executor')


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


class _Portable:
    """The function, pickled at most once."""

    def __init__(self, function: ItemFunction):
        self.function = function
        self.threads: set[threading.Thread] = set()
        """Those of the executor's that are in the function now, where they are in this process."""
        self._data: bytes | None = None

    @property
    def data(self) -> bytes:
        if self._data is None:
            self._data = dumps_function(self.function)
        return self._data


class _Failed:
    """What the function raised, which is no error of the executor."""

    def __init__(self, error: Exception):
        self.error = error


class _Call:
    """A call of the function as an executor gets it: in this process called as it is, in any other unpickled first."""

    def __init__(self, function: _Portable, key: Key, value: Any):
        self.parts = function, key, value

    def __call__(self) -> Any:
        function, key, value = self.parts
        function.threads.add(thread := threading.current_thread())
        try:
            return function.function(key, value)
        except Exception as error:
            return _Failed(error)
        finally:
            function.threads.discard(thread)

    def portable(self) -> partial[Packed]:
        """What it is in any other process."""
        function, key, value = self.parts
        return partial(pack, loads_call, function.data, dumps_call(key, value))

    def __reduce__(self) -> Any:
        return self.portable().__reduce__()
