"""Writes what was measured into README and docs: `python -m benchmarks.published DIR/figures.json`."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from .table import HEAD, Record, lines, times

__all__ = ['FIGURES', 'PAGES', 'written']

ROOT = Path(__file__).parents[1]
FIGURES = ROOT / 'docs' / '_static' / 'benchmarks.json'
"""What was measured last for README and docs."""
SHOWN = {
    'jpeg': 'JPEG files: read, decode, resize, augment; 2 workers',
    'hf-rows': 'rows of a Hugging Face dataset',
    'gather': 'rows of an array',
    'small-items': 'small images in memory',
    'whole-batches': 'items of 150 kB out of 2 processes',
    'processes-large': 'items of 4 MiB out of 2 processes',
    'stragglers': 'one item in 20 takes 20 times as long; 8 workers',
    'next-pass': 'the wait between two epochs',
}
"""The works in README's table, and what they are called there."""
LIBRARIES = ('itpipe', 'torch', 'torchdata.nodes', 'grain', 'SPDL', 'streamable', 'dpipe')
"""The columns: what the titles of their rows are, up to the first comma."""


def short(figures: dict[str, Any]) -> Iterator[str]:
    """README's table: for each work the limit, and for each library the median of its fastest row."""
    yield '| | by hand | ' + ' | '.join(LIBRARIES) + ' |'
    yield '|---|---|' + '---|' * len(LIBRARIES)
    works = {work['name']: work for work in figures['works']}
    for name, title in SHOWN.items():
        work = works[name]
        limit = '–' if work['limit'] is None else f'{median(times(work, work["limit"])):.3g}'
        cells = [fastest(work, library) for library in LIBRARIES]
        best = min(cell for cell in cells if cell is not None)
        texts = ['–' if cell is None else f'**{cell:.3g}**' if cell == best else f'{cell:.3g}' for cell in cells]
        yield f'| {title}, {work["unit"]} | {limit} | ' + ' | '.join(texts) + ' |'


def fastest(work: Record, library: str) -> float | None:
    """The median of the fastest of the library's rows."""
    medians = [median(times(work, row)) for row in work['rows'] if row.split(',')[0] == library]
    return min(medians, default=None)


def long(figures: dict[str, Any]) -> Iterator[str]:
    """The table of docs/benchmarks.md: all rows."""
    yield figures['machine']
    yield from ('', *HEAD)
    for work in figures['works']:
        yield from lines(work)


PAGES: dict[Path, Callable[[dict[str, Any]], Iterator[str]]] = {
    ROOT / 'README.md': short,
    ROOT / 'docs' / 'benchmarks.md': long,
}
BETWEEN = re.compile(r'(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)', re.DOTALL)


def written(page: Path) -> str:
    """The page, with the figures that were measured last."""
    figures = json.loads(FIGURES.read_text(encoding='utf-8'))
    table = '\n'.join(PAGES[page](figures)) + '\n'
    return BETWEEN.sub(lambda _: f'\n{table}\n', page.read_text(encoding='utf-8'))


def main() -> None:
    if len(sys.argv) > 1:
        shutil.copy(sys.argv[1], FIGURES)
    for page in PAGES:
        page.write_text(written(page), encoding='utf-8')


if __name__ == '__main__':
    main()
