"""A pool of processes, started without fork, that get the function once and live as long as the run.

loky starts the processes. Its executor is not used: it cannot be closed while a process does not take its input, cannot
be ended before the interpreter waits for it, and does not say which task a process died of.

Each process has a socket to this one, and a thread here that waits for its answers. Whoever finds a process with too
little to do, the one who brings a task or the thread that got an answer, hands out what is waiting. A process is told
to end by closing its socket, which also happens when this process dies, however it does. It is the leader of a process
group, so that what the function has started ends with it, and Ctrl-C in a terminal does not reach it.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from time import perf_counter
from typing import Any, NamedTuple

from .background import join
from .binding import ItemFunction
from .errors import WorkerDied
from .keys import Key, describe
from .portable import dumps_call, dumps_function, loads_call, pack
from .workers import Pool, count_workers, settle, usable_cores

__all__ = ['Processes']

NATIVE_THREADS = (
    'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'BLIS_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS',
    'NUMEXPR_NUM_THREADS', 'NUMBA_NUM_THREADS',
)  # fmt: skip
"""What native thread pools read their size from."""
CHEAP = 0.005
"""Seconds; where a task takes less, a process gets the next one before it has answered, so as not to wait for it."""


class _Task(NamedTuple):
    future: Future[Any]
    key: Key
    data: bytes


class _Worker:
    """A process with the tasks that it has not answered yet; it is sent none before it is `ready`."""

    def __init__(self) -> None:
        self.tasks: deque[_Task] = deque()
        self.since = 0.0
        self.process: Any = None
        self.socket: Any = None
        self.ready = False
        self.thread: threading.Thread

    def give(self, task: _Task) -> None:
        if not self.tasks:
            self.since = perf_counter()
        self.tasks.append(task)
        if self.ready:
            self.send(task)

    def send(self, task: _Task) -> None:
        with suppress(OSError):  # it has died, as its thread is about to notice
            self.socket.send_bytes(task.data)

    def kill(self) -> None:
        if self.process is None:
            return
        if not hasattr(os, 'killpg'):
            self.process.terminate()
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except OSError:  # it does not lead its group yet, or has ended
            with suppress(OSError):
                os.kill(self.process.pid, signal.SIGKILL)


class Processes(Pool):
    """Processes that call the function."""

    def __init__(self, count: int, function: ItemFunction):
        # not by `get_context('loky')`, which joblib's own copy of loky may have taken over
        from loky.backend.context import LokyContext

        super().__init__()
        self.size = count_workers(count)
        self._context = LokyContext()
        self._function = dumps_function(function)
        self._workers: list[_Worker] = []
        self._waiting: deque[_Task] = deque()
        self._lock = threading.Lock()
        self._cost = 1.0
        self._pid = os.getpid()
        atexit.register(self.close)  # after loky, and with it multiprocessing, did: their turn comes later then

    def _send(self, future: Future[Any], key: Key, value: Any) -> None:
        task = _Task(future, key, dumps_call(key, value))
        with self._lock:
            self._waiting.append(task)
            self._hand_out()

    def _hand_out(self) -> None:
        # with the lock
        most = 2 if self._cost < CHEAP else 1
        while self._waiting and not self._stopped:
            if len(self._workers) < self.size and all(worker.tasks for worker in self._workers):
                self._start()
            worker = min(self._workers, key=lambda worker: len(worker.tasks))
            if len(worker.tasks) >= most:
                return
            task = self._waiting.popleft()
            # one that comes back from a worker that died is running already
            if task.future.running() or (not task.future.done() and task.future.set_running_or_notify_cancel()):
                worker.give(task)

    def _start(self) -> None:
        worker = _Worker()
        name = f'itpipe-process-{len(self._workers)}'
        worker.thread = threading.Thread(target=self._attend, args=(worker,), name=name, daemon=True)
        self._workers.append(worker)
        try:
            worker.thread.start()
        except RuntimeError:  # there are too many threads
            self._workers.remove(worker)
            raise

    def _attend(self, worker: _Worker) -> None:
        """Start the process and take its answers, until it ends or is killed."""
        error: Exception | None = None
        try:
            self._begin(worker)
            while True:
                self._take(worker)
        except (EOFError, OSError) as reason:
            error = reason if worker.process is None else None
        except Exception as reason:
            error = reason
        worker.kill()
        if worker.socket is not None:
            worker.socket.close()
        if worker.process is not None:
            worker.process.join()
        with self._lock:
            self._workers.remove(worker)
            lost = worker.tasks.popleft() if worker.tasks else None
            self._waiting.extendleft(reversed(worker.tasks))
            try:
                self._hand_out()
            except RuntimeError as reason:  # no other can be started, see `_start`
                for task in self._waiting:
                    settle(task.future, error=reason)
        if lost is not None:
            settle(lost.future, error=error or _death(worker, lost))

    def _begin(self, worker: _Worker) -> None:
        if hasattr(signal, 'pthread_sigmask'):  # inherited: Ctrl-C waits until the process has said not to want it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        worker.socket, theirs = self._context.Pipe()
        share = str(max(1, usable_cores() // self.size))
        environment = {name: share for name in NATIVE_THREADS if name not in os.environ}
        process = self._context.Process(target=_work, args=(theirs,), name=worker.thread.name, env=environment)
        process.start()
        worker.process = process
        theirs.close()
        if self._stopped:  # `close` may not have seen the process
            worker.kill()
        worker.socket.send_bytes(self._function)
        with self._lock:
            worker.ready = True
            worker.since = perf_counter()
            for task in worker.tasks:
                worker.send(task)

    def _take(self, worker: _Worker) -> None:
        answer = worker.socket.recv()
        with self._lock:
            task = worker.tasks.popleft()
            now = perf_counter()
            self._cost += 0.1 * (now - worker.since - self._cost)
            worker.since = now
            self._hand_out()
        settle(task.future, answer)

    def close(self) -> None:
        if os.getpid() == self._pid:
            self.stop()
            workers = list(self._workers)
            for worker in workers:
                worker.kill()
            join([worker.thread for worker in workers])
        atexit.unregister(self.close)


def _death(worker: _Worker, task: _Task) -> WorkerDied:
    code = worker.process.exitcode
    how = f'exit code {code}'
    if code is not None and code < 0:
        with suppress(ValueError):
            how = signal.Signals(-code).name
    return WorkerDied(
        f'a worker process died ({how}) while it had {describe(task.key)}; it may have run out of memory, or crashed in'
        ' native code'
    )


# ---------------------------------------------------------------------------------------------------------------------
# In the process


def _work(socket: Any) -> None:
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # whoever of this group read from the terminal would be stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if 'PYTHONFAULTHANDLER' not in os.environ:
        faulthandler.enable()
    received: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(socket, received), daemon=True).start()
    function = received.get()
    while True:
        answer = pack(loads_call, function, received.get())
        try:
            socket.send(answer)
        except OSError:
            return
        del answer


def _receive(socket: Any, received: SimpleQueue[bytes]) -> None:
    try:
        while True:
            received.put(socket.recv_bytes())
    except (EOFError, OSError):  # nobody is there any more
        if hasattr(os, 'killpg'):
            with suppress(OSError):
                os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)
