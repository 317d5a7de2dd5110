"""Arrays in pickles: which ones are opened again by path, which are copied, and who may write to them."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import raises

import itpipe._workers.arrays
from itpipe import NotPicklable
from itpipe._workers.arrays import REOPENED
from itpipe._workers.pickling import dumps_call, dumps_function, loads_function, loads_item, pack, result_of
from itpipe._workers.shared_memory import LARGE, Large


def received(large: Large) -> list[bytearray]:
    return [bytearray(buffer.raw()) for buffer in large]


def in_function(value: Any) -> Any:
    """The value as it arrives inside of a function."""
    large = Large()
    data = dumps_function(value, large)
    return loads_function(data, received(large))


def as_item(value: Any) -> Any:
    large = Large()
    data = dumps_call(0, value, large)
    return loads_item(data, received(large))[1]


def as_result(value: Any) -> Any:
    large = Large()
    packed = pack(lambda: value, buffer_callback=large)
    packed.buffers = received(large)
    return result_of(packed)


def elsewhere(value: Any) -> Any:
    """The value as it arrives inside of a function at an executor that may be on another machine."""
    return loads_function(dumps_function(value))


def array(rows: int = 300) -> Any:
    return np.arange(rows * 1000.0).reshape(rows, 1000)


@pytest.fixture
def path(tmp_path: Path) -> str:
    array().tofile(tmp_path / 'array')
    return str(tmp_path / 'array')


def opened(path: Any, mode: Any = 'r', **options: Any) -> Any:
    return np.memmap(path, np.float64, mode, **{'shape': (300, 1000), **options})


def root(value: Any) -> Any:
    while isinstance(value.base, np.ndarray):
        value = value.base
    return value


def is_opened_again(value: Any) -> bool:
    return isinstance(root(value), np.memmap) and not value.flags.writeable


def is_copied(value: Any) -> bool:
    return type(value) is np.ndarray and not isinstance(root(value), np.memmap)


# ---------------------------------------------------------------------------------------------------------------------
# Mapped files


@pytest.mark.parametrize('mode', ['r', 'r+'])
@pytest.mark.parametrize('kind', [str, Path])
def test_a_mapped_array_is_opened_again_read_only(path: str, mode: str, kind: Any) -> None:
    given = opened(kind(path), mode)
    got = in_function(given)
    assert type(got) is np.memmap
    assert (got.filename, got.offset, got.mode) == (given.filename, 0, 'r')
    assert np.array_equal(got, given)
    assert is_opened_again(got)
    array()[::-1].tofile(path)  # the same file, which both see
    assert np.array_equal(got, array()[::-1])


VIEWS: dict[str, Callable[[Any], Any]] = {
    'itself': lambda m: m,
    'a row': lambda m: m[7],
    'rows': lambda m: m[7:30],
    'steps': lambda m: m[5::3, 2:-1:7],
    'backwards': lambda m: m[::-1, ::-2],
    'transposed': lambda m: m.T[3:],
    'other axes': lambda m: m.reshape(29, 10, 1000, order='A').transpose(2, 0, 1),
    'other type': lambda m: np.asarray(m).T.view('i2') if m.flags.fnc else m.view('i2')[:, 1:],
    'plain': np.asarray,
    'a part of a plain one': lambda m: np.asarray(m)[3:, 5],
    'broadcast': lambda m: np.broadcast_to(m[3], (7, 1000)),
    'a field': lambda m: m.view([('a', 'f4'), ('b', 'i4')])['b'],
    'no axes': lambda m: m[3, 4, ...],
}


@pytest.mark.parametrize('view', VIEWS)
@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('offset', [0, 8008])
def test_so_is_a_view(path: str, view: str, order: Any, offset: int) -> None:
    given = VIEWS[view](opened(path, order=order, offset=offset, shape=(290, 1000)))
    got = in_function(given)
    assert (type(got), got.dtype, got.shape, got.strides) == (type(given), given.dtype, given.shape, given.strides)
    assert np.array_equal(got, given)
    assert is_opened_again(got)
    assert np.array_equal(in_function(got), given)


def test_views_of_one_array_share_one_mapping(path: str) -> None:
    given = opened(path)
    many = in_function([given[row] for row in range(300)])
    assert len({id(root(row)) for row in many}) == 1
    assert [row[0] for row in many] == list(given[:, 0])


def test_a_file_of_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / 'a.npy', array())
    got = in_function(np.load(tmp_path / 'a.npy', mmap_mode='r')[5:])
    assert is_opened_again(got)
    assert np.array_equal(got, array()[5:])


@pytest.mark.parametrize('name', ['with spaces', 'with\nlines', 'now (deleted)', 'ä', 'a\\012b'])
def test_any_name_of_a_file(tmp_path: Path, name: str) -> None:
    array().tofile(tmp_path / name)
    assert is_opened_again(in_function(opened(tmp_path / name)))


def test_a_link_to_a_file(tmp_path: Path, path: str) -> None:
    (tmp_path / 'link').symlink_to(path)
    assert is_opened_again(in_function(opened(str(tmp_path / 'link'))))


def changed_for_itself(path: str) -> Any:
    value = opened(path, 'c')
    value[0] = 3
    return value


def deleted(path: str) -> Any:
    value = opened(path)
    os.unlink(path)
    return value


def replaced(path: str) -> Any:
    value = opened(path)
    array()[::-1].tofile(path + '.new')
    os.replace(path + '.new', path)
    return value


def without_name(path: str) -> Any:
    with tempfile.TemporaryFile() as file:
        file.write(Path(path).read_bytes())
        return opened(file)


@pytest.mark.parametrize(
    'make',
    [
        changed_for_itself,
        deleted,
        replaced,
        without_name,
        lambda path: opened(path) + 1,
        lambda path: opened(path).copy(),
        lambda path: opened(path)[:0],
        lambda path: np.memmap(path, np.float64, 'c'),
    ],
)
def test_what_is_copied(path: str, make: Callable[[str], Any]) -> None:
    given = make(path)
    got = in_function([given, given[3:]])
    assert all(map(is_copied, got))
    assert np.array_equal(got[0], given)
    assert np.array_equal(got[1], given[3:])


def test_a_file_that_is_replaced_on_the_way(path: str) -> None:
    large = Large()
    data = dumps_function(opened(path), large)  # type: ignore[arg-type]
    replaced(path)
    message = (
        f'the function cannot be unpickled (OSError: {path!r} has been replaced since the array was sent):'
        ' what it uses must be importable in the process'
    )
    with raises(NotPicklable, message):
        loads_function(data)


def test_where_the_system_does_not_tell_of_replaced_files_their_size_does(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(itpipe._workers.arrays, 'MAPS', '/nowhere')
    given = opened(path)
    assert is_opened_again(in_function(given))
    array(200).tofile(path + '.new')
    os.replace(path + '.new', path)
    assert is_copied(in_function(given))


def test_items_are_opened_again_where_that_is_faster(path: str) -> None:
    rows = REOPENED // 8000 + 1
    assert is_opened_again(as_item(opened(path)[:rows]))
    for mode in ('r+', 'w+', 'c'):  # who may write to the file may do so before the function looks
        assert is_copied(as_item(opened(path, mode)[:rows]))
    array().tofile(path)
    got = as_item(opened(path)[: rows - 1])
    assert is_copied(got)
    assert np.array_equal(got, array()[: rows - 1])


@pytest.mark.parametrize('through', [as_result, elsewhere])
def test_results_and_what_goes_to_other_machines_are_copied(path: str, through: Callable[[Any], Any]) -> None:
    for given in (opened(path), np.asarray(opened(path))[3:], opened(path, 'r+')[::2]):
        got = through(given)
        assert is_copied(got)
        assert np.array_equal(got, given)


# ---------------------------------------------------------------------------------------------------------------------
# Who may write


def test_large_arrays_inside_of_a_function_are_read_only() -> None:
    large, small = np.zeros(LARGE, np.uint8), np.zeros(LARGE - 1, np.uint8)
    got = in_function([large, small, large[::-1], large[::2]])
    assert [each.flags.writeable for each in got] == [False, True, False, True]
    with raises(ValueError, 'assignment destination is read-only'):
        got[0][0] = 1
    assert elsewhere(large).flags.writeable


def test_copies_of_them_are_not() -> None:
    """Such as results, which are nobody else's."""
    got = in_function(array())
    for part in (got, got[3:], got[:, 3], got[3, :10]):
        for through in (as_result, as_item):
            assert through(part).flags.writeable
            assert np.array_equal(through(part), part)
    assert not in_function(got).flags.writeable


@pytest.mark.parametrize('through', [in_function, as_item, as_result, elsewhere])
def test_what_is_frozen_stays_it(through: Callable[[Any], Any]) -> None:
    for size in (10, LARGE):
        frozen = np.arange(size)
        frozen.flags.writeable = False
        assert not through(frozen).flags.writeable
        assert not frozen.flags.writeable


# ---------------------------------------------------------------------------------------------------------------------
# In one piece


@pytest.mark.parametrize('through', [in_function, as_item, as_result, elsewhere])
def test_an_array_that_is_there_twice_stays_one(through: Callable[[Any], Any]) -> None:
    permuted = array().reshape(30, 10, 1000).transpose(0, 2, 1)
    for given in (array(), array()[::2], array()[:1, :3], permuted, permuted[::2], np.array([None, 'a'])):
        first, (second,) = through((given, [given]))
        assert first is second
        assert np.array_equal(first, given)


@pytest.mark.parametrize('given', [array()[::2, ::3], array().T[::2], array()[::-1]])
def test_arrays_in_pieces_travel_as_one(given: Any) -> None:
    large = Large()
    data = dumps_call(0, given, large)
    assert len(data) < 1000
    assert [buffer.raw().nbytes for buffer in large] == [given.nbytes]
    got = loads_item(data, received(large))[1]
    assert np.array_equal(got, given)
    assert np.argsort(np.abs(got.strides)).tolist() == np.argsort(np.abs(given.strides)).tolist()


def test_arrays_of_objects_stay_in_the_pickle() -> None:
    given: Any = np.empty(10**4, dtype=object)
    given[0], given[1] = given, array()
    got = in_function(given)
    assert got[0] is got
    assert np.array_equal(got[1], array())
    assert got.flags.writeable
    assert not got[1].flags.writeable


def test_no_tensor_is_read_only() -> None:
    """Torch has none, and warns of what it makes of such an array."""
    torch = pytest.importorskip('torch')
    given = torch.arange(10**5)
    got = in_function((given, [given]))
    assert got[0] is got[1][0]
    got[0][0] = 7
    assert torch.equal(got[0][1:], given[1:])
