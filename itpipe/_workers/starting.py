"""Starts processes by loky, and lets everything be in them as it is in any other process.

loky is imported with this module, which therefore is imported where a process is about to be started.
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
        # It imports `concurrent.futures.process`, which wants to be told when the main thread ends. Where that has
        # ended, and this is a thread that goes on, there is only the end of the interpreter left to be told of.
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
    """A process that ends with this one, however this one does."""

    def __init__(self, **options: Any):
        super().__init__(daemon=False, **options)  # it may have children, even if this one is daemonic and may not
        # Else those would be started as loky does, which few ways of starting them take for a method.
        method = multiprocessing.get_start_method(allow_none=True)
        self._start_method = method if method in {'fork', 'spawn', 'forkserver'} else None

    def start(self) -> None:
        """Start it, also from a daemonic process: what is not to outlive such a one does not outlive it."""
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
        """As loky's, but for standard streams that are not there, or take nothing."""

        __module__ = Popen.__module__  # which Python is started with

        def __init__(self, process: Any):
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            self.returncode = None
            self._fds: list[int] = []
            self._launch(process)

    return Flushed


class Context(LokyContext):  # type: ignore[misc]
    """What starts such processes."""

    Process = Process


def open_standard_streams() -> None:
    """Let nothing else be opened as one of the descriptors 0, 1 and 2, to which others read and write.

    Those that are closed, as in a daemon, are opened and stay so: to nothing.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            connect_to_nothing(number)


def connect_to_nothing(number: int) -> None:
    """Let the descriptor be one that has nothing to read, and takes what is written if there is a null device."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
    except OSError:
        nothing, end = os.pipe()
        os.close(end)
    if nothing != number:
        os.dup2(nothing, number)
        os.close(nothing)
    os.set_inheritable(number, True)
