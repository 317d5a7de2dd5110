"""Rules about the order of stages and the seed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import inf
from typing import Any, Final

from itpipe._core.keys import Batch
from itpipe._core.show import format_step
from itpipe._core.steps import ItemStep, Opaque, Stateful, Step, draws
from itpipe._engine.order import is_by_count
from itpipe._views.figures import bytes_of

from .copying import own_bytes
from .examined import Examined, items_in
from .findings import Finding
from .seen import Seen

__all__ = ['ORDER_HINTS', 'ORDER_RULES']

LARGE: Final = 64_000
"""Bytes; a batch that is larger takes longer to send than to make a small item."""


def _main(examined: Examined) -> list[Seen]:
    return [seen for seen in examined.stages if not seen.branch]


def shuffled_batches(examined: Examined) -> Iterator[Finding]:
    batches, mixed = None, getattr(examined.source, 'random', False)
    for seen in _main(examined):
        if seen.written == 'shuffle':
            if batches is not None and not mixed:
                problem = f'It shuffles batches, whose items stay together as `{batches.stage}` has put them.'
                yield Finding('shuffle-after-batch', seen.stage, problem, f'Put it in front of `{batches.stage}`.')
            mixed = True
        elif seen.written == 'batch_by' and is_by_count(seen.step):
            batches = seen
        elif seen.written in ('flatten', 'interleave') or isinstance(seen.step, Opaque):
            batches = None


def taken_before_shuffle(examined: Examined) -> Iterator[Finding]:
    taken = None
    for seen in _main(examined):
        if seen.written == 'take':
            taken = seen if seen.step.options[0] <= (items_in(examined.source) or inf) / 2 else None
        elif seen.written == 'batch_by':
            taken = None
        elif seen.written == 'shuffle' and taken is not None:
            problem = f'It is shuffled only what `{taken.stage}` lets pass: these first items, in each epoch.'
            fix = (
                f'For random items, put `shuffle` in front of `{taken.stage}`. To use the first ones only, as for a'
                " part of the data, `check(…, ignore='take-before-shuffle')`."
            )
            yield Finding('take-before-shuffle', taken.stage, problem.replace('It is', 'There is'), fix)
            taken = None


def workers_get_batches(examined: Examined) -> Iterator[Finding]:
    batches: Seen | None = None
    for seen in _main(examined):
        if seen.written == 'batch_by' and seen.workers is None:
            batches = seen
        elif seen.written in ('flatten', 'interleave') or isinstance(seen.step, Opaque):
            batches = None
        elif batches is not None and seen.workers is not None and seen.calls:
            made_here = all(stage.workers is None for stage in seen.before)
            size = seen.scale * max((own_bytes(call.got) for call in seen.calls), default=0)
            if made_here and size > LARGE and seen.workers.kind in ('processes', 'executor'):
                problem = (
                    f'Its workers get whole batches of about {bytes_of(size)}, whose items are made one after the other'
                    ' in the thread of the run, and are sent there and back.'
                )
                fix = (
                    f'Let the workers make the batches: `parallel_map(… | {batches.stage} | …, {seen.workers.kind}=…)`,'
                    ' or `Infinite(…, batch_size=…, processes=…)`.'
                )
                yield Finding('workers-after-batch', seen.stage, problem, fix)
            batches = None


def not_sharded(examined: Examined) -> Iterator[Finding]:
    ranks = os.environ.get('WORLD_SIZE', '')
    steps = [step for step in examined.steps if isinstance(step, Step)]
    several = examined.running is not None and ranks.isdigit() and int(ranks) > 1
    if several and not any(step.share is not None for step in steps):
        problem = f'There are {ranks} training processes (WORLD_SIZE), and each of them gets all items.'
        yield Finding('not-sharded', examined.running.name, problem, "Give `Infinite` `shard='env'`.")  # type: ignore[union-attr]


# Hints


def no_seed(examined: Examined) -> Iterator[Finding]:
    if examined.seeded:
        return
    source: Any = examined.source
    random = [step for step in examined.steps if draws(step)]
    draws_itself = source.random and getattr(source, 'own_seed', source.seed) is None
    if not random and not draws_itself:
        return
    stages = [seen for seen in examined.stages if seen.step is not None and _draws(seen.step)]
    name = stages[0].stage if stages and not draws_itself else repr(source)
    where = '`Infinite(…, seed=0)`' if examined.running is not None else '`stream(…, seed=0)`'
    yield Finding(
        'no-seed', name, 'It draws random numbers, and there is no seed: each run gives other items.',
        f'Give a seed for the same items in each run: {where}.',
    )  # fmt: skip


def _draws(step: Any) -> bool:
    return isinstance(step, (Step, ItemStep)) and draws(step)


def small_buffers(examined: Examined) -> Iterator[Finding]:
    items = items_in(examined.source)
    for seen in _main(examined):
        if seen.written == 'shuffle' and items is not None and seen.step.options and not seen.before[1:]:
            size = seen.step.options[-1]
            if isinstance(size, int) and size * 20 <= items and items >= 1000:
                yield Finding(
                    'small-buffer', seen.stage,
                    f'Its buffer has {size} of {items} items, so items that lie together stay near each other.',
                    'Make it larger; in front of everything else, `shuffle()` is for all items and takes no memory.',
                )  # fmt: skip


def shuffled_validation(examined: Examined) -> Iterator[Finding]:
    running = examined.running
    if running is not None and running.restart:
        for seen in _main(examined):
            if seen.written == 'shuffle':
                yield Finding(
                    'same-order', seen.stage, 'With `restart=True`, each epoch has the same order and random numbers.',
                    'Leave out `restart` for training, or `shuffle` for validation.',
                )  # fmt: skip


def augmented_before_reuse(examined: Examined) -> Iterator[Finding]:
    for n, seen in enumerate(examined.stages):
        before = [stage for stage in seen.before if _draws(stage.step) and stage.function is not None]
        after = [stage for stage in examined.stages[n + 1 :] if _draws(stage.step)]
        if seen.written == 'reuse' and before and not after:
            problem = f'It gives an item several times with the random numbers of `{before[-1].stage}` before it.'
            fix = 'Put that behind it: then each repetition has random numbers of its own.'
            yield Finding('same-augmentation', seen.stage, problem, fix)


def starts_again(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        if type(seen.step) is Opaque:
            yield Finding(
                'no-state', seen.stage, 'To resume, it runs again from the beginning, as nothing is known of it.',
                'Keep what it remembers in a dict: `@stage(state={…})`.',
            )  # fmt: skip


def not_ordered(examined: Examined) -> Iterator[Finding]:
    for step, _ in examined.workers:
        if isinstance(step, Stateful):
            problem = 'With `ordered=False`, items come as they are ready: in another order in each run.'
            fix = 'Leave it out if runs have to be reproducible; items that take long do not hold up many others.'
            yield Finding('unordered', format_step(step), problem, fix)


def not_batched(examined: Examined) -> Iterator[Finding]:
    main = _main(examined)
    batched = any(isinstance(key, Batch) for seen in main for key, _ in seen.out)
    may_batch = batched or any(seen.written == 'batch_by' or isinstance(seen.step, Opaque) for seen in main)
    failed = any(call.error is not None for seen in main for call in seen.calls)
    looked_up = main and main[0].function is not None and any(seen.out for seen in main)
    if examined.running is not None and looked_up and not may_batch and not failed:
        problem = 'Its items are single items of the dataset: there is no `batch_size`, and no `batch_by`.'
        yield Finding('not-batched', examined.running.name, problem, 'Give `Infinite` `batch_size=…`.')


ORDER_RULES = [
    shuffled_batches, taken_before_shuffle, workers_get_batches, not_sharded,
]  # fmt: skip
ORDER_HINTS = [
    augmented_before_reuse,
    no_seed,
    small_buffers,
    shuffled_validation,
    starts_again,
    not_ordered,
    not_batched,
]
