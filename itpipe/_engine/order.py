"""In which order the steps of a stream run, which is that in which they are written, but for `shard` and `exclude`.

No rank shall work on items of another. So `shard` runs before the item-wise steps that it is written behind, and so do
the steps between that choose and order items without looking at them: each of these would see the same items. Nor shall
anything be done for what is excluded: what leaves items out by their keys runs before the item-wise steps, too.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from itpipe._core.keys import END, Key
from itpipe._core.show import format_value
from itpipe._core.steps import METER, STOP, ItemStep, Pair, Stateless, Step, draws, identity

if TYPE_CHECKING:
    from .functions import ItemFunction
    from .meters import Meter
    from .source import Source
    from .waiting import Stop

__all__ = [
    'LOOK_UP', 'Plan', 'check_alike', 'dealt', 'fused', 'goes_by_keys', 'is_by_count', 'is_functions', 'last_shard',
    'lets_pass', 'map_items', 'planned', 'running', 'size_together', 'takes_indices',
]  # fmt: skip


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
    return Stateless('map_items', map_items, (tuple(steps), STOP, METER), itemwise=True)


def map_items(items: Iterator[Pair], function: ItemFunction, stop: Stop, meter: Meter) -> Generator[Pair, None, Any]:
    """What the function makes of the items; returns the key of the last one, END if there was none."""
    key: Any = END
    probe = meter.probe
    if function.keyed:
        for key, value in items:
            if probe.on:
                yield _timed(key, value, function, stop, meter)  # without a name here, which would hold it
                del value
                continue
            yield key, function(key, value)
            if stop.called:
                stop.check()
        return key
    first, *others = function.calls or [identity]
    for key, value in items:  # the same without a call for each item, which is most of what such a step costs
        if probe.on:
            yield _timed(key, value, function, stop, meter)  # without a name here, which would hold it
            del value
            continue
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


def _timed(key: Key, value: Any, function: ItemFunction, stop: Stop, meter: Meter) -> Pair:
    meter.probe.charge(meter.before, key)
    value = function(key, value)
    if stop.called:
        stop.check()
    meter.probe.charge(meter, key)
    return key, value


def running(steps: Sequence[Step]) -> list[int]:
    """The indices of the steps in the order in which they run: `shard` as early as it can."""
    order: list[int] = []
    for index, step in enumerate(steps):
        if step.share is None:
            order.append(index)
        else:
            order = _before_itemwise(steps, order, index)
    return order


def _before_itemwise(steps: Sequence[Step], order: list[int], index: int) -> list[int]:
    """The order with this step, which looks at keys only, before the item-wise ones at its end."""
    first = len(order)
    stops_at_unordered = goes_by_keys(steps[index])
    while (
        first and lets_pass(last := steps[order[first - 1]]) and not (stops_at_unordered and last.yields_as_completed)
    ):
        first -= 1
    behind = [other for other in order[first:] if steps[other].itemwise]
    before = [other for other in order[first:] if not steps[other].itemwise]
    return [*order[:first], *before, index, *behind]


def _excluding_first(steps: Sequence[Step], order: list[int]) -> list[int]:
    """The same, but nothing is done for what is excluded, except by steps that remember which items came to them."""
    result: list[int] = []
    for index in order:
        if not goes_by_keys(steps[index]):
            result.append(index)
            continue
        at = len(result)
        while at and isinstance(last := steps[result[at - 1]], Stateless) and last.same_key:
            at -= 1
        result = [*_before_itemwise(steps, result[:at], index), *result[at:]]
    return result


LOOK_UP: Final = -1
"""In a plan: the look-up of the source's items, where the source gives their indices."""


class Plan(NamedTuple):
    """What runs, in this order, and where."""

    operators: list[tuple[tuple[int, ...], int]]
    """For each operator the indices of the steps whose functions it does first, and that of its own step.

    If a `batch_by` is among the former, those before it are done for each item of the batch.
    """
    left: tuple[int, ...]
    """The last item-wise steps, if they are left to whom the items go."""

    @property
    def looks_up(self) -> bool:
        """Whether the source gives indices."""
        return LOOK_UP in self.left or any(LOOK_UP in first for first, _ in self.operators)


def planned(
    steps: Sequence[Step],
    has_look_up: bool,
    cheap: bool = True,
    gathers: bool = False,
    complete: bool = True,
    skips: bool = False,
) -> Plan:
    """How a source with these steps runs.

    If it has a look-up, what chooses and orders items gets their indices, and workers look the items up; the item-wise
    steps between go along. A `cheap` look-up is not worth that, and only saves ranks the items of others. If it
    `gathers`, it looks the items of a batch up together. If it `skips` items that cannot be looked up, no batch is made
    of indices; and it always gives indices, as which items come out must not depend on who looks them up.
    """
    if has_look_up:
        plan = _planned(steps, (LOOK_UP,), cheap, gathers, complete, skips)
        if skips:
            return plan
        before = next((n for n, (first, _) in enumerate(plan.operators) if LOOK_UP in first), len(plan.operators))
        passed = [steps[own] for _, own in plan.operators[:before]]
        first, own = plan.operators[before] if before < len(plan.operators) else (plan.left, LOOK_UP)
        together = len(passed) > 0 and is_by_count(passed[-1])
        moved = any((step.share is not None or takes_indices(step)) if cheap else step.reorders_only for step in passed)
        if moved or together or own != LOOK_UP or (first is plan.left and not cheap):
            return plan
    return _planned(steps, (), cheap, gathers, complete)


def _planned(
    steps: Sequence[Step], waiting: tuple[int, ...], cheap: bool, gathers: bool, complete: bool, skips: bool = False
) -> Plan:
    operators: list[tuple[tuple[int, ...], int]] = []
    order = _excluding_first(steps, running(steps))
    for n, index in enumerate(order):
        step, to_look_up = steps[index], LOOK_UP in waiting
        if step.work is map_items:
            waiting = (*waiting, index)
        elif step.reorders_only and (to_look_up or not complete):
            operators.append(((), index))
        elif step.in_workers and to_look_up and not cheap:
            operators.append((waiting, index))
            waiting = ()
        elif (
            is_by_count(step)
            and not skips
            and (
                (gathers and waiting == (LOOK_UP,)) or (to_look_up and not cheap and _to_workers(steps, order[n + 1 :]))
            )
        ):
            operators.append(((), index))
            waiting = (*waiting, index)
        else:
            operators += [*_alone(waiting), ((), index)]
            waiting = ()
    return Plan([*operators, *_alone(waiting)], ()) if complete else Plan(operators, waiting)


def _alone(waiting: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
    """The operators of steps that wait for no other."""
    return [(waiting, LOOK_UP)] if LOOK_UP in waiting else [((), index) for index in waiting]


def _to_workers(steps: Sequence[Step], order: Sequence[int]) -> bool:
    """Whether the next of the steps that is not item-wise is done by workers, who can look items up."""
    return next((steps[index].in_workers for index in order if steps[index].work is not map_items), False)


def is_by_count(step: Step) -> bool:
    """Whether it makes lists of so many items."""
    return isinstance(step, Stateless) and step.by_count


def is_functions(step: Step) -> bool:
    """Whether it does nothing but functions of items: item-wise steps, or the look-up of the source with some."""
    return step.work is map_items or step.name == 'look_up'


def size_together(plan: Plan, steps: Sequence[Step], gathers: bool) -> int:
    """How many items are looked up together in front of the batches that they are for, by a look-up of its own."""
    for (first, own), (_, following) in pairwise(plan.operators):
        if gathers and first == (LOOK_UP,) and own == LOOK_UP and is_by_count(steps[following]):
            return steps[following].options[0]  # type: ignore[no-any-return]
    return 1


def dealt(steps: Sequence[Step | ItemStep], shard: Step) -> tuple[Step | ItemStep, ...]:
    """The steps with `shard` where together the ranks get what there is without it, and do as little as can be.

    That is behind all steps that count items, but before what leaves them out, takes them apart or puts them together.
    """
    counting = (n for n, step in enumerate(steps) if isinstance(step, Step) and step.positional)
    index = max(counting, default=-1) + 1
    while index < len(steps) and lets_pass(steps[index]) and getattr(steps[index], 'handover', None) is None:
        index += 1
    return (*steps[:index], shard, *steps[index:])


def goes_by_keys(step: Step | ItemStep) -> bool:
    """Whether it leaves items out by their keys alone."""
    return isinstance(step, Stateless) and step.reorders_only


def takes_indices(step: Step | ItemStep) -> bool:
    """Whether it needs the indices of items instead of these."""
    return isinstance(step, Stateless) and step.by_index


def lets_pass(step: Step | ItemStep) -> bool:
    """Whether what looks at keys only gives the same before it as behind it."""
    return isinstance(step, ItemStep) or step.itemwise or step.reorders_only


def check_alike(where: str, source: Source, steps: Sequence[Step | ItemStep], seeded: bool) -> None:
    """Raise an error if what is dealt to ranks would not be the same for all, as what each of them draws by itself."""
    shard = last_shard(steps, least=2)
    if shard is None:
        return
    from .samplers import that_deals

    if (sampler := that_deals(source)) is not None:
        raise ValueError(
            f'{where}: {format_value(sampler)} deals items to ranks itself; take a sampler that does not, or leave out'
            ' `shard`'
        )
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
