"""Figures of matplotlib: grids of images, lines and histograms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['Block', 'Histogram', 'Image', 'Lines', 'Panel', 'Steps', 'Timeline', 'drawn', 'limits_of']

Array: TypeAlias = 'np.ndarray[Any, Any]'
COLORS: Final = ('#e8871e', '#0969da')
"""Of what was before, and of what is now."""
WAITS: Final = 'a stage waits'
STAGES: Final = ('C0', 'C1', 'C2', 'C4', 'C5', 'C6', 'C8', 'C9')
MOST_EDGES: Final = 300
"""If there are more bars in a row, their edges would hide them."""
OWN_COLORS: Final = {'wait': '#d8dee4', 'full': '#d8dee4', 'ask': '#cf222e', 'step': '#57606a'}
"""Of what is no work of a stage, by its kind."""
MASK: Final = 0.45
"""How much of the color of a mask is over the image."""


class Image(NamedTuple):
    values: Array
    limits: tuple[float, float]
    mask: Array | None = None


class Lines(NamedTuple):
    """Sequences, one over the other. A sequence with several channels has several lines."""

    values: tuple[Array, ...]
    labels: tuple[str, ...] = ('',)


class Histogram(NamedTuple):
    values: tuple[Sequence[Any], ...]
    """Numbers, or texts, which are counted."""
    labels: tuple[str, ...] = ('',)


class Steps(NamedTuple):
    """Values, each of which holds from the step before up to its own."""

    steps: Sequence[int]
    values: Sequence[float]
    what: str
    """What they are."""
    most: float | None = None
    """The end of the axis, if they are shares of something."""


class Timeline(NamedTuple):
    """What was done when, in rows below each other."""

    rows: tuple[str, ...]
    spans: dict[tuple[str, str], list[tuple[int, float, float]]]
    """By their kind, as in a trace, and their name: the row, the beginning and the end in seconds."""


Panel: TypeAlias = Image | Lines | Histogram | Steps | Timeline


class Block(NamedTuple):
    """Panels in rows: each has a title, and each row a label."""

    title: str
    rows: list[tuple[str, list[tuple[str, Panel]]]]


def limits_of(values: Sequence[Array]) -> tuple[float, float]:
    """The darkest and the lightest value of images, without the few that stand out."""
    finite = np.concatenate([np.ravel(value[np.isfinite(value)]) for value in values] or [np.zeros(0)])
    if not finite.size:
        return 0.0, 1.0
    low, high = map(float, (finite.min(), finite.max()))
    if finite.dtype.kind == 'f' and not 0 <= low <= high <= 1:
        low, high = map(float, np.percentile(finite, [0.5, 99.5]))
    if finite.dtype == np.uint8:
        low, high = 0.0, 255.0
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def drawn(figure_type: Callable[..., Figure], blocks: Sequence[Block], title: str) -> Figure:
    """A figure of the blocks below each other."""
    sizes = [_size(block) for block in blocks]
    width, height = max(width for width, _ in sizes), sum(height for _, height in sizes)
    figure = figure_type(figsize=(width, height + (0.4 if title else 0)), layout='constrained')
    # notebooks ask for it where pyplot is not in use
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
    if title:
        figure.suptitle(title, fontweight='bold')
    parts = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=[height for _, height in sizes])
    for part, block in zip(parts[:, 0], blocks, strict=True):
        if block.title and len(blocks) > 1:
            part.suptitle(block.title, fontsize=10)
        _draw_block(part, block)
    return figure


def _png(figure: Figure) -> bytes:
    written = BytesIO()
    figure.savefig(written, format='png')
    return written.getvalue()


def _columns(block: Block) -> int:
    return max(len(panels) for _, panels in block.rows)


def _size(block: Block) -> tuple[float, float]:
    """Width and height in inches."""
    panel = block.rows[0][1][0][1]
    if isinstance(panel, Timeline):
        return 10.0, 0.3 * len(panel.rows) + 0.09 * len(_colored(panel)) + 0.8
    width, height = {Image: (1.5, 1.5), Lines: (2.6, 1.7), Histogram: (3.2, 2.4), Steps: (7.0, 1.9)}[type(panel)]
    if isinstance(panel, Image):
        height = min(max(width * panel.values.shape[0] / panel.values.shape[1], 0.5), 4)
    titles = max(title.count('\n') + 1 if title else 0 for _, panels in block.rows for title, _ in panels)
    return max(width * _columns(block), 3.2) + 0.3, (height + 0.2 * titles + 0.1) * len(block.rows) + 0.3


def _draw_block(part: Any, block: Block) -> None:
    axes = part.subplots(len(block.rows), _columns(block), squeeze=False)
    for row, (label, panels) in zip(axes, block.rows, strict=True):
        for n, ax in enumerate(row):
            if n >= len(panels):
                ax.set_axis_off()
                continue
            title, panel = panels[n]
            if title:
                ax.set_title(title, fontsize=9, pad=3)
            _draw_panel(ax, panel)
            if n == 0 and label:
                ax.set_ylabel(label)


def _draw_panel(ax: Axes, panel: Panel) -> None:
    if isinstance(panel, Image):
        _draw_image(ax, panel)
    elif isinstance(panel, Lines):
        for color, label, values in zip(COLORS[-len(panel.values) :], panel.labels, panel.values, strict=True):
            channels = values.reshape(len(values), -1).T
            for n, channel in enumerate(channels):
                several = len(channels) > 1 and len(panel.values) == 1
                ax.plot(channel, color=f'C{n}' if several else color, lw=1, label=label if n == 0 else '')
        ax.tick_params(labelsize=7)
        _add_legend(ax, panel.labels)
    elif isinstance(panel, Histogram):
        _draw_histogram(ax, panel)
    elif isinstance(panel, Timeline):
        _draw_timeline(ax, panel)
    else:
        ax.stairs(panel.values, [0, *panel.steps], color=COLORS[1], fill=True, alpha=0.25)
        ax.stairs(panel.values, [0, *panel.steps], color=COLORS[1], baseline=None)
        ax.set(xlabel='steps', ylabel=panel.what, xlim=(0, panel.steps[-1]), ylim=(0, panel.most))
        ax.tick_params(labelsize=8)


def _draw_image(ax: Axes, panel: Image) -> None:
    low, high = panel.limits
    if panel.values.ndim == 3:
        shown = np.clip((panel.values.astype(float) - low) / (high - low), 0, 1)
        ax.imshow(np.nan_to_num(shown))
    else:
        ax.imshow(panel.values.astype(float), cmap='gray', vmin=low, vmax=high)
    if panel.mask is not None:
        from matplotlib import colormaps

        mask = panel.mask.astype(int)
        colors = colormaps['tab10']((mask + 2) % 10)  # red first
        colors[..., 3] = np.where(mask != 0, MASK, 0)
        ax.imshow(colors)
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)


def _draw_histogram(ax: Axes, panel: Histogram) -> None:
    if any(isinstance(value, str) for values in panel.values for value in values):
        words = sorted({value for values in panel.values for value in values})
        for n, (color, label, values) in enumerate(
            zip(COLORS[-len(panel.values) :], panel.labels, panel.values, strict=True)
        ):
            width = 0.8 / len(panel.values)
            counts = [list(values).count(word) for word in words]
            places = np.arange(len(words)) + (n - (len(panel.values) - 1) / 2) * width
            ax.bar(places, counts, width, color=color, label=label)
        ax.set_xticks(range(len(words)), [word[:16] for word in words], rotation=30, ha='right')
    else:
        arrays = [np.asarray(values, float) for values in panel.values]
        finite = [array[np.isfinite(array)] for array in arrays]
        bins = np.histogram_bin_edges(np.concatenate(finite), bins=30).tolist()
        for color, label, array in zip(COLORS[-len(finite) :], panel.labels, finite, strict=True):
            ax.hist(array, bins, color=color, alpha=0.7, label=label)
    ax.set_ylabel('values')
    ax.tick_params(labelsize=8)
    _add_legend(ax, panel.labels)


def _colored(panel: Timeline) -> dict[str, list[tuple[str, str]]]:
    """What has which color, and its kinds and names: a color for each stage, one for all waits of stages."""
    named: dict[str, list[tuple[str, str]]] = {}
    for kind, name in panel.spans:
        named.setdefault(WAITS if kind in ('wait', 'full') else name, []).append((kind, name))
    return dict(sorted(named.items(), key=lambda entry: (entry[0] != WAITS, entry[1][0][0] in ('ask', 'step'))))


def _draw_timeline(ax: Axes, panel: Timeline) -> None:
    colors = cycle(STAGES)
    begin = min(begun for spans in panel.spans.values() for _, begun, _ in spans)
    for label, keys in _colored(panel).items():
        kind = keys[0][0]
        color = OWN_COLORS.get(kind) or next(colors)
        spans = [span for key in keys for span in panel.spans[key]]
        for row in sorted({row for row, _, _ in spans}):
            bars = [(begun - begin, ended - begun) for at, begun, ended in spans if at == row]
            edges = 0.5 if kind in ('call', 'ask', 'step') and len(bars) < MOST_EDGES else 0
            ax.broken_barh(bars, (row - 0.4, 0.8), facecolor=color, edgecolor='white', linewidth=edges, label=label)
            label = ''  # once
    ax.set_yticks(range(len(panel.rows)), panel.rows)
    end = max(ended for spans in panel.spans.values() for _, _, ended in spans)
    ax.set(xlabel='seconds', xlim=(0, end - begin), ylim=(len(panel.rows) - 0.4, -0.6))
    ax.tick_params(labelsize=8)
    ax.figure.legend(fontsize=7, frameon=False, loc='outside lower left', ncols=2)


def _add_legend(ax: Axes, labels: Sequence[str]) -> None:
    if any(labels):
        ax.legend(fontsize=7, frameon=False)
