"""Tables, as text and as HTML."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from html import escape
from shutil import get_terminal_size
from textwrap import fill

__all__ = ['CELL', 'STYLE', 'WIDEST', 'cut', 'html_table', 'shorten', 'terminal_width', 'text_table']

WIDEST = 44
"""The most characters of the first column in a text."""


NARROWEST = 24
"""The fewest of it, where a terminal is narrow."""
STYLE = (
    'border-collapse:collapse;font-family:var(--jp-code-font-family,monospace);font-size:90%;color:inherit;'
    'background:transparent'
)
"""That of a table in HTML, on a light or a dark page …"""
CELL = 'padding:0 1.2em 0 0'
"""… and of its cells."""
CAPTION = 'caption-side:top;text-align:left;color:inherit;padding:0 0 0.5em 0'
WRAPPERS = r'\b(?:apply|unpack|with_rng|map_all)\(([\w.<>]+)\)'
"""A function alone says as much."""
AT = r'\b(?:map_at|random_apply)\((?:\[[^][()]*\]|[^][(),]*), ([\w.<>]+)\)'
"""A function of a part of the item, or of some of the items: its name says enough."""


def shorten(text: str, most: int) -> str:
    """The text. If it is longer than this, functions are in the place of what wraps them. If that is not enough, stages
    in its middle are left out, or else its middle, or where there is little room its end.

    >>> shorten('parallel_map(unpack(with_rng(noisy)), threads=2)', 40)
    'parallel_map(noisy, threads=2)'
    >>> shorten('parallel_map(load | batch_by(8) | combine, threads=2)', 44)
    'parallel_map(load | … | combine, threads=2)'
    >>> shorten('parallel_map(map_at(0, with_rng(crop)), threads=2)', 32)
    'parallel_map(crop, threads=2)'
    >>> shorten('parallel_map(map_at(0, load | crop), threads=2)', 32)
    'parallel_map(map_at…, threads=2)'
    >>> shorten('look-up | parallel_map(crop | batch_by(8) | combine(), processes=2)', 44)
    'parallel_map(crop | …, processes=2)'
    >>> shorten('parallel_map(load, threads=2)', 20)
    'parallel_map(load, …'
    """
    text = ' '.join(text.split())
    if len(text) <= most:
        return text
    for wrapped in WRAPPERS, AT:
        inner = None
        while inner != text:
            inner, text = text, re.sub(wrapped, r'\1', text)
        if len(text) <= most:
            return text
    stages = text.split(' | ')
    for kept in range(len(stages) - 2, 1 if stages[0] == 'look-up' else 0, -1):
        fewer = ' | '.join([*stages[:kept], '…', stages[-1]])
        if len(fewer) <= most:
            return fewer
    if (only := re.fullmatch(r'(?:look-up \| )?(parallel_map\([\w.<>]+ \| ).*(, \w+=\w+\))', text)) is not None:
        first = f'{only[1]}…{only[2]}'
        if len(first) <= most:
            return first
    end = (most - 1) * 2 // 5 if most > NARROWEST else 0
    return f'{text[: most - 1 - end]}…{text[len(text) - end :]}'


def cut(text: str, most: int) -> str:
    """The description of a value. If it is longer than this, its end is left out, from between two fields if it can be.

    >>> cut("{'image': uint8 (8, 8), 'boxes': int64 (9, 4)}", 40)
    "{'image': uint8 (8, 8), …"
    """
    if len(text) <= most:
        return text
    ends = [found.end() for found in re.finditer(r', (?!\d+[,)])', text)]  # not those within a shape
    return f'{text[: max((end for end in ends if end < most), default=most - 1)]}…'


def terminal_width() -> int | None:
    """The characters in a line of the terminal that is written to; None if there is no terminal."""
    return get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def text_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = '', width: int | None = None
) -> str:
    """The first column is on the left, the others on the right. Columns without any text are left out.

    If the lines would be longer than `width`, the other columns are in several parts, one below the other.

    >>> rows = [['a', '1', '', '5'], ['bc', '20', '', '6']]
    >>> print(text_table('2 rows', ['name', 'x', 'y', 'z'], rows, 'A note.'))
    2 rows
    name   x  z
    a      1  5
    bc    20  6
    A note.
    >>> print(text_table('2 rows', ['name', 'x', 'y', 'z'], rows, width=9))
    2 rows
    name   x
    a      1
    bc    20
    <BLANKLINE>
    name  z
    a     5
    bc    6
    """
    kept = _kept(header, rows)
    widths = {n: max(len(line[n]) for line in (header, *rows)) for n in kept[1:]}
    most, parts = WIDEST, [kept[1:]]
    if width is not None:
        most = max(width - sum(widths.values()) - 2 * len(widths), NARROWEST)
    names = [header[0], *(_indented(row[0], most) for row in rows)]
    longest = max(map(len, names))
    if width is not None:
        parts = _in_parts(widths, width - longest)
    texts = ['\n'.join(_lines(names, [header, *rows], part, widths)) for part in parts]
    if width is not None:
        title, note = fill(title, width), fill(note, width)
    return '\n'.join(filter(None, [title, '\n\n'.join(texts), note]))


def _in_parts(widths: dict[int, int], free: int) -> list[list[int]]:
    """The columns in as few parts as fit there, with at least one in each."""
    parts: list[list[int]] = [[]]
    left = free
    for n, width in widths.items():
        if width + 2 > left and parts[-1]:
            parts.append([])
            left = free
        parts[-1].append(n)
        left -= width + 2
    return parts


def _lines(names: list[str], rows: list[Sequence[str]], part: list[int], widths: dict[int, int]) -> list[str]:
    longest = max(map(len, names))
    return [
        '  '.join([name.ljust(longest), *(row[n].rjust(widths[n]) for n in part)]).rstrip()
        for name, row in zip(names, rows, strict=True)
    ]


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = '') -> str:
    """The same for notebooks.

    >>> html_table('1 row', ['name'], [['<a>']]).partition('<tbody>')[2]
    '<tr><td style="text-align:left;padding:0 1.2em 0 0">&lt;a&gt;</td></tr></tbody></table>'
    """
    kept = _kept(header, rows)
    body = ''.join(f'<tr>{_cells("td", [row[n] for n in kept])}</tr>' for row in rows)
    head = f'<tr>{_cells("th", [header[n] for n in kept])}</tr>'
    caption = f'<caption style="{CAPTION}">{escape(title)}</caption>'
    table = f'<table style="{STYLE}">{caption}<thead>{head}</thead><tbody>{body}</tbody></table>'
    return table + (f'<p>{escape(note)}</p>' if note else '')


def _kept(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [n for n in range(len(header)) if n == 0 or any(row[n] for row in rows)]


def _indented(text: str, most: int) -> str:
    depth = len(text) - len(text.lstrip())
    return ' ' * depth + shorten(text, most - depth)


def _cells(tag: str, cells: Sequence[str]) -> str:
    sides = ['left', *['right;white-space:nowrap'] * (len(cells) - 1)]
    styles = [f'text-align:{side};{CELL}' for side in sides]
    return ''.join(
        f'<{tag} style="{style}">{"&nbsp;" * (len(cell) - len(cell.lstrip()))}{escape(cell.strip())}</{tag}>'
        for style, cell in zip(styles, cells, strict=True)
    )
