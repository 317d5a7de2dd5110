"""How the cores of the machine are shared."""

from __future__ import annotations

import os
from contextlib import suppress

__all__ = ['count_workers', 'usable_cores']

NATIVE_THREADS = (
    'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'BLIS_NUM_THREADS', 'VECLIB_MAXIMUM_THREADS',
    'NUMEXPR_NUM_THREADS', 'NUMBA_NUM_THREADS', 'RAYON_NUM_THREADS', 'POLARS_MAX_THREADS', 'OPENCV_FOR_THREADS_NUM',
    'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS', 'BLOSC_NTHREADS', 'TIFFFILE_NUM_THREADS', 'VIPS_CONCURRENCY',
    'TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS',
)  # fmt: skip
"""What native thread pools read their size from."""


def usable_cores() -> int:
    """The number of cores that this process may use."""
    from .starting import cpu_count

    return int(cpu_count())


def count_workers(n: int) -> int:
    """The number of workers that `n` stands for, negative ones counting from the number of cores."""
    return n if n > 0 else max(1, usable_cores() + 1 + n)


def _limit_native_threads(size: int) -> None:
    """Let OpenMP, if it is there, use its share of the cores in the calling thread, if threadpoolctl is there, too."""
    with suppress(OSError), open('/proc/self/maps', 'rb') as file:  # which takes less time than to import threadpoolctl
        libraries = file.read()
        if not any(name in libraries for name in (b'libgomp', b'libomp', b'libiomp')):
            return
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    threadpool_limits(max(1, cores // size), user_api='openmp')
