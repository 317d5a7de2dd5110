"""The items of a run after each stage, made again one stage after the other, with the numbers that the run draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

from itpipe._core.keys import Key, Zipped, as_key
from itpipe._core.show import format_step
from itpipe._core.steps import STOP, EachStep, ItemStep, Pair, Stateless, Step
from itpipe._engine.branches import Branched, Joined, OpenedBranches
from itpipe._engine.chain import Chain
from itpipe._engine.functions import ItemFunction
from itpipe._engine.order import map_items
from itpipe._engine.resources import Resource
from itpipe._engine.seeds import Seeds
from itpipe._engine.source import Opened, Seeded, Source
from itpipe._engine.stream import Stream
from itpipe._engine.waiting import Stop
from itpipe._workers.failures import SKIPPED, Failures, Policy, Retrying
from itpipe._workers.opening import Workers

__all__ = ['View', 'copied', 'one_by_one', 'views']


class View(NamedTuple):
    """What came out of one stage."""

    stage: str
    """The stage as it was written; of the source, the source."""
    values: dict[Key, Any]
    """The items that were asked for, or what they are made of, by their keys."""
    branch: tuple[int, ...] = ()
    """In which stream it is, where streams are put together: `(1,)` is the second one of a `mix`."""


def views(source: Source, steps: Sequence[Step | ItemStep], seeds: Seeds, key: Any) -> list[View]:
    """The item or batch with this key after the source and after each stage, up to the last one that gives such a key.

    The stages of a `parallel_map` are views of their own, and run in this thread, without timeouts. In front of a batch
    come all its items; in front of `mix`, `zip_with`, `concat` and `cycle` come the views of the streams that the item
    is made of. Nothing is known of what stands before a `stage` of the user's own. The values are copies, where they
    can be copied.

    An item that a stage leaves out is missing from there on. Raises ValueError for what is not a key of this stream,
    and what the functions of the stages raise.
    """
    key = as_key(key)
    seen: dict[tuple[int, int], dict[Key, Any]] = {}

    def look(chain: Any, index: int, values: dict[Key, Any]) -> None:
        seen.setdefault((id(chain), index), {}).update((key, copied(value)) for key, value in values.items())

    with ExitStack() as closing:
        resources: list[Resource] = []
        described = one_by_one(Stream(source, tuple(steps)), resources)
        for resource in resources:
            resource.open()
            closing.callback(resource.close)
        stop = Stop()
        chain = Chain(described.source, described.steps, seeds, stop, tracked=False)
        closing.callback(chain.close)
        indices = range(len(chain.operators) - 1, -2, -1)
        last = next((index for index in indices if chain.has_key(key, index)), None)
        if last is None:
            raise ValueError(f'there is no item with the key {key!r}')
        stop.made_again = look
        chain.recompute(last, [key])
        return list(_views(chain, seen, ()))


def _views(chain: Chain, seen: dict[tuple[int, int], dict[Key, Any]], branch: tuple[int, ...]) -> Iterator[View]:
    source: Any = chain.source
    of_source = seen.get((id(chain), -1), {})
    if isinstance(source, OpenedBranches):
        parts = [part for key in of_source for part in (key if isinstance(key, Zipped) else [key])]
        for n in sorted({n for _, n in parts}):  # type: ignore[misc]
            yield from _views(source.branch(n), seen, (*branch, n))
    if (id(chain), -1) in seen:
        described: Any = chain.described[0]
        yield View(_name(described.written), of_source, branch)
    for index, operator in enumerate(chain.operators):
        if (id(chain), index) in seen:
            yield View(format_step(operator.step), seen[id(chain), index], branch)


def _name(source: Any) -> str:
    while isinstance(source, Seeded):
        source = source.source
    return format_step(source.step) if isinstance(source, Joined) else repr(source)


def copied(value: Any) -> Any:
    """A copy of the value, or the value itself, if it cannot be copied."""
    try:
        return deepcopy(value)
    except Exception:
        return value


# ---------------------------------------------------------------------------------------------------------------------
# The same stream with an operator for each stage, all in this thread


def one_by_one(stream: Stream[Any], resources: list[Resource]) -> Stream[Any]:
    """The stream with a step for each stage as it was written, in which nothing is put together or done by workers.

    What the functions get from `setup` is added to `resources`.
    """
    steps: list[Step] = []
    for step in stream.steps:
        if isinstance(step, ItemStep):
            steps.append(_alone(step, step))
        elif any(isinstance(option, Workers) for option in step.options):
            steps = _in_this_thread(steps, step, resources)
        elif step.name != 'prefetch':
            steps.append(step)
    return Stream(_Plain(_with_branches(stream.source, resources), stream.source), tuple(steps))


def _alone(item: ItemStep, step: Step | ItemStep) -> Stateless:
    args, kwargs = (step.args, step.kwargs) if item.name == step.name else (item.args, item.kwargs)
    return Stateless(item.name, _map_one, ((item,), STOP), args=args, kwargs=kwargs, itemwise=True)


def _map_one(items: Iterator[Pair], function: ItemFunction, stop: Stop) -> Iterator[Pair]:
    return map_items(items, function, stop)  # by another name, so that the plan of the run leaves it alone


def _in_this_thread(before: list[Step], step: Step, resources: list[Resource]) -> list[Step]:
    functions, workers, policy, _ = step.options
    if workers.resource is not None:
        resources.append(workers.resource)
    if policy is not None or workers.retries is not None:
        options = (functions, workers, policy, STOP)
        return [*before, Stateless(step.name, _map_failing, options, args=step.args, kwargs=step.kwargs)]
    if not isinstance(functions[0], EachStep):
        return [*before, *(_alone(item, step) for item in functions)]
    batches: Any = before[-1]
    items = [_alone(item, step) for item in functions[0].steps]
    return [*before[:-1], *items, replace(batches, hidden=False), *(_alone(item, step) for item in functions[1:])]


def _map_failing(
    items: Iterator[Pair], function: ItemFunction, workers: Workers, policy: Policy | None, stop: Stop
) -> Iterator[Pair]:
    called = function if workers.retries is None else Retrying(function, workers.retries)
    failures = None if policy is None else Failures(policy, function.where, stop.dropped, function)
    for key, value in items:
        try:
            result = called(key, value)
        except Exception as error:
            if failures is None:
                raise
            result = failures.outcome(error, key, value)
        if result is not SKIPPED:
            yield key, result


def _with_branches(source: Any, resources: list[Resource]) -> Any:
    if isinstance(source, Seeded):
        return Seeded(_with_branches(source.source, resources), source.seed)
    if not isinstance(source, Branched):
        return source
    again: Any = copy(source)
    again.branches = tuple(one_by_one(branch, resources) for branch in source.branches)
    if isinstance(source, Joined):
        again.left = again.branches[0]
    return again


class _Plain:
    """A source that gives items, never indices that are looked up later."""

    def __init__(self, source: Source, written: Source):
        self.source, self.written = source, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def open(self, seeds: Seeds, stop: Stop) -> Opened:
        opened: Any = self.source.open(seeds, stop)
        opened.has_look_up = False
        return opened  # type: ignore[no-any-return]
