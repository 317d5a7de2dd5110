"""How workers share the cores of the machine."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ['count_workers', 'limit_openmp', 'native_limits', 'usable_cores']

NATIVE_THREADS = (
    'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'BLIS_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS',
    'NUMEXPR_NUM_THREADS', 'NUMBA_NUM_THREADS', 'RAYON_NUM_THREADS', 'POLARS_MAX_THREADS', 'OPENCV_FOR_THREADS_NUM',
    'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS', 'BLOSC_NTHREADS', 'TIFFFILE_NUM_THREADS', 'VIPS_CONCURRENCY',
    'TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS',
)  # fmt: skip
"""The environment variables from which native thread pools read their size."""
LIKE_OPENMP = {'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'BLIS_NUM_THREADS', 'NUMEXPR_NUM_THREADS'}
"""If one of these is not set, its thread pool reads OMP_NUM_THREADS."""


def usable_cores() -> int:
    """The number of cores that this process may use."""
    from .starting import cpu_count

    return int(cpu_count())


def count_workers(n: int) -> int:
    """The number of workers that `n` stands for; a negative `n` counts from the number of cores."""
    return n if n > 0 else max(1, usable_cores() + 1 + n)


def native_limits(processes: int) -> dict[str, str]:
    """The environment in which the native thread pools of so many processes share the cores.

    What the user has set stays as it is.
    """
    share = str(max(1, usable_cores() // processes))
    set_by_user = {*os.environ, *(LIKE_OPENMP if 'OMP_NUM_THREADS' in os.environ else ())}
    return {name: share for name in NATIVE_THREADS if name not in set_by_user}


def limit_openmp(threads: int) -> None:
    """Limit OpenMP in the calling thread to its share of the cores, if OpenMP and threadpoolctl are there."""
    with suppress(OSError), open('/proc/self/maps', 'rb') as file:  # faster than importing threadpoolctl
        libraries = file.read()
        if not any(name in libraries for name in (b'libgomp', b'libomp', b'libiomp')):
            return
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threadpool_limits(max(1, cores // threads), user_api='openmp')
