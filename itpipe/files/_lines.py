"""Lines of text files, and JSON in them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from os import PathLike
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from itpipe._core.show import format_call

from ._index_files import Arrays, compact
from ._indexed import Indexed, check_index
from ._opening import Paths, expanded, needed, note_read, open_file

__all__ = ['jsonl', 'lines']

Numbers: TypeAlias = 'np.ndarray[Any, np.dtype[np.int64]]'
BLOCK = 1 << 24
"""Bytes that are searched for line ends at a time."""
BLANK = b' \t\r'
"""What a line may have, beside its end, that jsonl leaves out."""
COMPRESSED = ('.gz', '.zst', '.bz2', '.xz')


def lines(paths: Paths, *, index: str | PathLike[str] | None = None) -> Any:
    """The lines of text files, without line ends, as `str`.

    `paths` is a path or a URL that fsspec knows, a pattern such as `'part-*.txt'`, or several of these. The files are
    read one after the other, each once. Their bytes are UTF-8. A line ends with a line feed, or with a carriage return
    and a line feed. A last line without a line end counts, an empty one after it does not. To find where lines begin,
    the files are read once, when the length or the first line is asked for: a second or two for each gigabyte. That
    takes 4 bytes of memory for each line, or 8 if the file has more than 4 GiB. `index` stores it, as for `tar`.

    Compressed files (`.gz`, `.bz2`, `.xz`, `.zst`) have no length and no index. They are read from the beginning, also
    where a run goes on.

    Raises FileNotFoundError for a path that is not there and a pattern that no file matches, TypeError or ValueError
    for wrong arguments. While reading, raises UnicodeDecodeError, and OSError if the file was written to and its lines
    are no longer where they were, with a note that names the file and the line, of which the first is 1.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), 'words.txt')
    >>> with open(path, 'w') as file:
    ...     _ = file.write('one\\ntwo\\nthree\\n')
    >>> words = lines(path)
    >>> len(words), words[2], list(words)
    (3, 'three', ['one', 'two', 'three'])

    See also: `jsonl`, `stream`.
    """
    return _lines('lines', paths, index)


def jsonl(paths: Paths, *, index: str | PathLike[str] | None = None) -> Any:
    """The values in files that have JSON in each line.

    `paths`, `index`, lengths and compressed files are as for `lines`. Lines that are empty, or have only spaces and
    tabs, are left out.

    Raises what `lines` does. While reading, raises `json.JSONDecodeError`, with a note that names the file and the
    line.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), 'texts.jsonl')
    >>> with open(path, 'w') as file:
    ...     _ = file.write('{"text": "one", "label": 1}\\n{"text": "two", "label": 2}\\n')
    >>> jsonl(path)[1]
    {'text': 'two', 'label': 2}

    See also: `lines`, `parquet`.
    """
    return _lines('jsonl', paths, index)


def _lines(name: str, paths: Paths, index: Any) -> Any:
    found = expanded(name, paths)
    kept = check_index(name, index, found)
    compressed = next((path for path in found if path.endswith(COMPRESSED)), None)
    if compressed is not None and kept is not None:
        raise ValueError(f'{name}: `index` must be left out, as compressed files have none, got {compressed!r}')
    return _Lines(name, found, kept) if compressed is None else CompressedLines(name, found)


def _value(name: str, line: bytes) -> Any:
    if name == 'jsonl':
        return json.loads(line.rstrip(b'\r\n'))  # or an error would be in the next line
    return (line[:-1].removesuffix(b'\r') if line.endswith(b'\n') else line).decode()


class _Lines(Indexed):
    """Its index: `edges` says where each line begins, and where the last one ends, `filled` has the numbers of those
    that count, unless all do."""

    def find(self, file: BinaryIO, path: str) -> Arrays:
        return _find(file, self.name == 'jsonl')

    def count(self, arrays: Arrays) -> int:
        return len(arrays['filled']) if 'filled' in arrays else len(arrays['edges']) - 1

    def item(self, part: int, place: int) -> Any:
        arrays = self.arrays(part)
        number = int(arrays['filled'][place]) if 'filled' in arrays else place
        begin, end = arrays['edges'][number : number + 2].tolist()
        what = f'line {number + 1}'
        line = self.read(part, begin, end - begin, what)
        try:
            return _value(self.name, line)
        except Exception as error:
            note_read(error, self.paths[part], what)
            raise


def _find(file: BinaryIO, filled: bool) -> Arrays:
    """The lines, or those that are not blank."""
    edges, solid = _Edges(), _Edges()
    ended = True
    while block := file.read(BLOCK):
        edges.add(block)
        if filled:
            solid.add(block.translate(None, BLANK))
        ended = block.endswith(b'\n')
    if not ended:
        edges.found.append(np.array([edges.at]))
        solid.add(b'\n')
    arrays = {'edges': compact(edges.all())}
    if filled and len(counts := np.flatnonzero(solid.lengths() > 1)) < len(arrays['edges']) - 1:
        arrays['filled'] = compact(counts)
    return arrays


class _Edges:
    """Where lines begin and end in blocks of bytes that follow each other."""

    def __init__(self) -> None:
        self.at, self.found = 0, [np.zeros(1, np.int64)]

    def add(self, block: bytes) -> None:
        self.found.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord('\n')) + self.at + 1)
        self.at += len(block)

    def all(self) -> Numbers:
        return np.concatenate(self.found)

    def lengths(self) -> Numbers:
        return np.diff(self.all())


class CompressedLines:
    """Lines of files of which some are compressed: from the beginning only."""

    def __init__(self, name: str, paths: list[str]):
        self.name, self.paths = name, paths

    def __iter__(self) -> Iterator[Any]:
        for path in self.paths:
            number = 1
            try:
                with open_file(path) as file, _unpacked(file, path) as text:
                    for line in text:
                        if self.name == 'lines' or line.strip(BLANK + b'\n'):
                            yield _value(self.name, line)
                        number += 1
            except Exception as error:  # of what is compressed, too, such as of a file that was cut off
                note_read(error, path, f'line {number}')
                raise

    def __getitem__(self, index: Any) -> Any:
        path = next(path for path in self.paths if path.endswith(COMPRESSED))
        raise TypeError(
            f'{self.name}: a compressed file has no length and no index, got {path!r}; unpack it, or shuffle with a'
            ' buffer: `shuffle(1000)`'
        )

    def __repr__(self) -> str:
        return format_call(self.name, (self.paths,), {})


def _unpacked(file: BinaryIO, path: str) -> Any:
    """The file as it was before it was compressed."""
    if path.endswith('.gz'):
        import gzip

        return gzip.open(file)
    if path.endswith('.bz2'):
        import bz2

        return bz2.open(file)
    if path.endswith('.xz'):
        import lzma

        return lzma.open(file)
    if path.endswith('.zst'):
        return io.BufferedReader(_Zstandard(file))
    return file


class _Zstandard(io.RawIOBase):
    """What is in all frames of a file that zstandard has compressed.

    The reader of zstandard takes the end of the first frame for the end, and that of a file that was cut off, too.
    """

    def __init__(self, file: BinaryIO):
        self._file, self._library = file, needed('zstandard', 'files that end with .zst')
        self._frame: Any = None
        self._packed, self._ready = b'', memoryview(b'')

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._packed or self._file.read(io.DEFAULT_BUFFER_SIZE)
            if not packed and self._frame is None:
                return 0
            if not packed:
                raise EOFError('Compressed file ended before the end-of-stream marker was reached')
            if self._frame is None:
                self._frame = self._library.ZstdDecompressor().decompressobj()
            self._ready, self._packed = memoryview(self._frame.decompress(packed)), b''
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size
