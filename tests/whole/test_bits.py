"""What random stages draw, as literal values: the same on every platform and on every version of Python.

If one of these changes, seeded experiments come out otherwise, and runs that are resumed go on with other numbers.
`python tests/whole/test_bits.py` prints the table anew.
"""

import random
from pprint import pformat

import numpy as np
import pytest

from itpipe import (
    Infinite,
    apply,
    batch_by,
    combine_lists,
    flatten,
    load_by_random_id,
    map_all,
    mix,
    parallel_map,
    random_apply,
    reuse,
    sample,
    sample_args,
    shuffle,
    stage,
    stream,
    take,
    with_rng,
)


def percent(x, rng):
    return int(rng.random() * 100)


def exact(x, rng):
    return rng.random().hex()


def kinds(x, rng):
    return int(rng.integers(1000)), f'{rng.normal():.9f}', rng.permutation(4).tolist(), rng.spawn(1)[0].random().hex()


def from_globals(x):
    return random.random().hex(), float(np.random.random()).hex()


@stage
def numbered_anew(items):
    yield from items


zeros = stream([0] * 5, seed=0)
numbers = stream(range(8), seed=0)
draw = with_rng(percent)

PIPELINES = {
    'with_rng': zeros | with_rng(exact),
    'with_rng, a name': zeros | with_rng(exact, name='größer'),
    'with_rng, the second one': zeros | with_rng(exact) | with_rng(exact),
    'with_rng, a large seed': stream([0] * 3, seed=2**100 + 7) | with_rng(exact),
    'with_rng, what is drawn': stream([0] * 3, seed=0) | with_rng(kinds),
    'with_rng, behind flatten': zeros | apply(lambda x: [x, x]) | flatten | draw,
    'with_rng, behind batch_by': numbers | batch_by(3) | map_all(draw),
    'with_rng, behind reuse': zeros | reuse(2, 2) | draw,
    'with_rng, behind mix': mix([0] * 5, [0] * 5, seed=0) | draw,
    'with_rng, behind a stage': zeros | numbered_anew() | draw,
    'random_apply': numbers | random_apply(0.5, str),
    'random_apply, a stage': numbers | random_apply(0.5, with_rng(percent) | str),
    'sample_args': numbers | sample_args(lambda x, y: 100 * x + y, lambda rng: int(rng.integers(100))),
    'shuffle': numbers | shuffle(4),
    'shuffle, all': numbers | shuffle(8),
    'shuffle, its own seed': range(8) | shuffle(4, seed=1),
    'shuffle, a name': numbers | shuffle(4, name='first'),
    'shuffle, twice': numbers | shuffle(4) | shuffle(4),
    'reuse': numbers | reuse(3, 2),
    'reuse, iterations': numbers | reuse(4, 3, iterations=2, name='pool'),
    'sample': sample(range(100), seed=0) | take(8),
    'sample, a later block': sample(range(100), seed=0) | take(1030) | batch_by(515) | apply(lambda x: x[-7:]),
    'sample, replace=False': sample(range(5), replace=False, seed=0) | take(12),
    'sample, weights': sample(range(5), weights=[1, 2, 3, 4, 5], seed=0) | take(12),
    'sample, reweight': sample(range(5), [1, 2, 3, 4, 5], seed=0, reweight=True) | draw | take(4),
    'sample, weights, replace=False': sample(range(5), [1, 2, 0, 4, 5], replace=False, seed=0) | take(12),
    'load_by_random_id': load_by_random_id(str, ids=range(100), seed=0) | take(8),
    'load_by_random_id, a name': load_by_random_id(str, ids=range(100), seed=0, name='old') | take(8),
    'mix': mix(range(5), 'abc', seed=0),
    'mix, weights': mix(range(5), 'abc', weights=[1, 5], seed=0),
    'mix, of random streams': mix(sample('abc') | take(4), stream(range(5)) | shuffle(5) | draw, seed=0),
}

TABLE = {
    'with_rng': [
        '0x1.e94b8ef9f97dcp-3',
        '0x1.04759b1fea6fbp-1',
        '0x1.33bdc033f9b18p-3',
        '0x1.fb91f157e4244p-3',
        '0x1.1949c6e8a7060p-4',
    ],
    'with_rng, a name': [
        '0x1.b1a34c2745227p-1',
        '0x1.48424c3bea778p-2',
        '0x1.11c2247e3e1ebp-1',
        '0x1.b90acdbcb27d4p-1',
        '0x1.c3e23cc6ef210p-5',
    ],
    'with_rng, the second one': [
        '0x1.51b086d31834fp-1',
        '0x1.5a2b3bc0234acp-1',
        '0x1.efadc3f8d7514p-3',
        '0x1.887c3c3477454p-2',
        '0x1.1ef7d73ec348ep-2',
    ],
    'with_rng, a large seed': ['0x1.208d1b8071303p-1', '0x1.a266eed1b14f8p-4', '0x1.8972221b0f59ap-1'],
    'with_rng, what is drawn': [
        (611, '-0.264408111', [2, 3, 0, 1], '0x1.23527d7a9f4a6p-1'),
        (349, '0.458684763', [0, 3, 1, 2], '0x1.bb926313c30a0p-6'),
        (686, '0.663632877', [2, 3, 1, 0], '0x1.e5570a6d1512ap-2'),
    ],
    'with_rng, behind flatten': [77, 28, 49, 77, 19, 69, 38, 38, 96, 65],
    'with_rng, behind batch_by': [[55, 90, 96], [98, 63, 7], [41, 67]],
    'with_rng, behind reuse': [77, 49, 77, 28, 19, 38, 69, 38, 96, 65],
    'with_rng, behind mix': [28, 77, 77, 69, 38, 49, 19, 38, 65, 96],
    'with_rng, behind a stage': [55, 82, 13, 98, 72],
    'random_apply': [0, '1', 2, '3', '4', 5, '6', 7],
    'random_apply, a stage': ['55', '82', 2, 3, 4, '56', '41', '80'],
    'sample_args': [74, 197, 210, 345, 405, 545, 612, 737],
    'shuffle': [1, 0, 3, 6, 7, 5, 4, 2],
    'shuffle, all': [2, 0, 4, 3, 5, 6, 1, 7],
    'shuffle, its own seed': [2, 4, 5, 1, 0, 7, 3, 6],
    'shuffle, a name': [2, 4, 5, 1, 7, 3, 6, 0],
    'shuffle, twice': [0, 6, 5, 1, 4, 7, 2, 3],
    'reuse': [0, 1, 1, 2, 0, 4, 3, 3, 5, 2, 5, 7, 4, 7, 6, 6],
    'reuse, iterations': [0, 0, 0, 1, 1, 2, 1, 2, 4, 3, 2, 5, 5, 4, 3, 5, 3, 7, 6, 7, 4, 6, 6, 7],
    'sample': [71, 71, 57, 43, 28, 48, 96, 4],
    'sample, a later block': [[49, 71, 13, 0, 23, 56, 2], [83, 83, 13, 81, 39, 58, 64]],
    'sample, replace=False': [2, 3, 0, 1, 4, 3, 1, 0, 2, 4, 3, 0],
    'sample, weights': [4, 4, 3, 3, 2, 3, 4, 0, 1, 1, 3, 4],
    'sample, reweight': [36, 11, 71, 80],
    'sample, weights, replace=False': [4, 3, 0, 1, 4, 1, 3, 0, 0, 4, 1, 3],
    'load_by_random_id': ['19', '33', '89', '22', '58', '48', '60', '27'],
    'load_by_random_id, a name': ['67', '31', '78', '59', '93', '11', '58', '24'],
    'mix': ['a', 0, 'b', 'c', 1, 2, 3, 4],
    'mix, weights': ['a', 'b', 'c', 0, 1, 2, 3, 4],
    'mix, of random streams': [82, 'c', 55, 13, 72, 'c', 'b', 'b', 98],
}


@pytest.mark.parametrize('name', PIPELINES)
def test_the_bits_of_random_stages_never_change(name):
    assert list(PIPELINES[name]) == TABLE[name]


def later_passes():
    numbers = stream(range(5)) | shuffle(5) | (lambda x: (x,)) | with_rng(lambda x, rng: (*x, percent(x, rng)))
    with Infinite(numbers, batch_size=5, combiner=combine_lists, seed=0) as it:
        return [list(zip(*next(it()), strict=True)) for _ in range(3)]


PASSES = [
    [(1, 33), (0, 6), (2, 49), (4, 39), (3, 4)],
    [(4, 97), (1, 74), (3, 83), (0, 16), (2, 86)],
    [(0, 71), (4, 26), (3, 46), (2, 96), (1, 47)],
]


def test_the_bits_of_later_passes_never_change():
    assert later_passes() == PASSES


def seeded_globals():
    return list(stream([0] * 2, seed=0) | parallel_map(from_globals, processes=1, seed_globals=True))


GLOBALS = [('0x1.e818765f48a0ap-1', '0x1.e9b8c72adf1aep-2'), ('0x1.a11a85f0c9d54p-2', '0x1.510686f3f30d3p-1')]


def test_what_seed_globals_gives_to_functions_never_changes():
    assert seeded_globals() == GLOBALS


if __name__ == '__main__':
    table = {name: list(pipeline) for name, pipeline in PIPELINES.items()}
    for name, value in {'TABLE': table, 'PASSES': later_passes(), 'GLOBALS': seeded_globals()}.items():
        print(f'{name} = {pformat(value, width=110, sort_dicts=False)}')
