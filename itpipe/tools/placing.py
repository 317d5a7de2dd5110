"""Where the steps of a stream run: in workers or in the thread of the run, on items or on their indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from itpipe._core.steps import ItemStep, Step
from itpipe._engine.order import LOOK_UP, fused, planned
from itpipe._engine.source import Source
from itpipe._workers.opening import Workers

from .single_steps import workers_of

__all__ = ['who_does_what']


def who_does_what(
    source: Source, opened: Any, steps: Sequence[Step | ItemStep], looks_up: Workers | None, complete: bool
) -> tuple[dict[int, Workers], set[int]]:
    """The workers that do the steps, by the steps' indices, and the look-ups, by LOOK_UP; and which steps get indices.

    Of a stream in another one, `looks_up` does the last steps, if it is not `complete`.
    """
    together = fused(steps)
    indices: list[list[int]] = []
    for n, step in enumerate(steps):
        if n and isinstance(step, ItemStep) and isinstance(steps[n - 1], ItemStep):
            indices[-1].append(n)
        else:
            indices.append([n])
    indices.append([LOOK_UP])
    has_look_up = opened is not None and opened.has_look_up
    gathers, skips = has_look_up and opened.gathers, has_look_up and opened.skips
    plan = planned(together, has_look_up, source.cheap, gathers, complete, skips)
    found: dict[int, Workers] = {}
    with_indices: set[int] = set()
    for first, own in plan.operators:
        if plan.looks_up and own != LOOK_UP and LOOK_UP not in first:
            with_indices |= {*indices[own]}
        elif LOOK_UP in (*first, own):
            break
    for first, own in plan.operators:
        workers = None if own == LOOK_UP else workers_of(together[own])
        if workers is not None:
            found |= {n: workers for index in (*first, own) for n in indices[index]}
    if looks_up is not None:
        found |= {n: looks_up for index in plan.left for n in indices[index]}
    return found, with_indices
