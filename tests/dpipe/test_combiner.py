"""Batches of lists of items."""

import numpy as np
import pytest
from dpipe_functions import refuses
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from itpipe.dpipe import (
    combine_batches,
    combine_pad,
    combine_to_arrays,
    pad_batch_equal,
)


def same_arrays(results, expected):
    assert type(results) is tuple
    assert len(results) == len(expected)
    for result, array in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, array, strict=True)


class TestCombining:
    @pytest.mark.parametrize(
        'items',
        [
            [(1, 2.5), (3, 4)],
            [[1, 'a'], [2, 'bcd']],
            [(np.zeros((2, 3), np.uint8), True), (np.ones((2, 3), np.float32), False)],
            [([1, 2], (3, 4, 5)), ([6, 7], (8, 9, 10))],
            [({'a': 1}, None), ({'b': 2}, 3)],
            [(np.float32(1),), (2,)],
            [np.arange(3), np.arange(3)],
            [[b'a'], [b'bc']],
        ],
    )
    def test_to_arrays_is_what_numpy_makes_of_each_column(self, items):
        columns = list(zip(*items, strict=True))
        same_arrays(combine_to_arrays(items), [np.array(column) for column in columns])
        assert combine_batches(items) == tuple(columns) or isinstance(items[0], np.ndarray)

    @given(st.data())
    def test_pad_is_what_numpy_pads(self, data):
        """For any shapes, dtypes, values and shares, each element by itself."""
        columns, values = [], []
        ratio = data.draw(st.floats(0, 1))
        count = data.draw(st.integers(1, 4))
        for _ in range(data.draw(st.integers(1, 3))):
            ndim, dtype = data.draw(st.integers(0, 3)), data.draw(st.sampled_from(['bool', 'uint8', 'float32']))
            shapes = [data.draw(st.tuples(*[st.integers(0, 4)] * ndim)) for _ in range(count)]
            columns.append([data.draw(hnp.arrays(dtype, shape, elements=st.integers(0, 1))) for shape in shapes])
            values.append(data.draw(st.sampled_from([0, 1])))
        results = combine_pad(list(zip(*columns, strict=True)), values, ratio)
        expected = []
        for column, value in zip(columns, values, strict=True):
            shape = np.max([array.shape for array in column], axis=0).astype(int)
            padded = []
            for array in column:
                before = ((shape - array.shape) * ratio).astype(int)
                widths = np.transpose([before, shape - array.shape - before])
                padded.append(np.pad(array, widths, constant_values=value) if array.ndim else array)
            expected.append(np.array(padded))
        same_arrays(results, expected)

    def test_padding_options(self):
        items = [(np.array([[1, 2, 3]]), 5), (np.array([[4], [6]]), 7)]
        images, labels = combine_pad(items, ratio=[1, 0])
        assert images.tolist() == [[[0, 0, 0], [1, 2, 3]], [[4, 0, 0], [6, 0, 0]]]
        assert labels.tolist() == [5, 7]
        assert combine_pad(items, np.max, [0])[0].tolist() == [[[1, 2, 3], [3, 3, 3]], [[4, 6, 6], [6, 6, 6]]]
        images, masks = combine_pad([(x, x) for x, _ in items], [np.min, -1], ratio=0)
        assert images.tolist() == [[[1, 2, 3], [1, 1, 1]], [[4, 4, 4], [6, 4, 4]]]
        assert masks.tolist() == [[[1, 2, 3], [-1, -1, -1]], [[4, -1, -1], [6, -1, -1]]]
        assert combine_pad(items, np.array([9]), 0)[0][1].tolist() == [[4, 9, 9], [6, 9, 9]]

    def test_pad_batch_equal(self):
        assert pad_batch_equal([[1, 2, 3], [4]], -1, 1).tolist() == [[1, 2, 3], [-1, -1, 4]]
        assert pad_batch_equal([np.ones((1, 2)), np.ones((2, 1))], ratio=[0, 1]).tolist() == [
            [[1, 1], [0, 0]],
            [[0, 1], [0, 1]],
        ]
        assert pad_batch_equal([1, 2]).tolist() == [1, 2]

    def test_wrong_items_and_options(self):
        zeros = np.zeros
        refuses(ValueError, 'zip() argument 2 is longer than argument 1', combine_batches, [(1,), (1, 2)])
        message = 'combine: item 1 has 2 elements, but item 0 has 1 elements'
        refuses(ValueError, message, combine_to_arrays, [(1,), (1, 2)])
        message = (
            'combine: element [1] of item 1 has shape (3,), but item 0 has shape (2,);'
            ' combine_pad pads to a common shape'
        )
        refuses(ValueError, message, combine_to_arrays, [(0, zeros(2)), (0, zeros(3))])
        refuses(ValueError, 'combine: `items` must not be empty', combine_to_arrays, [])
        refuses(ValueError, 'combine_pad: `items` must not be empty', combine_pad, [], ratio=[0, 1])
        items = [(0, zeros(2, np.uint8)), (0, zeros(3, np.uint8))]
        message = (
            'combine_pad: `padding_values` for element [1] of an item must fit dtype uint8, got -1;'
            ' give another value, or convert the arrays before'
        )
        refuses(ValueError, message, combine_pad, items, -1)
        message = 'combine_pad: `padding_values` has 3 values, but an item has 2 elements'
        refuses(ValueError, message, combine_pad, items, [0, 1, 2])
        message = 'combine_pad: `ratio` has 2 values, but element [1] of an item has 1 axes'
        refuses(ValueError, message, combine_pad, items, ratio=[0, 1])
        refuses(ValueError, 'combine_pad: `ratio` must be between 0 and 1, got 2', combine_pad, items, ratio=2)
        refuses(TypeError, "'int' object is not iterable", combine_to_arrays, [1, 2])
