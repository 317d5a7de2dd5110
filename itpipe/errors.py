"""The exceptions and warnings that are itpipe's own; everything else arrives as your code raised it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ['Dropped', 'NotPicklable', 'NotRestartable', 'StallWarning', 'WorkerCrashed']


class NotRestartable(RuntimeError):
    """A stream over a one-shot iterator was asked for a second run."""


class NotPicklable(TypeError):
    """Something that has to go to another process, or to come back from one, cannot be pickled."""


class StallWarning(RuntimeWarning):
    """No item has come for as long as `stall_timeout`; says who has it, and where in your functions they are."""


class WorkerCrashed(RuntimeError):
    """Worker processes ended, or were killed, while they ran the function on the same item, too often to try again."""


class Dropped(NamedTuple):
    """An item that was left out because of an error, see `on_error` of `parallel_map`."""

    ordinal: int
    """The item's place in the source."""
    stage: str
    """Where the error was raised, as it prints."""
    error: Exception
    """The error; its traceback shows the lines, but does not hold what the function worked on."""
