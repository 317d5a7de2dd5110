"""What a script defines goes to processes and comes back: classes with slots, and functions behind caches."""

import functools
import pickle
import weakref
from typing import Any

import pytest
from running import run_script

from itpipe import parallel_map
from itpipe._workers.pickling import dumps

CLASSES = """
import abc, dataclasses, enum, functools, typing
from itpipe import parallel_map

T = typing.TypeVar('T')

@dataclasses.dataclass(slots=True)
class Slots:
    x: int

@dataclasses.dataclass(slots=True)
class Defaults:
    x: int
    y: list = dataclasses.field(default_factory=list)

@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    x: int

@dataclasses.dataclass(slots=True)
class Sub(Slots):
    w: int = 5

@dataclasses.dataclass(slots=True, weakref_slot=True, kw_only=True)
class Weak:
    x: int

@dataclasses.dataclass(slots=True)
class Generic(typing.Generic[T]):
    x: T

class Named(typing.NamedTuple):
    x: int
    y: int = 3

class Color(enum.Enum):
    RED = 1

class Flag(enum.Flag):
    A = 1
    B = 2

class Text(str, enum.Enum):
    A = 'a'

class Abstract(abc.ABC):
    @abc.abstractmethod
    def f(self): ...

class Concrete(Abstract):
    __slots__ = ('x',)
    def __init__(self): self.x = 1
    def f(self): return self.x

class OneSlot:
    __slots__ = 'x'
    def __init__(self): self.x = 1

class Private:
    __slots__ = ('__x', '__dict__')
    def __init__(self): self.__x, self.other = 1, 2

class Described:
    __slots__ = {'x': 'what it is'}
    def __init__(self): self.x = 1

class Tuple(tuple):
    __slots__ = ()

class Outer:
    class Inner:
        def __init__(self): self.x = 1

class Cached:
    @functools.cached_property
    def value(self): return 5

values = [
    Slots(1), Defaults(1), Frozen(1), Sub(1), Weak(x=1), Generic(1), Named(1), Color.RED, Flag.A | Flag.B, Text.A,
    Concrete(), OneSlot(), Private(), Described(), Tuple(), Outer.Inner(), Cached(),
]
kinds = [type(value) for value in values]
came = list(values | parallel_map(lambda value: (value, type(value) in kinds, hasattr(value, '__dict__')), processes=2))
for value, (back, known, has_dict) in zip(values, came, strict=True):
    assert type(back) is type(value) and known, value
    assert isinstance(value, tuple) or has_dict == hasattr(value, '__dict__'), value
    if type(value).__eq__ is not object.__eq__:
        assert back == value
made = list(range(3) | parallel_map(lambda i: [Slots(i), Frozen(i), Generic(i), Named(i)][i % 4], processes=1))
assert [type(each) for each in made] == [Slots, Frozen, Generic] and [each.x for each in made] == [0, 1, 2]
assert list(range(2) | parallel_map(lambda i: kinds, processes=1)) == [kinds, kinds]
assert list([Cached()] | parallel_map(lambda each: each.value, processes=1)) == [5]
print('well')
"""

FUNCTIONS = """
import functools
from itpipe import parallel_map

@functools.lru_cache
def double(i): return 2 * i

@functools.lru_cache(maxsize=3, typed=True)
def sized(i): return sized.cache_parameters()

@functools.cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)

@functools.singledispatch
def kind(x): return 'any'

@kind.register
def _(x: int): return 'int'

class Methods:
    @functools.lru_cache
    def cached(self, x): return x + 1

    @staticmethod
    @functools.cache
    def static(x): return x + 1

    @classmethod
    @functools.cache
    def of_class(cls, x): return x + 1

    @functools.singledispatchmethod
    def kind(self, x): return 'any'

    @kind.register
    def _(self, x: int): return 'int'

def made(n):
    @functools.lru_cache(None)
    def inner(x): return x + n
    return inner

kind(1.0), kind(1)
double(1), fib(3)
double.mark = 'mark'
run = lambda f: list(range(3) | parallel_map(f, processes=1))
assert run(double) == run(functools.partial(double)) == run(lambda i: double(i)) == [0, 2, 4]
assert run(sized) == [{'maxsize': 3, 'typed': True}] * 3
assert run(fib) == [0, 1, 1]
assert run(lambda i: (double.mark, double.__name__, double.cache_info().currsize)) == [('mark', 'double', 0)] * 3
assert run(functools.cache(functools.partial(pow, 2))) == [1, 2, 4]
assert run(kind) == run(Methods().kind) == ['int'] * 3
assert run(Methods().cached) == run(Methods.static) == run(Methods.of_class) == run(made(1)) == [1, 2, 3]
print('well')
"""


@pytest.mark.long
def test_classes_of_a_script_come_back_as_what_they_are() -> None:
    assert run_script(CLASSES) == 'well\n'


@pytest.mark.long
def test_functions_of_a_script_behind_caches() -> None:
    assert run_script(FUNCTIONS) == 'well\n'


@functools.lru_cache
def of_module(x: int) -> int:
    return x + 1


def test_a_cache_of_a_module_stays_that_of_the_module() -> None:

    assert pickle.loads(dumps(of_module, 'it', '')) is of_module
    assert list(range(2) | parallel_map(of_module, processes=1)) == [1, 2]


def test_weak_dicts_arrive_with_what_is_held() -> None:
    class Key:
        pass

    key = Key()
    entries: Any = weakref.WeakKeyDictionary({key: 1})
    again, held = pickle.loads(dumps((entries, key), 'it', ''))
    assert again[held] == 1


def test_code_keeps_its_file() -> None:
    def here(x: int) -> str:
        return (lambda: here.__code__.co_filename)()

    assert list([0] | parallel_map(here, processes=1)) == [__file__]
