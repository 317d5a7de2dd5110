"""Pictures as SVG: in light and dark, as the viewer prefers it, and each on a ground of its own."""

from __future__ import annotations

from html import escape
from typing import Final

from .layout import Bar, Line, Queue, Rectangle, Shape, Text, laid_out
from .parts import Flow

__all__ = ['svg']

CODE_FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
PLAIN_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

TEXTS: Final = {
    'code': f'font: 13px {CODE_FONT}',
    'call': f'font: 12px {CODE_FONT}',
    'title': f'font: bold 12px {PLAIN_FONT}',
    'words': f'font: italic 12.5px {PLAIN_FONT}',
    'note': f'font: 11.5px {PLAIN_FONT}',
    'holds': f'font: 11.5px {PLAIN_FONT}',
    'figures': f'font: 11.5px {PLAIN_FONT}',
    'limits': f'font: bold 11.5px {PLAIN_FONT}',
}
FILLS: Final = {
    'ground': ('#ffffff', '#0d1117'),
    'code': ('#1f2328', '#e6edf3'),
    'call': ('#424a53', '#c4ccd4'),
    'title': ('#1f2328', '#e6edf3'),
    'words': ('#1f2328', '#e6edf3'),
    'note': ('#59636e', '#9ba4ad'),
    'holds': ('#59636e', '#9ba4ad'),
    'figures': ('#0a5c2c', '#6fdd8b'),
    'limits': ('#9a4a00', '#ffb35c'),
    'stage': ('#ffffff', '#1a2029'),
    'source': ('#e6f6ea', '#12291a'),
    'look-up': ('#ffffff', '#1a2029'),
    'loop': ('#f4edff', '#231a38'),
    'thread': ('#f6f8fa', '#12171e'),
    'workers': ('#e3f2fe', '#10243c'),
    'again': ('none', 'none'),
    'head': ('#6e7781', '#8b949e'),
    'rest': ('#d8dee4', '#30363d'),
    'part': ('#2da44e', '#3fb950'),
    'most': ('#e8871e', '#f0963a'),
}
"""Colors of areas and letters, in light and in dark."""
STROKES: Final = {
    'ground': ('#d0d7de', '#30363d'),
    'stage': ('#afb8c1', '#4a535e'),
    'source': ('#4ac26b', '#2f7d45'),
    'look-up': ('#afb8c1', '#4a535e'),
    'loop': ('#a475f9', '#7a54c7'),
    'thread': ('#c5ced6', '#3a424c'),
    'workers': ('#54aeff', '#2a6ab5'),
    'again': ('#8c959f', '#6e7681'),
    'hot': ('#e8871e', '#f0963a'),
    'line': ('#6e7781', '#8b949e'),
    'cell': ('#59636e', '#9ba4ad'),
}
"""Colors of lines, in light and in dark."""


def _style() -> str:
    def colors(mode: int) -> str:
        rules = [f'.itpipe-{look} {{fill: {fill[mode]}}}' for look, fill in FILLS.items()]
        rules += [f'.itpipe-{look} {{stroke: {stroke[mode]}}}' for look, stroke in STROKES.items()]
        return '\n'.join(rules)

    return '\n'.join(
        [
            *(f'.itpipe-{look} {{{font}}}' for look, font in TEXTS.items()),
            '.itpipe-line, .itpipe-cell {fill: none}',
            '.itpipe-again, .itpipe-look-up {stroke-dasharray: 5 3}',
            colors(0),
            '.itpipe-hot {stroke-width: 2}',
            f'@media (prefers-color-scheme: dark) {{\n{colors(1)}\n}}',
        ]
    )


def svg(flow: Flow, label: str) -> str:
    """The picture as the text of an SVG file."""
    width, height, shapes = laid_out(flow)
    drawn = '\n'.join(map(_drawn, shapes))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{_escaped(label)}">\n'
        f'<style>\n{_style()}\n</style>\n'
        f'<rect class="itpipe-ground" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="10"/>\n'
        f'{drawn}\n</svg>\n'
    )


def _escaped(text: str) -> str:
    """The text for XML, in which control characters may not be, not even escaped."""
    return escape(''.join(letter if letter.isprintable() else ' ' for letter in text))


def _drawn(shape: Shape) -> str:
    if isinstance(shape, Rectangle):
        x, y, width, height, look = shape
        names = ' '.join(f'itpipe-{name}' for name in look.split())
        size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        return f'<rect class="{names}" {size} rx="{6 if look.split()[0] in ("stage", "look-up") else 9}"/>'
    if isinstance(shape, Text):
        full = f'<title>{_escaped(shape.full)}</title>' if shape.full else ''
        text = _escaped(shape.text)
        return f'<text class="itpipe-{shape.look}" x="{shape.x:.1f}" y="{shape.y:.1f}">{full}{text}</text>'
    if isinstance(shape, Line):
        (*before, (x, y)) = shape.points
        path = 'M' + ' L'.join(f'{a:.1f} {b:.1f}' for a, b in [*before, (x, y - 1)] if shape.head) if shape.head else ''
        path = path or 'M' + ' L'.join(f'{a:.1f} {b:.1f}' for a, b in shape.points)
        line = f'<path class="itpipe-line" d="{path}"/>'
        head = f'<path class="itpipe-head" d="M{x:.1f} {y:.1f} l-4.5 -8 h9 z"/>'
        return f'{line}\n{head}' if shape.head else line
    if isinstance(shape, Queue):
        cells = ' '.join(f'M{shape.x + 5 * n + 0.5:.1f} {shape.y + 0.5:.1f} h5 v8 h-5 z' for n in range(3))
        return f'<path class="itpipe-cell" d="{cells}"/>'
    return _bar(shape)


def _bar(bar: Bar) -> str:
    share = min(max(bar.share, 0.0), 1.0)
    place = f'x="{bar.x:.1f}" y="{bar.y:.1f}" height="4" rx="2"'
    look = 'most' if bar.limits else 'part'
    return (
        f'<rect class="itpipe-rest" {place} width="{bar.width:.1f}"/>'
        f'<rect class="itpipe-{look}" {place} width="{max(share * bar.width, 3):.1f}"/>'
    )
