"""What is said when an item is waited for too long: who has it, and where in the user's functions they are.

There is no thread for this. Whoever waits looks up now and then anyway, and then looks at the clock, too.
"""

from __future__ import annotations

import os
import sys
import traceback
from textwrap import indent
from typing import TypeAlias

__all__ = ['Stack', 'outside', 'placed', 'shown', 'stack_of']

Stack: TypeAlias = 'list[tuple[str, int, str]]'
"""File, line and function, the innermost one last; the lines are read where it is shown."""
OURS = os.path.dirname(__file__) + os.sep
WAITS = tuple(OURS + file for file in ('background.py', 'workers.py'))
"""Where itpipe's threads wait for each other."""
DEEPEST = 32
"""The most frames that are shown. A worker sends them by a pipe from which nobody may read."""


def outside() -> int:
    """The `stacklevel`, for the one who calls this, of the first function that is not itpipe's."""
    frame, level = sys._getframe(1), 1
    while frame.f_code.co_filename.startswith(OURS) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return level


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
