"""A pool of processes, started without fork, that get the function once and live as long as the run.

loky starts the processes. Its executor is not used: it cannot be closed while a process does not take its input, cannot
be ended before the interpreter waits for it, and does not say which task a process died of.

Each process has a socket to this one, and a thread here that waits for its answers. Tasks are sent several at once, as
many as take about a millisecond; whoever finds a process with too little to do, the one who brings a task or the thread
that got answers, hands out what is waiting. So no one may have to wait until a process takes a message: a large one
lies in shared memory, and what is sent says where. If there is no room for it, it is sent when the process has nothing
else to do. A pipe beside the socket, which a thread of the process's own watches, asks where in the function it is.
When that pipe is closed, which also happens when this process dies, however it does, the process ends; as a fork of
this one may hold it open, it looks once a second whether its parent is there. It is the leader of a process group, so
that what the function has started ends with it, and Ctrl-C in a terminal does not reach it.

A message to a process is a list of offsets and one of tasks, a message from it a list of answers; the offsets are those
of the spans of its shared memory, see `transport`, that are not used any more here. The span of an item is kept until
its result is there: if the process dies, another one gets the same. The function comes before all messages. Its large
arrays are in a block, which the processes map when they unpickle it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import threading
from collections import deque
from contextlib import suppress
from math import inf
from time import perf_counter
from typing import Any

from itpipe._core.keys import describe
from itpipe._engine.functions import ItemFunction
from itpipe._engine.stacks import format_worker
from itpipe._engine.threads import Thread
from itpipe._engine.waiting import join

from .child import TOGETHER, work
from .cores import NATIVE_THREADS, count_workers, usable_cores
from .pickling import dumps_call, dumps_function, unpack
from .pool import Pool
from .process import SILENT, _Call, _crash, _crash_of, _named, _Worker
from .shared_memory import Arena, Block, Buffers, File, Large, Span, budget
from .starting import Context, open_standard_streams
from .task import Packed, Task

__all__ = ['Processes']
AS_OPENMP = {'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'BLIS_NUM_THREADS', 'NUMEXPR_NUM_THREADS'}
"""Those of which the pools go by OMP_NUM_THREADS where they are not set."""
PARTING = 0.3
"""Seconds that a process gets to close what it has set up."""
MOST = 64
"""The most tasks that are sent at once."""
CHEAP = 0.005
"""Seconds; where a task takes less, two are sent at once, and the next ones before these have been answered …"""
LATE = 0.02
"""… but by a process that has not answered for so long, which may be at one that takes much longer."""
ANSWER = 1.0
"""Seconds that processes have to say where they are."""


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
        self._max_crashes, self._max_tasks = max_crashes, max_tasks or inf
        open_standard_streams()  # before anything is opened that could be taken for one of them
        self._context = Context()
        large = Large()
        data = dumps_function(function, large)
        self._workers: list[_Worker] = []
        self._waiting: deque[_Call] = deque()
        self._hungry = False
        self._slow, self._since = False, 0.0
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._cost = 1.0
        self._budget = budget() // (self.size + 1)
        self._file = File.new(self._budget)
        self._arena = Arena(self._file)
        self._stillborn = 0
        self._block = Block(large)
        self._first_message = pickle.dumps((data, self._block.buffers), protocol=5)
        atexit.register(self.close)  # after loky, and with it multiprocessing, did: their turn comes later then

    @property
    def max_pending(self) -> int:
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
        while self._waiting and not self._stopped:
            alone = self._waiting[0].suspect
            together = 1 if alone else self._together
            if len(self._waiting) < together and not (self._hungry or self._slow):
                return
            if (worker := self._next_worker(alone, together)) is None:
                return
            calls: list[_Call] = []
            while self._waiting and len(calls) < min(together, worker.left) and self._waiting[0].suspect is alone:
                calls.append(self._waiting.popleft())
            worker.give(calls)

    def _next_worker(self, alone: bool, together: int) -> _Worker | None:
        """Who is to have the next calls; None while all have enough."""
        if len(self._workers) < self.size and all(worker.calls for worker in self._workers):
            try:
                self._start()
            except RuntimeError as error:  # there are too many threads
                if not self._workers:
                    self._fail(error)
                    return None
        late = perf_counter() - LATE
        worker = min(
            self._workers,
            key=lambda worker: (worker.left <= 0, bool(worker.calls) and worker.answered < late, len(worker.calls)),
        )
        if worker.left <= 0:  # and so have all others
            return None
        if not worker.calls:
            return worker
        if alone or worker.calls[0].suspect or worker.answered < late:
            return None
        ahead = self._cost < CHEAP and len(worker.calls) <= together <= len(self._waiting)
        return worker if ahead else None

    def _start(self) -> None:
        worker = _Worker(self._arena)
        worker.left = self._max_tasks
        name = f'itpipe-process-{len(self._workers)}'
        worker.thread = Thread(self._attend, name, worker)
        worker.thread.start()
        self._workers.append(worker)

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            self._settle(self._waiting.popleft().task, error=error, fatal=True)

    def _attend(self, worker: _Worker) -> None:
        """Start the process and take its answers, until it ends or is killed."""
        error: BaseException | None = None
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
        if worker.ready and self.function.resource is not None:
            self._part(worker)
        if error is None:
            error = worker.failure
        worker.kill()
        with self._asking, self._lock:  # no one is about to write there
            for end in (worker.socket, worker.control):
                if end is not None:
                    end.close()
        if worker.borrower.file is not None:
            worker.borrower.file.close()
        if worker.process is not None:
            worker.process.join()
        with self._lock:
            self._workers.remove(worker)
            calls = list(worker.calls)
            if error is None and not worker.is_set_up and not self._stopped:
                self._stillborn += 1
                if self._stillborn > self._max_crashes:
                    error = _crash(worker, 'while it was being set up', self._stillborn)
            lost = calls[0] if error is not None and calls else None
            for call in calls if error is None and worker.is_set_up else ():
                call.suspect = True
                call.crashes += len(calls) == 1  # of several, it may have been another one
                if call.crashes > self._max_crashes:
                    lost = call
            for call in calls:
                self._take_back(call.message)
                call.message = ()
            if lost is not None:
                self._take_back(lost.buffers)
            self._waiting.extendleft(call for call in reversed(calls) if call is not lost and not self._stopped)
            self._hand_out()
        if lost is not None:
            fatal = error is not None
            self._settle(lost.task, error=error if fatal else _crash_of(worker, lost), fatal=fatal)
        if worker.parting_failure is not None:
            self._failures.append(worker.parting_failure)

    def _part(self, worker: _Worker) -> None:
        """Let the process close what it has set up, but not for long."""
        worker.ask_to_end()
        with suppress(EOFError, OSError):
            while worker.socket.poll(PARTING):
                if (failure := pickle.loads(worker.socket.recv_bytes())[-1]) is not None:
                    worker.note_failure(*failure)

    def _begin(self, worker: _Worker) -> None:
        if hasattr(signal, 'pthread_sigmask'):  # inherited: Ctrl-C waits until the process has said not to want it
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        worker.socket, theirs = self._context.Pipe()
        its_control, worker.control = self._context.Pipe()
        share = str(max(1, usable_cores() // self.size))
        said = {*os.environ, *(AS_OPENMP if 'OMP_NUM_THREADS' in os.environ else ())}
        environment = {name: share for name in NATIVE_THREADS if name not in said}
        worker.borrower.file = results = File.new(self._budget)
        arguments = theirs, its_control, self._file, self._block.file, results, os.getpid()
        process = self._context.Process(target=work, args=arguments, name=worker.thread.name, env=environment)
        process.start()
        worker.process = process
        theirs.close()
        its_control.close()
        if self._stopped:  # `close` may not have seen the process
            worker.kill()
        worker.socket.send_bytes(self._first_message)
        worker.ready = True

    def _take(self, worker: _Worker) -> None:
        seconds, answers, failure = pickle.loads(worker.socket.recv_bytes())
        if failure is not None:
            worker.note_failure(*failure)
            raise EOFError
        if not answers:
            with self._lock:
                worker.is_set_up, self._stillborn = True, 0
                worker.send()
            return
        worker.answered = perf_counter()
        cost = seconds / len(answers)
        done: list[tuple[Task, Packed]] = []
        received = [Packed(data, failed, worker.borrower.views(buffers)) for data, failed, buffers in answers]
        with self._lock:
            self._cost = cost if self._cost == 1.0 else self._cost + 0.2 * (cost - self._cost)
            for answer in received:
                call = worker.calls.popleft()
                self._take_back(call.buffers)
                self._take_back(call.message)
                done.append((call.task, answer))
            worker.send()
            self._hand_out()
            retired = worker.left <= 0 and not worker.calls
        for task, answer in done:
            self._settle(task, answer)
        if retired:
            raise EOFError

    def _take_back(self, buffers: Buffers) -> None:
        if isinstance(buffers, Span):
            self._arena.take_back([buffers.offset])

    @property
    def threads(self) -> list[threading.Thread]:
        return [worker.thread for worker in list(self._workers)]

    def doing(self) -> str:
        if not self._lock.acquire(timeout=ANSWER):
            return f'  a process {SILENT}, and takes no message\n'
        self._lock.release()
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
                text += format_worker(who if place else f'{who}, which {SILENT}', stack)
        return text

    def _received(self, value: Packed) -> Any:
        return unpack(value)

    def stop(self) -> None:
        super().stop()
        if self._lock.acquire(timeout=PARTING):
            self._lock.release()
        else:  # who has it waits for a process that takes no message
            for worker in list(self._workers):
                worker.kill()

    def close(self) -> None:
        if os.getpid() == self._pid:
            self.stop()
            if threading.current_thread() not in self.threads:
                with self._lock:  # from now on, no other is started
                    pass
            workers = list(self._workers)
            try:
                if self.function.resource is not None:
                    self._part_with(workers)
            finally:
                for worker in workers:
                    worker.kill()
            join([worker.thread for worker in workers])
            self._arena.close()
            self._block.close()
        atexit.unregister(self.close)
        self._raise_failure()

    def _part_with(self, workers: list[_Worker]) -> None:
        for worker in workers:
            if worker.ready:
                worker.ask_to_end()
        deadline = perf_counter() + PARTING
        for worker in workers:
            if worker.ready and worker.thread is not threading.current_thread():
                worker.thread.join(max(0.0, deadline - perf_counter()))
