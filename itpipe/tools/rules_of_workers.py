"""Rules about workers: what keeps them waiting, and what they get in each other's way with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from io import IOBase
from itertools import pairwise
from typing import Any, Final

from itpipe._views.figures import seconds as seconds_of
from itpipe._workers.cores import count_workers, usable_cores
from itpipe._workers.opening import Workers
from itpipe.stages.cache import CachedData

from .copying import UNKNOWN, copied
from .examined import Examined
from .findings import Finding
from .seen import Seen

__all__ = ['WORKER_HINTS', 'WORKER_RULES']

LEAST: Final = 0.0002
"""Seconds; what takes less keeps nobody waiting: to send an item to workers takes about as long."""
SLOW: Final = 0.005
"""Seconds; workers help where an item takes longer."""
COMPUTES: Final = 0.3
"""The share of its time that a function is at work, at least, if it computes. On a busy machine it may be small."""


def slow_in_front(examined: Examined) -> Iterator[Finding]:
    for workers, stages in examined.groups:
        first = next((seen for seen in stages if seen.calls), None)
        if first is None or not isinstance(workers.given, int):
            continue
        share = sum(_per_item(examined, seen, first) for seen in stages) / count_workers(workers.given)
        before = [*first.before, *([first] if first.is_source else [])]
        front = {seen: _per_item(examined, seen, first) for seen in before if seen.workers is None}
        total = sum(front.values())
        if total > max(LEAST, 1.5 * share) and front:
            slowest = max(front, key=lambda seen: front[seen])
            problem = (
                f'It takes {seconds_of(front[slowest])} for each item of the workers behind it, in the thread of the'
                f' run. They need one every {seconds_of(share)}, so they wait.'
            )
            yield Finding('slow-in-front', slowest.stage, problem, _to_workers(slowest, workers))


def _per_item(examined: Examined, seen: Seen, first: Seen) -> float:
    """Seconds at this stage for each call of the first stage of the workers."""
    if seen not in examined.seconds:
        return 0.0
    return examined.seconds[seen] * len(seen.calls) / len(first.calls) * first.scale / seen.scale


def _to_workers(seen: Seen, workers: Workers) -> str:
    how = f'{workers.kind}={workers.given}'
    if not seen.is_source:
        return f'Let the workers do it: `parallel_map(… | …, {how})` with both stages, next to each other.'
    if seen.function is not None:
        return "Let the workers look up: leave out `lookups='main'`, and what stands between and needs the items."
    return (
        'Let it give what is quick, such as paths, and load in the workers; or give the data a length and an index'
        ' (`__len__`, `__getitem__`): then they look up.'
    )


def one_file_for_all(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        if not seen.is_source or seen.workers is None or seen.workers.kind != 'threads' or abs(seen.workers.given) < 2:
            continue
        held = getattr(seen.sequence, '__dict__', {})
        name = next((name for name, value in held.items() if isinstance(value, IOBase)), None)
        if name is not None:
            problem = (
                f'Several threads look items up in it, and read from its one open file, `{name}`, at the same time:'
                ' one moves the place where another one reads.'
            )
            fix = 'Open the file in `__getitem__`, keep one for each thread (`threading.local`), or use processes.'
            yield Finding('shared-file', seen.stage, problem, fix)


def oversubscribed(examined: Examined) -> Iterator[Finding]:
    cores = usable_cores()
    for workers, stages in examined.groups:
        if not isinstance(workers.given, int) or workers.kind == 'tasks':
            continue
        count = count_workers(workers.given)
        seconds, cpu, native = _measured(stages)
        if seconds < 50e-6 or cpu < COMPUTES * seconds:
            continue
        slowest = max(stages, key=lambda seen: examined.seconds.get(seen, 0.0))
        if workers.kind == 'threads' and native > 1 and count > 1 and count * native > 2 * cores:
            problem = (
                f'Each call uses about {native} threads of native code, and {count} are made at once: {count * native}'
                f' threads on {cores} core{"s" * (cores != 1)}.'
            )
            fix = 'Let native code use one thread (`threadpoolctl.threadpool_limits(1)`, `torch.set_num_threads(1)`).'
            yield Finding('oversubscribed', slowest.stage, problem, fix)
        elif count > (8 if workers.kind == 'threads' else 4) * cores:
            problem = f'It computes, and {workers.kind}={workers.given} are more than {cores} cores can run.'
            fix = f'Give as many as there are cores, `{workers.kind}=-1`; more only help functions that wait.'
            yield Finding('oversubscribed', slowest.stage, problem, fix)


def _measured(stages: list[Seen]) -> tuple[float, float, int]:
    """Seconds of an item at these stages, those at work in the thread, and how many native threads were at work."""
    best = [min(calls, key=lambda call: call.seconds) for seen in stages if (calls := _good(seen))]
    seconds, cpu = sum(call.seconds for call in best), sum(max(call.cpu, call.cpu_of_all) for call in best)
    native = round(sum(call.cpu_of_all for call in best) / seconds) if seconds > 0.005 else 1
    return seconds, cpu, max(1, native)


def _good(seen: Seen) -> list[Any]:
    return [call for call in seen.calls if call.error is None and call.seconds]


# Hints


def no_workers(examined: Examined) -> Iterator[Finding]:
    if examined.running is None or examined.workers or not examined.seconds:
        return
    slowest = max(examined.seconds, key=lambda seen: examined.seconds[seen])
    if (seconds := examined.seconds[slowest]) > SLOW and slowest.function is not None:
        problem = f'It takes {seconds_of(seconds)} for an item, and all items are made one after the other.'
        yield Finding(
            'no-workers', slowest.stage, problem, "Give `Infinite` `threads=…`, `processes=…` or `workers='auto'`."
        )


def many_workers(examined: Examined) -> Iterator[Finding]:
    cores = usable_cores()
    for workers, stages in examined.groups:
        if workers.kind == 'processes' and count_workers(workers.given) > 4 * cores:
            problem = (
                f'processes={workers.given} on {cores} core{"s" * (cores != 1)}: more only help functions that wait.'
            )
            yield Finding('many-workers', stages[-1].stage, problem, 'Give as many as there are cores: `processes=-1`.')


def python_in_threads(examined: Examined) -> Iterator[Finding]:
    if not getattr(sys, '_is_gil_enabled', lambda: True)():
        return
    for workers, stages in examined.groups:
        if workers.kind != 'threads' or abs(workers.given) < 2:
            continue
        for seen in stages:
            calls = _good(seen)
            call = min(calls, key=lambda call: call.seconds, default=None)
            if call is None or call.seconds < 0.002 or call.cpu < COMPUTES * call.seconds or seen.function is None:
                continue
            if call.given is not UNKNOWN and _is_python(seen, call):
                problem = f'It takes {seconds_of(call.seconds)} of pure Python, which one thread runs at a time.'
                yield Finding('python-in-threads', seen.stage, problem, 'Use `processes` in the place of `threads`.')


def _is_python(seen: Seen, call: Any) -> bool:
    """Whether most of its time goes into lines of Python: found by counting them."""
    if sys.gettrace() is not None:
        return False
    left = int(call.cpu / 100e-9)  # a line takes some 50 ns

    def count(frame: Any, _event: str, _: object) -> Any:
        nonlocal left
        left -= 1
        if left > 0:
            return count
        sys.settrace(None)
        while frame is not None:
            frame.f_trace = None
            frame = frame.f_back
        return None

    given = copied(call.given)
    sys.settrace(count)
    try:
        seen.function(call.key, given)  # type: ignore[misc]
    except Exception:
        return False
    finally:
        sys.settrace(None)
    return left <= 0


def too_cheap(examined: Examined) -> Iterator[Finding]:
    for workers, stages in examined.groups:
        if workers.kind != 'processes' or any(seen.written == 'batch_by' for seen in stages):
            continue
        times = [examined.seconds[seen] for seen in stages if seen in examined.seconds]
        if times and 0 < sum(times) < 20e-6:
            problem = f'It takes {seconds_of(sum(times))} an item, less than sending one to a process.'
            fix = 'Leave out the `parallel_map`, or let each process make whole batches.'
            yield Finding('too-cheap', stages[-1].stage, problem, fix)


def kept_by_each_process(examined: Examined) -> Iterator[Finding]:
    for seen in examined.stages:
        data = seen.sequence
        if isinstance(data, CachedData) and data.where == 'memory' and getattr(seen.workers, 'kind', '') == 'processes':
            problem = 'Each process makes the items that it is asked for, and keeps them for itself.'
            fix = "Give a folder, which they share: `cache('/data/cache')`; `cache('/dev/shm/cache')` is in memory."
            yield Finding('kept-by-each', seen.stage, problem, fix)


def twice_to_processes(examined: Examined) -> Iterator[Finding]:
    found = [(workers, stages) for workers, stages in examined.groups if workers.kind == 'processes']
    for (_, first), (_, second) in pairwise(found):
        between = [seen for seen in second[0].before if seen not in first[-1].before and seen is not first[-1]]
        if not between and first[-1] in second[0].before:
            problem = (
                f'The items go from the processes of `{first[-1].stage}` to those of this one, by way of this one.'
            )
            problem = problem.replace('by way of this one', 'by way of this process')
            yield Finding(
                'processes-twice',
                second[-1].stage,
                problem,
                'Let the same processes do both: `parallel_map(f | g, …)`.',
            )


WORKER_RULES = [slow_in_front, oversubscribed, one_file_for_all]
WORKER_HINTS = [no_workers, many_workers, python_in_threads, too_cheap, twice_to_processes, kept_by_each_process]
