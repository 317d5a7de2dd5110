"""One iteration of a stream, as users have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from itpipe._core.keys import Batch, Key, ordinals
from itpipe._core.notes import close_after
from itpipe._core.steps import State
from itpipe.errors import Dropped

from .chain import B, Chain, is_running
from .checkpoint import Position, StateCodec
from .threads import close_for

__all__ = ['Run', 'keys_of']


class Run(Iterator[B]):
    """One live iteration of a stream: an iterator over its items, which `close` ends before its end."""

    if TYPE_CHECKING:
        __sizeof__: None  # type: ignore[assignment]  # says that it is not an item, see typing.Item

    def __init__(self, chain: Chain):
        self._chain = chain
        self._next = chain.pairs.__next__
        self._key: Key | None = None
        self._codec: StateCodec | None = None

    def __next__(self) -> B:
        try:
            key, value = self._next()
        except StopIteration:
            self.close()
            raise
        except BaseException as error:
            if is_running(error):
                raise RuntimeError(
                    'two threads have asked one run for an item at the same time, or the run has asked itself;'
                    ' give each thread a run of its own, by `iter(stream)`, or let them share an `Infinite`'
                ) from None
            close_after(error, self.close)
            raise
        chain = self._chain
        chain.last = self._key = key
        if chain.stateful:  # if not, this is all that it would do
            chain.received(key)
        return value  # type: ignore[no-any-return]

    @property
    def dropped(self) -> list[Dropped]:
        """What `on_error` has left out so far, the last 10,000 at most."""
        return list(self._chain.stop.dropped.copy())

    def state_dict(self) -> State:
        """Where the run stands, as `Stream.resume` takes it and JSON can hold it: behind the item received last.

        >>> from itpipe import shuffle, stream
        >>> letters = stream('abcdefgh', seed=0) | shuffle(3)
        >>> run = iter(letters)
        >>> next(run), next(run)
        ('a', 'd')
        >>> state = run.state_dict()
        >>> list(run) == list(letters.resume(state))
        True

        See also: `Infinite.state_dict`.
        """
        chain = self._chain
        in_pass = None if self._key is None and not chain.resumed else chain.state()
        if self._codec is None:
            self._codec = StateCodec(*chain.described)
        return self._codec.state(Position(chain.seeds.entropy, chain.seeds.pass_, 0, in_pass))

    @property
    def item_keys(self) -> list[Any]:
        """As `Infinite.item_keys`, of the item received last."""
        return keys_of(self._key)

    @property
    def ordinals(self) -> list[int]:
        """As `Infinite.ordinals`, of the item received last."""
        return [] if self._key is None else ordinals(self._key)

    @property
    def indices(self) -> list[Any]:
        """As `Infinite.indices`, of the item received last."""
        return [] if self._key is None else self._chain.indices(self._key)

    def close(self) -> None:
        """End the run and close all that is upstream of it, the source included; again: does nothing."""
        self._chain.close()

    def __del__(self) -> None:
        if hasattr(self, '_chain'):
            close_for(self._chain.stop.threads(), self._chain.close)


def keys_of(key: Key | None) -> list[Any]:
    """The keys of the items in a batch, or that of the item; none if there is no item yet."""
    return [] if key is None else list(key) if isinstance(key, Batch) else [key]
