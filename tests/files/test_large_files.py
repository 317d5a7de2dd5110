"""Files of 100,000 items: any of them is found at once, and no more is read than what is asked for."""

import gzip
import io
import json
import os
import tarfile
from itertools import islice

import numpy as np
import pytest
from running import through_json

from itpipe import Infinite, parallel_map, shard, shuffle, skip, stream, take
from itpipe.files import arrow, hdf5, jsonl, lines, parquet, tar, zarr

N = 100_000
pytestmark = [
    pytest.mark.long,
    pytest.mark.leaves_threads('zarr keeps a thread for its event loop, and pyarrow its own'),
]


def write_tar(path):
    with open(path, 'wb') as file:
        for n in range(N):
            data = b'%d' % n
            member = tarfile.TarInfo(f'{n:06}.txt')
            member.size = len(data)
            file.write(member.tobuf() + data.ljust(512, b'\0'))
        file.write(bytes(1024))


def write_parquet(path):
    library = pytest.importorskip('pyarrow.parquet')
    library.write_table(table(), path, row_group_size=1000)


def write_arrow(path):
    library = pytest.importorskip('pyarrow')
    rows = table()
    with library.ipc.new_file(path, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=1000)


def table():
    return pytest.importorskip('pyarrow').table({'n': np.arange(N), 'text': [f'text {n}' for n in range(N)]})


def write_hdf5(path):
    with pytest.importorskip('h5py').File(path, 'w') as file:
        file.create_dataset('x', data=rows(), chunks=(1000, 4))


def write_zarr(path):
    pytest.importorskip('zarr').create_array(str(path), data=rows(), chunks=(1000, 4))


def rows():
    """What cannot be compressed, and the number."""
    return np.concatenate([np.random.default_rng(0).integers(0, 1 << 60, (N, 3)), np.arange(N)[:, None]], 1)


def write_lines(path):
    path.write_text(''.join(f'{n}\n' for n in range(N)))


def write_jsonl(path):
    path.write_text(''.join(json.dumps({'n': n}) + '\n' for n in range(N)))


KINDS = {
    'tar': (write_tar, lambda path: tar(path, index='beside'), lambda item: int(item['txt'])),
    'lines': (write_lines, lambda path: lines(path, index='beside'), int),
    'jsonl': (write_jsonl, jsonl, lambda item: item['n']),
    'parquet': (write_parquet, parquet, lambda item: item['n']),
    'arrow': (write_arrow, arrow, lambda item: item['n']),
    'hdf5': (write_hdf5, lambda path: hdf5(path, 'x'), lambda row: int(row[3])),
    'zarr': (write_zarr, zarr, lambda row: int(row[3])),
}


@pytest.fixture(scope='module', params=KINDS)
def large(request, tmp_path_factory):
    """A dataset whose items tell their numbers, a function that does, and how many bytes its files have."""
    write, read, number = KINDS[request.param]
    path = tmp_path_factory.mktemp('large') / f'data.{request.param}'
    write(path)
    files = [path] if path.is_file() else [each for each in path.rglob('*') if each.is_file()]
    warm_up()
    return read(path), number, sum(each.stat().st_size for each in files)


def warm_up():
    """Import what runs and resumes."""
    described = stream(range(9), seed=0) | shuffle() | skip(2) | parallel_map(abs, threads=2)
    run = iter(described)
    next(run)
    list(described.resume(through_json(run.state_dict())))


def bytes_read():
    """How many bytes this process has read by calls of the system, from wherever. (What is mapped is not in it.)"""
    with open('/proc/self/io') as file:
        return int(file.readline().split()[1])


def test_random_access(large):
    dataset, number, size = large
    assert len(dataset) == N
    assert number(dataset[0]) == 0  # what has to be imported is
    before = bytes_read()
    for index in (99_999, 7, 54_321, -1, 33_333):
        assert number(dataset[index]) == index % N
    assert bytes_read() - before < size / 10


def test_shuffle_and_a_resume_in_the_middle(large):
    dataset, number, size = large
    expected = list(islice(stream(range(N), seed=0) | shuffle() | skip(N // 2), 60))
    described = stream(dataset, seed=0) | shuffle() | skip(N // 2) | parallel_map(number, threads=2)
    for _ in islice(described.resume(iter(described).state_dict()), 3):  # what has to be imported is
        pass
    before = bytes_read()
    run = iter(described)
    assert [next(run) for _ in range(30)] == expected[:30]
    state = through_json(run.state_dict())
    run.close()
    again = iter(described.resume(state))
    assert [next(again) for _ in range(30)] == expected[30:]
    again.close()
    assert bytes_read() - before < 10 * size  # not 60 times the file for 60 items; the process reads other things, too


def test_a_resume_of_items_in_order(large):
    """It begins at its place: of what is in front of it, nothing is read."""
    dataset, number, size = large
    described = stream(dataset, seed=0) | skip(N // 2) | number
    run = iter(described)
    assert next(run) == N // 2
    before = bytes_read()
    again = iter(described.resume(through_json(run.state_dict())))
    assert [next(again) for _ in range(100)] == [*range(N // 2 + 1, N // 2 + 101)]
    assert bytes_read() - before < size / 10


@pytest.mark.parametrize('order', [[], [shuffle()]], ids=['in order', 'shuffled'])
def test_three_ranks(large, order):
    dataset, number, _ = large
    found = []
    for rank in range(3):
        with Infinite(dataset, *order, number, batch_size=8, seed=0, batches_per_epoch=4, shard=(rank, 3)) as batches:
            found.append([int(n) for batch in batches for n in batch])
        with Infinite(range(N), *order, batch_size=8, seed=0, batches_per_epoch=4, shard=(rank, 3)) as batches:
            assert found[-1] == [int(n) for batch in batches for n in batch]
    assert len({n for each in found for n in each}) == 3 * 4 * 8
    assert list(stream(dataset) | shard(1, 3) | take(4) | number) == [1, 4, 7, 10]


def test_a_stored_index_is_read_in_no_time(tmp_path):
    """Of the tar file itself, not a byte is read for the length."""
    write_tar(tmp_path / 'a.tar')
    assert len(tar(tmp_path / 'a.tar', index='beside')) == N
    assert os.path.getsize(tmp_path / 'a.tar.index') < 30 * N
    before = bytes_read()
    dataset = tar(tmp_path / 'a.tar', index='beside')
    assert len(dataset) == N
    assert bytes_read() - before < 10_000
    assert dataset[77_777] == {'__key__': '077777', 'txt': b'77777'}
    assert bytes_read() - before < 100_000


def test_compressed_lines_are_read_up_to_the_place(tmp_path):
    path = tmp_path / 'a.jsonl.gz'
    buffer = io.BytesIO()
    with gzip.open(buffer, 'wt') as file:
        file.writelines(json.dumps({'n': n}) + '\n' for n in range(N))
    path.write_bytes(buffer.getvalue())
    described = stream(jsonl(path)) | (lambda item: item['n'])
    run = iter(described)
    assert list(islice(run, N // 2)) == [*range(N // 2)]
    state = through_json(run.state_dict())
    run.close()
    before = bytes_read()
    again = iter(described.resume(state))
    assert next(again) == N // 2
    again.close()
    assert 0.4 < (bytes_read() - before) / path.stat().st_size < 0.7
