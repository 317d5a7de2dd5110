"""The row of a batch."""

from collections import namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest

from itpipe import combine
from itpipe.tools.rows import value_at

Point = namedtuple('Point', 'x y')


@dataclass
class Image:
    pixels: np.ndarray
    size: int = field(init=False, default=3)


ARRAY = np.arange(8).reshape(4, 2)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (ARRAY, [2, 3]),
        ({'a': ARRAY, 'b': 3}, {'a': [2, 3], 'b': 3}),
        ((ARRAY, [5, 6, 7, 8]), ([2, 3], 6)),
        (Point(ARRAY, 'a'), Point([2, 3], 'a')),
        (ARRAY.T, [[0, 2, 4, 6], [1, 3, 5, 7]]),
        ([1, 2], [1, 2]),
        ('abcd', 'abcd'),
    ],
)
def test_the_row_is_taken_where_there_are_rows(value, expected):
    def plain(x):
        if isinstance(x, dict):
            return {key: plain(part) for key, part in x.items()}
        if isinstance(x, tuple):
            return type(x)(*map(plain, x)) if hasattr(x, '_fields') else tuple(map(plain, x))
        return x.tolist() if isinstance(x, np.ndarray) else x

    assert plain(value_at(value, 1, 4)) == expected


def test_dataclasses_keep_their_class():
    found = value_at(Image(ARRAY), 1, 4)
    assert (type(found), found.pixels.tolist(), found.size) == (Image, [2, 3], 3)


@dataclass(frozen=True)
class Checked:
    label: int

    def __post_init__(self):
        if not isinstance(self.label, int):
            raise TypeError('a label is an int')


def test_rows_of_what_combine_makes_of_dataclasses_and_ragged_arrays():
    items = [{'c': Checked(n), 'ids': np.arange(n)} for n in range(4)]
    found = value_at(combine(items, ragged={'ids': True}), 2, 4)
    assert (type(found['c']), found['c'].label, found['ids'].tolist()) == (Checked, 2, [0, 1])
