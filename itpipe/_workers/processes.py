"""A pool of processes, started without fork, that get the function once and live as long as the run.

loky starts the processes. Its executor is not used, for three reasons. It cannot be closed while a process does not
take its input. It cannot be ended before the interpreter waits for it. It does not say which task a process died of.

`dispatch` decides which calls go to which process, `hub` waits for the answers, `process` is one process as its parent
sees it, `crashes` decides what becomes of the calls of one that died. To start or end a process takes long, so another
thread does that. Calls are sent in groups, by whichever thread submits an item or has got answers. So no thread may
have to wait until a process takes a message: a large message lies in shared memory, and the socket only carries where.
If there is no room there, it is sent when the process has no other work.

A message to a process has two lists, offsets and calls. A message from it has a list of answers. The offsets are those
of spans in the process's shared memory that are no longer used here, see `shared_memory`. The span of an item is kept
until its result is there: if the process dies, the next one gets the same item.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Collection
from math import inf
from typing import Any

from itpipe._engine.functions import ItemFunction
from itpipe._engine.threads import Helpers
from itpipe._engine.waiting import GRACE, join

from .cores import count_workers
from .crashes import CrashPolicy
from .dispatch import Dispatcher
from .hub import new_hub
from .launching import Launcher
from .pickling import dumps_call, result_of
from .pool import Pool
from .process import TEARDOWN, WorkerProcess
from .shared_memory import Arena, Large
from .stall_query import StallQuery
from .starting import open_standard_streams
from .task import Call, Packed, Task

__all__ = ['Processes']


class Processes(Pool):
    """Processes that call the function."""

    copies = True

    def __init__(
        self,
        count: int,
        function: ItemFunction,
        in_flight: int | None = None,
        max_crashes: int = 2,
        max_tasks: int | None = None,
    ):
        super().__init__(count_workers(count), function, in_flight)
        open_standard_streams()  # before anything is opened that could be taken for one of them
        self._max_tasks = max_tasks or inf
        self._launcher = Launcher(function, self.size)
        self._arena = Arena(self._launcher.items)
        self._lock = threading.Lock()
        """Held for the dispatcher, the arena, and what is sent to processes."""
        self._dispatcher = Dispatcher(self.size, self._start_worker)
        self._crashes = CrashPolicy(max_crashes)
        self._stall_query = StallQuery(self._lock)
        self._hub = new_hub(self._serve, 'itpipe-processes')
        self._connected: dict[int, WorkerProcess] = {}
        """The processes whose answers are read, by the numbers of their sockets."""
        self._ended: deque[tuple[WorkerProcess, BaseException | None]] = deque()
        """Those that answer no more, and why."""
        self._helpers = Helpers()
        """They start and end processes, which takes long."""
        atexit.register(self.close)  # after loky, and with it multiprocessing, did: their turn comes later then

    @property
    def max_pending(self) -> int:
        """By default one group for each worker, and as many calls again on their way."""
        return self.in_flight or 2 * self.size * self._dispatcher.group_size

    def _send(self, task: Task, value: Any) -> None:
        large = Large()
        data = dumps_call(task.key, value, large)
        with self._lock:
            if self.in_flight is not None:
                self._dispatcher.limit_groups(self.in_flight // (2 * self.size))
            self._dispatcher.submit(Call(task, data, self._arena.lend(large)))

    def _flush(self) -> None:
        with self._lock:
            self._dispatcher.flush()

    def _received(self, value: Packed) -> Any:
        return result_of(value)

    # -----------------------------------------------------------------------------------------------------------------
    # Answers

    def _sleep(self, seconds: float) -> None:
        numbers = self._hub.wait(seconds)
        if numbers:
            self._awaited = None  # what is settled here needs no signal
            self._serve(numbers)

    def _signal(self) -> None:
        self._hub.wake()

    def _serve(self, numbers: Collection[int]) -> bool:
        """Settle the calls that these sockets have answers to; whether any process is left, or will be started."""
        settled: list[tuple[Task, Packed]] = []
        with self._lock:
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
                    self._hub.remove(number)
                    del self._connected[number]
                    self._dispatcher.withdraw(worker)
            self._dispatcher.hand_out()
            goes_on = bool(self._dispatcher.workers) or not self._dispatcher.closed
        for task, answer in settled:
            self._settle(task, answer)
        if self._ended:
            if threading.current_thread() is self._hub.thread:
                self._end_workers()
            else:  # where Ctrl-C may break this off at any time
                self._hub.notify()
        return goes_on

    def _take_answers(self, worker: WorkerProcess, settled: list[tuple[Task, Packed]]) -> None:
        for seconds, answers in worker.receive():
            if not answers:
                worker.is_set_up = True
                self._crashes.record_start()
            else:
                for call, answer in zip(worker.take_answered(len(answers)), answers, strict=True):
                    settled.append((call.task, answer))
                self._dispatcher.answered(worker, len(answers), seconds)
            worker.send()
        if worker.calls_left <= 0 and not worker.calls:
            worker.ended = True

    # -----------------------------------------------------------------------------------------------------------------
    # The beginning and the end of a process, in a thread of its own

    def _start_worker(self) -> WorkerProcess | None:
        workers = self._dispatcher.workers
        worker = WorkerProcess(f'itpipe-process-{len(workers)}', self._arena, self._max_tasks)
        try:
            self._hub.start()
            self._helpers.start(worker.name, self._start, worker)
        except RuntimeError as error:  # there are too many threads
            while self._dispatcher.waiting and not workers:
                self._settle(self._dispatcher.waiting.popleft().task, error=error, fatal=True)
            return None
        return worker

    def _start(self, worker: WorkerProcess) -> None:
        try:
            worker.start(self._launcher)
            with self._lock:
                self._hub.add(worker.fileno())
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
                self._helpers.start(worker.name, self._end, worker, error)
            except RuntimeError:  # there are too many threads
                self._end(worker, error)

    def _end(self, worker: WorkerProcess, error: BaseException | None) -> None:
        """End a process that does not answer any more, and decide about the calls that it has left."""
        if worker.is_connected and self.function.resource is not None:
            worker.close_resource()
        error = worker.failure if error is None else error
        worker.kill()
        with self._stall_query.lock, self._lock:  # no other thread is about to write to its pipes
            worker.disconnect()
        exitcode = worker.join()
        with self._lock:
            calls = worker.take_unanswered()
            given_up = self._crashes.judge(calls, worker.sent, worker.is_set_up, exitcode, error)
            if given_up is not None:
                calls.remove(given_up.call)
                self._arena.release(given_up.call.buffers)
            self._dispatcher.workers.remove(worker)
            self._dispatcher.put_back(calls)
            self._dispatcher.hand_out()
        if given_up is not None:
            self._settle(given_up.call.task, error=given_up.error, fatal=given_up.fatal)
        if worker.teardown_failure is not None:
            self._failures.append(worker.teardown_failure)
        self._hub.notify()

    # -----------------------------------------------------------------------------------------------------------------
    # Stalls and the end

    @property
    def threads(self) -> list[threading.Thread]:
        return [*self._helpers.threads, self._hub.thread]

    def doing(self) -> str:
        return self._stall_query.report(self._dispatcher.workers)

    def stop(self) -> None:
        self._dispatcher.closed = True
        super().stop()
        if self._lock.acquire(timeout=TEARDOWN):
            self._lock.release()
        else:  # its holder waits for a process that takes no message
            for worker in list(self._dispatcher.workers):
                worker.kill()

    def close(self) -> None:
        if os.getpid() == self._pid:
            self.stop()
            outside = threading.current_thread() not in self.threads
            if outside:
                with self._lock:  # from now on, no process is started
                    pass
            workers = list(self._dispatcher.workers)
            self._hub.notify()  # its thread ends when the last process is gone
            try:
                if self.function.resource is not None:
                    for worker in workers:
                        worker.request_shutdown()
                    if outside:
                        self._hub.join(TEARDOWN)
            finally:
                for worker in workers:
                    worker.kill()
                try:
                    if outside:
                        self._hub.join(GRACE)
                        join(self.threads)
                finally:
                    self._hub.close()
                    self._arena.close()
                    self._launcher.close()
        atexit.unregister(self.close)
        self._raise_failure()
