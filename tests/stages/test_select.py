"""Stages that choose, reorder, repeat and take apart."""

import pickle
from collections import Counter

import numpy as np
import pytest

from itpipe import (
    filter_by,
    flatten,
    map_at,
    mix,
    prefetch,
    reuse,
    shard,
    shuffle,
    skip,
    stream,
    take,
    with_rng,
)


def test_filter_by_takes_arguments_and_stages():
    assert list(range(6) | filter_by(lambda x, by: x % by == 0, by=2)) == [0, 2, 4]
    assert list([(0, 1), (2, 0)] | filter_by(map_at(0, bool) | all)) == []
    assert list([(1, 1), (0, 1)] | filter_by(map_at(0, bool) | all)) == [(1, 1)]


def test_filter_by_names_itself_and_the_item_on_errors():
    def positive(x):
        if x == 3:
            raise ValueError('three')
        return x > 0

    with pytest.raises(ValueError, match='^three') as caught:
        list(range(5) | filter_by(positive))
    assert caught.value.__notes__ == ['itpipe: raised in filter_by(positive), item 3']
    with pytest.raises(TypeError, match='^filter_by: `predicate` must be a function or an item-wise stage, got int$'):
        filter_by(3)


class TestFlatten:
    def test_takes_anything_iterable_apart_by_one_level(self):
        items = [[1, [2]], (3,), 'ab', {'k': 1}, range(2), (x for x in 'c'), set()]
        assert list(items | flatten) == [1, [2], 3, 'a', 'b', 'k', 0, 1, 'c']

    def test_reads_an_item_only_as_far_as_asked(self):
        read = []

        def parts():
            for x in range(10):
                read.append(x)
                yield x

        assert list([parts()] | flatten | take(2)) == [0, 1]
        assert read == [0, 1]

    def test_many_parts_behind_a_stage_with_a_state(self):
        """The logs are replayed while one item's parts are being delivered."""
        for before in (shuffle(2, seed=0), take(4), skip(1), reuse(2, 1, seed=0)):
            result = list([range(1000)] * 5 | before | flatten)
            assert result == list(range(1000)) * (len(result) // 1000)
        assert len(list(mix([range(1000)] * 5) | flatten)) == 5000

    def test_each_part_has_a_generator_of_its_own(self):
        draws = list(stream([[0] * 3] * 2, seed=0) | flatten | with_rng(lambda x, rng: rng.random()))
        assert len(set(draws)) == 6

    def test_what_cannot_be_taken_apart(self):
        with pytest.raises(TypeError) as caught:
            list([[1], 2] | flatten)
        assert caught.value.args == ('flatten: items must be iterable, got int',)
        assert caught.value.__notes__ == ['itpipe: raised in flatten(), item 1']

    def test_errors_of_the_item_itself(self):
        def parts():
            yield 1
            raise TypeError('mine')

        with pytest.raises(TypeError, match='^mine') as caught:
            list([[0], parts()] | flatten)
        assert caught.value.__notes__ == ['itpipe: raised in flatten(), item 1']


class TestTakeSkipShard:
    @pytest.mark.parametrize('n', [0, 1, 3, 5, 9])
    def test_take_and_skip_part_the_items(self, n):
        items = list(range(5))
        assert list(items | take(n)) == items[:n]
        assert list(items | skip(n)) == items[n:]

    def test_take_asks_for_no_more(self):
        pulled = []

        def source():
            for x in range(10):
                pulled.append(x)
                yield x

        assert list(source() | take(3)) == [0, 1, 2]
        assert pulled == [0, 1, 2]
        pulled.clear()
        assert list(source() | take(0)) == []
        assert pulled == []

    @pytest.mark.parametrize('count', [1, 2, 3, 7])
    def test_the_shards_are_disjoint_and_have_all(self, count):
        shards = [list(range(10) | shard(i, count)) for i in range(count)]
        assert shards == [list(range(10))[i::count] for i in range(count)]


class TestShuffle:
    @pytest.mark.parametrize('size', [1, 2, 5, 20, 100])
    def test_gives_each_item_once(self, size):
        result = list(range(20) | shuffle(size, seed=0))
        assert sorted(result) == list(range(20))
        assert (result == list(range(20))) == (size == 1)

    def test_none_is_much_too_early(self):
        result = list(range(1000) | shuffle(50, seed=0))
        assert all(item - place < 50 for place, item in enumerate(result))

    def test_a_buffer_for_all_gives_each_permutation_equally_often(self):
        counts = Counter(tuple(range(3) | shuffle(3, seed=seed)) for seed in range(3000))
        assert len(counts) == 6
        assert all(400 < count < 600 for count in counts.values())

    def test_two_of_them_draw_differently(self):
        once = stream(range(50), seed=0) | shuffle(50)
        other = stream(range(50), seed=0) | shuffle(50, name='other')
        assert list(once) != list(other)
        assert list(once) == list(once)

    def test_the_order_depends_on_the_seed_alone(self):
        assert list(range(30) | shuffle(7, seed=3)) == list(range(30) | prefetch(4) | shuffle(7, seed=3))
        assert list(range(30) | shuffle(7, seed=3)) != list(range(30) | shuffle(7, seed=4))


class TestReuse:
    @pytest.mark.parametrize('pool_size', [1, 2, 5, 50])
    @pytest.mark.parametrize('repetitions', [1, 3])
    @pytest.mark.parametrize('iterations', [1, 4])
    def test_gives_each_item_as_often_as_asked(self, pool_size, repetitions, iterations):
        result = list(range(10) | reuse(pool_size, repetitions, iterations, seed=0))
        assert Counter(result) == dict.fromkeys(range(10), repetitions)

    def test_holds_no_more_than_its_pool(self):
        pulled, out = [], Counter()

        def source():
            for x in range(100):
                pulled.append(x)
                yield x

        for item in source() | reuse(4, 3, seed=0):
            out[item] += 1
            assert sum(out[x] < 3 for x in pulled) <= 4

    def test_begins_with_the_first_item(self):
        pulled = []

        def source():
            for x in range(100):
                pulled.append(x)
                yield x

        run = iter(source() | reuse(10, 3, seed=0))
        assert next(run) == 0
        assert pulled == [0]
        run.close()

    def test_repetitions_are_augmented_differently(self):
        draws = list(stream([0] * 4, seed=0) | reuse(2, 3) | with_rng(lambda x, rng: rng.random()))
        assert len(set(draws)) == 12

    def test_two_in_a_row(self):
        result = list(stream(range(5), seed=0) | reuse(2, 2) | reuse(3, 2))
        assert Counter(result) == dict.fromkeys(range(5), 4)


def test_prefetch_keeps_the_order_and_runs_ahead_by_n():
    from threading import Event

    made, enough = [], Event()

    def source():
        for x in range(20):
            made.append(x)
            if x == 4:
                enough.set()
            yield x

    run = iter(source() | prefetch(3))
    assert next(run) == 0
    assert next(run) == 1
    assert enough.wait(10)
    assert list(run) == list(range(2, 20))
    assert made == list(range(20))


def test_prefetch_in_bytes():
    pulled = []

    def arrays():
        for x in range(20):
            pulled.append(x)
            yield np.full(80, x, np.uint8)

    made = prefetch('200B')
    for taken, array in enumerate(arrays() | made):
        assert list(array) == 80 * [taken]
        assert len(pulled) <= taken + 1 + 2
    assert taken == 19
    assert repr(made) == "prefetch('200B')"
    assert made == pickle.loads(pickle.dumps(made)) == prefetch('200B')
    assert made != prefetch(200)


@pytest.mark.parametrize(
    ('make', 'error', 'text'),
    [
        (lambda: take(-1), ValueError, 'take: `n` must be at least 0, got -1'),
        (lambda: take(1.0), TypeError, 'take: `n` must be an int, got float'),
        (lambda: take(True), TypeError, 'take: `n` must be an int, got bool'),
        (lambda: skip(-2), ValueError, 'skip: `n` must be at least 0, got -2'),
        (lambda: skip('a'), TypeError, 'skip: `n` must be an int, got str'),
        (lambda: shard(0, 0), ValueError, 'shard: `count` must be at least 1, got 0'),
        (lambda: shard(2, 2), ValueError, 'shard: `index` must be less than `count` (2), got 2'),
        (lambda: shard(-1, 2), ValueError, 'shard: `index` must be at least 0, got -1'),
        (lambda: shard(0.5, 2), TypeError, 'shard: `index` must be an int, got float'),
        (lambda: shuffle(0), ValueError, 'shuffle: `buffer_size` must be at least 1, got 0'),
        (lambda: shuffle(None), TypeError, 'shuffle: `buffer_size` must be an int, got NoneType'),
        (lambda: shuffle(3, seed=1.5), TypeError, 'shuffle: `seed` must be an int or None, got float'),
        (lambda: shuffle(3, seed=-1), ValueError, 'shuffle: `seed` must not be negative, got -1'),
        (lambda: reuse(0, 1), ValueError, 'reuse: `pool_size` must be at least 1, got 0'),
        (lambda: reuse(1, 0), ValueError, 'reuse: `repetitions` must be at least 1, got 0'),
        (lambda: reuse(1, 1, 0), ValueError, 'reuse: `iterations` must be at least 1, got 0'),
        (lambda: reuse(1, 1, seed='a'), TypeError, 'reuse: `seed` must be an int or None, got str'),
        (lambda: prefetch(0), ValueError, 'prefetch: `n` must be at least 1, got 0'),
        (lambda: prefetch('2'), ValueError, "prefetch: `n` must be an int or a size such as '512MB', got '2'"),
        (lambda: prefetch('0 kB'), ValueError, "prefetch: `n` must be at least one byte, got '0 kB'"),
    ],
)
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text
