"""Items in tar files: the members of one stem are one item."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from itertools import accumulate
from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from ._index_files import Arrays, compact
from ._indexed import Indexed, check_index
from ._opening import Paths, expanded

__all__ = ['tar']


def tar(paths: Paths, *, index: str | PathLike[str] | None = None) -> Any:
    """The items in tar files, as WebDataset writes them: members that follow each other and have one stem.

    An item is a dict: `'__key__'` is the stem, the path up to the first dot of the file's name, and each extension,
    such as `'jpg'` or `'seg.png'`, has the bytes of that member. Members without an extension, folders and links are
    left out. Decode with `map_at('jpg', decode)`.

    `paths` is a path or a URL that fsspec knows, a pattern such as `'train-*.tar'`, or several of these. To find where
    members are, the heads of all members are read once, when the length or the first item is asked for; their contents
    are skipped. That takes some 30 bytes of memory for each member. Compressed tar files have no index: unpack them
    first.

    With `index`, where members are is also stored, and read from there the next time: with `'beside'` in a file beside
    each tar file, such as `train-0.tar.index`, or in this folder, for files that are at URLs or can only be read.
    Workers map it into memory. What is stored says which size its tar file had, and when it was written; at URLs, what
    the server says of this. If that has changed, the tar file is read again. If nothing can be stored, a warning says
    why, and the index stays in memory.

    Raises FileNotFoundError for a path that is not there and a pattern that no file matches, TypeError or ValueError
    for wrong arguments. When the heads are read, raises ValueError for a file that is compressed, is no tar file, ends
    too early, or has a sparse member. While reading, raises OSError if a member ends too early, or the file was written
    to and its members are no longer where they were; errors have a note that names the file and the member.

    >>> import io, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), 'shard.tar')
    >>> with tarfile.open(path, 'w') as file:
    ...     for name, data in [('a.txt', b'one'), ('a.cls', b'1'), ('b.txt', b'two'), ('b.cls', b'2')]:
    ...         member = tarfile.TarInfo(name)
    ...         member.size = len(data)
    ...         file.addfile(member, io.BytesIO(data))
    >>> shard = tar(path)
    >>> len(shard), shard[1]
    (2, {'__key__': 'b', 'txt': b'two', 'cls': b'2'})

    See also: `images`, `parquet`.
    """
    found = expanded('tar', paths)
    return _Tar('tar', found, check_index('tar', index, found))


class _Tar(Indexed):
    """Its index: `names` has the bytes of the names of the members, one after the other, and `edges` where each begins
    and the last one ends. `offsets` and `sizes` say where the members are, and `first` has the number of the first
    member of each item, and of the member after the last."""

    def find(self, file: BinaryIO, path: str) -> Arrays:
        names: list[bytes] = []
        places: list[tuple[int, int]] = []
        first: list[int] = []
        last = None
        for stem, member in _members(file, path):
            if stem != last:
                first.append(len(names))
                last = stem
            names.append(member.name.encode(errors='surrogateescape'))
            places.append((member.offset_data, member.size))
        offsets, sizes = np.array(places, np.int64).reshape(-1, 2).T
        return {
            'names': np.frombuffer(b''.join(names), np.uint8),
            'edges': compact([0, *accumulate(map(len, names))]),
            'offsets': compact(offsets),
            'sizes': compact(sizes),
            'first': compact([*first, len(names)]),
        }

    def count(self, arrays: Arrays) -> int:
        return len(arrays['first']) - 1

    def item(self, part: int, place: int) -> dict[str, Any]:
        arrays = self.arrays(part)
        begin, end = arrays['first'][place : place + 2].tolist()
        edges = arrays['edges'][begin : end + 1].tolist()
        offsets, sizes = arrays['offsets'][begin:end].tolist(), arrays['sizes'][begin:end].tolist()
        last = offsets[-1] + sizes[-1]
        names = arrays['names'][edges[0] : edges[-1]].tobytes()
        result: dict[str, Any] = {}
        for start, stop, offset, size in zip(edges, edges[1:], offsets, sizes, strict=False):
            name = names[start - edges[0] : stop - edges[0]].decode(errors='surrogateescape')
            stem, extension = _parts(name)
            if not result:
                result['__key__'] = stem
            result[extension] = self.read(part, offset, size, f'member {name!r}', last - offset - size)
        return result


def _members(file: BinaryIO, path: str) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """The members that are read, with the stems of their names."""
    last = None
    try:
        with tarfile.open(fileobj=file, mode='r:') as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                stem, extension = _parts(member.name)
                if not member.isreg() or not extension:
                    continue
                if member.issparse():
                    raise ValueError(
                        f'tar: member {member.name!r} of {path!r} is a sparse file, which is not read; write the file'
                        ' without `--sparse`'
                    )
                last = member.name
                yield stem, member
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError('the mark of its end is not there')
    except tarfile.TarError as error:
        behind = f' behind member {last!r}' if last else ''
        raise ValueError(
            f'tar: {path!r} cannot be read{behind}: {error}; it must be a whole, uncompressed tar file'
        ) from error


def _parts(name: str) -> tuple[str, str]:
    """The stem, and the extension: what stands behind the first dot of the file's name."""
    folder, slash, base = name.rpartition('/')
    stem, _, extension = base.partition('.')
    return folder + slash + stem, extension
