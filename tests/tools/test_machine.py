"""What is said of the machine."""

import sys
from pathlib import Path

import pytest

from itpipe.tools import machine


def test_all_topics_are_there() -> None:
    found = machine.facts()
    assert {'itpipe', 'Python', 'numpy', 'scipy', 'toolz', 'loky', 'cloudpickle'} <= found['versions'].keys()
    assert found['platform'].keys() == {'system', 'machine', 'C library'}
    assert int(found['cores']['used by itpipe']) >= 1
    assert all(isinstance(value, str) and value for topic in found.values() for value in topic.values())


def test_libraries_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, '_version', lambda name: '1.0')
    before = {*sys.modules}
    versions = machine.facts()['versions']
    assert versions['torch'] == '1.0'
    assert not {name.partition('.')[0] for name in {*sys.modules} - before} & {'torch', 'pandas', 'dask', 'matplotlib'}


def test_only_what_a_run_can_use_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ['numpy>=1.26', "torch>=2.3; extra == 'torch'", "mypy>=1; extra == 'dev'", "itpipe[dask]; extra == 'dev'",
             "rich>=13; extra == 'integrations'", "rich>=13; extra == 'dev'"]  # fmt: skip
    monkeypatch.setattr(machine.metadata, 'requires', lambda name: given)
    assert machine._requirements() == (['numpy'], ['rich', 'torch'])


def test_it_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(name: str) -> str:
        raise machine.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine.metadata, 'requires', not_there)
    monkeypatch.setattr(machine.metadata, 'version', not_there)
    versions = machine.facts()['versions']
    assert versions['numpy'] == 'missing'
    assert versions['itpipe'] != 'missing'


@pytest.mark.parametrize(
    ('files', 'quota'),
    [
        ({}, 'none'),
        ({'cpu.max': 'max 100000\n'}, 'none'),
        ({'cpu.max': '150000 100000\n'}, '1.5 cores'),
        ({'cpu/cpu.cfs_quota_us': '200000\n', 'cpu/cpu.cfs_period_us': '100000\n'}, '2 cores'),
        ({'cpu/cpu.cfs_quota_us': '-1\n', 'cpu/cpu.cfs_period_us': '100000\n'}, 'none'),
    ],
)
def test_the_quota_of_either_version_of_cgroups(
    files: dict[str, str], quota: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, 'CGROUP', tmp_path)
    assert machine.facts()['cores']['quota of its group'] == quota


def test_a_value_that_may_tell_something_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ('OMP_NUM_THREADS', '4'),
        ('PYTHONPATH', '/srv/x'),
        ('LD_PRELOAD', '/lib/a.so'),
        ('TMPDIR', 'a b'),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('API_KEY', '123')
    shown = machine.facts()['environment']
    assert (shown['OMP_NUM_THREADS'], shown['PYTHONPATH'], shown['LD_PRELOAD'], shown['TMPDIR']) == (
        '4', 'set', 'set', 'set',
    )  # fmt: skip
    assert 'API_KEY' not in shown


def test_paths_of_any_home_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HOME', '/root')
    assert machine.without_home("at '/root/a', /Users/bo/b and C:\\Users\\cy\\c") == "at '~/a', ~/b and ~\\c"
