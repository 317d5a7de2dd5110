"""Memory that is the same for all processes."""

import os
import pickle
from pickle import PickleBuffer
from typing import Any

import numpy as np
import pytest
from lending import array, needs_memfd, refuse, twin
from running import run_script

from itpipe._workers.block import Block, mapped
from itpipe._workers.files import File
from itpipe._workers.shared_memory import LARGE


def seen(block: Block) -> list[Any]:
    """The buffers of the block in another process."""
    assert block.file is not None
    file = twin(block.file)
    try:
        return list(mapped(file, pickle.loads(pickle.dumps(block.buffers))))
    finally:
        file.close()


def test_buffers_are_copied_once_and_mapped_by_all() -> None:
    given = [array(LARGE, 1), array(3 * LARGE + 5, 2), array(LARGE, 3)]
    block = Block(list(map(pickle.PickleBuffer, given)))
    first, second = seen(block), seen(block)
    for got in (first, second):
        assert [part.tobytes() for part in got] == [each.tobytes() for each in given]
    given[0][:] = 0
    assert first[0].any()
    block.close()
    block.close()
    assert second[2].tobytes() == given[2].tobytes()  # outlives it


def test_what_one_writes_no_other_sees() -> None:
    block = Block([pickle.PickleBuffer(np.ones(LARGE, np.uint8))])
    first, second = seen(block)[0], seen(block)[0]
    first[:5] = 7
    assert first[:6].tolist() == [7] * 5 + [1]
    assert (second == 1).all()
    assert (seen(block)[0] == 1).all()
    block.close()


def test_memory_that_must_not_be_mapped_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block([pickle.PickleBuffer(array(LARGE, 1)), pickle.PickleBuffer(array(LARGE, 2))])
    monkeypatch.setattr(File, '_map', lambda *_, **__: None)
    first, second = seen(block)
    assert first.tobytes() == array(LARGE, 1).tobytes()
    assert second.tobytes() == array(LARGE, 2).tobytes()
    first[:] = 0
    assert seen(block)[0].tobytes() == array(LARGE, 1).tobytes()
    block.close()


def test_nothing_to_copy_makes_no_file() -> None:
    block = Block([])
    assert (block.file, block.buffers) == (None, [])
    block.close()


@needs_memfd
def test_memory_that_is_short_is_an_error_and_no_crash() -> None:
    out = run_script(
        """
        import os, pickle, resource
        import numpy as np
        from itpipe._workers.block import Block

        before = os.listdir('/proc/self/fd')
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        buffers = [pickle.PickleBuffer(np.ones(1 << size, np.uint8)) for size in (16, 22)]
        block = Block(buffers)
        print(block.file, block.buffers == buffers, os.listdir('/proc/self/fd') == before)
        """
    )
    assert out == 'None True True\n'


def test_a_disk_that_is_full_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, 'pwrite', refuse)
    buffers = [pickle.PickleBuffer(array(LARGE))]
    block = Block(buffers)
    assert (block.file, block.buffers) == (None, buffers)


def test_an_interruption_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'pwrite', interrupt)
    with pytest.raises(KeyboardInterrupt):
        Block([pickle.PickleBuffer(array(LARGE))])


@pytest.mark.parametrize('memory', [True, False])
def test_it_knows_whether_contents_are_the_same(memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not memory:
        monkeypatch.setattr(File, 'new', lambda size: None)
    arrays: list[Any] = [np.arange(100_000), np.arange(7)]
    block = Block([PickleBuffer(array) for array in arrays])
    again: list[Any] = [array.copy() for array in arrays]
    assert block.holds([PickleBuffer(array) for array in again])
    assert not block.holds([PickleBuffer(again[0])])
    assert not block.holds([PickleBuffer(again[0]), PickleBuffer(again[1][1:])])
    again[0][-1] += 1
    assert not block.holds([PickleBuffer(array) for array in again])
    block.close()
