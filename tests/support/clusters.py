"""For the tests on clusters: where launchers are, how they get along with the tests, and clusters of this machine."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import ROOT, environment

__all__ = ['UNDER_MPI', 'launching', 'needs_mpiexec', 'opened', 'start_ray']

UNDER_MPI = 'ITPIPE_UNDER_MPI'
"""Is set where mpiexec has started the tests."""
OPEN_MPI = {
    'OMPI_ALLOW_RUN_AS_ROOT': '1',
    'OMPI_ALLOW_RUN_AS_ROOT_CONFIRM': '1',
    'PRTE_MCA_rmaps_default_mapping_policy': ':oversubscribe',
}


def launching(**changes: str) -> dict[str, str]:
    """The environment of a launcher: finds programs that came with packages, and does not mind who runs it."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
    modules = os.pathsep.join([str(ROOT), str(ROOT / 'tests' / 'support')])
    return environment(PATH=path, PYTHONPATH=modules, OMP_NUM_THREADS='1', **OPEN_MPI, **changes)


def needs_mpiexec() -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which('mpiexec', path=launching()['PATH']) is None, reason='needs mpiexec')


@contextmanager
def opened(kind: str) -> Iterator[Any]:
    """An executor of two workers on a cluster of this machine."""
    yield from {'dask': dask_client, 'ray': ray_executor, 'mpi': mpi_pool}[kind]()


def dask_client() -> Iterator[Any]:
    import distributed

    options: Any = {'n_workers': 2, 'threads_per_worker': 1, 'dashboard_address': ':0', 'silence_logs': 60}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def ray_executor() -> Iterator[Any]:
    import ray

    from itpipe import RayExecutor

    start_ray()
    try:
        yield RayExecutor()
    finally:
        ray.shutdown()


def start_ray() -> None:
    """Start Ray here, with two workers that find what the tests define; not again if it is there."""
    import ray

    if not ray.is_initialized():
        quiet: Any = {'include_dashboard': False, 'log_to_driver': False, 'logging_level': logging.CRITICAL}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('PYTHONPATH', launching()['PYTHONPATH'])
            ray.init('local', num_cpus=2, **quiet)


def mpi_pool() -> Iterator[Any]:
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor() as pool:
        yield pool
