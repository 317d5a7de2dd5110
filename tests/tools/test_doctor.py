"""`itpipe doctor`: what it says of a machine where all is well, and where something is missing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import environment

import itpipe
from itpipe.tools import doctor
from itpipe.tools.command import main

PLANTED = """
import errno, os, resource, sys, tempfile
from itpipe.tools import doctor, machine
from itpipe.tools.command import main
{fault}
sys.exit(main(['doctor', '--json']))
"""


def planted(fault: str, **env: str) -> dict[str, Any]:
    """What it finds in an interpreter of its own with this fault."""
    code = PLANTED.format(fault=fault)
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment() | env, capture_output=True, text=True, timeout=100, check=False
    )
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if report['ok'] else 1)
    return report


def failed(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {run['name']: run for run in report['runs'] if not run['ok']}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs to be tried, in the place of all; empty."""
    runs: dict[str, Any] = {}
    monkeypatch.setattr(doctor, 'RUNS', runs)
    return runs


def test_every_kind_of_run_works_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['doctor']) == 0
    topics = capsys.readouterr().out.split('\nruns\n')
    assert topics[1].splitlines() == [f'  ok      {name}' for name in doctor.RUNS]
    assert topics[0].startswith('versions\n  itpipe ')


def test_json_has_the_same(few: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    few['serial'] = doctor._serial
    assert main(['doctor', '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    (run,) = report['runs']
    assert run.pop('seconds') >= 0
    assert run == {'ok': True, 'name': 'serial', 'error': None, 'advice': None, 'stack': []}
    assert report['ok'] is True
    assert report['versions']['itpipe'] == itpipe.__version__
    assert {'platform', 'cores', 'memory', 'limits', 'environment'} <= report.keys()


def test_other_bits_than_in_serial_are_found(few: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    few['threads'] = lambda: doctor._with(threads=2)
    monkeypatch.setattr(doctor, '_expected', lambda: [[[0.0]]])
    (trial,) = doctor.examined().trials
    assert (trial.error, trial.advice) == (
        'AssertionError: the batches have other bits than in serial',
        'report it, with all of this',
    )


def test_what_hangs_is_found(few: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    ended = Event()
    few['processes'] = few['serial'] = ended.wait
    monkeypatch.setattr(doctor, 'LIMIT', 0.01)
    report = doctor.examined()
    ended.set()
    first, what_to_do, *stack = list(report.lines())[-len(report.trials[1].stack) - 2 :]
    assert first == '  FAILED  serial: nothing has come for 0.01 seconds'
    assert what_to_do == (
        '          what to do: if this machine is slow or busy, try again when it has less to do. If the run hangs'
        ' then, too, it waits where the lines below say: report it, with all of this'
    )
    assert any(re.fullmatch(r' +threading, line \d+, in wait', line) for line in stack)
    assert [str(trial.advice).endswith('; `threads=` does without processes; the page "Troubleshooting" has more')
            for trial in report.trials] == [True, False]  # fmt: skip
    assert json.loads(report.as_json())['runs'][1]['stack'] == [line.strip() for line in stack]


@pytest.mark.parametrize(
    ('error', 'advice'),
    [
        (OSError(28, 'No space left on device'), 'is full'),
        (MemoryError(), 'memory is short'),
        (RuntimeError("can't start new thread"), 'no more processes or threads'),
        (PermissionError(13, 'Permission denied'), 'permissions'),
        (KeyError('x'), 'report it'),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_what_to_do_follows_from_the_error_or_its_cause(few: dict[str, Any], error: Exception, advice: str) -> None:
    def fails() -> None:
        raise error

    def fails_later() -> None:
        try:
            fails()
        except Exception as first:
            raise ValueError('cannot go on') from first

    few['serial'], few['Infinite'] = fails, fails_later
    for trial in doctor.examined().trials:
        assert trial.advice is not None
        assert advice in trial.advice


def test_an_error_does_not_show_a_path(few: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError(2, 'No such file', '/srv/acme/data')

    few['serial'] = fails
    (trial,) = doctor.examined().trials
    assert trial.error == "FileNotFoundError: [Errno 2] No such file: '…'"


def test_too_few_open_files() -> None:
    wrong = failed(planted('resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))'))
    assert {'processes', 'whole batches in processes', 'large arrays in processes'} <= wrong.keys()
    assert 'serial' not in wrong
    assert 'ulimit -n' in wrong['processes']['advice']


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, 'memfd_create'), reason='this system has no files in memory anyway')
def test_no_room_for_shared_memory() -> None:
    report = planted(
        'def full(*_, **__):\n    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n'
        'os.memfd_create = tempfile.mkstemp = full'
    )
    assert report['memory']['files in memory'] == 'no: temporary files are used instead'
    wrong = failed(report)
    assert wrong.keys() == {'shared memory'}  # the arrays come by another way
    assert 'memfd_create' in wrong['shared memory']['error']
    assert 'TMPDIR' in wrong['shared memory']['advice']


def test_processes_that_cannot_start() -> None:
    wrong = failed(planted('sys.executable = "/bin/false"'))
    assert wrong.keys() == {'processes', 'whole batches in processes', 'large arrays in processes'}
    assert all('`threads=`' in run['advice'] for run in wrong.values())


def test_it_leaves_no_trace_of_who_runs_it(tmp_path: Path) -> None:
    home = tmp_path / 'ann'
    home.mkdir()
    report = planted(
        'doctor.RUNS = {}',
        HOME=str(home), TMPDIR=str(home), PYTHONPATH=os.pathsep.join([str(home), os.environ.get('PYTHONPATH', '')]),
        SECRET_TOKEN='hunter2', PYTHONSTARTUP='ann_lee.py', OMP_NUM_THREADS='3',
    )  # fmt: skip
    text = json.dumps(report)
    assert 'hunter2' not in text
    assert 'SECRET_TOKEN' not in text
    assert 'ann_lee' not in text
    assert str(home) not in text
    assert report['environment']['OMP_NUM_THREADS'] == '3'
    assert report['environment']['PYTHONPATH'] == report['environment']['TMPDIR'] == 'set'
