"""Trains with DistributedDataParallel: each rank makes its part of every batch, and one checkpoint is for all.

    torchrun --standalone --nproc-per-node 2 examples/ddp.py --checkpoint run.pt

Kill it whenever you like: the same command goes on, with the same losses, bit for bit. It may go on with another number
of ranks, any that divides 48. All together still get the same batches, so the losses are the same, but for rounding.
It needs `pip install 'itpipe[trainings]'`.
"""
# requires: sklearn, torch

import argparse
import os
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from itpipe import Infinite, combine, map_at, merge_states, sample, with_rng
from itpipe.integrations.torch import to_torch

BATCH_SIZE = 48  # of all ranks together
SAVE_EVERY = 10  # steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=60, help='how many to train (default: %(default)s)')
    parser.add_argument('--checkpoint', type=Path, metavar='FILE', help='save to it, and go on from it if it is there')
    args = parser.parse_args()
    dist.init_process_group('gloo')
    train(args.steps, args.checkpoint)
    dist.destroy_process_group()


def train(steps, checkpoint):
    rank, ranks = dist.get_rank(), dist.get_world_size()
    if BATCH_SIZE % ranks:
        raise SystemExit(f'the number of ranks must divide {BATCH_SIZE}, got {ranks}')
    digits = load_digits()
    pairs = list(zip(np.float32(digits.images.reshape(-1, 64) / 16), digits.target, strict=True))
    batch_iter = Infinite(
        sample(pairs, seed=0),  # endless pairs; the seed is the same in all ranks
        map_at(0, with_rng(add_noise)),  # element 0 of a pair (image, label)
        batch_size=BATCH_SIZE // ranks,
        combiner=combine() | to_torch(),
        threads=2,
        shard='env',  # the part of this rank, as torch.distributed says
    )

    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    begun = 0
    if checkpoint and checkpoint.exists():
        saved = torch.load(checkpoint)
        begun = saved['step']
        model.load_state_dict(saved['model'])
        optimizer.load_state_dict(saved['optimizer'])
        batch_iter.load_state_dict(saved['data'])  # also with another number of ranks, and so another `batch_size`

    with batch_iter:
        for step, (images, labels) in enumerate(islice(batch_iter, steps - begun), begun + 1):
            loss = cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

            total = loss.detach()
            dist.all_reduce(total)
            if rank == 0:
                print(f'step {step}: loss {total.item() / ranks}', flush=True)
            if checkpoint and step % SAVE_EVERY == 0:
                data = [None] * ranks
                dist.all_gather_object(data, batch_iter.state_dict())
                if rank == 0:
                    states = {'model': model.state_dict(), 'optimizer': optimizer.state_dict()}
                    torch.save({**states, 'data': merge_states(data), 'step': step}, f'{checkpoint}.new')
                    os.replace(f'{checkpoint}.new', checkpoint)  # the old one stays until this is whole


def add_noise(image, rng):
    return image + 0.2 * rng.standard_normal(image.shape, np.float32)


if __name__ == '__main__':
    main()
