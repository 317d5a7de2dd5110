"""Images in folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from itpipe._core.checks import one_of, truth
from itpipe._core.instead import no_attribute_of_images, renames
from itpipe._core.show import format_call, format_value

from ._opening import needed, reading

__all__ = ['images']

SUFFIXES = frozenset(['.jpg', '.jpeg', '.png', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm'])
DEEP = frozenset(['I', 'F', 'I;16', 'I;16B', 'I;16L', 'I;16N'])
"""Modes that Pillow clips to 8 bits."""
MODES = ('RGB', 'L', 'RGBA')


@renames
def images(
    folder: str | PathLike[str], *, labels: bool = True, mode: str = 'RGB', classes: Iterable[str] | None = None
) -> Any:
    """The images in a folder and all folders within, in the order of their paths.

    An item is `(image, label)`. The image is a uint8 array of shape (height, width, 3), or (height, width) with
    `mode='L'`, or (height, width, 4) with `mode='RGBA'`. The label is the number of the folder directly within `folder`
    that the image is in. With `labels=False`, an item is the image alone. `paths` of the result has the paths of the
    images, and `labels` their labels, as for `balanced` and `split`. Files and folders whose names begin with a dot are
    left out.

    `classes` of the result has the names of these folders. They are in alphabetical order, with those that have no
    images, or in the order of `classes`, which may have further names. So `images('valid', classes=train.classes)` has
    the same labels as `train`.

    Images turned by their EXIF data are turned back. It needs Pillow. Raises NotADirectoryError if there is no such
    folder, and ValueError if it has no images. With labels, also raises ValueError for an image that is in no folder
    within it, and for a folder that is not in `classes`. While reading, raises ValueError for pixels of more than 8
    bits, such as of a 16-bit scan, as they would be clipped, and what Pillow raises. A note names the file.

    See also: `tar`, `parallel_map`.
    """
    named = _class_names(classes)
    if named is not None and not truth('images', 'labels', labels):
        raise ValueError('images: `classes` needs labels, got `labels=False`')
    return _Images(fspath(folder), truth('images', 'labels', labels), one_of('images', 'mode', mode, MODES), named)


def _class_names(classes: Any) -> list[str] | None:
    if classes is None:
        return None
    names = None if isinstance(classes, (str, bytes)) or not isinstance(classes, Iterable) else list(classes)
    if names is None or not all(isinstance(name, str) for name in names):
        raise TypeError(f'images: `classes` must be names of folders, got {format_value(classes)}')
    if len({*names}) < len(names):
        raise ValueError(f'images: `classes` must be different, got {format_value(names)}')
    return names


class _Images(Sequence[Any]):
    labels: np.ndarray[Any, np.dtype[np.int64]] | None = None
    """The label of each image, if it has one."""

    def __init__(self, folder: str, labels: bool, mode: str, classes: list[str] | None):
        self.folder, self.mode, self._given = folder, mode, classes
        if not os.path.isdir(folder):
            raise NotADirectoryError(f'images: there is no folder {folder!r}')
        self.paths = _paths(folder)
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
            found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != '.')
            self.classes = found if classes is None else classes
            numbers = {name: number for number, name in enumerate(self.classes)}
            if unknown := [name for name in found if name not in numbers]:
                raise ValueError(
                    f'images: `classes` must have all folders within {folder!r}, got none for {unknown[0]!r}'
                )
            self.labels = np.array([numbers[parts[0]] for parts in inside])

    def __getattr__(self, name: str) -> Any:
        return no_attribute_of_images(self, name)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        path = self.paths[index]
        image_library = needed('PIL.Image', 'images', 'pillow')
        with reading(path, 'the image'), image_library.open(path) as opened:
            if opened.mode in DEEP:
                raise ValueError(
                    f'images: pixels have more than 8 bits (mode {opened.mode!r} of Pillow), which would be clipped;'
                    ' read them by a function of your own, of the `paths`'
                )
            turned = needed('PIL.ImageOps', 'images', 'pillow').exif_transpose(opened)
            image = np.array(turned.convert(self.mode))
        return image if self.labels is None else (image, int(self.labels[index]))

    def __repr__(self) -> str:
        options: dict[str, Any] = {'labels': False} if self.labels is None else {}
        options |= {} if self.mode == 'RGB' else {'mode': self.mode}
        options |= {} if self._given is None else {'classes': self._given}
        return format_call('images', (self.folder,), options)


def _paths(folder: str) -> list[str]:
    paths = []
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != '.']
        paths += [
            os.path.join(root, name)
            for name in names
            if name[0] != '.' and os.path.splitext(name)[1].lower() in SUFFIXES
        ]
    return sorted(paths)
