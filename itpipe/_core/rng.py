"""The random generator of an item.

The 64-bit key of a random step is hashed once from the seed, the step's name, how many steps of that name stand before
it, and the pass. With 64 bits more for the item it is the key of a Philox generator (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", 2011), which needs no other seeding. So the generator of any item can be made anywhere, in
any order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .keys import Key, key_hash

if TYPE_CHECKING:
    from numpy.random import Generator

__all__ = ['Draws', 'check_seed', 'fresh_seed', 'generator', 'step_key']

BLOCK = 1024
"""Draws are made this many at a time."""


def fresh_seed() -> int:
    """A seed from the system's entropy."""
    return int.from_bytes(os.urandom(8), 'little')


def step_key(seed: int, name: str, count: int, pass_: int) -> int:
    """The key of a random step, in front of which there are `count` of the same name, in one pass over the source."""
    from .philox import hashed

    return hashed(seed, count, str(pass_), name)


def generator(step: int, key: Key) -> Generator:
    """The generator of the item `key` at the random step with the key `step`."""
    from .philox import philox

    return philox(step, key_hash(key))


def check_seed(where: str, seed: object) -> int | None:
    """The seed as an int, or None. Raises TypeError or ValueError, which begin with `where`, for anything else."""
    if seed is None:
        return None
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f'{where}: `seed` must be an int or None, got {type(seed).__name__}')
    if seed < 0:
        raise ValueError(f'{where}: `seed` must not be negative, got {seed}')
    return int(seed)


class Draws:
    """The random numbers of a step that belong to no item: the t-th one is the same whenever it is asked for."""

    def __init__(self, step: int):
        self.step = step
        self.latest: tuple[int, Sequence[float]] = (-1, ())

    def block(self, number: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The draws from `number * BLOCK` on, `BLOCK` of them, uniform in [0, 1)."""
        return generator(self.step, number).random(BLOCK)

    def uniform(self, t: int) -> float:
        """The t-th draw, uniform in [0, 1)."""
        number, values = self.latest
        if t // BLOCK != number:
            number, values = t // BLOCK, self.block(t // BLOCK).tolist()
            self.latest = number, values  # at once: the replica of a step may draw in another thread
        return values[t % BLOCK]

    def below(self, t: int, n: int) -> int:
        """The t-th draw as an int in [0, n)."""
        return int(self.uniform(t) * n)

    def permutation(self, number: int, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The `number`-th permutation of n things."""
        return generator(self.step, number).permutation(n)

    def exponential(self, number: int, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The `number`-th row of n exponentially distributed numbers."""
        return generator(self.step, number).exponential(size=n)
