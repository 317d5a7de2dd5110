"""Every script of examples/ runs as a user would run it, and ends by itself, with nothing to complain about.

A script that needs an optional package says so in a comment, `# requires: nibabel, matplotlib` (the names to import),
and is skipped where one is missing. Those that begin with `_` are not run.
"""

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (ROOT / 'examples').glob('*.py') if not path.name.startswith('_'))
ARGUMENTS = {'digits.py': ['--epochs', '2'], 'resume.py': ['--epochs', '2']}
LONG = {'dask_cluster.py', 'digits.py', 'resume.py'}
SECONDS = 120


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize(
    'script',
    [pytest.param(path, marks=[pytest.mark.long] * (path.name in LONG), id=path.name) for path in SCRIPTS],
)
def test_example(script, tmp_path):
    """The script succeeds, leaves no process, and our code in it gives no warning."""
    for line in re.findall(r'^# requires: (.+)$', script.read_text(encoding='utf-8'), re.MULTILINE):
        for name in line.split(','):
            if importlib.util.find_spec(name.strip()) is None:
                pytest.skip(f'needs {name.strip()}')

    # Warnings are shown, not made errors: one in another package's import would end a script that works.
    process = subprocess.Popen(
        [sys.executable, '-W', 'default', str(script), *ARGUMENTS.get(script.name, [])],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'MPLBACKEND': 'Agg'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        # Reads until everyone who has the pipe is gone: a worker that outlives its script counts as too slow.
        stdout, stderr = process.communicate(timeout=SECONDS)
    finally:
        if not process.stdout.closed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, f'exit code {process.returncode}\n{stdout}\n{stderr}'
    ours = rf'^({re.escape(str(ROOT))}/(itpipe|examples)/\S+:\d+: \w*Warning|Exception ignored)'
    assert not re.search(ours, stderr, re.MULTILINE), stderr
