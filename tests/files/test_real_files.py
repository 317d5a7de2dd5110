"""Files that others wrote, which are shipped with their libraries, through pipelines as people write them."""

import csv
import gzip
import tarfile
from importlib import import_module
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from data_files import tar_of

from itpipe import (
    apply,
    batch_by,
    combine,
    combine_pad,
    flatten,
    map_at,
    parallel_map,
    sample,
    shuffle,
    skip,
    stream,
    take,
    with_rng,
)  # fmt: skip
from itpipe.files import arrow, hdf5, images, lines, parquet, tar, zarr
from itpipe.image import random_patches
from itpipe.testing import check_resume


def shipped(package, folder):
    """A folder of a library; the test is skipped without the library, or where it is installed without the folder."""
    path = Path(pytest.importorskip(package).__file__).parent / folder
    if not path.is_dir():
        pytest.skip(f'this {package} is installed without {folder}')
    return path


@pytest.fixture(params=['threads', pytest.param('processes', marks=pytest.mark.long)])
def goes_on(request):
    """Checks that a pipeline gives the same bits from each kind of workers, and from any place on."""

    def check(pipeline, batches=5):
        check_resume(pipeline, modes=('serial', request.param), batches=batches)

    return check


def of_nibabel():
    folder = shipped('nibabel', 'tests/data')
    names = ['anatomical.nii', 'functional.nii', 'example_nifti2.nii.gz', 'standard.nii.gz', 'small.mnc', 'tiny.mnc']
    return [folder / name for name in names]


def volume(path):
    """The first volume of a scan of the brain, scaled."""
    data = np.asarray(import_module('nibabel').load(path).dataobj, np.float32)
    data = data[..., 0] if data.ndim == 4 else data
    return (data - data.mean()) / data.std()


def test_patches_of_nifti_and_minc_volumes(goes_on):
    pytest.importorskip('h5py')
    paths = of_nibabel()
    described = (
        sample(paths, seed=0) | parallel_map(apply(volume) | with_rng(random_patches, (4, 5, 3), 2), threads=2)
        | flatten | batch_by(6) | combine
    )  # fmt: skip
    assert next(iter(described)).shape == (6, 4, 5, 3)
    goes_on(described)


def test_whole_volumes_padded_with_their_masks(goes_on):
    paths = of_nibabel()[:4]
    described = (
        stream(paths, seed=0) | shuffle() | volume | (lambda image: (image, image > 0)) | batch_by(2) | combine_pad
    )
    image, mask = next(iter(described))
    assert (image.dtype, mask.dtype, image.shape) == (np.float32, bool, mask.shape)
    goes_on(described, 2)


def test_a_tar_of_volumes(tmp_path):
    """As they are, not decoded: the worker does that."""
    nibabel = pytest.importorskip('nibabel')
    paths = [path for path in of_nibabel() if path.name.endswith('.nii')]
    members = {f'{number}/scan.nii': path.read_bytes() for number, path in enumerate(paths * 4)}
    shards = tar(tar_of(tmp_path / 'a.tar', members), index='beside')

    def decoded(data):
        return np.asarray(nibabel.Nifti1Image.from_bytes(data).dataobj)[:5, :5, 0].astype(np.float32)

    first = [np.asarray(nibabel.load(path).dataobj)[:5, :5, 0].astype(np.float32) for path in paths]
    for item, expected in zip(shards | map_at('nii', decoded) | take(2), first, strict=True):
        np.testing.assert_array_equal(item['nii'], expected)


def pixels(path):
    found = import_module('pydicom').dcmread(path)
    return found.pixel_array.astype(np.float32) * float(found.get('RescaleSlope', 1)) + float(
        found.get('RescaleIntercept', 0)
    )


def test_dicom_slices(goes_on):
    folder = shipped('pydicom', 'data/test_files')
    names = ['CT_small', 'MR_small', 'MR_small_RLE', 'MR_small_bigendian', 'MR_small_implicit', 'rtdose_1frame']
    paths = [path for name in names if (path := folder / f'{name}.dcm').exists()]
    assert len(paths) >= 4
    described = (
        sample(paths, seed=0) | parallel_map(apply(pixels) | with_rng(random_patches, (8, 8)), threads=2)
        | flatten | batch_by(4) | combine
    )  # fmt: skip
    assert next(iter(described)).shape == (4, 8, 8)
    goes_on(described)


def test_a_dicom_file_that_is_cut_off_is_left_out():
    folder = shipped('pydicom', 'data/test_files')
    paths = [folder / 'MR_small.dcm', folder / 'MR_truncated.dcm', folder / 'CT_small.dcm']
    run = iter(paths | parallel_map(pixels, threads=2, on_error='skip'))
    assert [image.shape for image in run] == [(64, 64), (128, 128)]
    assert [dropped.ordinal for dropped in run.dropped] == [1]


@pytest.mark.parametrize('package', ['skimage', 'sklearn', 'matplotlib'])
def test_photographs(package, tmp_path, goes_on):
    """Grey, colours, with and without alpha; jpg, png and tif."""
    pillow = pytest.importorskip('PIL.Image')
    folder = shipped(package, {'skimage': 'data', 'sklearn': 'datasets/images', 'matplotlib': 'mpl-data'}[package])
    dataset = images(folder, labels=False)
    for path, image in islice(zip(dataset.paths, dataset, strict=True), 20):
        with pillow.open(path) as opened:
            np.testing.assert_array_equal(image, np.asarray(opened.convert('RGB')))

    def thumbnail(image):
        return image[:: max(1, len(image) // 8)][:8, :8]

    described = sample(dataset, seed=0) | parallel_map(thumbnail, threads=2) | batch_by(3) | combine_pad
    assert next(iter(described)).dtype == np.uint8
    goes_on(described, 4)


def test_digits_of_a_compressed_table(goes_on):
    """Without an index: read from the beginning, and shuffled by a buffer."""
    path = shipped('sklearn', 'datasets/data') / 'digits.csv.gz'
    digits, labels = import_module('sklearn.datasets').load_digits(return_X_y=True)

    def parsed(line):
        *image, label = map(float, line.split(','))
        return np.array(image, np.float32), int(label)

    described = stream(lines(path), seed=0) | parallel_map(parsed, threads=2) | shuffle(200) | batch_by(64) | combine
    found = [*described]
    assert sorted(int(label) for _, several in found for label in several) == sorted(labels)
    assert np.concatenate([several for several, _ in found]).sum() == digits.sum()
    goes_on(described)


@pytest.mark.parametrize('name', ['iris', 'breast_cancer', 'wine_data'])
def test_tables_of_text(name, tmp_path, goes_on):
    """The first line is a head."""
    path = shipped('sklearn', 'datasets/data') / f'{name}.csv'
    with open(path, newline='') as file:
        expected = [*csv.reader(file)][1:]
    dataset = lines(path, index=tmp_path / 'kept')
    assert list(stream(dataset) | skip(1) | (lambda line: line.split(','))) == expected
    described = (
        stream(dataset, seed=0) | skip(1) | shuffle(50)
        | parallel_map(lambda line: np.array(line.split(','), float), threads=2) | batch_by(16) | combine
    )  # fmt: skip
    goes_on(described)


def test_tables_of_old_versions_of_parquet_and_feather(goes_on):
    parquet_library = pytest.importorskip('pyarrow.parquet')
    folder = shipped('pyarrow', 'tests/data')
    paths = sorted((folder / 'parquet').glob('v0.7.1*.parquet'))
    for path in paths:
        assert list(parquet(path)) == parquet_library.read_table(path).to_pylist()
    rows = parquet(folder / 'parquet' / 'v0.7.1.parquet', columns=['carat', 'price', 'cut'])
    described = (
        sample(rows, seed=0) | parallel_map(lambda row: (np.float32(row['carat']), row['price'], row['cut']), threads=2)
        | batch_by(4) | combine
    )  # fmt: skip
    carat, price, cut = next(iter(described))
    assert (carat.dtype, price.dtype, {*map(type, cut)}) == (np.float32, np.int64, {str})
    goes_on(described)
    for path in (folder / 'feather').glob('*.feather'):
        assert list(arrow(path)) == import_module('pyarrow.feather').read_table(path).to_pylist()


def test_text_and_complex_numbers_in_hdf5(goes_on):
    h5py = pytest.importorskip('h5py')
    folder = shipped('h5py', 'tests/data_files')
    path = folder / 'vlen_string_dset_utc.h5'
    with h5py.File(path) as file:
        expected = [*file['ds1'][:]]
    dataset = hdf5(path, 'ds1')
    assert list(islice(dataset, 50)) == expected[:50]
    assert all(type(text) is bytes for text in islice(dataset, 50))
    goes_on(stream(dataset, seed=0) | shuffle() | parallel_map(bytes.decode, threads=2) | batch_by(8))
    path = folder / 'compound-dtype-complex.h5'
    with h5py.File(path) as file:
        expected = {name: array[:] for name, array in file.items()}
    found = list(hdf5(path, '>c16', 'c8'))
    assert found == list(zip(expected['>c16'], expected['c8'], strict=True))
    goes_on(sample(hdf5(path, '>c16', 'c8'), seed=0) | batch_by(4) | combine)


@pytest.mark.leaves_threads('zarr keeps a thread for its event loop')
def test_a_volume_of_many_chunks_in_zarr(tmp_path, goes_on):
    """Slice by slice, from what nibabel reads."""
    library = pytest.importorskip('zarr')
    scan = import_module('nibabel').load(shipped('nibabel', 'tests/data') / 'example4d.nii.gz')
    data = np.moveaxis(np.asarray(scan.dataobj), 2, 0)
    library.create_array(str(tmp_path / 'scan.zarr'), data=data, chunks=(1, 64, 64, 2))
    dataset = zarr(tmp_path / 'scan.zarr')
    np.testing.assert_array_equal(np.stack([*dataset]), data)
    goes_on(
        stream(dataset, seed=0) | shuffle() | parallel_map(with_rng(random_patches, (16, 16, 2)), threads=2)
        | flatten | batch_by(5) | combine
    )  # fmt: skip


def test_a_tar_of_photographs_as_webdataset_writes_them(tmp_path, goes_on):
    pillow = pytest.importorskip('PIL.Image')
    folder = shipped('sklearn', 'datasets/images')
    with tarfile.open(tmp_path / 'photos.tar', 'w') as archive:
        for number, path in enumerate(sorted(folder.glob('*.jpg')) * 3):
            archive.add(path, f'photos/{number:03}.jpg')
            archive.add(folder / 'README.txt', f'photos/{number:03}.txt')
    dataset = tar(tmp_path / 'photos.tar', index='beside')
    assert len(dataset) == 6

    def decoded(data):
        with pillow.open(BytesIO(data)) as opened:
            return np.asarray(opened.convert('RGB'))[::64, ::64]

    described = (
        stream(dataset, seed=0) | shuffle() | parallel_map(map_at('jpg', decoded) | map_at('txt', len), threads=2)
        | (lambda item: (item['jpg'], item['txt'])) | batch_by(2) | combine
    )  # fmt: skip
    photos, sizes = next(iter(described))
    assert photos.shape[0] == 2
    assert {*sizes} == {(folder / 'README.txt').stat().st_size}
    goes_on(described, 3)


def test_the_same_table_whole_and_compressed(tmp_path):
    """With an index and without."""
    path = shipped('sklearn', 'datasets/data') / 'digits.csv.gz'
    (tmp_path / 'digits.csv').write_bytes(gzip.decompress(path.read_bytes()))
    assert list(lines(path)) == list(lines(tmp_path / 'digits.csv', index='beside'))
