"""What every pool of workers offers: one function is called, in one pass over the source after another.

`submit` takes a key and an item and returns a task. `result` waits for the task; it returns what the function returned,
or raises what it raised. Only the run's thread calls these two. A worker settles a task once, in any thread. `stop`
breaks the waits, from any thread. `close` waits until the workers are gone. Between two passes, `rest` forgets the
tasks that were not taken, and `begin` gives the pool the function of the next pass.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from itpipe._core.keys import Key
from itpipe._core.nbytes import nbytes
from itpipe._core.notes import noted
from itpipe._core.sizes import Bytes
from itpipe._core.snapshots import snapshot
from itpipe._engine.functions import ItemFunction
from itpipe._engine.meters import Meter
from itpipe._engine.waiting import POLL_SECONDS, StallTimer, signal
from itpipe.errors import NotPicklable

from .inline import InlinePolicy
from .task import Task, Use

if TYPE_CHECKING:
    from .budget import MemoryBudget

__all__ = ['Pool']

TRIAL = 0.002
"""Seconds that the first call may take before others run beside it."""


ANY = Task(())
"""Stands for all tasks, where one of them is awaited."""
PATIENCE = 0.005
"""Seconds that the run waits for a result before it asks whether workers have nothing to do meanwhile."""
WIDEST = 32
"""By default, at most as many times more tasks are pending than keep the workers busy if all take equally long …"""
WIDEST_BYTES = 1 << 28
"""… and no more than results of so many bytes."""


class Pool:
    """What `parallel_map` needs of workers. Each kind of pool defines `_send`, `_is_starving`, `doing` and `close`.

    A worker calls `function(key, item)` and settles the task, also where that raises. If `function.resource` is not
    None, each worker opens it in its own thread before its first call, and closes it in the end.
    """

    unit = 'workers'
    """What its workers are."""
    copies = False
    """Whether the workers get copies of the items."""

    def __init__(self, size: int, function: ItemFunction, in_flight: int | None = None):
        self.meter = Meter()
        """What its workers do is counted there, see `attach`."""
        self._use = Use()
        self._memory: MemoryBudget | None = None
        self.in_flight = in_flight
        if isinstance(in_flight, Bytes):
            from .budget import MemoryBudget  # slow to import

            self._memory, self.in_flight = MemoryBudget(in_flight, self.copies), size
            self._use.settled = self._memory.settled
        self.size, self.function = size, function
        self._width, self._widest, self._is_hungry = 1, WIDEST, False
        self.inline = InlinePolicy(calibrated=True)
        self.where, self.stall_timer = '', StallTimer()
        self._pid = os.getpid()
        self._stopped = False
        self._awaited: Task | None = None
        self._wake = threading.Lock()
        self._wake.acquire()
        self._failures: list[BaseException] = []

    def serves(self, function: ItemFunction) -> bool:
        """Whether its workers do the same as new ones would for this function, which may have been edited."""
        return True

    def begin(self, function: ItemFunction) -> None:
        """Begin the next pass, with the function as it is in that."""
        self.function = function
        self._stopped = False  # not before: the end of the last pass may stop it when it is resting already

    def attach(self, meter: Meter) -> None:
        """Count there what the workers do from now on."""
        self.meter, meter.size, meter.unit = meter, self.size, self.unit
        meter.tasks = self._tasks_of_system
        self.function.count_retries(meter.retried)

    def _tasks_of_system(self) -> list[str]:
        """What Linux calls the workers, see `meters.seconds_on_cores`."""
        return []

    def rest(self) -> None:
        """Forget the tasks that were not taken; what workers are busy with comes to nothing. For the run's thread."""
        self._use.over = True
        self._use = Use()
        if self._memory is not None:
            self._memory = self._memory.emptied()
            self._use.settled = self._memory.settled

    @property
    def is_broken(self) -> bool:
        """Whether it cannot be used in another pass. For the run's thread."""
        return False

    @property
    def is_complete(self) -> bool:
        """Whether all workers that it has needed so far are there."""
        return True

    @property
    def max_pending(self) -> int:
        """How many tasks may be submitted and not taken yet: `in_flight`, or what keeps the workers busy."""
        return self.in_flight or 2 * self.size * self._width

    def can_submit(self, pending: int) -> bool:
        """Whether another task may be submitted, while this many are pending."""
        if self._memory is not None:
            self.in_flight = self._memory.max_pending(pending, self.size)
        return pending < self.max_pending

    def submit(self, key: Key, value: Any, keep: bool = False) -> Task:
        """Have the function called with the item. If `keep`, the task holds the item."""
        task = Task(key, self._use)
        if keep:
            task.item = value
        if self._memory is not None:
            self._memory.add(task, value)
        self._submit(task, value)
        return task

    def _submit(self, task: Task, value: Any) -> None:
        try:
            if not self._stopped:
                self._send(task, value)
        except Exception as error:  # to be raised in its turn
            self._settle(task, error=error, fatal=True)

    def _send(self, task: Task, value: Any) -> None:
        """Hand the item to a worker."""
        raise NotImplementedError

    def _settle(self, task: Task, value: Any = None, error: BaseException | None = None, fatal: bool = False) -> None:
        if not task.settled:
            if not task.use.over:  # else nobody takes it, and it would be kept as long as its worker is idle
                task.value, task.error, task.fatal = value, error, fatal
            task.settled = True
            if task.use.settled is not None:
                task.use.settled.append(task)
            if task.use.done is not None:
                task.use.done.append(task)
            if self._awaited is task or self._awaited is ANY or (self._is_hungry and self._is_starving()):
                self._signal()  # read after settling; `_wait` does it in reverse order

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

    def starves(self, task: Task) -> bool:
        """Wait for the task, but only while workers have others to do; whether they have none, and may have more."""
        if self.in_flight is not None or self._width >= self._widest:
            return False
        self._is_hungry = True
        try:
            if not task.settled:
                self._flush()
                self.stall_timer.start()
            patient_until = perf_counter() + PATIENCE
            while not task.settled and (perf_counter() < patient_until or not self._is_starving()):
                if self._stopped or os.getpid() != self._pid:
                    return False  # `result` raises the error, with a note
                left = patient_until - perf_counter()
                seconds = self.stall_timer.wait_time(POLL_SECONDS, self._stalled)
                self._wait(task, min(left, seconds) if left > 0 else seconds)
        finally:
            self._is_hungry = False
        return not task.settled

    def widen(self, results: Iterable[Any]) -> None:
        """Allow twice as many tasks, unless results as large as these would hold too much memory."""
        largest = max(map(nbytes, results), default=0)
        if 2 * self.max_pending * largest > WIDEST_BYTES:
            self._widest = self._width
        else:
            self._width *= 2
        if self.inline.active:
            self.inline.to_workers()

    def _is_starving(self) -> bool:
        """Whether a worker has nothing to do."""
        raise NotImplementedError

    def _wait(self, task: Task, seconds: float) -> None:
        """Wait until the task is settled, `ANY` if one is, or the pool stopped; for so long at most."""
        self._awaited = task
        if not (self._use.done if task is ANY else task.settled) and not self._stopped:
            self.meter.wait(self._sleep, seconds)  # it may wake up for an earlier signal
        self._awaited = None

    def _sleep(self, seconds: float) -> None:
        """Wait for a signal."""
        self._wake.acquire(timeout=seconds)

    def _signal(self) -> None:
        """End the wait for a signal, or the next one; from any thread."""
        signal(self._wake)

    def watch(self) -> None:
        """From now on, tasks are taken by `next_done`, in the order in which they are settled."""
        self._use.done = deque()

    @property
    def done(self) -> list[Task]:
        """The tasks that `next_done` would return."""
        return [] if self._use.done is None else snapshot(self._use.done)

    @property
    def any_done(self) -> bool:
        """Whether `next_done` would return at once."""
        return bool(self._use.done)

    def next_done(self) -> Task:
        """Wait for the task that is settled next."""
        assert self._use.done is not None
        if not self._use.done:
            self._flush()
            self.stall_timer.start()
        while not self._use.done:
            self._check()
            self._wait(ANY, self.stall_timer.wait_time(POLL_SECONDS, self._stalled))
        self._check()
        return self._use.done.popleft()

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
        failures, self._failures = self._failures, []
        if failures:
            raise failures[0]
