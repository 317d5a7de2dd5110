"""Pictures as SVG: well-formed whatever the texts are, and with colors for light and dark."""

from xml.etree import ElementTree as ET

import pytest

from itpipe._views.parts import Box, Figures, Inputs, Node
from itpipe._views.svg import FILLS, STROKES, TEXTS, svg

SVG = '{http://www.w3.org/2000/svg}'


@pytest.mark.parametrize('text', ['<b>"a" & \'b\'</b>', ']]>', '<!-- -->', '\0\x1b\ud800\ufffe', 'größe 画像 🙂'])
def test_any_text_makes_a_well_formed_picture(text: str) -> None:
    flow = (Inputs(((Node(text, (text,)),),), (text,)), Box(text, (Node(text),), call=text), Node(text, holds=text))
    root = ET.fromstring(svg(flow, text).encode())
    shown = [element.text or '' for element in root.iter(f'{SVG}text')]
    printable = ' '.join(''.join(x if x.isprintable() else ' ' for x in text).split())
    assert shown.count(printable) >= 6


def test_a_text_that_is_cut_is_there_in_full_for_the_pointer() -> None:
    long = 'apply(<lambda>, ' + 'x' * 100 + ')'
    root = ET.fromstring(svg((Node(long),), ''))
    (text,) = root.iter(f'{SVG}text')
    assert text.find(f'{SVG}title').text == long
    assert text.find(f'{SVG}title').tail.endswith('x…)')


def test_every_look_has_its_colors_in_light_and_in_dark() -> None:
    flow = (
        Inputs(((Node('s', ('n',), 'source'),), (Node('l', kind='look-up'),)), ('0', '1')),
        Box('b', (Node('m', holds='h', figures=Figures('f', 0.3)),), 'again', 'c'),
        Box('w', (Node('m'),), 'workers', figures=Figures('f', 0.9, limits=True)),
        Box('t', (Node('loop', kind='loop'),)),
    )
    text = svg(flow, 'all')
    root = ET.fromstring(text)
    light, dark = root.find(f'{SVG}style').text.split('@media (prefers-color-scheme: dark)')
    for element in root.iter():
        for name in (element.get('class') or '').split():
            look = name.removeprefix('itpipe-')
            assert look in FILLS.keys() | STROKES.keys()
            for colors, kind in (FILLS, 'fill'), (STROKES, 'stroke'):
                if look in colors:
                    assert f'.{name} {{{kind}: {colors[look][0]}}}' in light
                    assert f'.{name} {{{kind}: {colors[look][1]}}}' in dark
    assert TEXTS.keys() <= FILLS.keys()


def luminance(color: str) -> float:
    parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize('mode', [0, 1])
def test_texts_can_be_read_on_every_ground(mode: int) -> None:
    """The contrast is at least 4.5, which WCAG asks for."""
    grounds = [FILLS[name][mode] for name in ('ground', 'stage', 'source', 'look-up', 'loop', 'thread', 'workers')]
    for text in TEXTS:
        for ground in grounds:
            darker, lighter = sorted([luminance(FILLS[text][mode]), luminance(ground)])
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)
