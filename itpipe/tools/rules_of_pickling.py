"""What can't be sent to processes, or come back from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from itpipe._engine.functions import NOTHING, ItemFunction
from itpipe._engine.indexing import LookUp
from itpipe._workers.pickling import dumps_call, dumps_function, pack, result_of
from itpipe.errors import NotPicklable

from .examined import Examined
from .findings import Finding
from .seen import Seen

__all__ = ['not_picklable']


def not_picklable(examined: Examined, everything: bool = False) -> Iterator[Finding]:
    """What can't be pickled of what goes to processes; of `everything`, what could not if it went there."""
    for seen in examined.stages:
        is_reading = seen.written == 'interleave'
        if (seen.function is None and not is_reading) or not (everything or seen.in_processes):
            continue
        function = _unused(seen)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter('always')
                dumps_function(function, _leave_out)
        except NotPicklable as error:
            fix = 'Open or make it in the process: in the function itself, or by `setup=…`; or use threads.'
            if is_reading:
                fix = 'Open or make it in `read` itself, or leave `processes` out.'
            if seen.is_source:
                fix = "Open what it needs in `__getitem__`, when it is first called; use threads, or `lookups='main'`."
            yield Finding('not-picklable', seen.stage, _without_hint(error), fix)
            continue
        if caught and not everything:
            problem = str(caught[0].message).partition(': use ')[0].partition(': ')[2]
            fix = 'Take the generator of the item instead: `with_rng(f)` calls `f(item, rng=…)`.'
            yield Finding('copied-generator', seen.stage, f'In it, {problem}.', fix)
    for workers, stages in examined.groups:
        if workers.kind == 'processes':
            yield from _items(stages)


def _unused(seen: Seen) -> ItemFunction:
    """What would be sent: what the trial has not used, which may have opened something."""
    if seen.unused is not None:
        return seen.unused
    fresh: Any = LookUp(seen.original, seen.stage)
    return NOTHING.after(fresh.function)


def _items(stages: list[Seen]) -> Iterator[Finding]:
    called = [seen for seen in stages if seen.calls and seen.function is not None]
    if not called:
        return
    first, last = called[0], called[-1]
    given = next((call for call in first.calls if call.error is None), None)
    if given is not None and not first.is_source:
        try:
            dumps_call(given.key, given.got, _leave_out)
        except NotPicklable as error:
            fix = 'Make it in the process, of a path or an index; or use threads.'
            yield Finding('not-picklable', first.stage, _without_hint(error), fix)
    made = next((call for call in last.calls if call.error is None), None)
    if made is not None and (packed := pack(lambda: made.result, buffer_callback=_leave_out)).failed:
        try:
            result_of(packed)
        except Exception as error:
            fix = 'Return arrays, numbers and other plain data; or use threads.'
            yield Finding('not-picklable', last.stage, _without_hint(error), fix)


def _without_hint(error: Exception) -> str:
    text = str(error)
    text = text[: text.rfind('): ') + 1] or text
    return f'{text[0].upper()}{text[1:]}.'


def _leave_out(_: Any) -> None:
    """Buffers are not pickled."""
