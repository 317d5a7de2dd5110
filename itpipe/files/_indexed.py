"""Files that are read once to find where their items are, and the index that comes of it."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from typing import Any, BinaryIO
from warnings import warn

import numpy as np

from itpipe._core.show import format_call, format_value, non_defaults
from itpipe._engine.stacks import user_stacklevel

from ._index_files import Arrays, Identity, State, load, path_of, store
from ._joined import Joined
from ._opening import Kept, needed, note_read, open_exactly, open_file, reading

__all__ = ['Indexed', 'check_index']

BESIDE = 'beside'
UNUSABLE = (OSError, ValueError)
DIGEST = 'digest'
"""In the file of an index: the digest of its other arrays. It tells a process that has none of them what they were."""
NEAR = 1 << 16
"""Bytes between two reads that follow each other: heads, padding, and what is left out."""
MOST_AHEAD = 5 << 20
"""Bytes that are read ahead at a URL."""
STAMPS = (
    'ETag', 'etag', 'e_tag', 'Content-MD5', 'md5Hash', 'generation', 'mtime', 'LastModified', 'last_modified',
    'Last-Modified', 'modified', 'created',
)  # fmt: skip
"""What file systems of fsspec say of a file that changes when it is written again; the first that is there counts."""


def check_index(where: str, index: Any, paths: list[str]) -> str | None:
    """`index`, a folder by its absolute path."""
    if index is None:
        return None
    place = os.fspath(index) if isinstance(index, (str, os.PathLike)) else None
    if not isinstance(place, str):
        raise TypeError(f"{where}: `index` must be None, 'beside' or a folder, got {format_value(index)}")
    if '://' in place:
        raise ValueError(f'{where}: `index` must be a folder on this machine, got {place!r}')
    if place != BESIDE:
        return os.path.abspath(os.path.expanduser(place))
    if remote := next((path for path in paths if '://' in path), None):
        raise ValueError(
            f"{where}: with `index='beside'`, files must be on this machine, got {remote!r}: give a folder"
        )
    return BESIDE


class Indexed(Joined):
    """Items in files that have to be read as a whole once, to know where their items are.

    What is found is arrays. They are in memory, or, with `index`, in files, of which each thread maps those that it
    uses. Where such a file is gone or was made of other data, the data is read again, and has to have its items where
    they were when they were counted.
    """

    def __init__(self, name: str, paths: list[str], index: str | None):
        super().__init__()
        self.name, self.paths, self.place = name, paths, index
        self._open, self._load = Kept(_Opened), Kept(load)
        folder = None if index == BESIDE else index
        self._stored_at = [] if index is None else [path_of(name, path, folder) for path in paths]
        self._identities: list[Identity] = []
        """What each file was when its index was made."""
        self._digests: list[tuple[dict[str, int], bytes]] = []
        """How many numbers each array of its index had, and a digest of them."""
        self._in_memory: dict[int, Arrays] = {}
        """The indices that are in no file, by the numbers of the parts."""
        self._looked_again: dict[int, tuple[State, bool]] = {}
        """For files that were changed: what they were then, and whether the index holds for that, too."""

    def find(self, file: BinaryIO, path: str) -> Arrays:
        """The index of this file."""
        raise NotImplementedError

    def count(self, arrays: Arrays) -> int:
        """How many items a file with this index has."""
        raise NotImplementedError

    def sizes(self) -> list[int]:
        made_of, digests, in_memory, sizes = [], [], {}, []
        failed: OSError | None = None
        for part, path in enumerate(self.paths):
            with reading(path, 'the index'):
                identity = _identity(path)
                try:
                    arrays = self._stored(part, identity)
                except UNUSABLE:
                    arrays = self._found(path)
                    digest = np.frombuffer(_digest(arrays), np.uint8)
                    arrays = in_memory[part] = arrays | {DIGEST: digest}
                    if self.place is not None and _identity(path) == identity:  # else it is still being written
                        try:
                            store(self._stored_at[part], identity, arrays)
                            del in_memory[part]
                        except OSError as error:
                            failed = failed or error
            made_of.append(identity)
            lengths = {name: len(array) for name, array in arrays.items() if name != DIGEST}
            digests.append((lengths, arrays[DIGEST].tobytes()))
            sizes.append(self.count(arrays))
        self._identities, self._digests, self._in_memory = made_of, digests, in_memory
        if failed is not None:
            warn(
                f'{self.name}: where the items are is kept in memory only, as it cannot be stored: {failed}',
                stacklevel=user_stacklevel(),
            )
        return sizes

    def _made_of(self) -> Any:
        """What a `cache` behind it depends on: not on where the index is kept."""
        len(self)  # finds out what the files are
        return self.name, self.paths, self._identities

    def arrays(self, part: int) -> Arrays:
        """The index of this file."""
        if part not in self._in_memory:
            try:
                return self._stored(part, self._identities[part])
            except UNUSABLE:
                with reading(self.paths[part], 'the index'):
                    state = _identity(self.paths[part])[1:]
                    again = None if self._looked_again.get(part) == (state, False) else self._found_again(part)
                    if again is None:
                        self._looked_again[part] = state, False
                        raise self._changed() from None
                    self._in_memory[part] = again
        return self._in_memory[part]

    def read(self, part: int, begin: int, size: int, what: str, more: int = 0) -> bytes:
        """These bytes of this file, which are `what` to the reader of an error. `more` are asked for next."""
        path = self.paths[part]
        try:  # not by a context manager, which would take as long as the rest
            opened = self._open(path)
            if (now := opened.state()) != self._identities[part][1:] and not self._holds_for(part, now):
                raise self._changed()
            data = opened.read(begin, size, more)
            if len(data) < size:
                raise OSError(f'{self.name}: the file ends after {len(data)} of {size} bytes')
        except Exception as error:
            note_read(error, path, what, self._open)
            raise
        return data

    def _stored(self, part: int, made_of: Identity) -> Arrays:
        if self.place is None:
            raise FileNotFoundError
        return self._load(self._stored_at[part], made_of)

    def _found(self, path: str) -> Arrays:
        with open_file(path) as file:
            return self.find(file, path)

    def _holds_for(self, part: int, state: State) -> bool:
        """Whether the items are still where they were, as in a file that was only touched, or has grown."""
        if self._looked_again.get(part, (None, False))[0] != state:
            self._looked_again[part] = state, self._found_again(part) is not None
        return self._looked_again[part][1]

    def _found_again(self, part: int) -> Arrays | None:
        """The index of this file as it is now, as far as it was counted; None if it is another one there."""
        lengths, digest = self._digests[part]
        found: Arrays = {}
        with suppress(ValueError):
            found = self._found(self.paths[part])
        again = {name: found[name][:length] for name, length in lengths.items() if name in found}
        return again if _digest(again) == digest else None

    def _changed(self) -> OSError:
        return OSError(f'{self.name}: the file was changed since it was looked where its items are')

    def __repr__(self) -> str:
        return format_call(self.name, (self.paths,), non_defaults(index=(self.place, None)))


class _Opened:
    """An open file, and what tells whether it is the same as before."""

    def __init__(self, path: str):
        self.path, self._remote = path, '://' in path
        self.file = open_exactly(path) if self._remote else open_file(path)
        self._state: State | None = None
        self._ahead, self._begin, self._end, self._window = b'', 0, 0, 0
        """Of a file at a URL: bytes that were read, where they begin, where those asked for last ended, and how many
        were read ahead."""

    def state(self) -> State:
        if not self._remote:
            status = os.fstat(self.file.fileno())
            return status.st_size, status.st_mtime_ns
        if self._state is None:
            self._state = _identity(self.path)[1:]
        return self._state

    def read(self, begin: int, size: int, more: int) -> bytes:
        """These bytes. At a URL, `more` come with them; and if they follow those before them, ever more."""
        if not self._remote:
            self.file.seek(begin)
            return self.file.read(size)
        ready = self._ahead[begin - self._begin :] if begin >= self._begin else b''
        if len(ready) < size:
            follows = 0 <= begin - self._end <= NEAR
            self._window = min(max(2 * self._window, size + more), MOST_AHEAD) if follows else 0
            self.file.seek(begin + len(ready))
            self._ahead = ready + self.file.read(size + max(more, self._window) - len(ready))
            self._begin = begin
        self._end = begin + size
        return self._ahead[begin - self._begin : self._end - self._begin]

    def close(self) -> None:
        self.file.close()


def _digest(arrays: Arrays) -> bytes:
    """The same for the same numbers, whichever types they have: those of a longer array may take more bytes."""
    result = blake2b(digest_size=16)
    for name, array in arrays.items():
        result.update(f'{name} {len(array)} '.encode())
        result.update(np.ascontiguousarray(array, np.min_scalar_type(array.max(initial=0))).data)
    return result.digest()


def _identity(path: str) -> Identity:
    if '://' not in path:
        status = os.stat(path)
        return os.path.basename(path), status.st_size, status.st_mtime_ns
    system, inside = needed('fsspec.core', 'files at URLs', 'fsspec').url_to_fs(path)
    info = system.info(inside)
    stamp = next((str(info[stamp]) for stamp in STAMPS if info.get(stamp)), None)
    return os.path.basename(path), info.get('size'), stamp
