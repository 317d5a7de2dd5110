"""Weights are checked, and become shares without losing the small ones."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from running import raises

from itpipe._core.weights import check_weights, checksum, from_text, inverse, to_text, upper_edges


@pytest.mark.parametrize(
    ('weights', 'error', 'message'),
    [
        ('ab', TypeError, "f: `weights` must be numbers, got 'ab'"),
        (['1', '2'], TypeError, "f: `weights` must be numbers, got ['1', '2']"),
        ([None, 1j], TypeError, 'f: `weights` must be numbers, got [None, 1j]'),
        ([1, 2, 3], ValueError, 'f: `weights` must be 2 numbers, one for each, got shape (3,)'),
        ([[1, 2]], ValueError, 'f: `weights` must be 2 numbers, one for each, got shape (1, 2)'),
        ([1, -1], ValueError, 'f: `weights` must be finite and not negative, got [1, -1]'),
        ([1, float('nan')], ValueError, 'f: `weights` must be finite and not negative, got [1, nan]'),
        ([0, 0.0], ValueError, 'f: `weights` must not all be zero'),
        ([1, 10**400], ValueError, None),
    ],
)
def test_wrong_weights(weights: Any, error: type[Exception], message: str | None) -> None:
    if message is None:
        with pytest.raises(error, match='^f: `weights` must fit into floats, got '):
            check_weights('f', weights, 2)
    else:
        with raises(error, message):
            check_weights('f', weights, 2)


@pytest.mark.parametrize('weights', [[1, 3], (1.0, 3.0), np.array([1, 3], np.uint8), [True, 3]], ids=repr)
def test_right_weights_are_floats(weights: Any) -> None:
    result = check_weights('f', weights, 2)
    assert result is not None
    assert (result.dtype, result.tolist()) == (np.float64, [1.0, 3.0])
    assert check_weights('f', None, 2) is None


@pytest.mark.parametrize('scale', [1.0, 1e-308, 1e307])
def test_shares_are_the_same_whatever_the_scale(scale: float) -> None:
    edges = upper_edges(np.array([1.0, 3.0, 4.0]) * scale)
    assert np.isfinite(edges).all()
    assert np.allclose(edges / edges[-1], [1 / 8, 4 / 8, 1])


def test_a_checksum_is_that_of_the_values() -> None:
    assert checksum(np.array([1.0, 2.0])) == checksum(np.array([1.0, 2.0], '>f8')) != checksum(np.array([2.0, 1.0]))


def test_indices_are_drawn_as_often_as_the_weights_say():
    chosen = inverse(np.array([0.0, 1.0, 3.0, 0.0]))
    assert chosen(np.array([0.0, 0.2499, 0.25, 0.9999, np.nextafter(1, 0)])).tolist() == [1, 1, 2, 2, 2]


@given(arrays(np.float64, st.integers(0, 40), elements=st.floats(0, allow_nan=False, allow_infinity=False)))
def test_weights_come_back_from_text_bit_for_bit(weights: Any) -> None:
    text = to_text(weights)
    assert text.isascii()
    assert from_text(text).tobytes() == from_text(text, len(weights)).tobytes() == weights.tobytes()


@pytest.mark.parametrize(('kind', 'size'), [(np.float64, 11), (np.float32, 6), (np.float16, 3.1)])
def test_text_of_weights_is_short(kind: Any, size: float) -> None:
    weights = np.random.default_rng(0).gamma(1, size=10_000).astype(kind).astype(np.float64)
    assert len(to_text(weights)) < size * len(weights)


@pytest.mark.parametrize('wrong', ['', 'x', 'eAFj', 'ä', to_text(np.ones(3))[:8], None, 3, ['a']], ids=repr)
def test_other_text_is_no_weights(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        if len(from_text(wrong, 3)) != 3:
            raise ValueError


def test_few_bytes_cannot_fill_the_memory() -> None:
    text = to_text(np.zeros(10**7))
    with pytest.raises(ValueError, match='^not weights: it is cut off, or too long$'):
        from_text(text, 3)
