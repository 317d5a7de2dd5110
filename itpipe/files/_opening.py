"""Paths of files, and files that each thread keeps open."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import glob, has_magic
from itertools import islice
from os import PathLike
from threading import local
from typing import Any, BinaryIO, Generic, TypeAlias, TypeVar

from ._index_files import SUFFIXES

__all__ = [
    'Kept',
    'Paths',
    'existing',
    'expanded',
    'listed',
    'needed',
    'note_read',
    'open_exactly',
    'open_file',
    'reading',
]

H = TypeVar('H')
Paths: TypeAlias = 'str | PathLike[str] | Iterable[str | PathLike[str]]'
OPEN = 16
"""Files that a thread keeps open for a dataset."""
SHOWN = 20
"""Names that an error shows."""


class Kept(Generic[H]):
    """What a function made last of its arguments, such as open files of paths.

    Each thread of each process makes it for itself, and keeps the last `most`. What can be closed is closed when others
    take its place, and when the thread or this object is gone. It pickles without what it keeps.
    """

    def __init__(self, makes: Callable[..., H], most: int = OPEN):
        self._makes, self._most = makes, most
        self._local = local()

    def __call__(self, *args: Any) -> H:
        if getattr(self._local, 'pid', None) != os.getpid():  # with the process that this one was forked from, it would
            self._local.pid, self._local.latest = os.getpid(), _Latest()  # share the position in a file
        latest = self._local.latest.made
        if args in latest:
            latest.move_to_end(args)
        else:
            while len(latest) >= self._most:
                _close(latest.popitem(last=False)[1])
            latest[args] = self._makes(*args)
        return latest[args]  # type: ignore[no-any-return]

    def forget(self, *args: Any) -> None:
        """Close what this thread made of these arguments, if it has it; it is made anew when it is needed."""
        if getattr(self._local, 'pid', None) == os.getpid() and args in (latest := self._local.latest.made):
            _close(latest.pop(args))

    @contextmanager
    def briefly(self, *args: Any) -> Iterator[H]:
        """It is made for a `with` block, and closed behind it: for what is read once."""
        made = self._makes(*args)
        try:
            yield made
        finally:
            _close(made)

    def __reduce__(self) -> Any:
        return type(self), (self._makes, self._most)


class _Latest:
    """What one thread made last. It is closed when this goes.

    By `finalize`, as the garbage collector may finalize files before what holds them.
    """

    def __init__(self) -> None:
        self.made: OrderedDict[Any, Any] = OrderedDict()
        weakref.finalize(self, _close_all, self.made).atexit = False


def _close_all(made: OrderedDict[Any, Any]) -> None:
    while made:
        _close(made.popitem()[1])


def _close(made: Any) -> None:
    if hasattr(made, 'close'):
        made.close()


def open_file(path: str) -> BinaryIO:
    """The file at this path or URL, to be read."""
    if '://' in path:
        return needed('fsspec', 'files at URLs').open(path, 'rb').open()  # type: ignore[no-any-return]
    return open(path, 'rb')


def open_exactly(path: str) -> BinaryIO:
    """The file at this URL, of which no more is read than is asked for, if its file system can do that."""
    system, inside = needed('fsspec.core', 'files at URLs', 'fsspec').url_to_fs(path)
    try:
        return system.open(inside, 'rb', cache_type='none')  # type: ignore[no-any-return]
    except TypeError:  # some know no such option, or set it themselves
        return system.open(inside, 'rb')  # type: ignore[no-any-return]


def expanded(where: str, paths: Paths) -> list[str]:
    """The paths, with patterns such as `'train-*.tar'` replaced by the paths of all files that match, in order.

    What is there under this very name is no pattern. Files that are an index match no pattern. Each path comes once.
    """
    if isinstance(paths, (str, PathLike)):
        paths = [paths]
    try:
        given = [os.fspath(path) for path in paths]
    except TypeError:
        got = type(paths).__name__
        raise TypeError(f'{where}: `paths` must be a path or several, got {got}') from None
    result = [found for path in given for found in _found(where, path)]
    if not result:
        raise ValueError(f'{where}: `paths` must not be empty')
    return [*dict.fromkeys(result)]


def _found(where: str, path: str) -> list[str]:
    if not has_magic(path):
        return [existing(where, path)]
    if '://' not in path:
        found = [path] if os.path.exists(path) else sorted(glob(path, recursive=True))
    else:
        system, inside = needed('fsspec', 'files at URLs').core.url_to_fs(path)
        found = [path] if system.exists(inside) else sorted(map(system.unstrip_protocol, system.glob(inside)))
    found = [path for path in found if not path.endswith(SUFFIXES)]
    if not found:
        raise FileNotFoundError(f'{where}: no file matches {path!r}')
    return found


def existing(where: str, path: str, what: str = 'file') -> str:
    """The path. On this machine, it must be there; what is behind a URL is seen when it is opened."""
    if '://' not in path and not os.path.exists(path):
        raise FileNotFoundError(f'{where}: there is no {what} {path!r}')
    return path


def listed(names: Iterable[str]) -> str:
    """The first of the names, as an error shows those that there are."""
    shown = [*map(repr, islice(names, SHOWN + 1))]
    return ', '.join([*shown[:SHOWN], '…'] if len(shown) > SHOWN else shown) or 'none'


def needed(module: str, what: str, package: str | None = None) -> Any:
    """The module of an optional library; an ImportError says how to install it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        name = package or module.partition('.')[0]
        raise ImportError(f'itpipe.files: {what} are read by {name}: pip install {name}') from None


@contextmanager
def reading(path: str, part: str, opened: Kept[Any] | None = None) -> Iterator[None]:
    """Errors within say, in a note, which part of which file was read. Then the next one to read opens it anew."""
    try:
        yield
    except Exception as error:
        note_read(error, path, part, opened)
        raise


def note_read(error: Exception, path: str, part: str, opened: Kept[Any] | None = None) -> None:
    """What `reading` does for an error."""
    error.add_note(f'itpipe: {part} of {path!r}')
    if opened is not None:
        with suppress(Exception):  # to close what is broken may fail, too
            opened.forget(path)
