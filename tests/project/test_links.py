"""What the pages link to is there: files, and the places in them. Addresses of others are not asked."""

from pathlib import Path

import pytest
from running import module_of

ROOT = Path(__file__).parents[2]
LINKS = module_of(ROOT / 'docs' / 'links.py')
PAGES = LINKS.pages()


def wrong(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in LINKS.links(page):
        if '://' in link or link.startswith('mailto:'):
            continue
        file, _, anchor = link.partition('#')
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in LINKS.anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert wrong(page) == []


def test_links_were_found() -> None:
    assert sum(len(list(LINKS.links(page))) for page in PAGES) > 150
    assert {page.name for page in PAGES} >= {
        'README.md',
        'CONTRIBUTING.md',
        'first-steps.ipynb',
        'design.md',
        'flow.md',
    }


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    """Those to files and places that are not there; but none in code."""
    page = tmp_path / 'page.md'
    page.write_text(
        '# One `word` of it\n\n[a](#one-word-of-it) [b](#two) [c](page.md#one-word-of-it) [d](none.md)'
        ' ![e](none.svg) [f](https://x.org/y_(z)) `[g](none.md)`\n\n```python\n# Two\nx[0](none)\n```\n'
    )
    assert wrong(page) == ['#two', 'none.md', 'none.svg']
    assert 'https://x.org/y_(z)' in LINKS.links(page)
