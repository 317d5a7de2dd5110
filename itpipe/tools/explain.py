"""`explain`: what a row of a batch was after each stage."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import Any, NamedTuple

from itpipe._views.explained import Part, as_html, as_text
from itpipe._views.leaves import lines

from .fields import fields_of
from .rows import row_of, row_views

__all__ = ['Explanation', 'explain']


class Stage(NamedTuple):
    """What a row was after one stage."""

    stage: str
    """The stage as it was written; first the source."""
    value: Any
    """What came out of it: the item; a dict of items by their keys, if several were put together later; and in the
    batch, the row of it. None if nothing came out."""
    drawn: tuple[str, ...]
    """The random numbers that were drawn for it: calls of its generator, and what these gave."""
    branch: tuple[int, ...]
    """In which stream it is, where streams are put together: `(1,)` is the second one of a `mix`."""


class Explanation(list[Stage]):
    """What a row was after each stage. It prints shapes and small values; notebooks also show images, if they change.

    `about` says which item it is.
    """

    def __init__(self, about: str, stages: Iterable[Stage] = ()):
        super().__init__(stages)
        self.about = about

    def __repr__(self) -> str:
        return as_text(self.about, [_part(stage) for stage in self])

    def _repr_html_(self) -> str:
        parts, last = [], None
        for stage in self:
            picture = _picture(stage.value)
            parts.append(_part(stage)._replace(picture=None if picture == last else picture))
            last = picture or last
        return as_html(self.about, parts)


def explain(batch_iter: Any, row: int = 0) -> Explanation:
    """What one row of the batch received last was after every stage, and which random numbers were drawn for it.

    `batch_iter` is an `Infinite`, or a run as `iter(stream)` gives it; it is not disturbed. The item is made again, in
    this thread, by each stage in turn. Then the whole batch is made again, for `batch_by` and the stages behind it. The
    result is a list with a stage, value, drawn numbers and branch for each stage. The last value is the row, bit for
    bit. It prints with shapes, dtypes and small values, and notebooks show images if matplotlib is there.

    Of a batch, the row is the one of its arrays and lists that have as many rows as the batch has items. What has no
    such rows is shown whole. Without `batch_by` or `bucket_by`, the batch is one item, and `row` is 0; so is a row of
    `pack`. Nothing is known of what stands before a `stage` of your own: it makes all items again.

    Raises TypeError if `batch_iter` is neither, ValueError before the first batch, IndexError if there is no such row,
    `NotRestartable` if the source is an iterator, and what your functions raise.

    >>> from itpipe import Infinite, with_rng
    >>> def shifted(x, rng):
    ...     return x + rng.integers(10)
    >>> with Infinite(range(100), float, with_rng(shifted), batch_size=4, seed=0) as batch_iter:
    ...     batch = next(batch_iter())
    ...     explain(batch_iter, 2)
    row 2 of 4: item 2
    <BLANKLINE>
    0  range(0, 100)
         2
    <BLANKLINE>
    1  apply(float)
         2.0
    <BLANKLINE>
    2  with_rng(shifted)
         drawn: integers(10) → 6
         float64 (): 8.0
    <BLANKLINE>
    3  batch_by(4)
         float64 (): 8.0
    <BLANKLINE>
    4  apply(combine)
         float64 (): 8.0

    See also: `debug`, `Infinite.item`, and `itpipe replay` for batches of a recorded run.
    """
    found = row_of('explain', batch_iter, row)
    own, in_batch = row_views(found)
    stages = [Stage(view.stage, _value(view.values), view.drawn, view.branch) for view in (*own, *in_batch)]
    return Explanation(found.about, stages)


def _value(values: dict[Any, Any]) -> Any:
    if len(values) == 1:
        return next(iter(values.values()))
    return values or None


def _part(stage: Stage) -> Part:
    return Part(stage.stage, lines(stage.value), stage.drawn, len(stage.branch))


def _picture(value: Any) -> bytes | None:
    """A PNG of the images in the value; None if there are none, or without matplotlib."""
    try:
        if not any(field.kind in ('image', 'volume') for field in fields_of('explain', 'value', [value])):
            return None
        from .plot import plot

        result, figure = BytesIO(), plot([value])
        for axes in figure.axes:
            axes.title.set_color('gray')  # on light and dark pages
        figure.savefig(result, format='png', bbox_inches='tight', transparent=True)
    except (ImportError, TypeError, ValueError):
        return None
    return result.getvalue()
