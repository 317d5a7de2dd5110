"""Cropping, and boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pictures import images, noise, refuses

from itpipe.image import (
    crop_to_box,
    crop_to_shape,
    get_centered_box,
    mask2bounding_box,
    restore_crop,
)


@given(images, st.data(), st.floats(0, 1))
def test_crop_is_a_slice(image: np.ndarray, data: st.DataObject, ratio: float) -> None:
    shape = [data.draw(st.integers(0, n)) for n in image.shape]
    starts = [int((n - m) * ratio) for n, m in zip(image.shape, shape, strict=True)]
    expected = image[tuple(slice(start, start + m) for start, m in zip(starts, shape, strict=True))]
    np.testing.assert_array_equal(crop_to_shape(image, shape, ratio=ratio), expected)


def test_crop_errors() -> None:
    image = noise(3, 5)
    message = (
        "crop_to_shape: `shape` must be at least 0 and at most the image's shape on every axis; axis 1 has 5, asked "
    )
    refuses(ValueError, message + '7', crop_to_shape, image, (3, 7))
    refuses(ValueError, message + '-1', crop_to_shape, image, [-1])


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
