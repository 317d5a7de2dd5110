"""Where a `cache` keeps items: in memory, or in a folder that processes and trainings share.

In a folder, each process appends to a file that it has locked, and reads all files. An item is one record: a head with
its index, its size and a checksum, and the pickle of the item with its buffers. The head is written last. So what a
process leaves that is killed while it writes is as if it was not there, and the next one to lock the file writes over
it. Two processes may write the same item; the one that is read last counts. Every error in reading means that an item
is not there.
"""

from __future__ import annotations

import errno
import os
import pickle
import struct
import threading
from contextlib import suppress
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol
from warnings import warn
from zlib import crc32

from itpipe._engine.stacks import user_stacklevel

__all__ = ['MISSING', 'Folder', 'Memory', 'Store']

HEAD: Final = struct.Struct('<8sQQI')
FIELDS: Final = struct.Struct('<QQ')
MARK: Final = b'itpipe 1'
MISSING: Final = object()
ALIGNMENT: Final = 64
"""Bytes. Arrays begin at multiples of it."""
LISTED_EVERY = 1.0
"""Seconds after which it is looked again for files of other processes."""


class Store(Protocol):
    def get(self, index: int) -> Any:
        """The item, MISSING if it is not there."""

    def put(self, index: int, value: Any) -> None:
        """Keep the item, if there is room."""


def encode(value: Any, index: int) -> bytes:
    """The item as bytes: the number of its parts, their sizes, and the parts, each at a multiple of `ALIGNMENT`."""
    from itpipe._workers.pickling import dumps  # takes a while

    buffers: list[pickle.PickleBuffer] = []
    hint = 'put the cache in front of the stage that makes it'
    data = dumps(value, 'cache: the item', hint, buffers.append, key=index)
    parts: list[bytes | memoryview] = [data, *(buffer.raw() for buffer in buffers)]
    parts.insert(0, struct.pack(f'<{len(parts) + 1}Q', len(parts), *map(len, parts)))
    return b''.join(padded for part in parts for padded in (part, bytes(-len(part) % ALIGNMENT)))


def decode(record: bytearray) -> Any:
    """The item of these bytes; its arrays are writable parts of them."""
    (count,) = struct.unpack_from('<Q', record)
    sizes = struct.unpack_from(f'<{count}Q', record, 8)
    view, at, parts = memoryview(record), 8 * (count + 1), []
    for size in sizes:
        at += -at % ALIGNMENT
        parts.append(view[at : at + size])
        at += size
    return pickle.loads(parts[0], buffers=parts[1:])[1]


class Memory:
    """Items in the memory of this process. They are kept as bytes, so that nobody changes them."""

    def __init__(self, limit: int | None):
        self.limit = limit
        self._records: dict[int, bytes] = {}
        self._size = 0
        self._lock = threading.Lock()

    def get(self, index: int) -> Any:
        record = self._records.get(index)
        return MISSING if record is None else decode(bytearray(record))

    def put(self, index: int, value: Any) -> None:
        if self.limit is not None and self._size >= self.limit:
            return
        record = encode(value, index)
        with self._lock:
            if index not in self._records and (self.limit is None or self._size + len(record) <= self.limit):
                self._size += len(record)
                self._records[index] = record

    def __reduce__(self) -> Any:
        return Memory, (self.limit,)


class Place(NamedTuple):
    """Where the record of an item is."""

    file: int
    begin: int
    size: int
    check: int | None
    """The checksum, None once this process has found it to be right, or has written the record."""


class Folder:
    """Items in a folder."""

    def __init__(self, path: str, limit: int | None):
        self.path, self.limit = path, limit
        self._files: dict[str, int] = {}
        self._start()

    def _start(self) -> None:
        """Know nothing, in this process: the locks are those of the process that it may have been forked from."""
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._close()
        self._places: dict[int, Place] = {}
        self._ends: dict[int, int] = {}
        """For each file, up to where its records are known."""
        self._own_file: int | None = None
        self._stopped = False
        self._listed = -LISTED_EVERY

    def get(self, index: int) -> Any:
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            if index not in self._places:
                self._read_heads()
            place = self._places.get(index)
        if place is None:
            return MISSING
        record = _read(place)
        if place.check is None and record is not None:
            return decode(record)
        if record is not None and crc32(record, crc32(FIELDS.pack(index, place.size))) == place.check:
            with self._lock:
                if self._places.get(index) is place:
                    self._places[index] = place._replace(check=None)  # to check takes longer than to read
            return decode(record)
        with self._lock:
            if self._places.get(index) is place:
                del self._places[index]
        return MISSING

    def put(self, index: int, value: Any) -> None:
        if self._pid != os.getpid():
            self._start()
        if self._stopped or (self.limit is not None and sum(self._ends.values()) >= self.limit):
            return
        record = encode(value, index)
        with self._lock:
            full = self.limit is not None and sum(self._ends.values()) + len(record) > self.limit
            if not (full or index in self._places):
                try:
                    self._append(index, record)
                except OSError as error:
                    self._stopped = True
                    warn(f'cache: it keeps no more items: {error}', stacklevel=user_stacklevel())

    def _read_heads(self) -> None:
        """Look for records that were written meanwhile."""
        if monotonic() - self._listed >= LISTED_EVERY:
            self._listed = monotonic()
            with suppress(OSError):
                for name in os.listdir(self.path):
                    if name.endswith('.items') and name not in self._files and (file := self._opened(name)) is not None:
                        self._files[name] = file
        for file in self._files.values():
            at, end = self._ends.get(file, 0), os.fstat(file).st_size
            while at + HEAD.size <= end:
                mark, index, size, check = HEAD.unpack(os.pread(file, HEAD.size, at))
                if mark != MARK or at + HEAD.size + size > end:
                    break
                self._places[index] = Place(file, at + HEAD.size, size, check)
                at += HEAD.size + size
            self._ends[file] = at

    def _opened(self, name: str) -> int | None:
        for flags in (os.O_RDWR, os.O_RDONLY):  # it may be another user's
            with suppress(OSError):
                return os.open(os.path.join(self.path, name), flags)
        return None

    def _append(self, index: int, record: bytes) -> None:
        if self._own_file is None:
            self._own_file = self._locked_file()
        file = self._own_file
        begin, check = self._ends[file], crc32(record, crc32(FIELDS.pack(index, len(record))))
        try:
            _write(file, record, begin + HEAD.size)
            _write(file, HEAD.pack(MARK, index, len(record), check), begin)
        except OSError:
            os.ftruncate(file, begin)
            raise
        self._places[index] = Place(file, begin + HEAD.size, len(record), None)
        self._ends[file] = begin + HEAD.size + len(record)

    def _locked_file(self) -> int:
        """A file that no other process writes to: one whose process has ended, or a new one."""
        os.makedirs(self.path, exist_ok=True)
        self._listed = -LISTED_EVERY
        self._read_heads()
        for file in self._files.values():
            if _locks(file):
                self._read_heads()
                os.ftruncate(file, self._ends[file])
                return file
        path = os.path.join(self.path, os.urandom(8).hex())
        file = os.open(f'{path}.new', os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        _locks(file)
        os.rename(f'{path}.new', f'{path}.items')  # locked already when others see it
        self._files[os.path.basename(f'{path}.items')], self._ends[file] = file, 0
        return file

    def _close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def __del__(self) -> None:
        self._close()

    def __reduce__(self) -> Any:
        return Folder, (self.path, self.limit)


def _locks(file: int) -> bool:
    """Whether this process has locked the file now; the lock ends with the process."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            warn(
                f'cache: files cannot be locked there ({error}), so each process writes a new one',
                stacklevel=user_stacklevel(),
            )
        return False


def _read(place: Place) -> bytearray | None:
    """The record; None where it cannot be read up to its end."""
    record = bytearray(place.size)
    view, at = memoryview(record), place.begin
    with suppress(OSError):
        while view and (count := os.preadv(place.file, [view], at)):
            view, at = view[count:], at + count
    return None if view else record


def _write(file: int, data: bytes, begin: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, begin)
        view, begin = view[written:], begin + written
