"""`itpipe.image`: the values are scipy's and numpy's, the errors are ours."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from naming import named
from scipy import ndimage

from itpipe.image import (
    crop_to_box,
    crop_to_shape,
    get_centered_box,
    mask2bounding_box,
    min_max_scale,
    normalize,
    pad,
    pad_to_divisible,
    pad_to_shape,
    proportional_zoom_to_shape,
    restore_crop,
    zoom,
    zoom_to_shape,
)

REAL = [
    'bool',
    'int8',
    'uint8',
    'int16',
    'uint16',
    'int32',
    'uint32',
    'int64',
    'uint64',
    'float16',
    'float32',
    'float64',
]
NUMBERS = [*REAL, 'complex64', 'complex128']
FUNCTIONS = [
    partial(zoom, scale_factor=2),
    partial(zoom, scale_factor=1),
    partial(zoom, scale_factor=2, order=0),
    partial(zoom, scale_factor=0.5, order=3),
    partial(zoom_to_shape, shape=(7, 3)),
    partial(zoom_to_shape, shape=(4, 6)),
    partial(pad_to_shape, shape=(9, 6)),
    partial(pad_to_shape, shape=(4, 6)),
    partial(crop_to_shape, shape=(2, 6)),
    partial(crop_to_shape, shape=(4, 6)),
    partial(pad, padding=[1, 2]),
    partial(pad, padding=0),
    partial(pad_to_divisible, divisor=4),
    partial(proportional_zoom_to_shape, shape=(7, 7)),
    partial(crop_to_box, box=[[0, 1], [2, 6]]),
    partial(crop_to_box, box=[[-1, 1], [2, 6]], padding_values=1),
    partial(restore_crop, box=[[0, 1], [4, 7]], shape=(5, 8)),
]
BY_SHAPE = [zoom_to_shape, pad_to_shape, crop_to_shape]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def refuses(error: type[Exception], message: str, f: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    with pytest.raises(error) as caught:
        f(*args, **kwargs)
    assert str(caught.value) == message


# ---------------------------------------------------------------- what all have in common


@pytest.mark.parametrize('f', FUNCTIONS, ids=named)
@pytest.mark.parametrize('layout', ['C', 'F', 'read-only', 'strided'])
def test_result_is_new_and_input_is_left_as_it_is(f: Callable[..., Any], layout: str) -> None:
    """The result shares no memory with the input, whatever the layout of that, and can be written to."""
    image = np.array(noise(4, 6), order='F' if layout == 'F' else 'C')
    if layout == 'strided':
        image = noise(8, 12)[::-2, ::2]
    image.flags.writeable = layout != 'read-only'
    before = image.copy()
    result = f(image)
    assert not np.shares_memory(result, image)
    assert result.flags.writeable
    assert result.flags.owndata
    assert result.flags.c_contiguous
    assert result.dtype == image.dtype
    np.testing.assert_array_equal(result, f(before))
    result[...] = -1
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize('f', FUNCTIONS, ids=named)
@pytest.mark.parametrize('dtype', [*NUMBERS, '>f4', '>i2'])
def test_dtype_is_kept(f: Callable[..., Any], dtype: str) -> None:
    assert f(np.ones((4, 6), dtype)).dtype == np.dtype(dtype)


@pytest.mark.parametrize('f', [zoom, *BY_SHAPE])
def test_no_axes(f: Callable[..., Any]) -> None:
    """An array without dimensions, or no axes chosen: a copy, still an array."""
    for result in f(np.array(3.5), 2), f(np.array(3.5), ()), f(np.array(3.5), 2, axis=()):
        assert isinstance(result, np.ndarray)
        assert result == np.array(3.5)
    image = noise(2, 3)
    for result in f(image, ()), f(image, [], axis=[]), f(image, 5, axis=()):
        assert result is not image
        np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize(
    ('args', 'expected'),
    [
        (dict(shape=4), (4, 4, 4)),
        (dict(shape=[4]), (6, 6, 4)),
        (dict(shape=(4, 3)), (6, 4, 3)),
        (dict(shape=(5, 4, 3)), (5, 4, 3)),
        (dict(shape=4, axis=0), (4, 6, 6)),
        (dict(shape=4, axis=-2), (6, 4, 6)),
        (dict(shape=4, axis=(0, 1)), (4, 4, 6)),
        (dict(shape=[4], axis=(0, 1)), (4, 4, 6)),
        (dict(shape=(4, 3), axis=(0, 1)), (4, 3, 6)),
        (dict(shape=(4, 3), axis=[-1, 0]), (3, 6, 4)),
        (dict(shape=np.array([4, 3]), axis=np.array([2, 1])), (6, 3, 4)),
        (dict(shape=np.int64(4), axis=range(2)), (4, 4, 6)),
    ],
)
def test_axes(args: dict[str, Any], expected: tuple[int, ...]) -> None:
    """One number is for every axis, a sequence for the last ones, `axis` for those it names, in its order."""
    image = noise(6, 6, 6)
    assert crop_to_shape(image, **args).shape == expected
    assert zoom_to_shape(image, **args).shape == expected
    assert pad_to_shape(image[:3, :3, :3], **args).shape == tuple(3 if n == 6 else n for n in expected)
    scale = np.asarray(args.pop('shape')) / 6
    assert zoom(image, scale.tolist(), **args).shape == expected


@pytest.mark.parametrize('f', [zoom, *BY_SHAPE])
@pytest.mark.parametrize(
    'image', [(np.ones(3), 1), (np.ones(3), np.ones(3)), [np.ones(3), 1], [[1], [2, 3]], ['a'], 'cat', None, 3]
)
def test_image_is_an_array(f: Callable[..., Any], image: Any) -> None:
    """A whole item, not taken apart, is refused rather than stacked."""
    message = f'{f.__name__}: `image` must be a numpy array, got {type(image).__name__}'
    refuses(TypeError, message, f, image, 2)


def test_array_protocol() -> None:
    """What converts itself to an array, as torch tensors and pandas objects do, is an image as well."""

    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.arange(4.0)

    assert crop_to_shape(Tensor(), 2).tolist() == [1, 2]  # type: ignore[type-var]


@pytest.mark.parametrize(('f', 'parameter'), [(zoom, 'scale_factor'), *((f, 'shape') for f in BY_SHAPE)])
def test_axis_errors(f: Callable[..., Any], parameter: str) -> None:
    image, name = noise(2, 2, 2), f.__name__
    refuses(TypeError, f'{name}: `axis` must be an int or a sequence of ints, got 1.0', f, image, 2, axis=1.0)
    refuses(TypeError, f"{name}: `axis` must be an int or a sequence of ints, got 'x'", f, image, 2, axis='x')
    refuses(TypeError, f'{name}: `axis` must be an int or a sequence of ints, got [[0]]', f, image, 2, axis=[[0]])
    refuses(TypeError, f'{name}: `axis` must be an int or a sequence of ints, got True', f, image, 2, axis=True)
    refuses(ValueError, f"{name}: `axis` must be among the image's 3 axes, got 3", f, image, 2, axis=3)
    refuses(ValueError, f"{name}: `axis` must be among the image's 3 axes, got (0, -4)", f, image, 2, axis=(0, -4))
    refuses(ValueError, f"{name}: `axis` must be among the image's 0 axes, got 0", f, np.array(1), 2, axis=0)
    refuses(ValueError, f'{name}: `axis` must name each axis once, got (0, -3)', f, image, 2, axis=(0, -3))
    message = f'{name}: `{parameter}` must have at most one value per axis of the image (3), got [2, 2, 2, 2]'
    refuses(ValueError, message, f, image, [2, 2, 2, 2])
    message = f'{name}: `{parameter}` must be one value or one per chosen axis (1), got (2, 2)'
    refuses(ValueError, message, f, image, (2, 2), axis=-1)
    message = f'{name}: `{parameter}` must be one value or one per chosen axis (2), got []'
    refuses(ValueError, message, f, image, [], axis=(0, 1))


@pytest.mark.parametrize('f', BY_SHAPE)
@pytest.mark.parametrize('shape', [2.5, 2.0, 'big', None, True, [2, 2.5], [[2]], {2}])
def test_shape_is_ints(f: Callable[..., Any], shape: Any) -> None:
    message = f'{f.__name__}: `shape` must be an int or a sequence of ints, got {shape!r}'
    refuses(TypeError, message, f, noise(3, 3), shape)


def test_scipy_is_loaded_on_first_use() -> None:
    """Importing costs numpy alone; padding, cropping and nearest-pixel zooms never need scipy."""
    code = (
        'import sys, numpy, itpipe.image as i\n'
        'i.zoom(numpy.ones(3), 2, order=0), i.zoom(numpy.ones(3), 1), i.pad_to_shape(numpy.ones(3), 5)\n'
        'assert "scipy" not in sys.modules\n'
        'i.zoom(numpy.ones(3), 2)\n'
        'assert "scipy" in sys.modules'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


# ---------------------------------------------------------------- zoom


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


def test_lists_of_numbers_are_images() -> None:
    """As in deep-pipe, also of arrays; a tuple of arrays is an item."""
    rows = [[0.0, 2.0], [4.0, 6.0]]
    for image in rows, tuple(map(tuple, rows)), [*np.array(rows)]:
        assert zoom(image, [1.5, 1.5]).tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]  # type: ignore[type-var]
        assert zoom_to_shape(image, [2, 3]).tolist() == [[0, 1, 2], [4, 5, 6]]  # type: ignore[type-var]
        assert crop_to_shape(image, [1]).tolist() == [[0], [4]]  # type: ignore[type-var]
    assert pad_to_shape([5, 6, 7], [6]).tolist() == [0, 5, 6, 7, 0, 0]  # type: ignore[type-var]
    assert pad([True, False], 1, padding_values=True).dtype == bool  # type: ignore[type-var]
    assert pad_to_shape([], 2).tolist() == [0, 0]  # type: ignore[type-var]


def test_arguments_of_deep_pipe_for_speed_change_nothing() -> None:
    image, old = noise(5, 6), dict(num_threads=2, backend='Scipy')
    for f in (
        partial(zoom, scale_factor=2),
        partial(zoom_to_shape, shape=9),
        partial(pad_to_shape, shape=9),
        partial(pad, padding=1),
        partial(pad_to_divisible, divisor=4),
        partial(crop_to_box, box=[[1, 1], [2, 2]]),
        partial(restore_crop, box=[[0, 0], [5, 6]], shape=(6, 6)),
    ):
        np.testing.assert_array_equal(f(image, **old), f(image))
    np.testing.assert_array_equal(zoom(image, 2, None, 1, 0, -1, None), zoom(image, 2))


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


# ---------------------------------------------------------------- pad and crop

images = hnp.arrays(
    st.sampled_from(['bool', 'uint8', 'int32', 'float32', 'complex64']),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0),
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


@given(images, st.data(), st.floats(0, 1))
def test_crop_is_a_slice(image: np.ndarray, data: st.DataObject, ratio: float) -> None:
    shape = [data.draw(st.integers(0, n)) for n in image.shape]
    starts = [int((n - m) * ratio) for n, m in zip(image.shape, shape, strict=True)]
    expected = image[tuple(slice(start, start + m) for start, m in zip(starts, shape, strict=True))]
    np.testing.assert_array_equal(crop_to_shape(image, shape, ratio=ratio), expected)


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


def test_crop_errors() -> None:
    image = noise(3, 5)
    message = (
        "crop_to_shape: `shape` must be at least 0 and at most the image's shape on every axis; axis 1 has 5, asked "
    )
    refuses(ValueError, message + '7', crop_to_shape, image, (3, 7))
    refuses(ValueError, message + '-1', crop_to_shape, image, [-1])


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


# ---------------------------------------------------------------- more of deep-pipe


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


@given(images, st.data())
def test_crop_to_box_is_a_slice_of_the_padded_image(image: np.ndarray, data: st.DataObject) -> None:
    """Wherever the box lies; `restore_crop` puts back what lies within the image."""
    starts = [data.draw(st.integers(-6, 8)) for _ in image.shape]
    box = [starts, [start + data.draw(st.integers(0, 8)) for start in starts]]
    around = np.pad(image, 20, constant_values=1) if image.ndim else image
    expected = around[tuple(slice(a + 20, b + 20) for a, b in zip(*box, strict=True))]
    np.testing.assert_array_equal(crop_to_box(image, box, padding_values=1), expected, strict=True)
    if all(a >= 0 and b <= n for a, b, n in zip(*box, image.shape, strict=True)):
        part = crop_to_box(image, box)
        np.testing.assert_array_equal(part, expected, strict=True)
        restored = restore_crop(part, box, image.shape, 1)
        inside = tuple(map(slice, *box))
        np.testing.assert_array_equal(restored[inside], image[inside])
        assert np.count_nonzero(restored == 1) >= image.size - part.size
    elif image.ndim:
        with pytest.raises(ValueError, match='^crop_to_box: `box` must lie within the image where'):
            crop_to_box(image, box)


def test_boxes_errors() -> None:
    image = noise(3, 5)
    message = (
        'crop_to_box: `box` must lie within the image where no `padding_values` are given; axis 1 has 5, asked 0 to 6'
    )
    refuses(ValueError, message, crop_to_box, image, [[0], [6]])
    message = 'crop_to_box: `box` must not end before it starts, got [[2], [1]]'
    refuses(ValueError, message, crop_to_box, image, [[2], [1]])
    rule = '`box` must be an array of ints, of shape (2, number of axes)'
    refuses(ValueError, f'crop_to_box: {rule}, got [[2]]', crop_to_box, image, [[2]])
    for bad in [[0.5], [1]], [[0], [1, 2]], None, 'ab':
        refuses(TypeError, f'crop_to_box: {rule}, got {bad!r}', crop_to_box, image, bad)
    message = "restore_crop: `box` must have the image's shape; axis 1 has 5, asked 4"
    refuses(ValueError, message, restore_crop, image, [[0, 0], [3, 4]], (9, 9))
    message = 'restore_crop: `box` must lie within `shape`; axis 0 has 3, asked 1 to 4'
    refuses(ValueError, message, restore_crop, image, [[1, 0], [4, 5]], (3, 5))
    message = 'restore_crop: `shape` must be one value or one per chosen axis (2), got [1, 2, 3]'
    refuses(ValueError, message, restore_crop, image, [[0, 0], [3, 5]], [1, 2, 3])


def test_centered_box() -> None:
    for center, size, expected in (
        ([10, 20], [5, 4], [[8, 18], [13, 22]]),
        (np.array([0]), 3, [[-1], [2]]),
        (4, [0, 1], [[4, 4], [4, 5]]),
    ):
        assert get_centered_box(center, size).tolist() == expected
    message = 'get_centered_box: `center` must be an int or a sequence of ints, got [0.5]'
    refuses(TypeError, message, get_centered_box, [0.5], 2)
    refuses(ValueError, 'get_centered_box: `box_size` must be at least 0, got -1', get_centered_box, [1], -1)
    message = 'get_centered_box: `box_size` must be one value or one per axis of `center` (3), got [1, 2]'
    refuses(ValueError, message, get_centered_box, [1, 2, 3], [1, 2])


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4)))
def test_bounding_box_of_a_mask(mask: np.ndarray) -> None:
    places = np.argwhere(mask)
    if len(places):
        box = mask2bounding_box(mask)
        assert box.tolist() == [places.min(0).tolist(), (places.max(0) + 1).tolist()]
        assert crop_to_box(mask, box).sum() == mask.sum()
    else:
        message = f'mask2bounding_box: `mask` must have a true pixel, got none in shape {mask.shape}'
        refuses(ValueError, message, mask2bounding_box, mask)


def test_bounding_box_of_what_is_no_mask() -> None:
    assert mask2bounding_box([[0, 2], [0, 0]]).tolist() == [[0, 1], [1, 2]]  # type: ignore[arg-type]
    message = 'mask2bounding_box: `mask` must be of bools or numbers, got dtype <U1'
    refuses(TypeError, message, mask2bounding_box, np.array(['a']))
    refuses(TypeError, 'mask2bounding_box: `mask` must be a numpy array, got str', mask2bounding_box, 'a')


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


@pytest.mark.parametrize('axis', [None, 0, (-1, 0)])
@pytest.mark.parametrize('dtype', REAL)
def test_scaling_is_of_each_place_along_the_axes(dtype: str, axis: Any) -> None:
    image = (noise(3, 8, 4) * 100).astype(dtype)
    others = {None: (0, 1, 2), 0: (1, 2), (-1, 0): (1,)}[axis]
    wide = image.astype(float)
    low, high = wide.min(others, keepdims=True), wide.max(others, keepdims=True)
    close = dict(rtol=0, atol=1e-2 if dtype == 'float16' else 1e-5)
    scaled, normal = min_max_scale(image, axis), normalize(image, axis=axis)
    np.testing.assert_allclose(scaled, (wide - low) / np.where(low == high, 1, high - low), **close)
    deviation = wide.std(others, keepdims=True)
    expected = (wide - wide.mean(others, keepdims=True)) / np.where(deviation == 0, 1, deviation)
    np.testing.assert_allclose(normal, expected, **close)
    assert scaled.dtype == normal.dtype == (dtype if dtype.startswith('float') else 'float64')
    assert normalize(image, dtype='float32').dtype == 'float32'
    assert min_max_scale(np.asfortranarray(image)).flags.c_contiguous


def test_scaling_of_extremes() -> None:
    """Integers that differ by more than their dtype holds, or by less than float64 tells apart; equal values; NaN."""
    assert min_max_scale(np.array([-128, 127, -1], np.int8)).tolist() == [0, 1, 127 / 255]
    assert min_max_scale(np.array([2**60, 2**60 + 1, 2**60 + 4])).tolist() == [0, 0.25, 1]
    assert min_max_scale(np.array([-(2**63), 2**63 - 1])).tolist() == [0, 1]
    for image in np.full(10, 0.1), np.full((2, 5), 7), np.array(3.0), np.full(7, 0.1, np.float32):
        assert (min_max_scale(image) == 0).all()
        assert (normalize(image) == 0).all()
        assert (normalize(image, mean=False) == image).all()
    assert np.isnan(min_max_scale(np.array([0, 1, np.nan]))).all()


def test_normalize() -> None:
    image = np.array([0.0, 1, 2, 3, 1000])
    np.testing.assert_array_equal(normalize(image, std=False, percentiles=(25, 75)), image - 2)
    np.testing.assert_allclose(normalize(image, mean=False, percentiles=[25, 75]), image / np.std([1, 2, 3]))
    np.testing.assert_array_equal(normalize(image, False, False), image)
    assert not np.shares_memory(normalize(image, False, False), image)
    rows = normalize(np.stack([image, -image]), percentiles=20, axis=0)
    np.testing.assert_array_equal(rows, np.stack([normalize(image, percentiles=20), normalize(-image, percentiles=20)]))


@pytest.mark.parametrize('f', [min_max_scale, normalize])
def test_scaling_errors(f: Callable[..., Any]) -> None:
    name = f.__name__
    refuses(TypeError, f'{name}: `image` must be of real numbers, got dtype complex128', f, np.ones(2, complex))
    refuses(ValueError, f'{name}: `image` must have a pixel, got shape (0, 3)', f, np.ones((0, 3)))
    refuses(ValueError, f"{name}: `axis` must be among the image's 1 axes, got 1", f, np.ones(2), axis=1)


def test_percentile_errors() -> None:
    image = np.array([0, 10])
    for bad in (-1, 101), (60, 40), 60:
        message = f'normalize: `percentiles` must be in order between 0 and 100, got {bad!r}'
        refuses(ValueError, message, normalize, image, percentiles=bad)
    for bad in 'ab', (1, 2, 3), True:
        message = f'normalize: `percentiles` must be a number or two, got {bad!r}'
        refuses(TypeError, message, normalize, image, percentiles=bad)
    message = 'normalize: `percentiles` must leave values to estimate from, got 40'
    refuses(ValueError, message, normalize, image, percentiles=40)
