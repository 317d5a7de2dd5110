"""The work of those who train on volumes: read a file, cut patches at random places, make batches of them."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from itpipe import apply, flatten, parallel_map, with_rng
from itpipe.image import random_patches

from .feeds import Feed
from .loading import BOTH, written
from .works import Work, bare_processes, infinite

__all__ = ['PATCH', 'PATCHES', 'VOLUMES', 'paths_of', 'shapes_of']

SHAPE = (128, 128, 64)
PATCH = (32, 32, 32)
PATCHES = 8
"""Of each volume."""
NBYTES = 4 * PATCHES * math.prod(PATCH)
FILES = 16


def volume(number: int) -> bytes:
    """A smooth volume with some noise, as a file of NIfTI. Each voxel says in which file it is."""
    import nibabel
    from scipy import ndimage

    rng = np.random.default_rng(number)
    smooth = ndimage.zoom(rng.uniform(0, 200, (8, 8, 4)), 16, order=1)
    voxels = number * 256 + np.clip(smooth + rng.normal(0, 8, SHAPE), 0, 255)
    return gzip.compress(nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4)).to_bytes(), 6)


def paths_of(feed: Feed) -> list[str]:
    """The files, by the numbers of the items."""
    return [str(path_of(number)) for number in feed.items]


def path_of(number: int) -> Path:
    return written(f'{number % FILES}.nii.gz', partial(volume, number % FILES))


def read(number: int) -> tuple[Any, int]:
    """The voxels with an axis for channels, and the number."""
    import nibabel

    return np.asarray(nibabel.load(path_of(number)).dataobj, np.float32)[None], number


def by_hand(number: int) -> tuple[Any, int]:
    """The patches of a volume in one array, and the number."""
    voxels, _ = read(number)
    rng = np.random.default_rng(number)
    patches = np.empty((PATCHES, 1, *PATCH), np.float32)
    for patch in patches:
        x, y, z = (rng.integers(length - part + 1) for length, part in zip(SHAPE, PATCH, strict=True))
        patch[:] = voxels[:, x : x + PATCH[0], y : y + PATCH[1], z : z + PATCH[2]]
    return patches, number


def shapes_of(batch: Any) -> Any:
    """Not the dtypes: other libraries keep that of the file, or change it."""
    return [tuple(part.shape) for part in batch]


def numbers(batch: Any) -> list[int]:
    return np.asarray(batch[1]).tolist()  # type: ignore[no-any-return]


def is_of_its_file(batch: Any) -> bool:
    patches, files = np.asarray(batch[0]), np.asarray(batch[1]) % FILES
    return bool((patches // 256 == files[:, None, None, None, None]).all())


def volume_patches(share: float = 1) -> Work:
    """Compressed volumes of NIfTI, two workers, eight patches of each volume, batches of two volumes' patches."""
    of_batch, warm, count = 2, 6, max(2, int(30 * share))
    volumes = of_batch * (warm + count + 20)
    for number in range(FILES):
        path_of(number)
    size = of_batch * PATCHES
    feed = Feed(
        items=range(volumes),
        f=read,
        size=size,
        form=[(size, 1, *PATCH), (size,)],
        form_of=shapes_of,
        expected=[
            [number for number in range(start, start + of_batch) for _ in range(PATCHES)]
            for start in range(0, volumes, of_batch)
        ],
        warm=warm,
        count=count,
        workers=2,
        keys=numbers,
        whole=is_of_its_file,
    )

    def batches(kind: str) -> Iterator[Any]:
        cut = apply(read) | with_rng(random_patches, PATCH, PATCHES)
        return infinite(feed, parallel_map(cut, **{kind: feed.workers}), flatten, seed=0)

    def itpipe(kind: str) -> float:
        return feed.seconds(batches(kind))

    rows: dict[str, Callable[[], float]] = {
        'two bare processes, no transfer': lambda: bare_processes(by_hand, of_batch * count, NBYTES) / PATCHES,
    }
    rows |= {f'itpipe, {kind}': partial(itpipe, kind) for kind in BOTH}
    title = f'volumes: {PATCHES} random patches of each compressed file, 2 workers, batches of {size}'
    return Work(title, 1.1, 'ms a patch', rows, feed)


VOLUMES: dict[str, Callable[[float], Work]] = {'volume-patches': volume_patches}
