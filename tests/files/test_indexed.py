"""The index of files that have none: kept in memory or in a file, of the file as it is."""

import errno
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from data_files import lines_of, tar_of
from running import raises, through_json

from itpipe import cache, parallel_map, shuffle, stream, take
from itpipe.files import _indexed, jsonl, lines, tar
from itpipe.files._indexed import Indexed, check_index

MEMBERS = {f'{n}.txt': b'%d' % n * 9 for n in range(20)}
ITEMS = [{'__key__': str(n), 'txt': b'%d' % n * 9} for n in range(20)]
KINDS = {
    'tar': (tar, lambda path: tar_of(path, MEMBERS), ITEMS),
    'lines': (lines, lambda path: lines_of(path, [*range(20)]), [*map(str, range(20))]),
    'jsonl': (jsonl, lambda path: lines_of(path, [*range(20)], '\n \n'), [*range(20)]),
}
each_kind = pytest.mark.parametrize('kind', KINDS)


def of(kind, path, **options):
    dataset, written, items = KINDS[kind]
    return dataset(written(path), **options), items


@pytest.fixture
def searched(monkeypatch):
    """The paths of files that were read as a whole."""
    found, usual = [], Indexed._found

    def _found(self, path):
        found.append(os.path.basename(path))
        return usual(self, path)

    monkeypatch.setattr(Indexed, '_found', _found)
    return found


@each_kind
@pytest.mark.parametrize('where', ['beside', 'folder'])
def test_an_index_that_was_stored_is_used(kind, where, tmp_path, searched):
    index = 'beside' if where == 'beside' else tmp_path / 'kept'
    dataset, items = of(kind, tmp_path / f'a.{kind}', index=index)
    assert list(dataset) == items
    again = KINDS[kind][0](tmp_path / f'a.{kind}', index=index)
    assert list(again) == items
    assert searched == [f'a.{kind}']
    stored = os.listdir(tmp_path if where == 'beside' else index)
    assert [name for name in stored if name.endswith('.index')] == sorted(stored)[-1:]
    assert list(KINDS[kind][0](tmp_path / f'a.{kind}')) == items
    assert len(searched) == 2  # without the option it is not looked for
    if where == 'beside':
        os.rename(tmp_path, moved := tmp_path.with_name(f'{tmp_path.name} moved'))
        assert list(KINDS[kind][0](moved / f'a.{kind}', index=index)) == items
        assert len(searched) == 2


@each_kind
@pytest.mark.parametrize('what', ['size', 'time', 'file'])
def test_a_file_that_was_changed_is_read_anew(kind, what, tmp_path, searched):
    path = tmp_path / 'a.data'
    dataset, items = of(kind, path, index='beside')
    assert list(dataset) == items
    status = path.stat()
    if what == 'size':
        if kind == 'tar':
            tar_of(path, {**MEMBERS, 'x.txt': bytes(10_000)})
        else:
            lines_of(path, [*range(300)])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif what == 'time':
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    else:
        os.utime(KINDS[kind][1](tmp_path / 'new.data'), ns=(0, 0))
        os.replace(tmp_path / 'new.data', path)
    again = KINDS[kind][0](path, index='beside')
    assert [again[n] for n in range(20)] == items
    assert searched == ['a.data'] * 2
    assert list(KINDS[kind][0](path, index='beside')) == list(again)
    assert searched == ['a.data'] * 2


def mapped(item):
    with open('/proc/self/maps') as maps:
        return any(line.rstrip().endswith('a.data.lines.index') for line in maps), item


@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 2}], ids=str)
def test_workers_map_the_index(workers, tmp_path):
    """They do not get it with the dataset."""
    path = lines_of(tmp_path / 'a.data', [*range(50_000)])
    dataset = lines(path, index='beside')
    described = stream(dataset, seed=0) | shuffle() | parallel_map(mapped, **workers)
    run = iter(described)
    assert len(pickle.dumps(dataset)) < 1000
    head = [next(run) for _ in range(5)]
    expected = stream([*map(str, range(50_000))], seed=0) | shuffle() | take(5)
    assert head == [(True, item) for item in expected]
    state = through_json(run.state_dict())
    run.close()
    assert next(iter(described.resume(state)))[0]


def test_without_a_file_it_takes_few_bytes(tmp_path):
    dataset = lines(lines_of(tmp_path / 'a.data', [0] * 50_000))
    assert len(dataset) == 50_000
    assert len(pickle.dumps(dataset)) < 50_000 * 4 + 1000
    members = tar(tar_of(tmp_path / 'a.tar', {f'{n}.txt': b'' for n in range(1000)}))
    assert len(members) == 1000
    assert len(pickle.dumps(members)) < 1000 * 20 + 1000


@each_kind
def test_an_index_that_goes_is_made_again_in_memory(kind, tmp_path, searched):
    """Also where another one came in its place."""
    dataset, items = of(kind, tmp_path / 'a.data', index=tmp_path / 'kept')
    assert len(dataset) == 20
    copy = pickle.dumps(dataset)
    (path,) = (tmp_path / 'kept').iterdir()
    path.unlink()
    assert list(pickle.loads(copy)) == items
    path.write_bytes(b'something else')
    assert list(pickle.loads(copy)) == items
    assert searched == ['a.data'] * 3


@each_kind
def test_what_cannot_be_stored_stays_in_memory(kind, tmp_path, monkeypatch):
    """On a full disk, or in a folder that is only read: with one warning, however many files there are."""

    def store(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(_indexed, 'store', store)
    dataset, written, items = KINDS[kind]
    paths = [written(tmp_path / f'{name}.data') for name in 'ab']
    made = dataset(paths, index='beside')
    message = (
        rf'^{kind}: where the items are is kept in memory only, as it cannot be stored: .*No space left on device$'
    )
    with pytest.warns(UserWarning, match=message) as caught:
        assert len(made) == 40
    assert len(caught) == 1
    assert Path(caught[0].filename) == Path(__file__)
    assert list(made) == items * 2
    assert list(pickle.loads(pickle.dumps(made))) == items * 2
    assert not list(tmp_path.glob('*.index'))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').touch()
    made, items = of('tar', tmp_path / 'a.tar', index=tmp_path / 'file')
    with pytest.warns(UserWarning, match='^tar: .* cannot be stored: .*file'):
        assert list(made) == items


def test_files_of_one_name_in_one_folder(tmp_path):
    for folder in ('x', 'y'):
        (tmp_path / folder).mkdir()
    paths = [lines_of(tmp_path / 'x' / 'a.txt', [1, 2]), lines_of(tmp_path / 'y' / 'a.txt', [34, 56])]
    for _ in range(2):
        assert list(lines(paths, index=tmp_path / 'kept')) == ['1', '2', '34', '56']
    assert len(os.listdir(tmp_path / 'kept')) == 2


def test_a_pattern_does_not_match_an_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of('tar', Path('a.tar'))
    for _ in range(2):
        assert list(tar('*', index='beside')) == ITEMS
    assert sorted(os.listdir()) == ['a.tar', 'a.tar.index']


def test_a_file_that_is_read_as_lines_and_as_json(tmp_path):
    path = lines_of(tmp_path / 'a.jsonl', [1, 2], '\n\n')
    for _ in range(2):
        assert list(lines(path, index='beside')) == ['1', '', '2', '']
        assert list(jsonl(path, index='beside')) == [1, 2]
    assert sorted(os.listdir(tmp_path)) == ['a.jsonl', 'a.jsonl.index', 'a.jsonl.lines.index']


def test_files_at_urls(tmp_path, searched):
    system = pytest.importorskip('fsspec').filesystem('memory')
    url = 'memory://itpipe/a.tar'
    try:
        system.pipe('/itpipe/a.tar', tar_of(tmp_path / 'a.tar', MEMBERS).read_bytes())
        for _ in range(2):
            assert list(tar(url, index=tmp_path / 'kept')) == ITEMS
        assert searched == ['a.tar']
        system.pipe('/itpipe/a.tar', tar_of(tmp_path / 'a.tar', {'x.txt': b'x'}).read_bytes())
        assert list(tar(url, index=tmp_path / 'kept')) == [{'__key__': 'x', 'txt': b'x'}]
        assert searched == ['a.tar'] * 2
    finally:
        system.rm('/itpipe', recursive=True)


def test_a_cache_stays_when_the_index_is_stored(tmp_path):
    """It is made anew when a file has changed."""
    path, made = lines_of(tmp_path / 'a.txt', [1, 2, 3]), []

    def kept(**options):
        made.clear()
        assert list(stream(lines(path, **options)) | logged(made) | cache(tmp_path / 'kept')) == ['1', '2', '3']
        return len(made)

    assert [kept(), kept(), kept(index='beside'), kept(index='beside')] == [3, 0, 0, 0]
    os.utime(path, ns=(0, 0))
    assert [kept(), kept(index='beside')] == [3, 0]


class logged:
    """A function that leaves what it got in a list, which a cache takes for no part of it."""

    def __init__(self, found):
        self.found = found

    def __call__(self, item):
        self.found.append(item)
        return item

    def __reduce__(self):
        return logged, ()


# ---------------------------------------------------------------------------------------------------------------------
# A file that changes while it is in use


@each_kind
def test_a_file_that_was_only_touched_goes_on(kind, tmp_path, searched):
    dataset, items = of(kind, tmp_path / 'a.data')
    assert dataset[0] == items[0]
    os.utime(tmp_path / 'a.data', ns=(0, 0))
    assert list(dataset) == items
    assert searched == ['a.data'] * 2  # it was looked once, not for each item


@each_kind
def test_a_file_that_grows_goes_on_with_what_was_there(kind, tmp_path):
    path = tmp_path / 'a.data'
    dataset, items = of(kind, path)
    assert dataset[0] == items[0]
    if kind == 'tar':
        path.write_bytes(tar_of(tmp_path / 'b.tar', {**MEMBERS, 'x.txt': b'x'}).read_bytes())
    else:
        with open(path, 'a') as file:
            file.write('20\n')
    assert list(dataset) == items
    assert len(KINDS[kind][0](path)) == 21


@each_kind
def test_a_file_that_is_written_over_is_noticed(kind, tmp_path, searched):
    """In place: what is open has the new bytes. Where the items begin is no longer known, so none is read."""
    path = tmp_path / 'a.data'
    dataset, items = of(kind, path)
    assert dataset[0] == items[0]
    path.write_bytes((b'\n' * 7 if kind != 'tar' else bytes(512)) + path.read_bytes()[:-9])
    part = "member '3.txt'" if kind == 'tar' else 'line 4' if kind == 'lines' else 'line 7'
    for _ in range(2):
        with raises(
            OSError,
            f'{kind}: the file was changed since it was looked where its items are',
            f"itpipe: {part} of '{path}'",
        ):
            dataset[3]
    assert searched == ['a.data'] * 2


@each_kind
def test_a_file_that_is_shortened_is_noticed(kind, tmp_path):
    path = tmp_path / 'a.data'
    dataset, items = of(kind, path)
    assert dataset[0] == items[0]
    os.truncate(path, path.stat().st_size // 2)
    kept = list(stream(dataset) | parallel_map(str, threads=1, on_error='skip'))
    assert kept == []
    with pytest.raises(OSError, match='the file was changed') as caught:
        dataset[19]
    assert str(path) in caught.value.__notes__[0]


def anew(dataset, index, where):
    """An item as a thread or a process reads it that has read none before."""
    if where == 'process':
        return pickle.loads(pickle.dumps(dataset))[index]
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(dataset.__getitem__, index).result()


each_reader = pytest.mark.parametrize('where', ['thread', 'process'])


@each_kind
@each_reader
def test_an_index_that_was_stored_again_is_that_of_other_items(kind, where, tmp_path, searched):
    """Those that begin to read get no item of what is now in the file, nor do those that began before."""
    path = tmp_path / 'a.data'
    dataset, items = of(kind, path, index='beside')
    assert dataset[0] == items[0]
    if kind == 'tar':
        tar_of(path, {f'x{n}.txt': bytes(1000 * n) for n in range(30)})
    else:
        lines_of(path, [*range(1000, 1030)])
    assert len(KINDS[kind][0](path, index='beside')) == 30
    message = f'^{kind}: the file was changed since it was looked where its items are'
    for index in (0, 2, 0):
        with pytest.raises(OSError, match=message) as caught:
            anew(dataset, index, where)
        assert caught.value.__notes__[0] == f"itpipe: the index of '{path}'"
    if where == 'thread':
        assert searched == ['a.data'] * 3  # it was looked once, not for each item
    with pytest.raises(OSError, match=message):
        dataset[0]


@each_kind
@each_reader
@pytest.mark.parametrize('size', [21, 300])
def test_an_index_that_was_stored_again_for_a_file_that_has_grown(kind, where, size, tmp_path):
    path = tmp_path / 'a.data'
    dataset, items = of(kind, path, index='beside')
    assert dataset[0] == items[0]
    if kind == 'tar':
        tar_of(path, MEMBERS | {f'{n}.txt': b'x' for n in range(20, size)})
    else:
        lines_of(path, [*range(size)], '\n' if kind == 'lines' else '\n \n')
    assert len(KINDS[kind][0](path, index='beside')) == size
    assert [anew(dataset, index, where) for index in range(-20, 20)] == items * 2
    assert list(dataset) == items


@each_kind
def test_workers_get_no_other_data(kind, tmp_path):
    path = tmp_path / 'a.data'
    dataset, _ = of(kind, path, index='beside')
    assert len(dataset) == 20
    if kind == 'tar':
        tar_of(path, {'x.txt': b''})
    else:
        lines_of(path, [100, 2, 3])
    assert len(KINDS[kind][0](path, index='beside')) < 20
    with pytest.raises(OSError, match='the file was changed'):
        next(iter(stream(dataset) | parallel_map(str, processes=1)))


@each_kind
def test_a_file_that_is_replaced_is_read_as_it_was(kind, tmp_path):
    """By those that have it open; it is another file with the same name."""
    path = tmp_path / 'a.data'
    dataset, items = of(kind, path)
    assert dataset[0] == items[0]
    (tmp_path / 'new').write_bytes(b'')
    os.replace(tmp_path / 'new', path)
    assert list(dataset) == items
    with pytest.raises(OSError, match='the file was changed'):
        pickle.loads(pickle.dumps(dataset))[0]


def test_a_file_that_ends_while_it_is_read(tmp_path, monkeypatch):
    """Between the look at its size and the read."""
    path = lines_of(tmp_path / 'a.txt', ['x' * 50_000] * 3)
    dataset = lines(path)
    assert len(dataset) == 3
    state = _indexed._Opened.state

    def then_shortened(self):
        result = state(self)
        os.truncate(path, 60_000)
        return result

    monkeypatch.setattr(_indexed._Opened, 'state', then_shortened)
    with raises(OSError, 'lines: the file ends after 9997 of 50003 bytes', f"itpipe: line 2 of '{path}'"):
        dataset[1]


@pytest.mark.parametrize(
    ('index', 'error'),
    [
        (True, TypeError("here: `index` must be None, 'beside' or a folder, got True")),
        (b'x', TypeError("here: `index` must be None, 'beside' or a folder, got b'x'")),
        ('s3://x', ValueError("here: `index` must be a folder on this machine, got 's3://x'")),
        (
            'beside',
            ValueError("here: with `index='beside'`, files must be on this machine, got 's3://x/a.tar': give a folder"),
        ),
    ],
)
def test_what_is_no_place_for_an_index(index, error):
    with raises(type(error), str(error)):
        check_index('here', index, ['a.tar', 's3://x/a.tar'])


def test_places_for_an_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', '/home/me')
    assert check_index('here', None, []) is None
    assert check_index('here', 'beside', ['a.tar']) == 'beside'
    assert check_index('here', './beside', []) == str(tmp_path / 'beside')
    assert check_index('here', Path('~/kept'), ['s3://x/a.tar']) == '/home/me/kept'
    path = tar_of(tmp_path / 'a.tar', {})
    assert repr(tar(path, index='beside')) == f"tar(['{path}'], index='beside')"


def test_compressed_files_have_no_index(tmp_path):
    path = tmp_path / 'a.txt.gz'
    path.touch()
    with raises(ValueError, f"lines: `index` must be left out, as compressed files have none, got '{path}'"):
        lines(path, index='beside')
