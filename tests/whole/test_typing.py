"""Type checkers find the types that `typing/accepted.py` says, and refuse what `typing/refused.py` says, only that.

`make types` reads the same files as they are, and the rest of the package.
"""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from itpipe import Stage, batch_by, combine, map_at, take

ROOT = Path(__file__).parents[2]
CODE = ROOT / 'tests/typing'
REFUSED = re.compile(r'  # type: ignore\[[\w, -]+\]  # pyright: ignore\[\w+(, \w+)*\]$', re.MULTILINE)


def mypy(folder: Path) -> set[tuple[str, int]]:
    """The lines in which mypy finds errors."""
    options = ['--config-file', str(ROOT / 'pyproject.toml'), '--output', 'json', str(folder)]
    done = run('mypy', options, ROOT, MYPYPATH=str(ROOT))
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]
    return {(Path(e['file']).name, e['line']) for e in errors if e['severity'] == 'error'}


def pyright(folder: Path) -> set[tuple[str, int]]:
    """The lines in which pyright finds errors."""
    (folder / 'pyrightconfig.json').write_text(json.dumps({'typeCheckingMode': 'standard', 'extraPaths': [str(ROOT)]}))
    options = ['--outputjson', '--pythonpath', sys.executable, '--project', str(folder)]
    done = run('pyright', options, folder, PYRIGHT_PYTHON_IGNORE_WARNINGS='1')
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report['summary']['filesAnalyzed'] == 2
    errors = [e for e in report['generalDiagnostics'] if e['severity'] == 'error']
    return {(Path(e['file']).name, e['range']['start']['line'] + 1) for e in errors}


def run(checker: str, options: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', checker, *options]
    return subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize('checker', [mypy, pyright])
def test_both_checkers_accept_user_code_with_these_types_and_refuse_the_marked_lines_alone(checker, tmp_path):
    if not find_spec(checker.__name__):
        pytest.skip(f'{checker.__name__} is not installed')
    refused = (CODE / 'refused.py').read_text()
    (tmp_path / 'accepted.py').write_text((CODE / 'accepted.py').read_text())
    (tmp_path / 'refused.py').write_text(REFUSED.sub('', refused))
    marked = {('refused.py', n) for n, line in enumerate(refused.splitlines(), 1) if REFUSED.search(line)}
    assert len(marked) > 25

    assert checker(tmp_path) == marked


def test_the_package_has_a_marker_that_says_it_is_typed():
    assert (ROOT / 'itpipe/py.typed').exists()


def test_nothing_of_what_is_for_type_checkers_is_imported():
    code = "import sys, itpipe; print({'itpipe._engine.types', 'numpy.typing', 'typing_extensions'} & set(sys.modules))"
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == 'set()\n'


def test_the_types_for_type_checkers_are_stage_when_the_program_runs():
    assert {type(each) for each in (take(1), batch_by(1), map_at(0, abs), combine())} == {Stage}
