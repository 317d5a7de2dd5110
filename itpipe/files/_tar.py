"""Items in tar files: the members of one stem are one item."""

from __future__ import annotations

import tarfile
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from itpipe._core.show import format_call

from ._joined import Joined
from ._opening import Kept, Paths, expanded, open_file, reading

__all__ = ['tar']


def tar(paths: Paths) -> Any:
    """The items in tar files, as WebDataset writes them: members that follow each other and have one stem.

    An item is a dict: `'__key__'` is the stem, the path up to the first dot of the file's name, and each extension,
    such as `'jpg'` or `'seg.png'`, has the bytes of that member. Members without an extension, folders and links are
    left out. Decode with `map_at('jpg', decode)`.

    `paths` is a path or a URL that fsspec knows, a pattern such as `'train-*.tar'`, or several of these. To find where
    members are, the heads of all members are read once, when the length or the first item is asked for; their contents
    are skipped. That takes some 100 bytes of memory for each member. Compressed tar files have no index: unpack them
    first.

    Raises FileNotFoundError for a path that is not there and a pattern that no file matches, TypeError or ValueError
    for wrong arguments. When the heads are read, raises ValueError for a file that is compressed, is no tar file, ends
    too early, or has a sparse member. While reading, raises OSError if a member ends too early; errors have a note that
    names the file and the member.

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
    return _Tar(expanded('tar', paths))


class _Shard(NamedTuple):
    """Where the members of one file are."""

    names: list[str]
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]
    first: np.ndarray[Any, np.dtype[np.int64]]
    """The number of the first member of each item, and of the member after the last."""


class _Tar(Joined):
    name = 'tar'

    def __init__(self, paths: list[str]):
        super().__init__()
        self.paths = paths
        self._open = Kept(open_file)
        self._shards: list[_Shard] = []

    def sizes(self) -> list[int]:
        shards = []
        for path in self.paths:
            with self._open.briefly(path) as file:
                shards.append(_members(file, path))
        self._shards = shards
        return [len(shard.first) - 1 for shard in self._shards]

    def item(self, part: int, place: int) -> dict[str, Any]:
        path, shard = self.paths[part], self._shards[part]
        members = range(*shard.first[place : place + 2].tolist())
        result: dict[str, Any] = {'__key__': _parts(shard.names[members[0]])[0]}
        for member in members:
            name, size = shard.names[member], int(shard.sizes[member])
            with reading(path, f'member {name!r}'):
                file = self._open(path)
                file.seek(int(shard.offsets[member]))
                data = file.read(size)
                if len(data) < size:
                    raise OSError(f'tar: the file ends after {len(data)} of {size} bytes')
            result[_parts(name)[1]] = data
        return result

    def __repr__(self) -> str:
        return format_call('tar', (self.paths,), {})


def _members(file: BinaryIO, path: str) -> _Shard:
    names: list[str] = []
    places: list[tuple[int, int]] = []
    first: list[int] = []
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
                if stem != last:
                    first.append(len(names))
                    last = stem
                names.append(member.name)
                places.append((member.offset_data, member.size))
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError('the mark of its end is not there')
    except tarfile.TarError as error:
        behind = f' behind member {names[-1]!r}' if names else ''
        raise ValueError(
            f'tar: {path!r} cannot be read{behind}: {error}; it must be a whole, uncompressed tar file'
        ) from error
    offsets, sizes = np.array(places, np.int64).reshape(-1, 2).T
    return _Shard(names, offsets.copy(), sizes.copy(), np.array([*first, len(names)]))


def _parts(name: str) -> tuple[str, str]:
    """The stem, and the extension: what stands behind the first dot of the file's name."""
    folder, slash, base = name.rpartition('/')
    stem, _, extension = base.partition('.')
    return folder + slash + stem, extension
