"""How arrays are pickled for another process: in one piece, or by the path of the file that they are mapped from.

A mapped file is opened again, once for each pickle that has views of it, and only if it is certain to be the one that
the array shows: what has been deleted or replaced meanwhile is copied, and so is what was mapped copy-on-write.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from .shared_memory import LARGE

__all__ = ['COPIED', 'IN_FUNCTION', 'IN_ITEM', 'REOPENED', 'Arrays', 'is_plain', 'thawed']

REOPENED = 1 << 20
"""Bytes from which on a mapped array takes longer to copy than to open again, which is a third of a millisecond."""
MAPS = '/proc/self/maps'


@dataclass(frozen=True)
class Arrays:
    """How arrays are pickled.

    Those of files that are mapped in one of the `modes`, from `reopen` bytes on, by path; if `freeze`, large ones
    read-only.
    """

    reopen: float = inf
    freeze: bool = False
    modes: str = 'r'

    def reduce(self, array: Any, files: dict[int, _File | None]) -> tuple[Any, ...]:
        """What pickle makes an array of, and of a `memmap` that is copied, a plain one; `files` is for one pickle."""
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if isinstance(root, np.memmap) and array.nbytes >= self.reopen and root.mode in self.modes.split():
            if id(root) not in files:
                files[id(root)] = _file_of(root)
            if (file := files[id(root)]) is not None:
                offset = _address(array) - _address(root)
                return _view, (file, type(array) is np.memmap, offset, array.shape, array.strides, array.dtype)
        array = thawed(np.asarray(array))  # it is a copy that arrives
        if array.dtype.kind in 'mM':  # of times, numpy gives no buffers
            return _viewed, (array.view(np.int64), array.dtype)
        reduced: tuple[Any, ...] = (array if array.flags.forc else array.copy(order='K')).__reduce_ex__(5)
        if self.freeze and array.nbytes >= LARGE and len(reduced) == 2:  # more where the data are in the pickle
            return _frozen, reduced
        return reduced


COPIED = Arrays()
IN_FUNCTION = Arrays(reopen=1, freeze=True, modes='r r+ w+')
IN_ITEM = Arrays(reopen=REOPENED)  # a file that is written to may be the buffer of a source, to be filled anew


def is_plain(array: Any) -> bool:
    """Whether numpy's own pickle of an array that is not of a function's is the one that `Arrays` would make."""
    base, flags, kind = array.base, array.flags, array.dtype.kind
    owned = base is None or (type(base) is np.ndarray and base.base is None)
    return owned and flags.forc and flags.writeable and kind in 'biufcSU'


def thawed(array: Any) -> Any:
    """The array, writable if its memory is."""
    if not array.flags.writeable:
        array = array.view()
        with suppress(ValueError):
            array.flags.writeable = True
    return array


def _frozen(make: Any, args: Any) -> Any:
    array = make(*args)
    array.flags.writeable = False
    return array


def _viewed(array: Any, dtype: Any) -> Any:
    return array.view(dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Mapped files


@dataclass
class _File:
    """A part of a file."""

    path: Any
    identity: tuple[int, int]
    start: int
    size: int

    @cached_property
    def memory(self) -> Any:
        memory = np.memmap(self.path, np.uint8, 'r', self.start, (self.size,))
        if _identity(os.stat(self.path)) != self.identity:
            raise OSError(f'{str(self.path)!r} has been replaced since the array was sent')
        return memory


def _view(file: _File, mapped: bool, offset: int, shape: Any, strides: Any, dtype: Any) -> Any:
    array: Any = np.ndarray(shape, dtype, file.memory, offset, strides)
    if mapped:
        array = array.view(np.memmap)
        vars(array).update(vars(file.memory))
    return array


def _file_of(root: Any) -> _File | None:
    """What the array is mapped from, if whoever opens its path sees the same."""
    if root.filename is None or not isinstance(root.base, mmap.mmap):
        return None
    try:
        status = os.stat(root.filename)
        if not _is_mapped(root, os.path.realpath(root.filename), status.st_size):
            return None
    except OSError:
        return None
    return _File(root.filename, _identity(status), root.offset, root.nbytes)


def _is_mapped(root: Any, path: str, size: int) -> bool:
    if not os.path.exists(MAPS):  # only Linux tells where the mapped file is now; a replaced one mostly differs in size
        return bool(root.base.size() == size)
    address = _address(root)
    with open(MAPS, 'rb') as maps:
        for line in maps:
            begin, _, end = line.partition(b' ')[0].partition(b'-')
            if int(begin, 16) <= address < int(end, 16):
                return line.rstrip(b'\n').split(None, 5)[5:] == [os.fsencode(path).replace(b'\n', rb'\012')]
    return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _address(array: Any) -> int:
    return int(array.__array_interface__['data'][0])
