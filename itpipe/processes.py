"""A pool of processes, started without fork, that get the function once and live as long as the run.

loky starts the processes. Its executor is not used: it cannot be closed while a process does not take its input, cannot
be ended before the interpreter waits for it, and does not say which task a process died of.

Each process has a socket to this one, and a thread here that waits for its answers. Tasks are sent several at once, as
many as take about a millisecond; whoever finds a process with too little to do, the one who brings a task or the thread
that got answers, hands out what is waiting. So no one may have to wait until a process takes a message: a pipe beside
the socket, which a thread of the process's own watches, announces large ones, and asks where in the function it is.
When that pipe is closed, which also happens when this process dies, however it does, the process ends. It is the leader
of a process group, so that what the function has started ends with it, and Ctrl-C in a terminal does not reach it.

A message to a process is a list of offsets and one of tasks, a message from it a list of offsets and one of answers;
the offsets are those of spans of shared memory, see `transport`, that the sender does not use any more.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import pickle
import signal
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from time import perf_counter
from typing import Any

from .background import join
from .binding import ItemFunction
from .errors import WorkerCrashed
from .keys import describe
from .portable import Packed, dumps_call, dumps_function, loads_call, pack, unpack
from .stalls import Stack, placed, stack_of
from .transport import Arena, Borrower, Buffers, Large, Span, budget
from .workers import Pool, Task, count_workers, usable_cores

__all__ = ['Processes']

NATIVE_THREADS = (
    'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'BLIS_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS',
    'NUMEXPR_NUM_THREADS', 'NUMBA_NUM_THREADS',
)  # fmt: skip
"""What native thread pools read their size from."""
TOGETHER = 0.001
"""Seconds of work that are sent at once, and after which an answer is not held back any more to be sent with others."""
MOST = 64
"""The most tasks that are sent at once."""
CHEAP = 0.005
"""Seconds; where a task takes less, two are sent at once, and the next ones before these have been answered."""


ANSWER = 1.0
"""Seconds that processes have to say where they are."""
WHERE = b'where'
"""What they are asked by."""
SMALL = 1 << 14
"""Bytes; a larger message may not fit into the socket, where it would have to wait for the process."""


@dataclass(eq=False)
class _Call:
    """A task as it is sent."""

    task: Task
    data: bytes
    buffers: Buffers
    suspect: bool = False
    """Whether a process died that had it: then it is tried alone."""
    crashes: int = 0
    """How many processes died that had nothing else."""


class _Worker:
    """A process with the calls that it has not answered yet; it is sent none before it is `ready`."""

    def __init__(self) -> None:
        self.calls: deque[_Call] = deque()
        self.process: Any = None
        self.socket: Any = None
        self.control: Any = None
        self.sent = 0
        self.ready = False
        self.asked = False
        self.left: float = inf
        self.borrower = Borrower(alone=True)
        self.lent: set[int] = set()
        self.thread: threading.Thread

    def give(self, calls: list[_Call]) -> None:
        self.left -= len(calls)
        self.calls.extend(calls)
        if self.ready:
            self.send(calls)

    def send(self, calls: list[_Call]) -> None:
        self.lent.update(call.buffers.offset for call in calls if isinstance(call.buffers, Span))
        message = self.borrower.give_back(), [(call.data, call.buffers) for call in calls]
        with suppress(OSError):  # it has died, as its thread is about to notice
            self.send_bytes(pickle.dumps(message, protocol=5))

    def send_bytes(self, data: bytes) -> None:
        self.sent += 1
        if len(data) > SMALL:
            self.control.send_bytes(b'%d' % self.sent)
        self.socket.send_bytes(data)

    def ask(self) -> None:
        """Ask where it is, unless it has not answered that yet."""
        with suppress(EOFError, OSError):
            while self.asked and self.control.poll():
                self.place(0.0)
            if self.ready and not self.asked:
                self.control.send_bytes(WHERE)
                self.asked = True

    def place(self, seconds: float) -> tuple[int, Stack] | None:
        """How many of its calls are done, though not answered, and the stack of the next one; None if it is silent."""
        with suppress(EOFError, OSError):
            if self.asked and self.control.poll(seconds):
                self.asked = False
                return pickle.loads(self.control.recv_bytes())  # type: ignore[no-any-return]
        return None

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

    def __init__(
        self,
        count: int,
        function: ItemFunction,
        in_flight: int | None = None,
        max_crashes: int = 2,
        max_tasks: int | None = None,
    ):
        # not by `get_context('loky')`, which joblib's own copy of loky may have taken over
        from loky.backend.context import LokyContext

        super().__init__(count_workers(count), in_flight)
        self._max_crashes, self._max_tasks = max_crashes, max_tasks or inf
        self._context = LokyContext()
        self._function = dumps_function(function)
        self._workers: list[_Worker] = []
        self._waiting: deque[_Call] = deque()
        self._hungry = False
        self._slow, self._since = False, 0.0
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._cost = 1.0
        self._budget = budget() // (self.size + 1)
        self._arena = Arena(self._budget)
        self._unused: deque[int] = deque()
        atexit.register(self.close)  # after loky, and with it multiprocessing, did: their turn comes later then

    @property
    def window(self) -> int:
        """As many as make a message for each worker, and as many again on their way."""
        return self.in_flight or 2 * self.size * self._together

    @property
    def _together(self) -> int:
        most = MOST if self.in_flight is None else self.in_flight // (2 * self.size)
        least = 2 if self._cost < CHEAP else 1
        return max(1, min(most, max(least, int(TOGETHER / (self._cost + 1e-9)))))

    def _send(self, task: Task, value: Any) -> None:
        large = Large()
        data = dumps_call(task.key, value, large)
        with self._lock:
            self._hungry = False
            while self._unused:
                self._arena.take_back([self._unused.popleft()])
            now = perf_counter()
            self._slow = now - self._since > TOGETHER  # items come so slowly that there is no use in waiting for more
            self._since = now
            self._waiting.append(_Call(task, data, self._arena.lend(large)))
            self._hand_out()

    def _flush(self) -> None:
        """Send what is waiting, even if it is little: whoever submitted it does not go on without an answer."""
        with self._lock:
            self._hungry = True
            self._hand_out()

    def _hand_out(self) -> None:
        # with the lock
        ahead = 2 if self._cost < CHEAP else 1
        while self._waiting and not self._stopped:
            alone = self._waiting[0].suspect
            together = 1 if alone else self._together
            if len(self._waiting) < together and not (self._hungry or self._slow):
                return
            if len(self._workers) < self.size and all(worker.calls for worker in self._workers):
                try:
                    self._start()
                except RuntimeError as error:  # there are too many threads
                    if not self._workers:
                        self._fail(error)
                        return
            worker = min(self._workers, key=lambda worker: (worker.left <= 0, len(worker.calls)))
            if worker.left <= 0:  # and so have all others
                return
            if len(worker.calls) > (ahead - 1) * together or (worker.calls and (alone or worker.calls[0].suspect)):
                return
            if len(self._waiting) < together and worker.calls:
                return
            calls: list[_Call] = []
            while self._waiting and len(calls) < min(together, worker.left) and self._waiting[0].suspect is alone:
                calls.append(self._waiting.popleft())
            worker.give(calls)

    def _start(self) -> None:
        worker = _Worker()
        worker.left = self._max_tasks
        name = f'itpipe-process-{len(self._workers)}'
        worker.thread = threading.Thread(target=self._attend, args=(worker,), name=name, daemon=True)
        worker.thread.start()
        self._workers.append(worker)

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            self._settle(self._waiting.popleft().task, error=error)

    def _attend(self, worker: _Worker) -> None:
        """Start the process and take its answers, until it ends or is killed."""
        error: Exception | None = None
        try:
            with self._lock:  # the one who starts it has told the others
                pass
            self._begin(worker)
            while True:
                self._take(worker)
        except (EOFError, OSError) as reason:
            error = reason if worker.process is None else None
        except Exception as reason:
            error = reason
        worker.kill()
        with self._asking:
            for end in (worker.socket, worker.control):
                if end is not None:
                    end.close()
        if worker.process is not None:
            worker.process.join()
        with self._lock:
            self._workers.remove(worker)
            calls = list(worker.calls)
            lost = calls[0] if error and calls else None
            for call in calls if error is None else ():
                call.suspect = True
                call.crashes += len(calls) == 1  # of several, it may have been another one
                if call.crashes > self._max_crashes:
                    lost = call
            self._waiting.extendleft(call for call in reversed(calls) if call is not lost)
            kept = {call.buffers.offset for call in self._waiting if isinstance(call.buffers, Span)}
            self._unused.extend(worker.lent - kept)
            self._hand_out()
        if lost is not None:
            self._settle(lost.task, error=error or _crash(worker, lost))

    def _begin(self, worker: _Worker) -> None:
        if hasattr(signal, 'pthread_sigmask'):  # inherited: Ctrl-C waits until the process has said not to want it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        worker.socket, theirs = self._context.Pipe()
        its_control, worker.control = self._context.Pipe()
        share = str(max(1, usable_cores() // self.size))
        environment = {name: share for name in NATIVE_THREADS if name not in os.environ}
        process = self._context.Process(
            target=_work, args=(theirs, its_control, self._budget), name=worker.thread.name, env=environment
        )
        process.start()
        worker.process = process
        theirs.close()
        its_control.close()
        if self._stopped:  # `close` may not have seen the process
            worker.kill()
        worker.send_bytes(self._function)
        with self._lock:
            worker.ready = True
            if worker.calls:
                worker.send(list(worker.calls))

    def _take(self, worker: _Worker) -> None:
        returned, seconds, answers = pickle.loads(worker.socket.recv_bytes())
        cost = seconds / len(answers)
        done: list[tuple[Task, Packed | None, Exception | None]] = []
        gone = False
        with self._lock:
            self._cost = cost if self._cost == 1.0 else self._cost + 0.2 * (cost - self._cost)
            worker.lent.difference_update(returned)
            self._unused.extend(returned)
            for data, failed, buffers in answers:
                task = worker.calls[0].task
                try:
                    done.append((task, Packed(data, failed, worker.borrower.views(buffers)), None))
                except OSError as error:
                    if gone := not worker.process.is_alive():  # its memory went with it
                        break
                    done.append((task, None, error))
                worker.calls.popleft()
            self._hand_out()
            retired = worker.left <= 0 and not worker.calls
        for task, answer, failure in done:
            self._settle(task, answer, failure)
        if gone or retired:
            raise EOFError

    def doing(self) -> str:
        with self._asking:
            with self._lock:
                workers = [worker for worker in self._workers if worker.calls]
                for worker in workers:
                    worker.ask()
            until = perf_counter() + ANSWER
            places = [worker.place(max(0.0, until - perf_counter())) for worker in workers]
        text = ''
        for worker, place in zip(workers, places, strict=True):
            done, stack = place or (0, [])
            if calls := list(worker.calls):
                who = f'{describe(calls[min(done, len(calls) - 1)].task.key)} in {_named(worker)}'
                text += placed(who if place else f'{who}, which {SILENT}', stack)
        return text

    def result(self, task: Task) -> Any:
        return unpack(super().result(task))

    def close(self) -> None:
        if os.getpid() == self._pid:
            self.stop()
            if threading.current_thread() not in [worker.thread for worker in self._workers]:
                with self._lock:  # from now on, no other is started
                    pass
            workers = list(self._workers)
            for worker in workers:
                worker.kill()
            join([worker.thread for worker in workers])
            self._arena.close()
        atexit.unregister(self.close)


SILENT = 'does not answer: it is starting, or in native code that holds the interpreter lock'


def _named(worker: _Worker) -> str:
    pid = '' if worker.process is None else f' (pid {worker.process.pid})'
    return f'process {worker.thread.name}{pid}'


def _crash(worker: _Worker, call: _Call) -> WorkerCrashed:
    code = worker.process.exitcode
    how = f'exit code {code}'
    if code is not None and code < 0:
        with suppress(ValueError):
            how = signal.Signals(-code).name
    times = 'a worker process' if call.crashes == 1 else f'{call.crashes} worker processes, one after the other,'
    return WorkerCrashed(
        f'{times} died ({how}) while working on {describe(call.task.key)} alone; it may take too much memory, or crash'
        ' in native code'
    )


# ---------------------------------------------------------------------------------------------------------------------
# In the process


def _work(socket: Any, control: Any, memory: int) -> None:
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # whoever of this group read from the terminal would be stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if 'PYTHONFAULTHANDLER' not in os.environ:
        faulthandler.enable()
    if hasattr(os, 'register_at_fork'):  # else what the function forks would hide that this one has ended
        os.register_at_fork(after_in_child=socket.close)
    inbox = _Inbox(socket)
    answers: list[Any] = []
    threading.Thread(target=_obey, args=(control, inbox, answers), daemon=True).start()
    arena, borrower = Arena(memory), Borrower()
    with suppress(EOFError, OSError):  # nobody is there any more, as the thread is about to notice
        function = inbox.next()
        while True:
            returned, tasks = pickle.loads(inbox.next())
            arena.take_back(returned)
            begun = perf_counter()
            while tasks:
                answers.append(_answer(function, arena, borrower, *tasks.pop(0)))
                now = perf_counter()
                if len(answers) == 1:
                    ready = now
                if not tasks or now - ready > TOGETHER:
                    socket.send_bytes(pickle.dumps((borrower.give_back(), now - begun, answers), protocol=5))
                    answers.clear()
                    begun = now
    threading.Event().wait()


def _answer(
    function: bytes, arena: Arena, borrower: Borrower, call: bytes, buffers: Buffers
) -> tuple[bytes, bool, Buffers]:
    """What the call came to, as it is sent."""
    large = Large()
    packed = pack(lambda: loads_call(function, call, borrower.views(buffers)), apart=large)
    return packed.data, packed.failed, () if packed.failed else arena.lend(large)


class _Inbox:
    """The messages that come, in order: read by who wants the next one, or ahead."""

    def __init__(self, socket: Any):
        self._socket, self._ahead, self._lock = socket, deque[bytes](), threading.Lock()
        self._count = 0

    def next(self) -> bytes:
        with self._lock:
            return self._ahead.popleft() if self._ahead else self._read()

    def read_up_to(self, count: int) -> None:
        """Read, ahead of who wants them, as many messages as this since the beginning; they must be on their way."""
        with self._lock:
            while self._count < count:
                self._ahead.append(self._read())

    def _read(self) -> bytes:
        data: bytes = self._socket.recv_bytes()
        self._count += 1
        return data


def _obey(control: Any, inbox: _Inbox, answers: list[Any]) -> None:
    """Read large messages while a function runs, and say where that is; end this process, and what it has started, when
    nobody is there."""
    with suppress(EOFError, OSError):
        while True:
            if (message := control.recv_bytes()) == WHERE:
                place = len(answers), stack_of(threading.main_thread().ident)
                control.send_bytes(pickle.dumps(place))
            else:
                inbox.read_up_to(int(message))
    if hasattr(os, 'killpg'):
        with suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
