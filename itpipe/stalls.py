"""What is said when an item is waited for too long: who has it, and where in the user's functions they are.

There is no thread for this. Whoever waits looks up now and then anyway, and then looks at the clock, too.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable
from math import inf
from textwrap import indent
from time import perf_counter
from typing import Protocol, TypeAlias

from .errors import StallWarning

__all__ = ['Party', 'Patience', 'Stack', 'outside', 'placed', 'report', 'shown', 'stack_of']

Stack: TypeAlias = 'list[tuple[str, int, str]]'
"""File, line and function, the innermost one last; the lines are read where it is shown."""
OURS = os.path.dirname(__file__) + os.sep
WAITS = tuple(OURS + file for file in ('background.py', 'workers.py'))
"""Where itpipe's threads wait for each other."""
DEEPEST = 32
"""The most frames that are shown. A worker sends them by a pipe from which nobody may read."""


class Party(Protocol):
    """Somebody that a run waits for."""

    @property
    def where(self) -> str:
        """What it is called in the warning."""

    @property
    def threads(self) -> list[threading.Thread]:
        """Its own, which may be waited for when it is closed."""

    def doing(self) -> str:
        """What it is at, in lines for the warning; nothing if it is idle."""

    def stop(self) -> None:
        """Break the waits; from any thread."""


class Patience:
    """How long one waits for an item before a warning asks where it stays, once for each item."""

    def __init__(self, awaited: str = '', seconds: float | None = None):
        self._awaited, self._seconds = awaited, seconds
        self._until = inf

    def begin(self) -> None:
        """From now on, the next item is waited for."""
        if self._seconds is not None:
            self._until = perf_counter() + self._seconds

    def beat(self, most: float, doing: Callable[[], str]) -> float:
        """How long, at most, to wait now before looking up again; warns when it is time to."""
        if self._until == inf:
            return most
        if (left := self._until - perf_counter()) > 0:
            return min(most, left)
        self._until = inf
        message = f'itpipe: {self._awaited} for {self._seconds:g} s\n{doing()}'
        warnings.warn(message.rstrip(), StallWarning, stacklevel=outside())
        return most


def outside() -> int:
    """The `stacklevel`, for the one who calls this, of the first function that is not itpipe's."""
    frame, level = sys._getframe(1), 1
    while frame.f_code.co_filename.startswith(OURS) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return level


def report(parties: Iterable[Party]) -> str:
    """What each of them is at."""
    return ''.join(f'{party.where}\n{doing}' for party in parties if (doing := party.doing()))


def placed(who: str, stack: Stack) -> str:
    """The lines of one worker, with its stack."""
    return f'  {who}\n{indent(shown(stack), "  ")}'


def shown(stack: Stack) -> str:
    """The stack as tracebacks print it."""
    return ''.join(traceback.StackSummary.from_list([(*frame, None) for frame in stack]).format())


def stack_of(thread: int | None) -> Stack:
    """Where a thread is: in which functions of the user's, or if in none, where in itpipe, unless it waits there."""
    frame = sys._current_frames().get(thread or 0)
    if frame is None:
        return []
    stack = [(each.f_code.co_filename, line, each.f_code.co_name) for each, line in traceback.walk_stack(frame)]
    stack.reverse()
    ours = [file.startswith(OURS) for file, _, _ in stack]
    first = next((n for n in range(1, len(stack)) if ours[n - 1] and not ours[n]), -1)
    return [] if first < 0 and stack[-1][0] in WAITS else stack[first:][-DEEPEST:]
