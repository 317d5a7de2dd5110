"""Rules about the functions of a pipeline: what they raise, draw, change and return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from itpipe._core.keys import describe
from itpipe._core.steps import Expanding, Opaque
from itpipe.stages.cache import CachedData

from .calling import for_arguments
from .comparing import difference
from .copying import UNKNOWN
from .examined import Examined
from .findings import Finding
from .seen import Call, Seen

__all__ = ['FUNCTION_HINTS', 'FUNCTION_RULES', 'is_combiner', 'is_stacking', 'new_none']

COMBINERS = ('combine', 'combine_pad', 'combine_lists')


def is_combiner(seen: Seen) -> bool:
    """Whether the stage is one of itpipe's that make a batch of a list of items."""
    return _combiner(seen) != ''


def is_stacking(seen: Seen) -> bool:
    """Whether it is one of those that make arrays."""
    return _combiner(seen) in ('combine', 'combine_pad')


def _combiner(seen: Seen) -> str:
    """The name of the combiner of itpipe that the stage is; empty if it is none."""
    if seen.written in COMBINERS:
        return seen.written
    first: Any = seen.step.args[0] if seen.written == 'apply' and seen.step.args else None
    is_one = getattr(first, '__module__', '').partition('.')[0] == 'itpipe' and first.__name__ in COMBINERS
    return first.__name__ if is_one else ''


def raises(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        for call in examined.calls(seen):
            if call.error is None or is_combiner(seen) or (seen.written == 'pack' and seen.batched_by is not None):
                continue  # that is why
            item = '' if call.key is None else f' for {describe(call.key)}'
            text = str(call.error) or repr(call.error)
            problem = f'It raises {type(call.error).__name__}{item}: {text.rstrip(".")}.'
            if seen.is_source and isinstance(call.error, IndexError):
                continue  # that is what the length says, see `length`
            fix = for_arguments(seen, call) or 'Call it with that item alone to see where it fails.'
            yield Finding('raises', seen.stage, problem, fix)
            break


def raises_in_another_thread(examined: Examined) -> Iterator[Finding]:
    for seen, again in examined.again.items():
        for call in again:
            if call.error is not None:
                problem = (
                    f'It works once for {describe(call.first.key)}, but called again, in the thread that a run has for'
                    f' it, it raises {type(call.error).__name__}: {str(call.error).rstrip(".")}.'
                )
                fix = (
                    'Open files and connections where the function runs, by `parallel_map(…, setup=…)` or when it is'
                    ' first called; and let it need nothing that an earlier call has left or used up.'
                )
                yield Finding('raises-again', seen.stage, problem, fix)
                break


def global_generators(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        names = dict.fromkeys(name for call in seen.calls for name in call.drew)
        if not names or _draws_for_its_workers(seen):
            continue
        used = ' and '.join(f'`{name}`' for name in names)
        if seen.is_source:
            problem = f'The dataset draws from the global generator of {used} when an item is looked up.'
            fix = (
                'Let the dataset give the plain item, and draw in a stage behind it: `with_rng(f)` gives `f` an `rng`.'
                ' Or give its places, `range(len(dataset))`, as the source, and its look-up as a function:'
                ' `parallel_map(dataset.__getitem__, processes=…, seed_globals=True)`.'
            )
        else:
            problem = f'It draws from, or seeds, the global generator of {used}.'
            fix = 'Let it take the generator of its item: `with_rng(f)` calls `f(item, rng=…)`.'
            in_processes = seen.workers is not None and seen.workers.kind == 'processes'
            if in_processes or '.__getitem__' in seen.stage:  # a dataset, which gets no generator
                fix += ' Or call it in a `parallel_map(…, processes=…, seed_globals=True)` in front of the batches.'
        problem += ' So the items are not reproducible, and processes may draw the same numbers.'
        yield Finding('global-generator', seen.stage, problem, fix)


def _draws_for_its_workers(seen: Seen) -> bool:
    """Whether it is a DataLoader of torch, which always draws a seed for workers, and gives items in their order."""
    is_loader = seen.is_source and type(seen.sequence).__name__ == 'DataLoader'
    return is_loader and type(getattr(seen.sequence, 'sampler', None)).__name__ == 'SequentialSampler'


def not_reproducible(examined: Examined) -> Iterator[Finding]:
    changers = _changers(examined)
    for seen, again in examined.again.items():
        found = next((call for call in again if call.differs is not None), None)
        if found is None or any(call.drew for call in seen.calls) or any(call.error is not None for call in again):
            continue
        item = describe(found.first.key)
        if seen.is_source and changers:
            continue  # that is why
        if seen.is_source:
            problem = f'The dataset gives another {item} when it is looked up again: {found.differs}.'
            fix = (
                'Let the dataset give the plain item, and draw in a stage behind it: `with_rng(f)` gives `f` an `rng`.'
            )
        else:
            problem = f'Called again with the same {item}, it gives something else: {found.differs}.'
            fix = (
                'If it draws random numbers, let it take the generator of its item: `with_rng(f)` calls'
                ' `f(item, rng=…)`. If it counts or collects, do that in a `stage(state=…)` of your own.'
            )
        yield Finding('not-reproducible', seen.stage, problem, fix)


def _changers(examined: Examined) -> list[Seen]:
    return [seen for seen in examined.stages if not seen.is_source and _change(seen) is not None]


def _change(seen: Seen) -> str | None:
    """What the function changes in its items."""
    if seen.is_source or seen.function is None:
        return None
    return next((call.changed for call in seen.calls if call.changed is not None), None)


def changes_its_input(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        change = _change(seen)
        if change is None or _gets_copies(seen):
            continue
        sources = [source for source in seen.before if source.is_source]
        theirs = [source for source in sources if any(call.differs for call in examined.again.get(source, ()))]
        problem = f'It changes its input in place ({change}).'
        if theirs:
            problem += f' That is the memory of the dataset: `{theirs[0].stage}` gives other items from now on.'
            kind = 'changes-dataset'
        else:
            problem += ' Whoever else holds the item sees the change: `reuse`, `retries`, a cache, the dataset.'
            kind = 'changes-input'
        fix = 'Let it make a new value: `x = x / 255` for `x /= 255`, `{**item, …}` for `item[…] = …`, or copy first.'
        yield Finding(kind, seen.stage, problem, fix)


def _gets_copies(seen: Seen) -> bool:
    """Whether nobody else has what it gets: it stands behind a cache."""
    return bool(seen.before) and isinstance(seen.before[-1].sequence, CachedData)


def overwrites(examined: Examined) -> Iterator[Finding]:
    for seen, again in examined.again.items():
        if any(call.overwrites for call in again):
            yield _overwrites(seen)
    for seen in examined.stages:
        if seen.is_source and seen.function is None and any(map(_is_overwritten, seen.calls, seen.calls[1:])):
            yield _overwrites(seen)


def _overwrites(seen: Seen) -> Finding:
    problem = 'It gives the same memory again: the item before is overwritten when the next one is made.'
    return Finding('overwrites', seen.stage, problem, 'Let it return a copy, or a new array for each item.')


def _is_overwritten(one: Call, other: Call) -> bool:
    """Whether two items are in the same memory, though they are not the same."""
    known = one.made is not UNKNOWN and other.made is not UNKNOWN
    return known and _same_memory(one.result, other.result) and difference(one.made, other.made) is not None


def _same_memory(a: Any, b: Any, depth: int = 3) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.size > 0 and np.may_share_memory(a, b)
    if hasattr(a, 'untyped_storage'):
        return a is b or bool(a.numel() and hasattr(b, 'data_ptr') and a.data_ptr() == b.data_ptr())
    parts = list(zip(_elements(a), _elements(b), strict=False))
    return depth > 0 and any(_same_memory(x, y, depth - 1) for (_, x), (_, y) in parts)


def returns_none(examined: Examined) -> Iterator[Finding]:
    stages = examined.stages
    for n, seen in enumerate(stages):
        behind = stages[n + 1 :]
        if any(stage.written == 'filter_by' or isinstance(stage.step, Opaque) for stage in behind):
            continue  # which may leave them out
        if seen.function is None and seen.step is not None:
            continue  # it passes on what it gets
        fix = 'Return the value, or leave such items out by `filter_by` behind it.'
        if seen.is_source and any(value is None for _, value in seen.out) and not seen.source_is_joined:
            yield Finding('returns-none', seen.stage, 'It gives None for an item.', fix)
        elif not seen.is_source and (place := new_none(seen)) is not None:
            yield Finding('returns-none', seen.stage, f'The function returns None{place}.', fix)


def new_none(seen: Seen) -> str | None:
    """Where there is a None in a result, but not in what the function got."""
    for call in seen.calls:
        if call.error is not None or seen.written == 'filter_by':
            continue
        if call.result is None and call.got is not None:
            return ''
        for place, part in _elements(call.result):
            if part is None and dict(_elements(call.got)).get(place) is not None:
                return f' at [{place!r}]'
    return None


def _elements(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (tuple, list)) else []


def lazy_results(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        value = next((value for _, value in seen.out if _is_lazy(value)), None)
        behind = examined.stages[examined.stages.index(seen) + 1 :]
        if value is None or seen.function is None or (behind and isinstance(behind[0].step, (Expanding, Opaque))):
            continue
        problem = f'It returns a {type(value).__name__}, not what that would give.'
        fix = 'Return a list, or put `flatten` behind it for a stream of what it yields.'
        yield Finding('lazy-result', seen.stage, problem, fix)


def _is_lazy(value: Any) -> bool:
    return type(value).__name__ in ('generator', 'coroutine', 'map', 'filter', 'zip', 'async_generator')


def not_finite(examined: Examined) -> Iterator[Finding]:
    """A hint: numbers that are not finite behind a function that got finite ones."""
    for seen in examined.stages:
        if seen.is_source or seen.function is None:
            continue
        for call in seen.calls:
            if call.error is None and _has_nan(call.made) and not _has_nan(call.given):
                problem = f'It makes NaN or infinity of {describe(call.key)}.'
                yield Finding('not-finite', seen.stage, problem, 'Look for divisions by zero, logarithms, casts.')
                break


def _has_nan(value: Any, depth: int = 4) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in 'fc' and not bool(np.isfinite(value).all())
    if isinstance(value, float):
        return value - value != 0
    if depth and isinstance(value, (tuple, list)):
        return any(_has_nan(part, depth - 1) for part in value[:100])
    return depth > 0 and isinstance(value, dict) and any(_has_nan(part, depth - 1) for part in value.values())


FUNCTION_RULES = [
    raises, raises_in_another_thread, global_generators, not_reproducible, changes_its_input, overwrites, returns_none,
    lazy_results,
]  # fmt: skip
FUNCTION_HINTS = [not_finite]
