"""The exceptions and warnings of itpipe's own. All others arrive as your code raised them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ['Dropped', 'NotPicklable', 'NotRestartable', 'StallWarning', 'WorkerCrashed']


class NotRestartable(RuntimeError):
    """A stream reads from an iterator that can be read only once, and was asked for a second run.

    >>> from itpipe import apply
    >>> once = iter([1, 2]) | apply(abs)
    >>> list(once)
    [1, 2]
    >>> list(once)
    Traceback (most recent call last):
    itpipe.NotRestartable: the stream reads from an iterator (<list_iterator>) that had its one run; give it ...

    See also: `stream`.
    """


class NotPicklable(TypeError):
    """Something that has to be sent to another process, or back, cannot be pickled.

    >>> import threading
    >>> from itpipe import parallel_map
    >>> lock = threading.Lock()
    >>> list([1, 2] | parallel_map(lambda x: lock.locked(), processes=1))
    Traceback (most recent call last):
    itpipe.NotPicklable: the function cannot be pickled because of `lock` of `<lambda>`, class `_thread.lock` ...

    See also: `parallel_map`.
    """


class StallWarning(RuntimeWarning):
    """No item has come for `stall_timeout` seconds. Says which items are being worked on, and where in your code.

    >>> import warnings
    >>> from itpipe import Infinite
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter('error', StallWarning)  # a stall then ends the epoch, like any other error
    ...     with Infinite(range(4), batch_size=2, stall_timeout=60) as batch_iter:
    ...         print(*batch_iter)
    [0 1] [2 3]

    See also: `Infinite`, `parallel_map`.
    """


class WorkerCrashed(RuntimeError):
    """Worker processes ended, or were killed, while they worked on one item, too often to try again.

    >>> import os
    >>> from itpipe import parallel_map
    >>> list([1, 2] | parallel_map(lambda x: os._exit(3), processes=1, max_crashes=0))
    Traceback (most recent call last):
    itpipe.WorkerCrashed: a worker process died (exit code 3) while working on item 0 alone; ...

    See also: `parallel_map`.
    """


class Dropped(NamedTuple):
    """An item that was left out because of an error, see `on_error` of `parallel_map`.

    >>> from itpipe import parallel_map
    >>> run = iter([4, 0, 2] | parallel_map(lambda x: 1 / x, threads=1, on_error='skip'))
    >>> list(run)
    [0.25, 0.5]
    >>> run.dropped[0].ordinal, run.dropped[0].error
    (1, ZeroDivisionError('division by zero'))

    See also: `Infinite.dropped`.
    """

    ordinal: int
    """The item's number in the source."""
    stage: str
    """The stage in which the error was raised, as it prints; or the source, if the item could not be looked up."""
    error: Exception
    """The error. Its traceback shows the lines, but does not hold the values that the function worked on."""
