"""Errors that hold what cannot leave a process, or whose classes do as they like: class and text arrive."""

import asyncio
import email.message
import io
import pickle
import sys
import threading
import types
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from running import Lazily, raises

from itpipe import NotPicklable, parallel_map
from itpipe._workers.pickling import pack, result_of

LOCKED = "TypeError: cannot pickle '_thread.lock' object"


def caught(call: Callable[[], Any]) -> Any:
    """The error that the call raises; `pytest.raises` asks errors more than these can answer."""
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError('nothing was raised')


def arriving(error: BaseException) -> Any:
    """The error as it arrives if a function in another process raises it."""

    def function() -> None:
        raise error

    return caught(lambda: result_of(pickle.loads(pickle.dumps(pack(function)))))


class WithLock(Exception):
    def __init__(self, text: str, *, path: str = 'p'):
        super().__init__(text)
        self.lock, self.path = threading.Lock(), path


class Refused(OSError):
    def __init__(self, code: int, reply: Any):
        super().__init__(code, 'refused')
        self.code, self.reply = code, reply


class Answer(Exception):
    """As aiohttp's: arguments that are named only, and text that is made of attributes."""

    def __init__(self, request: Any, *, status: int, headers: Any = None):
        self.request, self.status, self.headers = request, status, headers
        super().__init__(request)

    def __str__(self) -> str:
        return f'{self.status}, headers={self.headers!r}'


@dataclass(frozen=True)
class Frozen(Exception):
    path: str
    lock: Any = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class FrozenSlots(Exception):
    path: str
    number: int = 3


class Asking(Exception):
    """Looks up attributes in its own way, which raises what nobody expects."""

    def __init__(self) -> None:
        super().__init__('asking')
        self.file = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


class Endless(Exception):
    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + '_')


class ReduceRaises(Exception):
    def __reduce__(self) -> Any:
        raise ZeroDivisionError


class ReduceNonsense(Exception):
    def __reduce__(self) -> Any:
        return 7


class ReduceOther(Exception):
    def __reduce__(self) -> Any:
        return int, (3,)


class ReduceFails(Exception):
    def __reduce__(self) -> Any:
        return ReduceFails.broken, ()

    @staticmethod
    def broken() -> None:
        raise ZeroDivisionError


class Mute(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class Wrong(Exception):
    def __str__(self) -> Any:
        return [5][0]


class False_(Exception):
    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0


class Equal(Exception):
    def __eq__(self, other: object) -> Any:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]


class Choosy(Exception):
    def __new__(cls, first: int, second: int) -> Any:
        return super().__new__(cls, first)

    def __init__(self, first: int, second: int):
        super().__init__(first)
        self.second = second


class Set(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise ZeroDivisionError


class Both(KeyError, AttributeError):
    pass


class Property(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]
        raise ZeroDivisionError

    @property
    def __notes__(self) -> Any:
        raise ZeroDivisionError


class Origins(Exception):
    """Has its own idea of where it comes from."""

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise ZeroDivisionError

    __context__ = __suppress_context__ = __traceback__ = __cause__


class Computed(OSError):
    """Computes what its base keeps."""

    @property
    def filename(self) -> str:  # type: ignore[override]
        return 'computed'

    @property
    def errno(self) -> int:  # type: ignore[override]
        raise ZeroDivisionError


class Raising:
    def __repr__(self) -> str:
        raise ZeroDivisionError

    def __reduce__(self) -> Any:
        raise ZeroDivisionError


class Slotted(Exception):
    __slots__ = ('unset', 'value')


def with_slot(value: Any) -> Exception:
    error = Slotted('slotted')
    error.value = value
    return error


def with_attribute(name: str, value: Any) -> Exception:
    error = ValueError('text')
    setattr(error, name, value)
    return error


def http_error() -> Exception:
    headers = email.message.Message()
    headers['Retry-After'] = '3'
    return urllib.error.HTTPError('http://x/y', 404, 'Not Found', headers, io.BufferedReader(io.BytesIO(b'body')))


def raised_now() -> Exception:
    try:
        raise ValueError('now')
    except ValueError as error:
        return error


ODD: dict[str, Callable[[], BaseException]] = {
    'http': http_error,
    'keyword only': lambda: Answer(threading.Lock(), status=404, headers={'a': 1}),
    'text of what is lost': lambda: Answer('r', status=404, headers=threading.Lock()),
    'frozen': lambda: Frozen('a'),
    'frozen with slots': lambda: FrozenSlots('a'),
    'argument': lambda: ValueError('a', threading.Lock(), 3),
    'only argument': lambda: ValueError(threading.Lock()),
    'key': lambda: KeyError(threading.Lock()),
    'os': lambda: Refused(404, threading.Lock()),
    'exit': lambda: SystemExit(threading.Lock()),
    'stop': lambda: StopAsyncIteration(threading.Lock()),
    'slot': lambda: with_slot(threading.Lock()),
    'attribute': lambda: with_attribute('lock', threading.Lock()),
    'nested attribute': lambda: with_attribute('locks', {'a': [threading.Lock()]}),
    'generator': lambda: with_attribute('items', (x for x in range(3))),
    'traceback': lambda: with_attribute('tb', raised_now().__traceback__),
    'frame': lambda: with_attribute('frame', sys._getframe()),
    'module': lambda: with_attribute('module', types.ModuleType('nowhere')),
    'coroutine-like': lambda: with_attribute('loop', asyncio.new_event_loop),
    'itself': lambda: (lambda error: setattr(error, 'me', error) or error)(ValueError('me')),  # type: ignore[func-returns-value]
    'array': lambda: with_attribute('array', np.arange(3)),
    'notes none': lambda: with_attribute('__notes__', None),
    'notes tuple': lambda: with_attribute('__notes__', ('a', 'b')),
    'notes number': lambda: with_attribute('__notes__', 5),
    'notes of locks': lambda: with_attribute('__notes__', [threading.Lock(), Raising()]),
    'repr raises': lambda: with_attribute('odd', Raising()),
    'asking': Asking,
    'endless': lambda: Endless('e'),
    'reduce raises': lambda: ReduceRaises('r'),
    'reduce nonsense': lambda: ReduceNonsense('r'),
    'reduce other': lambda: ReduceOther('r'),
    'reduce fails': lambda: ReduceFails('r'),
    'mute': lambda: Mute('m'),
    'wrong': lambda: Wrong('m'),
    'false': lambda: False_('f'),
    'equal': lambda: Equal('f'),
    'choosy': lambda: Choosy(1, 2),
    'setattr': lambda: Set('s'),
    'two bases': lambda: Both('b'),
    'property': lambda: Property('p'),
    'origins': lambda: Origins('o'),
    'computed': lambda: Computed(2, 'gone', 'kept'),
}  # fmt: skip


def text_of(error: BaseException) -> Any:
    try:
        return str(error)
    except Exception as reason:
        return type(reason)


@pytest.mark.parametrize('make', ODD.values(), ids=ODD)
def test_class_and_text_arrive(make: Callable[[], BaseException]) -> None:
    error = make()
    came = arriving(error)
    assert type(came) is type(error)
    text = text_of(error)
    assert text_of(came) == text or any(str(text) in note for note in came.__notes__)


@pytest.fixture(params=['threads', 'processes', 'executor', 'slow executor'])
def workers(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with ThreadPoolExecutor(1) as executor:
        other = {'executor': executor, 'slow executor': Lazily()}
        yield {'executor': other[request.param]} if request.param in other else {request.param: 1}


def test_they_are_skipped_and_told_apart_wherever_the_function_runs(workers: dict[str, Any]) -> None:
    makers = {name: make for name, make in ODD.items() if isinstance(make(), Exception)}
    kinds = [type(make()) for make in makers.values()]

    def work(name: str) -> str:
        if name in makers:
            error = makers[name]()
            raise error
        return name

    items = ['first', *makers, 'last']
    run = iter(items | parallel_map(work, on_error='skip', **workers))
    assert list(run) == ['first', 'last']
    assert [(each.ordinal, type(each.error)) for each in run.dropped] == list(enumerate(kinds, 1))
    told: list[type] = []
    assert list(
        items | parallel_map(work, on_error=lambda error, *_: told.append(type(error)) or 'skip', **workers)
    ) == [
        'first',
        'last',
    ]
    assert told == kinds


@pytest.mark.many(5)
@pytest.mark.parametrize('name', ['http', 'frozen', 'reduce raises', 'notes number'])
def test_they_are_caught_wherever_the_function_runs(name: str, workers: dict[str, Any]) -> None:
    def work(_: int) -> None:
        error = ODD[name]()
        raise error

    with pytest.raises(type(ODD[name]())):
        list(range(4) | parallel_map(work, **workers))


def test_in_an_executor_of_processes() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as executor:
        run = iter(range(4) | parallel_map(fail_at_two, executor=executor, on_error='skip'))
        assert list(run) == [0, 1, 3]
        assert type(run.dropped[0].error) is Refused


def fail_at_two(x: int) -> int:
    if x == 2:
        raise Refused(404, threading.Lock())
    return x


def test_what_is_lost_is_said_and_prints_as_it_did() -> None:
    lock = threading.Lock()
    error = Refused(404, lock)
    error.add_note('a note')
    came = arriving(error)
    assert (came.errno, came.strerror, came.code, came.args) == (404, 'refused', 404, (404, 'refused'))
    assert (repr(came.reply), str(came.reply)) == (repr(lock), repr(lock))
    with pytest.raises(AttributeError, match="'LostPart' object has no attribute 'acquire'"):
        came.reply.acquire()
    assert came.__notes__ == ['a note', f'itpipe: without `reply`, which could not leave the process ({LOCKED})']


def test_several_parts() -> None:
    lock = threading.Lock()
    error = ValueError('a', lock, 3)
    error.lock, error.number, error.made = lock, 5, (x for x in ())  # type: ignore[attr-defined]
    came = arriving(error)
    assert (came.args[0], came.args[2], came.number) == ('a', 3, 5)
    assert came.args[1] is came.lock
    assert str(came) == str(error)
    assert came.__notes__ == [
        f'itpipe: without `lock`, `made`, `args[1]`, which could not leave the process ({LOCKED})'
    ]


def test_an_argument_that_is_an_attribute_arrives_once() -> None:
    array = np.arange(5)
    error = ValueError(array)
    error.array = array  # type: ignore[attr-defined]
    came = arriving(error)
    assert came.args[0] is came.array


def test_an_http_error_keeps_what_is_asked_of_it() -> None:
    came = arriving(http_error())
    assert (came.code, came.reason, came.filename, came.headers['Retry-After']) == (404, 'Not Found', 'http://x/y', '3')
    assert str(came) == 'HTTP Error 404: Not Found'
    assert not hasattr(came, 'no_such_thing')


def test_frozen_ones_keep_their_notes_causes_and_tracebacks() -> None:
    def function() -> None:
        try:
            raise Frozen('inner')
        except Frozen as error:
            raise Frozen('outer', 'plain') from error

    with pytest.raises(Frozen) as caught:
        list([0] | parallel_map(lambda _: function(), processes=1))
    error = caught.value
    assert error == Frozen('outer', 'plain')
    assert isinstance(error.__cause__, Frozen)
    assert error.__notes__ == ['itpipe: raised in parallel_map(<lambda>, processes=1), item 0']
    assert error.__traceback__.tb_next is not None  # type: ignore[union-attr]


def test_notes_that_are_no_list_stay_what_they_are() -> None:
    assert arriving(with_attribute('__notes__', ('a', 'b'))).__notes__ == ('a', 'b')
    assert arriving(with_attribute('__notes__', 5)).__notes__ == 5


def test_the_class_is_neither_called_nor_asked() -> None:
    calls: list[str] = []

    class Watched(Exception):
        def __new__(cls, *args: Any) -> Any:
            calls.append('new')
            return super().__new__(cls, *args)

        def __init__(self, *args: Any):
            calls.append('init')

        def __getattribute__(self, name: str) -> Any:
            calls.append(name)
            return super().__getattribute__(name)

        def __setattr__(self, name: str, value: Any) -> None:
            calls.append(name)

    arriving(Watched(1))
    assert not {'args', '__dict__', '__reduce__'} & set(calls)
    assert calls.count('new') == calls.count('init') == 1


def test_what_says_how_it_is_pickled_is_unpickled_once() -> None:
    """Unpickling may have effects."""
    counted.clear()

    class Counting(Exception):
        def __reduce__(self) -> Any:
            return count, (Counting,)

    assert type(arriving(Counting('a'))) is Counting
    assert counted == ['made']


counted: list[str] = []


def count(kind: Any) -> Any:
    counted.append('made')
    return kind('b')


class Alien:
    """Unpickles in no process but its own."""

    def __reduce__(self) -> Any:
        return nowhere, ()


def nowhere() -> Any:
    raise ModuleNotFoundError("No module named 'nowhere'")


def test_a_part_that_cannot_be_unpickled() -> None:
    error = ValueError('text', Alien())
    came = arriving(error)
    assert type(came) is ValueError
    assert came.args[0] == 'text'
    assert came.__notes__[0] == (
        "itpipe: without `args[1]`, which could not leave the process (ModuleNotFoundError: No module named 'nowhere')"
    )
    assert came.__notes__[1].startswith('itpipe: it was ValueError: (')


def test_a_class_that_cannot_be_imported_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The item can be skipped all the same: it is its error, not one of the workers."""
    module = types.ModuleType('only_there')
    exec('class Theirs(Exception): pass', vars(module))
    monkeypatch.setitem(sys.modules, 'only_there', module)
    packed = pack(raise_noted, module.Theirs('text'))
    monkeypatch.delitem(sys.modules, 'only_there')
    message = (
        'Theirs: text (raised by the function, but this exception cannot be unpickled (ModuleNotFoundError: No module'
        " named 'only_there'): its class must be importable here)"
    )
    with raises(NotPicklable, message, 'a note'):
        result_of(packed)


def raise_noted(error: BaseException) -> None:
    error.add_note('a note')
    raise error


def test_it_is_skipped_as_well() -> None:
    def work(x: int) -> int:
        if x == 1:
            module = types.ModuleType('only_there')
            exec('class Theirs(Exception): pass', vars(module))
            sys.modules['only_there'] = module
            raise module.Theirs(x)
        return x

    assert list(range(3) | parallel_map(work, processes=1, on_error='skip')) == [0, 2]


def test_a_class_that_cannot_be_pickled() -> None:
    class Local(Exception):
        lock = threading.Lock()

    message = (
        f'Local: text (raised by the function, but the class of this exception cannot be pickled ({LOCKED}): it must be'
        ' importable, or refer to plain data only)'
    )
    with raises(NotPicklable, message, 'a note'):
        raise arriving_noted(Local('text'))


def arriving_noted(error: BaseException) -> BaseException:
    error.add_note('a note')
    return arriving(error)  # type: ignore[no-any-return]


def test_groups_and_causes_with_such_members() -> None:
    error = ExceptionGroup('some', [WithLock('one'), KeyError('two'), ExceptionGroup('inner', [Frozen('three')])])
    error.__cause__ = Refused(1, threading.Lock())
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    came = arriving(error)
    one, two, inner = came.exceptions
    assert [type(each) for each in (one, two, inner.exceptions[0])] == [WithLock, KeyError, Frozen]
    assert (one.path, two.args, inner.exceptions[0].path) == ('p', ('two',), 'three')
    assert type(came.__cause__) is Refused
    assert came.__notes__ == [f'itpipe: without `lock`, which could not leave the process ({LOCKED})']


def test_causes_in_a_circle_with_what_is_lost() -> None:
    first, second = WithLock('first'), Refused(2, threading.Lock())
    first.__context__, second.__context__ = second, first
    came = arriving(first)
    assert type(came.__context__) is Refused
    assert came.__context__.__context__ is came
