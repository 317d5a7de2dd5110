"""Rules about epochs: whether they end, and whether all of them have their batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from itpipe._core.steps import Opaque, Step
from itpipe._engine.branches import Branched
from itpipe._engine.left_out import uneven
from itpipe._engine.order import fused, is_by_count
from itpipe._engine.source import Seeded

from .examined import Examined, items_in
from .findings import Finding

__all__ = ['EPOCH_HINTS', 'EPOCH_RULES']


def never_ends(examined: Examined) -> Iterator[Finding]:
    running = examined.running
    if running is None or running.batches_per_epoch is not None:
        return
    endless = _endless(examined.source, examined.steps)
    if endless:
        problem = 'It never ends, and there is no `batches_per_epoch`: an epoch never ends, either.'
        yield Finding('endless', endless, problem, 'Give `Infinite` `batches_per_epoch=…`.')


def _endless(source: Any, steps: Any) -> str:
    """The source that makes this stream endless; empty if it ends, or does not say."""
    for step in reversed(list(steps)):
        if isinstance(step, Step) and (step.name == 'take' or isinstance(step, Opaque)):
            return ''
    while isinstance(source, Seeded):
        source = source.source
    if isinstance(source, Branched):
        parts = [_endless(branch.source, branch.steps) for branch in source.branches]
        if source.name == 'cycle':
            return 'cycle()' if getattr(source, 'n', None) is None else parts[0]
        together = all(parts) if source.name == 'zip_with' else any(parts)
        return next(filter(None, parts)) if together else ''
    if getattr(source, 'replace', False) and getattr(source, 'name', '') in ('sample', 'load_by_random_id'):
        return repr(source)
    data = getattr(source, 'iterable', None)
    module, name = type(data).__module__, type(data).__name__
    return repr(source) if module == 'itertools' and name in ('count', 'cycle', 'repeat') else ''


def _a_pass(examined: Examined) -> tuple[int, int] | None:
    """How many items and batches a pass over the source has, if that can be said."""
    steps = fused(examined.steps)
    batches = [step for step in steps if is_by_count(step)]
    plain = all(
        step.itemwise or is_by_count(step) or step.name == 'shuffle' or getattr(step, 'work', None) is None
        for step in steps
    )
    items = items_in(examined.source)
    if not plain or len(batches) != 1 or items is None or items == 0:
        return None
    size, drop_last, *_ = batches[0].options
    return items, items // size if drop_last else -(-items // size)


def short_epochs(examined: Examined) -> Iterator[Finding]:
    """Fewer batches in the source than an epoch should have, or none at all."""
    if (found := _a_pass(examined)) is None:
        return
    items, count = found
    name = next(seen.stage for seen in examined.stages if seen.step is not None and is_by_count(seen.step))
    running = examined.running
    if count == 0:
        problem = f'There are {items} items, fewer than a batch has, and `drop_last` leaves them out.'
        yield Finding('no-batches', name, problem, 'Make the batches smaller, or leave out `drop_last`.')
    elif running is not None and not running.restart and (running.batches_per_epoch or 0) > count:
        problem = (
            f'{items} items make {count} batches. An epoch ends there, before `batches_per_epoch='
            f'{running.batches_per_epoch}`.'
        )
        fix = f'Give `batches_per_epoch={count}` or less, or let the stream go on: `cycle`, `sample(…)`.'
        yield Finding('short-epochs', running.name, problem, fix)


def short_last_epochs(examined: Examined) -> Iterator[Finding]:
    found, running = _a_pass(examined), examined.running
    if found is None or running is None or running.restart or running.batches_per_epoch is None:
        return
    items, count = found
    left = count % running.batches_per_epoch
    if left and count > running.batches_per_epoch:
        problem = (
            f'{items} items make {count} batches, not a multiple of `batches_per_epoch={running.batches_per_epoch}`:'
            f' the last epoch of each pass has {left}.'
        )
        fix = 'Leave out `batches_per_epoch`, give a number that divides them, or let the stream go on: `cycle`.'
        yield Finding('short-epochs', running.name, problem, fix)


def uneven_ranks(examined: Examined) -> Iterator[Finding]:
    found = uneven(examined.source, examined.steps)
    running = examined.running
    if running is None or found is None or _endless(examined.source, examined.steps):
        return
    if running.batches_per_epoch is not None and items_in(examined.source) is None:  # it may have no end
        return
    what, instead = found
    ranks = next(each.share[1] for each in reversed(examined.steps) if isinstance(each, Step) and each.share)
    yield Finding(
        'uneven-ranks', what,
        f'Behind the place where items are dealt, it may give {ranks} ranks different numbers of items. If each waits'
        ' for the others in each step, a rank that ends first makes them wait forever.',
        f'{instead[0].upper()}{instead[1:]}, or let the stream go on by `cycle()`, with'
        " `batches_per_epoch`. Where no rank waits, give `even='keep'`.",
    )  # fmt: skip


EPOCH_RULES = [never_ends, short_epochs, uneven_ranks]
EPOCH_HINTS = [short_last_epochs]
