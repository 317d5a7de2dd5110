"""Arrays between processes through shared memory, so that what goes through the pipe only says where they are.

The memory is in files without a name, which the process that starts others makes and those inherit, open: there is no
path to find them by, and nothing to unlink. Of one `File`, an `Arena` lends spans, one for the buffers of each message.
The other side, a `Borrower`, maps the file, or reads it where that is not allowed. It either copies a span, or makes
views of it; when the last view is gone, the offset of the span is among `Borrower.returned` and goes back with the next
message, so that the same memory is used again, with the same pages, which is what makes this fast. No one ever waits
for a span: where none is free, the buffers go through the pipe. A message that is too long for the pipe is lent like a
buffer. A view outlives both processes' interest in the file: it holds the mapping.

What all processes of a pool need, the arrays inside of its function, is in a `Block`, which each of them maps.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import FileIO
from pickle import PickleBuffer
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from itpipe._core.nbytes import Shared

__all__ = ['LARGE', 'Arena', 'Block', 'Borrower', 'Buffers', 'File', 'Large', 'Span', 'budget', 'mapped']

LARGE = 1 << 15
"""Bytes from which on a buffer goes through shared memory."""
ALIGNMENT = 64
SHARE = 4
"""The arenas of a pool may together grow to this part of the memory of the machine; memory not lent yet costs none."""
MAPPED = 1 << 26
"""Bytes of a file that are mapped first; more when more are used, as the address space may be limited."""

Bytes: TypeAlias = 'np.ndarray[Any, np.dtype[np.uint8]]'


class Span(NamedTuple):
    """Where in the file the buffers of a message are."""

    offset: int
    sizes: tuple[int, ...]

    def parts(self) -> Iterator[tuple[int, int]]:
        """The offset and the size of each buffer."""
        offset = self.offset
        for size in self.sizes:
            yield offset, size
            offset += _aligned(size)

    @property
    def end(self) -> int:
        return self.offset + sum(map(_aligned, self.sizes))


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


# ---------------------------------------------------------------------------------------------------------------------
# Files


class File:
    """A file without a name, of this process and those that get it as an argument when they are started."""

    def __init__(self, number: int, in_memory: bool, size: int):
        os.set_inheritable(number, False)  # what else is started would hold the memory
        self._file = FileIO(number, 'r+')
        self.size, self._in_memory = size, in_memory
        self._memory: mmap.mmap | None = None

    @classmethod
    def new(cls, size: int) -> File | None:
        """A file of this size, of which what is not used costs nothing; None if it cannot be had."""
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
        get_spawning_popen().duplicate_for_child(number)  # type: ignore[union-attr]  # where it has the same number
        os.set_inheritable(number, False)
        return File, (number, self._in_memory, self.size)

    def mapped(self, end: int) -> mmap.mmap | None:
        """The memory up to there at least; None if it may not be mapped."""
        if self._memory is None or len(self._memory) < end:
            size = min(self.size, max(MAPPED, 1 << (end - 1).bit_length()))
            self._memory = self._map(size) or self._map(end)
        return self._memory

    def read(self, buffer: Any, offset: int) -> None:
        """Fill the buffer with what is there."""
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
        """Write, but not through a mapping: where the disk is full, or memory short, that would kill this process."""
        while buffer:
            count = os.pwrite(self._file.fileno(), buffer, offset)
            buffer, offset = buffer[count:], offset + count

    def private(self) -> mmap.mmap | None:
        """All of the memory; who writes there gets a copy of that page, which nobody else sees."""
        return self._map(self.size, access=mmap.ACCESS_COPY)

    def close(self) -> None:
        """Give the file up; where there are views of it, its memory lives on."""
        self._file.close()  # several threads may come here at once, and the number may be another file's by then
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
        os.unlink(path)  # so that nothing is left of it, however this process ends
    except OSError:  # there, only what is closed can be
        os.close(number)
        os.unlink(path)
        raise
    return _above_stdio(number), False


def _above_stdio(number: int) -> int:
    """The same file by a number that is none of standard input, output and error, which are another's in the child."""
    if number > 2:
        return number
    import fcntl

    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(number)


# ---------------------------------------------------------------------------------------------------------------------
# Lending


class Arena:
    """Memory that this process lends to another one, if there is a file for it. For one thread at a time."""

    def __init__(self, file: File | None):
        self._file = file
        self._lent: dict[int, int] = {}
        self._holes: list[tuple[int, int]] = []  # sizes and where they begin, sorted; and by where they begin and end:
        self._ends: dict[int, int] = {}
        self._begins: dict[int, int] = {}
        if file is not None and file.size:
            self._add(0, file.size)

    def lend(self, buffers: Sequence[PickleBuffer]) -> Buffers:
        """The buffers, copied to where the other side can see them."""
        if not buffers:
            return ()
        raw = [buffer.raw() for buffer in buffers]
        sizes = tuple(each.nbytes for each in raw)
        if (offset := self._find(sum(map(_aligned, sizes)))) is not None:
            span = Span(offset, sizes)
            if self._write(raw, span):
                return span
        return [bytes(each) if each.readonly else bytearray(each) for each in raw]

    def take_back(self, offsets: Sequence[int]) -> None:
        """These spans are not used any more; those unknown are ignored."""
        for begin in offsets:
            if size := self._lent.pop(begin, 0):
                end = begin + size
                if end in self._ends:
                    end = self._remove(end)
                if begin in self._begins:
                    self._remove(begin := self._begins[begin])
                self._add(begin, end)

    @property
    def lent(self) -> int:
        """The number of spans that have not come back."""
        return len(self._lent)

    def close(self) -> None:
        """Give the file up; where there are views of it, its memory lives on."""
        if self._file is not None:
            self._file.close()
        self._holes = []

    def _find(self, size: int) -> int | None:
        # the smallest hole, and the lowest of these, so that what has been used is used again
        place = bisect_left(self._holes, (size, 0))
        if place == len(self._holes):
            return None
        begin = self._holes[place][1]
        end = self._remove(begin)
        if begin + size < end:
            self._add(begin + size, end)
        self._lent[begin] = size
        return begin

    def _add(self, begin: int, end: int) -> None:
        insort(self._holes, (end - begin, begin))
        self._ends[begin], self._begins[end] = end, begin

    def _remove(self, begin: int) -> int:
        end = self._ends.pop(begin)
        del self._begins[end], self._holes[bisect_left(self._holes, (end - begin, begin))]
        return end

    def _write(self, buffers: Sequence[memoryview], span: Span) -> bool:
        """Whether there was room for the buffers; the span is free again where there was none."""
        assert self._file is not None
        try:
            for buffer, (offset, _) in zip(buffers, span.parts(), strict=True):
                self._file.write(buffer, offset)
        except OSError:
            self.take_back([span.offset])
            return False
        return True


class Borrower:
    """The spans of a file that another process has lent to this one."""

    def __init__(self, file: File | None = None) -> None:
        self.file = file
        self.returned: deque[int] = deque()
        """The offsets of the spans of which no view is left; any thread may have appended one."""
        self._leases: dict[int, weakref.ref[Bytes]] = {}

    def views(self, buffers: Buffers) -> Sequence[Any]:
        """The buffers, writable, as arrays of bytes; copies, where the memory cannot be mapped."""
        if not isinstance(buffers, Span):
            return buffers
        assert self.file is not None
        if (memory := self.file.mapped(buffers.end)) is None:
            copies = list(self.copies(buffers))
            self.returned.append(buffers.offset)
            return copies
        whole: Bytes = np.ndarray(buffers.end - buffers.offset, np.uint8, memory, buffers.offset)
        self._leases[buffers.offset] = weakref.ref(whole, partial(self._returned, buffers.offset))
        start = buffers.offset
        return [whole[offset - start : offset - start + size] for offset, size in buffers.parts()]  # hold the lease

    def copies(self, buffers: Buffers) -> Iterator[Any]:
        """The buffers, writable, in memory of this process's own."""
        if not isinstance(buffers, Span):
            yield from buffers
            return
        assert self.file is not None
        memory = self.file.mapped(buffers.end)
        for offset, size in buffers.parts():
            copy: Bytes = np.empty(size, np.uint8)
            if memory is None:
                self.file.read(copy, offset)
            else:
                copy[:] = np.frombuffer(memory, np.uint8, size, offset)
            yield copy

    def give_back(self) -> list[int]:
        """The offsets of the spans that have come free since the last time."""
        offsets = []
        while self.returned:
            offsets.append(self.returned.popleft())
        return offsets

    def _returned(self, offset: int, _: object) -> None:
        del self._leases[offset]
        self.returned.append(offset)


class Block:
    """Buffers that are copied once, to where any number of processes can map them until it is closed."""

    def __init__(self, buffers: Sequence[PickleBuffer]):
        raw = [buffer.raw() for buffer in buffers]
        span = Span(0, tuple(each.nbytes for each in raw))
        self.file = File.new(span.end) if raw else None
        """What the processes need to map them; None if there are none, or the memory for them cannot be had."""
        self.buffers: Span | list[PickleBuffer] = list(buffers) if self.file is None else span
        """Where they are, or, where there is no memory for them, themselves."""
        if self.file is None:
            return
        try:
            for each, (offset, _) in zip(raw, span.parts(), strict=True):
                self.file.append(each, offset)
        except OSError:
            self.close()
            self.file, self.buffers = None, list(buffers)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the file up; where it is mapped, its memory lives on."""
        if self.file is not None:
            self.file.close()


def mapped(file: File | None, buffers: Buffers) -> Iterator[Any]:
    """The buffers of a `Block`; who writes there gets a copy of that page, which nobody else sees."""
    if not isinstance(buffers, Span) or file is None or (memory := file.private()) is None:
        yield from Borrower(file).copies(buffers)
        return
    for offset, size in buffers.parts():
        yield np.frombuffer(memory, np.uint8, size, offset)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
