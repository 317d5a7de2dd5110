"""Steps print as the code that makes them, shortened where that is long; arguments are compared without surprises."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from itpipe import stream
from itpipe._core.show import format_call, format_value, same, shortened


class Shy:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]

    def method(self) -> None: ...


def function() -> None:
    def inner() -> None: ...

    function.inner = inner  # type: ignore[attr-defined]


function()


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (1.5, '1.5'),
        ('a', "'a'"),
        ((1,), '(1,)'),
        ([1, ('a', None)], "[1, ('a', None)]"),
        ({'a': [1], 2: abs}, "{'a': [1], 2: abs}"),
        (list(range(8)), '[0, 1, 2, 3, 4, 5, …]'),
        (list(range(7)), '[0, 1, 2, 3, 4, 5, 6]'),
        (set(), 'set()'),
        (frozenset({2, 1}), 'frozenset({1, 2})'),
        ({10, 9, 1}, '{1, 9, 10}'),
        (partial(round, ndigits=2), 'partial(round, ndigits=2)'),
        (np.zeros((2, 3), 'f4'), '<ndarray of shape (2, 3), float32>'),
        (np.float32, 'float32'),
        (np.float32(2), repr(np.float32(2))),  # which is another one from numpy 2 on
        (function, 'function'),
        (function.inner, 'inner'),  # type: ignore[attr-defined]
        (str.upper, 'str.upper'),
        ('abc'.upper, "'abc'.upper"),
        (dict.fromkeys, 'dict.fromkeys'),
        (Shy().method, '<Shy>.method'),
        (Shy(), '<Shy>'),
        (np.random.default_rng, 'default_rng'),
        ('x' * 300, "'" + 'x' * 119 + '…' + 'x' * 19 + "'"),
    ],
)
def test_a_value_prints_as_one_would_write_it(value: Any, text: str) -> None:
    assert format_value(value) == text


class Table:
    num_rows, column_names = 3000, ['text', 'id']

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return indices

    def __repr__(self) -> str:
        return "Table({\n    features: ['text', 'id'],\n    num_rows: 3000\n})"


def test_a_repr_of_several_lines_is_shown_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert format_value(Table()) == "Table({ features: ['text', 'id'], num_rows: 3000 })"
    assert shortened(Table()) == "Table({ features: ['text', 'id'], num_r…"
    assert repr(stream([Table()]) | abs) == "[Table({ features: ['text', 'id'], num_rows: 3000 })] | apply(abs)"
    monkeypatch.setattr(Table, '__module__', 'datasets.arrow_dataset')
    assert format_value(Table()) == shortened(Table()) == 'Table(3,000 rows: text, id)'


def test_a_call_prints_as_one_would_write_it() -> None:
    assert format_call('f', (1, 'a'), {'b': [2]}) == "f(1, 'a', b=[2])"
    assert format_call('f', (), {}) == 'f()'
    assert repr(stream([1]) | abs) == '[1] | apply(abs)'


shy = Shy()


@pytest.mark.parametrize(
    ('a', 'b', 'expected'),
    [
        (1, 1, True),
        (1, 1.0, False),
        (True, 1, False),
        ([1, (2,)], [1, (2,)], True),
        ([1, 2], [1], False),
        ({'a': np.zeros(2)}, {'a': np.zeros(2)}, True),
        ({'a': 1}, {'b': 1}, False),
        (np.zeros(2), np.zeros(2), True),
        (np.zeros(2), np.zeros(3), False),
        (np.zeros(2), np.zeros(2, 'f4'), False),
        (np.zeros(2), np.ones(2), False),
        (partial(round, ndigits=2), partial(round, ndigits=2), True),
        (partial(round, ndigits=2), partial(round, ndigits=3), False),
        (shy, shy, True),
        (shy, Shy(), False),
    ],
)
def test_whether_two_arguments_are_the_same(a: Any, b: Any, expected: bool) -> None:
    assert same(a, b) is expected
