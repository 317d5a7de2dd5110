"""Memory that a process has freed is used again."""

import platform
import resource
from typing import Any

import numpy as np
import pytest

from itpipe import parallel_map


def page_faults(_: int) -> int:
    """How many pages the system had to give for ten arrays of a megabyte, one after another."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(1 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries cannot be told')
@pytest.mark.parametrize(('setting', 'few'), [(None, True), ('MALLOC_TRIM_THRESHOLD_', False)])
def test_processes_keep_freed_memory(monkeypatch: Any, setting: str | None, few: bool) -> None:
    monkeypatch.delenv('MALLOC_MMAP_THRESHOLD_', raising=False)
    monkeypatch.delenv('MALLOC_TRIM_THRESHOLD_', raising=False)
    if setting is not None:
        monkeypatch.setenv(setting, '131072')
    *_, last = range(4) | parallel_map(page_faults, processes=1)
    assert (last < 300) is few  # without reuse, each array takes 256
