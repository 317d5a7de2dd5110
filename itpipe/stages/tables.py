"""Labels and dtypes of tables and labelled arrays: pandas, polars, Arrow, xarray and others. None is imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

import numpy as np

__all__ = ['changes_integers', 'is_table', 'labels']

MARKS = ('axes', 'dims', 'schema', 'null_count', 'isna', 'unit', 'units')
"""A type with one of these attributes may have labels, units or dtypes that numpy does not have."""
INTEGERS = r'(?i)u?int(64|128)'


def is_table(kind: type) -> bool:
    """Whether values of this type may have labels, or dtypes other than numpy's."""
    return any(hasattr(kind, mark) for mark in MARKS)


def labels(value: Any) -> dict[str, Any]:
    """The labels along the axes, but not the numbers of rows that are only numbered; and the unit."""
    result = {name: getattr(value, name) for name in ('unit', 'units') if hasattr(value, name)}
    if isinstance(result.get('unit'), str):  # of times in pandas, which numpy has, too
        del result['unit']
    if isinstance(axes := getattr(value, 'axes', None), list):  # of pandas
        named = zip(('index', 'columns'), axes, strict=False)
        result |= {name: axis for name, axis in named if not _only_numbers(axis)}
    elif hasattr(value, 'dims') and hasattr(value, 'indexes'):  # of xarray
        result['dims'] = value.dims
        result |= {f'coordinate {name!r}': axis for name, axis in value.indexes.items()}
    elif hasattr(value, 'schema') and hasattr(value, 'columns'):  # of polars and Arrow
        names = value.schema.names
        result['columns'] = list(names() if callable(names) else names)
    return result


def _only_numbers(axis: Any) -> bool:
    return getattr(axis, 'start', None) == 0 and getattr(axis, 'step', None) == 1


def changes_integers(value: Any, array: np.ndarray[Any, Any]) -> bool:
    """Whether numpy has changed integers to floats of another value, as where some are missing or beside floats."""
    if array.dtype.kind != 'f':
        return False
    whole = [re.match(INTEGERS, str(dtype)) is not None for dtype in _dtypes(value)]
    if not any(whole):
        return False
    columns = array[:, whole] if array.ndim == 2 and len(whole) == array.shape[1] else array
    return bool((np.abs(columns) >= 2**53).any())


def _dtypes(value: Any) -> Iterable[Any]:
    """The dtypes of a table's columns, or the one of an array."""
    if hasattr(types := getattr(getattr(value, 'schema', None), 'types', None), '__iter__'):  # of Arrow
        return cast(Iterable[Any], types)
    if hasattr(dtypes := getattr(value, 'dtypes', None), '__iter__'):
        return cast(Iterable[Any], dtypes)
    return [getattr(value, 'dtype', getattr(value, 'type', None))]
