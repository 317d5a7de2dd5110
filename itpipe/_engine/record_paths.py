"""Where a record can be written."""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, Final

from itpipe._core.record_frames import BEGIN

__all__ = ['WHERE', 'check_file', 'check_head', 'check_path']

WHERE: Final = 'Infinite: `record`'


def check_path(given: Any, rank: int | None = None) -> str:
    """The path of a record as an absolute one, with a name of its own for each rank.

    Raises TypeError, ValueError or OSError if no record can be begun or continued there.
    """
    if not isinstance(given, (str, os.PathLike)) or isinstance(os.fspath(given), bytes):
        raise TypeError(f'{WHERE} must be the path of a file, got {type(given).__name__}')
    path = str(os.path.abspath(given))
    if rank is not None:
        root, ending = os.path.splitext(path)
        path = f'{root}.rank{rank}{ending}'
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, f'{WHERE} needs a folder that is there', path)
    if not os.path.exists(path):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f'{WHERE} needs a folder that can be written to', path)
        return path
    check_file(path, os.stat(path))
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, f'{WHERE} must be a file that can be read and written', path)
    with open(path, 'rb') as file:
        check_head(path, file.read(len(BEGIN)))
    return path


def check_file(path: str, status: os.stat_result) -> None:
    """Raise ValueError for what is not a file."""
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f'{WHERE} must be the path of a file, got {path!r}')


def check_head(path: str, head: bytes) -> None:
    """Raise ValueError for a file that begins like this, if it is not a record."""
    if head != BEGIN[: len(head)]:
        raise ValueError(f'{WHERE} is a file that is not a record, got {path!r}; give another path')
