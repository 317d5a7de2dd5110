"""Batches: lists of items of one structure, and what should come out of them."""

from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st

from itpipe import combine, combine_lists, combine_pad

FUNCTIONS = pytest.mark.parametrize('function', [combine, combine_pad, combine_lists])
STACKING = pytest.mark.parametrize('function', [combine, combine_pad])


class Pair(NamedTuple):
    image: Any
    label: Any


class Tensor:
    """Like a CPU tensor: no array, but numpy makes one of it."""

    def __init__(self, data):
        self.data = data

    def __array__(self, dtype=None, copy=None):
        return self.data


class Picture:
    """Like a PIL image."""

    def __init__(self, data):
        self.__array_interface__ = data.__array_interface__
        self.data = data

    __array_interface__ = None


def message(error, call, *args, **kwargs):
    """The whole text of the error that the call raises."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert type(caught.value) is error
    return str(caught.value)


def assert_same(found, expected):
    """Equal in structure, types, dtypes and values; and arrays are as promised."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.flags.c_contiguous
        assert found.flags.writeable
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            assert_same(x, y)
    else:
        assert found == expected


DTYPES = ['bool', 'u1', 'i2', 'i8', 'u8', '>f4', 'f4', 'f8', 'c8', 'f2']
LAYOUTS = ['C', 'F', 'strided', 'reversed', 'read-only', 'first of many']


def make_array(draw, shape):
    layout = draw(st.sampled_from(LAYOUTS))
    values = draw(st.integers(0, 100)) + np.arange(int(np.prod(shape))).reshape(shape)
    x = (values % 119).astype(draw(st.sampled_from(DTYPES)))
    if layout == 'F':
        x = np.asfortranarray(x)
    elif layout == 'strided':
        x = np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x
    elif layout == 'reversed':
        x = x[..., ::-1] if x.ndim else x
    elif layout == 'read-only':
        x.flags.writeable = False
    elif layout == 'first of many' and x.ndim:
        x = np.stack([x, x], axis=1)[:, 0]
    return x


SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.just(1j), st.just(np.float32(2)),
    st.just(np.uint8(3)), st.just(np.array(4)),
)  # fmt: skip


@st.composite
def batches(draw, ragged=False):
    """Items of one structure."""
    n = draw(st.integers(1, 5))

    def structure(depth):
        kind = draw(st.sampled_from(['array', 'array', 'scalar', 'text', 'object', 'tuple', 'list', 'dict', 'Pair']))
        if kind in ('array', 'scalar', 'text', 'object') or depth == 3:
            if kind == 'scalar':
                return [draw(SCALARS) for _ in range(n)]
            if kind == 'text':
                return [draw(st.text(max_size=3)) for _ in range(n)]
            if kind == 'object':
                return [draw(st.sampled_from([None, Decimal(1), {1}])) for _ in range(n)]
            ndim = draw(st.integers(1, 4))
            shape = draw(st.tuples(*[st.integers(0, 4)] * ndim))
            shapes = [draw(st.tuples(*[st.integers(0, 4)] * ndim)) if ragged else shape for _ in range(n)]
            return [make_array(draw, shape) for shape in shapes]
        size = 2 if kind == 'Pair' else draw(st.integers(0, 3))
        elements = [structure(depth + 1) for _ in range(size)]
        if kind == 'dict':
            return [{f'key {k}': elements[k][i] for k in draw(st.permutations(range(size)))} for i in range(n)]
        make = {'tuple': tuple, 'list': list, 'Pair': Pair._make}[kind]
        return [make([values[i] for values in elements]) for i in range(n)]

    return structure(0)


def reference(items, join):
    first = items[0]
    if isinstance(first, dict):
        return {key: reference([item[key] for item in items], join) for key in first}
    if isinstance(first, (tuple, list)):
        values = [reference(column, join) for column in zip(*items, strict=True)]
        return getattr(type(first), '_make', type(first))(values)
    if isinstance(first, str):
        return items if isinstance(items, list) else list(items)
    if first is None or isinstance(first, (Decimal, set)):
        result = np.empty(len(items), object)
        for i, item in enumerate(items):
            result[i] = item
        return result
    return join([np.asarray(item) for item in items])


def common(arrays):
    integers = all(x.dtype.kind in 'biu' for x in arrays)
    dtype = np.result_type(*[x.dtype for x in arrays])
    return np.dtype('i8') if integers and dtype.kind == 'f' else dtype


def stacked(arrays):
    return np.stack([x.astype(common(arrays)) for x in arrays]).copy('C')


def padded(arrays, value=0, ratio=0.5, multiple=1):
    common = [-(-max(sizes) // multiple) * multiple for sizes in zip(*[x.shape for x in arrays], strict=True)]
    results = []
    for x in arrays:
        spare = [size - s for size, s in zip(common, x.shape, strict=True)]
        before = [int(s * ratio) for s in spare]
        widths = [(b, s - b) for b, s in zip(before, spare, strict=True)]
        results.append(np.pad(x, widths, constant_values=value) if x.ndim else x)
    return stacked(results)


def ragged(*sizes, dtype='i8'):
    return [np.arange(1, size + 1, dtype=dtype) for size in sizes]
