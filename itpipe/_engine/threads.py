"""Threads that a run starts, and how they are closed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ['Thread', 'check_running', 'close_outside', 'have_lock']


class Thread(threading.Thread):
    """A thread that the interpreter does not wait for."""

    def __init__(self, call: Callable[..., object], name: str, *args: Any):
        super().__init__(target=call, name=name, args=args, daemon=True)

    def start(self) -> None:
        """Start it. Raises RuntimeError if the interpreter is shutting down."""
        check_running()
        super().start()


def have_lock() -> bool:
    """Whether the interpreter has a lock, so that only one thread at a time runs Python code."""
    return bool(getattr(sys, '_is_gil_enabled', lambda: True)())


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
