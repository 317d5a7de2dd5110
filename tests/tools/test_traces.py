"""A trace that was written is drawn: rows for threads and processes, colors for stages, the last steps of the loop."""

from pathlib import Path
from typing import Any

import pytest

from itpipe import Infinite, plot, stream
from itpipe._views.plots import Timeline
from itpipe.tools.traces import timeline_of

pytest.importorskip('matplotlib')


def traced(path: Path, batches: int = 40) -> Path:
    with (
        Infinite(range(10**6), abs, batch_size=4, batches_per_epoch=batches, threads=2) as batch_iter,
        batch_iter.trace(path),
    ):
        assert len(list(batch_iter)) == batches
    return path


def timeline(path: Path, n: int | None = None) -> Timeline:
    (block,) = timeline_of(path, n)
    ((_, ((_, panel),)),) = block.rows
    assert isinstance(panel, Timeline)
    return panel


def count(panel: Timeline, kind: str) -> int:
    return sum(len(spans) for (own, _), spans in panel.spans.items() if own == kind)


@pytest.mark.parametrize(('n', 'shown'), [(None, 30), (7, 7), (100, 40)])
def test_the_last_steps_are_shown(n: int | None, shown: int, tmp_path: Path) -> None:
    panel = timeline(traced(tmp_path / 'run.json'), n)
    assert panel.rows[-1] == 'MainThread'
    assert 'itpipe-Infinite' in panel.rows
    assert count(panel, 'ask') == shown
    asked = min(begun for _, begun, _ in panel.spans['ask', 'the loop waits'])
    assert min(begun for spans in panel.spans.values() for _, begun, _ in spans) == asked
    assert {row for row, _, _ in panel.spans['ask', 'the loop waits']} == {len(panel.rows) - 1}


def test_of_a_run_of_a_stream_all_is_shown(tmp_path: Path) -> None:
    run = iter(stream(range(9)) | str)
    with run.trace(tmp_path / 'run.json'):
        list(run)
    panel = timeline(tmp_path / 'run.json', 1)
    assert count(panel, 'ask') == 0
    assert count(panel, 'work') > 0


def test_plot_takes_the_path(tmp_path: Path) -> None:
    path: Any
    for path in (traced(tmp_path / 'run.json'), str(tmp_path / 'run.json')):
        (axes,) = plot(path, n=5, title='mine').axes
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert labels[-1] == 'MainThread'
        assert axes.get_xlabel() == 'seconds'
        assert len({collection.get_label() for collection in axes.collections} - {''}) >= 2


@pytest.mark.parametrize(
    ('text', 'rule'),
    [
        ('not json', ', as `trace` writes it,'),
        ('{}', ', as `trace` writes it,'),
        ('[1]', ', as `trace` writes it,'),
        ('{"traceEvents": [{"ph": "X", "name": "x"}]}', ', as `trace` writes it,'),
        ('{"traceEvents": []}', ' in which something was done,'),
    ],
)
def test_what_is_no_trace_is_refused(text: str, rule: str, tmp_path: Path) -> None:
    path = tmp_path / 'run.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='^plot: ') as caught:
        plot(path)
    assert str(caught.value) == f'plot: `batch` must be the path of a trace{rule} got {str(path)!r}'
    with pytest.raises(FileNotFoundError):
        plot(tmp_path / 'other.json')
