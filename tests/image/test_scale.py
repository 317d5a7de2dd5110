"""Scaling the values of images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pictures import REAL, noise, refuses

from itpipe.image import (
    min_max_scale,
    normalize,
)


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
