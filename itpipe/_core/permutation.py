"""Random permutations of any number of places, of which any part can be had without the rest."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

__all__ = ['permuted']

SMALL: Final = 1 << 16
"""Up to so many places, numpy permutes all of them."""
ROUNDS: Final = 8

Places = np.ndarray[Any, np.dtype[np.uint64]]


def permuted(step: int, size: int, begin: int, end: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The places from `begin` to before `end` of a permutation of `size` places, which the step's key decides.

    If there are many places, this is a Feistel network, whose blocks have as many bits as a place needs. What falls out
    of the range is permuted again until it is in it. See Black and Rogaway, "Ciphers with arbitrary finite domains",
    2002. It takes the same time and no memory wherever it begins.

    >>> sorted(permuted(0, 10, 0, 10).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    >>> permuted(0, 10**12, 10**11, 10**11 + 2)
    array([473337826689, 560303993752])
    """
    from .philox import philox

    end = min(end, size)
    if size <= SMALL:
        return philox(step, 0).permutation(size)[begin:end]
    keys = philox(step, 0).integers(1 << 64, size=ROUNDS, dtype=np.uint64)
    half = np.uint64((int(size - 1).bit_length() + 1) // 2)
    places = _network(np.arange(begin, end, dtype=np.uint64), keys, half)
    while (outside := places >= size).any():
        places[outside] = _network(places[outside], keys, half)
    return places.astype(np.int64)


def _network(places: Places, keys: Places, half: np.uint64) -> Places:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = places >> half, places & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return left << half | right


def _mixed(z: Places) -> Places:
    """The bits of each number, mixed as by the finalizer of SplitMix64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
