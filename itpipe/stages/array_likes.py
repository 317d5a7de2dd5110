"""Values that numpy can make arrays of: numbers, arrays, tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from .structure import NUMBER, TEXT, Kinds, Path, element, first_different, refuse, type_of
from .tables import changes_integers, is_table, labels

__all__ = ['as_array', 'as_arrays', 'is_array_like', 'refuse_masked']


def is_array_like(kind: type) -> bool:
    """Whether numpy makes arrays of values of this type, with axes or without."""
    if issubclass(kind, TEXT):
        return False
    marks = ('__array__', '__array_interface__', '__array_namespace__')
    return issubclass(kind, NUMBER) or any(hasattr(kind, mark) for mark in marks)


def as_arrays(values: Sequence[Any], kinds: Kinds, path: Path) -> Sequence[np.ndarray[Any, Any]] | None:
    """The values as plain arrays, or None if some of them are other objects.

    Raises TypeError for masked arrays, for arrays with axes beside other objects, and for what numpy cannot read.
    Raises ValueError for labels that differ, and for integers that numpy changes.
    """
    if any(issubclass(kind, np.ndarray) for kind in kinds - {np.ndarray}):  # only then load `np.ma`
        for i, value in enumerate(values):
            refuse_masked(value, path, f'item {i}')
    array_likes = {kind for kind in kinds if is_array_like(kind)}
    if array_likes == kinds:
        arrays = [as_array(value, path, f'item {i}') for i, value in enumerate(values)]
        if any(map(is_table, kinds)):
            _check_tables(values, arrays, path)
        return arrays
    with_axes = [type(value) in array_likes and np.ndim(value) > 0 for value in values]
    if any(with_axes):
        hint = '; `missing=True` takes None' if path[0] == 'combine' and type(None) in kinds else ''
        refuse(path, values, first_different(with_axes), type_of, hint, TypeError)
    return None


def refuse_masked(value: Any, path: Path, item: str) -> None:
    """Raise TypeError for a masked array."""
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray and isinstance(value, np.ma.MaskedArray):
        hint = 'use its `filled()`, or make the mask an element of its own'
        raise TypeError(f'{path[0]}: {element(path, item)} is a masked array, whose mask would be lost; {hint}')


def as_array(value: Any, path: Path, item: str) -> np.ndarray[Any, Any]:
    """What numpy makes of the value. Raises TypeError, with the item, if it cannot."""
    try:
        return np.asarray(value)
    except Exception as error:
        what = f'{element(path, item)}, a {type(value).__name__},'
        why = f'{type(error).__name__}: {error}'
        raise TypeError(f'{path[0]}: {what} cannot be made an array ({why}); convert it before') from error


def _check_tables(values: Sequence[Any], arrays: Sequence[np.ndarray[Any, Any]], path: Path) -> None:
    for i, (value, array) in enumerate(zip(values, arrays, strict=True)):
        if changes_integers(value, array):
            where = f'{element(path, f"item {i}")}, a {type(value).__name__},'
            raise ValueError(
                f'{path[0]}: {where} has 64-bit integers that are others in {array.dtype}, which numpy makes of it;'
                ' fill what is missing, or combine each column by itself'
            )
    first = labels(values[0])
    for i, value in enumerate(values):
        others = labels(value)
        for name in first | others:
            if not _are_equal(others.get(name), first.get(name)):
                hint = '; labels must be the same, in the same order, or be dropped before, by `np.asarray`'
                refuse(path, values, i, partial(_label_of, name), hint)


def _are_equal(some: Any, others: Any) -> bool:
    if some is others or some is None or others is None:
        return some is others
    return bool(some.equals(others) if hasattr(some, 'equals') else some == others)


def _label_of(name: str, value: Any) -> str:
    if (found := labels(value).get(name)) is None:
        return f'no {name}'
    if isinstance(found, str) or not hasattr(found, '__len__'):
        return f'{name} {found}'
    return f'{name} [{", ".join(map(repr, found[:6]))}{", …" if len(found) > 6 else ""}]'
