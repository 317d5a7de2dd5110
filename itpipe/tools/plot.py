"""Figures of batches, of stats and of traces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from itpipe._core.checks import integer
from itpipe._engine.stats import Stats
from itpipe._views.plots import Block, Histogram, Image, Lines, Panel, Steps, drawn, limits_of

from .fields import Field, fields_of, is_mask
from .traces import timeline_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['plot']

MOST: Final = {'image': 16, 'volume': 4, 'sequence': 9}
"""How many items are shown if it is not said …"""
MOST_PAIRS: Final = {'image': 8, 'volume': 2, 'sequence': 6}
"""… and how many before and after."""
COLUMNS: Final = {'image': 8, 'sequence': 3}
LABELS: Final = 3
"""The most parts of an item in its title."""


def plot(
    batch: Any = None,
    /,
    *,
    before: Any = None,
    after: Any = None,
    n: int | None = None,
    slices: int = 5,
    title: str = '',
) -> Figure:
    """A figure of a batch, or of the same items before and after, such as before and after augmentation.

    `batch` is what `combine` makes, or `combine_lists`: an array with a value for each item, or a tuple, dict or
    dataclass of these. Or it is a list of items, as of `batch_by`. What is drawn depends on the shapes of an item's
    parts:

    - 2D arrays, and 3D ones with 1, 3 or 4 channels first or last, are images, in a grid. All are equally bright;
    - other 3D arrays, and 4D ones with channels, are volumes: a row for each item, with `slices` of the first axis.
      They are evenly spaced, but with a mask, one of them is that with the most of it;
    - a part with integers or booleans, or with nothing but 0 and 1, the size of the image, is a mask, drawn over it;
    - numbers and texts are in the title of their item;
    - 1D arrays with at least 8 values, and those with up to 4 channels, are sequences, drawn as lines;
    - everything else is one histogram for all items, and so are numbers and texts if there is nothing else.

    `batch` may also be a list of `stats()`, taken while a training went on, such as every 100 steps. Then the share of
    time in which the loop waited, and the steps in a second, are drawn over the steps.

    Or it is the path of a file that `trace` has written. Then there is a row for each thread and process, with a color
    for each stage: the last `n` steps of the loop, by default 30.

    At most `n` items are drawn; by default 16 images, 4 volumes or 9 sequences, and the title says of how many.
    `plot(before=…, after=…)` draws each item twice, one below the other, or as two lines. Histograms lie over each
    other.

    It needs matplotlib, but not pyplot: nothing opens, and a notebook shows the figure that is returned.
    `figure.savefig('batch.png')` writes a file.

    Raises ImportError without matplotlib. Raises TypeError for what is not a batch, such as a stream, or has values
    that cannot be drawn. Raises ValueError if a batch has no items, or parts of different numbers of items, and if
    `before` and `after` do not have the same parts and number of items. Also raises it for a file that is no trace, and
    if `n` or `slices` is less than 1.

    >>> import numpy as np
    >>> figure = plot((np.zeros((4, 16, 16)), np.arange(4)), title='The first batch')
    >>> [axes.get_title() for axes in figure.axes]
    ['0', '1', '2', '3']

    See also: `combine`, `batch_by`, `Infinite.trace`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plot: it needs matplotlib: pip install matplotlib') from None
    given = [name for name, value in (('batch', batch), ('before', before), ('after', after)) if value is not None]
    if given not in (['batch'], ['before', 'after']):
        raise TypeError(f'plot: give a batch, or `before` and `after`, got {" and ".join(given) or "none of them"}')
    if n is not None:
        integer('plot', 'n', n, least=1)
    integer('plot', 'slices', slices, least=1)
    if isinstance(batch, (str, PathLike)):
        return drawn(Figure, timeline_of(batch, n), title)
    if isinstance(batch, list) and batch and isinstance(batch[0], Stats):
        return drawn(Figure, _history(batch), title)
    if batch is not None:
        versions = {'': fields_of('plot', 'batch', batch)}
    else:
        versions = {name: fields_of('plot', name, value) for name, value in (('before', before), ('after', after))}
        _check_alike(*versions.values())
    blocks = _Blocks([*versions.values()], tuple(versions), n, slices)
    return drawn(Figure, blocks.made(), ', '.join(filter(None, [title, *blocks.left_out()])))


def _history(all_stats: list[Any]) -> list[Block]:
    """What was done from each of the stats to the next one."""
    steps, waited, rates = [0], [], []
    for before, now in pairwise([None, *all_stats]):
        if not isinstance(now, Stats):
            raise TypeError(f'plot: `batch` must have nothing else beside stats, got {type(now).__name__}')
        # with `restart` and after `close`, they begin again
        goes_on = before is not None and before.elapsed <= now.elapsed and before.loop.items <= now.loop.items
        since = now - before if goes_on else now
        if since.loop.items > 0:
            steps.append(steps[-1] + since.loop.items)
            waited.append(100 * since.loop.waiting_share)
            rates.append(since.rate)
    if not waited:
        raise ValueError('plot: `batch` must have stats of a run in which there were steps')
    return [
        Block('', [('', [('', Steps(steps[1:], waited, 'waited, % of the time', 100))])]),
        Block('', [('', [('', Steps(steps[1:], rates, 'steps in a second'))])]),
    ]


def _check_alike(before: list[Field], after: list[Field]) -> None:
    kinds = [[f'{field.name} ({field.kind})'.strip() for field in fields] for fields in (before, after)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f'plot: `before` and `after` must have the same parts, got {", ".join(kinds[0])} and {", ".join(kinds[1])}'
        )
    sizes = [len(fields[0].values) for fields in (before, after)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f'plot: `before` and `after` must have the same number of items, got {sizes[0]} and {sizes[1]}'
        )


class _Blocks:
    """The blocks of a figure of these fields: one version of them, or those before and after."""

    def __init__(self, versions: list[list[Field]], labels: tuple[str, ...], n: int | None, slices: int):
        self.versions, self.labels, self.n, self.slices = versions, labels, n, slices
        first = versions[0]
        self.masks = _masks(first)
        self.shown = [at for at, field in enumerate(first) if field.kind in MOST and at not in self.masks.values()]

    def made(self) -> list[Block]:
        blocks = [self._block(at) for at in self.shown]
        kinds = ('other',) if blocks else ('other', 'number', 'text')
        counted = [at for at, field in enumerate(self.versions[0]) if field.kind in kinds]
        panels: list[tuple[str, Panel]] = [
            (self.versions[0][at].name, Histogram(tuple(_flat(fields[at]) for fields in self.versions), self.labels))
            for at in counted
        ]
        if panels:
            blocks.append(Block('', [('', panels[row : row + 3]) for row in range(0, len(panels), 3)]))
        return blocks

    def left_out(self) -> list[str]:
        """How many items there are, where not all of them are drawn and `n` does not say so."""
        items = [(self._items(at), len(self.versions[0][at].values)) for at in self.shown if self.n is None]
        return list(dict.fromkeys(f'{len(drawn)} of {count}' for drawn, count in items if len(drawn) < count))

    def _items(self, at: int) -> range:
        field = self.versions[0][at]
        most = (MOST if len(self.versions) == 1 else MOST_PAIRS)[field.kind]
        return range(min(self.n or most, len(field.values)))

    def _block(self, at: int) -> Block:
        field, items = self.versions[0][at], self._items(at)
        if field.kind == 'sequence':
            panels: list[tuple[str, Panel]] = [
                (self._title(item), Lines(tuple(fields[at].values[item] for fields in self.versions), self.labels))
                for item in items
            ]
            return Block(field.name, _in_rows(panels, COLUMNS['sequence']))
        limits = [limits_of([fields[at].values[item] for item in items]) for fields in self.versions]
        rows: list[tuple[str, list[tuple[str, Panel]]]] = []
        if field.kind == 'volume':
            for item in items:
                for version, label in enumerate(self.labels):
                    title = self._title(item) if version == 0 else ''
                    rows.append((label, self._slices(at, item, version, limits[version], title)))
            return Block(field.name, rows)
        for version, label in enumerate(self.labels):
            panels = [
                (self._title(item, version), self._image(at, item, version, limits[version], ...)) for item in items
            ]
            rows += [(label, part) for _, part in _in_rows(panels, COLUMNS['image'])]
        if len(self.labels) == 2:  # each row of what was before with that of what is now
            half = len(rows) // 2
            rows = [row for pair in zip(rows[:half], rows[half:], strict=True) for row in pair]
        return Block(field.name, rows)

    def _image(self, at: int, item: int, version: int, limits: tuple[float, float], where: Any) -> Image:
        fields = self.versions[version]
        mask = fields[self.masks[at]].values[item][where] if at in self.masks else None
        return Image(fields[at].values[item][where], limits, mask)

    def _slices(
        self, at: int, item: int, version: int, limits: tuple[float, float], title: str
    ) -> list[tuple[str, Panel]]:
        depth = len(self.versions[version][at].values[item])
        places = np.unique(np.linspace(0, depth - 1, min(self.slices, depth) + 2).round().astype(int)[1:-1])
        if self.slices >= depth:
            places = np.arange(depth)
        elif at in self.masks:
            mask = np.asarray(self.versions[0][self.masks[at]].values[item]) != 0
            areas = mask.reshape(depth, -1).sum(axis=1)
            if areas.any():  # the same before and after: that with the most of the mask, for the nearest one
                places[np.abs(places - areas.argmax()).argmin()] = areas.argmax()
        titles = [f'{title}\nslice {places[0]}'.lstrip('\n'), *(f'slice {place}' for place in places[1:])]
        images = [self._image(at, item, version, limits, place) for place in places]
        return list(zip(titles, images, strict=True))

    def _title(self, item: int, version: int = 0) -> str:
        """The numbers and texts of an item, with the names of their parts if they have any."""
        fields = [field for field in self.versions[version] if field.kind in ('number', 'text')]
        words = []
        for field in fields[:LABELS]:
            value = field.values[item]
            text = value if isinstance(value, str) else f'{value.item():.4g}'
            named = len(fields) > 1 and field.name and not field.name.startswith('[')
            words.append((f'{field.name} {text}' if named else text)[:24])
        return '\n'.join(words) if any(map(str.isalpha, ''.join(words))) else ', '.join(words)


def _masks(fields: list[Field]) -> dict[int, int]:
    """For fields with images, the field with their masks, if there is one."""
    images = [at for at, field in enumerate(fields) if field.kind in ('image', 'volume')]
    flat = [at for at in images if is_mask(fields[at], fields[at])]
    masks: dict[int, int] = {}
    for image in [at for at in images if at not in flat] or images[:1]:
        fitting = [at for at in flat if at not in (image, *masks.values()) and is_mask(fields[at], fields[image])]
        if fitting:
            masks[image] = fitting[0]
    return masks


def _in_rows(panels: Sequence[tuple[str, Panel]], most: int) -> list[tuple[str, list[tuple[str, Panel]]]]:
    """The panels in rows that are about equally long, with at most so many in each."""
    count = -(-len(panels) // most)
    length = -(-len(panels) // count)
    return [('', list(panels[start : start + length])) for start in range(0, len(panels), length)]


def _flat(field: Field) -> Sequence[Any]:
    """All values of a field. Texts are one each."""
    if field.kind == 'text':
        return field.values
    values: Any = np.concatenate([np.ravel(value) for value in field.values])
    return values  # type: ignore[no-any-return]
