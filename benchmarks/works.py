"""The works that are measured: each is a limit and what is compared with it, as functions that return seconds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import Any

import numpy as np

from itpipe import Infinite, map_at, parallel_map, sample

__all__ = ['WORKS', 'Work']


@dataclass
class Work:
    """One line of the table: `runs` are the limit first, then what is held against it."""

    title: str
    aim: float
    unit: str
    runs: dict[str, Callable[[], float]]
    against: str = 'ratio'  # or 'difference'


def small_items() -> Work:
    """28×28 uint8 images and labels from memory, cast to float32 and scaled, batches of 32."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2048, 28, 28), dtype=np.uint8)
    dataset = [(image, label % 10) for label, image in enumerate(images)]
    size, warm, count = 32, 50, 600

    def scale(image: Any) -> Any:
        return image.astype(np.float32) / np.float32(255)

    def limit() -> float:
        started = 0.0
        drawn = np.random.default_rng(0).integers(0, len(dataset), (warm + count, size)).tolist()
        for received, indices in enumerate(drawn):
            if received == warm:
                started = perf_counter()
            scaled, labels = [], []
            for index in indices:
                image, label = dataset[index]
                scaled.append(scale(image))
                labels.append(label)
            batch = np.stack(scaled), np.array(labels)  # kept, as by any loop that trains, until the next one is made
            check(*batch)
        return perf_counter() - started

    def background(prefetch: int | None) -> Callable[[], float]:
        def run() -> float:
            started = 0.0
            stream = sample(dataset, seed=0) | map_at(0, scale)
            with Infinite(stream, batch_size=size, batches_per_epoch=warm + count, prefetch=prefetch) as batches:
                for received, (images, labels) in enumerate(batches):
                    if received == warm:
                        started = perf_counter()
                    check(images, labels)
                return perf_counter() - started

        return run

    def check(images: Any, labels: Any) -> None:
        if images.shape != (size, 28, 28) or images.dtype != np.float32 or labels.shape != (size,):
            raise AssertionError((images.shape, images.dtype, labels.shape))

    runs = {'loop by hand': limit, 'itpipe, background': background(None), 'itpipe, prefetch=0': background(0)}
    return Work('small items: 28×28 image cast and scaled, batches of 32', 1.15, f's per {count} batches', runs)


def sleeping_stages() -> Work:
    """Two stages of 0.2 s of sleep on 10 items, 2 threads each."""

    def doze(item: int) -> int:
        sleep(0.2)
        return item

    def run() -> float:
        started = perf_counter()
        result = list(range(10) | parallel_map(doze, threads=2) | parallel_map(doze, threads=2))
        elapsed = perf_counter() - started
        if result != list(range(10)):
            raise AssertionError(result)
        return elapsed

    return Work(
        'two stages of 0.2 s of sleep, 10 items, 2 threads', 1.03, 's', {'arithmetic': lambda: 1.2, 'itpipe': run}
    )


def import_time() -> Work:
    """Importing itpipe over importing numpy, in the same process."""
    code = 'from time import perf_counter as t; s = t(); import numpy; n = t(); import itpipe; print(n - s, t() - s)'
    both = 0.0

    def numpy_alone() -> float:
        nonlocal both
        printed = subprocess.run([sys.executable, '-c', code], check=True, stdout=subprocess.PIPE).stdout
        alone, both = (float(seconds) * 1e3 for seconds in printed.split())
        return alone

    return Work(
        'import itpipe, over numpy', 15, 'ms', {'numpy': numpy_alone, 'numpy, itpipe': lambda: both}, 'difference'
    )


WORKS = {'small-items': small_items, 'sleeping-stages': sleeping_stages, 'import': import_time}
