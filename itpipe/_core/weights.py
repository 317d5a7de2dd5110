"""Weights: probabilities up to a common factor."""

from __future__ import annotations

import zlib
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from .show import format_value

__all__ = ['Weights', 'check_weights', 'checksum', 'from_text', 'inverse', 'to_text', 'upper_edges']

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


def inverse(weights: Weights) -> Callable[[Weights], np.ndarray[Any, np.dtype[np.int64]]]:
    """A function that makes indices, drawn with these weights, of numbers drawn uniformly from [0, 1)."""
    edges, last = upper_edges(weights), np.flatnonzero(weights)[-1]
    return lambda uniform: np.minimum(np.searchsorted(edges, uniform * edges[-1], side='right'), last)


def checksum(weights: Weights) -> str:
    """Eight characters that tell these weights from others."""
    return f'{zlib.crc32(weights.astype("<f8").tobytes()):08x}'


def to_text(weights: Weights) -> str:
    """The weights as ASCII, without loss: at most 11 characters each, and about 6 where they were 32-bit floats.

    >>> from_text(to_text(np.array([1.0, 0.1, 3.0]))).tolist()
    [1.0, 0.1, 3.0]
    """
    planes = weights.astype('<f8').view(np.uint8).reshape(-1, 8).T  # the first bytes of all, and so on: these are alike
    return b2a_base64(zlib.compress(planes.tobytes(), 1), newline=False).decode()


def from_text(text: Any, count: int | None = None) -> Weights:
    """The weights that `to_text` was given, so many if that is known; it keeps a few bytes from filling the memory.

    Raises TypeError or ValueError for anything that `to_text` does not return.
    """
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(a2b_base64(text, strict_mode=True), 0 if count is None else 8 * count + 1)
    except zlib.error as error:
        raise ValueError(f'not weights: {error}') from None
    if not stream.eof or stream.unused_data:
        raise ValueError('not weights: it is cut off, or too long')
    return np.frombuffer(data, np.uint8).reshape(8, -1).T.copy().view('<f8')[:, 0].astype(np.float64)
