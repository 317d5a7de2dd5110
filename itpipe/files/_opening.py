"""Paths of files, and files that are opened once in each thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from glob import glob, has_magic
from os import PathLike
from threading import local
from typing import Any, BinaryIO, Generic, TypeAlias, TypeVar

__all__ = ['Opened', 'Paths', 'expanded', 'needed', 'open_file', 'reading']

H = TypeVar('H')
Paths: TypeAlias = 'str | PathLike[str] | Iterable[str | PathLike[str]]'


class _Handles(dict[Any, Any]):
    """What one thread has opened. It is closed when this goes."""

    def __del__(self) -> None:
        for handle in self.values():
            if hasattr(handle, 'close'):
                handle.close()


class Opened(Generic[H]):
    """What a function opens of a path: once in each thread of each process, when it is first asked for.

    It pickles without what it has opened. What a thread has opened is closed when the thread or this object is gone.
    """

    def __init__(self, opens: Callable[[str], H]):
        self._opens = opens
        self._local = local()

    def __call__(self, path: str) -> H:
        if getattr(self._local, 'pid', None) != os.getpid():  # with the process that this one was forked from, it would
            self._local.pid, self._local.handles = os.getpid(), _Handles()  # share the position in a file
        handles = self._local.handles
        if path not in handles:
            handles[path] = self._opens(path)
        return handles[path]  # type: ignore[no-any-return]

    def __reduce__(self) -> Any:
        return type(self), (self._opens,)


def open_file(path: str) -> BinaryIO:
    """The file at this path or URL, to be read."""
    if '://' in path:
        return needed('fsspec', 'files at URLs').open(path, 'rb').open()  # type: ignore[no-any-return]
    return open(path, 'rb')


def expanded(where: str, paths: Paths) -> list[str]:
    """The paths, with patterns such as `'train-*.tar'` replaced by the paths of all files that match, in order."""
    if isinstance(paths, (str, PathLike)):
        paths = [paths]
    try:
        given = [os.fspath(path) for path in paths]
    except TypeError:
        got = type(paths).__name__
        raise TypeError(f'{where}: `paths` must be a path or several, got {got}') from None
    result = []
    for path in given:
        if not has_magic(path):
            result.append(path)
        elif found := _matching(path):
            result += found
        else:
            raise FileNotFoundError(f'{where}: no file matches {path!r}')
    if not result:
        raise ValueError(f'{where}: `paths` must not be empty')
    return result


def _matching(pattern: str) -> list[str]:
    if '://' not in pattern:
        return sorted(glob(pattern, recursive=True))
    system, path = needed('fsspec', 'files at URLs').core.url_to_fs(pattern)
    return sorted(map(system.unstrip_protocol, system.glob(path)))


def needed(module: str, what: str, package: str | None = None) -> Any:
    """The module of an optional library; an ImportError says how to install it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        name = package or module.partition('.')[0]
        raise ImportError(f'itpipe.files: {what} are read by {name}: pip install {name}') from None


@contextmanager
def reading(path: str, part: str) -> Iterator[None]:
    """Errors within say, in a note, which part of which file was read."""
    try:
        yield
    except Exception as error:
        error.add_note(f'itpipe: {part} of {path!r}')
        raise
