"""Philox generators with a given key. Not in `rng` because `numpy.random` takes a while to import."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.random import Generator, Philox
from numpy.random.bit_generator import ISpawnableSeedSequence

__all__ = ['FixedKey', 'philox']


class FixedKey(ISpawnableSeedSequence):
    """Gives Philox its 128-bit key as it is: the usual SeedSequence costs more than the generator itself."""

    def __init__(self, step: int, item: int):
        self.key = (step, item)
        self.spawned = 0

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray[Any, Any]:
        """The key as two words for Philox; for any other generator, words that are hashed from it."""
        if n_words == 2 and dtype is np.uint64:
            return np.array(self.key, dtype=np.uint64)
        return np.random.SeedSequence(self.key).generate_state(n_words, dtype)

    def spawn(self, n_children: int) -> list[FixedKey]:
        """Seeds of new generators, other ones at every call."""
        first, self.spawned = self.spawned, self.spawned + n_children
        return [FixedKey(hashed(*self.key, n), self.key[1]) for n in range(first, self.spawned)]


def philox(step: int, item: int) -> Generator:
    """The generator with these two halves of its key."""
    return Generator(Philox(FixedKey(step, item)))  # type: ignore[arg-type]


def hashed(*parts: int | str) -> int:
    """64 bits that depend on all parts, the same on all platforms and versions. Only the last part may have spaces."""
    text = ' '.join(map(str, parts)).encode('utf-8', 'surrogatepass')
    return int.from_bytes(blake2b(text, digest_size=8).digest(), 'little')
