"""Digests: the same for the same bits, wherever they lie in memory, and others for all others."""

import subprocess
import sys
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

from itpipe._core.digests import digest

Point = namedtuple('Point', 'x y')


@dataclass
class Image:
    pixels: np.ndarray
    name: str


class Plain:
    def __init__(self, x):
        self.x = x


ARRAY = np.arange(12, dtype='f4').reshape(3, 4)
SAME = [
    (ARRAY, ARRAY.copy()),
    (ARRAY, np.asfortranarray(ARRAY)),
    (ARRAY.T, ARRAY.T.copy()),
    (np.zeros((3, 0)), np.zeros((3, 0))),
    (np.array(3.0), np.array(3.0)),
    (np.array(['a', None], object), np.array(['a', None], object)),
    ({'a': [ARRAY, (1, 'b')]}, {'a': [ARRAY.copy(), (1, 'b')]}),
    ({'c', 'a', 'b'}, {'b', 'c', 'a'}),
    (Image(ARRAY, 'a'), Image(ARRAY.copy(), 'a')),
    (Plain([ARRAY, ARRAY]), Plain([ARRAY.copy(), ARRAY.copy()])),
    (np.array(['2020-01-01'], 'M8[D]'), np.array(['2020-01-01'], 'M8[D]')),
    (float('nan'), float('nan')),
    (lambda: 1, lambda: 2),  # cannot be pickled: only their class counts
]
OTHERS = [
    ARRAY, ARRAY.astype('f8'), ARRAY.reshape(4, 3), ARRAY.T, ARRAY + 1, ARRAY.astype('>f4'), ARRAY.tolist(), [ARRAY],
    (ARRAY,), {'a': ARRAY}, {'b': ARRAY}, OrderedDict(a=ARRAY), Image(ARRAY, 'a'), Image(ARRAY, 'b'), Plain(1),
    Plain(2), Point(1, 2), (1, 2), [1, 2], [[1], 2], [1, [2]], [], [[]], {}, 1, 1.0, True, '1', b'1', None, 0.0, -0.0,
    np.float32(1), np.float64(1), np.array(1.0), np.zeros((0, 2)), np.zeros((2, 0)), np.array([1, 2], object), {1, 2},
    {1}, bytearray(b'1'), np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 2], [1, 0]), 'ä', '\udcff',
    np.zeros(2, [('a', 'i4')]),
]  # fmt: skip


@pytest.mark.parametrize(('a', 'b'), SAME)
def test_the_same_bits_have_the_same_digest(a, b):
    assert digest(a) == digest(b)


def test_others_have_others():
    found = [digest(value) for value in OTHERS]
    assert len(set(found)) == len(found)


def test_it_is_the_same_in_every_process():
    value = "[{'a', 'b', 'c'}, {'x': 1.5}, (None, b'3')]"
    code = f'from itpipe._core.digests import digest; print(digest({value}))'
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, timeout=60)
    assert int(found.stdout) == digest(eval(value))


def test_tensors_count_by_their_bits():
    torch = pytest.importorskip('torch')
    tensor = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    assert digest(tensor) == digest(tensor.t().contiguous().t()) == digest(tensor.clone().requires_grad_())
    others = [
        tensor, tensor.t(), tensor.float(), tensor + 1, tensor.float().numpy(),
        torch.zeros(0), torch.tensor(1 + 2j).conj(), torch.tensor(1 + 2j), torch.eye(2).to_sparse(),
    ]  # fmt: skip
    assert len({digest(each) for each in others}) == len(others)
