"""Tables, as text and as HTML."""

import io
import re
import sys
from xml.etree import ElementTree as ET

import pytest

from itpipe._views.tables import WIDEST, html_table, terminal_width, text_table

HEADER = ['stage', 'items', 'trouble']
ROWS = [['  a <b> & c', '1', ''], ['x' * 100, '1,000', 'an error']]


def test_long_names_are_shortened_in_text_and_whole_in_html():
    lines = text_table('', HEADER, ROWS).splitlines()
    assert len({len(line) for line in lines if 'error' in line or 'trouble' in line}) == 1
    assert lines[2].startswith('x' * 20)
    assert '…' in lines[2][:WIDEST]
    assert 'x' * 100 in html_table('', HEADER, ROWS)


@pytest.mark.parametrize('width', [40, 60, 200])
def test_in_a_terminal_no_line_is_longer_than_it_is_wide_and_nothing_is_left_out(width):
    rows = [[f'{"name" * n}', *(str(11**k) for k in range(1, 9))] for n in (1, 5, 12)]
    header = ['stage', *(f'column {k}' for k in range(1, 9))]
    text = text_table('a title ' * 9, header, rows, 'a note ' * 20, width)
    assert max(map(len, text.splitlines())) <= width
    for k in range(1, 9):
        assert text.count(f'column {k}') == 1
        assert len(re.findall(rf'\b{11**k}\b', text)) == 3
    assert ('name' * 12 in text) is (width == 200)
    assert text.count('stage') == {40: 8, 60: 3, 200: 1}[width]


def test_what_is_written_to_something_else_has_no_width(monkeypatch):
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    assert terminal_width() is None
    monkeypatch.setattr(sys, 'stdout', None)
    assert terminal_width() is None


def test_html_is_well_formed():
    html = html_table('a < b', HEADER, ROWS, 'c & d')
    root = ET.fromstring(f'<div>{html.replace("&nbsp;", "")}</div>')
    assert [cell.text for cell in root.iter('td')] == ['a <b> & c', '1', None, 'x' * 100, '1,000', 'an error']
    assert root.findtext('table/caption') == 'a < b'
    assert root.findtext('p') == 'c & d'


def test_a_table_without_rows():
    assert text_table('title', HEADER, []) == 'title\nstage'
