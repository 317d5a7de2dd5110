"""Expensive items, used several times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from itpipe._engine.stream import Stage, stream
from itpipe.stages.reorder import reuse

__all__ = ['ExpirationPool', 'expiration_pool']


class ExpirationPool(Stage[Any, Any]):
    """Each item `repetitions` times, in random order, from a pool of at most `pool_size` items.

    For expensive items, such as those read from disk: put the cheap steps behind the pool. `iterations` values are
    drawn from the pool after each new item, and more while it is full.

    Raises TypeError or ValueError for wrong arguments.

    >>> sorted(ExpirationPool(2, repetitions=2)('abc'))
    ['a', 'a', 'b', 'b', 'c', 'c']

    See also: `itpipe.reuse`.
    """

    __slots__ = ()

    def __init__(self, pool_size: int, repetitions: int, iterations: int = 1):
        super().__init__(reuse(pool_size, repetitions, iterations).steps)


def expiration_pool(iterable: Iterable[Any], pool_size: int, repetitions: int, iterations: int = 1) -> Iterator[Any]:
    """An iterator over the values of an `ExpirationPool` for the iterable.

    >>> sorted(expiration_pool([1, 2], pool_size=2, repetitions=3))
    [1, 1, 1, 2, 2, 2]

    See also: `itpipe.reuse`.
    """
    return iter(stream(iterable) | reuse(pool_size, repetitions, iterations))
