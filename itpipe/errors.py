"""The exceptions and warnings of itpipe's own. All others arrive as your code raised them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ['Dropped', 'NotPicklable', 'NotRestartable', 'StallWarning', 'WorkerCrashed']


class NotRestartable(RuntimeError):
    """A stream reads from an iterator that can be read only once, and was asked for a second run."""


class NotPicklable(TypeError):
    """Something that has to be sent to another process, or back, cannot be pickled."""


class StallWarning(RuntimeWarning):
    """No item has come for `stall_timeout` seconds. Says which items are being worked on, and where in your code."""


class WorkerCrashed(RuntimeError):
    """Worker processes ended, or were killed, while they worked on one item, too often to try again."""


class Dropped(NamedTuple):
    """An item that was left out because of an error, see `on_error` of `parallel_map`."""

    ordinal: int
    """The item's number in the source."""
    stage: str
    """The stage in which the error was raised, as it prints."""
    error: Exception
    """The error. Its traceback shows the lines, but does not hold the values that the function worked on."""
