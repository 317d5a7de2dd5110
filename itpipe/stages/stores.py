"""Where a `cache` keeps items: in memory, or in a folder that processes and trainings share.

In a folder, each process appends to a file that it has locked, and reads all files. An item is one record: a head with
its index, its size and a checksum, and the pickle of the item with its buffers. The head is written last. So what a
process leaves that is killed while it writes is as if it was not there, and the next one to lock the file writes over
it. Two processes may write the same item; the one that is found first counts.
"""

from __future__ import annotations

import os
import pickle
import struct
import threading
from contextlib import suppress
from typing import Any, Final, Protocol
from warnings import warn
from zlib import crc32

from itpipe._engine.stacks import user_stacklevel

__all__ = ['Folder', 'Memory', 'Store']

HEAD: Final = struct.Struct('<8sQQI')
MARK: Final = b'itpipe 1'
MISSING: Final = object()


class Store(Protocol):
    def get(self, index: int) -> Any:
        """The item, MISSING if it is not there."""

    def put(self, index: int, value: Any) -> None:
        """Keep the item, if there is room."""


def encode(value: Any) -> list[bytes | memoryview]:
    """The item as bytes, in parts."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    sizes = struct.pack(f'<{len(raw) + 2}Q', len(raw), len(data), *(each.nbytes for each in raw))
    return [sizes, data, *raw]


def decode(record: bytearray) -> Any:
    """The item of these bytes; its arrays are writable parts of them."""
    (count,) = struct.unpack_from('<Q', record)
    sizes = struct.unpack_from(f'<{count + 1}Q', record, 8)
    view, at = memoryview(record), 8 * (count + 2)
    parts = []
    for size in sizes:
        parts.append(view[at : at + size])
        at += size
    return pickle.loads(parts[0], buffers=parts[1:])


class Memory:
    """Items in the memory of this process. They are kept as bytes, so that nobody changes them."""

    def __init__(self, limit: int | None):
        self.limit = limit
        self._records: dict[int, bytes] = {}
        self._size = 0

    def get(self, index: int) -> Any:
        record = self._records.get(index)
        return MISSING if record is None else decode(bytearray(record))

    def put(self, index: int, value: Any) -> None:
        record = b''.join(encode(value))
        if index not in self._records and (self.limit is None or self._size + len(record) <= self.limit):
            self._size += len(record)
            self._records[index] = record

    def __reduce__(self) -> Any:
        return Memory, (self.limit,)


class Folder:
    """Items in a folder."""

    def __init__(self, path: str, limit: int | None):
        self.path, self.limit = path, limit
        self._lock = threading.Lock()
        self._files: dict[str, int] = {}
        self._begin()

    def _begin(self) -> None:
        """Know nothing, in this process."""
        self._pid = os.getpid()
        self._close()
        self._places: dict[int, tuple[int, int, int, int]] = {}
        """The file of each record, where it begins there, its size and its checksum."""
        self._known: dict[int, int] = {}
        """For each file, up to where its records are known."""
        self._own: int | None = None
        """The file that this process has locked."""

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # the locks are those of the process that this one was forked from
            self._begin()

    def get(self, index: int) -> Any:
        with self._lock:
            self._check_process()
            if index not in self._places:
                self._look()
            place = self._places.get(index)
        if place is None:
            return MISSING
        file, begin, size, check = place
        record = bytearray(size)
        if os.preadv(file, [record], begin) == size and crc32(record) == check:
            return decode(record)
        with self._lock:
            self._places.pop(index, None)
        return MISSING

    def put(self, index: int, value: Any) -> None:
        record = b''.join(encode(value))
        with self._lock:
            self._check_process()
            full = self.limit is not None and sum(self._known.values()) + len(record) > self.limit
            if not (full or index in self._places):
                try:
                    self._append(index, record)
                except OSError as error:
                    self.limit = 0
                    warn(f'cache: it keeps no more items: {error}', stacklevel=user_stacklevel())

    def _look(self) -> None:
        """Look for records that were written meanwhile."""
        with suppress(FileNotFoundError):
            for name in os.listdir(self.path):
                if name.endswith('.items') and name not in self._files:
                    self._files[name] = os.open(os.path.join(self.path, name), os.O_RDWR)
        for file in self._files.values():
            at, end = self._known.get(file, 0), os.fstat(file).st_size
            while at + HEAD.size <= end:
                mark, index, size, check = HEAD.unpack(os.pread(file, HEAD.size, at))
                if mark != MARK or at + HEAD.size + size > end:
                    break
                self._places.setdefault(index, (file, at + HEAD.size, size, check))
                at += HEAD.size + size
            self._known[file] = at

    def _append(self, index: int, record: bytes) -> None:
        file = self._own = self._lockable() if self._own is None else self._own
        begin = self._known[file]
        try:
            _write(file, record, begin + HEAD.size)
            _write(file, HEAD.pack(MARK, index, len(record), crc32(record)), begin)
        except OSError:
            os.ftruncate(file, begin)
            raise
        self._places.setdefault(index, (file, begin + HEAD.size, len(record), crc32(record)))
        self._known[file] = begin + HEAD.size + len(record)

    def _lockable(self) -> int:
        """A file that no other process writes to: one whose process has ended, or a new one."""
        os.makedirs(self.path, exist_ok=True)
        self._look()
        for file in self._files.values():
            if _locked(file):
                self._look()
                os.ftruncate(file, self._known[file])
                return file
        name = f'{os.urandom(8).hex()}.items'
        file = os.open(os.path.join(self.path, name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _locked(file)
        self._files[name], self._known[file] = file, 0
        return file

    def _close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        self._close()

    def __reduce__(self) -> Any:
        return Folder, (self.path, self.limit)


def _locked(file: int) -> bool:
    """Whether this process has locked the file now; the lock ends with the process."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _write(file: int, data: bytes, begin: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, begin)
        view, begin = view[written:], begin + written
