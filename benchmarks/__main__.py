"""Runs the works, each in a process of its own with its rounds interleaved, and prints a markdown table.

python -m benchmarks [--rounds N] [work …]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from statistics import median

import numpy as np

from .works import WORKS


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks')
    parser.add_argument('works', nargs='*', metavar='work', help=', '.join(WORKS))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--alone', action='store_true', help='in this process; prints JSON')
    options = parser.parse_args()
    options.works = options.works or list(WORKS)
    if unknown := [name for name in options.works if name not in WORKS]:
        parser.error(f'no such work: {", ".join(unknown)}; there are {", ".join(WORKS)}')
    if options.alone:
        print(json.dumps([measured(name, options.rounds) for name in options.works]))
        return
    print(f'{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, ', end='')
    print(f'Python {platform.python_version()}, numpy {np.__version__}; median of {options.rounds} rounds\n')
    print('| work | | median | spread | against the limit | aim |\n|---|---|---|---|---|---|')
    for name in options.works:
        command = [sys.executable, '-m', 'benchmarks', '--alone', '--rounds', str(options.rounds), name]
        for row in json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)[0]:
            print('| ' + ' | '.join(row) + ' |', flush=True)


def measured(name: str, rounds: int) -> list[list[str]]:
    """The lines of one work: for each run its median, lowest and highest time, and how it stands to the limit."""
    work = WORKS[name]()
    times: dict[str, list[float]] = {title: [] for title in work.runs}
    for _ in range(rounds):
        for title, run in work.runs.items():
            times[title].append(run())
    limit = next(iter(times.values()))
    rows = []
    for title, seconds in times.items():
        if seconds is limit:
            stands = '1'
        elif work.against == 'ratio':
            stands = f'{median(mine / best for mine, best in zip(seconds, limit, strict=True)):.3f}'
        else:
            stands = f'+{median(mine - best for mine, best in zip(seconds, limit, strict=True)):.1f} {work.unit}'
        spread = f'{min(seconds):.3f} to {max(seconds):.3f}'
        aim = '' if seconds is limit else f'{work.aim} or less'
        rows.append([work.title, title, f'{median(seconds):.3f} {work.unit}', spread, stands, aim])
    return rows


if __name__ == '__main__':
    main()
