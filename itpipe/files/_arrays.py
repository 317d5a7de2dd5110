"""Rows of arrays in HDF5 and Zarr files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from math import prod
from os import PathLike, fspath
from traceback import clear_frames
from typing import Any

import numpy as np

from itpipe._core.show import format_call
from itpipe._core.tracebacks import related

from ._opening import OPEN, Kept, existing, listed, needed, note_read, open_file

__all__ = ['hdf5', 'zarr']


def hdf5(path: str | PathLike[str], *names: str) -> Any:
    """The rows of arrays in an HDF5 file: numpy arrays, or numbers where an array has one axis.

    `path` is a path or a URL that fsspec knows. `names` are those of the arrays, such as `'train/images'`. With one, an
    item is the row itself, with several a tuple of the rows. The first axis counts the items; it is as long in all of
    them. The file is opened once in each process and thread, so an open `h5py.Dataset` need not be sent to processes.
    Each thread keeps the rows of the chunk that it read last, up to 32 MiB for each array. So rows in order are read
    fast; for a random row, its chunk is read.

    It needs h5py. Raises FileNotFoundError if the file is not there, TypeError if there are no names. When the length
    or the first item is asked for, raises KeyError for a name that is not there, and ValueError for a group, a single
    value and arrays of different lengths.

    >>> import h5py, os, tempfile  # doctest: +SKIP
    >>> path = os.path.join(tempfile.mkdtemp(), 'data.h5')  # doctest: +SKIP
    >>> with h5py.File(path, 'w') as file:  # doctest: +SKIP
    ...     file['images'], file['labels'] = np.zeros((3, 8, 8)), [4, 5, 6]
    >>> image, label = hdf5(path, 'images', 'labels')[2]  # doctest: +SKIP
    >>> image.shape, int(label)  # doctest: +SKIP
    ((8, 8), 6)

    See also: `zarr`.
    """
    return _Arrays('hdf5', path, names)


def zarr(path: str | PathLike[str], *names: str) -> Any:
    """The rows of arrays in a Zarr store: numpy arrays, or numbers where an array has one axis.

    `path` is a path or a URL that fsspec knows, of an array, or of a group if there are `names`. Items are as for
    `hdf5`.

    It needs zarr. Raises FileNotFoundError if the store is not there. When the length or the first item is asked for,
    raises KeyError for a name that is not there, and ValueError for a group, a single value and arrays of different
    lengths.

    >>> import os, tempfile, zarr as zarr_library  # doctest: +SKIP
    >>> path = os.path.join(tempfile.mkdtemp(), 'data.zarr')  # doctest: +SKIP
    >>> zarr_library.save_array(path, np.arange(6).reshape(3, 2))  # doctest: +SKIP
    >>> zarr(path)[2]  # doctest: +SKIP
    array([4, 5])

    See also: `hdf5`.
    """
    return _Arrays('zarr', path, names)


BLOCK = 1 << 25
"""Bytes of rows that a thread keeps for each array, at most."""


class _Arrays(Sequence[Any]):
    def __init__(self, name: str, path: str | PathLike[str], names: tuple[str, ...]):
        if not isinstance(path, (str, PathLike)):
            raise TypeError(f'{name}: `path` must be a path, got {type(path).__name__}')
        if not all(isinstance(each, str) for each in names) or (name == 'hdf5' and not names):
            raise TypeError(f'{name}: `names` must be the names of one or more arrays, got {names!r}')
        self.name, self.names = name, names
        self.path = existing(name, fspath(path), 'file' if name == 'hdf5' else 'store')
        self._open = Kept(_open_hdf5 if name == 'hdf5' else _open_zarr)
        self._array = Kept(partial(_array_of, self._open), max(OPEN, len(names)))
        self._block = Kept(partial(_block_of, self._array), max(1, len(names)))
        self._size: int | None = None

    def _row(self, name: str, row: int) -> Any:
        if self.name == 'hdf5':
            _check_size(self._open(self.path))
        array, rows = self._array(self.path, name)
        if rows > 1:
            return self._block(self.path, name, row // rows)[row % rows].copy()
        found = array[row]
        return found if isinstance(found, (bytes, str)) else np.asarray(found)[()]

    def _lengths(self) -> dict[str, int]:
        """The lengths of the arrays by their names; an error says which are none."""
        opened = self._open(self.path)
        if self.names and not _is_group(opened):
            raise ValueError(f'{self.name}: {self.path!r} is an array, not a group: give no names, got {self.names!r}')
        lengths = {}
        for name in self.names or ['']:
            try:
                found = opened[name] if name else opened
            except KeyError:
                raise KeyError(
                    f'{self.name}: there is no array {name!r} in {self.path!r}, only {listed(_names(opened))}'
                ) from None
            what = f'{name!r} in {self.path!r}' if name else repr(self.path)
            if _is_group(found):
                inside = listed('/'.join([*[name] * bool(name), each]) for each in _names(found))
                raise ValueError(f'{self.name}: {what} is a group; give the names of arrays, here {inside}')
            if not found.shape:
                raise ValueError(f'{self.name}: {what} is a single value, which has no rows')
            lengths[name] = int(found.shape[0])
        return lengths

    def __len__(self) -> int:
        if self._size is None:
            try:
                lengths = self._lengths()
            except Exception as error:
                self._note(error, 'the head')
                raise
            if len({*lengths.values()}) > 1:
                raise ValueError(f'{self.name}: arrays must be of the same length, got {lengths}')
            self._size = next(iter(lengths.values()))
        return self._size

    def __getitem__(self, index: Any) -> Any:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f'{self.name}: there are {size} rows, but no row {index}')
        row = int(index % size)
        rows = []
        for name in self.names or ['']:
            try:
                rows.append(self._row(name, row))
            except Exception as error:
                self._note(error, f'row {row} of {name!r}' if name else f'row {row}')
                raise
        return tuple(rows) if len(rows) > 1 else rows[0]

    def _note(self, error: Exception, what: str) -> None:
        """Note what was read. What the traceback holds goes here, in the thread that read.

        h5py has a lock, which this thread held while it waited for the thread of fsspec. That one has the error, too,
        and would wait for the lock if it were the one to free what is of h5py.
        """
        for name in self.names or ['']:
            self._array.forget(self.path, name)
        note_read(error, self.path, what, self._open)
        if '://' in self.path:
            for each in related(error):
                clear_frames(each.__traceback__)

    def __repr__(self) -> str:
        return format_call(self.name, (self.path, *self.names), {})


def _array_of(opened: Kept[Any], path: str, name: str) -> tuple[Any, int]:
    """An array, and how many of its rows are read together: those of a chunk, which is read as a whole for each."""
    array = opened(path)[name] if name else opened(path)
    if array.chunks is None or array.dtype.hasobject or array.dtype.kind == 'T':
        return array, 1
    rows = int(array.chunks[0])
    return array, rows if rows * prod(array.shape[1:]) * array.dtype.itemsize <= BLOCK else 1


def _block_of(arrays: Kept[tuple[Any, int]], path: str, name: str, number: int) -> Any:
    array, rows = arrays(path, name)
    return np.asarray(array[number * rows : (number + 1) * rows])


def _open_hdf5(path: str) -> Any:
    return needed('h5py', 'HDF5 files').File(open_file(path) if '://' in path else path, 'r')


def _check_size(file: Any) -> None:
    """Raise an error for a file that was shortened while it is open: HDF5 would take what is missing for zeros."""
    if file.driver == 'sec2' and os.fstat(file.id.get_vfd_handle()).st_size < file.id.get_filesize():
        raise OSError('hdf5: the file was shortened while it was open')


def _open_zarr(path: str) -> Any:
    return needed('zarr', 'Zarr stores').open(path, mode='r')


def _is_group(found: Any) -> bool:
    return not hasattr(found, 'shape')


def _names(group: Any) -> list[str]:
    """The names of the arrays in a group and the groups within."""
    if hasattr(group, 'members'):
        return sorted(name for name, found in group.members(max_depth=None) if not _is_group(found))
    names: list[str] = []
    group.visititems(lambda name, found: None if _is_group(found) else names.append(name))
    return names
