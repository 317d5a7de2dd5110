"""Runs that are stopped anywhere and go on in another one, bit for bit as if they had not been.

What is behind the public API, see test_checkpoint: `Chain.state()` says where the consumer stands, whatever was made
ahead of it, and `Chain(…, state=…)` goes on from there, in another mode or with other numbers of workers if need be.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
from ast import literal_eval
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from naming import named
from reference import Call, Pipe, bits, build, cost, digest, expected, noisy, often, parts
from running import ROOT
from strategies import examples, in_other_modes, pipes, stages

from itpipe import (
    NotRestartable,
    apply,
    balanced,
    batch_by,
    bucket_by,
    cache,
    concat,
    cycle,
    exclude,
    filter_by,
    flatten,
    interleave,
    mix,
    pack,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shard,
    shuffle,
    skip,
    split,
    stage,
    stream,
    take,
    with_rng,
    zip_with,
)
from itpipe._engine.background import Background
from itpipe._engine.chain import Chain
from itpipe._engine.seeds import Seeds
from itpipe._engine.weighting import reweighted

pytestmark = [
    pytest.mark.usefixtures('fickle'),
    pytest.mark.filterwarnings('ignore:itpipe. nothing is known of'),
]


def opened(made, state=None, seed=None, pass_=0):
    """A run of a stream, from the beginning or from where the consumer of another one stood."""
    return Chain(made.source, made.steps, Seeds(seed, pass_, made.source.seed), state=state)


def saved(chain):
    """The state as it comes back from a file."""
    return json.loads(json.dumps(chain.state()))


def receive(chain, count, pairs=None):
    """The bits of the next values, which the consumer takes."""
    got = []
    for key, value in itertools.islice(chain.pairs if pairs is None else pairs, count):
        chain.received(key)
        got.append(bits(value))
    return got


@contextmanager
def running(made, state=None, **seeds):
    chain = opened(made, state, **seeds)
    try:
        yield chain
    finally:
        chain.close()


def interrupted(data, pipe, executors, flow, modes=strategies.in_this_process, **seeds):
    """What arrives in several runs, each from the state of the one before, and the states."""
    got, state, states = [], None, []
    with mock.patch('itpipe._engine.chain.COMMIT_EVERY', data.draw(st.sampled_from([1, 2, 5, 256]), 'commit every')):
        for number in range(data.draw(st.integers(1, 3), 'stops')):
            made = build(data.draw(in_other_modes(pipe, modes), 'run') if number else pipe, executors)
            received = data.draw(st.integers(0, len(flow.items) - len(got)), 'received')
            ahead = data.draw(st.integers(0, 4), 'made ahead')
            with running(made, state, **seeds) as chain:
                got += receive(chain, received)
                for _ in range(min(ahead, len(flow.items) - len(got))):
                    next(chain.pairs)
                state = saved(chain)
            states.append(state)
        made = build(data.draw(in_other_modes(pipe, modes), 'last run'), executors)
        with running(made, state, **seeds) as chain:
            got += receive(chain, len(flow.items) - len(got))
            if flow.end is not None:
                assert next(chain.pairs, None) is None
    return got, states


@given(pipes(one_shot=False), st.data(), st.none() | st.integers(0, 3), st.integers(0, 2))
@examples(600)
def test_a_run_goes_on_where_its_consumer_stood(executors, pipe, data, seed, pass_):
    """Whatever was made ahead of it, however often it stops, in threads or not; nothing is lost, doubled or changed."""
    flow = expected(pipe, seed=seed, pass_=pass_)
    got, _ = interrupted(data, pipe, executors, flow, seed=seed, pass_=pass_)
    assert got == list(map(bits, flow.values))


@given(pipes(one_shot=False, most=4, modes=strategies.in_this_process | strategies.remote), st.data())
@examples(100)
def test_a_run_goes_on_in_other_processes_or_out_of_them(executors_with_processes, pipe, data):
    flow = expected(pipe)
    modes = strategies.in_this_process | strategies.remote
    got, _ = interrupted(data, pipe, executors_with_processes, flow, modes)
    assert got == list(map(bits, flow.values))


@given(pipes(one_shot=False), st.data(), st.integers(1, 5))
@examples(200)
def test_a_state_can_be_taken_while_a_thread_runs_ahead(executors, pipe, data, depth):
    """As in an `Infinite`, whose batches are made in the background while the consumer's state is asked for."""
    flow = expected(pipe)
    taken = data.draw(st.integers(0, len(flow.items)), 'received')
    stop = data.draw(st.integers(0, taken), 'state')
    background = Background('itpipe-test', depth)
    with running(build(pipe, executors)) as chain:
        pairs = background.run(chain.pairs)
        got, states = [], [saved(chain)]
        for _ in range(taken):
            got += receive(chain, 1, pairs)
            states.append(saved(chain))
        background.stop()
        chain.stop()
        background.close()
    with running(build(pipe, executors), states[stop]) as chain:
        rest = receive(chain, len(flow.items) - stop)
    assert got[:stop] + rest == list(map(bits, flow.values))


@given(st.data())
@examples(300)
def test_an_unordered_run_loses_nothing_and_doubles_nothing(executors, data):
    """What was on its way when the run stopped is made again."""
    pipe = data.draw(pipes(most=3, endless=False, one_shot=False))
    made, kind = data.draw(strategies.parallel('any', strategies.in_this_process))
    options = {'modes': strategies.in_this_process | strategies.unordered, 'opaque': False, 'batching': False}
    more, _ = data.draw(stages(kind, most=3, flow=strategies.WHATEVER_THE_ORDER, **options))
    end = data.draw(strategies.batched_and_not)
    pipe = Pipe(pipe.source, (*pipe.stages, Call(made.name, made.args, {**made.kwargs, 'ordered': False}), *more, *end))
    flow = expected(pipe)
    got, _ = interrupted(data, pipe, executors, flow)
    assert Counter(got) == Counter(map(bits, flow.values))


@given(pipes(one_shot=False), st.data())
@examples(200)
def test_any_item_can_be_made_again_from_its_key(executors, pipe, data):
    """Alone, and by whichever run of the same stream; what a batch is made of too."""
    flow = expected(pipe)
    assume(flow.items)
    again = data.draw(st.lists(st.sampled_from(range(len(flow.items))), min_size=1, unique=True), 'again')
    with running(build(pipe, executors)) as chain:
        found = chain.recompute(len(chain.operators) - 1, [flow.items[n].key for n in again])
    assert {key: bits(value) for key, value in found.items()} == {
        flow.items[n].key: bits(flow.items[n].value) for n in again
    }


@given(pipes(endless=False), st.data())
@examples(100)
def test_keys_are_those_of_the_reference_and_unique(executors, pipe, data):
    """By them an item is known: in the note on an error, in a state, and to its random generator."""
    flow = expected(pipe)
    with running(build(pipe, executors)) as chain:
        keys = [key for key, _ in chain.pairs]
    assert keys == [item.key for item in flow.items]
    assert len(set(keys)) == len(keys)


NAMED = [('a', 9), ('b', 5), ('mix', 2)]
"""The names of what can be told weights in `REWEIGHTED`, and how many these are."""
REWEIGHTED = Call(
    'mix',
    (
        Pipe(Call('sample', (range(9),), {'name': 'a', 'reweight': True})),
        Pipe(Call('sample', (range(5),), {'name': 'b', 'reweight': True}), (Call('shuffle', (3,)),)),
    ),
    {'seed': 1, 'reweight': True},
)
ENDS_ANYHOW = (*(name for name in strategies.FLOW if name != 'filter_by'), 'join')
"""What gives items of whatever comes, be it always the same."""


@given(st.data())
@examples(300)
def test_replaced_weights_are_the_same_wherever_a_run_goes_on(executors, data):
    """Those of a run that was told them meanwhile, as early as possible; the others know the numbers of the draws."""
    made, _ = data.draw(stages('number', most=4, opaque=False, once=True, flow=ENDS_ANYHOW), 'stages')
    pipe = Pipe(REWEIGHTED, made)
    count = min(len(expected(pipe).items), 30)
    when = st.integers(0, max(count - 1, 0))
    weights = st.integers(0, 50).map(np.random.default_rng)
    told = data.draw(st.lists(st.tuples(when, st.sampled_from(NAMED), weights), max_size=5), 'told')
    values, announced = [], []
    few = mock.patch('itpipe.stages.reweighted.TOGETHER', data.draw(st.integers(1, 3), 'draws at once'))
    with few, running(build(pipe, executors)) as chain:
        for number in range(count + 1):
            for at, (name, size), rng in told:
                if at == number:
                    new = rng.random(size) + 0.01
                    announced.append((new, reweighted('test', chain.source.weightings, new, None, name), name))
            values += receive(chain, number < count)
    got, state = [], None
    for number in range(data.draw(st.integers(1, 3), 'runs')):
        run = build(data.draw(in_other_modes(pipe), 'run'), executors)
        commits = mock.patch(
            'itpipe._engine.chain.COMMIT_EVERY', data.draw(st.sampled_from([1, 5, 256]), 'commit every')
        )
        with commits, running(run, state) as chain:
            if number == 0:
                for new, at, name in announced:
                    assert reweighted('test', chain.source.weightings, new, at, name) == at
            got += receive(chain, data.draw(st.integers(0, len(values) - len(got)), 'received'))
            for _ in range(min(data.draw(st.integers(0, 4), 'made ahead'), len(values) - len(got))):
                next(chain.pairs)
            state = saved(chain)
    with running(build(pipe, executors), state) as chain:
        assert got + receive(chain, len(values) - len(got)) == values


# ---------------------------------------------------------------------------------------------------------------------
# One by one


def add_noise(x, rng):
    return x + rng.random()


def square(x):
    return x * x


def is_odd(x):
    return x % 2 == 1


def ones(x):
    return [x] * (1 + x * x % 7)


def rising(draw):
    return [1, draw]


async def later(x):
    await asyncio.sleep(0)
    return x + 1


def generated(n):
    yield from range(n)


def drawn(n, rng):
    yield from rng.random(n).tolist()


@stage
def passed_on(items):
    yield from items


EACH = [
    sample(list(range(50)), seed=1) | take(60),
    sample(list(range(50)), replace=False, seed=1) | take(120),
    sample(list(range(5)), weights=[1, 2, 3, 4, 5], replace=False, seed=1) | take(23),
    stream(range(40), seed=1) | with_rng(add_noise),
    stream(range(40), seed=1) | parallel_map(with_rng(add_noise), threads=2),
    stream(range(40)) | prefetch(3),
    stream(split(range(99), [0.5, 0.5])[1], seed=1) | shuffle() | with_rng(add_noise),
    sample(range(9), weights=balanced(list('aabbbbccc')), seed=1) | take(40),
    stream(range(20), seed=1) | apply(square) | cache('memory') | shuffle(4) | with_rng(add_noise),
    stream(range(20), seed=1) | with_rng(add_noise) | parallel_map(later, tasks=3) | shuffle(3),
    stream(range(40), seed=1) | shuffle(4) | bucket_by(square, window=6, size=3) | shuffle(3),
    stream(range(40), seed=1) | shuffle(4) | bucket_by(square, edges=[10, 100], limit=400) | flatten,
    stream(range(40), seed=1) | shuffle(4) | ones | pack(9),
    stream(range(40), seed=1) | ones | pack(11, cut='all') | shuffle(2),
    mix(range(20), range(30), weights=rising, seed=1) | with_rng(add_noise) | shuffle(3),
    stream(range(40)) | filter_by(is_odd),
    stream(range(40), seed=1) | shuffle(4) | exclude(0, 39, range(9, 14)) | shuffle(3),
    sample(range(9), seed=1) | take(50) | shuffle(4) | exclude(indices=[1, range(3, 5)]) | with_rng(add_noise),
    stream([[n] * (n % 4) for n in range(15)]) | flatten(),
    stream(range(11)) | interleave(range, cycle=3, block=2),
    stream(range(11)) | interleave(generated, cycle=3, block=2, prefetch=2),
    stream(range(11), seed=1) | shuffle(3) | interleave(with_rng(drawn), block=4) | shuffle(5),
    stream(range(40)) | take(20),
    stream(range(40)) | skip(20),
    stream(range(40)) | shard(1, 3),
    stream(range(40), seed=1) | shuffle(7),
    stream(range(20), seed=1) | reuse(4, 3, iterations=2),
    stream(range(40)) | batch_by(7),
    stream(range(40)) | batch_by(7, drop_last=True),
    stream(range(40)) | batch_by(limit=100, cost=square),
    stream(range(40)) | batch_by(lambda items, item: item % 3),
    stream(range(40)) | passed_on(),
    mix(range(10), stream(range(20)) | with_rng(add_noise), stream('abc') | shuffle(2), seed=1, weights=[1, 2, 0]),
    stream(range(20), seed=1) | shuffle(4) | zip_with(stream('abcdefghij') | with_rng(noisy), range(9)) | shuffle(3),
    stream(range(9), seed=1) | shuffle(4) | concat([], 'abcd' | shuffle(2), range(5) | with_rng(noisy)) | shuffle(3),
    stream(range(5), seed=1) | with_rng(add_noise) | shuffle(4) | cycle(4) | shuffle(8),
    stream(range(5), seed=1) | cycle(2) | zip_with('abc' | cycle()) | concat('xy' | cycle(2)) | cycle(2) | batch_by(4),
    # the parts of one item are received at several times, over a source and over steps that have a state
    mix(range(10), seed=1) | apply(lambda x: [x] * 3) | flatten(),
    stream([[n] * 3 for n in range(9)], seed=1) | shuffle(3) | flatten(),
    # random stages in a mix keep their numbers where what is made through a custom stage is made again
    mix(stream(range(30)) | with_rng(add_noise), seed=1) | passed_on() | shuffle(5),
]


@pytest.mark.parametrize('made', EACH, ids=named)
def test_each_stage_goes_on_from_everywhere(made):
    """From each state that a run ever had, always with one more item made than received."""
    with running(made) as chain:
        whole = receive(chain, None)
    assert len(whole) > 4
    with running(made) as chain, mock.patch('itpipe._engine.chain.COMMIT_EVERY', 3):
        states = [saved(chain)]
        for (key, _), following in itertools.pairwise(itertools.chain(chain.pairs, [None])):
            chain.received(key)
            states.append(saved(chain))
            assert following is None or following[0] != key
    for received, state in enumerate(states):
        with running(made, state) as chain:
            assert receive(chain, None) == whole[received:]


def test_what_is_kept_in_a_folder_goes_on_from_everywhere(tmp_path):
    kept = stream(range(20), seed=1) | apply(square) | cache(tmp_path)
    test_each_stage_goes_on_from_everywhere(kept | shuffle(3) | parallel_map(with_rng(add_noise), threads=2))


def test_a_state_is_that_of_the_consumer_and_not_of_what_was_made():
    made = stream(range(40), seed=1) | shuffle(5) | parallel_map(abs, threads=2) | prefetch(3) | batch_by(3)
    with running(made) as chain:
        before = saved(chain)
        for _ in range(4):
            next(chain.pairs)
        assert saved(chain) == before


def test_nothing_that_was_delivered_is_made_again():
    """What a buffer held is, and the item that was given out in part."""
    calls = []

    def count(x):
        calls.append(x)
        return x

    def resumed(made, received):
        with running(made) as chain:
            receive(chain, received)
            state = saved(chain)
        calls.clear()
        with running(made, state) as chain:
            receive(chain, None)
        return calls

    assert resumed(stream(range(20)) | count | batch_by(4), 2) == list(range(8, 20))
    assert resumed(stream(range(6)) | count | (lambda x: [x] * 2) | flatten(), 5) == [2, 3, 4, 5]
    assert len(resumed(stream(range(20), seed=0) | count | shuffle(5), 10)) == 20 - 10
    assert len(resumed(stream(range(20), seed=0) | count | reuse(3, 2), 20)) <= 20 - 10 + 2


def test_a_sample_does_not_load_what_was_delivered():
    """Its t-th item is known without those before it."""
    loaded = []

    class Items:
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            loaded.append(index)
            return index

    made = sample(Items(), seed=0)
    with running(made, {'source': 10**9, 'steps': {}}) as chain:
        got = receive(chain, 3)
    assert [bits(index) for index in loaded] == got


def test_over_a_one_shot_iterator_a_run_goes_on_by_reading_forward():
    """A new one, in the process that goes on; but what was taken from it before cannot be made again."""

    def made():
        return stream(n for n in range(20)) | square | batch_by(3)

    with running(made()) as chain:
        whole = receive(chain, None)
    with running(made()) as chain:
        receive(chain, 2)
        state = saved(chain)
    with running(made(), state) as chain:
        assert receive(chain, None) == whole[2:]


def test_what_would_have_to_be_taken_again_from_a_one_shot_iterator_is_refused():
    def made():
        return stream((n for n in range(20)), seed=0) | shuffle(3)

    with running(made()) as chain:
        receive(chain, 5)
        state = saved(chain)
    with running(made(), state) as chain, pytest.raises(NotRestartable) as caught:
        next(chain.pairs)
    assert str(caught.value) == 'cannot make items of <generator> again: it is a one-shot iterator'


SCRIPT = """
import json, sys
from test_resume import elsewhere, receive, running

if __name__ == '__main__':
    state = json.loads(sys.stdin.read())
    with running(elsewhere(processes=1), state) as chain:
        print(receive(chain, None))
"""


def elsewhere(**mode):
    return (
        mix(sample('abcdef', seed=1) | take(40), range(30), seed=5)
        | parallel_map(with_rng(noisy), **mode)
        | shuffle(9)
        | filter_by(often)
        | reuse(5, 3)
        | batch_by(limit=30, cost=cost)
        | flatten()
        | skip(4)
        | shard(1, 2)
        | digest
        | parts
        | flatten()
        | batch_by(5)
    )


@pytest.mark.long  # as a saved state does, see `test_saved_states`
def test_a_run_goes_on_in_a_new_interpreter():
    """Where strings have other hashes, and with processes instead of threads."""
    with running(elsewhere(threads=2)) as chain:
        whole = receive(chain, None)
    with running(elsewhere(threads=2)) as chain:
        receive(chain, len(whole) // 2)
        next(chain.pairs)
        state = json.dumps(chain.state())
    paths = [str(Path(__file__).parent), str(ROOT / 'tests/support'), str(ROOT)]
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        input=state,
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'PYTHONHASHSEED': '7'},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert literal_eval(done.stdout) == whole[len(whole) // 2 :]


# ---------------------------------------------------------------------------------------------------------------------
# Sizes


@given(pipes(one_shot=False, flow=('exclude', 'filter_by', 'take', 'skip', 'shard', 'prefetch')), st.data())
@examples(100)
def test_a_state_without_buffers_is_small(executors, pipe, data):
    """Whatever was made, a few numbers say where its consumer stands."""
    flow = expected(pipe)
    _, states = interrupted(data, pipe, executors, flow)
    assert all(len(json.dumps(state)) < 1000 for state in states)


def test_a_state_does_not_grow_with_the_run():
    made = (
        mix(sample(range(1000), seed=0), stream(itertools.count()) | filter_by(is_odd), seed=1)
        | parallel_map(square, threads=2)
        | filter_by(is_odd)
        | skip(10)
        | shard(0, 2)
        | batch_by(4)
    )
    sizes = []
    with running(made) as chain:
        for _ in range(5):
            receive(chain, 200)
            sizes.append(len(json.dumps(chain.state())))
    assert max(sizes) < 300


@stage(state={'count': 0})
def counted(items, state):
    for item in items:
        state['count'] += 1
        yield item


@pytest.mark.parametrize(
    ('source', 'log'),
    [
        (stream(range(10**6), seed=0) | shuffle(10), lambda chain: chain.operators[0].log),
        (range(10**6) | shard(0, 2), lambda chain: chain.operators[0].log),
        (mix(range(10**6), seed=0), lambda chain: chain.source.log),
        (range(10**6) | counted(), lambda chain: chain.operators[0]._segments),
    ],
)
def test_what_is_remembered_of_items_that_were_left_out_does_not_grow_with_the_run(source, log):
    with running(source | filter_by(lambda x: x % 1000 == 0)) as chain:
        receive(chain, 40)
        assert len(log(chain)) < 20_000


def test_the_state_of_a_large_shuffle_is_its_keys():
    with running(sample(range(10**6), seed=0) | shuffle(10_000)) as chain:
        receive(chain, 12_000)
        assert 10_000 * 4 < len(json.dumps(chain.state())) < 200_000


def test_what_is_skipped_is_not_remembered():
    with running(stream(range(300_000)) | skip(200_000)) as chain:
        receive(chain, 1)
        assert len(chain.operators[0].log) == 1
        assert chain.state() == {'source': 200_001, 'steps': {'skip': {'own': {'skipped': 200_000}}}}
