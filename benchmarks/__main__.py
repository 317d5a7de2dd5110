"""Measures the works and prints a markdown table.

python -m benchmarks [--rounds N] [--peers] [--busy] [--output DIR] [work …]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .table import ALL, HEAD, LONG, Measured, chart, lacking, lines, machine, measured, record, serve


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description='How fast itpipe is.')
    parser.add_argument('works', nargs='*', metavar='work', help=', '.join(ALL))
    parser.add_argument(
        '--rounds', type=int, default=5, metavar='N', help='how often each row is measured (default: 5)'
    )
    parser.add_argument('--peers', action='store_true', help='measure other libraries too, those that are installed')
    parser.add_argument('--busy', action='store_true', help='keep one core busy meanwhile')
    parser.add_argument('--output', type=Path, metavar='DIR', help='write table.md, chart.png and figures.json there')
    parser.add_argument('--share', type=float, default=1, help='of the usual number of items (default: 1)')
    parser.add_argument('--row', nargs=2, metavar=('WORK', 'ROW'), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        serve(*options.row, options.share)
        return
    names = options.works or [name for name in ALL if name not in LONG]
    if unknown := [name for name in names if name not in ALL]:
        parser.error(f'no such work: {", ".join(unknown)}; there are {", ".join(ALL)}')
    if options.rounds < 1:
        parser.error(f'--rounds must be at least 1, got {options.rounds}')
    with busy_core() if options.busy else nothing():
        run(names, options)


def run(names: list[str], options: argparse.Namespace) -> None:
    written: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        written.append(line)

    results: dict[str, Measured] = {}
    where = machine(options.rounds) + (' One core was kept busy.' if options.busy else '')
    for line in (where, '', *HEAD):
        say(line)
    absent = {name: module for name in names if (module := lacking(name))}
    for name in names:
        if name in absent:
            continue
        results[name] = measured(name, options.rounds, options.peers, options.share)
        for line in lines(record(name, results[name])):
            say(line)
    if options.peers:
        from .peers import missing

        if libraries := missing():
            say(f'\nNot installed: {", ".join(libraries)}.')
    for name, module in absent.items():
        say(f'\nLeft out: {name}: {module} is not installed.')
    for result in results.values():
        for reason in dict.fromkeys(result.failed.values()):
            titles = '; '.join(title for title, other in result.failed.items() if other == reason)
            say(f'\nLeft out: {titles} in "{result.work.title}": {reason}.')
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / 'table.md').write_text('\n'.join(written) + '\n', encoding='utf-8')
        chart([*results.values()], options.output / 'chart.png')
        works = [record(name, result) for name, result in results.items()]
        command = ' '.join(['python -m benchmarks', *sys.argv[1:]])
        figures = {'machine': where, 'command': command, 'works': works}
        (options.output / 'figures.json').write_text(json.dumps(figures, indent=1) + '\n', encoding='utf-8')
        print(*(f'\n{options.output / name}' for name in ('table.md', 'chart.png', 'figures.json')), sep='')


@contextmanager
def busy_core() -> Iterator[None]:
    code = f'import os\nwhile os.getppid() == {os.getpid()}:\n    sum(range(100_000))'
    process = subprocess.Popen([sys.executable, '-c', code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def nothing() -> Iterator[None]:
    yield


if __name__ == '__main__':
    main()
