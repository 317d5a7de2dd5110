"""Rows of fixed length, filled with whole sequences."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from running import raises, through_json
from strategies import examples

from itpipe import Infinite, apply, combine, pack, parallel_map, shuffle, stream

lengths = st.lists(st.integers(0, 25), max_size=40)
options = st.fixed_dictionaries({'cut': st.sampled_from(['long', 'all']), 'rows': st.integers(1, 6)})


def document(number, length):
    """Tokens that tell the document and the place."""
    return number * 100 + np.arange(length)


@given(lengths, st.integers(1, 12), options)
@examples(300)
def test_each_token_comes_once_and_rows_say_what_is_in_them(lengths, length, options):
    rows = list([document(n, count) for n, count in enumerate(lengths)] | pack(length, padding=-1, **options))
    tokens = []
    for row in rows:
        values, segments, positions = row['tokens'], row['segment_ids'], row['positions']
        assert {array.shape for array in row.values()} == {(length,)}
        assert (segments.dtype, positions.dtype, row['loss_mask'].dtype) == (np.int32, np.int32, bool)
        filled = (segments > 0).sum()
        assert filled
        assert (values[filled:] == -1).all()
        assert not segments[filled:].any()
        assert not positions[filled:].any()
        assert (row['loss_mask'] == (positions > 0)).all()
        for number in range(1, segments.max() + 1):
            (inside,) = np.nonzero(segments == number)
            part = values[inside]
            assert (np.diff(inside) == 1).all()
            assert (np.diff(part) == 1).all()  # of one document, in order
            assert positions[inside].tolist() == [*range(len(inside))]
        tokens += values[:filled].tolist()
    assert sorted(tokens) == [token for n, count in enumerate(lengths) for token in document(n, count)]
    if options['cut'] == 'all':
        assert tokens == sorted(tokens)
        assert all((row['segment_ids'] > 0).all() for row in rows[:-1])


@given(lengths, st.integers(1, 12), st.integers(1, 6))
@examples(200)
def test_only_what_is_longer_than_a_row_is_cut(lengths, length, most):
    rows = list([document(n, count) for n, count in enumerate(lengths)] | pack(length, rows=most))
    parts = [
        row['tokens'][row['segment_ids'] == number] for row in rows for number in range(1, row['segment_ids'].max() + 1)
    ]
    assert len(parts) == sum(-(-count // length) for count in lengths)


@given(lengths, st.integers(1, 12), options, st.integers(0, 20))
@examples(200)
def test_goes_on_from_any_row(lengths, length, options, count):
    made = apply(lambda pair: document(*pair)) | pack(length, **options)
    described = stream(list(enumerate(lengths)), seed=0) | shuffle(4) | made
    everything = [str(row) for row in described]
    count = min(count, len(everything))
    run = iter(described)
    head = [str(next(run)) for _ in range(count)]
    assert head + [str(row) for row in described.resume(through_json(run.state_dict()))] == everything


def test_a_sequence_goes_into_the_fullest_row_that_has_room():
    rows = list([[1] * 3, [2] * 4, [3] * 2, [4] * 1] | pack(5))
    assert [row['tokens'].tolist() for row in rows] == [[1, 1, 1, 3, 3], [2, 2, 2, 2, 4]]


def test_the_fullest_row_goes_out_when_no_more_may_be_open():
    rows = list([[1] * 3, [2] * 4, [3] * 3, [4] * 2] | pack(5, rows=2))
    assert [row['tokens'].tolist() for row in rows] == [[2, 2, 2, 2, 0], [1, 1, 1, 4, 4], [3, 3, 3, 0, 0]]


def test_fields_of_a_dict_are_packed_alike():
    items = [{'ids': [1, 2], 'labels': np.array([5, 6], np.int8)}, {'ids': [3], 'labels': np.array([7], np.int8)}]
    (row,) = items | pack(5, padding={'labels': -100})
    assert row['ids'].tolist() == [1, 2, 3, 0, 0]
    assert (row['labels'].tolist(), row['labels'].dtype) == ([5, 6, 7, -100, -100], np.int8)


def test_a_loss_mask_of_the_items_is_kept():
    items = [{'ids': [1, 2, 3], 'loss_mask': [True, False, True]}, {'ids': [4, 5], 'loss_mask': [1, 1]}]
    (row,) = items | pack(6, padding=9)
    assert row['loss_mask'].tolist() == [False, False, True, False, True, False]


def test_tokens_may_have_more_axes():
    (row,) = [np.ones((2, 3), np.float32)] | pack(4)
    assert (row['tokens'].shape, row['tokens'].dtype, row['tokens'].sum()) == ((4, 3), np.float32, 6)


def test_tensors_are_sequences():
    torch = pytest.importorskip('torch')
    (row,) = [torch.tensor([1, 2]), torch.tensor([3])] | pack(4)
    assert row['tokens'].tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize('where', ['threads', 'processes'])
def test_rows_become_batches_made_from_documents_that_workers_read(where):
    documents = [document(n, n % 7) for n in range(50)]
    plain = list(stream(documents) | apply(np.negative) | pack(8))
    described = stream(documents) | parallel_map(np.negative, **{where: 2}) | pack(8)
    with Infinite(described, batch_size=4) as batch_iter:
        batches = list(batch_iter)
    assert str(batches[0]) == str(combine(plain[:4]))
    assert sum(len(batch['tokens']) for batch in batches) == len(plain)


@pytest.mark.parametrize(
    ('call', 'error'),
    [
        (lambda: pack(0), ValueError('pack: `length` must be at least 1, got 0')),
        (lambda: pack(8, rows=0), ValueError('pack: `rows` must be at least 1, got 0')),
        (lambda: pack(8, cut='some'), ValueError("pack: `cut` must be one of 'long', 'all', 'none', got 'some'")),
    ],
)
def test_what_is_refused(call, error):
    with raises(type(error), str(error)):
        call()


@pytest.mark.parametrize(
    ('item', 'error'),
    [
        (3, TypeError('pack: items must be sequences, or dicts of sequences, got 3')),
        (
            {'a': [1], 'b': [1, 2]},
            ValueError("pack: the fields of an item must be of the same length, got {'a': 1, 'b': 2}"),
        ),
        ({'positions': [1]}, ValueError("pack: items must not have a field 'positions': it is added")),
        ([1] * 9, ValueError("pack: with `cut='none'` no sequence may have more than 8 tokens, got 9")),
    ],
)
def test_items_that_cannot_be_packed(item, error):
    with pytest.raises(type(error)) as caught:
        list([[1], item] | pack(8, cut='none'))
    assert str(caught.value) == str(error)
    assert 'item 1' in caught.value.__notes__[0]
