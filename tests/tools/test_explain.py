"""What a row of a batch was after each stage."""

import itertools
import re
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from reference import bits, build
from seeded import PIPELINES, noisy
from strategies import examples, pipes

from itpipe import (
    Infinite,
    NotRestartable,
    apply,
    batch_by,
    combine,
    combine_lists,
    combine_pad,
    explain,
    mix,
    shuffle,
    stream,
    with_rng,
)
from itpipe._core.keys import Batch
from itpipe.tools.rows import value_at

OPTIONS = [{}, {'seed': 5, 'threads': 2}, {'prefetch': 0, 'seed': 1}, {'restart': True}]


@pytest.mark.many(4)
@pytest.mark.filterwarnings('ignore:Infinite. an epoch')
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('made', PIPELINES.values(), ids=PIPELINES)
def test_the_last_value_is_the_row_bit_for_bit(made, options):
    with Infinite(made(), batch_size=4, batches_per_epoch=3, **options) as batch_iter:
        for _ in range(2):
            for batch in batch_iter:
                found = [explain(batch_iter, row)[-1].value for row in range(4)]
                assert [bits(value) for value in found] == [bits(value_at(batch, row, 4)) for row in range(4)]


@pytest.mark.filterwarnings('ignore:Infinite. an epoch', 'ignore:itpipe. nothing is known')
@settings(parent=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(pipes(seed=3, most=4, one_shot=False), st.integers(1, 6))
def test_it_is_so_for_any_pipeline(executors, pipe, count):
    with Infinite(build(pipe, executors), prefetch=0) as batch_iter:
        batches = list(itertools.islice(batch_iter, count))
        assume(batches)
        assert bits(batches[-1]) == bits(batches[-1])
        key = batch_iter._epochs.last.key
        if isinstance(key, Batch):
            row = (count * 7) % len(key)
            assert bits(explain(batch_iter, row)[-1].value) == bits(value_at(batches[-1], row, len(key)))
        else:
            assert bits(explain(batch_iter, 0)[-1].value) == bits(batches[-1])


def test_ranks_and_what_goes_on():
    def batches(rank):
        return Infinite(range(40), shuffle(9), with_rng(noisy), batch_size=4, seed=1, shard=(rank, 2))

    for rank in range(2):
        with batches(rank) as batch_iter:
            next(batch_iter())
            state = batch_iter.state_dict()
        with batches(rank) as batch_iter:
            batch_iter.load_state_dict(state)
            batch = next(batch_iter())
            assert bits(explain(batch_iter, -1)[-1].value) == bits(batch[3])


def test_workers_in_processes_are_not_asked():
    with Infinite(range(40), with_rng(noisy), batch_size=4, seed=1, processes=1) as batch_iter:
        batch = next(batch_iter())
        assert bits(explain(batch_iter, 1)[-1].value) == bits(batch[1])


def test_rows_of_all_combiners():
    items = [{'x': np.ones(n + 1), 'n': n} for n in range(4)]
    for combiner, expected in (
        (combine_lists, {'x': [1, 1, 1], 'n': 2}),
        (combine_pad, {'x': [1, 1, 1, 0], 'n': 2}),
        (list, {'x': [1, 1, 1], 'n': 2}),
    ):
        with Infinite(items, batch_size=4, combiner=combiner) as batch_iter:
            next(batch_iter())
            last = explain(batch_iter, 2)[-1].value
            assert (last['x'].tolist(), last['n']) == tuple(expected.values())


def test_what_was_done_to_the_whole_batch_is_shown_by_row():
    def centered(batch):
        return batch - batch.mean(), float(batch.mean())

    made = stream(range(8)) | apply(float) | batch_by(4) | combine | centered
    run = iter(made)
    next(run)
    found = explain(run, 3)
    assert [(each.stage, each.value) for each in found] == [
        ('range(0, 8)', 3),
        ('apply(float)', 3.0),
        ('batch_by(4)', 3.0),
        ('apply(combine)', 3.0),
        ('apply(centered)', (1.5, 1.5)),
    ]


def test_numbers_that_were_drawn_are_named():
    def augmented(x, rng):
        order = [x, x + 1]
        rng.shuffle(order)
        return order, rng.integers(10, size=2), rng.spawn(1)[0].normal() if hasattr(rng, 'spawn') else None

    made = stream(range(8), seed=0) | with_rng(augmented) | apply(len)
    run = iter(made)
    next(run)
    of_source, drawn, last = explain(run)
    assert (of_source.drawn, last.drawn) == ((), ())
    order, integers, *_ = drawn.value
    assert drawn.drawn[0] == f'shuffle({order}) → {order}'
    assert drawn.drawn[1] == f'integers(10, size=2) → {integers}'


def test_what_is_made_of_several_items_has_them_all():
    made = stream(range(8)) | batch_by(2) | sum
    run = iter(made)
    next(run)
    first, batched, summed = explain(run, 1)
    assert (first.value, batched.value, summed.value) == (1, 1, 1)
    made = stream(range(8)) | batch_by(2) | batch_by(2)
    run = iter(made)
    next(run)
    assert [each.value for each in explain(run, 1)] == [{2: 2, 3: 3}, [2, 3], [2, 3]]


def test_it_prints():
    def shifted(x, rng):
        return {'image': np.full((12, 12), float(x)), 'by': rng.integers(10)}

    numbers = mix(stream(range(9)) | with_rng(shifted), seed=0)
    with Infinite(numbers, batch_size=4, seed=0) as batch_iter:
        next(batch_iter())
        found = explain(batch_iter, 1)
    assert found.about == 'row 1 of 4: item 1 (part 0), in the data at (0, 1)'
    text = re.sub(r'integers\(10\) → \d|int64 \(\): \d', 'N', repr(found))
    assert text.splitlines()[:8] == [
        found.about, '', '  0  range(0, 9)', '       1', '', '  1  with_rng(shifted)', '       drawn: N',
        "       ['image']  float64 (12, 12), 1.0 to 1.0",
    ]  # fmt: skip
    assert "apply(combine)\n     ['image']  float64 (12, 12), 1.0 to 1.0\n" in text


def test_notebooks_show_images_where_they_change():
    pytest.importorskip('matplotlib')
    with Infinite([np.eye(12)] * 4, np.flipud, abs, np.flipud, batch_size=4) as batch_iter:
        next(batch_iter())
        html = explain(batch_iter, 1)._repr_html_()
    rows = html.split('<tr')[1:]
    assert [row.count('src="data:image/png;base64,') for row in rows] == [1, 1, 0, 1, 0, 0]
    with Infinite(['<a>'] * 4, batch_size=4, combiner=list) as batch_iter:
        next(batch_iter())
        html = explain(batch_iter, 1)._repr_html_()
    assert ('<img' in html, '<a>' in html) == (False, False)


def test_what_cannot_be_explained():
    with pytest.raises(TypeError, match='explain: `batch_iter` must be an Infinite, or a run as .* got list'):
        explain([1], 0)
    with Infinite(range(8), batch_size=4) as batch_iter:
        with pytest.raises(ValueError, match='^explain: no batch has been received yet$'):
            explain(batch_iter, 0)
        next(batch_iter())
        with pytest.raises(TypeError, match='explain: `row` must be an int, got str'):
            explain(batch_iter, 'a')
        for row in (4, -5):
            with pytest.raises(IndexError, match=f'explain: `row` must be from -4 to 3, as the batch has 4, got {row}'):
                explain(batch_iter, row)
    with Infinite(iter(range(8)), batch_size=4) as batch_iter:
        next(batch_iter())
        with pytest.raises(NotRestartable):
            explain(batch_iter, 0)


def test_it_is_still_there_after_the_end_and_disturbs_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with Infinite(range(8), shuffle(4), with_rng(noisy), batch_size=4, seed=0) as batch_iter:
            expected = [bits(batch) for batch in batch_iter]
        batch_iter.close()
        epoch = iter(batch_iter)
        first = next(epoch)
        state = batch_iter.state_dict()
        explain(batch_iter, 0)
        assert batch_iter.state_dict() == state
        assert [bits(first), *map(bits, epoch)] == expected
        batch_iter.close()
        assert bits(explain(batch_iter, 3)[-1].value) == expected[-1][3] or len(explain(batch_iter, 3)) > 2


def test_the_place_in_the_data_is_said_of_every_row_of_a_batch_in_another_order():
    """Also of an item that has its own place by chance."""
    with Infinite(list(range(8)), shuffle(), batch_size=8, seed=2, prefetch=0) as batch_iter:
        values = next(iter(batch_iter)).tolist()
        for row, value in enumerate(values):
            assert explain(batch_iter, row).about == f'row {row} of 8: item {row}, in the data at {value}'
    with Infinite(list(range(8)), batch_size=8, prefetch=0) as batch_iter:
        next(iter(batch_iter))
        assert explain(batch_iter, 3).about == 'row 3 of 8: item 3'
