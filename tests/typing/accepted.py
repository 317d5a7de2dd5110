"""What users write: type checkers must accept all of it, and find the types that it says. Nobody runs it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypedDict, TypeVar, assert_type

import numpy as np
import numpy.typing as npt

from itpipe import (
    Infinite,
    Ragged,
    RayExecutor,
    Stage,
    Stream,
    apply,
    batch_by,
    combine,
    combine_lists,
    combine_pad,
    concat,
    cycle,
    exclude,
    filter_by,
    flatten,
    interleave,
    load_by_random_id,
    map_all,
    map_at,
    mix,
    parallel_map,
    pipe,
    prefetch,
    random_apply,
    reuse,
    sample,
    sample_args,
    shard,
    shuffle,
    skip,
    stage,
    stream,
    take,
    unpack,
    with_rng,
    zip_apply,
    zip_with,
)
from itpipe.image import zoom
from itpipe.integrations.torch import Loader, loader, to_device, to_torch

T = TypeVar('T')
Array: TypeAlias = npt.NDArray[Any]
Image: TypeAlias = npt.NDArray[np.float32]


class Example(NamedTuple):
    image: Image
    label: int


@dataclass
class Boxes:
    image: Image
    count: int


class Record(TypedDict):
    image: Image
    name: str


class Model:
    def __call__(self, image: Image) -> Image:
        return image

    def predict(self, image: Image) -> float:
        return float(image.mean())

    @staticmethod
    def together(models: 'list[Model]') -> 'Model':
        return models[0]


def load(path: str) -> Image:
    return np.load(path)  # type: ignore[no-any-return]


async def fetch(path: str) -> Image:
    return load(path)


async def rows(path: str) -> AsyncIterator[int]:
    yield len(path)


def label(path: str) -> int:
    return len(path)


def augment(image: Image, label: int, *, shift: float = 0) -> tuple[Image, int]:
    return image, label


def jitter(image: Image, rng: np.random.Generator, scale: float = 1) -> Image:
    return image


def half(x: int) -> float:
    return x / 2


def is_large(image: Image) -> np.bool:
    return np.bool(image.mean() > 0)


def lines(path: str) -> Iterator[str]:
    yield path


def first(items: Sequence[T]) -> T:
    return items[0]


def left_of_the_first_stage(
    names: dict[str, int], shape: tuple[int, ...], images: Image, numbers: npt.NDArray[np.int64]
) -> None:
    assert_type([1, 2] | apply(half), Stream[float])
    assert_type(shape | take(1), Stream[int])
    assert_type(range(3) | batch_by(2), Stream[list[int]])
    assert_type({1, 2} | batch_by(2), Stream[list[int]])
    assert_type(names | apply(label), Stream[int])
    assert_type(names | take(2), Stream[str])
    assert_type(stream(names.items()) | take(2), Stream[tuple[str, int]])
    assert_type((x for x in [1, 2]) | shuffle(10), Stream[int])
    assert_type('abc' | batch_by(2), Stream[list[str]])
    assert_type(images | apply(len), Stream[int])
    assert_type(numbers | apply(half) | batch_by(2), Stream[list[float]])
    assert_type(stream([1, 2]), Stream[int])
    assert_type(pipe([1], half, batch_by(2)), Stream[Any])


def plain_functions(paths: Stream[str], images: Stream[Image], model: Model) -> None:
    assert_type(paths | load, Stream[Image])
    assert_type(paths | load | batch_by(2) | len, Stream[int])
    assert_type(paths | len | half, Stream[float])
    assert_type(paths | Path, Stream[Path])
    assert_type(paths | str.upper, Stream[str])
    assert_type(paths | {'a': 1}.get, Stream[int | None])
    assert_type(paths | lines, Stream[Iterator[str]])
    assert_type(paths | lines | flatten, Stream[str])
    assert_type(paths | interleave(lines, cycle=2, prefetch=4), Stream[str])
    assert_type(paths | interleave(lines, cycle=2, processes=True), Stream[str])
    assert_type(paths | batch_by(2) | first, Stream[str])
    assert_type(paths | batch_by(2) | sorted, Stream[list[str]])
    assert_type(images | model, Stream[Image])
    assert_type(images | model.predict, Stream[float])
    assert_type(images | partial(zoom, scale_factor=2) | model, Stream[Image])
    for _ in paths | (lambda path: path + '.npy') | apply(lambda path: path.upper()):
        pass


def item_wise_stages(paths: list[str], pairs: list[tuple[Image, int]], records: Stream[Record]) -> None:
    assert_type(paths | apply(load) | apply(zoom, 2, order=0) | len, Stream[int])
    assert_type(pairs | unpack(augment, shift=1), Stream[tuple[Image, int]])
    assert_type(pairs | map_at(0, zoom, scale_factor=2), Stream[tuple[Any, ...]])
    assert_type(pairs | map_at([0, -1], abs) | map_all(abs), Stream[tuple[Any, ...]])
    assert_type(pairs | map_at(0, random_apply(0.5, jitter)) | unpack(augment), Stream[tuple[Image, int]])
    assert_type(pairs | zip_apply(zoom, str), Stream[tuple[Any, ...]])
    assert_type([Example(load('a'), 1)] | map_at(0, abs), Stream[Example])
    assert_type(records | map_at('image', zoom, scale_factor=2), Stream[dict[str, Any]])
    assert_type(paths | random_apply(0.5, str.upper), Stream[str])
    assert_type([1, 2] | random_apply(0.5, half), Stream[int | float])
    assert_type(paths | apply(load) | with_rng(jitter, scale=3), Stream[Image])
    assert_type(paths | apply(load) | sample_args(jitter, scale=lambda rng: rng.normal()), Stream[Image])
    assert_type(pairs | unpack(with_rng(augment)), Stream[tuple[Image, int]])
    assert_type(apply(half).item(3), float)


def flow_stages(paths: list[str], nested: list[list[int]]) -> None:
    assert_type(paths | filter_by(lambda path: path > 'a') | skip(1) | shard(0, 2) | prefetch(3), Stream[str])
    assert_type(paths | apply(load) | filter_by(is_large) | shuffle(9, seed=0) | reuse(3, 2), Stream[Image])
    assert_type(paths | exclude(3, range(5), (2, 1), passes=0) | apply(load), Stream[Image])
    assert_type(paths | exclude(indices=[3, range(5)]) | apply(load), Stream[Image])
    assert_type(nested | flatten | take(2), Stream[int])
    assert_type(nested | flatten(), Stream[int])
    assert_type(range(9) | batch_by(2) | batch_by(2), Stream[list[list[int]]])
    assert_type(range(9) | batch_by(lambda batch, item: item > batch[-1]) | flatten, Stream[int])
    assert_type(paths | batch_by(limit=10, cost=len, padded=True) | skip(1), Stream[list[str]])


def joined_streams(
    paths: Stream[str],
    images: list[Image],
    labels: Stream[int],
    loading: Stage[str, Image],
    pairs: Stage[str, list[int]],
) -> None:
    assert_type(paths | zip_with(labels), Stream[tuple[str, int]])
    assert_type(images | zip_with(labels, paths, strict=True) | batch_by(2), Stream[list[tuple[Image, int, str]]])
    assert_type(paths | loading | zip_with(labels) | unpack(augment), Stream[tuple[Image, int]])
    assert_type(paths | (loading | zip_with(labels)), Stream[tuple[Image, int]])
    assert_type(paths | zip_with(labels, labels, labels), Stream[tuple[str, int, int, int]])
    assert_type(paths | zip_with(labels, labels, labels, labels), Stream[tuple[Any, ...]])
    assert_type(images | zip_with(range(3)) | batch_by(2) | combine, Stream[tuple[Array, Array]])
    assert_type(paths | concat(['a'], paths), Stream[str])
    assert_type(paths | concat(labels), Stream[str | int])
    assert_type(images | cycle(3), Stream[Image])
    assert_type(paths | pairs | cycle() | flatten | take(9), Stream[int])


def sources(paths: list[str], pairs: list[tuple[Image, int]]) -> None:
    assert_type(sample(pairs, weights=[1, 2], seed=0), Stream[tuple[Image, int]])
    assert_type(sample(range(3), replace=False), Stream[int])
    assert_type(sample(range(3), reweight=True), Stream[int])
    with Infinite(mix(range(3), [4], reweight=True), batch_size=2) as batch_iter:
        assert_type(batch_iter.reweight([1, 2], at=100, name='mix'), int)
    assert_type(load_by_random_id(load, ids=paths), Stream[Image])
    assert_type(load_by_random_id(load, label, ids=paths, seed=0), Stream[tuple[Image, int]])
    assert_type(load_by_random_id(load, label, len, ids=paths), Stream[tuple[Any, ...]])
    assert_type(mix(paths, paths | apply(load), weights=[1, 2]), Stream[str | Image])
    assert_type(mix(paths, paths | apply(load), weights=lambda draw: [1, draw]), Stream[str | Image])


def batches(pairs: Stream[tuple[Image, int]], records: list[Record], names: Stream[tuple[str, int]]) -> None:
    assert_type(pairs | batch_by(2) | combine, Stream[tuple[Array, Array]])
    assert_type(pairs | batch_by(2) | combine() | prefetch(2), Stream[tuple[Array, Array]])
    assert_type(pairs | batch_by(2) | combine_pad(padding_values=-1, ratio=0), Stream[tuple[Array, Array]])
    assert_type(pairs | batch_by(2) | combine_pad(lengths=True), Stream[tuple[Any, Any]])
    assert_type(pairs | batch_by(2) | combine_pad(to=128, edges=[64, 128]), Stream[tuple[Array, Array]])
    assert_type(pairs | batch_by(2) | combine_pad(to=128, mask={0: True}), Stream[tuple[Any, Any]])
    assert_type(pairs | batch_by(2) | combine_pad(lengths=True, mask=True), Stream[Any])
    assert_type(combine_pad([load('a')], mask=True, ratio=0), tuple[Any, Any])
    assert_type(pairs | batch_by(2) | combine_lists, Stream[tuple[Any, ...]])
    assert_type(pairs | map_at(0, abs) | batch_by(2) | combine_pad, Stream[tuple[Any, Any]])
    assert_type(records | batch_by(2) | combine, Stream[dict[str, Any]])
    assert_type(names | batch_by(2) | combine, Stream[tuple[Any, ...]])
    assert_type(stream(['a']) | apply(load) | batch_by(2) | combine, Stream[Image])
    assert_type([Example(load('a'), 1)] | batch_by(2) | combine, Stream[Any])
    assert_type(combine([load('a'), load('b')]), Image)
    assert_type(pairs | batch_by(2) | combine(types={int: sum}), Stream[Any])
    assert_type(pairs | batch_by(2) | combine(missing=True, ragged={'ids': True}), Stream[Any])
    assert_type(pairs | batch_by(2) | combine_pad(types={int: sum}, ratio=0), Stream[Any])
    assert_type(pairs | batch_by(2) | combine_lists(types={Model: Model.together}), Stream[Any])
    assert_type(combine([Boxes(load('a'), 1)]), Any)
    assert_type([Boxes(load('a'), 1)] | batch_by(2) | combine, Stream[Any])
    assert_type([Boxes(load('a'), 1)] | map_at('image', abs), Stream[Boxes])
    assert_type(combine([Model()], types={Model: Model.together}), Any)
    found: Ragged = combine([load('a')], ragged=True)
    assert_type(found.offsets, Any)


def workers(paths: list[str], pairs: list[tuple[Image, int]], executor: ThreadPoolExecutor) -> None:
    assert_type(paths | parallel_map(load, threads=4), Stream[Image])
    assert_type(paths | parallel_map(fetch, tasks=4), Stream[Image])

    # what has to be awaited
    assert_type(stream(rows('a')), Stream[int])
    assert_type(rows('a') | take(3) | batch_by(2), Stream[list[int]])
    assert_type(rows('a') | apply(str), Stream[str])
    assert_type(paths | interleave(rows), Stream[int])
    assert_type(paths | apply(rows) | flatten, Stream[int])
    assert_type(mix(rows('a'), paths), Stream[int | str])
    assert_type(rows('a') | concat(paths), Stream[int | str])
    assert_type(rows('a') | zip_with(paths), Stream[tuple[int, str]])
    assert_type(Infinite(rows('a')), Infinite[int])
    assert_type(paths | parallel_map(apply(load) | len, processes=-1, ordered=False), Stream[int])
    assert_type(pairs | parallel_map(unpack(augment), executor=executor, in_flight=3), Stream[tuple[Image, int]])
    assert_type(paths | parallel_map(load, executor=RayExecutor(num_cpus=2)), Stream[Image])
    assert_type(pairs | parallel_map(map_at(0, abs), threads=2), Stream[tuple[Any, ...]])
    assert_type(paths | prefetch('1GB') | parallel_map(load, threads=2, in_flight='512MB'), Stream[Image])
    assert_type(paths | apply(load) | parallel_map(zoom, threads=2, scale_factor=2) | batch_by(2) | len, Stream[int])
    for _ in paths | parallel_map(lambda path: path.upper(), threads=2):
        pass


def pipelines(paths: list[str]) -> None:
    preprocess: Stage[str, list[Image]] = apply(load) | take(3) | batch_by(2)
    assert_type(paths | preprocess, Stream[list[Image]])
    assert_type(paths | (preprocess | flatten | Model()), Stream[Image])
    assert_type(paths | (take(3) | load), Stream[Image])
    assert_type(paths | (batch_by(3) | take(1) | flatten), Stream[str])
    assert_type(paths | (batch_by(3) | len), Stream[int])
    assert_type(paths | (apply(load) | batch_by(3) | combine), Stream[Image])
    assert_type(list(preprocess(paths)), list[list[Image]])
    assert_type(list(batch_by(3)(range(9))), list[list[int]])
    run = iter(paths | preprocess)
    assert_type(next(run), list[Image])
    run.close()


@stage
def pairwise(items: Iterator[int], scale: float = 1) -> Iterator[float]:
    for x, y in zip(items, items, strict=True):
        yield scale * (x + y)


@stage
def doubled(items: Iterator[T]) -> Iterator[tuple[T, T]]:
    for item in items:
        yield item, item


@stage(state={'slots': []})
def in_pairs(items: Iterator[int], state: dict[str, Any], scale: float = 1) -> Iterator[float]:
    for item in items:
        state['slots'].append(item)
        if len(state['slots']) == 2:
            yield scale * sum(state['slots'])
            state['slots'].clear()


def own_stages() -> None:
    assert_type([1, 2] | in_pairs(scale=2) | batch_by(2), Stream[list[float]])
    assert_type([1, 2] | pairwise(scale=2) | batch_by(2), Stream[list[float]])
    assert_type(stream([1, 2]) | pairwise, Stream[float])
    assert_type([1, 2] | doubled(), Stream[tuple[Any, Any]])


def training(pairs: list[tuple[Image, int]], records: Stream[Record]) -> None:
    batches = sample(pairs, seed=0) | parallel_map(unpack(augment), threads=4) | batch_by(32) | combine
    with Infinite(batches, batches_per_epoch=100, seed=0) as batch_iter:
        assert_type(batch_iter, Infinite[tuple[Array, Array]])
        for images, labels in batch_iter:
            assert_type(images, Array)
            assert_type(labels, Array)
        for batch in batch_iter():
            assert_type(batch, tuple[Array, Array])
    assert_type(Infinite(range(9) | batch_by(2), prefetch=0, stall_timeout=None), Infinite[list[int]])
    assert_type(Infinite(records | batch_by(2) | combine_pad), Infinite[dict[str, Any]])
    assert_type(Infinite(range(9), batch_size=2, combiner=sum), Infinite[int])
    assert_type(Infinite(range(9), batch_size=2, combiner=sum, prefetch='512MB'), Infinite[int])
    assert_type(Infinite(range(9) | batch_by(2), prefetch='512MB'), Infinite[list[int]])
    assert_type(Infinite(range(9), batch_size=2, combiner=sum, stall_timeout=5), Infinite[int])
    assert_type(Infinite(range(9), batch_size=2, combiner=sum, shard=(0, 2), even='drop'), Infinite[int])
    assert_type(Infinite(range(9) | batch_by(2), shard='env'), Infinite[list[int]])
    assert_type(Infinite(pairs, batch_size=32), Infinite[Any])
    assert_type(Infinite(pairs, map_at(0, zoom, scale_factor=2), unpack(augment), prefetch=3), Infinite[Any])
    assert_type(Infinite(pairs, abs, batch_size=32, combiner=combine_pad, ratio=0), Infinite[Any])


# Tensors: what they are is not known here
for tensors in (
    np.ones((4, 3)) | to_torch() | batch_by(2) | combine | to_device('cuda', ahead=2),
    range(3) | to_torch(),
):
    assert_type(loader(Infinite(tensors)), Loader[Any])
