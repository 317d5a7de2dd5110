"""The exceptions that are itpipe's own; everything else arrives as your code raised it."""

from __future__ import annotations

__all__ = ['NotPicklable', 'NotRestartable', 'WorkerCrashed']


class NotRestartable(RuntimeError):
    """A stream over a one-shot iterator was asked for a second run."""


class NotPicklable(TypeError):
    """Something that has to go to another process, or to come back from one, cannot be pickled."""


class WorkerCrashed(RuntimeError):
    """Worker processes ended, or were killed, while they ran the function on the same item, too often to try again."""
