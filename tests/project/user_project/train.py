"""The training of a project that uses itpipe: what strict type checkers must accept, with nothing left unknown."""

import json
from pathlib import Path
from typing import Any, assert_type

import numpy.typing as npt
from digits import Digits, Example, Image, augment, is_even, label_of, numbered, pairs, scaled, shift

from itpipe import (
    Dropped,
    Infinite,
    NotRestartable,
    Stream,
    WorkerCrashed,
    batch_by,
    check,
    combine,
    combine_lists,
    combine_pad,
    concat,
    cycle,
    explain,
    filter_by,
    flatten,
    headspace,
    merge_states,
    mix,
    parallel_map,
    prefetch,
    sample,
    shard,
    shuffle,
    stream,
    take,
    unpack,
    watch,
    with_rng,
    zip_with,
)
from itpipe.image import min_max_scale, pad_to_shape, zoom
from itpipe.testing import check_resume

Array = npt.NDArray[Any]


def examples(root: Path) -> Stream[Example]:
    return sample(Digits(root), seed=0) | unpack(scaled)


def streams(root: Path) -> None:
    assert_type(examples(root) | filter_by(is_even) | shuffle(100) | shard(0, 2), Stream[Example])
    assert_type(examples(root) | unpack(with_rng(shift)) | prefetch(2) | take(10), Stream[Example])
    assert_type(examples(root) | pairs(), Stream[tuple[Example, Example]])
    assert_type(examples(root) | numbered(), Stream[tuple[int, Example]])
    assert_type(examples(root) | batch_by(32), Stream[list[Example]])
    assert_type(examples(root) | batch_by(32) | combine, Stream[tuple[Array, Array]])
    assert_type(examples(root) | batch_by(32) | flatten, Stream[Example])
    assert_type(examples(root) | parallel_map(label_of, threads=2), Stream[int])
    assert_type(mix(examples(root), examples(root), weights=[1, 2], seed=0), Stream[Example])
    assert_type(examples(root) | concat(examples(root)) | cycle(2), Stream[Example])
    assert_type(['a', 'b'] | zip_with([1, 2]), Stream[tuple[str, int]])
    for image, label in examples(root) | take(2):
        assert_type(zoom(image, 2), Image)
        print(image.mean(), label + 1)


def train(root: Path, state_file: Path) -> float:
    total = 0.0
    with Infinite(
        sample(Digits(root)), augment, batch_size=32, batches_per_epoch=10, processes=2, prefetch='64MB', seed=0
    ) as batch_iter:
        if state_file.exists():
            batch_iter.load_state_dict(json.loads(state_file.read_text()))
        for _ in range(3):
            for images, labels in batch_iter:
                total += float(images.mean()) + int(labels[0])
            state_file.write_text(json.dumps(batch_iter.state_dict()))
        stats = batch_iter.stats()
        print(stats.bottleneck, stats.loop.waiting_share, batch_iter.ordinals, len(batch_iter))
        dropped: list[Dropped] = batch_iter.dropped
        print([(each.ordinal, each.stage, each.error) for each in dropped])
        print(explain(batch_iter, 0))
    return total


def validate(root: Path) -> int:
    batches = stream(range(100), seed=1) | batch_by(8) | combine_lists
    with Infinite(batches, restart=True, threads=None, shard=(0, 2)) as batch_iter, watch(batch_iter):
        count = sum(len(batch) for batch in batch_iter)
    with Infinite(examples(root), batch_size=8, combiner=combine_pad, padding_values=0) as padded:
        print(next(padded()))
    return count


def resumed(root: Path) -> None:
    batches = examples(root) | batch_by(4)
    run = iter(batches)
    first: list[Example] = next(run)
    rest = batches.resume(run.state_dict())
    print(first, next(rest), run.item_keys, rest.ordinals)
    run.close()
    merged: dict[str, Any] = merge_states([rest.state_dict()])
    print(merged)


def look(root: Path) -> None:
    batches = examples(root) | batch_by(4) | combine
    print(check(batches), headspace(batches), batches.draw().mermaid)
    check_resume(batches)
    try:
        next(iter(batches))
    except (NotRestartable, WorkerCrashed) as error:
        print(error)


def padded(image: Image) -> Image:
    return pad_to_shape(min_max_scale(image), (32, 32))
