"""Starts processes by loky, and makes them like any other process.

Importing this module imports loky, which is slow. So it is imported only where a process is about to be started.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import threading
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ['Context', 'cpu_count', 'open_standard_streams']


def _import_loky() -> Any:
    try:
        return import_module('loky.backend.context')
    except RuntimeError:
        # loky imports `concurrent.futures.process`, which registers a function for the end of the main thread. If the
        # main thread has ended, and this is a thread that goes on, the function is called when the interpreter ends.
        threading_: Any = threading
        register, threading_._register_atexit = threading_._register_atexit, atexit.register
        try:
            return import_module('loky.backend.context')
        finally:
            threading_._register_atexit = register


_import_loky()

from loky.backend.context import LokyContext, cpu_count  # noqa: E402
from loky.backend.process import LokyProcess  # noqa: E402


class Process(LokyProcess):  # type: ignore[misc]
    """A process that ends with this one, however this one ends."""

    def __init__(self, **options: Any):
        super().__init__(daemon=False, **options)  # it may have children, even if this one is daemonic and may not
        # the start method of its own children: 'loky', which it would inherit, is unknown to most libraries
        method = multiprocessing.get_start_method(allow_none=True)
        self._start_method = method if method in {'fork', 'spawn', 'forkserver'} else None

    def start(self) -> None:
        """Start it, also from a daemonic process, which may have no children because these could outlive it."""
        self._popen = self._Popen(self)
        self._sentinel = self._popen.sentinel

    if sys.platform != 'win32':

        @staticmethod
        def _Popen(process: Any) -> Any:  # noqa: N802
            return _popen()(process)


@cache
def _popen() -> Any:
    from loky.backend.popen_loky_posix import Popen

    class Flushed(Popen):  # type: ignore[misc]
        """Like loky's, but the standard streams may be missing, or fail when they are flushed."""

        __module__ = Popen.__module__  # the child is started by `python -m` with this name

        def __init__(self, process: Any):
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            self.returncode = None
            self._fds: list[int] = []
            self._launch(process)

    return Flushed


class Context(LokyContext):  # type: ignore[misc]
    """Starts such processes."""

    Process = Process


def open_standard_streams() -> None:
    """Connect the closed ones of the descriptors 0, 1 and 2 to nothing, for good.

    In a daemon they are closed. Other files would get these numbers, and be read and written as standard streams.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            connect_to_nothing(number)


def connect_to_nothing(number: int) -> None:
    """Make the descriptor one that has nothing to read. It discards what is written, if there is a null device."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
    except OSError:
        nothing, end = os.pipe()
        os.close(end)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
    os.set_inheritable(number, True)
