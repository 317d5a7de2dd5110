"""`concat`: streams one after another."""

import itertools
import json
import pickle

import pytest
from resuming import check_goes_on_from_everywhere

import itpipe
from itpipe import (
    Infinite,
    apply,
    batch_by,
    concat,
    cycle,
    filter_by,
    merge_states,
    parallel_map,
    sample,
    shard,
    shuffle,
    skip,
    stage,
    stream,
    take,
    with_rng,
)


def noise(x, rng):
    return x, rng.random()


def test_gives_one_stream_after_the_other_as_chain_does():
    for sizes in itertools.product(range(3), repeat=3):
        a, b, c = map(range, sizes)
        assert list(a | concat(b, c)) == [*a, *b, *c]


def test_asks_the_next_one_only_when_the_one_before_has_ended_and_is_closed():
    log = []

    def source(name):
        log.append(f'{name} begins')
        try:
            yield from range(2)
        finally:
            log.append(f'{name} is closed')

    run = iter(source('a') | concat(source('b')))
    assert [next(run) for _ in range(2)] == [0, 1]
    assert log == ['a begins']
    assert next(run) == 0
    assert log == ['a begins', 'a is closed', 'b begins']
    run.close()
    assert log[3:] == ['b is closed']


def test_a_random_stage_behind_it_draws_for_each_stream_by_itself():
    drawn = [x for _, x in stream(range(5), seed=0) | concat(range(5)) | with_rng(noise)]
    assert len(set(drawn)) == 10


def test_others_have_the_seed_of_the_stream_before_it_or_their_own():
    def rest(seed, own=None):
        return list(stream([], seed=seed) | concat(stream(range(5), seed=own) | with_rng(noise)))

    assert rest(1) == rest(1) != rest(2)
    assert rest(1, own=7) == rest(2, own=7)
    assert rest(None) != rest(None)


def test_says_of_which_items_it_is():
    s = range(3) | skip(1) | concat('abc' | filter_by(lambda x: x != 'a'))
    run = iter(s)
    assert [(value, run.item_keys, run.indices, run.ordinals) for value in run] == [
        (1, [(1, 0)], [(0, 1)], [1]),
        (2, [(2, 0)], [(0, 2)], [2]),
        ('b', [(1, 1)], [(1, 1)], [1]),
        ('c', [(2, 1)], [(1, 2)], [2]),
    ]
    assert [s.item([1, n]) for n in range(2)] == [1, 'b']


def test_goes_on_from_everywhere_twice_in_a_row_also_in_processes():
    def made(**mode):
        first = stream(range(5), seed=0) | parallel_map(with_rng(noise), **mode)
        return first | concat([], range(4) | shuffle(3), sample('ab') | take(3)) | shuffle(3) | batch_by(2)

    check_goes_on_from_everywhere(made(threads=2), made(processes=1), count=6, elsewhere=(1, 4))


def test_what_has_ended_is_not_read_again():
    read = []

    def source(name, count):
        for n in range(count):
            read.append((name, n))
            yield n

    def made():
        return source('a', 3) | concat(source('b', 3))

    run = iter(made())
    assert [next(run) for _ in range(4)] == [0, 1, 2, 0]
    state = run.state_dict()
    read.clear()
    assert list(made().resume(state)) == [1, 2]
    assert read == [('b', 0), ('b', 1), ('b', 2)]


def test_ranks_get_together_what_there_is_and_load_their_own():
    loaded = []

    def load(x):
        loaded.append(x)
        return x

    s = stream(range(5), seed=0) | apply(load) | concat(range(10, 15) | apply(load)) | shuffle(4) | with_rng(noise)
    whole = list(s)
    loaded.clear()
    assert sorted(list(s | shard(0, 2)) + list(s | shard(1, 2))) == sorted(whole)
    assert sorted(loaded) == [*range(5), *range(10, 15)]
    states, got = [], []
    for rank in range(2):
        with Infinite(s, shard=(rank, 2), even='keep', prefetch=0) as batch_iter:
            got += itertools.islice(batch_iter, 1 + 2 * rank)
            states.append(json.loads(json.dumps(batch_iter.state_dict())))
    with Infinite(s, shard=(0, 1), even='keep', prefetch=0) as batch_iter:
        batch_iter.load_state_dict(merge_states(states))
        got += batch_iter
    assert sorted(got) == sorted(whole)


@stage
def doubled(items):
    for item in items:
        yield item
        yield item


@pytest.mark.filterwarnings('ignore:itpipe. nothing is known of')
def test_with_stages_of_ones_own():
    s = range(3) | doubled() | concat(range(2) | doubled()) | doubled()
    run = iter(s)
    head = [next(run) for _ in range(7)]
    assert head + list(s.resume(run.state_dict())) == list(s) == [n for n in [*range(3), *range(2)] for _ in range(4)]


def test_without_a_source_it_is_a_stage():
    s = apply(abs) | concat(range(3), 'ab' | cycle(2)) | batch_by(2)
    assert repr(s) == "apply(abs) | concat(range(0, 3), 'ab' | cycle(2)) | batch_by(2)"
    assert eval(repr(s), vars(itpipe)) == s
    assert pickle.loads(pickle.dumps(s)) == s
    assert list([-1] | s) == [[1, 0], [1, 2], ['a', 'b'], ['a', 'b']]


@pytest.mark.parametrize(
    ('made', 'error', 'text'),
    [
        (lambda: concat(), ValueError, 'concat: `others` must not be empty'),
        (lambda: concat([1], 5), TypeError, 'concat: `others[1]` must be iterable, got int'),
        (lambda: concat(concat([1])), TypeError, 'concat: `others[0]` must be iterable, got a Stage'),
        (
            lambda: apply(concat([1])),
            TypeError,
            'apply: `f` must be item-wise, but `concat([1])` is not',
        ),
    ],
)
def test_wrong_arguments(made, error, text):
    with pytest.raises(error) as caught:
        made()
    assert str(caught.value) == text
