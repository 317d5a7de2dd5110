"""What all processes of a pool share."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import dies_once
from running import raises, wait_until

from itpipe import NotPicklable, parallel_map


def pss(pids: list[int]) -> int:
    """Bytes that these processes have, shared ones divided among those who share them."""
    rollups = [Path(f'/proc/{pid}/smaps_rollup').read_text() for pid in pids]
    return sum(1024 * int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith('Pss:'))


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists('/proc/self/smaps_rollup'), reason='the system does not tell')
@pytest.mark.parametrize('mapped', [False, True])
def test_an_array_that_all_processes_use_is_in_memory_once(tmp_path: Path, mapped: bool) -> None:
    count, size = 4, 1 << 26
    (tmp_path / 'array').write_bytes(bytes(size))

    def used(data: Any, meet: Path) -> int:
        def function(_: int) -> int:
            assert not data.any()  # all of it is looked at
            (meet / str(os.getpid())).touch()
            wait_until(lambda: len(list(meet.iterdir())) == count, 'each process has an item')
            return os.getpid()

        meet.mkdir()
        run = iter(range(count) | parallel_map(function, processes=count))
        try:
            pids = [next(run) for _ in range(count)]
            assert len(set(pids)) == count
            return pss(pids)
        finally:
            run.close()

    data = np.memmap(tmp_path / 'array', np.uint8, 'r') if mapped else np.zeros(size, np.uint8)
    cost = used(data, tmp_path / 'with') - used(data[:1000].copy(), tmp_path / 'without')
    assert 0.9 * size < cost < 1.5 * size


class Dataset:
    def __init__(self, path: Path):
        self.images = np.arange(10**5).reshape(10, 100, 100)
        self.labels = {'names': list('abcdefghij'), 'weights': np.arange(10.0)}
        np.save(path, self.images)
        self.mapped = np.load(path, mmap_mode='r')

    def load(self, x: int) -> Any:
        assert not self.images.flags.writeable
        assert isinstance(self.mapped, np.memmap)
        assert np.array_equal(self.images, self.mapped)
        return self.images[x], self.labels['names'][x], self.labels['weights'][x : x + 1], self.mapped[x]


def test_a_dataset_and_what_comes_out_of_it(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / 'images.npy')
    for x, (image, name, weight, mapped) in enumerate(range(10) | parallel_map(dataset.load, processes=2)):
        assert np.array_equal(image, dataset.images[x])
        assert np.array_equal(mapped, image)
        assert (name, weight[0]) == ('abcdefghij'[x], x)
        assert type(image) is type(mapped) is np.ndarray
        image += 1  # its own, as if it had gone through the pipe
        weight += 1


def test_what_all_processes_share_cannot_be_written_to() -> None:
    scratch = np.zeros(10**5)

    def function(x: int) -> None:
        scratch[0] = x

    note = 'itpipe: raised in parallel_map(function, processes=1), item 0'
    with raises(ValueError, 'assignment destination is read-only', note):
        list(range(3) | parallel_map(function, processes=1))


@pytest.mark.long
def test_a_process_that_comes_later_sees_the_same(tmp_path: Path) -> None:
    data = np.arange(10**5)

    def function(x: int) -> Any:
        return dies_once(tmp_path / 'died', int(data[x])) if x == 3 else int(data[x])

    stage = parallel_map(function, processes=1, max_tasks_per_worker=4)
    assert list(range(10) | stage) == list(range(10))


def test_where_the_memory_cannot_be_had_arrays_go_through_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'pwrite', refuse)
    data, frozen = np.arange(10**5), np.arange(10**5) + 1
    frozen.flags.writeable = False

    def function(x: int) -> Any:
        return data[x:], data.flags.writeable, frozen[x:], frozen.flags.writeable

    for x, (got, *others) in enumerate(range(3) | parallel_map(function, processes=2)):
        assert np.array_equal(got, data[x:])
        assert got.flags.writeable
        assert np.array_equal(others[1], frozen[x:])
        assert (others[0], others[2]) == (False, False)


@pytest.mark.skipif(not hasattr(os, 'memfd_create'), reason='nameless blocks are of Linux')
def test_what_is_shared_goes_with_the_pool() -> None:
    def files() -> int:
        links = [Path('/proc/self/fd', fd) for fd in os.listdir('/proc/self/fd')]
        return sum('memfd:itpipe' in os.readlink(link) for link in links if link.is_symlink())

    data = np.arange(10**5)
    for ending in ('close', 'error', 'drop'):
        run = iter(range(4) | parallel_map(lambda x: 1 / int(data[3 - x]), processes=1))
        next(run)
        assert files() == 3  # what the function has, the items, and the results of the one process
        assert '/memfd:itpipe' not in Path('/proc/self/maps').read_text()  # only the processes have any mapped
        if ending == 'close':
            run.close()
        elif ending == 'error':
            with pytest.raises(ZeroDivisionError):
                list(run)
        del run
        wait_until(lambda: files() == 0, 'the file is closed')


def test_large_mapped_items_are_opened_again_and_come_back_as_copies(tmp_path: Path) -> None:
    np.save(tmp_path / 'a.npy', np.arange(10**6).reshape(4, -1))
    items = np.load(tmp_path / 'a.npy', mmap_mode='r')

    def function(item: Any) -> Any:
        return type(item) is np.memmap, item.filename, item

    for given, (opened, name, got) in zip(items, items | parallel_map(function, processes=2), strict=True):
        assert opened
        assert Path(name) == tmp_path / 'a.npy'
        assert type(got) is np.ndarray
        assert np.array_equal(got, given)


def raise_on_unpickling() -> None:
    raise ModuleNotFoundError("No module named 'nowhere'")


class NotThere:
    def __reduce__(self) -> Any:
        return raise_on_unpickling, ()

    def __call__(self, item: Any) -> Any:
        return item


def test_a_function_that_cannot_be_unpickled_in_the_process() -> None:
    message = (
        "the function cannot be unpickled (ModuleNotFoundError: No module named 'nowhere'):"
        ' what it uses must be importable in the process'
    )
    note = 'itpipe: raised in parallel_map(<NotThere>, processes=1), item 0'
    with raises(NotPicklable, message, note):
        list(range(3) | parallel_map(NotThere(), processes=1))


def test_nothing_is_forked() -> None:
    """A fork would have this process's memory, and with it this module's changed value."""
    global changed
    changed = True
    try:
        assert list([0] | parallel_map(see_change, processes=1)) == [False]
    finally:
        changed = False


changed = False


def see_change(_: int) -> bool:
    return changed
