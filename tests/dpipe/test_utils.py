"""The functions of one item, and what they draw."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, repeat

import cloudpickle
import numpy as np
import pytest
from dpipe_functions import called, pair, plain, refuses

import itpipe
from itpipe.dpipe import (
    ExpirationPool,
    Infinite,
    Iterator,
    Loky,
    Threads,
    apply_at,
    multiply,
    random_apply,
    sample,
    sample_args,
    unpack_args,
    zip_apply,
)
from itpipe.image import zoom


class TestItemFunctions:
    @pytest.mark.parametrize(
        ('function', 'item', 'expected'),
        [
            (unpack_args(called), (1, 2), ((1, 2), {})),
            (unpack_args(called, 3, k=4), [1, 2], ((1, 2, 3), {'k': 4})),
            (unpack_args(called), np.array([1, 2]), ((1, 2), {})),
            (unpack_args(called, 3), {'a': 1}, ((3,), {'a': 1})),
            (apply_at(0, called), (1, 2), (((1,), {}), 2)),
            (apply_at(-1, called, 3, k=4), [1, 2], (1, ((2, 3), {'k': 4}))),
            (apply_at([0, -1, 2], str), (1, 2, 3), ('1', 2, '3')),
            (apply_at(range(2), str), (1, 2, 3), ('1', '2', 3)),
            (apply_at(np.int64(1), str), np.array([1, 2]), (1, '2')),
            (apply_at(0.0, str), (1, 2), ('1', 2)),
            (apply_at(np.float32(-1), str), (1, 2), (1, '2')),
            (apply_at([0, 2.0], str), (1, 2, 3), ('1', 2, '3')),
            (random_apply(True, str), 1, '1'),
            (random_apply(np.False_, str), 1, 1),
            (multiply(called, 3, k=4), [1, 2], (((1, 3), {'k': 4}), ((2, 3), {'k': 4}))),
            (multiply(str), range(3), ('0', '1', '2')),
            (multiply(str), (), ()),
            (zip_apply(str, float), (1, 2), ('1', 2.0)),
            (zip_apply(str, float), (1, 2, 3), ('1', 2.0)),
            (zip_apply(str, float), [1], ('1',)),
            (zip_apply(called, called, k=4), (1, 2), (((1,), {'k': 4}), ((2,), {'k': 4}))),
            (random_apply(1, called, 3, k=4), (1, 2), (((1, 2), 3), {'k': 4})),
            (random_apply(0, called, 3, k=4), [1, 2], [1, 2]),
            (sample_args(called, lambda: 3, k=lambda: 4), (1, 2), (((1, 2), 3), {'k': 4})),
        ],
    )
    def test_as_functions_of_one_item_and_as_stages_they_do_the_same(self, function, item, expected):
        for result in (function(item), function.item(item), *([item] | function)):
            assert result == expected
            assert type(result) is type(expected)

    def test_any_iterable_is_an_item(self):
        assert multiply(str)(iter('ab')) == apply_at(1, str)(iter('ab')) == unpack_args(pair)(iter('ab')) == ('a', 'b')

    @pytest.mark.parametrize(
        ('function', 'expected'),
        [
            (unpack_args(called, 'own', k=1), (('x', 'y', 'more', 'own'), {'m': 2, 'k': 1})),
            (apply_at(0, called, 'own', k=1), ((('x', 'more', 'own'), {'m': 2, 'k': 1}), 'y')),
            (multiply(called, 'own'), ((('x', 'more', 'own'), {'m': 2}), (('y', 'more', 'own'), {'m': 2}))),
            (zip_apply(called, k=1), ((('x', 'more'), {'m': 2, 'k': 1}),)),
            (random_apply(1, called, 'own', k=1), ((('x', 'y'), 'more', 'own'), {'m': 2, 'k': 1})),
            (sample_args(called, lambda: 'drawn'), ((('x', 'y'), 'more', 'drawn'), {'m': 2})),
            (random_apply(1, apply_at(1, multiply(called))), ('x', ((('y', 'more'), {'m': 2}),))),
        ],
    )
    def test_further_arguments_come_right_behind_the_item(self, function, expected):
        """The order is: the item, what the call adds, what the function was made with; also through other functions."""
        assert function(('x', 'y'), 'more', m=2) == expected
        assert list(Threads(function, 'more', m=2)([('x', 'y')])) == [expected]

    def test_drawn_arguments_reach_through_other_functions(self):
        """As for image and mask that have to be rotated by the same angle."""
        rotate = sample_args(apply_at([0, 1], called), angle=np.random.normal)
        results = list(itpipe.pipe([('image', 'mask', 'label')] * 3, rotate))
        angles = [image[1]['angle'] for image, mask, label in results]
        assert [(image[0], mask[0], label) for image, mask, label in results] == 3 * [(('image',), ('mask',), 'label')]
        assert [mask[1]['angle'] for image, mask, label in results] == angles
        assert len(set(angles)) == 3

    def test_an_item_that_is_left_alone_loses_nothing(self):
        assert sample_args(random_apply(0, called), k=lambda: 4)((1, 2)) == (1, 2)
        assert list([(1, 2)] | sample_args(random_apply(0, called), k=lambda: 4)) == [(1, 2)]

    def test_they_nest_in_stages_of_itpipe_and_take_them(self):
        assert list([((-1, -2), 3)] | itpipe.map_at(0, multiply(abs))) == [((1, 2), 3)]
        assert apply_at(0, itpipe.apply(abs) | str)((-1, 2)) == ('1', 2)

    def test_repr_equality_and_pickle(self):
        for make, text in (
            (lambda: unpack_args(pow, 2), 'unpack_args(pow, 2)'),
            (lambda: apply_at([0, 1], zoom, scale_factor=2), 'apply_at([0, 1], zoom, scale_factor=2)'),
            (lambda: multiply(np.float32), 'multiply(float32)'),
            (lambda: zip_apply(abs, pow, k=1), 'zip_apply(abs, pow, k=1)'),
            (lambda: random_apply(0.5, multiply(abs)), 'random_apply(0.5, multiply(abs))'),
            (lambda: Threads(pow, 2, n_workers=3, k=1), 'Threads(pow, 2, k=1, n_workers=3)'),
            (lambda: Loky(pow, n_workers=-1, buffer_size=3), 'Loky(pow, n_workers=-1, buffer_size=3)'),
        ):
            assert repr(make()) == text
            assert make() == make() == pickle.loads(pickle.dumps(make()))
            assert make() != multiply(abs)
        drawing = sample_args(pair, partial(np.random.randint, 1 << 40))
        assert repr(drawing).startswith('sample_args(pair, partial(')
        assert pickle.loads(pickle.dumps(drawing)).item(2, seed=0) == drawing.item(2, seed=0)
        assert pickle.loads(pickle.dumps(apply_at(0, abs)))((-1,)) == (1,)

    def test_wrong_arguments(self):
        rule = '`func` must be a function or an item-wise stage, got int'
        refuses(TypeError, f'unpack_args: {rule}', unpack_args, 3)
        refuses(TypeError, f'apply_at: {rule}', apply_at, 0, 3)
        refuses(TypeError, f'multiply: {rule}', multiply, 3)
        refuses(TypeError, f'random_apply: {rule}', random_apply, 0.5, 3)
        refuses(TypeError, f'sample_args: {rule}', sample_args, 3)
        refuses(TypeError, f'zip_apply: {rule}'.replace('func`', 'functions[1]`'), zip_apply, abs, 3)
        refuses(TypeError, 'map_at: `index` must be ints or dict keys, got 0.5', apply_at, 0.5, abs)
        refuses(ValueError, 'map_at: `index` must not be empty, got []', apply_at, [], abs)
        refuses(ValueError, 'random_apply: `p` must be between 0 and 1, got 2', random_apply, 2, abs)
        refuses(TypeError, 'sample_args: `args[1]` must be a function, got int', sample_args, abs, abs, 3)
        refuses(TypeError, 'sample_args: `angle` must be a function, got float', sample_args, abs, angle=0.5)
        refuses(IndexError, 'map_at: no element 2 in an item of 2', apply_at([0, 2], abs), (1, 2))
        refuses(IndexError, 'map_at: no element -3 in an item of 2', apply_at(-3, abs), (1, 2))
        refuses(TypeError, "'int' object is not iterable", multiply(abs), 3)


SAMPLERS = {
    'numpy.random': np.random.normal,
    'a partial': partial(np.random.randint, 1 << 40),
    'random': random.random,
    'RandomState': np.random.RandomState(0).normal,
    'Generator': np.random.default_rng(0).normal,
    'Random': random.Random(0).random,
}


def drawn(n, *transforms, seed=None, source=None):
    """The n second elements of what the transforms make of numbers."""
    source = sample(range(1000), random_state=seed) if source is None else source
    with Infinite(source, *transforms, batch_size=n, batches_per_epoch=1) as batch_iter:
        ((_, values),) = batch_iter()
    return values.tolist()


class TestRandomness:
    @pytest.fixture(autouse=True)
    def global_state_is_left_alone(self):
        before, plain_before = np.random.get_state(), random.getstate()
        yield
        assert pickle.dumps(np.random.get_state()) == pickle.dumps(before)
        assert random.getstate() == plain_before

    @pytest.mark.parametrize('sampler', SAMPLERS.values(), ids=SAMPLERS)
    def test_copies_of_a_sampler_do_not_draw_the_same(self, sampler):
        """As each worker has a copy."""
        data = cloudpickle.dumps(sample_args(pair, sampler))
        one, other = pickle.loads(data), pickle.loads(data)
        assert len({one(0), one(0), other(0), other(0)}) == 4

    def test_no_two_items_get_the_same_in_processes(self):
        draw = Loky(sample_args(pair, *SAMPLERS.values()), n_workers=2)
        with Infinite(repeat(0), draw, batch_size=40, batches_per_epoch=1) as batch_iter:
            ((_, *columns),) = batch_iter()
        assert [len(set(values)) for values in columns] == [40] * len(SAMPLERS)

    def test_no_two_items_get_the_same_from_a_function_that_calls_it(self):
        """Within another function, where it has no item's generator, neither."""
        augment = sample_args(pair, np.random.normal)

        def call(x):
            return augment(x)

        assert len(set(drawn(40, Loky(call, n_workers=2)))) == 40
        assert len(set(drawn(40, Threads(call, n_workers=4)))) == 40
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(call, repeat(0, 200)))) == 200

    @pytest.mark.parametrize('sampler', SAMPLERS.values(), ids=SAMPLERS)
    def test_the_random_state_of_the_source_fixes_all_bits_in_every_mode(self, sampler):
        augment = random_apply(0.7, sample_args(pair, sampler))
        wanted = drawn(30, augment, as_pair, seed=1)
        assert len(set(wanted)) > 10
        assert 0 in wanted
        assert drawn(30, Threads(augment, n_workers=3, buffer_size=2), as_pair, seed=1) == wanted
        assert drawn(30, Threads(augment), Iterator(plain), Threads(as_pair), seed=1) == wanted
        assert drawn(30, augment, as_pair, seed=2) != wanted

    def test_processes_give_the_same_bits(self):
        augment = random_apply(0.7, apply_at(0, sample_args(pair, np.random.normal, partial(random.gauss, 0, 1))))
        source = partial(sample, [(0, 1), (2, 3)], random_state=1)
        with (
            Infinite(source(), augment, batch_size=30, batches_per_epoch=1, combiner=list) as here,
            Infinite(source(), Loky(augment, n_workers=2), batch_size=30, batches_per_epoch=1, combiner=list) as there,
        ):
            wanted = list(here())
            assert list(there()) == wanted
        assert len(set(wanted[0])) > 10

    def test_the_global_seeds_change_nothing(self):
        state, plain_state = np.random.get_state(), random.getstate()
        augment = sample_args(pair, np.random.normal)
        results = []
        for seed in (0, 1):
            np.random.seed(seed)
            random.seed(seed)
            results.append(drawn(10, augment, seed=3))
        assert results[0] == results[1]
        np.random.seed(0)
        first = augment(0)
        np.random.seed(0)
        assert augment(0) != first  # as a function of one item: drawn afresh, not from the global state
        np.random.set_state(state)
        random.setstate(plain_state)

    def test_seed_of_infinite_and_of_one_item(self):
        def values(seed):
            with Infinite(
                ((x,) for x in range(20)), apply_at(0, sample_args(pair, np.random.normal)), seed=seed,
                batch_size=20, batches_per_epoch=1, combiner=list,
            ) as batch_iter:  # fmt: skip
                ((items),) = batch_iter()
            return items

        assert values(0) == values(0) != values(1)
        flip = random_apply(0.5, str)
        results = [flip.item(0, ordinal, seed=5) for ordinal in range(50)]
        assert results == [flip.item(0, ordinal, seed=5) for ordinal in range(50)]
        assert set(results) == {0, '0'}

    def test_seed_of_a_pool(self):
        def values(seed):
            with Infinite(
                ((x,) for x in range(30)), ExpirationPool(5, 2), seed=seed, batch_size=60, batches_per_epoch=1
            ) as batch_iter:
                (((xs,),),) = [batch_iter()]
            return xs.tolist()

        assert values(0) == values(0) != values(1)

    def test_a_probability_is_kept_by_calls_and_in_a_stream(self):
        flip = random_apply(0.25, str)
        in_calls = sum(flip(0) == '0' for _ in range(2000))
        in_stream = sum(item == '0' for item in itpipe.stream(repeat(0, 2000), seed=0) | flip)
        assert 365 < in_calls < 635  # 7 standard deviations
        assert 365 < in_stream < 635

    def test_samplers_that_are_functions_are_called_as_they_are(self):
        counter = count()
        add = sample_args(pair, partial(next, counter), k=lambda: -1)
        assert [add(0), add(0)] == [(0, 0, -1), (0, 1, -1)]
        assert list(itpipe.pipe([0, 0], add)) == [(0, 2, -1), (0, 3, -1)]

    def test_samplers_have_the_distribution_that_they_name(self):
        for sampler in (partial(np.random.normal, 5, 2), partial(random.gauss, 5, 2), np.random.RandomState(0).randn):
            stream = itpipe.stream(repeat(0, 4000), seed=0) | sample_args(pair, sampler)
            values = [value for _, value in stream]
            mean, scale = (0, 1) if not isinstance(sampler, partial) else (5, 2)
            assert abs(np.mean(values) - mean) < 0.08 * scale
            assert abs(np.std(values) - scale) < 0.08 * scale


def as_pair(item):
    return item if isinstance(item, tuple) else (item, 0)
