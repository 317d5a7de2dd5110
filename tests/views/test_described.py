"""Values in one line."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

from itpipe._views.described import described

Pair = namedtuple('Pair', 'image label')


@dataclass
class Example:
    image: object
    name: str


class Image:
    mode, size = 'RGB', (4, 3)

    def getbands(self):
        return 'RGB'


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (None, 'None'), (True, 'True'), (3, '3'), (0.5, '0.5'), ('abc', "'abc'"), ('a' * 99, 'str of length 99'),
        (np.float32(2), 'float32 2.0'), (np.zeros(()), 'float64 ()'), (np.array(['ab']), "'<U2' (1,)"),
        (np.ma.zeros(2), 'MaskedArray float64 (2,)'), (Pair(np.zeros(2), 1), 'Pair(image=float64 (2,), label=1)'),
        (Example(np.zeros((2, 2), 'u1'), 'a'), "Example(image=uint8 (2, 2), name='a')"),
        (Image(), 'PIL image RGB 4 × 3'),
        ([], '[]'), ((), '()'), ((1,), '(1,)'), ([1, 1, 1], '3 × 1'), (list(range(9)), '9 × int'), ({3, 4}, 'set of 2'),
        ([[[[[1]]]]], '[[[[list]]]]'), ([1, 'a'] * 4, "[1, 'a', 1, 'a', 1, 'a', …]"), (object(), 'object'),
        ({n: n for n in range(9)}, '{0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, …}'), (10**99, f'1{"0" * 29}…'),
    ],
)  # fmt: skip
def test_a_value_is_one_line(value, text):
    assert described(value) == text


def test_a_value_whose_attributes_raise_is_named():
    class Broken(dict):
        @property
        def shape(self):
            raise ValueError('too many values')

    assert described([Broken(a=1), 5]) == '[Broken, 5]'


def test_values_can_be_left_out():
    assert described((np.zeros(2), 3, 'a', None, np.int8(1)), values=False) == '(float64 (2,), int, str, None, int8)'


def test_tensors_say_whose_they_are():
    torch = pytest.importorskip('torch')
    assert described(torch.zeros(2, 3)) == 'Tensor float32 (2, 3)'
