"""How fast a loop would be with free data, by a clock that is set by hand."""

import pytest
from running import raises

from itpipe import Infinite, headspace, stream
from itpipe.tools import headspace as module


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr('itpipe.tools.headspace.perf_counter', clock)
    return clock


class Batches:
    """Three batches an epoch, each of which takes 3 s."""

    def __init__(self, clock):
        self.clock, self.epochs = clock, 0

    def __iter__(self):
        self.epochs += 1
        for n in range(3):
            self.clock.now += 3
            yield 10 * self.epochs + n


def test_the_times_are_those_of_the_loop(clock):
    loop = headspace(Batches(clock), count=4, warm_up=2)
    assert len(loop) == 12
    assert repr(loop) == 'headspace of 4 batches, not measured yet'
    came = []
    for batch in loop:
        assert loop.lost is None
        came.append(batch)
        clock.now += 9
    assert came == [10, 11, 12, 20, 21, 22] + 6 * [22]
    assert (loop.seconds, loop.free_seconds, loop.lost) == (12, 9, 0.25)
    assert repr(loop) == (
        '0.0833 batches a second, 0.111 with free data: the loop loses 25 % of its time to data'
        ' (12 s a batch instead of 9 s)'
    )


def test_the_warm_up_does_not_count(clock):
    loop = headspace([1, 2], count=1, warm_up=1)
    for n, _ in enumerate(loop):
        clock.now += [100, 4, 100, 2][n]
    assert (loop.seconds, loop.free_seconds, loop.lost) == (4, 2, 0.5)


def test_a_loop_that_takes_no_time(clock):
    loop = headspace([1], count=1, warm_up=0)
    assert list(loop) == [1, 1]
    assert loop.lost == 0
    assert repr(loop).startswith('∞ batches a second, ∞ with free data: the loop loses 0 % of its time')


def test_a_loop_that_is_left_early():
    with Infinite(range(100), batch_size=2) as batch_iter:
        loop = headspace(batch_iter, count=3)
        for _ in loop:
            break
        assert loop.lost is None
        assert len(list(loop)) == len(loop) == 16
        assert loop.lost is not None


def test_an_epoch_is_left_open_for_nobody():
    closed = []

    class Batches:
        def __iter__(self):
            try:
                while True:
                    yield 0
            finally:
                closed.append(True)

    assert len(list(headspace(Batches(), count=2, warm_up=0))) == 4
    assert closed == [True]


def test_wrong_arguments():
    with raises(TypeError, 'headspace: `batches` must be iterable, got int'):
        headspace(3)
    with raises(ValueError, 'headspace: `count` must be at least 1, got 0'):
        headspace([1], count=0)
    with raises(ValueError, 'headspace: `warm_up` must be at least 0, got -1'):
        headspace([1], warm_up=-1)
    with raises(ValueError, 'headspace: `batches` is empty, or an iterator that ended before `count` batches had come'):
        list(headspace(iter([1, 2]), count=3))
    with pytest.raises(TypeError, match='it takes the batches that a loop is about to use'):
        stream([1]) | headspace


def test_the_module_has_the_class():
    assert module.Headspace.__name__ == 'Headspace'
