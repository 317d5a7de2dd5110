"""The kinds of steps: what each can be, and what is refused when it is made."""

import copy
import json
import math

import hypothesis.strategies as st
import pytest
from hypothesis import given
from running import raises

from itpipe._core.keys import Batch
from itpipe._core.steps import HIDDEN, Expanding, Grouping, Opaque, Stateful, Stateless, in_order, is_json


def work(items, *options):
    yield from items


def is_key(key):
    return key in range(9)


@pytest.mark.parametrize(
    ('step', 'key', 'origins'),
    [
        (Stateless('s', work), 5, (5,)),
        (Stateless('s', work, gives='same'), 5, (5,)),
        (Stateless('s', work, gives='lists'), Batch((3, 5)), (3, 5)),
        (Expanding('s', work), (5, 2), (5,)),
        (Stateful('s', work, state={'t': 0}, gives='same'), 5, (5,)),
        (Stateful('s', work, state={'slots': []}, gives='repeated'), (5, 2), (5,)),
    ],
)
def test_a_kind_knows_its_keys(step, key, origins):
    assert tuple(step.origins(key)) == origins
    assert step.has_key(key, is_key)
    assert not any(step.has_key(other, is_key) for other in (9, (9, 0), Batch((3, 9)), 'x'))
    assert step.same_key == (key == 5)


def test_of_an_opaque_step_keys_are_numbers():
    step = Opaque('s', work)
    assert [step.has_key(key, is_key) for key in (0, 1000, -1, (5, 0), Batch((1,)))] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert (step.positional, step.remembers, step.same_key) == (True, True, False)


def test_what_puts_items_together_has_their_keys():
    lists, rows = Grouping('s', work, state={'n': 0}), Grouping('s', work, state={'n': 0}, again=work)
    pairs = (Batch((1, 2)), 5), ((1, 2), 5)  # as it is, and from JSON
    keys = [Batch((1, 2)), *pairs, Batch(((1, 0),)), (Batch(()), 5), 1]
    assert [lists.has_key(key, is_key) for key in keys] == [True, False, False, False, False, False]
    assert [rows.has_key(key, is_key) for key in keys] == [False, True, True, False, False, False]
    assert [lists.origins(keys[0]), *map(rows.origins, pairs)] == [(1, 2)] * 3
    assert not lists.numbers
    assert (lists.positional, lists.remembers, lists.same_key, lists.from_beginning) == (True, True, False, False)


@pytest.mark.parametrize(
    ('kind', 'fields', 'error', 'message'),
    [
        (
            Stateless, {'gives': 'x'}, ValueError,
            "`gives` must be one of 'results', 'same', 'lists', got 'x'",
        ),
        (
            Stateless, {'gives': 'lists', 'itemwise': True}, ValueError,
            "`itemwise` does not go with `gives='lists'`, as items do not keep their keys",
        ),
        (
            Stateful, {'gives': 'lists', 'state': {'t': 0}}, ValueError,
            "`gives` must be one of 'same', 'repeated', 'parts', 'results', got 'lists'",
        ),
        (Stateful, {'gives': 'same', 'state': {}}, TypeError, '`state` must be a dict with what it remembers, got {}'),
        (
            Stateful, {'gives': 'same', 'state': [1]}, TypeError,
            '`state` must be a dict with what it remembers, got [1]',
        ),
        (
            Stateful, {'gives': 'same', 'state': {'last': (0, 'a')}}, TypeError,
            "`state` must be JSON, got (0, 'a') for 'last'; items go into its 'slots'",
        ),
        (
            Stateful, {'gives': 'same', 'state': {5: 0}}, TypeError,
            "`state` must be JSON, got 0 for 5; items go into its 'slots'",
        ),
        (
            Stateful, {'gives': 'same', 'state': {'slots': [3]}}, ValueError,
            "`state` must begin with [] for 'slots', beside 'slots', got {'slots': [3]}",
        ),
        (
            Stateful, {'gives': 'same', 'state': {'n': []}, 'beside': ('n',)}, ValueError,
            "`state` must begin with [] for 'n', beside 'slots', got {'n': []}",
        ),
        (
            Stateful, {'gives': 'same', 'state': {'slots': []}, 'clock': ('t',)}, ValueError,
            "`state` must begin with a number for each `clock`, got {'slots': []}",
        ),
        (
            Stateful, {'gives': 'same', 'state': {'ended': False}}, ValueError,
            "`state` must not have 'ended', which says that there are no more items",
        ),
        (
            Stateful, {'gives': 'results', 'state': {'slots': []}}, ValueError,
            "`gives='results'` needs `replay`, as it cannot be run again on keys alone",
        ),
        (
            Stateful, {'gives': 'parts', 'state': {'slots': []}, 'again': dict}, ValueError,
            "`gives='parts'` needs `replay`, as it cannot be run again on keys alone",
        ),
        (
            Stateful, {'gives': 'parts', 'state': {'slots': []}, 'replay': work}, ValueError,
            "`gives='parts'` needs `again`, and nothing else does",
        ),
        (
            Stateful, {'gives': 'same', 'state': {'slots': []}, 'again': dict}, ValueError,
            "`gives='parts'` needs `again`, and nothing else does",
        ),
        (
            Stateful, {'gives': 'same', 'state': {'slots': []}, 'itemwise': True}, ValueError,
            "`itemwise` goes with `gives='results'` only",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_when_the_step_is_made(kind, fields, error, message):
    with raises(error, f's: the step cannot be {kind.__name__}: {message}'):
        kind('s', work, **fields)


@pytest.mark.parametrize('kind', [Stateless, Expanding, Opaque])
def test_who_remembers_nothing_takes_no_state(kind):
    with pytest.raises(TypeError, match='state'):
        kind('s', work, state={'t': 0})


@pytest.mark.parametrize(
    'look', [bool, len, iter, hash, lambda v: v == 3, lambda v: v != 3, lambda v: v[0], lambda v: v.x, lambda v: v()]
)
def test_nobody_looks_at_a_hidden_value(look):
    with raises(TypeError, 'a stateful step looks at a value, but what it does may depend on keys and its state only'):
        look(HIDDEN)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)


@given(json_values)
def test_what_json_can_hold(value):
    assert is_json(value)
    ordered = in_order(copy.deepcopy(value))
    assert ordered == value
    assert json.dumps(ordered) == json.dumps(value, sort_keys=True)
    assert json.loads(json.dumps(ordered)) == value


@pytest.mark.parametrize('value', [(1, 2), {1: 2}, {'a': {2}}, [b'x'], math.nan, [math.inf], 1j, object()])
def test_what_json_does_not_give_back(value):
    assert not is_json(value)
