"""Where a `cache` keeps items."""

import errno
import os
import pickle
import signal
import textwrap
import threading

import numpy as np
import pytest
from running import start_script

import itpipe.stages.stores
from itpipe.stages.stores import MISSING, Folder, Memory

each_store = pytest.mark.parametrize('kind', ['memory', 'folder'])


def store_of(kind, folder, limit=None):
    return Memory(limit) if kind == 'memory' else Folder(str(folder / 'items'), limit)


VALUES = [None, 0, 'text', np.arange(6).reshape(2, 3).T, (np.zeros((0, 3)), {'a': np.float32(1)}), b'x' * 10**5]


@each_store
def test_items_come_back_as_they_were(kind, tmp_path):
    store = store_of(kind, tmp_path)
    assert store.get(0) is MISSING
    for index, value in enumerate(VALUES):
        store.put(index, value)
    for index, value in enumerate(VALUES):
        assert repr(store.get(index)) == repr(value)


@each_store
def test_what_comes_out_may_be_changed(kind, tmp_path):
    store = store_of(kind, tmp_path)
    store.put(0, np.zeros(1000))
    store.get(0)[:] = 1
    assert not store.get(0).any()


@each_store
def test_no_more_is_kept_than_the_limit_says(kind, tmp_path):
    store = store_of(kind, tmp_path, limit=3000)
    for index in range(5):
        store.put(index, bytes(1000))
    assert [store.get(index) is MISSING for index in range(5)] == [False, False, True, True, True]


@each_store
def test_a_copy_of_a_store_holds_nothing_open(kind, tmp_path):
    store = store_of(kind, tmp_path)
    store.put(0, 'x')
    copy = pickle.loads(pickle.dumps(store))
    assert copy.get(0) == (MISSING if kind == 'memory' else 'x')


def folder_of(tmp_path, limit=None):
    return Folder(str(tmp_path), limit)


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch):
    monkeypatch.setattr(itpipe.stages.stores, 'LISTED_EVERY', 0)


def test_others_see_what_is_written_and_write_to_files_of_their_own(tmp_path):
    one, other = folder_of(tmp_path), folder_of(tmp_path)
    one.put(0, 'zero')
    assert other.get(0) == 'zero'
    other.put(1, 'one')
    one.put(2, 'two')
    assert [one.get(1), other.get(2)] == ['one', 'two']
    assert len(os.listdir(tmp_path)) == 2


def test_a_file_is_written_on_when_its_process_has_ended(tmp_path):
    for index in range(5):
        folder_of(tmp_path).put(index, f'item {index}')
    assert len(os.listdir(tmp_path)) == 1
    assert [folder_of(tmp_path).get(index) for index in range(5)] == [f'item {index}' for index in range(5)]


def test_a_forked_process_writes_to_a_file_of_its_own(tmp_path):
    """Also if another thread had the lock when it was forked."""
    store = folder_of(tmp_path)
    store.put(0, 'parent')
    with store._lock:
        child = os.fork()
        if not child:
            store.put(1, 'child')
            os._exit(store.get(0) != 'parent')
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.put(2, 'parent again')
    assert [store.get(index) for index in range(3)] == ['parent', 'child', 'parent again']


@pytest.mark.parametrize('cut', [1, 20, 500])
def test_a_record_that_was_not_finished_is_not_there_and_is_written_over(tmp_path, cut):
    folder_of(tmp_path).put(0, bytes(1000))
    folder_of(tmp_path).put(1, bytes(1000))
    (path,) = tmp_path.iterdir()
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size // 2 + cut)
    store = folder_of(tmp_path)
    assert store.get(0) == bytes(1000)
    assert store.get(1) is MISSING
    store.put(1, b'again')
    assert folder_of(tmp_path).get(1) == b'again'
    assert folder_of(tmp_path).get(0) == bytes(1000)


@pytest.mark.parametrize('place', [8, 500])
def test_a_record_that_is_damaged_is_not_there_and_is_replaced_once(tmp_path, place):
    """Its index, or its content."""
    folder_of(tmp_path).put(0, b'abc' * 1000)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    for _ in range(3):
        store = folder_of(tmp_path)
        if store.get(0) is MISSING:
            store.put(0, 'new')
        assert store.get(0) == 'new'
        assert store.get(1) is MISSING
    assert path.stat().st_size < len(data) + 500


def test_a_record_is_checked_when_a_process_first_reads_it(tmp_path, monkeypatch):
    """To check takes several times as long as to read."""
    checked, crc32 = [], itpipe.stages.stores.crc32
    folder_of(tmp_path).put(0, bytes(1000))
    monkeypatch.setattr(itpipe.stages.stores, 'crc32', lambda *args: checked.append(args) or crc32(*args))
    store = folder_of(tmp_path)
    for _ in range(3):
        assert store.get(0) == bytes(1000)
    assert len(checked) == 2  # of its index, and of what is in it
    (path,) = tmp_path.iterdir()
    with path.open('r+b') as file:
        file.truncate(path.stat().st_size - 1)
    assert store.get(0) is MISSING


def test_large_records_are_read_in_parts(tmp_path, monkeypatch):
    """Linux reads and writes at most 2 GiB at once."""
    read, write = os.preadv, os.pwrite
    monkeypatch.setattr(os, 'preadv', lambda file, buffers, at: read(file, [buffers[0][:100]], at))
    monkeypatch.setattr(os, 'pwrite', lambda file, data, at: write(file, data[:100], at))
    store = folder_of(tmp_path)
    store.put(0, np.arange(1000))
    assert store.get(0).tolist() == [*range(1000)]


def test_arrays_are_aligned(tmp_path):
    store = folder_of(tmp_path)
    store.put(0, ('x', np.arange(10000.0), np.arange(3)))
    assert all(array.flags.aligned and array.flags.writeable for array in store.get(0)[1:])


def test_views_of_tensors_take_no_more_than_they_show(tmp_path):
    torch = pytest.importorskip('torch')
    store = folder_of(tmp_path)
    store.put(0, torch.zeros(1000, 1000)[3])
    assert store.get(0).shape == (1000,)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10**4


def test_files_that_may_only_be_read_are_read(tmp_path, monkeypatch):
    folder_of(tmp_path).put(0, 'x')
    opened = os.open

    def without_writing(path, flags, *args):
        if flags & os.O_RDWR and not flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, 'Permission denied')
        return opened(path, flags, *args)

    monkeypatch.setattr(os, 'open', without_writing)
    store = folder_of(tmp_path)
    assert store.get(0) == 'x'
    store.put(1, 'y')
    assert store.get(1) == 'y'
    assert len(os.listdir(tmp_path)) == 2


def test_where_files_cannot_be_locked_a_warning_says_so(tmp_path, monkeypatch):
    import fcntl

    def refused(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', refused)
    with pytest.warns(UserWarning, match='^cache: files cannot be locked there .* each process writes a new one$'):
        folder_of(tmp_path).put(0, 'x')
    assert folder_of(tmp_path).get(0) == 'x'


@each_store
def test_a_full_store_costs_no_pickle(kind, tmp_path):
    class Counted:
        pickled = 0

        def __reduce__(self):
            Counted.pickled += 1
            return Counted, ()

    store = store_of(kind, tmp_path, limit=500)
    store.put(0, bytes(1))
    store.put(1, bytes(400))
    store.put(2, bytes(400))
    store.limit = 1
    store.put(3, Counted())
    assert not Counted.pickled


def test_a_full_disk_is_said_once_and_loses_nothing(tmp_path, monkeypatch):
    store, write = folder_of(tmp_path), os.pwrite
    store.put(0, bytes(1000))

    def full(file, data, at):
        if at > 2000:
            raise OSError(errno.ENOSPC, 'No space left on device')
        return write(file, data[:700], at)

    monkeypatch.setattr(os, 'pwrite', full)
    with pytest.warns(UserWarning, match=r'^cache: it keeps no more items: \[Errno 28\] No space left on device$'):
        store.put(1, bytes(5000))
    store.put(2, b'not any more')
    monkeypatch.undo()
    assert [store.get(index) is MISSING for index in range(3)] == [False, True, True]
    folder_of(tmp_path).put(1, b'later')
    assert folder_of(tmp_path).get(1) == b'later'


def test_many_threads_at_once(tmp_path):
    store = folder_of(tmp_path)

    def work():
        for index in range(100):
            if store.get(index) is MISSING:
                store.put(index, np.full(1000, index))
            assert (store.get(index) == index).all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(os.listdir(tmp_path)) == 1


WRITER = """
    import sys
    from itpipe.stages.stores import Folder

    store, number = Folder(sys.argv[1], None), int(sys.argv[2])
    print('ready', flush=True)
    for index in range(number, 10**6, 2):
        store.put(index, bytes([index % 256]) * 20_000)
        if index == number + 40:
            print('some', flush=True)
"""


@pytest.mark.many(2)
@pytest.mark.parametrize('attempt', range(4))
def test_processes_that_are_killed_while_they_write_leave_whole_items(tmp_path, attempt):
    scripts = [start_script(textwrap.dedent(WRITER), str(tmp_path), str(number)) for number in range(2)]
    try:
        for script in scripts:
            assert script.stdout.readline() == 'ready\n'
            assert script.stdout.readline() == 'some\n'
    finally:
        for script in scripts:
            script.send_signal(signal.SIGKILL)
            script.communicate()
    store = folder_of(tmp_path)
    for index in range(40):
        assert store.get(index) == bytes([index]) * 20_000
    for index in range(41, 400):
        assert store.get(index) in (MISSING, bytes([index % 256]) * 20_000)
