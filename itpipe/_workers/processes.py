"""A pool of processes, started without fork, that get the function once and live as long as the pool.

loky starts the processes. Its executor is not used, for three reasons. It cannot be closed while a process does not
take its input. It cannot be ended before the interpreter waits for it. It does not say which task a process died of.

- `dispatch` decides which calls go to which process. Calls are sent in groups, by the thread that submits an item or
  that has got answers. So no thread may have to wait until a process takes a message: a large message lies in shared
  memory, and the socket only carries where. If there is no room in shared memory, the message is sent when the process
  has no other work.
- `process` is one process as its parent sees it. It has a socket for calls and answers, and a pipe beside it on which a
  second thread of the process is asked for the stack of the first. If that pipe is closed, or this process is gone, the
  process ends: closing works however this process dies, and the process looks every second whether its parent lives,
  because a fork of the parent may hold the pipe open. It leads a process group of its own. So whatever the function has
  started ends with it, and Ctrl-C in a terminal does not reach it.
- `crashes` decides what becomes of the calls of a process that died.

A message to a process has two lists, offsets and calls. With each call goes the number of the pass, which decides what
random numbers the function draws. A message from the process has a list of answers. The offsets are those of spans in
the process's shared memory that are no longer used here, see `shared_memory`. The span of an item is kept until its
result is there: if the process dies, the next one gets the same item.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from math import inf
from time import perf_counter
from typing import Any

from itpipe._engine.functions import ItemFunction
from itpipe._engine.threads import Thread
from itpipe._engine.waiting import join

from .cores import count_workers
from .crashes import CrashPolicy
from .dispatch import MAX_GROUP, Dispatcher
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
    """Processes that call the function. For each there is a thread here, which waits for its answers."""

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
        self._threads: dict[WorkerProcess, threading.Thread] = {}
        atexit.register(self.close)  # after loky, and with it multiprocessing, did: their turn comes later then

    @property
    def max_pending(self) -> int:
        """By default one group for each worker, and as many calls again on their way."""
        return self.in_flight or 2 * self.size * self._width * self._dispatcher.group_size

    def _send(self, task: Task, value: Any) -> None:
        large = Large()
        data = dumps_call(task.key, value, large)
        with self._lock:
            self._dispatcher.max_group = MAX_GROUP if self.in_flight is None else self.in_flight // (2 * self.size)
            self._dispatcher.submit(Call(task, data, self._arena.lend(large), self.function.pass_))

    def _flush(self) -> None:
        with self._lock:
            self._dispatcher.flush()

    def _is_starving(self) -> bool:
        return not self._dispatcher.waiting

    def _received(self, value: Packed) -> Any:
        return result_of(value)

    # -----------------------------------------------------------------------------------------------------------------
    # A process, in its thread

    def _start_worker(self) -> WorkerProcess | None:
        workers = self._dispatcher.workers
        worker = WorkerProcess(f'itpipe-process-{len(workers)}', self._arena, self._max_tasks)
        thread = self._threads[worker] = Thread(self._attend, worker.name, worker)
        try:
            thread.start()
        except RuntimeError as error:  # there are too many threads
            del self._threads[worker]
            while self._dispatcher.waiting and not workers:
                self._settle(self._dispatcher.waiting.popleft().task, error=error, fatal=True)
            return None
        return worker

    def _attend(self, worker: WorkerProcess) -> None:
        """Start the process and take its answers until it ends; then decide about the calls that it has left."""
        if hasattr(signal, 'pthread_sigmask'):  # inherited: Ctrl-C waits until the process ignores it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        error: BaseException | None = None
        try:
            worker.start(self._launcher)
            while self._take_answers(worker):
                pass
        except (EOFError, OSError) as reason:
            error = reason if worker.process is None else None
        except Exception as reason:
            error = reason
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
            self._dispatcher.put_back([call for call in calls if not self._is_over(call)])
            self._dispatcher.hand_out()
        if given_up is not None:
            self._settle(given_up.call.task, error=given_up.error, fatal=given_up.fatal)
        if worker.teardown_failure is not None:
            self._failures.append(worker.teardown_failure)
        del self._threads[worker]

    def _take_answers(self, worker: WorkerProcess) -> bool:
        """Wait for the next answers and settle their tasks; whether there are more to come."""
        seconds, answers = worker.receive()
        with self._lock:
            if answers:
                self._dispatcher.record(len(answers), seconds)
            else:
                worker.is_set_up = True
                self._crashes.record_start()
            calls = worker.take_answered(len(answers))
            worker.send()
            self._dispatcher.hand_out()
            retired = worker.calls_left <= 0 and not worker.calls
        for call, answer in zip(calls, answers, strict=True):
            self._settle(call.task, answer)
        return not retired

    # -----------------------------------------------------------------------------------------------------------------
    # Between two passes

    def rest(self) -> None:
        super().rest()
        with self._lock:
            while self._dispatcher.waiting:
                self._is_over(self._dispatcher.waiting.popleft())
            self._dispatcher.closed = False

    def _is_over(self, call: Call) -> bool:
        """Whether nobody wants the call any more; then it gives up its memory."""
        if call.task.use.over:
            self._arena.release(call.buffers)
        return call.task.use.over

    # -----------------------------------------------------------------------------------------------------------------
    # Stalls and the end

    @property
    def threads(self) -> list[threading.Thread]:
        return list(self._threads.values())

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
            if threading.current_thread() not in self.threads:
                with self._lock:  # from now on, no process is started
                    pass
            workers = dict(self._threads)
            try:
                if self.function.resource is not None:
                    self._close_resources(workers)
            finally:
                for worker in workers:
                    worker.kill()
                try:
                    join(list(workers.values()))
                finally:
                    self._arena.close()
                    self._launcher.close()
        atexit.unregister(self.close)
        self._raise_failure()

    def _close_resources(self, workers: dict[WorkerProcess, threading.Thread]) -> None:
        for worker in workers:
            if worker.is_connected:
                worker.request_shutdown()
        deadline = perf_counter() + TEARDOWN
        for worker, thread in workers.items():
            if worker.is_connected and thread is not threading.current_thread():
                thread.join(max(0.0, deadline - perf_counter()))
