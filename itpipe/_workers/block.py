"""Memory that is the same for all processes of a pool: the large arrays inside the function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pickle import PickleBuffer
from typing import Any, Final

import numpy as np

from .files import File
from .shared_memory import Borrower, Buffers, Span

__all__ = ['Block', 'mapped']

PART: Final = 1 << 18
"""Bytes that are compared at a time, so that what comes of it stays in the cache."""


class Block:
    """Buffers that are copied once, to where any number of processes can map them until it is closed."""

    def __init__(self, buffers: Sequence[PickleBuffer]):
        raw = [buffer.raw() for buffer in buffers]
        span = Span(0, tuple(each.nbytes for each in raw))
        self.file = File.new(span.end) if raw else None
        """The file that the processes map; None if there are no buffers, or no memory for them."""
        self.buffers: Span | list[PickleBuffer] = list(buffers) if self.file is None else span
        """Where they are or, without a file, the buffers themselves."""
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

    def holds(self, buffers: Sequence[PickleBuffer]) -> bool:
        """Whether these have the same contents."""
        if self.file is None:
            held = [buffer.raw() for buffer in self.buffers]  # type: ignore[union-attr]
        else:
            held = [memoryview(each) for each in mapped(self.file, self.buffers)]  # type: ignore[arg-type]
        given = [buffer.raw() for buffer in buffers]
        return len(held) == len(given) and all(map(_same, held, given))

    def close(self) -> None:
        """Close the file; its memory lives on where it is mapped."""
        if self.file is not None:
            self.file.close()


def _same(one: memoryview, other: memoryview) -> bool:
    if one.nbytes != other.nbytes:
        return False
    first, second = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    parts = (slice(start, start + PART) for start in range(0, len(first), PART))
    return all(np.array_equal(first[part], second[part]) for part in parts)


def mapped(file: File | None, buffers: Buffers) -> Iterator[Any]:
    """The buffers of a `Block`; a page that is written to becomes a copy, which no other process sees."""
    if not isinstance(buffers, Span) or file is None or (memory := file.private()) is None:
        yield from Borrower(file).copies(buffers)
        return
    for offset, size in buffers.parts():
        yield np.frombuffer(memory, np.uint8, size, offset)
