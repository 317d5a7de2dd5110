"""Pure functions over iterators that compose with `|`, and a class that runs them in the background of training."""

from .batching import batch_by
from .checkpoint import merge_states
from .combining import combine, combine_lists, combine_pad
from .errors import Dropped, NotPicklable, NotRestartable, StallWarning, WorkerCrashed
from .flow import filter_by, flatten, prefetch, reuse, shard, shuffle, skip, take
from .infinite import Infinite
from .items import apply, map_all, map_at, random_apply, sample_args, unpack, with_rng, zip_apply
from .parallel import parallel_map
from .sources import load_by_random_id, mix, sample
from .stage import Stage, Stream, pipe, stage, stream

__version__ = '0.1.0'

__all__ = [
    'Dropped',
    'Infinite',
    'NotPicklable',
    'NotRestartable',
    'Stage',
    'StallWarning',
    'Stream',
    'WorkerCrashed',
    'apply',
    'batch_by',
    'combine',
    'combine_lists',
    'combine_pad',
    'filter_by',
    'flatten',
    'load_by_random_id',
    'map_all',
    'map_at',
    'merge_states',
    'mix',
    'parallel_map',
    'pipe',
    'prefetch',
    'random_apply',
    'reuse',
    'sample',
    'sample_args',
    'shard',
    'shuffle',
    'skip',
    'stage',
    'stream',
    'take',
    'unpack',
    'with_rng',
    'zip_apply',
]
