"""The items of a shard, in the process that has it open.

The n-th one is the result of a function of the shard and n, like that of any other item. The process only keeps the
iterator: asked for the next item, it goes on; asked for any other, as where it takes the place of one that died, it
opens the shard again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from itpipe._core.keys import Key
from itpipe._core.steps import Pair
from itpipe._engine.functions import ItemFunction
from itpipe._engine.iterators import close_iterator
from itpipe._engine.parts import Broken
from itpipe._engine.readers import shard_items
from itpipe._engine.resources import Resource

from .pickling import dumps, error_of, loads, packed_error

__all__ = ['NO_MORE', 'ItemOfShard', 'received']

NO_MORE: Final = dumps(None, '', '')
"""What a process answers behind the last item of a shard."""


class _OpenShard(Resource):
    """What a process has open. It is closed where the process ends, unless it is killed."""

    def __init__(self) -> None:
        self.items: Iterator[Pair] = iter(())
        self.next: tuple[int, int] | None = None
        """Which opening it is, and the number of the next item."""

    def open(self) -> None:
        pass

    def close(self) -> None:
        self.next = None
        close_iterator(self.items)

    def __reduce__(self) -> Any:
        return _OpenShard, ()


@dataclass(frozen=True, slots=True)
class _Packed:
    """The error of what is `Broken`."""

    data: bytes


def received(value: Any) -> Any:
    """An item as a process has sent it."""
    return Broken(error_of(value.data)) if type(value) is _Packed else value


class ItemOfShard(ItemFunction):
    """The item with this number of an open shard, in a tuple; None if there are no more."""

    takes_setup: ClassVar[bool] = False
    resource: _OpenShard

    def __init__(self, read: ItemFunction, described: str, failing: bool = False, shard: _OpenShard | None = None):
        super().__init__(read.calls, read.names, read.lead, read.pass_)
        self.read, self.described, self.failing = read, described, failing
        self.place, self.resource = read.place, shard or _OpenShard()

    def in_pass(self, pass_: int) -> ItemFunction:
        return ItemOfShard(self.read.in_pass(pass_), self.described, self.failing, self.resource)

    def __call__(self, key: Key, value: Any) -> Any:
        (key, n), (opening, data) = key, value  # type: ignore[misc]
        shard = self.resource
        if shard.next != (opening, n):
            shard.close()
            pair = key, loads(data, 'the shard', 'what it is made of must be importable in the process')
            shard.items = shard_items(self.read, self.described, pair, n, failing=self.failing)
        shard.next = opening, n + 1  # also if this raises: then there are no more
        found = next(shard.items, None)
        if found is None:
            return None
        value = found[1]
        return (_Packed(packed_error(value.error)) if type(value) is Broken else value,)

    def __reduce__(self) -> Any:
        return ItemOfShard, (self.read, self.described, self.failing, self.resource)
