"""Wrong arguments are refused with a message that names the function, the parameter, the rule and the value."""

from collections.abc import AsyncIterator, Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from running import raises

from itpipe._core.checks import check_rank, in_use, integer, is_function, not_async, number, positive, truth


async def later(x: int) -> int:
    return x


async def several() -> AsyncIterator[int]:
    yield 1


class Awaited:
    async def __call__(self, x: int) -> int:
        return x


@pytest.mark.parametrize('value', [3, np.int8(3), np.array(3)], ids=repr)
def test_an_integer_may_be_of_any_kind(value: Any) -> None:
    result = integer('f', 'n', value, least=3)
    assert (result, type(result)) == (3, int)


@pytest.mark.parametrize(
    ('check', 'error', 'message'),
    [
        (lambda: integer('f', 'n', True), TypeError, 'f: `n` must be an int, got bool'),
        (lambda: integer('f', 'n', 2.0), TypeError, 'f: `n` must be an int, got float'),
        (lambda: integer('f', 'n', np.arange(3)), TypeError, 'f: `n` must be an int, got ndarray'),
        (lambda: integer('f', 'n', 0, least=1), ValueError, 'f: `n` must be at least 1, got 0'),
        (lambda: number('f', 'p', '1'), TypeError, 'f: `p` must be a number, got str'),
        (lambda: number('f', 'p', False), TypeError, 'f: `p` must be a number, got bool'),
        (lambda: number('f', 'p', float('nan')), ValueError, 'f: `p` must be a number, got nan'),
        (lambda: number('f', 'p', 1.5, 0, 1), ValueError, 'f: `p` must be between 0 and 1, got 1.5'),
        (lambda: number('f', 'p', -1, 0), ValueError, 'f: `p` must be at least 0, got -1'),
        (lambda: positive('f', 'p', 0), ValueError, 'f: `p` must be positive, got 0'),
        (lambda: truth('f', 'b', 1), TypeError, 'f: `b` must be True or False, got int'),
        (lambda: is_function('f', 'g', 3), TypeError, 'f: `g` must be a function, got int'),
        (lambda: check_rank('f', 0, 0, 'r', 'n'), ValueError, 'f: `n` must be at least 1, got 0'),
        (lambda: check_rank('f', -1, 2, 'r', 'n'), ValueError, 'f: `r` must be at least 0, got -1'),
        (lambda: check_rank('f', 2, 2, 'r', 'n'), ValueError, 'f: `r` must be less than `n` (2), got 2'),
    ],
)
def test_wrong_values(check: Callable[[], Any], error: type[Exception], message: str) -> None:
    with raises(error, message):
        check()


def test_right_values_come_back() -> None:
    assert number('f', 'p', 0.5, 0, 1) == 0.5
    assert positive('f', 'p', np.float32(2)) == 2
    assert truth('f', 'b', False) is False
    assert is_function('f', 'g', abs) is abs
    assert check_rank('f', np.int64(1), 2, 'r', 'n') == (1, 2)


def test_no_workers_of_a_kind_are_none_and_wrong_values_are_left_to_others() -> None:
    given: dict[str, Any] = {'a': None, 'b': 0, 'c': np.int64(0), 'd': -1, 'e': False, 'f': 0.0, 'g': 'auto'}
    assert in_use(given) == {name: given[name] for name in 'defg'}


@pytest.mark.parametrize(
    'function', [later, several, partial(later, 1), staticmethod(later), cache(later), Awaited()], ids=lambda _: ''
)
def test_functions_whose_results_would_have_to_be_awaited_are_found_wherever_they_are(function: Any) -> None:
    with pytest.raises(TypeError, match=r'^f: `g` must be a function that returns its result, got '):
        not_async('f: `g`', function)
