"""What limits the rate of a run, and what would help.

A run is as fast as the slowest of those that work beside each other: each thread, the workers of each `parallel_map`,
and the loop, which is a thread by itself or does what the first stages need as well. For each of them, the seconds are
known that it works for one of the items that the loop gets. With more workers, these are fewer. So the next one limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from itpipe._views.figures import plural, share, singular
from itpipe._views.figures import seconds as seconds_of

from .figures import LoopFigures, StageFigures

__all__ = ['Limits', 'Resource']

CLEAR = 0.05
"""A gain that is worth to be told."""
ITEMS, SECONDS = 10, 0.5
"""Of fewer, or of less time, no advice is given."""
LONGEST = 40
"""Characters of a name in a sentence."""
IDLE = 1 / 3
"""What is busy for less than this share of the time does not limit by its work."""


@dataclass(frozen=True)
class Resource:
    """Something that works beside the others."""

    label: str
    name: str
    seconds: float
    """Seconds for one item of the loop."""
    workers: int = 0
    unit: str = ''
    thread: int | None = None
    parts: tuple[tuple[StageFigures, float], ...] = field(default=())
    """Of a thread: its stages, each with its seconds."""
    stage: StageFigures | None = None
    """The stage that the workers are of."""

    def with_more(self, more: int) -> Resource:
        """It, if it had so many more workers."""
        return replace(self, seconds=self.seconds * self.workers / (self.workers + more), workers=self.workers + more)


class Limits:
    """What limits the rate in the time of these figures."""

    def __init__(self, stages: Sequence[StageFigures], loop: LoopFigures, elapsed: float, unit: str = 'item'):
        self.early = loop.items < ITEMS or elapsed < SECONDS
        """Whether it is too early for advice."""
        self._items, self._elapsed, self._unit = loop.items, elapsed, unit
        self._stages, self._waited = stages, loop.waiting_share
        found = _resources(stages, loop) if loop.items > 0 else []
        self.resources = sorted(found, key=lambda each: -each.seconds)

    @property
    def slowest(self) -> Resource | None:
        """What limits the rate; None if that cannot be said yet."""
        return self.resources[0] if self.resources and self.resources[0].seconds > 0 else None

    @property
    def _unseen(self) -> bool:
        """Whether the loop waits for something else than the slowest that was measured."""
        slowest = self.slowest
        if slowest is None or slowest.workers or self._waited < 1 / 2 or self._busy(slowest) >= IDLE:
            return False
        return slowest.unit == 'event loop' or self._idle(slowest) is None

    def _busy(self, resource: Resource) -> float:
        return resource.seconds * self._items / self._elapsed if self._elapsed else 0.0

    @property
    def name(self) -> str:
        """Its name: of a thread, that of the stage that takes most of the time."""
        slowest = self.slowest
        if slowest is None or self.early or self._unseen:
            return ''
        return _name(slowest)

    def gain(self, stage: str, more: int) -> float:
        """The share by which the rate grows if a stage has so many more workers."""
        for resource in self.resources:
            if resource.workers and stage in (resource.label, resource.name):
                if self._unseen or (resource is self.slowest and self._idle(resource) is not None):
                    return 0.0
                return self._gain(resource, resource.with_more(more))
        known = ', '.join(repr(resource.label) for resource in self.resources if resource.workers) or 'none'
        raise ValueError(f'Stats.gain: `stage` must be one that has workers ({known}), got {stage!r}')

    def _gain(self, old: Resource, *new: Resource) -> float:
        left = [other.seconds for other in self.resources if other is not old]
        now = self.resources[0].seconds
        return now / max([*left, *(each.seconds for each in new)]) - 1

    @property
    def advice(self) -> str:
        slowest = self.slowest
        if slowest is None:
            return ''
        if self.early:
            return self._too_early
        restarts = self._restarts
        if restarts and (self._unseen or self._idle(slowest) is not None):
            return restarts
        return f'{restarts} {self._what_limits(slowest)}'.lstrip()

    @property
    def _restarts(self) -> str:
        return ' '.join(
            f'`{stage.label}` had {plural(stage.restarts, "restart")}: processes that end are replaced, as after a'
            ' crash, a `timeout` or `max_tasks_per_worker`, and the rest waits meanwhile. Look at these first.'
            for stage in self._stages
            if stage.restarts
        )

    def _what_limits(self, slowest: Resource) -> str:
        if self._unseen:
            return self._not_seen(slowest)
        if slowest.label == 'cores':
            return 'All cores are busy: more workers do not help, less work would.'
        if slowest.unit == 'event loop':
            return (
                f'`{slowest.label}` limits: it keeps the event loop, in which all its tasks run, busy for'
                f' {seconds_of(slowest.seconds)} for each {self._unit}. A coroutine must not block: let it'
                ' await, or use `threads`.'
            )
        if (idle := self._idle(slowest)) is not None:
            return self._fewer_workers(idle)
        if slowest.workers:
            return self._more_workers(slowest)
        if slowest.thread is None:
            return self._loop(slowest)
        return self._thread(slowest)

    @property
    def _too_early(self) -> str:
        so_far = f'{plural(self._items, self._unit)} in {seconds_of(max(self._elapsed, 0.0))} behind the first one'
        needed = f'{plural(ITEMS, self._unit)} and {seconds_of(SECONDS)}'
        return f'It is too early to say what limits: there are {so_far}, and {needed} are needed.'

    def _not_seen(self, slowest: Resource) -> str:
        text = (
            f'What limits was not seen: the loop waited {share(self._waited)} of the time, and what was measured takes'
            f' no more than {share(self._busy(slowest))} of it. Rare slow calls may not be among those that are timed.'
        )
        waits = max((stage for stage in self._stages if stage.kind != 'buffer'), key=lambda stage: stage.waited)
        if waits.waited < IDLE * self._elapsed:
            return text
        return f'{text} The longest waits are at `{waits.label}`.'

    def _idle(self, slowest: Resource) -> StageFigures | None:
        """The stage whose workers wait most of the time, though it limits: to send items costs more than their work."""
        stage = slowest.stage
        if slowest.thread is not None and slowest.parts:
            stage = max(slowest.parts, key=lambda part: part[1])[0]
            if stage.unit != 'processes' or stage.seconds <= sum(stage.worker_seconds):
                return None
        if stage is None or stage.tried or stage.busy(self._elapsed) >= IDLE:
            return None
        return stage

    def _fewer_workers(self, stage: StageFigures) -> str:
        workers, busy = plural(stage.workers, singular(stage.unit)), share(stage.busy(self._elapsed))
        return (
            f'`{stage.label}` limits, though {workers} work for only {busy} of the time:'
            ' to send items there takes longer. Fewer workers, or none, may be faster; or more work in one call.'
        )

    def _more_workers(self, pool: Resource) -> str:
        if pool.stage is not None and pool.stage.tried:
            tried = ', '.join(plural(size, singular(unit)) for unit, size in pool.stage.tried)
            return f"`{pool.label}` limits, with {plural(pool.workers, singular(pool.unit))}; 'auto' has tried {tried}."
        more = 1
        while more < pool.workers and pool.with_more(more).seconds > self._second:
            more += 1
        gain = self._gain(pool, pool.with_more(more))
        if gain < CLEAR:
            near = [each for each in self.resources[1:] if pool.seconds < (1 + CLEAR) * each.seconds]
            others = ' and '.join(dict.fromkeys(map(_told, near)))
            return f'`{pool.label}` limits, and {others} nearly so: more {pool.unit} alone do not help.'
        unit = pool.unit if more > 1 else singular(pool.unit)
        return f'`{pool.label}` limits: with {more} more {unit} about +{share(gain)}.'

    @property
    def _second(self) -> float:
        return self.resources[1].seconds if len(self.resources) > 1 else 0.0

    def _loop(self, loop: Resource) -> str:
        if not self._second or loop.seconds / self._second > 10:
            return 'The loop limits: data could come more than 10 times as fast.'
        return f'The loop limits: data could come {loop.seconds / self._second:.2g} times as fast.'

    def _thread(self, thread: Resource) -> str:
        name, seconds, kind, single = _largest(thread)
        rest = thread.seconds - seconds
        if name == 'loop':
            split = replace(thread, seconds=seconds), replace(thread, seconds=rest)
            gain = self._gain(thread, *split)
            help_ = f'`Infinite`, or `prefetch` as the last stage, would prepare data meanwhile: about +{share(gain)}.'
            return f'The loop limits, and the stages run in its thread. {help_ if gain >= CLEAR else ""}'.rstrip()
        if kind == 'source':  # the table has no short name of it
            name = _shortened(max(thread.parts, key=lambda part: part[1])[0].name)
        where = 'the thread of the loop' if thread.thread == 0 else 'one thread'
        if single == 'interleave':
            return (
                f'`{name}` limits, in {where}: with `prefetch=` it reads in threads, with `processes=True` in'
                ' processes.'
            )
        if single:
            return (
                f'`{name}` limits, in {where}, and workers cannot do its work. Fewer or smaller items help, or work'
                ' of it that is done in front of it, by workers.'
            )
        if kind == 'stage':
            split = replace(thread, seconds=rest), replace(thread, seconds=seconds / 2)
            gain = self._gain(thread, *split)
            if gain >= CLEAR:
                how = 'with 2 workers, as by `parallel_map` or `Infinite(…, threads=2)`,'
                return f'`{name}` limits, in {where}: {how} about +{share(gain)}.'
        split = replace(thread, seconds=rest), replace(thread, seconds=seconds)
        gain = self._gain(thread, *split)
        if gain >= CLEAR:
            return f'`{name}` limits, in {where}: with a `prefetch` behind it about +{share(gain)}.'
        return f'`{name}` limits: what is behind it could take items faster.'


def _name(resource: Resource) -> str:
    """Its label: of a thread, that of the stage that takes most of the time."""
    return resource.label if resource.thread is None else _largest(resource)[0]


def _told(resource: Resource) -> str:
    name = 'event loop' if resource.unit == 'event loop' else _name(resource)
    return f'the {name}' if name in ('cores', 'loop', 'event loop') else f'`{name}`'


def _largest(thread: Resource) -> tuple[str, float, str, str]:
    """Label, seconds, kind and `single` of what takes most of the time of a thread."""
    stage, seconds = max(thread.parts, key=lambda part: part[1], default=(None, 0.0))
    loop = thread.seconds - sum(part for _, part in thread.parts)
    if stage is None or loop > seconds:
        return 'loop', loop, 'loop', ''
    return stage.label, seconds, stage.kind, stage.single if stage.kind == 'stage' else ''


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST else f'{name[: LONGEST - 1]}…'


def _resources(stages: Sequence[StageFigures], taken: LoopFigures) -> list[Resource]:
    loop = taken.worked / taken.items
    threads: dict[int, list[tuple[StageFigures, float]]] = {}
    result: list[Resource] = []
    busy = 0.0  # seconds of all cores for one item
    for stage in stages:
        used = _used(stages, stage, taken.items) / taken.items
        if stage.workers and stage.calls > 0:
            each = sum(stage.worker_seconds) / stage.calls
            seconds = each * used / stage.workers
            result.append(Resource(stage.label, stage.name, seconds, stage.workers, stage.unit, stage=stage))
            if stage.loop_busy:
                in_loop = stage.loop_busy / stage.calls * used
                result.append(Resource(stage.label, stage.name, in_loop, unit='event loop', stage=stage))
            if stage.cpu_seconds and stage.cores and sum(stage.worker_seconds) > 0:
                share_of_core = min(1.0, stage.cpu_seconds / sum(stage.worker_seconds))
                busy += each * share_of_core * used / stage.cores
        if stage.kind != 'buffer' and stage.items_out > 0:
            seconds = stage.seconds / stage.items_out * used
            threads.setdefault(stage.thread, []).append((stage, seconds))
    if busy:
        result.append(Resource('cores', 'cores', busy))
    for thread, parts in threads.items():
        seconds = sum(part for _, part in parts) + (loop if thread == 0 else 0.0)
        result.append(Resource(f'thread {thread}', f'thread {thread}', seconds, thread=thread, parts=tuple(parts)))
    if 0 not in threads:
        result.append(Resource('loop', 'loop', loop))
    return result


def _used(stages: Sequence[StageFigures], stage: StageFigures, items: int) -> float:
    """How many of the items that came out are in what the loop has received."""
    if stage.behind is None:
        return min(stage.items_out, items)
    taker = stages[stage.behind]
    if taker.items_out <= 0:
        return 0.0
    gone = stage.items_out if taker.kind == 'source' else taker.gone
    return gone * _used(stages, taker, items) / taker.items_out
