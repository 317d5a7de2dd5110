"""The steps of a stream one by one: a step for each function, and none of them in workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from itpipe._core.steps import METER, STOP, EachStep, ItemStep, Pair, Stateless, Step
from itpipe._engine.failures import SKIPPED, Policy
from itpipe._engine.functions import ItemFunction
from itpipe._engine.meters import Meter
from itpipe._engine.order import map_items
from itpipe._engine.waiting import Stop
from itpipe._workers.failures import FunctionFailures, Retrying
from itpipe._workers.opening import Workers

__all__ = ['map_failing', 'map_one', 'single_steps', 'workers_of']


def single_steps(steps: Sequence[Step | ItemStep]) -> list[tuple[Step, int]]:
    """The steps, each with the index of the step that it comes from. Without `prefetch`, which changes nothing.

    The stages of a `parallel_map` become steps of their own, unless it handles errors, which it does for all of them.
    """
    result: list[tuple[Step, int]] = []
    for n, step in enumerate(steps):
        if isinstance(step, ItemStep):
            result.append((_alone(step, step), n))
        elif workers_of(step) is not None:
            result = _in_this_thread(result, step, n)
        elif step.name != 'prefetch':
            result.append((step, n))
    return result


def workers_of(step: Step | ItemStep) -> Workers | None:
    """The workers that a `parallel_map` asks for; None for other steps."""
    options = () if isinstance(step, ItemStep) else step.options
    return next((option for option in options if isinstance(option, Workers)), None)


def _alone(item: ItemStep, step: Step | ItemStep) -> Stateless:
    args, kwargs = (step.args, step.kwargs) if item.name == step.name else (item.args, item.kwargs)
    return Stateless(item.name, map_one, ((item,), STOP, METER), args=args, kwargs=kwargs, itemwise=True)


def _in_this_thread(before: list[tuple[Step, int]], step: Step, n: int) -> list[tuple[Step, int]]:
    functions, workers, policy, *_ = step.options
    if policy is not None or workers.retries is not None:
        options = (functions, workers, policy, STOP, METER)
        return [*before, (Stateless(step.name, map_failing, options, args=step.args, kwargs=step.kwargs), n)]
    if not isinstance(functions[0], EachStep):
        return [*before, *((_alone(item, step), n) for item in functions)]
    batches: Any
    *before, (batches, at) = before
    items = [(_alone(item, step), n) for item in functions[0].steps]
    behind = [(_alone(item, step), n) for item in functions[1:]]
    return [*before, *items, (replace(batches, hidden=False), at), *behind]


def map_one(items: Iterator[Pair], function: ItemFunction, stop: Stop, meter: Meter) -> Iterator[Pair]:
    """`map_items` by another name, so that the plan of a run leaves the step alone."""
    return map_items(items, function, stop, meter)


def map_failing(
    items: Iterator[Pair],
    function: ItemFunction,
    workers: Workers,
    policy: Policy | None,
    stop: Stop,
    meter: Meter,
) -> Iterator[Pair]:
    """What `parallel_map` with `on_error` or `retries` gives."""
    called = function if workers.retries is None else Retrying(function, workers.retries)
    failures = None if policy is None else FunctionFailures(policy, function.where, stop.dropped, function, meter)
    for key, value in items:
        try:
            result = called(key, value)
        except Exception as error:
            if failures is None:
                raise
            result = failures.outcome(error, key, value)
        if result is not SKIPPED:
            yield key, result
