"""Runs the scripts of examples/ as a user would run them."""

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / 'examples'
SECONDS = 120


def skip_without_packages(script: Path) -> None:
    """Skips the test where a package is missing that the script names, `# requires: nibabel, matplotlib`."""
    for line in re.findall(r'^# requires: (.+)$', script.read_text(encoding='utf-8'), re.MULTILINE):
        for name in line.split(','):
            with contextlib.suppress(ModuleNotFoundError):  # of the package that a module is in
                if importlib.util.find_spec(name.strip()) is not None:
                    continue
            pytest.skip(f'needs {name.strip()}')


def run_example(
    command: list[Any], folder: Path, status: int = 0, launcher: tuple[str, ...] = (), **environment: str
) -> str:
    """What the command prints; it ends with that status, leaves no process, and our code in it gives no warning."""
    # Warnings are shown, not made errors: one in another package's import would end a script that works.
    process = subprocess.Popen(
        [*launcher, sys.executable, '-W', 'default', *map(str, command)],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        # Reads until everyone who has the pipe is gone: a worker that outlives its script counts as too slow.
        stdout, stderr = process.communicate(timeout=SECONDS)
    finally:
        if not process.stdout.closed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == status, f'exit code {process.returncode}\n{stdout}\n{stderr}'
    ours = rf'^({re.escape(str(ROOT))}/(itpipe|examples)/\S+:\d+: \w*Warning|Exception ignored)'
    assert not re.search(ours, stderr, re.MULTILINE), stderr
    return stdout
