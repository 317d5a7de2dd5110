"""How workers share the cores."""

import os
from collections.abc import Callable
from typing import Any

import pytest

import itpipe._workers.cores
from itpipe import parallel_map
from itpipe._workers.cores import NATIVE_THREADS


def test_native_thread_pools_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(itpipe._workers.cores, 'usable_cores', lambda: 6)
    for name in NATIVE_THREADS:
        monkeypatch.delenv(name, raising=False)

    def see(_: int) -> Any:
        import threadpoolctl

        libraries = {lib['internal_api']: lib['num_threads'] for lib in threadpoolctl.threadpool_info()}
        return [os.environ.get(name) for name in NATIVE_THREADS], libraries

    pytest.importorskip('threadpoolctl')
    (seen, libraries), *_ = list([0] | parallel_map(see, processes=3))
    assert seen == ['2'] * len(NATIVE_THREADS)
    assert set(libraries.values()) <= {2}
    assert libraries
    assert not any(name in os.environ for name in NATIVE_THREADS)
    (seen, _), *_ = list([0] | parallel_map(see, processes=100))
    assert seen == ['1'] * len(NATIVE_THREADS)


def polars_pool() -> int:
    import polars as pl

    return pl.thread_pool_size()


def opencv_pool() -> int:
    import cv2

    return cv2.getNumThreads()


def torch_pool() -> int:
    import torch

    return torch.get_num_threads()


def arrow_pool() -> int:
    import pyarrow as pa

    return pa.cpu_count()


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ('library', 'pool', 'variable'),
    [
        ('polars', polars_pool, 'POLARS_MAX_THREADS'),
        ('cv2', opencv_pool, 'OPENCV_FOR_THREADS_NUM'),
        ('torch', torch_pool, 'OMP_NUM_THREADS'),
        ('pyarrow', arrow_pool, 'OMP_NUM_THREADS'),
    ],
)
def test_the_pools_of_libraries_share_the_cores_unless_the_user_says_otherwise(
    library: str, pool: Callable[[], int], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library)
    for name in NATIVE_THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(itpipe._workers.cores, 'usable_cores', lambda: 2)  # none uses more than there are
    assert list([0] | parallel_map(lambda _: pool(), processes=2)) == [1]
    monkeypatch.setenv(variable, '2')
    assert list([0] | parallel_map(lambda _: pool(), processes=2)) == [2]


def test_what_the_user_says_of_native_threads_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('OMP_NUM_THREADS', '7')
    assert list([0] | parallel_map(lambda _: os.environ['OMP_NUM_THREADS'], processes=1)) == ['7']
