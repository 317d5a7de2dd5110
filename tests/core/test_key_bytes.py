"""Keys as few bytes: all kinds come back, and what was cut off is refused."""

import struct

import hypothesis.strategies as st
import pytest
from hypothesis import given
from strategies import examples

from itpipe._core.key_bytes import keys_from, keys_to_bytes
from itpipe._core.keys import Batch, Draw, Zipped

numbers = st.integers(0, 300) | st.integers(0, 2**32) | st.integers(0, 2**63 - 1)
several = st.integers(1, 3).flatmap(lambda n: st.tuples(*[numbers] * n))
items = st.recursive(
    numbers | st.tuples(numbers, numbers).map(Draw),
    lambda inner: (
        st.tuples(inner, st.integers(0, 400))
        | st.lists(inner, min_size=1, max_size=3).map(Zipped.of)
        | st.lists(inner, min_size=1, max_size=5).map(Batch)
    ),
    max_leaves=20,
)
runs = st.tuples(numbers, st.integers(1, 600)).map(lambda run: Batch(range(run[0], sum(run))))
pairs = st.lists(st.tuples(numbers, st.integers(0, 3)), min_size=1, max_size=40).map(Batch)
shuffled = st.lists(st.integers(10**6, 10**6 + 300), min_size=1, max_size=400).map(Batch)
keys = items | runs | pairs | shuffled


def kinds(key):
    """The key with its types, which `==` does not compare."""
    return (type(key), *map(kinds, key)) if isinstance(key, tuple) else key


@examples(300)
@given(st.lists(keys, min_size=1, max_size=2), st.binary(max_size=3))
def test_keys_come_back(written, around):
    code = keys_to_bytes(*written)
    found, end = keys_from(around + code + around, len(around), len(written))
    assert list(map(kinds, found)) == list(map(kinds, written))
    assert end == len(around) + len(code)


@examples(100)
@given(st.lists(keys, min_size=1, max_size=2), st.data())
def test_what_was_cut_off_is_refused(written, data):
    code = keys_to_bytes(*written)
    with pytest.raises((LookupError, ValueError, struct.error)):
        keys_from(code[: data.draw(st.integers(0, len(code) - 1))], 0, len(written))


@pytest.mark.parametrize(
    ('key', 'most'),
    [
        (Batch(range(10**9, 10**9 + 1000)), 20),
        (Batch(n ^ 21 for n in range(10**9, 10**9 + 32)), 70),
        (Batch(n * 7919 % 10**7 for n in range(32)), 100),
        (Batch((n, n % 2) for n in range(32)), 80),
        (10**12, 12),
    ],
)
def test_they_are_few_bytes(key, most):
    assert len(keys_to_bytes(key)) <= most
