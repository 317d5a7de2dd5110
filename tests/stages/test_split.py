"""Disjoint parts of a dataset, and weights that balance classes."""

from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from running import raises

from itpipe import balanced, sample, split, take

sizes = st.integers(0, 200)
fractions = st.sampled_from([(1,), (0.5, 0.5), (0.8, 0.1, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.99, 0.01), (0, 1)])


@given(sizes, fractions, st.integers(1, 4), st.integers(0, 3))
def test_parts_are_disjoint_and_have_their_share_of_each_label(size, shares, kinds, seed):
    labels = np.random.default_rng(seed).integers(kinds, size=size)
    parts = split(range(size), shares, by=labels, seed=seed)
    assert sorted(index for part in parts for index in part) == [*range(size)]
    for part, share in zip(parts, shares, strict=True):
        for label in range(kinds):
            assert abs((labels[part.indices] == label).sum() - share * (labels == label).sum()) < 3


@pytest.mark.filterwarnings('ignore:split. `by` has')
@given(sizes, sizes, fractions, st.booleans(), st.booleans())
def test_items_stay_where_they_are_when_others_are_appended(size, more, shares, by, together):
    """Also with labels and patients that come later, and would be sorted before the others."""
    labels = np.concatenate([np.arange(size) % 3 + 5, np.arange(more) % 4])
    patients = np.concatenate([np.arange(size) // 3 + 100, np.arange(more) // 2])

    def parts(size):
        options = {'by': labels[:size] if by else None, 'together': patients[:size] if together else None}
        return split(range(size), shares, **options)

    for before, after in zip(parts(size), parts(size + more), strict=True):
        assert after.indices[after.indices < size].tolist() == before.indices.tolist()


def test_items_of_one_patient_stay_together():
    patients = [f'patient {n * n % 17}' for n in range(200)]
    parts = [{patients[index] for index in part} for part in split(range(200), [0.6, 0.2, 0.2], together=patients)]
    assert sum(map(len, parts)) == len(set(patients))


def test_the_label_of_a_patient_is_that_of_the_first_item():
    patients, labels = np.repeat(np.arange(40), 2), np.repeat(np.arange(40), 2) % 2
    labels[1::2] = 7
    parts = split(range(80), [0.5, 0.5], by=labels, together=patients)
    for part in parts:
        assert abs(Counter(labels[part.indices].tolist())[0] - 10) <= 1


def test_labels_may_be_of_several_kinds():
    """Such as text and None. They are told apart as others are, and each NaN is the same one."""
    for labels in (['b', None, 'b', 'a', None, 'a'] * 20, [2, None, 2.0, float('nan'), None, float('nan')] * 20):
        plain = [1, 0, 1, 2, 0, 2] * 20
        for some, others in zip(
            split(range(120), [0.5, 0.3, 0.2], by=labels, together=labels),
            split(range(120), [0.5, 0.3, 0.2], by=plain, together=plain),
            strict=True,
        ):
            assert some.indices.tolist() == others.indices.tolist()
        assert balanced(labels).tolist() == [1 / 40] * 120


def test_another_seed_gives_other_parts():
    one, same, other = (split(range(100), [0.5, 0.5], seed=seed)[0].indices.tolist() for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ('call', 'error'),
    [
        (lambda: split(iter([1]), [1]), TypeError('split: `data` must have a length and an index, got list_iterator')),
        (lambda: split([1], [0.5]), ValueError('split: the sum of `fractions` must be 1, got [0.5]')),
        (lambda: split([1], []), ValueError('split: `fractions` must not all be zero')),
        (lambda: split([1], [2, -1]), ValueError('split: `fractions` must be finite and not negative, got [2, -1]')),
        (lambda: split([1], ['1']), TypeError("split: `fractions` must be numbers, got ['1']")),
        (
            lambda: split([1, 2], [1], by=[0]),
            ValueError('split: `by` must have one value for each of 2 items, got shape (1,)'),
        ),
        (
            lambda: split([{'patient': 1}, {'patient': 2}], [1], together='patient'),
            TypeError(
                "split: `together` must have one value for each of 2 items, got 'patient'; if it is a field of the"
                " items, give `[item['patient'] for item in data]`"
            ),
        ),
        (
            lambda: split([1, 2], [1], together=[[0], [1]]),
            ValueError('split: `together` must have one value for each of 2 items, got shape (2, 1)'),
        ),
        (
            lambda: split([1, 2], [1], by=[{0}, None]),
            TypeError(
                "split: `by` must have values that have a hash, such as text or numbers (unhashable type: 'set')"
            ),
        ),
        (
            lambda: balanced([{0}, None]),
            TypeError(
                "balanced: `labels` must have values that have a hash, such as text or numbers (unhashable type: 'set')"
            ),
        ),
        (lambda: split([1], [1], seed=-1), ValueError('split: `seed` must not be negative, got -1')),
        (lambda: balanced([]), ValueError('balanced: `labels` must have one label for each item, got shape (0,)')),
        (lambda: balanced(3), ValueError('balanced: `labels` must have one label for each item, got shape ()')),
    ],
)
def test_what_is_refused(call, error):
    with raises(type(error), str(error)):
        call()


def test_each_label_comes_equally_often():
    labels = ['cat'] * 90 + ['dog'] * 9 + ['owl']
    counts = Counter(sample(labels, weights=balanced(labels), seed=0) | take(3000))
    assert all(900 < count < 1100 for count in counts.values())
    assert len(counts) == 3


def test_labels_that_are_rather_patients():
    patients = np.repeat(np.arange(20), 3)
    message = 'split: `by` has 20 labels, most of them with fewer than 5 items: too few to be in each part.'
    with pytest.warns(UserWarning, match=f'^{message} If these are patients') as caught:
        split(range(60), [0.8, 0.2], by=patients)
    assert caught[0].filename == __file__
    split(range(60), [0.8, 0.2], together=patients)
    split(range(60), [0.8, 0.2], by=patients % 4, together=patients)
    split(range(60), [0.8, 0.2], by=patients // 2)  # six items each


def test_one_fraction_is_not_enough():
    message = 'split: `fractions` must be one for each part, such as [0.8, 0.2], got 0.2'
    with raises(TypeError, message):
        split(range(9), 0.2)
