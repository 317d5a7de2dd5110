"""What a pool does about processes that die.

The calls of such a process are made again, each alone in a process from then on. So it shows which call the processes
die of, and that call is given up after a few crashes.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, TypeAlias

from itpipe._core.keys import describe
from itpipe.errors import WorkerCrashed

from .task import Call

__all__ = ['CrashPolicy', 'GivenUp', 'Overdue', 'Timeout']

Overdue: TypeAlias = "Literal['timeout', 'stall']"
"""Which limit in time was passed."""


class Timeout(NamedTuple):
    """How long a call may take, in seconds, and how many times it is made again if it takes longer."""

    seconds: float
    tries: int = 0


class GivenUp(NamedTuple):
    """A call that is not made again, and the error that it gets."""

    call: Call
    error: BaseException
    fatal: bool


class CrashPolicy:
    """Counts crashes, and says which call is given up."""

    def __init__(self, max_crashes: int, timeout: Timeout | None = None):
        self.max_crashes, self.timeout = max_crashes, timeout
        self.failed_starts = 0
        """How many processes, one after the other, died before they had set up."""

    def record_start(self) -> None:
        """A process has set up."""
        self.failed_starts = 0

    def judge(
        self,
        calls: Sequence[Call],
        sent: int,
        is_set_up: bool,
        exitcode: int | None,
        error: BaseException | None,
        overdue: Overdue | None = None,
    ) -> GivenUp | None:
        """A process has ended because of the error or, without one, by itself. It had got the first `sent` calls.

        With `overdue`, it was killed for that. Returns the call to give up, if any; the others are to be made again.
        """
        if error is None and not is_set_up:
            self.failed_starts += 1
            if self.failed_starts > self.max_crashes:
                error = _crash(self.failed_starts, exitcode, 'while it was being set up', 'it may have printed why')
        if error is not None:
            return GivenUp(calls[0], error, True) if calls else None
        for call in calls[:sent]:
            call.suspect = True
        if sent == 1:
            call = calls[0]
            if overdue == 'timeout' and self.timeout is not None:
                call.timeouts += 1
                return GivenUp(call, self._timeout(call), False) if call.timeouts > self.timeout.tries else None
            call.crashes += 1
            if call.crashes > self.max_crashes:
                when = f'while working on {describe(call.task.key)} alone'
                why = 'it may take too much memory, or crash in native code'
                if overdue == 'stall':
                    why = "the last one was killed by `on_stall='restart'`, because it took longer than `stall_timeout`"
                return GivenUp(call, _crash(call.crashes, exitcode, when, why), False)
        return None

    def _timeout(self, call: Call) -> TimeoutError:
        assert self.timeout is not None
        took = f'{describe(call.task.key)} took longer than `timeout={self.timeout.seconds:g}` seconds'
        killed = 'its process was' if call.timeouts == 1 else f'{call.timeouts} processes, one after the other, were'
        return TimeoutError(f'{took}; {killed} killed')


def _crash(times: int, exitcode: int | None, when: str, why: str) -> WorkerCrashed:
    who = 'a worker process' if times == 1 else f'{times} worker processes, one after the other,'
    how = f'exit code {exitcode}'
    if exitcode is not None and exitcode < 0:
        with suppress(ValueError):
            how = signal.Signals(-exitcode).name
    return WorkerCrashed(f'{who} died ({how}) {when}; {why}')
