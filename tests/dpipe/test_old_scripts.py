"""Old scripts run with the import line changed."""

import importlib
import pickle
import re
from itertools import islice

import numpy as np
import pytest

import itpipe
from itpipe import dpipe
from itpipe.dpipe import (
    Infinite,
    Loky,
    Threads,
    apply_at,
    combine_pad,
    load_by_random_id,
    make_infinite_batch_iter,
    sample,
    unpack_args,
)
from itpipe.image import zoom


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

    @pytest.mark.long
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
