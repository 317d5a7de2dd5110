"""One process, as its parent sees it."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pickle import PickleBuffer
from typing import Any

from itpipe._core.keys import describe
from itpipe._engine.stacks import Stack
from itpipe.errors import WorkerCrashed

from .child import END, WHERE
from .pickling import unpack
from .shared_memory import Arena, Borrower, Buffers, Span
from .task import Packed, Task

SILENT = 'does not answer: it is starting, or in native code that holds the interpreter lock'
SMALL = 1 << 14
"""Bytes; a larger message may not fit into the socket, and whoever sends it would have to wait for the process."""


@dataclass(eq=False)
class _Call:
    """A task as it is sent."""

    task: Task
    data: bytes
    buffers: Buffers
    message: Buffers = ()
    """Where the message is that begins with this call, if it is long."""
    suspect: bool = False
    """Whether a process died that had it: then it is tried alone."""
    crashes: int = 0
    """How many processes died that had nothing else."""


class _Worker:
    """A process with the calls that it has not answered yet."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.calls: deque[_Call] = deque()
        self.unsent: deque[tuple[int, bytes]] = deque()
        """The last ones of them as messages, with the number of calls in each."""
        self.process: Any = None
        self.socket: Any = None
        self.control: Any = None
        self.ready = False
        """Whether it can be asked where it is, and to end."""
        self.is_set_up = False
        """Whether it has unpickled the function, and opened what that needs."""
        self.answered = 0.0
        """When it did so last."""
        self.asked = False
        self.failure: BaseException | None = None
        self.parting_failure: BaseException | None = None
        self.left: float = inf
        self.borrower = Borrower()
        self.thread: threading.Thread

    def give(self, calls: list[_Call]) -> None:
        self.left -= len(calls)
        self.calls.extend(calls)
        message = pickle.dumps((self.borrower.give_back(), [(call.data, call.buffers) for call in calls]), protocol=5)
        if len(message) > SMALL:
            calls[0].message = span = self.arena.lend([PickleBuffer(message)])
            if isinstance(span, Span):
                message = pickle.dumps(span)
        self.unsent.append((len(calls), message))
        self.send()

    @property
    def is_at_work(self) -> bool:
        return len(self.calls) > sum(count for count, _ in self.unsent)

    def send(self) -> None:
        """Send of the messages what it takes at once: when it is at work, only small ones."""
        while self.unsent and self.is_set_up:
            message = self.unsent[0][1]
            if len(message) > SMALL and self.is_at_work:
                return
            self.unsent.popleft()
            with suppress(OSError):  # it has died, as its thread is about to notice
                self.socket.send_bytes(message)

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

    def ask_to_end(self) -> None:
        """Have the process end after the call that it is working on."""
        with suppress(OSError):
            self.control.send_bytes(END)
            self.socket.send_bytes(b'')

    def note_failure(self, data: bytes, parting: bool) -> None:
        """The process could not set up, or could not close, what its function needs."""
        try:
            unpack(Packed(data, failed=True))
        except BaseException as error:
            if parting:
                self.parting_failure = error
            else:
                self.failure = error

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


def _named(worker: _Worker) -> str:
    pid = '' if worker.process is None else f' (pid {worker.process.pid})'
    return f'process {worker.thread.name}{pid}'


def _crash_of(worker: _Worker, call: _Call) -> WorkerCrashed:
    return _crash(worker, f'while working on {describe(call.task.key)} alone', call.crashes)


def _crash(worker: _Worker, when: str, crashes: int) -> WorkerCrashed:
    code = worker.process.exitcode
    how = f'exit code {code}'
    why = 'it may take too much memory, or crash in native code'
    if code is not None and code < 0:
        with suppress(ValueError):
            how = signal.Signals(-code).name
    elif not worker.is_set_up:
        why = 'it may have printed why'
    times = 'a worker process' if crashes == 1 else f'{crashes} worker processes, one after the other,'
    return WorkerCrashed(f'{times} died ({how}) {when}; {why}')
