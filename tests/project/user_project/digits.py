"""The data of a project that uses itpipe, and what it does to each item."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from itpipe import Stage, Stream, apply, batch_by, map_at, stage, unpack, with_rng

Image = npt.NDArray[np.float32]
Example = tuple[Image, int]


@dataclass
class Digits:
    """A dataset as torch has them: a length and an index."""

    root: Path
    size: int = 10

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], int]:
        return np.full((28, 28), 25 * index, np.uint8), index


def to_float(image: npt.NDArray[np.uint8]) -> Image:
    return image.astype(np.float32) / np.float32(255)


def scaled(image: npt.NDArray[np.uint8], label: int) -> Example:
    return to_float(image), label


def shift(image: Image, label: int, rng: np.random.Generator, most: int = 3) -> Example:
    return np.roll(image, rng.integers(-most, most), axis=1), label


def is_even(example: Example) -> bool:
    return example[1] % 2 == 0


def label_of(example: Example) -> int:
    return example[1]


@stage
def pairs(items: Iterator[Example]) -> Iterator[tuple[Example, Example]]:
    """Each item with the one before it: a stage of one's own."""
    last: Example | None = None
    for item in items:
        if last is not None:
            yield last, item
        last = item


@stage(state={'count': 0})
def numbered(items: Iterator[Example], state: dict[str, Any]) -> Iterator[tuple[int, Example]]:
    """A stage of one's own that resumes exactly."""
    for item in items:
        state['count'] += 1
        yield state['count'], item


augment: Stage[Any, Any] = map_at(0, to_float) | unpack(with_rng(shift, most=2))


def paths(root: Path) -> Stream[str]:
    return sorted(root.glob('*.png')) | apply(str)


def by_name(root: Path) -> Stream[list[str]]:
    return paths(root) | batch_by(4)
