"""Files without a name, which a process shares with those that it starts.

The processes inherit them, open. There is no path by which another process could find such a file, and nothing to
unlink: the file is gone with the last process that has it, however that one ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from contextlib import suppress
from io import FileIO
from typing import Any

import numpy as np

from itpipe._core.nbytes import Shared

__all__ = ['File']

FIRST_MAPPED = 1 << 26
"""Bytes of a file that are mapped at first, as the address space may be limited; more when more are used."""


class File:
    """A file without a name, of this process and those that get it as an argument when they are started."""

    def __init__(self, number: int, in_memory: bool, size: int):
        os.set_inheritable(number, False)  # other processes that are started would hold the memory
        self._file = FileIO(number, 'r+')
        self.size, self._in_memory = size, in_memory
        self._memory: mmap.mmap | None = None

    @classmethod
    def new(cls, size: int) -> File | None:
        """A file of this size, the unused part of which costs nothing; None if there can be none."""
        if not hasattr(os, 'preadv'):  # no process inherits files there
            return None
        try:
            file = cls(*_nameless(), size)
        except OSError:
            return None
        try:
            file._file.truncate(size)
        except OSError:
            file.close()
            return None
        return file

    def __reduce__(self) -> Any:
        from multiprocessing.context import get_spawning_popen

        number = self._file.fileno()
        get_spawning_popen().duplicate_for_child(number)  # type: ignore[union-attr]  # it has the same number there
        os.set_inheritable(number, False)
        return File, (number, self._in_memory, self.size)

    def mapped(self, end: int) -> mmap.mmap | None:
        """The memory up to there at least; None if it may not be mapped."""
        if self._memory is None or len(self._memory) < end:
            size = min(self.size, max(FIRST_MAPPED, 1 << (end - 1).bit_length()))
            self._memory = self._map(size) or self._map(end)
        return self._memory

    def read(self, buffer: Any, offset: int) -> None:
        """Fill the buffer from the file."""
        memory = memoryview(buffer).cast('B')
        while memory:
            if not (count := os.preadv(self._file.fileno(), [memory], offset)):
                raise OSError(f'there are only {offset} bytes')
            memory, offset = memory[count:], offset + count

    def write(self, buffer: memoryview, offset: int) -> None:
        """Write the buffer there; an OSError where there is no room."""
        end = offset + buffer.nbytes
        if self._in_memory and (memory := self.mapped(end)) is not None:
            np.frombuffer(memory, np.uint8)[offset:end] = np.frombuffer(buffer, np.uint8)
        else:
            self.append(buffer, offset)

    def append(self, buffer: Any, offset: int) -> None:
        """Write, but not through a mapping: if the disk is full, or memory short, that would kill this process."""
        while buffer:
            count = os.pwrite(self._file.fileno(), buffer, offset)
            buffer, offset = buffer[count:], offset + count

    def private(self) -> mmap.mmap | None:
        """All of the memory; a page that is written to becomes a copy, which no other process sees."""
        return self._map(self.size, access=mmap.ACCESS_COPY)

    def close(self) -> None:
        """Close the file; its memory lives on while there are views of it."""
        self._file.close()  # not by the number: several threads may close it, and the number may be another file's then
        self._memory = None

    def _map(self, size: int, **access: Any) -> mmap.mmap | None:
        try:
            return Shared(self._file.fileno(), size, **access)
        except (OSError, ValueError):  # the system allows no more memory, or no more descriptors
            return None


def _nameless() -> tuple[int, bool]:
    """The number of an open file without a name, and whether it is in memory."""
    with suppress(AttributeError, OSError):  # not everywhere, and not always allowed
        return _above_stdio(os.memfd_create('itpipe')), True
    number, path = tempfile.mkstemp(prefix='itpipe-')
    try:
        os.unlink(path)  # at once, so that it is gone however this process ends
    except OSError:  # this system only lets closed files be unlinked
        os.close(number)
        os.unlink(path)
        raise
    return _above_stdio(number), False


def _above_stdio(number: int) -> int:
    """The same file by a number above those of standard input, output and error, which are replaced in the child."""
    if number > 2:
        return number
    import fcntl

    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(number)
