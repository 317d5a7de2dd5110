"""Figures from plain data."""

import numpy as np
import pytest

from itpipe._views.plots import Block, Histogram, Image, Lines, Timeline, drawn, limits_of

pytest.importorskip('matplotlib')


def test_limits_leave_out_the_few_values_that_stand_out() -> None:
    values = np.append(np.linspace(-1, 1, 1001), [1e9, np.nan, -np.inf])
    low, high = limits_of([values])
    assert low == pytest.approx(-1, abs=0.02)
    assert high == pytest.approx(1, abs=0.02)
    assert limits_of([]) == limits_of([np.array([np.nan])]) == (0.0, 1.0)
    assert limits_of([np.full(3, 4.0)]) == (3.5, 4.5)
    assert limits_of([np.array([2, 9])]) == (2.0, 9.0)


def test_blocks_are_below_each_other_and_fit_into_the_figure() -> None:
    from matplotlib.figure import Figure

    blocks = [
        Block('images', [('row', [('a', Image(np.zeros((4, 8)), (0, 1)))] * 3)]),
        Block('lines', [('', [('b', Lines((np.arange(9),)))])]),
        Block('', [('', [('c', Histogram(([1, 2],)))])]),
    ]
    figure = drawn(Figure, blocks, 'title')
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes if axes.axison]
    assert len(boxes) == 5
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)
    assert boxes[0].y0 > boxes[3].y1 > boxes[3].y0 > boxes[4].y1
    assert [part.get_suptitle() for part in figure.subfigs] == ['images', 'lines', '']


def test_a_timeline_has_a_color_for_each_stage_and_one_for_its_waits() -> None:
    from matplotlib.figure import Figure

    spans = {
        ('wait', 'waits at: load'): [(0, 5.0, 6.0)],
        ('full', 'full: ready'): [(0, 7.0, 7.5)],
        ('ask', 'the loop waits'): [(1, 5.0, 6.0)],
        ('call', 'load'): [(0, 6.0, 7.0), (1, 6.0, 8.0)],
        ('work', 'batch_by(2)'): [(0, 7.5, 8.0)],
    }
    figure = drawn(Figure, [Block('', [('', [('', Timeline(('reader', 'MainThread'), spans))])])], '')
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_xlim() == (0, 3)
    colors: dict[str, set[str]] = {}
    label = ''
    for bars in axes.collections:
        own = str(bars.get_label())
        label = label if own.startswith('_') or not own else own
        colors.setdefault(label, set()).add(str(bars.get_facecolor().tolist()))
    assert [*colors] == ['a stage waits', 'load', 'batch_by(2)', 'the loop waits']
    assert all(len(each) == 1 for each in colors.values())
    assert len(set.union(*colors.values())) == 4
    (legend,) = [legend for part in figure.subfigs for legend in part.legends]
    assert [text.get_text() for text in legend.get_texts()] == [*colors]
    box = legend.get_window_extent()
    assert figure.bbox.y0 <= box.y0
    assert box.y1 <= axes.get_tightbbox().y0 + 1
