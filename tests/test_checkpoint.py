"""States that are saved, loaded elsewhere, and refused; and what is known of a batch that was received."""

import copy
import itertools
import json
import pickle
import random
import signal
import threading
from collections import Counter, deque
from functools import partial
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
import strategies
from hypothesis import assume, given, settings
from reference import Call, Pipe, bits, build, expected, fragile, noisy, parts
from running import ROOT, environment, raises, run_script, start_script
from strategies import examples, in_other_modes, pipes, stages

from itpipe import (
    Infinite,
    apply,
    batch_by,
    filter_by,
    flatten,
    load_by_random_id,
    map_at,
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

pytestmark = [
    pytest.mark.usefixtures('fickle'),
    pytest.mark.filterwarnings('ignore:itpipe. nothing is known of'),
]


def through_json(state):
    return json.loads(json.dumps(state, sort_keys=True))


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
    """A pipeline, how many of its batches are an epoch, how many epochs, and how it goes on, in another mode."""
    pipe = draw(made)
    flow = expected(pipe) if draw(st.just(True)) else None
    endless = flow.end is None
    assume(flow.items)
    per_epoch = draw(st.integers(1, 12) if endless else st.none() | st.integers(1, 12))
    most = len(flow.items) if endless else 10**9  # behind that, an endless pipeline may have nothing more to give
    return pipe, per_epoch, draw(st.integers(1, 4)), most, draw(in_other_modes(pipe, modes))


ahead = st.sampled_from([None, 0, 0, 1, 3])


def interrupted(data, case, executors, resume, seed=None):
    """Where a run is stopped, what it had yet to give, and its state."""
    pipe, per_epoch, count, most, _ = case
    with Infinite(build(pipe, executors), batches_per_epoch=per_epoch, prefetch=data.draw(ahead), seed=seed) as it:
        begin = it.state_dict()
        whole, states = epochs_of(it, count, 0, most)
    number = data.draw(st.integers(0, len(states)), 'received')
    state = through_json([begin, *states][number])
    epoch, left = 0, number
    while epoch < count - 1 and left > len(whole[epoch]):
        left -= len(whole[epoch])
        epoch += 1
    return state, number, [whole[epoch][left:], *whole[epoch + 1 :]]


@given(st.none() | st.integers(0, 2), st.data())
@examples(1200)
def test_what_comes_after_a_state_is_what_would_have_come(executors, seed, data):
    """In a new object, another mode, the rest of the epoch and all epochs after it."""
    case = data.draw(cases(pipes(seed=data.draw(st.integers(0, 1)), one_shot=False)), 'case')
    _, per_epoch, _, most, again = case
    state, number, rest = interrupted(data, case, executors, again, seed)
    with Infinite(build(again, executors), batches_per_epoch=per_epoch, prefetch=data.draw(ahead), seed=seed) as it:
        it.load_state_dict(state)
        assert epochs_of(it, len(rest), number, most)[0] == rest
