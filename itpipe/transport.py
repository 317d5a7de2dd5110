"""Arrays between processes through shared memory, so that what goes through the pipe only says where they are.

Each side that sends owns an `Arena`: one file without a name, of which it lends spans, one for the buffers of each
message. The other side maps the file once and makes views of a span. When the last view is gone, the offset of the span
is among `Borrower.returned` and goes back with the next message, so that the same memory is used again, with the same
pages, which is what makes this fast. No one ever waits for a span: where none is free, the buffers go through the pipe.
A message that is too long for the pipe is lent like a buffer. A view outlives both processes' interest in the file: it
holds the mapping.

What all processes of a pool need, the arrays inside of its function, is in a `Block`, which each of them maps.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from bisect import insort
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from io import FileIO
from pickle import PickleBuffer
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .memory import Shared

__all__ = ['LARGE', 'Arena', 'Block', 'Borrower', 'Buffers', 'Large', 'Span', 'budget', 'mapped']

LARGE = 1 << 15
"""Bytes from which on a buffer goes through shared memory."""
ALIGNMENT = 64
SHARE = 4
"""The arenas of a pool may together grow to this part of the memory of the machine; memory not lent yet costs none."""

Bytes: TypeAlias = 'np.ndarray[Any, np.dtype[np.uint8]]'


class Span(NamedTuple):
    """Where the buffers of a message are."""

    path: str
    size: int
    offset: int
    sizes: tuple[int, ...]


Buffers: TypeAlias = 'Span | list[bytearray | bytes] | tuple[()]'
"""The buffers of a message: where they are, or, without a span for them, themselves."""


class Large(list[PickleBuffer]):
    """The buffers of a pickle that are worth a span; to be its `buffer_callback`."""

    def __call__(self, buffer: PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE:
            return True
        self.append(buffer)
        return False


def budget() -> int:
    """The bytes that the arenas of a pool may have together."""
    try:
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // SHARE
    except (AttributeError, ValueError, OSError):
        return 1 << 30


class Arena:
    """Memory of this process that it lends to others; made when first needed. For one thread at a time."""

    def __init__(self, size: int):
        self.size = size
        self._free = [(0, size)]
        self._lent: dict[int, int] = {}
        self._file: FileIO | None = None
        self._path = ''
        self._memory: Bytes | None = None

    def lend(self, buffers: Sequence[PickleBuffer]) -> Buffers:
        """The buffers, copied to where the other side can see them."""
        if not buffers:
            return ()
        raw = [buffer.raw() for buffer in buffers]
        sizes = tuple(each.nbytes for each in raw)
        offset = self._find(sum(map(_aligned, sizes)))
        if offset is None or not self._write(raw, offset):
            return [bytes(each) if each.readonly else bytearray(each) for each in raw]
        return Span(self._path, self.size, offset, sizes)

    def take_back(self, offsets: Sequence[int]) -> None:
        """These spans are not used any more; those unknown are ignored."""
        for offset in offsets:
            if size := self._lent.pop(offset, 0):
                insort(self._free, (offset, offset + size))
        if offsets:
            self._free = _joined(self._free)

    @property
    def lent(self) -> int:
        """The number of spans that have not come back."""
        return len(self._lent)

    def close(self) -> None:
        """Give the file up; where there are views of it, its memory lives on."""
        if (file := self._file) is not None:  # several threads may come here at once
            _give_up(file, self._path)
        self._file = self._memory = None
        self._free = []

    def _find(self, size: int) -> int | None:
        # the lowest, so that what has been used is used again
        for i, (start, end) in enumerate(self._free):
            if end - start >= size:
                if self._memory is None and not self._open():
                    break
                self._lent[start] = size
                self._free[i : i + 1] = [(start + size, end)] if end - start > size else []
                return start
        return None

    def _write(self, buffers: Sequence[memoryview], offset: int) -> bool:
        """Whether there was room for the buffers; the span is free again where there was none."""
        file, memory, start = self._file, self._memory, offset
        assert file is not None
        assert memory is not None
        for buffer in buffers:
            if hasattr(os, 'memfd_create'):
                memory[start : start + buffer.nbytes] = np.frombuffer(buffer, np.uint8)
            elif not _fill(file, buffer, start):
                self.take_back([offset])
                return False
            start += _aligned(buffer.nbytes)
        return True

    def _open(self) -> bool:
        try:
            self._file, self._path = _new_file()
            self._file.truncate(self.size)
            self._memory = np.frombuffer(mmap.mmap(self._file.fileno(), self.size), np.uint8)
        except OSError:
            self.close()
            return False
        return True


class Borrower:
    """The spans that another process has lent to this one."""

    def __init__(self, alone: bool = False) -> None:
        self._alone = alone  # the only one who borrows from that process
        self.returned: deque[int] = deque()
        """The offsets of the spans of which no view is left; any thread may have appended one."""
        self._memory: mmap.mmap | None = None
        self._leases: dict[int, weakref.ref[Bytes]] = {}

    def views(self, buffers: Buffers) -> Sequence[Any]:
        """The buffers, writable, as arrays of bytes."""
        if not isinstance(buffers, Span):
            return buffers
        if self._memory is None:
            self._memory = self._mapped(buffers)
        whole: Bytes = np.ndarray(sum(map(_aligned, buffers.sizes)), np.uint8, self._memory, buffers.offset)
        self._leases[buffers.offset] = weakref.ref(whole, partial(self._returned, buffers.offset))
        return _parts(whole, buffers.sizes)  # which hold `whole`, and with it the lease

    def give_back(self) -> list[int]:
        """The offsets of the spans that have come free since the last time."""
        offsets = []
        while self.returned:
            offsets.append(self.returned.popleft())
        return offsets

    def _mapped(self, span: Span) -> mmap.mmap:
        file = os.open(span.path, os.O_RDWR)
        try:
            return Shared(file, span.size)
        finally:
            os.close(file)
            if self._alone and not span.path.startswith('/proc/'):
                os.unlink(span.path)

    def _returned(self, offset: int, _: object) -> None:
        del self._leases[offset]
        self.returned.append(offset)


class Block:
    """Buffers that are copied once, to where any number of processes can map them until it is closed."""

    def __init__(self, buffers: Sequence[PickleBuffer]):
        self.span: Span | None = None
        """Where they are; None if there are none, or the memory for them cannot be had."""
        self._file: FileIO | None = None
        self._path = ''
        try:
            if buffers:
                self.span = self._copied(buffers)
        except OSError:
            self.close()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file up; where it is mapped, its memory lives on."""
        if (file := self._file) is not None:  # several threads may come here at once
            _give_up(file, self._path)
        self._file = None

    def _copied(self, buffers: Sequence[PickleBuffer]) -> Span:
        self._file, self._path = _new_file()
        sizes = []
        # By writing: where memory is short, that is an error, and to touch what `truncate` has promised a fatal signal.
        with open(self._file.fileno(), 'wb', closefd=False) as file:
            for buffer in buffers:
                raw = buffer.raw()
                file.write(raw)
                file.write(bytes(_aligned(raw.nbytes) - raw.nbytes))
                sizes.append(raw.nbytes)
        return Span(self._path, sum(map(_aligned, sizes)), 0, tuple(sizes))


def mapped(buffers: Buffers) -> Sequence[Any]:
    """The buffers of a `Block`; who writes there gets a copy of that page, which nobody else sees."""
    if not isinstance(buffers, Span):
        return buffers
    file = os.open(buffers.path, os.O_RDONLY)
    try:
        memory = mmap.mmap(file, buffers.size, access=mmap.ACCESS_COPY)
    finally:
        os.close(file)
    return _parts(np.frombuffer(memory, np.uint8), buffers.sizes)


def _new_file() -> tuple[FileIO, str]:
    """A file, without a name if possible, and the path by which other processes can open it."""
    if hasattr(os, 'memfd_create'):
        number, name = os.memfd_create('itpipe'), ''
    else:
        number, name = tempfile.mkstemp(prefix='itpipe-')
    file, path = FileIO(number, 'r+'), f'/proc/{os.getpid()}/fd/{number}'
    try:
        os.close(os.open(path, os.O_RDWR))  # which does not work where there is no /proc
    except OSError:
        if name:
            return file, name
        file.close()
        raise
    if name:
        os.unlink(name)  # so that nothing is left of it, however this process ends
    return file, path


def _give_up(file: FileIO, path: str) -> None:
    file.close()  # again: does nothing, where the number may be another file's by then
    if not path.startswith('/proc/'):
        with suppress(OSError):  # the other side may have done it
            os.unlink(path)


def _fill(file: FileIO, buffer: memoryview, start: int) -> bool:
    """Write the buffer there; not through the mapping, where a disk that is full would kill this process."""
    file.seek(start)
    try:
        while buffer:
            buffer = buffer[file.write(buffer) :]
    except OSError:
        return False
    return True


def _parts(whole: Bytes, sizes: Sequence[int]) -> list[Bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(whole[start : start + size])
        start += _aligned(size)
    return parts


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    result = spans[:1]
    for start, end in spans[1:]:
        if start == result[-1][1]:
            result[-1] = (result[-1][0], end)
        else:
            result.append((start, end))
    return result
