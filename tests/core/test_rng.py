"""The random generators of items: each its own, the same wherever and whenever it is made."""

import copy
import pickle

import numpy as np
import pytest

from itpipe import shuffle, stream, with_rng
from itpipe._core.rng import BLOCK, Draws, check_seed, generator, step_key

STEP = step_key(3, 'with_rng:f', 1, 0)


def test_a_generator_depends_on_the_step_and_the_key_alone():
    first = generator(STEP, 5).random(10)
    generator(STEP, 6).random(3)
    assert np.array_equal(generator(STEP, 5).random(10), first)
    assert generator(STEP, 5) is not generator(STEP, 5)


def test_a_generator_can_be_kept():
    """Those of later items draw from themselves."""
    kept = []

    def keep(x, rng):
        kept.append(rng)
        return x

    list(stream(range(4), seed=0) | with_rng(keep))
    later = [rng.random(5).tolist() for rng in reversed(kept)]
    direct = list(stream(range(4), seed=0) | with_rng(lambda x, rng: rng.random(5).tolist(), name='keep'))
    assert later[::-1] == direct


@pytest.mark.parametrize(
    'again', [lambda rng: pickle.loads(pickle.dumps(rng)), copy.deepcopy], ids=['pickle', 'deepcopy']
)
def test_a_generator_can_be_pickled_and_copied_at_any_place(again):
    rng = generator(STEP, (5, 2))
    rng.random(7)
    rng.spawn(1)
    copied = again(rng)
    assert np.array_equal(copied.integers(1000, size=50), rng.integers(1000, size=50))
    assert copied.normal() == rng.normal()
    if np.__version__ >= '2':  # numpy 1 forgets in a copy what it was seeded with
        assert copied.spawn(1)[0].random() == rng.spawn(1)[0].random()


def test_a_generator_can_be_spawned():
    """Its children draw apart from it, from each other, from later ones and from those of other items."""

    def family(key):
        rng = generator(STEP, key)
        children = rng.spawn(3)
        return [rng, *children, *rng.spawn(2), *children[0].spawn(2)]

    drawn = [each.random(50).tolist() for key in range(4) for each in family(key)]
    assert len({x for row in drawn for x in row}) == 4 * 8 * 50
    assert drawn[:8] == [each.random(50).tolist() for each in family(0)]


def test_a_child_can_go_to_another_kind_of_generator():
    """What asks the seed for something else than Philox does gets numbers that depend on it too."""
    seeds = [np.random.default_rng(generator(STEP, key).bit_generator.seed_seq) for key in (0, 0, 1)]
    first, same, other = [rng.random(5).tolist() for rng in seeds]
    assert first == same != other


def test_different_names_counts_items_passes_and_seeds_are_uncorrelated():
    """Two thousand sequences that differ in one thing or two; the bounds are five standard deviations."""
    n, length = 2048, 1024
    sequences = np.stack([
        generator(step_key(seed, name, count, pass_), key).random(length)
        for seed in range(2)
        for name in ('with_rng:f', 'with_rng:g')
        for count in range(2)
        for pass_ in [0, 1, 2, 1 << 32]
        for key in [*range(32), *((key, part) for key in range(4) for part in range(8))]
    ])  # fmt: skip
    assert sequences.shape == (n, length)
    centred = sequences - 0.5
    assert abs(centred.mean()) < 5 * np.sqrt(1 / 12 / n / length)
    correlations = centred @ centred.T * 12 / length
    assert np.allclose(np.diag(correlations), 1, atol=5 * np.sqrt(0.8 / length))
    apart = correlations[np.triu_indices(n, 1)]
    assert abs(apart).max() < 6.5 / np.sqrt(length)  # of two million
    assert abs(apart.std() * np.sqrt(length) - 1) < 0.01
    shifted = (centred[:, 1:] * centred[:, :-1]).mean() * 12
    assert abs(shifted) < 5 / np.sqrt(n * length)


def test_first_draws_of_neighbouring_items_are_uniform():
    """They are what most stages use: one number an item."""
    firsts = np.array([generator(STEP, key).random() for key in range(20_000)])
    counts, _ = np.histogram(firsts, bins=50, range=(0, 1))
    assert ((counts - 400) ** 2 / 400).sum() < 94  # chi squared with 49 degrees of freedom: once in 10,000
    assert abs(np.corrcoef(firsts[1:], firsts[:-1])[0, 1]) < 5 / np.sqrt(len(firsts))


def test_the_draws_of_a_step_are_the_same_in_any_order():
    forward, backward = Draws(STEP), Draws(STEP)
    places = [*range(5), *range(1020, 1030), *range(2045, 2052), 10**9]
    drawn = {t: forward.uniform(t) for t in places}
    assert {t: backward.uniform(t) for t in reversed(places)} == drawn
    assert len(set(drawn.values())) == len(places)
    assert all(0 <= Draws(STEP).below(t, 7) < 7 for t in range(100))
    assert [int(drawn[t] * 7) for t in places] == [forward.below(t, 7) for t in places]


@pytest.mark.long
def test_shuffles_are_uniform():
    """Of four things each of the 24 orders comes equally often."""
    counts: dict = {}
    for seed in range(2400):
        order = tuple(stream(range(4), seed=seed) | shuffle(4))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 58  # 23 degrees of freedom: once in 10,000


# ---------------------------------------------------------------------------------------------------------------------
# What never changes, or seeded experiments, and runs that are resumed with a newer version, come out otherwise


def test_the_keys_of_steps_never_change():
    assert [step_key(0, 'shuffle', 0, 0), STEP, step_key(2**70, 'with_rng:größer', 12, 345)] == [
        9026935147319987396,
        4002329097964757301,
        1448970181730870903,
    ]


def test_the_numbers_of_generators_never_change():
    assert generator(0, 0).random(2).tolist() == [0.011546754286331562, 0.24154919656271812]
    assert generator(STEP, 0).random(2).tolist() == [0.4969983196503194, 0.03294800509571738]
    assert generator(STEP, (5, 2)).random(2).tolist() == [0.5541061551240761, 0.9652468195304607]
    assert generator(STEP, 5).spawn(1)[0].random(2).tolist() == [0.5768366153093375, 0.4390215316696058]


def test_the_draws_of_steps_never_change():
    draws = Draws(STEP)
    assert [draws.uniform(t) for t in (0, 1023, 1024)] == [0.4969983196503194, 0.01043718643138869, 0.5424729041366317]
    assert [draws.below(t, 100) for t in range(5)] == [49, 3, 63, 58, 54]


# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('seed', [0, 7, 2**100, np.int64(5), np.uint8(3), None])
def test_seeds_that_are_taken(seed):
    checked = check_seed('here', seed)
    assert checked == seed
    assert checked is None or type(checked) is int


@pytest.mark.parametrize(
    ('seed', 'kind', 'message'),
    [
        (-1, ValueError, 'here: `seed` must not be negative, got -1'),
        (1.0, TypeError, 'here: `seed` must be an int or None, got float'),
        ('1', TypeError, 'here: `seed` must be an int or None, got str'),
        (True, TypeError, 'here: `seed` must be an int or None, got bool'),
        (np.bool_(True), TypeError, f'here: `seed` must be an int or None, got {type(np.bool_(True)).__name__}'),
    ],
)
def test_seeds_that_are_refused(seed, kind, message):
    with pytest.raises(kind) as caught:
        check_seed('here', seed)
    assert str(caught.value) == message


def test_draws_of_two_threads_at_once():
    """A step and its replica share them: one may ask while the other one's block is being made."""
    draws, expected = Draws(STEP), [Draws(STEP).uniform(t) for t in (0, BLOCK)]
    make, asked = draws.block, []

    def block(number):
        values = make(number)
        if number == 0:
            asked.append(draws.uniform(BLOCK))
        return values

    draws.block = block
    assert [draws.uniform(0), *asked, draws.uniform(BLOCK)] == [*expected, expected[1]]
