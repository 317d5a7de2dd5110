"""One item on its way: as the run sees it, as it goes to a process, and as it comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from itpipe._core.keys import Key

if TYPE_CHECKING:
    from collections import deque

    from .shared_memory import Buffers

__all__ = ['GROUP_SECONDS', 'Call', 'Packed', 'Task', 'Use']

GROUP_SECONDS = 0.001
"""Seconds of work that go to a process in one message. After so long, a process no longer holds an answer back to send
it together with others."""


@dataclass(slots=True)
class Packed:
    """The pickled result of a call in another process, or its pickled error."""

    data: bytes
    failed: bool = False
    buffers: Any = ()

    @property
    def nbytes(self) -> int:
        """The bytes that it holds."""
        return len(self.data) + sum(map(len, self.buffers))


class Use:
    """The use of a pool in one pass. Its tasks are put there when they are settled."""

    __slots__ = ('done', 'over', 'settled')

    def __init__(self) -> None:
        self.settled: deque[Task] | None = None
        """The settled tasks, if what they hold is measured."""
        self.done: deque[Task] | None = None
        """The settled tasks, if they are taken in this order."""
        self.over = False
        """Whether nobody takes its tasks any more."""


class Task:
    """An item that was submitted to a pool, and the outcome of its call."""

    __slots__ = ('error', 'fatal', 'item', 'item_failed', 'key', 'lane', 'settled', 'use', 'value')

    def __init__(self, key: Key, use: Use | None = None):
        self.key, self.use = key, use or Use()
        self.value: Any = None
        self.error: BaseException | None = None
        self.settled = False
        self.item: Any = None
        """The item, if `on_error` needs it."""
        self.fatal = False
        """Whether the error is one of the workers, not of this item."""
        self.item_failed = False
        """Whether `Pool.result` has raised an error of this item, not one of the pool."""
        self.lane = 0
        """Which of the lanes of processes it goes to, if there are any."""


@dataclass(eq=False, slots=True)
class Call:
    """A task as it is sent to a process."""

    task: Task
    data: bytes
    buffers: Buffers
    pass_: int = 0
    """In which pass the function is called."""
    message: Buffers = ()
    """The span of shared memory with the message that begins with this call, if the message is long."""
    suspect: bool = False
    """Whether a process died that had this call. Then it is sent alone."""
    crashes: int = 0
    """How many processes died that had only this call."""
    timeouts: int = 0
    """How many of them were killed because the call took too long."""
