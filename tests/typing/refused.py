"""What type checkers must refuse: each line with a comment, and no other. `test_typing.py` sees to that."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from itpipe import Infinite, Stage, Stream, batch_by, combine, flatten, map_at, parallel_map, sample, shuffle, stream, take

Image: TypeAlias = npt.NDArray[np.float32]


def half(x: int) -> float:
    return x / 2


def load(path: str) -> Image:
    return np.load(path)  # type: ignore[no-any-return]


def factories_without_their_call(numbers: Stream[int], pairs: Stream[tuple[Image, int]], half: Stage[int, float]) -> Any:
    _ = numbers | batch_by
    _ = numbers | take
    _ = numbers | half | take(3) | shuffle
    _ = pairs | batch_by
    _ = pairs | map_at
    _ = half | batch_by
    _ = take(3) | batch_by
    _ = batch_by(3) | take


def other_items(words: Stream[str], numbers: Stream[int], loading: Stage[str, Image], halving: Stage[int, float]) -> Any:
    _ = words | half
    _ = numbers | batch_by(2) | half
    _ = batch_by(2) | half
    _ = words | halving
    _ = ['a', 'b'] | halving
    _ = words | batch_by(2) | loading
    _ = loading | halving
    _ = numbers | flatten
    _ = numbers | combine
    _ = range(3) | map_at(0, half)


def other_arguments(numbers: Stream[int], pairs: Stream[tuple[Image, int]]) -> Any:
    _ = take('3')
    _ = batch_by(limit=3)
    _ = parallel_map(half, threads='all')
    _ = parallel_map(half, executor=4)
    _ = sample(3)
    _ = stream(3)
    _ = 3 | take(2)
    _ = numbers | 3
    _ = list(take(3))
    _ = Infinite(take(3))
    _ = Infinite(numbers, batch_size='3')
    for batch in Infinite(numbers | batch_by(2)):
        batch.sum()
    for image, label, weight in Infinite(pairs | batch_by(2) | combine):
        pass
