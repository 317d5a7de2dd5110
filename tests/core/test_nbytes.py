"""The bytes that a value holds."""

import array as array_module
import ctypes
import mmap
from collections import UserDict, deque, namedtuple
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import run_script

from itpipe._core.nbytes import Shared, nbytes

array = np.zeros((2, 50), np.uint8)
Point = namedtuple('Point', 'x y')


@dataclass
class Example:
    image: Any
    label: int = 0
    later: Any = field(init=False)
    """Not there before it is set."""


class Own:
    nbytes = 70


class Raising:
    @property
    def nbytes(self) -> int:
        raise RuntimeError('sparse')


class Strange:
    nbytes = 'many'


class Plain:
    def __init__(self, image: Any) -> None:
        self.image, self.label = image, 3


class Slotted:
    __slots__ = ('__boxes', 'image', 'later')

    def __init__(self) -> None:
        self.image, self.__boxes = array, b'12'


@pytest.mark.parametrize(
    ('value', 'holds'),
    [
        (None, 0),
        (True, 0),
        (3, 0),
        (0.5, 0),
        (1j, 0),
        (array, 100),
        (array[:, :10], 100),
        (np.float32(1), 4),
        (b'12345', 5),
        (bytearray(6), 6),
        (memoryview(b'1234567'), 7),
        ('text', 4),
        ([np.float32(1), np.float64(2)], 12),
        ((), 0),
        ((array, 3), 100),
        ([array, b'12', 'a'], 103),
        ([array, array], 100),
        (Point(array, (1, [b'1'])), 101),
        ({'image': array, 'parts': {1: b'1', 2: [b'12']}}, 103),
        (UserDict(image=array), 100),
        (deque([b'1', b'22']), 3),
        ({b'1', b'22'}, 3),
        (Example(array), 100),
        ([Example(array), Example([b'1'])], 101),
        (Example, 0),
        (np.ndarray, 0),
        (Own(), 70),
        (Raising(), 0),
        (Strange(), 0),
        (Plain(array), 100),
        (Plain([b'1', {'a': array}]), 101),
        ([Plain(array), Plain(array)], 100),
        (Plain(Plain(array)), 0),
        (Plain(Example(array)), 100),
        (Slotted(), 102),
        (np, 0),
        (abs, 0),
    ],
)
def test_arrays_buffers_and_text_count_wherever_they_are(value: Any, holds: int) -> None:
    assert nbytes(value) == holds


def test_values_that_hold_themselves() -> None:
    cycle: list[Any] = [array]
    cycle.append({'again': cycle})
    assert nbytes(cycle) == 100


def test_values_as_deep_as_you_like() -> None:
    deep: Any = array
    for _ in range(10**5):
        deep = [deep]
    assert nbytes(deep) == 100
    while isinstance(deep, list):  # else Python would end it recursively
        (deep,) = deep


def test_tables() -> None:
    pandas = pytest.importorskip('pandas')
    table = pandas.DataFrame({'a': np.zeros(100), 'b': np.zeros(100, np.uint8)}, index=np.arange(100))
    assert nbytes((table, 1)) == 100 * (8 + 1 + 8)
    assert nbytes(table.a) == 100 * (8 + 8)
    assert nbytes(table.iloc[2:4]) == 100 * (8 + 1 + 8)
    assert nbytes([table.iloc[2:4], table.iloc[5:], table.a]) == 100 * (8 + 1 + 8)
    assert nbytes(table.a.iloc[:1]) == 100 * (8 + 8)
    assert nbytes(pandas.Series(np.zeros(100))) == 800
    assert nbytes(pandas.Series([1, None] * 50, dtype='Int64')) == 100 * (8 + 1)
    assert nbytes(pandas.RangeIndex(10**12)) == 0
    assert 1000 <= nbytes(pandas.Series([f'{n:010}' for n in range(100)])) <= 3000  # with pyarrow or without
    assert nbytes(pandas.DataFrame({'a': [b'12345'] * 3}, dtype=object)) == 5 + 3 * 8


def test_tensors() -> None:
    torch = pytest.importorskip('torch')
    x = torch.zeros(10, dtype=torch.float32)
    assert nbytes({'x': x}) == 40
    assert nbytes([x[2:4], x[5:], x.view(2, 5)]) == 40
    assert nbytes(torch.zeros(1).expand(10**9)) == 4
    assert nbytes(x[:2].numpy()) == 40
    assert nbytes([x, x.numpy()]) == 40
    assert nbytes(torch.nn.Parameter(x)) == 40
    assert nbytes(torch.zeros(10**9, device='meta')) == 0


@pytest.mark.filterwarnings('ignore:Sparse')
def test_sparse_tensors() -> None:
    torch = pytest.importorskip('torch')
    x = torch.sparse_coo_tensor(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3), (100, 100))
    assert nbytes(x) == 2 * 3 * 8 + 3 * 4
    indices, columns = torch.zeros(101, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    for kind in (torch.sparse_csr_tensor, torch.sparse_csc_tensor):
        x = kind(indices, columns, torch.zeros(3), (100, 100), check_invariants=False)
        assert nbytes(x) == 101 * 8 + 3 * 8 + 3 * 4


def test_mapped_tensors_count_as_nothing(tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    (tmp_path / 'x').write_bytes(bytes(4000))
    assert nbytes(torch.from_file(str(tmp_path / 'x'), shared=True, size=1000)) == 0


volume = np.zeros((10, 10, 10))  # 8000 bytes
data = bytes(1000)


@pytest.mark.parametrize(
    ('value', 'holds'),
    [
        (volume[:2, :2, :2], 8000),
        (volume[:5].reshape(-1)[::2][3:].T, 8000),
        ([volume[:2], volume[2:], volume], 8000),
        (np.frombuffer(data, np.uint8)[:3], 1000),
        ((data, np.frombuffer(data, np.uint8), memoryview(data)[2:], BytesIO(data)), 1000),
        (np.frombuffer(bytearray(1000), np.uint8)[:3], 1000),
        (np.ndarray(3, np.uint8, bytearray(1000)), 1000),
        (memoryview(volume)[:2], 8000),
        (np.broadcast_to(np.zeros(1), (10**9,)), 8),
        (np.broadcast_to(volume[0, 0], (10**9, 10)), 8000),
        (np.lib.stride_tricks.sliding_window_view(volume, (2, 2, 2)), 8000),
        (np.zeros(10, 'i8,f8')['f0'], 160),
        (volume.view(np.recarray)[0], 8000),
        (np.ma.masked_array(np.zeros(100), np.zeros(100, bool))[:2], 900),
        (np.array([volume[:2], None, b'12'], object), 8000 + 2 + 3 * 8),
        (BytesIO(data), 1000),
        (StringIO('a' * 1000), 1000),
        (array_module.array('d', [0.0] * 10), 80),
        ((ctypes.c_double * 10)(), 80),
        ('漢' * 1000, '漢'.__sizeof__() + 999 * 2),
    ],
)  # fmt: skip
def test_what_owns_the_memory_counts_once(value: Any, holds: int) -> None:
    assert nbytes(value) == holds


def test_mapped_files_count_as_nothing_and_what_is_computed_of_them_does(tmp_path: Path) -> None:
    np.save(tmp_path / 'x.npy', volume)
    mapped = np.load(tmp_path / 'x.npy', mmap_mode='r')
    assert nbytes([mapped, mapped[2:], np.asarray(mapped)[:3]]) == 0
    assert nbytes(mapped + 1) == 8000
    with open(tmp_path / 'x.npy', 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        view = memoryview(memory)
        assert nbytes([memory, view, np.frombuffer(memory, np.uint8)]) == 0
        view.release()


def test_shared_memory_counts_as_far_as_it_is_lent() -> None:
    """There is no file that the system could read it from again."""
    whole = np.ndarray(1000, np.uint8, Shared(-1, 10**6), 64)
    assert nbytes(whole[10:20]) == 1000


def test_a_buffer_that_was_closed() -> None:
    closed = BytesIO(data)
    closed.close()
    assert nbytes(closed) == 0


@pytest.mark.parametrize('kind', ['csr', 'csc', 'bsr', 'coo', 'dia'])
@pytest.mark.parametrize('make', ['array', 'matrix'])
def test_sparse_matrices(kind: str, make: str) -> None:
    sparse = pytest.importorskip('scipy.sparse')
    x = getattr(sparse, f'{kind}_{make}')(sparse.eye(100, 100, format=kind))
    names = {'coo': ['data', 'row', 'col'], 'dia': ['data', 'offsets']}.get(kind, ['data', 'indices', 'indptr'])
    assert nbytes(x) == sum(getattr(x, name).nbytes for name in names)


def test_images() -> None:
    """Pillow takes four bytes for a pixel with several bands."""
    image = pytest.importorskip('PIL.Image')
    sizes = {'L': 1, '1': 1, 'P': 1, 'I;16': 2, 'RGB': 4, 'RGBA': 4, 'LA': 4, 'I': 4, 'F': 4}
    assert {mode: nbytes(image.new(mode, (20, 30))) / 600 for mode in sizes} == sizes
    picture = image.new('RGB', (20, 30))
    assert nbytes([picture, {'again': picture}]) == 2400


def test_arrow() -> None:
    arrow = pytest.importorskip('pyarrow')
    numbers = arrow.array(np.arange(1000))
    table = arrow.table({'x': numbers, 'y': arrow.array(np.zeros(1000, np.uint8))})
    assert nbytes(numbers[3:5]) == 8000
    assert nbytes([numbers[3:5], numbers[7:], numbers[:2].to_numpy()]) == 8000
    assert nbytes(table.slice(3, 2)) == 9000
    assert nbytes([table.slice(3, 2), table.column('x'), *table.slice(1, 1).to_batches()]) == 9000
    assert nbytes(arrow.py_buffer(data).slice(3, 2)) == 1000
    words = arrow.array(['a' * 100, 'b'] * 1000).dictionary_encode()[:2]
    assert nbytes(words) >= 2000 * 4 + 101


def test_polars() -> None:
    polars = pytest.importorskip('polars')
    table = polars.DataFrame({'x': range(1000), 'y': range(1000)})
    assert nbytes(table) == 16000
    assert nbytes(table['x']) == 8000
    assert nbytes(table.lazy()) == 0


def test_arrays_that_are_read_when_they_are_needed_count_as_nothing(tmp_path: Path) -> None:
    h5py = pytest.importorskip('h5py')
    with h5py.File(tmp_path / 'x.h5', 'w') as file:
        dataset = file.create_dataset('x', (10**9,), 'u1', chunks=True)
        assert dataset.nbytes == 10**9
        assert nbytes([file, dataset]) == 0
        assert nbytes([dataset[:100], dataset]) == 100


ZARR = """
import sys
import zarr
from itpipe._core.nbytes import nbytes
array = zarr.create_array(sys.argv[1], shape=(10**9,), chunks=(10**6,), dtype='u1')
assert array.nbytes == 10**9
assert nbytes([array, array[:100]]) == 100
"""


def test_arrays_of_zarr_count_as_nothing(tmp_path: Path) -> None:
    """In a process of its own, as zarr leaves threads behind."""
    pytest.importorskip('zarr')
    run_script(ZARR, tmp_path / 'x.zarr')


@pytest.mark.long
def test_xarray(tmp_path: Path) -> None:
    xarray = pytest.importorskip('xarray')
    image = xarray.DataArray(np.zeros(1000), dims='x')
    assert nbytes(image) == nbytes(image[:3]) == 8000
    xarray.Dataset({'a': image, 'b': image + 1}).to_netcdf(tmp_path / 'x.nc')
    with xarray.open_dataset(tmp_path / 'x.nc') as dataset:
        assert nbytes([dataset, dataset.a]) == 0
        dataset.load()
        assert nbytes([dataset, dataset.a]) == 16000


def test_images_of_itk() -> None:
    itk = pytest.importorskip('SimpleITK')
    assert nbytes(itk.Image([10, 20], itk.sitkVectorFloat32, 3)) == 200 * 4 * 3


def test_classes_of_attrs() -> None:
    attrs = pytest.importorskip('attrs')
    made = attrs.make_class('Made', ['image', 'label'])
    assert nbytes([made(made(array, 'a'), b'12')]) == 103
