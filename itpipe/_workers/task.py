"""One item on its way, and what a call came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from itpipe._core.keys import Key

__all__ = ['Packed', 'Task']


@dataclass
class Packed:
    """What a call in another process came to."""

    data: bytes
    failed: bool = False
    buffers: Any = ()

    @property
    def nbytes(self) -> int:
        """The bytes that it holds."""
        return len(self.data) + sum(map(len, self.buffers))


class Task:
    """An item on its way through a worker, and what came of it."""

    __slots__ = ('error', 'fatal', 'item', 'item_failed', 'key', 'settled', 'value')

    def __init__(self, key: Key):
        self.key = key
        self.value: Any = None
        self.error: BaseException | None = None
        self.settled = False
        self.item: Any = None
        """What went in, if that was to be kept."""
        self.fatal = False
        """Whether the error is not one of this item, but of the workers."""
        self.item_failed = False
        """Whether `Pool.result` has raised an error of this item, not one of the pool."""
