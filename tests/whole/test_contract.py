"""What every stage keeps, whatever it does."""

import asyncio
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
from naming import named

import itpipe
from itpipe import (
    Stage,
    apply,
    batch_by,
    bucket_by,
    combine,
    combine_lists,
    combine_pad,
    concat,
    cycle,
    exclude,
    filter_by,
    flatten,
    interleave,
    map_all,
    map_at,
    pack,
    parallel_map,
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


def add_noise(x, rng):
    return x + rng.random()


def draw(rng):
    return rng.random()


def add(x, y):
    return x + y


async def added_later(x, y):
    await asyncio.sleep(0)
    return x + y


def tokens(row):
    return row['tokens'].tolist()


def small(x):
    return x < 5


def swap(x, y):
    return y, x


def fits(items, item):
    return len(items) < 3


def size(item):
    return item + 1


@stage
def doubled(items, times=2):
    for item in items:
        yield item * times


@stage(state={'slots': []})
def in_pairs(items, state):
    for item in items:
        state['slots'].append(item)
        if len(state['slots']) == 2:
            yield state['slots'][:]
            state['slots'].clear()


numbers = list(range(12))
pairs = [(n, n + 0.5) for n in range(12)]
lists = [[n] * (n % 4) for n in range(12)]

# what goes in, the stage, what comes out (where it is not random)
STAGES = [
    (numbers, apply(add, 1), [n + 1 for n in numbers]),
    (numbers, apply(str), [str(n) for n in numbers]),
    (pairs, map_at(0, str), [(str(a), b) for a, b in pairs]),
    (pairs, map_at([0, -1], add, 2), [(a + 2, b + 2) for a, b in pairs]),
    (pairs, map_all(str), [(str(a), str(b)) for a, b in pairs]),
    (pairs, unpack(swap), [(b, a) for a, b in pairs]),
    (pairs, zip_apply(str, float), [(str(a), float(b)) for a, b in pairs]),
    (numbers, random_apply(0.5, add, 100), None),
    (numbers, sample_args(add, draw), None),
    (numbers, with_rng(add_noise), None),
    (numbers, filter_by(small), [0, 1, 2, 3, 4]),
    (numbers, exclude(1, range(3, 9)), [0, 2, 9, 10, 11]),
    (lists, flatten() | exclude(1, (3, 0), passes=0), [2, 2, 3, 3, 5, 6, 6, 7, 7, 7, 9, 10, 10, 11, 11, 11]),
    (lists, flatten(), [n for part in lists for n in part]),
    (lists, flatten(on_error='skip', max_errors=3), [n for part in lists for n in part]),
    (numbers[:5], interleave(range, cycle=3), [0, 0, 0, 1, 0, 1, 2, 1, 2, 3]),
    (numbers[:5], interleave(range, cycle=2, block=3), [0, 1, 0, 1, 2, 0, 0, 1, 2, 3]),
    (numbers[:5], interleave(range, cycle=2, block=3, prefetch=2), [0, 1, 0, 1, 2, 0, 0, 1, 2, 3]),
    (numbers[:5], interleave(range, cycle=2, block=3, processes=True), [0, 1, 0, 1, 2, 0, 0, 1, 2, 3]),
    (numbers[:5], interleave(range, cycle=3, on_error='skip'), [0, 0, 0, 1, 0, 1, 2, 1, 2, 3]),
    (numbers, take(5), numbers[:5]),
    (numbers, skip(5), numbers[5:]),
    (numbers, shard(1, 3), numbers[1::3]),
    (numbers, shuffle(4), None),
    (numbers, shuffle(4, seed=7), None),
    (numbers, reuse(3, 2), None),
    (numbers, reuse(3, 2, iterations=2, seed=1), None),
    (numbers, prefetch(2), numbers),
    (numbers, parallel_map(add, 1, threads=2), [n + 1 for n in numbers]),
    (numbers, parallel_map(add, 1, threads=2, ordered=False, in_flight=3), None),
    (numbers, parallel_map(added_later, 1, tasks=3), [n + 1 for n in numbers]),
    (lists, pack(4) | tokens, [[1, 2, 2, 5], [3, 3, 3, 9], [6, 6, 10, 10], [7, 7, 7, 0], [11, 11, 11, 0]]),
    (numbers, parallel_map(add, 1, threads=2, stall_timeout=50.0), [n + 1 for n in numbers]),
    (pairs, parallel_map(map_at(0, str) | unpack(swap), threads=2), [(b, str(a)) for a, b in pairs]),
    (numbers, batch_by(5), [numbers[:5], numbers[5:10], numbers[10:]]),
    (numbers, batch_by(5, drop_last=True), [numbers[:5], numbers[5:10]]),
    (numbers, batch_by(fits), [numbers[i : i + 3] for i in range(0, 12, 3)]),
    (numbers[:5], batch_by(limit=4, cost=size), [[0, 1], [2], [3], [4]]),
    (numbers[:5], batch_by(limit=6, cost=size, padded=True), [[0, 1], [2], [3], [4]]),
    (numbers, bucket_by(size, edges=[4], size=3), [[0, 1, 2], [4, 5, 6], [7, 8, 9], [3], [10, 11]]),
    (numbers[:4], bucket_by(size, window=3, limit=4), [[0, 1], [2], [3]]),
    ([pairs[:2], pairs[2:4]], combine_lists(), [([0, 1], [0.5, 1.5]), ([2, 3], [2.5, 3.5])]),
    (numbers, doubled(), [2 * n for n in numbers]),
    (numbers, doubled(times=3), [3 * n for n in numbers]),
    (numbers, in_pairs(), [numbers[i : i + 2] for i in range(0, 12, 2)]),
    (numbers, zip_with('ab' * 6), [(n, 'ab'[n % 2]) for n in numbers]),
    (numbers, zip_with(sample('abc'), range(12) | shuffle(9)), None),
    (numbers, concat([] | apply(str), []), numbers),
    (numbers, cycle(2), numbers * 2),
    (numbers, shuffle(3) | cycle(1) | shuffle(4), None),
    (numbers, apply(add, 1) | batch_by(5) | flatten() | skip(2), [n + 1 for n in numbers[2:]]),
]

each_stage = pytest.mark.parametrize(('items', 'made', 'expected'), STAGES, ids=[named(made) for _, made, _ in STAGES])


class Watched:
    """An iterable that knows how often it was asked and whether its iterator was closed."""

    def __init__(self, items):
        self.items, self.pulled, self.closed, self.runs = items, 0, 0, 0

    def __iter__(self) -> Iterator:
        self.runs += 1
        try:
            for item in self.items:
                self.pulled += 1
                yield item
        finally:
            self.closed += 1


@each_stage
def test_gives_what_it_says(items, made, expected):
    if expected is None:
        assert len(list(items | made)) == len(items) * (2 if 'reuse' in repr(made) else 1)
    else:
        assert list(items | made) == expected


@each_stage
def test_every_way_of_writing_it_gives_the_same(items, made, expected):
    """`iterable | stage`, `pipe`, the call and a longer stage are one thing."""
    results = sorted if 'ordered=False' in repr(made) else list
    once = results(stream(items, seed=0) | made)
    assert results(itpipe.pipe(stream(items, seed=0), made)) == once
    assert results(made(stream(items, seed=0))) == once
    assert results(stream(items, seed=0) | (made | take(1000))) == once


@each_stage
def test_seeded_runs_are_the_same_and_unseeded_ones_start_from_the_same_items(items, made, expected):
    """A stream is re-iterable: each run is fresh, with the same values if it is seeded."""
    seeded = stream(items, seed=3) | made
    results = sorted if 'ordered=False' in repr(made) else list
    assert results(seeded) == results(seeded)


@each_stage
def test_is_lazy(items, made, expected):
    """Composing asks for nothing, and neither does `iter`."""
    source = Watched(items)
    run = iter(source | made)
    assert source.runs == source.pulled == 0
    next(run)
    assert source.runs == 1
    run.close()


@each_stage
def test_asks_for_no_more_than_it_must(items, made, expected):
    """The first item costs at most the items of a window, a buffer or a batch."""
    source = Watched(items * 10)
    run = iter(source | made)
    next(run)
    assert source.pulled <= 10
    run.close()


@each_stage
def test_closing_closes_upstream_at_once(items, made, expected):
    source = Watched(items)
    run = iter(source | made)
    next(run)
    run.close()
    assert source.closed == 1
    assert list(run) == []
    run.close()


@each_stage
def test_dropping_closes_upstream_at_once(items, made, expected):
    source = Watched(items)
    for _ in source | made:
        break
    assert source.closed == 1


@each_stage
def test_the_end_closes_upstream(items, made, expected):
    source = Watched(items)
    list(source | made)
    passes = 2 if 'cycle(2)' in repr(made) else 1
    assert (source.runs, source.closed) == (passes, passes)


@each_stage
def test_closes_the_generator_of_the_user(items, made, expected):
    closed = []

    def generate():
        try:
            yield from items
        finally:
            closed.append(True)

    generator = generate()
    run = iter(generator | made)
    next(run)
    run.close()
    assert closed == [True]


@each_stage
def test_nothing_in_gives_nothing_out(items, made, expected):
    assert list([] | made) == []


@each_stage
def test_prints_as_it_was_written(items, made, expected):
    names = {**vars(itpipe), **globals()}
    assert eval(repr(made), names) == made
    assert repr(items | made).endswith(f' | {made!r}')


@each_stage
def test_pickles(items, made, expected):
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert hash(again) == hash(made)
    assert repr(again) == repr(made)
    whole = pickle.loads(pickle.dumps(items | made))
    assert whole == items | made


@each_stage
def test_differs_from_others(items, made, expected):
    assert [other == made for _, other, _ in STAGES].count(True) == 1


@each_stage
def test_an_error_of_the_source_arrives_as_it_was_raised(items, made, expected):
    """With a note that names the source and the item."""
    error = OSError(5, 'disk')

    def broken():
        yield from items
        raise error

    if made == take(5):  # never gets there
        assert list(broken() | made) == items[:5]
        return
    with pytest.raises(OSError, match='disk') as caught:
        list(broken() | made)
    assert caught.value is error
    assert any(f'item {len(items)}' in note for note in error.__notes__)


@pytest.mark.parametrize(
    'made',
    [
        combine(),
        combine_pad(),
        combine_pad(padding_values=-1),
        combine_lists(),
        combine(types={str: sorted}),
        combine(ragged=True),
    ],
    ids=named,
)
def test_combiners_are_stages_too(made):
    assert isinstance(made, Stage)
    assert eval(repr(made), vars(itpipe)) == made
    assert pickle.loads(pickle.dumps(made)) == made
    (batch,) = [[(np.zeros(2), 1), (np.zeros(2), 2)]] | made
    assert [list(map(float, part)) for part in batch[1:]] == [[1.0, 2.0]]
