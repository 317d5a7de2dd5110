"""Paths of files, and files that each thread keeps open."""

import os
import pickle
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest
from data_files import lines_of
from running import raises

from itpipe.files import lines
from itpipe.files._opening import OPEN, Kept, existing, expanded, listed, needed, open_file, reading


class Handle:
    opened: ClassVar[list] = []
    closed: ClassVar[list] = []

    def __init__(self, path):
        self.path = path
        Handle.opened.append((path, threading.get_ident()))

    def close(self):
        Handle.closed.append(self.path)


@pytest.fixture
def handles():
    Handle.opened, Handle.closed = [], []
    return Handle


def test_each_thread_opens_a_file_once_and_closes_it_when_it_ends(handles):
    opened = Kept(Handle)
    assert opened('a') is opened('a')

    def other():
        assert opened('a') is opened('a')
        opened('b')

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert [path for path, _ in handles.opened] == ['a', 'a', 'b']
    assert sorted(handles.closed) == ['a', 'b']


def test_all_is_closed_when_nobody_has_it_any_more(handles):
    opened = Kept(Handle)
    opened('a')
    del opened
    assert handles.closed == ['a']


def test_a_thread_keeps_those_that_it_asked_for_last(handles):
    opened = Kept(Handle, 2)
    first = opened('a')
    opened('b')
    assert opened('a') is first
    opened('c')
    assert handles.closed == ['b']
    assert opened('a') is first
    assert opened('c').path == 'c'
    assert len(handles.opened) == 3


def test_what_is_opened_briefly_is_closed(handles):
    opened = Kept(Handle)
    with raises(KeyError, "'x'"), opened.briefly('a') as handle:
        assert (handle.path, handles.closed) == ('a', [])
        raise KeyError('x')
    assert handles.closed == ['a']
    assert opened('a') is not handle


def test_several_arguments():
    assert Kept(lambda path, number: (path, number))('a', 1) == ('a', 1)


def test_few_files_are_open_however_many_there_are(tmp_path):
    """In each thread; a limit of the system is soon reached else."""
    dataset = lines([lines_of(tmp_path / f'{number:03}.txt', [number]) for number in range(3 * OPEN)])
    before = files_open(tmp_path)
    assert len(dataset) == 3 * OPEN
    assert files_open(tmp_path) == before == 0
    most = []

    def read():
        for _ in range(2):
            most.extend(files_open(tmp_path) for item in dataset if item)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert OPEN <= max(most) <= 2 * OPEN
    assert files_open(tmp_path) == 0


def files_open(folder):
    """How many files in this folder the process has open."""
    found = 0
    for descriptor in os.listdir('/proc/self/fd'):
        with suppress(OSError):  # another thread may have closed it meanwhile
            found += os.readlink(f'/proc/self/fd/{descriptor}').startswith(str(folder))
    return found


def test_a_copy_opens_for_itself(handles):
    opened = Kept(Handle)
    opened('a')
    pickle.loads(pickle.dumps(opened))('a')
    assert len(handles.opened) == 2


def test_a_forked_process_opens_for_itself(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'0123456789')
    opened = Kept(open_file)
    opened(str(path)).read(3)
    child = os.fork()
    if not child:
        os._exit(opened(str(path)).read(10) != b'0123456789')
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert opened(str(path)).read(1) == b'3'


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('b.txt', 'a.txt', 'c.csv', 'x.txt'):
        Path(name).touch()
    assert expanded('here', 'x.txt') == ['x.txt']
    assert expanded('here', Path('x.txt')) == ['x.txt']
    assert expanded('here', '*.txt') == ['a.txt', 'b.txt', 'x.txt']
    assert expanded('here', ['c.csv', '[ab].txt']) == ['c.csv', 'a.txt', 'b.txt']


def test_each_path_comes_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('a.txt', 'x.txt'):
        Path(name).touch()
    assert expanded('here', ['x.txt', '*.txt', 'a.txt']) == ['x.txt', 'a.txt']


def test_a_path_that_is_there_is_no_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('data[1].txt', 'data1.txt'):
        Path(name).touch()
    assert expanded('here', 'data[1].txt') == ['data[1].txt']
    assert expanded('here', 'data[12].txt') == ['data1.txt']


@pytest.mark.parametrize(
    ('paths', 'error'),
    [
        ('no-*.txt', FileNotFoundError("here: no file matches 'no-*.txt'")),
        ('no.txt', FileNotFoundError("here: there is no file 'no.txt'")),
        ([], ValueError('here: `paths` must not be empty')),
        (3, TypeError('here: `paths` must be a path or several, got int')),
        ([3], TypeError('here: `paths` must be a path or several, got list')),
    ],
)
def test_paths_that_are_none(paths, error):
    with raises(type(error), str(error)):
        expanded('here', paths)


def test_urls_are_those_of_fsspec():
    fsspec = pytest.importorskip('fsspec')
    system = fsspec.filesystem('memory')
    for name in ('b', 'a', 'c[1]'):
        system.pipe(f'/itpipe/{name}.txt', name.encode())
    try:
        paths = expanded('here', 'memory://itpipe/*.txt')
        assert [path.rpartition('/')[2] for path in paths] == ['a.txt', 'b.txt', 'c[1].txt']
        assert expanded('here', 'memory://itpipe/c[1].txt') == ['memory://itpipe/c[1].txt']
        assert existing('here', 'memory://itpipe/nothing.txt') == 'memory://itpipe/nothing.txt'
        with open_file(paths[1]) as file:
            assert file.read() == b'b'
    finally:
        system.rm('/itpipe', recursive=True)


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with raises(ImportError, 'itpipe.files: HDF5 files are read by h5py: pip install h5py'):
        needed('h5py', 'HDF5 files')


def test_names_that_are_listed():
    assert listed([]) == 'none'
    assert listed('ab') == "'a', 'b'"
    assert listed(map(str, range(20))).endswith("'18', '19'")
    assert listed(map(str, range(21))).endswith("'18', '19', …")


def test_errors_say_what_was_read():
    with raises(KeyError, "'x'", "itpipe: member 'a' of 'b.tar'"), reading('b.tar', "member 'a'"):
        raise KeyError('x')
