"""What runs in a process of `processes.Processes`: it takes messages, calls the function, and answers."""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache, partial
from time import perf_counter
from types import FunctionType
from typing import Any, NoReturn

from itpipe._core.allocator import LARGEST, keep_freed_memory
from itpipe._engine.functions import ItemFunction
from itpipe._engine.stacks import stack_of

from .block import mapped
from .files import File
from .pickling import loads_function, loads_item, pack
from .shared_memory import Arena, Borrower, Buffers, Large, Span
from .starting import connect_to_nothing, open_standard_streams
from .task import GROUP_SECONDS

__all__ = ['SHUTDOWN', 'STACK', 'work']

STACK = b'stack'
"""The request for the stack of the main thread …"""
SHUTDOWN = b'shutdown'
"""… and the request to end."""
PARENT_POLL_SECONDS = 1.0
"""Seconds after which a process looks again whether its parent is there."""


def work(socket: Any, control: Any, items: File | None, block: File | None, results: File | None, parent: int) -> None:
    """Take messages from the socket, and requests from `control`, until one of them says that it is the end."""
    state, answers = _Control(), list[Any]()
    threading.Thread(target=_serve_control, args=(control, state, answers, parent), daemon=True).start()
    with suppress(EOFError, OSError):  # the parent is gone
        if _succeeds(lambda: _settle_in(socket, control), socket):
            _work(socket, state, answers, items, block, results)
    with suppress(Exception):
        sys.stdout.flush()
    _end()


# ---------------------------------------------------------------------------------------------------------------------
# A good neighbour


def _settle_in(socket: Any, control: Any) -> None:
    """Shield this process from the terminal, report crashes, let other processes be started from here, keep memory."""
    open_standard_streams()
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)
        connect_to_nothing(0)  # a process of this group that reads from the terminal would be stopped
        for number, name in (1, 'stdout'), (2, 'stderr'):
            if not _takes_output(number):  # None is what Python has for closed ones
                setattr(sys, name, None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if 'PYTHONFAULTHANDLER' not in os.environ:
        faulthandler.enable(2)
    if hasattr(os, 'register_at_fork'):  # processes that the function starts would hide that this one has ended
        for end in (socket, control):
            os.set_inheritable(end.fileno(), False)
        os.register_at_fork(after_in_child=socket.close)
    _pickle_by_value()
    keep_freed_memory(LARGEST)


def _takes_output(number: int) -> bool:
    from fcntl import F_GETFL, fcntl

    return fcntl(number, F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _pickle_by_value() -> None:
    """Let multiprocessing pickle what the script defines by value: the processes started here cannot import it."""
    from multiprocessing.reduction import ForkingPickler

    def reducer_override(_: Any, value: Any) -> Any:
        if isinstance(value, (type, FunctionType)) and getattr(value, '__module__', None) == '__main__':
            from cloudpickle import dumps

            return _of_the_script, (dumps(value),)
        return NotImplemented

    ForkingPickler.reducer_override = reducer_override  # type: ignore[method-assign]


def _of_the_script(data: bytes) -> Any:
    _pickle_by_value()  # on the way back, too
    return pickle.loads(data)


# ---------------------------------------------------------------------------------------------------------------------
# Calls


def _work(
    socket: Any, control: _Control, answers: list[Any], items: File | None, block: File | None, results: File | None
) -> None:
    data, shared = pickle.loads(socket.recv_bytes())
    loaded = cache(lambda: loads_function(data, mapped(block, shared)))  # in a call, so that it fails as an item does
    function = lru_cache(2)(lambda pass_: loaded().in_pass(pass_))
    resource = None
    with suppress(BaseException):  # the first call is going to raise it again
        resource, control.stop = loaded().resource, loaded().stop
    if resource is None or _succeeds(resource.open, socket):
        socket.send_bytes(pickle.dumps((0, (), None), protocol=5))
        try:
            _serve(socket, control, answers, function, Arena(results), Borrower(items))
        except MemoryError as error:  # not raised by the function, so it is no error of an item
            _succeeds(partial(_refuse, error), socket)
        if resource is not None:
            _succeeds(resource.close, socket, tearing_down=True)


def _refuse(error: MemoryError) -> NoReturn:
    raise MemoryError('a process has too little memory for an item that it got, or for a result to send') from error


def _succeeds(call: Callable[[], None], socket: Any, tearing_down: bool = False) -> bool:
    """Whether the call raises nothing; what it raises is sent."""
    packed = pack(call)
    if packed.failed:
        socket.send_bytes(pickle.dumps((0, (), (packed.data, tearing_down)), protocol=5))
    return not packed.failed


def _serve(
    socket: Any,
    control: _Control,
    answers: list[Any],
    function: Callable[[int], ItemFunction],
    arena: Arena,
    borrower: Borrower,
) -> None:
    while message := socket.recv_bytes():
        returned, calls = _read(message, borrower)
        arena.take_back(returned)
        begun = perf_counter()
        while calls and not control.ended:
            answers.append(_answer(function, arena, borrower, *calls.pop(0)))
            now = perf_counter()
            if len(answers) == 1:
                ready = now
            if not calls or now - ready > GROUP_SECONDS:
                socket.send_bytes(pickle.dumps((now - begun, answers, None), protocol=5))
                answers.clear()
                begun = now
        if control.ended:
            return


def _read(message: bytes, borrower: Borrower) -> Any:
    content = pickle.loads(message)
    return pickle.loads(next(borrower.copies(content))) if isinstance(content, Span) else content


def _answer(
    function: Callable[[int], ItemFunction], arena: Arena, borrower: Borrower, call: bytes, buffers: Buffers, pass_: int
) -> tuple[bytes, bool, Buffers]:
    """The outcome of the call, as it is sent."""
    large = Large()
    packed = pack(lambda: function(pass_)(*loads_item(call, borrower.copies(buffers))), buffer_callback=large)
    return packed.data, packed.failed, () if packed.failed else arena.lend(large)


# ---------------------------------------------------------------------------------------------------------------------
# The second thread


class _Control:
    """What the two threads of this process tell each other."""

    ended = False
    """Whether this process has been asked to end."""
    stop: Callable[[], None] = staticmethod(lambda: None)
    """Breaks the waits within a call."""


def _serve_control(control: Any, state: _Control, answers: list[Any], parent: int) -> None:
    """Send the stack of the main thread when asked; end this process, and all it has started, without a parent."""
    with suppress(EOFError, OSError):
        while True:
            while not control.poll(PARENT_POLL_SECONDS):
                # a fork of the parent holds the other end open, too; 0 is a parent in another namespace
                if os.getppid() not in {parent, 0}:
                    _end()
            if control.recv_bytes() == STACK:
                control.send_bytes(pickle.dumps((len(answers), stack_of(threading.main_thread().ident))))
            else:
                state.ended = True
                state.stop()
    _end()


def _end() -> NoReturn:
    """End this process and all it has started."""
    if hasattr(os, 'killpg'):
        with suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
