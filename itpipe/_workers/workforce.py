"""The processes of a pool, from their start to their end: they are started when there is work, served, and replaced.

To start or end a process takes long, so that is done in a thread of its own each time. All else is done by whoever
submits an item or has got answers, with the lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection
from math import inf
from time import perf_counter
from typing import Protocol

from itpipe._engine.meters import Meter
from itpipe._engine.threads import Helpers

from .crashes import CrashPolicy, Overdue
from .dispatch import Dispatcher
from .hub import new_hub
from .lanes import Lanes
from .launching import Launcher
from .process import WorkerProcess
from .shared_memory import Arena
from .task import Call, Packed, Task

__all__ = ['Settle', 'Workforce']

CHECKS = 8
"""How many times within a timeout the hub looks whether an item takes longer."""


class Settle(Protocol):
    """Takes the outcome of a task; see `Pool._settle`."""

    def __call__(
        self, task: Task, value: Packed | None = None, error: BaseException | None = None, fatal: bool = False
    ) -> None: ...


class Workforce:
    """At most `size` processes, and the calls that wait for one.

    With `close_resources`, they get a moment to close what they have set up.
    """

    def __init__(
        self,
        size: int,
        launcher: Launcher,
        arena: Arena,
        crashes: CrashPolicy,
        max_tasks: int | None,
        close_resources: bool,
        settle: Settle,
        lanes: bool = False,
    ):
        self._launcher, self._arena, self._crashes = launcher, arena, crashes
        self._max_tasks, self._close_resources, self._settle = max_tasks or inf, close_resources, settle
        self.meter = Meter()
        """What the processes do is counted there."""
        self.lock = threading.Lock()
        """Held for the dispatcher, the arena, and what is sent to processes."""
        self.query_lock = threading.Lock()
        """Held while the pipes are in use on which processes are asked for their stacks."""
        start: Callable[[], WorkerProcess | None] = self._start_worker
        self.dispatcher = Lanes(size, start) if lanes else Dispatcher(size, start)
        self._limit = None if crashes.timeout is None else crashes.timeout.seconds
        self._next_check = 0.0
        self.hub = new_hub(self.serve, 'itpipe-processes', None if self._limit is None else self._limit / CHECKS)
        self.helpers = Helpers()
        """They start and end processes."""
        self.closing = False
        """Whether no process will be started any more."""
        self.failures: list[BaseException] = []
        """The errors of processes that could not close what they had set up."""
        self._connected: dict[int, WorkerProcess] = {}
        """The processes whose answers are read, by the numbers of their sockets."""
        self._ended: deque[tuple[WorkerProcess, BaseException | None]] = deque()
        """Those that answer no more, and why."""

    def serve(self, numbers: Collection[int]) -> bool:
        """Settle the calls that these sockets have answers to; whether any process is left, or will be started."""
        settled: list[tuple[Task, Packed]] = []
        with self.lock:
            for number in numbers:
                if (worker := self._connected.get(number)) is None:
                    continue
                error: BaseException | None = None
                try:
                    self._take_answers(worker, settled)
                except OSError:
                    worker.ended = True
                except Exception as reason:
                    error, worker.ended = reason, True
                if worker.ended:
                    self._ended.append((worker, error))
                    self.hub.remove(number)
                    del self._connected[number]
                    self.dispatcher.withdraw(worker)
            self.dispatcher.hand_out()
            goes_on = bool(self.dispatcher.workers) or not self.closing
        for task, answer in settled:
            self._settle(task, answer)
        if threading.current_thread() is self.hub.thread:
            if self._limit is not None and perf_counter() > self._next_check:
                self.end_overdue(self._limit, 'timeout')
                self._next_check = perf_counter() + self._limit / CHECKS
            self._end_workers()
        elif self._ended:  # not here, as Ctrl-C may break it off at any time
            self.hub.notify()
        return goes_on

    def _take_answers(self, worker: WorkerProcess, settled: list[tuple[Task, Packed]]) -> None:
        for seconds, answers in worker.receive():
            if not answers:
                worker.is_set_up = True
                self._crashes.record_start()
            else:
                calls = worker.take_answered(len(answers))
                settled.extend((call.task, answer) for call, answer in zip(calls, answers, strict=True))
                self.dispatcher.answered(worker, len(answers), seconds)
                self.meter.worked(worker.number, seconds, len(answers), calls[0].task.key)
            worker.send()
        if worker.calls_left <= 0 and not worker.calls:
            worker.ended = True

    def end_overdue(self, seconds: float, why: Overdue) -> None:
        """Kill the processes that have been at an item for longer than this."""
        with self.lock:
            limit = perf_counter() - seconds
            for worker in self._connected.values():
                if worker.busy_since < limit and worker.overdue is None and not worker.has_answers():
                    worker.overdue = why
                    worker.kill()

    def is_over(self, call: Call) -> bool:
        """Whether nobody wants the call any more; then it gives up its memory."""
        if call.task.use.over:
            self._arena.release(call.buffers)
        return call.task.use.over

    # -----------------------------------------------------------------------------------------------------------------
    # The beginning and the end of a process, in a thread of its own

    def _start_worker(self) -> WorkerProcess | None:
        workers = self.dispatcher.workers
        number = min({*range(len(workers) + 1)} - {worker.number for worker in workers})
        worker = WorkerProcess(number, self._arena, self._max_tasks)
        try:
            self.hub.start()
            self.helpers.start(worker.name, self._start, worker)
        except RuntimeError as error:  # there are too many threads
            for call in self.dispatcher.take_stranded():
                self._settle(call.task, error=error, fatal=True)
            return None
        return worker

    def _start(self, worker: WorkerProcess) -> None:
        try:
            worker.start(self._launcher)
            with self.lock:
                self.hub.add(worker.fileno())
                self._connected[worker.fileno()] = worker
        except OSError as reason:
            self._end(worker, reason if worker.process is None else None)
        except Exception as reason:
            self._end(worker, reason)

    def _end_workers(self) -> None:
        while self._ended:
            worker, error = self._ended.popleft()
            if worker.is_ending:
                continue
            worker.is_ending = True
            try:
                self.helpers.start(worker.name, self._end, worker, error)
            except RuntimeError:  # there are too many threads
                self._end(worker, error)

    def _end(self, worker: WorkerProcess, error: BaseException | None) -> None:
        """End a process that does not answer any more, and decide about the calls that it has left."""
        if worker.is_connected and self._close_resources:
            worker.close_resource()
        error = worker.failure if error is None else error
        worker.kill()
        with self.query_lock, self.lock:  # no other thread is about to write to its pipes
            worker.disconnect()
        exitcode = worker.join()
        with self.lock:
            calls = worker.take_unanswered()
            given_up = self._crashes.judge(calls, worker.sent, worker.is_set_up, exitcode, error, worker.overdue)
            if given_up is not None:
                calls.remove(given_up.call)
                self._arena.release(given_up.call.buffers)
            self.dispatcher.remove(worker)
            self.meter.restarts += not self.closing
            self.dispatcher.put_back([call for call in calls if not self.is_over(call)])
            self.dispatcher.hand_out()
        if given_up is not None:
            self._settle(given_up.call.task, error=given_up.error, fatal=given_up.fatal)
        if worker.teardown_failure is not None:
            self.failures.append(worker.teardown_failure)
        self.hub.notify()
