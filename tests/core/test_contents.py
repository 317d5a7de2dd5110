"""A hash of what a value is made of."""

import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest

from itpipe._core.contents import content_hash


def made(source: str, **names):
    namespace = {'__name__': 'a_module', **names}
    exec(textwrap.dedent(source), namespace)
    return namespace['f']


CLOSURE = 'def outer(n):\n def f(x): return x + n\n return f\nf = '
SAME = [
    ('def f(x): return x + 1', 'def f(x):\n    # a comment\n    return x + 1'),
    ('def f(x): return x + 1', 'def f(x):\n    "A docstring."\n    return x + 1'),
    ('def f(x): return g(x)\ndef g(x): return x', 'def g(x): return x\n\ndef f(x): return g(x)'),
]
DIFFERENT = [
    ('def f(x): return x + 1', 'def f(x): return x + 2'),
    ('def f(x): return x + 1', 'def f(x): return x - 1'),
    ('def f(x, y=1): return x', 'def f(x, y=2): return x'),
    ('def f(x, *, y=1): return x', 'def f(x, *, y=2): return x'),
    ('def f(x): return g(x)\ndef g(x): return x', 'def f(x): return g(x)\ndef g(x): return -x'),
    ('def f(x): return [y + 1 for y in x]', 'def f(x): return [y + 2 for y in x]'),
    ('N = 1\ndef f(x): return x + N', 'N = 2\ndef f(x): return x + N'),
    (f'{CLOSURE}outer(1)', f'{CLOSURE}outer(2)'),
    ('import math\ndef f(x): return math.sin(x)', 'import math\ndef f(x): return math.cos(x)'),
    ('class f:\n def __call__(self, x): return x', 'class f:\n def __call__(self, x): return -x'),
]  # fmt: skip


@pytest.mark.parametrize(('one', 'other'), SAME)
def test_functions_that_do_the_same(one, other):
    assert content_hash(made(one)) == content_hash(made(other))


@pytest.mark.parametrize(('one', 'other'), DIFFERENT)
def test_functions_that_do_not(one, other):
    assert content_hash(made(one)) != content_hash(made(other))


def looped(n):
    values = [n]
    values.append(values)
    return values


class Dataset:
    __slots__ = ('paths', 'scale')

    def __init__(self, paths, scale):
        self.paths, self.scale = paths, scale


VALUES = [
    lambda: 1,
    lambda: 1.0,
    lambda: True,
    lambda: '1',
    lambda: [1, 2],
    lambda: (1, 2),
    lambda: {'a': 1},
    lambda: {1, 2, 3},
    lambda: np.arange(3),
    lambda: np.arange(3.0),
    lambda: np.arange(3)[::-1],
    lambda: np.array(['a', None], object),
    lambda: looped(1),
    lambda: looped(2),
    lambda: Dataset(['a', 'b'], 1),
    lambda: Dataset(['a', 'b'], 2),
    lambda: Dataset(['a', 'c'], 2),
    lambda: ['ab', 'c'],
    lambda: ['a', 'bc'],
    lambda: partial(max, 1),
    lambda: partial(min, 1),
    lambda: [].append,
    lambda: np.square,
    lambda: range(3),
]


def test_values_are_told_apart_and_known_again():
    hashes = [content_hash(value()) for value in VALUES]
    assert hashes == [content_hash(value()) for value in VALUES]
    assert len({*hashes}) == len(VALUES)


def test_tensors_count_by_their_values():
    torch = pytest.importorskip('torch')
    assert content_hash(torch.tensor([1.0])) == content_hash(torch.tensor([1.0])) != content_hash(torch.tensor([2.0]))


def test_large_arrays_are_hashed_in_part(monkeypatch):
    monkeypatch.setattr('itpipe._core.contents.WHOLE', 1000)
    one, other = np.zeros((500, 10)), np.zeros((500, 10))
    assert content_hash(one) == content_hash(other)
    other[0] = 1
    assert content_hash(one) != content_hash(other)


def test_it_is_the_same_in_another_process():
    """Where the hashes of strings, and so the order of sets, are others."""
    code = 'from itpipe._core.contents import content_hash\nprint(content_hash({"a", "b", "c"}, max, lambda x: x + 1))'
    out = {subprocess.run([sys.executable, '-c', code], check=True, capture_output=True).stdout for _ in range(2)}
    assert len(out) == 1
