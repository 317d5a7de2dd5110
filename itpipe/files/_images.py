"""Images in folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from itpipe._core.checks import one_of, truth
from itpipe._core.show import format_call

from ._opening import needed, reading

__all__ = ['images']

SUFFIXES = frozenset(['.jpg', '.jpeg', '.png', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm'])
MODES = ('RGB', 'L', 'RGBA')


def images(folder: str | PathLike[str], *, labels: bool = True, mode: str = 'RGB') -> Any:
    """The images in a folder and all folders within, in the order of their paths.

    An item is `(image, label)`. The image is a uint8 array of shape (height, width, 3), or (height, width) with
    `mode='L'`, or (height, width, 4) with `mode='RGBA'`. The label is the number of the folder directly within `folder`
    that the image is in; `classes` of the result has their names, in alphabetical order. With `labels=False`, an item
    is the image alone. `paths` has the paths of the images.

    Images turned by their EXIF data are turned back. It needs Pillow. Raises NotADirectoryError if there is no such
    folder, and ValueError if it has no images or, with labels, an image that is in no folder within it. While reading,
    raises what Pillow does, with a note that names the file.

    See also: `tar`, `parallel_map`.
    """
    return _Images(fspath(folder), truth('images', 'labels', labels), one_of('images', 'mode', mode, MODES))


class _Images(Sequence[Any]):
    def __init__(self, folder: str, labels: bool, mode: str):
        self.folder, self.labels, self.mode = folder, labels, mode
        if not os.path.isdir(folder):
            raise NotADirectoryError(f'images: there is no folder {folder!r}')
        self.paths = sorted(
            os.path.join(root, name)
            for root, _, names in os.walk(folder, followlinks=True)
            for name in names
            if os.path.splitext(name)[1].lower() in SUFFIXES
        )
        if not self.paths:
            raise ValueError(f'images: there are no images in {folder!r}')
        self.classes: list[str] = []
        if labels:
            inside = [Path(path).relative_to(folder).parts for path in self.paths]
            if alone := [parts[0] for parts in inside if len(parts) == 1]:
                raise ValueError(
                    f'images: {alone[0]!r} is in no folder within {folder!r}, which would be its label; give'
                    ' `labels=False`'
                )
            self.classes = sorted({parts[0] for parts in inside})
            numbers = {name: number for number, name in enumerate(self.classes)}
            self._labels = np.array([numbers[parts[0]] for parts in inside])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        path = self.paths[index]
        image_library = needed('PIL.Image', 'images', 'pillow')
        with reading(path, 'the image'), image_library.open(path) as opened:
            turned = needed('PIL.ImageOps', 'images', 'pillow').exif_transpose(opened)
            image = np.array(turned.convert(self.mode))
        return (image, int(self._labels[index])) if self.labels else image

    def __repr__(self) -> str:
        options = {} if self.labels else {'labels': False}
        return format_call('images', (self.folder,), options | ({} if self.mode == 'RGB' else {'mode': self.mode}))
