"""States that were saved before: each of tests/whole/states loads, and its run goes on with the rest that is beside it.

A state stays of use: where one of these does not load any more, saved trainings are lost, and FORMAT has to become
another number. `python tests/whole/test_saved_states.py` writes the files that are missing, for new stages and sources.
"""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from itpipe import (
    Infinite,
    apply,
    batch_by,
    bucket_by,
    combine,
    concat,
    cycle,
    filter_by,
    flatten,
    interleave,
    load_by_random_id,
    map_at,
    merge_states,
    mix,
    pack,
    parallel_map,
    prefetch,
    random_apply,
    reuse,
    sample,
    sample_args,
    shard,
    shuffle,
    skip,
    stage,
    stream,
    take,
    with_rng,
    zip_with,
)

pytestmark = pytest.mark.filterwarnings('ignore:itpipe. nothing is known of')
FOLDER = Path(__file__).parent / 'states'


def noisy(x, rng):
    return round(x + rng.random(), 6)


def twice(x):
    return [x, -x]


@stage
def pairs(items):
    yield from zip(items, items, strict=False)


@stage(state={'total': 0, 'slots': []})
def sums(items, state):
    for item in items:
        state['slots'].append(item)
        state['total'] += item
        if len(state['slots']) > 2:
            yield state['total'] + state['slots'].pop(0)


def sum_of(row):
    return int(row['tokens'].sum())


class Dataset:
    """It has states itself."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while self.at < 30:
            self.at += 1
            yield self.at - 1
        self.at = 0

    def state_dict(self):
        return {'at': self.at}

    def load_state_dict(self, state):
        self.at = state['at']


def numbers(seed: int | None = 0):
    return stream(range(30), seed=seed)


PIPELINES: dict[str, Callable] = {
    'item-wise': lambda: numbers() | apply(abs) | with_rng(noisy) | random_apply(0.5, abs),
    'sample_args': lambda: numbers() | sample_args(max, lambda rng: int(rng.integers(30))),
    'named': lambda: numbers() | with_rng(noisy, name='noise') | shuffle(5, name='größer'),
    'map_at': lambda: stream([(n, str(n)) for n in range(30)], seed=0) | map_at(0, with_rng(noisy)),
    'filter_by': lambda: numbers() | filter_by(lambda x: x % 3),
    'take and skip': lambda: numbers() | skip(3) | take(20),
    'shuffle': lambda: numbers() | shuffle(5),
    'shuffle twice': lambda: numbers() | shuffle(5) | with_rng(noisy) | shuffle(3),
    'shuffle of batches': lambda: numbers() | batch_by(3) | shuffle(4),
    'reuse': lambda: numbers() | reuse(4, 3) | with_rng(noisy),
    'flatten': lambda: numbers() | apply(twice) | flatten | shuffle(4),
    'flatten of batches': lambda: numbers() | batch_by(4) | flatten,
    'interleave': lambda: numbers() | interleave(range, cycle=3, block=2) | shuffle(4),
    'batch_by': lambda: numbers() | batch_by(3),
    'batch_by cost': lambda: numbers() | batch_by(limit=20, cost=abs),
    'bucket_by': lambda: numbers() | bucket_by(lambda n: n % 7, window=9, size=3) | shuffle(4),
    'pack': lambda: numbers() | apply(range) | pack(12, cut='all') | apply(sum_of) | with_rng(noisy) | shuffle(3),
    'combine': lambda: numbers() | batch_by(4) | combine | apply(np.ndarray.tolist),
    'shard': lambda: numbers() | shuffle(4) | shard(1, 3) | batch_by(2),
    'parallel_map': lambda: numbers() | parallel_map(with_rng(noisy), threads=2) | prefetch(2),
    'parallel_map unordered': lambda: numbers() | parallel_map(with_rng(noisy), threads=1, ordered=False) | batch_by(3),
    'stage': lambda: numbers() | pairs() | shuffle(3),
    'stage with a state': lambda: numbers() | with_rng(noisy) | sums() | batch_by(2),
    'sample': lambda: sample(range(30), seed=0) | take(40) | with_rng(noisy),
    'sample weights': lambda: sample('abc', weights=[1, 2, 3], seed=0) | take(40),
    'sample new weights': lambda: sample('abc', seed=0, reweight=True) | take(40),
    'sample without replacement': lambda: sample(range(9), replace=False, seed=0) | take(40),
    'load_by_random_id': lambda: load_by_random_id(str, ids=range(30), seed=0) | take(40),
    'mix': lambda: mix(numbers(None) | shuffle(4), 'abcdefgh', weights=[1, 2], seed=0) | shuffle(3),
    'mix new weights': lambda: mix(range(30), 'abcdefgh', seed=0, reweight=True) | shuffle(3),
    'mix of mixes': lambda: mix(mix(range(9), 'abc'), mix(range(5)) | reuse(2, 2), seed=0) | batch_by(2),
    'zip_with': lambda: numbers() | shuffle(4) | zip_with(range(40)) | shuffle(3),
    'concat': lambda: stream('ab', seed=0) | concat('cdefgh', numbers() | shuffle(4)) | shuffle(3),
    'cycle': lambda: stream('abc', seed=0) | shuffle(3) | cycle(3) | shuffle(2),
    'generator': lambda: stream({n: n for n in range(30)}, seed=0) | shuffle(5),
    'dataset with states': lambda: stream(Dataset(), seed=0) | shuffle(5),
    'seed of the run': lambda: Infinite(numbers(None) | with_rng(noisy), shuffle(5), batch_size=3, seed=7, prefetch=0),
    'second pass': lambda: Infinite(numbers() | shuffle(5), batch_size=20, prefetch=0),
    'epochs': lambda: Infinite(numbers() | shuffle(5), batch_size=4, batches_per_epoch=2, prefetch=0),
    'entropy': lambda: Infinite(numbers(None), shuffle(5), batch_size=4, prefetch=0),
    'between passes': lambda: Infinite(numbers() | shuffle(5), batch_size=10, prefetch=0),
    'merged ranks': lambda rank=1: Infinite(numbers() | shuffle(5), batch_size=2, shard=(rank, 2), prefetch=0),
}
RECEIVED: Final = 4
"""After so many batches or items the state is taken."""


def plain(value):
    return json.loads(json.dumps(value, default=np.ndarray.tolist))


def received(batch_iter: Infinite, count: int) -> list:
    """The next batches, epoch after epoch."""
    return list(itertools.islice(itertools.chain.from_iterable(itertools.repeat(batch_iter)), count))


def state_of(name: str) -> dict:
    if name == 'merged ranks':
        return merge_states([_state_of(PIPELINES[name](rank), RECEIVED + rank) for rank in range(2)])
    if name == 'between passes':
        with PIPELINES[name]() as batch_iter:
            list(batch_iter)
            return batch_iter.state_dict()
    return _state_of(PIPELINES[name](), RECEIVED)


def _state_of(made, count: int) -> dict:
    if isinstance(made, Infinite):
        with made:
            received(made, count)
            return made.state_dict()
    run = iter(made)
    if run._chain.source.weightings:
        run.reweight([1, 3] if 'mix' in repr(made) else [1, 0, 3], at=30)
    list(itertools.islice(run, count))
    state = run.state_dict()
    run.close()
    return state


def rest_of(name: str, state: dict) -> list:
    """What comes behind the state; ten batches of an `Infinite`."""
    made = PIPELINES[name]()
    if not isinstance(made, Infinite):
        return plain(list(made.resume(state)))
    with made:
        made.load_state_dict(state)
        return plain(received(made, 10))


@pytest.mark.parametrize('name', PIPELINES)
def test_a_saved_state_still_goes_on_with_the_same_rest(name):
    saved = json.loads((FOLDER / f'{name}.json').read_text())
    assert rest_of(name, saved['state']) == saved['rest']


VARYING = ('entropy', 'dataset with states', 'parallel_map unordered', 'sample new weights', 'mix new weights')
"""What is in their states is drawn, or depends on what takes how long, or on the version of zlib."""


@pytest.mark.parametrize('name', [name for name in PIPELINES if name not in VARYING])
def test_a_state_is_still_written_as_it_was(name):
    """Those that are read are of no use if others are written."""
    assert plain(state_of(name)) == json.loads((FOLDER / f'{name}.json').read_text())['state']


def test_each_file_is_read():
    assert {path.stem for path in FOLDER.iterdir()} == set(PIPELINES)


if __name__ == '__main__':
    FOLDER.mkdir(exist_ok=True)
    for name in PIPELINES:
        if not (path := FOLDER / f'{name}.json').exists():
            state = plain(state_of(name))
            path.write_text(json.dumps({'state': state, 'rest': rest_of(name, state)}, indent=1) + '\n')
            print('wrote', path)
