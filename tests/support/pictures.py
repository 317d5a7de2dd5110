"""What the tests of `itpipe.image` share."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from itpipe.image import (
    crop_to_box,
    crop_to_shape,
    pad,
    pad_to_divisible,
    pad_to_shape,
    proportional_zoom_to_shape,
    restore_crop,
    zoom,
    zoom_to_shape,
)

INTEGERS = [f'{sign}int{bits}' for bits in (8, 16, 32, 64) for sign in ('', 'u')]
REAL = ['bool', *INTEGERS, 'float16', 'float32', 'float64']
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


images = hnp.arrays(
    st.sampled_from(['bool', 'uint8', 'int32', 'float32', 'complex64']),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0),
)
