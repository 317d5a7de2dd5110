"""The texts for language models have every page, and every public name."""

import re
from pathlib import Path

import pytest
from running import module_of

import itpipe

DOCS = Path(__file__).parents[2] / 'docs'
LLMS = module_of(DOCS / 'llms.py')


@pytest.fixture(scope='module')
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('html')
    LLMS.write(folder)
    return folder


def test_the_index_lists_every_page(out: Path) -> None:
    text = (out / 'llms.txt').read_text(encoding='utf-8')
    assert text.startswith('# itpipe\n\n> ')
    listed = re.findall(r'^- \[[^]]+\]\((.+)\.html\.md\): \S', text, re.MULTILINE)
    pages = [path.relative_to(DOCS).with_suffix('') for end in ('md', 'ipynb') for path in DOCS.rglob(f'*.{end}')]
    assert sorted(listed) == sorted(str(page) for page in pages if page.parts[0] != '_build' and str(page) != 'index')
    assert all((out / f'{page}.html.md').exists() for page in listed)


def test_the_full_text_has_the_pages_and_the_docstrings(out: Path) -> None:
    text = (out / 'llms-full.txt').read_text(encoding='utf-8')
    for name in itpipe.__all__:
        assert f'\n## itpipe.{name}\n' in text
        assert getattr(itpipe, name).__doc__.partition('\n')[0] in text
    for name in ('Picture.save', 'Run.state_dict', 'itpipe.Infinite.load_state_dict', 'itpipe.dpipe.Infinite'):
        assert f'\n## {name}\n' in text
    assert 'You say what happens to one item.' in text
    assert '## [Unreleased]' in text
    assert 'class Shapes:' in text


def test_nothing_is_left_that_only_sphinx_and_the_tests_read(out: Path) -> None:
    text = (out / 'llms-full.txt').read_text(encoding='utf-8')
    assert not re.findall(r'^(?::::|```\{(?!mermaid)|\.\. auto|:gutter:|<!-- not run).*', text, re.MULTILINE)


def test_links_between_the_texts_lead_somewhere(out: Path) -> None:
    for path in out.rglob('*.html.md'):
        for link in re.findall(r'\]\((?!\w+:)([\w./-]+\.html\.md)', path.read_text(encoding='utf-8')):
            assert (path.parent / link).exists(), f'{path.name}: {link}'
