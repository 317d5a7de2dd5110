"""Both ends of memory that one process lends to another."""

import errno
import os
import pickle
from typing import Any

import numpy as np
import pytest

from itpipe._workers.files import File
from itpipe._workers.shared_memory import Arena, Borrower, Large

needs_memfd = pytest.mark.skipif(not hasattr(os, 'memfd_create'), reason='nameless blocks are of Linux')


def twin(file: File) -> File:
    """The file as the process at the other end has it."""
    return File(os.dup(file._file.fileno()), file._in_memory, file.size)


class Lending:
    """Both ends of an arena."""

    def __init__(self, size: int = 1 << 24):
        file = File.new(size)
        assert file is not None
        self.file, self.arena, self.borrower = file, Arena(file), Borrower(twin(file))

    def sent(self, value: Any) -> tuple[bytes, Any]:
        large = Large()
        data = pickle.dumps(value, protocol=5, buffer_callback=large)
        return data, pickle.loads(pickle.dumps(self.arena.lend(large)))

    def views(self, value: Any) -> Any:
        data, buffers = self.sent(value)
        return pickle.loads(data, buffers=self.borrower.views(buffers))

    def copies(self, value: Any) -> Any:
        data, buffers = self.sent(value)
        return pickle.loads(data, buffers=self.borrower.copies(buffers))

    def return_all(self) -> None:
        self.arena.take_back(self.borrower.give_back())

    def close(self) -> None:
        self.arena.close()
        self.borrower.file.close()  # type: ignore[union-attr]


def array(size: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def refuse(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOMEM, 'Cannot allocate memory')
