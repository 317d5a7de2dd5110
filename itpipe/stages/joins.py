"""One array of many: stacked on a new first axis, or put one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from itpipe._core.blocks import empty

from .dtypes import common_dtype
from .structure import Path, first_different, refuse, shape_of

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ['Array', 'Join', 'Ragged', 'concatenated', 'refuse_shapes', 'stack']

Array: TypeAlias = 'npt.NDArray[Any]'
Join: TypeAlias = 'Callable[[Sequence[Array], Path], Any]'


class Ragged(NamedTuple):
    """Arrays of different lengths, one after the other, as `combine(ragged=…)` gives them.

    >>> from itpipe import combine
    >>> values, offsets = combine([np.array([1, 2, 3]), np.array([4])], ragged=True)
    >>> values, offsets
    (array([1, 2, 3, 4]), array([0, 3, 4]))
    >>> values[offsets[0] : offsets[1]]
    array([1, 2, 3])

    See also: `combine`, `combine_pad`.
    """

    values: Any
    """The arrays along the first axis. The other axes are those of each array."""
    offsets: Any
    """Where each array begins in `values`, and where the last one ends: an int64 array, one longer than the batch."""


def stack(arrays: Sequence[Array], path: Path) -> Array:
    """The arrays, which must have equal shapes, on a new first axis."""
    shape = arrays[0].shape
    out = empty((len(arrays), *shape), common_dtype(arrays, path))
    try:
        if not shape:
            np.stack(arrays, out=out, casting='unsafe')  # `common_dtype` has checked that no value changes
        elif len(set(map(len, arrays))) > 1:
            raise ValueError('`concatenate` checks the other axes')
        else:
            # Twice as fast as `np.stack`, which makes a view of each array first. Without `out`, the axes would be in
            # the order that the arrays' axes have in memory.
            np.concatenate(arrays, out=out.reshape(len(arrays) * shape[0], *shape[1:]), casting='unsafe')
    except (TypeError, ValueError):
        refuse_shapes(arrays, path)
        raise
    return out


def refuse_shapes(arrays: Sequence[Any], path: Path) -> None:
    """Raise ValueError if the shapes differ."""
    shapes = [tuple(array.shape) for array in arrays]
    if len(set(shapes)) > 1:
        hint = '; combine_pad pads to a common shape' if len(set(map(len, shapes))) == 1 else ''
        refuse(path, arrays, first_different(shapes), shape_of, hint)


def concatenated(arrays: Sequence[Array], path: Path) -> Array | Ragged:
    """The arrays along their first axis, and where each begins. Arrays without axes are stacked."""
    rests = [array.shape[1:] if array.ndim else None for array in arrays]
    if len(set(rests)) > 1:
        way_out = (
            '; only their first axis may have different lengths; `combine_pad` pads, `combine_lists` leaves a list'
        )
        refuse(path, arrays, first_different(rests), shape_of, way_out)
    if rests[0] is None:
        return stack(arrays, path)
    offsets = np.array([0, *accumulate(map(len, arrays))], np.int64)
    out = empty((int(offsets[-1]), *rests[0]), common_dtype(arrays, path))
    np.concatenate(arrays, out=out, casting='unsafe')
    return Ragged(out, offsets)
