"""A hash of what a value is made of."""

import array
import collections
import copy
import decimal
import functools
import logging
import operator
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from datetime import date
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from itpipe._core import contents
from itpipe._core.contents import Contents, Unknown, content_hash
from itpipe._workers.pickling import dumps


def made(source: str, **names):
    namespace = {'__name__': 'a_module', **names}
    exec(textwrap.dedent(source), namespace)
    return namespace['f']


CLOSURE = 'def outer(n):\n def f(x): return x + n\n return f\nf = '
GUARDED = """
def f(x):
    z = None
    try:
        y = int(x)
{}
    except ValueError:
        z = None
{}
    return z
"""
BY_NAME = 'def f(x): return g(a=x, b=1)\n'
METHOD = 'class f:\n @{}\n def g(self): return 1'
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
    ('def round(x): return x\ndef f(x): return round(x)', 'def round(x): return -x\ndef f(x): return round(x)'),
    ('def f(x): return x', 'def f(*x): return x'),
    ('def f(x): return x', 'def f(**x): return x'),
    ('def f(*x): return x', 'def f(**x): return x'),
    ('def f(x, y=1): return x, y', 'def f(x, y=1, /): return x, y'),
    ('def f(x, y=None): return x', 'def f(x, *y): return x'),
    ('def f(x, *y): return x, y', 'def f(x, *, y=()): return x, y'),
    (f'{BY_NAME}def g(a, b): return a - b', f'{BY_NAME}def g(b, a): return b - a'),
    ('def f(x): return [*map(lambda x: x, x)]', 'def f(x): return [*map(lambda *x: x, x)]'),
    (GUARDED.format('        z = chr(y)', ''), GUARDED.format('', '    else:\n        z = chr(y)')),
    ('def f(x):\n "a"\n return "a"', 'def f(x):\n "b"\n return "b"'),
    (METHOD.format('staticmethod'), METHOD.format('classmethod')),
    (METHOD.format('staticmethod'), METHOD.format('property')),
    ('class M(type):\n n = 1\nclass f(metaclass=M): pass', 'class M(type):\n n = 2\nclass f(metaclass=M): pass'),
    ('class A:\n def m(self): return 1\nclass f: m = A().m', 'class A:\n def m(self): return 1\nclass f: m = A.m'),
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


class OrderedList(list):
    def __init__(self, values, name):
        super().__init__(values)
        self.name = name


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


LARGE = {
    'pairs': lambda: [(str(n), n) for n in range(1000)],
    'lists': lambda: [[str(n), n] for n in range(1000)],
    'floats': lambda: [(str(n), float(n)) for n in range(1000)],
    'another': lambda: [(str(n), n + (n == 998)) for n in range(1000)],
    'all in one': lambda: [part for n in range(1000) for part in (str(n), n)],
    'dicts': lambda: [{'text': str(n), 'label': n} for n in range(1000)],
    'deep': lambda: [{'text': str(n), 'of': [(n, {'n': None})]} for n in range(1000)],
    'deeper': lambda: [{'text': str(n), 'of': [(n, {'n': ()})]} for n in range(1000)],
    'paths': lambda: [Path(str(n)) for n in range(1000)],
    'pure paths': lambda: [PurePosixPath(str(n)) for n in range(1000)],
    'texts': lambda: [str(n) for n in range(1000)],
    'with a number of NumPy': lambda: [(str(n), n) for n in range(999)] + [('999', np.int64(999))],
    'with another one': lambda: [(str(n), n) for n in range(999)] + [('999', np.float64(5e-321))],
    'with a set': lambda: [(str(n), n) for n in range(999)] + [{'a', 'b', 'c'}],
    'of itself': lambda: looped(1)[1:] * 100,
}


def test_large_lists_are_told_apart_and_known_again():
    hashes = [content_hash(value()) for value in LARGE.values()]
    assert hashes == [content_hash(value()) for value in LARGE.values()]
    assert len({*hashes}) == len(LARGE)


@pytest.mark.parametrize('kind', ['pairs', 'dicts', 'deep', 'paths'])
def test_a_large_list_is_hashed_as_a_whole(kind, monkeypatch):
    """There may be millions of items, and it is looked at again in each run."""
    parts, usual = [], contents._hashed
    monkeypatch.setattr(contents, '_hashed', lambda *args: parts.append(args) or usual(*args))
    values = LARGE[kind]()
    content_hash(values)
    assert len(parts) < 10
    values[500] = values[501]
    assert content_hash(values) != content_hash(LARGE[kind]())


def test_what_is_in_all_items_is_hashed_once():
    """Written with each of them it would be a million times as much."""
    shared = [*range(100_000)]
    one, other = ([(str(n), [[part] * 100] * 100) for n in range(1000)] for part in (shared, shared[:-1]))
    assert content_hash(one) != content_hash(other)


def test_tensors_count_by_their_values():
    torch = pytest.importorskip('torch')
    assert content_hash(torch.tensor([1.0])) == content_hash(torch.tensor([1.0])) != content_hash(torch.tensor([2.0]))


def test_all_of_a_large_array_counts():
    one = np.zeros((1 << 20, 10))
    other = one.copy()
    other[1, 3] = 1
    assert content_hash(one) != content_hash(other)


def test_a_mapped_file_counts_by_its_name_size_and_time(tmp_path):
    """It may be larger than memory."""
    for name in ('a', 'b'):
        np.save(tmp_path / f'{name}.npy', np.zeros(3))
    one, again, other = (np.load(tmp_path / f'{name}.npy', mmap_mode='r') for name in 'aab')
    assert content_hash(one) == content_hash(again) != content_hash(other)


class Applied:
    """Its function is not all that it has."""

    def __init__(self, func, size):
        self.func, self.size = func, size


def small(x):
    return x


PAIRS = [
    (Applied(small, 1), Applied(small, 2)),
    (str.upper, str.lower),
    (operator.itemgetter('a'), operator.itemgetter('b')),
    (operator.attrgetter('a'), operator.attrgetter('b')),
    (operator.methodcaller('a'), operator.methodcaller('b')),
    (['a'].__getitem__, ['b'].__getitem__),
    ({}.get, {1: 2}.get),
    (array.array('i', [1]), array.array('i', [2])),
    (np.array(['a'], object), np.array(['b'], object)),
    (re.compile('a'), re.compile('b')),
    (collections.deque([1]), collections.deque([2])),
    (bytearray(b'a'), bytearray(b'b')),
    (np.datetime64('2020-01-01'), np.datetime64('2020-01-02')),
    (date(2020, 1, 1), date(2020, 1, 2)),
    (decimal.Decimal(1), decimal.Decimal(2)),
    (slice(1, 2), slice(1, 3)),
    (np.random.default_rng(0), np.random.default_rng(1)),
    (np.random.default_rng(0).normal, np.random.default_rng(1).normal),
    (np.square, np.sqrt),
    (OrderedList([1], 'a'), OrderedList([1], 'b')),
    (functools.partial(max, 1), functools.partial(max, 2)),
    (functools.lru_cache(lambda x: x), functools.lru_cache(lambda x: -x)),
]  # fmt: skip


@pytest.mark.parametrize(('one', 'other'), PAIRS, ids=lambda value: type(value).__name__)
def test_what_only_pickle_looks_into(one, other):
    """What says nothing of its content must not be taken for something else of its class."""
    assert content_hash(one) == content_hash(one)
    assert content_hash(one) != content_hash(other)


def test_tables_and_models_count_by_their_values():
    pandas = pytest.importorskip('pandas')
    assert content_hash(pandas.DataFrame({'p': ['a']})) == content_hash(pandas.DataFrame({'p': ['a']}))
    assert content_hash(pandas.DataFrame({'p': ['a']})) != content_hash(pandas.DataFrame({'p': ['b']}))
    torch = pytest.importorskip('torch')
    for options in ({}, {'dtype': torch.bfloat16}, {'requires_grad': True}):
        assert content_hash(torch.ones(1, **options)) != content_hash(torch.zeros(1, **options))
    model = torch.nn.Linear(2, 2)
    assert content_hash(model) == content_hash(copy.deepcopy(model)) != content_hash(torch.nn.Linear(2, 2))


@pytest.mark.parametrize('make', [threading.Lock, lambda: (n for n in ()), lambda: memoryview(b'a')])
def test_what_says_nothing_is_refused(make):
    with pytest.raises(Unknown):
        content_hash([make()])


def test_a_logger_counts_by_its_name():
    log = logging.getLogger('itpipe.test')
    before = content_hash(log)
    log.debug('that is not shown')
    logging.getLogger('itpipe.test.other')
    assert content_hash(log) == before != content_hash(logging.getLogger('itpipe.test.other'))


CLASS = """
    class f:
        {0}
        def __call__(self, x): return x
"""
MEMBERS = [
    ('@property\n        def v(self): return {}', 1, 2),
    ('@classmethod\n        def v(cls): return {}', 1, 2),
    ('@staticmethod\n        def v(): return {}', 1, 2),
    ('def __add__(self, other): return {}', 1, 2),
    ('@functools.cached_property\n        def v(self): return {}', 1, 2),
    ('v = {}', 1, 2),
]


@pytest.mark.parametrize(('member', 'one', 'other'), MEMBERS)
def test_all_that_a_class_does_counts(member, one, other):
    one, same, other = (made(CLASS.format(member.format(value)), functools=functools) for value in (one, one, other))
    assert content_hash(one()) == content_hash(same()) != content_hash(other())


@pytest.mark.parametrize(
    'use',
    [
        'import helpers\ndef f(x): return helpers.decode(x)',
        'import helpers as h\ndef f(x): return h.decode(x)',
        'from helpers import decode\ndef f(x): return decode(x)',
        'def f(x):\n from helpers import decode\n return decode(x)',
        'def f(x):\n import helpers\n return helpers.decode(x)',
    ],
)
def test_what_is_used_of_a_module_of_the_users_counts(use, tmp_path):
    """Also what that uses, and also before it is imported."""
    script = f'{use}\nfrom itpipe._core.contents import Unknown, content_hash\nprint(content_hash(f))'
    hashes = []
    for number in (1, 1, 2):
        (tmp_path / 'helpers.py').write_text(
            f'N = {number}\ndef decode(x):\n return inner(x)\ndef inner(x): return x + N\n'
        )
        (tmp_path / 'run.py').write_text(script)
        command = [sys.executable, '-B', str(tmp_path / 'run.py')]
        hashes.append(subprocess.run(command, check=True, capture_output=True, cwd=tmp_path).stdout)
    assert hashes[0] == hashes[1] != hashes[2]


def test_it_is_the_same_in_another_process():
    """Where the hashes of strings, and so the order of sets, are others."""
    code = 'from itpipe._core.contents import content_hash\nprint(content_hash({"a", "b", "c"}, max, lambda x: x + 1))'
    out = {subprocess.run([sys.executable, '-c', code], check=True, capture_output=True).stdout for _ in range(2)}
    assert len(out) == 1


def test_what_a_module_calls_like_a_builtin_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    for name, number in (('of_one', 1), ('of_two', 2)):
        (tmp_path / f'{name}.py').write_text(f'def round(x): return x + {number}\n')
        hashes.append(content_hash(made(f'import {name} as m\ndef f(x): return m.round(x)')))
        monkeypatch.delitem(sys.modules, name)
    assert hashes[0] != hashes[1]


def test_it_is_the_same_before_a_function_has_imported_what_it_needs(tmp_path, monkeypatch):
    (tmp_path / 'late_helper.py').write_text('def g(x): return h(x)\ndef h(x): return x\n')
    monkeypatch.syspath_prepend(tmp_path)
    f = made('def f(x):\n import late_helper\n return late_helper.g(x)')
    before = content_hash(f)
    f(1)
    assert content_hash(f) == before
    monkeypatch.delitem(sys.modules, 'late_helper')


CELL = """
    import functools
    import itertools
    from dataclasses import dataclass
    from enum import Enum
    from typing import NamedTuple

    import numpy as np

    SIZE = 3
    NAMES = {'a', 'b', 'c', 'd'}
    size = 'only the name of an attribute below'

    class Way(Enum):
        UP = 1

    class Point(NamedTuple):
        x: int = SIZE

    @dataclass
    class Config:
        shape: tuple = (1, 2)
        way: Way = Way.UP

    class Base:
        scale = 2

        @property
        def twice(self):
            return 2 * self.scale

        @classmethod
        def make(cls):
            return cls()

        @staticmethod
        def plain(x):
            return helper(x)

    class Data(Base):
        __slots__ = ('names', 'other')

        def __init__(self):
            self.names, self.config, self.array = NAMES, Config(), np.arange(4)

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return super().plain(index)

        @functools.cached_property
        def slow(self):
            return 1

    def decorated(g):
        @functools.wraps(g)
        def inner(*args):
            return g(*args)
        return inner

    @decorated
    def helper(x):
        return [Point(y).x * SIZE for y in itertools.repeat(x, 2)]

    @functools.lru_cache
    def kept(x):
        return helper(x)

    def f(x, data=Data(), *, g=functools.partial(helper, 1)):
        def within(y):
            return kept(y) + SIZE
        return within(x).size, (lambda z: helper(z))(x), data.make, Way.UP
"""


def test_it_is_the_same_for_what_a_process_gets():
    """Functions and classes of a notebook get there by value, with no more of the globals than they use."""
    namespace = {'__name__': '__main__'}
    exec(textwrap.dedent(CELL), namespace)
    for value in (namespace['f'], namespace['Data'](), namespace['kept']):
        before = content_hash(value)
        assert content_hash(value) == before
        assert content_hash(pickle.loads(dumps(value, '', '', key=0))[1]) == before


def test_contents_say_what_was_bound_anew():
    f = made('N = 1\ndef g(x): return x + N\ndef f(x): return g(x)')
    contents = Contents(f)
    assert contents.changed() is None
    f.__globals__['N'] = 2
    assert contents.changed() == 'N'
    assert contents.hash != Contents(f).hash
    assert not contents.plain
    assert Contents(['a', {'b': (1, None)}], np.arange(3)).plain


def test_by_identity_anything_can_be_told_from_others():
    lock, other = threading.Lock(), threading.Lock()
    with pytest.raises(Unknown):
        Contents([lock])
    assert Contents([lock], by_identity=True).hash == Contents([lock], by_identity=True).hash
    assert Contents([lock], by_identity=True).hash != Contents([other], by_identity=True).hash


COUNTED = """
def count():
    global n
    n += 1
def f(x):
    count()
    return n, x
"""


@pytest.mark.parametrize('source', [COUNTED, 'def f(x):\n global n\n n = n + 1\n return n'])
def test_what_functions_bind_themselves_does_not_count(source):
    """Such as a counter, or a model that the first call loads."""
    assert content_hash(made(source, n=1)) == content_hash(made(source, n=2))


def test_what_they_only_read_counts():
    source = COUNTED.replace('global n\n    n += 1', 'return n')
    assert content_hash(made(source, n=1)) != content_hash(made(source, n=2))
