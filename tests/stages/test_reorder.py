"""Stages that reorder and repeat items."""

from collections import Counter

import pytest

from itpipe import prefetch, reuse, shuffle, stream, with_rng


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


@pytest.mark.parametrize(
    ('make', 'error', 'text'),
    [
        (lambda: shuffle(0), ValueError, 'shuffle: `buffer_size` must be at least 1, got 0'),
        (lambda: shuffle('3'), TypeError, 'shuffle: `buffer_size` must be an int, got str'),
        (lambda: shuffle(3, seed=1.5), TypeError, 'shuffle: `seed` must be an int or None, got float'),
        (lambda: shuffle(3, seed=-1), ValueError, 'shuffle: `seed` must not be negative, got -1'),
        (lambda: reuse(0, 1), ValueError, 'reuse: `pool_size` must be at least 1, got 0'),
        (lambda: reuse(1, 0), ValueError, 'reuse: `repetitions` must be at least 1, got 0'),
        (lambda: reuse(1, 1, 0), ValueError, 'reuse: `iterations` must be at least 1, got 0'),
        (lambda: reuse(1, 1, seed='a'), TypeError, 'reuse: `seed` must be an int or None, got str'),
    ],
)
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text
