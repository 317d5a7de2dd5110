"""Images in folders."""

import pickle

import numpy as np
import pytest
from data_files import images_of
from running import raises

from itpipe.files import images

library = pytest.importorskip('PIL.Image')


def test_folders_are_classes(tmp_path):
    dataset = images(images_of(tmp_path, {'dogs': 1, 'cats/old': 1, 'cats/young': 1}))
    assert dataset.classes == ['cats', 'dogs']
    assert [label for _, label in dataset] == dataset.labels.tolist() == [0, 0, 1]
    assert images(tmp_path, labels=False).labels is None
    assert [image[0, 0, 0] for image, _ in dataset] == [1, 2, 0]
    assert len(dataset.paths) == 3


def test_folders_without_images_are_classes_too(tmp_path):
    folder = images_of(tmp_path / 'train', {'cats': 1, 'dogs': 0, 'emus': 1})
    images_of(folder, {'.thumbnails': 1, 'cats/.thumbnails': 1})
    (folder / 'cats' / '._000.png').touch()
    train = images(folder)
    assert train.classes == ['cats', 'dogs', 'emus']
    assert [label for _, label in train] == [0, 2]


def test_classes_are_given(tmp_path):
    train = images(images_of(tmp_path / 'train', {'cats': 1, 'dogs': 1, 'emus': 1}))
    valid = images(images_of(tmp_path / 'valid', {'dogs': 1, 'emus': 1}), classes=train.classes)
    assert valid.classes == train.classes
    assert [label for _, label in valid] == [1, 2]
    folder = str(tmp_path / 'valid')
    assert repr(valid) == f"images({folder!r}, classes=['cats', 'dogs', 'emus'])"
    assert [label for _, label in images(folder, classes=('emus', 'dogs'))] == [1, 0]
    with raises(ValueError, f"images: `classes` must have all folders within {folder!r}, got none for 'emus'"):
        images(folder, classes=['cats', 'dogs'])
    with raises(ValueError, "images: `classes` must be different, got ['dogs', 'dogs']"):
        images(folder, classes=['dogs', 'dogs'])
    with raises(TypeError, "images: `classes` must be names of folders, got 'dogs'"):
        images(folder, classes='dogs')
    with raises(ValueError, 'images: `classes` needs labels, got `labels=False`'):
        images(folder, classes=['dogs', 'emus'], labels=False)


@pytest.mark.parametrize(
    ('dtype', 'suffix', 'mode'),
    [(np.uint16, 'png', 'I;16'), (np.int32, 'tif', 'I'), (np.float32, 'tif', 'F'), (np.dtype('>u2'), 'tif', 'I;16B')],
)
def test_pixels_of_more_than_8_bits_are_refused(tmp_path, dtype, suffix, mode):
    """Pillow would clip them to 255."""
    path = tmp_path / f'scan.{suffix}'
    library.fromarray(np.full((2, 3), 1000, dtype)).save(path)
    with library.open(path) as image:
        assert image.mode == mode
    message = (
        f'images: pixels have more than 8 bits (mode {mode!r} of Pillow), which would be clipped; read them by a'
        ' function of your own, of the `paths`'
    )
    with raises(ValueError, message, f"itpipe: the image of '{path}'"):
        images(tmp_path, labels=False, mode='L')[0]


def test_modes_and_images_alone(tmp_path):
    folder = images_of(tmp_path, {'cats': 1})
    (tmp_path / 'notes.txt').touch()
    assert images(folder, labels=False)[0].shape == (4, 6, 3)
    assert images(folder, mode='L')[0][0].shape == (4, 6)
    assert images(folder, mode='RGBA')[0][0].shape == (4, 6, 4)
    assert images(folder, labels=False)[0].flags.writeable


def test_an_image_is_turned_as_its_camera_says(tmp_path):
    image = library.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / 'turned.png', exif=exif)
    assert images(tmp_path, labels=False, mode='L')[0].tolist() == np.rot90(np.asarray(image), -1).tolist()


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    with pytest.raises(library.UnidentifiedImageError) as caught:
        images(tmp_path, labels=False)[0]
    assert caught.value.__notes__ == [f"itpipe: the image of '{tmp_path / 'broken.jpg'}'"]


def test_what_is_refused(tmp_path):
    with raises(ValueError, f"images: there are no images in '{tmp_path}'"):
        images(str(tmp_path))
    with raises(NotADirectoryError, "images: there is no folder 'nowhere'"):
        images('nowhere')
    with raises(ValueError, "images: `mode` must be one of 'RGB', 'L', 'RGBA', got 'CMYK'"):
        images(tmp_path, mode='CMYK')
    library.new('RGB', (1, 1)).save(tmp_path / 'alone.png')
    message = f"images: 'alone.png' is in no folder within '{tmp_path}', which would be its label; give `labels=False`"
    with raises(ValueError, message):
        images(str(tmp_path))


def test_what_torchvision_has_is_answered_with_what_it_is_here(tmp_path):
    folder = images_of(tmp_path, {'cats': 1})
    page = '; the page "Coming from other libraries" has more'
    with raises(
        TypeError, f'images: there is no `transform`: here it is a stage behind it, such as `map_at(0, f)`{page}'
    ):
        images(folder, transform=abs)
    with raises(TypeError, 'images: there is no `classe`: did you mean `classes`?'):
        images(folder, classe=['cats'])
    dataset = images(folder)
    for name, here in (
        ('targets', '`labels`'),
        ('samples', '`paths`, and `labels`'),
        ('class_to_idx', '`classes`, in which the label is the place of the name'),
    ):
        with raises(AttributeError, f'images: there is no attribute `{name}`: here it is {here}{page}'):
            getattr(dataset, name)
    assert not hasattr(dataset, 'others')
    assert pickle.loads(pickle.dumps(dataset)).paths == dataset.paths
