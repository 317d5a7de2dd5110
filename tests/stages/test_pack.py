"""Rows of fixed length, filled with whole sequences."""

import json
from contextlib import contextmanager

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


@given(lengths, st.integers(1, 12), options)
@examples(200)
def test_a_row_says_which_documents_are_in_it_and_is_made_again_of_them(lengths, length, options):
    made = []

    def written(number):
        made.append(number)
        return document(number, lengths[number])

    described = stream(range(len(lengths)), seed=0) | shuffle() | written | pack(length, **options)
    run = iter(described)
    for row in run:
        first = row['segment_ids'] > np.pad(row['segment_ids'], (1, 0))[:-1]
        assert run.indices == (row['tokens'][first] // 100).tolist()
        (key,) = through_json(run.item_keys)
        made.clear()
        again = described.item(key)
        assert sorted(made) == sorted(run.indices)
        assert {name: array.tolist() for name, array in again.items()} == {
            name: array.tolist() for name, array in row.items()
        }


def test_rows_in_a_buffer_are_few_bytes_in_a_state():
    run = iter(stream(range(2000), seed=0) | (lambda n: np.ones(1 + n * 7919 % 200)) | pack(512) | shuffle(100))
    for _ in range(50):
        next(run)
    assert len(json.dumps(run.state_dict())) < 12_000


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


@contextmanager
def refuses(kind, message):
    """As `raises`, but with a note that names the stage and the item."""
    with pytest.raises(kind) as caught:
        yield
    assert (type(caught.value), str(caught.value)) == (kind, message)
    assert all(note.startswith('itpipe: raised in pack(') for note in caught.value.__notes__)


def test_a_part_that_fills_a_row_leaves_the_others_open():
    rows = list([[1, 2, 3], [9] * 5, [4, 5]] | pack(5, rows=1))
    assert [row['tokens'].tolist() for row in rows] == [[9] * 5, [1, 2, 3, 4, 5]]
    rows = list([[1, 2, 3], [9] * 11, [4, 5]] | pack(5, rows=2))
    assert [row['tokens'].tolist() for row in rows] == [[9] * 5, [9] * 5, [1, 2, 3, 9, 0], [4, 5, 0, 0, 0]]


TWO = [{'ids': [1, 2], 'labels': [3, 4]}, {'ids': [5, 6], 'labels': [7, 8]}]


@pytest.mark.parametrize(
    ('items', 'error'),
    [
        (
            [{'ids': [1, 2]}, {'ids': [3], 'labels': [9]}],
            ValueError(
                "pack: an item must have the fields of the first one, ['ids'], but this one also has ['labels']"
            ),
        ),
        (
            [TWO[0], {'ids': [3]}],
            ValueError(
                "pack: an item must have the fields of the first one, ['ids', 'labels'], but this one lacks ['labels']"
            ),
        ),
        (
            [TWO[0], {'ids': [3], 'label': [4]}],
            ValueError(
                "pack: an item must have the fields of the first one, ['ids', 'labels'], but this one lacks ['labels']"
                " and also has ['label']"
            ),
        ),
        ([[1], {'tokens': [3]}], TypeError('pack: the first item was a sequence, got a dict of sequences')),
        ([{'tokens': [3]}, []], TypeError('pack: the first item was a dict of sequences, got a sequence')),
    ],
)
def test_items_have_the_fields_of_the_first_one(items, error):
    for length in (1, 2, 9):  # in a row with it, or after it went out
        with pytest.raises(type(error)) as caught:
            list(items | pack(length))
        assert str(caught.value) == str(error)
        assert 'item 1' in caught.value.__notes__[0]


@pytest.mark.parametrize('count', range(4))
def test_the_fields_of_the_first_item_are_known_where_a_run_goes_on(count):
    described = stream([*TWO, *TWO, {'ids': [1]}]) | pack(2)
    run = iter(described)
    for _ in range(count):
        next(run)
    with pytest.raises(ValueError, match="this one lacks \\['labels'\\]"):
        list(described.resume(through_json(run.state_dict())))


def test_the_names_of_fields_are_text():
    name = np.str_('ids')
    described = stream([{name: [1, 2]}, {'ids': [3]}]) | pack(2)
    run = iter(described)
    assert next(run)['ids'].tolist() == [1, 2]
    assert [row['ids'].tolist() for row in described.resume(through_json(run.state_dict()))] == [[3, 0]]
    with refuses(TypeError, 'pack: the names of the fields must be str, got 0'):
        list([{0: [1]}] | pack(2))


def test_no_integer_changes_in_a_row():
    signed, unsigned = np.array([-1, 2**62 + 1]), np.array([2**62 + 3], np.uint64)
    (row,) = [signed, unsigned] | pack(4)
    assert (row['tokens'].dtype, row['tokens'].tolist()) == (np.int64, [-1, 2**62 + 1, 2**62 + 3, 0])
    (row,) = [{'ids': unsigned}, {'ids': signed[1:]}, {'ids': np.array([2**63 + 1], np.uint64)}] | pack(3)
    assert (row['ids'].dtype, row['ids'].tolist()) == (np.uint64, [2**62 + 3, 2**62 + 1, 2**63 + 1])
    told = 'the common dtype, does not hold; convert the items to one dtype before'
    with refuses(ValueError, f'pack: in a row: item 0 has -1 in dtype int64, which uint64, {told}'):
        list([signed, np.array([2**63 + 1], np.uint64)] | pack(4))
    with refuses(
        ValueError, f"pack: in a row: element ['ids'] of item 0 has {2**62 + 1} in dtype int64, which float64, {told}"
    ):
        list([{'ids': signed[1:]}, {'ids': np.ones(2)}] | pack(4))


@pytest.mark.parametrize('whole', [2**53 + 1, np.int64(2**53 + 1), -(2**62) - 1])
def test_no_integer_of_a_list_changes(whole):
    told = 'the dtype that numpy makes of it, does not hold; make an array of it before'
    with refuses(ValueError, f'pack: an item has {whole}, which float64, {told}'):
        list([[0.5, whole]] | pack(4))
    assert [row['tokens'].tolist() for row in [[0.5, 2**53, 1e300]] | pack(3)] == [[0.5, 2**53, 1e300]]


@pytest.mark.parametrize(
    ('items', 'padding', 'error'),
    [
        ([[1]], 0.5, '`padding` for an item must fit dtype int64, got 0.5'),
        ([TWO[0]], {'ids': 0.5}, "`padding` for element ['ids'] of an item must fit dtype int64, got 0.5"),
        ([np.zeros(1, np.uint8)], -1, '`padding` for an item must fit dtype uint8, got -1'),
        ([np.zeros(2, np.uint8)], -1, '`padding` for an item must fit dtype uint8, got -1'),  # in a full row, too
        ([np.zeros(1, np.float16)], 1e6, '`padding` for an item must fit dtype float16, got 1000000.0'),
    ],
)
def test_padding_fits(items, padding, error):
    with refuses(ValueError, f'pack: {error}; give another value, or convert the arrays before'):
        list(items | pack(2, padding=padding))


def test_padding_is_for_fields_that_there_are():
    with refuses(ValueError, "pack: `padding` has 'idz', but the fields are ['ids', 'labels']"):
        list(TWO | pack(4, padding={'ids': 0, 'idz': -1}))
    with refuses(ValueError, "pack: `padding` has 'ids', but the fields are ['tokens']"):
        list([[1]] | pack(4, padding={'ids': -1}))
    assert [row['tokens'].tolist() for row in [[1]] | pack(2, padding={'tokens': -1})] == [[1, -1]]


@pytest.mark.parametrize(
    ('item', 'error'),
    [
        ('text', "an item must be numbers, got 'text'"),
        (['a', 'b'], "an item must be numbers, got ['a', 'b']"),
        ([1, None], 'an item must be numbers, got [1, None]'),
        ({'ids': [2**70]}, f"element ['ids'] of an item must be numbers, got [{2**70}]"),
        (np.array(['a', 'b']), 'an item must be numbers, got dtype <U1'),
        (np.array([1], 'M8[s]'), 'an item must be numbers, got dtype datetime64[s]'),
        (np.array([(1, 2)], 'i4,i4'), "an item must be numbers, got dtype [('f0', '<i4'), ('f1', '<i4')]"),
        (
            np.ma.masked_array([1, 2], [True, False]),
            (
                'an item is a masked array, whose mask would be lost; use its `filled()`, or make the mask an element'
                ' of its own'
            ),
        ),
    ],
)
def test_what_is_no_numbers_is_refused(item, error):
    with refuses(TypeError, f'pack: {error}'):
        list([item] | pack(4))


def test_lists_of_different_lengths_are_no_tokens():
    with pytest.raises(
        TypeError, match=r'^pack: an item, a list, cannot be made an array \(ValueError: .*inhomogeneous'
    ):
        list([[[1], [2, 3]]] | pack(4))
    with refuses(
        ValueError,
        'pack: in a row: item 1 has shape (1, 3), but item 0 has shape (1, 2); only their first axis may have different'
        ' lengths; `combine_pad` pads, `combine_lists` leaves a list',
    ):
        list([[[1, 2]], [[1, 2, 3]]] | pack(4))


def test_floats_that_numpy_does_not_have():
    bfloat16 = pytest.importorskip('ml_dtypes').bfloat16
    (row,) = [np.array([1.5, 2], bfloat16)] | pack(3, padding=-100)
    assert (row['tokens'].dtype, row['tokens'].tolist()) == (bfloat16, [1.5, 2, -100])
    with refuses(
        ValueError,
        'pack: `padding` for an item must fit dtype bfloat16, got 1001; give another value, or convert the arrays'
        ' before',
    ):
        list([np.array([1.5, 2], bfloat16)] | pack(3, padding=1001))
    torch = pytest.importorskip('torch')
    with refuses(
        TypeError,
        "pack: element ['x'] of an item, a Tensor, cannot be made an array (TypeError: Got unsupported ScalarType"
        ' BFloat16); convert it before',
    ):
        list([{'x': torch.ones(2, dtype=torch.bfloat16)}] | pack(3))


class Lazy:
    """A sequence that knows what was read of it."""

    dtype = np.dtype(np.int64)

    def __init__(self, count):
        self.count, self.read = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, part):
        self.read.append((part.start, part.stop))
        return np.arange(self.count)[part]


def test_only_parts_are_read_of_what_has_a_dtype():
    lazy = Lazy(7)
    assert [row['tokens'].tolist() for row in [lazy] | pack(4)] == [[0, 1, 2, 3], [4, 5, 6, 0]]
    assert {*lazy.read} == {(None, 0), (0, 4), (4, 7)}


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
        (lambda: pack(8, padding='0'), TypeError("pack: `padding` must be a number, or a dict of numbers, got '0'")),
        (
            lambda: pack(8, padding={'ids': None}),
            TypeError("pack: `padding` must be a number, or a dict of numbers, got {'ids': None}"),
        ),
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
            {'ids': [1, 2], 'id': 7},
            TypeError("pack: the field 'id' must be a sequence, got 7: leave it out of the items before"),
        ),
        (
            {'ids': [1, 2], 'id': np.int64(7)},
            TypeError("pack: the field 'id' must be a sequence, got np.int64(7): leave it out of the items before"),
        ),
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
