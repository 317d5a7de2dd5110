"""Sizes as they are written, in bytes."""

import pickle
from typing import Any

import numpy as np
import pytest
from running import raises

from itpipe._core.sizes import Bytes, size


@pytest.mark.parametrize(
    ('written', 'value'),
    [
        ('512MB', 512_000_000),
        ('512mb', 512_000_000),
        ('1.5 GB', 1_500_000_000),
        ('64MiB', 64 << 20),
        ('64mib', 64 << 20),
        ('64MIB', 64 << 20),
        ('100kB', 100_000),
        ('100KB', 100_000),
        ('100 kb', 100_000),
        ('0.29MB', 290_000),
        ('2KiB', 2048),
        ('1GiB', 1 << 30),
        ('1TiB', 1 << 40),
        ('3 TB', 3 * 10**12),
        ('10B', 10),
        (' 10 b ', 10),
        ('0.9B', 1),
    ],
)
def test_text_is_a_number_of_bytes(written: str, value: int) -> None:
    result = size('f', 'n', written)
    assert type(result) is Bytes
    assert result == value
    assert type(pickle.loads(pickle.dumps(result))) is Bytes


def test_a_number_is_a_number_of_items() -> None:
    for given in (3, np.int64(3)):
        result = size('f', 'n', given)
        assert type(result) is int
        assert result == 3
    assert size('f', 'n', 0, least=0) == 0


@pytest.mark.parametrize(
    'written', ['', '5', '5XB', 'MB', '-5MB', '5 M B', '5Mb', '5mB', '1e3B', '5.MB', '.5MB', '٥MB', '5MB!', 'infGB']
)
def test_other_text_is_refused(written: str) -> None:
    with raises(ValueError, f"f: `n` must be an int or a size such as '512MB', got {written!r}"):
        size('f', 'n', written)


@pytest.mark.parametrize(
    ('value', 'error', 'message'),
    [
        (0, ValueError, 'f: `n` must be at least 1, got 0'),
        ('0MB', ValueError, "f: `n` must be at least one byte, got '0MB'"),
        ('0.4B', ValueError, "f: `n` must be at least one byte, got '0.4B'"),
        (1.0, TypeError, "f: `n` must be an int or a size such as '512MB', got float"),
        (True, TypeError, "f: `n` must be an int or a size such as '512MB', got bool"),
        (None, TypeError, "f: `n` must be an int or a size such as '512MB', got NoneType"),
        (b'5MB', TypeError, "f: `n` must be an int or a size such as '512MB', got bytes"),
    ],
)
def test_wrong_values(value: Any, error: type[Exception], message: str) -> None:
    with raises(error, message):
        size('f', 'n', value)


def test_no_bytes_are_too_few_even_where_no_items_are_not() -> None:
    with raises(ValueError, "f: `n` must be at least one byte, got '0B'"):
        size('f', 'n', '0B', least=0)
