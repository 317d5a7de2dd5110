"""The package as users get it: built, described for an index, installed, and read by their type checkers."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from itpipe import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())
USERS = Path(__file__).with_name('user_project')
TRAINS = """
import itpipe, numpy
from itpipe import Infinite, sample

if __name__ == '__main__':
    with Infinite(sample(range(9), seed=0), float, batch_size=4, batches_per_epoch=2, processes=2) as batches:
        print(itpipe.__version__, itpipe.__file__, [batch.shape for batch in batches])
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class Built(NamedTuple):
    sdist: Path
    wheel: Path
    python: Path
    """The interpreter of an environment that has the wheel, and of what is here nothing but the dependencies."""


def run(*command: object, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    return subprocess.run([*map(str, command)], cwd=cwd, env=outside | env, capture_output=True, text=True, check=False)


def done(*command: object, cwd: Path = ROOT, **env: str) -> str:
    finished = run(*command, cwd=cwd, **env)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    for tool in 'build', 'hatchling', 'twine':
        pytest.importorskip(tool)
    folder = tmp_path_factory.mktemp('package')
    done(sys.executable, '-m', 'build', '--no-isolation', '--outdir', folder / 'dist', ROOT)
    (sdist,), (wheel,) = (folder / 'dist').glob('*.tar.gz'), (folder / 'dist').glob('*.whl')
    done(sys.executable, '-m', 'venv', '--without-pip', folder / 'env')
    python = folder / 'env/bin/python'
    done(sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', '--no-index', wheel)
    (packages,) = (folder / 'env').glob('lib/python*/site-packages')
    # Lines of a .pth file that are read by another one are not: an editable itpipe stays out.
    here = [*site.getsitepackages(), *(path for path in sys.path if path.endswith('site-packages'))]
    (packages / 'dependencies.pth').write_text('\n'.join(dict.fromkeys(here)))
    yield Built(sdist, wheel, python)
    shutil.rmtree(folder)


def test_the_wheel_has_the_package_and_nothing_else(built: Built) -> None:
    files = set(zipfile.ZipFile(built.wheel).namelist())
    tracked = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'itpipe').rglob('*.py')} | {'itpipe/py.typed'}
    about = f'itpipe-{__version__}.dist-info'
    rest = {'METADATA', 'RECORD', 'WHEEL', 'entry_points.txt', 'licenses/LICENSE'}
    assert files == tracked | {f'{about}/{name}' for name in rest}


def test_the_source_distribution_has_what_is_needed_to_test_it(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        files = {name.partition('/')[2] for name in archive.getnames()}
    assert {'LICENSE', 'README.md', 'CHANGELOG.md', 'pyproject.toml', 'conftest.py', 'itpipe/py.typed'} <= files
    assert 'tests/project/test_package.py' in files
    assert not [name for name in files if name.startswith(('.ci', '.venv', 'build/', 'dist/')) or '__pycache__' in name]


def test_an_index_can_show_its_description(built: Built) -> None:
    assert 'PASSED' in done(sys.executable, '-m', 'twine', 'check', '--strict', built.sdist, built.wheel)


def test_its_metadata_is_that_of_the_project(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        lines = archive.read(f'itpipe-{__version__}.dist-info/METADATA').decode().splitlines()
    assert {f'Version: {__version__}', 'License-Expression: MIT', 'Requires-Python: >=3.11'} <= set(lines)
    required = {line for line in lines if line.startswith('Requires-Dist:') and 'extra ==' not in line}
    assert required == {f'Requires-Dist: {each}' for each in PROJECT['project']['dependencies']}


def test_what_is_installed_trains_and_has_its_command(built: Built, tmp_path: Path) -> None:
    (tmp_path / 'train.py').write_text(TRAINS)
    version, file, shapes = done(built.python, 'train.py', cwd=tmp_path).split(maxsplit=2)
    assert (version, shapes.strip()) == (__version__, '[(4,), (4,)]')
    assert Path(file).is_relative_to(built.python.parents[1])
    for command in [built.python.with_name('itpipe')], [built.python, '-m', 'itpipe']:
        assert done(*command, '--version', cwd=tmp_path) == f'itpipe {__version__}\n'


def test_the_documentation_lists_all_extras() -> None:
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / 'pyproject.toml').read_text(encoding='utf-8'))['project']
    page = (root / 'docs' / 'installation.md').read_text(encoding='utf-8')
    assert {*re.findall(r'^\| `(\w+)` \|', page, re.MULTILINE)} == project['optional-dependencies'].keys()


def mypy(project: Path, python: Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, '-m', 'mypy', '--strict', '--python-executable', python, '.', cwd=project)


def pyright(project: Path, python: Path) -> subprocess.CompletedProcess[str]:
    (project / 'pyrightconfig.json').write_text(json.dumps({'typeCheckingMode': 'strict'}))
    command = [sys.executable, '-m', 'pyright', '--pythonpath', python]
    return run(*command, cwd=project, PYRIGHT_PYTHON_IGNORE_WARNINGS='1')


@pytest.mark.parametrize('checker', [mypy, pyright])
@pytest.mark.parametrize('mistake', ['', "\n\nwrong: int = examples(Path('x')) | batch_by(2)\n"])
def test_strict_type_checkers_accept_a_project_that_uses_it(built, checker, mistake, tmp_path) -> None:
    if not find_spec(checker.__name__):
        pytest.skip(f'{checker.__name__} is not installed')
    project = tmp_path / 'project'
    shutil.copytree(USERS, project, ignore=shutil.ignore_patterns('__pycache__'))
    if mistake:
        script = project / 'train.py'
        script.write_text(script.read_text() + mistake)
    checked = checker(project, built.python)
    assert (checked.returncode != 0) == bool(mistake), checked.stdout + checked.stderr
    assert 'Stream[list[' in checked.stdout or not mistake
