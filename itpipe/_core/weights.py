"""Weights: probabilities up to a common factor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np

from .show import format_value

__all__ = ['Weights', 'check_weights', 'checksum', 'upper_edges']

Weights: TypeAlias = 'np.ndarray[Any, np.dtype[np.float64]]'


def check_weights(where: str, weights: Any, count: int, name: str = 'weights') -> Weights | None:
    """The weights as an array of `count` floats, or None; raises an error that names `where` for anything else."""
    if weights is None:
        return None
    try:
        array = np.asarray(weights)
        if array.dtype.kind in 'SUTcmM' or any(isinstance(weight, (str, bytes)) for weight in _objects(array)):
            raise TypeError
        result = array.astype(np.float64)
    except OverflowError:
        raise ValueError(f'{where}: `{name}` must fit into floats, got {format_value(weights)}') from None
    except (TypeError, ValueError):
        raise TypeError(f'{where}: `{name}` must be numbers, got {format_value(weights)}') from None
    if result.shape != (count,):
        raise ValueError(f'{where}: `{name}` must be {count} numbers, one for each, got shape {result.shape}')
    if not np.isfinite(result).all() or (result < 0).any():
        raise ValueError(f'{where}: `{name}` must be finite and not negative, got {format_value(weights)}')
    if not result.any():
        raise ValueError(f'{where}: `{name}` must not all be zero')
    return result


def _objects(array: np.ndarray[Any, Any]) -> Iterable[Any]:
    return array.flat if array.dtype.kind == 'O' else ()


def upper_edges(weights: Any) -> Weights:
    """The cumulative sums of the weights, scaled by a power of two so that they neither overflow nor vanish."""
    _, exponent = np.frexp(np.max(weights))
    return np.cumsum(np.ldexp(weights, -exponent))


def checksum(weights: Weights) -> str:
    """Eight characters that tell these weights from others."""
    return f'{crc32(weights.astype("<f8").tobytes()):08x}'
