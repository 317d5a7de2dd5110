"""In which order the steps of a stream run, which is that in which they are written, but for `shard`.

No rank shall work on items of another. So `shard` runs before the item-wise steps that it is written behind, and so do
the steps between that choose and order items without looking at them: each of these would see the same items.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from itpipe._core.keys import END
from itpipe._core.steps import STOP, ItemStep, Pair, Stateful, Stateless, Step, draws, identity

from .functions import ItemFunction
from .waiting import Stop

if TYPE_CHECKING:
    from .source import Source

__all__ = ['check_alike', 'dealt', 'fused', 'hold_back_last', 'last_shard', 'map_items', 'running']


def fused(steps: Sequence[Step | ItemStep]) -> list[Step]:
    """The steps, with neighbouring item-wise ones as one."""
    result: list[Step] = []
    items: list[ItemStep] = []
    for step in steps:
        if isinstance(step, ItemStep):
            items.append(step)
            continue
        if items:
            result.append(_map_step(items))
            items = []
        result.append(step)
    return [*result, _map_step(items)] if items else result


def _map_step(steps: list[ItemStep]) -> Stateless:
    return Stateless('map_items', map_items, (tuple(steps), STOP), itemwise=True)


def map_items(items: Iterator[Pair], function: ItemFunction, stop: Stop) -> Generator[Pair, None, Any]:
    """What the function makes of the items; returns the key of the last one, END if there was none."""
    key: Any = END
    if function.random:
        for key, value in items:
            yield key, function(key, value)
            stop.check()
        return key
    first, *others = function.calls or [identity]
    for key, value in items:  # the same without a call for each item, which is most of what such a step costs
        call = first
        try:
            value = first(value)
            for call in others:
                value = call(value)
        except StopIteration as error:
            raise function.misplaced(error, call, key) from error
        except Exception as error:
            function.blame(error, call, key)
            raise
        if stop.called:
            stop.check()
        yield key, value
        del value
    return key


def running(steps: Sequence[Step]) -> tuple[list[int], int]:
    """The indices of the steps in the order in which they run, and behind how many the source's items are looked up.

    0 is for a source that gives the items themselves.
    """
    order: list[int] = []
    looked_up = 0
    for index, step in enumerate(steps):
        if step.share is None:
            order.append(index)
            continue
        first = len(order)
        while first and _lets_pass(steps[order[first - 1]]):
            first -= 1
        behind = [other for other in order[first:] if steps[other].itemwise]
        before = [other for other in order[first:] if not steps[other].itemwise]
        order[first:] = [*before, index, *behind]
        if first == 0:
            looked_up = len(before) + 1
    return order, looked_up


_DEALT = Stateful('dealt', map_items, state={'dealt': 0}, gives='same', share=(0, 1))


def hold_back_last(steps: Sequence[Step]) -> tuple[list[int], int, list[int]]:
    """As `running`, but without the item-wise steps that may run behind what is dealt later; their indices are last.

    These are not those that work on several items at once, as `parallel_map` does.
    """
    one_by_one = [
        step if step.work is map_items or not isinstance(step, (Stateless, Stateful)) else replace(step, itemwise=False)
        for step in steps
    ]
    order, looked_up = running([*one_by_one, _DEALT])
    end = order.index(len(steps))
    return order[:end], looked_up, order[end + 1 :]


def dealt(steps: Sequence[Step | ItemStep], shard: Step) -> tuple[Step | ItemStep, ...]:
    """The steps with `shard` where together the ranks get what there is without it, and do as little as can be.

    That is behind all steps that count items, but before what leaves them out, takes them apart or puts them together.
    """
    counting = (n for n, step in enumerate(steps) if isinstance(step, Step) and step.positional)
    index = max(counting, default=-1) + 1
    while index < len(steps) and _lets_pass(steps[index]):
        index += 1
    return (*steps[:index], shard, *steps[index:])


def _lets_pass(step: Step | ItemStep) -> bool:
    return isinstance(step, ItemStep) or step.itemwise or step.reorders_only


def check_alike(where: str, source: Source, steps: Sequence[Step | ItemStep], seeded: bool) -> None:
    """Raise an error if what is dealt to ranks would not be the same for all, as what each of them draws by itself."""
    shard = last_shard(steps, least=2)
    if shard is None:
        return
    alike = fused(steps[: shard + 1])
    order, _ = running(alike)
    before = [alike[index] for index in order[: order.index(len(alike) - 1)]]
    if not source.ordered or any(step.yields_as_completed for step in before):
        raise ValueError(
            f'{where}: the ranks need items in the same order, but before they are dealt there is a `parallel_map`'
            ' with `ordered=False`, which gives them to each rank in another one; leave that out'
        )
    if not seeded and (source.random or any(map(draws, before))):
        raise ValueError(
            f'{where}: the ranks need a seed, the same for all, or each would get items that it draws by itself;'
            ' give the source or Infinite a `seed`'
        )


def last_shard(steps: Sequence[Step | ItemStep], least: int = 1) -> int | None:
    """The index of the last step that deals items to ranks, to at least so many."""
    shards = ((n, step.share[1]) for n, step in enumerate(steps) if isinstance(step, Step) and step.share is not None)
    return max((n for n, ranks in shards if ranks >= least), default=None)
