"""What the pages link to. `python docs/links.py` lists the addresses of others, to be opened by hand now and then."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r'!?\[(?:[^]\[]|\[[^]]*\])*\]\(\s*([^()\s]+(?:\([^()\s]*\))?[^()\s]*)\s*\)')
CODE = re.compile(r'^( *)(```+|~~~+)[^\n]*\n.*?^\1\2 *$|`[^`\n]+`', re.MULTILINE | re.DOTALL)
HEADING = re.compile(r'^#+ +(.+?) *$', re.MULTILINE)


def pages() -> list[Path]:
    """All Markdown files and notebooks that people read."""
    found = [path for end in ('md', 'ipynb') for path in [*ROOT.glob(f'*.{end}'), *ROOT.glob(f'docs/**/*.{end}')]]
    return sorted(path for path in found if '_build' not in path.parts)


def text_of(page: Path) -> str:
    text = page.read_text(encoding='utf-8')
    if page.suffix == '.md':
        return text
    return '\n\n'.join(''.join(cell['source']) for cell in json.loads(text)['cells'] if cell['cell_type'] == 'markdown')


def links(page: Path) -> Iterator[str]:
    """What the page links to or shows, without what is in code."""
    yield from LINK.findall(CODE.sub(lambda found: '' if '\n' in found[0] else '`…`', text_of(page)))


def anchors(page: Path) -> set[str]:
    """The places in the page that a link may name, as GitHub and Sphinx make them of headings."""
    headings = HEADING.findall(re.sub(CODE.pattern.partition('|`[')[0], '', text_of(page), flags=CODE.flags))
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def main() -> None:
    found = defaultdict(list)
    for page in pages():
        for link in links(page):
            if '://' in link:
                found[link.partition('#')[0]].append(page.relative_to(ROOT).as_posix())
    for link in sorted(found):
        print(link, *sorted(set(found[link])))


if __name__ == '__main__':
    main()
