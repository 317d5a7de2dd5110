"""`mix`: several streams in a random order."""

import pickle
from collections import Counter

import numpy as np
import pytest
from running import raises

from itpipe import Infinite, mix, sample, skip, stream, take, with_rng


def test_gives_all_items_each_stream_in_its_order():
    result = list(mix(range(20), 'abcdef', [], seed=0))
    assert [x for x in result if isinstance(x, int)] == list(range(20))
    assert ''.join(x for x in result if isinstance(x, str)) == 'abcdef'
    assert result != [*range(20), *'abcdef']


def test_weights():
    counts = Counter(mix(sample('a'), sample('b'), sample('c'), weights=[1, 3, 0], seed=0) | take(4000))
    assert set(counts) == {'a', 'b'}
    assert 900 < counts['a'] < 1100


@pytest.mark.parametrize('scale', [1e308, 5e-324, 1])
def test_weights_may_be_of_any_size(scale):
    counts = Counter(mix(sample('a'), sample('b'), sample('c'), weights=[scale, scale, 0], seed=0) | take(2000))
    assert set(counts) == {'a', 'b'}
    assert 900 < counts['a'] < 1100


def test_weights_that_are_small_beside_others_count_when_these_have_ended():
    counts = Counter(mix('abc', sample('d'), sample('e'), weights=[1e308, 5e-324, 5e-324], seed=0) | take(2003))
    assert 900 < counts['d'] < 1100
    assert list(counts)[:3] == ['a', 'b', 'c']


def step(draw):
    return [1, 0] if draw < 5 else [0, 1]


def towards_the_second(draw):
    return [4, min(draw, 40)]


def test_weights_may_be_a_schedule():
    result = list(mix('a' * 10, 'b' * 10, weights=step, seed=0))
    assert result == [*('a' * 5), *('b' * 10), *('a' * 5)]
    counts = [
        Counter(mix(sample('a'), sample('b'), weights=towards_the_second, seed=0) | skip(n) | take(400))
        for n in (0, 400)
    ]
    assert counts[0]['b'] < counts[1]['b']
    assert 340 < counts[1]['b'] < 385
    assert repr(mix('a', 'b', weights=step)) == "mix('a', 'b', weights=step)"


def test_a_constant_schedule_draws_as_its_weights_do():
    described = {'seed': 0}
    assert list(mix('abcdef', 'xyz', weights=lambda draw: [3, 1], **described)) == list(
        mix('abcdef', 'xyz', weights=[3, 1], **described)
    )


def test_goes_on_where_the_schedule_was():
    described = mix(range(50), range(100, 150), weights=towards_the_second, seed=1)
    run = iter(described)
    head = [next(run) for _ in range(30)]
    assert head + list(described.resume(run.state_dict())) == list(described)


def test_each_pass_begins_the_schedule_anew():
    with Infinite(mix('a' * 10, 'b' * 10, weights=step, seed=0), prefetch=0) as it:
        assert [''.join(epoch)[:5] for epoch in (it(), it())] == ['aaaaa', 'aaaaa']


@pytest.mark.parametrize(
    ('schedule', 'error'),
    [
        (lambda draw: [1], ValueError('mix: `weights` must be 2 numbers, one for each, got shape (1,)')),
        (lambda draw: None, TypeError('mix: `weights` must return the weight of each stream, got None')),
        (lambda draw: [0, 0], ValueError('mix: `weights` must not all be zero')),
    ],
)
def test_a_schedule_that_is_wrong_from_the_beginning(schedule, error):
    with raises(type(error), str(error), 'itpipe: raised in the `weights` of mix for draw 0'):
        mix('ab', 'cd', weights=schedule)


def test_a_schedule_that_goes_wrong_later():
    received = []
    with raises(ZeroDivisionError, 'division by zero', 'itpipe: raised in the `weights` of mix for draw 3'):
        received.extend(mix('abcd', 'efgh', weights=lambda draw: [1 / (3 - draw), 1], seed=0))
    assert received == ['e', 'f', 'g']


@pytest.mark.parametrize('weights', [['1', '2'], [1, 2j], [b'1', 2]])
def test_weights_that_are_no_numbers(weights):
    with pytest.raises(TypeError, match='^mix: `weights` must be numbers, got '):
        mix([1], [2], weights=weights)


def test_streams_of_weight_zero_come_last():
    result = list(mix('ab', 'xy', weights=[0, 1], seed=0))
    assert result == ['x', 'y', 'a', 'b']


def test_no_two_streams_draw_the_same():
    """Not even equal streams with equal seeds: they stand in different places."""
    s = sample(range(1000), seed=1)
    draws = list(mix(s | (lambda x: ('l', x)), s | (lambda x: ('r', x)), seed=2) | take(40))
    left = [x for side, x in draws if side == 'l']
    right = [x for side, x in draws if side == 'r']
    assert len(set(left) & set(right)) < 5


def test_closes_all_its_streams():
    closed = []

    def source(name):
        try:
            while True:
                yield name
        finally:
            closed.append(name)

    run = iter(mix(source('a'), mix(source('b'), source('c')) | (lambda x: x), seed=0))
    for _ in range(20):
        next(run)
    run.close()
    assert sorted(closed) == ['a', 'b', 'c']


def test_seeds():
    def run(seed, first=None):
        return list(mix(stream(range(9), seed=first) | with_rng(lambda x, rng: rng.random()), 'abcdef', seed=seed))

    assert run(1) == run(1) != run(2)
    assert run(None) != run(None)
    assert sorted(map(str, run(1, first=5))) == sorted(map(str, run(2, first=5)))


def test_the_seeds_of_its_streams_are_kept_by_infinite():
    s = mix(sample([1, 2], seed=0) | with_rng(lambda x, rng: rng.random()))
    assert list(Infinite(s, batches_per_epoch=4)()) == list(s | take(4))


def test_closes_a_stream_that_has_ended():
    closed = []

    def source():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    run = iter(mix(source() | take(2), range(100), weights=[1, 0], seed=0))
    assert [next(run) for _ in range(3)] == [0, 1, 0]
    assert closed == [True]
    run.close()


def test_is_a_value():
    s = mix([1, 2] | with_rng(max), 'ab', weights=[1, 2], seed=3)
    assert repr(s) == "mix([1, 2] | with_rng(max), 'ab', weights=[1, 2], seed=3)"
    assert pickle.loads(pickle.dumps(s)) == s


@pytest.mark.parametrize(
    ('args', 'kwargs', 'error', 'text'),
    [
        ((), {}, ValueError, 'mix: `streams` must not be empty'),
        (([1], 3), {}, TypeError, 'mix: `streams[1]` must be iterable, got int'),
        (
            ([stream([1]), stream([2])],),
            {},
            TypeError,
            'mix: `streams[0]` is a list of streams; give them one by one: `mix(*streams)`',
        ),
        (
            ([1], [2]),
            {'weights': [1]},
            ValueError,
            'mix: `weights` must be 2 numbers, one for each, got shape (1,)',
        ),
        (([1], [2]), {'seed': 1.5}, TypeError, 'mix: `seed` must be an int or None, got float'),
    ],
)
def test_wrong_arguments(args, kwargs, error, text):
    with pytest.raises(error) as caught:
        mix(*args, **kwargs)
    assert str(caught.value) == text


def test_streams_in_a_list_are_told_to_be_given_one_by_one() -> None:
    text = 'mix: `weights` must be one number for each stream, got 2 for one stream, a list of 2: did you mean'
    with raises(ValueError, f'{text} `mix(*streams, weights=…)`?'):
        mix([[1, 2], [3, 4]], weights=[0.7, 0.3])
    with raises(ValueError, f'{text} `mix(*streams, weights=…)`?'):
        mix([range(2), range(3)], weights=np.ones(2))
    with raises(ValueError, 'mix: `weights` must be 1 numbers, one for each, got shape (2,)'):
        mix([1, 2, 3], weights=[0.7, 0.3])
    assert list(mix(['a'], weights=[1])) == ['a']
