"""A value, part by part."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

from itpipe._views.leaves import lines

Point = namedtuple('Point', 'x y')


@dataclass
class Image:
    pixels: object
    name: str


class Wild:
    def __repr__(self):
        raise ValueError


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (3, ['3']),
        (np.float32(2.5), ['float32 (): 2.5']),
        ([], ['[]']),
        ({}, ['{}']),
        (np.zeros((2, 0)), ['float64 (2, 0)']),
        (np.arange(4), ['int64 (4,): [0 1 2 3]']),
        (np.arange(40).reshape(2, 20), ['int64 (2, 20), 0 to 39']),
        (np.array([1.5, np.nan] * 10), ['float64 (20,), 10 of 20 NaN']),
        (np.array(['a'] * 20), ['<U1 (20,)']),
        (np.ones(20, bool), ['bool (20,), True to True']),
        (Point([1], 'a'), ['.x[0]  1', ".y  'a'"]),
        (Image(np.zeros((4, 4), 'f4'), 'cat'), ['.pixels  float32 (4, 4), 0.0 to 0.0', ".name  'cat'"]),
        ({'a': [1, {'b': 2}]}, ["['a'][0]  1", "['a'][1]['b']  2"]),
        (list(range(12)), [*(f'[{n}]  {n}' for n in range(8)), '… 12 in all']),
        ('x' * 200, [f"'{'x' * 78}…"]),
        (Wild(), ['Wild']),
    ],
)
def test_a_line_for_each_part(value, expected):
    assert lines(value) == expected


def test_what_lies_too_deep_is_one_part():
    value = inner = []
    for _ in range(9):
        inner.append([])
        inner = inner[0]
    assert lines(value) == ['[0][0][0][0][0][0]  [[[[]]]]']


def test_tensors_have_the_name_of_their_class():
    torch = pytest.importorskip('torch')
    assert lines([torch.zeros(2, 20, dtype=torch.float16)]) == ['[0]  Tensor float16 (2, 20), 0.0 to 0.0']
    assert lines(torch.zeros(2, 20, dtype=torch.bfloat16)) == ['Tensor bfloat16 (2, 20)']
