"""Rows of Parquet and Arrow files."""

import os

import pytest
from data_files import rows_of, tables_of
from running import raises

from itpipe import Infinite, batch_by, combine_lists, flatten, parallel_map, sample, shuffle, stream, take
from itpipe.files import arrow, parquet

pyarrow = pytest.importorskip('pyarrow')
pytest.importorskip('pyarrow.parquet')
each_kind = pytest.mark.parametrize('kind', [parquet, arrow], ids=lambda kind: kind.__name__)


@each_kind
def test_columns_are_chosen(kind, tmp_path):
    paths = tables_of(tmp_path, kind.__name__)
    assert kind(paths, columns=['text'])[3] == {'text': 'text 3'}
    assert kind(tmp_path / f'*.{kind.__name__}', 'id')[-1] == {'id': 19}
    with raises(TypeError, f'{kind.__name__}: `columns` must be names of columns, got []'):
        kind(paths, columns=[])


@each_kind
def test_columns_that_are_not_there(kind, tmp_path):
    path = tables_of(tmp_path, kind.__name__)[1]
    dataset = kind(tmp_path / f'*.{kind.__name__}', columns=['id', 'txt'])
    first = dataset.paths[0]
    message = f"{kind.__name__}: `columns` must be columns of '{first}', which are 'id', 'text', 'parts'; got 'txt'"
    with raises(ValueError, message, f"itpipe: the head of '{first}'"):
        len(dataset)
    table = pyarrow.table({'id': [1]})
    if kind is parquet:
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    message = f"{kind.__name__}: `columns` must be columns of '{path}', which are 'id'; got 'text'"
    with raises(ValueError, message, f"itpipe: the head of '{path}'"):
        kind(dataset.paths, columns=['id', 'text'])[0]


def test_columns_within_columns(tmp_path):
    path = tmp_path / 'rows.parquet'
    pyarrow.parquet.write_table(pyarrow.table({'a': [{'b': 1, 'c': 2}], 'd.e': [3]}), path)
    assert parquet(path, columns=['a.b', 'd.e'])[0] == {'a': {'b': 1}, 'd.e': 3}
    assert parquet(path, columns='a')[0] == {'a': {'b': 1, 'c': 2}}


@each_kind
def test_rows_of_a_batch_are_looked_up_together(kind, tmp_path, monkeypatch):
    dataset = kind(tables_of(tmp_path, kind.__name__))
    rows = rows_of(range(20))
    assert dataset.__getitems__([19, 3, 3, -1, 0]) == [rows[n] for n in (19, 3, 3, 19, 0)]
    asked = []
    together = type(dataset).__getitems__
    monkeypatch.setattr(
        type(dataset), '__getitems__', lambda self, indices: asked.append(indices) or together(self, indices)
    )
    batches = list(stream(dataset) | batch_by(5) | combine_lists)
    assert [len(indices) for indices in asked] == [5, 5, 5, 5]
    assert batches[1]['id'] == [5, 6, 7, 8, 9]


def test_each_thread_keeps_the_row_groups_that_it_read_last(tmp_path, monkeypatch):
    dataset = parquet(tables_of(tmp_path, 'parquet', files=1, group=5), cached=2)
    read = []
    table = type(dataset._open(dataset.paths[0])).read_row_group

    def counted(self, number, *args, **kwargs):
        read.append(number)
        return table(self, number, *args, **kwargs)

    monkeypatch.setattr(type(dataset._open(dataset.paths[0])), 'read_row_group', counted)
    for index in (0, 4, 5, 3, 19, 2, 6):
        dataset[index]
    assert read == [0, 1, 3, 1]


def test_each_thread_keeps_the_record_batches_that_it_read_last(tmp_path, monkeypatch):
    """Those that are compressed would be unpacked for each row else."""
    path = tmp_path / 'rows.arrow'
    feather = pytest.importorskip('pyarrow.feather')
    feather.write_feather(pyarrow.Table.from_pylist(rows_of(range(20))), path, compression='lz4', chunksize=5)
    dataset = arrow(path)
    assert len(dataset) == 20
    read = []
    batch = pyarrow.ipc.RecordBatchFileReader.get_batch
    monkeypatch.setattr(
        pyarrow.ipc.RecordBatchFileReader, 'get_batch', lambda self, n: read.append(n) or batch(self, n)
    )
    assert [dataset[index]['id'] for index in (0, 1, 6, 2, 19, 3, 7)] == [0, 1, 6, 2, 19, 3, 7]
    assert read == [0, 1, 3, 1]
    assert repr(arrow(path, cached=3)) == f"arrow(['{path}'], cached=3)"


@each_kind
def test_tables_outlive_the_files_that_they_are_of(kind, tmp_path):
    """A mapped file may be closed while rows of it are in use."""
    dataset = kind(tables_of(tmp_path, kind.__name__, rows=40, files=20, group=2), cached=3)
    first = dataset.table(dataset.paths[0], 0)
    assert [row['id'] for row in dataset] == list(range(40))
    assert first.to_pylist() == rows_of(range(2))


def test_streams_are_read_by_index(tmp_path):
    table = pyarrow.Table.from_pylist(rows_of(range(20)))
    kinds = pyarrow.array(list('abca' * 5)).dictionary_encode()
    table = table.append_column('kind', kinds)
    for name, options in {'plain': {}, 'packed': {'options': pyarrow.ipc.IpcWriteOptions(compression='lz4')}}.items():
        with pyarrow.ipc.new_stream(tmp_path / f'{name}.arrow', table.schema, **options) as writer:
            writer.write_table(table, max_chunksize=6)
    dataset = arrow([tmp_path / 'plain.arrow', tmp_path / 'packed.arrow'])
    assert list(dataset) == table.to_pylist() * 2
    assert dataset[-1] == {'id': 19, 'text': 'text 19', 'parts': [19], 'kind': 'a'}
    assert arrow(dataset.paths, 'id').__getitems__([39, 7]) == [{'id': 19}, {'id': 7}]


def test_files_of_hugging_face(tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    datasets = pytest.importorskip('datasets')
    datasets.Dataset.from_list(rows_of(range(20))).save_to_disk(str(tmp_path / 'rows'))
    assert list(arrow(tmp_path / 'rows' / '*.arrow')) == rows_of(range(20))


def test_a_stream_at_a_url_is_refused(tmp_path):
    fsspec = pytest.importorskip('fsspec')
    table = pyarrow.Table.from_pylist(rows_of(range(3)))
    system = fsspec.filesystem('memory')
    try:
        for name, new in {'file': pyarrow.ipc.new_file, 'stream': pyarrow.ipc.new_stream}.items():
            with system.open(f'/itpipe/{name}.arrow', 'wb') as file, new(file, table.schema) as writer:
                writer.write_table(table)
        assert list(arrow('memory://itpipe/file.arrow')) == rows_of(range(3))
        message = (
            "arrow: 'memory://itpipe/stream.arrow' is a stream (or no Arrow file), which has no index at a URL: copy it"
            ' to this machine, or write it with pyarrow.ipc.new_file'
        )
        with raises(ValueError, message, "itpipe: the head of 'memory://itpipe/stream.arrow'"):
            len(arrow('memory://itpipe/stream.arrow'))
    finally:
        system.rm('/itpipe', recursive=True)


def test_row_groups_are_a_dataset(tmp_path):
    dataset = parquet(tables_of(tmp_path, 'parquet'))
    groups = dataset.groups
    assert [len(group) for group in groups] == [4, 4, 2, 4, 4, 2]
    assert repr(groups) == f'{dataset!r}.groups'
    described = stream(groups, seed=0) | shuffle() | flatten | shuffle(6)
    ids = [row['id'] for row in described]
    assert sorted(ids) == list(range(20)) != ids
    with raises(IndexError, 'parquet: there are 6 row groups, but none with the index 6'):
        groups[6]


def test_rows_are_sampled_in_processes(tmp_path):
    dataset = parquet(tables_of(tmp_path, 'parquet'))
    with Infinite(sample(dataset, seed=0) | take(8), batch_size=4, combiner=combine_lists, processes=1) as batch_iter:
        assert [batch['id'] for batch in batch_iter] == [
            batch['id'] for batch in sample(rows_of(range(20)), seed=0) | take(8) | batch_by(4) | combine_lists
        ]


@each_kind
def test_a_damaged_file_is_named(kind, tmp_path):
    (path,) = tables_of(tmp_path, kind.__name__, files=1)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Exception, match='.') as caught:
        len(kind(path))
    assert caught.value.__notes__ == [f"itpipe: the head of '{path}'"]


def test_a_damaged_page_is_named(tmp_path):
    (path,) = tables_of(tmp_path, 'parquet', files=1)
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    with pytest.raises(Exception, match='.') as caught:
        list(parquet(path))
    assert caught.value.__notes__[0] == f"itpipe: table 0 of '{path}'"


def broken(path, begin, data):
    with open(path, 'r+b') as file:
        file.seek(begin)
        file.write(data)


def parquet_of(path, **options):
    """A file of two row groups of 1000 rows, and where the second begins."""
    table = pyarrow.table({'id': [*range(2000)]})
    pyarrow.parquet.write_table(table, path, row_group_size=1000, use_dictionary=False, **options)
    return pyarrow.parquet.read_metadata(path).row_group(1).column(0).data_page_offset


@pytest.mark.parametrize('options', [{}, {'compression': 'zstd'}, {'compression': 'none', 'write_page_checksum': True}])
def test_a_row_group_that_is_broken(options, tmp_path):
    """Also its values, if the file has checksums."""
    path = tmp_path / 'a.parquet'
    begin = parquet_of(path, **options)
    dataset = parquet(path)
    assert dataset[1500] == {'id': 1500}
    broken(path, begin + (0 if options.get('compression') != 'none' else 4000), b'no data' * 8)
    dataset = parquet(path)
    assert dataset[500] == {'id': 500}
    for _ in range(2):
        with pytest.raises(OSError, match=r'.') as caught:
            dataset[1500]
        assert caught.value.__notes__ == [f"itpipe: table 1 of '{path}'"]
    kept = list(stream(dataset) | parallel_map(lambda row: row['id'], threads=1, on_error='skip'))
    assert kept == [*range(1000)]


@pytest.mark.parametrize('size', ['half', 4])
def test_a_file_that_is_cut_off(size, tmp_path):
    path = tmp_path / 'a.parquet'
    parquet_of(path)
    os.truncate(path, path.stat().st_size // 2 if size == 'half' else size)
    with pytest.raises(ValueError, match='Parquet magic bytes not found|Parquet file size is') as caught:
        len(parquet(path))
    assert caught.value.__notes__ == [f"itpipe: the head of '{path}'"]


def test_a_file_that_is_shortened_while_it_is_open(tmp_path):
    path = tmp_path / 'a.parquet'
    begin = parquet_of(path)
    dataset = parquet(path)
    assert dataset[0] == {'id': 0}
    os.truncate(path, begin)
    with pytest.raises(OSError, match=r'.') as caught:
        dataset[1500]
    assert caught.value.__notes__ == [f"itpipe: table 1 of '{path}'"]


@pytest.mark.parametrize('kind', ['file', 'stream'])
def test_an_arrow_file_that_is_shortened_while_it_is_open(kind, tmp_path):
    """It is mapped into memory, of which what is behind the end of the file must not be read."""
    path = tmp_path / 'a.arrow'
    table = pyarrow.table({'id': [*range(100_000)]})
    with getattr(pyarrow.ipc, f'new_{kind}')(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    dataset = arrow(path)
    assert dataset[99_999] == {'id': 99_999}
    os.truncate(path, 1000)
    with raises(OSError, 'arrow: the file was shortened while it was open', f"itpipe: table 5 of '{path}'"):
        dataset[50_000]
    with pytest.raises((OSError, ValueError), match=r'.') as caught:  # it is opened anew
        dataset[50_000]
    assert caught.value.__notes__ == [f"itpipe: table 5 of '{path}'"]
