"""Every script of examples/ runs as a user would run it, and ends by itself, with nothing to complain about.

A script that needs an optional package says so in a comment, `# requires: nibabel, matplotlib` (the names to import),
and is skipped where one is missing. Those that begin with `_` are not run. The trainings are run by
test_examples_trainings.py.
"""

import pytest
from clusters import launching, needs_mpiexec
from scripts import EXAMPLES, SECONDS, run_example, skip_without_packages

from .test_examples_trainings import TRAININGS

SCRIPTS = sorted(path for path in EXAMPLES.glob('*.py') if not path.name.startswith('_') and path.name not in TRAININGS)
ARGUMENTS = {'digits.py': ['--epochs', '2'], 'resume.py': ['--epochs', '2']}
MPI = {'mpi_pool.py'}
LONG = {'dask_cluster.py', 'digits.py', 'ray_cluster.py', 'resume.py'}


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize(
    'script',
    [
        pytest.param(path, marks=[pytest.mark.long] * (path.name in LONG), id=path.name)
        for path in SCRIPTS
        if path.name not in MPI
    ],
)
def test_example(script, tmp_path):
    """The script succeeds, leaves no process, and our code in it gives no warning."""
    skip_without_packages(script)
    run_example([script, *ARGUMENTS.get(script.name, [])], tmp_path, MPLBACKEND='Agg')


@pytest.mark.long
@needs_mpiexec()
def test_example_of_mpi(tmp_path):
    """It is left after two batches, and goes on there."""
    script = EXAMPLES / 'mpi_pool.py'
    skip_without_packages(script)
    command, launcher = ['-m', 'mpi4py.futures', script], ('mpiexec', '-n', '3')
    first = run_example([*command, 2], tmp_path, launcher=launcher, **launching())
    rest = run_example(command, tmp_path, launcher=launcher, **launching())
    assert (first.count('scales'), rest.count('scales')) == (2, 18)
    assert 'goes on at batch 2' in rest
