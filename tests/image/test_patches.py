"""Parts of images and volumes, at random places or side by side."""

from collections import Counter, namedtuple

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from running import raises
from strategies import examples

from itpipe import Infinite, flatten, stream, unpack, with_rng
from itpipe.image import grid_patches, join_patches, random_patches

Scan = namedtuple('Scan', ['image', 'mask', 'name'])
shapes = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)).map(sorted), min_size=1, max_size=3)


class Scalar(dict):
    """As an image of TorchIO."""

    data = np.zeros((1, 4, 4))
    shape = data.shape

    def __repr__(self):
        return '<Scalar>'


def rng(seed=0):
    return np.random.default_rng(seed)


@given(shapes, st.integers(0, 2), st.integers(0, 5))
@examples(200)
def test_patches_are_parts_of_the_image_and_copies(pairs, lead, seed):
    sizes, lengths = zip(*pairs, strict=True)
    image = np.arange(np.prod(lengths) * 2**lead).reshape((2,) * lead + lengths)
    for patch in random_patches(image, sizes, 3, rng=rng(seed)):
        assert patch.shape == (2,) * lead + tuple(sizes)
        start = [int(at[0]) for at in np.nonzero(image == patch.flat[0])][lead:]
        assert (patch == image[(..., *(slice(a, a + n) for a, n in zip(start, sizes, strict=True)))]).all()
        assert not np.shares_memory(patch, image)


def test_all_places_are_equally_likely():
    patches = random_patches(np.arange(10), 4, 7000, rng=rng())
    counts = Counter(int(patch[0]) for patch in patches)
    assert sorted(counts) == [*range(7)]
    assert all(850 < count < 1150 for count in counts.values())


MAKES = [tuple, list, lambda parts: Scan(*parts), lambda parts: dict(zip('abc', parts, strict=True))]


@pytest.mark.parametrize('make', MAKES)
def test_images_of_an_item_are_cut_at_the_same_place(make):
    image = np.arange(60).reshape(6, 10)
    item = make([image, -image, 'name'])
    for patch in random_patches(item, (2, 3), 5, rng=rng()):
        assert type(patch) is type(item)
        cut, negated, name = patch.values() if isinstance(patch, dict) else patch
        assert (cut == -negated).all()
        assert name == 'name'


def test_centers_are_those_of_the_mask():
    mask = np.zeros((9, 9), bool)
    mask[4, 2:7] = True
    image = np.arange(81).reshape(9, 9)
    centers = {int(patch[1, 1]) for patch in random_patches(image, (3, 3), 200, rng=rng(), centers=mask)}
    assert centers == {38, 39, 40, 41, 42}
    given_out = random_patches((image, mask), (3, 3), 200, rng=rng(), centers=lambda item: np.argwhere(item[1]))
    assert {int(patch[1, 1]) for patch, _ in given_out} == centers


def test_weights_say_how_often_a_center_comes():
    weights = np.array([0, 1, 0, 3, 0.0])
    counts = Counter(int(patch[0]) for patch in random_patches(np.arange(5), 1, 4000, rng=rng(), centers=weights))
    assert set(counts) == {1, 3}
    assert 900 < counts[1] < 1100


def test_a_share_of_the_patches_is_chosen():
    mask = np.arange(100) == 50
    patches = random_patches(np.arange(100), 1, 4000, rng=rng(), centers=mask, share=0.25)
    assert 950 < sum(int(patch[0]) == 50 for patch in patches) < 1150


def test_patches_at_the_border_are_moved_into_the_image():
    centers = np.array([[0, 0], [9, 9]])
    patches = random_patches(np.arange(100).reshape(10, 10), (4, 4), 50, rng=rng(), centers=centers)
    assert {int(patch[0, 0]) for patch in patches} == {0, 66}


@pytest.mark.parametrize('centers', [np.zeros(10), np.zeros((0, 1), int), []])
def test_where_there_is_no_center_any_will_do(centers):
    assert len(random_patches(np.arange(10), 4, 3, rng=rng(), centers=centers)) == 3


class Lazy:
    """An array that knows which parts of it were read."""

    def __init__(self, array):
        self.array, self.shape, self.read = array, array.shape, []

    def __getitem__(self, inside):
        self.read.append(self.array[inside].shape)
        return self.array[inside]


def test_only_the_patch_is_read():
    lazy = Lazy(np.zeros((2, 50, 50)))
    random_patches(lazy, (8, 8), 3, rng=rng())
    assert lazy.read == [(2, 8, 8)] * 3


def test_from_files(tmp_path):
    nibabel = pytest.importorskip('nibabel')
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), tmp_path / 'a.nii')
    (patch,) = random_patches(nibabel.load(tmp_path / 'a.nii').dataobj, (2, 2, 2), rng=rng())
    assert patch.shape == (2, 2, 2)


@given(shapes, st.integers(0, 3), st.integers(0, 2))
@examples(300)
def test_patches_of_a_grid_cover_the_image_and_are_joined_again(pairs, overlap, lead):
    sizes, lengths = zip(*pairs, strict=True)
    overlap = min(overlap, min(sizes) - 1)
    image = np.random.default_rng(0).random((2,) * lead + lengths)
    patches = grid_patches(image, sizes, overlap)
    assert {patch.shape for patch in patches} == {(2,) * lead + tuple(sizes)}
    np.testing.assert_allclose(join_patches(patches, lengths, overlap), image)


def test_joined_patches_are_the_mean_where_they_overlap():
    assert join_patches([[0.0, 0, 0], [3, 3, 3]], 5, overlap=1).tolist() == [0, 0, 1.5, 3, 3]
    channels = [np.stack([patch, -patch]).astype(np.float32) for patch in grid_patches(np.arange(5.0), 3, 1)]
    joined = join_patches(channels, 5, 1)
    assert (joined.dtype, joined.tolist()) == (np.float32, [[0, 1, 2, 3, 4], [0, -1, -2, -3, -4]])


def test_large_values_of_small_floats_are_joined():
    joined = join_patches([np.full(3, 60_000, np.float16)] * 2, 4, overlap=2)
    assert (joined.dtype, joined.tolist()) == (np.float16, [60_000 // 32 * 32] * 4)


@pytest.mark.parametrize(
    ('dtypes', 'joined'),
    [
        (['float32', 'float64'], 'float64'),
        (['float16', 'float32'], 'float32'),
        (['int64', 'float32'], 'float64'),
        (['uint8', 'float16'], 'float16'),
        (['uint8', 'int8'], 'float64'),
        (['bool', 'bool'], 'float64'),
    ],
)
def test_joined_patches_have_the_dtype_that_they_have_in_common(dtypes, joined):
    for one, other in (dtypes, dtypes[::-1]):
        result = join_patches([np.array([0, 1], one), np.array([0, 1], other)], 3, overlap=1)
        assert (result.dtype, result.tolist()) == (joined, [0, 0.5, 1])


def test_in_a_pipeline():
    volumes = [(np.arange(64.0).reshape(4, 4, 4) + 100 * n, n) for n in range(3)]
    described = stream(volumes, seed=0) | with_rng(random_patches, (2, 2, 2), 2) | flatten
    labels = [label for _, label in described]
    assert labels == [0, 0, 1, 1, 2, 2]
    with Infinite(described, batch_size=6, threads=2) as one, Infinite(described, batch_size=6) as other:
        assert repr(list(one)) == repr(list(other))
    assert len(list(volumes | unpack(lambda image, n: image) | grid_patches_of_two)) == 3


def grid_patches_of_two(image):
    return grid_patches(image, (2, 2, 2))


IMAGE = np.zeros((4, 5))


@pytest.mark.parametrize(
    ('call', 'error'),
    [
        (
            lambda: random_patches(IMAGE, (5, 5), rng=rng()),
            ValueError(
                'random_patches: `size` must be at most the shape of the image, (4, 5), got [5, 5];'
                ' `pad_to_shape` first'
            ),
        ),
        (
            lambda: random_patches((IMAGE, IMAGE.T), (2, 2), rng=rng()),
            ValueError('random_patches: the images of an item must have one shape, got [(4, 5), (5, 4)]'),
        ),
        (
            lambda: random_patches('text', 3, rng=rng()),
            TypeError("random_patches: the item must have an image of at least 1 axes, got 'text'"),
        ),
        (
            lambda: random_patches((IMAGE, 'a'), 2, rng=rng()),
            ValueError(
                'random_patches: `size` must have a length for each axis of the patch, such as (2, 2), for an image of'
                ' shape (4, 5), got 2'
            ),
        ),
        (
            lambda: grid_patches(np.zeros((1, 8, 8, 8)), 4),
            ValueError(
                'grid_patches: `size` must have a length for each axis of the patch, such as (4, 4, 4), for an image of'
                ' shape (1, 8, 8, 8), got 4'
            ),
        ),
        (
            lambda: random_patches({'image': Scalar(), 'n': 1}, (2, 2), rng=rng()),
            TypeError(
                "random_patches: the item must have an image of at least 2 axes, got {'image': <Scalar>, 'n': 1}; give"
                ' it the `data` of the Scalar'
            ),
        ),
        (
            lambda: random_patches(IMAGE, (0, 2), rng=rng()),
            ValueError('random_patches: `size` must be at least 1 on every axis, got (0, 2)'),
        ),
        (
            lambda: random_patches(IMAGE, (2, 2), rng=rng(), centers=-1.0 - IMAGE),
            ValueError('random_patches: the weights of `centers` must be finite and not negative'),
        ),
        (
            lambda: random_patches(IMAGE, (2, 2), rng=rng(), centers=[[1.5, 2]]),
            ValueError(
                'random_patches: `centers` must be ints of shape (n, 2), or weights of shape (4, 5), got float64 of'
                ' shape (1, 2)'
            ),
        ),
        (
            lambda: random_patches(IMAGE, (2, 2), rng=rng(), share=2),
            ValueError('random_patches: `share` must be between 0 and 1, got 2'),
        ),
        (
            lambda: grid_patches(IMAGE, (2, 2), overlap=2),
            ValueError('grid_patches: `overlap` must be at least 0 and less than the patches, got 2'),
        ),
        (
            lambda: grid_patches(IMAGE, (2, 2), overlap=[0, 0, 1]),
            ValueError('grid_patches: `overlap` must be one value or one for each axis, got [0, 0, 1]'),
        ),
        (lambda: join_patches([], 3), ValueError('join_patches: `patches` must be arrays of one shape, got []')),
        (lambda: join_patches([[1, 2]], 4), ValueError('join_patches: the grid has 2 patches, got 1')),
        (
            lambda: join_patches([[1, 2, 3]], 2),
            ValueError('join_patches: the patches must be at most as large as `shape`, (2,), got (3,)'),
        ),
        (
            lambda: join_patches([[1, 2]], (4, 4)),
            ValueError('join_patches: `patches` must have the axes of `shape`, got patches of shape (2,)'),
        ),
    ],
)
def test_what_is_refused(call, error):
    with raises(type(error), str(error)):
        call()


@given(shapes, st.integers(0, 2), st.booleans())
@examples(60)
def test_weights_leave_as_it_is_what_the_patches_agree_on(pairs, lead, weighted):
    sizes, lengths = zip(*pairs, strict=True)
    image = np.random.default_rng(0).random((2,) * lead + lengths)
    overlap = [size // 2 for size in sizes]
    patches = grid_patches(image, sizes, overlap)
    joined = join_patches(patches, lengths, overlap, weights='gaussian' if weighted else None)
    np.testing.assert_allclose(joined, image, rtol=1e-12)


def test_the_middle_of_a_patch_counts_more_than_its_border():
    """In the middle of the overlap both count the same, and towards a patch that patch counts more."""
    zero, one = np.zeros(8), np.ones(8)
    plain = join_patches([zero, one], 12, 4)
    weighted = join_patches([zero, one], 12, 4, weights='gaussian')
    assert plain[4:8].tolist() == [0.5] * 4
    assert weighted[[0, 3, 8, 11]].tolist() == [0, 0, 1, 1]
    assert (np.diff(weighted[3:9]) > 0).all()
    np.testing.assert_allclose(weighted[4:8] + weighted[7:3:-1], 1)
    near, far = np.exp(-(np.array([0.5, 3.5]) ** 2) / 2)  # of standard deviation 1, at so many voxels from the middle
    np.testing.assert_allclose(weighted[7], near / (near + max(far, 1e-3 * near)), rtol=1e-3)


def test_no_weight_is_lost_in_the_corners():
    patches = grid_patches(np.ones((64, 64, 64), np.float16), (64, 64, 64))
    assert (join_patches(patches, (64, 64, 64), weights='gaussian') == 1).all()


def test_other_weights_are_refused():
    with raises(ValueError, "join_patches: `weights` must be None or 'gaussian', got 'mean'"):
        join_patches([np.zeros(3)], 3, weights='mean')


@pytest.mark.parametrize('dtype', ['float32', 'float16', 'int16'])
def test_tensors_stay_tensors(dtype):
    torch = pytest.importorskip('torch')
    image = torch.arange(60).reshape(6, 10).to(getattr(torch, dtype))
    for patch in [*random_patches((image, 1), (2, 3), 3, rng=rng()), *grid_patches((image, 1), (2, 3))]:
        assert type(patch) is tuple
        assert isinstance(patch[0], torch.Tensor)
        assert patch[0].dtype == image.dtype
        assert patch[0].is_contiguous()
        assert patch[0].untyped_storage().data_ptr() != image.untyped_storage().data_ptr()
    arrays = random_patches(image.numpy(), (2, 3), 3, rng=rng())
    assert all((a == t.numpy()).all() for a, t in zip(arrays, random_patches(image, (2, 3), 3, rng=rng()), strict=True))
    joined = join_patches(grid_patches(image, (4, 4), 2), (6, 10), 2)
    assert isinstance(joined, torch.Tensor)
    assert joined.dtype == (image.dtype if dtype.startswith('float') else torch.float64)
    assert (joined == image).all()


def test_what_a_model_has_made_is_joined_as_it_is():
    """With channels, a gradient and a dtype that numpy does not have."""
    torch = pytest.importorskip('torch')
    image = torch.arange(32.0).reshape(4, 8).requires_grad_()
    made = torch.stack([torch.stack([patch, -patch]) for patch in grid_patches(image, (4, 4), 2)])
    joined = join_patches(made.to(torch.bfloat16), (4, 8), 2, weights='gaussian')
    assert joined.shape == (2, 4, 8)
    assert joined.dtype == torch.float32
    assert not joined.requires_grad
    torch.testing.assert_close(joined[0], image.detach())
