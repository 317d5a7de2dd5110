"""What goes between processes: errors arrive as they were raised; what cannot be pickled is said so."""

import errno
import pickle
import random
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from running import raises, run_script

from itpipe import NotPicklable, parallel_map, unpack
from itpipe._engine.functions import ItemFunction, item_function
from itpipe._engine.seeds import Seeds
from itpipe._engine.stream import itemwise
from itpipe._workers.pickling import dumps_call, dumps_function, loads_call, pack, result_of


def function_of(f: Callable[[Any], Any]) -> ItemFunction:
    return item_function(itemwise('f', f).steps, Seeds())


def through_a_process(call: Callable[..., Any], *args: Any) -> Any:
    return result_of(pickle.loads(pickle.dumps(pack(call, *args))))


def arriving(error: BaseException) -> BaseException:
    """The error as it arrives if a function in another process raises it."""

    def function() -> None:
        raise error

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        through_a_process(function)
    return caught.value


class TwoArguments(Exception):
    def __init__(self, where: str, *, code: int):
        super().__init__(f'{where}: {code}')
        self.where, self.code = where, code


class NoArgumentsKept(Exception):
    def __init__(self, code: int, *, path: str = ''):
        self.code, self.path = code, path


class NothingGiven(Exception):
    def __init__(self) -> None:
        super().__init__('always the same', 3)


class Slots(ValueError):
    __slots__ = ('place', 'unset')

    def __init__(self, place: int):
        super().__init__('slots')
        self.place = place


class PrivateSlot(Exception):
    __slots__ = ('__place',)

    def __init__(self, place: int):
        self.__place = place

    @property
    def place(self) -> int:
        return self.__place


class Missing(FileNotFoundError):
    def __init__(self, path: str):
        super().__init__(errno.ENOENT, 'not there', path)


class Reducing(Exception):
    def __init__(self, a: int, b: int):
        self.a, self.b = a, b

    def __reduce__(self) -> Any:
        return Reducing, (self.a, self.b)


class Group(ExceptionGroup):
    def derive(self, errors: Any) -> Any:
        return Group(self.message, errors)


def attributes(error: Any, *names: str) -> list[Any]:
    return [getattr(error, name) for name in names]


@pytest.mark.parametrize(
    ('error', 'names'),
    [
        (ValueError('a', 2), ()),
        (KeyError('key'), ()),
        (TwoArguments('here', code=5), ('where', 'code')),
        (NoArgumentsKept(5, path='x'), ('code', 'path')),
        (NothingGiven(), ()),
        (Slots(3), ('place',)),
        (PrivateSlot(3), ('place',)),
        (Missing('/x'), ('filename', 'errno', 'strerror')),
        (OSError(errno.EACCES, 'no', '/a', None, '/b'), ('filename', 'filename2', 'errno')),
        (UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'bad'), ('encoding', 'object', 'start', 'end', 'reason')),
        (ImportError('no', name='m', path='p'), ('name', 'path')),
        (SyntaxError('bad', ('file.py', 3, 1, 'x = ', 3, 2)), ('filename', 'lineno', 'text')),
        (SystemExit(3), ('code',)),
        (StopIteration(4), ('value',)),
        (KeyboardInterrupt(), ()),
        (GeneratorExit('x'), ()),
    ],
    ids=lambda case: type(case).__name__,
)
def test_an_error_arrives_as_what_it_was(error: BaseException, names: tuple[str, ...]) -> None:
    error.add_note('a note')
    error.extra = [1, 2]  # type: ignore[attr-defined]
    came = arriving(error)
    assert type(came) is type(error)
    assert came.args == error.args
    assert str(came) == str(error)
    assert attributes(came, *names) == attributes(error, *names)
    assert (came.__notes__, came.extra) == (['a note'], [1, 2])  # type: ignore[attr-defined]
    assert not hasattr(came, 'unset')


def test_an_error_that_says_how_it_is_pickled_keeps_its_notes_all_the_same() -> None:
    error = Reducing(1, 2)
    error.add_note('a note')
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    came = arriving(error)
    assert type(came) is Reducing
    assert attributes(came, 'a', 'b', '__notes__') == [1, 2, ['a note']]


def test_arrays_in_errors_and_classes_of_a_function() -> None:
    class Local(Exception):
        pass

    came = arriving(Local(np.arange(3)))
    assert type(came) is Local
    assert came.args[0].tolist() == [0, 1, 2]


def test_the_class_of_an_error_is_not_called_again() -> None:
    calls = []

    class Counted(Exception):
        def __init__(self, *args: Any):
            calls.append(args)
            super().__init__(*args)

    arriving(Counted(1))
    assert calls == [(1,)]


def inner(x: int) -> float:
    return 1 / x


def outer(x: int) -> float:
    try:
        return inner(x)
    except ZeroDivisionError as error:
        raise LookupError('outer') from error


def test_a_traceback_shows_the_files_lines_and_names_of_the_other_process() -> None:
    with pytest.raises(LookupError) as caught:
        through_a_process(outer, 0)
    frames = traceback.extract_tb(caught.value.__traceback__)
    first = outer.__code__.co_firstlineno
    assert [(frame.filename, frame.lineno, frame.name) for frame in frames[-1:]] == [(__file__, first + 4, 'outer')]
    text = ''.join(traceback.format_exception(caught.value))
    cause, itself = text.split('The above exception was the direct cause of the following exception:')
    assert f'File "{__file__}", line {first - 3}, in inner\n    return 1 / x\n' in cause
    assert cause.rstrip().endswith('ZeroDivisionError: division by zero')
    assert f"line {first + 4}, in outer\n    raise LookupError('outer') from error\nLookupError: outer" in itself


def test_causes_and_contexts_arrive_once_each() -> None:
    """`raise … from` sets both to the same error; copying each would take a time exponential in their number."""

    def deep(depth: int) -> None:
        try:
            if not depth:
                raise ValueError('bottom')
            deep(depth - 1)
        except Exception as error:
            raise TwoArguments('depth', code=depth) from error

    with pytest.raises(TwoArguments) as caught:
        through_a_process(deep, 50)
    error, depth = caught.value, 50
    while error.__cause__ is not None:
        assert error.code == depth
        assert error.__cause__ is error.__context__
        assert error.__suppress_context__
        error, depth = error.__cause__, depth - 1  # type: ignore[assignment]
    assert (depth, error.args) == (-1, ('bottom',))


def test_a_context_that_is_not_a_cause() -> None:
    def function(hide: bool) -> None:
        try:
            raise ValueError('first')
        except ValueError:
            if hide:
                raise KeyError('second') from None
            raise KeyError('second')  # noqa: B904

    for hide in (False, True):
        with pytest.raises(KeyError) as caught:
            through_a_process(function, hide)
        assert caught.value.__context__.args == ('first',)  # type: ignore[union-attr]
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ is hide


def test_errors_that_cause_each_other() -> None:
    first, second = ValueError(1), KeyError(2)
    first.__cause__, second.__cause__ = second, first
    came = arriving(first)
    assert came.__cause__.__cause__ is came  # type: ignore[union-attr]


def test_groups_keep_their_members_with_tracebacks_notes_and_causes() -> None:
    def function() -> None:
        members = []
        for x in range(2):
            try:
                outer(0)
            except LookupError as error:
                error.add_note(f'note {x}')
                members.append(error)
        raise Group('some', [*members, ExceptionGroup('inner', [TwoArguments('deep', code=1)])])

    with pytest.raises(Group) as caught:
        through_a_process(function)
    group = caught.value
    assert (group.message, len(group.exceptions)) == ('some', 3)
    for x, member in enumerate(group.exceptions[:2]):
        assert member.__notes__ == [f'note {x}']
        assert traceback.extract_tb(member.__traceback__)[-1].name == 'outer'
        assert isinstance(member.__cause__, ZeroDivisionError)
    (deep,) = group.exceptions[2].exceptions
    assert attributes(deep, 'where', 'code') == ['deep', 1]
    assert group.split(LookupError)[0].message == 'some'


CANNOT = "TypeError: cannot pickle '_thread.lock' object"


def test_a_result_that_cannot_be_pickled() -> None:
    message = f'the result cannot be pickled ({CANNOT}): return arrays, numbers and other plain data'
    with raises(NotPicklable, message) as caught:
        through_a_process(threading.Lock)
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_function_that_cannot_be_pickled() -> None:
    lock = threading.Lock()
    message = (
        f'the function cannot be pickled because of `lock` of `<lambda>`, class `_thread.lock` ({CANNOT}): make what it'
        ' needs inside it, or use threads'
    )
    with raises(NotPicklable, message):
        dumps_function(function_of(lambda x: lock))


def test_a_value_that_cannot_be_pickled() -> None:
    message = f'the value of item 7 cannot be pickled ({CANNOT}): make it inside the function, or use threads'
    with raises(NotPicklable, message):
        dumps_call(7, threading.Lock())


def nowhere() -> Any:
    raise ModuleNotFoundError("No module named 'nowhere'")


class Elsewhere:
    """Stands for what only the other side can unpickle."""

    def __reduce__(self) -> Any:
        return nowhere, ()

    def __call__(self, item: Any) -> Any:
        return item


WHY = "ModuleNotFoundError: No module named 'nowhere'"


def test_a_function_that_cannot_be_unpickled() -> None:
    message = f'the function cannot be unpickled ({WHY}): what it uses must be importable in the process'
    with raises(NotPicklable, message):
        through_a_process(loads_call, dumps_function(function_of(Elsewhere())), dumps_call(0, 1))


def test_a_value_that_cannot_be_unpickled() -> None:
    message = f'the value of an item cannot be unpickled ({WHY}): what it is made of must be importable in the process'
    with raises(NotPicklable, message):
        through_a_process(loads_call, dumps_function(function_of(abs)), dumps_call(0, Elsewhere()))


def test_a_result_that_cannot_be_unpickled() -> None:
    message = f'the result cannot be unpickled ({WHY}): what it is made of must be importable here'
    with raises(NotPicklable, message):
        through_a_process(Elsewhere)


def test_results_arrive_as_they_were() -> None:
    result = through_a_process(lambda: ({'a': np.arange(4)[::2]}, lambda x: x + 1, None))
    assert result[0]['a'].tolist() == [0, 2]
    assert result[1](1) == 2
    assert result[2] is None


def test_an_error_that_is_returned_is_a_result() -> None:
    assert through_a_process(lambda: KeyError(3)).args == (3,)


class TestWhatBelongsToAModule:
    @pytest.mark.parametrize('function', [np.random.normal, random.gauss, random.random])
    def test_its_hidden_generator_stays_the_module_s(self, function: Any) -> None:
        again = pickle.loads(dumps_function(function_of(function)))
        assert again.calls[0].__self__ is function.__self__

    @pytest.mark.filterwarnings('ignore:.*is a random generator')
    def test_another_generator_is_copied(self) -> None:
        own = random.Random(5)
        for held in (own, np.random.default_rng(5)):
            again = pickle.loads(dumps_function(function_of(lambda _, held=held: held.random())))
            assert again(0, None) == type(held)(5).random() if held is own else np.random.default_rng(5).random()

    def test_processes_draw_different_numbers_from_it(self) -> None:
        drawn = list([(0.0, 1.0)] * 8 | parallel_map(unpack(np.random.normal), processes=2))
        assert len(set(drawn)) == 8

    def test_a_stage_of_a_script_inside_a_function(self) -> None:
        out = run_script(
            """
            from itpipe import parallel_map, stage

            @stage
            def doubled(items):
                for item in items:
                    yield 2 * item

            def function(item):
                return list([item] | doubled())

            if __name__ == '__main__':
                print(list([1, 2] | parallel_map(function, processes=1)))
            """
        )
        assert out == '[[2], [4]]\n'
