"""What a value holds in memory: an estimate.

What owns memory counts, once, and not the views of it. The objects of other libraries are recognized by their
attributes, or by the name of their module. None of these libraries is imported, and nothing is read or computed.
"""

from __future__ import annotations

import mmap
from collections import UserDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import BytesIO, StringIO
from numbers import Integral
from types import ModuleType, NoneType
from typing import Any, NamedTuple

import numpy as np

__all__ = ['Shared', 'nbytes', 'owners_in']

NUMBERS = {int, float, complex, bool, NoneType}
COLLECTIONS = (tuple, list, set, frozenset, deque)
LAZY = {'h5py', 'zarr', 'dask', 'netCDF4', 'tables', 'tensorstore', 'tiledb'}
"""Libraries whose arrays are not read into memory before they are used; their `nbytes` says nothing of memory."""


class Shared(mmap.mmap):
    """Mapped memory that counts, because the system cannot drop it and read it again from a file."""


class _Memory(NamedTuple):
    """What is known of a part of a value: the memory that it uses, and further parts."""

    owner: Any = None
    size: int = 0
    parts: Iterable[Any] = ()
    key: int | None = None
    """Identifies the owner, where its id does not because each access makes a new object."""


NOTHING = _Memory()


def nbytes(value: Any) -> int:
    """An estimate of the bytes that the value holds.

    It counts text, bytes, arrays, tensors, tables and images, also inside tuples, lists, sets, dicts, arrays of
    objects, dataclasses and the attributes of other objects, but not in attributes of attributes. A view counts as the
    whole memory that it is a view of. Everything counts once. Numbers are not counted, nor are memory-mapped files and
    arrays that are read on use. For other objects, their attribute `nbytes` counts.
    """
    small, owners = owners_in(value)
    return small + sum(size for size, _ in owners.values())


def owners_in(value: Any, copied: bool = False) -> tuple[int, dict[int, tuple[int, Any]]]:
    """The bytes of text and of numpy's numbers, and the owners of other memory: each with its size, by its id.

    If `copied`, it is about a copy of the value: there, a view has memory of its own.
    """
    owners: dict[int, tuple[int, Any]] = {}
    seen: dict[int, Any] = {}
    small, objects = _look([value], seen, owners, copied)
    more, _ = _look([attribute for part in objects for attribute in _attributes(part)], seen, owners, copied)
    return small + more, owners


def _look(
    parts: list[Any], seen: dict[int, Any], owners: dict[int, tuple[int, Any]], copied: bool
) -> tuple[int, list[Any]]:
    """Add the owners; returns the bytes of text and of numpy's numbers, and the objects of unknown types."""
    small, objects = 0, []
    while parts:
        part = parts.pop()
        if type(part) in NUMBERS or id(part) in seen:
            continue
        seen[id(part)] = part  # keeps it alive, so that no other part gets its id
        if isinstance(part, str):
            small += len(part) if part.isascii() else part.__sizeof__()
        elif isinstance(part, np.generic):
            small += part.nbytes
        elif isinstance(part, COLLECTIONS):
            parts.extend(part)
        elif isinstance(part, (dict, UserDict)):
            parts.extend(part.values())
        elif (found := _memory_of(part, copied)) is None:
            objects.append(part)
        else:
            parts.extend(found.parts)
            if found.size:
                owners[id(found.owner) if found.key is None else found.key] = found.size, found.owner
    return small, objects


def _memory_of(part: Any, copied: bool) -> _Memory | None:
    """What is known of the part; None if its type is unknown."""
    if isinstance(part, np.ndarray):
        return _of_array(part, copied)
    if isinstance(part, (bytes, bytearray)):
        return _Memory(part, len(part))
    kind = type(part)
    if isinstance(part, (type, ModuleType, mmap.mmap)) or any(_module(each) in LAZY for each in kind.__mro__):
        return NOTHING
    with suppress(Exception):  # properties may fail, such as `nbytes` of sparse tensors
        if isinstance(part, memoryview):
            return _Memory(part, part.nbytes) if copied or part.obj is None else _Memory(parts=[part.obj])
        if isinstance(part, (BytesIO, StringIO)):
            return _Memory(parts=[part.getvalue()])  # for bytes, this is not a copy
        for mark, look in BY_MARK.items():
            if hasattr(kind, mark):
                return look(part)
        if isinstance(size := getattr(part, 'nbytes', None), Integral):
            return _Memory(part, int(size))
        if fields := getattr(kind, '__dataclass_fields__', None):
            return _Memory(parts=[getattr(part, name, None) for name in fields])
        if fields := getattr(kind, '__attrs_attrs__', None):
            return _Memory(parts=[getattr(part, field.name, None) for field in fields])
    with suppress(Exception), memoryview(part) as memory:  # `array.array`, and tensors of TensorFlow
        return _Memory(part, memory.nbytes)
    return None


def _of_array(array: Any, copied: bool) -> _Memory:
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
        return _Memory(parts=parts)
    if copied:
        return _Memory(array, array.nbytes, parts)
    if base is None or base is root or isinstance(base, Shared) or (below := _memory_of(base, copied)) is None:
        return _Memory(root, root.nbytes, parts)
    return below._replace(parts=[*below.parts, *parts])


def _of_tensor(tensor: Any) -> _Memory:
    if tensor.device.type == 'meta':
        return NOTHING
    layout = str(tensor.layout)
    if layout == 'torch.sparse_coo':
        return _Memory(parts=[tensor._indices(), tensor._values()])
    if layout in ('torch.sparse_csr', 'torch.sparse_bsr'):
        return _Memory(parts=[tensor.crow_indices(), tensor.col_indices(), tensor.values()])
    if layout in ('torch.sparse_csc', 'torch.sparse_bsc'):
        return _Memory(parts=[tensor.ccol_indices(), tensor.row_indices(), tensor.values()])
    storage = tensor.untyped_storage()
    return _Memory(storage, 0 if storage.filename else storage.nbytes())  # with a file name, it is mapped


def _of_image(image: Any) -> _Memory:
    width, height = image.size
    several = len(image.getbands()) > 1 or image.mode in ('I', 'F')
    return _Memory(image, width * height * (4 if several else 2 if image.mode.startswith('I;16') else 1))


def _of_pandas(part: Any) -> _Memory | None:
    if (manager := getattr(part, '_mgr', None)) is not None:
        return _Memory(parts=[*manager.arrays, part.axes[0]])
    if hasattr(part, 'start'):  # a range, whose numbers are made on use
        return NOTHING
    parts = [getattr(part, name) for name in ('_data', '_ndarray', '_mask', '_pa_array') if hasattr(part, name)]
    return _Memory(parts=parts) if parts else _Memory(part, int(part.nbytes))


def _of_arrow(part: Any) -> _Memory:
    for name in ('columns', 'chunks'):
        if hasattr(part, name):
            return _Memory(parts=getattr(part, name))
    return _Memory(parts=[*part.buffers(), getattr(part, 'dictionary', None)])


def _of_buffer(buffer: Any) -> _Memory:
    while (parent := buffer.parent) is not None:
        buffer = parent
    return _Memory(buffer, buffer.size, key=-buffer.address)


def _of_xarray(part: Any) -> _Memory:
    if hasattr(part, 'variables'):
        return _Memory(parts=list(part.variables.values()))
    if hasattr(part, 'coords'):
        return _Memory(parts=[part.variable, *(each.variable for each in part.coords.values())])
    if isinstance(part._data, np.ndarray):
        return _Memory(parts=[part._data])
    return _Memory(part, part.nbytes) if part._in_memory else NOTHING


def _of_itk(image: Any) -> _Memory:
    components = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel()
    return _Memory(image, components * image.GetSizeOfPixelComponent())


BY_MARK: dict[str, Callable[[Any], _Memory | None]] = {
    'untyped_storage': _of_tensor,
    'getbands': _of_image,
    'memory_usage': _of_pandas,
    'isna': _of_pandas,
    'estimated_size': lambda part: _Memory(part, part.estimated_size()),  # of polars
    'get_total_buffer_size': _of_arrow,
    'is_mutable': _of_buffer,
    'data_vars': _of_xarray,
    '_in_memory': _of_xarray,
    'GetSizeOfPixelComponent': _of_itk,
}
"""Attributes that only the types of one other library have, and how to measure these."""


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
