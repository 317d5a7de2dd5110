"""Endless sources that answer `next()`."""

import pickle
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from dpipe_functions import refuses

import itpipe
from itpipe.dpipe import (
    Infinite,
    load_by_random_id,
    sample,
)


class TestSources:
    def test_next_and_for_share_a_place(self):
        """As with the generators that they were."""
        source = sample(range(10**6), random_state=0)
        wanted = list(islice(sample(range(10**6), random_state=0), 8))
        got = [next(source), next(source), *islice(source, 3)]
        for value in source:
            got.append(value)
            break
        assert iter(source) is source
        got += next(zip(source, source, strict=True))
        assert got == wanted

    def test_a_stream_of_it_begins_at_the_beginning(self):
        source = sample(range(10**6), random_state=0)
        first = [next(source) for _ in range(3)]
        stream = source | itpipe.take(3)
        assert list(stream) == list(stream) == first
        with Infinite(source, lambda x: (x,), batch_size=3, batches_per_epoch=1) as batch_iter:
            assert [xs.tolist() for (xs,) in batch_iter()] == [first]
        assert next(source) not in first

    def test_random_state(self):
        def first(random_state, n=6):
            return list(islice(sample(range(10**6), random_state=random_state), n))

        assert first(0) == first(np.int64(0)) == list(itpipe.sample(range(10**6), seed=0) | itpipe.take(6))
        assert first(0) != first(1)
        assert first(None) != first(None)
        assert first(np.random.RandomState(7)) == first(np.random.RandomState(7)) != first(np.random.RandomState(8))
        shared = np.random.RandomState(7)
        assert first(shared) != first(shared)
        one, other = sample(range(10**6), random_state=shared), sample(range(10**6), random_state=shared)
        state = shared.get_state()[2]
        assert list(islice(one, 6)) != list(islice(other, 6))
        assert shared.get_state()[2] == state  # asked when a source is made, not afterwards

    def test_random_state_takes_what_numpy_makes_one_of(self):
        def first(random_state):
            return list(islice(sample(range(10**6), random_state=random_state), 6))

        for make in (
            lambda: [1, 2, 3],
            lambda: (1, 2, 3),
            lambda: np.array([1, 2, 3]),
            lambda: range(1, 4),
            lambda: np.random.MT19937(5),
            lambda: np.array(3),
        ):
            assert first(make()) == first(make()) != first(0)
        assert first([1, 2, 3]) == first((1, 2, 3)) != first([1, 2, 4])
        rule = 'must be an int, or ints from 0 to 2**32 - 1, got'
        for bad in [], [-1], [2**32], [[1, 2]]:
            refuses(ValueError, f'sample: `random_state` {rule} {bad!r}', sample, 'ab', random_state=bad)
        rule = 'must be an int, a RandomState or None, got'
        refuses(TypeError, f'sample: `random_state` {rule} list', sample, 'ab', random_state=[0.5])

    def test_a_series_is_looked_up_by_place(self):
        """Whatever its index: that of filtered rows has gaps."""
        pandas = pytest.importorskip('pandas')
        for index in None, [7, 3, 0], ['x', 'y', 'z'], [1, 1, 1]:
            series = pandas.Series(['a', 'b', 'c'], index=index)
            wanted = list(islice(sample(['a', 'b', 'c'], random_state=0), 30))
            assert list(islice(sample(series, random_state=0), 30)) == wanted
            assert list(islice(load_by_random_id(str.upper, ids=series, random_state=0), 3)) == ['B', 'B', 'A']
            assert next(sample(series, weights=pandas.Series([0, 0, 1]))) == 'c'
            assert next(pickle.loads(pickle.dumps(sample(series, random_state=0)))) == wanted[0]
        assert next(sample(pandas.Index([5]))) == 5
        message = 'sample: `sequence` must be a sequence (len and access by index), got DataFrame'
        refuses(TypeError, message, sample, pandas.DataFrame({'array': [1]}))

    def test_a_dict_with_places_for_keys(self):
        source = sample({1: 'b', 0: 'a', 2: 'c'}, random_state=0)
        assert list(islice(source, 30)) == list(islice(sample('abc', random_state=0), 30))
        assert repr(source) == "sample(['a', 'b', 'c'], seed=0)"
        assert source == sample({1: 'b', 0: 'a', 2: 'c'}, random_state=0) == pickle.loads(pickle.dumps(source))
        assert source != sample({1: 'b', 0: 'a', 2: 'd'}, random_state=0)
        assert next(load_by_random_id(str.upper, ids={0: 'a'})) == 'A'
        message = (
            'sample: `sequence` is a dict and must have the keys 0, 1, …, but has no 0;'
            ' give list(d) for its keys or list(d.values()) for its values'
        )
        refuses(ValueError, message, sample, {'a': 1})
        refuses(ValueError, message.replace('no 0', 'no 1'), sample, {0: 1, 2: 3})
        refuses(ValueError, 'sample: `sequence` must not be empty', sample, {})

    def test_weights(self):
        counts = Counter(islice(sample('abcd', [1, 0, 2, 1], random_state=0), 4000))
        assert counts['b'] == 0
        assert 1800 < counts['c'] < 2200
        weighted = load_by_random_id(str, ids=range(3), weights=[0, 0, 1])
        assert set(islice(weighted, 50)) == {'2'}

    def test_loaders(self):
        assert next(load_by_random_id(str.upper, len, ids=['abc'])) == ('ABC', 3)
        assert next(load_by_random_id(len, ids=['abc'])) == 3

    def test_pickle_is_of_the_source_at_its_beginning(self):
        source = sample(range(10**6), random_state=0)
        first = next(source)
        copied = pickle.loads(pickle.dumps(source))
        assert copied == source
        assert next(copied) == first
        assert repr(copied) == 'sample(range(0, 1000000), seed=0)'

    def test_an_error_of_a_loader_arrives_as_raised_and_ends_it(self):
        def load(id_):
            raise KeyError(id_)

        source = load_by_random_id(load, ids=['a'])
        with pytest.raises(KeyError) as caught:
            next(source)
        assert caught.value.args == ('a',)
        assert caught.value.__notes__ == ["itpipe: raised in load_by_random_id(load, ids=['a']), item 0"]
        with pytest.raises(StopIteration):
            next(source)

    def test_wrong_arguments(self):
        rule = '`random_state` must be an int, a RandomState or None, got'
        refuses(TypeError, f'sample: {rule} str', sample, 'ab', random_state='0')
        refuses(TypeError, f'sample: {rule} bool', sample, 'ab', random_state=True)
        refuses(TypeError, f'load_by_random_id: {rule} float', load_by_random_id, len, ids='ab', random_state=0.5)
        refuses(ValueError, 'sample: `random_state` must be at least 0, got -1', sample, 'ab', random_state=-1)
        refuses(ValueError, 'sample: `sequence` must not be empty', sample, [])
        refuses(ValueError, 'sample: `weights` must not all be zero', sample, 'ab', [0, 0])
        refuses(ValueError, 'load_by_random_id: `loaders` must not be empty', load_by_random_id, ids='ab')
