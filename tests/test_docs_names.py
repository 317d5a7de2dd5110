"""The reference and the tutorial have every public name (what they say runs in test_docs.py)."""

import re
from collections import Counter
from pathlib import Path

import itpipe
import itpipe.dpipe
import itpipe.image

DOCS = Path(__file__).parent.parent / 'docs'
DIRECTIVE = r'^\.\. auto(?!module)\w+:: itpipe\.([\w.]+)'
NAMES = [*itpipe.__all__, *(f'image.{name}' for name in itpipe.image.__all__)]


def test_the_reference_has_every_public_name_once():
    pages = '\n'.join(page.read_text(encoding='utf-8') for page in sorted((DOCS / 'reference').glob('*.md')))
    assert Counter(re.findall(DIRECTIVE, pages, re.MULTILINE)) == Counter(NAMES)
    assert '.. automodule:: itpipe.dpipe\n   :members:\n' in pages


def test_every_page_of_the_reference_is_listed_with_its_names():
    index = (DOCS / 'reference.md').read_text(encoding='utf-8')
    for page in sorted((DOCS / 'reference').glob('*.md')):
        names = re.findall(DIRECTIVE, page.read_text(encoding='utf-8'), re.MULTILINE)
        (row,) = re.findall(rf'^\| \[[^]]+\]\(reference/{page.name}\) \| (.*) \|$', index, re.MULTILINE)
        listed = re.findall(r'`(\w+)`', row)
        assert Counter(listed) == Counter(name.removeprefix('image.') for name in names) or page.name == 'dpipe.md'


def test_the_tutorial_shows_every_public_name():
    tutorial = (DOCS / 'tutorial.md').read_text(encoding='utf-8')
    code = ''.join(re.findall(r'```python\n(.*?)```', tutorial, re.DOTALL))
    used = re.findall(r'\w+', re.sub(r'(?m)^(>>> )?from \S+ import (\([^)]+\)|.*)', '', code))
    not_for_calls = {'Stage', 'Stream', 'NotPicklable', 'NotRestartable', 'WorkerCrashed', 'Dropped', 'StallWarning'}
    assert {name.removeprefix('image.') for name in NAMES} - not_for_calls <= set(used)
