"""Rules about sources: what they are, how long they say that they are, and what they give."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from itpipe._core.steps import ItemStep
from itpipe._engine.indexing import is_cheap, length
from itpipe._engine.order import is_by_count
from itpipe._engine.source import may_skip

from .examined import Examined, items_in
from .findings import Finding
from .seen import BATCHING, Seen
from .trial import data_of

__all__ = ['DATA_HINTS', 'DATA_RULES']


def _leaves(examined: Examined) -> Iterator[Seen]:
    return (seen for seen in examined.stages if seen.is_source and seen.sequence is not None)


def lies_about_its_length(examined: Examined) -> Iterator[Finding]:
    for seen in _leaves(examined):
        data = seen.sequence
        try:
            size = length(data)
        except Exception as error:
            problem = f'Its length raises {type(error).__name__}: {error}.'
            yield Finding('length', seen.stage, problem, 'Let `__len__` return the number of items.')
            continue
        if not size or _is_table(data):
            continue
        found = len(seen.out)
        first = next((call for call in seen.calls if isinstance(call.error, IndexError)), None)
        if first is not None:
            problem = f'By its length it has {size} items, but looking up one of them raises IndexError: {first.error}.'
        elif may_skip(seen.source):  # what cannot be looked up is expected there
            continue
        elif seen.function is not None and not is_cheap(data) and (last := _last(data, size)) is not None:
            problem = (
                f'By its length it has {size} items, but the last one, at {size - 1}, raises'
                f' {type(last).__name__}: {last}.'
            )
        elif seen.ended and found < size and not _has_errors(seen):
            problem = f'By its length it has {size} items, but it gave {found} and ended.'
        else:
            continue
        yield Finding('length', seen.stage, problem, 'Let `__len__` return the number of items that there are.')


def _last(data: Any, size: int) -> Exception | None:
    """What looking up the last item raises."""
    try:
        data[size - 1]
    except Exception as error:
        return error
    return None


def _has_errors(seen: Seen) -> bool:
    return any(call.error is not None for call in seen.calls)


def is_empty(examined: Examined) -> Iterator[Finding]:
    for seen in _leaves(examined):
        if not seen.out and not _has_errors(seen) and seen.stage not in examined.trial.untouched:
            if seen.function is None and length(seen.sequence):
                continue  # see above
            skipped = [step for step in examined.steps if getattr(step, 'name', '') == 'skip']
            if skipped and length(seen.sequence):
                problem = f'It has {length(seen.sequence)} items, and all of them are skipped.'
                yield Finding('empty', seen.stage, problem, 'Skip fewer items.')
            else:
                yield Finding('empty', seen.stage, 'It gives no items.', 'Look at where its list of items comes from.')


def is_text(examined: Examined) -> Iterator[Finding]:
    for seen in _leaves(examined):
        data = seen.sequence
        if isinstance(data, str) and os.sep in data:
            problem = 'It is a path, and the items of text are its characters.'
            fix = 'Give the files in it: `sorted(Path(…).glob("*.png"))`.'
            yield Finding('path-as-source', seen.stage, problem, fix)


def is_table(examined: Examined) -> Iterator[Finding]:
    for seen in _leaves(examined):
        if _is_table(seen.sequence):
            problem = 'Iterating over a table gives the names of its columns, not its rows.'
            fix = "Give its rows: `table.to_dict('records')`, or `sample(range(len(table))) | table.iloc.__getitem__`."
            yield Finding('table-as-source', seen.stage, problem, fix)


def _is_table(data: Any) -> bool:
    return hasattr(data, 'iloc') and hasattr(data, 'columns')


def lengths_differ(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        if not seen.source_is_joined or seen.source.name != 'zip_with' or seen.source.strict:
            continue
        plain = [branch for branch in seen.source.branches if all(isinstance(step, ItemStep) for step in branch.steps)]
        sizes = [items_in(branch.source) for branch in plain if type(data_of(branch.source)) is not range]
        known = [size for size in sizes if size is not None]
        if len(set(known)) > 1:
            problem = f'The streams have {" and ".join(map(str, known))} items. It ends with the shortest.'
            fix = 'Let them have as many, or say `strict=True`, which makes it an error.'
            yield Finding('lengths-differ', seen.stage, problem, fix)


def leaves_out_everything(examined: Examined) -> Iterator[Finding]:
    sources = [seen for seen in examined.stages if seen.is_source]
    all_seen = all(len(seen.out) == items_in(seen.source) for seen in sources if not seen.source_is_joined)
    for seen in examined.stages:
        if seen.written == 'take' and seen.step.options[0] == 0:
            yield Finding('empty', seen.stage, 'It lets no item pass.', 'Give the number of items to take.')
        failed = any(call.error is not None for call in seen.calls)
        if seen.written == 'filter_by' and all_seen and seen.calls and not seen.out and not failed:
            problem = f'It leaves out all {len(seen.calls)} items that there are.'
            yield Finding('empty', seen.stage, problem, 'Look at the predicate: it is true for the items to keep.')


def has_batches(examined: Examined) -> Iterator[Finding]:
    """Batches of batches: of torch's DataLoader, or by two of `batch_by` and `bucket_by`."""
    again = 'Each batch is a list of batches then.'
    if any(is_by_count(step) for step in examined.steps if not hasattr(step, 'functions')):
        for seen in _leaves(examined):
            if type(seen.sequence).__name__ == 'DataLoader' and not examined.trial.untouched:
                yield Finding(
                    'batched-twice', seen.stage, f'A DataLoader gives batches, and they are put into batches. {again}',
                    'Give the dataset itself, `loader.dataset`, or leave out the batch size.',
                )  # fmt: skip
    for seen in examined.stages:
        batches = None if seen.branch or seen.is_source else seen.batched_by
        if batches is not None and seen.written in BATCHING:
            yield Finding(
                'batched-twice', seen.stage, f'The items are batches already, by `{batches.stage}`. {again}',
                'Leave out one of the two (`Infinite(…, batch_size=…)` is one), or put `flatten` between them.',
            )  # fmt: skip
        elif batches is not None and seen.written == 'pack':
            yield Finding(
                'batched-twice', seen.stage, f'It packs sequences, and gets the batches of `{batches.stage}`.',
                f'Put `{batches.stage}` behind it: then a batch has rows.',
            )  # fmt: skip


def has_more(examined: Examined) -> Iterator[Finding]:
    """A hint: there is an item behind the last one, and it is not so that there is one at any index."""
    for seen in _leaves(examined):
        data = seen.sequence
        size = length(data) if seen.function is not None and not is_cheap(data) and not _is_table(data) else None
        if size and _last(data, size + 1) is None and isinstance(_last(data, 4 * size + 100), (IndexError, KeyError)):
            problem = f'By its length it has {size} items, but there is another one at {size}.'
            yield Finding('has-more', seen.stage, problem, 'If that is not meant, let `__len__` count them all.')


def is_dict(examined: Examined) -> Iterator[Finding]:
    """A hint."""
    for seen in _leaves(examined):
        if isinstance(seen.sequence, Mapping):
            yield Finding(
                'dict-as-source', seen.stage, 'Its items are the keys of the dict.',
                'For pairs of key and value give `stream(d.items())`.',
            )  # fmt: skip


def reads_an_iterator(examined: Examined) -> Iterator[Finding]:
    """A hint for an `Infinite`, which begins its source again."""
    running = examined.running
    if running is not None and (running.batches_per_epoch is None or running.restart):
        for stage in examined.trial.untouched:
            yield Finding(
                'one-pass', stage, 'It is an iterator, which can be read once. The second epoch raises NotRestartable.',
                'Give something that can be iterated again: a list, or an object whose `__iter__` or'
                ' `__aiter__` makes the iterator.',
            )  # fmt: skip


DATA_RULES = [
    lies_about_its_length, is_empty, is_text, is_table, lengths_differ, leaves_out_everything, has_batches,
]  # fmt: skip
DATA_HINTS = [is_dict, reads_an_iterator, has_more]
