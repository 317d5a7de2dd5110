"""Sources of random items."""

import pickle
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from naming import named

from itpipe import load_by_random_id, sample, take, with_rng


class TestSample:
    def test_draws_all_equally_often(self):
        counts = Counter(sample(range(5), seed=0) | take(5000))
        assert all(900 < counts[item] < 1100 for item in range(5))

    def test_weights_are_probabilities_up_to_a_factor(self):
        counts = Counter(sample('abcd', weights=[0, 10, 30, 0], seed=0) | take(4000))
        assert set(counts) == {'b', 'c'}
        assert 900 < counts['b'] < 1100

    @pytest.mark.parametrize('scale', [1e308, 5e-324, 1e-310, 1, 2.0**1000])
    @pytest.mark.parametrize('options', [{}, {'replace': False}])
    def test_weights_may_be_of_any_size(self, scale, options):
        """Their sum may overflow, and a share of it vanish."""
        draws = list(sample(range(4), [scale, 0, scale, scale], seed=0, **options) | take(3000))
        counts = Counter(draws)
        assert set(counts) == {0, 2, 3}
        assert all(900 < count < 1100 for count in counts.values())
        if options:
            assert all(280 < count < 390 for count in Counter(draws[::3]).values())

    def test_weights_of_very_different_sizes(self):
        assert set(sample('ab', [1e308, 5e-324], seed=0) | take(1000)) == {'a'}
        assert list(sample('ab', [5e-324, 1e308], replace=False, seed=0) | take(1000)) == ['b', 'a'] * 500

    def test_weights_are_any_real_numbers(self):
        some = [[1, 3], (1, 3), np.array([1, 3], np.uint8), [Fraction(1, 3), 1], [Decimal(1), 3.0], np.float16([1, 3])]
        assert len({tuple(sample('ab', weights, seed=0) | take(50)) for weights in some}) == 1
        assert set(sample('abc', [True, False, True], seed=0) | take(50)) == {'a', 'c'}

    def test_the_weights_are_summed_once(self):
        """Not for each of the blocks in which is drawn."""
        with mock.patch('numpy.cumsum', side_effect=np.cumsum) as summed:
            run = iter(sample('abc', [1, 2, 3], seed=0) | take(5000))
            assert len(list(run)) == 5000
        assert summed.call_count == 1

    def test_without_replacement_each_comes_once_a_pass(self):
        draws = list(sample(range(7), replace=False, seed=0) | take(35))
        passes = [tuple(draws[i : i + 7]) for i in range(0, 35, 7)]
        assert all(sorted(each) == list(range(7)) for each in passes)
        assert len(set(passes)) == 5

    def test_without_replacement_heavier_ones_come_earlier(self):
        draws = list(sample('abc', weights=[1, 0, 9], replace=False, seed=0) | take(2000))
        assert set(draws) == {'a', 'c'}
        assert 850 < draws[::2].count('c') < 950
        assert all(set(draws[i : i + 2]) == {'a', 'c'} for i in range(0, 2000, 2))

    def test_permutations_are_equally_likely(self):
        draws = list(sample(range(3), replace=False, seed=1) | take(9000))
        counts = Counter(tuple(draws[i : i + 3]) for i in range(0, 9000, 3))
        assert len(counts) == 6
        assert all(400 < count < 600 for count in counts.values())

    @pytest.mark.parametrize('options', [{}, {'replace': False}, {'weights': [1, 2, 3]}], ids=named)
    def test_seeds(self, options):
        def draws(seed):
            return list(sample('abc', seed=seed, **options) | take(50))

        assert draws(1) == draws(1) == draws(np.int64(1))
        assert draws(1) != draws(2)
        assert draws(None) != draws(None)
        huge = 2**200
        assert draws(huge) == draws(huge) != draws(huge + 1)

    def test_its_seed_is_that_of_the_random_steps_behind_it(self):
        noisy = with_rng(lambda x, rng: rng.random())
        assert list(sample('ab', seed=1) | noisy | take(5)) == list(sample('ab', seed=1) | noisy | take(5))
        assert list(sample('ab', seed=1) | noisy | take(5)) != list(sample('ab', seed=2) | noisy | take(5))

    def test_takes_whatever_has_a_length_and_an_index(self):
        class Dataset:
            def __len__(self):
                return 3

            def __getitem__(self, index):
                assert type(index) is int
                return index

        assert set(sample(Dataset(), seed=0) | take(30)) == {0, 1, 2}
        assert {tuple(row) for row in sample(np.arange(4).reshape(2, 2), seed=0) | take(20)} == {(0, 1), (2, 3)}
        assert set(sample('ab', seed=0) | take(20)) == {'a', 'b'}

    def test_errors_of_the_dataset_name_it_and_the_item(self):
        class Broken(list):
            def __getitem__(self, index):
                raise OSError('no such file')

        with pytest.raises(OSError, match='^no such file') as caught:
            next(iter(sample(Broken([1, 2]), seed=0)))
        assert caught.value.__notes__ == ['itpipe: raised in sample([1, 2], seed=0), item 0 (index 1)']

    @pytest.mark.parametrize(
        ('args', 'kwargs', 'error', 'text'),
        [
            (({'a': 1},), {}, TypeError, '`sequence` must be a sequence (len and access by index), got dict'),
            (({1, 2},), {}, TypeError, '`sequence` must be a sequence (len and access by index), got set'),
            ((5,), {}, TypeError, '`sequence` must be a sequence (len and access by index), got int'),
            ((iter([1]),), {}, TypeError, '`sequence` must be a sequence (len and access by index), got list_iterator'),
            (([],), {}, ValueError, '`sequence` must not be empty'),
            ((np.array(3),), {}, TypeError, '`sequence` must have a length, got ndarray'),
            (('ab', [1]), {}, ValueError, '`weights` must be 2 numbers, one for each, got shape (1,)'),
            (('ab', 'xy'), {}, TypeError, "`weights` must be numbers, got 'xy'"),
            (('ab', [1, -1]), {}, ValueError, '`weights` must be finite and not negative, got [1, -1]'),
            (('ab', [1, np.nan]), {}, ValueError, '`weights` must be finite and not negative, got [1, nan]'),
            (('ab', [0, 0]), {}, ValueError, '`weights` must not all be zero'),
            (('ab', ['1', '2']), {}, TypeError, "`weights` must be numbers, got ['1', '2']"),
            (('ab', [1, '2']), {}, TypeError, "`weights` must be numbers, got [1, '2']"),
            (('ab', [b'1', b'2']), {}, TypeError, "`weights` must be numbers, got [b'1', b'2']"),
            (('ab', [1, 2j]), {}, TypeError, '`weights` must be numbers, got [1, 2j]'),
            (
                ('ab', np.ones(2, complex)),
                {},
                TypeError,
                '`weights` must be numbers, got <ndarray of shape (2,), complex128>',
            ),
            (
                ('ab', np.array([1, '2'], object)),
                {},
                TypeError,
                '`weights` must be numbers, got <ndarray of shape (2,), object>',
            ),
            (
                ('ab', np.ones(2, 'm8[s]')),
                {},
                TypeError,
                '`weights` must be numbers, got <ndarray of shape (2,), timedelta64[s]>',
            ),
            (('ab', [[1], [1, 2]]), {}, TypeError, '`weights` must be numbers, got [[1], [1, 2]]'),
            (('ab', {1, 2}), {}, TypeError, '`weights` must be numbers, got {1, 2}'),
            (
                ('a', [10**400]),
                {},
                ValueError,
                f'`weights` must fit into floats, got [{str(10**400)[:120]}…{"0" * 20}]',
            ),
            (('ab', [np.inf, 1]), {}, ValueError, '`weights` must be finite and not negative, got [inf, 1]'),
            (('ab',), {'replace': 1}, TypeError, '`replace` must be True or False, got int'),
            (('ab',), {'seed': 'x'}, TypeError, '`seed` must be an int or None, got str'),
            (('ab',), {'seed': -3}, ValueError, '`seed` must not be negative, got -3'),
        ],
    )
    def test_wrong_arguments(self, args, kwargs, error, text):
        with pytest.raises(error) as caught:
            sample(*args, **kwargs)
        assert str(caught.value) == f'sample: {text}'

    def test_a_data_frame_is_no_sequence(self):
        pd = pytest.importorskip('pandas')
        with pytest.raises(TypeError, match='must be a sequence .*, got DataFrame$'):
            sample(pd.DataFrame({'a': [1]}))


class TestLoadByRandomId:
    def test_one_loader_gives_bare_values(self):
        assert set(load_by_random_id(str.upper, ids=['a', 'b'], seed=0) | take(20)) == {'A', 'B'}

    def test_several_give_tuples_of_one_id(self):
        pairs = set(load_by_random_id(str.upper, len, ids=['a', 'bb'], seed=0) | take(20))
        assert pairs == {('A', 1), ('BB', 2)}

    def test_draws_by_the_name_of_the_first_loader(self):
        def drawn(*loaders, **options):
            return list(load_by_random_id(*loaders, ids='abc', weights=[1, 2, 3], seed=4, **options) | take(20))

        first = drawn(str)
        assert drawn(str, len) == [(id_, 1) for id_ in first]
        assert drawn(lambda id_: id_, name='str') == first != drawn(lambda id_: id_)

    def test_errors_of_a_loader_name_it_and_the_item(self):
        def load(id_):
            raise OSError(id_)

        with pytest.raises(OSError, match='^a') as caught:
            next(iter(load_by_random_id(load, ids=['a'], seed=0)))
        assert caught.value.__notes__ == ["itpipe: raised in load_by_random_id(load, ids=['a'], seed=0), item 0"]

    @pytest.mark.parametrize(
        ('args', 'kwargs', 'error', 'text'),
        [
            ((), {'ids': 'ab'}, ValueError, '`loaders` must not be empty'),
            ((3,), {'ids': 'ab'}, TypeError, '`loaders[0]` must be a function, got int'),
            ((str,), {'ids': ''}, ValueError, '`ids` must not be empty'),
            ((str,), {'ids': {1}}, TypeError, '`ids` must be a sequence (len and access by index), got set'),
            ((str,), dict(ids='ab', weights=1), ValueError, '`weights` must be 2 numbers, one for each, got shape ()'),
        ],
    )  # fmt: skip
    def test_wrong_arguments(self, args, kwargs, error, text):
        with pytest.raises(error) as caught:
            load_by_random_id(*args, **kwargs)
        assert str(caught.value) == f'load_by_random_id: {text}'


@pytest.mark.parametrize(
    's',
    [
        sample([1, 2], seed=1),
        sample('abc', [1, 2, 3], replace=False),
        load_by_random_id(str, len, ids=['a', 'b'], weights=[1, 2], seed=0),
    ],
    ids=named,
)
def test_sources_are_values(s):
    names = {'sample': sample, 'load_by_random_id': load_by_random_id}
    assert eval(repr(s), names) == s
    assert pickle.loads(pickle.dumps(s)) == s
    assert s != sample([9])
