"""Stacks of threads: where they are in the user's functions."""

import threading
import types
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from itpipe import apply
from itpipe._engine.stacks import (
    MAX_FRAMES,
    format_stack,
    format_worker,
    stack_of,
    stack_of_coroutine,
    user_place,
    user_stacklevel,
)


def test_a_stack_begins_with_the_users_functions() -> None:
    stacks = []

    def deep(n: int) -> int:
        if n:
            return deep(n - 1)
        stacks.append(stack_of(threading.get_ident()))
        return n

    for n in (0, 3, 10 * MAX_FRAMES):
        list([n] | apply(deep))
        names = [name for _, _, name in stacks.pop()]
        assert names == ['deep'] * min(n + 1, MAX_FRAMES - 1) + ['stack_of']


def test_threads_that_are_no_more_have_no_stack() -> None:
    assert stack_of(None) == stack_of(1) == []


def test_a_stack_prints_as_in_a_traceback() -> None:
    (frame,) = [(__file__, test_a_stack_prints_as_in_a_traceback.__code__.co_firstlineno, 'f')]
    lines = f'  File "{__file__}", line {frame[1]}, in f\n    def test_a_stack_prints_as_in_a_traceback() -> None:\n'
    assert format_stack([frame]) == lines
    assert format_worker('item 3 in thread a', [frame]).splitlines()[0] == '  item 3 in thread a'


def test_a_warning_points_to_the_first_function_that_is_not_itpipes() -> None:
    with pytest.warns(UserWarning, match='here') as caught:
        warnings.warn('here', stacklevel=user_stacklevel())
    assert caught[0].filename == __file__


def test_a_warning_points_there_also_from_another_thread() -> None:
    place = user_place()
    with pytest.warns(UserWarning, match='here') as caught, ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: warnings.warn_explicit('here', UserWarning, **place)).result()
    assert (caught[0].filename, caught[0].lineno) == (__file__, place['lineno'])


def test_the_stack_of_a_coroutine_goes_down_to_what_it_waits_for() -> None:
    @types.coroutine
    def waits() -> Iterator[None]:
        yield

    async def inner() -> None:
        await waits()

    async def outer() -> None:
        await inner()

    coroutine = outer()
    coroutine.send(None)
    assert [name for _, _, name in stack_of_coroutine(coroutine)] == ['outer', 'inner', 'waits']
    coroutine.close()
    assert stack_of_coroutine(coroutine) == []
