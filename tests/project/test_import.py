"""What `import itpipe` loads: the descriptions, and nothing that only a run needs."""

import subprocess
import sys

import pytest

import itpipe

OVER_NUMPY = """
import sys
import numpy
before = set(sys.modules)
import itpipe
{then}
print(*sorted(set(sys.modules) - before))
"""
SLOW = {
    'asyncio', 'cloudpickle', 'concurrent', 'ctypes', 'dask', 'difflib', 'distributed', 'enum', 'heapq', 'inspect',
    'json', 'logging', 'loky', 'mmap', 'multiprocessing', 'pandas', 'pickle', 'queue', 'random', 'scipy', 'select',
    'signal', 'socket', 'subprocess', 'tempfile', 'threading', 'toolz', 'torch', 'traceback', 'uuid',
}  # fmt: skip
"""What takes long to import; that of the standard library may be loaded by numpy already."""
RUNS = {'background', 'chain', 'epochs', 'ledgers', 'meters', 'operators', 'run', 'stateful', 'threads', 'waiting'}
"""Modules of `itpipe._engine` that only a run needs …"""
FOR_STATES = {'checkpoint', 'edits', 'merging'}
"""… and those that only a state needs."""


def loaded(then: str = '') -> set[str]:
    """The modules that are loaded over those of numpy."""
    code = OVER_NUMPY.format(then=then)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def engine(modules: set[str]) -> set[str]:
    return {name.removeprefix('itpipe._engine.') for name in modules if name.startswith('itpipe._engine.')}


def test_import_loads_what_describes_a_stream_and_no_more() -> None:
    modules = loaded()
    assert not SLOW & {name.partition('.')[0] for name in modules}
    assert 'numpy.random' not in modules
    assert not (RUNS | FOR_STATES) & engine(modules)
    assert {name.split('.')[1] for name in modules if name.startswith('itpipe.')} == {
        '_core', '_engine', 'errors', 'infinite', 'integrations', 'stages',
    }  # fmt: skip


def test_a_pipeline_is_written_without_loading_what_runs_it() -> None:
    then = 'itpipe.sample(range(9), seed=0) | abs | itpipe.batch_by(2) | itpipe.combine | itpipe.zip_with(range(9))'
    modules = loaded(then)
    assert not (RUNS | FOR_STATES) & engine(modules)
    assert not any(name.startswith('itpipe._workers') for name in modules)


def test_a_run_loads_no_pools_and_nothing_for_states() -> None:
    modules = loaded('list(range(9) | itpipe.apply(abs) | itpipe.batch_by(2) | itpipe.combine)')
    assert engine(modules) >= {'chain', 'operators', 'run'}
    assert not FOR_STATES & engine(modules)
    assert not any(name.startswith('itpipe._workers') for name in modules)


def test_threads_load_nothing_of_processes() -> None:
    modules = loaded('list(range(9) | itpipe.parallel_map(abs, threads=2))')
    assert 'itpipe._workers.threads' in modules
    assert not {'itpipe._workers.processes', 'loky', 'cloudpickle', 'multiprocessing'} & modules


@pytest.mark.parametrize('name', sorted(itpipe._LATER))
def test_a_name_that_is_imported_later_is_the_same_by_every_way(name: str) -> None:
    code = (
        f'import itpipe\nassert "{name}" in dir(itpipe) and "{name}" not in vars(itpipe)\n'
        f'from itpipe import {name}\nassert itpipe.{name} is {name} and {name}.__module__ == "itpipe"'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="^module 'itpipe' has no attribute 'nothing'$"):
        itpipe.nothing


@pytest.mark.parametrize('package', ['dpipe', 'files', 'image', 'testing'])
def test_packages_are_there_without_an_import_of_their_own(package: str) -> None:
    code = f'import itpipe\nassert {package!r} in dir(itpipe)\nprint(itpipe.{package}.__name__)'
    done = subprocess.run([sys.executable, '-c', code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f'itpipe.{package}\n', '')
