"""`itpipe.testing`: what it says of pipelines that do not go on exactly."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from reference import build
from running import raises
from strategies import examples, executors, pipes

import itpipe.testing
from itpipe import (
    Infinite,
    apply,
    batch_by,
    cache,
    combine,
    cycle,
    exclude,
    flatten,
    map_at,
    mix,
    parallel_map,
    reuse,
    sample,
    shuffle,
    stage,
    stream,
    with_rng,
    zip_with,
)
from itpipe.testing import check_resume

__all__ = ['executors']  # a fixture


class Data:
    def __init__(self, size=30):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return np.full((2, 3), index, np.float32), index


def noisy(x, rng):
    return x + rng.random()


def global_noise(x):
    return x + np.random.random()


class Counter:
    def __init__(self):
        self.count = 0

    def __call__(self, x):
        self.count += 1
        return x + self.count


class Archive:
    scale = 3

    def close(self):
        self.scale = 0


def read(item, setup):
    return item[1] * setup.scale


@stage(state={'total': 0})
def running_sum(items, state):
    for item in items:
        state['total'] += item[1]
        yield state['total']


@stage(state={'n': 0})
def forgets(items, state):
    seen = [0]  # it should be in the state
    for item in items:
        seen[0] += 1
        yield item[1] + seen[0]


class Reader:
    """A source with states of its own, which are those of the item before if they are `wrong`."""

    def __init__(self, wrong=0):
        self.at, self.wrong = 0, wrong

    def __iter__(self):
        while self.at < 40:
            self.at += 1
            yield self.at
        self.at = 0

    def state_dict(self):
        return {'at': self.at - self.wrong}

    def load_state_dict(self, state):
        self.at = state['at']


AUGMENT = map_at(0, with_rng(noisy))
GOOD = {
    'infinite': lambda: Infinite(Data(), shuffle(), AUGMENT, batch_size=4, threads=2),
    'passes': lambda: Infinite(Data(7), shuffle(3), AUGMENT, batch_size=2, batches_per_epoch=2, seed=0),
    'restart': lambda: Infinite(Data(7), AUGMENT, batch_size=2, restart=True, seed=0),
    'unordered': lambda: stream(Data()) | parallel_map(AUGMENT, threads=4, ordered=False) | batch_by(3),
    'buffers': lambda: stream(Data()) | shuffle(9) | flatten | reuse(5, 3) | batch_by(4),
    'streams': lambda: mix(stream(Data()) | AUGMENT, stream(Data()) | shuffle(4), seed=0) | AUGMENT | batch_by(2),
    'side by side': lambda: stream(Data(5), seed=3) | shuffle() | zip_with(range(5)) | cycle | batch_by(4),
    'whole batches': lambda: sample(Data()) | parallel_map(AUGMENT | batch_by(4) | combine, threads=1),
    'errors': lambda: stream(Data()) | parallel_map(lambda item: 1 / (item[1] % 3), threads=2, on_error='skip'),
    'setup': lambda: stream(Data()) | parallel_map(read, threads=1, setup=Archive) | batch_by(2),
    'own stage': lambda: stream(Data()) | running_sum() | batch_by(3),
    'own states': lambda: stream(Reader()) | apply(float) | batch_by(4),
    'global generators': lambda: (
        stream(Data(), seed=0) | parallel_map(map_at(0, global_noise), processes=1, seed_globals=True)
    ),
    'cache': lambda: stream(Data(7), seed=3) | map_at(1, float) | cache('memory') | shuffle(4) | AUGMENT | batch_by(2),
    'without some': lambda: stream(Data(), seed=3) | AUGMENT | exclude(3, range(9, 14)) | batch_by(4),
    'short': lambda: stream(range(3)) | apply(float),
    'empty': lambda: stream([]),
    'iterator': lambda: stream(iter(range(40))) | with_rng(noisy) | batch_by(3),
}  # fmt: skip


@pytest.mark.many(5)
@pytest.mark.filterwarnings('ignore:Infinite. an epoch ended')
@pytest.mark.parametrize('make', GOOD.values(), ids=GOOD)
def test_what_goes_on_exactly(make):
    check_resume(make)


@pytest.mark.filterwarnings('ignore:itpipe. nothing is known of')
@examples(200)
@given(made=pipes(one_shot=False))
def test_any_pipeline_goes_on_exactly(made, executors):
    check_resume(build(made, executors), batches=5)


@pytest.mark.long
@pytest.mark.parametrize(
    'name', ['infinite', *(pytest.param(name, marks=pytest.mark.long) for name in ('whole batches', 'own stage'))]
)
def test_in_a_process(name):
    check_resume(GOOD[name](), modes=['processes', 'serial'], batches=2)


def blamed(pipeline, **options):
    with pytest.raises(AssertionError) as caught:
        check_resume(pipeline, **options)
    return str(caught.value)


def test_a_function_that_is_not_reproducible():
    text = blamed(Infinite(Data(), AUGMENT, map_at(0, global_noise), map_at(0, abs), batch_size=4, seed=0))
    assert text.startswith(
        'check_resume: batch 0 is another one in a second run (serial), which was not stopped: at [0]['
    )
    assert text.endswith('\nThe first stage that gives something else is `map_at(0, global_noise)`.')


def test_a_function_that_counts():
    text = blamed(stream(Data(), seed=0) | map_at(1, Counter()) | AUGMENT | batch_by(4) | combine)
    assert text.endswith('The first stage that gives something else is `map_at(1, <Counter>)`.')


def test_in_one_of_several_streams():
    text = blamed(mix(Data(), stream(Data()) | map_at(0, global_noise), seed=1) | batch_by(4) | combine)
    assert text.endswith('The first stage that gives something else is `map_at(0, global_noise)`.')


@pytest.mark.filterwarnings('ignore:itpipe. forgets')
def test_a_stage_that_does_not_keep_its_state():
    assert blamed(stream(Data()) | apply(tuple) | forgets() | batch_by(3) | combine) == (
        'check_resume: batch 1 is another one after the run was stopped behind batch 0 (serial) and went on (threads):'
        ' at [0]: 7 and 5 (3 of 3 values differ).\n'
        'The first stage that gives something else is `forgets()`.'
    )


def test_a_source_with_wrong_states():
    text = blamed(lambda: stream(Reader(wrong=1)) | apply(float))
    assert text.startswith('check_resume: batch 3 is another one after the run was stopped behind batch 2 (threads)')
    assert text.endswith('The first stage that gives something else is `<Reader>`.')


def test_an_error_of_a_run_that_goes_on():
    text = blamed(lambda: stream(x for x in range(40)) | shuffle(5))
    assert text.startswith(
        'check_resume: batch 1 raised NotRestartable after the run was stopped behind batch 0 (serial)'
    )
    assert text.endswith('\nTo find out which stage is to blame, it needs a source that can be read again.')


class Numbers:
    """They do not say how many they are."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(range(self.count))


def test_a_run_that_ends_earlier():
    lengths = itertools.chain([9], itertools.repeat(5))
    text = blamed(lambda: stream(Numbers(next(lengths))), modes='serial')
    assert 'it ends there' in text
    assert text.endswith('Each stage by itself goes on exactly, so it depends on what is running beside it.')


def test_wrong_arguments():
    with raises(ValueError, "check_resume: `modes` must be of 'serial', 'threads', 'processes', got 'thread'"):
        check_resume(range(3), modes=['thread'])
    with raises(ValueError, 'check_resume: `modes` must not be empty'):
        check_resume(range(3), modes=[])
    with raises(ValueError, 'check_resume: `batches` must be at least 2, got 1'):
        check_resume(range(3), batches=1)
    with raises(
        ValueError,
        'check_resume: the stream reads from an iterator, of which there is only one run; give a function that makes'
        ' the pipeline, with a new iterator each time',
    ):
        check_resume(iter(range(3)))


def test_errors_of_the_pipeline_are_its_own():
    with pytest.raises(ZeroDivisionError):
        check_resume(range(3) | apply(lambda x: 1 / x))


def test_names():
    assert itpipe.testing.__all__ == ['check_resume']
    assert check_resume.__module__ == 'itpipe.testing'
