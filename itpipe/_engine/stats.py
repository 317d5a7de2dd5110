"""What a run has done up to a moment, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from itpipe._views.figures import bytes_of, count, plural, rate, seconds, share, singular
from itpipe._views.tables import WIDEST, html_table, terminal_width, text_table

from .figures import LoopFigures, StageFigures
from .limits import Limits

__all__ = ['Stats']


@dataclass(frozen=True, repr=False)
class Stats:
    """What a run has done so far.

    It prints as a table, in notebooks too. `later - earlier` is what was done between the two. `as_dict()` is a dict of
    numbers, for logging. It does not change: to see more, call `stats()` again.
    """

    elapsed: float
    """Seconds since the first item was asked for, up to the end of the run. Of an `Infinite`, only those in which the
    loop waited or worked: not those between two epochs."""
    stages: tuple[StageFigures, ...]
    loop: LoopFigures
    first: Stats | None = None
    """What had been done when the first item was received: the start is not typical for the rest."""
    unit: str = 'item'
    """What the loop receives: `'item'`, or `'batch'` from an `Infinite`."""

    def __sub__(self, earlier: Stats) -> Stats:
        if not isinstance(earlier, Stats):
            return NotImplemented
        if len(earlier.stages) != len(self.stages):  # those of before the start
            return self
        stages = tuple(late.since(early) for late, early in zip(self.stages, earlier.stages, strict=True))
        loop = self.loop.since(earlier.loop)
        return replace(self, elapsed=self.elapsed - earlier.elapsed, stages=stages, loop=loop, first=None)

    @cached_property
    def steady(self) -> Stats:
        """What was done since the first item was received; all, if there is no more than that."""
        return self if self.first is None or self.loop.items <= 1 else self - self.first

    @property
    def rate(self) -> float:
        """Items, or batches, that the loop received in a second, after the first one."""
        return self.steady.loop.items / self.steady.elapsed if self.steady.elapsed else 0.0

    @cached_property
    def limits(self) -> Limits:
        """What limits the rate."""
        return Limits(self.steady.stages, self.steady.loop, self.steady.elapsed, self.unit)

    @property
    def bottleneck(self) -> str:
        """What limits the rate: the label of a stage, `'loop'`, or empty if it is not known."""
        return self.limits.name

    @property
    def advice(self) -> str:
        """What limits the rate, and what would help. Not before 10 items and half a second: it would be a guess."""
        return self.limits.advice

    def gain(self, stage: str, more: int) -> float:
        """By which share the rate would grow if a stage with workers had so many more of them, such as 0.38.

        `stage` is the `label` or the `name` of the stage. All else stays as it was in the time that was measured. On
        Linux, it is considered that workers which compute need cores; elsewhere it is not.

        Raises ValueError if there is no such stage with workers.
        """
        return self.limits.gain(stage, more)

    def as_dict(self) -> dict[str, float]:
        """All numbers by their names, such as `'parallel_map/items_out'`, for Prometheus, TensorBoard and others."""
        numbers: dict[str, float] = {
            'elapsed': self.elapsed,
            'rate': self.rate,
            'loop/items': self.loop.items,
            'loop/waited': self.loop.waited,
            'loop/worked': self.loop.worked,
            'loop/waiting_share': self.loop.waiting_share,
        }
        for stage, late in zip(self.stages, self.steady.stages, strict=True):
            for name in (
                'items_in', 'items_out', 'seconds', 'upstream', 'downstream', 'waited', 'full', 'calls', 'workers',
                'held', 'held_bytes', 'errors', 'dropped', 'retries', 'restarts',
            ):  # fmt: skip
                if (value := getattr(stage, name)) is not None:
                    numbers[f'{stage.label}/{name}'] = value
            numbers[f'{stage.label}/worker_seconds'] = sum(stage.worker_seconds)
            numbers[f'{stage.label}/rate'] = self._each(late)
        return numbers

    def _each(self, late: StageFigures) -> float:
        return late.items_out / self.steady.elapsed if self.steady.elapsed else 0.0

    def __repr__(self) -> str:
        return text_table(self._title, COLUMNS, self._rows(WIDEST), self.advice, terminal_width())

    def _repr_html_(self) -> str:
        return html_table(self._title, COLUMNS, self._rows(), self.advice)

    @property
    def _title(self) -> str:
        loop = self.loop
        if not self.elapsed:
            return 'not started yet'
        title = f'{plural(loop.items, self.unit)} in {seconds(self.elapsed)}, {rate(self.rate)} a second'
        if loop.waited + loop.worked > loop.first:
            title += f'; the loop waited {share(loop.waiting_share)} of the time'
        return title + (f', and {seconds(loop.first)} for the first' if loop.first else '')

    def _rows(self, widest: int | None = None) -> list[list[str]]:
        loop, rows = self.loop, [self._row(*both) for both in zip(self.stages, self.steady.stages, strict=True)]
        late = self.steady.loop
        busy = late.worked / (late.waited + late.worked) if late.worked > 0 else 0.0
        rows.append(
            ['the loop', count(loop.items), rate(self.rate), seconds(loop.worked), share(busy), seconds(loop.waited)]
        )
        for row, stage in zip(rows, self.stages, strict=False):
            if widest is not None and len(row[0]) > widest and '+' in stage.label:  # of steps together
                row[0] = '  ' * stage.depth + stage.label
        return [[*row, *[''] * (len(COLUMNS) - len(row))] for row in rows]

    def _row(self, stage: StageFigures, late: StageFigures) -> list[str]:
        works, busy = seconds(stage.seconds), share(late.busy(self.steady.elapsed))
        if stage.workers:
            works = f'{seconds(sum(stage.worker_seconds))} + {works}'
            busy = f'{busy} of {plural(stage.workers, singular(stage.unit))}'
        counts = {
            'error': stage.errors, 'left out': stage.dropped, 'retry': stage.retries, 'restart': stage.restarts
        }  # fmt: skip
        trouble = ', '.join(plural(number, what) for what, number in counts.items() if number)
        held = '' if stage.capacity is None and not stage.held else count(stage.held)
        return [
            '  ' * stage.depth + stage.name,
            count(stage.items_out),
            rate(self._each(late)),
            works,
            busy,
            seconds(stage.upstream),
            seconds(stage.downstream),
            held if stage.capacity is None else f'{held} of {count(stage.capacity)}',
            bytes_of(stage.held_bytes) if stage.held_bytes else '',
            trouble,
        ]


COLUMNS = ['stage', 'items', 'a second', 'works', 'busy', 'waits before', 'waits behind', 'held', 'bytes', 'trouble']
