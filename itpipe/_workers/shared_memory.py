"""Arrays between processes through shared memory. The socket only carries where they are.

The parent opens a `File` that the child inherits. An `Arena` lends spans of it, one span for the buffers of each
message. The other side, a `Borrower`, maps the file, or reads it if mapping is not allowed. It copies the buffers of a
span, or makes views of them. When the last view is gone, the span goes back with the next message. So the same memory
is used again, with the same pages, and that is what makes this fast. Nobody ever waits for a span: if none is free, the
buffers go through the socket. A view keeps the mapping, and so outlives the interest of both processes in the file.
"""

from __future__ import annotations

import os
import weakref
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pickle import PickleBuffer
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .files import File

__all__ = ['LARGE', 'Arena', 'Borrower', 'Buffers', 'Large', 'Span', 'arena_memory']

LARGE = 1 << 15
"""Bytes. A buffer of this size or more goes through shared memory."""
ALIGNMENT = 64
ARENA_SHARE = 4
"""The arenas of a pool may together grow to one part in so many of the machine's memory. Unused, they cost none."""

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
"""The buffers of a message: the span with them or, if there is none, the buffers themselves."""


class Large(list[PickleBuffer]):
    """The buffers of a pickle that are worth a span; it is the `buffer_callback` of that pickle."""

    def __call__(self, buffer: PickleBuffer) -> bool:
        if buffer.raw().nbytes < LARGE:
            return True
        self.append(buffer)
        return False


def arena_memory() -> int:
    """The bytes that the arenas of a pool may have together."""
    try:
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // ARENA_SHARE
    except (AttributeError, ValueError, OSError):
        return 1 << 30


class Arena:
    """Memory that this process lends to another one, if there is a file for it. For one thread at a time."""

    def __init__(self, file: File | None):
        self._file = file
        self._lent: dict[int, int] = {}
        """The sizes of the lent spans, by offset."""
        self._holes: list[tuple[int, int]] = []
        """The size and the offset of each hole, sorted."""
        self._ends: dict[int, int] = {}
        """The end of each hole, by its offset …"""
        self._begins: dict[int, int] = {}
        """… and its offset, by its end."""
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

    def release(self, buffers: Buffers) -> None:
        """The span of these buffers, if they have one, is free again."""
        if isinstance(buffers, Span):
            self.take_back((buffers.offset,))

    def take_back(self, offsets: Sequence[int]) -> None:
        """The spans at these offsets are free again; unknown ones are ignored."""
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
        """Close the file and lend nothing more; its memory lives on while there are views of it."""
        if self._file is not None:
            self._file.close()
        for spans in (self._lent, self._holes, self._ends, self._begins):
            spans.clear()

    def _find(self, size: int) -> int | None:
        # of the smallest holes that are large enough, the first, so that used memory is used again
        index = bisect_left(self._holes, (size, 0))
        if index == len(self._holes):
            return None
        begin = self._holes[index][1]
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
        """Whether the system had room for the buffers; if not, the span is free again."""
        assert self._file is not None
        try:
            for buffer, (offset, _) in zip(buffers, span.parts(), strict=True):
                self._file.write(buffer, offset)
        except OSError:
            self.release(span)
            return False
        return True


class Borrower:
    """The spans of a file that another process has lent to this one."""

    def __init__(self, file: File | None = None) -> None:
        self.file = file
        self.returned: deque[int] = deque()
        """The offsets of the spans that no view needs any more; any thread may append one."""
        self._leases: dict[int, weakref.ref[Bytes]] = {}

    def views(self, buffers: Buffers) -> Sequence[Any]:
        """The buffers, writable, as arrays of bytes; copies if the memory cannot be mapped."""
        if not isinstance(buffers, Span):
            return buffers
        assert self.file is not None
        if (memory := self.file.mapped(buffers.end)) is None:
            copies = list(self.copies(buffers))
            self.returned.append(buffers.offset)
            return copies
        start = buffers.offset
        whole: Bytes = np.ndarray(buffers.end - start, np.uint8, memory, start)
        self._leases[start] = weakref.ref(whole, partial(self._return, start))
        return [whole[offset - start : offset - start + size] for offset, size in buffers.parts()]  # these hold `whole`

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
        """The offsets of the spans that have become free since the last time."""
        offsets = []
        while self.returned:
            offsets.append(self.returned.popleft())
        return offsets

    def _return(self, offset: int, _: object) -> None:
        del self._leases[offset]
        self.returned.append(offset)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
