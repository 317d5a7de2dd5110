"""What the items of a batch consist of."""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from itpipe import Infinite, apply
from itpipe.tools.fields import fields_of, is_mask

Pair = namedtuple('Pair', 'image label')


@dataclass
class Item:
    image: Any
    label: Any


def named(batch: Any) -> list[tuple[str, str, int]]:
    return [(field.name, field.kind, len(field.values)) for field in fields_of('plot', 'batch', batch)]


IMAGES, LABELS = np.zeros((3, 9, 9)), np.arange(3)


@pytest.mark.parametrize(
    ('batch', 'expected'),
    [
        (IMAGES, [('', 'image', 3)]),
        (list(IMAGES), [('', 'image', 3)]),
        ((IMAGES, LABELS), [('[0]', 'image', 3), ('[1]', 'number', 3)]),
        ((list(IMAGES), [*'abc']), [('[0]', 'image', 3), ('[1]', 'text', 3)]),
        ([*zip(IMAGES, LABELS, strict=True)], [('[0]', 'image', 3), ('[1]', 'number', 3)]),
        ({'x': IMAGES, 'y': {'z': LABELS}}, [('x', 'image', 3), ('y.z', 'number', 3)]),
        ([{'x': image, 'y': {'z': 1}} for image in IMAGES], [('x', 'image', 3), ('y.z', 'number', 3)]),
        (Pair(IMAGES, LABELS), [('image', 'image', 3), ('label', 'number', 3)]),
        ([Item(IMAGES[0], 'a')], [('image', 'image', 1), ('label', 'text', 1)]),
        ([1.5, 2.5], [('', 'number', 2)]),
        (np.array(['a', 'b']), [('', 'text', 2)]),
    ],
    ids=str,
)  # fmt: skip
def test_batches_and_lists_of_items_have_the_same_fields(batch: Any, expected: Any) -> None:
    assert named(batch) == expected


@pytest.mark.parametrize(
    ('shape', 'kind', 'seen'),
    [
        ((), 'number', ()),
        ((8,), 'sequence', (8,)),
        ((7,), 'other', (7,)),
        ((20, 3), 'sequence', (20, 3)),
        ((3, 20), 'sequence', (20, 3)),
        ((5, 7), 'image', (5, 7)),
        ((5, 1), 'other', (5, 1)),
        ((9, 7, 3), 'image', (9, 7, 3)),
        ((3, 9, 7), 'image', (9, 7, 3)),
        ((4, 9, 7), 'image', (9, 7, 4)),
        ((1, 9, 7), 'image', (9, 7)),
        ((9, 7, 1), 'image', (9, 7)),
        ((2, 9, 7), 'volume', (2, 9, 7)),
        ((10, 9, 7), 'volume', (10, 9, 7)),
        ((1, 10, 9, 7), 'volume', (10, 9, 7)),
        ((10, 9, 7, 3), 'volume', (10, 9, 7, 3)),
        ((10, 3, 9, 7), 'volume', (10, 9, 7, 3)),
        ((10, 9, 7, 5), 'other', (10, 9, 7, 5)),
        ((2, 2, 2, 2, 2), 'other', (2, 2, 2, 2, 2)),
        ((0, 9), 'other', (0, 9)),
    ],
    ids=str,
)
def test_what_an_item_is_follows_from_its_shape(shape: tuple[int, ...], kind: str, seen: tuple[int, ...]) -> None:
    (field,) = fields_of('plot', 'batch', np.zeros((2, *shape)))
    assert field.kind == kind
    assert [value.shape for value in field.values] == [seen, seen]


def test_items_of_different_kinds_are_none_of_them() -> None:
    assert named([np.zeros(9), np.zeros((9, 9))]) == [('', 'other', 2)]


def test_tensors() -> None:
    torch = pytest.importorskip('torch')
    images = torch.ones((2, 1, 9, 9), dtype=torch.bfloat16, requires_grad=True)
    (field,) = fields_of('plot', 'batch', images)
    assert field.kind == 'image'
    np.testing.assert_array_equal(field.values, np.ones((2, 9, 9)))


def test_masks_are_integers_of_the_size_of_the_image() -> None:
    def field(values: Any) -> Any:
        return fields_of('plot', 'batch', values)[0]

    gray, color, volume = np.zeros((2, 9, 8)), np.zeros((2, 9, 8, 3)), np.zeros((2, 5, 9, 8))
    assert is_mask(field(gray > 0), field(gray))
    assert is_mask(field(gray.astype(np.int8)), field(color))
    assert is_mask(field((volume > 0)[:, None]), field(volume))
    assert not is_mask(field(gray), field(gray))
    assert not is_mask(field(gray[:, :8] > 0), field(gray))
    assert not is_mask(field(gray > 0), field(volume))
    assert not is_mask(field(np.arange(72).reshape(1, 9, 8)), field(gray[:1]))


MUST = '^plot: `batch` must'


@pytest.mark.parametrize(
    ('batch', 'error', 'message'),
    [
        (3, TypeError, f'{MUST} be a batch or a list of items, got int$'),
        ('abc', TypeError, f'{MUST} be a batch or a list of items, got str$'),
        (range(3) | apply(abs), TypeError, r'Stream: give it a batch of it, such as `next\(iter\(…\)\)`$'),
        (Infinite([1], batches_per_epoch=1), TypeError, 'got Infinite: give it a batch'),
        ([], ValueError, f'{MUST} not be empty$'),
        (np.zeros((0, 3)), ValueError, f'{MUST} not be empty$'),
        ((), ValueError, f'{MUST} not be empty$'),
        ({'x': IMAGES, 'y': 3}, TypeError, rf"{MUST} have a value for each item in \['y'\], got 3$"),
        ((IMAGES, LABELS[:2]), ValueError, rf'{MUST} have as many items in each part, got 3 in \[0\], 2 in \[1\]; a '),
        ([(1, 2), (1,)], ValueError, f'{MUST} have items of the same structure$'),
        (np.zeros(3, complex), TypeError, '^plot: `batch` has a complex128 of complex128, which cannot be drawn$'),
        ({'x': [object()]}, TypeError, r"^plot: `batch\['x'\]` has a object of object, which cannot be drawn$"),
        ([[np.zeros(2), np.zeros(3)]], TypeError, '^plot: `batch` has a list, which cannot be drawn$'),
    ],
)
def test_what_is_no_batch(batch: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fields_of('plot', 'batch', batch)
