"""One row of the batch that was received last: which item it is, and what it was after each stage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from itpipe._core.checks import integer
from itpipe._core.keys import Batch, Key, describe, ordinals
from itpipe._engine.chain import Chain
from itpipe._engine.run import Run
from itpipe.infinite import Infinite
from itpipe.stages.joins import Ragged
from itpipe.stages.structure import by_names, has_fields, with_fields

from .origins import origin
from .stepwise import View, views

__all__ = ['Row', 'row_of', 'row_views', 'value_at', 'views_of']


class Row(NamedTuple):
    """A row of a batch."""

    chain: Chain
    """What has made the batch."""
    batch: Key
    key: Key
    """The key of the item, or of the batch if it has no items."""
    number: int
    size: int

    @property
    def is_part(self) -> bool:
        """Whether it is one of several items."""
        return self.key is not self.batch

    @property
    def about(self) -> str:
        """Which item it is, in words."""
        if not self.is_part:
            return describe(self.key)
        text = f'row {self.number} of {self.size}: {describe(self.key)}'
        with suppress(RuntimeError):  # a stage of the user's own does not say where it lies
            places = self.chain.indices(Batch((self.key,)))
            told = [origin(self.chain.described[0], place) for place in places]
            others = self.chain.indices(self.batch) != ordinals(
                self.batch
            )  # of one item they may be the same by chance
            if others or any(told):
                at = [f'{place} ({more})' if more else str(place) for place, more in zip(places, told, strict=True)]
                text += f', in the data at {", ".join(at)}'
        return text


def row_of(where: str, batch_iter: Any, row: Any) -> Row:
    """The row of the batch received last, of which negative ones count from the end.

    Raises TypeError, ValueError or IndexError, naming `where`, if there is no such row.
    """
    number = integer(where, 'row', row)
    chain: Chain | None
    if isinstance(batch_iter, Infinite):
        last = batch_iter._epochs.last
        chain, key = last.chain, last.key
    elif isinstance(batch_iter, Run):
        chain, key = batch_iter._chain, batch_iter._key
    else:
        raise TypeError(
            f'{where}: `batch_iter` must be an Infinite, or a run as `iter(stream)` gives it, got'
            f' {type(batch_iter).__name__}'
        )
    if chain is None or key is None:
        raise ValueError(f'{where}: no batch has been received yet')
    size = len(key) if isinstance(key, Batch) else 1
    if not -size <= number < size:
        raise IndexError(f'{where}: `row` must be from {-size} to {size - 1}, as the batch has {size}, got {number}')
    number %= size
    return Row(chain, key, key[number] if isinstance(key, Batch) else key, number, size)


def row_views(row: Row) -> tuple[list[View], list[View]]:
    """What the row was after each stage up to the batch, and then in the batch: the row of what came out."""
    whole = views_of(row, row.batch) if row.is_part else []
    in_batch = [
        view._replace(values={row.key: value_at(view.values[row.batch], row.number, row.size)})
        for view in whole
        if view.values.keys() == {row.batch} and not view.branch
    ]
    return views_of(row, row.key), in_batch


def views_of(row: Row, key: Key, **options: Any) -> list[View]:
    """The views of the row, or of its batch, by the key. The options are those of `views`."""
    source, steps = row.chain.described
    return views(source, steps, row.chain._first_seeds.copy(), key, **options)


def value_at(value: Any, number: int, size: int) -> Any:
    """The row of a batch of so many items; of what has no rows, all of it."""
    if isinstance(value, Mapping):
        return {key: value_at(part, number, size) for key, part in value.items()}
    if has_fields(type(value)):
        return with_fields(type(value), {name: value_at(part, number, size) for name, part in by_names(value).items()})
    if isinstance(value, Ragged):
        return value.values[value.offsets[number] : value.offsets[number + 1]]
    if isinstance(value, tuple):
        parts_of_it = [value_at(part, number, size) for part in value]
        return type(value)(*parts_of_it) if hasattr(value, '_fields') else tuple(parts_of_it)
    if isinstance(value, list):
        return value[number] if len(value) == size else value
    shape: Any = getattr(value, 'shape', ())
    return value[number] if len(shape) and shape[0] == size else value
