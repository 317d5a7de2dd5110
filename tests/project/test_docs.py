"""The pages of docs/ do what they say: their Python runs and prints what they show.

The ```python blocks of a page run in order, in one namespace, as in a notebook. A block with `>>>` is a doctest; what
any other prints is compared with the ```text block right after it. `<!-- not run: reason -->` before a block, of either
kind, leaves it out. `<!-- needs: torch, zarr -->` on a line of its own leaves the whole page out where one of these
libraries is not installed.
"""

import contextlib
import doctest
import io
import linecache
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r'(?:^ *<!-- not run: (?P<reason>[^\n]+?) -->\s*)?'
    r'^(?P<indent> *)(?P<fence>```+)(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)(?P=fence) *$',
    re.MULTILINE | re.DOTALL,
)
NEEDS = re.compile(r'^<!-- needs: (.+?) -->$', re.MULTILINE)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run_page(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = path.read_text(encoding='utf-8')
    for line in NEEDS.findall(page):
        for library in line.split(', '):
            pytest.importorskip(library)
    monkeypatch.setitem(linecache.cache, str(path), (len(page), None, page.splitlines(keepends=True), str(path)))
    main = ModuleType('__main__')  # so that what the page defines pickles as a notebook's does
    monkeypatch.setitem(sys.modules, '__main__', main)
    printed, printed_until = None, 0
    try:
        for block in BLOCK.finditer(page):
            language, line = block['language'].strip(), page.count('\n', 0, block.start('code'))
            if block['reason']:
                continue
            if language == 'text':
                assert printed is not None, f'{path.name}:{line}: text, and nothing that prints it'
                assert not page[printed_until : block.start()].strip(), f'{path.name}:{line}: not right after its code'
                compare(textwrap.dedent(block['code']), printed, f'{path.name}:{line}')
                printed = None
            elif language in {'python', 'pycon', 'py'}:
                code = textwrap.dedent(block['code'])
                run = run_doctest if re.search(r'^\s*>>> ', code, re.MULTILINE) else run_code
                printed, printed_until = run(code, vars(main), path, line), block.end()
    finally:
        vars(main).clear()


def run_code(code: str, namespace: dict, path: Path, line: int) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile('\n' * line + code, path, 'exec'), namespace)
    return printed.getvalue()


def run_doctest(code: str, namespace: dict, path: Path, line: int) -> None:
    test = doctest.DocTestParser().get_doctest(code, {}, path.name, str(path), line)
    test.globs = namespace
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=failures.append, clear_globs=False)
    if failures:
        pytest.fail(''.join(failures), pytrace=False)


def compare(want: str, got: str, where: str) -> None:
    checker = doctest.OutputChecker()
    if not checker.check_output(want, got, OPTIONS):
        difference = checker.output_difference(doctest.Example('', want), got, OPTIONS)
        pytest.fail(f'{where}: the output is not as shown\n{difference}', pytrace=False)


def pages():
    marks = {'volumes.md': pytest.mark.leaves_threads('those of zarr stay')}
    for path in sorted((ROOT / 'docs').glob('*.md')):
        yield pytest.param(path, marks=marks.get(path.name, ()), id=path.name)


@pytest.mark.parametrize('path', list(pages()))
def test_page(path, monkeypatch, tmp_path):
    """The code of the page runs, and prints what the page shows."""
    monkeypatch.chdir(tmp_path)
    run_page(path, monkeypatch)


@pytest.mark.parametrize(
    ('page', 'complaint'),
    [
        ('```python\nprint(1)\n```\n\n```text\n2\n```\n', 'page.md:5: the output is not as shown'),
        ('```python\n>>> 1 + 1\n3\n```\n', 'File "(.*)page.md", line 2'),
        ('  ```pycon\n  >>> 1 / 0\n  3\n  ```\n', 'ZeroDivisionError'),
        ('```text\n2\n```\n', 'page.md:1: text, and nothing that prints it'),
        ('```python\nprint(1)\n```\nprints\n```text\n1\n```\n', 'page.md:5: not right after its code'),
        ('```python\nx = 1\n```\nand\n```python\n>>> x\n1\n>>> y = 2\n```\n```python\nassert x == y\n```\n', '^$'),
        ('<!-- not run: slow -->\n```python\n1 / 0\n```\n```python\nprint(1)\n```\n```text\n2\n```\n', ':8: the'),
    ],
)
def test_a_page_that_is_wrong_fails(page, complaint, monkeypatch, tmp_path):
    """Wrong output, wrong doctests, errors, and output that nothing prints are each reported with their place."""
    path = tmp_path / 'page.md'
    path.write_text(page)
    with pytest.raises((pytest.fail.Exception, AssertionError), match=complaint):
        run_page(path, monkeypatch)


def test_a_page_is_left_out_where_a_library_is_missing(monkeypatch, tmp_path):
    path = tmp_path / 'page.md'
    path.write_text('<!-- needs: json, no_such_library -->\n\n```python\n1 / 0\n```\n')
    with pytest.raises(pytest.skip.Exception, match='no_such_library'):
        run_page(path, monkeypatch)
    path.write_text('<!-- needs: json, re -->\n\n```python\n1 / 0\n```\n')
    with pytest.raises(ZeroDivisionError):
        run_page(path, monkeypatch)
