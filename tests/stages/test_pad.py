"""What `combine_pad` makes of lists of items."""

import pickle
import tracemalloc
from functools import partial

import numpy as np
import pytest
from batches import assert_same, batches, message, padded, ragged, reference
from hypothesis import given
from hypothesis import strategies as st

from itpipe import Infinite, batch_by, bucket_by, combine_pad


@given(batches(ragged=True), st.sampled_from([0, 1, True]), st.floats(0, 1), st.integers(1, 5))
def test_combine_pad_is_pad_then_stack_on_every_structure(items, value, ratio, multiple):
    found = combine_pad(items, padding_values=value, ratio=ratio, multiple_of=multiple)
    assert_same(found, reference(items, partial(padded, value=value, ratio=ratio, multiple=multiple)))


@given(batches(ragged=True))
def test_lengths_are_the_shapes_before_padding(items):
    combined, lengths = combine_pad(items, lengths=True)
    assert_same(combined, combine_pad(items))

    def check(lengths, items):
        if lengths is None:
            assert all(np.ndim(item) == 0 or not isinstance(item, np.ndarray) for item in items)
        elif isinstance(lengths, np.ndarray):
            assert lengths.dtype == np.int64
            assert lengths.tolist() == [list(item.shape) for item in items]
        else:
            assert type(lengths) is type(items[0])
            for key in lengths if isinstance(lengths, dict) else range(len(lengths)):
                check(lengths[key], [item[key] for item in items])

    check(lengths, items)


def test_padding_allocates_the_result_and_nothing_besides():
    arrays = [np.ones((64, 32, 128 - i), 'f4') for i in range(8)]
    for value in (0, -1, np.min):
        tracemalloc.start()
        try:
            found = combine_pad(arrays, padding_values=value)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert found.nbytes <= peak < 1.1 * found.nbytes


@pytest.mark.parametrize(
    ('ratio', 'expected'),
    [(0, [1, 0, 0, 0]), (0.3, [1, 0, 0, 0]), (0.5, [0, 1, 0, 0]), (np.float32(0.75), [0, 0, 1, 0]), (1, [0, 0, 0, 1])],
)
def test_ratio_is_the_share_before_rounded_down(ratio, expected):
    assert combine_pad(ragged(4, 1), ratio=ratio).tolist() == [[1, 2, 3, 4], expected]


def test_one_value_for_each_element():
    items = [(np.ones(2, 'i8'), [np.ones(1), np.ones((1, 1))]), (np.ones(1, 'i8'), [np.ones(2), np.ones((2, 1))])]
    first, (second, third) = combine_pad(items, padding_values=(-1, [-2, -3]), ratio=(0, (1, 0)))
    assert first.tolist() == [[1, 1], [1, -1]]
    assert second.tolist() == [[-2, 1], [1, 1]]
    assert third.tolist() == [[[1], [-3]], [[1], [1]]]
    first, (second, third) = combine_pad(items, multiple_of=[3, None])
    assert (first.shape, second.shape, third.shape) == ((2, 3), (2, 2), (2, 2, 1))
    first, (second, third) = combine_pad(items, multiple_of=(None, 3))
    assert (first.shape, second.shape, third.shape) == ((2, 2), (2, 3), (2, 3, 3))


def test_values_for_some_of_the_keys():
    items = [{'a': x, 'b': (x,)} for x in ragged(2, 1)]
    found = combine_pad(items, padding_values={'b': (-1,)}, ratio={'a': 1, 'b': 0})
    assert found['a'].tolist() == [[1, 2], [0, 1]]
    assert found['b'][0].tolist() == [[1, 2], [1, -1]]


@pytest.mark.parametrize('kind', [tuple, list, np.array])
def test_one_value_for_each_axis(kind):
    items = [np.ones((1, 1)), np.ones((3, 3))]
    assert combine_pad(items, ratio=kind([0, 1]))[0].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert combine_pad(items, multiple_of=kind([2, 5])).shape == (2, 4, 5)
    found = combine_pad([(x, x) for x in items], ratio=(kind([0, 1]), 0))
    assert found[0][0].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert found[1][0].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_multiple_of_pads_arrays_of_one_shape_too():
    assert combine_pad(ragged(3, 3), multiple_of=2, ratio=0).tolist() == [[1, 2, 3, 0], [1, 2, 3, 0]]
    assert combine_pad(ragged(4, 4), multiple_of=2, ratio=0).tolist() == [[1, 2, 3, 4], [1, 2, 3, 4]]
    assert combine_pad(ragged(0, 0), multiple_of=4).shape == (2, 0)


def test_to_is_the_common_shape_whatever_the_items_have():
    assert combine_pad(ragged(1, 3), to=5, ratio=0).tolist() == [[1, 0, 0, 0, 0], [1, 2, 3, 0, 0]]
    assert combine_pad(ragged(1, 3), to=5, ratio=1, padding_values=-1).tolist() == [[-1] * 4 + [1], [-1, -1, 1, 2, 3]]
    assert combine_pad(ragged(5, 5), to=5).tolist() == [[1, 2, 3, 4, 5]] * 2
    items = [(np.ones((2, 3)), np.ones(1), 7), (np.ones((1, 4)), np.ones(0), 8)]
    first, second, numbers = combine_pad(items, to=((None, 6), None, None))
    assert (first.shape, second.shape, numbers.tolist()) == ((2, 2, 6), (2, 1), [7, 8])
    assert combine_pad([{'x': x, 'y': x} for x in ragged(1, 2)], to={'x': np.int64(4)})['y'].shape == (2, 2)


def test_edges_are_the_lengths_that_occur():
    for longest, expected in [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8)]:
        assert combine_pad(ragged(0, longest), edges=[2, 4, 8]).shape == (2, expected)
    items = [np.ones((3, 3)), np.ones((2, 5))]
    assert combine_pad(items, edges=[None, (4, 8)]).shape == (2, 3, 8)
    assert combine_pad(items, edges=range(4, 20, 4)).shape == (2, 4, 8)
    assert combine_pad(items, edges=[np.array([3, 9]), [6]]).shape == (2, 3, 6)
    assert combine_pad([{'x': x, 'y': x} for x in items], edges={'y': ([4], None)})['y'].shape == (2, 4, 5)


def test_to_goes_before_edges_and_these_before_multiples():
    items = [np.ones((3, 3, 3)), np.ones((1, 1, 1))]
    assert combine_pad(items, multiple_of=10, edges=[None, [7], [7]], to=[None, None, 5]).shape == (2, 10, 7, 5)


@pytest.mark.parametrize(
    ('options', 'limit'),
    [
        ({'to': (None, 2)}, '`to` is 2'),
        ({'edges': [None, [1, 2]]}, 'the last of `edges` is 2'),
        ({'to': 2, 'edges': [[9], [9]]}, '`to` is 2'),
    ],
)
@pytest.mark.parametrize('mask', [False, True])
def test_longer_items_are_refused_by_name(options, limit, mask):
    items = [{'x': np.ones((2, 2))}, {'x': np.ones((1, 4))}, {'x': np.ones((1, 5))}]
    assert message(ValueError, combine_pad, items, **{name: {'x': value} for name, value in options.items()}) == (
        f"combine_pad: element ['x'] of item 1 has length 4 on axis 1, but {limit}; cut the items before, or give a"
        ' larger one'
    )


@given(
    batches(ragged=True), st.floats(0, 1), st.sampled_from([{}, {'to': 9}, {'edges': [1, 5, 9]}, {'multiple_of': 3}])
)
def test_masks_are_the_batch_of_ones_padded_with_zeros(items, ratio, options):
    """And no option changes what the items have in the batch."""
    combined, masks = combine_pad(items, padding_values=0, ratio=ratio, mask=True, **options)
    assert_same(combined, combine_pad(items, ratio=ratio, **options))

    def check(masks, combined, items):
        if masks is None:
            assert all(np.ndim(item) == 0 or not isinstance(item, np.ndarray) for item in items)
        elif isinstance(masks, np.ndarray):
            assert_same(masks, combine_pad([np.ones(item.shape, bool) for item in items], ratio=ratio, **options))
            assert masks.shape == combined.shape
            for array, mask, item in zip(combined, masks, items, strict=True):
                np.testing.assert_array_equal(array[mask].reshape(item.shape), item)
        else:
            for key in masks if isinstance(masks, dict) else range(len(masks)):
                check(masks[key], combined[key], [item[key] for item in items])

    check(masks, combined, items)


def test_masks_of_some_elements_and_beside_lengths():
    items = [{'x': x, 'y': x, 'z': 'a'} for x in ragged(2, 1)]
    batch, masks = combine_pad(items, ratio=0, mask={'x': True})
    assert_same(masks, {'x': np.array([[True, True], [True, False]]), 'y': None, 'z': None})
    batch, lengths, masks = combine_pad(items, ratio=1, lengths=True, mask=True)
    assert lengths['x'].tolist() == [[2], [1]]
    assert masks['y'].tolist() == [[True, True], [False, True]]
    assert batch['y'].tolist() == [[1, 2], [0, 1]]
    assert_same(combine_pad(items, mask={'x': False})[1], {'x': None, 'y': None, 'z': None})


def test_masks_and_types_of_their_own():
    items = [(x, {1}) for x in ragged(2, 1)]
    (_, sets), masks = combine_pad(items, ratio=0, mask=True, types={set: len})
    assert sets == 2
    assert_same(masks, (np.array([[True, True], [True, False]]), None))


def test_all_options_through_an_infinite():
    options = {'combiner': combine_pad, 'ratio': 0, 'edges': {'x': [4, 8]}, 'to': {'y': 3}, 'mask': {'x': True}}
    items = [{'x': x, 'y': x[:1]} for x in ragged(1, 3, 5, 2)]
    with Infinite(items, batch_size=2, **options) as batch_iter:
        found = list(batch_iter)
    assert [(batch['x'].shape, batch['y'].shape) for batch, _ in found] == [((2, 4), (2, 3)), ((2, 8), (2, 3))]
    assert [masks['x'].sum(1).tolist() for _, masks in found] == [[1, 3], [5, 2]]


def test_the_edges_of_buckets_are_edges_for_padding():
    edges = [2, 4, 8]
    batches = ragged(1, 7, 3, 2, 8, 4) | bucket_by(len, edges=edges, size=2) | combine_pad(edges=edges)
    assert sorted(batch.shape[1] for batch in batches) == edges


def test_a_function_gives_the_padding_of_each_array_that_needs_some():
    seen = []

    def least(x):
        seen.append(x.tolist())
        return x.min()

    found = combine_pad([np.array([5, 6]), np.array([7]), np.array([-8])], padding_values=least, ratio=0)
    assert found.tolist() == [[5, 6], [7, 7], [-8, -8]]
    assert seen == [[7], [-8]]


def test_the_error_of_the_function_comes_as_it_is():
    with pytest.raises(ZeroDivisionError):
        combine_pad(ragged(1, 2), padding_values=lambda x: 1 / 0)


@pytest.mark.parametrize('value', [0, 1, np.min])
@pytest.mark.parametrize('shape', [(3, 70, 70), (3, 300, 300), (3, 700, 700), (60, 400, 400)])
def test_all_ways_of_filling_give_the_same(value, shape):
    """Small, large and very large results are filled in different ways."""
    whole = np.full(shape, 2, 'f4')
    items = [whole, whole[1:, :-3, 5:]]
    expected = 2 if callable(value) else value
    found = combine_pad(items, padding_values=value)
    np.testing.assert_array_equal(found[0], whole)
    np.testing.assert_array_equal(found[1], np.pad(items[1], [(0, 1), (1, 2), (2, 3)], constant_values=expected))


@pytest.mark.parametrize(
    ('dtype', 'value'),
    [
        ('u1', 255), ('u1', 3.0), ('u1', True), ('i1', -128), ('u8', 2**64 - 1), ('i8', -(2**63)), ('bool', 1),
        ('f4', 0.1), ('f4', np.nan), ('f4', -np.inf), ('f4', np.float64(1e-300)), ('f2', 7), ('c8', 1j), ('c8', np.nan),
        ('c8', 0.1j), ('c8', 0.1),
        ('f8', 2**60), ('f4', 2**24), ('u8', np.int64(5)),
        ('O', None), ('O', 'x'), ('U2', 'ab'), ('S2', b'ab'), ('M8[s]', np.datetime64('NaT', 's')),
        ('M8[s]', np.datetime64('2000-01-01')), ('m8[s]', np.timedelta64(2, 'm')), ('f4', np.array(2)),
        ('i4,f4', np.array((1, 2.0), 'i4,f4')[()]), ('i8', np.int32(-4)),
    ],
)  # fmt: skip
def test_padding_values_that_fit(dtype, value):
    found = combine_pad([np.zeros(2, dtype), np.zeros(1, dtype)], padding_values=value, ratio=0)
    expected = np.zeros(2, dtype)
    expected[1] = value
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found[1], expected)


@pytest.mark.parametrize(
    ('dtype', 'value'),
    [
        ('u1', -1), ('u1', 256), ('u1', 0.5), ('i8', np.nan), ('i8', np.inf), ('i8', 2**63), ('i8', 2.0**63),
        ('i8', 2**100), ('bool', 2), ('f2', 70000), ('f4', 1e300), ('c8', 1e300j), ('f8', 2**53 + 1),
        ('f8', -(2**53) - 1), ('f4', 2**24 + 1), ('c8', 2**24 + 1),
        ('f8', np.uint64(2**64 - 1)), ('i8', np.uint64(2**63)), ('f4', 1j), ('f4', None), ('f4', 'x'), ('U2', 'abc'),
        ('U2', 0), ('S2', 'ab'), ('M8[s]', 0), ('M8[s]', np.datetime64(1, 'ms')), ('i8', np.datetime64('2000')),
    ],
)  # fmt: skip
def test_padding_values_that_do_not_fit(dtype, value):
    items = [(np.zeros(2, dtype),), (np.zeros(1, dtype),)]
    assert message(ValueError, combine_pad, items, padding_values=value) == (
        f'combine_pad: `padding_values` for element [0] of an item must fit dtype {np.dtype(dtype)}, got {value!r};'
        ' give another value, or convert the arrays before'
    )
    assert message(ValueError, combine_pad, items, padding_values=lambda x: value) == (
        f'combine_pad: `padding_values` for element [0] of item 1 must fit dtype {np.dtype(dtype)}, got {value!r};'
        ' give another value, or convert the arrays before'
    )


@pytest.mark.skipif(not hasattr(np, 'dtypes') or not hasattr(np.dtypes, 'StringDType'), reason='needs numpy 2')
def test_strings_of_any_length_are_padded_with_strings():
    items = [np.array(x, np.dtypes.StringDType()) for x in (['a', 'b'], ['c'])]
    assert combine_pad(items, padding_values='long', ratio=0).tolist() == [['a', 'b'], ['c', 'long']]
    assert message(ValueError, combine_pad, items).startswith(
        'combine_pad: `padding_values` for an item must fit dtype StringDType(), got 0;'
    )


def test_arrays_of_floats_that_numpy_does_not_have_are_padded():
    bfloat16 = pytest.importorskip('ml_dtypes').bfloat16
    items = [np.ones(1, bfloat16), np.ones(2, bfloat16)]
    for value in (0, -100, 0.1, np.inf, True):
        batch = combine_pad(items, padding_values=value, ratio=0)
        assert (batch.dtype, batch[0].tolist()) == (bfloat16, [1, bfloat16(value)])
    for value in (1001, 1e39, 'x'):
        with pytest.raises(ValueError, match='must fit dtype bfloat16'):
            combine_pad(items, padding_values=value)


def test_a_padding_value_is_looked_at_only_where_something_is_padded():
    assert combine_pad([np.array(['a', 'b'])], padding_values=np.nan).tolist() == [['a', 'b']]


def test_padding_fits_the_common_dtype():
    found = combine_pad([np.zeros(2, 'u1'), np.zeros(1, 'i2')], padding_values=-1, ratio=0)
    assert_same(found, np.array([[0, 0], [0, -1]], 'i2'))


def test_lengths():
    items = [{'x': np.ones((1, 3)), 'y': 'a', 'z': (1, None)}, {'x': np.ones((2, 2)), 'y': 'b', 'z': (2, None)}]
    combined, lengths = combine_pad(items, lengths=True)
    assert combined['x'].shape == (2, 2, 3)
    assert_same(lengths, {'x': np.array([[1, 3], [2, 2]]), 'y': None, 'z': (None, None)})


def test_numbers_of_axes_that_cannot_be_padded():
    assert message(ValueError, combine_pad, [(0, np.ones((5, 3))), (0, np.ones(5))]) == (
        'combine_pad: element [1] of item 1 has shape (5,), but item 0 has shape (5, 3);'
        ' only shapes with the same number of axes have a common one'
    )


@pytest.mark.parametrize('items', [(), ([np.ones(1)],)], ids=['stage', 'call'])
@pytest.mark.parametrize(
    ('options', 'error', 'text'),
    [
        ({'ratio': 2}, ValueError, '`ratio` must be between 0 and 1, got 2'),
        ({'ratio': (0.5, [0, -0.1])}, ValueError, '`ratio` must be between 0 and 1, got -0.1'),
        ({'ratio': np.array([0.5, 1.5])}, ValueError, '`ratio` must be between 0 and 1, got 1.5'),
        ({'ratio': float('nan')}, ValueError, '`ratio` must be a number, got nan'),
        ({'ratio': {'a': '1'}}, TypeError, '`ratio` must be a number, got str'),
        ({'ratio': None}, TypeError, '`ratio` must be a number, got NoneType'),
        ({'ratio': True}, TypeError, '`ratio` must be a number, got bool'),
        ({'multiple_of': 0}, ValueError, '`multiple_of` must be at least 1, got 0'),
        ({'multiple_of': (None, [2, -1])}, ValueError, '`multiple_of` must be at least 1, got -1'),
        ({'multiple_of': 2.0}, TypeError, '`multiple_of` must be an int, got float'),
        ({'multiple_of': {'a': 'b'}}, TypeError, '`multiple_of` must be an int, got str'),
        ({'to': (None, [0])}, ValueError, '`to` must be at least 1, got 0'),
        ({'to': {'a': 2.0}}, TypeError, '`to` must be an int, got float'),
        ({'edges': []}, ValueError, '`edges` must be ascending, and at least one, got []'),
        ({'edges': {'a': (2, 2)}}, ValueError, '`edges` must be ascending, and at least one, got (2, 2)'),
        ({'edges': [None, [4, 3]]}, ValueError, '`edges` must be ascending, and at least one, got [4, 3]'),
        ({'edges': [0, 3]}, ValueError, '`edges` must be at least 1, got 0'),
        ({'edges': [1.5]}, TypeError, '`edges` must be an int, got float'),
        ({'edges': 64}, TypeError, '`edges` must be lists of numbers, got int'),
        ({'edges': [64, None]}, TypeError, '`edges` must be lists of numbers, got int'),
        ({'mask': {'a': 1}}, TypeError, '`mask` must be True or False, got int'),
        ({'lengths': 1}, TypeError, '`lengths` must be True or False, got int'),
    ],
)
def test_options_are_checked_at_once(items, options, error, text):
    assert message(error, combine_pad, *items, **options) == f'combine_pad: {text}'


@pytest.mark.parametrize(
    ('item', 'options', 'error', 'text'),
    [
        ((1, np.ones(1)), {'ratio': (0, 1, 0)}, ValueError, '`ratio` has 3 values, but an item has 2 elements'),
        (
            ((np.ones(1),), 1), {'ratio': ((0, 1), 0)}, ValueError,
            '`ratio` has 2 values, but element [0] of an item has 1 elements',
        ),
        ([np.ones(1)], {'ratio': ([0, 1],)}, ValueError, '`ratio` has 2 values, but element [0] of an item has 1 axes'),
        (np.ones((1, 2)), {'multiple_of': [2]}, ValueError, '`multiple_of` has 1 values, but an item has 2 axes'),
        (np.ones(1), {'ratio': {'a': 1}}, TypeError, '`ratio` has type dict, but an item is an array'),
        ((np.ones(1),), {'ratio': {'a': 1}}, TypeError, '`ratio` has type dict, but an item has type tuple'),
        ({'a': np.ones(1)}, {'ratio': [1]}, TypeError, '`ratio` has type list, but an item has type dict'),
        ({'a': np.ones(1)}, {'ratio': {'b': 1}}, ValueError, "`ratio` has keys ['b'], but an item has keys ['a']"),
        (
            np.ones(2), {'padding_values': [1, 2]}, TypeError,
            '`padding_values` for an item must be one value or a function, got list',
        ),
        (np.ones((1, 2)), {'to': [2]}, ValueError, '`to` has 1 values, but an item has 2 axes'),
        (np.ones((1, 2)), {'edges': [[2]]}, ValueError, '`edges` has 1 values, but an item has 2 axes'),
        ({'a': np.ones(1)}, {'edges': {'b': [1]}}, ValueError, "`edges` has keys ['b'], but an item has keys ['a']"),
        (np.ones(2), {'mask': [True]}, TypeError, '`mask` for an item must be True or False, got list'),
        (
            {'a': np.ones(2)}, {'padding_values': {'a': (1, 2)}}, TypeError,
            "`padding_values` for element ['a'] of an item must be one value or a function, got tuple",
        ),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_the_items(item, options, error, text):
    """Whether or not there is something to pad."""
    assert message(error, combine_pad, [item, item], **options) == f'combine_pad: {text}'


def test_the_stage_has_the_options_given():
    stage = combine_pad(padding_values=-1, multiple_of=4, lengths=True)
    assert repr(stage) == 'combine_pad(padding_values=-1, multiple_of=4, lengths=True)'
    assert stage == pickle.loads(pickle.dumps(stage)) != combine_pad(padding_values=-1)
    ((found, lengths),) = ragged(1, 2) | batch_by(2) | stage
    assert found.tolist() == [[-1, 1, -1, -1], [-1, 1, 2, -1]]
    assert lengths.tolist() == [[1], [2]]
