"""In which order the steps of a stream run, which is that in which they are written, but for `shard`.

No rank shall work on items of another. So `shard` runs before the item-wise steps that it is written behind, and so do
the steps between that choose and order items without looking at them: each of these would see the same items.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from itpipe._core.keys import END
from itpipe._core.steps import STOP, ItemStep, Pair, Stateless, Step, draws, identity

from .functions import ItemFunction
from .waiting import Stop

if TYPE_CHECKING:
    from .source import Source

__all__ = ['LOOK_UP', 'Plan', 'check_alike', 'dealt', 'fused', 'last_shard', 'map_items', 'planned', 'running']


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
    if function.keyed:
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
            raise function.misplaced(error, call, key, value) from error
        except Exception as error:
            function.blame(error, call, key, value)
            raise
        if stop.called:
            stop.check()
        yield key, value
        del value
    return key


def running(steps: Sequence[Step]) -> list[int]:
    """The indices of the steps in the order in which they run: `shard` as early as it can."""
    order: list[int] = []
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
    return order


LOOK_UP: Final = -1
"""In a plan: the look-up of the source's items, where the source gives their indices."""


class Plan(NamedTuple):
    """What runs, in this order, and where."""

    operators: list[tuple[int, ...]]
    """For each operator the indices of the steps that it does; the last is its own, those before are done with it."""
    left: list[int]
    """The last item-wise steps, if they are left to whom the items go."""

    @property
    def looks_up(self) -> bool:
        """Whether the source gives indices."""
        return LOOK_UP in self.left or any(LOOK_UP in indices for indices in self.operators)


def planned(steps: Sequence[Step], has_look_up: bool, cheap: bool, complete: bool) -> Plan:
    """How a source with these steps runs.

    If it has a look-up, what chooses and orders items gets their indices, and workers look the items up; the item-wise
    steps between go along. A cheap look-up is not worth that, and only saves ranks the items of others.
    """
    if has_look_up:
        plan, first = _planned(steps, [LOOK_UP], cheap, complete)
        passed = [steps[indices[-1]] for indices in plan.operators[:first]]
        in_workers = first < len(plan.operators) and len(plan.operators[first]) > 1
        worthwhile = any(step.share is not None if cheap else step.reorders_only for step in passed) or in_workers
        if worthwhile or (LOOK_UP in plan.left and not cheap):
            return plan
    return _planned(steps, [], cheap, complete)[0]


def _planned(steps: Sequence[Step], waiting: list[int], cheap: bool, complete: bool) -> tuple[Plan, int]:
    """The plan, and behind how many operators the source's items are looked up."""
    operators: list[tuple[int, ...]] = []
    looked_up = 0
    for index in running(steps):
        step = steps[index]
        if step.work is map_items:
            waiting.append(index)
        elif step.reorders_only and (LOOK_UP in waiting or not complete):
            operators.append((index,))
        elif step.in_workers and LOOK_UP in waiting and not cheap:
            looked_up = len(operators)
            operators.append((*waiting, index))
            waiting = []
        else:
            looked_up = len(operators) if LOOK_UP in waiting else looked_up
            operators += [(each,) for each in [*waiting, index]]
            waiting = []
    looked_up = len(operators) if LOOK_UP in waiting else looked_up
    return Plan(operators + [(each,) for each in waiting], []) if complete else Plan(operators, waiting), looked_up


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
    order = running(alike)
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
