"""Where `watch` draws: a terminal, with or without rich, a notebook, or a file."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

from itpipe._views.live import Line, live_html, live_text

__all__ = ['Screen', 'screen']


class Screen:
    """A file: one line now and then."""

    every: ClassVar[float] = 30.0
    """Seconds between two looks, if nothing else is said."""

    def __init__(self) -> None:
        self.stream: Any = sys.stderr

    def draw(self, lines: Sequence[Line], note: str, summary: str, last: bool) -> None:
        """Show this instead of what was shown before."""
        if self.stream is not None:  # as it is under pythonw
            self.stream.write(f'itpipe: {summary}\n')
            self.stream.flush()

    def close(self) -> None:
        """Leave what was drawn last."""


class Terminal(Screen):
    """A terminal: what was drawn is erased and drawn again, and what others print goes above."""

    every = 0.5

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._height = 0
        self._at_start = True
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Above(self, sys.stdout), _Above(self, sys.stderr)

    def draw(self, lines: Sequence[Line], note: str, summary: str, last: bool) -> None:
        text = live_text(lines, note, shutil.get_terminal_size().columns)
        with self._lock:
            start = self._erased() if self._at_start else '\n'
            self._at_start = True
            self._height = len(text)
            self.stream.write(start + ''.join(f'{line}\n' for line in text))
            self.stream.flush()

    def above(self, stream: Any, text: str) -> int:
        """Write something else above what is drawn, which comes back with the next look."""
        with self._lock:
            if self._height:
                self.stream.write(self._erased())
                self.stream.flush()
            if text:
                self._at_start = text.endswith('\n')
            return int(stream.write(text) or 0)

    def _erased(self) -> str:
        height, self._height = self._height, 0
        return f'\x1b[{height}A\x1b[J' if height else ''

    def close(self) -> None:
        sys.stdout, sys.stderr = self._before


class _Above:
    """A standard stream while a `Terminal` is drawn on."""

    def __init__(self, screen: Terminal, stream: Any):
        self._screen, self._stream = screen, stream

    def write(self, text: str) -> int:
        return self._screen.above(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Rich(Screen):
    """A terminal, by rich."""

    every = 0.5

    def __init__(self, live: Any, text: Any):
        self._live, self._text = live, text
        live.start()

    def draw(self, lines: Sequence[Line], note: str, summary: str, last: bool) -> None:
        width = self._live.console.width
        self._live.update(self._text('\n'.join(live_text(lines, note, width)), no_wrap=True), refresh=True)

    def close(self) -> None:
        self._live.stop()


class Notebook(Screen):
    """An output of a notebook's cell, updated in place."""

    every = 0.5

    def __init__(self, display: Any, html: Any):
        self._html = html
        self._handle = display(html(''), display_id=True)

    def draw(self, lines: Sequence[Line], note: str, summary: str, last: bool) -> None:
        if self._handle is not None:
            self._handle.update(self._html(live_html(lines, note)))


def screen() -> Screen:
    """The best that there is here."""
    ipython: Any = sys.modules.get('IPython')
    if 'ipykernel' in sys.modules and hasattr(ipython.get_ipython(), 'kernel'):
        from IPython.display import HTML, display

        return Notebook(display, HTML)
    if not (hasattr(sys.stderr, 'isatty') and sys.stderr.isatty()):
        return Screen()
    try:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        return Terminal()
    console = Console(stderr=True)
    return Rich(Live(console=console, auto_refresh=False, transient=False), Text)
