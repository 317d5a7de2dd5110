"""What type checkers must refuse: each line with a comment, and no other. `test_typing.py` sees to that."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from itpipe import (
    Infinite,
    Stage,
    Stream,
    batch_by,
    combine,
    concat,
    flatten,
    map_at,
    parallel_map,
    sample,
    shuffle,
    stream,
    take,
    zip_with,
)

Image: TypeAlias = npt.NDArray[np.float32]


def half(x: int) -> float:
    return x / 2


def load(path: str) -> Image:
    return np.load(path)  # type: ignore[no-any-return]


def factories_without_their_call(
    numbers: Stream[int], pairs: Stream[tuple[Image, int]], halving: Stage[int, float]
) -> None:
    repr(numbers | batch_by)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(numbers | take)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(numbers | half | take(3) | shuffle)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(pairs | batch_by)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(pairs | zip_with)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(pairs | map_at)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(halving | batch_by)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(take(3) | batch_by)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(batch_by(3) | take)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]


def other_items(
    words: Stream[str], numbers: Stream[int], loading: Stage[str, Image], halving: Stage[int, float]
) -> None:
    repr(words | half)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(numbers | batch_by(2) | half)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(batch_by(2) | half)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(words | halving)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(['a', 'b'] | halving)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(words | batch_by(2) | loading)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(loading | halving)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(numbers | flatten)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(words | concat(words) | half)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(words | zip_with(words) | half)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(numbers | combine)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(range(3) | map_at(0, half))  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]


def other_arguments(numbers: Stream[int], pairs: Stream[tuple[Image, int]]) -> None:
    repr(take('3'))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    repr(batch_by(limit=3))  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    repr(parallel_map(half, threads='2'))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    repr(combine(types=[int]))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    repr(combine([1], types={int: 3}))  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    repr(combine([1], missing='mask'))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    repr(zip_with(3))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    repr(concat(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    repr(sample(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    repr(stream(3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    repr(3 | take(2))  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(numbers | 3)  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue]
    repr(list(take(3)))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    repr(Infinite(take(3)))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    repr(Infinite(numbers, batch_size='3'))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    for batch in Infinite(numbers | batch_by(2)):
        batch.sum()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    for batch_of_pairs in Infinite(pairs | batch_by(2) | combine):
        images, labels, weights = batch_of_pairs  # type: ignore[misc]  # pyright: ignore[reportAssignmentType]
        repr((images, labels, weights))
