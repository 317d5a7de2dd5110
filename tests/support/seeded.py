"""Streams of all kinds of stages, with random numbers drawn for their items. Nothing in them has a seed of its own."""

import numpy as np

from itpipe import (
    apply,
    concat,
    cycle,
    filter_by,
    flatten,
    mix,
    parallel_map,
    reuse,
    sample,
    shuffle,
    stage,
    stream,
    with_rng,
    zip_with,
)

__all__ = ['PIPELINES', 'noisy', 'scaled']


def noisy(x, rng):
    return np.array([x, rng.random()])


def scaled(x, rng):
    return x * rng.random()


@stage(state={'slots': []})
def in_pairs(items, state):
    for item in items:
        state['slots'].append(item)
        if len(state['slots']) == 2:
            yield np.concatenate(state['slots'])
            state['slots'] = []


PIPELINES = {
    'shuffled': lambda: stream(range(40)) | shuffle(9) | with_rng(noisy),
    'all shuffled': lambda: stream(range(40)) | shuffle() | with_rng(noisy),
    'drawn': lambda: sample(range(40)) | with_rng(noisy),
    'drawn with weights': lambda: sample(range(40), range(40), reweight=True) | with_rng(noisy),
    'mixed': lambda: mix(stream(range(20)) | with_rng(noisy), sample(range(9)) | with_rng(noisy)) | with_rng(scaled),
    'put behind': lambda: stream(range(3)) | with_rng(noisy) | concat(stream(range(40)) | with_rng(noisy)),
    'zipped': lambda: stream(range(30)) | with_rng(noisy) | zip_with(stream(range(99)) | with_rng(noisy)),
    'cycled': lambda: stream(range(5)) | shuffle(5) | with_rng(noisy) | cycle(9),
    'taken apart': lambda: stream(range(9)) | apply(range) | flatten | with_rng(noisy),
    'used again': lambda: stream(range(9)) | with_rng(noisy) | reuse(4, 3) | with_rng(scaled),
    'left out': lambda: stream(range(60)) | filter_by(lambda x: x % 3) | with_rng(noisy),
    'in threads': lambda: stream(range(40)) | shuffle(9) | parallel_map(with_rng(noisy), threads=2),
    'in any order': lambda: stream(range(40)) | parallel_map(with_rng(noisy), threads=2, ordered=False) | shuffle(4),
    'dicts': lambda: stream(range(40)) | with_rng(noisy) | apply(lambda x: {'a': x, 'b': (x, 3)}),
    'of ones own': lambda: stream(range(40)) | with_rng(noisy) | in_pairs() | with_rng(scaled),
}
