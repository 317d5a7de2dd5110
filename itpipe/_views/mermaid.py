"""Pictures as Mermaid, text that GitHub, GitLab and many editors draw."""

from __future__ import annotations

from itertools import count

from .layout import cut
from .parts import Box, Flow, Inputs, Node

__all__ = ['mermaid']

LETTERS = 60
PLAIN = set(" .,:=()[]_-+*/|'?!…·%")


def mermaid(flow: Flow) -> str:
    """The picture as the text of a Mermaid flowchart."""
    lines = ['flowchart TD']
    _Writer(lines).write(flow, '    ')
    return '\n'.join(lines)


class _Writer:
    def __init__(self, lines: list[str]):
        self.lines = lines
        self.numbers = count(1)

    def write(self, flow: Flow, indent: str) -> list[tuple[str, str]]:
        """The lines of a flow; returns its ends, each with the label of the arrow that goes on from there."""
        ends: list[tuple[str, str]] = []
        for part in flow:
            if isinstance(part, Inputs):
                ends = []
                for inner, label in zip(part.flows, part.labels, strict=True):
                    ends += [
                        (end, '<br/>'.join(filter(None, [more, _shown(label)])))
                        for end, more in self.write(inner, indent)
                    ]
                continue
            name = f'n{next(self.numbers)}'
            if isinstance(part, Node):
                opened, closed = {'source': ('([', '])'), 'loop': ('([', '])')}.get(part.kind, ('[', ']'))
                text = '<br/>'.join(filter(None, [_shown(part.title), _lines(part)]))
                self.lines.append(f'{indent}{name}{opened}"{text}"{closed}')
            else:
                title = f'{part.title}, {part.call}' if part.call else part.title
                self.lines += [f'{indent}subgraph {name}["{_shown(title)}"]', f'{indent}    direction TB']
                self.write(part.inside, indent + '    ')
                self.lines.append(f'{indent}end')
            for end, label in ends:
                arrow = f'-->|"{label}"|' if label else '-->'
                self.lines.append(f'{indent}{end} {arrow} {name}')
            # The title of a subgraph has room for one line: how much a box holds is at the arrow out of it.
            ends = [(name, _lines(part) if isinstance(part, Box) else '')]
        return ends


def _lines(part: Node | Box) -> str:
    """What is said of a part besides its title."""
    figures = [] if part.figures is None else [str(part.figures)]
    return '<br/>'.join(map(_shown, filter(None, [part.holds, *part.notes, *figures])))


def _shown(text: str) -> str:
    return _escaped(cut(text, LETTERS))


def _escaped(text: str) -> str:
    """The text with what may mean something to Mermaid or HTML as numbers."""
    return ''.join(letter if letter.isalnum() or letter in PLAIN else f'#{ord(letter)};' for letter in text)
