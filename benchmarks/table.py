"""Runs the rows, each in a process of its own and round after round; makes a table and a chart of what they took."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import numpy as np

from .figures import FIGURES, end_descendants
from .generators import GENERATORS
from .loading import LOADING
from .packing import PACKING
from .passes import PASSES
from .rows import ROWS
from .slow_store import STORES
from .tuning import TUNING
from .volumes import VOLUMES
from .workers import WORKERS
from .works import WORKS, Work

__all__ = [
    'ALL',
    'HEAD',
    'LONG',
    'Measured',
    'Record',
    'chart',
    'lacking',
    'lines',
    'machine',
    'measured',
    'record',
    'serve',
    'spread',
    'times',
]

Record: TypeAlias = dict[str, Any]

ALL = WORKS | LOADING | VOLUMES | ROWS | STORES | GENERATORS | WORKERS | PASSES | PACKING | TUNING | FIGURES
NEEDS = {
    'jpeg': 'PIL',
    'jpeg-cached': 'PIL',
    'auto-jpeg': 'PIL',
    'hf-rows': 'datasets',
    'first-batch-after-shuffle': 'PIL',
    'look-ups-after-shuffle': 'PIL',
    'volume-patches': 'nibabel',
}
"""The modules without which a work is left out."""
LONG = frozenset(['auto-jpeg', 'auto-python', 'auto-waits', 'many-workers', 'many-workers-large'])
"""Works that take many minutes: they are measured only where they are named."""
SCALES = {'s': 1.0, 'ms': 1e3, 'µs': 1e6, 'look-ups': 1.0, '%': 1.0}
PATIENCE = 300.0
"""Seconds after which a row that has not finished its round is given up."""


def lacking(name: str) -> str | None:
    """The module that a work needs, if it is not installed."""
    module = NEEDS.get(name)
    return module if module is not None and find_spec(module) is None else None


# ---------------------------------------------------------------------------------------------------------------------
# In the process of a row


def rows_of(name: str, work: Work, peers: bool) -> dict[str, Callable[[], float]]:
    if not peers:
        return work.rows
    from .peers import rows

    return work.rows | rows(name, work)


def serve(name: str, title: str, share: float) -> None:
    """Run a round for each line that comes in, and say how many seconds it took."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # so that nothing that a library prints gets in between
    work = ALL[name](share)
    row = work.rows.get(title) or rows_of(name, work, peers=True)[title]
    try:
        for _ in sys.stdin:
            answers.write(f'{json.dumps(row())}\n')
            answers.flush()
    except BaseException:
        traceback.print_exc()
    finally:  # peers leave threads and processes, which would keep this one from ending, or outlive it
        end_descendants(os.getpid())
        os._exit(0)


# ---------------------------------------------------------------------------------------------------------------------
# In the process that measures


class Row:
    """A row's process, started when it is first asked for a round."""

    def __init__(self, name: str, title: str, share: float):
        self.command = [sys.executable, '-m', 'benchmarks', '--share', str(share), '--row', name, title]
        self.process: subprocess.Popen[str] | None = None

    def round(self) -> float:
        if self.process is None:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'},
            )  # what is installed is compiled
            self.errors: list[str] = []
            self.reader = threading.Thread(target=self.errors.extend, args=(self.process.stderr,), daemon=True)
            self.reader.start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        watch = threading.Timer(PATIENCE, kill, (self.process,))
        watch.start()
        try:
            self.process.stdin.write('\n')
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ''
        finally:
            watch.cancel()
        if not answer:
            kill(self.process)
            self.process.wait()
            self.reader.join(1)
            said = [line.strip() for line in self.errors if re.match(r'[\w.]*(Error|Exception|Exit|Interrupt)\b', line)]
            raise RuntimeError(said[-1] if said else f'no answer within {PATIENCE:g} s')
        return float(json.loads(answer))

    def end(self) -> None:
        if self.process is None:
            return
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        process, self.process = self.process, None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            kill(process)
            process.wait()
        self.reader.join(1)
        process.stdout.close()
        if not self.reader.is_alive():
            process.stderr.close()


def kill(process: subprocess.Popen[str]) -> None:
    end_descendants(process.pid)
    process.kill()


@dataclass
class Measured:
    """What the rows of one work took in each round, in seconds, the limit first where there is one."""

    work: Work
    seconds: dict[str, list[float]]
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def limit(self) -> str | None:
        return None if self.work.against == 'nothing' else next(iter(self.seconds))

    def is_ours(self, title: str) -> bool:
        return title in self.work.rows and title != self.limit and title.startswith('itpipe')

    def ratios(self, title: str) -> list[float]:
        """To the limit in the same round."""
        assert self.limit is not None
        return [mine / limit for mine, limit in zip(self.seconds[title], self.seconds[self.limit], strict=True)]

    def compared(self, title: str) -> list[float]:
        """What the aim is about, and what the chart shows."""
        if self.limit is None:
            return [second * SCALES[self.work.unit.split()[0]] for second in self.seconds[title]]
        return self.ratios(title)


def measured(name: str, rounds: int, peers: bool, share: float) -> Measured:
    """All rows of a work, one after the other in each round; a peer's row that fails is left out and says why.

    So is one of ours that may fail.
    """
    work = ALL[name](share)
    rows = {title: Row(name, title, share) for title in rows_of(name, work, peers)}
    result = Measured(work, {title: [] for title in rows})
    with ExitStack() as stack:
        for row in rows.values():
            stack.callback(row.end)
        for _ in range(rounds):
            for title, row in rows.items():
                if title in result.failed:
                    continue
                try:
                    result.seconds[title].append(row.round())
                except RuntimeError as error:
                    if title in work.rows:
                        raise RuntimeError(f'{name}: {title}: {error}') from None
                    result.failed[title] = str(error)
                    del result.seconds[title]
                if work.fresh:
                    row.end()
    return result


# ---------------------------------------------------------------------------------------------------------------------
# What comes out


HEAD = ('| work | | time | against the limit | aim |', '|---|---|---|---|---|')


def machine(rounds: int) -> str:
    """Where it is measured, and how often."""
    return (
        f'{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; {platform.system()}, '
        f'Python {platform.python_version()}, numpy {np.__version__}; median (lowest to highest) of {rounds} rounds.'
    )


def processor() -> str:
    try:
        with open('/proc/cpuinfo') as file:
            names = [line.split(':')[1].strip() for line in file if line.startswith('model name')]
    except FileNotFoundError:
        names = []
    return names[0] if names and names[0] != 'unknown' else platform.machine()


def record(name: str, result: Measured) -> Record:
    """What was measured, as JSON. Seconds; a row of ours has an aim."""
    work = result.work
    rows = {
        row: {'seconds': seconds, 'aim': work.aims.get(row, work.aim) if result.is_ours(row) else None}
        for row, seconds in result.seconds.items()
    }
    return {'name': name, 'title': work.title, 'unit': work.unit, 'limit': result.limit, 'rows': rows}


def lines(record: Record) -> Iterator[str]:
    """The lines of one work."""
    title, limit, unit = record['title'], record['limit'], record['unit']
    for row, measured in record['rows'].items():
        ratios = (
            [mine / least for mine, least in zip(measured['seconds'], limits(record), strict=True)] if limit else []
        )
        against = '' if limit is None else '1' if row == limit else spread(ratios, 3)
        ours = measured['aim'] is not None
        aim = f'≤ {measured["aim"]:g}{"" if limit else f" {unit}"}' if ours else ''
        name, time = f'**{row}**' if ours else row, f'{spread(times(record, row), 4)} {unit}'
        yield f'| {title} | {name} | {time} | {against} | {aim} |'
        title = ''


def limits(record: Record) -> list[float]:
    return list(record['rows'][record['limit']]['seconds'])


def times(record: Record, row: str) -> list[float]:
    """In the unit of the work."""
    return [second * SCALES[record['unit'].split()[0]] for second in record['rows'][row]['seconds']]


def spread(values: list[float], digits: int) -> str:
    low, middle, high = (rounded(value, digits) for value in (min(values), median(values), max(values)))
    return middle if low == high else f'{middle} ({low} to {high})'


def rounded(value: float, digits: int) -> str:
    whole = len(str(int(abs(value))))
    return f'{value:.{max(0, digits - whole)}f}'


def chart(results: list[Measured], path: Path) -> None:
    """A bar for each row: how many times the limit, or the time; the aim is a line."""
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    columns = 2 if len(results) > 1 else 1
    heights = [max(len(result.seconds) for result in results[n : n + columns]) for n in range(0, len(results), columns)]
    figure, axes = plt.subplots(
        len(heights),
        columns,
        squeeze=False,
        figsize=(7 * columns, sum(0.26 * height + 0.9 for height in heights)),
        height_ratios=[height + 2.5 for height in heights],
        layout='constrained',
    )
    for axis in axes.flat[len(results) :]:
        axis.set_axis_off()
    for axis, result in zip(axes.flat, results, strict=False):
        draw(axis, result)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw(axis: Any, result: Measured) -> None:
    titles = list(result.seconds)
    values = {title: result.compared(title) for title in titles}
    middles = [median(values[title]) for title in titles]
    errors = [
        [middle - min(values[title]) for middle, title in zip(middles, titles, strict=True)],
        [max(values[title]) - middle for middle, title in zip(middles, titles, strict=True)],
    ]
    colours = ['#d1603d' if result.is_ours(title) else '#9fb4c7' for title in titles]
    axis.barh(titles, middles, xerr=errors, color=colours, height=0.7, error_kw={'lw': 1, 'ecolor': '#444444'})
    if max(middles) > 8 * min(middles) > 0:
        axis.set_xscale('log')
    axis.axvline(result.work.aim, color='#2f6f4f', lw=1.2, ls='--')
    for place, middle in enumerate(middles):
        axis.annotate(
            f' {rounded(middle, 3)}',
            (values[titles[place]] and max(values[titles[place]]), place),
            va='center',
            fontsize=8,
        )
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.tick_params(labelsize=8)
    axis.spines[['top', 'right']].set_visible(False)
    unit = result.work.unit if result.limit is None else 'times the limit'
    axis.set_title(f'{result.work.title}\n{unit}; aim ≤ {result.work.aim:g}', fontsize=8.5, loc='left')
