"""Paths of files, and files that are opened once in each thread."""

import os
import pickle
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest
from running import raises

from itpipe.files._opening import Opened, expanded, needed, open_file, reading


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
    opened = Opened(Handle)
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
    opened = Opened(Handle)
    opened('a')
    del opened
    assert handles.closed == ['a']


def test_a_copy_opens_for_itself(handles):
    opened = Opened(Handle)
    opened('a')
    pickle.loads(pickle.dumps(opened))('a')
    assert len(handles.opened) == 2


def test_a_forked_process_opens_for_itself(tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'0123456789')
    opened = Opened(open_file)
    opened(str(path)).read(3)
    child = os.fork()
    if not child:
        os._exit(opened(str(path)).read(10) != b'0123456789')
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert opened(str(path)).read(1) == b'3'


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('b.txt', 'a.txt', 'c.csv'):
        Path(name).touch()
    assert expanded('here', 'x.txt') == ['x.txt']
    assert expanded('here', Path('x.txt')) == ['x.txt']
    assert expanded('here', '*.txt') == ['a.txt', 'b.txt']
    assert expanded('here', ['c.csv', '*.txt']) == ['c.csv', 'a.txt', 'b.txt']


@pytest.mark.parametrize(
    ('paths', 'error'),
    [
        ('no-*.txt', FileNotFoundError("here: no file matches 'no-*.txt'")),
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
    for name in ('b', 'a'):
        system.pipe(f'/itpipe/{name}.txt', name.encode())
    try:
        paths = expanded('here', 'memory://itpipe/*.txt')
        assert [path.rpartition('/')[2] for path in paths] == ['a.txt', 'b.txt']
        with open_file(paths[1]) as file:
            assert file.read() == b'b'
    finally:
        system.rm('/itpipe', recursive=True)


def test_a_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with raises(ImportError, 'itpipe.files: HDF5 files are read by h5py: pip install h5py'):
        needed('h5py', 'HDF5 files')


def test_errors_say_what_was_read():
    with raises(KeyError, "'x'", "itpipe: member 'a' of 'b.tar'"), reading('b.tar', "member 'a'"):
        raise KeyError('x')
