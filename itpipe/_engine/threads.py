"""Threads that a run starts, and how they are closed."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from itpipe._core.blocks import Blocks

__all__ = ['Helpers', 'Thread', 'block_interrupts', 'check_running', 'close_outside']


class Thread(threading.Thread):
    """A thread that the interpreter does not wait for."""

    def __init__(self, call: Callable[..., object], name: str, *args: Any):
        super().__init__(name=name, daemon=True)
        self._call = partial(call, *args)
        self.blocks = Blocks()
        """The memory of large arrays that are made in it."""

    def run(self) -> None:
        """What the thread does."""
        try:
            self._call()
        finally:
            del self._call  # it may refer to the thread
            self.blocks.close()

    def start(self) -> None:
        """Start it. Raises RuntimeError if the interpreter is shutting down."""
        check_running()
        super().start()


class Helpers:
    """Threads that each do one thing and end. They leave Ctrl-C to the others, as do processes that they start."""

    def __init__(self) -> None:
        self._threads: set[threading.Thread] = set()

    def start(self, name: str, call: Callable[..., object], *args: Any) -> None:
        """Do it in a new thread. Raises RuntimeError if there are too many."""
        thread = Thread(self._run, name, call, args)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.discard(thread)
            raise

    def _run(self, call: Callable[..., object], args: Any) -> None:
        block_interrupts()
        try:
            call(*args)
        finally:
            self._threads.discard(threading.current_thread())

    @property
    def threads(self) -> list[threading.Thread]:
        """Those that have not ended."""
        return list(self._threads)


def block_interrupts() -> None:
    """Leave Ctrl-C to other threads than this one."""
    if hasattr(signal, 'pthread_sigmask'):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def check_running() -> None:
    """Raise RuntimeError if a thread would never run, because whoever waits for it would wait for ever."""
    if sys.is_finalizing():
        raise RuntimeError('no thread can be started any more: the interpreter is shutting down')


def close_outside(threads: Iterable[threading.Thread], close: Callable[[], object]) -> None:
    """Close a run that nobody refers to any more, and that has these threads.

    The garbage collector may be running in one of them. Closing waits for them, so a new thread does it then.
    """
    if threading.current_thread() in threads:
        Thread(close, 'itpipe-closing').start()
    else:
        close()
