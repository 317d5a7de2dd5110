"""`Infinite`, and what its functions run in."""

import os
import pickle
import sys
import threading
from collections import Counter
from functools import partial
from itertools import count, islice
from types import ModuleType

import numpy as np
import pytest
from dpipe_functions import called, plain, refuses

import itpipe
from itpipe.dpipe import (
    ExpirationPool,
    Infinite,
    Iterator,
    Loky,
    Threads,
    apply_at,
    combine_batches,
    combine_pad,
    expiration_pool,
    make_infinite_batch_iter,
    multiply,
    sample,
)


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
        message = (
            'Infinite: `transforms[0]` must be a stage or a function of one item, got int: did you mean `batch_size=3`?'
        )
        refuses(TypeError, message, infinite, 3)
        message = 'make_infinite_batch_iter: `n_iters_per_epoch` must be at least 1, got 0'
        refuses(ValueError, message, make_infinite_batch_iter, pairs(), batch_size=2, n_iters_per_epoch=0)
        with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'batch_size'"):
            make_infinite_batch_iter(pairs(), n_iters_per_epoch=1)
