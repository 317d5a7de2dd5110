"""Lists and tuples with other elements."""

import os
from typing import NamedTuple

import pytest

from itpipe._core.containers import filled_like


class Point(NamedTuple):
    x: object
    y: object


class Named(list):
    """A list with an attribute."""


class Pair(tuple):  # noqa: SLOT001  # it is to have attributes
    """A tuple with an attribute."""


@pytest.mark.parametrize('first', [[1, 2], (1, 2), Point(1, 2), Named([1, 2]), Pair((1, 2))])
def test_the_type_stays(first: object) -> None:
    result = filled_like(first, ['a', 'b'])
    assert type(result) is type(first)
    assert list(result) == ['a', 'b']


@pytest.mark.parametrize('kind', [Named, Pair])
def test_attributes_stay_and_the_first_is_not_changed(kind: type) -> None:
    first = kind([1, 2])
    first.name = 'left'
    result = filled_like(first, ['a', 'b'])
    assert result.name == 'left'
    assert list(first) == [1, 2]


def test_a_type_that_takes_only_its_own_values_becomes_a_tuple() -> None:
    assert filled_like(os.terminal_size((80, 24)), ['a', 'b']) == ('a', 'b')
