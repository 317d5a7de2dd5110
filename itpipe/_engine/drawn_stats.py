"""The stats of a run as the figures in its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from itpipe._views.figures import count, plural, rate, share
from itpipe._views.parts import Figures

if TYPE_CHECKING:
    from .figures import StageFigures
    from .stats import Stats

__all__ = ['figures_of']


def figures_of(stats: Stats) -> tuple[list[Figures], Figures | None]:
    """Those of the stages, in their order, and those of the loop; none before the start.

    Rates and shares are those after the first item, as what comes before is mostly the start of workers.
    """
    if not stats.stages:
        return [], None
    steady = stats.steady
    slowest = stats.bottleneck
    stages = [
        _of_buffer(whole) if whole.kind == 'buffer' else _of_stage(whole, late, steady.elapsed, slowest == whole.label)
        for whole, late in zip(stats.stages, steady.stages, strict=True)
    ]
    text = f'{count(stats.loop.items)} taken, {rate(steady.rate)} a second, waited {share(stats.loop.waiting_share)}'
    return stages, Figures(text, None, slowest == 'loop')


def _of_buffer(stage: StageFigures) -> Figures:
    of = '' if stage.capacity is None else f' of {count(stage.capacity)}'
    return Figures(f'holds {count(stage.held)}{of}', stage.held / stage.capacity if stage.capacity else None)


def _of_stage(whole: StageFigures, late: StageFigures, elapsed: float, limits: bool) -> Figures:
    busy, a_second = late.busy(elapsed), late.items_out / elapsed if elapsed else 0.0
    trouble = {'error': whole.errors, 'left out': whole.dropped, 'retry': whole.retries, 'restart': whole.restarts}
    parts = [f'{count(whole.items_out)} out', f'{rate(a_second)} a second', f'busy {share(busy)}']
    parts += [plural(number, what) for what, number in trouble.items() if number]
    return Figures(', '.join(parts), busy, limits)
