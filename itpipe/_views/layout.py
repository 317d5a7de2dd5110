"""Where the parts of a picture are: from parts to shapes with places, in pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias
from unicodedata import category, east_asian_width

from .parts import Box, Figures, Flow, Inputs, Node, Part

__all__ = ['Bar', 'Line', 'Queue', 'Rectangle', 'Shape', 'Text', 'cut', 'laid_out']

CODE, PLAIN = 7.9, 7.0
"""Widths of a letter, of code in 13 px and of other text in 12 px."""
TITLE, NOTE = 19.0, 17.0
"""Heights of lines."""
PADDING, GAP, MARGIN = 11.0, 26.0, 14.0
QUEUE: Final = 22.0
"""The width of the sign of a buffer, with the space behind it."""
LIMITS: Final = 48, 34, 26
"""How many letters a line may have, alone, and beside others."""


class Rectangle(NamedTuple):
    x: float
    y: float
    width: float
    height: float
    look: str


class Text(NamedTuple):
    x: float
    y: float
    text: str
    look: str
    full: str = ''
    """All of the text, if it was cut."""


class Line(NamedTuple):
    points: tuple[tuple[float, float], ...]
    head: bool


class Queue(NamedTuple):
    """The sign of a buffer."""

    x: float
    y: float


class Bar(NamedTuple):
    x: float
    y: float
    width: float
    share: float
    limits: bool


Shape: TypeAlias = Rectangle | Text | Line | Queue | Bar


def cut(text: str, letters: int) -> str:
    """The text in one line, with at most so many letters; wide ones, such as Chinese, count twice.

    >>> cut('map_at(0, a_function_with_a_long_name)', 24)
    'map_at(0, a_function_w…)'
    """
    text = ' '.join(''.join(' ' if category(letter).startswith('C') else letter for letter in text).split())
    if _letters(text) <= letters:
        return text
    end = '…)' if text.endswith(')') else '…'
    kept, room = '', letters - len(end)
    for letter in text:
        room -= _letters(letter)
        if room < 0:
            break
        kept += letter
    return kept.rstrip() + end


def _letters(text: str) -> int:
    """How many columns the text takes in a font whose letters are equally wide."""
    marks = ('Mn', 'Me')
    return sum(0 if category(x) in marks else 2 if east_asian_width(x) in 'WF' else 1 for x in text)


class _Laid(NamedTuple):
    """A part with its size. `draw(x, y, width)` gives its shapes, in a column of this width."""

    width: float
    height: float
    draw: Callable[[float, float, float], list[Shape]]


def laid_out(flow: Flow) -> tuple[float, float, list[Shape]]:
    """Width, height and shapes of a whole picture."""
    column = _flow(flow, 0)
    shapes = column.draw(MARGIN, MARGIN, column.width)
    return column.width + 2 * MARGIN, column.height + 2 * MARGIN, shapes


def _flow(flow: Flow, depth: int) -> _Laid:
    """The parts below each other, with arrows between them."""
    laid = [_part(part, depth) for part in flow]
    width = max(part.width for part in laid)
    equal = max((each.width for each, part in zip(laid, flow, strict=True) if isinstance(part, Node)), default=0)

    def draw(x: float, y: float, room: float) -> list[Shape]:
        shapes: list[Shape] = []
        middle = x + room / 2
        for n, (part, each) in enumerate(zip(flow, laid, strict=True)):
            if n:
                shapes.append(Line(((middle, y - GAP), (middle, y)), head=True))
            own = equal if isinstance(part, Node) else each.width
            shapes += each.draw(middle - own / 2, y, own)
            y += each.height + GAP
        return shapes

    return _Laid(width, sum(part.height for part in laid) + GAP * (len(laid) - 1), draw)


def _part(part: Part, depth: int) -> _Laid:
    if isinstance(part, Inputs):
        return _inputs(part, depth)
    return _node(part, depth) if isinstance(part, Node) else _box(part, depth)


class _Lines:
    """Lines of text below each other."""

    def __init__(self, letters: int):
        self.letters = letters
        self.width = self.height = 0.0
        self.drawn: list[tuple[float, float, str, str, str]] = []
        self.queues: list[float] = []

    def add(self, text: str, look: str, height: float = NOTE) -> None:
        letter = CODE if look in ('code', 'call') else PLAIN
        shown = cut(text, self.letters if letter == CODE else int(self.letters * CODE / PLAIN))
        indent = QUEUE if look == 'holds' else 0.0
        if indent:
            self.queues.append(self.height)
        self.drawn.append((indent, self.height + height - 5, shown, look, text if shown != text else ''))
        width = indent + _letters(shown) * letter
        self.height += height
        self.width = max(self.width, width)

    def shapes(self, x: float, y: float) -> list[Shape]:
        texts = [Text(x + right, y + down, *rest) for right, down, *rest in self.drawn]
        return [*texts, *(Queue(x, y + down + 4) for down in self.queues)]


def _lines(part: Node | Box, depth: int) -> _Lines:
    lines = _Lines(LIMITS[min(depth, len(LIMITS) - 1)])
    if isinstance(part, Box):
        lines.add(part.title, 'title', TITLE)
        if part.call:
            lines.add(part.call, 'call')
    else:
        lines.add(part.title, 'words' if part.kind == 'look-up' else 'code', TITLE)
    if part.holds:
        lines.add(part.holds, 'holds')
    for note in part.notes:
        lines.add(note, 'note')
    if part.figures is not None:
        lines.add(str(part.figures), 'limits' if part.figures.limits else 'figures')
    return lines


def _bar(figures: Figures | None, x: float, y: float, width: float) -> list[Shape]:
    return [] if figures is None or figures.share is None else [Bar(x, y, width, figures.share, figures.limits)]


def _node(node: Node, depth: int) -> _Laid:
    lines = _lines(node, depth)
    bar = 7.0 if node.figures is not None and node.figures.share is not None else 0.0
    height = lines.height + 2 * PADDING - 5 + bar
    look = node.kind + (' hot' if node.figures is not None and node.figures.limits else '')

    def draw(x: float, y: float, room: float) -> list[Shape]:
        inner = room - 2 * PADDING
        return [
            Rectangle(x, y, room, height, look),
            *lines.shapes(x + PADDING, y + PADDING - 4),
            *_bar(node.figures, x + PADDING, y + height - 11, inner),
        ]

    return _Laid(lines.width + 2 * PADDING, height, draw)


def _box(box: Box, depth: int) -> _Laid:
    lines, inside = _lines(box, depth), _flow(box.inside, depth)
    bar = 10.0 if box.figures is not None and box.figures.share is not None else 0.0
    width = max(lines.width, inside.width) + 2 * MARGIN
    header = lines.height + bar + 14
    height = header + inside.height + MARGIN
    look = box.kind + (' hot' if box.figures is not None and box.figures.limits else '')

    def draw(x: float, y: float, room: float) -> list[Shape]:
        return [
            Rectangle(x, y, room, height, look),
            *lines.shapes(x + MARGIN, y + 5),
            *_bar(box.figures, x + MARGIN, y + lines.height + 9, room - 2 * MARGIN),
            *inside.draw(x + MARGIN, y + header, room - 2 * MARGIN),
        ]

    return _Laid(width, height, draw)


def _inputs(inputs: Inputs, depth: int) -> _Laid:
    """The flows side by side, their ends on one line, from which one arrow goes on."""
    columns = [_flow(flow, depth + (1 if len(inputs.flows) <= 3 else 2)) for flow in inputs.flows]
    widths = [
        max(column.width, 2 * (len(label) * PLAIN + 10))
        for column, label in zip(columns, inputs.labels, strict=True)
    ]  # fmt: skip
    tallest = max(column.height for column in columns)

    def draw(x: float, y: float, room: float) -> list[Shape]:
        shapes: list[Shape] = []
        middle, bottom = x + room / 2, y + tallest
        for column, label, width in zip(columns, inputs.labels, widths, strict=True):
            shapes += column.draw(x, bottom - column.height, width)
            center = x + width / 2
            shapes.append(Line(((center, bottom), (center, bottom + GAP), (middle, bottom + GAP)), head=False))
            if label:
                shapes.append(Text(center + 6, bottom + 15, label, 'note'))
            x += width + MARGIN
        return shapes

    return _Laid(sum(widths) + MARGIN * (len(columns) - 1), tallest + GAP, draw)
