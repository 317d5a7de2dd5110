"""Trains with Keras 3: `model.fit` on batches of itpipe, with validation and a checkpoint after each epoch.

The backend is torch, or the one that the environment variable KERAS_BACKEND names. With `--checkpoints DIR`, kill it
whenever you like: the same command goes on from the last whole checkpoint, with the same losses, bit for bit.
It needs `pip install 'itpipe[trainings]'`.
"""
# requires: keras, sklearn, torch

import argparse
import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from itpipe import Infinite, combine, map_at, sample, with_rng

os.environ.setdefault('KERAS_BACKEND', 'torch')
import keras  # it reads the variable

STEPS = 20  # of an epoch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=4, help='how many to train (default: %(default)s)')
    parser.add_argument('--checkpoints', type=Path, metavar='DIR', help='save into it, and go on from what is there')
    args = parser.parse_args()
    digits = load_digits()
    pairs = list(zip(np.float32(digits.images.reshape(-1, 64) / 16), digits.target, strict=True))
    noisy = map_at(0, with_rng(add_noise))  # element 0 of a pair (image, label)
    batch_iter = Infinite(sample(pairs[400:], seed=0), noisy, batch_size=32, threads=2)  # endless
    validation = combine(pairs[:400])  # two arrays

    folder, begun = args.checkpoints, 0
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        begun = max((int(path.stem) for path in folder.glob('*.json')), default=0)
    if begun:
        model = keras.saving.load_model(folder / f'{begun}.keras')
        batch_iter.load_state_dict(json.loads((folder / f'{begun}.json').read_text()))
    else:
        model = new_model()

    with batch_iter:
        for epoch in range(begun, args.epochs):
            # One epoch at a time: some backends take batches ahead, but none beyond those of the epoch.
            batches = (batch for batch in islice(batch_iter, STEPS))
            fitted = model.fit(
                batches,
                shuffle=False,
                steps_per_epoch=STEPS,
                initial_epoch=epoch,
                epochs=epoch + 1,
                validation_data=validation,
                verbose=0,
            )
            figures = ', '.join(f'{name} {value}' for name, [value] in fitted.history.items())
            print(f'epoch {epoch + 1}: {figures}', flush=True)
            if folder:
                save(folder / f'{epoch + 1}.json', model, batch_iter)


def save(path, model, batch_iter):
    model.save(path.with_suffix('.keras'))
    new = path.with_suffix('.new')
    new.write_text(json.dumps(batch_iter.state_dict()))
    os.replace(new, path)  # the last file of a checkpoint: with it, the checkpoint is whole


def new_model():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(128, 'relu'), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input([64]), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(3e-3), loss, metrics=['accuracy'])
    return model


def add_noise(image, rng):
    return image + 0.2 * rng.standard_normal(image.shape, np.float32)


if __name__ == '__main__':
    main()
