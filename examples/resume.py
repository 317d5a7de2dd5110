"""Kills a training with SIGKILL, several times, starts it again, and compares it with one that was left alone.

The losses are the same, bit for bit, though each start makes its batches in another way; a picture shows both.
`--train run.pickle` is the training alone: kill it yourself, and start it again by the same command.
"""
# requires: matplotlib, sklearn, threadpoolctl

import argparse
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from itpipe import Infinite, batch_by, combine, map_at, parallel_map, shuffle, stream, with_rng

SAVE_EVERY = 10  # steps
STARTS = [{'threads': 2}, {'processes': 2}, {'threads': 4}, {'processes': 3}]  # all but the last are killed


def train(checkpoint, epochs, **workers):
    """The training: goes on from `checkpoint` if there is one, and prints the loss of each step."""
    digits = load_digits()
    batches = (
        stream(list(zip(np.float32(digits.images / 16), digits.target, strict=True)), seed=0)
        | shuffle(500)
        | parallel_map(map_at(0, with_rng(shift_and_noise)), **workers)
        | batch_by(32, drop_last=True)
        | combine
    )
    model, begun, step = Classifier(seed=0), 0, 0
    # BLAS in one thread, which gives the same bits on any number of cores.
    with Infinite(batches) as batch_iter, threadpool_limits(1):
        if checkpoint.exists():
            saved = pickle.loads(checkpoint.read_bytes())
            model, begun, step = saved['model'], saved['epoch'], saved['step']
            batch_iter.load_state_dict(saved['data'])
        for epoch in range(begun, epochs):  # of the first one, what is left
            for images, labels in batch_iter:
                loss = model.train_step(images, labels)
                step += 1
                print(step, float(loss).hex(), flush=True)
                if step % SAVE_EVERY == 0:
                    save(checkpoint, {'model': model, 'epoch': epoch, 'step': step, 'data': batch_iter.state_dict()})


def save(path, state):
    """The old checkpoint stays whole until the new one is: a process may be killed while it writes."""
    new = path.with_suffix('.new')
    new.write_bytes(pickle.dumps(state))
    os.replace(new, path)


def shift_and_noise(image, rng):
    shifted = ndimage.shift(image, rng.uniform(-1, 1, size=2), order=1, mode='nearest')
    return shifted + 0.1 * rng.standard_normal(image.shape, np.float32)


class Classifier:
    """A hidden layer with dropout, then softmax; trained by Adam. All that changes is in it, its generator included."""

    def __init__(self, seed, sizes=(64, 512, 10), rate=3e-3):
        self.rng, self.rate, self.steps = np.random.default_rng(seed), rate, 0
        self.weights = [
            self.rng.standard_normal(shape, np.float32) * np.float32((2 / shape[0]) ** 0.5) for shape in pairwise(sizes)
        ]
        self.means = [np.zeros_like(weight) for weight in self.weights]
        self.squares = [np.zeros_like(weight) for weight in self.weights]

    def train_step(self, images, labels):
        """Takes a step, and returns the loss before it."""
        first, second = self.weights
        inputs, rows = images.reshape(len(images), -1), np.arange(len(images))
        kept = self.rng.random((len(images), first.shape[1]), np.float32) < 0.5
        hidden = np.maximum(inputs @ first, 0) * kept * 2
        scores = hidden @ second
        odds = np.exp(scores - scores.max(1, keepdims=True))
        odds /= odds.sum(1, keepdims=True)
        loss = -np.log(odds[rows, labels] + 1e-9).mean()
        odds[rows, labels] -= 1
        odds /= len(images)
        self.adam([inputs.T @ ((odds @ second.T) * (hidden > 0) * 2), hidden.T @ odds])
        return loss

    def adam(self, gradients):
        self.steps += 1
        rate = self.rate * (1 - 0.999**self.steps) ** 0.5 / (1 - 0.9**self.steps)
        for weight, gradient, mean, square in zip(self.weights, gradients, self.means, self.squares, strict=True):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            weight -= rate * mean / (np.sqrt(square) + 1e-8)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--epochs', type=int, default=5, help='how many to train (default: %(default)s)')
    parser.add_argument('--out', type=Path, default='resume.png', help='the picture to draw (default: %(default)s)')
    parser.add_argument('--train', type=Path, metavar='CHECKPOINT', help='only train, with this checkpoint')
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--threads', type=int, default=2, help='for --train: make batches in so many (default: 2)')
    how.add_argument('--processes', type=int, help='the same, in processes')
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error('--epochs must be at least 1')
    if args.train is not None:
        workers = {'threads': args.threads} if args.processes is None else {'processes': args.processes}
        train(args.train, args.epochs, **workers)
        return
    if not args.out.parent.is_dir():
        parser.error(f'--out: there is no folder {args.out.parent}')
    compare(args.epochs, args.out)


def compare(epochs, out):
    """Draws the losses of both, and ends with an error if they are not the same."""
    with tempfile.TemporaryDirectory() as folder:
        alone, _ = run(Path(folder, 'alone.pickle'), epochs, STARTS[0])
        last = max(alone)
        print(f'left alone: {last} steps')
        parts = []
        for n, workers in enumerate(STARTS):
            kill_at = last * (n + 1) // len(STARTS) - 5 if workers is not STARTS[-1] else None
            losses, killed = run(Path(folder, 'killed.pickle'), epochs, workers, kill_at)
            how = ', '.join(f'{number} {name}' for name, number in workers.items())
            parts.append((losses, how))
            print(f'{how}: steps {min(losses)} to {max(losses)}{", then killed" if killed else ""}')

    # What is in one of them only: a loss that differs, a step that is missing.
    wrong = {step for step, _ in set(alone.items()) ^ {loss for losses, _ in parts for loss in losses.items()}}
    again = sum(len(losses) for losses, _ in parts) - last
    print(f'{last - len(wrong)} of {last} losses are the same, bit for bit; {again} steps were done again')
    draw(alone, parts).savefig(out, dpi=120)
    print(f'drew {out}')
    if wrong:
        sys.exit(f'the losses differ at step {min(wrong)}')


def run(checkpoint, epochs, workers, kill_at=None):
    """The losses that a training prints, by step, and whether it was killed: soon after it has printed `kill_at`."""
    options = [f'--{name}={number}' for name, number in workers.items()]
    command = [sys.executable, __file__, '--train', checkpoint, f'--epochs={epochs}', *options]
    losses = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        for line in training.stdout:
            step, loss = line.split()
            losses[int(step)] = float.fromhex(loss)
            if kill_at is not None and int(step) >= kill_at:
                training.kill()
    if training.returncode not in (0, -signal.SIGKILL):
        sys.exit(training.returncode)
    return losses, training.returncode != 0


def draw(alone, parts):
    """A figure of both curves, and of the steps around the first kill."""
    from matplotlib.figure import Figure  # here, since the trainings do without

    figure = Figure(figsize=(10, 3.8), layout='constrained')
    whole, near = figure.subplots(1, 2, width_ratios=(1.6, 1))
    kills, starts = [max(losses) for losses, _ in parts[:-1]], [min(losses) for losses, _ in parts[1:]]
    for axes in (whole, near):
        axes.plot(alone.keys(), alone.values(), color='silver', lw=5, label='left alone')
        for n, (losses, how) in enumerate(parts):
            axes.plot(losses.keys(), losses.values(), f'C{n}', lw=1, marker='.', ms=3 if axes is near else 0, label=how)
        for n, kill in enumerate(kills):
            axes.axvline(kill, color='black', ls=':', lw=1, label='killed' if n == 0 else None)
        axes.set(xlabel='step')
    whole.set(ylabel='loss', xlim=(0, max(alone)), title='The whole training')
    whole.legend(frameon=False, fontsize='small', ncols=2)
    shown = range(max(starts[0] - 10, 1), min(kills[0] + 10, max(alone)) + 1)
    low, high = min(alone[step] for step in shown), max(alone[step] for step in shown)
    near.set(xlim=(shown[0], shown[-1]), ylim=(0.9 * low, 1.1 * high), title='Around the first kill')
    near.axvspan(starts[0], kills[0], color='black', alpha=0.08, lw=0)
    near.text((starts[0] + kills[0]) / 2, 1.07 * high, 'done\nagain', ha='center', va='top', fontsize='small')
    return figure


if __name__ == '__main__':
    main()
