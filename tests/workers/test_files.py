"""Files without a name: where there are none, and what is left of them."""

import errno
import os
import pickle
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from lending import Lending, array, refuse
from running import LIMIT, run_script

import itpipe._workers.files
from itpipe._workers.block import Block
from itpipe._workers.files import File
from itpipe._workers.shared_memory import LARGE, Arena


class NoRoom(FileIO):
    def truncate(self, size: Any = None) -> int:
        return int(refuse())


@pytest.mark.parametrize('dropped', [True, False])
def test_files_where_there_are_none_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dropped: bool) -> None:
    """They lose their names at once, so nothing is left of them, however this process ends."""
    if dropped:
        monkeypatch.delattr(os, 'memfd_create', raising=False)
    else:
        monkeypatch.setattr(os, 'memfd_create', refuse, raising=False)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    lending = Lending()
    assert list(tmp_path.iterdir()) == []
    got = lending.views(array(LARGE))
    assert lending.arena.lent == 1
    lending.close()
    assert (got == array(LARGE)).all()


def test_open_files_that_cannot_be_unlinked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There, none is used, and none is left."""
    unlink, open_ones = os.unlink, set()
    mkstemp, close = tempfile.mkstemp, os.close

    def make(**options: Any) -> Any:
        number, path = mkstemp(**options)
        open_ones.add((number, path))
        return number, path

    def close_it(number: int) -> None:
        close(number)
        open_ones.difference_update([each for each in open_ones if each[0] == number])

    def unlink_closed(path: Any) -> None:
        if any(each[1] == path for each in open_ones):
            raise PermissionError(errno.EACCES, 'used by another process', path)
        unlink(path)

    monkeypatch.delattr(os, 'memfd_create', raising=False)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    monkeypatch.setattr(tempfile, 'mkstemp', make)
    monkeypatch.setattr(os, 'close', close_it)
    monkeypatch.setattr(os, 'unlink', unlink_closed)
    assert File.new(1 << 20) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('missing', ['memory', 'descriptors', 'a folder', 'a way to hand them on'])
def test_a_machine_without_such_files(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    if missing == 'memory':
        monkeypatch.setattr(itpipe._workers.files, 'FileIO', NoRoom)
    elif missing == 'a way to hand them on':
        monkeypatch.delattr(os, 'preadv')
    else:
        monkeypatch.delattr(os, 'memfd_create', raising=False)
        monkeypatch.setattr(tempfile, 'mkstemp', refuse)
    assert File.new(1 << 20) is None
    assert Block([pickle.PickleBuffer(array(LARGE))]).file is None


def test_no_file_has_the_number_of_a_standard_stream() -> None:
    """In a process without these, which a process that it starts would take for them."""
    out = run_script(
        """
        import os
        from itpipe._workers.files import File

        saved = os.dup(1)
        for number in (0, 1, 2):
            os.close(number)
        files = [File.new(1 << 20) for _ in range(3)]
        numbers = [file._file.fileno() for file in files]
        for _ in range(3):
            os.open(os.devnull, os.O_RDWR)
        os.dup2(saved, 1)
        print(min(numbers) > 2)
        """
    )
    assert out == 'True\n'


def test_two_threads_that_close_it_at_once_close_its_file_once() -> None:
    """The number of a file that is closed may be another one's at once."""
    together = threading.Barrier(2)

    def close(arena: Arena) -> None:
        together.wait(LIMIT)
        arena.close()

    with ThreadPoolExecutor(2) as executor:
        for _ in range(100):
            arena = Arena(File.new(1 << 20))
            arena.lend([pickle.PickleBuffer(array(LARGE))])
            for closing in [executor.submit(close, arena) for _ in range(2)]:
                closing.result()
