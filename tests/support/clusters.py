"""For the tests on clusters: where launchers are, and how they get along with the tests."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from running import environment

__all__ = ['launching', 'needs_mpiexec']


def launching() -> dict[str, str]:
    """The environment of a launcher: finds programs that came with packages, and does not mind who runs it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
    open_mpi = {
        'OMPI_ALLOW_RUN_AS_ROOT': '1',
        'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1',
        'PRTE_MCA_rmaps_default_mapping_policy': ':oversubscribe',
    }
    return environment(PATH=path, OMP_NUM_THREADS='1', **open_mpi)


def needs_mpiexec() -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which('mpiexec', path=launching()['PATH']) is None, reason='needs mpiexec')
