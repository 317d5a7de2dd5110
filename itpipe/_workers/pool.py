"""What every pool of workers offers: one function is called, for one run.

A pool takes `(key, value)` and gives a task; `result` makes of it what the function returned or raises what it raised.
The run's thread alone does these two. A task is settled, once, by whoever has done it, in any thread. `stop`, from any
thread, breaks the waits; `close` waits until the workers are gone.
"""

from __future__ import annotations

import os
import threading
from queue import Empty, SimpleQueue
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
"""Seconds that the first call may take before others are made beside it."""


class Pool:
    """What `parallel_map` needs of workers; `_send` is what tells one kind from another."""

    copies = False
    """Whether the workers get copies of the items."""

    def __init__(self, size: int, function: ItemFunction, in_flight: int | None = None):
        self._memory: MemoryBudget | None = None
        self.in_flight = in_flight
        if isinstance(in_flight, Bytes):
            from .budget import MemoryBudget  # takes a while to import, with all that it knows of processes

            self._memory, self.in_flight = MemoryBudget(in_flight, self.copies), size
        self.size, self.function = size, function
        self.inline = InlinePolicy(calibrated=True)
        self.where, self.stall_timer = '', StallTimer()
        self._pid = os.getpid()
        self._stopped = False
        self._awaited: Task | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        self._done: SimpleQueue[Task | None] | None = None
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
        """Have the function called with the item, which the task holds until then if it is to be kept."""
        task = Task(key)
        if keep:
            task.item = value
        if self._memory is not None:
            self._memory.add(task, value)
        try:
            if not self._stopped:
                self._send(task, value)
        except Exception as error:  # it has to wait for its turn, too
            self._settle(task, error=error, fatal=True)
        return task

    def _send(self, task: Task, value: Any) -> None:
        """Hand the item to a worker; each kind of pool has its own way."""
        raise NotImplementedError

    def _settle(self, task: Task, value: Any = None, error: BaseException | None = None, fatal: bool = False) -> None:
        if not task.settled:
            task.value, task.error, task.fatal = value, error, fatal
            task.settled = True
            if self._memory is not None:
                self._memory.settled.append(task)
            if self._done is not None:
                self._done.put(task)
            if self._awaited is task:  # looked at after settling; who waits looks after asking
                signal(self._wake)

    def try_out(self, task: Task) -> None:
        """Wait a moment for the first call, which has no other beside it, to see how long one takes."""
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
            self._wait(task, self.stall_timer.wait_time(POLL_SECONDS, self.doing))
        self._check()  # when it was, tasks are cancelled, and workers die

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
        self.stall_timer.start()
        while True:
            self._check()
            try:
                task = self._done.get(timeout=self.stall_timer.wait_time(POLL_SECONDS, self.doing))
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

    @property
    def threads(self) -> list[threading.Thread]:
        """Those that call the function now, or wait for processes that do."""
        return []

    def doing(self) -> str:
        """Who works on which item, and where in it, for the warning of a stall; each kind of pool has its own way."""
        raise NotImplementedError

    def stop(self) -> None:
        """Break all waits, and begin with no other task; from any thread."""
        self._stopped = True
        self.function.stop()
        signal(self._wake)
        if self._done is not None:
            self._done.put(None)

    def close(self) -> None:
        """Stop, and wait until nothing of this pool is left; each kind of pool has its own way.

        Raises what was raised when the workers closed what they had set up. Again: does nothing.
        """
        raise NotImplementedError

    def _raise_failure(self) -> None:
        if self._failures:
            failure, self._failures = self._failures[0], []
            raise failure
