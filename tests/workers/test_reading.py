"""Shards that are read by processes."""

import os
import signal
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import await_file
from running import LIMIT

from itpipe import Infinite, NotPicklable, WorkerCrashed, interleave, stream, with_rng


def pids(number: int) -> Iterator[int]:
    yield from [os.getpid()] * 3


def test_each_open_shard_has_a_process_and_they_are_used_again() -> None:
    found = list(range(8) | interleave(pids, cycle=2, processes=True))
    assert len(set(found)) == 2
    assert os.getpid() not in found
    assert found[0] != found[1]


def test_processes_stay_for_all_passes() -> None:
    with Infinite(range(4), interleave(pids, cycle=2, processes=True), prefetch=0) as batch_iter:
        passes = [set(batch_iter) for _ in range(3)]
    assert passes[0] == passes[1] == passes[2]


@pytest.mark.parametrize('ahead', [1, 3])
def test_items_come_one_by_one_and_so_many_ahead(ahead: int, tmp_path: Path) -> None:
    def read(number: int) -> Iterator[int]:
        for n in range(9):
            (tmp_path / str(n)).touch()
            yield n

    run = iter([0] | interleave(read, cycle=1, prefetch=ahead, processes=True))
    for taken in range(1, 9 - ahead):
        assert next(run) == taken - 1
        await_file(tmp_path / str(taken - 1 + ahead))
        assert not (tmp_path / str(taken + ahead)).exists()
    run.close()


def test_an_item_comes_before_the_rest_of_its_shard_is_made(tmp_path: Path) -> None:
    go_on = tmp_path / 'go on'

    def read(number: int) -> Iterator[int]:
        yield 0
        await_file(go_on)
        yield 1

    run = iter([0] | interleave(read, processes=True))
    assert next(run) == 0
    go_on.touch()
    assert list(run) == [1]


def test_the_next_shards_are_opened_while_an_item_is_awaited(tmp_path: Path) -> None:
    """The first shard waits until the third is open, whose process has then read the second."""

    def read(number: int) -> Iterator[int]:
        (tmp_path / str(number)).touch()
        if number == 0:
            await_file(tmp_path / '2')
        yield number

    assert list(range(4) | interleave(read, cycle=2, prefetch=2, processes=True)) == [0, 1, 2, 3]


def test_what_is_read_ahead_may_be_limited_in_bytes(tmp_path: Path) -> None:
    def read(number: int) -> Iterator[Any]:
        for n in range(9):
            (tmp_path / str(n)).touch()
            yield np.full(1000, n)

    run = iter([0] | interleave(read, prefetch='30kB', processes=True))
    for taken, item in enumerate(run):
        assert item[0] == taken
        assert len(list(tmp_path.iterdir())) <= taken + 1 + 4
    assert taken == 8


def test_large_arrays_arrive_as_they_were_and_need_no_copy_of_the_shard() -> None:
    def read(shard: Any, rng: Any) -> Iterator[Any]:
        for n in range(3):
            yield shard + n, rng.random((100, 100))

    shards = [np.arange(50_000) * n for n in range(4)]
    made = stream(shards, seed=0) | interleave(with_rng(read), cycle=2)
    expected = list(made)
    here = stream(shards, seed=0) | interleave(with_rng(read), cycle=2, processes=True)
    for (first, second), (third, fourth) in zip(here, expected, strict=True):
        assert np.array_equal(first, third)
        assert np.array_equal(second, fourth)


# ---------------------------------------------------------------------------------------------------------------------
# Processes that die


def test_a_process_that_is_killed_in_a_shard_is_replaced_and_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    def read(number: int) -> Iterator[tuple[int, int]]:
        for n in range(20):
            if n == 7 and not (mark := tmp_path / str(number)).exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield number, n

    made = list(range(3) | interleave(read, cycle=2, prefetch=4, processes=True))
    for number in range(3):
        assert (tmp_path / str(number)).exists()
        assert [n for shard, n in made if shard == number] == list(range(20))
    assert made[:40] == [(shard, n) for n in range(20) for shard in range(2)]


def test_a_shard_that_keeps_killing_processes_ends_the_run_at_its_item() -> None:
    def read(number: int) -> Iterator[int]:
        yield number
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield number

    run = iter(range(2) | interleave(read, processes=True))
    assert list(islice(run, 3)) == [0, 1, 0]
    with pytest.raises(WorkerCrashed, match=r'^3 worker processes, one after the other, died \(SIGKILL\)') as caught:
        next(run)
    assert caught.value.__notes__[-1].endswith(', processes=True), shard 1, item 1 (part 1)')


def test_processes_that_are_killed_between_two_items_are_replaced() -> None:
    def read(number: int) -> Iterator[tuple[int, int]]:
        for n in range(400):
            yield n, os.getpid()

    run = iter(range(1) | interleave(read, prefetch=2, processes=True))
    made = list(islice(run, 5))
    os.kill(made[-1][1], signal.SIGKILL)
    made += run
    assert [n for n, _ in made] == list(range(400))
    assert len({pid for _, pid in made}) == 2


# ---------------------------------------------------------------------------------------------------------------------
# Errors and the end


def test_what_cannot_be_pickled_in_read_is_named_before_anything_is_read() -> None:
    lock = threading.Lock()
    run = iter(range(3) | interleave(lambda n: [lock], processes=True))
    with pytest.raises(NotPicklable, match=r'^the function cannot be pickled .*: make what it needs inside it, or use'):
        next(run)


def test_what_cannot_be_pickled_in_a_shard_comes_in_its_turn() -> None:
    shards = ['ab', threading.Lock()]
    run = iter(shards | interleave(list, cycle=1, processes=True))
    assert list(islice(run, 2)) == ['a', 'b']
    with pytest.raises(NotPicklable, match=r'^the shard cannot be pickled .*: give `read` what it can open') as caught:
        next(run)
    assert caught.value.__notes__[-1].endswith(', item 1')


def test_what_cannot_be_pickled_in_an_item_comes_in_its_turn() -> None:
    def read(number: int) -> Iterator[Any]:
        yield number
        yield threading.Lock()

    run = iter([0] | interleave(read, processes=True))
    assert next(run) == 0
    with pytest.raises(NotPicklable, match='^the result cannot be pickled') as caught:
        next(run)
    assert caught.value.__notes__[-1].endswith(', shard 0, item 0 (part 1)')


def test_what_was_open_is_closed_when_the_run_is(tmp_path: Path) -> None:
    def read(number: int) -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            (tmp_path / str(number)).touch()

    run = iter(range(3) | interleave(read, cycle=2, prefetch=3, processes=True))
    list(islice(run, 8))
    run.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['0', '1']


def test_what_is_open_is_closed_with_an_epoch_that_ends_early_and_says_so_there(tmp_path: Path) -> None:
    def read(number: int) -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            (tmp_path / str(number)).touch()
            if number == 1:
                raise OSError('closing')

    with Infinite([0, 1], interleave(read, cycle=2, processes=True), restart=True) as batch_iter:
        epoch = iter(batch_iter)
        assert list(islice(epoch, 4)) == [0, 0, 1, 1]
        with pytest.raises(OSError, match='^closing$'):
            epoch.close()  # type: ignore[attr-defined]
        assert sorted(path.name for path in tmp_path.iterdir()) == ['0', '1']
        again = iter(batch_iter)
        assert list(islice(again, 4)) == [0, 0, 1, 1]
        with pytest.raises(OSError, match='^closing$'):
            again.close()  # type: ignore[attr-defined]


def test_a_run_can_be_stopped_while_it_waits(tmp_path: Path) -> None:
    waits = tmp_path / 'waits'

    def read(number: int) -> Iterator[int]:
        yield 0
        waits.touch()
        threading.Event().wait()

    batch_iter = Infinite([0], interleave(read, processes=True))
    got: list[int] = []
    thread = threading.Thread(target=got.extend, args=(batch_iter,))
    thread.start()
    await_file(waits)
    batch_iter.close()
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_the_statistics_count_the_processes() -> None:
    run = iter(range(4) | interleave(pids, cycle=2, processes=True))
    list(run)
    assert '2 processes' in str(run.stats())
