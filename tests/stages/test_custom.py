"""Stages of a user's own that have a state: they go on in the middle, exactly, and wrong use is named."""

import gc
import itertools
import json
import pickle
import subprocess
import sys
import weakref
from unittest import mock

import numpy as np
import pytest
from running import ROOT, raises, through_json
from signing import signed

from itpipe import (
    Infinite,
    apply,
    batch_by,
    filter_by,
    flatten,
    merge_states,
    mix,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shard,
    shuffle,
    stage,
    stream,
    take,
    with_rng,
)


@stage(state={'slots': [], 'offset': 0})
def pack(items, state, length):
    slots = state['slots']
    for tokens in items:
        slots.append(tokens)
        while sum(map(len, slots)) - state['offset'] >= length:
            yield np.concatenate(slots)[state['offset'] :][:length].tolist()
            state['offset'] += length
            while slots and state['offset'] >= len(slots[0]):
                state['offset'] -= len(slots.pop(0))


@stage(state={'slots': [], 'count': 0})
def late(items, state, size=4):
    """Each item waits for a while; several come of one, and some at the end."""
    for item in items:
        state['slots'].append(item)
        state['count'] += 1
        if len(state['slots']) > size:
            yield state['count']
            yield state['slots'].pop(state['count'] % size)
    while state['slots']:
        yield state['slots'].pop()
    yield state['count']


@stage(state={'seen': {'last': None}})
def changes(items, state):
    """The items that differ from the one before; the first is one behind a header."""
    if state['seen']['last'] is None:
        yield 'header'
    for item in items:
        if item != state['seen']['last']:
            state['seen'] = {'last': item}
            yield item


@stage(state={'slots': [], 'count': 0})
def first(items, state, n):
    while state['count'] < n and (item := next(items, None)) is not None:
        state['count'] += 1
        yield item


def tokens(n):
    return np.arange(100 * n, 100 * n + n % 7 + 1)


def noisy(x, rng):
    return x, rng.integers(1000)


def rounded(n):
    return n // 3


def is_odd(n):
    return n % 2


def identity(x):
    return x


def numbers(n=60):
    return stream(range(n), seed=0)


PIPELINES = {
    'packer': lambda: numbers() | tokens | pack(10),
    'packer before shuffle': lambda: numbers() | tokens | pack(10) | shuffle(5),
    'packer behind shuffle': lambda: numbers() | shuffle(8) | tokens | pack(10) | batch_by(2),
    'packer between shuffles': lambda: numbers() | tokens | shuffle(8) | pack(7) | shuffle(5) | batch_by(2),
    'several of one': lambda: numbers(40) | late(),
    'behind parts': lambda: numbers(20) | apply(lambda n: [n] * (n % 3)) | flatten | late(3) | shuffle(4),
    'before parts': lambda: numbers(20) | late() | apply(lambda n: [n, -n]) | flatten | shuffle(3),
    'before batches by a rule': lambda: numbers(40) | late() | batch_by(lambda xs, x: x > xs[-1]) | shuffle(3),
    'two in a row': lambda: numbers() | tokens | pack(9) | late(3) | reuse(3, 2),
    'three in a row': lambda: numbers(30) | late(2) | late(3) | late(4) | shuffle(2),
    'no slots': lambda: numbers() | apply(rounded) | changes(),
    'no slots before shuffle': lambda: numbers() | apply(rounded) | changes() | shuffle(4),
    'ends early': lambda: numbers() | first(17) | shuffle(3),
    'random behind it': lambda: numbers() | late() | with_rng(noisy) | shuffle(3),
    'random before it': lambda: numbers() | with_rng(noisy) | late() | shuffle(3),
    'what is left out': lambda: numbers() | filter_by(is_odd) | late() | filter_by(is_odd) | shuffle(3),
    'sampled': lambda: sample(range(9), seed=0, replace=False) | late() | shuffle(3) | take(50),
    'with prefetch': lambda: numbers() | prefetch(3) | late() | prefetch(2) | shuffle(3),
    'in a mix': lambda: mix(numbers() | late() | shuffle(3), numbers(9) | late(2), seed=1) | shuffle(4),
    'before a mapping': lambda: numbers() | late() | parallel_map(identity, threads=2) | shuffle(3),
    'none': lambda: numbers(0) | late(),
    'fewer than it holds': lambda: numbers(3) | late() | shuffle(2),
}

each_pipeline = pytest.mark.parametrize('name', PIPELINES)


@pytest.mark.many(20)
@each_pipeline
@pytest.mark.parametrize('every', [1, 256])
def test_a_run_goes_on_wherever_it_stopped_and_again(name, every):
    """Two times in a row, also behind the last item."""
    made = PIPELINES[name]
    whole = list(made())
    with mock.patch('itpipe._engine.chain.COMMIT_EVERY', every):
        for stop in range(len(whole) + 1):
            run = iter(made())
            assert list(itertools.islice(run, stop)) == whole[:stop]
            for _ in range(stop == len(whole)):
                assert next(run, None) is None
            second = made().resume(through_json(run.state_dict()))
            more = stop + 3 + stop % 7
            assert list(itertools.islice(second, more - stop)) == whole[stop:more]
            assert list(made().resume(through_json(second.state_dict()))) == whole[more:]


@each_pipeline
def test_a_state_without_a_step_between_is_the_same(name):
    made = PIPELINES[name]
    run = iter(made())
    list(itertools.islice(run, 9))
    state = through_json(run.state_dict())
    assert through_json(made().resume(state).state_dict()) == state


def test_the_names_of_its_fields_may_be_in_any_order_where_a_run_goes_on():
    @stage(state={'total': 0, 'last': 0})
    def totals(values, state):
        for value in values:
            state['total'] += value
            yield state['total']

    run = iter([1, 2, 3] | totals)
    assert next(run) == 1
    assert list(([1, 2, 3] | totals).resume(through_json(run.state_dict()))) == [3, 6]


@pytest.mark.parametrize('name', ['packer between shuffles', 'several of one', 'two in a row'])
def test_a_state_may_be_taken_while_the_run_is_ahead(name):
    made = PIPELINES[name]
    whole = list(made())
    with Infinite(made(), prefetch=6) as it:
        for count, _ in enumerate(itertools.islice(it, len(whole) - 1), 1):
            state = through_json(it.state_dict())
            assert list(made().resume(state)) == whole[count:]


def test_a_packer_goes_on_in_the_middle_without_reading_from_the_beginning():
    read = []

    class Data:
        def __len__(self):
            return 1000

        def __getitem__(self, n):
            read.append(n)
            return tokens(n)

    described = stream(Data(), seed=0) | pack(16) | batch_by(4)
    run = iter(described)
    expected = list(run)
    run = iter(described)
    for _ in range(50):
        next(run)
    state = through_json(run.state_dict())
    assert len(json.dumps(state)) < 700
    read.clear()
    assert list(described.resume(state)) == expected[50:]
    assert read[0] > 700


def test_it_goes_on_in_processes_and_in_another_interpreter(tmp_path):
    script = """
from test_custom import *
def made(**workers):
    described = numbers() | tokens | parallel_map(identity, **workers) | pack(10)
    return described | parallel_map(identity, **workers) | shuffle(4)
if __name__ == '__main__':
    run = iter(made(processes=2))
    begun = list(itertools.islice(run, 9))
    state = run.state_dict()
    run.close()
    print(json.dumps([state, begun]))
"""
    path = tmp_path / 'script.py'
    path.write_text(script)
    env = {'PYTHONPATH': f'{ROOT}:{ROOT}/tests/support:{ROOT}/tests/stages'}
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, env=env, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    state, begun = json.loads(done.stdout)
    described = numbers() | tokens | apply(identity) | pack(10) | apply(identity) | shuffle(4)
    assert begun + list(described.resume(state)) == list(described)


# ---------------------------------------------------------------------------------------------------------------------
# What it costs


def test_the_state_is_copied_as_seldom_as_there_are_many_slots():
    described = numbers(4000) | late(200)
    run = iter(described)
    operator = run._chain.operators[-1]
    with mock.patch.object(operator, '_copy', side_effect=operator._copy) as copies:
        assert len(list(run)) == 2 * 3800 + 201
    assert copies.call_count < 4000 / 200 + 8


def test_the_state_is_copied_as_seldom_as_there_is_much_in_other_fields():
    @stage(state={'seen': {'ids': []}})
    def unseen(items, state):
        seen = state['seen']['ids']
        for item in items:
            if item % 400 not in seen:
                seen.append(item % 400)
            yield item

    run = iter(numbers(4000) | unseen())
    operator = run._chain.operators[-1]
    with mock.patch.object(operator, '_copy', side_effect=operator._copy) as copies:
        list(run)
    assert copies.call_count < 200
    assert list((numbers(4000) | unseen()).resume(through_json(run.state_dict()))) == []


def test_what_the_consumer_has_is_forgotten():
    run = iter(numbers(5000) | late(3) | shuffle(5) | batch_by(2))
    user = run._chain.operators[0]
    for _ in range(3000):
        next(run)
    run.state_dict()
    assert len(user._segments) < 10
    assert sum(len(segment.keys) for segment in user._segments) < 60


def test_without_slots_no_item_is_held_but_the_last():
    class Item:
        pass

    def items():
        for _ in range(50):
            made.append(weakref.ref(item := Item()))
            yield item
            del item

    @stage(state={'count': 0})
    def counted(items, state):
        for item in items:
            state['count'] += 1
            del item
            yield sum(ref() is not None for ref in made)

    made = []
    assert list(items() | counted()) == [1] * 50


def test_it_is_forgotten_as_seldom_as_there_is_much_to_keep():
    run = iter(numbers(20_000) | late(1) | shuffle(3000))
    user = run._chain.operators[0]
    with mock.patch('itpipe._engine.chain.MAX_LOG', 1000), mock.patch.object(run._chain, '_forget') as forgets:
        forgets.side_effect = type(run._chain)._forget.__get__(run._chain)
        for _ in range(10_000):
            next(run)
    assert forgets.call_count < 10
    assert len(user._segments) < 3 * 3000 + 1000


def test_without_outputs_the_log_stays_short():
    @stage(state={'slots': [], 'total': 0})
    def total(items, state):
        for item in items:
            state['total'] += item
        yield state['total']

    run = iter(numbers(3000) | total())
    assert list(run) == [sum(range(3000))]
    assert len(run._chain.operators[0]._segments) < 4


def test_values_are_let_go():
    class Value:
        pass

    alive = weakref.WeakSet()

    def made(n):
        alive.add(value := Value())
        return value

    for index, _ in enumerate(numbers(300) | made | late(5) | shuffle(3)):
        if index % 50 == 0:
            gc.collect()
            assert len(alive) < 25


def test_an_item_can_be_made_again():
    described = numbers() | tokens | pack(10)
    assert [described.item(n) for n in (0, 5)] == [list(described)[n] for n in (0, 5)]


# ---------------------------------------------------------------------------------------------------------------------
# Ranks


def test_before_shard_any_number_of_ranks_goes_on():
    described = numbers(90) | tokens | pack(10) | shuffle(4)
    whole = sorted(map(tuple, described))
    got, states = [], []
    for rank in range(3):
        with Infinite(described, shard=(rank, 3), even='keep', prefetch=0) as it:
            got += itertools.islice(it, 4 + rank)
            states.append(through_json(it.state_dict()))
    merged = through_json(merge_states(states))
    for rank in range(2):
        with Infinite(described, shard=(rank, 2), even='keep', prefetch=0) as it:
            it.load_state_dict(merged)
            got += list(it)
    assert sorted(map(tuple, got)) == whole


def test_behind_shard_a_rank_goes_on_by_itself_only():
    states = []
    for rank in range(2):
        described = numbers() | shard(rank, 2) | late()
        run = iter(described)
        begun = list(itertools.islice(run, 5))
        states.append(through_json(run.state_dict()))
        assert begun + list(described.resume(states[-1])) == list(described)
    with raises(
        ValueError,
        'merge_states: `states` cannot be merged: behind `shard` there is a step that counts the items of its rank'
        ' (`take`, `skip`, `bucket_by`, `pack`, or a `stage` of your own), which says nothing of another number of'
        ' ranks',
    ):
        merge_states(states)


# ---------------------------------------------------------------------------------------------------------------------
# It is a stage as others


def test_it_prints_compares_and_pickles():
    assert repr(pack(5)) == 'pack(5)'
    assert pack(5) == pack(5)
    assert pack(5) != pack(6)
    assert pickle.loads(pickle.dumps(pack(5))) == pack(5)


def test_each_run_begins_with_a_state_of_its_own():
    described = numbers(9) | late(2)
    assert list(described) == list(described)
    assert late.state == {'slots': [], 'count': 0}


def test_arguments_are_checked_when_it_is_called():
    with raises(TypeError, "pack: missing a required argument: 'length'"):
        pack()

    @stage(state={'last': 0})
    def late_state(items, size, *, state):
        yield from items

    message = '; `state` must be the second parameter of its function, as it is given behind the items'
    with raises(TypeError, f'late_state: too many positional arguments{message}'):
        late_state(3)


def test_a_forgotten_call_is_named():
    with raises(TypeError, '`stage` makes a stage when it is called: did you mean `stage(…)`?'):
        numbers() | stage


def test_it_is_closed_when_the_run_is():
    closed = []

    @stage(state={})
    def closing(items, state):
        try:
            yield from items
        finally:
            closed.append(True)

    run = iter(numbers() | closing())
    next(run)
    assert not closed
    run.close()
    assert closed == [True]


def test_its_errors_say_where_they_come_from():
    @stage(state={'n': 0})
    def failing(items, state):
        for item in items:
            yield 1 / (item - 2)

    with raises(ZeroDivisionError, 'division by zero', 'itpipe: raised in failing(), item 2'):
        list(numbers() | failing())


# ---------------------------------------------------------------------------------------------------------------------
# Wrong use


@pytest.mark.parametrize('state', [[], 5, {'x': (1, 2)}, {1: 2}, {'slots': [1]}, {'slots': 3}, {'x': float('nan')}])
def test_a_state_that_cannot_be_one(state):
    with raises(TypeError, f"stage: `state` must be a dict of JSON, in which 'slots', if any, is [], got {state!r}"):
        stage(state=state)


def test_neither_function_nor_state():
    with raises(TypeError, 'stage: give the generator function, or its `state`'):
        stage()


def fails(made, error, message):
    with raises(error, message, mock.ANY):
        list(itertools.islice(numbers() | made, 20))


def test_what_json_cannot_hold():
    @stage(state={'last': None})
    def last(items, state):
        for item in items:
            state['last'] = (item, item)
            yield item

    fails(
        last(),
        TypeError,
        "last: its state must be JSON, got (0, 0) for 'last'; items that it holds go into its 'slots'",
    )


def test_what_is_no_item_in_a_slot():
    @stage(state={'slots': []})
    def changed(items, state):
        for item in items:
            state['slots'].append((item, 'x'))
            yield item

    fails(
        changed(),
        TypeError,
        "changed: `state['slots']` must hold items as it got them, got (0, 'x');"
        ' what it makes of them goes into other fields, as JSON',
    )


def test_slots_that_nobody_has_declared():
    @stage(state={'n': 0})
    def late_slots(items, state):
        for item in items:
            state['slots'] = [item]
            yield item

    fails(late_slots(), TypeError, "late_slots: its state has 'slots', which it must have from the beginning")


RULE = 'each time that it asks, all that it remembers must be in its state'


def test_an_item_that_is_held_in_a_variable():
    @stage(state={'n': 0})
    def pairs(items, state):
        for one in items:
            state['n'] += 1
            two = next(items, None)
            yield one, two

    line = pairs.function.__code__.co_firstlineno
    fails(
        pairs(),
        RuntimeError,
        f'pairs: in line {line + 4} it asks for an item, but a new one with the same state does so in line {line + 2};'
        f' {RULE}',
    )


def test_what_would_be_given_twice():
    @stage(state={'n': 0})
    def header(items, state):
        yield 'header'
        for item in items:
            state['n'] += 1
            yield item

    line = header.function.__code__.co_firstlineno + 3
    fails(
        header(),
        RuntimeError,
        f'header: in line {line} it asks for an item, but a new one with the same state gives an item first; {RULE}',
    )


def test_what_would_end():
    @stage(state={'done': False})
    def once(items, state):
        if not state['done']:
            state['done'] = True
            yield from items

    line = once.function.__code__.co_firstlineno + 4
    fails(
        once(),
        RuntimeError,
        f'once: in line {line} it asks for an item, but a new one with the same state ends; {RULE}',
    )


def test_a_variable_that_would_be_lost():
    """In the same line, so it goes on; but what it remembers there is lost where another one goes on."""

    @stage(state={'count': 0})
    def sums(items, state):
        total, mean, last, held, shown = 0, 0, None, [], 0
        for item in items:
            state['count'] += 1
            total, mean, last = total + item, np.mean([total, item]), item
            held.append(item)
            yield total, mean, last, held, shown

    with pytest.warns(UserWarning, match='another value') as caught:
        assert len(list(numbers() | sums() | take(9))) == 9
    assert sorted(str(warning.message) for warning in caught) == [
        f'itpipe: sums: when it asks for an item, its variable `{name}` has another value than in a new one with the'
        f' same state; {RULE}'
        for name in ('held', 'last', 'mean', 'total')
    ]


def test_variables_that_are_made_of_the_state():
    @stage(state={'slots': [], 'offset': 0})
    def smoothed(items, state, length):
        slots, offset, weights = state['slots'], state['offset'], np.ones(length)
        for item in items:
            slots.append(item)
            offset = np.int64(offset + 1)
            state['offset'] = int(offset)
            weights[offset % length] = item
            if len(slots) == length:
                yield sum(slots)
                slots.clear()

    assert len(list(itertools.islice(numbers() | smoothed(3), 9))) == 9


@pytest.mark.parametrize(
    ('slots', 'got'), [((), '()'), ({}, '{}'), (None, 'None'), ('ab', "'ab'"), (np.zeros(2), 'array([0., 0.])')]
)
def test_slots_that_are_no_list(slots, got):
    @stage(state={'slots': []})
    def other(items, state):
        for item in items:
            state['slots'] = slots
            yield item

    fails(other(), TypeError, f"other: `state['slots']` must be a list, got {got}")


def test_slots_that_are_gone():
    @stage(state={'slots': []})
    def cleared(items, state):
        for item in items:
            state.clear()
            yield item

    fails(cleared(), TypeError, "cleared: `state['slots']` must be a list, but it is gone")


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'segments': []}, 'an entry of its "steps" has [] for \'segments\''),
        ({'segments': [5]}, 'an entry of its "steps" has a segment 5'),
        ({'own': 5}, 'an entry of its "steps" has 5 for \'own\''),
        ({'start': -1}, 'an entry of its "steps" has segments that do not follow each other'),
        ({'keys': [[0, 0]]}, 'what it says of `late()` cannot be'),
        ({'slots': [900]}, 'what it says of `late()` cannot be'),
        ({'slots': None}, 'not keys'),
    ],
)
def test_a_state_that_is_damaged(change, message):
    described = numbers() | late()
    run = iter(described)
    list(itertools.islice(run, 5))
    state = through_json(run.state_dict())
    (entry,) = state['position']['steps'].values()
    (entry if 'segments' in change else entry['segments'][0]).update(change)
    with raises(ValueError, f'Stream.resume: `state` is damaged: {message}'):
        described.resume(signed(state))


def test_a_stage_that_got_a_state_does_not_take_one_from_before():
    def passed_on(items, *state):
        yield from items

    run = iter(numbers() | stage(passed_on)())
    next(run)
    with raises(ValueError, 'Stream.resume: `state` is damaged: what it says of `passed_on()` cannot be'):
        (numbers() | stage(state={})(passed_on)()).resume(run.state_dict())
