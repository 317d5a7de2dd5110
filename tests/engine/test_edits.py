"""States of a pipeline that is edited: `strict=False` goes on where that is exact, and says why not where it is not."""

import itertools
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given
from naming import named
from running import raises, through_json
from strategies import examples

from itpipe import (
    Infinite,
    apply,
    batch_by,
    filter_by,
    flatten,
    interleave,
    merge_states,
    mix,
    parallel_map,
    prefetch,
    random_apply,
    reuse,
    sample,
    shuffle,
    skip,
    stage,
    stream,
    take,
    with_rng,
)
from itpipe._core.keys import ordinals

pytestmark = pytest.mark.filterwarnings('ignore:itpipe. nothing is known of')


def negated(x):
    return -x


def noisy(x, rng):
    return round(x + rng.random(), 3)


def blurred(x, rng):
    return round(x * rng.random(), 3)


def total(batch):
    return sum(batch)


def twice(x):
    return [x, x]


def is_odd(x):
    return x % 2


@stage
def windows(items):
    yield from zip(items, items, strict=False)


@stage(state={'total': 0})
def sums(items, state):
    for item in items:
        state['total'] += item
        yield state['total']


def numbers(*steps, seed=0):
    made = stream(range(30), seed=seed)
    for step in steps:
        made = made | step
    return made


def state_behind(made, count):
    run = iter(made)
    list(itertools.islice(run, count))
    state = through_json(run.state_dict())
    run.close()
    return state


# ---------------------------------------------------------------------------------------------------------------------
# Where it is exact


noise, blur, coin = with_rng(noisy), with_rng(blurred), random_apply(0.5, negated)
SAME_ITEMS = [
    ((), (noise,)),
    ((noise,), ()),
    ((noise,), (blur,)),
    ((noise, blur), (blur, noise)),
    ((noise, shuffle(5)), (blur, shuffle(5))),
    ((shuffle(5),), (noise, shuffle(5), blur)),
    ((noise, shuffle(5), blur), (shuffle(5),)),
    ((shuffle(5),), (parallel_map(noise | coin, threads=2), shuffle(5), prefetch(2))),
    ((shuffle(5), shuffle(4, name='again')), (noise, shuffle(5), coin, shuffle(4, name='again'))),
    ((reuse(4, 2), coin), (noise, reuse(4, 2), blur)),
    ((take(20), noise), (coin, take(20))),
    ((skip(3), take(20)), (coin, skip(3), noise, take(20), blur)),
    ((take(20),), ()),
    ((noise, skip(3)), (coin, skip(3))),
    ((shuffle(5), batch_by(3)), (noise, shuffle(5), batch_by(3), total)),
    ((batch_by(3), total, shuffle(4)), (blur, batch_by(3), max, shuffle(4))),
    ((apply(twice), flatten), (apply(twice), flatten, noise)),
    ((apply(twice), flatten), (noise, apply(twice), flatten)),
    ((windows(),), (windows(), max)),
    ((sums(),), (sums(), noise)),
    ((shuffle(5), sums()), (shuffle(5), sums(), blur)),
]


@pytest.mark.parametrize(('old', 'new'), SAME_ITEMS, ids=named)
@pytest.mark.parametrize('count', [1, 4, 7])
def test_another_item_wise_step_makes_of_the_rest_what_it_would_have_made(old, new, count):
    """The rest is that of the new pipeline, as if it had run from the beginning."""
    state = state_behind(numbers(*old), count)
    assert list(numbers(*new).resume(state, strict=False)) == list(numbers(*new))[count:]
    with pytest.raises(ValueError, match='; with `strict=False`, this one goes on there$'):
        numbers(*new).resume(state)


def test_what_comes_behind_another_filter_is_what_it_lets_pass():
    state = state_behind(numbers(noise), 4)
    assert list(numbers(filter_by(is_odd), noise).resume(state, strict=False)) == list(numbers(noise))[5::2]
    state = state_behind(numbers(filter_by(is_odd), shuffle(4)), 4)
    rest = list(numbers(filter_by(is_odd), shuffle(4), filter_by(lambda x: x > 5)).resume(state, strict=False))
    assert rest == [x for x in list(numbers(filter_by(is_odd), shuffle(4)))[4:] if x > 5]


@pytest.mark.parametrize('new', [(batch_by(5),), (), (batch_by(2, drop_last=True), list), (batch_by(4) | flatten,)])
def test_another_size_of_batches_begins_where_the_last_one_ended(new):
    old = numbers(shuffle(6), batch_by(3), list)
    state = state_behind(old, 4)
    rest = list(numbers(shuffle(6), *new).resume(state, strict=False))
    flat = [x for part in rest for x in (part if isinstance(part, list) else [part])]
    assert flat == list(numbers(shuffle(6)))[12:]


def test_steps_that_hold_nothing_come_and_go():
    state = state_behind(numbers(apply(twice)), 3)
    assert list(numbers(apply(twice), flatten).resume(state, strict=False)) == [x for n in range(3, 30) for x in (n, n)]
    state = state_behind(numbers(skip(3)), 5)
    assert list(numbers().resume(state, strict=False)) == list(range(8, 30))


@pytest.mark.parametrize(
    'gone', [(shuffle(5),), (reuse(4, 2),), (apply(abs) | prefetch(2) | shuffle(40),), (shuffle(3), shuffle(4))]
)
def test_a_step_that_gives_the_rest_it_holds_leaves_nothing_to_come_without_it(gone):
    count = len(list(numbers(*gone)))
    assert list(numbers().resume(state_behind(numbers(*gone), count), strict=False)) == []
    mapped = parallel_map(negated, threads=2, ordered=False)
    assert list(numbers().resume(state_behind(numbers(mapped), 30), strict=False)) == []


def test_entries_of_one_name_stay_with_their_steps():
    state = state_behind(numbers(shuffle(5), noise, shuffle(3)), 5)
    assert list(state['position']['steps']) == ['shuffle', 'shuffle #2']
    rest = list(numbers(shuffle(5), blur, shuffle(3)).resume(state, strict=False))
    assert rest == list(numbers(shuffle(5), blur, shuffle(3)))[5:]


def test_a_name_that_looks_like_a_numbered_one():
    described = numbers(shuffle(3, name='x'), shuffle(4, name='x'), shuffle(2, name='x #2'))
    state = state_behind(described, 5)
    assert set(state['position']['steps']) == {'shuffle:x', 'shuffle:x #2', 'shuffle:x ##2'}
    assert list(described.resume(state)) == list(described)[5:]


# ---------------------------------------------------------------------------------------------------------------------
# Between two passes


EVERYTHING = [
    ((shuffle(5),), (noise, shuffle(9), filter_by(bool), shuffle(3, name='again'))),
    ((noise,), (shuffle(5), noise)),
    ((shuffle(5), noise), (noise,)),
    ((windows(),), (reuse(3, 2),)),
    ((take(4),), (skip(4),)),
    ((batch_by(2), shuffle(3)), (shuffle(3), batch_by(7))),
]


@pytest.mark.parametrize(('old', 'new'), EVERYTHING, ids=named)
def test_between_passes_any_other_pipeline_goes_on(old, new):
    """With the pass that it has next, as if the passes before it had been of the new one, too."""
    with Infinite(numbers(*old, seed=1)) as it:
        list(it)
        state = through_json(it.state_dict())
    assert state['position'] is None
    with Infinite(numbers(*new)) as it:
        list(it)
        second = list(it)
    with Infinite(numbers(*new)) as it:
        it.load_state_dict(state, strict=False)
        assert list(it) == second


def test_other_data_can_be_taken_in_between_passes():
    with Infinite(sample(range(10), seed=0) | take(5)) as it:
        list(it)
        state = it.state_dict()
    with Infinite(sample(range(20), seed=0) | take(5)) as it:
        list(it)
        second = list(it)
        it.load_state_dict(state, strict=False)
        assert list(it) == second


def test_before_the_first_item_of_a_run_any_pipeline_goes_on():
    state = through_json(iter(numbers(shuffle(5))).state_dict())
    assert list(numbers(noise, shuffle(7)).resume(state, strict=False)) == list(numbers(noise, shuffle(7)))


def test_a_run_without_the_seed_of_the_state_draws_one_and_keeps_it():
    with Infinite(range(20), shuffle(9), seed=3) as it:
        list(it)
        state = it.state_dict()
    with Infinite(range(20), shuffle(9)) as it:
        it.load_state_dict(state, strict=False)
        again = through_json(it.state_dict())
        whole = [list(it) for _ in range(2)]
    with Infinite(range(20), shuffle(9)) as it:
        it.load_state_dict(again)
        assert [list(it) for _ in range(2)] == whole


# ---------------------------------------------------------------------------------------------------------------------
# Where it is not


by_cost = batch_by(limit=9, cost=abs)
GONE, NEW = 'is gone, but it holds', 'is new, but it would have to begin with the pass'
OTHERS = 'remembers which items came to it, and these would have been others'
REFUSED = [
    ((shuffle(5),), (shuffle(6),), '`shuffle(5)` has become `shuffle(6)`, which is not possible in the middle of a'),
    ((shuffle(5),), (), f'`shuffle(5)` {GONE} 5 items that have not been delivered'),
    ((reuse(4, 3),), (), f'`reuse(4, 3)` {GONE} 2 items that have not been delivered'),
    ((shuffle(5),), (shuffle(5, name='x'),), f'`shuffle(5)` {GONE} 5 items that have not been delivered'),
    ((), (shuffle(5),), f'`shuffle(5)` {NEW}'),
    ((), (skip(2),), f'`skip(2)` {NEW}'),
    ((), (windows(),), f'`windows()` {NEW}'),
    ((take(9),), (take(10),), '`take(9)` has become `take(10)`, which is not possible in the middle of a pass'),
    ((windows(),), (), '`windows()` is gone, and nothing is known of what it had read'),
    ((sums(),), (), '`sums()` is gone, and nothing is known of what it had read'),
    ((sums(),), (noise, sums()), f'`sums()` {OTHERS}'),
    ((), (sums(),), f'`sums()` {NEW}'),
    ((windows(),), (noise, windows()), '`windows()` has to run again from the beginning, but a step before it has'),
    ((apply(twice), flatten), (apply(twice),), '`flatten()` is gone, but it was in the middle of an item'),
    ((batch_by(2), flatten), (batch_by(3), flatten), '`flatten()` was in the middle of an item that is not made any'),
    ((shuffle(5),), (filter_by(bool), shuffle(5)), f'`shuffle(5)` {OTHERS}'),
    ((filter_by(bool), take(5)), (take(5),), f'`take(5)` {OTHERS}'),
    ((noise, filter_by(bool), shuffle(5)), (filter_by(bool), shuffle(5)), f'`shuffle(5)` {OTHERS}'),
    ((noise, by_cost, shuffle(2)), (by_cost, shuffle(2)), f'`shuffle(2)` {OTHERS}'),
    ((batch_by(2), shuffle(3)), (batch_by(3), shuffle(3)), f'`shuffle(3)` {OTHERS}'),
    ((batch_by(2), shuffle(3)), (shuffle(3),), f'`shuffle(3)` {OTHERS}'),
    ((skip(2), shuffle(3)), (shuffle(3),), f'`shuffle(3)` {OTHERS}'),
    ((apply(twice), flatten, shuffle(3)), (noise, apply(twice), flatten, shuffle(3)), f'`shuffle(3)` {OTHERS}'),
    ((shuffle(5), shuffle(3)), (shuffle(3), shuffle(5)), '`shuffle(5)` has become `shuffle(3)`, which is not possible'),
]  # fmt: skip


@pytest.mark.parametrize(('old', 'new', 'reason'), REFUSED, ids=named)
def test_what_would_not_be_exact_is_refused_with_the_reason(old, new, reason):
    state = state_behind(numbers(*old), 2)
    with pytest.raises(ValueError, match='^Stream.resume: `state` is that of another pipeline, which ') as caught:
        numbers(*new).resume(state, strict=False)
    assert '; this one cannot go on there: ' in str(caught.value)
    assert reason in str(caught.value)
    with pytest.raises(ValueError, match='^Stream.resume: `state` is that of another pipeline, which ') as caught:
        numbers(*new).resume(state)
    in_size_only = re.sub(r'batch_by\(\d+', '', repr(old)) == re.sub(r'batch_by\(\d+', '', repr(new))
    assert ('this one cannot go on there' in str(caught.value)) is in_size_only


SOURCE = 'the source and the seed have to be the same in the middle of a pass'


@pytest.mark.parametrize(
    ('old', 'new', 'call'),
    [
        (sample('abc', weights=[1, 2, 3]), sample('abc', weights=[1, 2, 4]), 'sample(<3 items>'),
        (sample('abc', weights=[1, 2, 3], seed=0), sample('abc', weights=[1, 2, 4], seed=0), 'sample(<3 items>'),
        (mix('abc', 'd', weights=[1, 2], seed=0), mix('abc', 'd', weights=[1, 3], seed=0), 'mix(<2 streams>'),
    ],
    ids=named,
)
def test_other_weights_are_named(old, new, call):
    text = f'Stream.resume: `state` is that of another pipeline, which has other `weights` in `{call}, …)`'
    state = state_behind(old, 2)
    with raises(ValueError, f'{text}; `strict=False` takes other weights between two passes only'):
        new.resume(state)
    with raises(ValueError, f'{text}; this one cannot go on there: {SOURCE}'):
        new.resume(state, strict=False)
    state = Infinite(old, batches_per_epoch=2).state_dict()
    with raises(
        ValueError,
        f'{text.replace("Stream.resume", "Infinite.load_state_dict")}; with `strict=False`, this one goes on there',
    ):
        Infinite(new, batches_per_epoch=2).load_state_dict(state)
    Infinite(new, batches_per_epoch=2).load_state_dict(state, strict=False)


@pytest.mark.parametrize('size', [3, 30_000])
@pytest.mark.parametrize('named', [{}, {'name': 'images'}])
def test_weights_that_may_be_replaced_are_named(size, named):
    def made(least, **options):
        return sample(range(size), [least, *range(1, size)], seed=0, **named, **options) | apply(abs)

    text = 'Stream.resume: `state` is that of another pipeline, which has'
    with raises(ValueError, f'{text} no `reweight=True`: a run goes on without it if it has begun without it'):
        made(1, reweight=True).resume(state_behind(made(1), 2))
    with raises(ValueError, f'{text} `reweight=True`: a run goes on with it if it has begun with it'):
        made(1).resume(state_behind(made(1, reweight=True), 2))
    with pytest.raises(ValueError, match='which has no `reweight=True`.*; this one cannot go on there: the source and'):
        made(1, reweight=True).resume(state_behind(made(1), 2), strict=False)
    text = '; begin with its `weights`, and with `reweight=True` if it had that; then replace them by `reweight`'
    if size == 3:
        with pytest.raises(ValueError, match=f'which has other `weights` in .*{re.escape(text)}$'):
            made(5, reweight=True).resume(state_behind(made(1), 2))
    mixed = [mix('abc', 'd', seed=0, weights=[1, 2], reweight=reweight) for reweight in (False, True)]
    with pytest.raises(ValueError, match='which has no `reweight=True`: a run'):
        mixed[1].resume(state_behind(mixed[0], 2))


def test_weights_that_are_new_are_shown_as_any_other_option():
    one, other = mix('abc', 'd', seed=0), mix('abc', 'd', weights=[1, 3], seed=0)
    with pytest.raises(
        ValueError, match=r"^Stream.resume: .*, which has `mix\(<2 streams>, seed=0\)` where .* weights='"
    ):
        other.resume(state_behind(one, 2))


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        (numbers(), numbers(seed=1)),
        (numbers(), sample(range(30), seed=0)),
        (sample(range(9), seed=0), sample(range(10), seed=0)),
        (mix(numbers(), 'ab', seed=0), mix(numbers(noise), 'ab', seed=0)),
    ],
    ids=named,
)
def test_another_source_is_refused_in_the_middle_of_a_pass(old, new):
    with pytest.raises(ValueError, match=f'; this one cannot go on there: {SOURCE}$'):
        new.resume(state_behind(old, 2), strict=False)


def test_another_seed_of_the_run_is_refused_in_the_middle_of_a_pass():
    with Infinite(range(9), batch_size=2, seed=0) as it:
        next(it())
        state = it.state_dict()
    with pytest.raises(ValueError, match=f'; this one cannot go on there: {SOURCE}$'):
        Infinite(range(9), batch_size=2, seed=1).load_state_dict(state, strict=False)


@pytest.mark.parametrize('load', [numbers().resume, Infinite(numbers()).load_state_dict])
def test_strict_is_true_or_false(load):
    with pytest.raises(TypeError, match='`strict` must be True or False, got int$'):
        load(state_behind(numbers(), 1), strict=0)


def test_what_is_damaged_is_refused_all_the_same():
    state = state_behind(numbers(shuffle(5)), 2) | {'batch': 7}
    with pytest.raises(ValueError, match='is damaged'):
        numbers(noise, shuffle(5)).resume(state, strict=False)


# ---------------------------------------------------------------------------------------------------------------------
# Ranks


def rank_states(ranks, *steps):
    states = []
    for rank in range(ranks):
        with Infinite(numbers(*steps), shard=(rank, ranks), prefetch=0) as it:
            list(itertools.islice(it, 2))
            states.append(through_json(it.state_dict()))
    return states


def test_ranks_go_on_with_other_item_wise_steps():
    """They run behind `shard`, wherever they are written; also when there are as many ranks as before, or others."""
    states = rank_states(2, noise, shuffle(5))
    for rank, state in enumerate(states):
        with Infinite(numbers(blur, shuffle(5)), shard=(rank, 2), prefetch=0) as it:
            whole = list(it)
        with Infinite(numbers(blur, shuffle(5)), shard=(rank, 2), prefetch=0) as it:
            it.load_state_dict(state, strict=False)
            assert list(it) == whole[2:]
    merged = through_json(merge_states(states))
    got = []
    for rank in range(3):
        with Infinite(numbers(blur, shuffle(5)), shard=(rank, 3), prefetch=0) as it:
            it.load_state_dict(merged, strict=False)
            got += it
    whole = list(numbers(blur, shuffle(5)))
    assert set(whole[4:]) <= set(got) <= set(whole)  # one item comes again, so that all ranks get as many


def test_ranks_do_not_go_on_with_another_filter_in_front_of_what_deals_the_items():
    (state, _) = rank_states(2, filter_by(is_odd), take(12))
    with pytest.raises(ValueError, match='`take.12.` remembers which items came to it'):
        Infinite(numbers(take(12)), shard=(0, 2)).load_state_dict(state, strict=False)
    with pytest.raises(ValueError, match='`state` is that of rank 0 of 2, this is a run without `shard`'):
        Infinite(numbers(take(12))).load_state_dict(state, strict=False)


# ---------------------------------------------------------------------------------------------------------------------
# Any edit


POOL = [
    noise, blur, coin, prefetch(2), shuffle(3), shuffle(4, name='again'), take(17), batch_by(2), batch_by(3),
    apply(lambda x: x),
]  # fmt: skip


@given(st.lists(st.sampled_from(POOL), max_size=4), st.data())
@examples(500)
def test_after_any_edit_nothing_is_lost_and_nothing_comes_twice(old, data):
    """Or it is refused. The values are those of the new pipeline."""
    old = [apply(abs), *old]
    at = data.draw(st.integers(1, len(old)))
    new = [
        *old[:at],
        *data.draw(st.lists(st.sampled_from(POOL), max_size=2)),
        *old[at + data.draw(st.integers(0, 2)) :],
    ]
    count = data.draw(st.integers(0, 31))
    try:
        run = iter(numbers(*old))
        before = [key for _ in itertools.islice(run, count) for key in run.item_keys]
        state = through_json(run.state_dict())
        fresh = iter(numbers(*new))
        whole = {}
        for value in fresh:
            whole[fresh._key] = value
        expected = sorted(n for key in whole for n in ordinals(key))
        resumed = numbers(*new).resume(state, strict=False)
    except (TypeError, ValueError):  # steps that do not go with each other, or the edit
        return
    after = []
    for value in resumed:
        after.append(resumed._key)
        if resumed._key in whole:
            assert whole[resumed._key] == value
    got = [n for key in [*before, *after] for n in ordinals(key)]
    assert len(set(got)) == len(got)
    if take(17) not in [*old, *new]:
        assert sorted(got) == expected == list(range(30))


def broken(shard):
    for n in range(6):
        if (shard, n) == (2, 3):
            raise EOFError('truncated')
        yield shard, n


def repaired(shard):
    """What comes before the break."""
    yield from ((shard, n) for n in range(3 if shard == 2 else 6))


@pytest.mark.parametrize('behind', [[], [shuffle(4)], [apply(list), batch_by(3)]], ids=named)
@pytest.mark.parametrize('options', [{}, {'prefetch': 2}, {'on_error': 'skip'}])
def test_a_run_goes_on_with_a_reader_that_was_repaired(behind, options):
    def whole(read, **options):
        made = stream(range(5), seed=0) | interleave(read, cycle=2, **options)
        for step in behind:
            made = made | step
        return made

    run = iter(whole(broken))
    before, state = [], None
    with pytest.raises(EOFError):
        for value in run:
            before.append(value)
            state = through_json(run.state_dict())
    with pytest.raises(
        ValueError, match=r'has `interleave\(broken\)` where this one has `interleave\(repaired\)`; with'
    ):
        whole(repaired, **options).resume(state)
    after = list(whole(repaired, **options).resume(state, strict=False))
    expected = list(whole(repaired))
    if behind != [shuffle(4)]:  # of which items it draws depends on how many there are at its end
        assert before + after == expected
    assert sorted(before + after) == sorted(expected)


@pytest.mark.parametrize('other', [{'cycle': 3}, {'block': 2}, {}])
def test_whose_turn_it_is_stays_in_the_middle_of_a_pass(other):
    made = stream(range(5)) | interleave(repaired, **({'cycle': 2, 'block': 3} | other))
    state = state_behind(stream(range(5)) | interleave(broken, cycle=2, block=3), 4)
    if not other:
        assert next(made.resume(state, strict=False)) == (1, 1)
        return
    with pytest.raises(
        ValueError, match='`interleave.*` has become `interleave.*`, which is not possible in the middle'
    ):
        made.resume(state, strict=False)


@pytest.mark.parametrize('step', [lambda **o: interleave(repaired, **o), lambda **o: apply(repaired) | flatten(**o)])
def test_what_is_left_out_may_be_decided_later(step):
    state = state_behind(stream(range(5)) | step(), 4)
    assert list((stream(range(5)) | step(on_error='skip')).resume(state)) == list(stream(range(5)) | step())[4:]


def test_what_is_left_out_of_the_source_may_be_decided_later():
    state = state_behind(stream(list(range(5)), seed=0) | shuffle(2), 2)
    whole = stream(list(range(5)), seed=0, on_error='skip') | shuffle(2)
    assert list(whole.resume(state)) == list(stream(list(range(5)), seed=0) | shuffle(2))[2:]
