"""The names, methods and options that other libraries have and this one does not, with what to write instead."""

from __future__ import annotations

from typing import Final

__all__ = [
    'ELSEWHERE',
    'INSTEAD',
    'NAMES',
    'OF_FILES',
    'OF_IMAGES',
    'OF_INFINITE',
    'OF_LOADER',
    'OF_PARALLEL_MAP',
    'OF_STREAM',
    'RENAMED',
    'STAGES',
    'UNUSED',
    'WORKERS',
]  # fmt: skip

# What other libraries call it: what it is here. Each value continues "here it is …".
_APPLY = '`apply(f)`, or `parallel_map(f, threads=4)` in workers'
_BATCH = '`batch_by(n)`, and `combine` behind it'
_COMBINE = '`combine`, or any other function of a list of items'
_CYCLE = '`cycle(n)`; an `Infinite` begins the next pass by itself'
_DATASET = 'any object with a length and an index, or any iterable; it needs no base class'
_FILTER = '`filter_by(f)`'
_MIX = '`mix(a, b, weights=[3, 1])`'
_CACHE = '`cache(where)`, behind the dataset and what is not random'
_GRID = '`grid_patches` and `join_patches` of itpipe.image'
_PAD = '`batch_by(n)`, and `combine_pad` behind it'
_PATCHES = '`with_rng(random_patches, size, count) | flatten`, with `random_patches` of itpipe.image'
_SAMPLER = '`shuffle()`, or `sample(dataset, weights=…)`'
_SHARD = '`shard(index, count)`, or `Infinite(…, shard=(rank, ranks))`'
_TAKE = '`take(n)`'
_UNBATCH = '`flatten`'
_WITH_RNG = '`with_rng(f)`, which calls `f(item, rng=…)`'
NAMES: Final = {
    'BatchSampler': '`batch_by(n)` or `batch_by(should_add)`',
    'CacheDataset': _CACHE,
    'ConcatDataset': '`concat(b)`, behind `a |`',
    'DataLoader': '`Infinite(dataset, shuffle(), f, batch_size=32, processes=8)`',
    'DataPipe': _DATASET,
    'Dataset': _DATASET,
    'DistributedSampler': _SHARD,
    'GridAggregator': _GRID,
    'GridSampler': _GRID,
    'ImageFolder': '`itpipe.files.images(folder)`',
    'IterableDataset': _DATASET,
    'LabelSampler': f'{_PATCHES}, which takes `centers`',
    'MapDataset': _DATASET,
    'IterDataset': _DATASET,
    'PersistentDataset': _CACHE,
    'PipelineBuilder': 'a source and stages, joined by `|`',
    'Queue': f'{_PATCHES}, and `shuffle(buffer_size)` behind it',
    'RandomSampler': '`shuffle()`',
    'Sampler': _SAMPLER,
    'Subset': '`apply(dataset.__getitem__)`, behind `indices |`',
    'TensorDataset': '`zip_with(labels)`, behind `images |`',
    'Threads': '`parallel_map(f, threads=4)`; `itpipe.dpipe` has the names of dpipe',
    'Loky': '`parallel_map(f, processes=4)`; `itpipe.dpipe` has the names of dpipe',
    'UniformSampler': _PATCHES,
    'WebDataset': '`itpipe.files.tar(paths)`',
    'WeightedSampler': f'{_PATCHES}, which takes `centers`',
    'WeightedRandomSampler': '`sample(dataset, weights=…)`',
    'aggregate': _BATCH,
    'apply_at': '`map_at`; `itpipe.dpipe` has the names of dpipe',
    'batch': _BATCH,
    'bucket_by_sequence_length': '`bucket_by(len, edges=[…], size=32)`, and `combine_pad` behind it',
    'chain': '`concat(b)`',
    'collate': _COMBINE,
    'concatenate': '`concat(b)`',
    'concatenate_datasets': '`concat(b)`, behind `a |`',
    'default_collate': _COMBINE,
    'disaggregate': _UNBATCH,
    'enumerate': '`zip_with(itertools.count())`',
    'filter': _FILTER,
    'flat_map': '`apply(f) | flatten`',
    'from_generator': '`stream(iterable)`',
    'from_tensor_slices': '`stream(array)`',
    'group': '`batch_by(n)`',
    'imap': _APPLY,
    'interleave_datasets': _MIX,
    'join': '`concat(b)`',
    'limit': _TAKE,
    'map': _APPLY,
    'map_with_index': '`zip_with(itertools.count()) | unpack(f)`',
    'mp_prefetch': '`parallel_map(f, processes=4)`',
    'num_parallel_calls': '`parallel_map(f, threads=4)`',
    'pad_collate': _PAD,
    'padded_batch': _PAD,
    'pin_memory': '`to_device` of itpipe.integrations.torch, which copies through pinned memory',
    'pmap': '`parallel_map(f, threads=4)`',
    'prefetch_to_device': '`to_device` of itpipe.integrations.torch, or `apply` behind the batches, of what moves them',
    'random_map': _WITH_RNG,
    'random_split': '`split(dataset, [0.8, 0.2])`',
    'repeat': _CYCLE,
    'sample_from_datasets': _MIX,
    'select': '`apply(dataset.__getitem__)`, behind `indices |`',
    'sharding_filter': _SHARD,
    'sliding_window_inference': _GRID,
    'slice': '`skip(start) | take(n)`',
    'train_test_split': '`split(dataset, [0.8, 0.2])`',
    'unbatch': _UNBATCH,
    'ungroup': _UNBATCH,
    'unpack_args': '`unpack`; `itpipe.dpipe` has the names of dpipe',
    'zip': '`zip_with(b)`',
    'zip_datasets': '`zip_with(b)`, behind `a |`',
}
ELSEWHERE: Final = dict.fromkeys(('loader', 'to_device', 'to_torch'), 'itpipe.integrations.torch') | dict.fromkeys(
    ('arrow', 'hdf5', 'images', 'jsonl', 'lines', 'parquet', 'tar', 'zarr'), 'itpipe.files'
)
OF_FILES: Final = {'json': '`jsonl`', 'text': '`lines`', 'webdataset': '`tar`'}
OF_INFINITE: Final = {
    'batch_size': 'is what you gave it; the first batch shows it',
    'dataset': 'is what you gave as `source`',
    'get_iterator': 'is `iter(batch_iter)`, for one epoch',
    'num_workers': 'is what you gave as `threads` or `processes`; `batch_iter.stats()` counts the workers',
    'set_weights': 'is `reweight`',
    'reset': 'is not needed: each `for` loop is the next epoch; with `restart=True`, all epochs are the same',
    'set_epoch': 'is not needed: each pass over the source is shuffled and augmented anew',
    'shutdown': 'is `close()`, or the end of `with`',
    'stop': 'is `close()`, or the end of `with`',
    'sampler': 'is not needed: `shard=(rank, ranks)` deals the items, and each pass is shuffled anew',
}

OF_STREAM: Final = {
    'load_state_dict': 'is `stream.resume(state)`, or that of an `Infinite`',
    'set_epoch': 'is not needed: an `Infinite` shuffles and augments each pass over the source anew',
    'state_dict': 'is that of a run, `run = iter(stream)`, or of an `Infinite`',
}
OF_IMAGES: Final = {
    'class_to_idx': '`classes`, in which the label is the place of the name',
    'imgs': '`paths`, and `labels`',
    'samples': '`paths`, and `labels`',
    'targets': '`labels`',
}

# Options of functions of this library, by the names that they have elsewhere.
_N = dict.fromkeys(('buffer_size', 'count', 'num', 'num_epochs', 'size', 'times'), '`n`')
_RANKS = {'num_replicas': '`count`', 'num_shards': '`count`', 'rank': '`index`', 'world_size': '`count`'}
_SIZES = dict.fromkeys(('buffer', 'bufsize', 'size', 'window_size'), '`buffer_size`')
RENAMED: Final = {
    'batch_by': {
        'batch_size': '`size`',
        'collate_fn': 'a stage behind it, such as `combine`',
        'drop_remainder': '`drop_last`',
        'n': '`size`',
    },
    'bucket_by': {
        'batch_size': '`size`',
        'bucket_boundaries': '`edges`',
        'drop_last': 'a filter behind it, such as `filter_by(lambda items: len(items) == 32)`',
        'max_length': '`edges`, or `filter_by` in front of it',
        'max_tokens': '`limit`',
    },
    'cache': {'max_size': '`limit`', 'path': '`where`', 'size': '`limit`'},
    'combine_pad': {
        'fill_value': '`padding_values`',
        'pad_to_multiple_of': '`multiple_of`',
        'padding_side': '`ratio`, 0 for padding behind the items, 1 for padding before them',
        'padding_value': '`padding_values`',
    },
    'cycle': _N,
    'grid_patches': {'patch_size': '`size`', 'stride': '`overlap`, the size without the stride'},
    'images': {
        'loader': 'a function of your own, of the `paths`',
        'root': '`folder`',
        'target_transform': 'a stage behind it, such as `map_at(1, f)`',
        'transform': 'a stage behind it, such as `map_at(0, f)`',
    },
    'interleave': {
        'block_length': '`block`',
        'cycle_length': '`cycle`',
        'num_parallel_calls': '`prefetch`, which reads each open shard in a thread, or `processes=True`',
        'num_workers': '`cycle`, with `processes=True`, which reads each open shard in a process',
        'threads': '`prefetch`, which reads each open shard in a thread',
    },
    'mix': {
        'probabilities': '`weights`',
        'stopping_strategy': '`cycle()` behind each stream that is to begin again; the mix ends when all have ended',
    },
    'pack': {
        'eos': 'a part of each sequence: the tokenizer puts it at the end',
        'eos_token_id': 'a part of each sequence: the tokenizer puts it at the end',
        'pad_token_id': '`padding`',
        'key': 'an `apply` before it, which leaves the fields that are sequences of one length',
        'max_length': '`length`',
        'max_seq_length': '`length`',
        'padding_value': '`padding`',
        'seq_length': '`length`',
    },
    'prefetch': _N,
    'random_patches': {'num_patches': '`count`', 'patch_size': '`size`'},
    'reuse': {'max_length': '`pool_size`', 'samples_per_volume': '`repetitions`'},
    'sample': {
        'num_samples': '`take(n)`, right of `sample(…) |`',
        'probabilities': '`weights`',
        'replacement': '`replace`',
        'shuffle': 'not needed: the items are drawn at random',
        'weight': '`weights`',
    },
    'shard': _RANKS,
    'shuffle': _SIZES
    | {
        'generator': '`seed`',
        'reshuffle_each_iteration': 'not needed: each pass of an `Infinite` has another order',
    },
    'skip': _N,
    'split': {
        'groups': '`together`',
        'random_state': '`seed`',
        'stratify': '`by`',
        'test_size': '`fractions`, such as [0.8, 0.2]',
        'train_size': '`fractions`, such as [0.8, 0.2]',
    },
    'take': _N,
}

# Options of `Infinite` that loaders have elsewhere, and what to do instead.
WORKERS = (
    "give `processes`, `threads` or `workers='auto'`, or put `parallel_map(function, processes=…)` among the transforms"
)
_SHUFFLE = (
    'put the stage `shuffle()` among the transforms, `shuffle(buffer_size)` if the source has no index, or begin with'
    ' `sample(dataset)`'
)
_EPOCHS = 'each `for` loop over it is an epoch'
_RNG = 'each item has a random generator of its own, see `with_rng`; give a `seed`'
_TRANSFORM = 'put it among the transforms: `Infinite(data, map_at(0, f), …)`'
_OF_PATCHES = f'put {_PATCHES}, among the transforms'
_RANK = 'give `shard=(rank, number of ranks)`'
INSTEAD: Final = {
    'tasks': 'put `parallel_map(f, tasks=…)` among the transforms',
    'batch_sampler': '`batch_size` may be a function that says which items make a batch, see `batch_by`',
    'buffer_size': f'to make batches ahead, give `prefetch`; to shuffle, {_SHUFFLE}',
    'cache_num': f'put {_CACHE}',
    'cache_rate': f'put {_CACHE}',
    'collate': 'give `combiner`',
    'collate_fn': 'give `combiner`',
    'concurrency': WORKERS,
    'device': 'end the `combiner` with `to_device(device)` of itpipe.integrations.torch',
    'drop_remainder': 'give `drop_last`',
    'epochs': _EPOCHS,
    'generator': _RNG,
    'in_order': 'put `parallel_map(f, processes=2, ordered=False)` among the transforms',
    'map': _TRANSFORM,
    'multiprocessing_context': (
        'processes are started with the start method that the script has set, and are never forks of this one'
    ),
    'n_jobs': WORKERS,
    'n_workers': WORKERS,
    'num_epochs': _EPOCHS,
    'num_parallel_calls': WORKERS,
    'num_proc': WORKERS,
    'num_replicas': _RANK,
    'num_samples': f'give `batches_per_epoch`; for patches, {_OF_PATCHES}',
    'num_threads': WORKERS,
    'num_workers': WORKERS,
    'patch_size': _OF_PATCHES,
    'persistent_workers': 'workers always stay for the next epoch: leave it out',
    'pin_memory': 'end the `combiner` with `to_device(device)` of itpipe.integrations.torch, which pins',
    'pin_memory_device': (
        'end the `combiner` with `to_device(device)` of itpipe.integrations.torch, which pins for its `device`'
    ),
    'prefetch_factor': 'give `prefetch`, the number of batches that are made ahead',
    'random_state': _RNG,
    'rank': _RANK,
    'repeat': _EPOCHS,
    'rng': _RNG,
    'sampler': (
        'begin with `sample(dataset, weights=…)`, or with the sampler, and look its indices up:'
        ' `Infinite(sampler, dataset.__getitem__, …)`'
    ),
    'samples_per_volume': _OF_PATCHES,
    'shuffle': _SHUFFLE,
    'target_transform': 'put it among the transforms: `Infinite(data, map_at(1, f), …)`',
    'timeout': (
        'give `stall_timeout`, the seconds after which a warning says what is waited for; one that ends an item'
        ' belongs to `parallel_map(f, processes=2, timeout=…)`, among the transforms'
    ),
    'transform': _TRANSFORM,
    'transforms': _TRANSFORM,
    'weights': 'begin with `sample(dataset, weights=…)`',
    'worker_count': WORKERS,
    'worker_init_fn': 'give `setup` to `parallel_map`',
    'world_size': _RANK,
}

UNUSED: Final = {'in_order': True}
"""The values that ask for nothing, where these are others than None, False, 0 and ''."""

# Those of torch's `DataLoader`.
OF_LOADER: Final = frozenset((
    'batch_sampler', 'collate_fn', 'generator', 'in_order', 'multiprocessing_context', 'num_workers',
    'persistent_workers', 'pin_memory', 'pin_memory_device', 'prefetch_factor', 'sampler', 'shuffle', 'timeout',
    'worker_init_fn',
))  # fmt: skip

# Options of `parallel_map` that `Infinite` does not have.
OF_PARALLEL_MAP: Final = (
    'backoff', 'in_flight', 'lookups', 'max_crashes', 'max_errors', 'max_tasks_per_worker', 'on_error', 'on_stall',
    'ordered', 'retries', 'retry_on', 'seed_globals', 'setup',
)  # fmt: skip

# The public names of itpipe that may stand right of `|`.
STAGES: Final = (
    'apply', 'batch_by', 'bucket_by', 'cache', 'combine', 'combine_lists', 'combine_pad', 'concat', 'cycle',
    'exclude', 'filter_by', 'flatten', 'interleave', 'map_all', 'map_at', 'pack', 'parallel_map', 'prefetch',
    'random_apply', 'reuse', 'sample_args', 'shard', 'shuffle', 'skip', 'take', 'unpack', 'with_rng', 'zip_apply',
    'zip_with',
)  # fmt: skip
