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


@pytest.mark.parametrize(
    ('name', 'value', 'shown'),
    [
        ('OMP_NUM_THREADS', '4', '4'),
        ('OMP_NUM_THREADS', '4,2', '4,2'),
        ('OMP_PROC_BIND', 'TRUE', 'TRUE'),
        ('KMP_AFFINITY', 'granularity=fine,compact,1,0', 'granularity=fine,compact,1,0'),
        ('GLIBC_TUNABLES', 'glibc.malloc.arena_max=2', 'glibc.malloc.arena_max=2'),
        ('MALLOC_CONF', 'background_thread:true,dirty_decay_ms:-1', 'background_thread:true,dirty_decay_ms:-1'),
        ('PYTHONWARNINGS', 'error', 'error'),
        ('PYTHONWARNINGS', 'ignore::UserWarning:acme.secret', 'set'),
        ('PYTHONMALLOC', '', 'empty'),
        ('PYTHONPATH', '/srv/x', 'set'),
        ('PYTHONPATH', 'acme', 'set'),
        ('PYTHONSTARTUP', 'ann_lee.py', 'set'),
        ('LD_PRELOAD', 'libacme.so', 'set'),
        ('TMPDIR', 'a b', 'set'),
        ('TMPDIR', '7', 'set'),
        ('CUDA_VISIBLE_DEVICES', '0,1', '0,1'),
        ('CUDA_VISIBLE_DEVICES', 'GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,1', 'GPU-…,1'),
        ('CUDA_VISIBLE_DEVICES', 'MIG-GPU-8932f937/1/2', 'MIG-…'),
        ('CUDA_VISIBLE_DEVICES', 'GPU-8932f937 of ann', 'set'),
        ('RANK', 'GPU-1', 'set'),
    ],
)
def test_only_numbers_and_known_words_are_shown(
    name: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert machine.facts()['environment'][name] == shown


def test_other_variables_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('API_KEY', '123')
    assert 'API_KEY' not in machine.facts()['environment']


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ("at '/root/a', /Users/bo/b and C:\\Users\\cy\\c", "at '…', … and …"),
        ("[Errno 2] No such file: '/srv/acme/x' -> '/mnt/y z/'", "[Errno 2] No such file: '…' -> '…'"),
        ('open(/home/ann lee/data/x): failed', 'open(…): failed'),
        ('x=/srv/a:/srv/b, "D:\\\\acme"', 'x=…, "…"'),
        (r'\\server\share', '…'),
        ('see https://acme.com/?key=1', 'see https:…'),
        ('/dev/shm/x is full', '/dev/shm/x is full'),
        ('/dev/shm:/srv/acme /dev/../srv/acme', '/dev/shm:…'),
        ("'/dev/shm:/srv/acme' /dev/null /srv/acme", "'/dev/shm:…' /dev/null …"),
        (f"{machine.PACKAGE}/x.py, '{sys.prefix}/y z' {sys.prefix}/../acme", "<itpipe>/x.py, '<prefix>/y z' …"),
        ('1/2 of a / b, and/or ./c', '1/2 of a / b, and/or ./c'),
    ],
)
def test_paths_are_not_shown_but_for_those_of_python(text: str, shown: str) -> None:
    assert machine.without_paths(text) == shown
