"""Trains with Lightning: fit, with validation and its sanity check, and checkpoints within epochs.

With `--checkpoints DIR`, kill it whenever you like: the same command goes on, with the same losses, bit for bit.
It needs `pip install 'itpipe[trainings]'`.
"""
# requires: lightning, sklearn, torch

import argparse

import numpy as np
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import default_collate

from itpipe import Infinite, map_at, sample, with_rng


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = cross_entropy(self.layers(images), labels)
        print(f'step {self.global_step + 1}: loss {loss.item()}', flush=True)
        return loss

    def validation_step(self, batch, batch_idx):
        images, labels = batch
        self.log('accuracy', (self.layers(images).argmax(1) == labels).float().mean(), batch_size=len(labels))

    def on_validation_epoch_end(self):
        what = 'sanity check' if self.trainer.sanity_checking else f'after step {self.global_step}'
        print(f'{what}: accuracy {self.trainer.callback_metrics["accuracy"]:.1%}', flush=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=60, help='how many to train (default: %(default)s)')
    parser.add_argument('--checkpoints', metavar='DIR', help='save into it, and go on from what is there')
    args = parser.parse_args()
    digits = load_digits()
    pairs = list(zip(np.float32(digits.images.reshape(-1, 64) / 16), digits.target, strict=True))

    training = Infinite(
        sample(pairs[400:], seed=0),  # endless pairs
        map_at(0, with_rng(add_noise)),  # element 0 of a pair (image, label)
        batch_size=32,
        batches_per_epoch=20,  # which Lightning calls an epoch, too
        combiner=default_collate,  # tensors
        threads=2,
    )
    # With `restart`, each validation has the same batches, also after the sanity check.
    validation = Infinite(pairs[:400], batch_size=100, combiner=default_collate, restart=True)

    seed_everything(0, verbose=False)
    trainer = Trainer(
        max_steps=args.steps,
        callbacks=[
            training.closing_callback,  # has its state in the checkpoints, and closes it
            *([ModelCheckpoint(args.checkpoints, every_n_train_steps=7, save_last=True)] if args.checkpoints else []),
        ],
        enable_checkpointing=args.checkpoints is not None,
        accelerator='cpu',
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), training, validation, ckpt_path='last' if args.checkpoints else None)


def add_noise(image, rng):
    return image + 0.2 * rng.standard_normal(image.shape, np.float32)


if __name__ == '__main__':
    main()
