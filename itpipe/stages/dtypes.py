"""The dtype that arrays have in common, in which no integer and no time changes its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .structure import Path, element, refuse

__all__ = ['EXACT', 'changed_by', 'common_dtype', 'fits', 'is_number', 'refuse_change']

EXACT = 2**53
"""Floats hold all integers up to this one."""


def common_dtype(arrays: Sequence[np.ndarray[Any, Any]], path: Path) -> np.dtype[Any]:
    """The dtype of a batch of these arrays.

    It is `numpy.result_type` of their dtypes, but int64 and uint64 together become integers. Raises TypeError where
    there is no common dtype, ValueError where it changes an integer or a time.
    """
    if len(dtypes := {array.dtype for array in arrays}) == 1:
        (common,) = dtypes
        # in the byte order of this machine
        return common if common.isnative and common.names is None else np.result_type(common, common)
    found = list(dict.fromkeys([array.dtype for array in arrays]))
    if (promoted := _promoted(found)) is None:
        last = next(dtype for n, dtype in enumerate(found) if n and _promoted(found[: n + 1]) is None)
        i = next(i for i, array in enumerate(arrays) if array.dtype == last)
        refuse(path, arrays, i, lambda array: f'dtype {array.dtype}', '; they have no common dtype', TypeError)
    common = promoted
    if common.names is not None:
        fields = {name: common_dtype([array[name] for array in arrays], (*path, name)) for name in common.names}
        return np.dtype([(name, field, common[name].shape) for name, field in fields.items()])
    if common.kind == 'f' and all(dtype.kind in 'biu' for dtype in found):
        common = np.dtype(np.int64)
        if any(_changed(array, common).size for array in arrays if array.dtype.kind == 'u'):
            common = np.dtype(np.uint64)
    if may_change := {dtype for dtype in found if dtype != common and _may_change(dtype, common)}:
        for i, array in enumerate(arrays):
            if array.dtype in may_change:
                refuse_change(path, i, _changed(array, common), array.dtype, common)
    return common


def refuse_change(path: Path, i: int, changed: np.ndarray[Any, Any], dtype: Any, common: Any) -> None:
    """Raise ValueError if some values of the i-th item are others in the common dtype."""
    if changed.size:
        raise ValueError(
            f'{path[0]}: {element(path, f"item {i}")} has {changed[0]} in dtype {dtype}, which {common}, the common'
            ' dtype, does not hold; convert the items to one dtype before'
        )


def _promoted(dtypes: Sequence[np.dtype[Any]]) -> np.dtype[Any] | None:
    """The result dtype of numpy; None if there is none, or if it mixes numbers, times, text and bytes."""
    kinds = {dtype.kind for dtype in dtypes}
    if len(kinds) > 1 and kinds != {'U', 'T'} and kinds & set('mM' if 'O' in kinds else 'mMSU'):
        return None
    try:
        return np.result_type(*dtypes)
    except TypeError:
        return None


def _may_change(dtype: np.dtype[Any], common: np.dtype[Any]) -> bool:
    """Whether some integers or times of this dtype have other values in the common one."""
    return common.kind != 'O' and (dtype.kind in 'mM' or (dtype.kind in 'iu' and dtype.itemsize == 8))


def _changed(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The integers and times of the array that have other values in this dtype."""
    array = np.atleast_1d(array)
    kind = array.dtype.kind
    if not array.size:
        return array
    if kind in 'iu' and array.max() <= EXACT and array.min() >= (0 if dtype.kind == 'u' else -EXACT):
        return array[:0]
    try:
        with np.errstate(all='ignore'):
            cast = array.astype(dtype)
    except OverflowError:  # of times, from numpy 2.5 on
        return array if array.size == 1 else np.concatenate([_changed(each, dtype) for each in array.reshape(-1, 1)])
    if kind not in 'mM':
        return changed_by(array, cast)
    changed: np.ndarray[Any, Any] = array[(cast.astype(array.dtype) != array) & ~np.isnat(array)]
    return changed


def changed_by(whole: np.ndarray[Any, Any], cast: np.ndarray[Any, Any], exact: int = 0) -> np.ndarray[Any, Any]:
    """The integers that are others in the array `cast`; those up to `exact` are surely the same."""
    whole, cast = np.atleast_1d(whole), np.atleast_1d(cast)
    if not whole.size or -exact <= whole.min() <= whole.max() <= exact:
        return whole[:0]
    changed: Any = cast.astype(object) != whole.astype(object)  # Python compares integers and floats exactly
    found: np.ndarray[Any, Any] = whole[changed]
    return found


def fits(value: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether arrays of this dtype can hold the value; floats may be rounded."""
    kind, target = value.dtype.kind, dtype.kind
    if (dtype.hasobject and target != 'T') or (value.dtype == dtype and not value.ndim):
        return True
    if target == 'V' and is_number(dtype) and not value.ndim and kind in 'biuf':
        with np.errstate(all='ignore'):
            back = value.astype(dtype).astype(value.dtype)
        return bool(np.isfinite(back) or not np.isfinite(value)) if kind == 'f' else bool(back == value)
    if value.ndim or not (kind == target != 'V' or kind + target == 'UT' or (kind in 'biuf' and target in 'biufc')):
        return False
    with np.errstate(all='ignore'):
        cast = value.astype(dtype)
    if target in 'fc' and kind in 'fc':
        return bool(np.isfinite(cast) or not np.isfinite(value))
    return bool(np.isnat(value) or cast == value) if kind in 'mM' else bool(cast.item() == value.item())


def is_number(dtype: np.dtype[Any]) -> bool:
    """Whether it is a dtype of numbers, those that other libraries add to numpy among them, such as bfloat16."""
    return dtype.kind in 'biufc' or (dtype.kind == 'V' and not issubclass(dtype.type, np.void))
