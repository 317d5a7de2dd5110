"""`check`: what is wrong with a pipeline, found with a few items before a long run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from itpipe._core.checks import integer
from itpipe._engine.seeds import Seeds
from itpipe._engine.stream import Stream, no_stage, stream
from itpipe._views.described import described
from itpipe._views.figures import bytes_of
from itpipe.infinite import Infinite

from .examined import Examined, Running
from .findings import Finding, Findings
from .global_states import left_as_they_were
from .predicted import predicted, size_of
from .process_trial import tried_in_processes
from .rules_of_batches import BATCH_RULES
from .rules_of_data import DATA_HINTS, DATA_RULES
from .rules_of_epochs import EPOCH_HINTS, EPOCH_RULES
from .rules_of_functions import FUNCTION_HINTS, FUNCTION_RULES
from .rules_of_order import ORDER_HINTS, ORDER_RULES
from .rules_of_padding import PADDING_RULES
from .rules_of_pickling import not_picklable
from .rules_of_workers import WORKER_HINTS, WORKER_RULES
from .seen import Seen
from .trial import Trial

__all__ = ['check']

RULES: list[Callable[[Examined], Iterator[Finding]]] = [
    *DATA_RULES, *FUNCTION_RULES, *BATCH_RULES, *PADDING_RULES, *ORDER_RULES, *EPOCH_RULES, *WORKER_RULES
]  # fmt: skip
"""Each yields what it finds wrong. A new rule is a function in one of these lists."""
HINTS: list[Callable[[Examined], Iterator[Finding]]] = [
    *DATA_HINTS,
    *FUNCTION_HINTS,
    *ORDER_HINTS,
    *EPOCH_HINTS,
    *WORKER_HINTS,
]
"""Each yields what could be better."""

KINDS = {
    'batched-twice', 'blocks-in-process', 'changes-dataset', 'changes-input', 'combine-without-batch',
    'copied-generator', 'dict-as-source', 'differs-in-process', 'does-not-combine', 'dtypes-differ', 'empty', 'endless',
    'fails-in-process', 'global-generator', 'has-more', 'kept-by-each', 'lazy-result', 'length', 'lengths-differ',
    'many-columns', 'many-workers', 'memory', 'no-batches', 'no-combine', 'no-flatten', 'no-seed', 'no-state',
    'no-workers', 'not-batched', 'not-finite', 'not-picklable', 'not-reproducible', 'not-sharded', 'object-array',
    'one-pass', 'over-limit', 'oversubscribed', 'overwrites', 'path-as-source', 'processes-twice', 'python-in-threads',
    'raises', 'raises-again', 'returns-none', 'same-augmentation', 'same-order', 'shared-file', 'short-epochs',
    'shuffle-after-batch', 'slow-in-front', 'small-buffer', 'table-as-source', 'take-before-shuffle', 'too-cheap',
    'uneven-ranks', 'unordered', 'workers-after-batch',
}  # fmt: skip


@no_stage('it takes the stream, `check(stream)`')
def check(
    pipeline: Iterable[Any], items: int = 2, *, processes: bool | None = None, ignore: str | Iterable[str] = ()
) -> Findings:
    """What is wrong with a stream or an `Infinite`, found before a long run: a list of findings.

    A few items go through the pipeline, in this thread, and what happens to them is looked at. Print the result: it has
    what to fix, at which stage and how, then hints, which are not in the list, and a table with types, shapes, dtypes,
    sizes and times after each stage. So `assert not check(batches)` can be a test. It finds

    - functions and datasets that raise, return None, or give other bits the second time; that draw from the global
      generators of `random`, `numpy.random` or torch; that change their input in place, or give the same memory for
      each item;
    - items that do not combine, and at which place; dtypes that differ; batches of objects, or of an array for each
      number of a list; lists of items without a `flatten`, and batches of batches; a dataset that does not have the
      length that it says; batches and buffers that take more than half of the memory that is available;
    - what cannot be sent to processes, or slows workers down: work in front of them, more threads than cores;
    - stages in an order that is rarely meant, and a stream without an end and without `batches_per_epoch`.

    `items` is the number of items that are looked at, of each source. Up to 30 more are looked at if stages leave some
    out. Of a dataset with an index, the last item is looked up, too, and `dataset[len(dataset)]`, which should raise an
    IndexError. Each function is called about `items` times, and a few times more with copies of the same items: once if
    it is slow, up to three times if it takes less than 5 ms. Of items above 64 MB only the first one is copied, and its
    functions are called once more; above 256 MB none is copied, so changes in place are not seen. The items are the
    first ones of a run, with the same random numbers. If all of this takes less than 0.1 s, they are also made with
    those of the next two passes. Buffers are skipped, and batches are made of these items. Of an iterator no item is
    taken, as it could not be put back: `unseen` says so. What functions and datasets keep in attributes of their own is
    not kept, and the global random generators are left as they were.

    `processes` says whether functions are also tried in a real process, which takes a second or so: by default if the
    pipeline has processes; True for all functions, to see whether they could go there; False for no process.
    `ignore` has the kinds of findings that are left out, such as `'take-before-shuffle'`.

    Raises TypeError for what is neither a stream nor another iterable; TypeError or ValueError for wrong arguments.

    >>> import numpy as np
    >>> from itpipe import apply, batch_by, combine
    >>> def brighter(image):
    ...     image += 1
    ...     return image
    >>> found = check([np.zeros((2, 3))] * 4 | apply(brighter) | batch_by(2) | combine)
    >>> [(finding.kind, finding.stage) for finding in found]
    [('changes-dataset', 'apply(brighter)')]

    See also: `Infinite`; `testing.check_resume`.
    """
    integer('check', 'items', items, least=1)
    ignored = _ignored(ignore)
    with left_as_they_were(), warnings.catch_warnings():
        warnings.simplefilter('ignore', ResourceWarning)  # of files that copies of datasets have opened
        return _findings(pipeline, items, processes, ignored)


def _findings(pipeline: Any, items: int, processes: bool | None, ignored: set[str]) -> Findings:
    examined = _examined(pipeline, items)
    found = [finding for rule in RULES for finding in rule(examined)]
    found += _in_processes(examined, processes, {finding.kind for finding in found})
    hints = [finding for rule in HINTS for finding in rule(examined)]
    return Findings(
        _once(found, ignored), _once(hints, ignored), _notes(examined), _table(examined), _unseen(examined), items
    )


def _in_processes(examined: Examined, processes: bool | None, kinds: set[str]) -> list[Finding]:
    """What can't go to processes, or does something else there. Not tried if a function fails here."""
    found = [*not_picklable(examined, everything=bool(processes))]
    wanted = any(seen.in_processes for seen in examined.stages) if processes is None else processes
    failed = any(call.error is not None for seen in examined.stages for call in seen.calls)
    if wanted and not found and not failed and not examined.trial.untouched:
        tried = tried_in_processes(examined, everything=bool(processes))
        random = kinds & {'global-generator', 'not-reproducible'}  # that is why values differ
        found += [finding for finding in tried if not random or finding.kind != 'differs-in-process']
    return found


def _ignored(ignore: Any) -> set[str]:
    kinds = {ignore} if isinstance(ignore, str) else set(ignore)
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f'check: `ignore` must be kinds of findings, {", ".join(sorted(KINDS))}; got {kind!r}')
    return kinds


def _examined(pipeline: Any, items: int) -> Examined:
    if isinstance(pipeline, Infinite):
        epochs = pipeline._epochs
        source, steps = epochs.source, epochs.steps
        seeds, seeded = Seeds(epochs.seed, 0, source.seed), epochs.seeded
        running = Running(repr(pipeline), epochs.batches_per_epoch, epochs.prefetch, epochs.restart)
    else:
        made: Stream[Any] = stream(pipeline)
        source, steps, running = made.source, made.steps, None
        seeds, seeded = Seeds(fallback=source.seed), source.seed is not None
    return Examined(source, steps, seeds.copy(), seeded, running, Trial(source, steps, seeds, items))


def _once(found: Iterable[Finding], ignored: set[str]) -> list[Finding]:
    found = (finding._replace(stage=' '.join(finding.stage.split())) for finding in found)
    return list(dict.fromkeys(finding for finding in found if finding.kind not in ignored))


def _unseen(examined: Examined) -> list[str]:
    unseen = [
        f'`{stage}` is an iterator, and an item taken from it could not be put back. Give `check` the same stream over'
        ' something that can be iterated again.'
        for stage in examined.trial.untouched
    ]
    for seen in examined.stages:
        waiting = bool(seen.before and seen.before[-1].out and not seen.out)
        if waiting and not any(call.error is not None for call in seen.calls):
            unseen.append(f'what is behind `{seen.stage}`, as nothing came out of it. Give more `items`.')
    return unseen


def _notes(examined: Examined) -> list[str]:
    total, parts = predicted(examined)
    if total and examined.running is not None:
        return [f'The run holds about {bytes_of(total)}: {"; ".join(part.what for part in parts if part.size)}.']
    return []


def _table(examined: Examined) -> list[dict[str, Any]]:
    return [
        {
            'stage': '  ' * len(seen.branch) + seen.stage,
            'items': _items(seen),
            'bytes': size_of(seen),
            'seconds': examined.seconds.get(seen),
            'where': seen.where,
        }
        for seen in examined.stages
    ]


def _items(seen: Seen) -> str:
    if not seen.out:
        error = next((call.error for call in seen.calls if call.error is not None), None)
        return '–' if error is None else type(error).__name__
    value = seen.out[0][1]
    some = seen.size is not None and len(value) != seen.size
    return (f'{len(value)} of {seen.size}: ' if some else '') + described(value, values=False)
