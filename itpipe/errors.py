"""The exceptions and warnings that are itpipe's own; everything else arrives as your code raised it."""

from __future__ import annotations

__all__ = ['NotPicklable', 'NotRestartable', 'StallWarning', 'WorkerCrashed']


class NotRestartable(RuntimeError):
    """A stream over a one-shot iterator was asked for a second run."""


class NotPicklable(TypeError):
    """Something that has to go to another process, or to come back from one, cannot be pickled."""


class StallWarning(RuntimeWarning):
    """No item has come for as long as `stall_timeout`; says who has it, and where in your functions they are."""


class WorkerCrashed(RuntimeError):
    """Worker processes ended, or were killed, while they ran the function on the same item, too often to try again."""
