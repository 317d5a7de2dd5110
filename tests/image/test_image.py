"""`itpipe.image`: what all of its functions have in common."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from naming import named
from pictures import BY_SHAPE, FUNCTIONS, NUMBERS, noise, refuses

import itpipe.image
from itpipe.image import (
    crop_to_box,
    crop_to_shape,
    pad,
    pad_to_divisible,
    pad_to_shape,
    restore_crop,
    zoom,
    zoom_to_shape,
)


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


@pytest.mark.many(7)
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


@pytest.mark.parametrize('name', itpipe.image.__all__)
def test_functions_are_of_the_package_for_repr_and_pickle(name: str) -> None:
    """They say nothing of the private modules that they are in."""
    function = getattr(itpipe.image, name)
    assert function.__module__ == 'itpipe.image'
    assert pickle.loads(pickle.dumps(function)) is function
    assert b'itpipe.image._' not in pickle.dumps(function)
