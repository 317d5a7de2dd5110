"""An old script of dpipe's: all that was changed are the two lines of its imports that named dpipe."""

from functools import partial

import numpy as np

from itpipe.dpipe import (  # from dpipe.batch_iter import (
    Infinite,
    Loky,
    Threads,
    apply_at,
    combine_pad,
    load_by_random_id,
    multiply,
    random_apply,
    sample_args,
    unpack_args,
)
from itpipe.image import zoom  # from dpipe.im import zoom


class Scans:
    """Volumes of varying depth, with a mask each."""

    ids = tuple(f'scan {i}' for i in range(12))

    def load_image(self, id_):
        depth = 6 + 2 * self.ids.index(id_)
        return np.random.default_rng(depth).normal(size=(24, 24, depth))

    def load_mask(self, id_):
        return self.load_image(id_) > 1.5


def crop_middle(image, mask, size):
    start = (image.shape[0] - size) // 2
    return [x[start : start + size, start : start + size] for x in (image, mask)]


def normalize(pair):
    image, mask = pair
    return (image - image.mean()) / image.std(), mask


def should_add(items, item):
    return sum(image.shape[-1] for image, _ in [*items, item]) <= 100


def main():
    scans = Scans()
    image, mask = next(load_by_random_id(scans.load_image, scans.load_mask, ids=scans.ids))
    print(f'one item: {image.dtype} {image.shape[:2]}, {mask.dtype} {mask.shape[:2]}')

    batch_iter = Infinite(
        load_by_random_id(scans.load_image, scans.load_mask, ids=scans.ids, random_state=42),
        unpack_args(crop_middle, size=16),
        random_apply(0.5, multiply(np.flip, axis=0)),  # both, or neither
        Threads(apply_at(0, zoom, scale_factor=[2, 2], axis=(0, 1)), n_workers=2),
        Threads(apply_at(1, zoom, scale_factor=[2, 2], axis=(0, 1), order=0), n_workers=2),
        apply_at(0, sample_args(np.multiply, partial(np.random.uniform, 0.8, 1.2))),
        Loky(normalize, n_workers=2),
        batch_size=should_add, batches_per_epoch=5, combiner=combine_pad, padding_values=[np.min, 0],
    )  # fmt: skip
    with batch_iter:
        for epoch in range(2):
            for images, masks in batch_iter():
                print(f'epoch {epoch}: {images.dtype} {images.shape}, {masks.dtype} {masks.shape}')


if __name__ == '__main__':
    main()
