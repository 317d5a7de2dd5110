"""Trains a classifier of handwritten digits, in numpy, on batches that itpipe makes meanwhile; shows where time goes.

The digits are the 1,797 that scikit-learn ships; with `--mnist DIR`, those of MNIST, where torchvision has put them.
"""
# requires: matplotlib, sklearn, threadpoolctl, tqdm

import argparse
import gzip
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from itpipe import Infinite, batch_by, combine, map_at, plot, sample, with_rng
from itpipe.image import zoom_to_shape

SHAPE = 16, 16
BATCH_SIZE = 32
BATCHES_PER_EPOCH = 100
WANTED = 0.95
TIMED = 50
"""Batches that are made without workers, to see how long a serial loop would have waited."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=8, help='how many to train (default: %(default)s)')
    parser.add_argument('--mnist', type=Path, metavar='DIR', help='train on DIR/MNIST/raw/*-ubyte[.gz]')
    parser.add_argument('--out', type=Path, default='digits.png', help='the picture of a batch (default: %(default)s)')
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error('--epochs must be at least 1')
    if not args.out.parent.is_dir():
        parser.error(f'--out: there is no folder {args.out.parent}')
    try:
        train, test = split_digits() if args.mnist is None else read_mnist(args.mnist)
    except (OSError, EOFError, ValueError) as error:  # no file, one that breaks off, one that is something else
        parser.error(f'--mnist: {error}')
    print(f'{len(train):,} images to train on, {len(test):,} to test on')

    pixels = np.stack([image for image, _ in train[:1000]])
    to_size = map_at(0, zoom_to_shape, SHAPE)  # element 0 of a pair (image, label) is the image
    to_scale = map_at(0, standardize, mean=float(pixels.mean()), std=float(pixels.std()))
    augment = map_at(0, with_rng(shift_and_noise))

    items = sample(train, seed=0)  # endless pairs; the seed is also that of whatever is random further on
    test_images, test_labels = combine(test | to_size | to_scale)

    model = Classifier(pixels=SHAPE[0] * SHAPE[1], hidden=3072, classes=10, seed=0)
    losses, accuracies = [], []
    batch_iter = Infinite(
        items,
        to_size,
        to_scale,
        augment,
        batch_size=BATCH_SIZE,
        batches_per_epoch=BATCHES_PER_EPOCH,
        processes=2,  # make whole batches, while this one trains
    )
    # BLAS in one thread leaves the other cores to the processes, and gives the same bits on any number of them.
    with batch_iter, threadpool_limits(1):
        for epoch in range(args.epochs):
            for images, labels in tqdm(batch_iter, f'epoch {epoch + 1:2}', leave=False):
                losses.append(model.train_step(images, labels))
            accuracies.append(np.mean(model.predict(test_images) == test_labels))
            loss = np.mean(losses[-BATCHES_PER_EPOCH:])
            print(f'epoch {epoch + 1:2}: loss {loss:.3f}, test accuracy {accuracies[-1]:.4f}')
        stats, pipeline = batch_iter.stats(), batch_iter.draw()
    print(f'test accuracy at the end: {accuracies[-1]:.4f}\n')

    serial = items | to_size | to_scale | augment | batch_by(BATCH_SIZE) | combine
    begin = time.perf_counter()
    batches = list(islice(serial, TIMED))
    alone = (time.perf_counter() - begin) / TIMED * len(losses)
    print(f'{stats}\n')
    loop = stats.loop
    seconds = loop.waited + loop.worked
    print(f'trained on {len(losses):,} batches in {seconds:.1f} s')
    print(
        f'of that, waited for data: {loop.waited:.2f} s ({loop.waited / seconds:.1%}),'
        f' {loop.first:.2f} s of it for the first batch, while the processes started'
    )
    print(f'a serial loop would have waited about {alone:.1f} s ({alone / (alone + loop.worked):.1%})\n')

    before, after = combine(list(islice(items, 8))), tuple(part[:8] for part in batches[0])
    plot(before=before, after=after, title='Augmentation').savefig(args.out, dpi=120)
    pipeline.save(args.out.with_suffix('.svg'))
    print(f'drew {args.out} and {args.out.with_suffix(".svg")}')
    if accuracies[-1] <= WANTED:
        sys.exit(f'the test accuracy, {accuracies[-1]:.4f}, is not over {WANTED}')


def standardize(image, mean, std):
    return np.float32((image - mean) / std)


def shift_and_noise(image, rng):
    shifted = ndimage.shift(image, rng.uniform(-1, 1, size=2), order=1, mode='nearest')
    return shifted + 0.3 * rng.standard_normal(image.shape, np.float32)


class Classifier:
    """A hidden layer of rectified units, then softmax; trained by Adam (Kingma and Ba, 2014)."""

    def __init__(self, pixels, hidden, classes, seed):
        rng = np.random.default_rng(seed)
        self.weights = [
            rng.standard_normal((pixels, hidden), np.float32) * (2 / pixels) ** 0.5,
            np.zeros(hidden, np.float32),
            rng.standard_normal((hidden, classes), np.float32) * (2 / hidden) ** 0.5,
            np.zeros(classes, np.float32),
        ]
        self.means = [np.zeros_like(weight) for weight in self.weights]
        self.squares = [np.zeros_like(weight) for weight in self.weights]
        self.steps = 0

    def forward(self, images):
        w1, b1, w2, b2 = self.weights
        inputs = images.reshape(len(images), -1)
        hidden = np.maximum(inputs @ w1 + b1, 0)
        return inputs, hidden, hidden @ w2 + b2

    def predict(self, images):
        return self.forward(images)[-1].argmax(1)

    def train_step(self, images, labels, rate=1e-3):
        """Takes a step, and returns the loss before it."""
        inputs, hidden, scores = self.forward(images)
        rows = np.arange(len(labels))
        odds = np.exp(scores - scores.max(1, keepdims=True))
        odds /= odds.sum(1, keepdims=True)
        loss = -np.log(odds[rows, labels] + 1e-9).mean()

        odds[rows, labels] -= 1
        odds /= len(labels)
        back = (odds @ self.weights[2].T) * (hidden > 0)
        self.adam([inputs.T @ back, back.sum(0), hidden.T @ odds, odds.sum(0)], rate)
        return loss

    def adam(self, gradients, rate):
        self.steps += 1
        rate *= (1 - 0.999**self.steps) ** 0.5 / (1 - 0.9**self.steps)
        for weight, gradient, mean, square in zip(self.weights, gradients, self.means, self.squares, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            weight -= rate * mean / (np.sqrt(square) + 1e-8)


def split_digits():
    """Pairs (image, label) to train on, and to test on: the 1,797 digits, a fifth of them held out."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pairs = list(zip(digits.images[order], digits.target[order], strict=True))
    return pairs[len(pairs) // 5 :], pairs[: len(pairs) // 5]


def read_mnist(folder):
    """Pairs (image, label) to train on, and to test on, as torchvision's `MNIST(folder, download=True)` keeps them."""
    train, test = (
        [read_idx(folder, f'{part}-images-idx3-ubyte'), read_idx(folder, f'{part}-labels-idx1-ubyte')]
        for part in ('train', 't10k')
    )
    return list(zip(*train, strict=True)), list(zip(*test, strict=True))


def read_idx(folder, name):
    """The bytes of an IDX file: two zeros, the type, the number of axes, the length of each, and then the data."""
    path = folder / 'MNIST' / 'raw' / name
    if not path.exists():
        path = path.with_name(f'{name}.gz')
    if not path.exists():
        raise FileNotFoundError(f'there is no {name} and no {path.name} in {path.parent}')
    data = path.read_bytes()
    if path.suffix == '.gz':
        data = gzip.decompress(data)
    if data[:3] != b'\0\0\x08':
        raise ValueError(f'{path} is not an IDX file of bytes')
    shape = np.frombuffer(data, '>i4', count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + shape.nbytes).reshape(shape)


if __name__ == '__main__':
    main()
