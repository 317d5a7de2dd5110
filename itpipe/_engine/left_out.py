"""Where items that cannot be looked up are left out: in front of the first stage that needs them.

Up to there, they hold their places: stages that choose and order items, and sources made of streams, count them. It
must not matter who looks items up. So what counts them must not stand behind workers that have looked them up already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from itpipe._core.show import format_step, format_value
from itpipe._core.steps import ItemStep, Step

from .order import LOOK_UP, fused, goes_by_keys, last_shard, map_items, planned, running, takes_indices
from .source import Seeded, Source, may_skip

__all__ = ['check_indices', 'check_left_out', 'leaves_look_up', 'no_indices', 'uneven']


def leaves_look_up(source: Source, steps: Sequence[Step | ItemStep]) -> bool:
    """Whether items may be left out, but only behind these steps, none of which needs them."""
    return may_skip(source) and all(step.work is map_items or step.reorders_only for step in fused(steps))


def check_left_out(source: Source, steps: Sequence[Step | ItemStep], behind: str = '') -> None:
    """Raise an error if what stands behind workers would count other items than without workers.

    `behind` is what comes behind the steps, and counts items.
    """
    if not may_skip(source):
        return
    together = fused(steps)
    looked_up: Step | None = None
    for index, step in enumerate(together):
        if step.work is map_items or step.share is not None or goes_by_keys(step):  # these two run earlier
            continue
        if step.hidden and looked_up is None and together[index + 1].in_workers and not source.cheap:
            raise TypeError(
                f'parallel_map: with a `batch_by` in `f`, its workers would look up the items of whole batches, but'
                f' `{format_value(source)}` may leave some of them out; so put a `parallel_map` of single items in'
                " front of the batches, or give this one `lookups='main'`"
            )
        if step.reorders_only:
            if looked_up is not None:
                _refuse(source, looked_up, format_step(step))
        elif step.itemwise:
            looked_up = looked_up or step
        else:
            return
    if behind and looked_up is not None:
        _refuse(source, looked_up, behind)


def check_indices(source: Source, steps: Sequence[Step | ItemStep]) -> None:
    """Raise an error if a step that needs the indices of items would not get them."""
    if not any(map(takes_indices, steps)):
        return
    made_by: Any = source
    while isinstance(made_by, Seeded):
        made_by = made_by.source
    if hasattr(made_by, 'branches'):
        raise TypeError(
            f'exclude: `indices` are places in the data of one stream, but `{format_value(source)}` is made of several;'
            ' put it into these, behind the data'
        )
    if hasattr(made_by, 'indexed') and not made_by.indexed():
        raise TypeError(no_indices(source))
    together = fused(steps)
    plan = planned(together, True, source.cheap, skips=may_skip(source))
    before: list[Step] = []
    for first, own in plan.operators:
        if (
            own != LOOK_UP
            and takes_indices(together[own])
            and (first or not all(each.reorders_only for each in before))
        ):
            stage = next((each for each in before if not each.reorders_only), together[own])
            raise TypeError(
                f'exclude: with `indices`, it must stand in front of `{format_step(stage)}`, where items are not looked'
                ' up yet; best directly behind the data'
            )
        if own != LOOK_UP:
            before.append(together[own])


def uneven(source: Source, steps: Sequence[Step | ItemStep]) -> tuple[str, str] | None:
    """By what ranks may get different numbers of items where they are to get as many, and the way out; else None."""
    dealing = last_shard(steps, least=2)
    if dealing is None or steps[dealing].options[-1] == 'keep':  # type: ignore[union-attr]
        return None
    behind = (step for step in steps[dealing + 1 :] if isinstance(step, Step))
    if (step := next((step for step in behind if step.counted is None), None)) is not None:
        return format_step(step), "write `shard(rank, ranks, even='repeat')` behind it"
    together = fused(steps[: dealing + 1])
    order = running(together)
    if leaves_look_up(source, [together[index] for index in order[: order.index(len(together) - 1)]]):
        return repr(source), 'deal behind a stage that needs the items, such as `filter_by`'
    return None


def no_indices(source: Source) -> str:
    """What to say where a step needs the indices of items that have none."""
    return (
        f'exclude: `indices` are places in data with a length and access by index, which `{format_value(source)}` has'
        ' not; give the numbers of its items: `exclude(3, 5)`'
    )


def _refuse(source: Source, looked_up: Step, counting: str) -> None:
    name = counting.partition('(')[0]
    raise TypeError(
        f'{name}: it counts items of `{format_value(source)}` that may be left out, and must not stand behind'
        f' `{format_step(looked_up)}`, which has left them out; put the latter behind `{counting}`'
    )
