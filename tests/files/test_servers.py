"""Files at URLs, whose server fails now and then: the item is read again, and nothing else is different."""

import os
import pickle
import signal
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from data_files import lines_of, rows_of, tar_of
from running import through_json
from web import web_of

from itpipe import Infinite, parallel_map, sample, shuffle, stream, take
from itpipe.files import hdf5, jsonl, parquet, tar, zarr

aiohttp = pytest.importorskip('aiohttp')
pytest.importorskip('fsspec')
pytestmark = pytest.mark.leaves_threads('fsspec keeps a thread for its event loop, and connections')
FAILS = ['unavailable', 'dropped', 'refused']
"""A request that is answered by 503, by half of the bytes, or not at all."""


@pytest.fixture
def web(tmp_path):
    with web_of(tmp_path) as web:
        yield web


def of_tar(folder):
    tar_of(folder / 'a.tar', {f'{n}.{end}': os.urandom(700) for n in range(12) for end in ('x', 'y')})
    return 'a.tar', tar


def of_jsonl(folder):
    lines_of(folder / 'a.jsonl', rows_of(range(40)))
    return 'a.jsonl', jsonl


def of_parquet(folder):
    pyarrow = pytest.importorskip('pyarrow')
    parquet_library = pytest.importorskip('pyarrow.parquet')
    table = pyarrow.Table.from_pylist(rows_of(range(40)))
    parquet_library.write_table(table, folder / 'a.parquet', row_group_size=8)
    return 'a.parquet', parquet


def of_hdf5(folder):
    h5py = pytest.importorskip('h5py')
    with h5py.File(folder / 'a.h5', 'w') as file:
        file.create_dataset('x', data=np.random.default_rng(0).integers(0, 99, (30, 8)), chunks=(3, 8))
    return 'a.h5', lambda path: hdf5(path, 'x')


each_kind = pytest.mark.parametrize('made', [of_tar, of_jsonl, of_parquet, of_hdf5], ids=lambda made: made.__name__)


def known(dataset):
    """The same, with its length known: that is asked for in the main thread, where nobody tries again."""
    assert len(dataset) > 0
    return dataset


@pytest.mark.many(5)
@each_kind
@pytest.mark.parametrize('kind', FAILS)
@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 2}], ids=str)
def test_what_fails_is_read_again(made, kind, workers, tmp_path, web):
    """Each part of the file once; the bits are those of the file on this machine."""
    name, read = made(tmp_path)
    dataset, local = known(read(web.url(name))), read(tmp_path / name)
    web.requests.clear()
    web.fails_first(kind)
    tried = {'retries': 20, 'retry_on': (OSError, aiohttp.ClientError), 'backoff': 0}
    described = sample(dataset, seed=0) | parallel_map(repr, **workers, **tried) | take(30)
    assert list(described) == list(sample(local, seed=0) | repr | take(30))
    assert web.requests


@pytest.mark.parametrize(
    ('kind', 'error'),
    [
        ('unavailable', aiohttp.ClientResponseError),
        ('dropped', aiohttp.ClientPayloadError),
        ('refused', aiohttp.ServerDisconnectedError),
    ],
)
@pytest.mark.parametrize('workers', [{'threads': 1}, {'processes': 1}], ids=str)
def test_without_retries_the_error_is_that_of_the_library(kind, error, workers, tmp_path, web):
    name, read = of_tar(tmp_path)
    dataset = known(read(web.url(name)))
    web.fault = lambda *asked: kind
    with pytest.raises(error) as caught:
        list(stream(dataset) | parallel_map(len, **workers))
    assert caught.value.__notes__[0] == f"itpipe: member '0.x' of '{web.url(name)}'"


def test_a_random_item_is_one_request_for_no_more_than_it(tmp_path, web):
    members = {f'{n:02}.{end}': os.urandom(100_000) for n in range(20) for end in ('x', 'y')}
    dataset = known(tar(f'{web.url(tar_of(tmp_path / "a.tar", members).name)}'))
    for index in (7, 3, 19):
        web.requests.clear()
        assert dataset[index]['y'] == members[f'{index:02}.y']
        ((_, begin, end),) = web.requests
        assert end - begin == 200_000 + 352 + 512  # the first is padded, and the second has a head


@pytest.mark.parametrize('made', [of_tar, of_jsonl], ids=lambda made: made.__name__)
def test_items_in_order_are_read_ahead(made, tmp_path, web):
    """By ever larger requests, from wherever one begins, and each byte once."""
    name, read = made(tmp_path)
    dataset, local = known(read(web.url(name))), read(tmp_path / name)
    for first in (0, 5):
        web.requests.clear()
        copy = pickle.loads(pickle.dumps(dataset))
        assert [copy[n] for n in range(first, len(copy))] == [local[n] for n in range(first, len(copy))]
        assert len(web.requests) <= 7
        asked = [(begin, end) for _, begin, end in web.requests]
        assert all(before <= begin for (_, before), (begin, _) in pairwise(asked))


@pytest.mark.parametrize('kind', FAILS)
def test_an_index_that_cannot_be_read_names_the_file(kind, tmp_path, web):
    name, read = of_tar(tmp_path)
    web.fault = lambda *asked: kind
    with pytest.raises(aiohttp.ClientError) as caught:
        len(read(web.url(name)))
    assert caught.value.__notes__ == [f"itpipe: the index of '{web.url(name)}'"]
    web.fault = lambda *asked: None
    assert len(read(web.url(name))) == 12


def test_a_file_that_is_not_there(web):
    with pytest.raises(FileNotFoundError) as caught:
        len(tar(web.url('nothing.tar')))
    assert caught.value.__notes__ == [f"itpipe: the index of '{web.url('nothing.tar')}'"]


def test_a_stored_index_knows_the_tag_of_the_server(tmp_path, web):
    """So the file is not read again, but looked at; another one of the same size is noticed."""
    name, _ = of_tar(tmp_path)
    for requests in (True, False):
        dataset = tar(web.url(name), index=tmp_path / 'kept')
        assert len(dataset) == 12
        assert bool(web.requests) == requests
        web.requests.clear()
    tar_of(tmp_path / name, {f'{n}.x': os.urandom(700) for n in range(24)})
    assert len(tar(web.url(name), index=tmp_path / 'kept')) == 24
    with pytest.raises(OSError, match='the file was changed since it was looked where its items are') as caught:
        dataset[11]
    assert caught.value.__notes__ == [f"itpipe: member '11.x' of '{web.url(name)}'"]


def test_a_chunk_of_a_zarr_store_is_read_again(tmp_path, web):
    library = pytest.importorskip('zarr')
    library.create_array(str(tmp_path / 'a.zarr'), data=np.arange(60).reshape(20, 3), chunks=(2, 3))
    dataset = known(zarr(web.url('a.zarr')))
    web.fails_first('unavailable')
    tried = {'retries': 20, 'retry_on': (OSError, aiohttp.ClientError), 'backoff': 0}
    described = stream(dataset, seed=0) | shuffle() | parallel_map(repr, threads=2, **tried)
    assert list(described) == list(stream(zarr(tmp_path / 'a.zarr'), seed=0) | shuffle() | repr)


def test_a_run_that_ended_with_the_error_goes_on(tmp_path, web):
    name, read = of_jsonl(tmp_path)
    dataset = known(read(web.url(name)))
    described = stream(dataset, seed=0) | shuffle() | parallel_map(repr, threads=2)
    run = iter(described)
    found = [next(run) for _ in range(3)]
    web.fault = lambda *asked: 'unavailable'
    dataset._open.forget(web.url(name))
    try:
        for item in run:
            found.append(item)
    except aiohttp.ClientError:
        pass
    state = through_json(run.state_dict())
    web.fault = lambda *asked: None
    assert found + list(described.resume(state)) == list(stream(rows_of(range(40)), seed=0) | shuffle() | repr)


class Named(Sequence):
    """A dataset whose worker leaves its number in a file before it reads."""

    def __init__(self, dataset, folder):
        self.dataset, self.folder = dataset, folder

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        (self.folder / f'{os.getpid()}.pid').touch()
        return self.dataset[index]


@pytest.mark.parametrize('times', [1, 2])
def test_a_worker_that_is_killed_while_it_reads(times, tmp_path, web):
    """In the middle of a member: half of it has come. Another one reads it, nothing is lost, and none comes twice."""
    name, read = of_tar(tmp_path)
    dataset = Named(known(read(web.url(name))), tmp_path)
    left, killed = [times], []

    def fault(*asked):
        with web.lock:
            left[0] -= 1
            if left[0] < 0:
                return None
            for path in tmp_path.glob('*.pid'):  # all that may be reading
                with suppress(ProcessLookupError):
                    os.kill(int(path.stem), signal.SIGKILL)
                killed.append(path.stem)
                path.unlink()
        return 'dropped'

    web.fault = fault
    with Infinite(dataset, shuffle(), repr, batch_size=5, seed=0, processes=2) as batch_iter:
        found = [list(batch) for batch in batch_iter]
    assert len(killed) >= times
    with Infinite(read(tmp_path / name), shuffle(), repr, batch_size=5, seed=0) as batch_iter:
        assert found == [list(batch) for batch in batch_iter]
