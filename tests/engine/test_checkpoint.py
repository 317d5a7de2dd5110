"""States that are saved, loaded elsewhere, and refused; and what is known of a batch that was received."""

import copy
import gc
import itertools
import json
import pickle
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from collections import Counter, deque
from functools import partial
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from hypothesis import assume, given, settings
from naming import named
from reference import Call, Pipe, bits, build, expected, fragile, noisy
from running import ROOT, AtOnce, Lazily, environment, raises, run_script, start_script, through_json
from strategies import examples, in_other_modes, pipes, stages

from itpipe import (
    Infinite,
    NotRestartable,
    apply,
    batch_by,
    filter_by,
    flatten,
    load_by_random_id,
    map_at,
    merge_states,
    mix,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shuffle,
    skip,
    stage,
    stream,
    take,
    with_rng,
)
from itpipe._core.keys import Batch
from itpipe._engine.state_checks import Position, checksum

pytestmark = [
    pytest.mark.usefixtures('fickle'),
    pytest.mark.filterwarnings('ignore:itpipe. nothing is known of'),
    pytest.mark.filterwarnings('ignore:Infinite. an epoch'),  # which is cut short, or has nothing left
]


flatten_twice = apply(lambda x: [x, x]) | flatten


def add_noise(x, rng):
    return x + rng.random()


# ---------------------------------------------------------------------------------------------------------------------
# Whatever the pipeline


def epochs_of(batch_iter, count, received, until):
    """The bits of the batches of some epochs, each a list, and all states; no more than `until` batches."""
    result, states = [], []
    for _ in range(count):
        result.append([])
        if received == until:
            continue
        for batch in batch_iter:
            result[-1].append(bits(batch))
            received += 1
            states.append(batch_iter.state_dict())
            if received == until:
                break
    return result, states


@st.composite
def cases(draw, made, modes=strategies.in_this_process):
    """A pipeline, how many of its batches are an epoch, how many epochs, how many batches at most; the same again."""
    pipe = draw(made)
    flow = expected(pipe)
    endless = flow.end is None
    assume(flow.items)
    per_epoch = draw(st.integers(1, 12) if endless else st.none() | st.integers(1, 12))
    most = len(flow.items) if endless else 10**9  # behind that, an endless pipeline may have nothing more to give
    return pipe, per_epoch, draw(st.integers(1, 4)), most, draw(in_other_modes(pipe, modes))


ahead = st.sampled_from([None, 0, 0, 1, 3])


def interrupted(data, case, executors, seed=None):
    """The state of a run somewhere, after how many batches, and what came after them, an epoch each."""
    pipe, per_epoch, count, most, _ = case
    with Infinite(build(pipe, executors), batches_per_epoch=per_epoch, prefetch=data.draw(ahead), seed=seed) as it:
        begin = it.state_dict()
        whole, states = epochs_of(it, count, 0, most)
    number = data.draw(st.integers(0, len(states)), 'received')
    epoch, left = 0, number
    while epoch < count - 1 and left > len(whole[epoch]):
        left -= len(whole[epoch])
        epoch += 1
    return through_json([begin, *states][number]), number, [whole[epoch][left:], *whole[epoch + 1 :]]


@given(st.none() | st.integers(0, 2), st.data())
@examples(1200)
def test_what_comes_after_a_state_is_what_would_have_come(executors, seed, data):
    """In a new object, in another mode: the rest of the epoch and all epochs after it."""
    case = data.draw(cases(pipes(seed=data.draw(st.integers(0, 1)), one_shot=False)), 'case')
    _, per_epoch, _, most, again = case
    state, number, rest = interrupted(data, case, executors, seed)
    with Infinite(build(again, executors), batches_per_epoch=per_epoch, prefetch=data.draw(ahead), seed=seed) as it:
        it.load_state_dict(state)
        assert epochs_of(it, len(rest), number, most)[0] == rest


@given(pipes(seed=None, endless=False, one_shot=False), st.data())
@examples(200)
def test_without_a_seed_a_state_has_what_was_drawn_instead(executors, pipe, data):
    assume('shard(' not in repr(pipe))  # which needs a seed
    drawn = partial(next, itertools.count(data.draw(st.integers(0, 99))))  # never the same again
    with mock.patch('itpipe._engine.epochs.fresh_seed', drawn):
        state, number, rest = interrupted(data, (pipe, None, 2, None, None), executors)
        with Infinite(build(data.draw(in_other_modes(pipe)), executors), prefetch=data.draw(ahead)) as it:
            it.load_state_dict(state)
            assert epochs_of(it, len(rest), number, None)[0] == rest


@given(pipes(one_shot=False), st.data())
@examples(300)
def test_a_bare_run_goes_on_as_well(executors, pipe, data):
    flow = expected(pipe)
    received = data.draw(st.integers(0, len(flow.items)), 'received')
    run = iter(build(pipe, executors))
    got = [bits(value) for value in itertools.islice(run, received)]
    state = through_json(run.state_dict())
    run.close()
    assert run.state_dict() == state
    run = build(data.draw(in_other_modes(pipe)), executors).resume(state)
    got += [bits(value) for value in itertools.islice(run, len(flow.items) - received)]
    run.close()
    assert got == list(map(bits, flow.values))


@given(st.data())
@examples(200)
def test_what_is_skipped_stays_skipped(executors, data):
    """Items that were left out are neither delivered nor doubled, and those behind them keep their places."""
    pipe = data.draw(pipes(most=2, endless=False, one_shot=False, opaque=False))
    skips = Call('parallel_map', (fragile,), {'on_error': 'skip', **data.draw(strategies.in_this_process)})
    more, _ = data.draw(stages('number', most=3, endless=False))
    pipe = Pipe(pipe.source, (*pipe.stages, skips, *more))
    state, number, rest = interrupted(data, (pipe, None, 1, None, None), executors)
    with Infinite(build(data.draw(in_other_modes(pipe)), executors), prefetch=data.draw(ahead)) as it:
        it.load_state_dict(state)
        assert epochs_of(it, 1, number, None)[0] == rest


@given(st.data())
@examples(200)
def test_without_an_order_nothing_is_lost_and_nothing_comes_twice(executors, data):
    pipe = data.draw(pipes(most=2, endless=False, one_shot=False, opaque=False))
    options = {'ordered': False, **data.draw(strategies.in_this_process)}
    unordered = Call('parallel_map', (Call('with_rng', (noisy,)),), options)
    pipe = Pipe(pipe.source, (*pipe.stages, unordered, *data.draw(strategies.batched_and_not)))
    flow = expected(pipe)
    received = data.draw(st.integers(0, len(flow.items)), 'received')
    with Infinite(build(pipe, executors), prefetch=data.draw(ahead)) as it:
        got = [bits(value) for value in itertools.islice(it, received)]
        state = through_json(it.state_dict())
    with Infinite(build(data.draw(in_other_modes(pipe)), executors), prefetch=data.draw(ahead)) as it:
        it.load_state_dict(state)
        got += map(bits, it)
    assert Counter(got) == Counter(map(bits, flow.values))


ELSEWHERE = """
    import pickle, sys, warnings
    sys.path[:0] = ['tests/engine', 'tests/support']
    warnings.simplefilter('ignore')
    from running import AtOnce, Lazily
    from test_checkpoint import resumed

    if __name__ == '__main__':
        cases = pickle.loads(sys.stdin.buffer.read())
        for number, case in enumerate(cases):
            if not resumed(*case):
                print(number, case)
        print('of', len(cases))
"""


def resumed(pipe, state, per_epoch, ahead, received, most, rest):
    """Whether the rest is what it should be."""
    with Infinite(
        build(pipe, {'at once': AtOnce(), 'lazily': Lazily()}), batches_per_epoch=per_epoch, prefetch=ahead
    ) as it:
        it.load_state_dict(json.loads(state))
        return epochs_of(it, len(rest), received, most)[0] == rest


here = strategies.threads | strategies.pooled('at once', 'lazily')


@pytest.mark.long
def test_new_processes_go_on_in_yet_other_modes(executors):
    """Where strings have other hashes; now and then with processes of their own."""
    collected = []

    @given(cases(pipes(one_shot=False, modes=here), here), st.data())
    @settings(examples(200), database=None)
    def collect(case, data):
        _, per_epoch, _, most, again = case
        state, number, rest = interrupted(data, case, executors)
        collected.append((again, json.dumps(state), per_epoch, data.draw(ahead), number, most, rest))

    collect()
    work = Pipe(
        Call('sample', (range(50),), {'seed': 1}),
        (Call('parallel_map', (Call('with_rng', (noisy,)),), {'threads': 2}), Call('shuffle', (5,))),
    )
    with Infinite(build(work), batches_per_epoch=9) as it:
        whole, states = epochs_of(it, 2, 0, None)
    work = Pipe(work.source, (Call('parallel_map', (Call('with_rng', (noisy,)),), {'processes': 1}), work.stages[1]))
    collected.append((work, json.dumps(states[4]), 9, None, 5, None, [whole[0][5:], whole[1]]))
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(ELSEWHERE)],
        input=pickle.dumps(collected),
        capture_output=True,
        timeout=50,
        cwd=ROOT,
        env=environment(PYTHONHASHSEED='7'),
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, '')
    assert done.stdout.decode() == f'of {len(collected)}\n'


TRAINING = """
    import json, sys
    from itpipe import Infinite, filter_by, flatten, parallel_map, reuse, sample, shuffle, with_rng

    def noisy(x, rng):
        return [x + rng.random(), x]

    def batches():
        pairs = sample(range(1000), replace=False, seed=3) | parallel_map(with_rng(noisy), threads=2) | shuffle(50)
        numbers = pairs | flatten | filter_by(lambda x: x % 5 < 4) | reuse(4, 2)
        return Infinite(numbers, batch_size=8, batches_per_epoch=7)

    path, steps = sys.argv[1], int(sys.argv[2])
    with open(path, 'a+b', buffering=0) as log, batches() as batch_iter:
        log.seek(0)
        done = [line for line in log.read().splitlines(keepends=True) if line.endswith(b'\\n')]
        log.truncate(sum(map(len, done)))  # of a step that was not done
        if done:
            batch_iter.load_state_dict(json.loads(done[-1])['state'])
        while len(done) < steps:
            for batch in batch_iter:
                line = {'batch': batch.tobytes().hex(), 'state': batch_iter.state_dict()}
                done.append(json.dumps(line).encode() + b'\\n')
                log.write(done[-1])
                print(len(done), flush=True)
"""


def test_who_is_killed_at_any_moment_loses_nothing_and_sees_nothing_twice(tmp_path):
    """A state after each step is all that is needed."""
    for _ in range(4):
        training = start_script(TRAINING, tmp_path / 'killed', 10**9)
        for _ in range(random.randrange(1, 14)):
            training.stdout.readline()
        training.kill()
        training.communicate()
        assert training.returncode == -signal.SIGKILL
    steps = len((tmp_path / 'killed').read_text().splitlines()) + 10
    run_script(TRAINING, tmp_path / 'killed', steps)
    run_script(TRAINING, tmp_path / 'whole', steps)
    whole, killed = (
        [json.loads(line)['batch'] for line in (tmp_path / name).read_text().splitlines()]
        for name in ('whole', 'killed')
    )
    assert len(whole) >= steps
    assert killed[:steps] == whole[:steps]


# ---------------------------------------------------------------------------------------------------------------------
# Epochs, before, and after


def batches(**options):
    return Infinite(range(10), shuffle(4), batch_size=2, **{'batches_per_epoch': 3, 'seed': 0, **options})


def some(count, **options):
    """An `Infinite` that has given so many batches, and those."""
    it = batches(**options)
    return it, [bits(batch) for batch in itertools.islice(itertools.chain.from_iterable(itertools.repeat(it)), count)]


def test_the_first_epoch_is_the_rest_of_the_one_that_was_interrupted():
    with batches() as it:
        whole, states = epochs_of(it, 6, 0, None)
        ended = it.state_dict()
    assert list(map(len, whole)) == [3, 2, 3, 2, 3, 2]
    for state, lengths in [(states[0], [2, 2, 3]), (states[2], [0, 2, 3]), (states[4], [0, 3, 2]), (ended, [3, 2, 3])]:
        with batches() as it:
            it.load_state_dict(state)
            assert [len(list(it)) for _ in lengths] == lengths


def test_behind_an_epoch_of_which_nothing_was_left_the_next_one_is_whole():
    it, _ = some(3)
    state = it.state_dict()
    it.close()
    with batches() as it:
        it.load_state_dict(state)
        assert list(it) == []
        state = it.state_dict()
        following = [bits(batch) for batch in it]
    assert len(following) == 2
    with batches() as it:
        it.load_state_dict(state)
        assert [bits(batch) for batch in it] == following


def test_between_epochs_the_next_one_is_whole():
    with batches(batches_per_epoch=2) as it:
        list(it)
        state = it.state_dict()
        following = [bits(batch) for batch in it]
    with batches(batches_per_epoch=2) as it:
        it.load_state_dict(state)
        assert [bits(batch) for batch in it] == following


def test_the_length_of_an_epoch_may_be_another():
    it, _ = some(2)
    state = it.state_dict()
    it.close()
    with batches(batches_per_epoch=None) as it:
        it.load_state_dict(state)
        assert len(list(it)) == 3
    with batches(batches_per_epoch=1) as it:
        it.load_state_dict(state)
        assert [len(list(it)) for _ in range(3)] == [0, 1, 1]


def of_size(size, length, **options):
    return Infinite(range(24), batch_size=size, batches_per_epoch=length, combiner=list, **options)


@pytest.mark.parametrize(
    ('old', 'taken', 'new', 'expected'),
    [
        ((2, 6), 3, (4, 3), [2, 3, 3]),
        ((2, 6), 2, (4, 3), [2, 3, 3]),
        ((2, 6), 6, (4, 3), [0, 3, 3]),
        ((4, 3), 1, (2, 6), [4, 6, 6]),
        ((4, 3), 3, (2, 6), [0, 6, 6]),
        ((2, 6), 1, (8, 2), [2, 1, 2]),
        ((3, 4), 3, (2, 6), [2, 6]),
        ((2, None), 4, (8, None), [2, 3]),
    ],
)
def test_with_another_size_of_batches_the_epoch_ends_where_it_would_have_by_its_items(old, taken, new, expected):
    with of_size(*old) as it:
        epoch = it()
        for _ in range(taken):
            next(epoch)
        state = it.state_dict()
    with warnings.catch_warnings(), of_size(*new) as it:
        warnings.filterwarnings('ignore', 'Infinite: an epoch ended after')
        it.load_state_dict(state)
        epochs = [list(it) for _ in expected]
    assert [len(epoch) for epoch in epochs] == expected
    received = taken * old[0]
    assert [x for epoch in epochs for batch in epoch for x in batch][: 24 - received] == list(range(received, 24))


def test_with_another_rule_of_batches_a_new_epoch_begins():
    with of_size(2, 6) as it:
        next(it())
        state = it.state_dict()
    with Infinite(range(24), batch_size=lambda items, _: len(items) < 3, combiner=list, batches_per_epoch=2) as it:
        with pytest.warns(
            UserWarning, match='^Infinite.load_state_dict: batches are made by another rule than in'
        ) as w:
            it.load_state_dict(state, strict=False)
        assert w[0].filename == __file__
        assert [list(it), list(it)] == [[[2, 3, 4], [5, 6, 7]], [[8, 9, 10], [11, 12, 13]]]


@pytest.mark.parametrize(
    ('ranks', 'size', 'length', 'left'),
    [(3, 8, 4, 2), (4, 6, 4, 2), (2, 6, 4, 2), (2, 12, 4, 2), (2, 6 * 4, 2, 1), (1, 12, 8, 4)],
)
def test_merged_states_know_how_much_all_ranks_received(ranks, size, length, left):
    """Global batches of 24 items, of which two were received. With the same `batch_size`, steps are counted."""
    states = []
    for rank in range(4):
        with Infinite(range(480), batch_size=6, batches_per_epoch=4, shard=(rank, 4)) as it:
            epoch = it()
            next(epoch), next(epoch)
            states.append(it.state_dict())
    merged = through_json(merge_states(states))
    assert merged['shard'] == ['merged', 4]
    for rank in range(ranks):
        with Infinite(range(480), batch_size=size, batches_per_epoch=length, shard=(rank, ranks)) as it:
            it.load_state_dict(merged)
            assert [len(list(it)) for _ in range(2)] == [left, length]


def test_a_merged_state_without_the_number_of_ranks():
    """As they were written before it was in them."""
    with Infinite(range(48), batch_size=2, batches_per_epoch=4, shard=(0, 1)) as it:
        next(it())
        merged = merge_states([it.state_dict()])
    position = Position(merged['entropy'], merged['pass'], merged['batch'], merged['position'])
    merged |= {'shard': 'merged', 'check': checksum(merged['pipeline'], merged['data'], 'merged')(position)}
    with Infinite(range(48), batch_size=2, batches_per_epoch=4, shard=(0, 1)) as it:
        it.load_state_dict(merged)
        assert len(list(it)) == 3
    with Infinite(range(48), batch_size=4, batches_per_epoch=4, shard=(0, 1)) as it:
        with pytest.warns(UserWarning, match='a new one begins with the next batch$'):
            it.load_state_dict(merged)
        assert len(list(it)) == 4


def test_before_the_first_batch_a_state_is_the_beginning():
    numbers = stream(range(20)) | shuffle(20)
    with Infinite(numbers) as it, Infinite(numbers) as other:
        state = it.state_dict()
        assert it.state_dict() == state
        other.load_state_dict(state)
        assert other.state_dict() == state
        assert list(it) == list(other) != list(range(20))


def test_after_the_end_a_state_is_still_that_of_the_last_batch():
    it, _ = some(2)
    state = it.state_dict()
    it.close()
    assert it.state_dict() == state
    first = next(it())
    assert it.state_dict()['batch'] == 1
    it.close()
    with batches() as other:
        assert bits(next(other())) == bits(first)


@pytest.mark.parametrize('prefetch', [0, 1])
def test_a_state_that_is_taken_during_close_is_that_of_the_last_batch(prefetch):
    taken = []

    class Source:
        def __iter__(self):
            try:
                yield from range(10)
            finally:
                taken.append(it.state_dict()['position'])

    with Infinite(Source(), batch_size=2, prefetch=prefetch) as it:
        next(it())
    assert taken == [{'source': 2, 'steps': {}}]


@pytest.mark.parametrize('where', ['itpipe', 'operators.py'])
def test_a_signal_handler_gets_a_whole_state_or_an_error(where):
    """It may run anywhere in this thread, here at each line of the package or of a module, as a batch is received."""
    made = mix(range(40), range(60), seed=2) | shuffle(3) | flatten_twice | shuffle(5) | batch_by(2)
    with Infinite(made, seed=0) as it:
        whole = list(it)
    states, errors = [], []

    def handler(frame, event, _):
        there = where in frame.f_code.co_filename and not frame.f_code.co_name.startswith(('state_dict', 'place'))
        if event == 'line' and there:
            try:
                states.append(through_json(it.state_dict()))
            except RuntimeError as error:
                errors.append(str(error))
        return handler if 'itpipe' in frame.f_code.co_filename else None

    with Infinite(made, seed=0, prefetch=0) as it, mock.patch('itpipe._engine.chain.COMMIT_EVERY', 1):
        epoch = it()
        for _ in range(6):
            next(epoch)
        before = sys.gettrace()
        sys.settrace(handler)
        try:
            for _ in range(6):
                next(epoch)
        finally:
            sys.settrace(before)
    if where == 'operators.py':  # which is where states are worked out
        (message,) = set(errors)
        assert message == (
            'state_dict: called by a signal handler in the very moment in which the state is worked out, or after one'
            ' has raised there; let the handler set a flag, and take the state in the loop'
        )
        return
    assert not errors
    states = {json.dumps(state): state for state in states}
    assert len(states) == 7
    for received, state in enumerate(states.values(), 6):
        with Infinite(made, seed=0) as it:
            it.load_state_dict(state)
            assert (state['batch'], list(it)) == (received, whole[received:])


def test_after_an_error_one_can_go_on_behind_the_last_batch():
    broken = [True]

    def f(x):
        if x == 5 and broken[0]:
            raise OSError('gone')
        return x

    with Infinite(range(8), f, batch_size=2) as it:
        got = []
        with pytest.raises(OSError, match='gone'):
            got += map(list, it)
        broken.clear()
        broken.append(False)
        it.load_state_dict(it.state_dict())
        got.extend(list(batch) for batch in it)
    assert got == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_after_an_error_before_its_first_batch_a_pass_that_is_empty_is_an_epoch_still():
    broken = []

    def f(x):
        if broken:
            raise OSError('gone')
        return x

    def some_passes():
        kept = range(2) | apply(f) | with_rng(add_noise) | filter_by(lambda x: x % 1 < 0.3)
        return Infinite(kept, seed=0, prefetch=0)  # or the next pass has begun before it is broken

    with some_passes() as it:
        whole = [list(it) for _ in range(20)]
    empty = whole.index([], 1)
    with some_passes() as it:
        assert [list(it) for _ in range(empty)] == whole[:empty]
        broken.append(True)
        with pytest.raises(OSError, match='gone'):
            list(it)
        broken.clear()
        it.load_state_dict(it.state_dict())
        assert [list(it) for _ in range(20 - empty)] == whole[empty:]


def test_to_load_a_state_ends_the_run_that_goes_on():
    it, _ = some(1)
    state = it.state_dict()
    epoch = iter(it)
    second = bits(next(epoch))
    before = threading.active_count()
    it.load_state_dict(state)
    assert threading.active_count() == before - 1
    assert list(epoch) == []
    assert bits(next(it())) == second
    it.close()


def test_an_epoch_that_is_cut_short_by_the_end_of_the_run_is_not_over():
    it, _ = some(1)
    epoch = iter(it)
    next(epoch)
    state = it.state_dict()
    it.close()
    assert list(epoch) == []
    assert it.state_dict() == state


def test_what_was_loaded_is_kept_by_a_pickle():
    it, _ = some(3)
    state = it.state_dict()
    following = bits(next(it()))
    it.close()
    loaded = batches()
    loaded.load_state_dict(state)
    with pickle.loads(pickle.dumps(loaded)) as it:
        list(it)
        assert bits(next(it())) == following


def test_a_state_of_infinite_is_also_one_of_its_stream():
    made = stream(range(10), seed=0) | shuffle(4)
    with Infinite(made) as it:
        list(it)
        epoch = iter(it)
        next(epoch)
        state = it.state_dict()
        rest = list(epoch)
    run = made.resume(state)
    again = made.resume(run.state_dict())
    assert list(run) == list(again) == rest


def test_a_bare_run_without_a_seed_goes_on_with_what_was_drawn():
    made = stream(range(50)) | shuffle(20) | with_rng(add_noise)
    run = iter(made)
    next(run)
    state = run.state_dict()
    assert list(made.resume(state)) == list(run)
    with Infinite(made) as it:
        it.load_state_dict(iter(made).state_dict())
        assert len(list(it)) == 50


def test_the_order_of_what_is_in_a_state_does_not_matter():
    def turned(value):
        if isinstance(value, list):
            return list(map(turned, value))
        return {name: turned(value[name]) for name in reversed(value)} if isinstance(value, dict) else value

    it, _ = some(2)
    state = turned(it.state_dict())
    assert state['position']['steps']['shuffle']
    it.load_state_dict(state)
    it.close()

    @stage(state={'state': {'a': 0, 'b': 0}})
    def state(items, state):
        for item in items:
            state['state']['a'] += item
            yield state['state']['a']

    sums = range(5) | state()
    run = iter(sums)
    assert [next(run) for _ in range(3)] == [0, 1, 3]
    assert list(sums.resume(turned(run.state_dict()))) == [6, 10]


def test_a_state_is_its_own():
    """What comes later does not change it."""
    it, _ = some(2)
    state = it.state_dict()
    before = copy.deepcopy(state)
    list(it)
    it.load_state_dict(state)
    list(it)
    assert state == before
    it.close()


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


def state_of(stages, seed=None, source=range(9), received=1):
    run = iter(stream(source, seed=seed) | stages)
    list(itertools.islice(run, received))
    return run.state_dict()


FOREIGN = '`state` is not a state of itpipe, in which "itpipe" is the number of a format'
DAMAGED = '`state` is damaged, its checksum is that of another one'
ANOTHER = '`state` is that of another pipeline, which '
GOOD = state_of(shuffle(4), seed=1)
REFUSED = [
    ([], '`state` must be a dict, as `state_dict()` gives it, got list', TypeError),
    (None, '`state` must be a dict, as `state_dict()` gives it, got NoneType', TypeError),
    ({}, FOREIGN, ValueError),
    ({'epoch': 3, 'model': {}}, FOREIGN, ValueError),
    ({**GOOD, 'itpipe': True}, FOREIGN, ValueError),
    ({**GOOD, 'itpipe': 2}, '`state` has format 2, but this version of itpipe knows format 1 only', ValueError),
    *(
        (
            {key: value for key, value in GOOD.items() if key != name},
            f'`state` is incomplete, there is no "{name}" in it',
            ValueError,
        )
        for name in GOOD
        if name not in ('itpipe', 'data')
    ),
    ({key: value for key, value in GOOD.items() if key != 'data'}, DAMAGED, ValueError),
    *(
        ({**GOOD, **change}, DAMAGED, ValueError)
        for change in [
            {'pass': 1}, {'pass': '0'}, {'batch': 1.0}, {'batch': -1}, {'entropy': 'x'}, {'entropy': 5},
            {'check': None}, {'position': 5}, {'position': 'gone'}, {'position': []}, {'position': {}},
            {'pipeline': None}, {'position': {'source': 0, 'steps': {}}},
            {'position': {'source': 7, 'steps': GOOD['position']['steps']}},
            {'position': {'source': 0, 'steps': {'shuffle': {'clock': {'t': 0}}}}}, {'pipeline': 'stream()'},
        ]
    ),
    (state_of(shuffle(5), seed=1), ANOTHER + 'has `shuffle(5)` where this one has `shuffle(4)`', ValueError),
    (state_of(shuffle(4, seed=0), seed=1), ANOTHER + 'has `shuffle(4, seed=0)` where this one has `shuffle(4)`',
     ValueError),
    (state_of(shuffle(4)), ANOTHER + 'has `stream()` where this one has `stream(seed=1)`', ValueError),
    (state_of(shuffle(4) | apply(abs), seed=1),
     ANOTHER + 'goes on with `apply(abs)` where this one ends; with `strict=False`, this one goes on there',
     ValueError),
    (state_of(apply(abs)), ANOTHER + 'has `stream()` where this one has `stream(seed=1)`', ValueError),
]  # fmt: skip


@pytest.mark.parametrize(('state', 'message', 'kind'), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_what_is_no_state_of_this_pipeline_is_refused_and_changes_nothing(state, message, kind):
    made = stream(range(9), seed=1) | shuffle(4)
    with raises(kind, f'Stream.resume: {message}'):
        made.resume(state)
    with Infinite(made) as it:
        whole = list(it)
    with Infinite(made) as it:
        epoch = iter(it)
        got = [next(epoch)]
        with raises(kind, f'Infinite.load_state_dict: {message}'):
            it.load_state_dict(state)
        assert got + list(epoch) == whole
        with raises(kind, f'Infinite.load_state_dict: {message}'):
            it.load_state_dict(state)
        it.load_state_dict(through_json(Infinite(made).state_dict()))
        assert list(it) == whole


@given(st.data())
@examples(200)
def test_no_number_in_a_state_can_be_another(data):
    made = mix(sample('abc', seed=1), range(20), seed=3) | shuffle(4) | reuse(3, 2) | batch_by(2) | flatten | skip(3)
    with Infinite(made) as it:
        list(itertools.islice(it, 9))
        state = through_json(it.state_dict())
    places = [(state, name) for name in state if name not in ('itpipe', 'pipeline')]
    for holder, name in places:  # grows while it is read
        value = holder[name]
        if isinstance(value, (dict, list)):
            places += [(value, each) for each in (value if isinstance(value, dict) else range(len(value)))]
    holder, name = data.draw(st.sampled_from(places))
    if not isinstance(holder[name], (dict, list)):
        other = data.draw(st.none() | st.integers(-5, 50) | st.text(max_size=2))
        assume(other != holder[name] and (other or 0) != (holder[name] or 0))
        holder[name] = other
    else:
        del holder[name]
    with pytest.raises(ValueError, match='is damaged|is incomplete'):
        made.resume(state)


class Told:
    """Its repr differs in each process."""

    def __repr__(self):
        return f'Told({object.__repr__(self)})'


SAME = [
    (parallel_map(abs, threads=2), apply(abs)),
    (parallel_map(abs, threads=2), parallel_map(abs, processes=1, in_flight=3)),
    (parallel_map(pow, 2, threads=2, on_error='skip', max_errors=3), apply(pow, 2)),
    (parallel_map(map_at(0, abs) | with_rng(noisy), threads=1), map_at(0, abs) | with_rng(noisy)),
    (prefetch(3) | apply(abs) | prefetch(2), apply(abs)),
    (filter_by({8, 0}.__contains__), filter_by({0, 8}.__contains__)),
    (apply(max, [object()]), apply(max, [object()])),
    (apply(max, Told()), apply(max, Told())),
    (apply(max, np.random.default_rng(0)), apply(max, np.random.default_rng(0))),
]
OTHERS = [
    (parallel_map(abs, threads=2), parallel_map(abs, threads=2, ordered=False)),
    (apply(abs), apply(pow, 2)),
    (apply(pow, 2), apply(pow, 3)),
    (map_at(0, abs), map_at(1, abs)),
    (batch_by(3), batch_by(3, drop_last=True)),
    (batch_by(limit=3, cost=len), batch_by(limit=4, cost=len)),
    (take(3), skip(3)),
    (reuse(3, 2), reuse(3, 2, iterations=2)),
    (apply(str.replace, 'a' * 50, 'b'), apply(str.replace, 'a' * 51, 'b')),
]
OTHER_SOURCES = [
    (sample('abc'), sample('abcd')),
    (sample('abc', seed=1), sample('abc', seed=2)),
    (sample('abc'), sample('abc', replace=False)),
    (sample('abc', weights=[1, 2, 3]), sample('abc', weights=[1, 2, 4])),
    (sample(range(9), weights=[1] * 8 + [2]), sample(range(9), weights=[1] * 8 + [3])),
    (load_by_random_id(str, ids='abc'), load_by_random_id(str, repr, ids='abc')),
    (mix('a', 'b'), mix('a', 'b', 'c')),
    (mix('a', 'b', weights=[1, 2]), mix('a', 'b', weights=[1, 3])),
    (mix('a', stream('b') | take(1)), mix('a', stream('b') | take(2))),
]


@pytest.mark.parametrize(('one', 'other'), SAME, ids=[str(n) for n in range(len(SAME))])
def test_how_a_pipeline_runs_makes_it_no_other(one, other):
    ('x' | one).resume(('x' | other | prefetch(2)).resume(('x' | one).__iter__().state_dict()).state_dict())


@pytest.mark.parametrize(('one', 'other'), OTHERS, ids=named)
def test_another_stage_makes_it_another(one, other):
    with pytest.raises(ValueError, match='another pipeline'):
        ('x' | one).resume(state_of(other, source='x', received=0))


@pytest.mark.parametrize(('one', 'other'), OTHER_SOURCES, ids=named)
def test_another_source_makes_it_another(one, other):
    with pytest.raises(ValueError, match='another pipeline'):
        one.resume(iter(other).state_dict())


def test_the_seed_of_a_run_is_part_of_its_pipeline():
    message = (
        'Infinite.load_state_dict: `state` is that of another pipeline, which has `Infinite(seed=1)` where this one has'
        ' `Infinite(seed=2)`; with `strict=False`, this one goes on there'
    )
    with raises(ValueError, message):
        Infinite(range(3), seed=2).load_state_dict(Infinite(range(3), seed=1).state_dict())
    with raises(
        ValueError, message.replace('has `Infinite(seed=1)` where this one has', 'ends where this one goes on with')
    ):
        Infinite(range(3), seed=2).load_state_dict(Infinite(range(3)).state_dict())


# ---------------------------------------------------------------------------------------------------------------------
# What is not done again


class Watched:
    """A sequence that knows which of its items were asked for."""

    def __init__(self, size):
        self.size, self.asked = size, []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index >= self.size:
            raise IndexError
        self.asked.append(index)
        return index


class Iterated(Watched):
    def __iter__(self):
        for index in range(self.size):
            yield self[index]


class Unindexed(Iterated):
    """As torch's IterableDataset, which has a `__getitem__` that does nothing."""

    def __iter__(self):
        yield from range(self.size)

    def __getitem__(self, index):
        raise NotImplementedError


def gone_on(make, received, count=3):
    """The next items after so many."""
    run = iter(make())
    deque(itertools.islice(run, received), maxlen=0)
    state = through_json(run.state_dict())
    run.close()
    run = make().resume(state)
    result = list(itertools.islice(run, count))
    run.close()
    return result


@pytest.mark.parametrize('kind', [Watched, Iterated])
def test_what_has_an_index_is_asked_for_nothing_that_was_delivered(kind):
    made = []

    def make():
        made.append(kind(1000))
        return stream(made[-1]) | apply(str)

    assert gone_on(make, 500) == ['500', '501', '502']
    assert [index for index in made[1].asked if index] == [500, 501, 502]  # item 0 tells whether the index agrees
    assert gone_on(make, 999) == ['999']
    assert gone_on(make, 1000) == []


@pytest.mark.parametrize(
    'items',
    [
        list(range(100)), tuple(range(100)), range(100), range(2**70, 2**70 + 100), 'aé' * 50, 'ab' * 50,
        bytes(range(100)), deque(range(100)), np.arange(100), np.arange(100).reshape(50, 2),
        dict.fromkeys(range(100)), Unindexed(100),
    ],
    ids=lambda items: type(items).__name__,
)  # fmt: skip
def test_a_source_goes_on_at_the_place_itself(items):
    for received in (0, 1, 40, 49, len(items)):
        got = gone_on(lambda: stream(items), received)
        assert bits(got) == bits(list(itertools.islice(items, received, received + 3)))
        assert bits(gone_on(lambda: stream(items) | shuffle(3, seed=0), received, 200)) == bits(
            list(itertools.islice(stream(items) | shuffle(3, seed=0), received, None))
        )


class Headed:
    """Gives what comes behind the first line."""

    def __init__(self, lines):
        self.lines = lines

    def __iter__(self):
        lines = iter(self.lines)
        next(lines)
        return lines


@pytest.mark.parametrize('kind', [list, tuple, ''.join, np.array])
@pytest.mark.parametrize('headed', [Headed, lambda lines: iter(Headed(lines))])
def test_an_iterator_that_is_not_at_its_beginning_goes_on_from_where_it_was(kind, headed):
    lines = kind(['h', 'a', 'b', 'c', 'd'])
    assert gone_on(lambda: stream(headed(lines)), 1) == ['b', 'c', 'd']


class WithStates:
    """A source that tells where it stands and goes there, as those of torch and Hugging Face do."""

    def __init__(self, size):
        self.size, self.place, self.given = size, 0, []

    def __iter__(self):
        while self.place < self.size:
            self.place += 1
            self.given.append(self.place - 1)
            yield self.place - 1
        self.place = 0

    def state_dict(self):
        return {'place': self.place}

    def load_state_dict(self, state):
        self.place = state['place']


@pytest.mark.parametrize('seldom', [0, 50])
@pytest.mark.parametrize('made_ahead', [0, 3])
def test_a_source_with_states_is_asked(seldom, made_ahead):
    with mock.patch('itpipe._engine.iterables.STATE_PAUSE', seldom):
        for received in range(20):
            with Infinite(stream(WithStates(20)) | batch_by(1), prefetch=made_ahead) as it:
                got = list(itertools.islice(it, received))
                state = through_json(it.state_dict())
            source = WithStates(20)
            with Infinite(stream(source) | batch_by(1), prefetch=made_ahead) as it:
                it.load_state_dict(state)
                got += [*it, *it]
            assert got == [[n] for n in [*range(20), *range(20)]]
            if seldom == 0:
                begun = source.given[0]  # no state is used behind which no item has come
                assert begun in (received, received - 1)
                assert source.given == [*range(begun, 20), *range(20)]


class Persistent:
    """As an IterableDataset of Hugging Face: each pass begins at the state loaded last, if that is of this epoch."""

    def __init__(self, size):
        self.size, self.epoch, self.place, self.loaded = size, 0, 0, None

    def __iter__(self):
        of_this = self.loaded is not None and self.loaded['epoch'] == self.epoch
        self.place = self.loaded['place'] if of_this else 0
        while self.place < self.size:
            self.place += 1
            yield 100 * self.epoch + self.place - 1

    def set_epoch(self, epoch):
        self.epoch = epoch

    def state_dict(self):
        return {'place': self.place, 'epoch': self.epoch}

    def load_state_dict(self, state):
        self.loaded = state


@pytest.mark.parametrize('received', [3, 13, 23])
@pytest.mark.parametrize('stages', [batch_by(1), shuffle(4, seed=0) | batch_by(1)])
def test_a_source_that_begins_at_the_state_loaded_last_begins_at_the_beginning(received, stages):
    def passes(it, count):
        return [bits(batch) for _ in range(count) for batch in it]

    with mock.patch('itpipe._engine.iterables.STATE_PAUSE', 0):
        with Infinite(stream(Persistent(10)) | stages) as it:
            whole = passes(it, 4)
        with Infinite(stream(Persistent(10)) | stages, batches_per_epoch=received) as it:
            before = it.state_dict()
            deque(itertools.islice(itertools.chain.from_iterable(itertools.repeat(it)), received), maxlen=0)
            state = it.state_dict()
        it = Infinite(stream(Persistent(10)) | stages)
        for _ in range(2):
            it.load_state_dict(state)
            rest = passes(it, 4)
            assert rest[: 40 - received] == whole[received:]
            it.load_state_dict(before)
            assert passes(it, 1) == whole[:10]
            it.close()
            assert bits(next(it())) == whole[0]
        it.close()


@pytest.mark.parametrize('kind', [Persistent, WithStates])
def test_a_source_with_states_of_which_only_a_buffer_was_left_begins_at_the_beginning(kind):
    with Infinite(stream(kind(10)) | shuffle(4, seed=0)) as it:
        got = list(itertools.islice(it, 8))
        state = it.state_dict()
        rest = [[*it], [*it]]
        assert len(got + rest[0]) == len(rest[1]) == 10
        for _ in range(2):
            it.load_state_dict(state)
            assert [[*it], [*it]] == rest
    with Infinite(stream(kind(10)) | shuffle(4, seed=0)) as it:
        it.load_state_dict(state)
        assert [[*it], [*it]] == rest


@pytest.mark.parametrize('kind', [Persistent, WithStates])
def test_to_make_an_item_again_disturbs_no_source_with_states(kind):
    with mock.patch('itpipe._engine.iterables.STATE_PAUSE', 0), Infinite(kind(10), prefetch=0) as it:
        epoch = it()
        got = [next(epoch), next(epoch), next(epoch)]
        assert it.item(1) == 1
        got.append(next(epoch))
        state = it.state_dict()
        assert got + list(epoch) == list(range(10))
        it.load_state_dict(state)
        assert list(it) == list(range(4, 10))


def test_what_cannot_be_copied_is_not_disturbed_to_make_an_item_again():
    class Uncopied(WithStates):
        def __deepcopy__(self, memo):
            raise TypeError('no')

        def __repr__(self):
            return 'uncopied'

    with Infinite(Uncopied(10), prefetch=0) as it:
        epoch = it()
        next(epoch)
        with raises(NotRestartable, 'cannot make items of uncopied again while it is read: it cannot be copied'):
            it.item(1)
        assert list(epoch) == list(range(1, 10))


def test_what_a_buffer_held_of_a_source_with_states_is_read_again():
    def make():
        return stream(WithStates(30), seed=0) | shuffle(5)

    assert gone_on(make, 11, 100) == list(make())[11:]


def test_a_stage_of_ones_own_runs_again_and_says_so():
    @stage
    def sums(items, start=0):
        for item in items:
            start += item
            yield start

    made = stream(range(9)) | sums(start=3)
    run = iter(made)
    got = [next(run), next(run)]
    message = 'itpipe: nothing is known of `sums(start=3)`, so it runs again from the beginning to item 2'
    with pytest.warns(UserWarning, match=f'^{re.escape(message)}$') as caught:
        assert got + list(made.resume(run.state_dict())) == list(made)
    assert [each.filename for each in caught] == [__file__]


class Broken(Watched):
    def __getitem__(self, index):
        raise OSError('gone')

    def __repr__(self):
        return 'broken'


@pytest.mark.parametrize(
    ('source', 'where'), [(stream, 'the source broken'), (partial(sample, seed=0), 'sample(broken, seed=0)')]
)
def test_an_error_of_the_data_says_where_it_is_from_also_when_an_item_is_made_again(source, where):
    run = iter(source(Watched(100)) | shuffle(5, seed=0))
    next(run)
    state = run.state_dict()
    first = state['position']['steps']['shuffle']['slots'][0]
    index = source(range(100)).item(first)
    told = f'itpipe: raised in {where}, item {first}' + ('' if index == first else f' (index {index})')
    with raises(OSError, 'gone', told):
        list((source(Broken(100)) | shuffle(5, seed=0)).resume(state))
    with raises(OSError, 'gone', f'itpipe: raised in {where}, item 7'):
        source(Broken(100)).item(7)


class Value:
    pass


@pytest.mark.parametrize(
    'stages',
    [
        apply(lambda x: Value()) | shuffle(5),
        apply(lambda x: Value()) | reuse(5, 3),
        apply(lambda x: [Value(), Value()]) | flatten,
        apply(lambda x: Value()) | parallel_map(lambda x: x, executor=Lazily(), in_flight=5, ordered=False),
    ],
    ids=named,
)
def test_nothing_that_was_made_again_is_held_longer_than_it_would_have_been(stages):
    def held(run):
        """How many of the values that were received are still there, at the end."""
        received = list(map(weakref.ref, itertools.islice(run, 13)))
        gc.collect()
        result = sum(value() is not None for value in received)
        run.close()
        return result

    made = stream(range(20), seed=0) | stages
    run = iter(made)
    deque(itertools.islice(run, 5), maxlen=0)
    assert held(made.resume(run.state_dict())) <= held(run)


def test_an_item_that_is_skipped_now_was_lost_on_its_way_and_no_other():
    """The item fails only when it is made again for the buffer in which it was."""
    failing = set()

    def f(x):
        if x in failing:
            raise OSError(x)
        return x

    made = stream(range(20), seed=0) | parallel_map(f, threads=1, on_error='skip') | shuffle(5) | batch_by(2) | flatten
    whole = list(made)
    run = iter(made)
    got = list(itertools.islice(run, 6))
    state = run.state_dict()
    run.close()
    held = state['position']['steps']['shuffle']['slots']
    failing.add(held[1])
    assert Counter(got + list(made.resume(state))) == Counter(whole) - Counter([held[1]])


# ---------------------------------------------------------------------------------------------------------------------
# Sizes


class Many(Watched):
    def __getitem__(self, index):
        return [index] * 3


@pytest.mark.parametrize(
    'made',
    [
        sample(range(10**7), seed=0) | shuffle(10_000),
        mix(sample(range(10**7), seed=0), range(10**7), seed=1) | shuffle(10_000),
        sample(Many(10**7), seed=0) | flatten | shuffle(10_000),
        mix(sample(Many(10**7), seed=0), range(10**7) | apply(lambda n: [n]), seed=1) | flatten | shuffle(10_000),
        sample(range(10**7), seed=0) | batch_by(8) | shuffle(10_000),
        sample(range(10**7), seed=0) | reuse(2, 2) | shuffle(10_000),
    ],
    ids=named,
)
def test_what_a_large_buffer_holds_takes_few_characters(made):
    chain = iter(made)
    deque(itertools.islice(chain, 2_000), maxlen=0)
    state = chain.state_dict()
    chain.close()
    assert 10_000 * 3 < len(json.dumps(state)) < 200_000


# ---------------------------------------------------------------------------------------------------------------------
# Of which items a batch was made


@given(pipes(one_shot=False, opaque=False), st.data())
@examples(200)
def test_any_item_of_a_batch_can_be_made_again(executors, pipe, data):
    flow = expected(pipe)
    assume(flow.items)
    last = data.draw(st.integers(0, len(flow.items) - 1))
    made = build(pipe, executors)
    with Infinite(made, prefetch=data.draw(ahead)) as it:
        value = deque(itertools.islice(it, last + 1), maxlen=1)[0]
        keys = it.item_keys
        assert len(it.ordinals) >= len(keys) <= len(it.indices)
        if 'zip_with(' not in repr(pipe):  # where a tuple of whole batches is one item
            assert len(it.ordinals) == len(it.indices)
        if not isinstance(flow.items[last].key, Batch):
            assert keys == [flow.items[last].key]
            assert bits(it.item(keys[0])) == bits(made.item(keys[0])) == bits(value)


def test_keys_ordinals_and_places_of_a_batch():
    words = ['ab', 'c', 'def']
    made = sample(words, replace=False, seed=0) | flatten | batch_by(4)
    with Infinite(made, batches_per_epoch=2) as it:
        assert it.item_keys == it.ordinals == it.indices == []
        first, second = it
        keys, ordinals, places = it.item_keys, it.ordinals, it.indices
        assert [it.item(key) for key in keys] == second
        assert [it.item(ordinal) for ordinal in ordinals] == [words[place] for place in places]
    assert it.item_keys == keys
    run = iter(made)
    assert [next(run), next(run)] == [first, second]
    assert (run.item_keys, run.ordinals, run.indices) == (keys, ordinals, places)
    assert [words[place][part] for place, (_, part) in zip(places, keys, strict=True)] == second


def test_of_a_mix_the_stream_is_known_too():
    made = mix(sample('abcdef', seed=1), 'uvwxyz', seed=2) | batch_by(6)
    run = iter(made)
    batch = next(run)
    assert [('abcdef', 'uvwxyz')[n][place] for n, place in run.indices] == batch
    assert [made.item(key) for key in run.item_keys] == batch


def test_an_item_is_that_of_its_pass():
    with Infinite(range(9), with_rng(add_noise), batch_size=3, combiner=list) as it:
        first, second = list(it), list(it)
        assert first != second
        assert [it.item(n) for n in range(9)] == list(itertools.chain.from_iterable(second))
        state = it.state_dict()
    other = Infinite(range(9), with_rng(add_noise), batch_size=3, combiner=list)
    other.load_state_dict(state)
    assert other.item(0) not in (first[0][0], second[0][0])
    assert other.item(0) == next(other())[0]
    other.close()


def test_behind_a_stage_of_ones_own_the_places_are_not_known():
    @stage
    def passed_on(items):
        yield from items

    run = iter('abc' | passed_on() | batch_by(2))
    assert next(run) == ['a', 'b']
    assert run.ordinals == [0, 1]
    assert ('abc' | passed_on() | batch_by(2)).item(1) == 'b'
    message = (
        'does not say of which items it makes what it gives; put an id into the items, so that it comes out with them'
    )
    with raises(RuntimeError, f'`passed_on()` {message}'):
        run.indices


@stage
def skips_none(items):
    yield from items


def test_what_is_no_item_is_refused():
    made = range(9) | filter_by(lambda x: x != 4) | batch_by(2)
    assert made.item(3) == made.item(np.int64(3)) == 3
    assert (['ab', 'cd'] | flatten | reuse(2, 2)).item([[1, 0], 1]) == 'c'  # as JSON has it
    with raises(LookupError, 'Stream.item: there is no item 4'):
        made.item(4)
    with raises(ValueError, 'Stream.item: `key` must be an ordinal or one of `item_keys`, got (3, 1)'):
        made.item((3, 1))
    for source in (range(9), sample(range(9)), range(9) | skips_none()):
        with raises(ValueError, 'Stream.item: `key` must be an ordinal or one of `item_keys`, got -1'):
            stream(source).item(-1)
    with raises(ValueError, "Infinite.item: `key` must be an ordinal or one of `item_keys`, got 'x'"):
        Infinite(made).item('x')
    with raises(LookupError, 'Stream.item: there is no item 4'):
        (stream(iter_anew(3)) | apply(str)).item(4)


class iter_anew:
    def __init__(self, size):
        self.size = size

    def __iter__(self):
        return iter(range(self.size))
