"""What an item was after each stage, whatever made it."""

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from reference import bits, build
from strategies import examples, executors, pipes

from itpipe import (
    Infinite,
    apply,
    batch_by,
    combine,
    concat,
    cycle,
    filter_by,
    flatten,
    mix,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shuffle,
    stage,
    stream,
    with_rng,
    zip_with,
)  # fmt: skip
from itpipe._core.keys import Batch
from itpipe._engine.seeds import Seeds
from itpipe.tools.stepwise import views

__all__ = ['executors']  # a fixture


class Data:
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return np.array([index, 10 * index])


def noise(x, rng):
    return x + rng.random(2)


def views_of(made, key):
    return views(made.source, made.steps, Seeds(fallback=made.source.seed), key)


def listed(made, key):
    return [(view.branch, view.stage, view.values) for view in views_of(made, key)]


def test_each_stage_is_a_view_also_those_in_workers():
    made = stream([1, -2, 3, -4]) | apply(abs) | parallel_map(apply(pow, 2) | batch_by(2) | combine, threads=2)
    key = Batch((2, 3))
    found = listed(made, key)
    assert [stage for _, stage, _ in found] == [
        '[1, -2, 3, -4]', 'apply(abs)', 'apply(pow, 2)', 'batch_by(2)', 'apply(combine)',
    ]  # fmt: skip
    assert [values for *_, values in found[:4]] == [{2: 3, 3: -4}, {2: 3, 3: 4}, {2: 9, 3: 16}, {key: [9, 16]}]
    assert found[-1][2][key].tolist() == [9, 16]


NOISY = with_rng(noise)
PIPELINES = [
    stream(Data(), seed=1) | shuffle(5) | NOISY | batch_by(2) | combine,
    stream(Data(), seed=1) | shuffle() | parallel_map(NOISY | NOISY | batch_by(3) | combine, threads=1),
    stream(Data(), seed=1) | parallel_map(NOISY, threads=2, on_error='skip') | prefetch(2) | batch_by(2),
    stream(Data(), seed=1) | parallel_map(NOISY, threads=1, ordered=False) | NOISY,
    mix(stream(Data()) | NOISY, stream(Data()) | parallel_map(NOISY, threads=1), seed=1) | batch_by(3) | combine,
    sample(Data(), seed=1) | NOISY | zip_with(sample(Data()) | NOISY) | batch_by(2),
    stream(Data(), seed=1) | NOISY | concat(stream(Data()) | NOISY) | shuffle(4),
    stream(Data(), seed=1) | shuffle() | NOISY | cycle(3) | NOISY,
    stream(Data(), seed=1) | flatten | with_rng(lambda x, rng: x + rng.random()) | reuse(3, 2) | batch_by(5),
]


IN_A_PROCESS = stream(Data(), seed=1) | parallel_map(NOISY | NOISY | batch_by(3) | combine, processes=1)


@pytest.mark.parametrize('made', [*PIPELINES, pytest.param(IN_A_PROCESS, marks=pytest.mark.long)], ids=repr)
def test_the_last_view_is_what_the_run_gave(made):
    run = iter(made)
    for _, value in zip(range(20), run, strict=False):
        key = run._chain.last
        last = views_of(made, key)[-1]
        assert list(last.values) == [key]
        np.testing.assert_array_equal(last.values[key], value)
    run.close()


@pytest.mark.usefixtures('executors')
@examples(200)
@given(made=pipes(one_shot=False))
def test_the_last_view_of_any_pipeline(made, executors):
    pipeline = build(made, executors)
    run = iter(pipeline)
    for value in itertools.islice(run, 5):
        key = run._chain.last
        assert bits(views_of(pipeline, key)[-1].values[key]) == bits(value)
    run.close()


def test_the_views_of_an_infinite_are_those_of_its_last_batch():
    with Infinite(Data(), NOISY, batch_size=4, threads=1) as batch_iter:
        for _ in range(2):  # the seed is drawn by the run, and each pass draws other numbers
            for batch in batch_iter:
                epochs = batch_iter._epochs
                found = views(epochs.source, epochs.steps, epochs.last_seeds, epochs.last.key)
                np.testing.assert_array_equal(found[-1].values[epochs.last.key], batch)


def test_streams_in_streams_say_where_they_are():
    made = mix('ab', range(2) | apply(float), seed=0) | apply(str)
    run = iter(made)
    rows = [(next(run), listed(made, run.item_keys[0])) for _ in range(4)]
    of_number = next(found for value, found in rows if value == '1.0')
    assert of_number == [
        ((1,), 'range(0, 2)', {1: 1}),
        ((1,), 'apply(float)', {1: 1.0}),
        ((), "mix('ab', range(0, 2) | apply(float), seed=0)", {(1, 1): 1.0}),
        ((), 'apply(str)', {(1, 1): '1.0'}),
    ]
    run.close()


def test_single_items_are_made_up_to_the_batch():
    made = range(4) | apply(pow, 2) | batch_by(2) | sum
    assert listed(made, 3) == [((), 'range(0, 4)', {3: 3}), ((), 'apply(pow, 2)', {3: 9})]


def test_an_item_that_is_left_out_is_missing_from_there_on():
    made = range(4) | filter_by(lambda x: x != 3) | apply(str)
    assert [values for *_, values in listed(made, 3)] == [{3: 3}, {}, {}]


def test_values_are_as_they_were_before_a_later_stage_changed_them():
    def add_one(x):
        x += 1
        return x

    made = [np.zeros(2)] | apply(np.copy) | apply(add_one)
    assert [values[0].tolist() for *_, values in listed(made, 0)] == [[0, 0], [0, 0], [1, 1]]


def test_nothing_is_known_before_a_stage_of_ones_own():
    @stage
    def twice(items):
        for item in items:
            yield item
            yield item

    assert listed(range(3) | apply(abs) | twice() | apply(str), 3) == [
        ((), 'twice()', {3: 1}),
        ((), 'apply(str)', {3: '1'}),
    ]


def test_what_workers_have_set_up_is_opened_and_closed():
    opened = []

    class Resource:
        def __init__(self):
            opened.append(self)
            self.closed = False

        def close(self):
            self.closed = True

    def name(x, setup):
        return x, setup.closed

    made = range(3) | parallel_map(name, threads=1, setup=Resource)
    assert listed(made, 1)[-1][2] == {1: (1, False)}
    assert [resource.closed for resource in opened] == [True]


def test_a_function_is_tried_again_as_in_the_run():
    errors = iter([ValueError('once')])

    def flaky(x):
        for error in errors:
            raise error
        return -x

    made = range(3) | parallel_map(flaky, threads=1, retries=1, retry_on=ValueError, backoff=0)
    assert listed(made, 2)[-1][2] == {2: -2}


def test_a_key_must_be_one_of_the_stream():
    with pytest.raises(ValueError, match=r'^there is no item with the key \(1, 2, 3\)$'):
        views_of(range(3) | apply(partial(pow, 2)), (1, 2, 3))
