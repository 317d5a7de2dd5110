"""Zoom, pad, crop and scale: plain functions of one array, for pipelines such as `images | map_at(0, zoom, [2, 2])`.

All functions but those of patches take arrays of any number of dimensions, or nested lists of numbers, and choose axes
in the same way. They do not change their input. They return a new C-contiguous array, never a view: it can be written
to, and it does not keep the original alive. The result has the dtype of the input; only `normalize` and `min_max_scale`
return floats.

With `axis=None`, one number is for every axis, and a sequence is for the last `len(sequence)` axes. So
`scale_factor=[2, 2]` zooms the rows and columns of a channels-first image. `axis` names the axes instead: an int or
several, counted from the end if negative, such as `axis=(0, 1)` for channels last. A single value, bare or in a
sequence, is then for all of them.

A box is an array of shape (2, number of axes): the start on each axis, and the end, as in a slice.

The names and conventions come from deep-pipe. `num_threads` and `backend` are accepted for code that was written for
it, but have no effect: `parallel_map(…, threads=N)` works on N images at the same time.
"""

from itpipe._core.public import publish as _publish

from ._crop import crop_to_box, crop_to_shape, get_centered_box, mask2bounding_box, restore_crop
from ._pad import pad, pad_to_divisible, pad_to_shape
from ._patches import grid_patches, join_patches, random_patches
from ._scale import min_max_scale, normalize
from ._zoom import proportional_zoom_to_shape, zoom, zoom_to_shape

__all__ = [
    'crop_to_box', 'crop_to_shape', 'get_centered_box', 'grid_patches', 'join_patches', 'mask2bounding_box',
    'min_max_scale', 'normalize', 'pad', 'pad_to_divisible', 'pad_to_shape', 'proportional_zoom_to_shape',
    'random_patches', 'restore_crop', 'zoom', 'zoom_to_shape',
]  # fmt: skip

_publish(globals())
