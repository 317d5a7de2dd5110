"""The promises of the whole, kept by random pipelines: what comes out is what the naive reference works out."""

import gc
import itertools
import os
import pickle
import random
import re
import threading
import weakref
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
import reference
import strategies
from hypothesis import assume, given, note
from naming import named
from reference import Boom, Call, Epochs, Pipe, bits, build, digest, expected, noisy
from strategies import examples, pipes, stages

import itpipe
from itpipe import (
    Infinite,
    apply,
    batch_by,
    concat,
    cycle,
    filter_by,
    flatten,
    map_at,
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
    zip_with,
)
from itpipe._engine.branches import OpenedBranches
from itpipe._engine.chain import COMMIT_EVERY

pytestmark = [
    pytest.mark.usefixtures('fickle'),
    pytest.mark.filterwarnings('ignore:Infinite. an epoch'),  # which is shorter, or has nothing
]


def run_all(made, flow):
    """The bits of all that comes out, which must end as the flow does."""
    run = iter(made)
    try:
        got = [bits(next(run)) for _ in flow.items]
        if flow.error is not None:
            check_error(run, flow)
        elif flow.end is not None:
            assert next(run, None) is None
    finally:
        run.close()
    return got


def check_error(run, flow):
    with pytest.raises(Boom) as caught:
        next(run)
    error = caught.value
    assert (error.args, error.rule) == (flow.error.args, flow.error.rule)
    (told,) = error.__notes__
    assert told.startswith('itpipe: raised in ')
    assert re.sub(r' \(ind(ex|ices) [^()]+\)$', '', told).endswith(f', {flow.note}')
    assert caught.traceback[-1].name in ('fragile', 'one_shot')


def living():
    """The threads and descriptors of this process."""
    return {*threading.enumerate()}, len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0


# ---------------------------------------------------------------------------------------------------------------------
# Order, exactly once, same bits


@given(pipes())
@examples(600)
def test_a_pipeline_gives_what_the_naive_reference_gives(executors, pipe):
    """In serial, with threads and executors, at any number of workers, with and without prefetch; and its end leaves
    no thread and no descriptor behind, at once."""
    before = living()
    flow = expected(pipe)
    assert run_all(build(pipe, executors), flow) == list(map(bits, flow.values))
    assert living() == before


@given(pipes(modes=strategies.in_this_process | strategies.remote))
@examples(120)
def test_a_pipeline_gives_the_same_with_somebody_elses_processes(executors_with_processes, pipe):
    flow = expected(pipe)
    assert run_all(build(pipe, executors_with_processes), flow) == list(map(bits, flow.values))


@given(pipes(modes=strategies.processes, most=3).filter(lambda pipe: 'processes=' in repr(pipe)))
@examples(8)
def test_a_pipeline_gives_the_same_with_processes_of_its_own(pipe):
    flow = expected(pipe)
    assert run_all(build(pipe), flow) == list(map(bits, flow.values))


@given(pipes(one_shot=False, modes=strategies.threads))
@examples(150)
def test_a_pipeline_pickles_and_its_copy_gives_the_same(pipe):
    made = build(pipe)
    again = pickle.loads(pickle.dumps(made))
    assert repr(again) == repr(made)
    flow = expected(pipe)
    assert run_all(again, flow) == list(map(bits, flow.values))


@given(pipes(one_shot=False, modes=strategies.threads))
@examples(150)
def test_a_pipeline_prints_as_the_code_that_makes_it(pipe):
    """Where its arguments do, and are not so long that they are cut."""
    made = build(pipe)
    assume('<' not in repr(made) and '…' not in repr(made))
    again = itpipe.stream(eval(repr(made), {**vars(reference), **vars(itpipe)}))
    assert repr(again) == repr(made)
    flow = expected(pipe)
    assert run_all(again, flow) == list(map(bits, flow.values))


@st.composite
def rewritten(draw, pipe, modes):
    """The pipeline with prefetches added and item-wise steps put into parallel maps, one or several at a time."""
    result, together = [], []

    def wrap():
        if together and draw(st.booleans()):
            whole = tuple(each if isinstance(each, Call) else Call('apply', (each,)) for each in together)
            result.append(Call('parallel_map', (whole,), draw(modes)))
        else:
            result.extend(together)
        together.clear()

    for each in pipe.stages:
        if strategies.is_itemwise(each):
            together.append(each)
            if draw(st.booleans()):
                wrap()
            continue
        wrap()
        result.append(each)
        if draw(st.integers(0, 3)) == 0:
            result.append(Call('prefetch', (draw(st.integers(1, 5)),)))
    wrap()
    return Pipe(pipe.source, tuple(result))


def serially(pipe):
    """The pipeline with all that runs elsewhere run here instead."""
    result = []
    for each in pipe.stages:
        if isinstance(each, Call) and each.name == 'prefetch':
            continue
        if isinstance(each, Call) and each.name == 'parallel_map':
            kwargs = {k: v for k, v in each.kwargs.items() if k not in strategies.HOW}
            each = Call('apply', each.args, kwargs)
        result.append(each)
    return Pipe(pipe.source, tuple(result))


@given(st.data())
@examples(200)
def test_adding_prefetch_or_wrapping_steps_in_parallel_map_changes_no_bit(executors, data):
    """Nor does taking them away: here nothing is compared but itpipe with itself."""
    pipe = serially(data.draw(pipes(most=5)))
    other = data.draw(rewritten(pipe, strategies.in_this_process))
    count = len(expected(pipe).items)

    def first(pipe):
        run = iter(build(pipe, executors))
        try:
            return [bits(value) for value in itertools.islice(run, count)]
        finally:
            run.close()

    assert first(other) == first(pipe)


@given(st.data())
@examples(200)
def test_unordered_maps_give_up_the_order_and_nothing_else(executors, data):
    """Each item arrives once, with the bits that it would have in order."""
    pipe = data.draw(pipes(most=3, endless=False))
    made, kind = data.draw(strategies.parallel('any', strategies.in_this_process))
    options = {'modes': strategies.in_this_process | strategies.unordered, 'opaque': False, 'batching': False}
    more, _ = data.draw(stages(kind, most=3, flow=strategies.WHATEVER_THE_ORDER, **options))
    end = data.draw(strategies.batched_and_not)
    pipe = Pipe(pipe.source, (*pipe.stages, Call(made.name, made.args, {**made.kwargs, 'ordered': False}), *more, *end))
    flow = expected(pipe)
    note(repr(pipe))
    before = living()
    assert Counter(map(bits, build(pipe, executors))) == Counter(map(bits, flow.values))
    assert living() == before


@given(
    pipes(endless=False, one_shot=False, most=4),
    st.fixed_dictionaries({}, optional={'prefetch': st.integers(0, 5), 'seed': st.integers(0, 5)}),
    st.none() | st.integers(1, 5),
    st.lists(st.none() | st.integers(1, 4), min_size=1, max_size=6),
)
@examples(300)
def test_infinite_gives_the_passes_over_its_source_cut_into_epochs(executors, pipe, options, batches_per_epoch, breaks):
    """Each pass is shuffled and augmented anew, reproducibly; an early break loses nothing, nor does the next pass."""

    def batches_of_pass(number):
        return list(map(bits, expected(pipe, seed=options.get('seed'), pass_=number).values))

    epochs = Epochs(batches_of_pass, batches_per_epoch)
    before = living()
    with Infinite(build(pipe, executors), batches_per_epoch=batches_per_epoch, **options) as batch_iter:
        for n, breaks_after in enumerate(breaks):
            should = epochs.next(breaks_after)
            epoch = batch_iter() if n % 2 else iter(batch_iter)
            assert [bits(batch) for batch in itertools.islice(epoch, breaks_after)] == should
    assert living() == before


# ---------------------------------------------------------------------------------------------------------------------
# Your exception


@given(pipes(failing=True))
@examples(400)
def test_an_error_arrives_as_it_was_raised_after_all_that_came_before_it(executors, pipe):
    """With its own arguments, the frame of the function that raised it, and one note that names the item; and then
    nothing is left."""
    flow = expected(pipe)
    before = living()
    assert run_all(build(pipe, executors), flow) == list(map(bits, flow.values))
    assert living() == before


@given(pipes(failing=True, modes=strategies.in_this_process | strategies.remote))
@examples(80)
def test_an_error_in_a_process_arrives_as_it_was_raised(executors_with_processes, pipe):
    flow = expected(pipe)
    assert run_all(build(pipe, executors_with_processes), flow) == list(map(bits, flow.values))


# ---------------------------------------------------------------------------------------------------------------------
# Lazy, bounded, and nothing left behind


class Counted:
    """Squares, of which it is known how many were taken."""

    def __init__(self, count=None):
        self.count, self.taken = count, 0

    def __iter__(self):
        for n in itertools.count() if self.count is None else range(self.count):
            self.taken += 1
            yield n * n

    def __repr__(self):
        return f'Counted({self.count})'


@given(st.none() | st.integers(0, 40), stages())
@examples(400)
def test_no_more_is_taken_from_the_source_than_is_needed(executors, count, made):
    """Nothing before the first item is asked for. Then as many as the items that came out were made of, and those that
    the documented sizes allow to be ahead: the buffer of a shuffle, `in_flight`, what is prefetched."""
    counted, made = Counted(count), made[0]
    # what is ahead behind a shard is so by more of the items before it, and so where some are left out before it
    assume(not re.search(r'shard\(|exclude\(', repr(made)) or not re.search(r'prefetch\(|parallel_map', repr(made)))
    source = Call('Endless') if count is None else [n * n for n in range(count)]
    flow = expected(Pipe(Call('stream', (source,), {'seed': 0}), made))
    run = iter(build(Pipe(Call('stream', (counted,), {'seed': 0}), made), executors))
    try:
        assert counted.taken == 0
        for item in flow.items:
            next(run)
            assert counted.taken <= item.need
    finally:
        run.close()


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 40))
@examples(50)
def test_infinite_is_no_more_than_prefetch_batches_ahead(depth, size, taken):
    counted = Counted()
    with Infinite(counted, batch_size=size, prefetch=depth) as batch_iter:
        epoch = iter(batch_iter)
        assert counted.taken == 0
        for number, _ in enumerate(itertools.islice(epoch, taken), 1):
            assert counted.taken <= (number + depth) * size


@given(pipes(failing=True, modes=strategies.in_this_process), st.data())
@examples(300)
def test_a_run_that_is_dropped_at_any_place_leaves_nothing(executors, pipe, data):
    """By `close` or by dropping the last reference: threads and descriptors are gone at once."""
    flow = expected(pipe)
    taken = data.draw(st.integers(0, len(flow.items)), 'taken')
    infinite, closed = data.draw(st.booleans(), 'infinite'), data.draw(st.booleans(), 'closed')
    before = living()
    owner = run = iter(build(pipe, executors))
    if infinite:
        owner = Infinite(build(pipe, executors), prefetch=data.draw(st.sampled_from([None, 0, 1, 3])))
        run = iter(owner)
    for _ in range(taken):
        next(run)
    if closed:
        owner.close()
        owner.close()  # again: does nothing
    else:
        del owner, run
    assert living() == before


living_things = weakref.WeakSet()


class Thing:
    """An item that can be counted."""

    def __init__(self, number):
        self.number = number
        living_things.add(self)


def things():
    for n in itertools.count():
        yield Thing(n)


def identity(x):
    return x


def even(x):
    return x.number % 2 == 0


def doubled(x):
    return [x, x]


@stage
def passed_on(items):
    for item in items:
        yield item
        del item


# what to add to a stream, and how many of its items can be there at once: those in it, the one just delivered, the one
# on its way
HOLDS = [
    (apply(identity), 2),
    (filter_by(even), 2),
    (skip(100), 2),
    (take(2000), 2),
    (apply(doubled) | flatten, 2),
    (passed_on(), 2),
    (shuffle(10), 12),
    (reuse(10, 2), 12),
    (zip_with(itertools.count()), 2),
    (concat('ab'), 2),
    (cycle(2), 2),
    (prefetch(5), 8),
    (batch_by(7), 14),
    (batch_by(7) | flatten, 14),
    (batch_by(7) | prefetch(3), 7 * 6),
    (parallel_map(identity, threads=2), 7),
    (parallel_map(identity, threads=3, in_flight=10), 14),
    (parallel_map(identity, threads=2, in_flight=5, ordered=False), 8),
    (shuffle(10) | parallel_map(identity, threads=2) | shuffle(10) | prefetch(5) | batch_by(4), 40),
]


@pytest.mark.parametrize(('made', 'bound'), HOLDS, ids=[named(made) for made, _ in HOLDS])
def test_no_more_items_are_alive_than_the_stages_hold(made, bound):
    """However long the run lasts."""
    run = iter(stream(things(), seed=0) | made)
    most = 0
    for _ in range(1000):
        value = next(run)
        del value
        most = max(most, len(living_things))
    assert 0 < most <= bound
    run.close()
    del run
    gc.collect()
    assert not living_things


def test_an_infinite_keeps_no_more_batches_alive_than_it_prefetches():
    with Infinite(things(), batch_by(4), prefetch=3) as batch_iter:
        most = 0
        for batch in itertools.islice(batch_iter, 500):
            most = max(most, len(living_things))
            del batch
    assert most <= 4 * (3 + 3)
    gc.collect()
    assert not living_things


def logged(chain):
    """How many keys are kept in the logs of a run, those of the streams in a mix and the like included."""
    own = [len(operator.log) for operator in chain.operators]
    if isinstance(chain.source, OpenedBranches):
        own += [len(chain.source.log), *map(logged, chain.source.chains.values())]
    return max(own, default=0)


LOGGED = [
    stream(itertools.count()) | shuffle(10),
    stream(itertools.count()) | shuffle(10) | batch_by(4),
    stream(itertools.count()) | filter_by(lambda x: x % 4 == 0) | shuffle(10) | reuse(3, 2) | take(10**9) | skip(3),
    mix(range(10**9), stream(range(10**9)) | shuffle(5)) | shuffle(10),
    mix(mix(range(10**9), stream(range(10**9)) | shuffle(5)), itertools.count()) | shuffle(10),
    stream(itertools.count()) | shuffle(10) | zip_with(itertools.count() | shuffle(5)) | shuffle(10) | batch_by(4),
    stream(range(10)) | concat(itertools.count() | shuffle(5)) | shuffle(10),
    stream(range(10)) | shuffle(3) | cycle() | shuffle(20) | batch_by(4),
    stream(range(10)) | shuffle(3) | cycle() | zip_with(range(3) | cycle()) | passed_on(),
    stream(itertools.count()) | shuffle(10) | passed_on() | shuffle(10),
    mix(range(10**9), stream(range(10**9)) | shuffle(5)) | passed_on(),
    sample(range(10)) | parallel_map(abs, threads=2, ordered=False) | shuffle(10),
]


@pytest.mark.many(3)
@pytest.mark.parametrize('made', LOGGED, ids=named)
def test_the_logs_stay_short_in_a_long_run(made):
    """Promise 7: what a run remembers so that it can be resumed does not grow with it."""
    run = iter(made)
    most = 0
    for _ in range(12 * COMMIT_EVERY):
        next(run)
        most = max(most, logged(run._chain))
    run.close()
    # keys come in and go out in a log of an unordered map; four items make one of a batch
    assert most <= 5 * COMMIT_EVERY + 100


# ---------------------------------------------------------------------------------------------------------------------
# Randomness


@given(pipes(), st.integers(0, 2**31))
@examples(100)
def test_the_global_random_states_are_neither_read_nor_changed(executors, pipe, seed):
    flow = expected(pipe)
    before = random.getstate(), np.random.get_state()
    try:
        random.seed(seed)
        np.random.seed(seed)
        states = random.getstate(), bits(np.random.get_state())
        assert run_all(build(pipe, executors), flow) == list(map(bits, flow.values))
        assert (random.getstate(), bits(np.random.get_state())) == states
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def number(x, rng):
    return rng.random()


def numbers(x, rng):
    return rng.random(4).tolist()


def test_two_stages_never_share_a_sequence():
    """Nor do two nested ones, two branches of a mix, two runs of the numbers of one stage; whatever seeds they have."""
    draws = with_rng(numbers)
    made = (
        mix(stream(range(20)) | draws, stream(range(20)) | draws, stream(range(20), seed=1) | draws, seed=1)
        | apply(lambda x: (x, 0, 0))
        | map_at(1, draws)
        | parallel_map(map_at(2, draws), threads=2)
    )
    seen = Counter(x for value in made for row in value for x in row)
    assert len(seen) == 60 * 3 * 4
    assert set(seen.values()) == {1}


@pytest.mark.parametrize('own', [None, 3])
def test_two_shuffles_with_one_seed_draw_apart(own):
    """A shuffle in front of another is not undone or repeated by it, even where both are given the same seed."""
    once = list(stream(range(50), seed=3) | shuffle(50, seed=own))
    again = list(stream(once, seed=3) | shuffle(50, seed=own))
    twice = list(stream(range(50), seed=3) | shuffle(50, seed=own) | shuffle(50, seed=own))
    assert sorted(twice) == list(range(50))
    assert twice != again  # which a stage of the same number does


def epochs_of(batch_iter, count):
    with batch_iter:
        return [[bits(batch) for batch in batch_iter] for _ in range(count)]


def test_the_seed_of_infinite_is_that_of_all_stages_without_their_own():
    def made(seed, own=None):
        return Infinite(
            list(range(20)), shuffle(10, seed=own), with_rng(noisy), random_apply(0.5, digest),
            batch_size=5, combiner=identity, seed=seed,
        )  # fmt: skip

    assert epochs_of(made(1), 3) == epochs_of(made(1), 3)
    assert epochs_of(made(1), 1) != epochs_of(made(2), 1)
    assert epochs_of(made(None), 1) != epochs_of(made(None), 1)  # fresh entropy
    plain = [Infinite(list(range(20)), shuffle(20, seed=own), batch_size=20, seed=s) for own, s in [(7, 1), (7, 2)]]
    assert epochs_of(plain[0], 2) == epochs_of(plain[1], 2)  # a seed of its own counts more


def test_passes_over_a_finite_source_differ_and_are_reproducible():
    def made():
        return Infinite(range(30), shuffle(30), with_rng(number), batch_size=30, seed=0)

    first, second, third = epochs_of(made(), 3)
    assert first != second != third != first
    assert epochs_of(made(), 3) == [first, second, third]
    assert epochs_of(Infinite(range(30), shuffle(30), batch_size=30, seed=0), 2)[0] != first

    values = [set(np.frombuffer(epoch[0][3]).tolist()) for epoch in (first, second, third)]
    assert not values[0] & values[1] | values[0] & values[2] | values[1] & values[2]  # each number is drawn anew


def test_a_stream_without_a_seed_is_drawn_anew_in_each_run_and_in_each_only_once():
    made = stream(range(20)) | parallel_map(with_rng(number), threads=2)
    first, second = list(made), list(made)
    assert not set(first) & set(second)
    assert len(set(first)) == 20


# ---------------------------------------------------------------------------------------------------------------------
# Early errors: a wrong argument raises where it is written, in front of a source that must not be touched

WRONG = [
    (lambda: batch_by(0), ValueError, 'batch_by: `size` must be at least 1, got 0'),
    (lambda: shuffle('x'), TypeError, 'shuffle: `buffer_size` must be an int, got str'),
    (lambda: prefetch(0), ValueError, 'prefetch: `n` must be at least 1, got 0'),
    (lambda: take(-1), ValueError, 'take: `n` must be at least 0, got -1'),
    (lambda: reuse(2, 0), ValueError, 'reuse: `repetitions` must be at least 1, got 0'),
    (lambda: random_apply(2, abs), ValueError, 'random_apply: `p` must be between 0 and 1, got 2'),
    (lambda: filter_by(3), TypeError, 'filter_by: `predicate` must be a function or an item-wise stage, got int'),
    (lambda: map_at([], abs), ValueError, 'map_at: `index` must not be empty, got []'),
    (
        lambda: parallel_map(abs),
        TypeError,
        'parallel_map: give exactly one of `threads`, `processes`, `tasks`, `executor` and `workers`, got none of them',
    ),
    (lambda: sample([]), ValueError, 'sample: `sequence` must not be empty'),
    (lambda: mix(3), TypeError, 'mix: `streams[0]` must be iterable, got int'),
    (lambda: zip_with(3), TypeError, 'zip_with: `others[0]` must be iterable, got int'),
    (lambda: concat(), ValueError, 'concat: `others` must not be empty'),
    (lambda: cycle('3'), TypeError, 'cycle: `n` must be an int, got str'),
    (lambda: Infinite([1], batch_size=0), ValueError, 'Infinite: `batch_size` must be at least 1, got 0'),
    (lambda: Infinite([1], prefetch=-1), ValueError, 'Infinite: `prefetch` must be at least 0, got -1'),
    (
        lambda: Infinite([1], 3),
        TypeError,
        'Infinite: `transforms[0]` must be a stage or a function of one item, got int: did you mean `batch_size=3`?',
    ),
]


@pytest.mark.parametrize(('make', 'kind', 'message'), WRONG, ids=[message.split(',')[0] for *_, message in WRONG])
def test_a_wrong_argument_raises_where_it_is_written(make, kind, message):
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == message


# ---------------------------------------------------------------------------------------------------------------------
# What was found once


@pytest.mark.parametrize(
    'in_vain',
    [filter_by(lambda x: x < 0), apply(lambda x: []) | flatten, skip(10**12), batch_by(lambda items, item: True)],
    ids=['filter', 'flatten', 'skip', 'batch'],
)
@pytest.mark.parametrize('infinite', [True, False])
def test_closing_ends_a_thread_that_looks_for_items_in_vain(in_vain, infinite):
    begun, before = threading.Event(), threading.active_count()

    def source():
        for n in itertools.count():
            if n == 1000:
                begun.set()
            yield n

    made = stream(source()) | in_vain
    owner = Infinite(made) if infinite else iter(made | prefetch(1))
    ended = []

    def consume():
        try:
            ended.append(list(owner))
        except RuntimeError as error:
            ended.append(str(error))

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert begun.wait(30)
    owner.close()
    consumer.join(30)
    assert ended in ([[]], ['the run was closed while an item was awaited'])
    assert threading.active_count() == before


def test_closing_a_run_whose_function_does_not_return_warns_and_leaves_the_rest_to_it(monkeypatch):
    """Rather than raise that a generator is already executing."""
    monkeypatch.setattr('itpipe._engine.waiting.GRACE', 0.01)
    begun, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def source():
        try:
            yield from range(10)
        finally:
            closed.set()

    def slow(x):
        if x == 1:
            begun.set()
            go_on.wait(30)
        return x

    run = iter(stream(source()) | slow | prefetch(1))
    assert next(run) == 0
    assert begun.wait(30)
    message = r'itpipe: closed, but a function or source is still running in the thread\(s\) itpipe-prefetch'
    with pytest.warns(ResourceWarning, match=f'^{message}$'):
        run.close()
    go_on.set()
    assert closed.wait(30)


def test_the_next_pass_ends_what_is_left_of_the_one_before(monkeypatch):
    """Where a stage, such as `take`, ends before what is upstream of it does."""
    monkeypatch.setattr(strategies.Fickle, 'turns', itertools.repeat((1000, 0)))  # calls stay in the threads
    before = threading.active_count()
    made = stream(range(100), seed=0) | parallel_map(abs, threads=2) | shuffle(3) | take(4)
    gc.disable()
    try:
        with Infinite(made, batches_per_epoch=4, prefetch=0) as batch_iter:
            for _ in range(3):
                assert len(list(batch_iter)) == 4
                assert threading.active_count() == before + 2
    finally:
        gc.enable()
