"""Waits for the sockets of all processes of a pool, whatever their number, in one thread or two.

Waking another thread costs more than the rest of the work for a small answer. So the thread of the run, while it waits
for an answer, reads the answers itself. At other times a thread of the hub does. With epoll, the system wakes the right
one: each waits for the same sockets by a set of its own (EPOLLEXCLUSIVE), and the set that got the sockets first is
asked first. Of what the thread of the run was woken for, the other is not told. So the thread that is woken has to read
all that is there. Elsewhere the thread of the hub reads all answers, and wakes the thread of the run.
"""

from __future__ import annotations

import select
import selectors
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from time import sleep

from itpipe._engine.threads import Thread, block_interrupts

__all__ = ['EpollHub', 'Hub', 'new_hub']

BACK_SOON = 0.0005
"""Seconds. If the thread of the run does not wait again before, the thread of the hub takes over."""


class Hub:
    """The thread `name` calls `serve` with the numbers of sockets that may have something to read, until it says False.

    A number may be that of a socket that was removed meanwhile. With a `period`, in seconds, it is called
    at least so often.
    """

    def __init__(self, serve: Callable[[Collection[int]], bool], name: str, period: float | None = None):
        self._serve, self._period = serve, period
        self.thread = Thread(self._run, name)
        self._selector = selectors.DefaultSelector()
        self._bell = _Bell()
        self._selector.register(self._bell.number, selectors.EVENT_READ)
        self._woken = threading.Semaphore(0)

    def start(self) -> None:
        """Start the thread, unless it was started. Raises RuntimeError if there are too many."""
        if self.thread.ident is None:
            self.thread.start()

    def add(self, number: int) -> None:
        """From now on, wait for this socket, too."""
        self._selector.register(number, selectors.EVENT_READ)
        self._bell.ring()

    def remove(self, number: int) -> None:
        """Do not wait for this socket any more, if it was added. It is open still."""
        with suppress(KeyError):
            self._selector.unregister(number)
        self._bell.ring()

    def wait(self, seconds: float) -> Collection[int]:
        """In the thread of the run: wait until it has sockets to serve, until `wake`, or so long."""
        self._woken.acquire(timeout=seconds)
        return ()

    def wake(self) -> None:
        """End the wait of the thread of the run, or its next one; from any thread."""
        self._woken.release()

    def notify(self) -> None:
        """Have `serve` called in the hub's thread, though there is nothing to read."""
        self._bell.ring()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, at most so long."""
        if self.thread.ident is not None:
            self.thread.join(seconds)

    def close(self) -> None:
        """Close it, if its thread was never started. Else the thread closes it in the end."""
        if self.thread.ident is None:
            self._close()

    def _run(self) -> None:
        block_interrupts()
        numbers: Collection[int] = ()
        while self._serve(numbers):
            numbers = self._poll()
            if self._bell.number in numbers:
                self._bell.silence()
        self._close()

    def _poll(self) -> Collection[int]:
        try:
            return [key.fd for key, _ in self._selector.select(self._period)]
        except OSError:  # on some systems, if one was removed and closed meanwhile
            return ()

    def _close(self) -> None:
        self._selector.close()
        self._bell.close()


class EpollHub(Hub):
    """With two sets, one for each thread."""

    def __init__(self, serve: Callable[[Collection[int]], bool], name: str, period: float | None = None):
        self._serve, self._period = serve, period
        self.thread = Thread(self._run, name)
        self._bell, self._bell_of_run = _Bell(), _Bell()
        self._set, self._set_of_run = select.epoll(), select.epoll()
        self._set.register(self._bell.number, select.EPOLLIN)
        self._set_of_run.register(self._bell_of_run.number, select.EPOLLIN)
        self._lock = threading.Lock()
        self._waiting = self._ended = False
        self._engaged = False
        """Whether the thread of the run has waited since the hub's thread looked."""

    def add(self, number: int) -> None:
        for epoll in self._set_of_run, self._set:
            epoll.register(number, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def remove(self, number: int) -> None:
        for epoll in self._set_of_run, self._set:
            with suppress(FileNotFoundError):
                epoll.unregister(number)

    def wait(self, seconds: float) -> Collection[int]:
        with self._lock:
            if self._ended:
                return ()
            self._waiting = self._engaged = True
        try:
            numbers = [number for number, _ in self._set_of_run.poll(seconds)]
            if self._bell_of_run.number in numbers:
                self._bell_of_run.silence()
            return numbers
        finally:
            with self._lock:
                self._waiting = False
                if self._ended:
                    self._close_set_of_run()

    def wake(self) -> None:
        self._bell_of_run.ring()

    def _poll(self) -> Collection[int]:
        events = self._set.poll(self._period)
        if self._engaged:  # and is likely to wait again at once: two threads at work would only hinder each other
            self._engaged = False
            sleep(BACK_SOON)
            events = self._set.poll(0)
        return [number for number, _ in events]

    def _close(self) -> None:
        self._set.close()
        self._bell.close()
        with self._lock:
            self._ended = True
            if not self._waiting:  # else it does so itself
                self._close_set_of_run()

    def _close_set_of_run(self) -> None:
        self._set_of_run.close()
        self._bell_of_run.close()


new_hub: type[Hub] = EpollHub if hasattr(select, 'EPOLLEXCLUSIVE') else Hub


class _Bell:
    """Ends the wait of a thread, now or the next one."""

    def __init__(self) -> None:
        self._hammer, self._bell = socket.socketpair()
        self._hammer.setblocking(False)
        self._bell.setblocking(False)
        self.number = self._bell.fileno()

    def ring(self) -> None:
        with suppress(OSError):  # it is ringing, or was closed
            self._hammer.send(b'.')

    def silence(self) -> None:
        with suppress(BlockingIOError):
            while self._bell.recv(4096):
                pass

    def close(self) -> None:
        self._hammer.close()
        self._bell.close()
