"""Batches of volumes of different depths: as many volumes to a batch as fit, padded to the deepest of them.

The volumes are small MR images that nibabel ships for its own tests.
"""
# requires: nibabel

from importlib.resources import files

import nibabel
import numpy as np

from itpipe import Infinite, batch_by, combine_pad, load_by_random_id, parallel_map, with_rng
from itpipe.image import zoom_to_shape

DATA = files('nibabel') / 'tests' / 'data'
NAMES = ['anatomical.nii', 'example4d.nii.gz', 'example_nifti2.nii.gz', 'functional.nii', 'reoriented_anat_moved.nii']
MOST_SLICES = 96


def main():
    batches = (
        load_by_random_id(load, ids=NAMES, seed=0)  # endless volumes
        | with_rng(crop_depth)
        | parallel_map(zoom_to_shape, (32, 32), axis=(0, 1), threads=2)
        | batch_by(limit=MOST_SLICES, cost=depth, padded=True)  # lists of volumes: 96 slices at most, with the padding
        | combine_pad(padding_values=np.min, ratio=0, lengths=True)  # the padded volumes, and their true shapes
    )
    print(batches)
    with Infinite(batches, batches_per_epoch=8) as batch_iter:
        for volumes, shapes in batch_iter:
            depths = shapes[:, -1]
            padding = 1 - depths.sum() / (len(volumes) * depths.max())
            print(f'{len(volumes)} volumes of depth {depths}: {volumes.shape}, {padding:.0%} of it padding')


def load(name):
    volume = nibabel.load(DATA / name).get_fdata(dtype=np.float32)
    if volume.ndim == 4:  # a series: its first volume
        volume = volume[..., 0]
    return (volume - volume.mean()) / volume.std()


def crop_depth(volume, rng):
    """A random run of slices, at least half of those that there are."""
    whole = depth(volume)
    wanted = rng.integers((whole + 1) // 2, whole, endpoint=True)
    start = rng.integers(0, whole - wanted, endpoint=True)
    return volume[..., start : start + wanted]


def depth(volume):
    return volume.shape[-1]


if __name__ == '__main__':
    main()
