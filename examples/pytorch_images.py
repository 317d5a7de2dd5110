"""Trains a network in plain PyTorch on images in JPEG files, with augmentation, validation and checkpoints.

The images are the digits that scikit-learn ships, which are written into the folder `--images` if there is none.
With `--checkpoint FILE`, kill it whenever you like: the same command goes on, with the same losses, bit for bit.
It needs `pip install 'itpipe[trainings]'`.
"""
# requires: PIL, sklearn, torch

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from itpipe import Infinite, combine, map_at, shuffle, with_rng
from itpipe.integrations.torch import to_device

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
SAVE_EVERY = 10  # steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', type=Path, default='digits', help='a folder for each label (default: %(default)s)')
    parser.add_argument('--epochs', type=int, default=2, help='how many to train (default: %(default)s)')
    parser.add_argument('--checkpoint', type=Path, metavar='FILE', help='save to it, and go on from it if it is there')
    args = parser.parse_args()
    if not args.images.exists():
        write_digits(args.images)
    files = sorted(args.images.glob('*/*.jpeg'))  # glob gives them in any order

    # An epoch has every image once, in an order of its own, augmented anew.
    train_on = [file for n, file in enumerate(files) if n % 5]
    augmented = map_at(0, with_rng(augment))  # element 0 of a pair (image, label)
    batch = combine() | to_device(DEVICE)  # copied there while the training works on the one before
    training = Infinite(train_on, shuffle(), read, augmented, batch_size=32, combiner=batch, processes=2, seed=0)
    # A validation has all the others, the same each time.
    validation = Infinite(files[::5], read, batch_size=128, combiner=batch, threads=2, restart=True)

    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2)
    model = nn.Sequential(*layers, nn.Linear(16 * 7 * 7, 10)).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    begun = step = 0
    if args.checkpoint and args.checkpoint.exists():
        saved = torch.load(args.checkpoint)
        begun, step = saved['epoch'], saved['step']
        model.load_state_dict(saved['model'])
        optimizer.load_state_dict(saved['optimizer'])
        training.load_state_dict(saved['data'])
        torch.set_rng_state(saved['rng'])  # dropout draws from it

    with training, validation:
        for epoch in range(begun, args.epochs):  # of the first one, what is left
            model.train()
            for images, labels in training:
                loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                print(f'step {step}: loss {loss.item()}', flush=True)
                if args.checkpoint and step % SAVE_EVERY == 0:
                    parts = {'model': model, 'optimizer': optimizer, 'data': training}
                    states = {name: part.state_dict() for name, part in parts.items()}
                    states |= {'rng': torch.get_rng_state(), 'epoch': epoch, 'step': step}
                    torch.save(states, f'{args.checkpoint}.new')
                    os.replace(f'{args.checkpoint}.new', args.checkpoint)  # the old one stays until this is whole
            model.eval()
            with torch.inference_mode():
                right = [(model(images).argmax(1) == labels) for images, labels in validation]
            print(f'epoch {epoch + 1}: validation accuracy {torch.cat(right).float().mean()}')


def read(file):
    return np.asarray(Image.open(file), np.float32)[None] / 255, int(file.parent.name)


def augment(image, rng):
    moved = np.roll(image, rng.integers(-3, 4, size=2), axis=(1, 2))
    return moved + rng.normal(0, 0.1, image.shape).astype(np.float32)


def write_digits(folder):
    digits = load_digits()
    new = folder.with_name(f'{folder.name}.new')
    for n, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = new / str(label) / f'{n}.jpeg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(image * 15.9)).resize((32, 32)).save(path)
    new.rename(folder)  # it has this name once it is whole


if __name__ == '__main__':
    main()
