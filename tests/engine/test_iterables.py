"""Iterables as sources: none is cut short, and a run goes on exactly where its source stood."""

import asyncio
import itertools
import pickle
import re
import subprocess
import sys
import textwrap
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from unittest import mock

import numpy as np
import pytest

from itpipe import (
    Infinite,
    NotRestartable,
    apply,
    batch_by,
    flatten,
    load_by_random_id,
    mix,
    parallel_map,
    sample,
    shard,
    shuffle,
    stage,
    stream,
    take,
    unpack,
)
from itpipe._core.keys import Batch
from itpipe._engine.indexing import Indices


class Data:
    """Six items, of which one cannot be made."""

    def __init__(self, error=IndexError, bad=2, size=6):
        self.error, self.bad, self.size = error, bad, size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index == self.bad:
            raise self.error('mine')
        return 10 * range(6)[index]

    def __repr__(self):
        return 'data'


class ASequence(Data, Sequence):
    pass


class WithKeys(Data):
    keys = columns = ('a', 'b')


class Delegating(Data):
    def __iter__(self):
        return iter(Data(self.error, self.bad))


class DelegatingToASequence(Data):
    def __iter__(self):
        return iter(ASequence(self.error, self.bad))


class HavingAState(Data):
    def state_dict(self):
        return {'version': 1}

    def load_state_dict(self, state):
        assert state == {'version': 1}


KINDS = {
    'legacy': Data,
    'Sequence': ASequence,
    'with keys': WithKeys,
    'delegating': Delegating,
    'delegating to a Sequence': DelegatingToASequence,
    'with a state': HavingAState,
    'iter': lambda *args: iter(Data(*args)),
    'iter of a Sequence': lambda *args: iter(ASequence(*args)),
    'Subset': lambda *args: pytest.importorskip('torch.utils.data').Subset(Data(*args), range(6)),
    'ConcatDataset': lambda *args: pytest.importorskip('torch.utils.data').ConcatDataset([Data(*args)]),
}

WAYS = {
    'stream': stream,
    'stage': lambda data: data | apply(abs),
    'take': lambda data: stream(data) | take(6),
    'shard': lambda data: stream(data) | shard(0, 1) | shard(0, 2),
    'flatten': lambda data: [[1], data] | flatten,
    'mix': lambda data: mix(data, [1], weights=[1, 0]),
    'shuffle': lambda data: stream(data) | shuffle(3, seed=0),
    'parallel_map': lambda data: stream(data) | parallel_map(abs, threads=2),
    'unpack': lambda data: [data] | unpack(max),
    'Infinite': lambda data: Infinite(data, batch_size=2),
    'what a stage of ones own gives': lambda data: [1] | stage(lambda items: data)(),
}


@pytest.mark.many(7)
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('error', [IndexError, StopIteration, KeyError, NotImplementedError])
def test_no_error_of_an_item_is_taken_for_the_end(kind, way, error):
    """Whatever reads it, the error arrives as it was raised; but StopIteration, which cannot be."""
    with pytest.raises(RuntimeError if error is StopIteration else error) as caught:
        deque(WAYS[way](KINDS[kind](error)), maxlen=0)
    notes = ' '.join(caught.value.__notes__)
    assert 'itpipe: raised in ' in notes
    if way in ('stream', 'take', 'mix', 'parallel_map', 'Infinite'):
        assert ', item 2' in notes
    if error is StopIteration and 'iter' not in kind and way != 'shard':
        assert '(2)' in str(caught.value) or 'generator raised' in str(caught.value)
        assert isinstance(caught.value.__cause__, StopIteration)
    elif error is not StopIteration:
        assert caught.value.args == ('mine',)


@pytest.mark.parametrize('kind', [name for name in KINDS if 'iter' not in name])
@pytest.mark.parametrize('error', [IndexError, StopIteration])
def test_nor_after_a_run_went_on(kind, error):
    made = stream(KINDS[kind](error, 4)) | apply(abs)
    run = iter(made)
    assert [next(run), next(run)] == [0, 10]
    rest = made.resume(run.state_dict())
    assert [next(rest), next(rest)] == [20, 30]
    with pytest.raises((IndexError, RuntimeError)) as caught:
        next(rest)
    assert any('item 4' in note for note in caught.value.__notes__)


@pytest.mark.parametrize('draw', [partial(sample, seed=0), lambda data: load_by_random_id(abs, ids=data, seed=0)])
@pytest.mark.parametrize('error', [IndexError, StopIteration])
def test_nor_by_sample(draw, error):
    made = draw(Data(error))
    with pytest.raises((IndexError, RuntimeError)) as caught:
        list(made | take(1000))
    ordinal = int(re.search(r'item (\d+)( \(index \d+\))?$', caught.value.__notes__[0])[1])
    with pytest.raises((IndexError, RuntimeError)) as caught:
        made.item(ordinal)
    if error is StopIteration:
        assert isinstance(caught.value.__cause__, StopIteration)


def test_an_index_error_says_what_the_length_promised():
    """It may be that of an item, or the length a wrong one."""
    for made in (stream(Data(bad=None, size=8)), [Data(bad=None, size=8)] | flatten, sample(Data(bad=None, size=7))):
        with pytest.raises(IndexError, match='^range object index out of range') as caught:
            list(made | take(1000))
        assert any(re.match('itpipe: by its length, data has [78] items, and so one at 6$', note)
                   for note in caught.value.__notes__)  # fmt: skip


@pytest.mark.parametrize(
    ('size', 'error'), [(-1, ValueError), (2.5, TypeError), (None, TypeError), ('6', TypeError), (2**70, OverflowError)]
)
def test_a_length_that_is_none_is_an_error(size, error):
    for made in (stream(Data(size=size)), [Data(size=size)] | flatten, mix(Data(size=size))):
        with pytest.raises(error) as caught:
            list(made)
        assert 'itpipe: raised in the length of data' in caught.value.__notes__
    with pytest.raises(error):
        sample(Data(size=size))


def test_without_a_length_an_index_error_is_the_end():
    class Endless:
        def __getitem__(self, index):
            return 'abc'[index]

    class Unknown(Endless):
        def __len__(self):
            raise NotImplementedError

    for kind in (Endless, Unknown):
        made = stream(kind())
        assert list(made) == list([kind()] | flatten) == ['a', 'b', 'c']
        run = iter(made)
        next(run)
        assert list(made.resume(run.state_dict())) == ['b', 'c']
        assert list(made | shard(1, 2)) == ['b']


def test_an_iterator_that_was_passed_in_stands_behind_what_was_read():
    data = iter(Data(bad=None))
    assert list(data | take(2)) == [0, 10]
    assert next(data) == 20
    assert list(stream(data)) == [30, 40, 50]


def test_what_has_an_iter_of_its_own_is_read_by_that():
    class Backwards(Data):
        def __iter__(self):
            return iter([3, 2, 1])

    assert list(stream(Backwards())) == [3, 2, 1]
    assert list([Backwards()] | flatten) == [3, 2, 1]


class Array:
    """As those of zarr, which have no length."""

    def __init__(self, array):
        self.array = array

    shape = property(lambda self: self.array.shape)
    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: self.array.ndim)

    def __getitem__(self, index):
        return self.array[index]


def test_arrays_without_a_length_have_that_of_their_shape():
    array = Array(np.arange(12).reshape(6, 2))
    assert [row.tolist() for row in stream(array)] == array.array.tolist()
    assert {tuple(row) for row in sample(array, seed=0) | take(100)} == {(2 * n, 2 * n + 1) for n in range(6)}
    assert len(list(load_by_random_id(np.sum, ids=array, seed=0) | take(5))) == 5
    assert [row.tolist() for row in stream(array) | shard(1, 3)] == [[2, 3], [8, 9]]
    with pytest.raises(TypeError, match=r'^sample: `sequence` must have a length, got Array$'):
        sample(Array(np.array(3)))


@pytest.mark.long
def test_arrays_of_zarr_and_h5py(tmp_path):
    """In a process of its own, as threads of zarr's stay."""
    pytest.importorskip('zarr'), pytest.importorskip('h5py')
    code = f"""
        import h5py, numpy as np, zarr
        from itpipe import sample, stream, take
        array = zarr.array(np.arange(12).reshape(6, 2))
        print(sorted({{int(row[0]) for row in sample(array, seed=0) | take(100)}}), len(list(stream(array))))
        with h5py.File({str(tmp_path / 'data.h5')!r}, 'w') as file:
            file['x'] = np.arange(4)
            print(sorted(map(int, {{*(sample(file['x'], seed=0) | take(50))}})))
    """
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.splitlines() == ['[0, 2, 4, 6, 8, 10] 6', '[0, 1, 2, 3]']


# ---------------------------------------------------------------------------------------------------------------------
# Iterators that begin anew


class Rewinding:
    """As datasets that are their own iterator, and begin anew where they are asked for it."""

    def __init__(self, size=4):
        self.size, self.place = size, 0

    def __iter__(self):
        self.place = 0
        return self

    def __next__(self):
        if self.place == self.size:
            raise StopIteration
        self.place += 1
        return self.place - 1


class RewindingAtTheEnd(Rewinding):
    def __iter__(self):
        return self

    def __next__(self):
        if self.place == self.size:
            self.place = 0
            raise StopIteration
        return super().__next__()


@pytest.mark.parametrize('kind', [Rewinding, RewindingAtTheEnd])
def test_an_iterator_that_begins_anew_has_as_many_runs_as_are_asked_for(kind):
    made = stream(kind()) | apply(abs)
    assert list(made) == list(made) == [0, 1, 2, 3]
    with Infinite(kind(), batch_size=2) as it:
        assert [[batch.tolist() for batch in it] for _ in range(3)] == [[[0, 1], [2, 3]]] * 3
    run = iter(made)
    assert [next(run), next(run), next(run)] == [0, 1, 2]
    state = run.state_dict()
    assert list(run) == [3]
    assert list(made.resume(state)) == [3]


def test_it_begins_anew_also_where_it_was_left():
    made = stream(Rewinding())
    assert list(made | take(2)) == [0, 1]
    assert list(made) == [0, 1, 2, 3]


def test_one_that_returns_itself_is_not_read_on_where_it_was_left():
    made = stream(RewindingAtTheEnd())
    assert list(made | take(2)) == [0, 1]
    with pytest.raises(NotRestartable):
        list(made)


def test_what_gives_nothing_new_is_refused(tmp_path):
    class Once:
        def __init__(self):
            self.left = [3, 2, 1]

        def __iter__(self):
            self.asked = True
            return self

        def __next__(self):
            if not self.left:
                raise StopIteration
            return self.left.pop()

    (tmp_path / 'lines').write_text('a\nb\n')
    with open(tmp_path / 'lines') as file:
        for source in (Once(), iter([1, 2]), map(abs, [1, 2]), (x for x in 'ab'), zip('ab', 'cd', strict=True), file):
            made = stream(source)
            assert len(list(made)) > 1
            for again in (lambda made=made: list(made), lambda made=made: list(made | shuffle(2))):
                with pytest.raises(NotRestartable, match='that had its one run; give it something'):
                    again()
            with Infinite(made, prefetch=0) as it, pytest.raises(NotRestartable):
                list(it)


def test_two_runs_at_once_over_one_that_begins_anew_are_refused():
    made = stream(Rewinding())
    first = iter(made)
    assert next(first) == 0
    with pytest.raises(NotRestartable):
        next(iter(made))
    assert list(first) == [1, 2, 3]


# ---------------------------------------------------------------------------------------------------------------------
# Sources with states of their own


class WithStates:
    """Of ones own: it tells where it stands and goes there."""

    def __init__(self, size=10):
        self.size, self.place = size, 0

    def __iter__(self):
        while self.place < self.size:
            self.place += 1
            yield self.place - 1
        self.place = 0

    def state_dict(self):
        return {'place': self.place}

    def load_state_dict(self, state):
        self.place = state['place']


class Generated:
    """A generator function as an object."""

    def __iter__(self):
        yield from range(10)


class AwaitedWithStates(WithStates):
    """The same for `async for`."""

    __iter__ = None

    async def __aiter__(self):
        for value in super().__iter__():
            await asyncio.sleep(0)
            yield value


class AwaitedGenerated:
    """An async generator function as an object."""

    async def __aiter__(self):
        for value in range(10):
            await asyncio.sleep(0)
            yield value


class AwaitedRewinding:
    """An async iterator that begins anew."""

    def __aiter__(self):
        self.place = 0
        return self

    async def __anext__(self):
        if self.place == 10:
            raise StopAsyncIteration
        self.place += 1
        return self.place - 1


def rows(shards=3, **shuffled):
    datasets = pytest.importorskip('datasets')
    made = datasets.Dataset.from_dict({'x': list(range(9))}).to_iterable_dataset(num_shards=shards)
    return made.shuffle(seed=1, **shuffled) if shuffled else made


def nodes(make):
    made = pytest.importorskip('torchdata.nodes')
    return made.Loader(make(made))


def stateful(*args, **kwargs):
    loaders = pytest.importorskip('torchdata.stateful_dataloader')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it calls what its torch has deprecated
        return loaders.StatefulDataLoader(*args, **kwargs)


def same(row):
    return row


EXACT = {
    'list': lambda: list(range(10)),
    'range': lambda: range(10),
    'map-style dataset': lambda: Data(bad=None),
    'generator function as an object': Generated,
    'of ones own': WithStates,
    'async generator function as an object': AwaitedGenerated,
    'async iterator that begins anew': AwaitedRewinding,
    'of ones own, async': AwaitedWithStates,
    'torchdata.nodes': lambda: nodes(lambda nodes: nodes.IterableWrapper(range(12))),
    'torchdata.nodes, batches': lambda: nodes(lambda nodes: nodes.Batcher(nodes.IterableWrapper(range(11)), 3)),
    'torchdata.nodes, ahead': lambda: nodes(lambda nodes: nodes.Prefetcher(nodes.IterableWrapper(range(12)), 3)),
    'torchdata.nodes, over one of ones own': lambda: nodes(lambda nodes: nodes.IterableWrapper(WithStates())),
    'torchdata.nodes, over Hugging Face': lambda: nodes(lambda nodes: nodes.IterableWrapper(rows())),
    'StatefulDataLoader': lambda: stateful(list(range(11)), batch_size=2),
    'StatefulDataLoader over Hugging Face': lambda: stateful(rows(), batch_size=None),
    'Hugging Face, map-style': lambda: pytest.importorskip('datasets').Dataset.from_dict({'x': list(range(10))}),
    'Hugging Face': lambda: rows(1),
    'Hugging Face, shards': rows,
    'Hugging Face, map': lambda: rows().map(same),
    'Hugging Face, batched map': lambda: rows().map(same, batched=True, batch_size=4),
    'Hugging Face, filter': lambda: rows().filter(lambda row: row['x'] % 3),
    'Hugging Face, batches': lambda: rows().batch(3),
    'Hugging Face, interleaved': lambda: pytest.importorskip('datasets').interleave_datasets(
        [rows(), rows(1)], probabilities=[0.6, 0.4], seed=2
    ),
    'Hugging Face, concatenated': lambda: pytest.importorskip('datasets').concatenate_datasets([rows(), rows(1)]),
    'Hugging Face, take and skip': lambda: rows().skip(2).take(5),
    'Hugging Face, shards in random order': lambda: rows(buffer_size=1),
}

REREAD = {
    'Hugging Face, buffer': lambda: rows(buffer_size=5),
    'Hugging Face, buffer before map': lambda: rows(buffer_size=5).map(same),
    'torchdata.nodes, over a buffer': lambda: nodes(lambda nodes: nodes.IterableWrapper(rows(buffer_size=5))),
    'StatefulDataLoader over a buffer': lambda: stateful(rows(buffer_size=5), batch_size=None),
}


@pytest.mark.many(16)
@pytest.mark.parametrize(
    ('name', 'seldom'),
    [(name, 0) for name in (*EXACT, *REREAD)] + [(n, 50) for n in ('torchdata.nodes', 'Hugging Face', 'of ones own')],
)
def test_a_run_goes_on_exactly_from_every_place_of_its_source(name, seldom):
    """In the first pass and the second, with the pass that follows; whether states are taken at each item or seldom."""
    make = EXACT.get(name) or REREAD[name]

    def batches():
        return Infinite(stream(make(), reread=name in REREAD) | str, prefetch=0)

    with mock.patch('itpipe._engine.iterables.STATE_PAUSE', seldom):
        with batches() as it:
            passes = [list(it) for _ in range(3)]
        assert all(passes)
        for pass_ in range(2):
            for received in range(len(passes[pass_]) + 1):
                with batches() as it:
                    for _ in range(pass_):
                        list(it)
                    epoch = it()
                    got = list(itertools.islice(epoch, received))
                    state = pickle.loads(pickle.dumps(it.state_dict()))
                with batches() as it:
                    it.load_state_dict(state)
                    assert [got + list(it), list(it)] == passes[pass_ : pass_ + 2], received


@pytest.mark.parametrize('name', ['torchdata.nodes', 'Hugging Face, shards', 'of ones own', 'StatefulDataLoader'])
def test_a_buffer_behind_a_source_with_states_is_filled_again(name):
    made = stream(EXACT[name](), seed=0) | shuffle(4) | str
    whole = list(made)
    with mock.patch('itpipe._engine.iterables.STATE_PAUSE', 0):
        for received in range(len(whole) + 1):
            run = iter(stream(EXACT[name](), seed=0) | shuffle(4) | str)
            got = list(itertools.islice(run, received))
            state = run.state_dict()
            run.close()
            rest = stream(EXACT[name](), seed=0) | shuffle(4) | str
            assert got + list(rest.resume(state)) == whole


@pytest.mark.parametrize('name', REREAD)
def test_a_buffer_that_is_in_no_state_is_warned_of_once(name):
    made = stream(REREAD[name]())

    def state():
        run = iter(made)
        next(run)
        try:
            return run.state_dict()
        finally:
            run.close()

    with pytest.warns(
        UserWarning, match=r'^itpipe: .* loses some items .* use `shuffle` of itpipe .*reread=True'
    ) as caught:
        assert [state(), state()]
    assert [each.filename for each in caught] == [__file__]


@pytest.mark.many(3)
@pytest.mark.parametrize('name', EXACT)
def test_no_other_source_is_warned_of(name):
    run = iter(stream(EXACT[name]()))
    next(run)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        run.state_dict()
    run.close()


def test_how_a_source_goes_on_may_be_chosen_where_it_goes_on():
    """The state of either is one of the other."""
    for before, after in itertools.product([False, True], repeat=2):
        run = iter(stream(WithStates(), reread=before) | batch_by(2))
        got = [next(run), next(run)]
        state = run.state_dict()
        run.close()
        assert [*got, *(stream(WithStates(), reread=after) | batch_by(2)).resume(state)] == [
            [0, 1], [2, 3], [4, 5], [6, 7], [8, 9],
        ]  # fmt: skip


def test_to_read_again_asks_for_no_index():
    class Otherwise(Data):
        def __iter__(self):
            return iter([30, 20, 10])

    made = stream(Otherwise(bad=None), reread=True)
    run = iter(made)
    next(run)
    assert list(made.resume(run.state_dict())) == [20, 10]
    assert list(made | shard(0, 2)) == [30, 10]


def test_reread_is_a_part_of_the_value():
    made = stream([1, 2], reread=True)
    assert repr(made) == 'stream([1, 2], reread=True)'
    assert eval(repr(made)) == made == pickle.loads(pickle.dumps(made)) != stream([1, 2])
    assert repr(stream([1], seed=3, reread=True)) == 'stream([1], seed=3, reread=True)'
    with pytest.raises(TypeError, match='^stream: `reread` must be True or False, got int$'):
        stream([1], reread=1)
    with pytest.raises(TypeError, match='^stream: `reread` is for what a stream begins with, got a Stream: give it to'):
        stream(stream([1]), reread=True)


def test_runs_that_begin_and_end_in_many_threads_at_once_are_all_counted():
    class Restartable:
        def __iter__(self):
            return iter('abc')

    items = stream(Restartable())
    with ThreadPoolExecutor(8) as executor:
        assert all(read == ['a', 'b', 'c'] for read in executor.map(lambda _: list(items), range(1000)))
    assert len(items.source.running) == 0


def test_indices_come_in_pairs_or_many_at_once():
    indices = Indices(3, [[10, 11], [], [12, 13, 14]])
    assert next(indices) == (3, 10)
    assert indices.batch(3) == (Batch((4, 5, 6)), [11, 12, 13])
    assert list(indices) == [(7, 14)]
    assert indices.batch(2) == (Batch(), [])
    assert type(indices.batch(2)[0]) is Batch


@pytest.mark.parametrize('make', [stream, sample])
def test_a_run_of_batches_goes_on_within_the_indices(make):
    batches = make(np.arange(10), seed=0) | take(7) | batch_by(3)
    direct = make(np.arange(10), seed=0) | batch_by(3)
    run = iter(direct)
    first = [next(run), next(run)]
    assert first == list(batches)[:2]
    assert run.item_keys == [3, 4, 5]
    assert next(iter(direct.resume(run.state_dict()))) == next(run)
