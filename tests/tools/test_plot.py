"""Figures of batches: what is drawn for each kind of items, and how many."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from itpipe import Infinite, plot
from itpipe._engine.figures import LoopFigures
from itpipe._engine.stats import Stats

pytest.importorskip('matplotlib')

RNG = np.random.default_rng(0)


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.axison]


def images(figure: Any) -> list[int]:
    """How many images lie over each other in each of the axes."""
    return [len(axes.images) for axes in figure.axes if axes.axison]


def test_images_are_in_a_grid_with_labels_and_masks() -> None:
    batch = {
        'image': RNG.random((20, 3, 9, 9)), 'mask': RNG.integers(0, 3, (20, 9, 9)), 'label': np.arange(20),
        'name': [f'n{n}' for n in range(20)],
    }  # fmt: skip
    figure = plot(batch, title='all')
    assert titles(figure) == [f'label {n}\nname n{n}' for n in range(16)]
    assert images(figure) == [2] * 16
    assert figure.get_suptitle() == 'all, 16 of 20'
    assert images(plot(batch, n=3)) == [2] * 3


def test_the_title_says_of_how_many_items_some_are_drawn() -> None:
    images = RNG.random((32, 9, 9))
    assert plot(images).get_suptitle() == '16 of 32'
    assert plot(images, title='all').get_suptitle() == 'all, 16 of 32'
    assert plot(images[:16]).get_suptitle() == ''
    assert plot(images, n=4).get_suptitle() == ''


def test_a_mask_has_a_color_for_each_class_and_none_for_zero() -> None:
    mask = np.array([[0, 1] * 3, [2, 12] * 3] * 3)
    (axes,) = plot((np.zeros((1, 6, 6, 1)), mask[None])).axes
    colors = axes.images[1].get_array()
    assert (colors[..., 3] == np.where(mask > 0, 0.45, 0)).all()
    assert (colors[0, 1, :3] != colors[1, 0, :3]).any()
    assert (colors[1, 0, :3] == colors[1, 1, :3]).all()


def test_floats_that_are_0_and_1_are_a_mask() -> None:
    """As those of MONAI are."""
    volumes, masks = RNG.random((3, 1, 12, 9, 9)), RNG.integers(0, 2, (3, 1, 12, 9, 9)).astype(np.float32)
    assert images(plot({'image': volumes, 'label': masks}, slices=2)) == [2] * 6
    assert images(plot({'image': volumes, 'label': 0 * masks}, slices=2)) == [1] * 12
    assert images(plot({'image': volumes, 'label': 0.5 * masks}, slices=2)) == [1] * 12


def test_all_images_are_equally_bright() -> None:
    batch = np.stack([np.full((9, 9), value, float) for value in range(-5, 5)])
    limits = {axes.images[0].get_clim() for axes in plot(batch).axes if axes.axison}
    assert limits == {(-5.0, 4.0)}
    (axes,) = plot(np.full((1, 9, 9), np.nan)).axes
    assert axes.images[0].get_clim() == (0.0, 1.0)
    (axes,) = plot(np.full((1, 9, 9), 7, np.uint8)).axes
    assert axes.images[0].get_clim() == (0.0, 255.0)


def test_colors_are_within_what_can_be_drawn() -> None:
    (axes,) = plot(RNG.normal(0, 100, (1, 9, 9, 3))).axes
    shown = np.asarray(axes.images[0].get_array())
    assert shown.min() == 0
    assert shown.max() == 1


def test_a_slice_shows_the_mask_of_a_volume() -> None:
    """Where evenly spaced ones would miss it."""
    volumes, masks = np.ones((2, 40, 9, 9)), np.zeros((2, 40, 9, 9), bool)
    masks[0, 3, 4, 4:6] = masks[0, 2, 4, 4] = True
    assert titles(plot((volumes, masks), slices=3)) == [f'slice {place}' for place in (3, 20, 29, 10, 20, 29)]
    both = plot(before=(volumes, masks), after=(volumes, masks[::-1]), n=1, slices=3)
    assert [axes.get_title() for axes in both.axes][:3] == ['slice 3', 'slice 20', 'slice 29']


def test_volumes_are_rows_of_slices() -> None:
    volumes = np.arange(20)[:, None, None] * np.ones((6, 20, 9, 9))
    figure = plot((volumes, volumes > 9, [*'abcdef']), slices=3)
    assert titles(figure) == [
        f'{name}slice {place}' for row in 'abcd' for name, place in ((f'{row}\n', 5), ('', 10), ('', 14))
    ]
    assert [axes.images[0].get_array()[0, 0] for axes in figure.axes] == [5, 10, 14] * 4
    assert images(figure) == [2] * 12
    assert titles(plot(volumes[:1, :2], slices=7)) == ['slice 0', 'slice 1']


def test_sequences_are_lines() -> None:
    figure = plot((RNG.random((2, 50, 3)), [0.123456, 2]))
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]
    assert titles(figure) == ['0.1235', '2']


def test_other_values_are_histograms() -> None:
    figure = plot({'x': RNG.random((30, 3)), 'y': RNG.integers(0, 3, 30), 'z': [*'abc'] * 10, 'w': np.zeros((30, 1))})
    assert titles(figure) == ['x', 'y', 'z', 'w']
    counts = [sum(patch.get_height() for patch in axes.patches) for axes in figure.axes if axes.axison]
    assert counts == [90, 30, 30, 30]
    words = [label.get_text() for label in figure.axes[2].get_xticklabels()]
    assert words == ['a', 'b', 'c']


def test_boxes_beside_images_are_a_histogram() -> None:
    figure = plot({'image': RNG.random((2, 9, 9)), 'box': RNG.random((2, 4)), 'id': [5, 6]})
    assert titles(figure) == ['5', '6', 'box']


def test_images_before_and_after() -> None:
    before, after = RNG.random((10, 9, 9)), RNG.random((10, 12, 12))
    figure = plot(before=(before, np.arange(10)), after=(after, np.arange(10, 20)))
    assert titles(figure) == [*map(str, range(8)), *map(str, range(10, 18))]
    assert [axes.get_ylabel() for axes in figure.axes[::8]] == ['before', 'after']
    figure = plot(before=before, after=after, n=9)
    rows = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert rows == ['before', 'after', 'before', 'after']


def test_all_else_before_and_after() -> None:
    volumes = RNG.random((3, 6, 9, 9))
    figure = plot(before=volumes, after=volumes, slices=2)
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ['before', 'after'] * 2
    lines = RNG.random((2, 50))
    for axes in plot(before=lines, after=lines).axes:
        assert [line.get_label() for line in axes.lines] == ['before', 'after']
    (axes,) = plot(before=lines[:, :3], after=lines[:, 4:9]).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['before', 'after']
    (axes,) = plot(before=['a', 'b'], after=['b', 'c']).axes
    assert [patch.get_height() for patch in axes.patches] == [1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(
    'batch',
    [
        RNG.random((3, 9, 9)), RNG.random((1, 200, 10)), RNG.random((2, 5, 9, 9)), RNG.random((2, 30)),
        RNG.random((2, 2)), ['a', 'much longer text than there is room for'], np.full((2, 9), np.inf), [True, False],
    ],
    ids=lambda batch: str(np.shape(batch)),
)  # fmt: skip
def test_figures_are_drawn_without_pyplot(batch: Any) -> None:
    """For a notebook; and no warning comes, which would be an error here."""
    figure = plot(batch)
    assert figure._repr_png_().startswith(b'\x89PNG')
    assert type(figure.canvas).__name__ in ('FigureCanvasBase', 'FigureCanvasAgg')


@pytest.mark.parametrize(
    ('given', 'options', 'error', 'message'),
    [
        ((), {}, TypeError, '^plot: give a batch, or `before` and `after`, got none of them$'),
        ((), {'before': [1]}, TypeError, '^plot: give a batch, or `before` and `after`, got before$'),
        (([1],), {'before': [1], 'after': [1]}, TypeError, 'got batch and before and after$'),
        (([1],), {'n': 0}, ValueError, '^plot: `n` must be at least 1, got 0$'),
        (([1],), {'slices': 1.5}, TypeError, '^plot: `slices` must be an int, got float$'),
        ((), {'before': [1], 'after': {'x': [1]}}, ValueError, r'same parts, got \(number\) and x \(number\)$'),
        ((), {'before': [1], 'after': [1, 2]}, ValueError, 'same number of items, got 1 and 2$'),
        ((), {'before': [1], 'after': []}, ValueError, '^plot: `after` must not be empty$'),
    ],
)
def test_wrong_arguments(given: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plot(*given, **options)


def taken(items: int, waited: float, worked: float, first: float = 0.0) -> Stats:
    return Stats(waited + worked, (), LoopFigures(items, waited, worked, first))


def curves(figure: Any) -> list[tuple[list[float], list[float]]]:
    return [
        (data.edges.tolist(), data.values.tolist()) for axes in figure.axes for data in [axes.patches[0].get_data()]
    ]


def test_stats_are_the_waits_over_the_steps() -> None:
    """Between one and the next; the wait for the first batch of all is no waiting share."""
    history = [taken(10, 5.0, 5.0, first=5.0), taken(10, 5.0, 5.0, first=5.0), taken(30, 10.0, 10.0, first=5.0)]
    figure = plot(history, title='a run')
    assert curves(figure) == [([0, 10, 30], [0, 50]), ([0, 10, 30], [1, 2])]
    assert [axes.get_ylabel() for axes in figure.axes] == ['waited, % of the time', 'steps in a second']
    again = [taken(10, 1.0, 3.0), taken(4, 1.0, 1.0)]
    assert curves(plot(again))[0] == ([0, 10, 14], [25, 50])
    assert figure._repr_png_().startswith(b'\x89PNG')


def test_stats_of_a_run() -> None:
    history = []
    with Infinite(range(100), batch_size=5) as batch_iter:
        history.append(batch_iter.stats())
        for _ in range(3):
            list(batch_iter)
            history.append(batch_iter.stats())
    assert curves(plot(history))[0][0] == [0, 20, 40, 60]


def test_stats_without_steps() -> None:
    with pytest.raises(ValueError, match='^plot: `batch` must have stats of a run in which there were steps$'):
        plot([Infinite([1]).stats()])
    with pytest.raises(TypeError, match='^plot: `batch` must have nothing else beside stats, got int$'):
        plot([taken(1, 1.0, 1.0), 3])


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(ImportError, match='^plot: it needs matplotlib: pip install matplotlib$'):
        plot([1])


def test_the_name_is_imported_when_it_is_used() -> None:
    code = (
        'import sys, itpipe; assert "itpipe.tools" not in sys.modules; itpipe.plot; print("matplotlib" in sys.modules)'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == 'False\n'
