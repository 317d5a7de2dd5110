"""What a run does at the moment: a line for each stage, with a bar, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from .tables import WIDEST, shorten

__all__ = ['Line', 'bar', 'live_html', 'live_text']

WIDTH = 20
"""Characters of a bar."""
BESIDE = 30
"""Characters beside a name and a bar, for the text."""
NARROWEST = 16
"""The fewest characters of a name, where a terminal is narrow."""
EIGHTHS = ' ▏▎▍▌▋▊▉'


class Line(NamedTuple):
    """One line: a name, how full its bar is, and what is to be said of it."""

    name: str
    share: float
    text: str


def bar(share: float, width: int = WIDTH) -> str:
    """A bar of so many characters.

    >>> bar(0.5, 4), bar(0.3, 4), bar(2, 4), bar(0, 4)
    ('██  ', '█▎  ', '████', '    ')
    """
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    return ('█' * (eighths // 8) + EIGHTHS[eighths % 8].strip()).ljust(width)


def live_text(lines: Sequence[Line], note: str = '', width: int = 120) -> list[str]:
    """Lines that are no longer than this.

    >>> print(*live_text([Line('load', 0.5, '2 a second')], 'A note.', 40), sep='\\n')
    load  ▕██████████          ▏ 2 a second
    A note.
    """
    most = min(WIDEST, max(width - WIDTH - BESIDE, NARROWEST))
    names = [_name(line.name, most) for line in lines]
    longest = max(map(len, names), default=0)
    texts = [f'{name.ljust(longest)}  ▕{bar(line.share)}▏ {line.text}' for name, line in zip(names, lines, strict=True)]
    return [text if len(text) <= width else text[: width - 1] + '…' for text in filter(None, [*texts, note])]


def live_html(lines: Sequence[Line], note: str = '') -> str:
    """The same for notebooks.

    >>> live_html([Line('load', 0.5, '2 a second')]).count('width:50.0%')
    1
    """
    rows = ''.join(
        f'<tr><td style="text-align:left">{"&nbsp;" * _depth(line.name)}{escape(line.name.strip())}</td>'
        '<td style="min-width:9em"><div style="border:1px solid #8888;height:0.9em">'
        f'<div style="background:#4a90d9;height:100%;width:{min(1.0, max(0.0, line.share)):.1%}"></div></div></td>'
        f'<td style="text-align:left">{escape(line.text)}</td></tr>'
        for line in lines
    )
    return f'<table>{rows}</table>' + (f'<p>{escape(note)}</p>' if note else '')


def _depth(text: str) -> int:
    return len(text) - len(text.lstrip())


def _name(text: str, most: int) -> str:
    return ' ' * _depth(text) + shorten(text, most - _depth(text))
