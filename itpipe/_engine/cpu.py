"""How many cores there are, and for how long threads and processes have used one."""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ['cores', 'seconds_on_cores']


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def seconds_on_cores(tasks: Iterable[str]) -> float | None:
    """For how long these processes (`'7'`) and threads (`'self/task/7'`) have used a core, in seconds.

    None if there are none, or where Linux cannot say.
    """
    total = None
    for task in tasks:
        try:
            with open(f'/proc/{task}/stat', encoding='utf-8', errors='replace') as file:
                fields = file.read().rpartition(')')[2].split()
            total = (total or 0.0) + (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
        except (OSError, ValueError, IndexError, AttributeError):  # it has ended, or this is another system
            return None
    return total
