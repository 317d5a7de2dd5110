"""`itpipe.dpipe`: old scripts run with the import line changed, and what is better than it was is."""

import importlib
import os
import pickle
import random
import re
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, islice, repeat
from types import ModuleType

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import itpipe
from itpipe import dpipe
from itpipe.dpipe import (
    ExpirationPool,
    Infinite,
    Iterator,
    Loky,
    Threads,
    apply_at,
    combine_batches,
    combine_pad,
    combine_to_arrays,
    expiration_pool,
    load_by_random_id,
    make_infinite_batch_iter,
    multiply,
    pad_batch_equal,
    random_apply,
    sample,
    sample_args,
    unpack_args,
    zip_apply,
)
from itpipe.image import zoom


def called(*args, **kwargs):
    """What it was called with."""
    return args, kwargs


def pair(*args, **kwargs):
    return (*args, *kwargs.values())


def refuses(error, message, f, *args, **kwargs):
    with pytest.raises(error) as caught:
        f(*args, **kwargs)
    assert str(caught.value) == message


class Digits:
    """Like the old tutorial's MNIST: a sequence of pairs, and loaders by id."""

    def __init__(self, n=50):
        rng = np.random.default_rng(0)
        self.ids = [f'digit-{i}' for i in range(n)]
        self.images = dict(zip(self.ids, rng.random((n, 28, 28), np.float32), strict=True))

    def load_image(self, id_):
        return self.images[id_][None]

    def load_label(self, id_):
        return self.ids.index(id_) % 10

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        id_ = self.ids[index]
        return self.images[id_], self.load_label(id_)


class TestOldScripts:
    """What the tutorials of dpipe's versions did, with `from itpipe.dpipe import …`."""

    def test_the_oldest_tutorial(self):
        dataset = Digits()
        batch_iter = make_infinite_batch_iter(
            load_by_random_id(dataset.load_image, dataset.load_label, ids=dataset.ids),
            batch_size=30, n_iters_per_epoch=10,
        )  # fmt: skip
        x, y = next(load_by_random_id(dataset.load_image, dataset.load_label, ids=dataset.ids))
        assert x.shape == (1, 28, 28)
        assert y in range(10)
        for _ in range(2):
            assert [(xs.shape, ys.shape) for xs, ys in batch_iter] == 10 * [((30, 1, 28, 28), (30,))]
        batch_iter.close()
        with batch_iter:
            for xs, ys in batch_iter:
                assert (xs.shape, ys.shape) == ((30, 1, 28, 28), (30,))

    def test_sampling_and_epochs(self):
        dataset = Digits()
        batch_iter = Infinite(sample(dataset), batch_size=30, batches_per_epoch=10)
        for x, y in sample(dataset):
            assert (x.shape, y in range(10)) == ((28, 28), True)
            break
        for _ in range(2):
            assert [(xs.shape, ys.shape) for xs, ys in batch_iter()] == 10 * [((30, 28, 28), (30,))]
        batch_iter.close()
        with batch_iter:
            assert len(list(batch_iter())) == 10

    def test_transforms(self):
        dataset = Digits()

        def zoom_pair(pair):
            image, label = pair
            return zoom(image, scale_factor=[2, 2]), label

        def zoom_image(image, label):
            return zoom(image, scale_factor=[2, 2]), label

        for transform in (
            zoom_pair,
            unpack_args(zoom_image),
            unpack_args(lambda image, label: [zoom(image, scale_factor=[2, 2]), label]),
            apply_at(0, zoom, scale_factor=[2, 2]),
        ):
            batch_iter = Infinite(sample(dataset, random_state=0), transform, batch_size=30, batches_per_epoch=3)
            with batch_iter:
                epoch = list(batch_iter())
            assert [(xs.shape, ys.shape) for xs, ys in epoch] == 3 * [((30, 56, 56), (30,))]
            first = next(sample(dataset, random_state=0))
            np.testing.assert_array_equal(epoch[0][0][0], zoom(first[0], 2))
            assert epoch[0][1][0] == first[1]

    def test_threads_and_processes(self):
        def do_stuff(x):
            return (x**2,)

        for transform in (do_stuff, Threads(do_stuff, n_workers=2), Loky(do_stuff, n_workers=2)):
            batch_iter = Infinite(range(10), transform, batch_size=10, batches_per_epoch=1)
            ((values,),) = batch_iter()
            assert values.tolist() == [x**2 for x in range(10)]
            batch_iter.close()

    def test_padding_and_adaptive_batches(self):
        rng = np.random.default_rng(0)
        images = [rng.random((10, 10, rng.integers(2, 40))) for _ in range(100)]
        labels = rng.integers(0, 2, size=30)

        def should_add(seq, item):
            total = 0
            for image, _ in [*seq, item]:
                total += image.shape[-1]
            return total <= 100

        with Infinite(
            sample(list(zip(images, labels, strict=False))),
            batch_size=5, batches_per_epoch=3,
            combiner=combine_pad
        ) as batch_iter:  # fmt: skip
            for xs, ys in batch_iter():
                assert xs.shape[:3] == (5, 10, 10)
                assert ys.shape == (5,)
        with Infinite(
            sample(list(zip(images, labels, strict=False))),
            batch_size=should_add, batches_per_epoch=8,
            combiner=combine_pad, padding_values=[-1, 0],
        ) as batch_iter:  # fmt: skip
            for xs, ys in batch_iter():
                assert len(xs) == len(ys) > 1
                assert (xs >= 0).any(axis=(1, 2)).sum() <= 100

    def test_all_at_once(self):
        """The line that the issue of this module began with."""
        dataset = Digits()

        def f(image, label):
            return image + 1, label

        def g(item):
            return item

        def h(item, shift):
            return item[0], item[1] + shift

        def should_add(items, item):
            return len(items) < 30

        for batch_size in (30, should_add):
            with Infinite(
                sample(dataset, random_state=0), unpack_args(f), apply_at(0, zoom, scale_factor=[2, 2]),
                Threads(g, n_workers=2), Loky(h, 100, n_workers=2), batch_size=batch_size, batches_per_epoch=10,
                combiner=combine_pad, padding_values=-1, ratio=0,
            ) as batch_iter:  # fmt: skip
                first, again = list(batch_iter()), list(batch_iter)
            want = islice(sample(dataset, random_state=0), 600)
            for xs, ys in first + again:
                assert xs.shape == (30, 56, 56)
                for x, y in zip(xs, ys, strict=True):
                    image, label = next(want)
                    np.testing.assert_array_equal(x, zoom(image + 1, 2))
                    assert y == label + 100

    def test_every_old_name_is_there(self):
        old = """Infinite Threads Loky Iterator ExpirationPool expiration_pool combine_batches combine_to_arrays
        combine_pad pad_batch_equal sample load_by_random_id unpack_args apply_at multiply zip_apply random_apply
        sample_args make_infinite_batch_iter"""
        assert sorted(dpipe.__all__) == sorted(old.split())
        table = re.findall(r'^([\w, (…)=.]+?)  +(\w+)', dpipe.__doc__, re.MULTILINE)
        named = [name for left, _ in table for name in re.findall(r'\w+', left) if name in dpipe.__all__]
        assert sorted(named) == sorted(dpipe.__all__)
        assert {right for _, right in table if right != 'itpipe'} <= set(itpipe.__all__)

    def test_submodules_answer(self):
        """Each old name in the module where it was, the same object as in the package, and pickled by that."""
        where = {
            'combiner': 'combine_batches combine_to_arrays combine_pad',
            'expiration_pool': 'ExpirationPool expiration_pool',
            'pipeline': 'Infinite Threads Loky Iterator make_infinite_batch_iter combine_batches combine_to_arrays '
            'combine_pad',
            'sources': 'sample load_by_random_id',
            'utils': 'pad_batch_equal unpack_args multiply apply_at zip_apply random_apply sample_args',
        }
        found = set()
        for name, names in where.items():
            module = importlib.import_module(f'itpipe.dpipe.{name}')
            assert sorted(module.__all__) == sorted(names.split())
            for each in names.split():
                assert getattr(module, each) is getattr(dpipe, each)
                assert pickle.loads(pickle.dumps(getattr(module, each))) is getattr(dpipe, each)
            found.update(names.split())
        assert found == set(dpipe.__all__)
        assert callable(dpipe.expiration_pool)  # not the module of that name, as it was there, too


# ---------------------------------------------------------------------------------------------------------------------


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


# ---------------------------------------------------------------------------------------------------------------------

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


def plain(iterator):
    yield from iterator


def as_pair(item):
    return item if isinstance(item, tuple) else (item, 0)


# ---------------------------------------------------------------------------------------------------------------------


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


# ---------------------------------------------------------------------------------------------------------------------


class TestTransforms:
    def test_arguments_come_behind_the_item(self):
        for kind in (Threads, Loky):
            transform = kind(called, 2, n_workers=2, k=3, threads='x', ordered='y')
            expected = {'k': 3, 'threads': 'x', 'ordered': 'y'}
            assert list(transform([0, 1])) == [((0, 2), expected), ((1, 2), expected)]
        called_on_each = Iterator(lambda items, *args, **kwargs: (called(x, *args, **kwargs) for x in items), 2, k=3)
        assert list(called_on_each([0])) == [((0, 2), {'k': 3})]

    def test_threads_keep_the_order_whichever_is_done_first(self):
        second_done = threading.Event()

        def first_waits(x):
            if x == 0:
                assert second_done.wait(20)
            if x == 1:
                second_done.set()
            return x

        assert list(Threads(first_waits, n_workers=2)(range(10))) == list(range(10))

    def test_loky_runs_elsewhere_and_counts_from_the_cores(self):
        pids = set(Loky(lambda _: os.getpid(), n_workers=-1)(range(20)))
        assert os.getpid() not in pids
        assert 1 <= len(pids) <= os.cpu_count()

    @pytest.mark.parametrize(
        ('options', 'ahead'),
        [({}, 2), ({'n_workers': 3}, 6), ({'buffer_size': 5}, 6), ({'n_workers': 3, 'buffer_size': 2}, 6),
         ({'n_workers': 2, 'buffer_size': 7}, 9)],
    )  # fmt: skip
    def test_buffer_size_bounds_how_far_they_run_ahead(self, options, ahead, monkeypatch):
        """As many as there are workers, and `buffer_size` results, but no fewer of these than workers."""
        monkeypatch.setattr('itpipe._workers.inline.InlinePolicy.CHEAP', 0)
        monkeypatch.setattr('itpipe._workers.window.HELD', 1000)
        source = count()
        results = iter(Threads(abs, **options)(source))
        assert next(results) == 0
        assert next(source) == ahead
        results.close()

    def test_an_iterator_with_a_buffer_runs_in_a_thread_of_its_own(self):
        def threads(items, seen):
            for item in items:
                seen.add(threading.current_thread())
                yield item

        here, there = set(), set()
        assert list(Iterator(threads, here)(range(3))) == [0, 1, 2]
        assert list(Iterator(threads, there, buffer_size=2)(range(3))) == [0, 1, 2]
        assert here == {threading.current_thread()}
        assert len(there - here) == len(there) == 1

    @pytest.mark.parametrize(
        ('transform', 'arguments', 'text'),
        [(partial(map, str), (), 'map()'), (partial(plain), (), 'plain()'), (islice, (3,), 'islice(3)')],
        ids=['a builtin', 'a partial', 'a class'],
    )
    def test_an_iterator_takes_any_function_of_one(self, transform, arguments, text):
        made = Iterator(transform, *arguments)
        assert repr(made) == text
        for copied in (made, pickle.loads(pickle.dumps(made))):
            assert list(copied(range(3))) in ([0, 1, 2], ['0', '1', '2'])

    def test_an_iterator_in_several_workers_warns_and_gives_each_item_once(self):
        message = '^Iterator: `n_workers` above 1 has no effect; `Threads` runs a function of one item in several$'
        with pytest.warns(UserWarning, match=message) as caught:
            transform = Iterator(plain, n_workers=3)
        assert caught[0].filename == __file__
        assert list(transform(range(5))) == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize('kind', [Threads, Loky])
    def test_errors_arrive_as_raised_with_the_stage_and_the_item(self, kind):
        def fail(x):
            return x // (x - 3)

        results = iter(kind(fail, n_workers=2)(range(5)))
        assert [next(results) for _ in range(3)] == [0, -1, -2]
        with pytest.raises(ZeroDivisionError) as caught:
            next(results)
        assert caught.value.__notes__ == [f'itpipe: raised in {kind.__name__}(fail, n_workers=2), item 3']

    def test_subclasses_as_with_the_classes_that_they_were(self):
        class Doubled(Iterator):
            def __init__(self, times):
                super().__init__(lambda items: (x * times for x in items))

        class InThreads(Threads):
            pass

        assert list(itpipe.pipe([1, 2], Doubled(3), InThreads(str))) == ['3', '6']
        assert isinstance(Doubled(3), Iterator)

    def test_expiration_pool(self):
        for results in (
            expiration_pool(range(20), pool_size=4, repetitions=3, iterations=2),
            ExpirationPool(4, 3, iterations=2)(range(20)),
            Iterator(expiration_pool, 4, 3, iterations=2)(range(20)),
        ):
            values = list(results)
            assert Counter(values) == dict.fromkeys(range(20), 3)
            assert values != sorted(values)
            last = {value: place for place, value in enumerate(values)}
            alive = [sum(values.index(x) <= place <= last[x] for x in range(20)) for place in range(60)]
            assert max(alive) <= 4

    def test_expiration_pool_asks_for_an_item_after_so_many_iterations(self):
        for iterations, taken in ((1, 3), (2, 2), (4, 1)):
            for pool in (partial(expiration_pool, pool_size=3, repetitions=9, iterations=iterations),
                         ExpirationPool(3, 9, iterations)):  # fmt: skip
                source = iter(range(100))
                results = pool(source)
                assert {next(results) for _ in range(3)} <= set(range(taken))
                assert next(source) == taken
                results.close()

    def test_wrong_arguments(self):
        for kind in (Threads, Loky):
            name = kind.__name__
            refuses(TypeError, f'{name}: `func` must be a function or an item-wise stage, got int', kind, 3)
            refuses(ValueError, f'{name}: `n_workers` must not be 0', kind, abs, n_workers=0)
            refuses(TypeError, f'{name}: `n_workers` must be an int, got float', kind, abs, n_workers=1.0)
            refuses(ValueError, f'{name}: `buffer_size` must be at least 1, got 0', kind, abs, buffer_size=0)
        refuses(TypeError, 'stage: `function` must be a function, got int', Iterator, 3)
        refuses(TypeError, 'plain: too many positional arguments', Iterator, plain, 3)
        refuses(ValueError, 'Iterator: `n_workers` must be at least 1, got 0', Iterator, plain, n_workers=0)
        refuses(ValueError, 'Iterator: `buffer_size` must be at least 1, got 0', Iterator, plain, buffer_size=0)
        refuses(ValueError, 'reuse: `pool_size` must be at least 1, got 0', ExpirationPool, 0, 1)
        refuses(ValueError, 'reuse: `repetitions` must be at least 1, got 0', expiration_pool, [], 1, 0)


# ---------------------------------------------------------------------------------------------------------------------


def pairs():
    return zip(count(), count(10))


class TestInfinite:
    def test_it_is_the_real_thing(self):
        batch_iter = Infinite(pairs(), batch_size=2, batches_per_epoch=3)
        assert isinstance(batch_iter, itpipe.Infinite)
        assert len(batch_iter) == batch_iter.batches_per_epoch == 3

    def test_epochs_go_on_whichever_way_they_are_asked_for(self):
        with Infinite(pairs(), batch_size=2, batches_per_epoch=2) as batch_iter:
            epochs = [list(batch_iter()), list(batch_iter), [next(batch_iter())]]
        values = [[(xs.tolist(), ys.tolist()) for xs, ys in epoch] for epoch in epochs]
        expected = [([n, n + 1], [n + 10, n + 11]) for n in range(0, 10, 2)]
        assert values == [expected[:2], expected[2:4], expected[4:]]

    @pytest.mark.filterwarnings('ignore:Infinite. an epoch')
    def test_a_finite_source_ends_an_epoch_and_starts_again(self):
        with Infinite([(1,), (2,), (3,)], batch_size=2, batches_per_epoch=5) as batch_iter:
            assert [[xs.tolist() for (xs,) in batch_iter()] for _ in range(2)] == 2 * [[[1, 2], [3]]]

    def test_combiners(self):
        def batch(**options):
            with Infinite(pairs(), batch_size=2, batches_per_epoch=1, **options) as batch_iter:
                (result,) = batch_iter()
            return result

        assert batch(combiner=list) == [(0, 10), (1, 11)]
        assert batch(combiner=combine_batches) == ((0, 1), (10, 11))
        assert batch(combiner=called, prefetch=1, f=2) == (([(0, 10), (1, 11)],), {'prefetch': 1, 'f': 2})
        assert batch(combiner=Threads(combine_batches, n_workers=2)) == ((0, 1), (10, 11))
        assert batch(combiner=itpipe.combine_lists) == ([0, 1], [10, 11])
        assert [xs.tolist() for xs in batch(combiner=multiply(np.array))] == [[0, 10], [1, 11]]

    def test_buffer_size_is_how_many_batches_are_kept_ready(self):
        items = [(0, 0)]
        kept = Infinite(items, batch_size=2, batches_per_epoch=1, buffer_size=3)
        assert repr(kept) == (
            'Infinite([(0, 0)] | batch_by(2) | apply(combine_to_arrays), batches_per_epoch=1, prefetch=3)'
        )
        assert 'prefetch' not in repr(Infinite(items, batch_size=2, batches_per_epoch=1))

    def test_an_error_arrives_as_raised_behind_the_batches_before_it(self):
        def fail(x):
            if x == 5:
                raise LookupError('five', 5)
            return (x,)

        batch_iter = Infinite(count(), Threads(fail, n_workers=2), batch_size=2, batches_per_epoch=9)
        epoch = batch_iter()
        assert [next(epoch)[0].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
        with pytest.raises(LookupError) as caught:
            next(epoch)
        assert caught.value.args == ('five', 5)

    def test_pickle_before_the_start(self):
        batch_iter = Infinite(
            sample([(1, 2), (3, 4)], random_state=0), apply_at(0, abs), batch_size=4, batches_per_epoch=2
        )
        copied = pickle.loads(pickle.dumps(batch_iter))
        for (xs, ys), (xs_too, ys_too) in zip(batch_iter, copied, strict=True):
            assert (xs.tolist(), ys.tolist()) == (xs_too.tolist(), ys_too.tolist())
        batch_iter.close()
        copied.close()

    def test_closing_callback(self, monkeypatch):
        callbacks = ModuleType('lightning.pytorch.callbacks')
        callbacks.Callback = object
        for name in ('lightning', 'lightning.pytorch'):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, callbacks.__name__, callbacks)
        threads = threading.active_count()
        batch_iter = Infinite(pairs(), batch_size=2, batches_per_epoch=2)
        next(batch_iter())
        assert threading.active_count() == threads + 1
        batch_iter.closing_callback.teardown(None, None, 'fit')
        assert threading.active_count() == threads

    def test_wrong_arguments(self):
        def infinite(*transforms, **options):
            return Infinite(pairs(), *transforms, **{'batch_size': 2, 'batches_per_epoch': 2} | options)

        refuses(ValueError, 'Infinite: `buffer_size` must be at least 1, got 0', infinite, buffer_size=0)
        refuses(ValueError, 'Infinite: `batch_size` must be at least 1, got 0', infinite, batch_size=0)
        refuses(TypeError, 'Infinite: `batch_size` must be an int, got float', infinite, batch_size=0.5)
        refuses(TypeError, 'Infinite: `batch_size` must be an int, got list', infinite, batch_size=[1])
        refuses(ValueError, 'Infinite: `batches_per_epoch` must be at least 1, got 0', infinite, batches_per_epoch=0)
        message = 'Infinite: `combiner` must be a function or an item-wise stage, got int'
        refuses(TypeError, message, infinite, combiner=3)
        message = 'Infinite: `ratio` goes to a function, but `combiner` is Threads(combine_pad, n_workers=1)'
        refuses(ValueError, message, infinite, combiner=Threads(combine_pad), ratio=0)
        message = 'Infinite: `transforms[0]` must be a stage or a function of one item, got int'
        refuses(TypeError, message, infinite, 3)
        message = 'make_infinite_batch_iter: `n_iters_per_epoch` must be at least 1, got 0'
        refuses(ValueError, message, make_infinite_batch_iter, pairs(), batch_size=2, n_iters_per_epoch=0)
        with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'batch_size'"):
            make_infinite_batch_iter(pairs(), n_iters_per_epoch=1)


# ---------------------------------------------------------------------------------------------------------------------


def same_arrays(results, expected):
    assert type(results) is tuple
    assert len(results) == len(expected)
    for result, array in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, array, strict=True)


class TestCombining:
    @pytest.mark.parametrize(
        'items',
        [
            [(1, 2.5), (3, 4)],
            [[1, 'a'], [2, 'bcd']],
            [(np.zeros((2, 3), np.uint8), True), (np.ones((2, 3), np.float32), False)],
            [([1, 2], (3, 4, 5)), ([6, 7], (8, 9, 10))],
            [({'a': 1}, None), ({'b': 2}, 3)],
            [(np.float32(1),), (2,)],
            [np.arange(3), np.arange(3)],
            [[b'a'], [b'bc']],
        ],
    )
    def test_to_arrays_is_what_numpy_makes_of_each_column(self, items):
        columns = list(zip(*items, strict=True))
        same_arrays(combine_to_arrays(items), [np.array(column) for column in columns])
        assert combine_batches(items) == tuple(columns) or isinstance(items[0], np.ndarray)

    @given(st.data())
    def test_pad_is_what_numpy_pads(self, data):
        """For any shapes, dtypes, values and shares, each element by itself."""
        columns, values = [], []
        ratio = data.draw(st.floats(0, 1))
        count = data.draw(st.integers(1, 4))
        for _ in range(data.draw(st.integers(1, 3))):
            ndim, dtype = data.draw(st.integers(0, 3)), data.draw(st.sampled_from(['bool', 'uint8', 'float32']))
            shapes = [data.draw(st.tuples(*[st.integers(0, 4)] * ndim)) for _ in range(count)]
            columns.append([data.draw(hnp.arrays(dtype, shape, elements=st.integers(0, 1))) for shape in shapes])
            values.append(data.draw(st.sampled_from([0, 1])))
        results = combine_pad(list(zip(*columns, strict=True)), values, ratio)
        expected = []
        for column, value in zip(columns, values, strict=True):
            shape = np.max([array.shape for array in column], axis=0).astype(int)
            padded = []
            for array in column:
                before = ((shape - array.shape) * ratio).astype(int)
                widths = np.transpose([before, shape - array.shape - before])
                padded.append(np.pad(array, widths, constant_values=value) if array.ndim else array)
            expected.append(np.array(padded))
        same_arrays(results, expected)

    def test_padding_options(self):
        items = [(np.array([[1, 2, 3]]), 5), (np.array([[4], [6]]), 7)]
        images, labels = combine_pad(items, ratio=[1, 0])
        assert images.tolist() == [[[0, 0, 0], [1, 2, 3]], [[4, 0, 0], [6, 0, 0]]]
        assert labels.tolist() == [5, 7]
        assert combine_pad(items, np.max, [0])[0].tolist() == [[[1, 2, 3], [3, 3, 3]], [[4, 6, 6], [6, 6, 6]]]
        images, masks = combine_pad([(x, x) for x, _ in items], [np.min, -1], ratio=0)
        assert images.tolist() == [[[1, 2, 3], [1, 1, 1]], [[4, 4, 4], [6, 4, 4]]]
        assert masks.tolist() == [[[1, 2, 3], [-1, -1, -1]], [[4, -1, -1], [6, -1, -1]]]
        assert combine_pad(items, np.array([9]), 0)[0][1].tolist() == [[4, 9, 9], [6, 9, 9]]

    def test_pad_batch_equal(self):
        assert pad_batch_equal([[1, 2, 3], [4]], -1, 1).tolist() == [[1, 2, 3], [-1, -1, 4]]
        assert pad_batch_equal([np.ones((1, 2)), np.ones((2, 1))], ratio=[0, 1]).tolist() == [
            [[1, 1], [0, 0]],
            [[0, 1], [0, 1]],
        ]
        assert pad_batch_equal([1, 2]).tolist() == [1, 2]

    def test_wrong_items_and_options(self):
        zeros = np.zeros
        refuses(ValueError, 'zip() argument 2 is longer than argument 1', combine_batches, [(1,), (1, 2)])
        message = 'combine: item 1 has 2 elements, but item 0 has 1 elements'
        refuses(ValueError, message, combine_to_arrays, [(1,), (1, 2)])
        message = (
            'combine: element [1] of item 1 has shape (3,), but item 0 has shape (2,);'
            ' combine_pad pads to a common shape'
        )
        refuses(ValueError, message, combine_to_arrays, [(0, zeros(2)), (0, zeros(3))])
        refuses(ValueError, 'combine: `items` must not be empty', combine_to_arrays, [])
        refuses(ValueError, 'combine_pad: `items` must not be empty', combine_pad, [], ratio=[0, 1])
        items = [(0, zeros(2, np.uint8)), (0, zeros(3, np.uint8))]
        message = (
            'combine_pad: `padding_values` for element [1] of an item must fit dtype uint8, got -1;'
            ' give another value, or convert the arrays before'
        )
        refuses(ValueError, message, combine_pad, items, -1)
        message = 'combine_pad: `padding_values` has 3 values, but an item has 2 elements'
        refuses(ValueError, message, combine_pad, items, [0, 1, 2])
        message = 'combine_pad: `ratio` has 2 values, but element [1] of an item has 1 axes'
        refuses(ValueError, message, combine_pad, items, ratio=[0, 1])
        refuses(ValueError, 'combine_pad: `ratio` must be between 0 and 1, got 2', combine_pad, items, ratio=2)
        refuses(TypeError, "'int' object is not iterable", combine_to_arrays, [1, 2])
