"""The stats of a run, made of what its meters have counted."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from time import perf_counter
from typing import Any, TypeAlias

from itpipe._core.memory import Held
from itpipe._core.show import format_step

from .cpu import cores
from .figures import LoopFigures, StageFigures
from .functions import NOTHING, ItemFunction
from .ledgers import Ledger
from .meters import Meter, Probe
from .order import is_functions
from .stats import Stats

__all__ = ['collect', 'name_of', 'nothing_yet']

MEASURED = 64
"""Of so many values that are held the bytes are estimated. The others count as much on average."""

Spent: TypeAlias = 'defaultdict[Probe, float]'
"""Seconds that threads have spent at the stages so far."""


def nothing_yet() -> Stats:
    """The stats of a run that has not started."""
    return Stats(0.0, (), LoopFigures(0, 0.0, 0.0, 0.0))


def collect(ledger: Ledger) -> Stats:
    """What has been done so far. From any thread, at any time."""
    if not ledger.started:
        return nothing_yet()
    now = ledger.ended or perf_counter()
    rows = _Rows(ledger, now)
    first = None if ledger.first is None else _once(ledger.first)
    if first is not None and len(first.stages) != len(rows.stages):
        first = None
    consumer = ledger.consumer
    if consumer.clocked:
        waited, worked = consumer.seconds(now)
        loop, elapsed, unit = LoopFigures(consumer.taken, waited, worked, consumer.first), waited + worked, 'batch'
    else:
        waited, worked, elapsed, unit = rows.waited, consumer.meter.seconds, now - ledger.started, 'item'
        loop = LoopFigures(ledger.made, waited, worked, waited if first is None else first.loop.waited)
    return Stats(elapsed, rows.stages, loop, first, unit=unit)


def _once(ledger: Ledger) -> Stats:
    """The stats of what does not change any more."""
    if ledger.stats is None:
        ledger.stats = collect(ledger)
    return ledger.stats  # type: ignore[no-any-return]


class _Rows:
    """The stages in the order in which items pass them."""

    def __init__(self, ledger: Ledger, now: float):
        self.now = now
        self._rows: list[dict[str, Any]] = []
        self._meters: list[Meter] = []
        self._labels: Counter[str] = Counter()
        spent = self._add(ledger, 0)
        self.waited = spent[ledger.last.probe]
        """Seconds of the thread that drives the last stages."""
        threads: dict[Probe, int] = {}
        if ledger.buffer is None:
            threads[ledger.last.probe] = 0
            spent[ledger.last.probe] += ledger.consumer.seconds(now)[1] + ledger.consumer.meter.seconds
        else:
            self._append(ledger.buffer, ledger.made, 'buffer', 0)
            self._rows[-2]['behind'] = len(self._rows) - 1
            threads[ledger.buffer.probe] = 0
        for meter in reversed(self._meters):
            threads.setdefault(meter.probe, len(threads))
            if meter.upstream is not meter.probe:
                spent[meter.upstream] += self._full(meter)
        for meter, row in zip(self._meters, self._rows, strict=True):
            row['thread'] = threads[meter.probe]
            if row['kind'] == 'buffer':
                row['upstream'], row['downstream'] = row['waited'], row['full']
            else:
                rest = spent[meter.probe] - row['upstream'] - row['seconds'] - row['waited']
                row['downstream'] = max(0.0, rest)
        self.stages = tuple(StageFigures(**row) for row in self._rows)

    def _add(self, ledger: Ledger, depth: int) -> Spent:
        """The stages of a ledger, those of the streams that its source is made of before it."""
        spent: Spent = defaultdict(float)
        ends = []
        came = 0
        for branch in ledger.branches.copy():
            if branch.source.what is not None:
                for probe, seconds in self._add(branch, depth + 1).items():
                    spent[probe] += seconds
                ends.append(self._rows[-1])
                came += branch.made
        meters = [ledger.source, *ledger.stages]
        outs = self._outs(ledger.made, meters)
        for n, (meter, out) in enumerate(zip(meters, outs, strict=True)):
            kind = 'source' if n == 0 else 'buffer' if meter.apart else 'workers' if meter.size else 'stage'
            self._append(meter, out, kind, depth)
            row, at = self._rows[-1], len(self._rows) - 1
            if n > 0:
                self._rows[-2]['behind'] = at
            elif ends:
                row['items_in'] = came
                row['seconds'] += sum(branch.out.seconds for branch in ledger.branches if branch.out is not None)
                for end in ends:
                    end['behind'] = at
            row['upstream'] = spent[meter.probe]
            spent[meter.probe] += row['seconds'] + row['waited']
        return spent

    def _outs(self, made: int, meters: list[Meter]) -> list[int]:
        """How many came out of each of these, if so many came out of the last one."""
        outs = [made]
        for meter in reversed(meters[1:]):
            outs.append(meter.came(outs[-1]))
        return outs[::-1]

    def _full(self, meter: Meter) -> float:
        return meter.full + self._until_now(meter.full_since)

    def _waited(self, meter: Meter) -> float:
        return meter.waited + self._until_now(meter.waiting_since)

    def _until_now(self, since: float) -> float:
        return max(0.0, self.now - since) if since else 0.0

    def _append(self, meter: Meter, out: int, kind: str, depth: int) -> None:
        held, values, came = meter.held, meter.values(), meter.came(out)
        if meter.names is None:
            meter.names = name_of(meter.what), _label(meter.what)
        workers = [entry for _, entry in sorted(meter.workers.copy().items())]
        self._meters.append(meter)
        self._rows.append({
            'name': meter.names[0],
            'label': self._unique(meter.names[1]),
            'kind': kind,
            'thread': 0,
            'depth': depth,
            'behind': None,
            'items_in': came,
            'items_out': came - held if meter.what is None else out,  # None: what is ready for the loop
            'gone': came - held,
            'seconds': meter.seconds,
            'upstream': 0.0,
            'downstream': 0.0,
            'waited': self._waited(meter),
            'full': self._full(meter),
            'calls': int(sum(calls for _, calls in workers)),
            'worker_seconds': tuple(seconds for seconds, _ in workers),
            'workers': meter.size,
            'unit': meter.unit,
            'held': held,
            'capacity': meter.capacity(),
            'held_bytes': _bytes_of(values) if values else 0,
            'errors': meter.errors,
            'dropped': meter.dropped,
            'retries': len(meter.retried),
            'restarts': meter.restarts,
            'cpu_seconds': meter.read_cpu(),
            'cores': cores(),
            'loop_busy': meter.loop_busy,
            'tried': tuple(dict.fromkeys(tuple(setting) for setting in meter.tried)),
            'single': _single(meter.what),
        })  # fmt: skip

    def _unique(self, label: str) -> str:
        """The name, with a number where there are several of that name."""
        self._labels[label] += 1
        return label if self._labels[label] == 1 else f'{label}#{self._labels[label]}'


def name_of(what: Any) -> str:
    """What runs in a step looks like, with the steps that it does before its own."""
    if not isinstance(what, tuple):
        return 'ready' if what is None else what if isinstance(what, str) else repr(what)
    step, options = what
    function = options[0] if options and isinstance(options[0], ItemFunction) else NOTHING
    names = function.names if is_functions(step) else function.names[: function.lead]
    own = [] if is_functions(step) else [format_step(step)]
    return ' | '.join([name or 'look-up' for name in names] + own)


def _label(what: Any) -> str:
    """The name of a step; of item-wise ones together, all names."""
    if not isinstance(what, tuple):
        return 'ready' if what is None else 'source'
    step, options = what
    names = options[0].names if is_functions(step) else [format_step(step)]
    return _called(names[0]) if len(names) == 1 else '+'.join(map(_function_of, names))


def _single(what: Any) -> str:
    """The name of a step whose work cannot be done by workers: it does more than call functions of items."""
    if not isinstance(what, tuple):
        return ''
    step, options = what
    leads = bool(options) and isinstance(options[0], ItemFunction) and options[0].lead > 0
    return '' if leads or is_functions(step) else step.name


def _called(name: str) -> str:
    """The name of a step, or of the only function that it calls."""
    function = re.match(r'(?:apply|parallel_map)\((?:[\w.]+\.)?(\w+)[,)]', name)
    return function[1] if function else name.partition('(')[0] or 'look_up'


def _function_of(name: str) -> str:
    """The name of the function that a step calls: of steps together, those of the steps say little."""
    found = re.search(r'(?<=[( ])(?!True|False|None)(?:[a-zA-Z_]\w*\.)*([a-zA-Z_]\w*)(?=[,)])', name)
    return found[1] if found else _called(name)


def _bytes_of(values: Sequence[Any]) -> int | None:
    """About how many bytes the values hold; None if that cannot be said."""
    held = Held()
    some = values[:: max(1, -(-len(values) // MEASURED))]
    try:
        for value in some:
            held.add(value)
    except Exception:  # another thread may be changing them
        return None
    return held.total * len(values) // len(some)
