"""How the C library of a process deals with the memory that arrays have freed."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import numpy as np

__all__ = ['LARGEST', 'keep_freed_memory']

LARGEST: Final = (1 << 25) - (1 << 13)
"""Bytes, with room for what the C library adds: it keeps no larger array's memory."""


def keep_freed_memory(size: int) -> None:
    """Let glibc, if that is the C library here, keep what it does after it has seen an array of so many bytes freed.

    That is the memory of arrays up to this size, and in all twice as much, for each of its arenas (up to eight for each
    core, shared by all threads). Before, it gives that of arrays of 128 kB and more back and asks for it again, and the
    system clears each page anew. For a function that decodes an image, this is a third of its time. If
    MALLOC_TRIM_THRESHOLD_ or MALLOC_MMAP_THRESHOLD_ is set, glibc does as they say, and this does nothing.
    """
    with suppress(MemoryError):
        np.empty(min(size, LARGEST), np.uint8)
