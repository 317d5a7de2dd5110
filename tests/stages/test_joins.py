"""Arrays stacked, or put one after the other: `combine(ragged=…)`."""

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from batches import assert_same, message, ragged
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import itpipe
from itpipe import Ragged, batch_by, combine

ONLY_FIRST = 'only their first axis may have different lengths; `combine_pad` pads, `combine_lists` leaves a list'


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=5), st.lists(st.integers(0, 3), max_size=2),
    st.sampled_from(['i2', '>f4', 'f8', 'M8[s]', 'S3', '?']), st.data(),
)  # fmt: skip
def test_the_offsets_cut_the_values_into_the_arrays(lengths: Any, rest: Any, dtype: str, data: Any) -> None:
    items = [data.draw(arrays.arrays(dtype, (length, *rest))) for length in lengths]
    values, offsets = combine(items, ragged=True)
    assert (offsets.dtype, len(offsets)) == (np.int64, len(items) + 1)
    for item, begin, end in zip(items, offsets, offsets[1:], strict=False):
        assert_same(values[begin:end], item.astype(item.dtype.newbyteorder('=')))
    assert_same(values, np.concatenate(items).astype(items[0].dtype.newbyteorder('=')))


def test_the_result_is_a_named_tuple() -> None:
    found = combine(ragged(1, 2), ragged=True)
    assert type(found) is Ragged
    assert found._fields == ('values', 'offsets')
    assert (itpipe.Ragged, Ragged.__module__) == (Ragged, 'itpipe')
    assert_same(pickle.loads(pickle.dumps(found)), found)


def test_it_can_be_said_for_some_elements() -> None:
    items = [{'ids': np.arange(n), 'image': np.ones((2, 2)), 'text': 'x', 'n': n} for n in (1, 3)]
    found = combine(items, ragged={'ids': True})
    assert_same(found['ids'], Ragged(np.array([0, 0, 1, 2]), np.array([0, 1, 4])))
    assert found['image'].shape == (2, 2, 2)
    assert (found['text'], found['n'].tolist()) == (['x', 'x'], [1, 3])
    assert message(ValueError, combine, items, ragged={'image': True}).startswith(
        "combine: element ['ids'] of item 1 has shape (3,), but item 0 has shape (1,)"
    )
    pairs = [(np.ones(2), np.ones(1)), (np.ones(2), np.ones(2))]
    first, second = combine(pairs, ragged=(False, True))
    assert (first.shape, type(second)) == ((2, 2), Ragged)


@dataclass
class Text:
    ids: Any
    name: str


def test_in_a_pipeline_and_with_a_dataclass() -> None:
    items = [Text(np.arange(n), str(n)) for n in range(4)]
    stage = combine(ragged={'ids': True})
    assert repr(stage) == "combine(ragged={'ids': True})"
    first, second = items | batch_by(2) | stage
    assert first.ids.offsets.tolist() == [0, 0, 1]
    assert (second.ids.values.tolist(), second.name) == ([0, 1, 0, 1, 2], ['2', '3'])


def test_numbers_text_and_arrays_without_axes_are_as_ever() -> None:
    for items in ([1, 2], ['a', 'b'], [np.array(1), np.array(2)], [None, {1}]):
        assert_same(np.asarray(combine(items, ragged=True)), np.asarray(combine(items)))


def test_integers_do_not_change() -> None:
    found = combine([np.array([1], 'i8'), np.array([2**63], 'u8')], ragged=True)
    assert_same(found.values, np.array([1, 2**63], 'u8'))


@pytest.mark.parametrize(
    ('items', 'ragged', 'error', 'text'),
    [
        (
            [np.ones((1, 2)), np.ones((2, 3))], True, ValueError,
            f'item 1 has shape (2, 3), but item 0 has shape (1, 2); {ONLY_FIRST}',
        ),
        (
            [np.ones(1), np.ones(())], True, ValueError,
            f'item 1 has shape (), but item 0 has shape (1,); {ONLY_FIRST}',
        ),
        ([np.ones(1)], 'ids', TypeError, '`ragged` must be True or False, got str'),
        ([np.ones(1)], {'ids': 1}, TypeError, '`ragged` must be True or False, got int'),
        ([(np.ones(1), 1)], {'ids': True}, TypeError, '`ragged` has type dict, but an item has type tuple'),
        ([{'x': np.ones(1)}], {'ids': True}, ValueError, "`ragged` has keys ['ids'], but an item has keys ['x']"),
    ],
)  # fmt: skip
def test_what_cannot_be_ragged(items: Any, ragged: Any, error: Any, text: str) -> None:
    assert message(error, combine, items, ragged=ragged) == f'combine: {text}'


def test_as_lists_of_arrow() -> None:
    arrow = pytest.importorskip('pyarrow')
    values, offsets = combine(ragged(3, 0, 1), ragged=True)
    assert arrow.LargeListArray.from_arrays(offsets, values).to_pylist() == [[1, 2, 3], [], [1]]
