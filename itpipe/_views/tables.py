"""Tables, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ['WIDEST', 'html_table', 'shorten', 'text_table']

WIDEST = 44
"""The most characters of the first column in a text."""


def shorten(text: str, most: int) -> str:
    """The text, with its middle left out if it is longer than this.

    >>> shorten('parallel_map(load, threads=2)', 20)
    'parallel_map…eads=2)'
    """
    text = ' '.join(text.split())
    if len(text) <= most:
        return text
    end = (most - 1) * 2 // 5
    return f'{text[: most - 1 - end]}…{text[-end:]}'


def text_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = '') -> str:
    """The first column is on the left, the others on the right. Columns without any text are left out.

    >>> print(text_table('2 rows', ['name', 'x', 'y'], [['a', '1', ''], ['bc', '20', '']], 'A note.'))
    2 rows
    name   x
    a      1
    bc    20
    A note.
    """
    kept = _kept(header, rows)
    lines = [[_indented(row[0]), *(row[n] for n in kept[1:])] for row in rows]
    lines.insert(0, [header[n] for n in kept])
    widths = [max(len(line[n]) for line in lines) for n in range(len(kept))]
    texts = [
        '  '.join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    return '\n'.join(filter(None, [title, *(text.rstrip() for text in texts), note]))


def html_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], note: str = '') -> str:
    """The same for notebooks.

    >>> html_table('1 row', ['name'], [['<a>']])
    '<table><caption>1 row</caption><thead><tr><th style="text-align:left">name</th></tr></thead><tbody><tr><td style="text-align:left">&lt;a&gt;</td></tr></tbody></table>'
    """  # noqa: E501
    kept = _kept(header, rows)
    body = ''.join(f'<tr>{_cells("td", [row[n] for n in kept])}</tr>' for row in rows)
    head = f'<tr>{_cells("th", [header[n] for n in kept])}</tr>'
    table = f'<table><caption>{escape(title)}</caption><thead>{head}</thead><tbody>{body}</tbody></table>'
    return table + (f'<p>{escape(note)}</p>' if note else '')


def _kept(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [n for n in range(len(header)) if n == 0 or any(row[n] for row in rows)]


def _indented(text: str) -> str:
    depth = len(text) - len(text.lstrip())
    return ' ' * depth + shorten(text, WIDEST - depth)


def _cells(tag: str, cells: Sequence[str]) -> str:
    sides = ['left', *['right'] * (len(cells) - 1)]
    return ''.join(
        f'<{tag} style="text-align:{side}">{"&nbsp;" * (len(cell) - len(cell.lstrip()))}{escape(cell.strip())}</{tag}>'
        for side, cell in zip(sides, cells, strict=True)
    )
