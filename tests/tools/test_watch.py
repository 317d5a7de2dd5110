"""`watch` shows what `stats()` says, while a run goes on, and ends with its block however that ends."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from clock import virtual

from itpipe import Infinite, batch_by, parallel_map, prefetch, shuffle, stream, watch
from itpipe._views.live import Line
from itpipe.tools import watch as module
from itpipe.tools.screens import Screen
from itpipe.tools.watch import lines
from tests.engine.test_limits import pool, stats


class Recorder(Screen):
    """Keeps what is drawn."""

    every = 0.001

    def __init__(self) -> None:
        self.drawn: list[tuple[Sequence[Line], str, str, bool]] = []
        self.seen = threading.Event()
        self.closed = 0

    def draw(self, lines: Sequence[Line], note: str, summary: str, last: bool) -> None:
        self.drawn.append((lines, note, summary, last))
        self.seen.set()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(module, 'screen', lambda: made)
    return made


def test_it_draws_while_the_loop_runs_and_once_in_the_end(recorder):
    with Infinite(range(8), abs, batch_size=2, threads=2) as batch_iter, watch(batch_iter):
        for _ in batch_iter:
            assert recorder.seen.wait(30)
    assert [last for *_, last in recorder.drawn].count(True) == 1
    drawn, _, summary, last = recorder.drawn[-1]
    assert last
    assert [line.name for line in drawn][-2:] == ['ready', 'the loop waits']
    assert summary.startswith('4 batches, ')
    assert recorder.closed == 1


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_error_ends_it(recorder, error):
    with pytest.raises(error), Infinite(range(8), batch_size=2) as batch_iter, watch(batch_iter):
        for _ in batch_iter:
            raise error
    assert recorder.closed == 1
    assert not [thread for thread in threading.enumerate() if thread.name == 'itpipe-watch']


def test_a_run_of_a_stream_and_one_that_has_not_begun(recorder):
    run = iter(range(3) | batch_by(2))
    with watch(run, every=30):
        pass
    assert [line.name for line in recorder.drawn[0][0]] == ['the loop waits']


def test_it_can_be_used_again_but_not_twice_at_once(recorder):
    run = iter(range(3) | batch_by(2))
    watched = watch(run, every=30)
    for _ in range(2):
        with watched, pytest.raises(RuntimeError, match='in use already'), watched:
            pass
    assert recorder.closed == 2


def test_what_cannot_be_shown_is_a_warning_and_the_loop_goes_on(recorder, monkeypatch):
    def draw(*_: Any) -> None:
        raise OSError('no screen')

    monkeypatch.setattr(recorder, 'draw', draw)
    run = iter(range(3) | batch_by(2))
    with pytest.warns(UserWarning, match=r'watch: it could not show the run: OSError'), watch(run):
        assert len(list(run)) == 2
    assert recorder.closed == 1


def test_one_process_is_a_process():
    made = stats(pool('load', 10.0, 1, unit='processes'))
    assert '1 process, ' in lines(made)[0].text


def test_the_line_and_the_advice_are_of_the_block(recorder, monkeypatch):
    """The first block waits for workers, the second one does not."""
    clock = virtual(monkeypatch)
    with Infinite(range(40), lambda item: clock.work(1 if item < 20 else 0.01), batch_size=1, prefetch=0) as batch_iter:
        batches = iter(batch_iter)
        for _, _ in zip(range(20), batches, strict=False):
            clock.work(0.01)
        clock.work(1000)
        with watch(batch_iter, every=30):
            for _ in batches:
                clock.work(0.09)
    drawn, note, summary, _ = recorder.drawn[-1]
    assert summary.startswith('20 batches, 10 a second, the loop waited 1'), summary
    assert note.startswith('The loop limits')
    assert drawn[-1].text.endswith('10 a second')


def test_lines_say_how_full_buffers_are_and_how_busy_workers():
    go = threading.Event()
    run = iter(
        range(30)
        | shuffle(4, seed=0)
        | parallel_map(lambda x: go.wait() and x, threads=2, in_flight=4)
        | prefetch(3)
        | batch_by(1)
    )
    go.set()
    next(run)
    made = {line.name.partition('(')[0]: line for line in lines(run.stats())}
    assert [*made] == ['range', 'shuffle', 'parallel_map', 'prefetch', 'batch_by', 'the loop waits']
    assert '2 threads' in made['parallel_map'].text
    assert 'of 3' in made['prefetch'].text
    assert 0 <= made['prefetch'].share <= 1
    run.close()


@pytest.mark.parametrize(
    ('given', 'error', 'text'),
    [
        (
            (stream([1]),),
            TypeError,
            'watch: `batch_iter` must be an Infinite or a run, got Stream: give it a run, `run = iter(stream)`',
        ),
        ((3,), TypeError, 'watch: `batch_iter` must be an Infinite or a run, got int'),
        ((iter(stream([1])), 'x'), TypeError, 'watch: `every` must be a number, got str'),
        ((iter(stream([1])), 0), ValueError, 'watch: `every` must be positive, got 0'),
    ],
)
def test_what_cannot_be_watched(given, error, text):
    with pytest.raises(error) as caught:
        watch(*given)
    assert str(caught.value) == text
