"""Items that are dicts: some things happen to image and mask alike, some to one of them, some to the whole item."""

import numpy as np

from itpipe import Infinite, apply, batch_by, combine, filter_by, map_at, random_apply, sample, with_rng
from itpipe.image import zoom

BOTH = ['image', 'mask']


class Discs:
    """A dataset is anything with a length and access by index; this one draws, where another would read files."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        y, x = np.mgrid[:24, :32]
        mask = (y - 12) ** 2 + (x - 4 - index % 25) ** 2 < index  # some are too small to be seen
        return {'name': f'disc {index}', 'image': 0.2 + 0.6 * mask, 'mask': mask}


def main():
    batches = (
        sample(Discs(), seed=0)
        | with_rng(crop, shape=(16, 16))  # a function of the whole item
        | filter_by(lambda item: item['mask'].sum() >= 20)
        | random_apply(0.5, map_at(BOTH, np.fliplr))  # both, or neither
        | map_at('image', zoom, scale_factor=2)
        | map_at('mask', zoom, scale_factor=2, order=0)  # a mask is not interpolated
        | map_at('image', with_rng(add_noise, scale=0.1))
        | apply(lambda item: {**item, 'area': item['mask'].sum()})  # one more element
        | batch_by(4)
        | combine  # a dict of arrays; the names, being text, become a list
    )
    with Infinite(batches, batches_per_epoch=3) as batch_iter:
        for batch in batch_iter:
            print(f'{", ".join(batch["name"])}:')
            for key in [*BOTH, 'area']:
                print(f'  {key}: {batch[key].dtype} {batch[key].shape}')
            inside, outside = batch['image'][batch['mask']], batch['image'][~batch['mask']]
            print(f'  mean inside of the masks {inside.mean():.2f}, outside {outside.mean():.2f}')


def crop(item, shape, rng):
    """The same random part of image and mask."""
    top, left = rng.integers(0, np.subtract(item['mask'].shape, shape), endpoint=True)
    part = slice(top, top + shape[0]), slice(left, left + shape[1])
    return {**item, **{key: item[key][part] for key in BOTH}}


def add_noise(image, scale, rng):
    return image + rng.normal(0, scale, image.shape)


if __name__ == '__main__':
    main()
