"""The structure of items: containers and their types."""

import os
from collections import OrderedDict, UserDict, defaultdict, namedtuple

import numpy as np
import pytest
from batches import FUNCTIONS, STACKING, Pair, assert_same, message

from itpipe import batch_by, combine, combine_lists, combine_pad, map_at

Point2 = namedtuple('Point2', 'x y')


class Tags(dict):
    pass


class Boxes(list):
    pass


class Size(tuple):  # noqa: SLOT001, it has attributes
    pass


def test_lists_inside_of_items_are_values_of_any_length():
    assert combine_lists([('a', [1]), ('b', [2, 3])]) == (['a', 'b'], [[1], [2, 3]])
    assert combine_lists([{'boxes': []}, {'boxes': [1]}]) == {'boxes': [[], [1]]}


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
        f'item 1 has type other.Tags, but item 0 has type {Tags.__module__}.Tags',
    ),
]  # fmt: skip


@FUNCTIONS
@pytest.mark.parametrize(('items', 'error', 'text'), UNEQUAL)
def test_unequal_structure(function, items, error, text):
    assert message(error, function, items) == f'{function.__name__}: {text}'
