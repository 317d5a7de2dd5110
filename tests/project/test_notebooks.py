"""The notebooks of docs/ run, and what their last lines show can be shown. The build of the pages runs them, too."""

import ast
import contextlib
import io
import json
import linecache
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / 'docs'
NOTEBOOKS = sorted(DOCS.glob('*.ipynb'))


def cells(path: Path) -> list[str]:
    notebook = json.loads(path.read_text(encoding='utf-8'))
    return [''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'code']


def run_cells(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[object]]:
    """What is printed, and what the last lines of the cells are."""
    main = ModuleType('__main__')
    monkeypatch.setitem(sys.modules, '__main__', main)
    shown = []
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            for number, cell in enumerate(cells(path)):
                name = f'<{path.name}, cell {number}>'
                monkeypatch.setitem(linecache.cache, name, (len(cell), None, cell.splitlines(keepends=True), name))
                tree = ast.parse(cell)
                last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
                exec(compile(tree, name, 'exec'), vars(main))
                if last is not None:
                    shown.append(eval(compile(ast.Expression(last.value), name, 'eval'), vars(main)))
    finally:
        vars(main).clear()
    return printed.getvalue(), shown


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_its_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding='utf-8'))
    code = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    assert len(code) > 5
    assert all(cell['outputs'] == [] and cell['execution_count'] is None for cell in code)


def test_the_first_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They run as plain Python: the classifier learns, all is well, and the bits are the same."""
    pytest.importorskip('matplotlib').use('agg')
    monkeypatch.chdir(tmp_path)
    printed, shown = run_cells(DOCS / 'first-steps.ipynb', monkeypatch)
    shares = [int(line.split()[-2].rstrip('%')) for line in printed.splitlines() if line.endswith('right')]
    assert len(shares) == 3
    assert shares[-1] > 90
    assert [value for value in shown if isinstance(value, bool)] == [True]
    assert [] in shown  # what `check` finds
    assert sum('<svg' in (value._repr_html_() or '') for value in shown if hasattr(value, '_repr_html_')) >= 2


@pytest.mark.long
@pytest.mark.leaves_threads('the kernel is another process, and its client closes its sockets when it likes')
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_in_a_kernel(path: Path, tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip('nbclient'), pytest.importorskip('nbformat')
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name='python3').execute(cwd=str(tmp_path))
    outputs = [output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs]
    assert any('text/html' in output.get('data', {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == 'stream' and output.name == 'stderr']
