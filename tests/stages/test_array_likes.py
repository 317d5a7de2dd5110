"""Batches of tables and other objects that numpy makes arrays of."""

import array
from decimal import Decimal

import numpy as np
import pytest
from batches import (
    STACKING,
    Picture,
    Tensor,
    assert_same,
    message,
)

from itpipe import combine, combine_pad

ID = 2**53 + 1


@STACKING
def test_subclasses_come_out_as_plain_arrays(function, tmp_path):
    mapped = np.memmap(tmp_path / 'x', 'i8', 'w+', shape=(1, 2))
    mapped[:] = [[1, 2]]
    for x in (np.array([[1, 2]]).view(np.matrix), mapped, np.array([[1, 2]]).view(np.recarray)):
        assert_same(function([x, x]), np.array([[[1, 2]], [[1, 2]]]))
    del mapped, x


@STACKING
def test_what_numpy_takes_for_an_array_is_one(function):
    x, y = np.arange(3.0), np.ones(3, 'f4')
    assert_same(function([Tensor(x), y]), np.stack([x, y]))
    assert_same(function([Tensor(np.array(1)), 2]), np.array([1, 2]))
    assert_same(function([Picture(x), Picture(y)]), np.stack([x, y]))
    assert function([array.array('i', [1, 2])]).dtype == object


LABELS = '; labels must be the same, in the same order, or be dropped before, by `np.asarray`'


def pandas_series():
    pandas = pytest.importorskip('pandas')
    row = pandas.Series({'a': 1, 'b': 2})
    return row, row[::-1], "index ['b', 'a']", "index ['a', 'b']"


def pandas_rows():
    pandas = pytest.importorskip('pandas')
    row = pandas.Series({'a': 1, 'b': 2})
    return row, pandas.Series([1, 2]), 'no index', "index ['a', 'b']"


def pandas_table():
    pandas = pytest.importorskip('pandas')
    table = pandas.DataFrame({'x': [1, 2], 'y': [3, 4]})
    return table, table[['y', 'x']], "columns ['y', 'x']", "columns ['x', 'y']"


def pandas_row_numbers():
    pandas = pytest.importorskip('pandas')
    table = pandas.DataFrame({'x': range(8)}, index=range(10, 18))
    return table, table[::-1], 'index [17, 16, 15, 14, 13, 12, …]', 'index [10, 11, 12, 13, 14, 15, …]'


def polars_table():
    polars = pytest.importorskip('polars')
    table = polars.DataFrame({'x': [1, 2], 'y': [3, 4]})
    return table, table[['y', 'x']], "columns ['y', 'x']", "columns ['x', 'y']"


def arrow_table():
    pyarrow = pytest.importorskip('pyarrow')
    table = pyarrow.table({'x': [1, 2], 'y': [3, 4]})
    return table, table.select(['y', 'x']), "columns ['y', 'x']", "columns ['x', 'y']"


def xarray_dims():
    xarray = pytest.importorskip('xarray')
    image = xarray.DataArray(np.ones((2, 2)), dims=('x', 'y'))
    return image, image.T, "dims ['y', 'x']", "dims ['x', 'y']"


def xarray_coordinates():
    xarray = pytest.importorskip('xarray')
    image = xarray.DataArray(np.ones((2, 2)), dims=('band', 'y'), coords={'band': ['r', 'g']})
    return image, image[::-1], "coordinate 'band' ['g', 'r']", "coordinate 'band' ['r', 'g']"


class Quantity(np.ndarray):
    """Like one of astropy."""

    unit = None


def units():
    metres, kilometres = np.ones(2).view(Quantity), np.ones(2).view(Quantity)
    metres.unit, kilometres.unit = Decimal(1), Decimal(1000)
    return metres, kilometres, 'unit 1000', 'unit 1'


@pytest.mark.many(4)
@STACKING
@pytest.mark.parametrize(
    'made',
    [
        pandas_series, pandas_rows, pandas_table, pandas_row_numbers, polars_table, arrow_table, xarray_dims,
        xarray_coordinates, units,
    ],
)  # fmt: skip
def test_labels_that_differ_are_refused_and_equal_ones_are_combined(function, made):
    first, other, has, expected = made()
    assert_same(function([{'x': first}, {'x': first}])['x'], np.stack([np.asarray(first)] * 2))
    assert message(ValueError, function, [{'x': first}, {'x': first}, {'x': other}]) == (
        f"{function.__name__}: element ['x'] of item 2 has {has}, but item 0 has {expected}{LABELS}"
    )
    assert function([np.asarray(first), np.asarray(other)]).shape == (2, *first.shape)


def test_rows_that_are_only_numbered_have_no_labels():
    pandas = pytest.importorskip('pandas')
    tables = [pandas.DataFrame({'x': range(n)}) for n in (1, 2)]
    assert combine_pad(tables, ratio=0, padding_values=-1).tolist() == [[[0], [-1]], [[0], [1]]]
    assert combine([pandas.Series([1, 2]), np.array([3, 4])]).tolist() == [[1, 2], [3, 4]]


@STACKING
def test_rows_of_tables(function):
    """Of each table, pandas makes a class for its rows."""
    pandas = pytest.importorskip('pandas')
    rows = [next(pandas.DataFrame({'x': [i], 'y': [-i]}).itertuples(index=False)) for i in (1, 2)]
    found = function(rows)
    assert found.x.tolist() == [1, 2]
    assert found.y.tolist() == [-1, -2]


def pandas_missing(value):
    pandas = pytest.importorskip('pandas')
    return pandas.Series([value, None], dtype='Int64')


def pandas_mixed(value):
    return pytest.importorskip('pandas').DataFrame({'id': [value], 'x': [1e300]})


def polars_missing(value):
    return pytest.importorskip('polars').Series([value, None])


def polars_mixed(value):
    return pytest.importorskip('polars').DataFrame({'id': [value], 'x': [1e300]})


def arrow_missing(value):
    return pytest.importorskip('pyarrow').array([value, None])


def arrow_mixed(value):
    return pytest.importorskip('pyarrow').table({'id': [value], 'x': [1e300]})


@STACKING
@pytest.mark.parametrize(
    'made', [pandas_missing, pandas_mixed, polars_missing, polars_mixed, arrow_missing, arrow_mixed]
)
def test_integers_that_change_where_numpy_makes_an_array_are_refused(function, made):
    small, large = made(5), made(ID)
    np.testing.assert_array_equal(function([small]), np.asarray(small)[None])
    assert message(ValueError, function, [(small,), (large,)]) == (
        f'{function.__name__}: element [0] of item 1, a {type(large).__name__}, has 64-bit integers that are others in'
        ' float64, which numpy makes of it; fill what is missing, or combine each column by itself'
    )


class Elsewhere:
    """Like an array on a device that numpy cannot read."""

    shape = (2,)
    ndim = 1

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError('it is on the moon')


@STACKING
def test_what_numpy_cannot_read_is_refused_with_its_place(function):
    items = [{'x': np.ones(2), 'emb': x} for x in (np.ones(2), Elsewhere())]
    assert message(TypeError, function, items) == (
        f"{function.__name__}: element ['emb'] of item 1, a Elsewhere, cannot be made an array (RuntimeError: it is on"
        ' the moon); convert it before'
    )
