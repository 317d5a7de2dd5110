"""Memory for large arrays that is used again when the last view of it is gone.

The system clears each page of fresh memory, which takes as long as to write a batch. Whether the C library keeps what
was freed depends on thresholds that it moves itself: batches of one size are then made fast in one run, and slowly in
the next, and batches of more than 32 MiB are always slow. So a thread of a run lends memory of its own to the batches
that it makes.
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .allocator import keep_freed_memory
from .snapshots import snapshot

if TYPE_CHECKING:
    from .nbytes import Shared

__all__ = ['SMALLEST', 'Blocks', 'empty', 'lends']

SMALLEST: Final = 1 << 19
"""Bytes. Smaller arrays are left to the C library."""
HUGE: Final = 1 << 22
"""Bytes from which on the system is asked for huge pages, as numpy does."""
MOST: Final = 64
"""The most blocks that a thread keeps for later …"""
KEPT: Final = 1 << 26
"""… and the most bytes, unless one block has more. There may be many threads."""


class Blocks:
    """The memory of arrays that one thread makes. Any thread may let go of the arrays."""

    def __init__(self) -> None:
        self._idle: deque[Shared] = deque()
        """What may be used again, the latest last."""
        self._lent: dict[int, tuple[Shared, weakref.ref[Any]]] = {}
        """The blocks that are in use, by id, each with the array that all its views hold."""
        self._closed = False

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """As `np.empty`."""
        size = math.prod(shape) * dtype.itemsize
        block = self._find(size)
        if block is None:
            import mmap

            from .nbytes import Shared

            keep_freed_memory(size)  # of the items: the C library does not see this array, and learns nothing of it
            try:
                block = Shared(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            except OSError:
                return np.empty(shape, dtype)
            if size >= HUGE and hasattr(mmap, 'MADV_HUGEPAGE'):
                with suppress(OSError):
                    block.madvise(mmap.MADV_HUGEPAGE)
        whole: np.ndarray[Any, Any] = np.ndarray(len(block), np.uint8, block)
        self._lent[id(block)] = block, weakref.ref(whole, partial(self._take_back, id(block)))
        return np.ndarray(shape, dtype, whole)  # which numpy lets hold `whole`, as all views of it do

    def _find(self, size: int) -> Shared | None:
        """A block that is not much larger than this."""
        for _ in range(len(self._idle)):
            try:
                block = self._idle.pop()
            except IndexError:  # another thread has let it go
                break
            if size <= len(block) <= 1.5 * size:
                return block
            self._idle.appendleft(block)
        return None

    def _take_back(self, block: int, _: object) -> None:
        if (lent := self._lent.pop(block, None)) is None:
            return
        self._idle.append(lent[0])
        del lent
        with suppress(IndexError):
            while self._has_too_many():
                self._idle.popleft()

    def _has_too_many(self) -> bool:
        idle = snapshot(self._idle)
        return len(idle) > (0 if self._closed else 1) and (
            self._closed or len(idle) > MOST or sum(map(len, idle)) > KEPT
        )

    def close(self) -> None:
        """Keep nothing any more. Arrays stay as they are, and each takes its memory with it."""
        self._closed = True
        self._lent.clear()
        self._idle.clear()


def lends(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Blocks | None:
    """What the current thread has for such an array, if it is large."""
    if math.prod(shape) * dtype.itemsize < SMALLEST or dtype.hasobject:
        return None
    import mmap  # these two are slow to import, and only threads have blocks
    import threading

    blocks = getattr(threading.current_thread(), 'blocks', None)
    return blocks if isinstance(blocks, Blocks) and hasattr(mmap, 'MAP_ANONYMOUS') else None


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """As `np.empty`, but a large array in a thread of a run may have memory that is used again."""
    return np.empty(shape, dtype) if (blocks := lends(shape, dtype)) is None else blocks.empty(shape, dtype)
