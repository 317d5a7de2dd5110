"""The dtype of a batch: no integer and no time changes its value."""

from enum import IntEnum
from itertools import permutations

import numpy as np
import pytest
from batches import STACKING, assert_same, message

BIG = 2**63 + 12345
ID = 2**53 + 1


def structured(value, dtype):
    return np.array([(value, 1)], [('id', dtype), ('x', 'i2')])


@STACKING
@pytest.mark.parametrize(
    ('items', 'expected'),
    [
        ([BIG, 5], np.array([BIG, 5], 'u8')),
        ([True, BIG], np.array([1, BIG], 'u8')),
        ([IntEnum('E', {'A': BIG}).A, 5], np.array([BIG, 5], 'u8')),
        ([np.uint64(BIG), 5], np.array([BIG, 5], 'u8')),
        ([np.uint64(BIG), np.int8(5)], np.array([BIG, 5], 'u8')),
        ([np.uint64(5), -5], np.array([5, -5], 'i8')),
        ([np.array([BIG], 'u8'), np.array([5])], np.array([[BIG], [5]], 'u8')),
        ([np.array([7], 'u8'), np.array([-5], 'i2')], np.array([[7], [-5]], 'i8')),
        ([np.array([2**63 - 1], 'u8'), np.array([-(2**63)])], np.array([[2**63 - 1], [-(2**63)]], 'i8')),
        ([2**53, 0.5], np.array([2.0**53, 0.5])),
        ([-(2**60), np.nan], np.array([-(2.0**60), np.nan])),
        ([np.array([2**62]), np.array([0.5], 'f4')], np.array([[2.0**62], [0.5]])),
        ([np.array([2**24 + 1], 'i4'), np.array([0.5], 'f4')], np.array([[2.0**24 + 1], [0.5]])),
        ([ID, None], np.array([ID, None], object)),
        ([2**100, -1], np.array([2**100, -1], object)),
        ([np.array([ID]), np.array(['x'], object)], np.array([[ID], ['x']], object)),
        ([structured(BIG, 'u8'), structured(5, 'i8')], np.array([[(BIG, 1)], [(5, 1)]], 'u8,i2')),
        ([structured(BIG, 'u8')[0], structured(5, 'i8')[0]], np.array([(BIG, 1), (5, 1)], 'u8,i2')),
    ],
)  # fmt: skip
def test_no_integer_ever_changes(function, items, expected):
    found = function(items)
    assert_same(found.astype(expected.dtype) if found.dtype.names else found, expected)


@STACKING
@pytest.mark.parametrize(
    ('items', 'i', 'value', 'dtype', 'common'),
    [
        ([BIG, -5], 1, -5, 'int64', 'uint64'),
        ([np.uint64(BIG), np.int64(-5)], 1, -5, 'int64', 'uint64'),
        ([np.array([3, -5]), np.array([BIG, 0], 'u8')], 0, -5, 'int64', 'uint64'),
        ([ID, 0.5], 0, ID, 'int64', 'float64'),
        ([0.5, ID], 1, ID, 'int64', 'float64'),
        ([ID, 1j], 0, ID, 'int64', 'complex128'),
        ([np.float32(1), np.int64(ID)], 1, ID, 'int64', 'float64'),
        ([np.array([1.5]), np.array([-ID])], 1, -ID, 'int64', 'float64'),
        ([2**63 - 1, 0.5], 0, 2**63 - 1, 'int64', 'float64'),
        ([0.5, 2**64 - 1], 1, 2**64 - 1, 'uint64', 'float64'),
        ([np.datetime64('3000'), np.datetime64(1, 'ns')], 0, 3000, 'datetime64[Y]', 'datetime64[ns]'),
        ([np.array(['NaT', '3000'], 'M8[Y]'), np.zeros(2, 'M8[ns]')], 0, 3000, 'datetime64[Y]', 'datetime64[ns]'),
        (
            [np.timedelta64(1, 'ns'), np.timedelta64(10**15, 's')],
            1, '1000000000000000 seconds', 'timedelta64[s]', 'timedelta64[ns]',
        ),
    ],
)  # fmt: skip
def test_integers_and_times_that_would_change_are_refused_with_their_place(function, items, i, value, dtype, common):
    assert message(ValueError, function, [{'id': x} for x in items]) == (
        f"{function.__name__}: element ['id'] of item {i} has {value} in dtype {dtype}, which {common}, the common"
        ' dtype, does not hold; convert the items to one dtype before'
    )


@STACKING
def test_fields_of_structured_arrays_are_looked_at_by_themselves(function):
    text = "element [0]['id'] of item 1 has -5 in dtype int64, which uint64, the common dtype, does not hold"
    found = message(ValueError, function, [(structured(BIG, 'u8'),), (structured(-5, 'i8'),)])
    assert found.startswith(f'{function.__name__}: {text};')


@STACKING
@pytest.mark.parametrize(
    ('x', 'y'),
    [
        ('i8', 'U3'),
        ('S3', 'f4'),
        ('U3', 'S3'),
        ('m8[s]', 'i8'),
        ('M8[s]', 'm8[s]'),
        ('O', 'M8[ns]'),
        ('i8,f8', 'f8,i8'),
    ],
)
def test_numbers_times_text_and_bytes_do_not_become_each_other(function, x, y):
    x, y = np.dtype(x), np.dtype([('f1', 'f8'), ('f0', 'i8')] if y == 'f8,i8' else y)
    assert message(TypeError, function, [np.zeros(1, x), np.zeros(1, y)]) == (
        f'{function.__name__}: item 1 has dtype {y}, but item 0 has dtype {x}; they have no common dtype'
    )


@STACKING
@pytest.mark.parametrize('dtype', ['i4,f4', 'U3', 'S3', 'O', 'M8[s]', 'm8[s]', '>i4', 'V3'])
@pytest.mark.parametrize('shape', [(2, 3), (0, 3), (3, 0), (1, 1)])
def test_arrays_of_any_dtype(function, dtype, shape):
    items = [np.zeros(shape, dtype), np.asfortranarray(np.ones(shape, 'i4').astype(dtype))]
    assert_same(function(items), np.stack(items).astype(np.result_type(*items), order='C'))


@STACKING
def test_the_order_of_the_items_does_not_decide_whether_there_is_a_common_dtype(function):
    """All of these go into an object array; without the objects, numbers and bytes do not go together."""
    arrays = [np.zeros(1, dtype) for dtype in ('i8', 'S3', 'O')]
    for items in permutations(arrays):
        assert function(list(items)).dtype == object
