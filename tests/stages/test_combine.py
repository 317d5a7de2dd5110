"""What `combine` and `combine_lists` make of lists of items, and what they have in common with `combine_pad`."""

import pickle
import tracemalloc
from collections import UserDict
from enum import IntEnum

import numpy as np
import pytest
from batches import FUNCTIONS, STACKING, Tensor, assert_same, batches, message, ragged, reference, stacked
from hypothesis import given

from itpipe import Stage, batch_by, combine, combine_lists, combine_pad

MASKED = 'use its `filled()`, or make the mask an element of its own'
HINT = '; combine_pad pads to a common shape'


@given(batches())
def test_combine_is_stack_on_every_structure(items):
    assert_same(combine(items), reference(items, stacked))


@given(batches(ragged=True))
def test_lists_hold_the_very_values(items):
    def check(found, items, top=False):
        if isinstance(items[0], dict):
            assert list(found) == list(items[0])
            for key in items[0]:
                check(found[key], [item[key] for item in items])
        elif isinstance(items[0], tuple) or (isinstance(items[0], list) and top):
            assert type(found) is type(items[0])
            for element, values in zip(found, zip(*items, strict=True), strict=True):
                check(element, values)
        else:
            assert type(found) is list
            assert len(found) == len(items)
            assert all(x is y for x, y in zip(found, items, strict=True))

    check(combine_lists(items), items, top=True)


@FUNCTIONS
@pytest.mark.parametrize('kind', [list, tuple, iter, dict.fromkeys], ids=['list', 'tuple', 'iterator', 'keys'])
def test_items_may_be_any_iterable(function, kind):
    items = kind(['a', 'b'])
    assert function(items.keys() if isinstance(items, dict) else items) == ['a', 'b']


@STACKING
def test_text_becomes_a_list(function):
    assert function(['a', b'b', np.str_('c')]) == ['a', b'b', 'c']


@STACKING
def test_objects_become_an_object_array_and_are_not_looked_into(function):
    class Sequence:
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return [1, 2][i]

    for items in (
        [Sequence(), Sequence()],
        [None, None],
        [1, 'a'],
        [{1, 2}, None],
        [np.str_('a'), 1.5],
        [int, np.ndarray],
    ):
        found = function(items)
        assert found.dtype == object
        assert found.shape == (2,)
        assert all(x is y for x, y in zip(found, items, strict=True))


@STACKING
@pytest.mark.parametrize(
    ('items', 'expected'),
    [
        ([1, 2], np.array([1, 2])),
        ([True, False], np.array([True, False])),
        ([True, 2], np.array([1, 2])),
        ([1, 2.5], np.array([1, 2.5])),
        ([1, 2j], np.array([1, 2j])),
        ([np.float32(1), np.float32(2)], np.array([1, 2], 'f4')),
        ([np.float32(1), 2.0], np.array([1.0, 2.0])),
        ([np.uint8(1), np.int8(-1)], np.array([1, -1], 'i2')),
        ([np.array(1, 'u1'), np.uint8(2)], np.array([1, 2], 'u1')),
        ([2**63, 2**63 + 1], np.array([2**63, 2**63 + 1], 'u8')),
        ([2**100, 1], np.array([2**100, 1], object)),
        ([IntEnum('E', 'A').A, 2], np.array([1, 2])),
        ([np.datetime64('2000'), np.datetime64('2000-02')], np.array(['2000-01', '2000-02'], 'M8[M]')),
        ([np.timedelta64(1, 's'), np.timedelta64(1, 'ms')], np.array([1000, 1], 'm8[ms]')),
        ([np.array((1, 2.0), 'i4,f4')[()]] * 2, np.array([(1, 2.0)] * 2, 'i4,f4')),
        ([np.array(None), np.array([0])[0]], np.array([None, 0], object)),
    ],
)  # fmt: skip
def test_numbers_become_an_array(function, items, expected):
    assert_same(function(items), expected)


@STACKING
@pytest.mark.parametrize('n', [1, 3])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_the_result_shares_no_memory_and_is_the_only_copy(function, n, order):
    """Each output is allocated once, and nothing of its size besides."""
    arrays = [np.ones((64, 32, 128), 'f4', order) for _ in range(n)]
    tracemalloc.start()
    try:
        (found,) = function([(x,) for x in arrays])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.nbytes <= peak < 1.1 * found.nbytes
    assert not any(np.shares_memory(found, x) for x in arrays)
    assert found.flags.c_contiguous
    assert found.flags.writeable


def test_the_lists_are_new():
    items = ['a', 'b']
    assert combine(items) is not items
    assert combine_lists(items) is not items


@FUNCTIONS
@pytest.mark.parametrize('items', [[], (), iter([])], ids=['list', 'tuple', 'iterator'])
def test_no_items(function, items):
    assert message(ValueError, function, items) == f'{function.__name__}: `items` must not be empty'


@FUNCTIONS
@pytest.mark.parametrize(
    'items', [np.ones((2, 3)), {'a': 1}, 'ab', b'ab', 5, None, Tensor(np.ones(2)), UserDict(a=1), batch_by(2)]
)
def test_not_a_list_of_items(function, items):
    assert message(TypeError, function, items) == (
        f'{function.__name__}: `items` must be a list of items, as `batch_by` makes them, got {type(items).__name__}'
    )


@STACKING
@pytest.mark.parametrize(
    ('items', 'text'),
    [
        ([np.ones(3), None], 'item 1 has type NoneType, but item 0 has type ndarray'),
        ([None, 'a', np.ones(3)], 'item 2 has type ndarray, but item 0 has type NoneType'),
        ([(0, 'a'), (0, Tensor(np.ones(2)))], 'element [1] of item 1 has type Tensor, but item 0 has type str'),
        (
            [np.ones(2), np.ones(2, 'f4'), np.ones(2, 'M8[s]')],
            'item 2 has dtype datetime64[s], but item 0 has dtype float64; they have no common dtype',
        ),
        (
            [np.datetime64('2000', 'Y'), 1.5],
            'item 1 has dtype float64, but item 0 has dtype datetime64[Y]; they have no common dtype',
        ),
        (
            [(np.ones(2),), (np.ma.masked_equal([1, 2], 2),)],
            f'element [0] of item 1 is a masked array, whose mask would be lost; {MASKED}',
        ),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together(function, items, text):
    assert message(TypeError, function, items) == f'{function.__name__}: {text}'


@pytest.mark.parametrize(
    ('items', 'text'),
    [
        (
            [(np.ones((5, 3)), 0)] * 3 + [(np.ones((5, 4)), 0)],
            'element [0] of item 3 has shape (5, 4), but item 0 has shape (5, 3)' + HINT,
        ),
        (
            [{'a': [np.ones(2)]}, {'a': [np.ones(3)]}],
            "element ['a'][0] of item 1 has shape (3,), but item 0 has shape (2,)" + HINT,
        ),
        ([np.ones((2, 8)), np.ones((4, 4))], 'item 1 has shape (4, 4), but item 0 has shape (2, 8)' + HINT),
        (ragged(2, 1, 3), 'item 1 has shape (1,), but item 0 has shape (2,)' + HINT),
        ([np.ones((3, 1)), np.ones(3)], 'item 1 has shape (3,), but item 0 has shape (3, 1)'),
        ([np.ones(()), np.ones(1)], 'item 1 has shape (1,), but item 0 has shape ()'),
        ([np.ones(1), 1.0], 'item 1 has shape (), but item 0 has shape (1,)'),
        ([np.ones((0, 2)), np.ones((0, 3))], 'item 1 has shape (0, 3), but item 0 has shape (0, 2)' + HINT),
    ],
)  # fmt: skip
def test_shapes_that_cannot_be_stacked(items, text):
    assert message(ValueError, combine, items) == f'combine: {text}'


def test_options_are_keyword_only():
    for function in (combine, combine_pad, combine_lists):
        with pytest.raises(TypeError):
            function([1], 0)


def test_called_without_items_each_gives_a_stage():
    batches = [[1, 2], [3, 4], [5]]
    for function in (combine, combine_pad, combine_lists):
        stage = function()
        assert isinstance(stage, Stage)
        assert repr(stage) == f'{function.__name__}()'
        assert stage == pickle.loads(pickle.dumps(stage)) == function()
        for written in (stage, function):
            found = list(range(1, 6) | batch_by(2) | written)
            assert [list(x) for x in found] == batches
        assert list(stage.item([1, 2])) == [1, 2]
