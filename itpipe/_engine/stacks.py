"""Stacks of threads for the warning about a stall: where in the user's functions the items are."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any, TypeAlias

__all__ = ['Stack', 'format_stack', 'format_worker', 'stack_of', 'stack_of_coroutine', 'user_place', 'user_stacklevel']

Stack: TypeAlias = 'list[tuple[str, int, str]]'
"""File, line and function of each frame, the innermost one last. The source lines are read when it is formatted."""
PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
WAITING_FILES = tuple(
    os.path.join(PACKAGE, room, file)
    for room, file in (
        ('_engine', 'async_items.py'),
        ('_engine', 'background.py'),
        ('_workers', 'hub.py'),
        ('_workers', 'pool.py'),
        ('_workers', 'threads.py'),
    )
)
"""The files in which itpipe's threads wait for each other."""
MAX_FRAMES = 32
"""The most frames that are shown. They have to fit into a pipe that the parent process may not be reading."""


def user_stacklevel() -> int:
    """The `stacklevel` for the caller's `warnings.warn` that points to the first function outside of itpipe."""
    return _user_frame(sys._getframe(1))[1]


def user_place() -> dict[str, Any]:
    """What `warnings.warn_explicit` takes to point there later, also from another thread."""
    frame, _ = _user_frame(sys._getframe(1))
    names = frame.f_globals
    return {
        'filename': frame.f_code.co_filename,
        'lineno': frame.f_lineno,
        'module': names.get('__name__'),
        'registry': names.setdefault('__warningregistry__', {}),
    }


def _user_frame(frame: FrameType) -> tuple[FrameType, int]:
    """The first one outside of itpipe, and how many there are up to it."""
    level = 1
    while frame.f_code.co_filename.startswith(PACKAGE) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return frame, level


def format_worker(who: str, stack: Stack) -> str:
    """The lines for one worker: who it is, and its stack."""
    from textwrap import indent

    return f'  {who}\n{indent(format_stack(stack), "  ")}'


def format_stack(stack: Stack) -> str:
    """The stack, as a traceback prints it."""
    import traceback  # takes a while, and is needed for warnings only

    return ''.join(traceback.StackSummary.from_list([(*frame, None) for frame in stack]).format())


def stack_of(thread: int | None) -> Stack:
    """The stack of a thread from the first function of the user's on.

    If there is none, it is that of itpipe. If the thread waits there for other threads, it is empty.
    """
    frame, stack = sys._current_frames().get(thread or 0), []
    if frame is None:
        return []
    while frame is not None:
        stack.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    stack.reverse()
    ours = [file.startswith(PACKAGE) for file, _, _ in stack]
    first = next((n for n in range(1, len(stack)) if ours[n - 1] and not ours[n]), -1)
    return [] if first < 0 and stack[-1][0] in WAITING_FILES else stack[first:][-MAX_FRAMES:]


def stack_of_coroutine(coroutine: Any) -> Stack:
    """The stack of a coroutine that waits, from the first function of the user's on, down to what it waits for."""
    stack: Stack = []
    while coroutine is not None:
        kind = next((kind for kind in ('cr', 'gi', 'ag') if hasattr(coroutine, f'{kind}_frame')), None)
        frame = None if kind is None else getattr(coroutine, f'{kind}_frame')
        if frame is None:
            break
        stack.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        coroutine = getattr(coroutine, 'gi_yieldfrom' if kind == 'gi' else f'{kind}_await')
    first = next((n for n, (file, _, _) in enumerate(stack) if not file.startswith(PACKAGE)), len(stack))
    return stack[first:][-MAX_FRAMES:]
