"""The pictures of pipelines in README and docs are those that `make pictures` draws."""

import re
from pathlib import Path

import pytest
from running import module_of

ROOT = Path(__file__).parents[2]
STATIC = ROOT / 'docs' / '_static'
OF_RUNS = {'running', 'before-after', 'timeline'}
"""Those that are not the same each time."""
PICTURES = module_of(ROOT / 'docs' / 'pictures.py')


@pytest.mark.parametrize('name', PICTURES.PICTURES)
def test_a_picture_is_up_to_date(name: str) -> None:
    drawn = (STATIC / f'{name}.svg').read_text(encoding='utf-8')
    assert drawn == PICTURES.svg(name), 'run `make pictures`'


def test_every_picture_is_shown_and_every_shown_one_is_drawn() -> None:
    pages = '\n'.join(page.read_text(encoding='utf-8') for page in [ROOT / 'README.md', *ROOT.glob('docs/*.md')])
    shown = set(re.findall(r'_static/([\w-]+)\.(?:svg|png)\)', pages)) - {'resume'}
    assert shown == {*PICTURES.PICTURES, *OF_RUNS}
    assert {path.stem for path in STATIC.iterdir() if path.suffix in {'.svg', '.png'}} == {*shown, 'resume'}
