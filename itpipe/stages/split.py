"""What to know of labels before a run: disjoint parts of a dataset, and weights that balance classes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from itpipe._core.instead import renames
from itpipe._core.part import Part
from itpipe._core.rng import Draws, check_seed
from itpipe._core.show import format_value
from itpipe._core.weights import check_weights
from itpipe._engine.indexing import length
from itpipe._engine.stacks import user_stacklevel

if TYPE_CHECKING:
    import numpy.typing as npt

    from itpipe._engine.types import Indexed, X

__all__ = ['balanced', 'split']

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are spread evenly, however many there are."""
MANY_LABELS = 10
"""So many are rarely classes of which there are so few items."""
TOLERANCE = 1e-6
"""For the sum of fractions such as 1/3."""


@renames
def split(
    data: Indexed[X],
    fractions: Iterable[float],
    by: npt.ArrayLike | Sequence[Any] | None = None,
    *,
    together: npt.ArrayLike | Sequence[Any] | None = None,
    seed: int = 0,
) -> tuple[Part[X], ...]:
    """Disjoint parts of a dataset, which stay the same when data is appended to it.

    `data` is anything with a length and an index. `fractions` has the share of each part; their sum is 1. With `by`, a
    label for each item, each label has these shares in each part (stratified). With `together`, a value for each item,
    such as its patient, items with the same value are in the same part; then the shares are those of patients, and the
    label of a patient is that of the first item. Each part is a sequence that looks items up in `data`, and has the
    array `indices`; and `labels`, `paths` and `classes`, if `data` has them. The sizes are what the fractions say, to
    within a few items, or patients, for each label: of 8 patients, 0.25 are one, two or three, by the seed. If there
    are many labels, and most have too few items to be in each part, there is a warning: they may be patients. An item
    stays in its part when others are appended, as that depends only on the seed and on the items before it.

    Raises TypeError if `data` has no length and index, for fractions that are not numbers, for the name of a field in
    the place of values, and for values that have no hash. Raises ValueError for fractions that are negative or whose
    sum is not 1, and if there is not one label for each item.

    The parts are those of a golden-ratio sequence for each label, begun at a random number.

    >>> train, val = split('abcdefghij', [0.7, 0.3], seed=1)
    >>> ''.join(train), ''.join(val)
    ('acdfghi', 'bej')
    >>> patients = [1, 1, 2, 2, 2, 3, 4, 4]
    >>> [part.indices.tolist() for part in split(range(8), [0.5, 0.5], together=patients)]
    [[0, 1, 5], [2, 3, 4, 6, 7]]

    See also: `balanced`, `sample`.
    """
    size = length(data) if hasattr(type(data), '__getitem__') else None
    if size is None:
        raise TypeError(f'split: `data` must have a length and an index, got {type(data).__name__}')
    if isinstance(fractions, (int, float, str)):
        raise TypeError(f'split: `fractions` must be one for each part, such as [0.8, 0.2], got {fractions!r}')
    fractions = list(fractions)
    shares = check_weights('split', fractions, len(fractions), 'fractions')
    if shares is None or abs(shares.sum() - 1) > TOLERANCE:
        raise ValueError(f'split: the sum of `fractions` must be 1, got {format_value(fractions)}')
    labels = np.zeros(size, np.int64) if by is None else _numbered('by', by, size)
    units = np.arange(size) if together is None else _numbered('together', together, size)
    if by is not None and together is None:
        _warn_of_small(labels, shares)
    _, first = np.unique(units, return_index=True)
    where = _spread(labels[first], check_seed('split', seed) or 0)
    parts = np.searchsorted(np.cumsum(shares)[:-1], where, side='right')[units]
    return tuple(Part(data, np.flatnonzero(parts == part)) for part in range(len(fractions)))


def _warn_of_small(labels: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> None:
    """Warn if most labels have too few items to be in each part, as patients do."""
    counts, least = np.bincount(labels), math.ceil(1 / shares[shares > 0].min() - TOLERANCE)
    if len(counts) >= MANY_LABELS and np.median(counts) < least:
        warnings.warn(
            f'split: `by` has {len(counts)} labels, most of them with fewer than {least} items: too few to be in each'
            ' part. If these are patients, or other groups that must be in one part, give `together`',
            stacklevel=user_stacklevel(),
        )


def _numbered(name: str, values: Any, size: int) -> npt.NDArray[np.int64]:
    """A number for each value, of which there must be as many as items."""
    array = np.asarray(values)
    if isinstance(values, str):
        raise TypeError(
            f'split: `{name}` must have one value for each of {size} items, got {values!r}; if it is a field of the'
            f' items, give `[item[{values!r}] for item in data]`'
        )
    if array.shape != (size,):
        raise ValueError(f'split: `{name}` must have one value for each of {size} items, got shape {array.shape}')
    return _numbers('split', name, array)


def _numbers(where: str, name: str, array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """For each value a number: which of the different values it is, in the order in which they come first."""
    if array.dtype != object:
        _, first, inverse = np.unique(array, return_index=True, return_inverse=True)
        return np.asarray(np.argsort(np.argsort(first)))[inverse]
    numbers: dict[Any, int] = {}  # values of several kinds, such as text and None, cannot be sorted
    try:
        # each NaN is the same label, as it is for numpy
        keys = [np.nan if isinstance(value, float) and value != value else value for value in array]
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    except TypeError as error:
        raise TypeError(
            f'{where}: `{name}` must have values that have a hash, such as text or numbers ({error})'
        ) from None


def _spread(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """For each of them a number in [0, 1); those of a label are evenly spread, and so are the first n of them."""
    order = np.argsort(labels, kind='stable')
    counts = np.bincount(labels)
    within = np.empty(len(labels), np.int64)
    within[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    draws = Draws(seed)
    begun = np.array([draws.uniform(label) for label in range(len(counts))])
    return np.asarray((begun[labels] + within * GOLDEN) % 1)


@renames
def balanced(labels: npt.ArrayLike | Sequence[Any]) -> npt.NDArray[np.float64]:
    """Weights for `sample` with which each label comes equally often.

    `labels` has one value for each item, such as a number, text or None. The weight of an item, a float64, is one by
    the number of items with its label.

    Raises ValueError if `labels` is empty or has more than one axis, TypeError for labels that have no hash.

    >>> balanced(['cat', 'cat', 'dog', 'cat']).tolist()
    [0.3333333333333333, 0.3333333333333333, 1.0, 0.3333333333333333]

    See also: `sample`, `split`, `mix`.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or not array.size:
        raise ValueError(f'balanced: `labels` must have one label for each item, got shape {array.shape}')
    numbers = _numbers('balanced', 'labels', array)
    return np.asarray(1 / np.bincount(numbers)[numbers])
