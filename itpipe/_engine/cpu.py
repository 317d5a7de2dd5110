"""How many cores there are, and for how long threads and processes have used one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

__all__ = ['cores', 'seconds_on_cores']


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def seconds_on_cores(tasks: Iterable[str]) -> float | None:
    """Seconds in which these processes (`'7'`) and threads (`'self/task/7'`) have used a core or waited for one.

    Those that wait for a core need one, too: without them, workers that share their cores would seem to wait for data.
    None if there are none, or where Linux cannot say.
    """
    total = None
    for task in tasks:
        try:
            with open(f'/proc/{task}/stat', encoding='utf-8', errors='replace') as file:
                fields = file.read().rpartition(')')[2].split()
            total = (total or 0.0) + (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK') + _queued(task)
        except (OSError, ValueError, IndexError, AttributeError):  # it has ended, or this is another system
            return None
    return total


def _queued(task: str) -> float:
    """For how long a thread, or the threads of a process, could run but got no core; 0 where that is not counted."""
    threads = [task] if '/' in task else [f'{task}/task/{thread}' for thread in os.listdir(f'/proc/{task}/task')]
    total = 0.0
    for thread in threads:
        with suppress(OSError, ValueError, IndexError), open(f'/proc/{thread}/schedstat', encoding='ascii') as file:
            total += int(file.read().split()[1]) / 1e9
    return total
