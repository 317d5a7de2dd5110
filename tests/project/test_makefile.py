"""The commands that the documentation names are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / 'Makefile').read_text()


def test_every_target_that_a_page_names_is_there() -> None:
    pages = '\n'.join(page.read_text() for page in [*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')])
    code = '\n'.join(map(''.join, re.findall(r'```sh\n(.*?)```|`(make [^`\n]*)`', pages, re.DOTALL)))
    code += '\n' + (ROOT / '.ci/run').read_text()
    found = {target for targets in re.findall(r'^make ([a-z -]+)', code, re.MULTILINE) for target in targets.split()}
    assert {'demo', 'test', 'check', 'layers', 'integrations', 'test-full'} <= found
    assert found <= set(re.findall(r'^([a-z-]+):', MAKEFILE, re.MULTILINE))


def test_help_lists_every_target() -> None:
    (phony,) = re.findall(r'^\.PHONY: (.*)$', MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == set(re.findall(r'^([a-z-]+):.*  ## \S', MAKEFILE, re.MULTILINE))
