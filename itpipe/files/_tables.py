"""Rows of Parquet and Arrow files."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import Any

from itpipe._core.checks import integer
from itpipe._core.show import format_call, format_value, non_defaults

from ._joined import Joined
from ._opening import Kept, Paths, expanded, listed, needed, open_file, reading

__all__ = ['arrow', 'parquet']

MAGIC = b'ARROW1'
"""What Arrow files begin with, and streams do not."""


def parquet(paths: Paths, columns: Iterable[str] | None = None, *, cached: int = 2) -> Any:
    """The rows of Parquet files, as dicts of Python values.

    `paths` is a path or a URL that fsspec knows, a pattern such as `'part-*.parquet'`, or several of these. `columns`
    are the names of those that are read, by default all.

    A file is read by row groups. Each thread keeps the last `cached` of them. So rows in order are read fast, and so is
    a shuffle with a buffer. For each row of `shuffle()` or `sample`, a whole row group may be read; if it is large,
    shuffle row groups instead: `parquet(paths).groups` is a dataset whose items are the lists of rows of one group, for
    `parquet(paths).groups | shuffle() | flatten | shuffle(10_000)`.

    It needs pyarrow. Raises FileNotFoundError for a path that is not there and a pattern that no file matches,
    TypeError or ValueError for wrong arguments. When the length or the first row is asked for, raises ValueError for a
    column that a file does not have. While reading, raises what pyarrow does, with a note that names the file and the
    row group.

    >>> import os, tempfile
    >>> import pyarrow, pyarrow.parquet  # doctest: +SKIP
    >>> path = os.path.join(tempfile.mkdtemp(), 'rows.parquet')
    >>> pyarrow.parquet.write_table(pyarrow.table({'id': [1, 2], 'text': ['a', 'b']}), path)  # doctest: +SKIP
    >>> parquet(path, columns=['text'])[1]  # doctest: +SKIP
    {'text': 'b'}

    See also: `arrow`, `jsonl`, `flatten`.
    """
    return _Parquet(
        expanded('parquet', paths), _names('parquet', columns), integer('parquet', 'cached', cached, least=1)
    )


def arrow(paths: Paths, columns: Iterable[str] | None = None, *, cached: int = 2) -> Any:
    """The rows of Arrow files (also called Feather, version 2) and streams, as dicts of Python values.

    `paths` and `columns` are as for `parquet`. Files on this machine are mapped into memory, so a row is read without
    the others, in any order, and the processes share the memory. Streams, which the `.arrow` files of Hugging Face's
    datasets are, are read from this machine only.

    A file that is compressed inside, as `write_feather` does by default, or that is at a URL, is read by record
    batches. When the length or the first row is asked for, it is read once as a whole. Each thread keeps the last
    `cached` batches, as `parquet` keeps row groups. Of a compressed stream, each thread keeps all.

    It needs pyarrow. Raises FileNotFoundError for a path that is not there and a pattern that no file matches,
    TypeError or ValueError for wrong arguments. When the length or the first row is asked for, raises ValueError for a
    column that a file does not have, or a stream at a URL. While reading, raises what pyarrow does, with a note that
    names the file.

    >>> import os, tempfile
    >>> import pyarrow, pyarrow.feather  # doctest: +SKIP
    >>> path = os.path.join(tempfile.mkdtemp(), 'rows.arrow')
    >>> pyarrow.feather.write_feather(pyarrow.table({'id': [1, 2]}), path, compression='uncompressed')  # doctest: +SKIP
    >>> arrow(path)[1]  # doctest: +SKIP
    {'id': 2}

    See also: `parquet`.
    """
    return _Arrow(expanded('arrow', paths), _names('arrow', columns), integer('arrow', 'cached', cached, least=1))


def _names(where: str, columns: Any) -> list[str] | None:
    if columns is None:
        return None
    names = [columns] if isinstance(columns, str) else list(columns)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f'{where}: `columns` must be names of columns, got {format_value(columns)}')
    return names


class _Rows(Joined):
    """Rows of tables that are parts of files."""

    def __init__(
        self,
        paths: list[str],
        columns: list[str] | None,
        cached: int,
        opens: Callable[[str], Any],
        read: Callable[..., Any],
    ):
        super().__init__()
        self.paths, self.columns, self.cached = paths, columns, cached
        self._open = Kept(opens)
        self.table = Kept(partial(read, self._open, columns), cached)
        """By path and number, the n-th of the tables in the file."""
        self.parts: list[tuple[str, int]] = []
        """For each table, its file and its number there."""

    def sizes_of(self, path: str) -> list[int]:
        """How many rows each of the tables in the file has."""
        raise NotImplementedError

    def check(self, path: str, names: Iterable[str], known: Container[str]) -> None:
        """Raise an error for columns that are not known. `names` are those that the error shows."""
        for column in self.columns or ():
            if column not in known:
                raise ValueError(
                    f'{self.name}: `columns` must be columns of {path!r}, which are {listed(names)}; got {column!r}'
                )

    def check_open(self, path: str) -> None:
        """Raise an error if the open file can no longer be read."""

    def sizes(self) -> list[int]:
        parts, sizes = [], []
        for path in self.paths:
            with reading(path, 'the head'):
                found = self.sizes_of(path)
            parts += [(path, number) for number in range(len(found))]
            sizes += found
        self.parts = parts
        return sizes

    def rows(self, part: int, places: list[int] | None = None) -> list[dict[str, Any]]:
        """Rows of this table, by default all."""
        path, number = self.parts[part]
        with reading(path, f'table {number}', self._open):
            self.check_open(path)
            table = self.table(path, number)
            return (table if places is None else table.take(places)).to_pylist()  # type: ignore[no-any-return]

    def item(self, part: int, place: int) -> dict[str, Any]:
        return self.rows(part, [place])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several rows at once: those of one table by one operation."""
        wanted: dict[int, list[tuple[int, int]]] = {}
        for at, (part, place) in enumerate(map(self.at, indices)):
            wanted.setdefault(part, []).append((at, place))
        result: list[Any] = [None] * len(indices)
        for part, places in wanted.items():
            rows = self.rows(part, [place for _, place in places])
            for (at, _), row in zip(places, rows, strict=True):
                result[at] = row
        return result

    def __repr__(self) -> str:
        return format_call(
            self.name, (self.paths,), non_defaults(columns=(self.columns, None), cached=(self.cached, 2))
        )


class _Parquet(_Rows):
    name = 'parquet'

    def __init__(self, paths: list[str], columns: list[str] | None, cached: int):
        super().__init__(paths, columns, cached, _open_parquet, _row_group)

    def sizes_of(self, path: str) -> list[int]:
        with self._open.briefly(path) as file:
            head = file.metadata
            leaves = [head.schema.column(number).path.split('.') for number in range(head.num_columns)]
            known = {'.'.join(leaf[:depth]) for leaf in leaves for depth in range(1, len(leaf) + 1)}
            self.check(path, file.schema_arrow.names, known)
            return [head.row_group(number).num_rows for number in range(head.num_row_groups)]

    @property
    def groups(self) -> Sequence[list[dict[str, Any]]]:
        """The row groups, each a list of rows."""
        return _Groups(self)


class _Groups(Sequence[Any]):
    def __init__(self, dataset: _Parquet):
        self._dataset = dataset

    def __len__(self) -> int:
        len(self._dataset)  # looks for the groups
        return len(self._dataset.parts)

    def __getitem__(self, index: Any) -> list[dict[str, Any]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f'parquet: there are {len(self)} row groups, but none with the index {index}')
        return self._dataset.rows(index % len(self))

    def __repr__(self) -> str:
        return f'{self._dataset!r}.groups'


class _Arrow(_Rows):
    name = 'arrow'

    def __init__(self, paths: list[str], columns: list[str] | None, cached: int):
        super().__init__(paths, columns, cached, _ArrowFile, _batch)

    def check_open(self, path: str) -> None:
        self._open(path).check()

    def sizes_of(self, path: str) -> list[int]:
        with self._open.briefly(path) as file:
            reader = file.reader
            self.check(path, reader.schema.names, reader.schema.names)
            return [reader.get_batch(number).num_rows for number in range(reader.num_record_batches)]


class _ArrowFile:
    """An open Arrow file."""

    def __init__(self, path: str):
        self.reader = _open_arrow(path)
        self._file = None if '://' in path else open_file(path)
        self._size = 0 if self._file is None else os.fstat(self._file.fileno()).st_size

    def check(self) -> None:
        """Raise an error if the file was shortened: to read what is mapped behind its end would kill the process."""
        if self._file is not None and os.fstat(self._file.fileno()).st_size < self._size:
            raise OSError('arrow: the file was shortened while it was open')

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Stream:
    """The record batches of a stream, with the index that it has not. Where it is mapped, they take no memory."""

    def __init__(self, reader: Any):
        self.schema = reader.schema
        self._batches = list(reader)
        self.num_record_batches = len(self._batches)

    def get_batch(self, number: int) -> Any:
        return self._batches[number]


def _row_group(opened: Kept[Any], columns: list[str] | None, path: str, number: int) -> Any:
    return opened(path).read_row_group(number, columns, use_threads=False)


def _batch(opened: Kept[Any], columns: list[str] | None, path: str, number: int) -> Any:
    batch = opened(path).reader.get_batch(number)
    return batch if columns is None else batch.select(columns)


def _open_parquet(path: str) -> Any:
    module = needed('pyarrow.parquet', 'Parquet files', 'pyarrow')
    # Not mapped into memory, or a file that is shortened would kill the process. Checksums are optional in the format.
    return module.ParquetFile(open_file(path) if '://' in path else path, page_checksum_verification=True)


def _open_arrow(path: str) -> Any:
    pyarrow = needed('pyarrow', 'Arrow files')
    file = open_file(path) if '://' in path else pyarrow.memory_map(path)
    if file.read(len(MAGIC)) == MAGIC:
        return pyarrow.ipc.open_file(file)
    if '://' in path:
        raise ValueError(
            f'arrow: {path!r} is a stream (or no Arrow file), which has no index at a URL: copy it to this machine, or'
            ' write it with pyarrow.ipc.new_file'
        )
    file.seek(0)
    return _Stream(pyarrow.ipc.open_stream(file))
