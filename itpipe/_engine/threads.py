"""The threads that a run starts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ['Thread', 'check_running', 'close_for']


class Thread(threading.Thread):
    """A thread that the interpreter does not wait for."""

    def __init__(self, call: Callable[..., object], name: str, *args: Any):
        super().__init__(target=call, name=name, args=args, daemon=True)

    def start(self) -> None:
        """Start it."""
        check_running()
        super().start()


def check_running() -> None:
    """Raise RuntimeError where a thread would never run, and whoever waits for it would wait for ever."""
    if sys.is_finalizing():
        raise RuntimeError('no thread can be started any more: the interpreter is shutting down')


def close_for(threads: Iterable[threading.Thread], close: Callable[[], object]) -> None:
    """Close a run that was let go of, and that these threads belong to.

    It may be one of these in which the garbage collector has found it. Closing waits for them, so another one does it.
    """
    if threading.current_thread() in threads:
        Thread(close, 'itpipe-closing').start()
    else:
        close()
