"""One process, as its parent sees it, from its start to its end."""

from __future__ import annotations

import os
import pickle
import signal
from collections import deque
from contextlib import suppress
from math import inf
from pickle import PickleBuffer
from time import perf_counter
from typing import Any

from itpipe._engine.stacks import Stack

from .channel import Channel
from .child import SHUTDOWN, STACK
from .crashes import Overdue
from .launching import Launcher
from .pickling import result_of
from .shared_memory import Arena, Borrower, Span
from .task import Call, Packed

__all__ = ['TEARDOWN', 'WorkerProcess']

SMALL = 1 << 14
"""Bytes. A larger message may not fit into the socket, and its sender would have to wait for the process."""
TEARDOWN = 0.3
"""Seconds that a process gets to close what it has set up."""


class WorkerProcess:
    """A process, and the calls that it was given and has not answered yet.

    `start` and the end (`close_resource`, `disconnect`, `join`) are for a thread of their own. The rest is called with
    the pool's lock, or where it says so.
    """

    def __init__(self, number: int, arena: Arena, calls_left: float):
        self.number, self.calls_left = number, calls_left
        self.name = f'itpipe-process-{number}'
        self.calls: deque[Call] = deque()
        self.answered_at = self._given_at = self._set_up_at = 0.0
        self.is_connected = False
        """Whether it can be asked for its stack, and to end."""
        self.is_set_up = False
        """Whether it has unpickled the function, and set up what the function needs."""
        self.ended = self.is_ending = False
        """Whether it will answer no more, and whether that is being dealt with."""
        self.overdue: Overdue | None = None
        """Why it was killed, if that was because of the time that an item took."""
        self.process: Any = None
        self.failure: BaseException | None = None
        """The error of its set-up."""
        self.teardown_failure: BaseException | None = None
        self._arena = arena
        self._unsent: deque[tuple[int, bytes]] = deque()
        """Messages with the last ones of the calls, and the number of calls in each."""
        self._channel: Any = None
        self._control: Any = None
        self._borrower = Borrower()
        self._killed = self._stack_requested = False

    def __str__(self) -> str:
        return f'process {self.name}' + ('' if self.process is None else f' (pid {self.process.pid})')

    # -----------------------------------------------------------------------------------------------------------------
    # Its life

    def start(self, launcher: Launcher) -> None:
        """Start it, and send it the function."""
        self._channel = Channel()
        self._control, its_control = launcher.pipe()
        self._borrower.file = launcher.file()
        process = launcher.process(self.name, self._channel.other, its_control, self._borrower.file)
        process.start()
        self.process = process
        self._channel.other.close()
        its_control.close()
        if self._killed:  # before there was a process
            self.kill()
        self._channel.send(launcher.first_message)
        self.is_connected = True

    def fileno(self) -> int:
        """The number of the socket on which it answers."""
        return self._channel.fileno()  # type: ignore[no-any-return]

    def request_shutdown(self) -> None:
        """Have it end after the call that it is working on; from any thread."""
        with suppress(OSError):
            if not self.is_connected:
                return
            self._control.send_bytes(SHUTDOWN)
            self._channel.send(b'')

    def close_resource(self) -> None:
        """Let it close what it has set up, but not for long."""
        self.request_shutdown()
        self.ended = False  # one that is replaced is there still
        with suppress(OSError):
            while not self.ended and self._channel.poll(TEARDOWN):
                self.receive()

    def kill(self) -> None:
        """End it, and what it has started; from any thread, at any time."""
        self._killed = True
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

    def disconnect(self) -> None:
        """Close its pipes, while no other thread is about to use them."""
        for end in (self._channel, self._control):
            if end is not None:
                end.close()

    def join(self) -> int | None:
        """Wait until it has ended; returns its exit code."""
        if self._borrower.file is not None:
            self._borrower.file.close()
        if self.process is None:
            return None
        self.process.join()
        return self.process.exitcode  # type: ignore[no-any-return]

    # -----------------------------------------------------------------------------------------------------------------
    # Calls and answers

    def give(self, calls: list[Call]) -> None:
        """Send these calls in one message, now or when the process can take it."""
        if not self.calls:
            self._given_at = perf_counter()
        self.calls_left -= len(calls)
        self.calls.extend(calls)
        content = self._borrower.give_back(), [(call.data, call.buffers, call.pass_) for call in calls]
        message = pickle.dumps(content, protocol=5)
        if len(message) > SMALL:
            calls[0].message = span = self._arena.lend([PickleBuffer(message)])
            if isinstance(span, Span):
                message = pickle.dumps(span)
        self._unsent.append((len(calls), message))
        self.send()

    @property
    def busy_since(self) -> float:
        """When it began, at the latest, with a call that it has not answered; infinity if there is none."""
        return max(self.answered_at, self._given_at, self._set_up_at) if self.calls and self.is_set_up else inf

    @property
    def sent(self) -> int:
        """How many of its calls it has got; the messages with the others have not been sent."""
        return len(self.calls) - sum(count for count, _ in self._unsent)

    def send(self) -> None:
        """Send the messages that it takes at once. While it is at work, these are the small ones."""
        while self._unsent and self.is_set_up:
            message = self._unsent[0][1]
            if len(message) > SMALL and self.sent:
                return
            try:
                self._channel.send(message)
            except OSError:  # it has died, as is about to be noticed
                return
            self._unsent.popleft()

    def receive(self) -> list[tuple[float, list[Packed]]]:
        """The answers that are there, in groups, each with how long the calls took. A group without any is sent when it
        has set up. Sets `ended` if it will send no more.
        """
        groups = []
        for message in self._channel.receive():
            seconds, answers, failure = pickle.loads(message)
            if failure is not None:
                self._take_failure(*failure)
                break
            if answers:
                self.answered_at = perf_counter()
            else:
                self._set_up_at = perf_counter()
            groups.append(
                (
                    seconds,
                    [Packed(data, failed, self._borrower.views(buffers)) for data, failed, buffers in answers],
                )
            )
        self.ended = self.ended or self._channel.ended
        return groups

    def has_answers(self) -> bool:
        """Whether there is something to receive."""
        return self._channel.poll(0)  # type: ignore[no-any-return]

    def take_answered(self, count: int) -> list[Call]:
        """So many of its calls, which have been answered; the memory of their items is free again."""
        calls = [self.calls.popleft() for _ in range(count)]
        for call in calls:
            if call.buffers or call.message:
                self._arena.release(call.buffers)
                self._arena.release(call.message)
        return calls

    def take_unanswered(self) -> list[Call]:
        """Its calls, when it has ended. Their items stay where they are, to be sent again."""
        calls = list(self.calls)
        for call in calls:
            self._arena.release(call.message)
            call.message = ()
        return calls

    def _take_failure(self, data: bytes, tearing_down: bool) -> None:
        self.ended = True
        try:
            result_of(Packed(data, failed=True))
        except BaseException as error:
            if tearing_down:
                self.teardown_failure = error
            else:
                self.failure = error

    # -----------------------------------------------------------------------------------------------------------------
    # Where it is

    def request_stack(self) -> None:
        """Ask for its stack, unless the last request has not been answered yet; while no other thread does."""
        with suppress(EOFError, OSError):
            while self._stack_requested and self._control.poll():
                self.stack(0.0)
            if self.is_connected and not self._stack_requested:
                self._control.send_bytes(STACK)
                self._stack_requested = True

    def stack(self, seconds: float) -> tuple[int, Stack] | None:
        """How many calls it has done but not answered, and the stack of the next one; None if it does not say."""
        with suppress(EOFError, OSError):
            if self._stack_requested and self._control.poll(seconds):
                self._stack_requested = False
                return pickle.loads(self._control.recv_bytes())  # type: ignore[no-any-return]
        return None
