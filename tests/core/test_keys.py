"""Keys: what identifies an item in its run, in hashes and for its random generator."""

import json
import pickle

import hypothesis.strategies as st
import pytest
from hypothesis import given
from strategies import examples, keys

from itpipe._core.keys import Batch, Draw, Zipped, as_key, describe, key_hash, ordinals


def kinds(key):
    """A key with the types of its parts, which `==` does not look at."""
    return (type(key), *map(kinds, key)) if isinstance(key, tuple) else type(key)


@given(keys)
@examples(100)
def test_a_key_pickles(key):
    again = pickle.loads(pickle.dumps(key))
    assert (again, kinds(again)) == (key, kinds(key))


@given(keys, st.integers(1, 3))
@examples(100)
def test_the_place_in_the_source_comes_first(key, repeated):
    def leaves(key):
        if isinstance(key, int):
            return [key]
        return [leaf for part in (key if isinstance(key, Batch) else key[:1]) for leaf in leaves(part)]

    assert ordinals(key) == leaves(key)
    assert ordinals(Batch([key] * repeated)) == leaves(key) * repeated


def test_hashes_of_different_keys_differ():
    """Those of a hundred thousand keys of all kinds; by chance two would be the same once in a billion tries."""
    singles = [*range(2000), *(2**40 + n for n in range(2000))]
    pairs = [(n, part) for n in range(1500) for part in range(20)]
    nested = [((n, part), again) for n in range(300) for part in range(10) for again in range(10)]
    deep = [(((n, part), 0), again) for n in range(300) for part in range(10) for again in range(10)]
    hashes = set(map(key_hash, [*singles, *pairs, *nested, *deep]))
    assert len(hashes) == len(singles) + len(pairs) + len(nested) + len(deep)
    assert all(0 <= each < 2**64 for each in hashes)


def test_the_bits_of_a_hash_are_mixed():
    """Each is set in about half of the hashes of neighbouring keys."""
    hashes = [key_hash((n, part)) for n in range(100) for part in range(20)]
    for bit in range(64):
        assert 850 < sum(each >> bit & 1 for each in hashes) < 1150


def test_a_batch_counts_as_its_first_item():
    assert key_hash(Batch((7, 3))) == key_hash(7) == 7
    assert key_hash(Batch(((7, 1), 3))) == key_hash((7, 1))
    assert key_hash((Batch((7, 3)), 1)) == key_hash((7, 1)) != key_hash(7)


def test_a_zipped_tuple_counts_as_its_first_item():
    assert key_hash(Zipped.of([7, 3])) == key_hash(7)
    assert key_hash(Zipped.of([(7, 1), 3])) == key_hash((7, 1))
    assert key_hash(Zipped.of([Zipped.of([7, 5]), 3])) == key_hash(7)
    assert key_hash((Zipped.of([7, 3]), 1)) == key_hash((7, 1))
    assert ordinals(Batch([Zipped.of([7, 3]), Zipped.of([9, 4])])) == [7, 9]


def test_a_zipped_key_is_known_again_in_json():
    for key in (
        Zipped.of([7, 3]),
        Zipped.of([(7, 0), 3, 4]),
        (Zipped.of([7, 3]), 2),
        Zipped.of([Zipped.of([7, 3]), 2]),
    ):
        again = as_key(json.loads(json.dumps(key)))
        assert (again, kinds(again)) == (key, kinds(key))
        assert as_key(key) is key or type(key) is tuple


HASHES = [
    (0, 0),
    (2**64 - 1, 2**64 - 1),
    ((0, 0), 12017391262430322909),
    ((7, 0), 4796220210430748052),
    (Draw((7, 0)), 4796220210430748052),
    (((7, 1), 2), 137549698622006740),
]


@pytest.mark.parametrize(('key', 'value'), HASHES)
def test_hashes_never_change(key, value):
    """Or a resumed run would draw other numbers than the one that was stopped."""
    assert key_hash(key) == value


@pytest.mark.parametrize(
    ('key', 'text'),
    [
        (5, 'item 5'),
        ((5, 2), 'item 5 (part 2)'),
        (Draw((38, 7)), 'item 38 (index 7)'),
        ((Draw((38, 7)), 2), 'item 38 (index 7) (part 2)'),
        (((5, 2), 0), 'item 5 (part 2, 0)'),
        (Batch((5,)), 'item 5'),
        (Batch((4, 5, 6)), 'items 4 to 6'),
        (Batch((4, 6, 5)), 'items 4, 6, 5'),
        (Batch(range(0, 40, 2)), 'items 0, 2, 4, 6, 8, 10, 12, 14, …'),
        (Batch(((4, 0), (4, 1))), 'items 4, 4'),
        ((Batch((4, 5)), 1), 'items 4 to 5 (part 1)'),
    ],
)
def test_a_key_in_words(key, text):
    assert describe(key) == text
