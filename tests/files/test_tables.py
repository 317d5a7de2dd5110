"""Rows of Parquet and Arrow files."""

import pytest
from data_files import rows_of, tables_of
from running import raises

from itpipe import Infinite, batch_by, combine_lists, flatten, sample, shuffle, stream, take
from itpipe.files import arrow, parquet

pytest.importorskip('pyarrow')
each_kind = pytest.mark.parametrize('kind', [parquet, arrow], ids=lambda kind: kind.__name__)


@each_kind
def test_columns_are_chosen(kind, tmp_path):
    paths = tables_of(tmp_path, kind.__name__)
    assert kind(paths, columns=['text'])[3] == {'text': 'text 3'}
    assert kind(tmp_path / f'*.{kind.__name__}', 'id')[-1] == {'id': 19}
    with raises(TypeError, f'{kind.__name__}: `columns` must be names of columns, got []'):
        kind(paths, columns=[])


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
    for index in (0, 4, 5, 3, 19, 6, 0):
        dataset[index]
    assert read == [0, 1, 3, 0]


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
