"""The reference and the tutorial have every public name, the inside every module (the code in them: test_docs.py)."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import itpipe
import itpipe.dpipe
import itpipe.image

DOCS = Path(__file__).parents[2] / 'docs'
PACKAGE = Path(itpipe.__file__).parent
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


def test_the_inside_lists_every_module_below_all_that_it_imports():
    design = (DOCS / 'design.md').read_text(encoding='utf-8')
    table = design.partition('| module | what it has |')[2].partition('\n\n')[0]
    listed = [name for row in re.findall(r'^\| (`.*?) \|', table, re.MULTILINE) for name in re.findall(r'`(\w+)`', row)]
    modules = {path.stem: path for path in [*PACKAGE.glob('[!_]*.py'), PACKAGE / 'dpipe']}
    assert Counter(listed) == Counter([*modules])
    for place, name in enumerate(listed):
        files = modules[name].glob('*.py') if modules[name].is_dir() else [modules[name]]
        inside = {each for file in files for each in imports(ast.parse(file.read_text(encoding='utf-8')))}
        assert {each for each in inside if each in modules} - {name} <= set(listed[:place]), name


def imports(tree: ast.AST) -> Iterator[str]:
    """The modules of itpipe that the code imports when it runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == 'TYPE_CHECKING':
            continue
        if isinstance(node, ast.ImportFrom):
            module = (node.module or '').removeprefix('itpipe').removeprefix('.').partition('.')[0]
            if node.level or (node.module or '').startswith('itpipe'):
                yield from [module] if module else [alias.name for alias in node.names]
        yield from imports(node)
