"""Rules about batches: whether the items combine, and how much memory they take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from itpipe._core.keys import Batch
from itpipe._core.steps import Stateful
from itpipe._views.described import described
from itpipe._views.figures import bytes_of
from itpipe.stages.structure import NUMBER, by_names, has_fields

from .examined import Examined
from .findings import Finding
from .predicted import available, predicted
from .rules_of_functions import is_combiner, is_stacking, new_none
from .seen import Call, Seen

__all__ = ['BATCH_RULES']

SHARE: Final = 0.5
"""Of the memory that is available: more than that is too much."""
MOST_COLUMNS: Final = 8
"""A list of more numbers than that is rarely meant to make a column of each place."""
KEEPS_STRUCTURE: Final = ('to_device', 'to_torch')
"""Stages that leave a list what it is."""


def does_not_combine(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        call = _failed(examined, seen) if is_combiner(seen) else None
        if call is None or _is_batched_twice(seen) or _lists_of_items(call.got) is not None:
            continue
        text = str(call.error).partition(': ')[2] or str(call.error)
        if not isinstance(call.got, list) and not _has_batches(seen):
            yield _combines_single_items(seen)
            continue
        problem, _, way_out = text.rpartition('; ')
        if '`' in way_out and problem:
            text, fix = problem, f'{way_out[0].upper()}{way_out[1:].rstrip(".")}.'
        elif 'combine_pad pads' in text:
            fix = 'Let a stage in front of it make them equal (crop, resize, pad), or use `combine_pad`.'
        elif 'structure' in text or 'keys' in text or 'elements' in text:
            fix = 'Let all items have the same structure, or keep them as lists with `combine_lists`.'
        else:
            fix = 'Let a stage in front of it make them alike, or keep them as lists with `combine_lists`.'
        yield Finding('does-not-combine', seen.stage, f'The items do not make a batch: {text}.'.replace('..', '.'), fix)


def _is_batched_twice(seen: Seen) -> bool:
    """Whether it gets batches of batches, for which there is a rule of its own."""
    batches = seen.batched_by
    return batches is not None and batches.batched_by is not None


def not_flattened(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        batches = seen.batched_by
        if not is_stacking(seen) or batches is None or batches.batched_by is not None:
            continue
        item = next((item for call in seen.calls if (item := _lists_of_items(call.got)) is not None), None)
        if item is not None:
            problem = (
                f'Each of its items is a list of items, {described(item, values=False)}, which are not put together.'
            )
            fix = f'Put `flatten` in front of it: then `{batches.stage}` gets the single items of these lists.'
            yield Finding('no-flatten', batches.stage, problem, fix)


def _lists_of_items(batch: Any) -> list[Any] | None:
    """One of the items, if they all are lists of tuples, dicts or records that have arrays."""
    if not isinstance(batch, list) or not batch:
        return None
    for item in batch:
        if type(item) is not list or not item:
            return None
        if not all(isinstance(part, (tuple, dict)) or has_fields(type(part)) for part in item):
            return None
    return batch[0] if all(_has_arrays(part) for part in batch[0]) else None


def makes_columns(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        if not is_stacking(seen):
            continue
        for call in seen.calls:
            if call.error is None and isinstance(call.got, list) and call.got and (found := _numbers(call.got[0], ())):
                path, size = found
                place = f' at {"".join(f"[{key!r}]" for key in path)}' if path else ''
                problem = (
                    f'The items have lists of {size} numbers{place}: the batch has {size} arrays, one for each place.'
                )
                how = (
                    'np.asarray'
                    if len(path) > 1
                    else f'map_at({path[0]!r}, np.asarray)'
                    if path
                    else 'apply(np.asarray)'
                )
                fix = f'A list is structure. `{how}` in front of it makes one array of it.'
                yield Finding('many-columns', seen.stage, problem, fix)
                break


def _numbers(value: Any, path: tuple[Any, ...]) -> tuple[tuple[Any, ...], int] | None:
    """Where there is a list of many numbers, and how many."""
    if type(value) is list and len(value) > MOST_COLUMNS:
        return (path, len(value)) if all(isinstance(part, NUMBER) for part in value) else None
    named = isinstance(value, dict) or has_fields(type(value))
    parts = by_names(value).items() if named else enumerate(value) if isinstance(value, (tuple, list)) else ()
    return next((found for key, part in parts if (found := _numbers(part, (*path, key)))), None)


def _failed(examined: Examined, seen: Seen) -> Call | None:
    """A call of a combiner that failed, or that fails for all items together that it got in several passes."""
    calls = examined.calls(seen)
    failed = next((call for call in calls if call.error is not None), None)
    if failed is not None or len(calls) < 2 or seen.function is None:
        return failed
    together = [item for call in calls if isinstance(call.got, list) for item in call.got]
    try:
        seen.function(calls[0].key, together or [0])
    except Exception as error:
        return Call(None, together, together, error=error)
    return None


def _has_batches(seen: Seen) -> bool:
    return any(stage.written == 'batch_by' for stage in seen.before)


def _combines_single_items(seen: Seen) -> Finding:
    problem = 'It gets single items, as there is no `batch_by` in front of it, and combines the elements of each.'
    return Finding('combine-without-batch', seen.stage, problem, 'Put `batch_by(…)` in front of it.')


def combines_items(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        if is_combiner(seen) and not _has_batches(seen):
            call = next((call for call in seen.calls if call.error is None), None)
            if call is not None and isinstance(call.got, tuple):
                yield _combines_single_items(seen)


def dtypes_differ(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        if not is_combiner(seen):
            continue
        for call in seen.calls:
            if call.error is None and isinstance(call.got, list) and (found := _mixed(call.got, '')):
                place, dtypes = found
                problem = f'The items have different dtypes{place}: {", ".join(dtypes)}. The batch gets one for all.'
                fix = 'Let each item have the same dtype, as by `.astype(…)` in the function that makes it.'
                yield Finding('dtypes-differ', seen.stage, problem, fix)
                break


def _mixed(values: list[Any], place: str) -> tuple[str, list[str]] | None:
    """Where arrays of several dtypes are put together, and which; the values have the same place in different items."""
    kinds = {type(value) for value in values}
    if len(kinds) > 1 or not values:
        return None
    first: Any = values[0]
    if hasattr(first, 'dtype') and first.ndim:
        dtypes = list(dict.fromkeys(str(value.dtype) for value in values))
        return (f' at {place}' if place else '', dtypes) if len(dtypes) > 1 else None
    if isinstance(first, dict) or has_fields(type(first)):
        parts = [by_names(value) for value in values]
        columns = [(f'[{key!r}]', [part.get(key) for part in parts]) for key in parts[0]]
    elif isinstance(first, (tuple, list)) and len({len(value) for value in values}) == 1:
        columns = [(f'[{n}]', list(column)) for n, column in enumerate(zip(*values, strict=True))]
    else:
        return None
    return next((found for step, column in columns if (found := _mixed(column, place + step))), None)


def makes_objects(examined: Examined) -> Iterator[Finding]:
    if any(new_none(seen) is not None for seen in examined.stages if not seen.is_source):
        return  # that is why
    for seen in examined.stages:
        if seen.is_source and any(value is None for _, value in seen.out):
            return
        for call in seen.calls:
            if is_combiner(seen) and call.error is None and (found := _objects(call.result, '')):
                place, names = found
                problem = f'The batch has an array of Python objects{place} ({names}), which no model takes.'
                fix = 'Make numbers or arrays of them in a stage in front of it (`np.asarray` for an image).'
                yield Finding('object-array', seen.stage, problem, fix)
                break


def _objects(batch: Any, place: str) -> tuple[str, str] | None:
    if isinstance(batch, np.ndarray) and batch.dtype == object:
        kinds = {type(value) for value in batch.flat}
        names = ', '.join(sorted(kind.__name__ for kind in kinds))
        images = any(hasattr(kind, 'getbands') for kind in kinds)
        return (f' at {place}' if place else '', names) if images or len(kinds) > 1 or kinds == {type(None)} else None
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(batch, dict) or has_fields(type(batch)):
        parts = by_names(batch).items()
    elif isinstance(batch, tuple):
        parts = enumerate(batch)
    return next((found for key, part in parts if (found := _objects(part, f'{place}[{key!r}]'))), None)


def not_combined(examined: Examined) -> Iterator[Finding]:
    stages = [seen for seen in examined.stages if not seen.branch and not isinstance(seen.step, Stateful)]
    while stages and stages[-1].written in KEEPS_STRUCTURE:
        stages.pop()
    if not stages or stages[-1].written != 'batch_by':
        return
    for key, batch in stages[-1].out:
        if isinstance(key, Batch) and isinstance(batch, list) and any(_has_arrays(item) for item in batch):
            problem = f'The batches are lists of items, {described(batch)}: nothing stacks them.'
            fix = 'Put `combine` behind it, or let `Infinite(…, batch_size=…)` make the batches.'
            yield Finding('no-combine', stages[-1].stage, problem, fix)
            return


def _has_arrays(value: Any, depth: int = 3) -> bool:
    if hasattr(value, 'shape') and hasattr(value, 'dtype') and value.ndim:
        return True
    named = isinstance(value, dict) or has_fields(type(value))
    parts = by_names(value).values() if named else value if isinstance(value, (tuple, list)) else ()
    return depth > 0 and any(_has_arrays(part, depth - 1) for part in list(parts)[:100])


def too_much_memory(examined: Examined) -> Iterator[Finding]:
    free = available()
    if free is None:
        return
    total, parts = predicted(examined)
    if total > SHARE * free:
        stage, size, what = max(parts, key=lambda part: part[1])
        problem = (
            f'The run will hold about {bytes_of(total)}, and {bytes_of(free)} are available. Most of it is {what}:'
            f' {bytes_of(size)}.'
        )
        fix = 'Make batches or buffers smaller, or limit them in bytes: `prefetch="1GB"`, `in_flight="1GB"`.'
        yield Finding('memory', stage, problem, fix)


BATCH_RULES = [
    does_not_combine, combines_items, not_flattened, makes_columns, dtypes_differ, makes_objects, not_combined,
    too_much_memory,
]  # fmt: skip
