"""What an item was after each stage, as text and as HTML."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

__all__ = ['Part', 'as_html', 'as_text']


class Part(NamedTuple):
    """What came out of one stage."""

    stage: str
    lines: Sequence[str]
    """What it is, a line for each part."""
    drawn: Sequence[str] = ()
    depth: int = 0
    """How deep in streams that were put together."""
    picture: bytes | None = None
    """A PNG."""


def as_text(head: str, parts: Sequence[Part]) -> str:
    """The stages one below the other, each with what came out."""
    blocks = [head]
    for number, part in enumerate(parts):
        indent = '  ' * part.depth
        lines = [f'{indent}{number}  {part.stage}']
        lines += [f'{indent}     drawn: {each}' for each in part.drawn]
        lines += [f'{indent}     {line}' for line in part.lines]
        blocks.append('\n'.join(lines))
    return '\n\n'.join(blocks)


def as_html(head: str, parts: Sequence[Part]) -> str:
    """The same as a table, with pictures."""
    rows = []
    for number, part in enumerate(parts):
        text = '\n'.join([*(f'drawn: {each}' for each in part.drawn), *part.lines])
        cell = f'<pre style="margin:0;background:transparent;color:inherit">{escape(text)}</pre>'
        if part.picture is not None:
            data = b64encode(part.picture).decode()
            cell += f'<img alt="{escape(part.stage)}" src="data:image/png;base64,{data}" style="max-width:100%">'
        stage = (
            '<code style="background:transparent;color:inherit;display:inline-block;max-width:24em;'
            f'overflow-wrap:anywhere;white-space:normal">{escape(part.stage)}</code>'
        )
        rows.append(
            f'<tr style="vertical-align:top;background:transparent"><td>{number}</td>'
            f'<td style="text-align:left;padding-left:{1 + part.depth}em">{stage}</td>'
            f'<td style="text-align:left">{cell}</td></tr>'
        )
    return (
        f'<div style="overflow-x:auto"><p>{escape(head)}</p>'
        f'<table style="border-collapse:collapse;color:inherit">{"".join(rows)}</table></div>'
    )
