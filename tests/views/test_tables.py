"""Tables, as text and as HTML."""

from xml.etree import ElementTree as ET

from itpipe._views.tables import WIDEST, html_table, text_table

HEADER = ['stage', 'items', 'trouble']
ROWS = [['  a <b> & c', '1', ''], ['x' * 100, '1,000', 'an error']]


def test_long_names_are_shortened_in_text_and_whole_in_html():
    lines = text_table('', HEADER, ROWS).splitlines()
    assert len({len(line) for line in lines if 'error' in line or 'trouble' in line}) == 1
    assert lines[2].startswith('x' * 20)
    assert '…' in lines[2][:WIDEST]
    assert 'x' * 100 in html_table('', HEADER, ROWS)


def test_html_is_well_formed():
    html = html_table('a < b', HEADER, ROWS, 'c & d')
    root = ET.fromstring(f'<div>{html.replace("&nbsp;", "")}</div>')
    assert [cell.text for cell in root.iter('td')] == ['a <b> & c', '1', None, 'x' * 100, '1,000', 'an error']
    assert root.findtext('table/caption') == 'a < b'
    assert root.findtext('p') == 'c & d'


def test_a_table_without_rows():
    assert text_table('title', HEADER, []) == 'title\nstage'
