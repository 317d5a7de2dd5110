"""Generators are Philox with a key of two words, made without numpy's slow way from a seed to a key."""

import numpy as np
import pytest

from itpipe._core.philox import FixedKey, hashed, philox


@pytest.mark.parametrize(('step', 'item'), [(0, 0), (1, 2), (2**64 - 1, 2**63)])
def test_the_two_words_are_the_key(step: int, item: int) -> None:
    usual = np.random.Generator(np.random.Philox(key=step + (item << 64)))
    assert philox(step, item).integers(2**60, size=9).tolist() == usual.integers(2**60, size=9).tolist()


def test_other_kinds_of_generators_get_as_many_words_as_they_ask_for() -> None:
    assert FixedKey(3, 4).generate_state(5).tolist() == np.random.SeedSequence((3, 4)).generate_state(5).tolist()
    assert FixedKey(3, 4).generate_state(2, np.uint64).tolist() == [3, 4]


def test_children_are_others_at_every_call() -> None:
    first = FixedKey(3, 4)
    children = [child.key for child in [*first.spawn(2), *first.spawn(2)]]
    assert len({*children, first.key}) == 5
    assert children == [child.key for child in FixedKey(3, 4).spawn(4)]


def test_hashes_never_change() -> None:
    assert hashed(1, 2) == 12069646666850839610
    assert hashed(1, 2) != hashed(12) != hashed(2, 1)
