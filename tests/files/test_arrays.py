"""Rows of arrays in HDF5 and Zarr files."""

import os
from traceback import walk_tb

import numpy as np
import pytest
from running import raises

from itpipe._core.tracebacks import related
from itpipe.files import _arrays, hdf5, zarr


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


def test_a_name_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    library = pytest.importorskip('h5py')
    path = str(tmp_path / 'data.h5')
    with library.File(path, 'w') as file:
        file['train/x'], file['train/y'], file['z'] = np.zeros(3), np.zeros(3), np.zeros(3)
    for wrong in ('x', 'train/w'):
        with pytest.raises(KeyError) as caught:
            len(hdf5(path, 'z', wrong))
        text = f"hdf5: there is no array {wrong!r} in {path!r}, only 'train/x', 'train/y', 'z'"
        assert caught.value.args == (text,)
    path = str(tmp_path / 'many.h5')
    with library.File(path, 'w') as file:
        for n in range(21):
            file[f'{n:02}'] = np.zeros(1)
    with pytest.raises(KeyError, match="only '00', '01', .*, '19', …"):
        hdf5(path, 'x')[0]


@pytest.mark.leaves_threads('zarr keeps a thread for its event loop')
def test_a_name_that_is_not_in_a_zarr_group(tmp_path):
    library = pytest.importorskip('zarr')
    path = str(tmp_path / 'data.zarr')
    library.open_group(path, mode='w').create_group('train').create_array('x', data=np.arange(3))
    with pytest.raises(KeyError) as caught:
        len(zarr(path, 'x'))
    assert caught.value.args == (f"zarr: there is no array 'x' in {path!r}, only 'train/x'",)


def test_a_file_that_is_not_there_is_an_error_at_once(tmp_path):
    path = str(tmp_path / 'absent.h5')
    with raises(FileNotFoundError, f'hdf5: there is no file {path!r}'):
        hdf5(path, 'x')
    with raises(FileNotFoundError, f'zarr: there is no store {path!r}'):
        zarr(path)
    assert repr(hdf5('memory://absent.h5', 'x')) == "hdf5('memory://absent.h5', 'x')"


def arrays_of(kind, folder):
    """A file, or a store, with an array of rows, a single value, and a group."""
    library = pytest.importorskip('h5py' if kind is hdf5 else 'zarr')
    path = str(folder / 'data')
    if kind is hdf5:
        with library.File(path, 'w') as file:
            file['g/x'], file['one'] = np.zeros(3), 1.0
    else:
        group = library.open_group(path, mode='w')
        group.create_array('g/x', data=np.zeros(3))
        group.create_array('one', data=np.array(1.0))
    return path


@pytest.mark.leaves_threads('zarr keeps a thread for its event loop')
@pytest.mark.parametrize('kind', [hdf5, zarr], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ('names', 'error'),
    [
        (['y'], KeyError("{kind}: there is no array 'y' in {path}, only 'g/x', 'one'")),
        (['g/x', 'g/x/y'], KeyError("{kind}: there is no array 'g/x/y' in {path}, only 'g/x', 'one'")),
        (['g'], ValueError("{kind}: 'g' in {path} is a group; give the names of arrays, here 'g/x'")),
        (['one'], ValueError("{kind}: 'one' in {path} is a single value, which has no rows")),
    ],
    ids=str,
)
def test_names_that_are_not_of_arrays_of_rows(kind, names, error, tmp_path):
    path = arrays_of(kind, tmp_path)
    dataset = kind(path, *names)
    message = error.args[0].format(kind=kind.__name__, path=repr(path))
    with raises(type(error), str(type(error)(message)), f"itpipe: the head of '{path}'"):
        dataset[0]


@pytest.mark.leaves_threads('zarr keeps a thread for its event loop')
def test_names_that_are_too_many_or_too_few(tmp_path):
    path = arrays_of(zarr, tmp_path)
    with raises(
        ValueError,
        f"zarr: '{path}' is a group; give the names of arrays, here 'g/x', 'one'",
        f"itpipe: the head of '{path}'",
    ):
        len(zarr(path))
    head = f"itpipe: the head of '{path}/g/x'"
    with raises(ValueError, f"zarr: '{path}/g/x' is an array, not a group: give no names, got ('y',)", head):
        len(zarr(f'{path}/g/x', 'y'))
    assert len(zarr(f'{path}/g/x')) == 3


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


@pytest.mark.parametrize('option', [{'compression': 'gzip'}, {'fletcher32': True}], ids=str)
def test_a_chunk_of_an_hdf5_file_that_is_broken(option, tmp_path):
    h5py = pytest.importorskip('h5py')
    path = tmp_path / 'data.h5'
    with h5py.File(path, 'w') as file:
        file.create_dataset('x', data=np.arange(100).reshape(10, 10), chunks=(2, 10), **option)
        begin = file['x'].id.get_chunk_info(2).byte_offset
    written_over(path, begin, bytes(8) + b'x')
    assert hdf5(path, 'x')[3].tolist() == [*range(30, 40)]
    with pytest.raises(OSError, match='filter returned failure') as caught:
        hdf5(path, 'x')[5]
    assert caught.value.__notes__ == [f"itpipe: row 5 of 'x' of '{path}'"]


def test_an_hdf5_file_that_is_shortened_while_it_is_open(tmp_path):
    """HDF5 gives zeros for what is behind its end."""
    h5py = pytest.importorskip('h5py')
    path = tmp_path / 'data.h5'
    with h5py.File(path, 'w') as file:
        file['x'] = np.ones((1000, 10))
    dataset = hdf5(path, 'x')
    assert dataset[0].sum() == 10
    os.truncate(path, path.stat().st_size // 2)
    with raises(OSError, 'hdf5: the file was shortened while it was open', f"itpipe: row 999 of 'x' of '{path}'"):
        dataset[999]
    with pytest.raises(OSError, match='truncated file') as caught:
        dataset[0]  # it is opened anew, which HDF5 refuses
    assert caught.value.__notes__ == [f"itpipe: row 0 of 'x' of '{path}'"]


@pytest.mark.leaves_threads('zarr keeps a thread for its event loop')
@pytest.mark.parametrize('codec', ['GzipCodec', 'Crc32cCodec', 'ZstdCodec'])
def test_a_chunk_of_a_zarr_store_that_is_broken(codec, tmp_path):
    library = pytest.importorskip('zarr')
    path = tmp_path / 'data.zarr'
    compressor = getattr(library.codecs, codec)()
    library.create_array(str(path), data=np.arange(100).reshape(10, 10), chunks=(2, 10), compressors=compressor)
    dataset = zarr(path)
    assert dataset[5].tolist() == [*range(50, 60)]
    written_over(path / 'c' / '2' / '0', 0, b'no data')
    assert dataset[3].tolist() == [*range(30, 40)]
    with pytest.raises((RuntimeError, ValueError, OSError)) as caught:
        dataset[5]
    assert caught.value.__notes__ == [f"itpipe: row 5 of '{path}'"]


def written_over(path, begin, data):
    with open(path, 'r+b') as file:
        file.seek(begin)
        file.write(data)


@pytest.mark.leaves_threads('zarr keeps a thread for its event loop')
@pytest.mark.parametrize('kind', [hdf5, zarr], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize('rows', [10, 3, 1], ids=lambda rows: f'chunks of {rows}')
@pytest.mark.parametrize('most', [1 << 20, 100], ids=lambda most: f'{most} bytes')
def test_a_chunk_is_read_once_for_its_rows(kind, rows, most, tmp_path, monkeypatch):
    """Unless its rows are too large to be kept. Who changes a row changes no other."""
    path, data = tmp_path / 'data', np.arange(80).reshape(10, 8)
    if kind is hdf5:
        with pytest.importorskip('h5py').File(path, 'w') as file:
            file.create_dataset('x', data=data, chunks=(rows, 4))
    else:
        pytest.importorskip('zarr').create_group(str(path)).create_array('x', data=data, chunks=(rows, 4))
    monkeypatch.setattr(_arrays, 'BLOCK', most)
    made, usual = [], _arrays._block_of
    monkeypatch.setattr(_arrays, '_block_of', lambda *args: made.append(args) or usual(*args))
    dataset = kind(path, 'x')
    for n, row in enumerate(dataset):
        assert row.tolist() == data[n].tolist()
        row[:] = 0
    np.testing.assert_array_equal(np.stack([*dataset]), data)
    blocks = -(-10 // rows) if rows > 1 and rows * 64 <= most else 0
    assert len(made) == (2 * blocks if blocks > 1 else blocks)


def test_an_error_at_a_url_holds_nothing_of_h5py(tmp_path):
    """Its objects take a lock when they go, which a thread that reads through fsspec holds while it waits for another
    thread. The error may go there."""
    h5py = pytest.importorskip('h5py')
    system = pytest.importorskip('fsspec').filesystem('memory')
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file.create_dataset('x', data=np.arange(100).reshape(10, 10), chunks=(2, 10), fletcher32=True)
        begin = file['x'].id.get_chunk_info(2).byte_offset
    written_over(tmp_path / 'a.h5', begin, bytes(8) + b'x')
    try:
        system.pipe('/itpipe/a.h5', (tmp_path / 'a.h5').read_bytes())
        system.pipe('/itpipe/b.h5', b'no file of this kind')
        for read in (lambda: hdf5('memory://itpipe/a.h5', 'x')[5], lambda: len(hdf5('memory://itpipe/b.h5', 'x'))):
            with pytest.raises(OSError, match=r'.') as caught:
                read()
            frames = [frame for each in related(caught.value) for frame, _ in walk_tb(each.__traceback__.tb_next)]
            held = [value for frame in frames for value in frame.f_locals.values()]
            assert not [value for value in held if type(value).__module__.startswith('h5py')]
    finally:
        system.rm('/itpipe', recursive=True)
