"""Findings and the table of items, as text and as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from textwrap import fill
from typing import Any, Final

from .figures import bytes_of
from .figures import seconds as seconds_of
from .tables import CELL, STYLE, cut, shorten

__all__ = ['as_html', 'as_text']

WIDTH: Final = 110
STAGE: Final = 44
"""Characters of a stage in the table …"""
ITEMS: Final = 60
"""… and of its items."""
COLUMNS: Final = ('stage', 'items', 'size', 'time', 'in')


def as_text(
    findings: Sequence[Any],
    hints: Sequence[Any],
    notes: Sequence[str],
    table: Sequence[dict[str, Any]],
    unseen: Sequence[str] = (),
    items: int = 0,
) -> str:
    """What is wrong, what could be better, what was not looked at, and the table."""
    head, *unseen = _summary(findings, hints, unseen, items)
    parts = [fill(head, WIDTH, subsequent_indent='  ')]
    parts += [_finding(f'{n}.', finding) for n, finding in enumerate(findings, 1)]
    parts += [_finding('hint:', hint) for hint in hints]
    parts += [fill(text, WIDTH, subsequent_indent='  ') for text in [*unseen, *(f'Note: {note}' for note in notes)]]
    if table:
        parts.append('\n'.join(_lines(table)))
    return '\n\n'.join(parts)


def _summary(findings: Sequence[Any], hints: Sequence[Any], unseen: Sequence[str], items: int) -> list[str]:
    """The headline, and what else was not looked at. Nothing is said to be right that was not looked at."""
    unseen = [f'Not looked at: {reason}' for reason in unseen]
    if unseen and not findings:
        return unseen
    first = f'first {items} items' if items > 1 else 'first item'
    right = f'Nothing is wrong with the {first} of each source' if items else 'Nothing is wrong'
    found = f'{len(findings)} thing{"s" * (len(findings) != 1)} to fix' if findings else right
    return [f'{found}, {len(hints)} hint{"s" * (len(hints) != 1)}' if hints else found, *unseen]


def _finding(number: str, finding: Any) -> str:
    head = f'{number} {shorten(finding.stage, WIDTH - 30)}  [{finding.kind}]'
    problem = fill(finding.problem, WIDTH, initial_indent='   ', subsequent_indent='   ')
    return '\n'.join([head, problem, fill(f'→ {finding.fix}', WIDTH, initial_indent='   ', subsequent_indent='     ')])


def _cells(row: dict[str, Any]) -> list[str]:
    size, seconds = row['bytes'], row['seconds']
    return [
        row['stage'], row['items'],
        '' if size is None else bytes_of(size), '' if seconds is None else seconds_of(seconds), row['where'],
    ]  # fmt: skip


def _lines(table: Sequence[dict[str, Any]]) -> list[str]:
    rows = [[*COLUMNS], *map(_cells, table)]
    rows = [[_indented(row[0]), cut(row[1], ITEMS), *row[2:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = {2, 3}
    lines = [
        '  '.join(
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], '  '.join('─' * width for width in widths), *lines[1:]]


def _indented(text: str) -> str:
    depth = len(text) - len(text.lstrip())
    return ' ' * depth + shorten(text, STAGE - depth)


def as_html(
    findings: Sequence[Any],
    hints: Sequence[Any],
    notes: Sequence[str],
    table: Sequence[dict[str, Any]],
    unseen: Sequence[str] = (),
    items: int = 0,
) -> str:
    """The same as HTML, for light and dark pages."""
    head, *unseen = _summary(findings, hints, unseen, items)
    parts = [f'<p><b>{_marked(head)}</b></p>']
    for title, found in ('', findings), ('hint: ', hints):
        entries = ''.join(
            f'<li>{title}<code>{escape(finding.stage)}</code> <small>[{escape(finding.kind)}]</small><br>'
            f'{_marked(finding.problem)}<br>→ {_marked(finding.fix)}</li>'
            for finding in found
        )
        parts.append(f'<{"ul" if title else "ol"}>{entries}</{"ul" if title else "ol"}>' if entries else '')
    parts += [f'<p><i>{_marked(text)}</i></p>' for text in [*unseen, *notes]]
    if table:
        head = ''.join(f'<th style="text-align:left;{CELL}">{name}</th>' for name in COLUMNS)
        body = ''.join(f'<tr>{"".join(_html_cells(_cells(row)))}</tr>' for row in table)
        parts.append(f'<table style="{STYLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')
    return f'<div>{"".join(parts)}</div>'


def _html_cells(cells: Sequence[str]) -> Iterator[str]:
    """All but the texts of the first two in one line."""
    for n, cell in enumerate(cells):
        yield f'<td style="text-align:left;{CELL}{"" if n < 2 else ";white-space:nowrap"}">{_kept(cell)}</td>'


def _marked(text: str) -> str:
    """Code between backticks as code."""
    return re.sub('`([^`]*)`', r'<code>\1</code>', escape(text))


def _kept(text: str) -> str:
    """With the spaces that it begins with."""
    stripped = text.lstrip()
    return '&nbsp;' * (len(text) - len(stripped)) + escape(stripped)
