"""Runs that are stopped anywhere and go on in another one, bit for bit as if they had not been.

What is behind the public API that is to come: `Chain.state()` says where the consumer stands, whatever was made ahead
of it, and `Chain(…, state=…)` goes on from there, in another mode or with other numbers of workers if need be.
"""

import itertools
import json
import subprocess
import sys
import threading
from collections import Counter
from unittest import mock

import hypothesis.strategies as st
import pytest
import strategies
from hypothesis import assume, event, given, note
from reference import Call, Pipe, bits, build, cost, digest, expected, noisy, often, parts
from strategies import examples, executors, executors_with_processes, pipes, stages  # noqa: F401  (fixtures)

from itpipe import (
    batch_by,
    filter_by,
    flatten,
    mix,
    parallel_map,
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
)
from itpipe.background import Background
from itpipe.binding import Sites
from itpipe.run import Chain


def opened(made, state=None, seed=None, pass_=0):
    """A run of a stream, from the beginning or from where the consumer of another one stood."""
    return Chain(made.source, made.steps, Sites(seed, pass_, made.source.seed), state=state)


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


@st.composite
def in_other_modes(draw, value, modes=strategies.in_this_process):
    """The same pipeline, where what runs elsewhere runs somewhere else."""
    if isinstance(value, Pipe):
        return Pipe(draw(in_other_modes(value.source, modes)), tuple(draw(in_other_modes(each, modes)) for each in value.stages))
    if not isinstance(value, Call):
        return value
    if value.name == 'prefetch':
        return Call('prefetch', (draw(st.integers(1, 5)),))
    if value.name == 'parallel_map':
        kept = {k: v for k, v in value.kwargs.items() if k not in ('threads', 'processes', 'executor', 'in_flight')}
        return Call('parallel_map', value.args, {**kept, **draw(modes)})
    return Call(value.name, tuple(draw(in_other_modes(each, modes)) for each in value.args), value.kwargs)


def interrupted(data, pipe, executors, flow, modes=strategies.in_this_process, **sites):
    """What arrives in several runs, each from the state of the one before, and the states."""
    got, state, states = [], None, []
    with mock.patch('itpipe.run.COMMIT_EVERY', data.draw(st.sampled_from([1, 2, 5, 256]), 'commit every')):
        for number in range(data.draw(st.integers(1, 3), 'stops')):
            variant = data.draw(in_other_modes(pipe, modes), 'run') if number else pipe
            chain = opened(build(variant, executors), state, **sites)
            got += receive(chain, data.draw(st.integers(0, len(flow.items) - len(got)), 'received'))
            if got and len(got) < len(flow.items):
                ahead = min(data.draw(st.integers(0, 4), 'made ahead'), len(flow.items) - len(got))
                for _ in range(ahead):
                    next(chain.pairs)
            state = saved(chain)
            states.append(state)
            chain.stop()
            chain.close()
        chain = opened(build(data.draw(in_other_modes(pipe, modes), 'last run'), executors), state, **sites)
        got += receive(chain, len(flow.items) - len(got))
        if flow.end is not None:
            assert next(chain.pairs, None) is None
        chain.stop()
        chain.close()
    return got, states


@given(pipes(), st.data(), st.none() | st.integers(0, 3), st.integers(0, 2))
@examples(800)
def test_a_run_goes_on_where_its_consumer_stood(executors, pipe, data, seed, pass_):
    """Whatever was made ahead of it, however often it stops, in threads or not; nothing is lost, doubled or different."""
    flow = expected(pipe, seed=seed, pass_=pass_)
    got, _ = interrupted(data, pipe, executors, flow, seed=seed, pass_=pass_)
    assert got == list(map(bits, flow.values))


@given(pipes(most=4, modes=strategies.in_this_process | strategies.remote), st.data())
@examples(100)
def test_a_run_goes_on_in_other_processes_or_out_of_them(executors_with_processes, pipe, data):
    flow = expected(pipe)
    modes = strategies.in_this_process | strategies.remote
    got, _ = interrupted(data, pipe, executors_with_processes, flow, modes)
    assert got == list(map(bits, flow.values))


@given(pipes(), st.data(), st.integers(1, 5))
@examples(200)
def test_a_state_can_be_taken_while_a_thread_runs_ahead(executors, pipe, data, depth):
    """As in an `Infinite`, whose batches are made in the background while the consumer's state is asked for."""
    flow = expected(pipe)
    chain = opened(build(pipe, executors))
    background = Background('itpipe-test', depth)
    pairs = background.run(chain.pairs, chain.close)
    got, states = [], [None]
    for _ in range(data.draw(st.integers(0, len(flow.items)), 'received')):
        got += receive(chain, 1, pairs)
        states.append(saved(chain))
    background.stop()
    chain.stop()
    background.close()
    pairs.close()
    stop = data.draw(st.integers(0, len(states) - 1), 'state')
    chain = opened(build(pipe, executors), states[stop])
    rest = receive(chain, len(flow.items) - stop)
    chain.stop()
    chain.close()
    assert got[:stop] + rest == list(map(bits, flow.values))


@given(st.data())
@examples(300)
def test_an_unordered_run_loses_nothing_and_doubles_nothing(executors, data):
    """What was on its way when the run stopped is made again."""
    pipe = data.draw(pipes(most=3, endless=False))
    made, kind = data.draw(strategies.parallel('any', strategies.in_this_process))
    options = {'modes': strategies.in_this_process | strategies.unordered, 'opaque': False, 'batching': False}
    more, _ = data.draw(stages(kind, most=3, flow=strategies.WHATEVER_THE_ORDER, **options))
    pipe = Pipe(pipe.source, (*pipe.stages, Call(made.name, made.args, {**made.kwargs, 'ordered': False}), *more))
    flow = expected(pipe)
    got, _ = interrupted(data, pipe, executors, flow)
    assert Counter(got) == Counter(map(bits, flow.values))


@given(pipes(), st.data())
@examples(200)
def test_any_item_can_be_made_again_from_its_key(executors, pipe, data):
    """Alone, and by whichever run of the same stream; what a batch is made of too."""
    flow = expected(pipe)
    assume(flow.items and 'one_shot' not in repr(pipe))
    again = data.draw(st.lists(st.sampled_from(range(len(flow.items))), min_size=1, unique=True), 'again')
    chain = opened(build(pipe, executors))
    found = chain.remake(len(chain.links) - 1, [flow.items[n].key for n in again])
    chain.close()
    assert {key: bits(value) for key, value in found.items()} == {
        flow.items[n].key: bits(flow.items[n].value) for n in again
    }


@given(pipes(endless=False), st.data())
@examples(100)
def test_keys_are_those_of_the_reference_and_unique(executors, pipe, data):
    """By them an item is known: in the note on an error, in a state, and to its random generator."""
    flow = expected(pipe)
    chain = opened(build(pipe, executors))
    keys = [key for key, _ in chain.pairs]
    chain.close()
    assert keys == [item.key for item in flow.items]
    assert len(set(keys)) == len(keys)
