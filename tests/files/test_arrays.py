"""Rows of arrays in HDF5 and Zarr files."""

import numpy as np
import pytest
from running import raises

from itpipe.files import hdf5, zarr


@pytest.mark.leaves_threads('zarr keeps a thread for its event loop')
def test_several_arrays_of_a_zarr_group(tmp_path):
    library = pytest.importorskip('zarr')
    group = library.open_group(str(tmp_path / 'data.zarr'), mode='w')
    for name, values in {'x': np.arange(6.0).reshape(3, 2), 'y': np.arange(3)}.items():
        group.create_array(name, data=values)
    dataset = zarr(tmp_path / 'data.zarr', 'x', 'y')
    assert [(x.tolist(), int(y)) for x, y in dataset] == [([0, 1], 0), ([2, 3], 1), ([4, 5], 2)]


def test_arrays_of_different_lengths(tmp_path):
    library = pytest.importorskip('h5py')
    with library.File(tmp_path / 'data.h5', 'w') as file:
        file['x'], file['y'] = np.zeros(3), np.zeros(4)
    with raises(ValueError, "hdf5: arrays must be of the same length, got {'x': 3, 'y': 4}"):
        len(hdf5(tmp_path / 'data.h5', 'x', 'y'))
    with pytest.raises(KeyError):
        len(hdf5(tmp_path / 'data.h5', 'z'))


@pytest.mark.parametrize(
    ('call', 'error'),
    [
        (lambda: hdf5('data.h5'), TypeError('hdf5: `names` must be the names of one or more arrays, got ()')),
        (lambda: hdf5('data.h5', 3), TypeError('hdf5: `names` must be the names of one or more arrays, got (3,)')),
        (lambda: zarr(3), TypeError('zarr: `path` must be a path, got int')),
    ],
)
def test_what_is_refused(call, error):
    with raises(type(error), str(error)):
        call()
