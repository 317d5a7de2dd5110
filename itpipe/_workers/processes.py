"""A pool of processes, started without fork, that get the function once and live as long as the pool.

loky starts the processes. Its executor is not used, for three reasons. It cannot be closed while a process does not
take its input. It cannot be ended before the interpreter waits for it. It does not say which task a process died of.

`dispatch` decides which calls go to which process, `hub` waits for the answers, `process` is one process as its parent
sees it, `crashes` decides what becomes of the calls of one that died, and `workforce` has them all together. Calls are
sent in groups, by whichever thread submits an item or has got answers. So no thread may have to wait until a process
takes a message: a large message lies in shared memory, and the socket only carries where. If there is no room there, it
is sent when the process has no other work.

A message to a process has two lists, offsets and calls. With each call goes the number of the pass, which decides what
random numbers the function draws. A message from the process has a list of answers. The offsets are those of spans in
the process's shared memory that are no longer used here, see `shared_memory`. The span of an item is kept until its
result is there: if the process dies, the next one gets the same item.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Any

from itpipe._engine.functions import ItemFunction
from itpipe._engine.meters import Meter
from itpipe._engine.waiting import GRACE, join

from .cores import count_workers
from .crashes import CrashPolicy, Timeout
from .launching import Launcher
from .pickling import dumps_call, result_of
from .pool import Pool
from .process import TEARDOWN
from .shared_memory import Arena, Large
from .stall_query import StallQuery
from .starting import open_standard_streams
from .task import Call, Packed, Task
from .workforce import Workforce

__all__ = ['Processes']


class Processes(Pool):
    """Processes that call the function. With `lanes`, each task says which of them it is for, see `lanes`."""

    copies = True
    unit = 'processes'

    def __init__(
        self,
        count: int,
        function: ItemFunction,
        in_flight: int | None = None,
        max_crashes: int = 2,
        max_tasks: int | None = None,
        timeout: Timeout | None = None,
        restart_after: float | None = None,
        lanes: bool = False,
    ):
        super().__init__(count_workers(count), function, in_flight)
        open_standard_streams()  # before anything is opened that could be taken for one of them
        self._launcher = Launcher(function, self.size)
        self._arena = Arena(self._launcher.items)
        self._workforce = Workforce(
            self.size,
            self._launcher,
            self._arena,
            CrashPolicy(max_crashes, timeout),
            max_tasks,
            function.resource is not None,
            self._settle,
            lanes,
        )
        self._dispatcher, self._lock = self._workforce.dispatcher, self._workforce.lock
        self._stall_query = StallQuery(self._lock, self._workforce.query_lock)
        self._restart_after = restart_after
        self._acts = False
        """Whether the thread of the run hands out calls, or takes answers. It stays so if Ctrl-C breaks that off."""
        atexit.register(self.close)  # after loky, and with it multiprocessing, did: their turn comes later then

    @property
    def max_pending(self) -> int:
        """By default one group for each worker, and as many calls again on their way."""
        return self.in_flight or 2 * self.size * self._width * self._dispatcher.group_size

    def _send(self, task: Task, value: Any) -> None:
        large = Large()
        data = dumps_call(task.key, value, large)
        with self._lock:
            if self.in_flight is not None:
                self._dispatcher.limit_groups(self.in_flight // (2 * self.size))
            call = Call(task, data, self._arena.lend(large), self.function.pass_)
            self._act(self._dispatcher.submit, call)

    def _flush(self) -> None:
        with self._lock:
            self._act(self._dispatcher.flush)

    def _act(self, call: Callable[..., object], *args: Any) -> None:
        """Do it in the thread of the run."""
        self._acts = True
        try:
            call(*args)
        except Exception:
            self._acts = False
            raise
        self._acts = False

    @property
    def is_broken(self) -> bool:
        return self._acts or self._workforce.closing  # when the interpreter exits, perhaps before its run is closed

    @property
    def is_complete(self) -> bool:
        return all(worker.is_set_up for worker in self._dispatcher.workers)

    def _is_starving(self) -> bool:
        return self._dispatcher.is_starving and self.is_complete

    def _received(self, value: Packed) -> Any:
        return result_of(value)

    def _sleep(self, seconds: float) -> None:
        numbers = self._workforce.hub.wait(seconds)
        if numbers:
            self._act(self._workforce.serve, numbers)

    def _signal(self) -> None:
        if not self._acts:  # else it looks what was settled before it waits
            self._workforce.hub.wake()

    # -----------------------------------------------------------------------------------------------------------------
    # Between two passes

    def _tasks_of_system(self) -> list[str]:
        processes = [worker.process for worker in list(self._dispatcher.workers)]
        return [str(process.pid) for process in processes if process is not None]

    def attach(self, meter: Meter) -> None:
        super().attach(meter)
        self._workforce.meter = meter

    def serves(self, function: ItemFunction) -> bool:
        return self._launcher.has_sent(function)

    def begin(self, function: ItemFunction) -> None:
        super().begin(function)
        self._dispatcher.closed = False

    def rest(self) -> None:
        super().rest()
        with self._lock:
            for call in self._dispatcher.take_waiting():
                self._workforce.is_over(call)

    # -----------------------------------------------------------------------------------------------------------------
    # Stalls and the end

    @property
    def threads(self) -> list[threading.Thread]:
        return [*self._workforce.helpers.threads, self._workforce.hub.thread]

    def doing(self) -> str:
        return self._stall_query.report(self._dispatcher.workers)

    def _stalled(self) -> str:
        text = self.doing()
        if self._restart_after is not None:
            self._workforce.end_overdue(self._restart_after, 'stall')
            self.stall_timer.start()  # the next process may stall, too
        return text

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
            self._workforce.closing = True
            outside = threading.current_thread() not in self.threads
            if outside:
                with self._lock:  # from now on, no process is started
                    pass
            workers, hub = list(self._dispatcher.workers), self._workforce.hub
            hub.notify()  # its thread ends when the last process is gone
            try:
                if self.function.resource is not None:
                    for worker in workers:
                        worker.request_shutdown()
                    if outside:
                        hub.join(TEARDOWN)
            finally:
                for worker in workers:
                    worker.kill()
                try:
                    if outside:
                        hub.join(GRACE)
                        join(self.threads)
                finally:
                    hub.close()
                    self._arena.close()
                    self._launcher.close()
        atexit.unregister(self.close)
        self._failures += self._workforce.failures
        self._workforce.failures.clear()
        self._raise_failure()
