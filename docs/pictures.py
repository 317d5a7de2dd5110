"""Draws the pictures of pipelines in README and docs: `make pictures`. The build of the documentation does it, too."""

from pathlib import Path

import numpy as np
from scipy import ndimage

from itpipe import (
    Infinite,
    Stream,
    batch_by,
    combine,
    map_at,
    mix,
    parallel_map,
    plot,
    prefetch,
    sample,
    shuffle,
    unpack,
    with_rng,
)

STATIC = Path(__file__).parent / '_static'


class Dataset:
    """The datasets of the pages: their items are never asked for here."""

    def __init__(self, name, length):
        self.name, self.length = name, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        raise NotImplementedError

    def __repr__(self):
        return self.name


def to_float(image): ...
def shift(image, label, rng): ...
def tokenize(text): ...


def first_look():
    """The one of README, stage by stage."""
    items = sample(Dataset('Digits()', 10), seed=0)
    functions = map_at(0, to_float) | unpack(with_rng(shift))
    return Infinite(items | parallel_map(functions, threads=4) | batch_by(32) | combine, batches_per_epoch=2)


def whole_batches():
    """Batches made in processes, for one of two ranks."""
    photos = Dataset('photos', 50_000)
    options = {'batch_size': 64, 'processes': 8, 'prefetch': 4, 'seed': 0, 'shard': (0, 2)}
    return Infinite(photos, shuffle(), map_at(0, to_float), unpack(with_rng(shift)), **options)


def mixture():
    """Two datasets, mixed."""
    books, news = Dataset('books', 120_000), Dataset('news', 2_000_000)
    texts = mix(books | shuffle(1000), sample(news), weights=[0.3, 0.7], seed=0)
    return texts | parallel_map(tokenize, processes=4, in_flight='512MB') | prefetch(100) | batch_by(8)


PICTURES = {'first-look': first_look, 'whole-batches': whole_batches, 'mixture': mixture}


def svg(name: str) -> str:
    pipeline: Stream | Infinite = PICTURES[name]()
    return pipeline.draw().svg


def main() -> None:
    for name in PICTURES:
        path, text = STATIC / f'{name}.svg', svg(name)
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')


def before_after() -> None:
    """The figure of `plot`. Its bits depend on the version of matplotlib, so only `make pictures` draws it."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    images, labels = images[:8].reshape(-1, 8, 8), labels[:8]
    rng = np.random.default_rng(0)
    shifted = [ndimage.shift(image, rng.uniform(-1, 1, 2), order=1) + rng.normal(0, 2, image.shape) for image in images]
    plot(before=(images, labels), after=(np.stack(shifted), labels)).savefig(STATIC / 'before-after.png', dpi=80)


class Waves:
    """Images that are made when they are looked up."""

    def __len__(self):
        return 50_000

    def __getitem__(self, index):
        return np.sin(np.hypot(*np.indices((64, 64))) * index / 1e5), index % 10

    def __repr__(self):
        return 'waves'


def rotate(image, rng):
    return ndimage.rotate(image, rng.uniform(-20, 20), reshape=False, order=1)


def running() -> None:
    """A run with its figures, which differ from run to run; so only `make pictures` draws it."""
    items = sample(Waves(), seed=0) | parallel_map(map_at(0, with_rng(rotate)), threads=2) | shuffle(100)
    with Infinite(items, batch_size=32, batches_per_epoch=200) as batch_iter:
        for images, _ in batch_iter:
            np.fft.fft2(images)  # in the place of a training step
        batch_iter.draw().save(STATIC / 'running.svg')


if __name__ == '__main__':
    main()
    before_after()
    running()
