"""Datasets in files, read by index: what `stream`, `sample` and `Infinite` take.

Each of these functions gives an object with a length and an index. Each process and thread opens a file when it first
reads an item of it, keeps the last 16 files open, and reads only what is asked for. So `sample`, `shuffle()`, `shard`
and going on from a state cost nothing, and the items are read in the workers of the next `parallel_map`.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from itpipe._core.instead import no_name as _no_name
from itpipe._core.public import publish as _publish

if _TYPE_CHECKING:
    from ._arrays import hdf5, zarr
    from ._images import images
    from ._lines import jsonl, lines
    from ._tables import arrow, parquet
    from ._tar import tar

__all__ = ['arrow', 'hdf5', 'images', 'jsonl', 'lines', 'parquet', 'tar', 'zarr']

_MODULES = {
    'arrow': '_tables',
    'hdf5': '_arrays',
    'images': '_images',
    'jsonl': '_lines',
    'lines': '_lines',
    'parquet': '_tables',
    'tar': '_tar',
    'zarr': '_arrays',
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> _Any:
    if name not in _MODULES:
        raise _no_name(__name__, name)
    globals()[name] = getattr(_import_module(f'.{_MODULES[name]}', __name__), name)
    _publish(globals())
    return globals()[name]
