"""How much memory a run will hold, by what its items took in the trial."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from itpipe._core.sizes import Bytes
from itpipe._views.figures import bytes_of
from itpipe._workers.cores import count_workers

from .copying import own_bytes
from .examined import Examined
from .seen import Seen

__all__ = ['available', 'predicted', 'size_of']

PREFETCH: Final = 2
"""The least number of batches that an `Infinite` keeps ready by default; of large ones, it has no more."""


class Part(NamedTuple):
    stage: str
    size: float
    what: str


def size_of(seen: Seen) -> float | None:
    """The bytes of an item or batch behind the stage; None if there was none."""
    sizes = [own_bytes(value) for _, value in seen.out]
    return seen.scale * sum(sizes) / len(sizes) if sizes else None


def predicted(examined: Examined) -> tuple[float, list[Part]]:
    """The bytes that a run will hold together, and of what."""
    parts: list[Part] = []
    main = [seen for seen in examined.stages if not seen.branch]
    for seen in examined.stages:
        size = size_of(seen) or 0.0
        step: Any = seen.step
        if seen.written in ('shuffle', 'reuse') and not seen.holds_indices:
            held = next((option for option in step.options if isinstance(option, int)), 0)
            parts.append(Part(seen.stage, held * size, f'the buffer of {held} items of {bytes_of(size)}'))
    for workers, last in _last_of_workers(examined):
        size, count = size_of(last) or 0.0, count_workers(workers.given) if isinstance(workers.given, int) else 1
        ahead = workers.in_flight
        if isinstance(ahead, Bytes):
            parts.append(Part(last.stage, min(float(ahead), 64 * count * size), 'what `in_flight` allows'))
        else:
            number = 2 * count if ahead is None else ahead
            parts.append(Part(last.stage, number * size, f'{number} results of {bytes_of(size)} of workers'))
    if examined.running is not None and main:
        size, ahead = size_of(main[-1]) or 0.0, examined.running.prefetch
        if isinstance(ahead, Bytes):
            parts.append(Part(main[-1].stage, max(float(ahead), size) + 2 * size, 'what `prefetch` allows'))
        else:
            number = 2 + (PREFETCH if ahead is None else ahead)
            parts.append(Part(main[-1].stage, number * size, f'{number} batches of {bytes_of(size)}'))
    elif main:
        parts.append(Part(main[-1].stage, size_of(main[-1]) or 0.0, 'a batch'))
    return sum(part.size for part in parts), parts


def _last_of_workers(examined: Examined) -> list[tuple[Any, Seen]]:
    last: dict[int, tuple[Any, Seen]] = {}
    for seen in examined.stages:
        if seen.workers is not None:
            last[id(seen.workers)] = seen.workers, seen
    return list(last.values())


def available() -> int | None:
    """The bytes of memory that this process can still get; None if the system does not say."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path('/proc/meminfo').read_text(encoding='ascii').splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith('MemAvailable:')]
    with suppress(OSError, ValueError):
        limit = int(Path('/sys/fs/cgroup/memory.max').read_text(encoding='ascii'))
        found.append(max(0, limit - int(Path('/sys/fs/cgroup/memory.current').read_text(encoding='ascii'))))
    return min(found, default=None)
