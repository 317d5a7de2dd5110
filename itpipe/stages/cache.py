"""Items that are made once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from copy import copy
from os import PathLike
from typing import TYPE_CHECKING, Any

from itpipe._core.contents import Unknown, content_hash
from itpipe._core.show import format_step, format_value, same
from itpipe._core.sizes import size
from itpipe._core.steps import ItemStep, Joins, draws
from itpipe._engine.factories import factory
from itpipe._engine.functions import ItemFunction, bind_step
from itpipe._engine.indexing import length
from itpipe._engine.iterables import Items
from itpipe._engine.source import MadeOf, Seeded
from itpipe._engine.source_states import has_epochs, has_states
from itpipe._engine.stream import Stage, Stream

from .stores import MISSING, Folder, Memory

if TYPE_CHECKING:
    from itpipe._engine.stream import Same

    from .stores import Store
else:
    Same = Stage

__all__ = ['cache']

NO_SEEDS: Any = None
"""Steps that are not random ask for none."""


@factory
def cache(where: str | PathLike[str], *, limit: int | str | None = None, key: str | None = None) -> Same:
    """The items, each made once: it is kept, and taken from there in later passes and later runs.

    It stands behind data with a length and an index and item-wise stages that are not random, such as reading and
    decoding, and in front of all others. If a `parallel_map` follows, its workers fill the cache, and read from it.
    Items that come out may be changed: they are copies.

    `where` is `'memory'`, or a folder. A folder is shared by all processes that use it, also those of other trainings
    at the same time, and lasts. In memory, each process keeps items of its own. `limit` is how much is kept, in bytes
    or as in `'16GB'`. When it is reached, or a disk is full (with a warning), other items are made each time.

    Each pipeline has a folder of its own in `where`. Its name is a hash of the data and of the functions: of their code
    and of what they use, as far as it is not of an installed library. So if you edit a function, items are made anew.
    What is in files is not seen, nor are other versions of libraries. With a `key`, the name is made of that and the
    number of items instead: give another one when something has changed.

    Raises TypeError or ValueError for wrong arguments, and TypeError if it stands elsewhere, or if it cannot be told
    whether a part of the data or of a function has changed. While running, raises NotPicklable for items that cannot be
    pickled.

    >>> from itpipe import stream
    >>> def slow(x):
    ...     print('making', x)
    ...     return x * 10
    >>> kept = stream([1, 2]) | slow | cache('memory')
    >>> list(kept)
    making 1
    making 2
    [10, 20]
    >>> list(kept)
    [10, 20]

    See also: `prefetch`, `reuse`, `itpipe.files`.
    """
    if not isinstance(where, (str, PathLike)):
        raise TypeError(f"cache: `where` must be 'memory' or a folder, got {type(where).__name__}")
    if not os.fspath(where):
        raise ValueError('cache: `where` must not be empty')
    if key is not None and not isinstance(key, str):
        raise TypeError(f'cache: `key` must be a str, got {type(key).__name__}')
    if where != 'memory' and not hasattr(os, 'preadv'):
        raise OSError("cache: this system cannot share a folder: give 'memory'")
    if limit is not None:
        size('cache', 'limit', limit)
    return Same((Joins('cache', _cached),))


def _cached(left: Stream[Any], step: Joins) -> _Cached:
    """The source that `cache` makes of the stream before it."""
    source: Any = left.source
    while isinstance(source, Seeded):
        source = source.source
    data = getattr(source, 'iterable', None) if isinstance(source, Items) else getattr(source, 'sequence', None)
    if data is None or has_states(data) or (isinstance(source, Items) and not source.indexed()):
        raise TypeError(f'cache: it must stand behind data with a length and access by index, got {left!r}')
    if has_epochs(data):
        raise TypeError(f'cache: {format_value(data)} has `set_epoch`, so its items may be others in each pass')
    steps = []
    for each in left.steps:
        if not isinstance(each, ItemStep):
            if each.name == 'parallel_map' and each.args:
                f = format_value(each.args[0])
                raise TypeError(
                    f'cache: `{format_step(each)}` must not stand before it; put `{f}` and the cache in front:'
                    f' `{f} | cache(…) | parallel_map(g, processes=2)`: those workers fill it'
                )
            raise TypeError(
                f'cache: only item-wise stages may stand between the data and it, got `{format_step(each)}`; put that'
                ' behind'
            )
        if draws(each):
            raise TypeError(
                f'cache: `{format_step(each)}` is random, and in a cache it would be the same in each pass; put it'
                ' behind'
            )
        steps.append(each)
    kept = CachedData(data, steps, *step.args, **step.kwargs)
    if isinstance(source, Items):
        return _Cached(left, step, Items(kept, left.source.seed))
    inner = copy(source)
    inner.sequence, inner.cheap, inner.seed = kept, False, left.source.seed
    return _Cached(left, step, inner)


class CachedData(Sequence[Any]):
    """Data whose items are made by the steps when they are first asked for, and kept."""

    def __init__(
        self,
        data: Any,
        steps: list[ItemStep],
        where: str | PathLike[str],
        limit: int | str | None = None,
        key: str | None = None,
    ):
        self.data = data
        self.function = ItemFunction([bind_step(step, NO_SEEDS) for step in steps], map(format_step, steps))
        most = None if limit is None else int(size('cache', 'limit', limit))
        self.store: Store = Memory(most)
        if where != 'memory':
            name = _name(data, steps) if key is None else content_hash(key, length(data))
            self.store = Folder(os.path.join(os.path.expanduser(where), name), most)

    def __len__(self) -> int:
        return length(self.data) or 0

    def __getitem__(self, index: Any) -> Any:
        index = int(index)
        if (value := self.store.get(index)) is MISSING:
            value = self.made(index)
        return value

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several items at once: the dataset is asked for those that are not there together, if it can."""
        values = [self.store.get(index) for index in indices]
        missing = list(dict.fromkeys(index for index, value in zip(indices, values, strict=True) if value is MISSING))
        together = getattr(self.data, '__getitems__', None)
        items = dict(zip(missing, together(missing), strict=True)) if missing and together is not None else {}
        for at, index in enumerate(indices):
            if values[at] is MISSING:
                values[at] = self.made(index, items.pop(index)) if index in items else self[index]
        return values

    def made(self, index: int, item: Any = MISSING) -> Any:
        """The item, made of that of the data, and kept."""
        value = self.function(index, self.data[index] if item is MISSING else item)
        self.store.put(index, value)
        return value

    def __repr__(self) -> str:
        return format_value(self.data)


def _name(data: Any, steps: list[ItemStep]) -> str:
    python = sys.version_info[:2]  # whose code it is
    try:
        return content_hash(data, length(data), steps, python)
    except Unknown as error:
        raise TypeError(
            f'cache: it cannot be told whether {error} has changed: give a `key`, and another one when it has'
        ) from None


class _Cached(Seeded):
    """The same source, of data that is kept."""

    def __init__(self, left: Stream[Any], step: Joins, source: Any):
        super().__init__(source, source.seed)
        self.left, self.step = left, step

    @property
    def made_of(self) -> MadeOf:
        return MadeOf(format_step(self.step), (self.left,), ('',))

    def fingerprint(self) -> str:
        return '\n'.join([self.left.source.fingerprint(), *map(format_step, self.left.steps), 'cache()'])

    def __repr__(self) -> str:
        return f'{self.left!r} | {format_step(self.step)}'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Cached) and same((self.left, self.step), (other.left, other.step))

    __hash__ = None
