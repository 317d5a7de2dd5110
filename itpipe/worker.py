"""What runs in a process of `processes.Processes`: it takes messages, calls the function, and answers."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from time import perf_counter
from typing import Any, NoReturn

from .binding import ItemFunction
from .portable import loads_function, loads_item, pack
from .stalls import stack_of
from .transport import Arena, Borrower, Buffers, Large, mapped

__all__ = ['TOGETHER', 'WHERE', 'work']

TOGETHER = 0.001
"""Seconds of work that are sent at once, and after which an answer is not held back any more to be sent with others."""
WHERE = b'where'
"""What a process is sent to say where it is."""


def work(socket: Any, control: Any, memory: int) -> None:
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # whoever of this group read from the terminal would be stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if 'PYTHONFAULTHANDLER' not in os.environ:
        faulthandler.enable()
    if hasattr(os, 'register_at_fork'):  # else what the function starts would hide that this one has ended
        for end in (socket, control):
            os.set_inheritable(end.fileno(), False)
        os.register_at_fork(after_in_child=socket.close)
    inbox = _Inbox(socket)
    answers: list[Any] = []
    threading.Thread(target=_obey, args=(control, inbox, answers), daemon=True).start()
    with suppress(EOFError, OSError):  # nobody is there any more
        data, shared = pickle.loads(inbox.next())
        function = cache(lambda: loads_function(data, mapped(shared)))  # when called: its errors are those of an item
        resource = None
        with suppress(BaseException):  # which it is going to raise again
            resource, inbox.stop = function().resource, function().stop
        if resource is None or _succeeds(resource.open, socket):
            socket.send_bytes(pickle.dumps(((), 0, (), None), protocol=5))
            _serve(socket, inbox, answers, function, memory)
            if resource is not None:
                _succeeds(resource.close, socket, parting=True)
    with suppress(Exception):
        sys.stdout.flush()
    _end()


def _succeeds(call: Callable[[], None], socket: Any, parting: bool = False) -> bool:
    packed = pack(call)
    if packed.failed:
        socket.send_bytes(pickle.dumps(((), 0, (), (packed.data, parting)), protocol=5))
    return not packed.failed


def _serve(socket: Any, inbox: _Inbox, answers: list[Any], function: Callable[[], ItemFunction], memory: int) -> None:
    arena, borrower = Arena(memory), Borrower()
    while message := inbox.next():
        returned, tasks = pickle.loads(message)
        arena.take_back(returned)
        begun = perf_counter()
        while tasks and not inbox.ended:
            answers.append(_answer(function, arena, borrower, *tasks.pop(0)))
            now = perf_counter()
            if len(answers) == 1:
                ready = now
            if not tasks or now - ready > TOGETHER:
                socket.send_bytes(pickle.dumps((borrower.give_back(), now - begun, answers, None), protocol=5))
                answers.clear()
                begun = now
        if inbox.ended:
            return


def _answer(
    function: Callable[[], ItemFunction], arena: Arena, borrower: Borrower, call: bytes, buffers: Buffers
) -> tuple[bytes, bool, Buffers]:
    """What the call came to, as it is sent."""
    large = Large()
    packed = pack(lambda: function()(*loads_item(call, borrower.views(buffers))), apart=large)
    return packed.data, packed.failed, () if packed.failed else arena.lend(large)


class _Inbox:
    """The messages that come, in order: read by who wants the next one, or ahead."""

    def __init__(self, socket: Any):
        self._socket, self._ahead, self._lock = socket, deque[bytes](), threading.Lock()
        self._count = 0
        self.ended = False
        """Whether this process has been asked to come to an end."""
        self.stop: Callable[[], None] = lambda: None
        """Breaks what waits within a call."""

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
                continue
            count = int(message)
            if count < 0:
                inbox.ended = True
                inbox.stop()
            inbox.read_up_to(count)
    _end()


def _end() -> NoReturn:
    """End this process and what it has started."""
    if hasattr(os, 'killpg'):
        with suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
