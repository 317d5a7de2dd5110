"""What `combine` and `combine_lists` make of lists of items, and what they have in common with `combine_pad`."""

import pickle
import tracemalloc
from collections import UserDict
from enum import IntEnum

import numpy as np
import pytest
from batches import FUNCTIONS, STACKING, Tensor, assert_same, batches, message, ragged, reference, stacked
from hypothesis import given

from itpipe import Infinite, Stage, apply, batch_by, combine, combine_lists, combine_pad, parallel_map

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
        ([np.ones(3), {1}], 'item 1 has type set, but item 0 has type ndarray'),
        ([{1}, 'a', np.ones(3)], 'item 2 has type ndarray, but item 0 has type set'),
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


# ---------------------------------------------------------------------------------------------------------------------
# Functions for types


class Graph:
    def __init__(self, *nodes):
        self.nodes = nodes

    @staticmethod
    def joined(graphs):
        return Graph(*[node for graph in graphs for node in graph.nodes])


class Tree(Graph):
    pass


class Forest(Tree):
    pass


def largest(values):
    return max(values)


def kind_and_number(values):
    assert type(values) is list
    return type(values[0]).__name__, len(values)


@FUNCTIONS
def test_values_of_a_type_are_given_to_its_function(function):
    items = [('a', {'g': Graph(1)}, 5), ('b', {'g': Graph(2, 3)}, 6)]
    names, graphs, number = function(items, types={Graph: Graph.joined, int: largest})
    assert (names, graphs['g'].nodes, number) == (['a', 'b'], (1, 2, 3), 6)


@FUNCTIONS
def test_a_subclass_goes_to_the_function_of_its_nearest_base(function):
    types = {Graph: Graph.joined, Tree: kind_and_number}
    assert function([Tree(1), Tree(2)], types=types) == ('Tree', 2)
    assert function([Forest(1), Tree(2)], types=types) == ('Forest', 2)
    assert message(TypeError, function, [(Graph(1),), (Tree(2),)], types=types) == (
        f'{function.__name__}: element [0] of item 1 has type Tree, but item 0 has type Graph; `types` has a function'
        ' for one of them, or a different one for each'
    )
    assert message(TypeError, function, [1, Tree(2)], types=types).startswith(
        f'{function.__name__}: item 1 has type Tree, but item 0 has type int; `types` has'
    )


@FUNCTIONS
def test_types_that_are_structure_or_arrays_otherwise(function):
    items = [{'x': [1], 'y': np.ones(1)}, {'x': [2, 3], 'y': np.ones(2)}]
    found = function(items, types={list: kind_and_number, np.ndarray: kind_and_number})
    assert found == {'x': ('list', 2), 'y': ('ndarray', 2)}
    assert function(items, types={dict: len}) == 2


@pytest.mark.parametrize('workers', [{}, {'threads': 2}, {'processes': 1}], ids=str)
def test_the_functions_go_where_the_batches_are_made(workers):
    """Also those of classes that another process cannot import."""

    class Local:
        def __init__(self, x):
            self.x = x

    stage = batch_by(2) | combine(types={Local: lambda values: sum(value.x for value in values)})
    made = apply(Local) | stage
    assert list(range(4) | (parallel_map(made, **workers) if workers else made)) == [1, 5]


def test_the_stage_shows_its_types_and_a_state_knows_them():
    for function in (combine, combine_pad, combine_lists):
        stage = function(types={Graph: largest})
        assert repr(stage) == f'{function.__name__}(types={{Graph: largest}})'
        assert stage == pickle.loads(pickle.dumps(stage)) != function()
    with Infinite(range(4), batch_size=2, combiner=combine, types={int: largest}) as batch_iter:
        assert list(batch_iter) == [1, 3]
        state = batch_iter.state_dict()
    with (
        Infinite(range(4), batch_size=2, combiner=combine) as other,
        pytest.raises(ValueError, match='which has `combine'),
    ):
        other.load_state_dict(state)


@FUNCTIONS
@pytest.mark.parametrize(
    ('types', 'text'),
    [
        ([Graph], 'must be a dict of types and functions, got list'),
        ({'Graph': largest}, "must have types as keys, got 'Graph'"),
        ({Graph: None}, 'must have a function of a list for Graph, got NoneType'),
    ],
)
def test_types_are_checked_at_once(function, types, text):
    assert message(TypeError, function, types=types) == f'{function.__name__}: `types` {text}'


def test_the_lengths_of_what_a_function_makes():
    items = [(np.ones(1), np.ones(2)), (np.ones(3), np.ones(2))]
    (found, number), shapes = combine_pad([(x, {len(x)}) for x, _ in items], types={set: len}, lengths=True)
    assert (found.shape, number, shapes[0].tolist(), shapes[1]) == ((2, 3), 2, [[1], [3]], None)
    assert combine_pad(items, types={np.ndarray: len}, lengths=True) == ((2, 2), (None, None))


# ---------------------------------------------------------------------------------------------------------------------
# Missing values


def test_missing_values():
    items = [
        {'x': np.ones(2), 'n': 1, 't': 'a', 'o': {1}, 'when': None},
        {'x': None, 'n': None, 't': None, 'o': None, 'when': np.datetime64('2000')},
        {'x': np.full(2, 3.0), 'n': 5},
    ]
    batch, there = combine(items, missing=True)
    assert_same(batch['x'], np.array([[1.0, 1], [0, 0], [3, 3]]))
    assert_same(batch['n'], np.array([1, 0, 5]))
    assert batch['t'] == ['a', None, None]
    assert batch['o'].tolist() == [{1}, None, None]
    assert batch['when'].dtype == 'M8[Y]'
    expected = {'x': [1, 0, 1], 'n': [1, 0, 1], 't': [1, 0, 0], 'o': [1, 0, 0], 'when': [0, 1, 0]}
    assert_same(there, {key: np.array(flags, bool) for key, flags in expected.items()})


def test_where_nothing_is_missing_the_batch_is_as_ever():
    items = [(np.ones(2), 1, 'a'), (np.zeros(2), 2, 'b')]
    batch, there = combine(items, missing=True)
    assert_same(batch, combine(items))
    assert_same(there, (np.ones(2, bool),) * 3)


def test_what_is_missing_in_all_items():
    batch, there = combine([(1, None), (2, None)], missing=True)
    assert_same(batch, (np.array([1, 2]), None))
    assert_same(there, (np.ones(2, bool), np.zeros(2, bool)))


def test_missing_structure():
    items = [None, {'box': (1, 2)}, {'box': None}, {'box': (3, None)}]
    batch, there = combine(items, missing=True)
    assert_same(batch, {'box': (np.array([0, 1, 0, 3]), np.array([0, 2, 0, 0]))})
    assert_same(there, {'box': (np.array([0, 1, 0, 1], bool), np.array([0, 1, 0, 0], bool))})


def test_missing_values_of_a_type_with_a_function_or_ragged_ones():
    batch, there = combine([Graph(1), None, Graph(2)], missing=True, types={Graph: Graph.joined})
    assert (batch.nodes, there.tolist()) == ((1, 2), [True, False, True])
    items = [None, {'ids': np.arange(2)}, {}, {'ids': np.arange(3)}]
    batch, there = combine(items, missing=True, ragged={'ids': True})
    assert batch['ids'].values.tolist() == [0, 1, 0, 1, 2]
    assert batch['ids'].offsets.tolist() == [0, 0, 2, 2, 5]
    assert there['ids'].tolist() == [False, True, False, True]


def test_errors_beside_missing_values_name_the_item():
    items = [{'x': np.ones(1)}, {'x': None}, {'x': np.ones(2)}]
    assert message(ValueError, combine, items, missing=True).startswith(
        "combine: element ['x'] of item 2 has shape (2,), but item 0 has shape (1,)"
    )
    assert message(TypeError, combine, items).endswith(
        'item 1 has type NoneType, but item 0 has type ndarray; `missing=True` takes None'
    )
    assert message(TypeError, combine, items, missing=1) == 'combine: `missing` must be True or False, got int'
