"""Weights that are replaced while a run lasts: the same bits wherever the same weights hold from the same draws on."""

import itertools
import pickle
import signal
import threading
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from running import LIMIT, raises, run_script, start_script, through_json
from strategies import examples

from itpipe import (
    Infinite,
    apply,
    batch_by,
    concat,
    cycle,
    explain,
    filter_by,
    flatten,
    load_by_random_id,
    merge_states,
    mix,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shuffle,
    stage,
    stream,
    take,
    with_rng,
    zip_with,
)
from itpipe.testing import check_resume
from itpipe.tools.pipelines import opened
from itpipe.tools.records import read
from itpipe.tools.replay import replayed

SIZE = 12
FIRST = [1.0] * SIZE
EVEN = [1.0, 0.0] * (SIZE // 2)
ODD = [0.0, 1.0] * (SIZE // 2)


def noisy(x: Any, rng: np.random.Generator) -> Any:
    return x, rng.random()


@stage
def running(items: Any) -> Any:
    yield from items


@stage(state={'count': 0})
def counted(items: Any, state: Any) -> Any:
    for item in items:
        state['count'] += 1
        yield state['count'], item


def reweighted(weights: Any = FIRST, **options: Any) -> Any:
    return sample(range(SIZE), weights, **({'seed': 0, 'reweight': True} | options))


def drawn(count: int, changes: dict[int, Any], first: Any = FIRST) -> list[int]:
    """What the draws of `reweighted` are: of those of each of the weights, the part where they hold."""
    result: list[int] = []
    points = sorted({0: first, **changes}.items())
    for (at, weights), (end, _) in zip(points, [*points[1:], (max(count, points[-1][0]), None)], strict=True):
        whole = list(sample(range(SIZE), weights, seed=0) | take(min(end, count)))
        result += whole[at:end]
    return result


def flat(batches: Any) -> list[int]:
    return np.concatenate(list(batches)).tolist()


def take_batches(batch_iter: Any, count: int) -> list[Any]:
    return list(itertools.islice(itertools.chain.from_iterable(itertools.repeat(batch_iter)), count))


# ---------------------------------------------------------------------------------------------------------------------
# What is drawn


@pytest.mark.parametrize('weights', [None, FIRST, [*range(SIZE)]], ids=['none', 'equal', 'rising'])
def test_without_new_weights_it_draws_what_the_weights_say(weights: Any) -> None:
    plain = FIRST if weights is None else weights
    assert list(reweighted(weights) | take(2100)) == list(sample(range(SIZE), plain, seed=0) | take(2100))


def test_weights_hold_from_their_draw_on() -> None:
    run = iter(reweighted())
    assert run.reweight(EVEN, at=20) == 20
    assert run.reweight(ODD, at=1030) == 1030
    assert [next(run) for _ in range(2100)] == drawn(2100, {20: EVEN, 1030: ODD})


def test_those_announced_later_for_an_earlier_draw_hold_until_the_others() -> None:
    run = iter(reweighted())
    run.reweight(ODD, at=40)
    run.reweight(EVEN, at=20)
    assert [next(run) for _ in range(60)] == drawn(60, {20: EVEN, 40: ODD})


def test_those_announced_last_for_a_draw_hold() -> None:
    run = iter(reweighted())
    run.reweight(EVEN, at=5)
    run.reweight(ODD, at=5)
    assert [next(run) for _ in range(40)] == drawn(40, {5: ODD})


@given(st.dictionaries(st.integers(0, 1100), st.sampled_from([EVEN, ODD, FIRST, [*range(SIZE)]]), max_size=4))
@examples(60)
def test_the_draws_are_those_of_each_of_the_weights(changes: dict[int, Any]) -> None:
    run = iter(reweighted())
    for at, weights in changes.items():
        run.reweight(weights, at=at)
    assert [next(run) for _ in range(1200)] == drawn(1200, changes)


WAYS: dict[str, Any] = {
    'serial': {'prefetch': 0},
    'ahead': {'prefetch': 5},
    'threads': {'threads': 2, 'prefetch': 2},
    'processes': {'processes': 2, 'prefetch': 1},
    'auto': {'workers': 'auto'},
}


class Dataset:
    """Whose items workers look up."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize('way', WAYS)
def test_whatever_runs_ahead_the_bits_are_the_same(way: str) -> None:
    """Also with items that workers look up, and random numbers drawn for each."""
    results = []
    for options in ({'prefetch': 0}, WAYS[way]):
        source = sample(Dataset(), FIRST, seed=0, reweight=True)
        with Infinite(source, with_rng(noisy), batch_size=4, batches_per_epoch=10, **options) as batch_iter:
            got = []
            for epoch in range(3):
                batch_iter.reweight([EVEN, ODD][epoch % 2], at=1000 * (epoch + 1))
                got += take_batches(batch_iter, 200)
            results.append([(items.tolist(), noise.tolist()) for items, noise in got])
    assert results[0] == results[1]
    assert flat(items for items, _ in results[0]) == drawn(2400, {1000: EVEN, 2000: ODD})


@pytest.mark.parametrize(
    'steps',
    [
        (shuffle(7), with_rng(noisy)),
        (parallel_map(with_rng(noisy), threads=2), prefetch(3)),
        (filter_by(bool), reuse(3, 2), with_rng(noisy)),
        (apply(lambda x: [x, -x]), flatten(), shuffle(5), with_rng(noisy)),
        (counted(), shuffle(3)),
        (zip_with(range(10_000)), with_rng(noisy)),
    ],
    ids=['shuffle', 'threads', 'filter', 'flatten', 'user', 'zip'],
)
def test_a_run_goes_on_from_everywhere(steps: Any) -> None:
    """Announced before the state or behind it; the weights that hold, and those for later, are in the state."""

    def made(state: Any = None) -> Any:
        result = Infinite(reweighted(), *steps, batch_size=3, combiner=list, batches_per_epoch=100, prefetch=0)
        if state is not None:
            result.load_state_dict(through_json(state))
        return result

    def loop(batch_iter: Any, step: int, last: int) -> list[Any]:
        got = []
        for number in range(step, last):
            if number % 5 == 3:
                batch_iter.reweight(np.roll(np.arange(SIZE), number), at=3 * number + 60)
            got += take_batches(batch_iter, 1)
            states.append(batch_iter.state_dict())
        return got

    states: list[Any] = []
    with made() as batch_iter:
        whole = loop(batch_iter, 0, 40)
    for stop in range(0, 39, 3):
        with made(states[stop]) as batch_iter:
            assert loop(batch_iter, stop + 1, 40) == whole[stop + 1 :]


def test_old_weights_are_forgotten() -> None:
    run = iter(reweighted() | prefetch(2))
    for n in range(40):
        run.reweight(np.arange(SIZE) + n)
        for _ in range(300):
            next(run)
    entry = run.state_dict()['position']['source']
    assert len(entry['weights']) == 1
    (weighting,) = run._chain.source.weightings
    assert len(weighting._changes) <= 2


def test_a_state_has_no_weights_while_those_of_the_stream_hold() -> None:
    run = iter(reweighted())
    next(run)
    assert run.state_dict()['position']['source'] == 1


# ---------------------------------------------------------------------------------------------------------------------
# At which draw


def test_a_draw_that_was_made_is_refused() -> None:
    run = iter(reweighted())
    next(run)
    with raises(
        ValueError,
        'Run.reweight: `at` must be at least 16, as all draws before that were made, got 3; give a later draw, or let'
        ' the run be less far ahead, such as by `prefetch=2`',
    ):
        run.reweight(EVEN, at=3)
    assert run.reweight(EVEN, at=16) == 16


def test_by_default_it_is_the_first_draw_that_is_possible_and_its_number_gives_the_same() -> None:
    got = []
    at: int | None = None
    for options in ({'prefetch': 3}, {'prefetch': 0}):
        with Infinite(reweighted(), batch_size=4, batches_per_epoch=50, **options) as batch_iter:
            first = take_batches(batch_iter, 3)
            at = batch_iter.reweight(ODD, at=at)
            got.append(flat(first + take_batches(batch_iter, 40)))
    assert got[0] == got[1] == drawn(172, {at: ODD})


def test_before_the_first_batch() -> None:
    for options in ({'prefetch': 0}, {}):
        with Infinite(reweighted(), batch_size=4, batches_per_epoch=5, **options) as batch_iter:
            assert batch_iter.reweight(EVEN) == 0
            state = batch_iter.state_dict()
            assert flat(batch_iter) == drawn(20, {0: EVEN})
        with Infinite(reweighted(), batch_size=4, batches_per_epoch=5, **options) as batch_iter:
            batch_iter.load_state_dict(through_json(state))
            assert flat(batch_iter) == drawn(20, {0: EVEN})


def test_behind_a_state_before_the_next_batch() -> None:
    with Infinite(reweighted(), batch_size=4, batches_per_epoch=5) as batch_iter:
        take_batches(batch_iter, 2)
        state = batch_iter.state_dict()
    with Infinite(reweighted(), batch_size=4, batches_per_epoch=5) as batch_iter:
        batch_iter.load_state_dict(state)
        assert batch_iter.reweight(EVEN) == 8
        state = batch_iter.state_dict()
        assert flat(batch_iter) == drawn(20, {8: EVEN})[8:]
    with Infinite(reweighted(), batch_size=4, batches_per_epoch=5) as batch_iter:
        batch_iter.load_state_dict(state)
        assert flat(batch_iter) == drawn(20, {8: EVEN})[8:]


def test_a_run_that_was_closed_begins_with_the_weights_of_the_stream() -> None:
    with Infinite(reweighted(), batch_size=4, batches_per_epoch=5) as batch_iter:
        batch_iter.reweight(EVEN)
        take_batches(batch_iter, 2)
        batch_iter.close()
        assert flat(batch_iter) == drawn(20, {})


def test_any_thread_may_replace_them() -> None:
    """While another one waits for a batch, and without waiting for it."""
    asked, go = threading.Event(), threading.Event()

    def held(x: Any) -> Any:
        asked.set()
        assert go.wait(30)
        return x

    with Infinite(reweighted(), held, batch_size=4, batches_per_epoch=20, prefetch=1) as batch_iter:
        got: list[Any] = []
        loop = threading.Thread(target=lambda: got.extend(batch_iter))
        loop.start()
        assert asked.wait(30)
        at = batch_iter.reweight(EVEN)
        state = batch_iter.state_dict()
        go.set()
        loop.join(30)
        assert flat(got) == drawn(80, {at: EVEN})
    with Infinite(reweighted(), batch_size=4, batches_per_epoch=20) as batch_iter:
        batch_iter.load_state_dict(state, strict=False)
        assert flat(batch_iter) == drawn(80, {at: EVEN})


TRAINING = """
import os, pickle, signal, sys
import numpy as np
from itpipe import Infinite, sample, with_rng

checkpoint, stop, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = np.linspace(0, 3, 40)


def noisy(x, rng):
    return x, rng.random()


items = sample(range(40), seed=0, reweight=True)
losses, step = np.ones(40), 0
options = {'threads': workers} if workers else {}
with Infinite(items, with_rng(noisy), batch_size=4, batches_per_epoch=60, prefetch=1, **options) as batch_iter:
    if os.path.exists(checkpoint):
        with open(checkpoint, 'rb') as file:
            losses, step, state = pickle.load(file)
        batch_iter.load_state_dict(state)
    for items, noise in batch_iter:
        losses[batch_iter.indices] = hard[items] + noise
        step += 1
        print(step, losses.sum().hex(), *items, flush=True)
        if step % 5 == 0:
            batch_iter.reweight(losses, at=4 * step + 100)
        if step % 7 == 0:
            with open(checkpoint + '.new', 'wb') as file:
                pickle.dump((losses, step, batch_iter.state_dict()), file)
            os.replace(checkpoint + '.new', checkpoint)
        if step == stop:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_training_that_samples_by_loss_is_killed_and_goes_on(tmp_path: Any) -> None:
    """The weights follow from the losses, and these from what was drawn: a wrong bit would change all that follows."""
    whole = run_script(TRAINING, tmp_path / 'whole', 0, 0).splitlines()
    assert len(whole) == 60
    got: dict[str, str] = {}
    for stop, workers in ((11, 0), (30, 2), (48, 0), (0, 2)):
        with start_script(TRAINING, tmp_path / 'killed', stop, workers) as script:
            out, err = script.communicate(timeout=LIMIT)
        assert (script.returncode, err) == (-signal.SIGKILL if stop else 0, '')
        got |= {line.split()[0]: line for line in out.splitlines()}
    assert list(got.values()) == whole


# ---------------------------------------------------------------------------------------------------------------------
# Passes


@pytest.mark.parametrize('options', [{'prefetch': 0}, {}], ids=str)
def test_the_next_pass_begins_with_the_weights_that_were_announced_last(options: dict[str, Any]) -> None:
    """Wherever in the pass that was: at its end, or behind it."""

    for whole in (None, 2):
        with Infinite(reweighted() | take(8), batch_size=4, batches_per_epoch=whole, **options) as batch_iter:
            assert flat(batch_iter) == drawn(8, {})
            batch_iter.reweight(EVEN)
            state = batch_iter.state_dict()
            later = [flat(batch_iter) for _ in range(3)]
            assert all(item % 2 == 0 for epoch in later for item in epoch)
            assert len({tuple(epoch) for epoch in later}) == 3
            between = batch_iter.state_dict()
            last = flat(batch_iter)
        for begun, expected in ((state, [*later, last]), (between, [last])):
            with Infinite(reweighted() | take(8), batch_size=4, batches_per_epoch=whole, **options) as batch_iter:
                batch_iter.load_state_dict(through_json(begun))
                assert [flat(batch_iter) for _ in expected] == expected


def test_with_restart_it_is_refused() -> None:
    with (
        Infinite(reweighted(), batch_size=4, batches_per_epoch=2, restart=True) as batch_iter,
        raises(ValueError, 'Infinite.reweight: with `restart=True` all epochs are the same; leave that out, or this'),
    ):
        batch_iter.reweight(EVEN)


# ---------------------------------------------------------------------------------------------------------------------
# Items made again, without the weights


def test_an_item_is_made_again_from_its_key() -> None:
    made = reweighted() | with_rng(noisy)
    run = iter(made)
    run.reweight(ODD, at=3)
    for _ in range(10):
        value = next(run)
        (key,) = run.item_keys
        assert key == (*run.ordinals, *run.indices)
        assert made.item(key) == made.item(list(key)) == value
    with pytest.raises(ValueError, match='^Stream.item: `key` must be'):
        made.item((0, SIZE))


def test_a_recorded_batch_is_made_again(tmp_path: Any) -> None:
    def made(**options: Any) -> Any:
        both = mix(reweighted(name='a'), reweighted(name='b') | shuffle(4), seed=1, reweight=True)
        return Infinite(both, with_rng(noisy), batch_size=4, batches_per_epoch=4, **options)

    with made(record=tmp_path / 'run.log', digest=True) as batch_iter:
        for n in range(5):
            batch_iter.reweight([n, 1], name='mix')
            batch_iter.reweight(np.arange(SIZE) + n, name='a')
            batch_iter.reweight(EVEN, name='b')
            for _ in batch_iter:
                assert all(row.value is not None for row in explain(batch_iter, 1)[:1])
    (training,) = read(tmp_path / 'run.log')
    assert len(training.steps) == 20
    again = opened(made())
    assert all(replayed(training, number, again).same for number in range(20))


def test_check_resume_accepts_it() -> None:
    check_resume(reweighted() | shuffle(4) | with_rng(noisy) | batch_by(3))


def test_what_runs_again_from_the_beginning_is_refused() -> None:
    message = (
        'running: `running()` runs again from the beginning where a run goes on, but weights that were replaced are not'
        ' kept for that: make it a `stage` with a `state`, or leave out `reweight`'
    )
    with raises(ValueError, message):
        Infinite(reweighted() | running())
    with raises(ValueError, message):
        iter(mix(reweighted() | running(), 'ab'))
    with raises(ValueError, message):
        Infinite(mix('ab', 'cd', reweight=True) | running())


def test_cycle_is_refused() -> None:
    with raises(
        ValueError,
        'cycle: it must not stand behind `reweight=True`, as each of its passes would begin with the weights that were'
        ' given first; put `cycle` into the streams of the `mix`, before it',
    ):
        mix('ab', 'cd', reweight=True) | cycle()


# ---------------------------------------------------------------------------------------------------------------------
# Ranks


def rank_of(rank: int, ranks: int, source: Any, state: Any = None) -> Any:
    options: dict[str, Any] = {'batch_size': 2, 'batches_per_epoch': 100, 'combiner': list, 'prefetch': 0}
    result = Infinite(source, with_rng(noisy), shard=(rank, ranks), **options)
    if state is not None:
        result.load_state_dict(through_json(state))
    return result


def items_of(ranks: int, source: Any, steps: int, tell: dict[int, Any], state: Any = None) -> tuple[list[Any], Any]:
    """What all ranks get, and their merged state."""
    got, states = [], []
    for rank in range(ranks):
        with rank_of(rank, ranks, source, state) as batch_iter:
            for at, weights in tell.items():
                batch_iter.reweight(weights, at=at)
            got += [item for batch in take_batches(batch_iter, steps) for item in batch]
            states.append(batch_iter.state_dict())
    return sorted(got), merge_states(states)


@pytest.mark.parametrize('made', [lambda: reweighted(), lambda: reweighted() | shuffle(5)], ids=['plain', 'shuffle'])
def test_ranks_that_are_told_the_same_get_what_one_gets(made: Any) -> None:
    one, _ = items_of(1, made(), 12, {9: EVEN, 17: ODD})
    two, merged = items_of(2, made(), 3, {9: EVEN, 17: ODD})
    three, _ = items_of(3, made(), 2, {}, merged)
    assert sorted(two + three) == one


def test_ranks_that_were_told_something_else_are_not_merged() -> None:
    def states(*tell: dict[int, Any]) -> list[Any]:
        result = []
        for rank, told in enumerate(tell):
            with rank_of(rank, 2, reweighted()) as batch_iter:
                take_batches(batch_iter, 1 + rank)
                for at, weights in told.items():
                    batch_iter.reweight(weights, at=at)
                result.append(batch_iter.state_dict())
        return result

    message = (
        'merge_states: `states` cannot be merged: the ranks were told different weights, or for different draws; call'
        ' `reweight` with the same weights and the same `at` in all of them'
    )
    assert merge_states(states({40: EVEN}, {40: EVEN}))
    for wrong in (({40: EVEN}, {40: ODD}), ({40: EVEN}, {41: EVEN}), ({40: EVEN}, {})):
        with raises(ValueError, message):
            merge_states(states(*wrong))


def test_a_rank_that_is_ahead_may_have_forgotten_more() -> None:
    states = []
    for rank in range(2):
        with rank_of(rank, 2, reweighted()) as batch_iter:
            batch_iter.reweight(EVEN, at=4)
            batch_iter.reweight(ODD, at=8)
            take_batches(batch_iter, 1 + 2 * rank)
            states.append(batch_iter.state_dict())
    assert merge_states(states)


# ---------------------------------------------------------------------------------------------------------------------
# Other sources, and several of them


def test_load_by_random_id() -> None:
    run = iter(load_by_random_id(str, ids=range(SIZE), weights=EVEN, seed=0, reweight=True))
    run.reweight(ODD, at=10)
    got = [int(next(run)) % 2 for _ in range(30)]
    assert got == [0] * 10 + [1] * 20


def test_a_mix() -> None:
    def mixed() -> Any:
        return mix(stream([0]) | cycle(), stream([1]) | cycle(), weights=[1, 0], seed=0, reweight=True)

    run = iter(mixed())
    run.reweight([0, 3], at=10)
    assert [next(run) for _ in range(5)] == [0] * 5
    state = through_json(run.state_dict())
    rest = [next(run) for _ in range(20)]
    assert rest == [0] * 5 + [1] * 15
    again = mixed().resume(state)
    assert [next(again) for _ in range(20)] == rest


def test_a_mix_whose_streams_end() -> None:
    run = iter(mix('aaa', 'bbb', 'ccc', weights=[1, 0, 0], seed=0, reweight=True))
    run.reweight([0, 0, 1], at=2)
    assert ''.join(run) == 'aacccabbb'


def test_without_new_weights_a_mix_is_as_it_was() -> None:
    for options in ({}, {'weights': [1, 2]}):
        assert list(mix('abc' * 9, range(20), seed=0, reweight=True, **options)) == list(
            mix('abc' * 9, range(20), seed=0, **options)
        )


def test_of_several_one_is_told_by_its_name() -> None:
    both = mix(reweighted(name='a'), reweighted(name='b'), seed=0)
    run = iter(both)
    with raises(ValueError, "Run.reweight: `name` must say whose weights are meant, one of ['a', 'b']"):
        run.reweight(EVEN)
    with raises(ValueError, "Run.reweight: `name` must be one of ['a', 'b'], got 'c'"):
        run.reweight(EVEN, name='c')
    run.reweight(EVEN, name='a')
    run.reweight(ODD, name='b')
    for _ in range(50):
        item = next(run)
        ((_, branch),) = run.item_keys
        assert item % 2 == branch
    run = iter(mix(reweighted(), reweighted(), seed=0))
    with raises(
        ValueError, "Run.reweight: there are 2 of the name 'sample'; give each its own `name` where it is made"
    ):
        run.reweight(EVEN, name='sample')


def test_a_stream_that_is_read_later_remembers_what_it_was_told() -> None:
    def made() -> Any:
        return stream(range(100, 105), seed=0) | concat(reweighted())

    run = iter(made())
    run.reweight(ODD)
    assert [next(run) for _ in range(3)] == [100, 101, 102]
    again = made().resume(through_json(run.state_dict()))
    assert [next(again) for _ in range(12)] == [103, 104, *drawn(10, {0: ODD})]


@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        (lambda run: run.reweight(None), TypeError, 'Run.reweight: `weights` must be numbers, got None'),
        (lambda run: run.reweight('ab'), TypeError, "Run.reweight: `weights` must be numbers, got 'ab'"),
        (
            lambda run: run.reweight([1]),
            ValueError,
            'Run.reweight: `weights` must be 12 numbers, one for each, got shape (1,)',
        ),
        (lambda run: run.reweight([0] * SIZE), ValueError, 'Run.reweight: `weights` must not all be zero'),
        (lambda run: run.reweight(EVEN, at=1.5), TypeError, 'Run.reweight: `at` must be an int, got float'),
        (lambda run: run.reweight(EVEN, at=-1), ValueError, 'Run.reweight: `at` must be at least 0, got -1'),
    ],
)
def test_wrong_arguments(call: Any, error: type[Exception], message: str) -> None:
    with raises(error, message):
        call(iter(reweighted()))


def test_where_there_are_no_weights_to_replace() -> None:
    message = 'there are no weights that can be replaced; give `sample` or `mix` `reweight=True`'
    with Infinite(sample('ab', seed=0), batch_size=2, combiner=list) as batch_iter:
        with raises(ValueError, f'Infinite.reweight: {message}'):
            batch_iter.reweight([1, 2])
        assert next(batch_iter()) == list(sample('ab', seed=0) | take(2))
    with raises(
        ValueError,
        'sample: `reweight=True` does not go with `replace=False`, where the order of all items is drawn at once; leave'
        ' out one of them',
    ):
        sample('ab', replace=False, reweight=True)
    with raises(ValueError, 'mix: `reweight=True` does not go with a schedule, which says all weights itself'):
        mix('ab', 'cd', weights=lambda draw: [1, 1], reweight=True)


def test_the_weights_that_were_given_are_not_looked_at_again() -> None:
    weights = np.array(EVEN)
    run = iter(reweighted(weights))
    new = np.array(ODD)
    run.reweight(new, at=10)
    weights[:], new[:] = 7, 7
    assert [next(run) % 2 for _ in range(30)] == [0] * 10 + [1] * 20


def test_streams_are_values() -> None:
    made = reweighted()
    assert repr(reweighted(None)) == 'sample(range(0, 12), seed=0, reweight=True)'
    assert pickle.loads(pickle.dumps(made)) == made != sample(range(SIZE), FIRST, seed=0)
    batches = pickle.loads(pickle.dumps(Infinite(made, batch_size=4)))
    with batches:
        assert batches.reweight(EVEN) == 0


@pytest.mark.parametrize(
    'change',
    [
        lambda entry: entry | {'weights': [[20, 'xx']]},
        lambda entry: entry | {'weights': [[20, entry['weights'][0][1]], [20, entry['weights'][0][1]]]},
        lambda entry: entry | {'weights': entry['weights'][0]},
        lambda entry: entry | {'t': -1},
        lambda entry: entry | {'more': 1},
        lambda entry: {'t': 3},
    ],
)
def test_a_state_that_cannot_be_is_refused(change: Any) -> None:
    made = reweighted()
    run = iter(made)
    run.reweight(EVEN, at=20)
    entry = through_json(run.state_dict()['position']['source'])
    made.source.check_entry(entry)
    with pytest.raises(ValueError, match='^what it says of the source cannot be$'):
        made.source.check_entry(change(entry))
