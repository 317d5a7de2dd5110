"""Functions that make a batch of a list of items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from itpipe.stages import pad
from itpipe.stages.combine import combine

__all__ = ['combine_batches', 'combine_pad', 'combine_to_arrays']


def combine_batches(inputs: Iterable[Sequence[Any]]) -> tuple[tuple[Any, ...], ...]:
    """For each element of the items, a tuple of its values, not stacked.

    Raises ValueError for items of different length.

    >>> combine_batches([(1, 'a'), (2, 'b'), (3, 'c')])
    ((1, 2, 3), ('a', 'b', 'c'))

    See also: `itpipe.combine_lists`, for dicts and nested items, too.
    """
    return tuple(zip(*inputs, strict=True))


def combine_to_arrays(inputs: Iterable[Sequence[Any]]) -> tuple[np.ndarray[Any, Any], ...]:
    """For each element of the items, an array of its values, as `numpy.array` would make it of their list.

    Raises ValueError for no items, for items of different length and for arrays of different shapes.

    >>> combine_to_arrays([([1, 2], 'a'), ([3, 4], 'b')])
    (array([[1, 2],
           [3, 4]]), array(['a', 'b'], dtype='<U1'))

    See also: `itpipe.combine`, for items of any structure; `combine_pad`.
    """
    return combine(_arrays(inputs))  # type: ignore[no-any-return]


def combine_pad(
    inputs: Iterable[Sequence[Any]], padding_values: Any = 0, ratio: Any = 0.5
) -> tuple[np.ndarray[Any, Any], ...]:
    """For each element of the items, an array of its values, padded to their largest shape.

    `padding_values` is a value, a function of an array that returns one, such as `numpy.min`, or several of these, one
    for each element of the items. `ratio` is the share of the padding that goes before the array: a number, or one for
    each axis. Elements without axes are not padded.

    Raises ValueError and TypeError as `itpipe.combine_pad` does. Unlike in dpipe, a padding value that the dtype cannot
    hold is an error.

    >>> combine_pad([([1, 2, 3], 0), ([4], 1)], padding_values=-1, ratio=0)
    (array([[ 1,  2,  3],
           [ 4, -1, -1]]), array([0, 1]))

    See also: `itpipe.combine_pad`, for items of any structure and with more options.
    """
    arrays = _arrays(inputs)
    ratio = _one_or_more(ratio)
    if isinstance(ratio, tuple) and arrays:
        ratio = tuple(list(ratio) if array.ndim else 0.5 for array in arrays[0])
    return pad.combine_pad(arrays, padding_values=_one_or_more(padding_values), ratio=ratio)  # type: ignore[no-any-return]


def _arrays(inputs: Iterable[Sequence[Any]]) -> list[tuple[np.ndarray[Any, Any], ...]]:
    return [tuple(map(np.asarray, item)) for item in inputs]


def _one_or_more(option: Any) -> Any:
    if not np.ndim(option):
        return option
    return tuple(option) if len(option) > 1 else option[0]
