"""The works that are measured: each is a limit, written by hand for the same work, and what is held against it."""

from __future__ import annotations

import multiprocessing
import queue
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter, sleep
from typing import Any

import numpy as np

from itpipe import Infinite, apply, batch_by, combine, combine_pad, map_at, parallel_map, sample

from .feeds import Feed, stacked

__all__ = [
    'WORKS',
    'Work',
    'bare_processes',
    'in_processes',
    'in_threads',
    'infinite',
    'python',
    'raw_threads',
    'run',
    'whole_batches',
]


@dataclass
class Work:
    """One part of the table: `rows` are the limit first, where there is one, then itpipe; each gives seconds."""

    title: str
    aim: float  # how many times the limit, or the time
    unit: str  # s, ms, µs, look-ups or %, and of what
    rows: dict[str, Callable[[], float]]
    feed: Any = None
    against: str = 'limit'  # or 'nothing': then there is no limit, and the aim is a time
    fresh: bool = False  # each round in a process of its own
    measure: Callable[[Any, Iterator[Any]], float] | None = None  # of the batches of another library, if not `seconds`
    aims: dict[str, float] = field(default_factory=dict)  # of rows that have one of their own


def infinite(feed: Feed, *stages: Any, **options: Any) -> Iterator[Any]:
    return run(feed.items, *stages, batch_size=feed.size, **options)


def run(source: Any, *stages: Any, **options: Any) -> Iterator[Any]:
    with Infinite(source, *stages, **options) as batches:
        yield from batches


def in_threads(feed: Feed) -> Iterator[Any]:
    return infinite(feed, parallel_map(feed.f, threads=feed.workers))


def in_processes(feed: Feed) -> Iterator[Any]:
    return infinite(feed, parallel_map(feed.f, processes=feed.workers))


def whole_batches(f: Callable[[Any], Any], size: int, **options: Any) -> Any:
    """The stage whose workers make whole batches."""
    return parallel_map(apply(f) | batch_by(size) | combine, **options)


# ---------------------------------------------------------------------------------------------------------------------
# Small items


def scale(image: Any) -> Any:
    return image.astype(np.float32) / np.float32(255)


def scale_first(item: Any) -> Any:
    return scale(item[0]), item[1]


def small_items(share: float = 1) -> Work:
    """28×28 uint8 images and labels from memory, cast to float32 and scaled, in the background."""
    size, warm, count = 32, 50, max(2, int(2000 * share))
    images = np.random.default_rng(0).integers(0, 256, (2048, 28, 28), dtype=np.uint8)
    dataset = [(image, label) for label, image in enumerate(images)]
    order = list(islice(sample(range(len(dataset)), seed=0), size * (warm + count + 300)))
    indices = [order[start : start + size] for start in range(0, len(order), size)]
    feed = Feed(
        items=[dataset[index] for index in order],
        f=scale_first,
        size=size,
        form=[((size, 28, 28), np.float32), ((size,), np.int64)],
        expected=indices,
        warm=warm,
        count=count,
        keys=lambda batch: batch[1].tolist(),
        whole=lambda batch: bool((batch[0] == scale(images[batch[1]])).all()),
    )

    def loop() -> Iterator[Any]:
        for chosen in indices:
            scaled, labels = [], []
            for index in chosen:
                image, label = dataset[index]
                scaled.append(scale(image))
                labels.append(label)
            batch = np.stack(scaled), np.array(labels)  # kept, as by any loop that trains, until the next one is made
            yield batch

    def itpipe(prefetch: int | None) -> Iterator[Any]:
        stream = sample(dataset, seed=0) | map_at(0, scale)
        with Infinite(stream, batch_size=size, prefetch=prefetch) as batches:
            yield from batches

    rows = {
        'loop by hand': lambda: feed.seconds(loop()),
        'itpipe': lambda: feed.seconds(itpipe(None)),
        'itpipe, prefetch=0': lambda: feed.seconds(itpipe(0)),
    }
    return Work('small items: 28×28 image cast and scaled, batches of 32', 1.15, 'µs an item', rows, feed)


# ---------------------------------------------------------------------------------------------------------------------
# Threads


def compressed(data: bytes) -> int:
    return zlib.crc32(zlib.compress(data, 1))


def raw_threads(feed: Feed, key: Callable[[Any], Any] = lambda result: result) -> float:
    """Threads that take items from one list, as each gets done; of the results they keep the keys."""
    items = list(feed.items[: (feed.size or feed.group or 1) * feed.count])
    keys: list[Any] = [None] * len(items)
    left = deque(enumerate(items))

    def work() -> None:
        while True:
            try:
                number, item = left.popleft()
            except IndexError:
                return
            keys[number] = key(feed.f(item))

    threads = [threading.Thread(target=work) for _ in range(feed.workers)]
    started = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = perf_counter() - started
    feed.check_results(keys)
    return elapsed / len(items)


def threads_zlib(share: float = 1) -> Work:
    """256 KiB compressed by zlib, which lets go of the interpreter lock."""
    size, warm, count = 8, 4, max(2, int(40 * share))
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 16, 2**18, dtype=np.uint8).tobytes() for _ in range(16)]
    crcs = [compressed(block) for block in blocks]
    total = size * (warm + count + 30)
    feed = Feed(
        items=[blocks[number % 16] for number in range(total)],
        f=compressed,
        size=size,
        form=[((size,), np.int64)],
        expected=[[crcs[(size * batch + n) % 16] for n in range(size)] for batch in range(total // size)],
        warm=warm,
        count=count,
        workers=2,
    )

    rows = {'two raw threads': lambda: raw_threads(feed), 'itpipe': lambda: feed.seconds(in_threads(feed))}
    return Work('threads: zlib of 256 KiB, 2 threads, batches of 8', 1.03, 'ms an item', rows, feed)


def waited(number: int) -> int:
    sleep(0.005)
    return number


def threads_waits(share: float = 1) -> Work:
    """Waits of 5 ms, as for a disk or a network."""
    # Threads that each wait for a whole batch deliver 32 of them at once: the clock runs for a multiple of these.
    size, warm, count = 16, 20, max(2, int(13 * share) * 32)
    feed = Feed(
        items=range(size * (warm + count + 60)),
        f=waited,
        size=size,
        form=[((size,), np.int64)],
        expected=[list(range(size * batch, size * (batch + 1))) for batch in range(warm + count + 60)],
        warm=warm,
        count=count,
        workers=32,
    )
    rows = {'arithmetic': lambda: 0.005 / 32, 'itpipe': lambda: feed.seconds(in_threads(feed))}
    return Work('threads: waits of 5 ms, 32 threads, batches of 16', 1.02, 'µs an item', rows, feed)


def threads_cheap(share: float = 1) -> Work:
    """A function far cheaper than handing its item to a thread, without batches."""
    group, warm, count = 32, 100, max(2, int(8000 * share))
    numbers = [float(number) for number in range(64)]
    arrays = [np.full(1000, number) for number in numbers]
    total = group * (warm + count + 100)
    ends = [[numbers[start] ** 2, numbers[start + group - 1] ** 2] for start in range(0, 64, group)]
    feed = Feed(
        items=[arrays[number % 64] for number in range(total)],
        f=np.square,
        size=None,
        form=(group, (1000,), np.float64),
        expected=[ends[batch % len(ends)] for batch in range(total // group)],
        warm=warm,
        count=count,
        workers=2,
        keys=lambda results: [float(results[0][0]), float(results[-1][0])],
        form_of=lambda results: (len(results), results[0].shape, results[0].dtype),
        whole=lambda results: all((one == one[0]).all() and one[0] ** 0.5 in numbers for one in results),
        group=group,
        known=frozenset(number**2 for number in numbers),
    )
    rows = {
        'serial loop': lambda: feed.seconds(np.square(item) for item in feed.items),
        'itpipe': lambda: feed.seconds(iter(feed.items | parallel_map(np.square, threads=2))),
    }
    return Work('threads: np.square of 1,000 floats, 2 threads', 1.5, 'µs an item', rows, feed)


# ---------------------------------------------------------------------------------------------------------------------
# Processes


def large(number: int) -> Any:
    """About 3 ms of work, and 4 MiB that it results in."""
    small = np.full(2**13, number + 2, np.float32)
    for _ in range(1000):
        np.sqrt(small, out=small)
    image = np.empty((1024, 1024), np.float32)
    image[:] = number + np.floor(small[0] - 0.5)
    return image


def digested(number: int) -> int:
    total = number
    for _ in range(12_000):
        total = (total * 31 + 7) % 1_000_003
    return total


def python(number: int) -> Any:
    """About 1 ms of pure Python, and 1 KiB that it results in."""
    return np.full(128, [number, digested(number)] * 64, np.int64)


def bare(function: Callable[[int], Any], start: int, count: int, pipe: Any) -> None:
    """One of two processes that get no items and give back no results."""
    for number in range(10):
        function(number)
    pipe.send(None)
    pipe.recv()
    for number in range(start, count, 2):
        result = function(number)  # kept until the next one is made, as results are that someone takes
    value, label = result if isinstance(result, tuple) else (result, result.flat[0])
    pipe.send((number, int(label), value.nbytes))


def bare_processes(function: Callable[[int], Any], count: int, nbytes: int) -> float:
    context = multiprocessing.get_context('spawn')
    pipes, workers = [], []
    for start in range(2):
        here, there = context.Pipe()
        workers.append(context.Process(target=bare, args=(function, start, count, there)))
        workers[-1].start()
        there.close()
        pipes.append(here)
    for pipe in pipes:
        pipe.recv()
    started = perf_counter()
    for pipe in pipes:
        pipe.send(None)
    results = [pipe.recv() for pipe in pipes]
    elapsed = perf_counter() - started
    for worker in workers:
        worker.join()
    for pipe in pipes:
        pipe.close()
    if results != [(number, number, nbytes) for number in ((count - 1) // 2 * 2, count // 2 * 2 - 1)]:
        raise AssertionError(results)
    return elapsed / count


def processes_large(share: float = 1) -> Work:
    """Results of 4 MiB, stacked by fours: what the way back from a process costs."""
    size, warm, count = 4, 10, max(2, int(120 * share))
    batches = warm + count + 20
    feed = Feed(
        items=range(size * batches),
        f=large,
        size=size,
        form=[((size, 1024, 1024), np.float32)],
        expected=[[float(size * batch + n) for n in range(size)] for batch in range(batches)],
        warm=warm,
        count=count,
        workers=2,
        keys=lambda batch: batch[:, 0, 0].tolist(),
        whole=lambda batch: bool((batch == batch[:, :1, :1]).all()),
    )
    rows = {
        'two bare processes, no transfer': lambda: bare_processes(large, size * count, 2**22),
        'itpipe': lambda: feed.seconds(in_processes(feed)),
    }
    return Work('processes: 3 ms of work, 4 MiB results, batches of 4', 1.4, 'ms an item', rows, feed)


def processes_small(share: float = 1) -> Work:
    """Pure Python and small results: what a task costs."""
    size, warm, count = 32, 4, max(2, int(60 * share))
    batches = warm + count + 20
    feed = Feed(
        items=range(size * batches),
        f=python,
        size=size,
        form=[((size, 128), np.int64)],
        expected=[list(range(size * batch, size * (batch + 1))) for batch in range(batches)],
        warm=warm,
        count=count,
        workers=2,
        keys=lambda batch: batch[:, 0].tolist(),
        whole=lambda batch: all(item.tolist() == [item[0], digested(item[0].item())] * 64 for item in batch),
    )
    rows = {
        'two bare processes, no transfer': lambda: bare_processes(python, size * count, 2**10),
        'itpipe': lambda: feed.seconds(in_processes(feed)),
    }
    return Work('processes: 1 ms of pure Python, 1 KiB results, batches of 32', 1.08, 'ms an item', rows, feed)


# ---------------------------------------------------------------------------------------------------------------------
# Combining


@dataclass
class Padding:
    """What is combined again and again, and how long that takes."""

    images: list[Any]
    count: int
    share: float = 0.5
    """Of the padding, what goes before an image."""

    def seconds(self, combine: Callable[[list[Any]], Any]) -> float:
        elapsed = 0.0
        batch = None
        for number in range(self.count + 2):
            started = perf_counter()
            batch = combine(self.images)  # the last one is kept until this one is made
            if number >= 2:
                elapsed += perf_counter() - started
            self.check(batch)
        self.check_whole(batch)
        return elapsed / self.count

    def check(self, batch: Any) -> None:
        if (batch.shape, batch.dtype) != ((len(self.images), 10, 64, 400), np.float32):
            raise AssertionError((batch.shape, batch.dtype))

    def check_whole(self, batch: Any) -> None:
        for image, padded in zip(self.images, batch, strict=True):
            start = int((padded.shape[-1] - image.shape[-1]) * self.share)
            there = padded[:, :, start : start + image.shape[-1]]
            if not (there == image).all() or np.count_nonzero(padded) != np.count_nonzero(image):
                raise AssertionError(f'an image of {image.shape} is not where it should be')


def combining(share: float = 1) -> Work:
    """32 images of varying length, centred: to write each byte once is all there is to do."""
    rng = np.random.default_rng(0)
    images = [rng.random((10, 64, int(length)), np.float32) for length in np.linspace(2, 400, 32)]
    padding = Padding(images, max(2, int(60 * share)))

    def by_hand(images: list[Any]) -> Any:
        longest = max(image.shape[2] for image in images)
        batch = np.zeros((len(images), 10, 64, longest), np.float32)
        for place, image in zip(batch, images, strict=True):
            start = (longest - image.shape[2]) // 2
            place[:, :, start : start + image.shape[2]] = image
        return batch

    rows = {
        'np.zeros and slice copies': lambda: padding.seconds(by_hand),
        'itpipe': lambda: padding.seconds(combine_pad),
    }
    return Work('combine_pad: 32 float32 images (10, 64, 2…400), centred', 1.0, 'ms a batch', rows, padding)


def large_batches(share: float = 1) -> Work:
    """Batches of 32 MiB, made in the background: where their memory comes from is half of what they cost."""
    size, warm, count = 32, 8, max(2, int(60 * share))
    images = [np.full((512, 512), number, np.float32) for number in range(40)]
    order = list(islice(sample(range(len(images)), seed=0), size * (warm + count + 8)))
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    feed = Feed(
        items=[images[number] for number in order],
        f=np.asarray,
        size=size,
        form=[((size, 512, 512), np.float32)],
        expected=batches,
        warm=warm,
        count=count,
        keys=lambda batch: batch[:, 0, 0].tolist(),
        whole=lambda batch: bool((batch == batch[:, :1, :1]).all()),
    )

    def by_hand(out: Any) -> Iterator[Any]:
        for chosen in batches:
            batch = np.stack([images[number] for number in chosen], out=out)
            yield batch

    rows = {
        'np.stack into the same memory': lambda: feed.seconds(by_hand(np.empty((size, 512, 512), np.float32))),
        'np.stack': lambda: feed.seconds(by_hand(None)),
        'itpipe': lambda: feed.seconds(infinite(feed)),
    }
    return Work('large batches: 32 images of 1 MiB, in the background', 1.15, 'ms an item', rows, feed)


# ---------------------------------------------------------------------------------------------------------------------
# Overlap


def produced(number: int) -> Any:
    sleep(0.01)
    return np.full(32, number)


def overlap(share: float = 1) -> Work:
    """A producer and a consumer of batches that take equally long."""
    warm, count = 5, max(2, int(100 * share))
    feed = Feed(
        items=range(warm + count + 20),
        f=produced,
        size=None,
        form=[((32,), np.int64)],
        expected=[[number] * 32 for number in range(warm + count + 20)],
        warm=warm,
        count=count,
        pause=0.01,
    )
    rows = {
        'thread and queue by hand': lambda: feed.seconds(thread_and_queue(feed)),
        'itpipe': lambda: feed.seconds(infinite(feed, apply(produced))),
    }
    return Work('overlap: 10 ms to make a batch, 10 ms to use it', 1.0, 'ms a batch', rows, feed)


def thread_and_queue(feed: Feed) -> Iterator[Any]:
    """The background as one writes it by hand."""
    batches: queue.Queue[Any] = queue.Queue(2)
    stop = threading.Event()

    def make() -> None:
        items: list[Any] = []
        for item in feed.items:
            if stop.is_set():
                return
            if feed.size is None:
                batches.put(feed.f(item))
                continue
            items.append(feed.f(item))
            if len(items) == feed.size:
                batches.put(stacked(items))
                items = []

    thread = threading.Thread(target=make)
    thread.start()
    try:
        for _ in range(feed.batches):
            yield batches.get()
    finally:
        stop.set()
        while thread.is_alive():
            while not batches.empty():
                batches.get()
            thread.join(0.01)


def sleeping_stages(share: float = 1) -> Work:
    """Two parallel stages, one after the other."""
    pause = 0.2 * min(1, 4 * share)

    def doze(item: int) -> int:
        sleep(pause)
        return item

    def run() -> float:
        started = perf_counter()
        result = list(range(10) | parallel_map(doze, threads=2) | parallel_map(doze, threads=2))
        elapsed = perf_counter() - started
        if result != list(range(10)):
            raise AssertionError(result)
        return elapsed

    rows = {'arithmetic': lambda: 6 * pause, 'itpipe': run}
    return Work('two stages of 0.2 s of sleep, 10 items, 2 threads', 1.03, 's', rows)


WORKS: dict[str, Callable[[float], Work]] = {
    'small-items': small_items,
    'threads-zlib': threads_zlib,
    'threads-waits': threads_waits,
    'threads-cheap': threads_cheap,
    'processes-large': processes_large,
    'processes-small': processes_small,
    'combine-pad': combining,
    'large-batches': large_batches,
    'overlap': overlap,
    'sleeping-stages': sleeping_stages,
}
