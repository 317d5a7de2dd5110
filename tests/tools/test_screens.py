"""What a terminal shows in the end, whatever is printed meanwhile."""

import io
import sys

import pytest

from itpipe._views.live import Line
from itpipe.tools.screens import Rich, Screen, Terminal, screen

LINES = [Line('load', 0.5, 'half')]
ONE = ['load  ▕██████████          ▏ half', 'A note.']


class Shown(io.StringIO):
    """A terminal: understands that the cursor goes up, and that the rest is erased."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        lines = ['']
        for part in self.getvalue().replace('\x1b[J', '').split('\x1b['):
            text = part
            if part[:1].isdigit() and 'A' in part:
                up, text = part.split('A', 1)
                del lines[len(lines) - 1 - int(up) :]
                lines.append('')
            first, *rest = text.split('\n')
            lines[-1] += first
            lines += rest
        return lines


def show(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """A terminal for the rest of the test; not by a fixture, as pytest puts its own streams back before the test."""
    made = Shown()
    monkeypatch.setattr(sys, 'stderr', made)
    monkeypatch.setattr(sys, 'stdout', made)
    return made


def test_a_terminal_is_drawn_on_in_place_and_what_is_printed_goes_above(monkeypatch):
    shown = show(monkeypatch)
    terminal = Terminal()
    terminal.draw([Line('load', 0.0, 'none')], '', '', False)
    terminal.draw(LINES, 'A note.', '', False)
    assert shown.lines == [*ONE, '']
    print('epoch 1')
    print('loss', 0.5, end='')
    assert shown.lines == ['epoch 1', 'loss 0.5']
    terminal.draw(LINES, 'A note.', '', False)
    print('warning', file=sys.stderr)
    terminal.draw(LINES, 'A note.', '', True)
    terminal.close()
    print('after')
    assert shown.lines == ['epoch 1', 'loss 0.5', 'warning', *ONE, 'after', '']
    assert sys.stdout is sys.stderr is shown


def test_a_file_gets_a_line_now_and_then(capsys):
    made = screen()
    assert type(made) is Screen
    made.draw(LINES, 'A note.', 'two items', False)
    made.close()
    assert capsys.readouterr().err == 'itpipe: two items\n'


def test_no_standard_streams(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', None)
    made = screen()
    made.draw(LINES, '', 'two items', True)
    made.close()


def test_without_rich_a_terminal_is_drawn_on_by_hand(monkeypatch):
    show(monkeypatch)
    monkeypatch.setitem(sys.modules, 'rich.console', None)
    made = screen()
    try:
        assert type(made) is Terminal
    finally:
        made.close()


def test_with_rich(monkeypatch):
    pytest.importorskip('rich')
    shown = show(monkeypatch)
    made = screen()
    assert type(made) is Rich
    made.draw(LINES, 'A note.', '', False)
    made.draw(LINES, 'A note.', '', True)
    made.close()
    assert 'load  ▕██████████' in shown.getvalue()
    assert 'A note.' in shown.getvalue()
