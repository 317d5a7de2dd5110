"""Items that are left out by their numbers."""

import itertools
import pickle

import numpy as np
import pytest
from running import raises, through_json

from itpipe import (
    Infinite,
    apply,
    batch_by,
    bucket_by,
    check,
    concat,
    cycle,
    exclude,
    explain,
    filter_by,
    flatten,
    interleave,
    load_by_random_id,
    merge_states,
    mix,
    pack,
    parallel_map,
    pipe,
    prefetch,
    reuse,
    sample,
    shard,
    shuffle,
    skip,
    stage,
    stream,
    take,
    with_rng,
    zip_with,
)
from itpipe._core.keys import as_key, ordinals
from itpipe._engine.chain import Chain
from itpipe._engine.seeds import Seeds


class Scans:
    """A dataset that says what was read of it; the scans 3 and 5 cannot be read."""

    broken = (3, 5)

    def __init__(self, size=12):
        self.size, self.read = size, []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.append(index)
        if index in self.broken:
            raise OSError(f'cannot read {index}')
        return 10 * index


def whole(x):
    if x in (3, 5):
        raise ValueError(f'not {x}')
    return 10 * x


def noisy(x, rng):
    return x, rng.random()


@stage
def sums(items):
    yield from itertools.accumulate(items)


LETTERS = stream('abcdefgh')
EXCLUDED = [
    (LETTERS | exclude(), 'abcdefgh'),
    (LETTERS | exclude(1, 4, 4, 100), 'acdfgh'),
    (LETTERS | exclude(np.int64(1), range(3, 6), range(7, 7)), 'acgh'),
    (LETTERS | exclude(range(7, 0, -2)), 'aceg'),
    (LETTERS | exclude(range(8)), ''),
    (LETTERS | exclude(1) | exclude(2) | exclude(1), 'adefgh'),
    (LETTERS | skip(2) | exclude(2) | take(2), 'de'),
    (LETTERS | filter_by(lambda x: x != 'c') | exclude(3), 'abefgh'),
    (stream(['ab', 'cd', 'e']) | flatten | exclude(1), 'abe'),
    (stream(['ab', 'cd', 'ef']) | flatten | exclude((1, 0), (2, range(1, 9))), 'abde'),
    (stream([['ab', 'c'], ['de']]) | flatten | flatten | exclude(((0, 0), 1), (1, 0)), 'ac'),
    (stream(['ab', 'cd', 'ef']) | interleave(list, cycle=2) | exclude((0, 1), 2), 'acd'),
    (stream('ab') | reuse(1, 2) | exclude((0, 1), 7), 'abb'),
    (LETTERS | batch_by(3) | exclude(4) | flatten, 'abcgh'),
    (LETTERS | batch_by(2) | batch_by(2) | exclude(4) | flatten | flatten, 'abcd'),
    (stream('ab') | concat('cd', 'ef') | exclude(0, (1, 2)), 'bd'),
    (stream('ab') | concat('cd' | exclude(0)) | exclude((1, 0)), 'ad'),
    (stream('abc') | cycle(2) | exclude(0, (1, 1)), 'bcc'),
    (stream('abc') | exclude(1, passes=1) | cycle(3), 'abcacabc'),
    (stream('abc') | zip_with('def') | exclude(1) | flatten, 'adcf'),
    (stream('abcd') | bucket_by(lambda _: 1, edges=[2], size=2) | exclude(0) | flatten, 'cd'),
    (stream('abcd') | sums() | exclude(1), ['a', 'abc', 'abcd']),
]


@pytest.mark.filterwarnings('ignore:itpipe. nothing is known of')
@pytest.mark.parametrize(('made', 'expected'), EXCLUDED, ids=[repr(made) for made, _ in EXCLUDED])
def test_what_was_made_of_the_items_with_these_numbers_does_not_come(made, expected):
    assert list(made) == list(expected)
    if 'lambda' not in repr(made):
        assert list(pickle.loads(pickle.dumps(made))) == list(expected)
    run = iter(made)
    for count in range(len(expected)):
        assert list(made.resume(through_json(run.state_dict()))) == list(expected)[count:]
        next(run)


def tokens(row):
    return row['tokens'].tolist()


def test_the_keys_of_a_batch_leave_it_out():
    for made in (
        stream(['ab', 'cde', 'f', 'gh']) | flatten | shuffle(3),
        mix('abcd', 'efgh' | cycle(2)),
        stream('abcdefgh') | zip_with('ijklmnop'),
        stream('abcdefgh') | batch_by(2),
        stream(range(24)) | bucket_by(lambda x: x % 3, edges=[1], size=2),
        stream([[1, 2], [3], [4], [5, 6], [7, 8, 9]]) | pack(3) | tokens,
    ):
        with Infinite(made, batch_size=2, combiner=list, seed=0) as batch_iter:
            batches = list(batch_iter)
        with Infinite(made, batch_size=2, combiner=list, seed=0) as batch_iter:
            next(batch_iter())
            keys = batch_iter.item_keys
        with Infinite(made, exclude(*keys), batch_size=2, combiner=list, seed=0) as batch_iter:
            assert list(batch_iter) == batches[1:]


def test_the_number_of_a_draw_with_weights_that_may_be_replaced_is_that_of_the_item():
    draws = sample([[5, 0], [6, 1], [7, 2]], reweight=True, seed=0) | take(6)
    every = [x for n, parts in enumerate(draws) for x in ((n, 0, parts[0]), (n, 1, parts[1]))]
    for n in range(6):
        parts = draws | flatten
        assert list(parts | exclude((n, 0))) == [x for at, part, x in every if (at, part) != (n, 0)]
        assert list(parts | exclude(n)) == [x for at, _, x in every if at != n]
    mixed = mix(sample([5, 6, 7], reweight=True, seed=0) | take(6), range(3), seed=1)
    run = iter(mixed)
    keys = [run.item_keys[0] for _ in run]
    for n, key in enumerate(keys):
        rest = [x for at, x in enumerate(mixed) if at != n]
        number = key[0] if isinstance(key[0], int) else key[0][0]
        for one in (key, through_json(key), (number, key[1])):
            assert list(mixed | exclude(as_key(one))) == rest
    run = iter(draws | shuffle(3) | flatten)
    next(run)
    rest = (draws | shuffle(3) | flatten | exclude(4)).resume(through_json(run.state_dict()), strict=False)
    assert list(rest) == [x for x, key in ((x, run.item_keys[0]) for x in run) if ordinals(key) != [4]]


def test_all_others_keep_their_numbers_and_their_randomness():
    noise = with_rng(noisy)
    made = stream(range(20), seed=0) | shuffle(6) | noise
    rest = [each for each in made if each[0] not in (3, 4, 17)]
    assert list(made | exclude(3, 4, 17)) == rest
    assert list(stream(range(20), seed=0) | shuffle(6) | exclude(3, 4, 17) | noise) == rest
    with Infinite(made, exclude(3, 4, 17)) as batch_iter:
        list(itertools.islice(batch_iter, 6))
        assert batch_iter.item(batch_iter.ordinals[0]) == rest[5]
        with pytest.raises(LookupError, match='there is no item 17'):
            batch_iter.item(17)


def test_in_some_passes_only():
    with Infinite(range(4), shuffle(), exclude(0, passes=1), exclude(1, 2, passes=range(2, 4)), seed=0) as batch_iter:
        received = [list(batch_iter) for _ in range(5)]
    with Infinite(range(4), shuffle(), seed=0) as batch_iter:
        every = [list(batch_iter) for _ in range(5)]
    assert received == [every[0], every[1][1:], every[2][::3], every[3][::3], every[4]]


READING = [
    lambda data: data | exclude(3, 5),
    lambda data: data | apply(abs) | exclude(3, 5),
    lambda data: data | apply(abs) | prefetch(2) | exclude(3) | apply(abs) | exclude(5),
    lambda data: data | exclude(3, 5) | parallel_map(abs, threads=2),
    lambda data: data | parallel_map(abs, threads=2) | exclude(3, 5),
    lambda data: data | parallel_map(abs, threads=2) | shuffle(4) | exclude(3, 5),
    lambda data: data | parallel_map(abs, threads=2, on_error='skip') | exclude(3, 5),
    lambda data: data | shuffle(4) | exclude(3, 5) | parallel_map(apply(abs) | batch_by(2), threads=2) | flatten,
    lambda data: mix(data | apply(abs) | exclude(3, 5), [] | exclude(1)),
    lambda data: data | concat([]) | apply(abs) | exclude(3, 5),
    lambda data: data | cycle(1) | exclude(3, 5) | parallel_map(abs, threads=2),
    lambda data: data | shard(0, 1) | apply(abs) | exclude(3, 5),
]


@pytest.mark.parametrize('made', READING)
def test_nothing_is_read_for_what_is_left_out(made):
    data = Scans()
    assert sorted(made(stream(data, seed=0))) == [10 * n for n in range(12) if n not in (3, 5)]
    assert sorted(data.read) == [n for n in range(12) if n not in (3, 5)]


@pytest.mark.parametrize('made', READING[:8])
@pytest.mark.parametrize('source', [range(12), {n: n for n in range(12)}])
def test_nor_is_a_function_called_for_it(source, made):
    work = apply(whole) if made is not READING[6] else parallel_map(whole, threads=1)
    assert sorted(made(stream(source, seed=0) | work)) == [10 * n for n in range(12) if n not in (3, 5)]


def test_behind_an_unordered_map_the_map_calls_its_function_for_all():
    """As which items came to it is remembered where a run goes on."""
    called = []
    made = range(6) | parallel_map(called.append, threads=1, ordered=False)
    assert len(list(made | exclude(2))) == 5
    assert called == [*range(6)]


def test_check_does_not_look_at_what_is_left_out():
    assert not check(stream(range(6)) | apply(lambda x: 1 // x) | exclude(0), ignore=['no-seed'])
    assert not check(stream(Scans(), seed=0) | exclude(*range(6)) | skip(1) | apply(str))


# ---------------------------------------------------------------------------------------------------------------------
# Going on with another one


REMEMBERING = [
    stream(range(20), seed=0) | with_rng(noisy),
    stream(range(20), seed=0) | shuffle(6) | with_rng(noisy),
    stream(range(20), seed=0) | shuffle(20) | with_rng(noisy) | filter_by(bool),
    stream(Scans(3), seed=0) | shuffle() | apply(lambda _: range(9)) | flatten | shuffle(7) | reuse(3, 2),
    stream(range(7), seed=0) | interleave(range, cycle=3),
    sample(range(5), seed=0) | take(20) | parallel_map(with_rng(noisy), threads=2),
    stream(range(20), seed=0) | parallel_map(with_rng(noisy), threads=2) | shuffle(3) | prefetch(2),
    stream(range(20), seed=0) | parallel_map(with_rng(noisy), threads=2, on_error='skip') | shuffle(3),
    mix(range(9) | shuffle(4), range(12) | with_rng(noisy), seed=0),
]


@pytest.mark.parametrize('count', [1, 5, 9])
@pytest.mark.parametrize(('old', 'new'), [((), (1, 4, range(9, 13))), ((2,), (4, range(9, 13))), ((4, 5), ())])
@pytest.mark.parametrize('made', REMEMBERING, ids=repr)
def test_a_run_goes_on_without_what_is_left_out_now(made, old, new, count):
    """All that had not been delivered comes, but for what is left out, with the bits that it would have had."""
    chain = Chain(made.source, made.steps, Seeds(fallback=0))
    pairs = list(chain.pairs)
    chain.close()
    before, delivered = (
        iter(made | exclude(*old)),
        [n for n, (key, _) in enumerate(pairs) if ordinals(key)[0] not in old],
    )
    for _ in range(count):
        next(before)
    state = through_json(before.state_dict())
    before.close()
    left_out = [n for each in new for n in ([each] if isinstance(each, int) else each)]
    rest = [value for key, value in pairs[delivered[count - 1] + 1 :] if ordinals(key)[0] not in left_out]
    assert list((made | exclude(*new)).resume(state, strict=False)) == rest


def test_one_before_what_remembers_is_refused_with_the_way_out():
    before = iter(stream(range(20), seed=0) | shuffle(6))
    next(before)
    state = before.state_dict()
    with pytest.raises(ValueError, match='would have been others; put `exclude\\(9\\)` behind it$'):
        (stream(range(20), seed=0) | exclude(9) | shuffle(6)).resume(state, strict=False)
    rest = (stream(range(20), seed=0) | shuffle(6) | exclude(9)).resume(state, strict=False)
    assert list(rest) == [x for x in before if x != 9]


# ---------------------------------------------------------------------------------------------------------------------
# By the place in the data


ABS = apply(abs)


def unless(*indices):
    return exclude(indices=indices)


def draws(data, **options):
    return sample(data, [1, 2, 1, 3, 1, 5, 1, 1, 1, 1, 1, 1], seed=0, **options)


DRAWING = [
    lambda data, *stages: pipe(draws(data), take(40), *stages),
    lambda data, *stages: pipe(draws(data), take(40), apply(abs), *stages),
    lambda data, *stages: pipe(draws(data), take(40), *stages, parallel_map(abs, threads=2)),
    lambda data, *stages: pipe(draws(data), take(40), parallel_map(abs, threads=2), filter_by(str), *stages),
    lambda data, *stages: pipe(draws(data, reweight=True), take(40), *stages, apply(abs)),
    lambda data, *stages: pipe(sample(data, replace=False, seed=0), shuffle(5), skip(1), take(40), *stages),
    lambda data, *stages: pipe(
        draws(data), take(40), *stages, parallel_map(apply(abs) | batch_by(2), threads=2), flatten
    ),
    lambda data, *stages: pipe(pipe(stream(data, seed=0), shuffle(), *stages), cycle(3)),
    lambda data, *stages: mix(pipe(draws(data), take(20), *stages), [], seed=1),
    lambda data, *stages: pipe(stream(data, seed=0), shuffle(3), apply(abs), *stages, concat([])),
    lambda data, *stages: pipe(load_by_random_id(data.__getitem__, ids=range(12), seed=0), take(40), *stages),
]


@pytest.mark.parametrize('made', DRAWING)
def test_items_are_left_out_by_their_places_in_the_data_whenever_they_are_drawn(made):
    data = Scans()
    data.broken = ()
    rest = [x for x in made(data) if x not in (30, 50, 80, 90)]
    assert list(made(range(0, 120, 10), unless(3, 5, range(8, 10)))) == rest
    data = Scans()
    described = made(data, unless(3, 5, range(8, 10)))
    assert list(described) == rest
    assert not {3, 5, 8, 9} & {*data.read}
    run = iter(described)
    for count in range(0, len(rest), 7):
        assert list(described.resume(through_json(run.state_dict()))) == rest[count:]
        for _ in range(7):
            next(run, None)


def test_in_later_passes_and_by_numbers_as_well():
    with Infinite(range(8), shuffle(), exclude(0, indices=[3, 5], passes=range(1, 9)), seed=0) as batch_iter:
        received = [list(batch_iter) for _ in range(3)]
    with Infinite(range(8), shuffle(), seed=0) as batch_iter:
        every = [list(batch_iter) for _ in range(3)]
    assert received == [every[0], *([x for x in each[1:] if x not in (3, 5)] for each in every[1:])]


@pytest.mark.parametrize('made', [0, 1, 2, 3, 4, 5])
def test_a_run_goes_on_without_what_is_left_out_by_its_place_now(made):
    made, data = DRAWING[made], range(0, 120, 10)
    before = iter(made(data))
    for _ in range(9):
        next(before)
    state = through_json(before.state_dict())
    rest = [x for x in before if x not in (30, 50)]
    assert list(made(data, unless(3, 5)).resume(state, strict=False)) == rest


@pytest.mark.parametrize('ranks', [1, 2, 3])
def test_ranks_leave_out_the_same_places(ranks):
    received = []
    for rank in range(ranks):
        data = Scans()
        with Infinite(
            draws(data), take(40), abs, unless(3, 5), batch_size=2, combiner=list, shard=(rank, ranks), prefetch=0
        ) as batch_iter:
            received.append(list(itertools.chain(*batch_iter)))
            assert len(data.read) == len(received[-1])
    together = [x for each in itertools.zip_longest(*received) for x in each]
    rest = list(draws(range(0, 120, 10)) | take(40) | unless(3, 5))
    assert together[: len(rest)] == rest


def test_an_item_that_is_left_out_by_its_place_cannot_be_made_again():
    made = sample('abc', seed=0) | exclude(indices=[2])
    assert made.item(2) == 'b'
    with raises(LookupError, 'Stream.item: there is no item 0'):
        made.item(0)


def test_explain_and_check_know_of_places():
    made = sample([[1], [2, 3], [4]], seed=0) | filter_by(len) | exclude(indices=[1]) | len
    assert not check(made)
    with Infinite(made, batch_size=2) as batch_iter:
        next(batch_iter())
        assert 'exclude(indices=[1])' in str(explain(batch_iter, 0))
        assert 1 not in batch_iter.indices


# ---------------------------------------------------------------------------------------------------------------------
# Ranks


@pytest.mark.parametrize('ranks', [1, 2, 3])
def test_ranks_leave_out_the_same_and_share_the_rest(ranks):
    received = []
    for rank in range(ranks):
        data = Scans(20)
        with Infinite(
            data, shuffle(4), apply(abs), exclude(3, 5, range(8, 11)), batch_size=2, combiner=list, seed=0,
            shard=(rank, ranks), prefetch=0,
        ) as batch_iter:  # fmt: skip
            received.append(list(itertools.chain(*batch_iter)))
            assert len(data.read) == len(received[-1])
    assert {len(each) for each in received} == {-(-15 // ranks)}
    made = stream(range(20), seed=0) | shuffle(4) | exclude(3, 5, range(8, 11))
    assert [x for each in itertools.zip_longest(*received) for x in each][:15] == [10 * x for x in made]


def training(rank, ranks, *stages, **options):
    return Infinite(range(40), shuffle(5), *stages, batch_size=3, combiner=list, seed=0, **options)


@pytest.mark.parametrize('after', [2, 3])
def test_ranks_go_on_without_what_is_left_out_now(after):
    """Behind the stage `shard`, in the place of the option, in their own states or merged ones."""
    states, received = [], []
    for rank in range(2):
        with training(rank, 2, shard=(rank, 2)) as batch_iter:
            received += next(batch_iter())
            states.append(through_json(batch_iter.state_dict()))
    rest = []
    for rank in range(after):
        with training(rank, after, exclude(7, range(12, 30)), shard=(rank, after)) as batch_iter:
            state = states[rank] if after == 2 else merge_states(states)
            text = r'; write the stage `shard\(…\)` in front of `exclude\(7, range\(12, 30\)\)`, in the place of the op'
            with pytest.raises(ValueError, match=text):
                batch_iter.load_state_dict(state, strict=False)
        with training(
            rank, after, shard(rank, after, even='repeat'), exclude(7, range(12, 30)), prefetch=0
        ) as batch_iter:
            batch_iter.load_state_dict(state, strict=False)
            rest += itertools.chain(*batch_iter)
    left = {*range(40)} - {7, *range(12, 30)} - {*received}
    assert {*rest} >= left
    assert len(rest) - len(left) < after  # those that come twice, so that all ranks get as many
    assert {*rest} <= left | {*received}


# ---------------------------------------------------------------------------------------------------------------------

WRONG_ITEM = 'must be the number of an item, a range of numbers, or a pair (item, part), got'
WRONG_PASSES = 'exclude: `passes` must be the number of a pass, or a range of them, got'


@pytest.mark.parametrize(
    ('make', 'error', 'text'),
    [
        (
            lambda: exclude([1, 2]),
            TypeError,
            f'exclude: `items[0]` {WRONG_ITEM} [1, 2]; give its elements: exclude(*…)',
        ),
        (lambda: exclude(1, {2}), TypeError, f'exclude: `items[1]` {WRONG_ITEM} {{2}}; give its elements: exclude(*…)'),
        (lambda: exclude('a'), TypeError, f"exclude: `items[0]` {WRONG_ITEM} 'a'"),
        (lambda: exclude(1.5), TypeError, f'exclude: `items[0]` {WRONG_ITEM} 1.5'),
        (lambda: exclude(True), TypeError, f'exclude: `items[0]` {WRONG_ITEM} True'),
        (lambda: exclude((1, 'a')), TypeError, f"exclude: `items[0]` {WRONG_ITEM} (1, 'a')"),
        (lambda: exclude((1, 2, 3)), TypeError, f'exclude: `items[0]` {WRONG_ITEM} (1, 2, 3)'),
        (lambda: exclude((range(3), 1)), TypeError, f'exclude: `items[0]` {WRONG_ITEM} (range(0, 3), 1)'),
        (lambda: exclude(-1), ValueError, 'exclude: `items[0]` must not be negative, got -1'),
        (lambda: exclude((0, -1)), ValueError, 'exclude: `items[0]` must not be negative, got (0, -1)'),
        (lambda: exclude(range(-2, 3)), ValueError, 'exclude: `items[0]` must not be negative, got range(-2, 3)'),
        (lambda: exclude(indices=3), TypeError, 'exclude: `indices` must be a list of places in the data, got 3'),
        (lambda: exclude(indices='3'), TypeError, "exclude: `indices` must be a list of places in the data, got '3'"),
        (
            lambda: exclude(indices=[0, (1, 2)]),
            TypeError,
            'exclude: `indices[1]` must be a place in the data, or a range of places, got (1, 2)',
        ),
        (lambda: exclude(indices=[-3]), ValueError, 'exclude: `indices[0]` must not be negative, got -3'),
        (lambda: exclude(1, passes=-1), ValueError, f'{WRONG_PASSES} -1'),
        (lambda: exclude(1, passes='1'), TypeError, f"{WRONG_PASSES} '1'"),
        (lambda: exclude(1, passes=[1]), TypeError, f'{WRONG_PASSES} [1]'),
    ],
)
def test_wrong_arguments(make, error, text):
    with raises(error, text):
        make()


def test_it_prints_as_it_is_written_and_compares():
    made = exclude(17, range(3), (2, 1), passes=range(2))
    assert repr(made) == 'exclude(17, range(0, 3), (2, 1), passes=range(0, 2))'
    assert made == exclude(17, range(3), (2, 1), passes=range(2)) != exclude(17)
