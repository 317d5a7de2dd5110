"""The reference and the tutorial have every public name, and the inside has every module."""

import re
from collections import Counter
from pathlib import Path

import pytest

import itpipe
import itpipe.dpipe
import itpipe.files
import itpipe.image
import itpipe.integrations.torch
import itpipe.testing

DOCS = Path(__file__).parents[2] / 'docs'
PACKAGE = Path(itpipe.__file__).parent
DIRECTIVE = r'^\.\. auto(?!module)\w+:: itpipe\.([\w.]+)'
NAMES = [
    *itpipe.__all__,
    *(f'files.{name}' for name in itpipe.files.__all__),
    *(f'image.{name}' for name in itpipe.image.__all__),
    *(f'testing.{name}' for name in itpipe.testing.__all__),
]
NAMES_THAT_NEED_MORE = [f'integrations.torch.{name}' for name in itpipe.integrations.torch.__all__]
"""Those that need other libraries, and are in no tutorial."""


def test_the_reference_has_every_public_name_once():
    pages = '\n'.join(page.read_text(encoding='utf-8') for page in sorted((DOCS / 'reference').glob('*.md')))
    assert Counter(re.findall(DIRECTIVE, pages, re.MULTILINE)) == Counter(NAMES + NAMES_THAT_NEED_MORE)
    assert '.. automodule:: itpipe.dpipe\n   :members:\n' in pages


def test_every_page_of_the_reference_is_listed_with_its_names():
    index = (DOCS / 'reference.md').read_text(encoding='utf-8')
    for page in sorted((DOCS / 'reference').glob('*.md')):
        names = re.findall(DIRECTIVE, page.read_text(encoding='utf-8'), re.MULTILINE)
        (row,) = re.findall(rf'^\| \[[^]]+\]\(reference/{page.name}\) \| (.*) \|$', index, re.MULTILINE)
        listed = re.findall(r'`(\w+)`', row)
        assert Counter(listed) == Counter(name.rpartition('.')[2] for name in names) or page.name == 'dpipe.md'


def test_the_tutorial_shows_every_public_name():
    tutorial = (DOCS / 'tutorial.md').read_text(encoding='utf-8')
    code = ''.join(re.findall(r'```python\n(.*?)```', tutorial, re.DOTALL))
    used = re.findall(r'\w+', re.sub(r'(?m)^(>>> )?from \S+ import (\([^)]+\)|.*)', '', code))
    not_for_calls = {
        'Ragged',
        'Stage',
        'Stream',
        'NotPicklable',
        'NotRestartable',
        'WorkerCrashed',
        'Dropped',
        'StallWarning',
    }
    assert {name.rpartition('.')[2] for name in NAMES} - not_for_calls <= set(used)


ROOMS = ['', 'tools', 'stages', '_workers', 'integrations', '_engine', '_views', '_core']


@pytest.mark.parametrize('room', ROOMS)
def test_the_inside_lists_every_module_of_a_room(room):
    design = (DOCS / 'design.md').read_text(encoding='utf-8')
    table = design.partition(f'| `itpipe{room and "."}{room}` | what it has |\n')[2].partition('\n\n')[0]
    listed = [name for row in re.findall(r'^\| (`.*?) \|', table, re.MULTILINE) for name in re.findall(r'`(\w+)`', row)]
    modules = [path.stem for path in (PACKAGE / room).glob('*.py') if path.stem != '__init__']
    if not room:  # the folders in it that are no rooms
        modules += {path.parent.name for path in PACKAGE.glob('*/__init__.py')} - {*ROOMS}
    else:
        modules += {path.parent.name for path in (PACKAGE / room).glob('*/__init__.py')}
    assert Counter(listed) == Counter(modules), f'docs/design.md, "The modules": list those of itpipe/{room}'
