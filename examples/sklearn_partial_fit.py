"""Trains a linear classifier of scikit-learn, batch by batch, with `partial_fit`, in epochs with validation.

With `--checkpoint FILE`, kill it whenever you like: the same command goes on, with the same losses, bit for bit.
It needs `pip install 'itpipe[examples]'`.
"""
# requires: sklearn

import argparse
import os
import pickle
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from itpipe import Infinite, combine, map_at, shuffle, with_rng

LABELS = range(10)
SAVE_EVERY = 10  # steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=2, help='how many to train (default: %(default)s)')
    parser.add_argument('--checkpoint', type=Path, metavar='FILE', help='save to it, and go on from it if it is there')
    args = parser.parse_args()
    digits = load_digits()
    pairs = list(zip(np.float32(digits.images / 16), digits.target, strict=True))
    # An epoch has every pair once, in an order of its own, augmented anew. Element 0 of a pair is the image.
    shifted, flat = map_at(0, with_rng(shift)), map_at(0, np.ravel)
    batch_iter = Infinite(pairs[400:], shuffle(), shifted, flat, batch_size=32, threads=2, seed=0)
    test_images, test_labels = combine(pairs[:400] | flat)

    model, begun, step = SGDClassifier(loss='log_loss', alpha=0.001, random_state=0), 0, 0
    if args.checkpoint and args.checkpoint.exists():
        saved = pickle.loads(args.checkpoint.read_bytes())
        model, begun, step = saved['model'], saved['epoch'], saved['step']
        batch_iter.load_state_dict(saved['data'])

    with batch_iter:
        for epoch in range(begun, args.epochs):  # of the first one, what is left
            for images, labels in batch_iter:
                model.partial_fit(images, labels, classes=LABELS)
                step += 1
                loss = log_loss(labels, model.predict_proba(images), labels=LABELS)
                print(f'step {step}: loss {loss} after it', flush=True)
                if args.checkpoint and step % SAVE_EVERY == 0:
                    state = {'model': model, 'data': batch_iter.state_dict(), 'epoch': epoch, 'step': step}
                    new = args.checkpoint.with_suffix('.new')
                    new.write_bytes(pickle.dumps(state))
                    os.replace(new, args.checkpoint)  # the old one stays until this is whole
            print(f'epoch {epoch + 1}: test accuracy {model.score(test_images, test_labels)}', flush=True)


def shift(image, rng):
    return ndimage.shift(image, rng.uniform(-1, 1, size=2), order=1, mode='nearest')


if __name__ == '__main__':
    main()
