"""`zip_with`: streams side by side."""

import gc
import itertools
import json
import pickle
import weakref

import numpy as np
import pytest
from resuming import check_goes_on_from_everywhere

import itpipe
from itpipe import (
    Infinite,
    apply,
    batch_by,
    filter_by,
    flatten,
    merge_states,
    mix,
    parallel_map,
    sample,
    shard,
    shuffle,
    stream,
    take,
    with_rng,
    zip_with,
)


def noise(x, rng):
    return x, rng.random()


def test_ends_with_the_shortest_as_zip_does():
    for sizes in itertools.product(range(3), repeat=3):
        a, b, c = map(range, sizes)
        assert list(a | zip_with(b, c)) == list(zip(a, b, c, strict=False))


def test_pulls_from_left_to_right_as_zip_does():
    pulled = []

    def letters(name, count):
        for n in range(count):
            pulled.append(f'{name}{n}')
            yield n

    assert list(letters('a', 3) | zip_with(letters('b', 1), letters('c', 3))) == [(0, 0, 0)]
    assert pulled == ['a0', 'b0', 'c0', 'a1']


@pytest.mark.parametrize(
    ('sizes', 'said'),
    [
        ((2, 3, 2), 'the stream before `zip_with` ended before `others[0]`'),
        ((2, 2, 3), 'the stream before `zip_with` ended before `others[1]`'),
        ((2, 1, 2), '`others[0]` ended before the stream before `zip_with`'),
        ((2, 2, 0), '`others[1]` ended before the stream before `zip_with`'),
        ((0, 0, 1), 'the stream before `zip_with` ended before `others[1]`'),
    ],
)
def test_strict_says_which_ended_first(sizes, said):
    first, *others = map(range, sizes)
    received = []
    with pytest.raises(ValueError, match='^zip_with: ') as caught:
        received.extend(first | zip_with(*others, strict=True))
    assert str(caught.value) == (
        f'zip_with: with `strict=True` all streams must have the same number of items, but {said}'
    )
    with pytest.raises(ValueError, match='argument'):
        list(zip(*map(range, sizes), strict=True))


@pytest.mark.parametrize('size', [0, 1, 5])
def test_strict_gives_all_where_all_have_as_many(size):
    assert list(range(size) | zip_with(range(size), strict=True)) == [(n, n) for n in range(size)]


def test_the_stream_before_it_draws_what_it_draws_alone_and_so_does_what_is_behind_it():
    """To add labels changes no augmentation: a tuple counts as its first item."""
    images = stream(range(6), seed=0) | shuffle(3)
    alone = list(images | with_rng(noise))
    zipped = list(images | zip_with('abcdef') | with_rng(noise))
    assert [value for _, value in zipped] == [value for _, value in alone]
    assert [image for (image, _), _ in zipped] == [image for image, _ in alone]


def test_others_have_the_seed_of_the_stream_before_it_or_their_own():
    def second(seed, own=None):
        return [b for _, b in stream(range(5), seed=seed) | zip_with(stream(range(5), seed=own) | with_rng(noise))]

    assert second(1) == second(1) != second(2)
    assert second(1, own=7) == second(2, own=7)
    assert second(None) != second(None)


def test_the_same_stream_twice_draws_twice():
    s = stream(range(5), seed=0) | with_rng(noise)
    assert all(a != b for a, b in s | zip_with(s))


@pytest.mark.parametrize('close', [lambda run: run.close(), lambda run: None])
def test_closes_all_its_streams(close):
    closed = []

    def source(name):
        try:
            yield from range(9)
        finally:
            closed.append(name)

    run = iter(source('a') | zip_with(source('b'), source('c') | zip_with(source('d'))))
    next(run)
    close(run)
    del run
    assert sorted(closed) == ['a', 'b', 'c', 'd']


def test_the_end_closes_the_streams_that_have_not_ended():
    closed = []

    def source():
        try:
            yield from range(9)
        finally:
            closed.append(True)

    run = iter(source() | zip_with([1]))
    assert list(run) == [(0, 1)]
    assert closed == [True]


def test_an_error_of_a_stream_arrives_as_it_was_raised():
    def fails(x):
        raise OSError(x)

    with pytest.raises(OSError, match='^5') as caught:
        list(range(3) | zip_with([5, 6] | apply(fails)))
    assert caught.value.__notes__ == ['itpipe: raised in apply(fails), item 0']


def test_an_error_is_not_replaced_by_one_of_closing():
    def source():
        try:
            yield from range(3)
        finally:
            raise KeyError('from finally')

    def fails(x):
        raise ValueError('mine')

    with pytest.raises(ValueError, match='^mine') as caught:
        list(source() | zip_with([1] | apply(fails)))
    assert caught.value.__notes__ == [
        'itpipe: raised in apply(fails), item 0', "itpipe: closing raised KeyError('from finally') as well"
    ]  # fmt: skip


def test_an_error_behind_it_names_the_items():
    with pytest.raises(TypeError) as caught:
        list(range(3) | filter_by(bool) | zip_with([1, 'x'] | apply(str)) | apply(sum))
    assert caught.value.__notes__ == ['itpipe: raised in apply(sum), item 1 with item 0']


def test_says_of_which_items_a_tuple_is():
    s = sample(range(100, 200), seed=0) | zip_with(range(50, 90) | filter_by(lambda x: x % 2), 'ab' | itpipe.cycle())
    with Infinite(s | batch_by(2)) as batch_iter:
        batches = list(itertools.islice(batch_iter, 2))
        indices = batch_iter.indices
        assert [(100 + i, 50 + j, 'ab'[k]) for i, j, k in indices] == batches[1]
        assert [(j, k) for _, j, k in indices] == [(5, 0), (7, 1)]
        assert batch_iter.ordinals == [2, 3]
        keys = json.loads(json.dumps(batch_iter.item_keys))
        assert keys[0] == [[2, 0], [5, 1], [[0, 1], 2]]
        assert [batch_iter.item(key) for key in keys] == batches[1]
        assert [batch_iter.item(key) for key in batch_iter.item_keys] == batches[1]
        with pytest.raises(ValueError, match='^Infinite.item: `key` must be an ordinal or one of `item_keys`, got 2$'):
            batch_iter.item(2)


def test_an_item_is_made_again_with_its_randomness():
    s = stream(range(9), seed=0) | zip_with(range(9) | with_rng(noise)) | with_rng(noise) | shuffle(4)
    run = iter(s)
    for value in run:
        assert s.item(json.loads(json.dumps(run.item_keys[0]))) == value


@pytest.mark.long
def test_goes_on_from_everywhere_twice_in_a_row_also_in_processes():
    def made(**mode):
        left = stream(range(12), seed=0) | shuffle(4) | parallel_map(with_rng(noise), **mode)
        right = sample('abc', seed=1) | batch_by(2) | flatten | filter_by(lambda x: x > 'a')
        return left | zip_with(right | parallel_map(str.upper, **mode), strict=False) | shuffle(3) | batch_by(2)

    check_goes_on_from_everywhere(made(threads=2), made(processes=1), count=6, elsewhere=(2, 5))


def test_deals_places_to_ranks_before_anything_is_loaded():
    loaded = []

    def load(x):
        loaded.append(x)
        return x

    s = range(10) | apply(load) | zip_with(range(100, 110) | apply(load)) | apply(sum)
    assert list(s | shard(1, 3)) == [102, 108, 114]
    assert loaded == [1, 101, 4, 104, 7, 107]


def test_ranks_get_together_what_there_is_and_others_go_on():
    s = stream(range(20), seed=0) | shuffle(5) | zip_with(sample('abcdef') | with_rng(noise)) | with_rng(noise)
    whole = list(s)
    states, got = [], []
    for rank in range(2):
        with Infinite(s, shard=(rank, 2), even='keep', prefetch=0) as batch_iter:
            got += itertools.islice(batch_iter, 3 + rank)
            states.append(json.loads(json.dumps(batch_iter.state_dict())))
    merged = merge_states(states)
    for rank in range(3):
        with Infinite(s, shard=(rank, 3), even='keep', prefetch=0) as batch_iter:
            batch_iter.load_state_dict(merged)
            got += batch_iter
    assert sorted(got) == sorted(whole)


def test_ranks_before_it_zip_their_own():
    left, right = range(10) | shard(1, 2), 'abcdefghij' | shard(1, 2)
    s = left | zip_with(right)
    assert list(s) == [(1, 'b'), (3, 'd'), (5, 'f'), (7, 'h'), (9, 'j')]
    run = iter(s)
    next(run)
    assert list(s.resume(run.state_dict())) == list(s)[1:]


def test_without_a_source_it_is_a_stage():
    s = apply(abs) | zip_with(range(3), 'abc', strict=True) | batch_by(2)
    assert repr(s) == "apply(abs) | zip_with(range(0, 3), 'abc', strict=True) | batch_by(2)"
    assert eval(repr(s), vars(itpipe)) == s
    assert pickle.loads(pickle.dumps(s)) == s
    assert hash(s) == hash(pickle.loads(pickle.dumps(s)))
    assert s != apply(abs) | zip_with(range(3), 'abc') | batch_by(2)
    assert s != apply(abs) | zip_with(range(3), 'abd', strict=True) | batch_by(2)
    assert list([-1, 0, 1] | s) == [[(1, 0, 'a'), (0, 1, 'b')], [(1, 2, 'c')]]
    assert list(s([-1, 0, 1])) == list([-1, 0, 1] | s)
    assert repr([1] | s) == f'[1] | {s!r}'
    assert [1] | s == stream([1]) | apply(abs) | zip_with(range(3), 'abc', strict=True) | batch_by(2)
    assert [1] | s != [2] | s


def test_within_other_streams():
    s = mix('ab' | zip_with('cd'), 'ef' | zip_with('gh', 'ij'), seed=0)
    assert sorted(s, key=str) == [('a', 'c'), ('b', 'd'), ('e', 'g', 'i'), ('f', 'h', 'j')]
    assert list('ab' | zip_with('cd') | zip_with('ef')) == [(('a', 'c'), 'e'), (('b', 'd'), 'f')]


@pytest.mark.parametrize(
    ('made', 'error', 'text'),
    [
        (lambda: zip_with(), ValueError, 'zip_with: `others` must not be empty'),
        (
            lambda: zip_with((stream([1]),)),
            TypeError,
            'zip_with: `others[0]` is a tuple of streams; give them one by one: `zip_with(*streams)`',
        ),
        (lambda: zip_with([1], 5), TypeError, 'zip_with: `others[1]` must be iterable, got int'),
        (lambda: zip_with(take(3)), TypeError, 'zip_with: `others[0]` must be iterable, got a Stage'),
        (lambda: zip_with(np.array(3)), TypeError, 'zip_with: `others[0]` must be iterable, got ndarray'),
        (lambda: zip_with([1], strict=1), TypeError, 'zip_with: `strict` must be True or False, got int'),
        (lambda: [1] | zip_with, TypeError, None),
        (
            lambda: stream([1]) | zip_with,
            TypeError,
            '`zip_with` makes a stage when it is called: did you mean `zip_with(…)`?',
        ),
        (
            lambda: parallel_map(apply(abs) | zip_with([1]), threads=2),
            TypeError,
            'parallel_map: `f` must be item-wise, but `zip_with([1])` is not',
        ),
    ],
)
def test_wrong_arguments(made, error, text):
    with pytest.raises(error) as caught:
        made()
    assert text is None or str(caught.value) == text


def test_the_state_of_another_pipeline_is_refused():
    def state(made):
        run = iter(made)
        next(run)
        return run.state_dict()

    s = range(9) | zip_with(range(9) | shuffle(3, seed=0))
    for other, said in [
        (stream(range(9)), 'which goes on with `zip_with(<1 stream>)` where this one ends'),
        (range(9) | zip_with(range(9)), 'which goes on with `shuffle(3, seed=0)` where this one ends'),
        (
            range(9) | zip_with(range(9), 'ab'),
            'which has `zip_with(<1 stream>)` where this one has `zip_with(<2 streams>)`',
        ),
    ]:
        with pytest.raises(ValueError, match='^Stream.resume: `state` is that of another pipeline, ') as caught:
            other.resume(state(s))
        assert str(caught.value).endswith(said)


class Thing:
    pass


def test_holds_no_tuple_that_has_been_delivered():
    alive = weakref.WeakSet()

    def things():
        while True:
            thing = Thing()
            alive.add(thing)
            yield thing
            del thing

    run = iter(things() | zip_with(things(), things() | zip_with(itertools.count())))
    most = 0
    for _ in range(20):
        value = next(run)
        del value
        most = max(most, len(alive))
    assert most <= 6
    run.close()
    del run
    gc.collect()
    assert not alive
