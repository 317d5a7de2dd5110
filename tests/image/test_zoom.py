"""Zooming: the values are those of scipy, the errors are ours."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import NUMBERS, noise, refuses
from scipy import ndimage

from itpipe.image import (
    proportional_zoom_to_shape,
    zoom,
    zoom_to_shape,
)


@pytest.mark.many(7)
@pytest.mark.parametrize('order', range(6))
@pytest.mark.parametrize('dtype', NUMBERS)
@pytest.mark.parametrize('scale', [2, 0.5, [1, 2], [1.7, 0.6], (3, 1), np.array([0.4, 2.5])], ids=str)
def test_zoom_equals_scipy(order: int, dtype: str, scale: Any) -> None:
    image = (noise(9, 8) * 100).astype(dtype)
    if dtype == 'float16':  # which scipy does not take
        expected = ndimage.zoom(image.astype('float32'), scale, order=order).astype(dtype)
    elif dtype == 'bool':  # where scipy cuts off instead of rounding
        expected = ndimage.zoom(image.astype('uint8'), scale, order=order).astype(dtype)
    else:
        expected = ndimage.zoom(image, scale, order=order)
    result = zoom(image, scale, order=order)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.many(4)
@pytest.mark.parametrize('order', [0, 1, 3])
@pytest.mark.parametrize(
    ('shape', 'scale', 'axis'),
    [
        ((3, 40, 30), [2, 2], None),
        ((40, 30, 3), 2, (0, 1)),
        ((2, 3, 20, 30), 1.5, (-2, -1)),
        ((20, 3, 60), (2, 3), (2, 0)),
        ((50, 40), 30, 0),
        ((3, 4, 5), 2, 1),
        ((1, 60, 1), 20, None),
    ],
)
def test_zoom_of_planes_equals_scipy(order: int, shape: tuple[int, ...], scale: Any, axis: Any) -> None:
    """Taking large planes one by one changes no bit up to order 1, and nothing but the last bits above."""
    image = noise(*shape)
    axes = range(len(shape))[-np.size(scale) if np.ndim(scale) else 0 :] if axis is None else np.atleast_1d(axis)
    full = np.ones(len(shape))
    full[list(axes)] = scale
    result, expected = zoom(image, scale, axis, order), ndimage.zoom(image, full, order=order)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12 if order > 1 else 0)


@pytest.mark.parametrize('order', range(6))
@pytest.mark.parametrize('side', [8, 40])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_zoom_keeps_channels_apart(order: int, side: int, value: float) -> None:
    """What is not finite stays in its channel, whether the channels are small or large."""
    image = noise(side, side, 3)
    image[4, 5, 1] = value
    result = zoom(image, 2, axis=(0, 1), order=order)
    assert not np.isfinite(result[..., 1]).all()
    clean = zoom(image[..., ::2], 2, axis=(0, 1), order=order)
    np.testing.assert_allclose(result[..., ::2], clean, rtol=0, atol=1e-12 if order > 1 else 0)


def test_zoom_takes_large_planes_one_by_one_and_small_ones_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either way scipy does the least work."""
    shapes = []
    scipy_zoom = ndimage.zoom
    monkeypatch.setattr(
        ndimage, 'zoom', lambda image, *args, **kw: shapes.append(image.shape) or scipy_zoom(image, *args, **kw)
    )
    zoom(noise(3, 40, 30), [2, 2])
    zoom(noise(3, 4, 5), [2, 2])
    assert shapes == [*[(40, 30)] * 3, (3, 4, 5)]


@pytest.mark.long
@pytest.mark.parametrize('order', [0, 1, 2, 3])
def test_zoom_keeps_the_last_pixel(order: int) -> None:
    """scipy's default loses the last pixel to rounding at some sizes; everywhere else the values are the same."""
    for before in range(2, 40):
        image = noise(before) + 1
        for after in range(2, 80):
            result = zoom_to_shape(image, after, order=order)
            expected = ndimage.zoom(image, after / before, order=order, cval=np.nan)
            kept = ~np.isnan(expected)
            np.testing.assert_allclose(result[kept], expected[kept], rtol=1e-12 if order > 1 else 0)
            np.testing.assert_allclose(result[[0, -1]], image[[0, -1]], rtol=1e-12)


@pytest.mark.parametrize('order', range(6))
def test_zoom_of_whole_masks_has_no_holes(order: int) -> None:
    for after in range(2, 60):
        assert zoom_to_shape(np.ones((7, 7), bool), after, order=order).all()


def test_zoom_of_bools_is_true_from_one_half() -> None:
    mask = np.array([False, True, False])
    assert zoom_to_shape(mask, 5).tolist() == [False, True, True, True, False]
    assert zoom_to_shape(mask, 9).tolist() == [*[False] * 2, *[True] * 5, *[False] * 2]
    assert zoom_to_shape(mask, 9).view('uint8').max() == 1


def test_zoom_of_integers_rounds_and_clips() -> None:
    assert zoom_to_shape(np.array([0, 1]), 3).tolist() == [0, 1, 1]
    assert zoom_to_shape(np.array([0, -1]), 3).tolist() == [0, -1, -1]
    assert zoom_to_shape(np.array([0, 1]), 4).tolist() == [0, 0, 1, 1]
    for dtype in 'int8', 'uint8':
        info = np.iinfo(dtype)
        image = np.array([info.min, info.max, info.min, info.max, info.max, info.min], dtype)
        floats = zoom(image.astype('float64'), 3, order=3)
        assert floats.max() > info.max + 10  # splines overshoot
        assert zoom(image, 3, order=3).tolist() == floats.round().clip(info.min, info.max).tolist()


@pytest.mark.parametrize('dtype', ['int64', 'uint64', 'longdouble', 'U3', 'O', 'M8[s]', 'i4,f4'])
def test_zoom_of_order_0_copies_any_values_exactly(dtype: str) -> None:
    image = np.array([2**62 + 1, 2**62 + 3] if dtype.endswith('int64') else [1, 2]).astype(dtype)
    result = zoom(image, 2, order=0)
    assert result.dtype == image.dtype
    assert result.tolist() == [image.tolist()[k] for k in (0, 0, 1, 1)]


@given(before=st.integers(1, 200), after=st.integers(1, 400))
def test_zoom_of_order_0_picks_the_pixels_that_scipy_picks(before: int, after: int) -> None:
    expected = ndimage.zoom(np.arange(before), after / before, order=0, mode='mirror')
    np.testing.assert_array_equal(zoom_to_shape(np.arange(before), after, order=0), expected)


@given(
    image=hnp.arrays('float64', hnp.array_shapes(max_dims=4, max_side=6), elements=st.floats(-10, 10)),
    data=st.data(),
    order=st.integers(0, 2),
)
def test_zoom_to_shape_gets_there(image: np.ndarray, data: st.DataObject, order: int) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 12)] * image.ndim))
    result = zoom_to_shape(image, shape, order=order)
    assert result.shape == shape
    if order < 2:
        assert image.min() - 1e-9 <= result.min() <= result.max() <= image.max() + 1e-9


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.05, 4)), min_size=1, max_size=3),
    st.integers(0, 1),
)
def test_zoom_has_the_shape_that_scipy_gives(axes: list[tuple[int, float]], order: int) -> None:
    shape, scale = zip(*axes, strict=True)
    expected = ndimage.zoom(np.ones(shape), scale, order=order).shape
    if 0 in expected:
        with pytest.raises(ValueError, match='must leave at least one pixel'):
            zoom(np.ones(shape), scale, order=order)
    else:
        assert zoom(np.ones(shape), scale, order=order).shape == expected


def test_zoom_rounds_halves_to_even() -> None:
    assert [zoom(np.ones(n), 0.5).size for n in (3, 5, 7)] == [2, 2, 4]


@pytest.mark.parametrize('order', [0, 1, 3])
def test_zoom_of_empty_images(order: int) -> None:
    assert zoom(np.ones((0, 3)), 2, order=order).shape == (0, 6)
    assert zoom(np.ones((3, 0, 2), 'uint8'), [3, 0.1, 2], order=order).shape == (9, 0, 4)
    assert zoom_to_shape(np.ones((0, 3), 'float16'), (0, 5), order=order).shape == (0, 5)


@pytest.mark.parametrize('order', [1, 3])
def test_zoom_that_changes_no_length_is_a_copy(order: int) -> None:
    image = noise(10)
    for result in zoom(image, 1, order=order), zoom(image, 1.01, order=order), zoom_to_shape(image, 10, order=order):
        np.testing.assert_array_equal(result, image)


def test_zoom_takes_fill_value_for_the_sake_of_deep_pipe() -> None:
    image = noise(5, 5)
    np.testing.assert_array_equal(zoom(image, [2, 2], None, 1, np.min), zoom(image, [2, 2]))
    np.testing.assert_array_equal(zoom_to_shape(image, 9, fill_value=7), zoom_to_shape(image, 9))


def test_zoom_in_threads_is_the_same() -> None:
    images = [noise(3, 40, 40, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(partial(zoom, scale_factor=[2, 2]), images))
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result, zoom(image, [2, 2]))


def test_zoom_errors() -> None:
    image = noise(3, 5)
    for scale in -1, 0, -0.5, [2, -1], float('nan'), (0.0, 1):
        refuses(ValueError, f'zoom: `scale_factor` must be positive, got {scale!r}', zoom, image, scale)
    refuses(ValueError, 'zoom: `scale_factor` must be finite, got inf', zoom, image, float('inf'))
    for bad in '2', None, True, [[2, 2]], 2j, {2}:
        message = f'zoom: `scale_factor` must be a number or a sequence of numbers, got {bad!r}'
        refuses(TypeError, message, zoom, image, bad)
    message = 'zoom: `scale_factor` must leave at least one pixel on every axis, got 0.1; axis 0 has 3, would get 0'
    refuses(ValueError, message, zoom, image, 0.1)


@pytest.mark.parametrize('f', [zoom, zoom_to_shape])
def test_order_errors(f: Callable[..., Any]) -> None:
    image, name = noise(3), f.__name__
    refuses(ValueError, f'{name}: `order` must be between 0 and 5, got 6', f, image, 2, order=6)
    refuses(ValueError, f'{name}: `order` must be between 0 and 5, got -1', f, image, 2, order=-1)
    refuses(TypeError, f'{name}: `order` must be an int, got float', f, image, 2, order=1.0)
    refuses(TypeError, f'{name}: `order` must be an int, got NoneType', f, image, 2, order=None)


@pytest.mark.parametrize('dtype', ['O', 'U3', 'M8[s]', 'longdouble', 'clongdouble', 'i4,f4'])
@pytest.mark.parametrize('length', [2, 3])
def test_dtypes_that_cannot_be_interpolated(dtype: str, length: int) -> None:
    image = np.array([1, 2]).astype(dtype)
    message = f'zoom_to_shape: `image` must be of numbers that scipy can interpolate, got dtype {image.dtype}'
    refuses(TypeError, message, zoom_to_shape, image, length)


def test_zoom_to_shape_errors() -> None:
    message = "zoom_to_shape: `shape` must be at least 1, and 0 on the image's empty axes; axis {} has {}, asked {}"
    refuses(ValueError, message.format(1, 5, 0), zoom_to_shape, noise(3, 5), (3, 0))
    refuses(ValueError, message.format(1, 5, -2), zoom_to_shape, noise(3, 5), [-2])
    refuses(ValueError, message.format(0, 0, 4), zoom_to_shape, noise(0, 5), 4)
    refuses(ValueError, message.format(0, 0, -1), zoom_to_shape, noise(0, 5), -1, 0)


def test_proportional_zoom() -> None:
    image = noise(3, 20, 10)
    result = proportional_zoom_to_shape(image, (40, 40), padding_values=-1)
    np.testing.assert_array_equal(result[..., 10:30], zoom(image, [2, 2]))
    assert (result[..., :10] == -1).all()
    assert (result[..., 30:] == -1).all()
    assert proportional_zoom_to_shape(np.ones((1, 100)), 10)[4].tolist() == [1] * 10  # a thin axis keeps a pixel
    assert proportional_zoom_to_shape(np.ones((0, 4)), (3, 2)).tolist() == [[0, 0]] * 3
    labels = np.array([[1, 2]])
    assert proportional_zoom_to_shape(labels, (4, 4), order=0)[1].tolist() == [1, 1, 2, 2]
    rule = "`shape` must be at least 1, and at least 0 on the image's empty axes"
    message = f'proportional_zoom_to_shape: {rule}; axis 1 has 20, asked 0'
    refuses(ValueError, message, proportional_zoom_to_shape, image, (0, 3))
