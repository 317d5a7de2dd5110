"""The structure of items: containers and their types."""

import os
import pickle
from collections import OrderedDict, UserDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pytest
from batches import FUNCTIONS, STACKING, Pair, assert_same, message

from itpipe import batch_by, combine, combine_lists, combine_pad, map_at

Point2 = namedtuple('Point2', 'x y')


class Tags(dict):
    pass


class Volume(dict):
    """As an image of TorchIO: its shape is that of one item."""

    @property
    def shape(self):
        x, y = self['data'].shape
        return x, y


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
def test_a_dict_whose_shape_is_that_of_one_item_becomes_a_plain_one(function):
    found = function([{'scan': Volume(data=np.ones((2, 3)), name=name)} for name in 'ab'])
    assert type(found['scan']) is dict
    assert found['scan']['name'] == ['a', 'b']
    assert np.shape(found['scan']['data']) == (2, 2, 3)


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


# ---------------------------------------------------------------------------------------------------------------------
# Classes with fields


@dataclass
class Sample:
    image: Any
    label: int = 0
    names: tuple[str, str] = ('a', 'b')
    shared: ClassVar[int] = 3
    area: int = field(init=False, default=0)

    def __post_init__(self):
        if not isinstance(self.label, int):
            raise TypeError('a label is an int')
        self.area = self.label * 10
        self.other = 'of one item'

    @cached_property
    def double(self):
        return self.label * 2


@dataclass(frozen=True, slots=True)
class Frozen:
    x: Any
    y: Any = field(repr=False, default='y')


class Color(Enum):
    RED = 1


@dataclass
class AsArray:
    data: Any

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.data)


@STACKING
def test_a_batch_of_a_dataclass_is_that_dataclass_made_without_its_init(function):
    items = [Sample(np.full(2, i), i) for i in range(3)]
    assert [item.double for item in items] == [0, 2, 4]
    found = function(items)
    assert type(found) is Sample
    assert found.image.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert_same(found.label, np.arange(3))
    assert found.names == (['a'] * 3, ['b'] * 3)
    assert found.area.tolist() == [0, 10, 20]
    assert found.double.tolist() == [0, 2, 4]
    assert not hasattr(found, 'other')
    assert [item.label for item in items] == [0, 1, 2]


@FUNCTIONS
def test_frozen_dataclasses_with_slots_inside_of_other_structure(function):
    found = function([{'f': Frozen('a', Frozen('b'))}, {'f': Frozen('c', Frozen('d'))}])
    assert found == {'f': Frozen(['a', 'c'], Frozen(['b', 'd'], ['y', 'y']))}
    assert pickle.loads(pickle.dumps(found)) == found


@FUNCTIONS
def test_fields_that_are_not_set_are_like_keys(function):
    unset = object.__new__(Frozen)
    object.__setattr__(unset, 'x', 'a')
    found = function([unset, unset])
    assert found.x == ['a', 'a']
    assert not hasattr(found, 'y')
    assert message(ValueError, function, [{'f': Frozen('a')}, {'f': unset}]) == (
        f"{function.__name__}: element ['f'] of item 1 has fields ['x'], but item 0 has fields ['x', 'y']"
    )


@STACKING
def test_errors_name_the_field(function):
    items = [Frozen(np.ones(2)), Frozen(np.ones((2, 3)))]
    assert message(ValueError, function, items).startswith(
        f"{function.__name__}: element ['x'] of item 1 has shape (2, 3), but item 0 has shape (2,)"
    )
    assert message(TypeError, function, [Frozen('a'), Sample(np.ones(1))]) == (
        f'{function.__name__}: item 1 has type Sample, but item 0 has type Frozen'
    )
    assert message(TypeError, function, [Frozen('a'), 'a']) == (
        f'{function.__name__}: item 1 has type str, but item 0 has type Frozen'
    )


@STACKING
def test_what_is_an_array_or_a_member_of_an_enum_is_a_value(function):
    assert_same(function([AsArray([1, 2]), AsArray([3, 4])]), np.array([[1, 2], [3, 4]]))
    assert function([Color.RED, Color.RED]).tolist() == [Color.RED, Color.RED]
    assert function([Frozen, Frozen]).tolist() == [Frozen, Frozen]


def test_options_of_padding_for_the_fields_of_a_dataclass():
    items = [Frozen(np.ones(1, int), np.ones(1, int)), Frozen(np.ones(2, int), np.ones(2, int))]
    found, shapes = combine_pad(items, padding_values={'y': -1}, ratio=0, lengths=True)
    assert (found.x.tolist(), found.y.tolist()) == ([[1, 0], [1, 1]], [[1, -1], [1, 1]])
    assert (type(shapes), shapes.x.tolist()) == (Frozen, [[1], [2]])
    assert message(ValueError, combine_pad, items, ratio={'z': 0}) == (
        "combine_pad: `ratio` has keys ['z'], but an item has fields ['x', 'y']"
    )


@STACKING
def test_classes_of_attrs(function):
    attrs = pytest.importorskip('attrs')

    @attrs.frozen
    class Row:
        x: int = attrs.field(validator=attrs.validators.instance_of(int))
        _hidden: str = 'h'
        twice: int = attrs.field(init=False)

        def __attrs_post_init__(self):
            object.__setattr__(self, 'twice', 2 * self.x)

    found = function([Row(1), Row(2)])
    assert type(found) is Row
    assert (found.x.tolist(), found._hidden, found.twice.tolist()) == ([1, 2], ['h', 'h'], [2, 4])
    assert list([Row(1)] | map_at(['x', '_hidden'], lambda value: value * 3)) == [Row(3, 'hhh')]


def test_map_at_of_a_field_is_replace():
    items = [Sample('ab', 1), Sample('cd', 2)]
    first, second = items | map_at('label', lambda label: label + 10)
    assert (first.label, first.area, second.area) == (11, 110, 120)
    assert [item.label for item in items] == [1, 2]
    assert list([Frozen(1, 2)] | map_at(['x', 'y'], str)) == [Frozen('1', '2')]
    assert message(KeyError, map_at('z', str).item, Frozen(1)) == (
        repr("map_at: no field 'z' in an item with the fields ['x', 'y']")
    )
