"""How arrays are pickled for another process: in one piece, or by the path of the file that they are mapped from.

The other process opens the mapped file again, once for each pickle with views of it. This is only done if the path
certainly still leads to the mapped file. An array of a file that was deleted or replaced is copied, and so is one that
was mapped copy-on-write.
"""

from __future__ import annotations

import mmap
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Any

import numpy as np

from .shared_memory import LARGE

__all__ = ['COPIED', 'IN_FUNCTION', 'IN_ITEM', 'REOPENED', 'Arrays', 'is_plain_array', 'reduce_plain_array', 'thawed']

REOPENED = 1 << 20
"""Bytes. A larger mapped array takes longer to copy than to open again, which takes a third of a millisecond."""
MAPS = '/proc/self/maps'


@dataclass(frozen=True)
class Arrays:
    """How arrays are pickled.

    Arrays of `reopen` bytes or more that are mapped from files in one of the `modes` go by path. If `freeze`, large
    arrays arrive read-only.
    """

    reopen: float = inf
    freeze: bool = False
    modes: str = 'r'

    def reduce(self, array: Any, files: dict[int, _File | None]) -> tuple[Any, ...]:
        """How pickle makes the array again; a copied `memmap` becomes a plain array. `files` is for one pickle."""
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if isinstance(root, np.memmap) and array.nbytes >= self.reopen and root.mode in self.modes.split():
            if id(root) not in files:
                files[id(root)] = _file_of(root)
            if (file := files[id(root)]) is not None:
                offset = _address(array) - _address(root)
                return _view, (file, type(array) is np.memmap, offset, array.shape, array.strides, array.dtype)
        array = thawed(np.asarray(array))  # the other process gets a copy, which it may write to
        if array.dtype.kind in 'mM':  # numpy gives no buffers of times
            return _viewed, (array.view(np.int64), array.dtype)
        reduced: tuple[Any, ...] = (array if array.flags.forc else array.copy(order='K')).__reduce_ex__(5)
        if self.freeze and array.nbytes >= LARGE and len(reduced) == 2:  # it is longer if the data are in the pickle
            return _frozen, reduced
        return reduced


COPIED = Arrays()
IN_FUNCTION = Arrays(reopen=1, freeze=True, modes='r r+ w+')
IN_ITEM = Arrays(reopen=REOPENED)  # only mode 'r': a source may fill a writable mapping anew


def is_plain_array(array: Any) -> bool:
    """Whether numpy pickles the array, if it is not inside the function, as `Arrays` would."""
    base, flags, dtype = array.base, array.flags, array.dtype
    owned = base is None or (type(base) is np.ndarray and base.base is None)
    return owned and flags.forc and flags.writeable and dtype.kind in 'biufcSU' and dtype.metadata is None


def reduce_plain_array(array: Any) -> tuple[Any, ...]:
    """How pickle makes such an array again, in a third of the time that it takes with numpy's own way."""
    order = 'C' if array.flags.c_contiguous else 'F'
    return np.ndarray, (array.shape, array.dtype.str, pickle.PickleBuffer(array), 0, None, order)


def thawed(array: Any) -> Any:
    """The array, writable if its memory is writable."""
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
    """The file that the array is mapped from, if its path still leads to that file."""
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
    if not os.path.exists(MAPS):  # only Linux tells the path; a file that was replaced mostly has another size
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
