"""Some items of a dataset, as a dataset."""

import pickle

import numpy as np
import pytest
from running import raises

from itpipe import Infinite, batch_by, sample, stream, take
from itpipe._core.part import Part, gives_together, whole_of
from itpipe._engine.indexing import is_cheap


class Photos:
    """A dataset of a user, one item of which is broken."""

    labels = np.arange(6) % 2
    paths = tuple('abcdef')
    classes = ('cat', 'dog')

    def __init__(self):
        self.read = []

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.read.append(index)
        if index == 4:
            raise OSError('truncated')
        return index


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


@pytest.mark.parametrize('index', [slice(0, 2), [0, 1], np.array([0, 1]), np.array([True, True, False])])
def test_several_indices_give_a_part(index):
    part = Part(data := Photos(), np.array([1, 3, 5]))
    few = part[index]
    assert isinstance(few, Part)
    assert (list(few), few.paths, few.data) == ([1, 3], ['b', 'd'], data)
    assert list(part[::-1]) == [5, 3, 1]
    assert (list(part[[]]), part[np.int64(-1)], part[np.array(1)]) == ([], 5, 3)


def test_an_index_of_more_axes_is_refused():
    with raises(TypeError, 'Part: an index must be a number, a slice or a list of numbers, got [[0, 1]]'):
        Part('abc', np.array([0, 2]))[[[0, 1]]]


def test_long_items_are_not_in_its_name():
    """It is in the names of stages."""
    rows = [{'image': f'data/patient{n}.npz', 'patient': f'P{n}', 'dose': 0.25} for n in range(16)]
    assert repr(Part(rows, np.arange(12))) == '<12 of 16 items>'


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


def test_has_the_labels_and_paths_of_its_items():
    part = Part(Part(Photos(), np.array([5, 4, 1])), np.array([0, 2]))
    assert (part.labels.tolist(), part.paths, part.classes) == ([1, 1], ['f', 'b'], ('cat', 'dog'))
    for name in ('labels', 'paths', 'classes', 'nothing'):
        assert not hasattr(Part('abc', np.array([1])), name)
    assert pickle.loads(pickle.dumps(part)).paths == ['f', 'b']


def _parts():
    torch_data = pytest.importorskip('torch.utils.data')
    return (
        lambda data: Part(data, np.array([1, 4, 5])),
        lambda data: torch_data.Subset(data, [1, 4, 5]),
        lambda data: torch_data.Subset(Part(data, np.array([0, 1, 4, 5])), [1, 2, 3]),
    )


def test_what_fails_is_read_once_and_raised_once():
    """Also in a subset of torch, which has a `__getitems__` that only reads one by one."""
    for part in _parts():
        data = Photos()
        with (
            Infinite(part(data), batch_size=3, prefetch=0) as batch_iter,
            pytest.raises(OSError, match='trunc') as found,
        ):
            next(batch_iter())
        assert data.read == [1, 4]
        assert (found.value.__context__, found.value.__cause__) == (None, None)


def test_which_give_several_items_together():
    class Own(pytest.importorskip('torch.utils.data').Subset):
        def __getitems__(self, indices):
            return indices

    for part in _parts():
        assert not gives_together(part(Photos()))
        assert gives_together(part(Together('abcdef')))
    assert gives_together(Own(Photos(), [1]))
    assert not gives_together(Photos())


def test_what_it_is_a_part_of():
    for part in _parts():
        whole, indices = whole_of(part(data := Photos()))
        assert [int(index) for index in indices][-1] in (5, 3)
        assert whole is data or whole.data is data
    assert whole_of([1]) is None
