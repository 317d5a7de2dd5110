"""`cycle`: a stream again and again."""

import gc
import itertools
import json
import pickle
import weakref

import pytest
from resuming import check_goes_on_from_everywhere

import itpipe
from itpipe import (
    Infinite,
    NotRestartable,
    apply,
    batch_by,
    concat,
    cycle,
    filter_by,
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


@pytest.mark.parametrize('n', range(4))
def test_gives_the_stream_so_many_times(n):
    assert list('abc' | cycle(n)) == list('abc') * n
    assert list([] | cycle(n)) == []


def test_without_a_number_it_has_no_end_but_that_of_a_pass_with_nothing():
    assert list('abc' | cycle() | take(8)) == list('abcabcab')
    assert list('abc' | cycle(None) | take(4)) == list('abca')
    assert list([] | cycle()) == []
    assert list('abc' | filter_by(str.isdigit) | cycle()) == []
    dwindling = [3]

    class Dwindling:
        def __iter__(self):
            dwindling[0] -= 1
            yield from range(dwindling[0])

    assert list(Dwindling() | cycle()) == [0, 1, 0]


def test_each_pass_is_shuffled_and_augmented_anew_as_an_infinite_does():
    s = stream(range(9), seed=0) | shuffle(5) | with_rng(noise)
    passes = [list(itertools.islice(run, 9)) for run in [iter(s | cycle())] for _ in range(3)]
    assert passes[0] == list(s)
    assert len({tuple(sorted(each)) for each in passes}) == 3
    with Infinite(s, prefetch=0) as batch_iter:
        assert [list(batch_iter) for _ in range(3)] == passes
    with Infinite(s | cycle(3), prefetch=0) as batch_iter, Infinite(s, prefetch=0) as every_pass:
        for _ in range(2):
            assert list(batch_iter) == [x for _ in range(3) for x in every_pass]


def test_passes_within_passes_all_differ():
    s = stream([0], seed=0) | with_rng(noise)
    assert len(set(s | cycle(2) | cycle(3))) == 6
    with Infinite(s | cycle() | take(2) | cycle(3), prefetch=0) as batch_iter:
        assert len({x for _ in range(4) for x in batch_iter}) == 24
    with Infinite(s | cycle(2), prefetch=0) as batch_iter:
        assert len({x for _ in range(4) for x in batch_iter}) == 8


def test_a_random_stage_behind_it_draws_anew_in_each_pass():
    drawn = [x for _, x in stream(range(5), seed=0) | cycle(3) | with_rng(noise)]
    assert len(set(drawn)) == 15


def test_without_a_seed_its_entropy_is_one_for_the_run():
    s = range(5) | with_rng(noise) | cycle(2)
    run = iter(s)
    head = [next(run) for _ in range(3)]
    state = run.state_dict()
    rest = list(run)
    assert list(s.resume(state)) == rest
    assert list(s)[:3] != head
    assert rest[2:] != (head + rest)[:5]


def test_random_stages_behind_it_keep_their_draws_whatever_is_before_it():
    assert list(stream(range(4), seed=0) | with_rng(noise) | cycle(2) | shuffle(3)) == list(
        stream(range(4), seed=0) | with_rng(noise) | cycle(2) | shuffle(3)
    )


def test_a_one_shot_iterator_has_one_pass():
    assert list((x for x in 'ab') | cycle(1)) == ['a', 'b']
    run = iter((x for x in 'ab') | cycle())
    assert [next(run), next(run)] == ['a', 'b']
    with pytest.raises(NotRestartable, match='had its one run'):
        next(run)


def test_each_pass_is_closed_before_the_next_begins():
    log = []

    class Source:
        def __iter__(self):
            log.append('begins')
            try:
                yield from range(2)
            finally:
                log.append('closed')

    run = iter(Source() | cycle())
    assert [next(run) for _ in range(3)] == [0, 1, 0]
    assert log == ['begins', 'closed', 'begins']
    run.close()
    assert log[3:] == ['closed']


class WithEpochs:
    """As the datasets of Hugging Face: it has states, and is told the epoch."""

    def __init__(self):
        self.epoch, self.at, self.epochs = 0, 0, []

    def set_epoch(self, epoch):
        self.epoch = epoch
        self.epochs.append(epoch)

    def __iter__(self):
        while self.at < 4:
            self.at += 1
            yield 10 * self.epoch + self.at - 1
        self.at = 0

    def state_dict(self):
        return {'at': self.at}

    def load_state_dict(self, state):
        self.at = state['at']


def test_a_source_is_told_the_pass_and_goes_on_by_its_own_states():
    s = WithEpochs() | cycle(3)
    whole = [10 * p + n for p in range(3) for n in range(4)]
    assert list(s) == whole
    for received in range(12):
        run = iter(WithEpochs() | cycle(3) | shuffle(3, seed=0))
        expected = list(WithEpochs() | cycle(3) | shuffle(3, seed=0))
        assert list(itertools.islice(run, received)) == expected[:received]
        state = json.loads(json.dumps(run.state_dict()))
        run.close()
        assert list((WithEpochs() | cycle(3) | shuffle(3, seed=0)).resume(state)) == expected[received:]
    source = WithEpochs()
    with Infinite(source | cycle(2), prefetch=0) as batch_iter:
        for _ in range(2):
            list(batch_iter)
    assert source.epochs == [0, 1, 2, 3]


def test_says_of_which_items_it_is():
    s = sample('abc', seed=0, replace=False) | take(3) | cycle() | batch_by(2)
    run = iter(s)
    batches = [next(run) for _ in range(3)]
    assert run.item_keys == [(1, 1), (2, 1)]
    assert ['abc'[index] for index in run.indices] == batches[-1]
    assert run.ordinals == [1, 2]
    assert [s.item([n, 1]) for n in (1, 2)] == batches[-1]
    with pytest.raises(ValueError, match='^Stream.item: `key` must be'):
        s.item(1)
    with pytest.raises(ValueError, match='^Stream.item: `key` must be'):
        ('ab' | cycle(2)).item((0, 2))


@pytest.mark.long
@pytest.mark.parametrize('n', [3, None])
def test_goes_on_from_everywhere_twice_in_a_row_also_in_processes(n):
    def made(**mode):
        inner = stream(range(5), seed=0) | shuffle(4) | parallel_map(with_rng(noise), **mode)
        return inner | cycle(n) | shuffle(7) | batch_by(3) | take(4)

    check_goes_on_from_everywhere(made(threads=2), made(processes=1), count=4, elsewhere=(1, 3))


def test_what_was_delivered_is_not_made_again():
    made = []

    def make(x):
        made.append(x)
        return x

    s = range(5) | apply(make) | cycle() | take(18)
    run = iter(s)
    for _ in range(12):
        next(run)
    made.clear()
    assert list(s.resume(run.state_dict())) == [2, 3, 4, 0, 1, 2]
    assert made == [2, 3, 4, 0, 1, 2]


def test_a_state_does_not_grow_with_the_passes():
    run = iter(range(3) | shuffle(2, seed=0) | cycle() | shuffle(3, seed=1))
    sizes = []
    for received in range(3000):
        next(run)
        if received % 300 == 7:
            sizes.append(len(json.dumps(run.state_dict())))
    assert max(sizes) < 700
    assert len(run._chain.source.chains) < 400


def test_passes_that_the_consumer_has_had_are_forgotten():
    alive = weakref.WeakSet()

    class Thing:
        pass

    class Source:
        def __iter__(self):
            for _ in range(3):
                thing = Thing()
                alive.add(thing)
                yield thing
                del thing

    run = iter(Source() | cycle())
    for _ in range(1000):
        value = next(run)
        del value
    assert len(alive) <= 3
    run.close()
    del run
    gc.collect()
    assert not alive


def test_ranks_get_together_what_there_is_and_load_their_own():
    """Items of passes that have long ended are loaded behind a large buffer, each by the steps of its own pass."""
    loaded = []

    def load(x, rng):
        loaded.append(x)
        return x, rng.random()

    s = stream(range(3), seed=0) | with_rng(load) | cycle(100) | shuffle(250)
    whole = list(s)
    loaded.clear()
    ranks = [list(s | shard(rank, 2)) for rank in range(2)]
    assert [x for pair in zip(*ranks, strict=True) for x in pair] == whole
    assert len(loaded) == 300


def test_other_ranks_go_on():
    s = stream(range(7), seed=0) | shuffle(3) | with_rng(noise) | cycle(3) | with_rng(noise)
    whole = list(s)
    states, got = [], []
    for rank in range(2):
        with Infinite(s, shard=(rank, 2), even='keep', prefetch=0) as batch_iter:
            got += itertools.islice(batch_iter, 3 + 2 * rank)
            states.append(json.loads(json.dumps(batch_iter.state_dict())))
    for rank in range(3):
        with Infinite(s, shard=(rank, 3), even='keep', prefetch=0) as batch_iter:
            batch_iter.load_state_dict(merge_states(states))
            got += batch_iter
    assert sorted(got) == sorted(whole)


def test_ranks_before_it_cycle_over_their_own():
    s = range(5) | shard(1, 2) | cycle(2)
    assert list(s) == [1, 3, 1, 3]
    run = iter(s)
    next(run)
    state = run.state_dict()
    assert list(s.resume(state)) == [3, 1, 3]
    with pytest.raises(ValueError, match='^merge_states: ') as caught:
        merge_states([state])
    assert str(caught.value) == (
        'merge_states: `states[0]` is that of a run with `shard` in a stream that another stage joins or repeats,'
        ' such as `zip_with` or `cycle`; such a run goes on in the same number of ranks only'
    )


def test_within_other_streams():
    assert list('abcd' | zip_with([0, 1] | cycle())) == [('a', 0), ('b', 1), ('c', 0), ('d', 1)]
    assert list('ab' | concat('cd') | cycle(2)) == list('abcdabcd')
    assert list('ab' | zip_with('cd') | cycle(2)) == [('a', 'c'), ('b', 'd')] * 2
    assert sorted(mix('ab' | cycle(2), 'c', seed=0)) == list('aabbc')
    assert list(mix('ab', 'cd', seed=0) | cycle(2)) != list(mix('ab', 'cd', seed=0)) * 2


def test_a_dropped_run_is_gone_at_once():
    closed = []

    class Source:
        def __iter__(self):
            try:
                yield from range(3)
            finally:
                closed.append(True)

    run = iter(Source() | cycle() | shuffle(2, seed=0))
    next(run)
    del run
    assert len(closed) == 1


def test_without_a_source_it_is_a_stage():
    for s, text in [
        (apply(abs) | cycle(2) | batch_by(2), 'apply(abs) | cycle(2) | batch_by(2)'),
        (cycle(), 'cycle()'),
        (cycle(None), 'cycle()'),
    ]:
        assert repr(s) == text
        assert eval(text, vars(itpipe)) == s
        assert pickle.loads(pickle.dumps(s)) == s
    assert cycle() != cycle(1) != cycle(2)
    assert list(stream('ab') | cycle | take(3)) == ['a', 'b', 'a']


@pytest.mark.parametrize(
    ('made', 'error', 'text'),
    [
        (lambda: cycle(-1), ValueError, 'cycle: `n` must be at least 0, got -1'),
        (lambda: cycle(1.5), TypeError, 'cycle: `n` must be an int, got float'),
        (lambda: cycle(True), TypeError, 'cycle: `n` must be an int, got bool'),
        (lambda: apply(cycle(2)), TypeError, 'apply: `f` must be item-wise, but `cycle(2)` is not'),
    ],
)
def test_wrong_arguments(made, error, text):
    with pytest.raises(error) as caught:
        made()
    assert str(caught.value) == text
