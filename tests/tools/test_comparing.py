"""Where two values differ, bit for bit."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest

from itpipe.tools.comparing import change, difference


@dataclass
class Example:
    image: object


class Plain:
    def __init__(self, value):
        self.value = value


class Unequal:
    __slots__ = ('lock',)

    def __init__(self):
        self.lock = threading.Lock()

    def __eq__(self, other):
        raise ValueError

    __hash__ = None


NAN = float('nan')
SAME = [
    (1, 1), (NAN, NAN), (np.array([NAN]), np.array([NAN])), ({'a': [1]}, {'a': [1]}), (Example(1), Example(1)),
    (Plain([1]), Plain([1])), (Unequal(), Unequal()), (object(), object()), ({1, 2}, {2, 1}), (1 + 0j, 1 + 0j),
    (np.array(['', '']), np.array(['', ''])), (np.zeros((0, 2)), np.zeros((0, 2))), (np.full(2, 1j), np.full(2, 1j)),
    (np.array([None, 1], object), np.array([None, 1], object)), (threading.Lock(), threading.Lock()),
]  # fmt: skip
DIFFERENT = [
    (1, 2, '1 and 2'), (1, 1.0, 'int and float'), (0.0, -0.0, '0.0 and -0.0'), ([1], [1, 2], 'lengths 1 and 2'),
    ({'a': 1}, {'b': 1}, "keys ['a'] and ['b']"), ({'a': (0, 'x')}, {'a': (0, 'y')}, "at ['a'][1]: 'x' and 'y'"),
    (np.zeros(2), np.zeros(3), 'shapes (2,) and (3,)'), (np.zeros(2), np.zeros(2, 'f4'), 'float64 and float32'),
    (np.zeros((2, 2)), np.eye(2), 'at [0][0]: 0.0 and 1.0 (2 of 4 values differ)'),
    (np.array('a'), np.array('b'), 'a and b (1 of 1 values differ)'),
    (np.zeros(1), np.array([-0.0]), 'at [0]: 0.0 and -0.0 (1 of 1 values differ)'),
    (np.array([[1j, 0], [0, 0]]), np.array([[1j, 0], [0, 2j]]), 'at [1][1]: 0j and 2j (1 of 4 values differ)'),
    (np.zeros((2, 4))[:, ::2], np.ones((2, 4))[:, ::2], 'at [0][0]: 0.0 and 1.0 (4 of 4 values differ)'),
    (np.array([(1, 2)], 'i8,i4'), np.array([(1, 3)], 'i8,i4'), 'at [0]: (1, 2) and (1, 3) (1 of 1 values differ)'),
    (Example(1), Example(2), 'at .image: 1 and 2'),
    (np.array([None]), np.array([1], object), 'at [0]: NoneType and int'),
    ('a' * 99, 'b', f"'{'a' * 58}… and 'b'"),
]  # fmt: skip


@pytest.mark.parametrize(('a', 'b'), SAME)
def test_the_same(a, b):
    assert difference(a, b) is None


@pytest.mark.parametrize(('a', 'b', 'text'), DIFFERENT)
def test_different(a, b, text):
    assert difference(a, b) == text


CHANGED = [
    (1, 2, '1 before, 2 after'), ([1], [1, 2], 'length 1 before, 2 after'),
    ({'a': 1}, {}, "keys ['a'] before, [] after"),
    ({'a': (0, 'x')}, {'a': (0, 'y')}, "at ['a'][1] 'x' before, 'y' after"),
    ([np.zeros(2)], [np.zeros(3)], 'at [0] shape (2,) before, (3,) after'),
    (np.zeros((2, 2)), np.eye(2), 'at [0][0] 0.0 before, 1.0 after; 2 of 4 values differ'),
]  # fmt: skip


@pytest.mark.parametrize(('a', 'b', 'text'), CHANGED)
def test_before_and_after(a, b, text):
    assert change(a, b) == text
    assert change(a, a) is None


def test_objects_by_what_they_hold():
    assert difference(Plain(1), Plain(2)) is not None


def test_what_holds_itself():
    a, b = [1], [1]
    a.append(a)
    b.append(b)
    assert difference(a, b) is None


def test_tensors():
    torch = pytest.importorskip('torch')
    assert difference(torch.zeros(2), torch.zeros(2)) is None
    assert difference(torch.tensor([NAN]), torch.tensor([NAN])) is None
    assert difference(torch.zeros(2), torch.ones(2)) == 'tensor([0., 0.]) and tensor([1., 1.])'
    assert difference(torch.zeros(2), torch.zeros(3)) == 'shapes (2,) and (3,)'
    assert difference(torch.zeros(2), torch.zeros(2, dtype=torch.int8)) == 'torch.float32 and torch.int8'
    assert difference(torch.zeros(2).to_sparse(), torch.zeros(2).to_sparse()) is None
