"""The same works by other libraries, each as its own documentation recommends, and some more by hand.

Batches come out in order everywhere but in deep-pipe, whose workers give up the order. What comes out as tensors is
looked at through numpy, which copies nothing. Imports stand in functions: a library that is not here has no rows, and
none is imported in the process of another one's row.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from .feeds import Feed, batched, grouped, stacked
from .figures import stage_cost
from .packing import LENGTH
from .packing import ROWS as OPEN_ROWS
from .volumes import PATCH, PATCHES, paths_of
from .workers import COUNTS, with_workers
from .works import Padding, Work, thread_and_queue

__all__ = ['missing', 'rows']

PACKAGES = {
    'torch': 'torch',
    'torchdata.nodes': 'torchdata',
    'grain': 'grain',
    'spdl.pipeline': 'spdl',
    'streamable': 'streamable',
    'joblib': 'joblib',
    'mpire': 'mpire',
    'dpipe.batch_iter': 'deep-pipe',
    'torchio': 'torchio',
    'monai': 'monai',
}
"""What is imported, and what it is called where it is installed from."""
LONG_ENOUGH = 1.5
"""Seconds: slow rows get fewer items."""


def is_here(module: str) -> bool:
    return find_spec(module.split('.')[0]) is not None


def missing() -> list[str]:
    return [package for module, package in PACKAGES.items() if not is_here(module)]


@dataclass
class Peer:
    """A row, as a generator of batches."""

    title: str
    module: str
    batches: Callable[[Feed], Iterator[Any]]
    ordered: bool = True
    feed: Callable[[Feed], Feed] | None = None
    """What it gets instead of the feed of the work."""


def rows(name: str, work: Work) -> dict[str, Callable[[], float]]:
    """The rows for a work, of the libraries that are here."""
    if name == 'combine-pad':
        return combining_rows(work.feed)
    if name == 'one-more-stage':
        return stage_rows(work.feed)
    peers = [peer for peer in PEERS.get(name, ()) if not peer.module or is_here(peer.module)]
    return {peer.title: imported(peer.module, partial(fed, peer, work)) for peer in peers}


def imported(module: str, row: Callable[[], float]) -> Callable[[], float]:
    """The row, with its library imported before any clock starts."""

    def run() -> float:
        if module:
            importlib.import_module(module)
        return row()

    return run


def fed(peer: Peer, work: Work) -> float:
    feed = work.feed if peer.feed is None else peer.feed(work.feed)
    batches = peer.batches(feed)
    return work.measure(feed, batches) if work.measure else feed.seconds(batches, peer.ordered, LONG_ENOUGH)


# ---------------------------------------------------------------------------------------------------------------------
# torch, and torchdata


@dataclass
class Mapped:
    """A map-style dataset."""

    items: Any
    f: Callable[[Any], Any]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.f(self.items[index])


def arrays(batch: Any) -> Any:
    """Tensors as arrays, over the same memory."""
    if isinstance(batch, dict):
        return {name: arrays(column) for name, column in batch.items()}
    return tuple(map(arrays, batch)) if isinstance(batch, (list, tuple)) else batch.numpy()


def torch(feed: Feed, workers: int | None = None, **options: Any) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    dataset: Any = Mapped(feed.items, feed.f)
    size, workers = feed.size or feed.group, workers or feed.workers
    for batch in DataLoader(dataset, batch_size=size, num_workers=workers, **options):
        if feed.group is None:
            yield arrays(batch)
        else:
            yield from arrays(batch)


def torch_split(feed: Feed) -> Iterator[Any]:
    """An `IterableDataset` whose items are split between the workers, as its documentation shows: here, the shards."""
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Split(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            info: Any = get_worker_info()
            for shard in feed.items[info.id :: info.num_workers]:
                yield from feed.f(shard)

    yield from map(arrays, DataLoader(Split(), batch_size=feed.size, num_workers=feed.workers))


def torch_dataset(feed: Feed, **options: Any) -> Iterator[Any]:
    """It is given the dataset and the order."""
    from torch.utils.data import DataLoader

    sampler: Any = feed.items
    yield from map(arrays, DataLoader(feed.dataset, batch_size=feed.size, sampler=sampler, **options))


def torch_gathered(feed: Feed) -> Iterator[Any]:
    """A sampler of whole batches, as the documentation recommends for data that can look many items up at once."""
    from torch.utils.data import BatchSampler, DataLoader

    sampler: Any = BatchSampler(feed.items, feed.size or 1, drop_last=False)
    yield from map(arrays, DataLoader(feed.dataset, batch_size=None, sampler=sampler))


def torch_shuffled(feed: Feed, **options: Any) -> Iterator[Any]:
    from torch.utils.data import DataLoader

    yield from map(arrays, DataLoader(feed.dataset, batch_size=feed.size, shuffle=True, **options))


def torch_passes(feed: Feed, **options: Any) -> Iterator[Iterable[Any]]:
    from torch.utils.data import DataLoader

    dataset: Any = Mapped(feed.items, feed.f)
    loader = DataLoader(dataset, batch_size=feed.size, num_workers=feed.workers, **options)
    while True:
        yield map(arrays, loader)


def collated(dataset: Mapped, indices: list[int]) -> Any:
    from torch.utils.data import default_collate

    return default_collate([dataset[index] for index in indices])


def nodes(feed: Feed, method: str = 'thread', workers: int | None = None) -> Iterator[Any]:
    """The guide for those who come from DataLoader: each task makes a whole batch."""
    import torchdata.nodes as tn
    from torch.utils.data import SequentialSampler, default_convert

    workers = feed.workers if workers is None else workers
    dataset = Mapped(feed.items, feed.f)
    node: Any = tn.SamplerWrapper(SequentialSampler(dataset))
    if feed.size is None:
        node = tn.ParallelMapper(node, Converted(dataset, default_convert), num_workers=workers, method=method)
    else:
        node = tn.Batcher(node, batch_size=feed.size)
        node = tn.ParallelMapper(node, partial(collated, dataset), num_workers=workers, method=method)
    for batch in tn.Loader(tn.Prefetcher(node, prefetch_factor=2 * max(1, workers))):
        yield arrays(batch)


@dataclass
class Converted:
    dataset: Mapped
    convert: Callable[[Any], Any]

    def __call__(self, index: int) -> Any:
        return self.convert(self.dataset[index])


# ---------------------------------------------------------------------------------------------------------------------
# grain


def grain_threads(feed: Feed) -> Iterator[Any]:
    import grain

    options = grain.ReadOptions(num_threads=feed.workers, prefetch_buffer_size=max(16, 2 * feed.workers))
    dataset = grain.MapDataset.source(feed.items).map(feed.f).to_iter_dataset(options)
    yield from closed(iter(dataset if feed.size is None else dataset.batch(feed.size)))


def grain_background(feed: Feed) -> Iterator[Any]:
    """No threads for what is in memory already, and one that is ahead by two batches."""
    import grain

    dataset = grain.MapDataset.source(feed.items).map(feed.f)
    batches = dataset if feed.size is None else dataset.batch(feed.size)
    in_memory = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    ahead = grain.experimental.ThreadPrefetchIterDataset(in_memory, prefetch_buffer_size=2)
    yield from closed(iter(ahead))


def grain_processes(feed: Feed) -> Iterator[Any]:
    """Batches before the split between processes, so that they hold the same items in the same order."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(sys.argv[:1])
    read = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    dataset = grain.MapDataset.source(feed.items).map(feed.f).batch(feed.size).to_iter_dataset(read)
    processes = grain.MultiprocessingOptions(num_workers=feed.workers, per_worker_buffer_size=2)
    yield from closed(iter(dataset.mp_prefetch(processes)))


def grain_shuffled(feed: Feed) -> Iterator[Any]:
    import grain

    dataset = grain.MapDataset.source(feed.dataset).shuffle(seed=0).to_iter_dataset()
    yield from closed(iter(dataset.batch(feed.size)))


def grain_passes(feed: Feed) -> Iterator[Iterable[Any]]:
    while True:
        yield grain_threads(feed)


def closed(batches: Any) -> Iterator[Any]:
    try:
        yield from batches
    finally:
        batches.close()


# ---------------------------------------------------------------------------------------------------------------------
# SPDL, streamable, joblib, mpire


def spdl_threads(feed: Feed) -> Iterator[Any]:
    return spdl(feed, None, feed.workers)


def spdl_processes(feed: Feed) -> Iterator[Any]:
    import multiprocessing

    with ProcessPoolExecutor(feed.workers, multiprocessing.get_context('forkserver')) as pool:
        yield from spdl(feed, pool, 2 * feed.workers)


def spdl(feed: Feed, executor: Any, concurrency: int) -> Iterator[Any]:
    from spdl.pipeline import PipelineBuilder

    builder = PipelineBuilder().add_source(feed.items)
    builder.pipe(feed.f, executor=executor, concurrency=concurrency, output_order='input')
    if feed.size is not None:
        builder.aggregate(feed.size).pipe(stacked)
    pipeline = builder.add_sink(3).build(num_threads=feed.workers + 1)
    with pipeline.auto_stop():
        yield from pipeline


def streamable(feed: Feed, concurrency: Any = 1, buffer: int | None = None) -> Iterator[Any]:
    from streamable import stream

    results = stream(feed.items).map(feed.f, concurrency=concurrency)
    if feed.size is not None:
        results = results.group(feed.size).map(stacked)
    if buffer is not None:
        results = results.buffer(buffer)
    yield from results


def streamable_threads(feed: Feed) -> Iterator[Any]:
    return streamable(feed, feed.workers)


def streamable_processes(feed: Feed) -> Iterator[Any]:
    with ProcessPoolExecutor(feed.workers) as pool:
        yield from streamable(feed, pool)


def joblib(feed: Feed, **options: Any) -> Iterator[Any]:
    import joblib

    parallel = joblib.Parallel(n_jobs=feed.workers, return_as='generator', **options)
    results = parallel(joblib.delayed(feed.f)(item) for item in feed.items)
    return batched(results, feed.size, stacked)


def mpire(feed: Feed) -> Iterator[Any]:
    import mpire

    with mpire.WorkerPool(n_jobs=feed.workers) as pool:
        yield from batched(pool.imap(feed.f, feed.items, iterable_len=len(feed.items)), feed.size, stacked)


# ---------------------------------------------------------------------------------------------------------------------
# deep-pipe, whose items are tuples


@dataclass
class InTuple:
    f: Callable[[Any], Any]

    def __call__(self, item: Any) -> Any:
        result = self.f(item)
        return result if isinstance(result, tuple) else (result,)


def dpipe(feed: Feed, kind: str = 'Threads') -> Iterator[Any]:
    import dpipe.batch_iter as library

    transform = getattr(library, kind)(InTuple(feed.f), n_workers=feed.workers)
    size, combiner = (1, only_one) if feed.size is None else (feed.size, library.combine_to_arrays)
    with library.Infinite(
        feed.items, transform, batch_size=size, batches_per_epoch=feed.batches * (feed.group or 1), combiner=combiner
    ) as batches:
        for batch in batches():
            yield batch[0] if len(batch) == 1 else batch


def only_one(items: list[Any]) -> Any:
    return items[0]


# ---------------------------------------------------------------------------------------------------------------------
# By hand


def tasks_by_hand(feed: Feed) -> Iterator[Any]:
    """A task for each group, so that handing over costs less, two for each thread."""
    with ThreadPoolExecutor(feed.workers) as pool:
        groups = grouped(feed.items, feed.group or 1)
        window = [pool.submit(lambda group: list(map(feed.f, group)), next(groups)) for _ in range(2 * feed.workers)]
        while window:
            yield from window.pop(0).result()
            for group in groups:
                window.append(pool.submit(lambda group: list(map(feed.f, group)), group))
                break


def loky_by_hand(feed: Feed) -> Iterator[Any]:
    import loky

    pool = loky.ProcessPoolExecutor(feed.workers)
    try:
        items = iter(feed.items)
        window = [pool.submit(feed.f, next(items)) for _ in range(2 * feed.workers)]

        def results() -> Iterator[Any]:
            while window:
                result = window.pop(0).result()
                for item in items:
                    window.append(pool.submit(feed.f, item))
                    break
                yield result

        yield from batched(results(), feed.size, stacked)
    finally:
        pool.shutdown(kill_workers=True)


def combining_rows(padding: Padding) -> dict[str, Callable[[], float]]:
    def padded(images: list[Any]) -> Any:
        longest = max(image.shape[2] for image in images)
        missing = [longest - image.shape[2] for image in images]
        every = [((0, 0), (0, 0), (left // 2, left - left // 2)) for left in missing]
        return np.stack([np.pad(image, widths) for image, widths in zip(images, every, strict=True)])

    found = {'np.pad, np.stack': lambda: padding.seconds(padded)}
    if is_here('dpipe'):

        def dpipe() -> float:
            from dpipe.batch_iter import combine_pad

            return padding.seconds(lambda images: combine_pad([(image,) for image in images])[0])

        found['dpipe'] = dpipe
    if is_here('torch'):

        def torch() -> float:
            from torch import from_numpy
            from torch.nn.utils.rnn import pad_sequence

            # Only the first axis can be padded: so that is where these have their length.
            items = [from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in padding.images]

            def pad(_: list[Any]) -> Any:
                return pad_sequence(items, batch_first=True).permute(0, 2, 3, 1).numpy()

            return Padding(padding.images, padding.count, share=0).seconds(pad)

        found['torch, pad_sequence (first axis, at the end)'] = torch
    return found


def stage_rows(count: int) -> dict[str, Callable[[], float]]:
    def streamable(items: range, number: int) -> Iterable[int]:
        from streamable import stream

        results = stream(items)
        for _ in range(number):
            results = results.map(abs)
        return results

    def nodes(items: range, number: int) -> Iterable[int]:
        import torchdata.nodes as tn

        node: Any = tn.IterableWrapper(items)
        for _ in range(number):
            node = tn.Mapper(node, abs)
        return tn.Loader(node)

    def grain(items: range, number: int) -> Iterable[int]:
        import grain

        dataset = grain.MapDataset.source(items)
        for _ in range(number):
            dataset = dataset.map(abs)
        return dataset.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))

    def dpipe(items: range, number: int) -> Iterable[int]:
        from dpipe.batch_iter import Infinite, Threads

        stages = [Threads(abs) for _ in range(number)]
        with Infinite(items, *stages, batch_size=1, batches_per_epoch=len(items), combiner=only_one) as batches:
            yield from batches()

    possible = {
        'streamable': ('streamable', streamable, count),
        'torchdata.nodes': ('torchdata.nodes', nodes, count // 5),
        'grain': ('grain', grain, count // 10),
        'dpipe': ('dpipe.batch_iter', dpipe, count // 100),
    }
    return {
        title: imported(module, partial(stage_cost, max(100, number), stages))
        for title, (module, stages, number) in possible.items()
        if is_here(module)
    }


TORCH, NODES, GRAIN, SPDL = 'torch', 'torchdata.nodes', 'grain', 'spdl.pipeline'
STREAMABLE, JOBLIB, MPIRE, DPIPE = 'streamable', 'joblib', 'mpire', 'dpipe.batch_iter'


def grain_packed(feed: Feed, kind: str) -> Iterator[Any]:
    """Of grain's texts, those longer than a row come in parts."""
    experimental = importlib.import_module('grain').experimental
    grain = importlib.import_module('grain.python')
    parts = [text[at : at + LENGTH] for text in feed.items for at in range(0, len(text), LENGTH)]
    texts = grain.MapDataset.source(parts).map(lambda text: {'tokens': text}).to_iter_dataset()
    lengths = {'tokens': LENGTH}
    if kind == 'ConcatThenSplit':
        rows = experimental.ConcatThenSplitIterDataset(texts, length_struct=lengths)
    else:
        rows = getattr(experimental, f'{kind}PackIterDataset')(
            texts, length_struct=lengths, num_packing_bins=OPEN_ROWS, shuffle_bins=False
        )
    for row in rows:
        yield {'tokens': row['tokens'], 'segment_ids': row['tokens_segment_ids']}


def packers() -> list[Peer]:
    return [
        Peer('grain, first fit', GRAIN, partial(grain_packed, kind='FirstFit')),
        Peer('grain, best fit', GRAIN, partial(grain_packed, kind='BestFit')),
        Peer('grain, concatenated and split', GRAIN, partial(grain_packed, kind='ConcatThenSplit')),
    ]


def torchio(feed: Feed) -> Iterator[Any]:
    import torchio as tio

    volumes = zip(paths_of(feed), feed.items, strict=True)
    subjects = tio.SubjectsDataset([tio.Subject(volume=tio.ScalarImage(path), number=n) for path, n in volumes])
    queue = tio.Queue(
        subjects, 8 * PATCHES, PATCHES, tio.UniformSampler(PATCH), num_workers=feed.workers, shuffle_subjects=False,
        shuffle_patches=False,
    )  # fmt: skip
    for batch in tio.SubjectsLoader(queue, batch_size=feed.size, num_workers=0):
        yield batch['volume'][tio.DATA], batch['number']


def monai(feed: Feed) -> Iterator[Any]:
    from monai.data import DataLoader, Dataset
    from monai.transforms import Compose, LoadImaged, RandSpatialCropSamplesd

    volumes = [{'volume': path, 'number': n} for path, n in zip(paths_of(feed), feed.items, strict=True)]
    cut = RandSpatialCropSamplesd('volume', PATCH, PATCHES, random_size=False)
    dataset = Dataset(volumes, Compose([LoadImaged('volume', ensure_channel_first=True), cut]))
    assert feed.size is not None
    for batch in DataLoader(dataset, batch_size=feed.size // PATCHES, num_workers=feed.workers):
        yield batch['volume'], batch['number']


PEERS: dict[str, list[Peer]] = {
    'small-items': [
        Peer('thread and queue by hand', '', thread_and_queue),
        Peer('streamable', STREAMABLE, partial(streamable, buffer=2)),
        Peer('torchdata.nodes', NODES, partial(nodes, workers=0)),
        Peer('torch, 1 worker', TORCH, partial(torch, workers=1)),
        Peer('torch, 2 workers', TORCH, partial(torch, workers=2)),
        Peer('grain, thread', GRAIN, grain_background),
        Peer('grain, 1 process', GRAIN, grain_processes),
        Peer('dpipe', DPIPE, dpipe),
    ],
    'threads-zlib': [
        Peer('streamable', STREAMABLE, streamable_threads),
        Peer('grain', GRAIN, grain_threads),
        Peer('torchdata.nodes', NODES, nodes),
        Peer('SPDL', SPDL, spdl_threads),
        Peer('torch, 2 processes', TORCH, torch),
        Peer('dpipe', DPIPE, dpipe, ordered=False),
    ],
    'threads-waits': [
        Peer('streamable', STREAMABLE, streamable_threads),
        Peer('grain', GRAIN, grain_threads),
        Peer('torchdata.nodes', NODES, nodes),
        Peer('SPDL', SPDL, spdl_threads),
        Peer('dpipe', DPIPE, dpipe, ordered=False),
    ],
    'threads-cheap': [
        Peer('tasks of 32 items by hand', '', tasks_by_hand),
        Peer('streamable', STREAMABLE, streamable_threads),
        Peer('grain', GRAIN, grain_threads),
        Peer('joblib', JOBLIB, partial(joblib, prefer='threads')),
        Peer('torch, 2 processes', TORCH, torch),
        Peer('dpipe', DPIPE, dpipe, ordered=False),
    ],
    'processes-large': [
        Peer('loky by hand', '', loky_by_hand),
        Peer('torch', TORCH, torch),
        Peer('torchdata.nodes', NODES, partial(nodes, method='process')),
        Peer('grain', GRAIN, grain_processes),
        Peer('SPDL', SPDL, spdl_processes),
        Peer('dpipe', DPIPE, partial(dpipe, kind='Loky'), ordered=False),
    ],
    'processes-small': [
        Peer('torch', TORCH, torch),
        Peer('torchdata.nodes', NODES, partial(nodes, method='process')),
        Peer('grain', GRAIN, grain_processes),
        Peer('joblib', JOBLIB, joblib),
        Peer('mpire', MPIRE, mpire),
        Peer('streamable', STREAMABLE, streamable_processes),
        Peer('dpipe', DPIPE, partial(dpipe, kind='Loky'), ordered=False),
    ],
    'jpeg': [
        Peer('torch, persistent workers', TORCH, partial(torch, persistent_workers=True)),
        Peer('grain, threads', GRAIN, grain_threads),
        Peer('grain, processes', GRAIN, grain_processes),
        Peer('torchdata.nodes, threads', NODES, nodes),
        Peer('SPDL, threads', SPDL, spdl_threads),
        Peer('streamable, threads', STREAMABLE, streamable_threads),
    ],
    'volume-patches': [
        Peer('TorchIO, queue', 'torchio', torchio),
        Peer('MONAI', 'monai', monai),
    ],
    'tokens-pack': packers(),
    'tokens-pack-padding': packers(),
    'hf-rows': [
        Peer('torch, no workers', TORCH, torch_dataset),
        Peer('torch, 2 workers', TORCH, partial(torch_dataset, num_workers=2)),
        Peer('grain, thread', GRAIN, grain_background),
    ],
    'gather': [
        Peer('torch, no workers', TORCH, torch_dataset),
        Peer('torch, sampler of batches', TORCH, torch_gathered),
        Peer('grain, thread', GRAIN, grain_background),
    ],
    'first-batch-after-shuffle': [
        Peer('torch, no workers', TORCH, torch_shuffled),
        Peer('torch, 2 workers', TORCH, partial(torch_shuffled, num_workers=2)),
        Peer('grain', GRAIN, grain_shuffled),
    ],
    'look-ups-after-shuffle': [
        Peer('torch, no workers', TORCH, torch_shuffled),
        Peer('grain', GRAIN, grain_shuffled),
    ],
    'whole-batches': [
        Peer('torch', TORCH, torch),
        Peer('torchdata.nodes', NODES, partial(nodes, method='process')),
        Peer('grain', GRAIN, grain_processes),
    ],
    'generators': [Peer('torch, IterableDataset', TORCH, torch_split, ordered=False)],
    'stragglers': [
        Peer('streamable', STREAMABLE, streamable_threads),
        Peer('grain', GRAIN, grain_threads),
        Peer('SPDL', SPDL, spdl_threads),
        Peer('torch', TORCH, torch),
    ],
    'next-pass': [
        Peer('torch', TORCH, torch_passes),
        Peer('torch, persistent workers', TORCH, partial(torch_passes, persistent_workers=True)),
        Peer('grain, threads', GRAIN, grain_passes),
    ],
    'many-workers': [
        Peer(f'torch, {count} workers', TORCH, torch, feed=partial(with_workers, workers=count, whole=True))
        for count in COUNTS
    ],
    'many-workers-large': [
        Peer(f'torch, {count} workers', TORCH, torch, feed=partial(with_workers, workers=count, whole=True))
        for count in (2, 64)
    ],
    'overlap': [
        Peer('streamable', STREAMABLE, partial(streamable, buffer=2)),
        Peer('torchdata.nodes', NODES, partial(nodes, workers=0)),
        Peer('torch, 1 worker', TORCH, torch),
        Peer('grain, thread', GRAIN, grain_background),
        Peer('dpipe', DPIPE, dpipe),
    ],
    'first-threads': [
        Peer('streamable', STREAMABLE, streamable_threads),
        Peer('torchdata.nodes', NODES, nodes),
        Peer('grain', GRAIN, grain_threads),
        Peer('SPDL', SPDL, spdl_threads),
    ],
    'first-processes': [
        Peer('torch', TORCH, torch),
        Peer('streamable', STREAMABLE, streamable_processes),
        Peer('grain', GRAIN, grain_processes),
    ],
    'close-threads': [
        Peer('streamable', STREAMABLE, streamable_threads),
        Peer('torchdata.nodes', NODES, nodes),
        Peer('grain', GRAIN, grain_threads),
        Peer('SPDL', SPDL, spdl_threads),
        Peer('dpipe', DPIPE, dpipe),
    ],
    'close-processes': [
        Peer('torch', TORCH, torch),
        Peer('streamable', STREAMABLE, streamable_processes),
        Peer('grain', GRAIN, grain_processes),
        Peer('dpipe', DPIPE, partial(dpipe, kind='Loky')),
    ],
}
