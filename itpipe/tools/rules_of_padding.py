"""Whether padded batches stay within the limit of the stage that makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from itpipe.stages.batch import rounded_up
from itpipe.stages.structure import by_names, has_fields

from .examined import Examined
from .findings import Finding
from .seen import Seen

__all__ = ['PADDING_RULES']


def padded_over_limit(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        if seen.is_source or seen.function is None or (rule := _rule(seen)) is None:
            continue
        batches, length, multiple = rule
        for call in seen.calls:
            if call.error is None and (found := _longer(call.got, call.result, length, multiple)) is not None:
                counted, padded = found
                problem = (
                    f'An item is padded to {padded}, but counted as {counted}: batches can be larger than the'
                    f' `limit` of {batches.step.kwargs["limit"]}.'
                )
                fix = 'Give both the same `multiple_of`, or let the function of a length round up as the padding does.'
                yield Finding('over-limit', batches.stage, problem, fix)
                break


def _rule(seen: Seen) -> tuple[Seen, Any, int | None] | None:
    """The stage in front of it that limits the padded size of a batch, with what it takes for the length of an item."""
    batches = seen.batched_by
    if batches is None or 'limit' not in (options := batches.step.kwargs):
        return None
    if batches.written == 'bucket_by':
        return batches, batches.step.args[0], options.get('multiple_of')
    return (batches, options['cost'], options.get('multiple_of')) if options.get('padded') else None


def _longer(items: Any, batch: Any, length: Any, multiple: int | None) -> tuple[float, int] | None:
    """What the longest item counts as, and to which length it was padded, if that is more."""
    if not isinstance(items, list) or not items or not all(map(_arrays, items)):
        return None
    lengths = [length(item) for item in items]
    counted = rounded_up(max(lengths), multiple)
    made = [_arrays(batch), _arrays(batch[0]) if isinstance(batch, tuple) and batch else {}]  # beside lengths, masks
    for path in _arrays(items[0]):
        of_items = [_arrays(item).get(path) for item in items]
        if [None if each is None else len(each) for each in of_items] != lengths:
            continue  # it has another length than the one that counts
        for padded in (arrays[path] for arrays in made if path in arrays):
            if padded.ndim > 1 and len(padded) == len(items) and padded.shape[1] > counted:
                return counted, padded.shape[1]
    return None


def _arrays(value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """The arrays in a value that have an axis, by where they are."""
    if hasattr(value, 'shape') and hasattr(value, 'ndim'):
        return {path: value} if value.ndim else {}
    named = isinstance(value, Mapping) or has_fields(type(value))
    parts: Any = by_names(value).items() if named else enumerate(value) if isinstance(value, tuple) else ()
    return {place: array for name, part in parts for place, array in _arrays(part, (*path, name)).items()}


PADDING_RULES = [padded_over_limit]
