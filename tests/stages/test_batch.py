"""Batches by size, predicate and cost."""

import weakref

import numpy as np
import pytest

from itpipe import apply, batch_by


@pytest.mark.parametrize('count', [0, 1, 5, 6, 7])
@pytest.mark.parametrize('size', [1, 3, 10])
def test_by_size(count, size):
    items = list(range(count))
    whole = [items[i : i + size] for i in range(0, count, size)]
    assert list(items | batch_by(size)) == whole
    assert list(items | batch_by(size, drop_last=True)) == [batch for batch in whole if len(batch) == size]
    assert list(items | batch_by(np.int64(size))) == whole


def test_a_batch_asks_for_no_more_than_its_items():
    pulled = []

    def source():
        for x in range(10):
            pulled.append(x)
            yield x

    run = iter(source() | batch_by(3))
    assert next(run) == [0, 1, 2]
    assert pulled == [0, 1, 2]
    run.close()


def test_batches_are_lists_of_their_own():
    batches = list(range(4) | batch_by(2))
    batches[0].append('x')
    assert batches[1] == [2, 3]


def test_by_predicate():
    asked = []

    def should_add(items, item):
        asked.append((list(items), item))
        return sum(items) + item <= 5

    assert list([1, 2, 3, 9, 1, 1] | batch_by(should_add)) == [[1, 2], [3], [9], [1, 1]]
    assert all(items for items, _ in asked)  # the first item of a batch is never asked about
    assert asked[1] == ([1, 2], 3)


def naive(items, limit, cost, padded):
    batches = []
    for item in items:
        if batches:
            costs = [cost(x) for x in [*batches[-1], item]]
            if (len(costs) * max(costs) if padded else sum(costs)) <= limit:
                batches[-1].append(item)
                continue
        batches.append([item])
    return batches


@pytest.mark.parametrize('padded', [False, True])
@pytest.mark.parametrize('limit', [0, 1, 7, 20, 1000])
def test_by_cost_is_what_the_sum_says(limit, padded):
    items = np.random.default_rng(limit).integers(0, 9, 200).tolist()
    asked = []

    def cost(item):
        asked.append(item)
        return item

    assert list(items | batch_by(limit=limit, cost=cost, padded=padded)) == naive(items, limit, lambda x: x, padded)
    assert asked == items  # once each: constant cost a step


def test_an_item_over_the_limit_is_alone():
    assert list([9, 1, 9, 9, 1] | batch_by(limit=5, cost=lambda x: x)) == [[9], [1], [9], [9], [1]]


@pytest.mark.parametrize('made', [batch_by(lambda items, item: item / 0), batch_by(limit=3, cost=lambda x: 1 / x)])
def test_errors_name_the_stage_and_the_item(made):
    received = []
    with pytest.raises(ZeroDivisionError) as caught:
        for batch in [9, 9, 0] | made:
            received.append(batch)
    place = 1 if 'size' not in repr(made) and 'limit' not in repr(made) else 2
    assert caught.value.__notes__ == [f'itpipe: raised in {made!r}, item {place}']


@pytest.mark.parametrize(
    ('args', 'kwargs', 'error', 'text'),
    [
        ((0,), {}, ValueError, 'batch_by: `size` must be at least 1, got 0'),
        ((2.5,), {}, TypeError, 'batch_by: `size` must be an int, got float'),
        (('a',), {}, TypeError, 'batch_by: `size` must be an int, got str'),
        ((True,), {}, TypeError, 'batch_by: `size` must be an int, got bool'),
        ((2, 1), {}, TypeError, 'batch_by: `drop_last` must be True or False, got int'),
        ((), {}, TypeError, 'batch_by: give either `size` or both `limit` and `cost`'),
        ((), {'limit': 3}, TypeError, 'batch_by: give either `size` or both `limit` and `cost`'),
        ((), {'cost': len}, TypeError, 'batch_by: give either `size` or both `limit` and `cost`'),
        ((), {'limit': -1, 'cost': len}, ValueError, 'batch_by: `limit` must be at least 0, got -1'),
        ((), {'limit': 'a', 'cost': len}, TypeError, 'batch_by: `limit` must be a number, got str'),
        ((), {'limit': 3, 'cost': 3}, TypeError, 'batch_by: `cost` must be a function, got int'),
        (
            (),
            {'limit': 3, 'cost': apply(len)},
            TypeError,
            'batch_by: `cost` must be a function, got the stage apply(len)',
        ),
        ((apply(len),), {}, TypeError, 'batch_by: `size` must be a function, got the stage apply(len)'),
        ((), {'limit': 3, 'cost': len, 'padded': 1}, TypeError, 'batch_by: `padded` must be True or False, got int'),
        ((3,), {'limit': 3}, ValueError, 'batch_by: `limit`, `cost` and `padded` do not go with `size`'),
        (
            (),
            {'limit': 3, 'cost': len, 'multiple_of': 2},
            ValueError,
            'batch_by: `multiple_of` goes with `padded=True`',
        ),
        (
            (),
            {'limit': 3, 'cost': len, 'padded': True, 'multiple_of': 0},
            ValueError,
            'batch_by: `multiple_of` must be at least 1, got 0',
        ),
        ((3,), {'padded': True}, ValueError, 'batch_by: `limit`, `cost` and `padded` do not go with `size`'),
        ((max,), {'drop_last': True}, ValueError, 'batch_by: `drop_last` goes with an int `size` only'),
        (
            (),
            {'limit': 3, 'cost': len, 'drop_last': True},
            ValueError,
            'batch_by: `drop_last` goes with an int `size` only',
        ),
    ],
)
def test_wrong_arguments(args, kwargs, error, text):
    with pytest.raises(error) as caught:
        batch_by(*args, **kwargs)
    assert str(caught.value) == text


@pytest.mark.parametrize('by', [batch_by(2), batch_by(lambda items, _: len(items) < 2), batch_by(limit=2, cost=len)])
def test_items_of_a_batch_that_has_been_handled_are_not_kept(by):
    """While the next ones are made, there is not memory for two batches of items in use."""

    class Item(frozenset):
        pass

    alive = weakref.WeakSet()

    def source():
        for n in range(9):
            assert len(alive) <= 2
            item = Item([n])
            alive.add(item)
            yield item
            del item

    assert list(source() | by | len) == [2, 2, 2, 2, 1]


def test_the_limit_counts_lengths_as_they_are_padded():
    batches = list(range(1, 30) | batch_by(limit=64, cost=abs, padded=True, multiple_of=8))
    assert [len(batch) * -(-max(batch) // 8) * 8 for batch in batches][:3] == [64, 64, 64]
    assert all(len(batch) * -(-max(batch) // 8) * 8 <= 64 for batch in batches)
