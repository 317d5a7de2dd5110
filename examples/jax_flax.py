"""Trains with JAX and flax on several devices: each batch is sharded over them before the training asks for it.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python examples/jax_flax.py

makes two devices of one CPU. With `--checkpoints DIR`, kill it whenever you like: the same command goes on, with the
same losses, bit for bit. It may go on with another number of devices; then the losses are the same but for rounding.
It needs `pip install 'itpipe[trainings]'`.
"""
# requires: flax, jax, optax, orbax.checkpoint, sklearn

import argparse
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

from itpipe import Infinite, batch_by, combine, map_at, parallel_map, sample, with_rng

SAVE_EVERY = 10  # steps


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(64, 128, rngs=rngs), nnx.Linear(128, 10, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)

    def __call__(self, images):
        return self.second(self.dropout(nnx.relu(self.first(images))))


@nnx.jit
def train_step(model, optimizer, images, labels):
    def loss_of(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=60, help='how many to train (default: %(default)s)')
    parser.add_argument('--checkpoints', type=Path, metavar='DIR', help='save into it, and go on from what is there')
    args = parser.parse_args()
    mesh = Mesh(jax.devices(), ['data'])
    sharded, copied = NamedSharding(mesh, PartitionSpec('data')), NamedSharding(mesh, PartitionSpec())
    digits = load_digits()
    pairs = list(zip(np.float32(digits.images.reshape(-1, 64) / 16), digits.target, strict=True))

    def to_devices(batch):
        return jax.device_put(batch, sharded)

    batch_iter = Infinite(
        sample(pairs, seed=0)
        | parallel_map(map_at(0, with_rng(add_noise)) | batch_by(32) | combine, threads=2)
        | to_devices  # ahead of the training, as all stages
    )

    model = Classifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(3e-3), wrt=nnx.Param)
    nnx.update((model, optimizer), jax.device_put(nnx.state((model, optimizer)), copied))
    begun = 0
    manager = args.checkpoints and ocp.CheckpointManager(args.checkpoints.absolute())
    if manager and (begun := manager.latest_step() or 0):
        state = ocp.args.StandardRestore(nnx.state((model, optimizer)))
        saved = manager.restore(begun, args=ocp.args.Composite(state=state, data=ocp.args.JsonRestore()))
        nnx.update((model, optimizer), saved.state)
        batch_iter.load_state_dict(saved.data)

    with batch_iter:
        for step, (images, labels) in enumerate(islice(batch_iter, args.steps - begun), begun + 1):
            loss = train_step(model, optimizer, images, labels)
            print(f'step {step}: loss {loss}, on {len(images.devices())} devices', flush=True)
            if manager and step % SAVE_EVERY == 0:
                state = ocp.args.StandardSave(nnx.state((model, optimizer)))
                data = ocp.args.JsonSave(batch_iter.state_dict())
                manager.save(step, args=ocp.args.Composite(state=state, data=data))
    if manager:
        manager.close()  # waits until all is written


def add_noise(image, rng):
    return image + 0.2 * rng.standard_normal(image.shape, np.float32)


if __name__ == '__main__':
    main()
