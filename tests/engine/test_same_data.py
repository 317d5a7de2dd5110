"""Other data than that of a state is noticed, and data that was appended is taken in at the next pass."""

import pickle
from collections import deque
from pathlib import PurePosixPath

import numpy as np
import pytest
from running import raises, through_json
from signing import signed

from itpipe import (
    Infinite,
    cache,
    concat,
    explain,
    load_by_random_id,
    merge_states,
    mix,
    parallel_map,
    sample,
    shuffle,
    split,
    stream,
    with_rng,
)
from itpipe._core.part import Part
from itpipe._engine.same_data import count_in, data_difference, data_text, is_data_text

OTHER = '`state` is that of other data, '
APPEND = '; with `append=True`, the new ones come from the next pass on'


class Dear:
    """A dataset whose items are not looked up before they are asked for."""

    def __init__(self, count):
        self.count, self.read = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        return index * index


class Together(Dear):
    def __getitems__(self, indices):
        return [self[index] for index in indices]


class Silent(Dear):
    def __len__(self):
        raise RuntimeError('the index is being built')


def text(data):
    return data_text(stream(data).source)


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ([1, 2, 3], [1, 2, 4]),
        ([1, 2, 3], [1, 3, 2]),
        ('abc', 'abd'),
        (['a', 'b'], ['a', b'b']),
        (np.arange(6).reshape(3, 2), np.arange(1, 7).reshape(3, 2)),
        (np.zeros((3, 2)), np.zeros((3, 3))),
        ([(1, {'x': 2})], [(1, {'x': 3})]),
        ([(1, {'x': 2})], [(1, {'y': 2})]),
        ([(1, 2)], [(1, 2, 3)]),
        ([{'path': 'a/1.png'}], [{'path': 'a/2.png'}]),
        (range(100), range(0, 200, 2)),
    ],
)
def test_other_items_make_other_data(one, other):
    assert data_difference(text(one), text(other)) is not None
    assert data_difference(text(one), text(one)) is None


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        ([1, 2, 3], np.array([1, 2, 3], 'i2')),
        (range(5), list(range(5))),
        (np.ones(3), np.ones(3) + 1e-16),
        ([{'x': 0.1, 'y': 1}], [{'y': 1, 'x': 0.1 + 1e-17}]),
        (['/scratch/a/1.png'], ['s3://b/1.png']),
        ([PurePosixPath('/scratch/a/1.png')], ['C:\\a\\1.png']),
        ([1, object()], [2, object()]),
        (Dear(5), [0, 1, 4, 9, 16]),
    ],
)
def test_what_may_differ_on_another_machine_or_is_not_known_is_not_compared(one, other):
    assert data_difference(text(one), text(other)) is None


def test_what_is_known():
    dear = Dear(7)
    assert text(dear) == '7 items'
    assert dear.read == []
    assert text([]) == '0 items'
    assert text(split(range(10), [0.5, 0.5])[0]).startswith('5 items, ')
    for unknown in (iter('ab'), (x for x in 'ab'), {1, 2}, Silent(3), {'a': 1}.items()):
        assert text(unknown) == ''
    assert data_text((stream(dear) | shuffle()).source) == '7 items'
    assert data_text((stream(dear, seed=1) | cache('memory')).source) == '7 items'
    assert data_text(load_by_random_id(str, ids='abc').source) == '3 items'
    assert data_text(sample('abc').source).startswith('3 items, ')
    lines = data_text((stream(dear) | concat(iter('ab'), mix(dear, Dear(2)))).source).split('\n')
    assert lines == ['7 items', '', '7 items', '2 items']
    assert count_in('7 items, 0123abcd') == 7
    assert count_in('7 items\n7 items') is count_in('') is None
    assert all(map(is_data_text, ['', '0 items', '7 items\n\n12 items, 0123abcd']))
    assert not any(map(is_data_text, [None, 7, 'x', '07 items', '7 items, 0123ABCD', '7 items, 1', '7 items ']))


def state_of(made, batches=1):
    with Infinite(made, seed=0) as batch_iter:
        epoch = iter(batch_iter)
        for _ in range(batches):
            next(epoch)
        return through_json(batch_iter.state_dict())


def test_the_error_says_what_differs_and_what_would_help():
    state = state_of(range(100))
    batch_iter = Infinite(range(90), seed=0)
    with raises(
        ValueError,
        f'Infinite.load_state_dict: {OTHER}which has 100 items where this one has 90; in the middle of a pass, the'
        ' number has to be the same',
    ):
        batch_iter.load_state_dict(state)
    for make in (stream, lambda data: stream(data) | shuffle()):
        state = state_of(make(range(100)))
        for strict in (True, False):
            with raises(
                ValueError, f'Infinite.load_state_dict: {OTHER}which has 100 items where this one has 110{APPEND}'
            ):
                Infinite(make(range(110)), seed=0).load_state_dict(state, strict=strict)
    state = state_of(range(100))
    others = Infinite(range(1, 101), seed=0)
    with raises(
        ValueError,
        f'Infinite.load_state_dict: {OTHER}in which one of the items 0, 25, 50, 74 and 99 is another one; with'
        ' `strict=False`, this one goes on there',
    ):
        others.load_state_dict(state)
    others.load_state_dict(state, strict=False)
    with others:
        assert next(others()) == 2


def test_between_two_passes_other_data_is_taken_if_asked_for():
    state = state_of([1, 2], batches=0)
    with raises(
        ValueError,
        f'Infinite.load_state_dict: {OTHER}which has 2 items where this one has 1;'
        ' with `strict=False`, this one goes on there',
    ):
        Infinite([5], seed=0).load_state_dict(state)
    with Infinite([5], seed=0) as batch_iter:
        batch_iter.load_state_dict(state, strict=False)
        assert list(batch_iter) == [5]
    with Infinite([1, 2, 3], seed=0) as batch_iter:
        with raises(ValueError, f'Infinite.load_state_dict: {OTHER}which has 2 items where this one has 3{APPEND}'):
            batch_iter.load_state_dict(state)
        batch_iter.load_state_dict(state, append=True)
        assert list(batch_iter) == [1, 2, 3]


def test_a_state_from_before_states_knew_of_the_data_goes_on_with_any():
    state = state_of(range(5))
    del state['data']
    with Infinite([10, 20, 30], seed=0) as batch_iter:
        batch_iter.load_state_dict(signed(state))
        assert list(batch_iter) == [20, 30]


def test_ranks_must_have_the_same_data():
    states = []
    for rank in range(2):
        with Infinite(range(8 + rank), batch_size=2, shard=(rank, 2)) as batch_iter:
            next(batch_iter())
            states.append(batch_iter.state_dict())
    with raises(
        ValueError,
        'merge_states: `states[1]` is that of other data than `states[0]`, which has 9 items where this one has 8',
    ):
        merge_states(states)


def noisy(x, rng):
    return x, rng.random()


GROWING = [
    lambda data: stream(data),
    lambda data: stream(data) | shuffle(),
    lambda data: stream(stream(data) | shuffle(), seed=3) | shuffle(4),
    lambda data: stream(data) | shuffle() | parallel_map(with_rng(noisy), threads=2),
    lambda data: stream(data) | shuffle(5) | parallel_map(with_rng(noisy), threads=2),
    lambda data: stream(data) | cache('memory') | with_rng(noisy),
]


@pytest.mark.parametrize('make', GROWING, ids=['plain', 'shuffled', 'seeded', 'looked up', 'buffer', 'cached'])
@pytest.mark.parametrize(
    ('old', 'new'),
    [
        (range(20), range(29)),
        (np.arange(20), np.arange(29)),
        (deque(range(20)), deque(range(29))),
        (Dear(20), Dear(29)),
        (Together(20), Together(29)),
        (Part(Dear(50), np.arange(0, 40, 2)), Part(Dear(50), np.arange(0, 50, 2))),
    ],
    ids=['range', 'array', 'deque', 'dear', 'together', 'part'],
)
@pytest.mark.parametrize('taken', [0, 2, 7])
def test_appended_items_come_from_the_next_pass_on(make, old, new, taken):
    """The rest of the pass is that of the run that was stopped; all later passes are those of a run with all items."""
    with Infinite(make(old), batch_size=3, seed=0) as before:
        epoch = iter(before)
        for _ in range(taken):
            next(epoch)
        state = through_json(before.state_dict())
        rest = repr(list(epoch))
    with Infinite(make(new), batch_size=3, seed=0) as whole:
        passes = [repr(list(whole)) for _ in range(3)]
    with Infinite(make(new), batch_size=3, seed=0) as after:
        after.load_state_dict(state, append=True)
        assert repr(list(after)) == (rest if taken else passes[0])
        assert [repr(list(after)) for _ in range(2)] == passes[1:]


def test_a_run_that_took_items_in_can_be_stopped_at_any_batch():
    def training(count):
        return Infinite(stream(Dear(count)) | shuffle() | shuffle(3), batch_size=2, seed=0)

    with training(7) as batch_iter:
        next(batch_iter())
        state = batch_iter.state_dict()
    with training(10) as batch_iter:
        batch_iter.load_state_dict(state, append=True)
        assert batch_iter.state_dict() == state
        states, batches = [], []
        for _ in range(3):
            for batch in batch_iter:
                batches.append(batch.tolist())
                states.append(through_json(batch_iter.state_dict()))
    assert [state['data'] for state in states] == ['7 items'] * 3 + ['10 items'] * 10
    for taken, state in enumerate(states, 1):
        with training(10) as batch_iter:
            batch_iter.load_state_dict(state, append=True)  # which changes nothing in later passes
            found = [batch.tolist() for _ in range(3) for batch in batch_iter]
        left = len(batches) - taken
        assert found[:left] == batches[taken:]


def test_items_of_the_rest_of_the_pass_are_made_again_as_they_were():
    def training(count):
        return Infinite(stream(range(count)) | shuffle() | with_rng(noisy), batch_size=2, seed=0)

    with training(8) as batch_iter:
        epoch = iter(batch_iter)
        next(epoch)
        state = batch_iter.state_dict()
        expected, indices = next(epoch), batch_iter.indices
    with training(12) as batch_iter:
        batch_iter.load_state_dict(state, append=True)
        copied = pickle.loads(pickle.dumps(batch_iter))
        numbers, _ = found = next(batch_iter())
        assert repr(found) == repr(expected)
        assert batch_iter.indices == indices
        assert [batch_iter.item(key)[0] for key in batch_iter.item_keys] == numbers.tolist()
        assert str(numbers[1]) in str(explain(batch_iter, 1))
    with copied:
        assert repr(next(copied())) == repr(expected)


def test_a_stream_resumes_with_the_items_that_there_were():
    letters = stream('abcdef', seed=0) | shuffle()
    run = iter(letters)
    got = [next(run), next(run)]
    more = stream('abcdefghi', seed=0) | shuffle()
    again = more.resume(run.state_dict(), append=True)
    got.append(next(again))
    state = again.state_dict()
    got += more.resume(state, append=True)
    assert got == list(letters)


def test_ranks_take_in_what_was_appended():
    def training(count, rank, ranks):
        return Infinite(stream(range(count)) | shuffle(), batch_size=1, seed=0, shard=(rank, ranks))

    states, got = [], []
    for rank in range(2):
        with training(8, rank, 2) as batch_iter:
            got.append(next(batch_iter()).item())
            states.append(batch_iter.state_dict())
    with training(11, 0, 1) as batch_iter:
        batch_iter.load_state_dict(merge_states(states), append=True)
        got += [batch.item() for batch in batch_iter]
        assert sorted(got) == list(range(8))
        assert sorted(batch.item() for batch in batch_iter) == list(range(11))


SINGLE = '`append=True` is for one source with a length and an index: `stream(data)`, with or without `shuffle()`, got '
ENDLESS = (
    '`append=True` does not go with sample(range(0, 9), replace=False), which draws without end: there is no next pass,'
    ' with which the new items could come; `stream(data) | shuffle()` has passes'
)
REFUSED = {
    'sample': (lambda n: sample(range(n), replace=False), ENDLESS),
    'concat': (lambda n: stream(range(n)) | concat(range(n)), SINGLE + 'range(0, 9) | concat(range(0, 9))'),
    'reread': (lambda n: stream(range(n), reread=True), SINGLE + 'stream(range(0, 9), reread=True)'),
    'other': (
        lambda n: range(n, 2 * n),
        OTHER
        + 'in which one of the items 0, 2, 4, 5 and 7 is another one; with `strict=False`, this one goes on there',
    ),
}


@pytest.mark.parametrize(('make', 'message'), REFUSED.values(), ids=REFUSED)
def test_where_it_cannot_be_exact_it_is_refused(make, message):
    state = state_of(make(8))
    with raises(ValueError, f'Infinite.load_state_dict: {message}'):
        Infinite(make(9), seed=0).load_state_dict(state, append=True)


def test_a_record_is_of_one_pipeline(tmp_path):
    state = state_of(range(5))
    with Infinite(range(6), seed=0, record=tmp_path / 'run.log') as batch_iter:
        with raises(
            ValueError,
            'Infinite.load_state_dict: `append=True` does not go with `record` in the middle of a pass, as a record is'
            ' of one pipeline; record from the next pass on',
        ):
            batch_iter.load_state_dict(state, append=True)
        batch_iter.load_state_dict(state_of(range(5), batches=0), append=True)
        assert list(batch_iter) == list(range(6))


def test_append_is_true_or_false():
    state = state_of(range(5))
    with raises(TypeError, 'Infinite.load_state_dict: `append` must be True or False, got int'):
        Infinite(range(5), seed=0).load_state_dict(state, append=1)
    with raises(TypeError, 'Stream.resume: `append` must be True or False, got int'):
        stream(range(5), seed=0).resume(state, append=1)
