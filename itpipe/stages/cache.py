"""Items that are made once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from copy import copy
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from warnings import warn, warn_explicit

from itpipe._core.contents import Contents, Unknown, content_hash
from itpipe._core.show import format_step, format_value, same
from itpipe._core.sizes import size
from itpipe._core.steps import ItemStep, Joins, draws
from itpipe._engine.factories import factory
from itpipe._engine.functions import ItemFunction, bind_step
from itpipe._engine.gathering import get_items
from itpipe._engine.indexing import Watchful, length
from itpipe._engine.iterables import Items
from itpipe._engine.source import MadeOf, Seeded
from itpipe._engine.source_states import has_epochs, has_states
from itpipe._engine.stacks import user_place, user_stacklevel
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
PYTHON: Final = sys.version_info[:2]
"""Whose code it is that is hashed."""
UNSTEADY: Final = 3
"""A warning comes after so many changes, if no item was kept in between."""


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
        return _Cached(left, step, Items(kept, left.source.seed, policy=source.policy))
    inner = copy(source)
    inner.sequence, inner.cheap, inner.seed = kept, False, left.source.seed
    return _Cached(left, step, inner)


class _Now(NamedTuple):
    """What the data and the functions are now, and where their items are."""

    name: str
    store: Store
    data: Contents | None = None
    functions: Contents | None = None

    def changed(self) -> str | None:
        """The name of something that was bound anew since. Other changes are not seen."""
        contents = (part for part in (self.functions, self.data) if part is not None)
        return next(filter(None, (part.changed() for part in contents)), None)


class CachedData(Watchful):
    """Data whose items are made by the steps when they are first asked for, and kept.

    Functions do what they do when they are called. In a notebook, a helper may be another one by then, and a process
    may import a module that was edited. So each process hashes what it has: again when a run begins, and when it sees
    that a name stands for something else. If that happens while an item is made, it is not known what made it, and the
    item is not kept.
    """

    def __init__(
        self,
        data: Any,
        steps: list[ItemStep],
        where: str | PathLike[str],
        limit: int | str | None = None,
        key: str | None = None,
    ):
        self.data, self.steps, self.where, self.key = data, tuple(steps), where, key
        self.function = ItemFunction([bind_step(step, NO_SEEDS) for step in steps], map(format_step, steps))
        self.limit = None if limit is None else int(size('cache', 'limit', limit))
        self.plain_hash: str | None = None
        """The hash of data without code, in a process that got them: they are the same there."""
        self.parents_name: str | None = None
        """The name of the folder in the process that this one was started from."""
        self._start()
        if where != 'memory':
            self.now()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._now: _Now | None = None
        self._looked = False
        """Whether that was in this run."""
        self._plain: Contents | None = None
        """Of data without code, as they were when the run began."""
        self._changes = 0
        self._place: dict[str, Any] | None = None
        """Where the user's code has begun the run."""

    def __len__(self) -> int:
        return length(self.data) or 0

    def __getitem__(self, index: Any) -> Any:
        index, now = int(index), self.now()
        if (value := now.store.get(index)) is MISSING:
            value = self.made(now, index)
        return value

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several items at once: the dataset is asked for those that are not there together, if it can."""
        now = self.now()
        values = [now.store.get(index) for index in indices]
        missing = list(dict.fromkeys(index for index, value in zip(indices, values, strict=True) if value is MISSING))
        together = missing and hasattr(self.data, '__getitems__')
        items = dict(zip(missing, get_items(self.data, missing), strict=True)) if together else {}
        for at, index in enumerate(indices):
            if values[at] is MISSING:
                values[at] = self.made(now, index, items.pop(index)) if index in items else self[index]
        return values

    def made(self, now: _Now, index: int, item: Any = MISSING) -> Any:
        """The item, made of that of the data, and kept."""
        value = self.function(index, self.data[index] if item is MISSING else item)
        if self._now is now and now.changed() is None:
            now.store.put(index, value)
            self._changes = 0
        return value

    def run_begins(self, pass_: int) -> None:
        """Look at everything again before its first item, not only at names."""
        if pass_ == 0:
            self._looked, self._plain, self._place = False, None, user_place()

    def now(self) -> _Now:
        """What there is now: names that stand for something else are seen, and when a run begins everything."""
        now = self._now
        if now is None or not self._looked or now.changed() is not None:
            with self._lock:
                now = self._now
                name = None if now is None else now.changed()
                if now is None or not self._looked or name is not None:
                    self._now = now = self._look()
                    self._looked = True
                    self._changes += name is not None
                    if self._changes == UNSTEADY:
                        self._warn(
                            f'cache: items are not kept, as {name} changes while they are made: let the functions not'
                            ' change it, or give a `key`'
                        )
        return now

    def _look(self) -> _Now:
        known = self._now
        if self.key is not None:
            return known or self._opened(content_hash(self.key, length(self.data)))
        steady = known is not None and known.changed() is None
        by_identity = self.where == 'memory' and not steady
        try:
            data, data_hash = None, self.plain_hash
            if data_hash is None:
                data = self._plain
                if data is None or data.changed() is not None:
                    data = Contents(self.data, length(self.data), by_identity=by_identity)
                    self._plain = data if data.plain else None
                data_hash = data.hash
            functions = Contents(self.steps, PYTHON, by_identity=by_identity)
        except Unknown as error:
            if known is not None and steady:  # such as a file that a function has opened
                return known
            if self.parents_name is not None:
                return self._opened(self.parents_name)
            raise TypeError(
                f'cache: it cannot be told whether {error} has changed: give a `key`, and another one when it has'
            ) from None
        name = content_hash(data_hash, functions.hash)
        if known is not None and known.name == name:
            return _Now(name, known.store, data, functions)
        if known is not None and steady:
            pairs = (('the data', data, known.data), ('what a function holds', functions, known.functions))
            differ = (
                now.differs(then) or what
                for what, now, then in pairs
                if now is not None and then is not None and now.hash != then.hash
            )
            what = next(differ, 'the data')
            way = 'leave it out in `__getstate__`' if 'attribute' in what else 'let no function change it'
            self._warn(
                f'cache: {what} has changed since the last run, so all items are made anew; if that is no edit, {way},'
                ' or give a `key`'
            )
        return self._opened(name, data, functions)

    def _warn(self, message: str) -> None:
        """Where the run has begun, as this thread may be one of itpipe's."""
        if self._place is None:
            warn(message, stacklevel=user_stacklevel())
        else:
            warn_explicit(message, UserWarning, **self._place)

    def _opened(self, name: str, *contents: Contents | None) -> _Now:
        if self.where == 'memory':
            return _Now(name, Memory(self.limit), *contents)
        return _Now(name, Folder(os.path.join(os.path.expanduser(self.where), name), self.limit), *contents)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if not name.startswith('_')}
        if self.where != 'memory':
            state['parents_name'] = self.now().name
            state['plain_hash'] = self.plain_hash if self._plain is None else self._plain.hash
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def __repr__(self) -> str:
        return format_value(self.data)


class _Cached(Seeded):
    """The same source, of data that is kept."""

    def __init__(self, left: Stream[Any], step: Joins, source: Any):
        super().__init__(source, source.seed)
        self.left, self.step = left, step

    @property
    def made_of(self) -> MadeOf:
        return MadeOf(format_step(self.step), (self.left,), ('',), 'kept')

    def fingerprint(self) -> str:
        return '\n'.join([self.left.source.fingerprint(), *map(format_step, self.left.steps), 'cache()'])

    def __repr__(self) -> str:
        return f'{self.left!r} | {format_step(self.step)}'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Cached) and same((self.left, self.step), (other.left, other.step))

    __hash__ = None
