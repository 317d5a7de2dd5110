"""Batches of recorded runs, made again elsewhere."""

import itertools
import warnings
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from reference import bits, build
from seeded import PIPELINES, noisy
from strategies import examples, pipes

from itpipe import (
    Infinite,
    NotRestartable,
    batch_by,
    combine_lists,
    shuffle,
    stage,
    stream,
    with_rng,
)  # fmt: skip
from itpipe._core.digests import digest
from itpipe.tools.pipelines import opened
from itpipe.tools.records import read
from itpipe.tools.replay import places, replayed, save, step_of, where

Point = namedtuple('Point', 'x y')


@stage
def sums(items):
    total = 0
    for item in items:
        total = total + item
        yield total


PIPELINES = PIPELINES | {'added up': lambda: stream(range(40)) | with_rng(noisy) | sums()}


@pytest.mark.many(4)
@pytest.mark.filterwarnings('ignore:Infinite. an epoch', 'ignore:itpipe. nothing is known')
@pytest.mark.parametrize('options', [{}, {'seed': 5}, {'prefetch': 0}, {'restart': True}], ids=str)
@pytest.mark.parametrize('made', PIPELINES.values(), ids=PIPELINES)
def test_each_batch_is_made_again_bit_for_bit(made, options, tmp_path):
    options = {'batch_size': 4, 'batches_per_epoch': 3, **options}
    with Infinite(made(), record=tmp_path / 'run.log', digest=True, **options) as batch_iter:
        expected = [bits(batch) for _ in range(6) for batch in batch_iter]
    (training,) = read(tmp_path / 'run.log')
    assert len(training.steps) == len(expected)
    again = opened(Infinite(made(), **options))
    for number in range(0, len(expected), 3):
        batch = replayed(training, number, again)
        assert bits(batch.value) == expected[number]
        assert batch.same


@pytest.mark.filterwarnings('ignore:Infinite. an epoch', 'ignore:itpipe. nothing is known')
@settings(parent=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pipes(seed=3, most=4))
def test_any_batch_of_any_pipeline_is_made_again(executors, tmp_path, pipe):
    path = tmp_path / 'run.log'
    path.unlink(missing_ok=True)
    values = []
    with Infinite(build(pipe, executors), record=path, batches_per_epoch=4, prefetch=0) as batch_iter:
        for _ in range(2):
            try:
                values += [bits(value) for value in batch_iter]
            except NotRestartable:
                break
    (training,) = read(path)
    assert len(training.steps) == len(values)
    for number in {0, len(values) // 2, len(values) - 1} if values else ():
        assert bits(replayed(training, number, opened(build(pipe, executors))).value) == values[number]


@pytest.mark.parametrize('shard', [(0, 2), (1, 2)])
def test_a_batch_of_a_rank_needs_no_rank(shard, tmp_path):
    made = stream(range(40)) | shuffle(9) | with_rng(noisy)
    with Infinite(made, batch_size=4, seed=1, shard=shard, record=tmp_path / 'run.log') as batch_iter:
        expected = [bits(batch) for batch in batch_iter]
    (training,) = read(tmp_path / f'run.rank{shard[0]}.log')
    again = opened(Infinite(made, batch_size=4, seed=1))
    assert [bits(replayed(training, n, again).value) for n in range(5)] == expected


def test_nothing_before_the_batch_is_made(tmp_path):
    with Infinite(range(10**6), shuffle(), abs, batch_size=4, seed=1, record=tmp_path / 'run.log') as batch_iter:
        last = [batch for _, batch in zip(range(200), batch_iter, strict=False)][-1]
    calls = []

    def counted(x):
        calls.append(x)
        return abs(x)

    (training,) = read(tmp_path / 'run.log')
    again = replayed(training, -1, opened(Infinite(range(10**6), shuffle(), counted, batch_size=4, seed=1)))
    assert again.value.tolist() == last.tolist() == calls


@pytest.mark.parametrize('number', [0, -1])
def test_in_an_iterator_without_end_what_is_not_there_is_not_looked_for_for_ever(number, tmp_path):
    def counted():
        for made[0] in itertools.count():
            yield made[0]

    made = [0]
    with Infinite(counted(), batch_size=4, batches_per_epoch=50, record=tmp_path / 'run.log') as batch_iter:
        list(batch_iter)
    (training,) = read(tmp_path / 'run.log')
    assert replayed(training, number, opened(counted() | batch_by(4))).value[0] == (0 if number == 0 else 196)
    with pytest.raises(LookupError, match='replay: there is no items'):
        replayed(training, number, opened(counted() | batch_by(5)))
    assert 10_000 < made[0] < 11_000


def test_other_bits_are_noticed(tmp_path):
    with Infinite(range(8), batch_size=4, record=tmp_path / 'run.log', digest=True) as batch_iter:
        list(batch_iter)
    (training,) = read(tmp_path / 'run.log')
    assert replayed(training, 1, opened(Infinite(range(8), batch_size=4))).same is True
    assert replayed(training, 1, opened(Infinite(range(8), float, batch_size=4))).same is False
    with pytest.raises(LookupError, match='range object index out of range'):
        replayed(training, 1, opened(Infinite(range(2), batch_size=4)))
    with pytest.raises(ValueError, match='must be an ordinal or one of'):
        replayed(training, 1, opened(Infinite(range(8))))


def test_a_step_is_named_by_its_number(tmp_path):
    with Infinite(range(8), batch_size=2, batches_per_epoch=3, record=tmp_path / 'run.log') as batch_iter:
        for _ in batch_iter:
            pass
        next(iter(batch_iter))
    (training,) = read(tmp_path / 'run.log')
    assert where(training, 1) == 'step 1: epoch 0, batch 1, pass 0: items 2 to 3'
    assert where(training, -1) == 'step 3: epoch 1, batch 0, pass 0: items 6 to 7'
    for number in (4, -5):
        with pytest.raises(LookupError, match=f'the run has no step {number}: it has 0 to 3'):
            step_of(training, number)


def test_batches_are_saved_with_names(tmp_path):
    batch = {'image': np.zeros((2, 3)), 'file': (np.arange(2), [np.ones(1), 3]), 'at': Point(1, 'a')}
    save(batch, tmp_path / 'batch.npz')
    with np.load(tmp_path / 'batch.npz') as saved:
        assert sorted(saved) == ['at.x', 'at.y', 'file.0', 'file.1.0', 'file.1.1', 'image']
        assert saved['image'].shape == (2, 3)
    save(np.arange(3), tmp_path / 'batch.npz')
    with np.load(tmp_path / 'batch.npz') as saved:
        assert saved['batch'].tolist() == [0, 1, 2]
    save(batch, tmp_path / 'batch.pkl')
    assert digest(np.load(tmp_path / 'batch.pkl', allow_pickle=True)) == digest(batch)
    with pytest.raises(ValueError, match="'a' of the batch is not an array of numbers or text: save it to a .pkl file"):
        save({'a': None}, tmp_path / 'other.npz')
    assert not (tmp_path / 'other.npz').exists()


def test_ragged_batches_are_made_again(tmp_path):
    def lists(x):
        return {'x': [x] * (x % 3), 'name': str(x)}

    options = {'batch_size': 4, 'combiner': combine_lists}
    with Infinite(range(8), lists, record=tmp_path / 'run.log', digest=True, **options) as batch_iter:
        expected = list(batch_iter)
    (training,) = read(tmp_path / 'run.log')
    again = [replayed(training, n, opened(Infinite(range(8), lists, **options))) for n in range(2)]
    assert [each.value for each in again] == expected
    assert all(each.same for each in again)


def test_a_warning_of_an_opaque_stage_is_the_only_one(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with Infinite(stream(range(9)) | sums() | batch_by(2), record=tmp_path / 'run.log') as batch_iter:
            expected = list(batch_iter)
        (training,) = read(tmp_path / 'run.log')
        assert replayed(training, 2, opened(stream(range(9)) | sums() | batch_by(2))).value == expected[2]


class Photos:
    """A dataset with a path for each item."""

    def __init__(self):
        self.paths = [f'{n}.png' for n in range(100)]

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return index


def test_all_items_of_a_batch_are_named(tmp_path):
    """By their places in the data, and their files where the data has these."""
    found = []
    for data in (range(100), Photos()):
        path = tmp_path / f'{len(found)}.log'
        with Infinite(data, shuffle(), batch_size=32, seed=0, record=path) as batch_iter:
            expected = next(batch_iter()).tolist()
        (training,) = read(path)
        found.append(places(training, 0, opened(Infinite(data, shuffle(), batch_size=32, seed=0))))
    assert found[0] == [f'places in the data: {", ".join(map(str, expected))}']
    assert found[1] == ['places in the data:', *(f'  {index}: {index}.png' for index in expected)]
