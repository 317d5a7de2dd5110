"""Padding: the values are those of numpy, the errors are ours."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import images, noise, refuses

from itpipe.image import (
    crop_to_shape,
    pad,
    pad_to_divisible,
    pad_to_shape,
)


@given(images, st.data())
def test_pad_equals_numpy_and_crop_undoes_it(image: np.ndarray, data: st.DataObject) -> None:
    """`crop_to_shape(pad_to_shape(x)) == x`, on any axes and at any ratio."""
    axes = data.draw(st.lists(st.sampled_from(range(image.ndim)), unique=True)) if image.ndim else []
    extra = [data.draw(st.integers(0, 5)) for _ in axes]
    ratio = [data.draw(st.floats(0, 1)) for _ in axes]
    shape = [image.shape[k] + more for k, more in zip(axes, extra, strict=True)]
    padded = pad_to_shape(image, shape, axes, 1, ratio)
    widths = [(0, 0)] * image.ndim
    for k, more, share in zip(axes, extra, ratio, strict=True):
        widths[k] = (int(more * share), more - int(more * share))
    np.testing.assert_array_equal(
        padded, np.pad(image, widths, constant_values=1) if image.ndim else image, strict=True
    )
    cropped = crop_to_shape(padded, [image.shape[k] for k in axes], axes, ratio)
    np.testing.assert_array_equal(cropped, image, strict=True)


@pytest.mark.parametrize(
    ('ratio', 'before'),
    [(0, [0, 0]), (1, [3, 5]), (0.5, [1, 2]), ([1, 0], [3, 0]), (np.float32(0.5), [1, 2]), ([0.5], [1, 2])],
)
def test_ratio_is_the_share_before_rounded_down(ratio: Any, before: list[int]) -> None:
    padded = pad_to_shape(np.ones((1, 1)), (4, 6), ratio=ratio)
    assert np.argwhere(padded).tolist() == [before]
    numbers = np.arange(24).reshape(4, 6)
    assert crop_to_shape(numbers, 1, ratio=ratio).item() == numbers[tuple(before)]


def test_padding_values() -> None:
    """A number, an array that broadcasts, or a function of the image that gives either."""
    image = np.arange(12).reshape(3, 2, 2)
    for values in 7, np.float64(7.0), np.array(7), lambda x: 7, lambda x: x.max() - 4:
        assert set(pad_to_shape(image, 3, axis=2, padding_values=values)[..., -1].ravel()) == {7}
    least = partial(np.min, axis=(1, 2), keepdims=True)
    for values in least, least(image), [[[0]], [[4]], [[8]]]:
        padded = pad_to_shape(image, (4, 5), padding_values=values)
        expected = [np.pad(x, ((1, 1), (1, 2)), constant_values=x.min()) for x in image]
        np.testing.assert_array_equal(padded, expected)


@pytest.mark.parametrize(
    ('dtype', 'values', 'expected'),
    [
        ('uint8', 255, 255),
        ('uint8', 2.75, 2),
        ('int8', -2.75, -2),
        ('int8', True, 1),
        ('bool', 1, True),
        ('bool', 0.0, False),
        ('uint64', 2**64 - 1, 2**64 - 1),
        ('int64', -(2**63), -(2**63)),
        ('float16', 0.1, np.float16(0.1)),
        ('float32', -np.inf, -np.inf),
        ('float32', 2**40 + 1, np.float32(2**40)),
        ('float64', 3 + 0j, 3),
        ('complex64', 1j, 1j),
        ('U3', 'cat', 'cat'),
        ('O', None, None),
    ],
)
def test_padding_values_take_the_dtype_of_the_image(dtype: str, values: Any, expected: Any) -> None:
    padded = pad_to_shape(np.zeros(1, dtype), 2, padding_values=values, ratio=0)
    assert padded.dtype == np.dtype(dtype)
    assert padded[1] == expected


def test_padding_with_nan() -> None:
    assert np.isnan(pad_to_shape(np.zeros(1), 2, padding_values=np.nan, ratio=0)[1])
    assert np.isnan(pad_to_shape(np.zeros(1, 'complex64'), 2, padding_values=np.nan, ratio=0)[1])


@pytest.mark.parametrize(
    ('dtype', 'values'),
    [
        ('uint8', -1),
        ('uint8', 256),
        ('uint8', np.nan),
        ('int8', np.float32(1e9)),
        ('int64', np.inf),
        ('bool', 2),
        ('bool', 0.5),
        ('bool', -1),
        ('float16', 1e6),
        ('float32', 1e300),
        ('float64', 1j),
        ('uint8', 1 + 1j),
        ('complex64', 1e300),
    ],
)
def test_padding_values_that_do_not_fit_the_dtype(dtype: str, values: Any) -> None:
    """A value that would turn into another one is refused, also where there is nothing to pad."""
    message = f"pad_to_shape: `padding_values` must fit the image's dtype {dtype}, got {values!r}"
    for length in 2, 5:
        refuses(ValueError, message, pad_to_shape, np.zeros(2, dtype), length, padding_values=values)


@pytest.mark.parametrize(
    ('values', 'got'), [('edge', 'str'), (None, 'NoneType'), (lambda x: 'a', 'str'), ([None], 'list')]
)
def test_padding_values_are_numbers(values: Any, got: str) -> None:
    rule = '`padding_values` must be a number, an array of numbers or a function of the image that returns them'
    refuses(TypeError, f'pad_to_shape: {rule}, got {got}', pad_to_shape, np.zeros(2), 5, padding_values=values)


def test_pad_errors() -> None:
    image = noise(3, 5)
    message = "pad_to_shape: `shape` must be at least the image's shape on every axis; axis 1 has 5, asked 3"
    refuses(ValueError, message, pad_to_shape, image, (4, 3))
    refuses(ValueError, message, pad_to_shape, image, 3)
    refuses(ValueError, message, pad_to_shape, image, 3, axis=-1)
    message = "pad_to_shape: `padding_values` must broadcast to the result's shape (3, 6), got shape (5,)"
    refuses(ValueError, message, pad_to_shape, image, [6], padding_values=np.zeros(5))


@pytest.mark.parametrize('f', [pad_to_shape, crop_to_shape])
def test_ratio_errors(f: Callable[..., Any]) -> None:
    image, name = noise(3, 3), f.__name__
    for ratio in -0.1, 1.5, [0.5, 2], float('nan'):
        refuses(ValueError, f'{name}: `ratio` must be between 0 and 1, got {ratio!r}', f, image, 3, ratio=ratio)
    for bad in 'half', None, True, [[0.5]]:
        message = f'{name}: `ratio` must be a number or a sequence of numbers, got {bad!r}'
        refuses(TypeError, message, f, image, 3, ratio=bad)
    message = f'{name}: `ratio` must be one value or one per chosen axis (1), got [0, 1]'
    refuses(ValueError, message, f, image, [3], ratio=[0, 1])


def test_users_error_in_padding_values_is_theirs() -> None:
    def fail(image: np.ndarray) -> float:
        raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        pad_to_shape(np.zeros(2), 3, padding_values=fail)


def test_pad() -> None:
    image = np.arange(6).reshape(2, 3)
    for padding, axis, widths in (
        (1, None, [(1, 1), (1, 1)]),
        ([2], None, [(0, 0), (2, 2)]),
        ([1, 2], None, [(1, 1), (2, 2)]),
        ([[1, 2]], (0, 1), [(1, 2), (1, 2)]),
        ([[1, 2], [0, 3]], [1, 0], [(0, 3), (1, 2)]),
        (2, 0, [(2, 2), (0, 0)]),
    ):
        expected = np.pad(image, widths, constant_values=7)
        np.testing.assert_array_equal(pad(image, padding, axis, 7), expected, strict=True)
    assert pad(image, 1, padding_values=np.max)[0, 0] == 5
    refuses(ValueError, 'pad: `padding` must not be negative, got [1, -1]', pad, image, [1, -1])
    for bad in 0.5, 'a', None, [[1, 2, 3]], [[1], [2, 3]], [[[1]]]:
        refuses(TypeError, f'pad: `padding` must be an int, ints, or pairs of ints, got {bad!r}', pad, image, bad)
    message = 'pad: `padding` must be one value or one per chosen axis (1), got [[1, 2], [3, 4]]'
    refuses(ValueError, message, pad, image, [[1, 2], [3, 4]], 0)
    message = "pad: `padding_values` must fit the image's dtype uint8, got -1"
    refuses(ValueError, message, pad, image.astype(np.uint8), 1, None, -1)


@given(images, st.integers(1, 5), st.integers(0, 7), st.floats(0, 1))
def test_pad_to_divisible_is_the_least_shape(image: np.ndarray, divisor: int, remainder: int, ratio: float) -> None:
    padded = pad_to_divisible(image, divisor, None, 1, ratio, remainder)
    wanted = [
        next(m for m in range(99) if m >= max(n, remainder) and (m - remainder) % divisor == 0) for n in image.shape
    ]
    assert list(padded.shape) == wanted
    np.testing.assert_array_equal(padded, pad_to_shape(image, wanted, None, 1, ratio))


def test_pad_to_divisible_errors() -> None:
    image = noise(3, 5)
    refuses(ValueError, 'pad_to_divisible: `divisor` must be at least 1, got 0', pad_to_divisible, image, 0)
    message = 'pad_to_divisible: `remainder` must be at least 0, got -1'
    refuses(ValueError, message, pad_to_divisible, image, 2, remainder=-1)
