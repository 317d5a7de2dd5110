"""A line for each stage, with a bar."""

from xml.etree import ElementTree as ET

import pytest

from itpipe._views.live import Line, bar, live_html, live_text

LINES = [Line('  a <b>', 0.25, '1 & 2'), Line('x' * 90, 1.5, 'full')]


@pytest.mark.parametrize('share', [-1, 0, 0.001, 0.01, 0.124, 0.5, 0.999, 1, 7])
def test_a_bar_has_its_width(share):
    assert len(bar(share, 9)) == 9
    assert bar(share, 9).strip('█').strip() in ('', *'▏▎▍▌▋▊▉')


def test_lines_stand_under_each_other_and_fit_the_terminal():
    lines = live_text(LINES, 'A note.', 40)
    assert [line.index('▕') for line in lines[:-1]] == [18, 18]
    assert lines[-1] == 'A note.'
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].endswith('…')


def test_html_is_well_formed():
    root = ET.fromstring(f'<div>{live_html(LINES, "a & b").replace("&nbsp;", "")}</div>')
    assert [cell.text for cell in root.iter('td')][::3] == ['a <b>', 'x' * 90]
    assert [part.get('style', '').partition('width:')[2] for part in root.iter('div')][-1] == '100.0%'
    assert root.findtext('p') == 'a & b'
