"""Lines of text files, and JSON in them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from itpipe._core.show import format_call

from ._joined import Joined
from ._opening import Opened, Paths, expanded, needed, open_file, reading

__all__ = ['jsonl', 'lines']

BLOCK = 1 << 24
"""Bytes that are searched for line ends at a time."""
COMPRESSED = ('.gz', '.zst', '.bz2', '.xz')


def lines(paths: Paths) -> Any:
    """The lines of text files, without line ends, as `str`.

    `paths` is a path or a URL that fsspec knows, a pattern such as `'part-*.txt'`, or several of these. The files are
    read one after the other. Their bytes are UTF-8. A last line without a line end counts, an empty one after it does
    not. To find where lines begin, the files are read once, when the length or the first line is asked for: about a
    second for each gigabyte. That takes 8 bytes of memory for each line.

    Compressed files (`.gz`, `.bz2`, `.xz`, `.zst`) have no length and no index. They are read from the beginning, also
    where a run goes on.

    Raises FileNotFoundError if no file matches a pattern, TypeError or ValueError for wrong arguments. While reading,
    raises UnicodeDecodeError, with a note that names the file and the line.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), 'words.txt')
    >>> with open(path, 'w') as file:
    ...     _ = file.write('one\\ntwo\\nthree\\n')
    >>> words = lines(path)
    >>> len(words), words[2], list(words)
    (3, 'three', ['one', 'two', 'three'])

    See also: `jsonl`, `stream`.
    """
    return _lines('lines', paths)


def jsonl(paths: Paths) -> Any:
    """The values in files that have JSON in each line.

    `paths`, lengths and compressed files are as for `lines`. Empty lines are left out.

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
    return _lines('jsonl', paths)


def _lines(name: str, paths: Paths) -> Any:
    found = expanded(name, paths)
    compressed = any(path.endswith(COMPRESSED) for path in found)
    return _Streamed(name, found) if compressed else _Lines(name, found)


def _value(name: str, line: bytes) -> Any:
    line = line.rstrip(b'\r\n')
    return json.loads(line) if name == 'jsonl' else line.decode()


class _Lines(Joined):
    """Lines with an index: it knows where each begins."""

    def __init__(self, name: str, paths: list[str]):
        super().__init__()
        self.name, self.paths = name, paths
        self._open = Opened(open_file)
        self._edges: list[np.ndarray[Any, np.dtype[np.int64]]] = []

    def sizes(self) -> list[int]:
        self._edges = [_edges(self._open(path), self.name == 'jsonl') for path in self.paths]
        return list(map(len, self._edges))

    def item(self, part: int, place: int) -> Any:
        begin, end = self._edges[part][place].tolist()
        with reading(self.paths[part], f'bytes {begin} to {end}'):
            file = self._open(self.paths[part])
            file.seek(begin)
            return _value(self.name, file.read(end - begin))

    def __repr__(self) -> str:
        return format_call(self.name, (self.paths,), {})


def _edges(file: BinaryIO, filled: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A row for each line, or each that is `filled`: where it begins, and where it ends."""
    file.seek(0)
    at, found = 0, [np.zeros(1, np.int64)]
    last = b'\n'
    while block := file.read(BLOCK):
        found.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord('\n')) + at + 1)
        at, last = at + len(block), block[-1:]
    if last != b'\n':
        found.append(np.array([at]))
    edges = np.concatenate(found)
    result = np.stack([edges[:-1], edges[1:]], axis=1)
    return result[np.diff(result)[:, 0] > 1] if filled else result


class _Streamed:
    """Lines of files of which some are compressed: from the beginning only."""

    def __init__(self, name: str, paths: list[str]):
        self.name, self.paths = name, paths

    def __iter__(self) -> Iterator[Any]:
        for path in self.paths:
            with open_file(path) as file, _unpacked(file, path) as text:
                for number, line in enumerate(text):
                    if self.name == 'lines' or line.strip():
                        with reading(path, f'line {number}'):
                            value = _value(self.name, line)
                        yield value

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
        return io.BufferedReader(needed('zstandard', 'files that end with .zst').ZstdDecompressor().stream_reader(file))
    return file
