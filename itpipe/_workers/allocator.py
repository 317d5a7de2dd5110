"""How the C library of a process deals with the memory that arrays have freed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

__all__ = ['keep_freed_memory']

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
KEPT: Final = 1 << 26
"""Bytes of freed memory, at most, that a process does not give back to the system."""
LARGEST: Final = 1 << 25
"""Bytes. Only larger arrays are mapped anew each time. This is the most that glibc allows."""


def keep_freed_memory() -> None:
    """Let glibc, if that is the C library here, keep some of the memory that is freed.

    By default it gives the memory of arrays of 128 kB and more back and asks for it again, and the system clears each
    page anew. For a function that decodes an image, this is a third of its time. If MALLOC_TRIM_THRESHOLD_ or
    MALLOC_MMAP_THRESHOLD_ is set, this does nothing.
    """
    if any(name in os.environ for name in ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_')):
        return
    with suppress(Exception):  # another C library, or none that can be asked
        from ctypes import CDLL

        mallopt = CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGEST)
        mallopt(M_TRIM_THRESHOLD, KEPT)
