"""Files that keep the index of other files."""

import os
import signal
import subprocess

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays_of
from running import run_script, start_script
from strategies import examples

from itpipe.files._index_files import SUFFIXES, compact, load, path_of, store

OF = ('a.tar', 10, 12345)
ARRAYS = {'edges': compact([0, 3, 70_000]), 'names': np.frombuffer(b'abc', np.uint8), 'none': compact([])}


def same(found, expected):
    assert [*found] == [*expected]
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    return True


kinds = arrays_of.arrays(st.sampled_from(['u1', 'u2', 'u4', 'u8', 'i8']), st.integers(0, 300))


@given(st.dictionaries(st.text(max_size=70), kinds, max_size=4), st.text(), st.none() | st.integers(0))
@examples(100)
def test_what_is_stored_is_found(tmp_path_factory, arrays, name, size):
    path = str(tmp_path_factory.mktemp('index') / 'x.index')
    store(path, (name, size, 'tag'), arrays)
    assert same(load(path, (name, size, 'tag')), arrays)


def test_numbers_take_few_bytes():
    kinds = {numbers[-1]: compact(numbers).dtype for numbers in ([255], [256], [0, 1 << 16], [1 << 32])}
    assert kinds == {255: np.uint8, 256: np.uint16, 1 << 16: np.uint32, 1 << 32: np.uint64}
    assert len(compact([])) == 0


def test_what_is_of_another_file_or_another_time_is_not_taken(tmp_path):
    path = str(tmp_path / 'x.index')
    store(path, OF, ARRAYS)
    for other in [('b.tar', 10, 12345), ('a.tar', 11, 12345), ('a.tar', 10, 12346), ('a.tar', None, None)]:
        with pytest.raises(ValueError, match='is not the index of'):
            load(path, other)
    store(path, ('a.tar', 11, 12345), {})
    assert load(path, ('a.tar', 11, 12345)) == {}


def test_a_part_of_an_index_is_none(tmp_path):
    path = tmp_path / 'x.index'
    store(str(path), OF, ARRAYS)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match='index'):
            load(str(path), OF)
    path.write_bytes(whole + b'x')
    with pytest.raises(ValueError, match='index'):
        load(str(path), OF)
    for number in range(whole.index(b']]}') + 3):
        path.write_bytes(whole[:number] + bytes([whole[number] ^ 1]) + whole[number + 1 :])
        with pytest.raises(ValueError, match='index'):
            load(str(path), OF)


def test_names():
    assert path_of('tar', 'd/a.tar', None) == 'd/a.tar.index'
    assert path_of('jsonl', 'a.jsonl', None) == 'a.jsonl.index'
    assert path_of('lines', 'a.jsonl', None) == 'a.jsonl.lines.index'
    assert path_of('tar', 'shard', None).endswith(SUFFIXES)
    apart = {path_of('tar', path, '/kept') for path in ('x/a.tar', 'y/a.tar', 's3://x/a.tar')}
    assert len(apart) == 3
    assert all(os.path.dirname(path) == '/kept' and path.endswith('-a.tar.index') for path in apart)
    assert path_of('tar', 'x/a.tar', '/kept') == path_of('tar', os.path.abspath('x/a.tar'), '/kept')


def test_a_disk_that_is_full_leaves_nothing(tmp_path):
    """The limit on the size of a file fails the same call of the system."""
    script = """
        import resource, signal, sys
        import numpy as np
        from itpipe.files._index_files import load, store
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            store(sys.argv[1], ('a', 1, 2), {'x': np.zeros(1_000_000, np.uint8)})
        except OSError as error:
            print(error.strerror)
    """
    assert run_script(script, tmp_path / 'kept' / 'x.index').strip() == 'File too large'
    assert os.listdir(tmp_path / 'kept') == []


KILLED = """
    import os, signal, sys
    import numpy as np
    from itpipe.files import _index_files

    def killed(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    where, path = sys.argv[1:]
    if where == 'write':
        usual = _index_files._write
        def _write(file, *args):
            usual(file, *args)
            file.truncate(70)
            killed()
        _index_files._write = _write
    else:
        setattr(os, where, killed)
    _index_files.store(path, ('a', 1, 2), {'x': np.arange(1000)})
"""


@pytest.mark.parametrize('where', ['write', 'fsync', 'rename'])
def test_a_process_that_was_killed_leaves_what_is_removed_later(tmp_path, where):
    path = str(tmp_path / 'x.index')
    process = start_script(KILLED, where, path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    assert left.startswith('.')
    with pytest.raises(FileNotFoundError):
        load(path, OF)
    store(path, OF, ARRAYS)
    assert sorted(os.listdir(tmp_path)) == [left, 'x.index']  # somebody may still be writing it
    os.utime(tmp_path / left, (0, 0))
    store(path, ('a.tar', 11, 0), ARRAYS)
    assert os.listdir(tmp_path) == ['x.index']


def test_several_processes_at_once(tmp_path):
    """Whoever looks while others write finds nothing or all of it, and who is late does not write again."""
    script = """
        import sys
        import numpy as np
        from itpipe.files._index_files import load, store
        path, number, of = sys.argv[1], int(sys.argv[2]), ('a', 1, 2)
        print('ready', flush=True)
        sys.stdin.readline()
        for turn in range(20):
            arrays = {'x': np.arange(20_000)}
            store(f'{path}.{turn}', of, arrays)
            np.testing.assert_array_equal(load(f'{path}.{turn}', of)['x'], arrays['x'])
    """
    path = tmp_path / 'x.index'
    pipes = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.PIPE)
    processes = [start_script(script, path, number, **pipes) for number in range(4)]
    for process in processes:
        assert process.stdout.readline().strip() == 'ready'
    for process in processes:
        process.stdin.write('\n')
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, '')
    assert sorted(os.listdir(tmp_path)) == sorted(f'x.index.{turn}' for turn in range(20))


def test_the_index_that_is_there_stays(tmp_path, monkeypatch):
    """What others have mapped is not replaced by the same."""
    path = tmp_path / 'x.index'
    store(str(path), OF, ARRAYS)
    number = path.stat().st_ino
    store(str(path), OF, ARRAYS)
    assert path.stat().st_ino == number
    assert os.listdir(tmp_path) == ['x.index']
