"""What values hold in memory: an estimate. What owns memory counts, once, not what looks at a part of it.

Libraries are known by what their objects have, or by the name of their module; none is imported, and nothing is read
or computed.
"""

from __future__ import annotations

import mmap
import weakref
from collections import UserDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO, StringIO
from numbers import Integral
from types import ModuleType, NoneType
from typing import Any, NamedTuple

import numpy as np

__all__ = ['Held', 'Holding', 'Shared', 'nbytes']

NUMBERS = {int, float, complex, bool, NoneType}
COLLECTIONS = (tuple, list, set, frozenset, deque)
LAZY = {'h5py', 'zarr', 'dask', 'netCDF4', 'tables', 'tensorstore', 'tiledb'}
"""Libraries whose arrays stay where they are until somebody reads them, whatever `nbytes` they have."""
SEVERAL = 1 << 12
"""Bytes from which on it is worth to see whether several values hold the same memory."""


class Shared(mmap.mmap):
    """Mapped memory that counts: there is no file that the system could read it from again."""


class _Found(NamedTuple):
    """What a part of a value says of the memory that it holds."""

    owner: Any = None
    size: int = 0
    parts: Iterable[Any] = ()
    """What else to look at."""
    key: int | None = None
    """Instead of the owner's id, where each look makes another object."""


NOTHING = _Found()


def nbytes(value: Any) -> int:
    """An estimate of the bytes that the value holds.

    It counts text, bytes, arrays, tensors, tables and images. It looks for these inside of tuples, lists, sets, dicts,
    arrays of objects, dataclasses and the attributes of other objects, but no deeper into attributes than that. A view
    counts with all that it is a view of, and everything counts once. Numbers are not counted, nor are memory-mapped
    files and arrays that are read when they are needed. Of an object that has `nbytes`, that is believed.
    """
    small, owners = _held(value)
    return small + sum(size for size, _ in owners.values())


# ---------------------------------------------------------------------------------------------------------------------
# What several values hold


class Holding(NamedTuple):
    """What a value holds beside those that were there before it."""

    own: int
    keys: tuple[int, ...]
    added: int


class Held:
    """The bytes that several values hold together, where what owns memory counts once, too.

    What comes again after the last value that held it has gone is held by somebody else, a dataset for example: no
    limit makes it go away, and it does not count any more. All this is for one thread.
    """

    def __init__(self) -> None:
        self.total = 0
        self._owners: dict[int, list[Any]] = {}
        """Of each, by its identity: bytes, the number of values that hold it, and a weak reference."""
        self._elsewhere: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def add(self, value: Any, copied: bool = False) -> Holding:
        """Count the value; if `copied`, a copy of what it shows, which shares no memory."""
        own, owners = _held(value, copied)
        keys, added = [], 0
        for key, (size, owner) in owners.items():
            if copied or size < SEVERAL:
                own += size
            elif key in self._owners:
                self._owners[key][1] += 1
                keys.append(key)
            elif self._elsewhere.get(key) is not owner:
                self._owners[key] = [size, 1, _reference(owner)]
                keys.append(key)
                added += size
        self.total += own + added
        return Holding(own, tuple(keys), own + added)

    def remove(self, holding: Holding) -> None:
        """The value that was counted so has gone."""
        self.total -= holding.own
        for key in holding.keys:
            entry = self._owners[key]
            entry[1] -= 1
            if not entry[1]:
                del self._owners[key]
                self.total -= entry[0]
                if (owner := entry[2]()) is not None:
                    self._elsewhere[key] = owner


def _reference(owner: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(owner)
    except TypeError:
        return NoneType


# ---------------------------------------------------------------------------------------------------------------------
# What one value holds


def _held(value: Any, copied: bool = False) -> tuple[int, dict[int, tuple[int, Any]]]:
    """The bytes of text and of numpy's numbers, and what owns other memory, by its identity: its bytes and itself."""
    owners: dict[int, tuple[int, Any]] = {}
    seen: dict[int, Any] = {}
    small, objects = _look([value], seen, owners, copied)
    more, _ = _look([attribute for each in objects for attribute in _attributes(each)], seen, owners, copied)
    return small + more, owners


def _look(
    parts: list[Any], seen: dict[int, Any], owners: dict[int, tuple[int, Any]], copied: bool
) -> tuple[int, list[Any]]:
    """The bytes of text and of numpy's numbers in there, and the objects of which nothing is known."""
    small, objects = 0, []
    while parts:
        part = parts.pop()
        if type(part) in NUMBERS or id(part) in seen:
            continue
        seen[id(part)] = part  # holds it, or another one could get its id
        if isinstance(part, str):
            small += len(part) if part.isascii() else part.__sizeof__()
        elif isinstance(part, np.generic):
            small += part.nbytes
        elif isinstance(part, COLLECTIONS):
            parts.extend(part)
        elif isinstance(part, (dict, UserDict)):
            parts.extend(part.values())
        elif (found := _found(part, copied)) is None:
            objects.append(part)
        else:
            parts.extend(found.parts)
            if found.size:
                owners[id(found.owner) if found.key is None else found.key] = found.size, found.owner
    return small, objects


def _found(part: Any, copied: bool) -> _Found | None:
    """What is known of the part; None if that is nothing."""
    if isinstance(part, np.ndarray):
        return _of_array(part, copied)
    if isinstance(part, (bytes, bytearray)):
        return _Found(part, len(part))
    kind = type(part)
    if isinstance(part, (type, ModuleType, mmap.mmap)) or any(_module(each) in LAZY for each in kind.__mro__):
        return NOTHING
    with suppress(Exception):  # what is computed when it is asked for may fail, such as `nbytes` of sparse tensors
        if isinstance(part, memoryview):
            return _Found(part, part.nbytes) if copied or part.obj is None else _Found(parts=[part.obj])
        if isinstance(part, (BytesIO, StringIO)):
            return _Found(parts=[part.getvalue()])  # of bytes, it is no copy
        for mark, look in BY_MARK.items():
            if hasattr(kind, mark):
                return look(part)
        if isinstance(said := getattr(part, 'nbytes', None), Integral):
            return _Found(part, int(said))
        if fields := getattr(kind, '__dataclass_fields__', None):
            return _Found(parts=[getattr(part, name, None) for name in fields])
        if fields := getattr(kind, '__attrs_attrs__', None):
            return _Found(parts=[getattr(part, field.name, None) for field in fields])
    with suppress(Exception), memoryview(part) as memory:  # `array.array`, and tensors of TensorFlow
        return _Found(part, memory.nbytes)
    return None


def _of_array(array: Any, copied: bool) -> _Found:
    parts = array.ravel().tolist() if array.dtype.hasobject and array.dtype.names is None else []
    if type(array) is not np.ndarray and isinstance(mask := getattr(array, '_mask', None), np.ndarray):
        parts.append(mask)
    root, base = array, array.base
    while base is not None:
        if isinstance(base, np.ndarray):
            root = base
        if (below := getattr(base, 'base', None)) is None:
            break
        base = below
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap) and not isinstance(base, Shared):
        return _Found(parts=parts)
    if copied:
        return _Found(array, array.nbytes, parts)
    if base is None or base is root or isinstance(base, Shared) or (below := _found(base, copied)) is None:
        return _Found(root, root.nbytes, parts)
    return below._replace(parts=[*below.parts, *parts])


def _of_tensor(tensor: Any) -> _Found:
    if tensor.device.type == 'meta':
        return NOTHING
    layout = str(tensor.layout)
    if layout == 'torch.sparse_coo':
        return _Found(parts=[tensor._indices(), tensor._values()])
    if layout in ('torch.sparse_csr', 'torch.sparse_bsr'):
        return _Found(parts=[tensor.crow_indices(), tensor.col_indices(), tensor.values()])
    if layout in ('torch.sparse_csc', 'torch.sparse_bsc'):
        return _Found(parts=[tensor.ccol_indices(), tensor.row_indices(), tensor.values()])
    storage = tensor.untyped_storage()
    return _Found(storage, 0 if storage.filename else storage.nbytes())  # that of a file is mapped


def _of_image(image: Any) -> _Found:
    width, height = image.size
    several = len(image.getbands()) > 1 or image.mode in ('I', 'F')
    return _Found(image, width * height * (4 if several else 2 if image.mode.startswith('I;16') else 1))


def _of_pandas(part: Any) -> _Found | None:
    if (manager := getattr(part, '_mgr', None)) is not None:
        return _Found(parts=[*manager.arrays, part.axes[0]])
    if hasattr(part, 'start'):  # it makes its numbers when they are asked for
        return NOTHING
    parts = [getattr(part, name) for name in ('_data', '_ndarray', '_mask', '_pa_array') if hasattr(part, name)]
    return _Found(parts=parts) if parts else _Found(part, int(part.nbytes))


def _of_arrow(part: Any) -> _Found:
    for name in ('columns', 'chunks'):
        if hasattr(part, name):
            return _Found(parts=getattr(part, name))
    return _Found(parts=[*part.buffers(), getattr(part, 'dictionary', None)])


def _of_buffer(buffer: Any) -> _Found:
    while (parent := buffer.parent) is not None:
        buffer = parent
    return _Found(buffer, buffer.size, key=-buffer.address)


def _of_xarray(part: Any) -> _Found:
    if hasattr(part, 'variables'):
        return _Found(parts=list(part.variables.values()))
    if hasattr(part, 'coords'):
        return _Found(parts=[part.variable, *(each.variable for each in part.coords.values())])
    if isinstance(part._data, np.ndarray):
        return _Found(parts=[part._data])
    return _Found(part, part.nbytes) if part._in_memory else NOTHING


def _of_itk(image: Any) -> _Found:
    components = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel()
    return _Found(image, components * image.GetSizeOfPixelComponent())


BY_MARK: dict[str, Callable[[Any], _Found | None]] = {
    'untyped_storage': _of_tensor,
    'getbands': _of_image,
    'memory_usage': _of_pandas,
    'isna': _of_pandas,
    'estimated_size': lambda part: _Found(part, part.estimated_size()),  # of polars
    'get_total_buffer_size': _of_arrow,
    'is_mutable': _of_buffer,
    'data_vars': _of_xarray,
    '_in_memory': _of_xarray,
    'GetSizeOfPixelComponent': _of_itk,
}
"""What types of other libraries have, and only they."""


def _module(kind: type) -> str:
    return kind.__module__.partition('.')[0]


def _attributes(part: Any) -> list[Any]:
    found: list[Any] = []
    with suppress(Exception):
        found += getattr(part, '__dict__', {}).values()
        for kind in type(part).__mro__:
            slots = vars(kind).get('__slots__', ())
            for name in [slots] if isinstance(slots, str) else slots:
                private = name.startswith('__') and not name.endswith('__')
                found.append(getattr(part, f'_{kind.__name__.lstrip("_")}{name}' if private else name, None))
    return found
