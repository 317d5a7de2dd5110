"""What all datasets in files promise: an index, the same items from all workers and after a resume."""

import gc
import pickle

import numpy as np
import pytest
from data_files import images_of, lines_of, rows_of, tables_of, tar_of
from running import raises, through_json

import itpipe.files
from itpipe import parallel_map, sample, shuffle, stream, take
from itpipe.files import arrow, hdf5, images, jsonl, lines, parquet, tar, zarr


def of_lines(folder):
    paths = [lines_of(folder / 'a.txt', ['x', 'yy']), lines_of(folder / 'b.txt', [1, 2, 3])]
    return lines(paths), ['"x"', '"yy"', *'123']


def of_jsonl(folder):
    return jsonl([lines_of(folder / 'a.jsonl', rows_of(range(7))), lines_of(folder / 'b.jsonl', [[1], None])]), [
        *rows_of(range(7)), [1], None
    ]  # fmt: skip


def of_tar(folder):
    paths = [
        tar_of(folder / 'a.tar', {f'{n}.txt': b'%d' % n for n in range(5)}),
        tar_of(folder / 'b.tar', {f'{n}.txt': b'%d' % n for n in range(5, 9)}),
    ]
    return tar(paths), [{'__key__': str(n), 'txt': b'%d' % n} for n in range(9)]


def of_tar_with_a_stored_index(folder):
    dataset, expected = of_tar(folder)
    assert len(tar(dataset.paths, index=folder / 'kept')) == len(expected)
    return tar(dataset.paths, index=folder / 'kept'), expected


def of_jsonl_with_a_stored_index(folder):
    dataset, expected = of_jsonl(folder)
    assert len(jsonl(dataset.paths, index='beside')) == len(expected)
    return jsonl(dataset.paths, index='beside'), expected


def of_parquet(folder):
    return parquet(tables_of(folder, 'parquet')), rows_of(range(20))


def of_arrow(folder):
    return arrow(tables_of(folder, 'arrow')), rows_of(range(20))


def of_hdf5(folder):
    h5py = pytest.importorskip('h5py')
    with h5py.File(folder / 'data.h5', 'w') as file:
        file['x'], file['y'] = np.arange(12).reshape(6, 2), np.arange(6)
    return hdf5(folder / 'data.h5', 'x', 'y'), [(np.array([2 * n, 2 * n + 1]), np.int64(n)) for n in range(6)]


def of_zarr(folder):
    library = pytest.importorskip('zarr')
    library.save_array(str(folder / 'data.zarr'), np.arange(12).reshape(6, 2))
    return zarr(folder / 'data.zarr'), [np.array([2 * n, 2 * n + 1]) for n in range(6)]


def of_images(folder):
    dataset = images(images_of(folder / 'pets', {'cats': 3, 'dogs': 2}))
    colours = [np.full((4, 6, 3), [n, 0, 255], np.uint8) for n in range(5)]
    return dataset, list(zip(colours, [0, 0, 0, 1, 1], strict=True))


STORED = [of_tar_with_a_stored_index, of_jsonl_with_a_stored_index]
KINDS = [of_lines, of_jsonl, of_tar, *STORED, of_parquet, of_arrow, of_hdf5, of_zarr, of_images]
zarr_keeps_threads = pytest.mark.leaves_threads('zarr keeps a thread for its event loop')
each_kind = pytest.mark.parametrize(
    'made',
    [pytest.param(made, marks=[zarr_keeps_threads] * (made is of_zarr), id=made.__name__) for made in KINDS],
)


@pytest.fixture(autouse=True)
def nothing_is_left_open():
    yield
    gc.collect()


@each_kind
def test_is_a_sequence_of_its_items(made, tmp_path):
    dataset, expected = made(tmp_path)
    assert len(dataset) == len(expected)
    assert str(list(dataset)) == str(expected)
    assert str([dataset[-1], dataset[0]]) == str([expected[-1], expected[0]])
    assert str(dataset[np.int64(1)]) == str(expected[1])


@each_kind
def test_an_index_that_is_not_there(made, tmp_path):
    dataset, expected = made(tmp_path)
    for index in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            dataset[index]


@each_kind
def test_pickles_without_what_it_has_opened(made, tmp_path):
    dataset, expected = made(tmp_path)
    assert str(dataset[0]) == str(expected[0])
    again = pickle.loads(pickle.dumps(dataset))
    assert str(list(again)) == str(expected)
    assert repr(again) == repr(dataset)
    assert repr(dataset).startswith(made.__name__.split('_')[1] + '(')


@each_kind
@pytest.mark.parametrize('workers', [{}, {'threads': 2}, {'processes': 2}], ids=str)
def test_all_workers_read_the_same(made, tmp_path, workers):
    dataset, _ = made(tmp_path)
    described = sample(dataset, seed=0) | (parallel_map(repr, **workers) if workers else repr) | take(20)
    assert list(described) == list(sample(list(dataset), seed=0) | repr | take(20))


@each_kind
def test_goes_on_without_reading_what_was_delivered(made, tmp_path):
    dataset, expected = made(tmp_path)
    described = stream(dataset, seed=0) | shuffle() | repr
    run = iter(described)
    head = [next(run), next(run)]
    assert sorted(head + list(described.resume(through_json(run.state_dict())))) == sorted(map(repr, expected))


def test_the_names_are_those_of_the_package():
    assert {*itpipe.files.__all__} <= {*dir(itpipe.files)}
    with raises(AttributeError, "module 'itpipe.files' has no attribute 'csv'"):
        itpipe.files.csv
