"""What `combine`, `combine_pad` and `combine_lists` make of lists of items."""

import array
import os
import pickle
import tracemalloc
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itpipe import Stage, batch_by, combine, combine_lists, combine_pad, map_at

MASKED = 'use its `filled()`, or make the mask an element of its own'
HINT = '; combine_pad pads to a common shape'
FUNCTIONS = pytest.mark.parametrize('function', [combine, combine_pad, combine_lists])
STACKING = pytest.mark.parametrize('function', [combine, combine_pad])


class Pair(NamedTuple):
    image: Any
    label: Any


Point2 = namedtuple('Point2', 'x y')


class Tags(dict):
    pass


class Boxes(list):
    pass


class Size(tuple):  # noqa: SLOT001, it has attributes
    pass


class Tensor:
    """Like a CPU tensor: no array, but numpy makes one of it."""

    def __init__(self, data):
        self.data = data

    def __array__(self, dtype=None, copy=None):
        return self.data


class Picture:
    """Like a PIL image."""

    def __init__(self, data):
        self.__array_interface__ = data.__array_interface__
        self.data = data

    __array_interface__ = None


def message(error, call, *args, **kwargs):
    """The whole text of the error that the call raises."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert type(caught.value) is error
    return str(caught.value)


def assert_same(found, expected):
    """Equal in structure, types, dtypes and values; and arrays are as promised."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.flags.c_contiguous
        assert found.flags.writeable
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            assert_same(x, y)
    else:
        assert found == expected


# Against a naive reference


DTYPES = ['bool', 'u1', 'i2', 'i8', 'u8', '>f4', 'f4', 'f8', 'c8', 'f2']
LAYOUTS = ['C', 'F', 'strided', 'reversed', 'read-only', 'first of many']


def make_array(draw, shape):
    layout = draw(st.sampled_from(LAYOUTS))
    values = draw(st.integers(0, 100)) + np.arange(int(np.prod(shape))).reshape(shape)
    x = (values % 119).astype(draw(st.sampled_from(DTYPES)))
    if layout == 'F':
        x = np.asfortranarray(x)
    elif layout == 'strided':
        x = np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x
    elif layout == 'reversed':
        x = x[..., ::-1] if x.ndim else x
    elif layout == 'read-only':
        x.flags.writeable = False
    elif layout == 'first of many' and x.ndim:
        x = np.stack([x, x], axis=1)[:, 0]
    return x


SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.just(1j), st.just(np.float32(2)),
    st.just(np.uint8(3)), st.just(np.array(4)),
)  # fmt: skip


@st.composite
def batches(draw, ragged=False):
    """Items of one structure."""
    n = draw(st.integers(1, 5))

    def structure(depth):
        kind = draw(st.sampled_from(['array', 'array', 'scalar', 'text', 'object', 'tuple', 'list', 'dict', 'Pair']))
        if kind in ('array', 'scalar', 'text', 'object') or depth == 3:
            if kind == 'scalar':
                return [draw(SCALARS) for _ in range(n)]
            if kind == 'text':
                return [draw(st.text(max_size=3)) for _ in range(n)]
            if kind == 'object':
                return [draw(st.sampled_from([None, Decimal(1), {1}])) for _ in range(n)]
            ndim = draw(st.integers(1, 4))
            shape = draw(st.tuples(*[st.integers(0, 4)] * ndim))
            shapes = [draw(st.tuples(*[st.integers(0, 4)] * ndim)) if ragged else shape for _ in range(n)]
            return [make_array(draw, shape) for shape in shapes]
        size = 2 if kind == 'Pair' else draw(st.integers(0, 3))
        elements = [structure(depth + 1) for _ in range(size)]
        if kind == 'dict':
            return [{f'key {k}': elements[k][i] for k in draw(st.permutations(range(size)))} for i in range(n)]
        make = {'tuple': tuple, 'list': list, 'Pair': Pair._make}[kind]
        return [make([values[i] for values in elements]) for i in range(n)]

    return structure(0)


def reference(items, join):
    first = items[0]
    if isinstance(first, dict):
        return {key: reference([item[key] for item in items], join) for key in first}
    if isinstance(first, (tuple, list)):
        values = [reference(column, join) for column in zip(*items, strict=True)]
        return getattr(type(first), '_make', type(first))(values)
    if isinstance(first, str):
        return items if isinstance(items, list) else list(items)
    if first is None or isinstance(first, (Decimal, set)):
        result = np.empty(len(items), object)
        for i, item in enumerate(items):
            result[i] = item
        return result
    return join([np.asarray(item) for item in items])


def common(arrays):
    integers = all(x.dtype.kind in 'biu' for x in arrays)
    dtype = np.result_type(*[x.dtype for x in arrays])
    return np.dtype('i8') if integers and dtype.kind == 'f' else dtype


def stacked(arrays):
    return np.stack([x.astype(common(arrays)) for x in arrays]).copy('C')


def padded(arrays, value=0, ratio=0.5, multiple=1):
    common = [-(-max(sizes) // multiple) * multiple for sizes in zip(*[x.shape for x in arrays], strict=True)]
    results = []
    for x in arrays:
        spare = [size - s for size, s in zip(common, x.shape, strict=True)]
        before = [int(s * ratio) for s in spare]
        widths = [(b, s - b) for b, s in zip(before, spare, strict=True)]
        results.append(np.pad(x, widths, constant_values=value) if x.ndim else x)
    return stacked(results)


@given(batches())
def test_combine_is_stack_on_every_structure(items):
    assert_same(combine(items), reference(items, stacked))


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


def test_lists_inside_of_items_are_values_of_any_length():
    assert combine_lists([('a', [1]), ('b', [2, 3])]) == (['a', 'b'], [[1], [2, 3]])
    assert combine_lists([{'boxes': []}, {'boxes': [1]}]) == {'boxes': [[], [1]]}


# Structure


@STACKING
def test_containers_keep_their_type(function):
    numbers = np.array([1, 3])
    assert_same(function([(1, [2]), (3, [4])]), (numbers, [np.array([2, 4])]))
    assert_same(function([Pair(1, 2), Pair(3, 4)]), Pair(numbers, np.array([2, 4])))
    assert_same(function([OrderedDict(a=1), OrderedDict(a=3)]), OrderedDict(a=numbers))
    assert_same(function([UserDict(a=1), UserDict(a=3)]), {'a': numbers})
    assert_same(function([(), ()]), ())
    assert_same(function([{}]), {})


@FUNCTIONS
def test_dicts_are_matched_by_key_in_the_order_of_the_first(function):
    found = function([{'b': 'x', 'a': 'y'}, {'a': 'Y', 'b': 'X'}])
    assert list(found.items()) == [('b', ['x', 'X']), ('a', ['y', 'Y'])]


@FUNCTIONS
def test_a_subclass_of_dict_keeps_its_other_attributes_and_the_items_stay_as_they_are(function):
    items = [defaultdict(list, a='x'), defaultdict(list, a='y')]
    found = function(items)
    assert found == {'a': ['x', 'y']}
    assert found.default_factory is list
    assert items == [{'a': 'x'}, {'a': 'y'}]
    missing = [defaultdict(list, a='x'), defaultdict(list, b='y')]
    assert message(ValueError, function, missing) == (
        f"{function.__name__}: item 1 has keys ['b'], but item 0 has keys ['a']"
    )
    assert missing[1] == {'b': 'y'}


@FUNCTIONS
@pytest.mark.parametrize('kind', [list, tuple, iter, dict.fromkeys], ids=['list', 'tuple', 'iterator', 'keys'])
def test_items_may_be_any_iterable(function, kind):
    items = kind(['a', 'b'])
    assert function(items.keys() if isinstance(items, dict) else items) == ['a', 'b']


@FUNCTIONS
@pytest.mark.parametrize('kind', [Boxes, Size])
def test_a_subclass_of_list_or_tuple_keeps_its_type_and_attributes_too(function, kind):
    items = [kind('xy'), kind('zw')]
    items[0].format = 'xyxy'
    found = function(items)
    assert type(found) is kind
    assert found == kind([['x', 'z'], ['y', 'w']])
    assert found.format == 'xyxy'
    assert items == [kind('xy'), kind('zw')]


@FUNCTIONS
def test_tuples_of_native_code_come_out_as_plain_ones(function):
    """Their types take only values of their own."""
    items = [os.terminal_size((1, 2)), os.terminal_size((3, 4))]
    found = function(items)
    assert type(found) is tuple
    assert [list(x) for x in found] == [[1, 3], [2, 4]]


def test_a_subclass_of_list_inside_of_an_item_is_a_value_as_lists_are():
    assert combine_lists([('a', Boxes([1])), ('b', [2, 3])]) == (['a', 'b'], [[1], [2, 3]])


@FUNCTIONS
def test_namedtuples_of_one_name_and_the_same_fields_are_of_one_type(function):
    """pandas makes a class for the rows of each table."""
    items = [{'row': namedtuple('Row', 'x y')('a', i)} for i in range(3)]
    row = function(items)['row']
    assert type(row) is type(items[0]['row'])
    assert row.x == ['a', 'a', 'a']
    assert list(row.y) == [0, 1, 2]


@pytest.mark.parametrize(
    ('items', 'text'),
    [
        (
            [{'ids': [1, 2, 3]}, {'ids': [1]}],
            (
                "element ['ids'] of item 1 has 1 elements, but item 0 has 3 elements;"
                " a list is structure: `map_at('ids', np.asarray)` makes an array of it"
            ),
        ),
        (
            [('a', (1,)), ('b', ())],
            (
                'element [1] of item 1 has 0 elements, but item 0 has 1 elements;'
                ' a tuple is structure: `map_at(1, np.asarray)` makes an array of it'
            ),
        ),
        (
            [{'boxes': [[1], [2]]}, {'boxes': [[1], [2, 3]]}],
            (
                "element ['boxes'][1] of item 1 has 2 elements, but item 0 has 1 elements;"
                ' a list is structure: `np.asarray` makes an array of it'
            ),
        ),
        (
            [['a'], []],
            (
                'item 1 has 0 elements, but item 0 has 1 elements;'
                ' a list is structure: `apply(np.asarray)` makes an array of it'
            ),
        ),
    ],
)
def test_lists_of_different_lengths_are_refused_with_the_way_out(items, text):
    assert message(ValueError, combine_pad, items) == f'combine_pad: {text}'
    assert message(ValueError, combine, items) == f'combine: {text}, which combine_pad pads'


def test_the_way_out_of_lists():
    items = [{'ids': [1, 2, 3]}, {'ids': [4]}]
    (found,) = items | map_at('ids', np.asarray) | batch_by(2) | combine_pad(ratio=0)
    assert_same(found, {'ids': np.array([[1, 2, 3], [4, 0, 0]])})


# Values


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
def test_subclasses_come_out_as_plain_arrays(function, tmp_path):
    mapped = np.memmap(tmp_path / 'x', 'i8', 'w+', shape=(1, 2))
    mapped[:] = [[1, 2]]
    for x in (np.array([[1, 2]]).view(np.matrix), mapped, np.array([[1, 2]]).view(np.recarray)):
        assert_same(function([x, x]), np.array([[[1, 2]], [[1, 2]]]))
    del mapped, x


@STACKING
def test_what_numpy_takes_for_an_array_is_one(function):
    x, y = np.arange(3.0), np.ones(3, 'f4')
    assert_same(function([Tensor(x), y]), np.stack([x, y]))
    assert_same(function([Tensor(np.array(1)), 2]), np.array([1, 2]))
    assert_same(function([Picture(x), Picture(y)]), np.stack([x, y]))
    assert function([array.array('i', [1, 2])]).dtype == object


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


def test_the_lists_are_new():
    items = ['a', 'b']
    assert combine(items) is not items
    assert combine_lists(items) is not items


# Padding


def ragged(*sizes, dtype='i8'):
    return [np.arange(1, size + 1, dtype=dtype) for size in sizes]


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
        ('i8', 2**100), ('bool', 2), ('f2', 70000), ('f4', 1e300), ('f8', 2**53 + 1),
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


# Errors: what, where, in which item


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


UNEQUAL = [
    ([(1, 2), (1, 2), (1, 2, 3)], ValueError, 'item 2 has 3 elements, but item 0 has 2 elements'),
    ([('a', (1, 'b')), ('b', ('c',))], ValueError, 'element [1] of item 1 has 1 elements, but item 0 has 2 elements'),
    ([{'a': 1, 'b': 2}, {'a': 1}], ValueError, "item 1 has keys ['a'], but item 0 has keys ['a', 'b']"),
    (
        [({'a': 1},), ({'a': 1},), ({'b': 1},)], ValueError,
        "element [0] of item 2 has keys ['b'], but item 0 has keys ['a']",
    ),
    ([(1,), [1]], TypeError, 'item 1 has type list, but item 0 has type tuple'),
    ([(1, 2), Pair(1, 2)], TypeError, 'item 1 has type Pair, but item 0 has type tuple'),
    ([{0: (1,)}, {0: np.ones(1)}], TypeError, 'element [0] of item 1 has type ndarray, but item 0 has type tuple'),
    ([1, 2.5, (1,)], TypeError, 'item 2 has type tuple, but item 0 has type int'),
    ([OrderedDict(a=1), {'a': 1}], TypeError, 'item 1 has type dict, but item 0 has type OrderedDict'),
    (
        [Point2(1, 2), namedtuple('Point2', 'y x')(1, 2)], TypeError,
        "item 1 has type Point2 with fields ['y', 'x'], but item 0 has type Point2 with fields ['x', 'y']",
    ),
    (
        [Tags({'a': 1}), type('Tags', (dict,), {'__module__': 'other'})(a=1)], TypeError,
        'item 1 has type other.Tags, but item 0 has type test_combining.Tags',
    ),
]  # fmt: skip


@FUNCTIONS
@pytest.mark.parametrize(('items', 'error', 'text'), UNEQUAL)
def test_unequal_structure(function, items, error, text):
    assert message(error, function, items) == f'{function.__name__}: {text}'


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


def test_numbers_of_axes_that_cannot_be_padded():
    assert message(ValueError, combine_pad, [(0, np.ones((5, 3))), (0, np.ones(5))]) == (
        'combine_pad: element [1] of item 1 has shape (5,), but item 0 has shape (5, 3);'
        ' only shapes with the same number of axes have a common one'
    )


# Options


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
        (
            {'a': np.ones(2)}, {'padding_values': {'a': (1, 2)}}, TypeError,
            "`padding_values` for element ['a'] of an item must be one value or a function, got tuple",
        ),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_the_items(item, options, error, text):
    """Whether or not there is something to pad."""
    assert message(error, combine_pad, [item, item], **options) == f'combine_pad: {text}'


def test_options_are_keyword_only():
    for function in (combine, combine_pad, combine_lists):
        with pytest.raises(TypeError):
            function([1], 0)


# The stage


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


def test_the_stage_has_the_options_given():
    stage = combine_pad(padding_values=-1, multiple_of=4, lengths=True)
    assert repr(stage) == 'combine_pad(padding_values=-1, multiple_of=4, lengths=True)'
    assert stage == pickle.loads(pickle.dumps(stage)) != combine_pad(padding_values=-1)
    ((found, lengths),) = ragged(1, 2) | batch_by(2) | stage
    assert found.tolist() == [[-1, 1, -1, -1], [-1, 1, 2, -1]]
    assert lengths.tolist() == [[1], [2]]


# What other libraries hold

LABELS = '; labels must be the same, in the same order, or be dropped before, by `np.asarray`'


def pandas_series():
    pandas = pytest.importorskip('pandas')
    row = pandas.Series({'a': 1, 'b': 2})
    return row, row[::-1], "index ['b', 'a']", "index ['a', 'b']"


def pandas_rows():
    pandas = pytest.importorskip('pandas')
    row = pandas.Series({'a': 1, 'b': 2})
    return row, pandas.Series([1, 2]), 'no index', "index ['a', 'b']"


def pandas_table():
    pandas = pytest.importorskip('pandas')
    table = pandas.DataFrame({'x': [1, 2], 'y': [3, 4]})
    return table, table[['y', 'x']], "columns ['y', 'x']", "columns ['x', 'y']"


def pandas_row_numbers():
    pandas = pytest.importorskip('pandas')
    table = pandas.DataFrame({'x': range(8)}, index=range(10, 18))
    return table, table[::-1], 'index [17, 16, 15, 14, 13, 12, …]', 'index [10, 11, 12, 13, 14, 15, …]'


def polars_table():
    polars = pytest.importorskip('polars')
    table = polars.DataFrame({'x': [1, 2], 'y': [3, 4]})
    return table, table[['y', 'x']], "columns ['y', 'x']", "columns ['x', 'y']"


def arrow_table():
    pyarrow = pytest.importorskip('pyarrow')
    table = pyarrow.table({'x': [1, 2], 'y': [3, 4]})
    return table, table.select(['y', 'x']), "columns ['y', 'x']", "columns ['x', 'y']"


def xarray_dims():
    xarray = pytest.importorskip('xarray')
    image = xarray.DataArray(np.ones((2, 2)), dims=('x', 'y'))
    return image, image.T, "dims ['y', 'x']", "dims ['x', 'y']"


def xarray_coordinates():
    xarray = pytest.importorskip('xarray')
    image = xarray.DataArray(np.ones((2, 2)), dims=('band', 'y'), coords={'band': ['r', 'g']})
    return image, image[::-1], "coordinate 'band' ['g', 'r']", "coordinate 'band' ['r', 'g']"


class Quantity(np.ndarray):
    """Like one of astropy."""

    unit = None


def units():
    metres, kilometres = np.ones(2).view(Quantity), np.ones(2).view(Quantity)
    metres.unit, kilometres.unit = Decimal(1), Decimal(1000)
    return metres, kilometres, 'unit 1000', 'unit 1'


@STACKING
@pytest.mark.parametrize(
    'made',
    [
        pandas_series, pandas_rows, pandas_table, pandas_row_numbers, polars_table, arrow_table, xarray_dims,
        xarray_coordinates, units,
    ],
)  # fmt: skip
def test_labels_that_differ_are_refused_and_equal_ones_are_combined(function, made):
    first, other, has, expected = made()
    assert_same(function([{'x': first}, {'x': first}])['x'], np.stack([np.asarray(first)] * 2))
    assert message(ValueError, function, [{'x': first}, {'x': first}, {'x': other}]) == (
        f"{function.__name__}: element ['x'] of item 2 has {has}, but item 0 has {expected}{LABELS}"
    )
    assert function([np.asarray(first), np.asarray(other)]).shape == (2, *first.shape)


def test_rows_that_are_only_numbered_have_no_labels():
    pandas = pytest.importorskip('pandas')
    tables = [pandas.DataFrame({'x': range(n)}) for n in (1, 2)]
    assert combine_pad(tables, ratio=0, padding_values=-1).tolist() == [[[0], [-1]], [[0], [1]]]
    assert combine([pandas.Series([1, 2]), np.array([3, 4])]).tolist() == [[1, 2], [3, 4]]


@STACKING
def test_rows_of_tables(function):
    """Of each table, pandas makes a class for its rows."""
    pandas = pytest.importorskip('pandas')
    rows = [next(pandas.DataFrame({'x': [i], 'y': [-i]}).itertuples(index=False)) for i in (1, 2)]
    found = function(rows)
    assert found.x.tolist() == [1, 2]
    assert found.y.tolist() == [-1, -2]


def pandas_missing(value):
    pandas = pytest.importorskip('pandas')
    return pandas.Series([value, None], dtype='Int64')


def pandas_mixed(value):
    return pytest.importorskip('pandas').DataFrame({'id': [value], 'x': [1e300]})


def polars_missing(value):
    return pytest.importorskip('polars').Series([value, None])


def polars_mixed(value):
    return pytest.importorskip('polars').DataFrame({'id': [value], 'x': [1e300]})


def arrow_missing(value):
    return pytest.importorskip('pyarrow').array([value, None])


def arrow_mixed(value):
    return pytest.importorskip('pyarrow').table({'id': [value], 'x': [1e300]})


@STACKING
@pytest.mark.parametrize(
    'made', [pandas_missing, pandas_mixed, polars_missing, polars_mixed, arrow_missing, arrow_mixed]
)
def test_integers_that_change_where_numpy_makes_an_array_are_refused(function, made):
    small, large = made(5), made(ID)
    np.testing.assert_array_equal(function([small]), np.asarray(small)[None])
    assert message(ValueError, function, [(small,), (large,)]) == (
        f'{function.__name__}: element [0] of item 1, a {type(large).__name__}, has 64-bit integers that are others in'
        ' float64, which numpy makes of it; fill what is missing, or combine each column by itself'
    )


@STACKING
@pytest.mark.filterwarnings('ignore::UserWarning')  # of torch, about some of these being new or old
@pytest.mark.parametrize(
    ('make', 'hint'),
    [
        (lambda torch, x: x.bfloat16(), 'convert it before, by `.float()`'),
        (lambda torch, x: x.to(torch.float8_e4m3fn), 'convert it before, by `.float()`'),
        (lambda torch, x: x.to(torch.complex32), 'convert it before, by `.cfloat()`'),
        (lambda torch, x: x.requires_grad_(), 'convert it before, by `.detach()`'),
        (lambda torch, x: x.to_sparse(), 'convert it before, by `.to_dense()`'),
        (lambda torch, x: x.to_sparse_csr().requires_grad_(), 'convert it before, by `.detach().to_dense()`'),
        (lambda torch, x: torch.quantize_per_tensor(x, 1.0, 0, torch.quint8), 'convert it before, by `.dequantize()`'),
        (lambda torch, x: x.to('meta'), 'it has no values'),
        (lambda torch, x: x.cfloat().conj(), 'convert it before'),
    ],
)  # fmt: skip
def test_tensors_that_numpy_does_not_take_are_refused_with_their_place(function, make, hint):
    torch = pytest.importorskip('torch')
    tensor = make(torch, torch.eye(2))
    with pytest.raises((TypeError, RuntimeError)) as of_numpy:
        np.asarray(tensor)
    why = f'{type(of_numpy.value).__name__}: {of_numpy.value}'
    items = [{'image': torch.eye(2), 'emb': x} for x in (torch.eye(2), tensor)]
    assert message(TypeError, function, items) == (
        f"{function.__name__}: element ['emb'] of item 1, a Tensor, cannot be made an array ({why}); {hint}"
    )


def test_the_hints_for_tensors_work():
    torch = pytest.importorskip('torch')
    assert_same(combine([torch.eye(2).bfloat16().float()] * 2), np.stack([np.eye(2, dtype='f4')] * 2))
    assert_same(combine([torch.eye(2).requires_grad_().detach()] * 2), np.stack([np.eye(2, dtype='f4')] * 2))
