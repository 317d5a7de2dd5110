"""The figures of a stage, and of the loop, up to a moment."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

__all__ = ['LoopFigures', 'StageFigures']


class _Counters:
    """A dataclass of which some fields count from the beginning of a run."""

    now: ClassVar[frozenset[str]] = frozenset()
    """The numbers that are those of a moment."""

    def since(self, earlier: Any) -> Any:
        """What was done since then."""
        changes: dict[str, Any] = {}
        for name in (each.name for each in fields(self) if each.name not in self.now):  # type: ignore[arg-type]
            value, before = getattr(self, name), getattr(earlier, name)
            if value is None or before is None:
                changes[name] = None
            elif isinstance(value, tuple):
                before += (0,) * (len(value) - len(before))
                changes[name] = tuple(a - b for a, b in zip(value, before, strict=False))
            elif isinstance(value, (int, float)):
                changes[name] = value - before
        return replace(self, **changes)  # type: ignore[type-var]


@dataclass(frozen=True)
class StageFigures(_Counters):
    """One stage of a run; seconds and counts are from its beginning on."""

    name: str
    """What it looks like in source code, with the stages that it does together with its own."""
    label: str
    """A short name, of which there is one in a run."""
    kind: str
    """`'source'`, `'stage'`, `'workers'` or `'buffer'`."""
    thread: int
    """The number of the thread that it runs in; 0 is that of the loop."""
    depth: int
    """How deep it lies in the streams that a source is made of."""
    behind: int | None
    """The index of the stage that takes what comes out; None if the loop does."""
    items_in: int
    items_out: int
    gone: int
    """How many of those that came in are not held here any more."""
    seconds: float
    """Its own work, in the thread that it runs in."""
    upstream: float
    """Seconds in which its thread was busy with stages before this one, or waited there."""
    downstream: float
    """Seconds in which its thread was busy with what is behind this one, or waited there."""
    waited: float
    """Seconds in which its thread waited here: for workers, or for the thread before."""
    full: float
    """Seconds in which the thread before a buffer waited because it is full."""
    calls: int
    """How many calls workers have made."""
    worker_seconds: tuple[float, ...]
    """The seconds of these calls, for each worker."""
    workers: int
    """How many workers there may be."""
    unit: str
    """What they are: `'threads'`, `'processes'` or `'workers'`."""
    held: int
    """How many items are held here at the moment: in a buffer, or on their way through workers."""
    capacity: int | None
    """How many may be held, if that is limited in number."""
    held_bytes: int | None
    """The estimated bytes of what is held and ready. None if they cannot be estimated."""
    errors: int
    """How many items `on_error` was asked about."""
    dropped: int
    """How many items `on_error` has left out."""
    retries: int
    restarts: int
    """How many processes were replaced."""
    cpu_seconds: float | None = None
    """Seconds for which the workers that there are now have used a core, or waited for one. None if that is not known,
    as only Linux says it."""
    cores: int = 0
    """How many cores they may use."""
    loop_busy: float = 0.0
    """With `tasks`: seconds in which their event loop did not wait for anything, so that no other one could go on."""

    tried: tuple[tuple[str, int], ...] = ()
    """With `'auto'`: which workers were tried, and how many."""
    single: str = ''
    """The name of its step, if that runs in one thread by nature, so that workers cannot do its work."""

    now: ClassVar = frozenset(
        {'tried', 'thread', 'depth', 'behind', 'workers', 'held', 'capacity', 'held_bytes', 'cores'}
    )

    def busy(self, elapsed: float) -> float:
        """Its work as a share of the time of its thread, or of all its workers together, in so many seconds."""
        worked, of = self.seconds, elapsed
        if self.workers:
            worked, of = sum(self.worker_seconds), elapsed * self.workers
        elif self.thread == 0:  # not all is timed there, so compare what is
            of = self.seconds + self.waited + self.upstream + self.downstream
        return min(1.0, worked / of) if of > 0 else 0.0


@dataclass(frozen=True)
class LoopFigures(_Counters):
    """The loop that takes what a run makes."""

    items: int
    """How many it has received: items, or batches."""
    waited: float
    """Seconds in which it waited for one."""
    worked: float
    """Seconds between receiving one and asking for the next one."""
    first: float
    """Of the seconds in which it waited, those for the first of all."""

    @property
    def waiting_share(self) -> float:
        """The share of its time in which it waited, without the wait for the first of all; 0 if there was none."""
        waited = self.waited - self.first
        return waited / (waited + self.worked) if waited + self.worked else 0.0
