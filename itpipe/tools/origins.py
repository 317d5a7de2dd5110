"""Which item of the user's data one is: in what the data is a part of, and in which file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from itpipe._core.part import whole_of
from itpipe._core.show import format_value
from itpipe._engine.indexing import length
from itpipe._engine.source import Seeded

__all__ = ['origin']


def origin(source: Any, index: Any) -> str:
    """What the data of the source tells of the item at an index, as `Chain.indices` gives it; empty if nothing.

    That is its index in what the data is a part of, and its path, if the data has `paths` of its items.
    """
    with suppress(Exception):  # of the dataset's own code
        return '; '.join(filter(None, _told(source, index)))
    return ''


def _told(source: Any, index: Any) -> Iterator[str]:
    """One text for each stream that the item comes from: several behind `zip_with`."""
    while isinstance(source, Seeded):
        source = source.source
    branches = getattr(source, 'branches', None)
    if branches is None:
        data, count = source.data()
        if count is not None:
            yield _told_by(data, index)
    elif source.name == 'zip_with':
        for branch, own in zip(branches, index, strict=True):
            yield from _told(branch.source, own)
    elif source.name in ('mix', 'concat'):
        yield from _told(branches[index[0]].source, index[1])
    elif source.name == 'cycle':
        yield from _told(branches[0].source, index)


def _told_by(data: Any, index: int) -> str:
    told = []
    if whole_of(data) is not None:
        while (whole := whole_of(data)) is not None:
            data, index = whole[0], int(whole[1][index])
        told.append(f'item {index} of {format_value(data)}')
    paths = getattr(data, 'paths', None)
    if paths is not None and length(paths) == length(data):  # not such as those of a few files with many items each
        told.append(str(paths[index]))
    return ', '.join(told)
