"""Draws the pictures of pipelines in README and docs: `make pictures`. The build of the documentation does it, too."""

import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy import ndimage

from itpipe import (
    Infinite,
    Stream,
    apply,
    batch_by,
    combine,
    combine_pad,
    map_at,
    mix,
    parallel_map,
    plot,
    prefetch,
    sample,
    shuffle,
    unpack,
    with_rng,
    zip_with,
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
def noisy(image, label, rng): ...
def tokenize(text): ...


def first_look():
    """The one of the tutorial: single items are made in parallel."""
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


def index():
    """The one of the first page."""
    return Infinite(Dataset('Digits()', 64), shuffle(), unpack(with_rng(shift)), batch_size=32, threads=4, seed=0)


def composing():
    """A stream beside another one."""
    images, labels = Dataset('images', 60_000), Dataset('labels', 60_000)
    return images | apply(to_float) | zip_with(labels | apply(int)) | unpack(with_rng(shift)) | batch_by(32)


def ways():
    """Processes that make single items, and such that make whole batches."""
    photos = Dataset('photos', 50_000)
    single = photos | shuffle() | parallel_map(map_at(0, to_float), processes=8) | batch_by(32) | combine
    return Infinite(single), Infinite(photos, shuffle(), map_at(0, to_float), batch_size=32, processes=8)


def batching():
    """Batches within a limit."""
    texts = Dataset('texts', 120_000) | shuffle() | parallel_map(tokenize, threads=4)
    return Infinite(texts | batch_by(limit=8192, cost=len, padded=True) | combine_pad(ratio=0), seed=0)


def infinite():
    """A buffer of batches in front of the loop."""
    photos = Dataset('photos', 50_000)
    return Infinite(photos, shuffle(), map_at(0, to_float), batch_size=32, batches_per_epoch=500, prefetch='512MB')


def validation():
    """A training, and its validation."""
    training = [Dataset('train_images', 100), shuffle(), unpack(with_rng(noisy))]
    options = {'batch_size': 8, 'batches_per_epoch': 5, 'seed': 0}
    return Infinite(*training, **options), Infinite(Dataset('val_images', 10), batch_size=4, restart=True)


def ranks():
    """Two ranks of one training."""
    photos, options = Dataset('photos', 50_000), {'batch_size': 32, 'seed': 0, 'threads': 4}
    return tuple(Infinite(photos, shuffle(), map_at(0, to_float), shard=(n, 2), **options) for n in range(2))


def generators():
    """What the generator of an item is made of: no pipeline, but in the colours of one."""
    parts = [('the seed', 'seed=0'), ('the step', "'with_rng:shift'"), ('the item', 'its key: 4'), ('the pass', '1')]
    made = []
    for n, (what, example) in enumerate(parts):
        y = 12 + 58 * n
        made.append(
            f'<rect class="itpipe-stage" x="12" y="{y}" width="190" height="46" rx="6"/>'
            f'<text class="itpipe-title" x="24" y="{y + 19}">{what}</text>'
            f'<text class="itpipe-call" x="24" y="{y + 36}">{example}</text>'
            f'<path class="itpipe-line" d="M202 {y + 23} C 240 {y + 23}, 240 122, 278 122"/>'
        )
    made.append(
        '<rect class="itpipe-source" x="278" y="92" width="150" height="60" rx="30"/>'
        '<text class="itpipe-title" x="353" y="118" text-anchor="middle">Philox</text>'
        '<text class="itpipe-note" x="353" y="136" text-anchor="middle">a function of all four</text>'
        '<path class="itpipe-line" d="M428 122 L 478 122"/><path class="itpipe-head" d="M478 117 l 10 5 l -10 5 z"/>'
        '<rect class="itpipe-loop" x="488" y="92" width="170" height="60" rx="6"/>'
        '<text class="itpipe-code" x="573" y="118" text-anchor="middle">shift(…, rng)</text>'
        '<text class="itpipe-note" x="573" y="136" text-anchor="middle">the same in any worker</text>'
    )
    style = re.search(r'<style>.*?</style>', index().draw().svg, re.DOTALL)[0]
    ground = '<rect class="itpipe-ground" x="0.5" y="0.5" width="669" height="243" rx="6"/>'
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="670" height="244" viewBox="0 0 670 244" role="img"'
    label = ' aria-label="seed, step, item and pass make the generator">'
    return '\n'.join([head + label, style, ground, *made, '</svg>\n'])


PICTURES = {
    'first-look': first_look,
    'whole-batches': whole_batches,
    'mixture': mixture,
    'index': index,
    'composing': composing,
    'ways': ways,
    'batching': batching,
    'infinite': infinite,
    'validation': validation,
    'ranks': ranks,
    'generators': generators,
}


def svg(name: str) -> str:
    drawn: Stream | Infinite | tuple[Infinite, ...] | str = PICTURES[name]()
    if isinstance(drawn, str):
        return drawn
    return beside([one.draw().svg for one in drawn]) if isinstance(drawn, tuple) else drawn.draw().svg


def beside(pictures: list[str], gap: int = 24) -> str:
    """Pictures side by side, as one."""
    sizes = [tuple(map(int, re.match(r'<svg [^>]*?width="(\d+)" height="(\d+)"', text).groups())) for text in pictures]
    width, height = sum(w for w, _ in sizes) + gap * (len(sizes) - 1), max(h for _, h in sizes)
    labels = ' and '.join(re.search(r'aria-label="([^"]*)"', text)[1] for text in pictures)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    lines, x = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{labels}">'], 0
    for text, (w, _) in zip(pictures, sizes, strict=True):
        lines.append(text.replace('<svg ', f'<svg x="{x}" ', 1).rstrip())
        x += w + gap
    return '\n'.join([*lines, '</svg>\n'])


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


def load(index):
    time.sleep(0.004 + 0.03 * (index % 37 == 0))  # a disk, which is late now and then
    return np.full((64, 64), index, np.float32)


def timeline() -> None:
    """A trace of a run, drawn. It differs from run to run, too."""
    items = range(10_000) | shuffle(100) | parallel_map(load, threads=2)
    with TemporaryDirectory() as folder, Infinite(items, batch_size=4, batches_per_epoch=40, seed=0) as batch_iter:
        with batch_iter.trace(f'{folder}/run.json'):
            for _ in batch_iter:
                time.sleep(0.006)  # a training step
        plot(f'{folder}/run.json', n=25).savefig(STATIC / 'timeline.png', dpi=80)


if __name__ == '__main__':
    main()
    before_after()
    running()
    timeline()
