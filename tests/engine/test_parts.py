"""The parts of an item, also if some of it cannot be read."""

import io
from collections.abc import Iterator
from typing import Any

import pytest

from itpipe._engine.parts import Broken, parts_of, reported_at


class Tens:
    def __init__(self, size: int, *bad: int):
        self.size, self.bad = size, bad

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        if index in self.bad:
            raise IndexError(index)
        return 10 * index


def generator(end: int, closed: list[int]) -> Iterator[int]:
    try:
        for n in range(end):
            yield 10 * n
        raise OSError('cut off')
    finally:
        closed.append(end)


def shown(parts: Any) -> list[Any]:
    return [(n, repr(part.error) if isinstance(part, Broken) else part) for n, part in parts]


@pytest.mark.parametrize('first', range(5))
def test_what_has_an_index_goes_on(first):
    whole = [(0, 0), (1, 'IndexError(1)'), (2, 20), (3, 'IndexError(3)')]
    assert shown(parts_of(Tens(4, 1, 3), first)) == whole[first:]


def test_an_error_at_an_index_says_how_many_there_are():
    ((_, broken),) = [(n, part) for n, part in parts_of(Tens(2, 1), 1)]
    assert broken.error.__notes__ == ['itpipe: by its length, <Tens> has 2 items, and so one at 1']


def test_a_stop_iteration_is_an_error():
    class Stops(Tens):
        def __getitem__(self, index: int) -> int:
            if index == 1:
                raise StopIteration
            return index

    assert [type(part) for _, part in parts_of(Stops(3), 0)] == [int, Broken, int]


@pytest.mark.parametrize('close', [False, True])
def test_what_has_none_ends(close):
    closed: list[int] = []
    assert shown(parts_of(generator(2, closed), 0, close=close)) == [(0, 0), (1, 10), (2, "OSError('cut off')")]
    assert shown(parts_of(generator(2, closed), 1, close=close)) == [(1, 10), (2, "OSError('cut off')")]
    assert shown(parts_of(generator(2, closed), 2, close=close)) == [(2, "OSError('cut off')")]
    assert closed == [2, 2, 2]


@pytest.mark.parametrize('close', [False, True])
def test_a_generator_is_closed(close):
    closed: list[int] = []
    value = generator(5, closed)
    parts = parts_of(value, 0, close=close)
    next(parts)
    parts.close()
    assert closed == [5]


@pytest.mark.parametrize('close', [False, True])
def test_an_open_file_is_closed_if_asked_for(close):
    file = io.StringIO('a')
    assert list(parts_of(file, 0, close=close)) == [(0, 'a')]
    assert file.closed is close


def test_an_error_counts_once():
    """If something came out in its place, a run that goes on there has had it. One that comes earlier is new."""
    closed: list[int] = []
    assert shown(parts_of(generator(2, closed), 3)) == []
    assert shown(parts_of(generator(2, closed), 4)) == [(4, "OSError('cut off')")]
    assert [reported_at(2, first) for first in range(5)] == [2, 2, 2, None, 4]


@pytest.mark.parametrize('value', ['abc', [1, 2], {'a': 1}, range(3), ()])
def test_builtin_types(value):
    assert list(parts_of(value, 0)) == list(enumerate(value))
    assert list(parts_of(value, 1)) == list(enumerate(value))[1:]


def test_what_cannot_be_begun():
    class Unopened:
        def __iter__(self) -> Iterator[int]:
            raise OSError('not there')

    assert shown(parts_of(Unopened(), 0)) == [(0, "OSError('not there')")]
