"""Permutations of which any part can be had alone."""

import itertools
from collections import Counter

import numpy as np
import pytest

from itpipe._core.permutation import SMALL, permuted

SIZES = [1, 2, 7, 1000, SMALL, SMALL + 1, 100_003, (1 << 17) - 1, 1 << 17]


@pytest.mark.parametrize('size', SIZES)
def test_each_place_comes_once(size: int) -> None:
    assert np.array_equal(np.sort(permuted(3, size, 0, size)), np.arange(size))


@pytest.mark.parametrize('size', SIZES)
def test_a_part_is_that_of_the_whole(size: int) -> None:
    parts = [permuted(3, size, begin, begin + 1024) for begin in range(0, size + 2048, 1024)]
    assert np.array_equal(np.concatenate(parts), permuted(3, size, 0, size))


def test_all_permutations_of_few_places_are_equally_likely() -> None:
    counts = Counter(tuple(permuted(step, 3, 0, 3).tolist()) for step in range(6000))
    assert counts.keys() == set(itertools.permutations(range(3)))
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 25  # chi-squared, 5 degrees of freedom


@pytest.mark.parametrize('size', [70_001, 10**9])
def test_it_is_as_random_as_can_be_seen(size: int) -> None:
    """Places come to all parts alike, neighbours are independent of each other, and so are keys."""
    drawn = permuted(1, size, 0, 60_000) / size
    counts = np.histogram(drawn, bins=100, range=(0, 1))[0]
    assert ((counts - 600) ** 2 / 600).sum() < 170  # chi-squared, 99 degrees of freedom
    others = [np.roll(drawn, 1), permuted(2, size, 0, 60_000) / size, np.arange(60_000)]
    assert all(abs(np.corrcoef(drawn, other)[0, 1]) < 0.02 for other in others)
    pairs = np.histogram2d(drawn[::2], drawn[1::2], bins=10, range=((0, 1), (0, 1)))[0]
    assert ((pairs - 300) ** 2 / 300).sum() < 170


def test_the_bits_stay() -> None:
    assert permuted(7, 10, 0, 10).tolist() == [6, 3, 9, 1, 2, 0, 5, 7, 8, 4]
    assert permuted(7, 10**10, 0, 3).tolist() == [8703027572, 8975877861, 8949142153]
