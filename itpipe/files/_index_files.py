"""Files that keep arrays: a head, which says what the arrays are and what they were made of, and the arrays."""

from __future__ import annotations

import json
import os
import struct
import time
from contextlib import suppress
from glob import escape, glob
from hashlib import sha256
from mmap import ACCESS_READ, mmap
from typing import Any, Final, TypeAlias
from zlib import crc32

import numpy as np

__all__ = ['SUFFIXES', 'Arrays', 'Identity', 'State', 'compact', 'load', 'path_of', 'store']

Arrays: TypeAlias = 'dict[str, np.ndarray[Any, Any]]'
State: TypeAlias = 'tuple[int | None, int | str | None]'
"""The size of a file, and when it was last written, or something else that changes then; None if it is not known."""
Identity: TypeAlias = 'tuple[str, int | None, int | str | None]'
"""The name of a file, and its state."""
SUFFIXES: Final = ('.tar.index', '.lines.index', '.jsonl.index')
MARK: Final = b'itpipe index 2\n\0'
START: Final = struct.Struct('<16sII')
"""The mark, the size of the head behind it, and a checksum of the head."""
ALIGNMENT: Final = 64
"""Bytes. Arrays begin at multiples of it."""
ABANDONED: Final = 3600
"""Seconds after which nobody goes on writing a file."""


def path_of(name: str, path: str, folder: str | None) -> str:
    """Where the index of a file is: beside it, or in a folder, where it has a name of its own."""
    beside = f'{path.removesuffix("." + name)}.{name}.index'
    if folder is None:
        return beside
    whole = path if '://' in path else os.path.abspath(path)
    return os.path.join(
        folder, f'{sha256(whole.encode(errors="surrogateescape")).hexdigest()[:16]}-{os.path.basename(beside)}'
    )


def compact(numbers: Any) -> np.ndarray[Any, Any]:
    """Numbers from 0 on as an array of the smallest unsigned type that holds them."""
    array = np.asarray(numbers, np.int64)
    return array.astype(np.min_scalar_type(array.max(initial=0)))


def store(path: str, of: Identity, arrays: Arrays) -> None:
    """Write arrays that were made of this file. Others find all of them or none, however this ends."""
    folder, base = os.path.split(path)
    os.makedirs(folder or '.', exist_ok=True)
    _remove_abandoned(folder, base)
    temporary = os.path.join(folder, f'.{base}.{os.urandom(8).hex()}')
    try:
        with open(temporary, 'xb') as file:
            _write(file, of, arrays)
            file.flush()
            os.fsync(file.fileno())  # after a crash of the machine, the name could be there without the bytes
        with suppress(
            OSError, ValueError
        ):  # another process was faster; some file systems fail those that have it open
            load(path, of)
            return
        os.rename(temporary, path)
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def load(path: str, of: Identity) -> Arrays:
    """The arrays in this file, mapped into memory; ValueError if they were made of something else, or are not whole."""
    with open(path, 'rb') as file:
        mark, size, check = START.unpack(file.read(START.size).ljust(START.size, b'\xff'))
        head = file.read(size) if mark == MARK else b''
        if mark != MARK or crc32(head) != check:
            raise ValueError(f'{path!r} is no index')
        described = json.loads(head)
        begin = _aligned(START.size + size)
        if tuple(described['of']) != of or os.fstat(file.fileno()).st_size != begin + described['size']:
            raise ValueError(f'{path!r} is not the index of {of}')
        memory = mmap(file.fileno(), 0, access=ACCESS_READ)
    return {
        name: np.frombuffer(memory, dtype, count, begin + offset) for name, dtype, count, offset in described['arrays']
    }


def _write(file: Any, of: Identity, arrays: Arrays) -> None:
    described, at = [], 0
    for name, array in arrays.items():
        described.append((name, array.dtype.str, len(array), at))
        at = _aligned(at + array.nbytes)
    head = json.dumps({'of': of, 'size': at, 'arrays': described}).encode()
    file.write(START.pack(MARK, len(head), crc32(head)) + head)
    file.write(bytes(-file.tell() % ALIGNMENT))
    for array in arrays.values():
        file.write(array.data)
        file.write(bytes(-array.nbytes % ALIGNMENT))


def _aligned(size: int) -> int:
    return size + -size % ALIGNMENT


def _remove_abandoned(folder: str, base: str) -> None:
    """Remove what processes left that were killed while they wrote."""
    for path in glob(os.path.join(escape(folder), f'.{escape(base)}.*')):
        with suppress(OSError):
            if os.stat(path).st_mtime < time.time() - ABANDONED:
                os.unlink(path)
