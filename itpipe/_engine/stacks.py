"""What is said when an item is waited for too long: who has it, and where in the user's functions they are.

There is no thread for this. Whoever waits looks up now and then anyway, and then looks at the clock, too.
"""

from __future__ import annotations

import os
import sys
import traceback
from textwrap import indent
from typing import TypeAlias

__all__ = ['Stack', 'format_stack', 'format_worker', 'stack_of', 'user_stacklevel']

Stack: TypeAlias = 'list[tuple[str, int, str]]'
"""File, line and function, the innermost one last; the lines are read where it is shown."""
PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
WAITING_FILES = tuple(
    os.path.join(PACKAGE, room, file)
    for room, file in (('_engine', 'background.py'), ('_workers', 'pool.py'), ('_workers', 'threads.py'))
)
"""The files in which itpipe's threads wait for each other."""
MAX_FRAMES = 32
"""The most frames that are shown. A worker sends them by a pipe from which nobody may read."""


def user_stacklevel() -> int:
    """The `stacklevel`, for the one who calls this, of the first function that is not itpipe's."""
    frame, level = sys._getframe(1), 1
    while frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return level


def format_worker(who: str, stack: Stack) -> str:
    """The lines of one worker, with its stack."""
    return f'  {who}\n{indent(format_stack(stack), "  ")}'


def format_stack(stack: Stack) -> str:
    """The stack as tracebacks print it."""
    return ''.join(traceback.StackSummary.from_list([(*frame, None) for frame in stack]).format())


def stack_of(thread: int | None) -> Stack:
    """Where a thread is: in which functions of the user's, or if in none, where in itpipe, unless it waits there."""
    frame = sys._current_frames().get(thread or 0)
    if frame is None:
        return []
    stack = [(each.f_code.co_filename, line, each.f_code.co_name) for each, line in traceback.walk_stack(frame)]
    stack.reverse()
    ours = [file.startswith(PACKAGE) for file, _, _ in stack]
    first = next((n for n in range(1, len(stack)) if ours[n - 1] and not ours[n]), -1)
    return [] if first < 0 and stack[-1][0] in WAITING_FILES else stack[first:][-MAX_FRAMES:]
