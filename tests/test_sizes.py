"""Sizes as they are written, and the bytes that a value holds."""

import pickle
from collections import UserDict, deque, namedtuple
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from running import raises

from itpipe.sizes import Bytes, expected, nbytes, size


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


# ---------------------------------------------------------------------------------------------------------------------
# What a value holds

array = np.zeros((2, 50), np.uint8)
Point = namedtuple('Point', 'x y')


@dataclass
class Example:
    image: Any
    label: int = 0
    later: Any = field(init=False)
    """Not there before it is set."""


class Own:
    nbytes = 70


class Raising:
    @property
    def nbytes(self) -> int:
        raise RuntimeError('sparse')


class Strange:
    nbytes = 'many'


class Opaque:
    def __init__(self) -> None:
        self.image = array


@pytest.mark.parametrize(
    ('value', 'holds'),
    [
        (None, 0),
        (True, 0),
        (3, 0),
        (0.5, 0),
        (1j, 0),
        (array, 100),
        (array[:, :10], 20),
        (np.float32(1), 4),
        (b'12345', 5),
        (bytearray(6), 6),
        (memoryview(b'1234567'), 7),
        ('text', 4),
        ((), 0),
        ((array, 3), 100),
        ([array, b'12', 'a'], 103),
        ([array, array], 100),
        (Point(array, (1, [b'1'])), 101),
        ({'image': array, 'parts': {1: b'1', 2: [b'12']}}, 103),
        (UserDict(image=array), 100),
        (deque([b'1', b'22']), 3),
        ({b'1', b'22'}, 3),
        (Example(array), 100),
        ([Example(array), Example([b'1'])], 101),
        (Example, 0),
        (np.ndarray, 0),
        (Own(), 70),
        (Raising(), 0),
        (Strange(), 0),
        (Opaque(), 0),
        (abs, 0),
    ],
)
def test_arrays_buffers_and_text_count_wherever_they_are(value: Any, holds: int) -> None:
    assert nbytes(value) == holds


def test_values_that_hold_themselves() -> None:
    cycle: list[Any] = [array]
    cycle.append({'again': cycle})
    assert nbytes(cycle) == 100


def test_values_as_deep_as_you_like() -> None:
    deep: Any = array
    for _ in range(10**5):
        deep = [deep]
    assert nbytes(deep) == 100
    while isinstance(deep, list):  # else Python would end it recursively
        (deep,) = deep


def test_tables() -> None:
    pandas = pytest.importorskip('pandas')
    table = pandas.DataFrame({'a': np.zeros(100), 'b': np.zeros(100, np.uint8)}, index=np.arange(100))
    assert nbytes((table, 1)) == 100 * (8 + 1 + 8)
    assert nbytes(table.a) == 800


def test_tensors() -> None:
    torch = pytest.importorskip('torch')
    assert nbytes({'x': torch.zeros(10, dtype=torch.float32)}) == 40


def test_what_is_expected_follows_what_came() -> None:
    assert expected(None, 7) == 7
    assert expected(7, 7) == 7
    mean: float | None = None
    for n in [1000, *100 * [10]]:
        mean = expected(mean, n)
    assert mean == pytest.approx(10, abs=0.1)
