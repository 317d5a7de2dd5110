"""The steps of a pipeline as the parts of a picture."""

from __future__ import annotations

from typing import Any, Final

from itpipe._core.show import format_step, format_value
from itpipe._core.sizes import Bytes
from itpipe._core.steps import Elsewhere, ItemStep, Step
from itpipe._views.parts import Box, Node

from .order import map_items

__all__ = ['amount', 'nodes_of', 'workers_of', 'written']

OF_WORKERS: Final = ('threads', 'processes', 'tasks', 'executor', 'workers', 'in_flight')
"""Options of a `parallel_map` that have a place of their own in the picture."""


def nodes_of(step: Step, indices: bool) -> list[Node]:
    """A step as it was written: item-wise ones, which are done together, one by one."""
    if step.work is map_items:
        return [Node(written(each)) for each in step.options[0]]
    if step.hidden:
        return []
    notes: tuple[str, ...] = ()
    if step.share is not None:
        notes = (f'the items of rank {step.share[0]} of {step.share[1]}',)
    if step.capacity is not None:
        held = f'up to {amount(step.capacity, "index" if indices else "item")}'
        return [Node(written(step), notes, holds=held)]
    return [Node(written(step), ('of indices',) if indices and not notes else notes)]


def workers_of(step: Step, elsewhere: Elsewhere, before: list[Node]) -> Box:
    """The workers of a `parallel_map`, around what they do."""
    inside = [*before, *(Node(written(each)) for each in elsewhere.steps)]
    own = {name for each in elsewhere.steps for name in each.kwargs}
    options = {name: value for name, value in step.kwargs.items() if name not in {*OF_WORKERS, *own}}
    held = 'as many in flight as needed'
    if elsewhere.limit is not None:
        held = f'up to {amount(elsewhere.limit)} in flight'
    return Box(
        _who(elsewhere.kind, elsewhere.given), tuple(inside), 'workers', step.name,
        tuple(f'{name}={format_value(value)}' for name, value in options.items()), held,
    )  # fmt: skip


def _who(kind: str, given: Any) -> str:
    if kind == 'executor':
        return f'executor {type(given).__name__}'
    if kind == 'workers':
        return 'threads or processes, whichever are faster'
    if given < 0:
        return f'{kind} on all cores' + (f' but {-1 - given}' if given < -1 else '')
    return f'{given} {kind}' if given != 1 else f'1 {kind.removesuffix("s").removesuffix("e")}'


def amount(limit: int, what: str = 'item') -> str:
    more = {'item': 'items', 'batch': 'batches', 'index': 'indices'}[what]
    if isinstance(limit, Bytes):
        sizes = ((10**12, 'TB'), (10**9, 'GB'), (10**6, 'MB'), (10**3, 'kB'), (1, 'B'))
        size, unit = next((size, unit) for size, unit in sizes if limit >= size)
        return f'{limit / size:.3g} {unit} of {more}'
    return f'{limit:,} {what if limit == 1 else more}'


def written(step: Step | ItemStep) -> str:
    try:
        return format_step(step)
    except Exception:  # that of an argument
        return f'{step.name}(…)'
