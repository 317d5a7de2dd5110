"""What every pool of workers offers: one function is called, for one run.

`submit` takes a key and an item and returns a task. `result` waits for the task; it returns what the function returned,
or raises what it raised. Only the run's thread calls these two. A worker settles a task once, in any thread. `stop`
breaks the waits, from any thread. `close` waits until the workers are gone.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from itpipe._core.keys import Key
from itpipe._core.notes import noted
from itpipe._core.sizes import Bytes
from itpipe._engine.functions import ItemFunction
from itpipe._engine.waiting import POLL_SECONDS, StallTimer, signal
from itpipe.errors import NotPicklable

from .inline import InlinePolicy
from .task import Task

if TYPE_CHECKING:
    from .budget import MemoryBudget

__all__ = ['Pool']

TRIAL = 0.002
"""Seconds that the first call may take before others run beside it."""


ANY = Task(())
"""Stands for all tasks, where one of them is awaited."""


class Pool:
    """What `parallel_map` needs of workers. The kinds of pools differ in `_send`, `doing` and `close`.

    A worker calls `function(key, item)` and settles the task, also where that raises. If `function.resource` is not
    None, each worker opens it in its own thread before its first call, and closes it in the end.
    """

    copies = False
    """Whether the workers get copies of the items."""

    def __init__(self, size: int, function: ItemFunction, in_flight: int | None = None):
        self._memory: MemoryBudget | None = None
        self.in_flight = in_flight
        if isinstance(in_flight, Bytes):
            from .budget import MemoryBudget  # slow to import

            self._memory, self.in_flight = MemoryBudget(in_flight, self.copies), size
        self.size, self.function = size, function
        self.inline = InlinePolicy(calibrated=True)
        self.where, self.stall_timer = '', StallTimer()
        self._pid = os.getpid()
        self._stopped = False
        self._awaited: Task | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        self._done: deque[Task] | None = None
        self._failures: list[BaseException] = []

    @property
    def max_pending(self) -> int:
        """How many tasks may be submitted and not taken yet: `in_flight`, or what keeps the workers busy."""
        return self.in_flight or 2 * self.size

    def can_submit(self, pending: int) -> bool:
        """Whether another task may be submitted, while this many are pending."""
        if self._memory is not None:
            self.in_flight = self._memory.max_pending(pending, self.size)
        return pending < self.max_pending

    def submit(self, key: Key, value: Any, keep: bool = False) -> Task:
        """Have the function called with the item. If `keep`, the task holds the item."""
        task = Task(key)
        if keep:
            task.item = value
        if self._memory is not None:
            self._memory.add(task, value)
        try:
            if not self._stopped:
                self._send(task, value)
        except Exception as error:  # to be raised in its turn
            self._settle(task, error=error, fatal=True)
        return task

    def _send(self, task: Task, value: Any) -> None:
        """Hand the item to a worker."""
        raise NotImplementedError

    def _settle(self, task: Task, value: Any = None, error: BaseException | None = None, fatal: bool = False) -> None:
        if not task.settled:
            task.value, task.error, task.fatal = value, error, fatal
            task.settled = True
            if self._memory is not None:
                self._memory.settled.append(task)
            if self._done is not None:
                self._done.append(task)
            if self._awaited is task or self._awaited is ANY:  # read after settling; `_wait` does it in reverse order
                self._signal()

    def try_out(self, task: Task) -> None:
        """Wait a moment for the first call, which runs alone, to see how long a call takes."""
        self._wait(task, TRIAL)
        self.inline.calibrated = True

    def result(self, task: Task) -> Any:
        """Wait for the call; returns what the function returned, or raises what it raised.

        If the error is the item's, `task.item_failed` is set. Else the pool failed, or was stopped.
        """
        self._await(task)
        if self._memory is not None:
            self._memory.remove(task)
        value, error, task.value, task.error = task.value, task.error, None, None
        try:
            if error is not None:
                raise error
            return self._received(value)
        except Exception as raised:
            not_sent = isinstance(raised, NotPicklable) and not noted(raised)  # by the pool, not by the function
            task.item_failed = not (task.fatal or self._stopped or not_sent)
            raise
        finally:
            del error  # its traceback holds this frame

    def _received(self, value: Any) -> Any:
        """What the function returned, made of what the worker sent; raises what the function raised."""
        return value

    def _await(self, task: Task) -> None:
        """Wait until the task is settled; raises an error if it never will be."""
        if not task.settled:
            self._flush()
            self.stall_timer.start()
        while not task.settled:
            self._check()
            self._wait(task, self.stall_timer.wait_time(POLL_SECONDS, self._stalled))
        self._check()  # stopping cancels tasks and kills workers, so what the task came to may be wrong

    def _wait(self, task: Task, seconds: float) -> None:
        """Wait until the task is settled, `ANY` if one is, or the pool stopped; for so long at most."""
        self._awaited = task
        if not (self._done if task is ANY else task.settled) and not self._stopped:
            self._sleep(seconds)  # it may wake up for an earlier signal
        self._awaited = None

    def _sleep(self, seconds: float) -> None:
        """Wait for a signal."""
        self._wake.acquire(timeout=seconds)

    def _signal(self) -> None:
        """End the wait for a signal, or the next one; from any thread."""
        signal(self._wake)

    def watch(self) -> None:
        """From now on, tasks are taken by `next_done`, in the order in which they are settled."""
        self._done = deque()

    @property
    def any_done(self) -> bool:
        """Whether `next_done` would return at once."""
        return bool(self._done)

    def next_done(self) -> Task:
        """Wait for the task that is settled next."""
        assert self._done is not None
        if not self._done:
            self._flush()
            self.stall_timer.start()
        while not self._done:
            self._check()
            self._wait(ANY, self.stall_timer.wait_time(POLL_SECONDS, self._stalled))
        self._check()
        return self._done.popleft()

    def _flush(self) -> None:
        """Send the tasks that are held back to be sent with others: the caller is about to wait."""

    def _check(self) -> None:
        if self._stopped:
            raise RuntimeError('the run was closed while a result was awaited')
        if os.getpid() != self._pid:
            raise RuntimeError(
                'the workers belong to the process that this one was forked from: start a run of its own'
            )

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads of the workers, or those that wait for processes."""
        return []

    def doing(self) -> str:
        """For the warning of a stall: which worker is at which item, and where in the user's functions."""
        raise NotImplementedError

    def _stalled(self) -> str:
        """What it is doing, now that a result is waited for too long."""
        return self.doing()

    def stop(self) -> None:
        """Break all waits, and start no other task; from any thread."""
        self._stopped = True
        self.function.stop()
        self._signal()

    def close(self) -> None:
        """Stop, and wait until nothing of this pool is left. A second call does nothing.

        Raises the error of a worker that could not close what it had set up.
        """
        raise NotImplementedError

    def _raise_failure(self) -> None:
        if self._failures:
            failure, self._failures = self._failures[0], []
            raise failure
