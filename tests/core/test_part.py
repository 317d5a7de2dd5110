"""Some items of a dataset, as a dataset."""

import pickle

import numpy as np

from itpipe import Infinite, batch_by, sample, stream, take
from itpipe._core.part import Part
from itpipe._engine.indexing import is_cheap


class Together(list):
    """As the datasets of torch and Hugging Face that look several items up at once."""

    def __getitems__(self, indices):
        return [('together', self[index]) for index in indices]


def test_is_a_sequence_of_the_items_at_its_indices():
    part = Part('abcdef', np.array([1, 4, 5]))
    assert (len(part), list(part), part[-1]) == (3, ['b', 'e', 'f'], 'f')
    assert list(stream(part)) == ['b', 'e', 'f']
    assert set(sample(part, seed=0) | take(30)) == set('bef')
    assert repr(part) == "<3 of 6 items: 'b', 'e', 'f'>"
    assert repr(Part(range(20), np.arange(10))) == '<10 of 20 items: 0, 1, 2, 3, 4, 5, …>'
    assert repr(Part([1], np.array([], np.int64))) == '<0 of 1 items>'
    assert repr(Part(np.ones(4), np.array([1]))) == '<1 items of <ndarray of shape (4,), float64>>'
    assert list(pickle.loads(pickle.dumps(part))) == list(part)


def test_looks_items_up_together_where_its_dataset_does():
    assert Part(list('abcdef'), np.array([1, 4, 5])).__getitems__([2, 0]) == ['f', 'b']
    assert Part(Together('abcdef'), np.array([1, 4, 5])).__getitems__([2, 0]) == [('together', 'f'), ('together', 'b')]
    assert next(iter(Part(Together('abcdef'), np.array([1, 4, 5])) | batch_by(2))) == [
        ('together', 'b'),
        ('together', 'e'),
    ]


def test_rows_of_an_array_become_batches():
    data = np.arange(12).reshape(6, 2)
    with Infinite(Part(data, np.array([0, 3, 5])), batch_size=2) as batch_iter:
        assert [batch.tolist() for batch in batch_iter] == [[[0, 1], [6, 7]], [[10, 11]]]


def test_costs_what_its_dataset_costs():
    """So a part of a list is not sent to processes."""
    assert is_cheap(Part(Part([1, 2], np.array([0])), np.array([0])))
    assert not is_cheap(Part(Together('ab'), np.array([0])))
