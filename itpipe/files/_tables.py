"""Rows of Parquet and Arrow files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from itpipe._core.checks import integer
from itpipe._core.show import format_call, format_value, non_defaults

from ._joined import Joined
from ._opening import Opened, Paths, expanded, needed, open_file, reading

__all__ = ['arrow', 'parquet']


def parquet(paths: Paths, columns: Iterable[str] | None = None, *, cached: int = 2) -> Any:
    """The rows of Parquet files, as dicts of Python values.

    `paths` is a path or a URL that fsspec knows, a pattern such as `'part-*.parquet'`, or several of these. `columns`
    are the names of those that are read, by default all.

    A file is read by row groups. Each thread keeps the last `cached` of them. So rows in order are read fast, and so is
    a shuffle with a buffer. For each row of `shuffle()` or `sample`, a whole row group may be read; if it is large,
    shuffle row groups instead: `parquet(paths).groups` is a dataset whose items are the lists of rows of one group, for
    `parquet(paths).groups | shuffle() | flatten | shuffle(10_000)`.

    It needs pyarrow. Raises FileNotFoundError if no file matches a pattern, TypeError or ValueError for wrong
    arguments. While reading, raises what pyarrow does, with a note that names the file and the row group.

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


def arrow(paths: Paths, columns: Iterable[str] | None = None) -> Any:
    """The rows of Arrow files (also called Feather, version 2), as dicts of Python values.

    `paths` and `columns` are as for `parquet`. Files on this machine are mapped into memory, so a row is read without
    the others, in any order, and the processes share the memory.

    It needs pyarrow. Raises FileNotFoundError if no file matches a pattern, TypeError or ValueError for wrong
    arguments. While reading, raises what pyarrow does, with a note that names the file.

    >>> import os, tempfile
    >>> import pyarrow, pyarrow.feather  # doctest: +SKIP
    >>> path = os.path.join(tempfile.mkdtemp(), 'rows.arrow')
    >>> pyarrow.feather.write_feather(pyarrow.table({'id': [1, 2]}), path, compression='uncompressed')  # doctest: +SKIP
    >>> arrow(path)[1]  # doctest: +SKIP
    {'id': 2}

    See also: `parquet`.
    """
    return _Arrow(expanded('arrow', paths), _names('arrow', columns))


def _names(where: str, columns: Any) -> list[str] | None:
    if columns is None:
        return None
    names = [columns] if isinstance(columns, str) else list(columns)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f'{where}: `columns` must be names of columns, got {format_value(columns)}')
    return names


class _Rows(Joined):
    """Rows of tables that are parts of files."""

    def __init__(self, paths: list[str], columns: list[str] | None):
        super().__init__()
        self.paths, self.columns = paths, columns
        self.parts: list[tuple[str, int]] = []
        """For each table, its file and its number there."""

    def sizes_of(self, path: str) -> list[int]:
        """How many rows each of the tables in the file has."""
        raise NotImplementedError

    def table(self, path: str, number: int) -> Any:
        """The n-th of the tables in the file."""
        raise NotImplementedError

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
        with reading(path, f'table {number}'):
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
        return format_call(self.name, (self.paths,), non_defaults(columns=(self.columns, None)))


class _Parquet(_Rows):
    name = 'parquet'

    def __init__(self, paths: list[str], columns: list[str] | None, cached: int):
        super().__init__(paths, columns)
        self._open = Opened(_open_parquet)
        self._kept = Opened(partial(_Kept, cached))

    def sizes_of(self, path: str) -> list[int]:
        head = self._open(path).metadata
        return [head.row_group(number).num_rows for number in range(head.num_row_groups)]

    def table(self, path: str, number: int) -> Any:
        kept = self._kept('')
        if (path, number) not in kept:
            kept.add((path, number), self._open(path).read_row_group(number, self.columns, use_threads=False))
        return kept[path, number]

    @property
    def groups(self) -> Sequence[list[dict[str, Any]]]:
        """The row groups, each a list of rows."""
        return _Groups(self)


class _Kept(OrderedDict[Any, Any]):
    """The tables that were read last."""

    def __init__(self, most: int, _: str):
        super().__init__()
        self._most = most

    def add(self, key: Any, table: Any) -> None:
        while len(self) >= self._most:
            self.popitem(last=False)
        self[key] = table


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

    def __init__(self, paths: list[str], columns: list[str] | None):
        super().__init__(paths, columns)
        self._open = Opened(_open_arrow)

    def sizes_of(self, path: str) -> list[int]:
        reader = self._open(path)
        return [reader.get_batch(number).num_rows for number in range(reader.num_record_batches)]

    def table(self, path: str, number: int) -> Any:
        batch = self._open(path).get_batch(number)
        return batch if self.columns is None else batch.select(self.columns)


def _open_parquet(path: str) -> Any:
    module = needed('pyarrow.parquet', 'Parquet files', 'pyarrow')
    return module.ParquetFile(open_file(path) if '://' in path else path, memory_map='://' not in path)


def _open_arrow(path: str) -> Any:
    pyarrow = needed('pyarrow', 'Arrow files')
    return pyarrow.ipc.open_file(open_file(path) if '://' in path else pyarrow.memory_map(path))
