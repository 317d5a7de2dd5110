"""Batches of items of similar length."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from running import raises, through_json
from strategies import examples

from itpipe import Infinite, bucket_by, explain, parallel_map, shuffle, stream, with_rng

numbers = st.lists(st.integers(0, 40), max_size=60)
rules = st.one_of(
    st.fixed_dictionaries({}, optional={'size': st.integers(1, 6), 'limit': st.integers(0, 100)}).filter(bool),
    st.fixed_dictionaries({'limit': st.integers(0, 100), 'multiple_of': st.integers(1, 9)}),
)
kinds = st.one_of(
    st.fixed_dictionaries({'edges': st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True).map(sorted)}),
    st.fixed_dictionaries({'window': st.integers(1, 20)}),
)


def itself(item):
    return item


@given(numbers, kinds, rules)
@examples(300)
def test_each_item_is_in_one_list_and_no_list_is_too_large(items, kind, rule):
    lists = list(items | bucket_by(itself, **kind, **rule))
    assert sorted(item for each in lists for item in each) == sorted(items)
    for each in lists:
        assert each
        assert len(each) <= rule.get('size', len(each))
        longest = -(-max(each) // (multiple := rule.get('multiple_of', 1))) * multiple
        assert len(each) == 1 or len(each) * longest <= rule.get('limit', 10**6)


@given(numbers, st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True).map(sorted), rules)
@examples(200)
def test_items_of_a_list_are_in_one_bucket_in_their_order(items, edges, rule):
    for each in list(enumerate(items)) | bucket_by(lambda pair: pair[1], edges=edges, **rule):
        assert len({sum(edge < length for edge in edges) for _, length in each}) == 1
        assert each == sorted(each)


@given(numbers, st.integers(1, 20), rules)
@examples(200)
def test_the_item_that_has_waited_longest_goes_out_with_those_nearest_to_it(items, window, rule):
    waiting = []
    lists = iter(list(enumerate(items)) | bucket_by(lambda pair: pair[1], window=window, **rule))
    for n, item in enumerate(items):
        waiting.append((n, item))
        if len(waiting) == window:
            waiting = check_nearest(next(lists), waiting)
    while waiting:
        waiting = check_nearest(next(lists), waiting)
    assert not list(lists)


def check_nearest(given_out, waiting):
    oldest = waiting[0]
    assert oldest in given_out
    assert [length for _, length in given_out] == sorted(length for _, length in given_out)
    left = [pair for pair in waiting if pair not in given_out]
    lengths = [length for _, length in given_out]
    for _, length in left:  # those that are nearer than the farthest of the same side are in it
        assert not lengths[0] < length < lengths[-1]
    return left


@given(numbers, kinds, rules, st.integers(0, 20))
@examples(200)
def test_goes_on_from_any_list(items, kind, rule, count):
    described = stream(items, seed=0) | shuffle(5) | bucket_by(itself, **kind, **rule)
    everything = list(described)
    run = iter(described)
    head = [given for given, _ in zip(run, range(count), strict=False)]
    if len(head) < count:
        return
    run = iter(described)
    head = [next(run) for _ in head]
    assert head + list(described.resume(through_json(run.state_dict()))) == everything


@given(numbers, kinds, rules)
@examples(200)
def test_a_list_has_the_keys_of_its_items(items, kind, rule):
    run = iter(stream(items, seed=0) | shuffle() | bucket_by(itself, **kind, **rule))
    found = []
    for given_out in run:
        assert [items[index] for index in run.indices] == given_out
        found += run.indices
    assert sorted(found) == [*range(len(items))]


def test_of_a_batch_only_its_own_items_are_made_again():
    made = []

    def tokens(n):
        made.append(n)
        return [n] * (1 + n % 7)

    described = stream(range(500), seed=0) | shuffle() | parallel_map(tokens, threads=2)
    with Infinite(described, bucket_by(len, window=50, limit=40)) as batch_iter:
        epoch = iter(batch_iter)
        for _ in range(20):
            batch = next(epoch)
        batch_iter.close()
        made.clear()
        assert [batch_iter.item(key) for key in batch_iter.item_keys] == batch
        assert made == batch_iter.indices == [tokens[0] for tokens in batch]
        made.clear()
        assert explain(batch_iter, 1)[-1].value == batch[1]
        assert {*made} == {*batch_iter.indices}


def test_items_draw_the_same_again():
    def noisy(item, rng):
        return item, float(rng.random())

    described = stream(range(40), seed=0) | with_rng(noisy) | bucket_by(lambda pair: pair[0] % 5, window=7, size=3)
    run = iter(described | shuffle(4))
    for _ in range(5):
        given_out = next(run)
        assert [described.item(key) for key in run.item_keys] == given_out
    state = through_json(run.state_dict())
    assert list((described | shuffle(4)).resume(state)) == list(run)


def test_an_error_behind_it_has_the_indices_in_the_data():
    def fail(batch):
        raise ValueError(batch)

    described = stream(range(40), seed=0) | shuffle() | bucket_by(itself, window=5, size=2)
    with Infinite(described, fail) as batch_iter, pytest.raises(ValueError, match=r'\[') as caught:
        next(iter(batch_iter))
    first, second = caught.value.args[0]
    assert caught.value.__notes__[0].endswith(f'(indices {first}, {second})')


def test_ranks_share_the_lists():
    items, lengths = list(range(100)), np.arange(100) % 13
    described = items | bucket_by(lengths.__getitem__, window=30, limit=40)
    whole = [tuple(each) for each in described]
    parts = []
    for rank in range(2):
        with Infinite(described, shard=(rank, 2), even='keep') as batch_iter:
            parts.append([tuple(each) for each in batch_iter])
    assert parts == [whole[::2], whole[1::2]]


def test_numbers_of_numpy_are_lengths():
    assert list([1, 2, 30] | bucket_by(np.int64, edges=np.array([10]), size=2)) == [[1, 2], [30]]
    assert list([1, 2, 30] | bucket_by(np.float32, edges=[10.5], size=2)) == [[1, 2], [30]]


ASCENDING = 'bucket_by: `edges` must be ascending, and at least one'


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        ({}, TypeError('bucket_by: give either `edges` or `window`')),
        ({'edges': [1], 'window': 2}, TypeError('bucket_by: give either `edges` or `window`')),
        ({'window': 2}, TypeError('bucket_by: give `size` or `limit`')),
        ({'window': 0, 'size': 1}, ValueError('bucket_by: `window` must be at least 1, got 0')),
        ({'window': 2, 'size': 0}, ValueError('bucket_by: `size` must be at least 1, got 0')),
        ({'window': 2, 'size': 2, 'multiple_of': 2}, TypeError('bucket_by: `multiple_of` goes with `limit`')),
        (
            {'window': 2, 'limit': 2, 'multiple_of': 0},
            ValueError('bucket_by: `multiple_of` must be at least 1, got 0'),
        ),
        ({'window': 2, 'limit': -1}, ValueError('bucket_by: `limit` must be at least 0, got -1')),
        (
            {'edges': [2, 2], 'size': 1},
            ValueError('bucket_by: `edges` must be ascending, and at least one, got [2, 2]'),
        ),
        ({'edges': [], 'size': 1}, ValueError(f'{ASCENDING}, got []')),
        ({'edges': 5, 'size': 1}, TypeError('bucket_by: `edges` must be numbers, got 5')),
    ],
)
def test_what_is_refused(options, error):
    with raises(type(error), str(error)):
        bucket_by(len, **options)


@pytest.mark.parametrize('length', [-1, float('nan'), float('inf'), '3', None])
def test_a_length_that_is_none(length):
    message = f'bucket_by: `length` must return a number, finite and not negative, got {length!r}'
    with pytest.raises(ValueError, match='^bucket_by') as caught:
        list([0, 1] | bucket_by(lambda item: length if item else 1, window=2, size=2))
    assert str(caught.value) == message
    assert 'item 1' in caught.value.__notes__[0]
