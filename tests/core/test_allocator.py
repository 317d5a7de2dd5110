"""Memory that a process has freed is used again."""

import platform
import textwrap

import pytest
from running import run_script

SCRIPT = """
    import resource, sys
    import numpy as np
    from itpipe import parallel_map

    def page_faults(_):  # how many pages the system had to give for ten times four arrays of a megabyte
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            [np.ones(1 << 20, np.uint8) for _ in range(4)]
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    print([*range(4) | parallel_map(page_faults, **{sys.argv[1]: 1})][-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='other C libraries cannot be told')
@pytest.mark.parametrize(('setting', 'few'), [(None, True), ('MALLOC_TRIM_THRESHOLD_', False)])
@pytest.mark.parametrize('where', ['threads', 'processes'])
def test_workers_keep_freed_memory(monkeypatch: pytest.MonkeyPatch, where: str, setting: str | None, few: bool) -> None:
    monkeypatch.delenv('MALLOC_MMAP_THRESHOLD_', raising=False)
    monkeypatch.delenv('MALLOC_TRIM_THRESHOLD_', raising=False)
    if setting is not None:
        monkeypatch.setenv(setting, '131072')
    last = int(run_script(textwrap.dedent(SCRIPT), where))
    assert (last < 1500) is few  # without reuse, each array takes 256
