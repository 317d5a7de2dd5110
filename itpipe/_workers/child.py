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
from functools import cache, partial
from time import perf_counter
from types import FunctionType
from typing import Any, NoReturn

from itpipe._engine.functions import ItemFunction
from itpipe._engine.stacks import stack_of

from .pickling import loads_function, loads_item, pack
from .shared_memory import Arena, Borrower, Buffers, File, Large, Span, mapped
from .starting import connect_to_nothing, open_standard_streams

__all__ = ['END', 'TOGETHER', 'WHERE', 'work']

TOGETHER = 0.001
"""Seconds of work that are sent at once, and after which an answer is not held back any more to be sent with others."""
WHERE = b'where'
"""What a process is sent to say where it is …"""
END = b'end'
"""… and to come to an end."""
BEAT = 1.0
"""Seconds after which a process looks whether the one that started it is there."""


def work(socket: Any, control: Any, items: File | None, block: File | None, results: File | None, parent: int) -> None:
    course, answers = _Course(), list[Any]()
    threading.Thread(target=_obey, args=(control, course, answers, parent), daemon=True).start()
    with suppress(EOFError, OSError):  # nobody is there any more
        if _succeeds(lambda: _settle_in(socket, control), socket):
            _work(socket, course, answers, items, block, results)
    with suppress(Exception):
        sys.stdout.flush()
    _end()


def _settle_in(socket: Any, control: Any) -> None:
    """Make this process one that is of use, and of no harm, to whoever has started it."""
    open_standard_streams()
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)
        connect_to_nothing(0)  # whoever of this group read from the terminal would be stopped
        for number, name in (1, 'stdout'), (2, 'stderr'):
            if not _takes_output(number):  # as Python has it where they are closed
                setattr(sys, name, None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if 'PYTHONFAULTHANDLER' not in os.environ:
        faulthandler.enable(2)
    if hasattr(os, 'register_at_fork'):  # else what the function starts would hide that this one has ended
        for end in (socket, control):
            os.set_inheritable(end.fileno(), False)
        os.register_at_fork(after_in_child=socket.close)
    _pickle_by_value()


def _takes_output(number: int) -> bool:
    from fcntl import F_GETFL, fcntl

    return fcntl(number, F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def _pickle_by_value() -> None:
    """Let multiprocessing send what comes from the script, which the processes that it starts here cannot import."""
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


def _work(
    socket: Any, course: _Course, answers: list[Any], items: File | None, block: File | None, results: File | None
) -> None:
    data, shared = pickle.loads(socket.recv_bytes())
    function = cache(lambda: loads_function(data, mapped(block, shared)))  # when called: it fails as an item does
    resource = None
    with suppress(BaseException):  # which it is going to raise again
        resource, course.stop = function().resource, function().stop
    if resource is None or _succeeds(resource.open, socket):
        socket.send_bytes(pickle.dumps((0, (), None), protocol=5))
        try:
            _serve(socket, course, answers, function, Arena(results), Borrower(items))
        except MemoryError as error:  # not of the function, and so of no item
            _succeeds(partial(_refuse, error), socket)
        if resource is not None:
            _succeeds(resource.close, socket, parting=True)


def _refuse(error: MemoryError) -> NoReturn:
    raise MemoryError('a process has too little memory for an item that it got, or for a result to send') from error


def _succeeds(call: Callable[[], None], socket: Any, parting: bool = False) -> bool:
    packed = pack(call)
    if packed.failed:
        socket.send_bytes(pickle.dumps((0, (), (packed.data, parting)), protocol=5))
    return not packed.failed


def _serve(
    socket: Any,
    course: _Course,
    answers: list[Any],
    function: Callable[[], ItemFunction],
    arena: Arena,
    borrower: Borrower,
) -> None:
    while message := socket.recv_bytes():
        returned, tasks = _read(message, borrower)
        arena.take_back(returned)
        begun = perf_counter()
        while tasks and not course.ended:
            answers.append(_answer(function, arena, borrower, *tasks.pop(0)))
            now = perf_counter()
            if len(answers) == 1:
                ready = now
            if not tasks or now - ready > TOGETHER:
                socket.send_bytes(pickle.dumps((now - begun, answers, None), protocol=5))
                answers.clear()
                begun = now
        if course.ended:
            return


def _read(message: bytes, borrower: Borrower) -> Any:
    content = pickle.loads(message)
    return pickle.loads(next(borrower.copies(content))) if isinstance(content, Span) else content


def _answer(
    function: Callable[[], ItemFunction], arena: Arena, borrower: Borrower, call: bytes, buffers: Buffers
) -> tuple[bytes, bool, Buffers]:
    """What the call came to, as it is sent."""
    large = Large()
    packed = pack(lambda: function()(*loads_item(call, borrower.copies(buffers))), buffer_callback=large)
    return packed.data, packed.failed, () if packed.failed else arena.lend(large)


class _Course:
    """What the two threads of this process tell each other."""

    ended = False
    """Whether this process has been asked to come to an end."""
    stop: Callable[[], None] = staticmethod(lambda: None)
    """Breaks what waits within a call."""


def _obey(control: Any, course: _Course, answers: list[Any], parent: int) -> None:
    """Say where the function is; end this process, and what it has started, when nobody is there."""
    with suppress(EOFError, OSError):
        while True:
            while not control.poll(BEAT):
                # a fork of it holds the other end open, too; 0 is a parent in another namespace
                if os.getppid() not in {parent, 0}:
                    _end()
            if control.recv_bytes() == WHERE:
                place = len(answers), stack_of(threading.main_thread().ident)
                control.send_bytes(pickle.dumps(place))
            else:
                course.ended = True
                course.stop()
    _end()


def _end() -> NoReturn:
    """End this process and what it has started."""
    if hasattr(os, 'killpg'):
        with suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
