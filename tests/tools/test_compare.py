"""Where two recorded runs differ first, and by which stage."""

import itertools

import pytest

from itpipe import Infinite, apply, batch_by, combine, shuffle, stream, with_rng
from itpipe.tools.compare import first_difference, header_differences, stage_of
from itpipe.tools.pipelines import opened
from itpipe.tools.records import read


@pytest.fixture
def recorded(tmp_path):
    """Records a run of a pipeline: what was recorded, and the pipeline."""
    count = itertools.count()

    def record(made, epochs=1, digest=True, **options):
        path = tmp_path / f'{next(count)}.log'
        with Infinite(made, record=path, digest=digest, batches_per_epoch=5, **options) as batch_iter:
            for _ in range(epochs):
                for _ in batch_iter:
                    pass
        return read(path)[-1], opened(made)

    return record


def add(x, y=0):
    return x + y


def pipeline(late=0, seed=0, buffer=10):
    def later(x, rng):
        return x + rng.random() + (late if x > 30 else 0)

    return (
        stream(range(100), seed=seed)
        | shuffle(buffer)
        | apply(add)
        | with_rng(later, name='later')
        | batch_by(4)
        | combine
    )


def test_the_same_run_has_no_difference(recorded):
    (a, _one), (b, _) = recorded(pipeline(), 2), recorded(pipeline(), 1)
    assert header_differences(a, b) == []
    assert first_difference(a, b) is None


def test_other_items_are_found_first(recorded):
    (a, one), (b, two) = recorded(pipeline(seed=0)), recorded(pipeline(seed=1))
    found = first_difference(a, b)
    assert (found.step, found.same_items) == (0, False)
    assert found.what.startswith('other items: a has items ')
    assert header_differences(a, b) == ['pipeline: a has `stream(seed=0)` where b has `stream(seed=1)`']
    assert stage_of(a, b, 0, one, two) == (
        'the first stage that differs is `stream(range(0, 100), seed=0)` in a, `stream(range(0, 100), seed=1)` in b,'
        ' which gives other items'
    )


def test_other_bits_are_found_and_the_stage_that_makes_them(recorded):
    (a, one), (b, two) = recorded(pipeline(), 2), recorded(pipeline(late=1e-9), 2)
    found = first_difference(a, b)
    first = next(n for n, step in enumerate(a.steps) if max(step.key) > 30)
    assert (found.step, found.same_items) == (first, True)
    assert found.what.startswith('the same items with other bits: items ')
    assert header_differences(a, b) == []
    assert stage_of(a, b, first, one, two) == "the first stage that differs is `with_rng(later, name='later')`"
    assert stage_of(a, b, first, one, one) == (
        'made again, it has the bits that a recorded, and each stage gives the same twice; b had other code, data or'
        ' versions'
    )
    assert stage_of(a, b, first, two, two).startswith('made again, it has the bits that b recorded')
    assert stage_of(a, b, first, *[opened(pipeline(late=1))] * 2).startswith('made again, it has neither the bits of a')


def test_a_function_that_gives_other_bits_each_time_is_found(recorded):
    numbers = itertools.count()
    made = stream(range(40)) | apply(add) | apply(lambda x: x + next(numbers)) | batch_by(4) | combine
    (a, one), (b, _) = recorded(made), recorded(made)
    assert first_difference(a, b).step == 0
    assert stage_of(a, b, 0, one, one) == 'the first stage that differs is `apply(<lambda>)`'


def test_without_digests_only_items_are_compared(recorded):
    (a, _), (b, _) = recorded(pipeline(), digest=False), recorded(pipeline(late=1))
    assert first_difference(a, b) is None


def test_another_length_of_the_pipelines(recorded):
    longer = pipeline() | apply(add, 0)
    (a, one), (b, two) = recorded(pipeline()), recorded(longer)
    assert stage_of(a, b, 0, one, two) == '`apply(add, 0)` is in one of the pipelines only'


def test_what_was_not_seeded_is_named(recorded):
    made = stream(range(40)) | shuffle(9) | batch_by(4)
    (a, _), (b, _) = recorded(made), recorded(made)
    assert header_differences(a, b) == ['seed: there is none, so each run has drawn its own numbers']


def test_options_and_epochs_that_differ(recorded):
    (a, _), (b, _) = recorded(pipeline(), 2), recorded(pipeline(), 2, restart=True)
    assert header_differences(a, b) == ['restart: False in a, True in b']
    assert first_difference(a, b).step == 5
