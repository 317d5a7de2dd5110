"""Philox generators from two ready words; apart from `rng` because `numpy.random` takes a while to import."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.random import Generator, Philox
from numpy.random.bit_generator import ISpawnableSeedSequence

__all__ = ['Words', 'philox']


class Words(ISpawnableSeedSequence):
    """Hands its two words to Philox as they are: the usual SeedSequence costs more than the generator itself."""

    def __init__(self, step: int, item: int):
        self.words = (step, item)
        self.spawned = 0

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray[Any, Any]:
        """The two words; hashed, where it is something else than Philox that asks."""
        if n_words == 2 and dtype is np.uint64:
            return np.array(self.words, dtype=np.uint64)
        return np.random.SeedSequence(self.words).generate_state(n_words, dtype)

    def spawn(self, n_children: int) -> list[Words]:
        """Seeds for generators of their own, other ones at every call."""
        first, self.spawned = self.spawned, self.spawned + n_children
        return [Words(hashed(*self.words, n), self.words[1]) for n in range(first, self.spawned)]


def philox(step: int, item: int) -> Generator:
    """The generator whose 128-bit key is these two words."""
    return Generator(Philox(Words(step, item)))  # type: ignore[arg-type]


def hashed(*numbers: int) -> int:
    """64 bits that depend on all of the numbers."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=8).digest(), 'little')
