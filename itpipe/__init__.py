"""Pure functions over iterators that compose with `|`, and a class that runs them in the background of training."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._core.instead import no_name as _no_name
from ._core.public import publish as _publish
from ._core.version import VERSION as _VERSION
from ._engine.stream import Stage, Stream, pipe, stream
from .errors import Dropped, NotPicklable, NotRestartable, StallWarning, WorkerCrashed
from .infinite import Infinite
from .stages.batch import batch_by
from .stages.combine import combine, combine_lists
from .stages.custom import stage
from .stages.items import apply, map_all, map_at, random_apply, sample_args, unpack, with_rng, zip_apply
from .stages.joins import Ragged
from .stages.parallel import parallel_map
from .stages.prefetch import prefetch
from .stages.reorder import reuse, shuffle
from .stages.sample import load_by_random_id, sample
from .stages.select import filter_by, flatten, skip, take
from .stages.shard import shard

if _TYPE_CHECKING:
    from . import dpipe as dpipe
    from . import files as files
    from . import image as image
    from . import testing as testing
    from ._engine.merging import merge_states
    from .integrations.ray import RayExecutor
    from .stages.bucket import bucket_by
    from .stages.cache import cache
    from .stages.concat import concat
    from .stages.cycle import cycle
    from .stages.exclude import exclude
    from .stages.interleave import interleave
    from .stages.mix import mix
    from .stages.pack import pack
    from .stages.pad import combine_pad
    from .stages.split import balanced, split
    from .stages.zip import zip_with
    from .tools.check import check
    from .tools.debug import debug
    from .tools.explain import explain
    from .tools.headspace import headspace
    from .tools.plot import plot
    from .tools.watch import watch

__version__ = _VERSION

__all__ = [
    'Dropped',
    'Infinite',
    'NotPicklable',
    'NotRestartable',
    'Ragged',
    'RayExecutor',
    'Stage',
    'StallWarning',
    'Stream',
    'WorkerCrashed',
    'apply',
    'balanced',
    'batch_by',
    'bucket_by',
    'cache',
    'check',
    'combine',
    'combine_lists',
    'combine_pad',
    'concat',
    'cycle',
    'debug',
    'exclude',
    'explain',
    'filter_by',
    'flatten',
    'headspace',
    'interleave',
    'load_by_random_id',
    'map_all',
    'map_at',
    'merge_states',
    'mix',
    'pack',
    'parallel_map',
    'pipe',
    'plot',
    'prefetch',
    'random_apply',
    'reuse',
    'sample',
    'sample_args',
    'shard',
    'shuffle',
    'skip',
    'split',
    'stage',
    'stream',
    'take',
    'unpack',
    'watch',
    'with_rng',
    'zip_apply',
    'zip_with',
]

_LATER: dict[str, str] = {
    'RayExecutor': 'integrations.ray',
    'balanced': 'stages.split',
    'bucket_by': 'stages.bucket',
    'cache': 'stages.cache',
    'combine_pad': 'stages.pad',
    'concat': 'stages.concat',
    'cycle': 'stages.cycle',
    'exclude': 'stages.exclude',
    'interleave': 'stages.interleave',
    'merge_states': '_engine.merging',
    'mix': 'stages.mix',
    'pack': 'stages.pack',
    'split': 'stages.split',
    'zip_with': 'stages.zip',
    **{name: f'tools.{name}' for name in ('check', 'debug', 'explain', 'headspace', 'plot', 'watch')},
}
"""The modules of the names that are imported when they are first used."""
_PACKAGES = ('dpipe', 'files', 'image', 'testing')
"""So are these."""

_publish(globals())


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})


def __getattr__(name: str) -> _Any:
    if name in _PACKAGES:
        return _import_module(f'.{name}', __name__)
    if name not in _LATER:
        raise _no_name(__name__, name)
    globals()[name] = getattr(_import_module(f'.{_LATER[name]}', __name__), name)
    _publish(globals())
    return globals()[name]
