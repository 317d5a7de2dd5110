"""Pictures say what runs, in which order and where; nothing runs for them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from itpipe import (
    Infinite,
    apply,
    batch_by,
    cache,
    combine,
    concat,
    cycle,
    filter_by,
    interleave,
    load_by_random_id,
    map_at,
    mix,
    parallel_map,
    pipe,
    prefetch,
    reuse,
    sample,
    shard,
    shuffle,
    stream,
    take,
    zip_with,
)  # fmt: skip
from itpipe._views.parts import Box, Inputs, Node


class Dataset:
    """It may not be asked for an item."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        raise AssertionError('a picture looked an item up')


class Gathering(Dataset):
    def __getitems__(self, indices: list[int]) -> Any:
        raise AssertionError('a picture looked items up')


def shape(part: Any) -> Any:
    """The titles of a picture: a tuple is a box, its title first, a list are inputs side by side."""
    if isinstance(part, tuple):
        return [shape(each) for each in part]
    if isinstance(part, Node):
        return part.title
    if isinstance(part, Box):
        return (part.title, *map(shape, part.inside))
    return {label: shape(flow) for label, flow in zip(part.labels, part.flows, strict=True)}


def drawn(pipeline: Any) -> Any:
    return shape(pipeline.draw()._flow)


def found(flow: Any, title: str) -> Any:
    """The part with this title."""
    for part in flow:
        if not isinstance(part, Inputs) and part.title == title:
            return part
        inner = part.flows if isinstance(part, Inputs) else [part.inside] if isinstance(part, Box) else []
        for each in inner:
            if (result := found(each, title)) is not None:
                return result
    return None


LOOP = 'for item in stream:'
LOOK_UP = 'look the item up'
OF_STREAM = 'what the item of each stream needs'


@pytest.mark.parametrize(
    ('pipeline', 'expected'),
    [
        (range(3) | apply(abs), ['range(0, 3)', 'apply(abs)']),
        # workers look up, and do what stands before them
        (
            Dataset() | map_at(0, abs) | parallel_map(abs, threads=2),
            ['<Dataset>', ('2 threads', LOOK_UP, 'map_at(0, abs)', 'apply(abs)')],
        ),
        (
            Dataset() | map_at(0, abs) | parallel_map(abs, threads=2, lookups='main'),
            ['<Dataset>', 'map_at(0, abs)', ('2 threads', 'apply(abs)')],
        ),
        ([1] | apply(abs) | parallel_map(abs, processes=1), ['[1]', 'apply(abs)', ('1 process', 'apply(abs)')]),
        (
            [1] | interleave(list, cycle=2, prefetch=4, processes=True) | apply(abs),
            ['[1]', ('2 processes', 'apply(list)'), 'apply(abs)'],
        ),
        # only what comes out of a shuffle is looked up
        (
            Dataset() | apply(abs) | shuffle(4) | filter_by(abs),
            ['<Dataset>', 'shuffle(4)', LOOK_UP, 'apply(abs)', 'filter_by(abs)'],
        ),
        (stream(Dataset(), seed=1) | shuffle(), ['stream(<Dataset>, seed=1)', 'shuffle()']),
        # whole batches in workers: by `f`, and by a `batch_by` before
        (
            Dataset() | parallel_map(apply(abs) | batch_by(2) | combine, processes=2),
            ['<Dataset>', ('2 processes', LOOK_UP, 'apply(abs)', 'batch_by(2)', 'apply(combine)')],
        ),
        (
            Dataset() | apply(abs) | batch_by(2) | parallel_map(combine, processes=2),
            ['<Dataset>', 'batch_by(2)', ('2 processes', LOOK_UP, 'apply(abs)', 'apply(combine)')],
        ),
        (Gathering() | batch_by(2) | combine, ['<Gathering>', 'batch_by(2)', LOOK_UP, 'apply(combine)']),
        # ranks get their part before items are worked on
        (
            Dataset() | apply(abs) | take(8) | apply(len) | shard(1, 4),
            ['<Dataset>', 'take(8)', 'shard(1, 4)', LOOK_UP, 'apply(abs)', 'apply(len)'],
        ),
        (range(9) | apply(abs) | prefetch(2) | apply(len), [('a thread of its own', 'range(0, 9)', 'apply(abs)'),
                                                           'apply(len)']),
        (
            mix([1] | apply(abs), Dataset(), weights=[1, 3], seed=0) | apply(len),
            [{'0: 25 %': ['[1]', 'apply(abs)'], '1: 75 %': ['<Dataset>']}, 'mix(weights=[1, 3], seed=0)', 'apply(len)'],
        ),
        (
            mix([1] | apply(abs), mix(Dataset() | apply(len), 'ab')) | parallel_map(str, threads=2),
            [
                {'0: 50 %': ['[1]'], '1: 50 %': [{'0: 50 %': ['<Dataset>'], '1: 50 %': ["'ab'"]}, 'mix()']},
                'mix()', ('2 threads', OF_STREAM, 'apply(str)'),
            ],
        ),
        (stream(mix('a', 'b'), seed=3), [{'0: 50 %': ["'a'"], '1: 50 %': ["'b'"]}, 'mix()', 'stream(seed=3)']),
        (
            'ab' | apply(str) | zip_with('c', strict=True),
            [{'0': ["'ab'", 'apply(str)'], '1': ["'c'"]}, 'zip_with(strict=True)'],
        ),
        ('ab' | concat('c') | reuse(2, 3), [{'0': ["'ab'"], '1': ["'c'"]}, 'concat()', 'reuse(2, 3)']),
        (
            Dataset() | apply(abs) | cycle(2) | parallel_map(str, threads=1),
            [('again and again', '<Dataset>'), ('1 thread', LOOK_UP, 'apply(abs)', 'apply(str)')],
        ),
    ],
    ids=repr,
)  # fmt: skip
def test_the_picture_of_a_stream_has_what_runs_in_this_order(pipeline: Any, expected: list[Any]) -> None:
    assert drawn(pipeline) == [("the loop's thread", *expected, LOOP)]


def test_a_stage_is_drawn_as_it_is_written() -> None:
    stage = apply(abs) | shuffle(3) | zip_with('ab' | apply(str)) | cycle(2) | parallel_map(len, threads=2) | take(1)
    assert drawn(stage) == [
        {'0': ['items of any source', 'apply(abs)', 'shuffle(3)'], '1': ["'ab'", 'apply(str)']},
        'zip_with()', 'cycle(2)', ('2 threads', 'apply(len)'), 'take(1)',
    ]  # fmt: skip
    assert drawn(shuffle()) == ['items of any source', 'shuffle()']


def test_an_infinite_has_a_background_thread() -> None:
    batches = Infinite(Dataset(), abs, batch_size=4, processes=2, batches_per_epoch=5, shard=(0, 2))
    inside = ('<Dataset>', "shard(0, 2, even='repeat')")
    workers = ('2 processes', LOOK_UP, 'apply(abs)', 'batch_by(4)', 'apply(combine)')
    assert drawn(batches) == [('background thread', *inside, workers), 'for batch in batch_iter:']
    flow = batches.draw()._flow
    assert found(flow, 'for batch in batch_iter:').notes == ('an epoch has 5 batches',)
    assert found(flow, inside[1]).notes == ('the items of rank 0 of 2',)
    assert found(flow, 'background thread').holds == '2 to 64 batches ready: those made in 4 ms'


@pytest.mark.parametrize(
    ('prefetch', 'holds'),
    [(1, 'up to 1 batch ready'), (1200, 'up to 1,200 batches ready'), ('1.5GB', 'up to 1.5 GB of batches ready')],
)
def test_how_far_ahead(prefetch: Any, holds: str) -> None:
    flow = Infinite([1], prefetch=prefetch).draw()._flow
    assert found(flow, 'background thread').holds == holds


def test_without_prefetch_the_loop_does_all() -> None:
    assert drawn(Infinite([1], prefetch=0)) == [("the loop's thread", '[1]', 'for batch in batch_iter:')]


@pytest.mark.parametrize(
    ('options', 'epoch'),
    [
        ({}, 'an epoch is one pass over the source'),
        ({'batches_per_epoch': 1}, 'an epoch has 1 batch'),
        ({'restart': True}, 'an epoch is one pass over the source, and each begins again'),
        ({'restart': True, 'batches_per_epoch': 2}, 'an epoch has at most 2 batches, and each begins again'),
    ],
)
def test_what_an_epoch_is(options: Any, epoch: str) -> None:
    assert found(Infinite([1], **options).draw()._flow, 'for batch in batch_iter:').notes == (epoch,)


def test_buffers_say_what_they_may_hold() -> None:
    pipeline = Dataset() | shuffle(1000) | parallel_map(abs, threads=1, in_flight=1) | shuffle(2) | reuse(3, 1)
    flow = (pipeline | prefetch('2kB')).draw()._flow
    assert found(flow, 'shuffle(1000)').holds == 'up to 1,000 indices'
    assert found(flow, '1 thread').holds == 'up to 1 item in flight'
    assert found(flow, 'shuffle(2)').holds == 'up to 2 items'
    assert found(flow, 'reuse(3, 1)').holds == 'up to 3 items'
    assert found(flow, 'a thread of its own').holds == 'up to 2 kB of items ahead'


@pytest.mark.parametrize(
    ('options', 'title'),
    [
        ({'threads': 3}, '3 threads'),
        ({'processes': -1}, 'processes on all cores'),
        ({'threads': -3}, 'threads on all cores but 2'),
        ({'workers': 'auto'}, 'threads or processes, whichever are faster'),
    ],
)
def test_workers(options: Any, title: str) -> None:
    assert drawn([1] | parallel_map(abs, **options)) == [("the loop's thread", '[1]', (title, 'apply(abs)'), LOOP)]


def test_workers_of_an_executor_and_their_options() -> None:
    with ThreadPoolExecutor(1) as executor:
        flow = ([2] | parallel_map(pow, 2, executor=executor, on_error='skip', ordered=False)).draw()._flow
    box = found(flow, 'executor ThreadPoolExecutor')
    assert box.notes == ('ordered=False', "on_error='skip'")
    assert box.inside == (Node('apply(pow, 2)'),)
    box = found(([2] | parallel_map(int, threads=1, base=3)).draw()._flow, '1 thread')
    assert (box.notes, box.inside) == ((), (Node('apply(int, base=3)'),))


def test_sources_say_how_many_items_they_have() -> None:
    def notes(source: Any) -> Any:
        return source.draw()._flow[0].inside[0].notes

    assert notes(stream(range(1000))) == ('1,000 items',)
    assert notes(stream([1])) == ('1 item',)
    assert notes(sample(Dataset()) | parallel_map(abs, threads=1)) == ('10 items', 'gives their indices')
    assert notes(load_by_random_id(str, ids='abc')) == ('3 items',)
    assert notes(stream(iter('abc'))) == ()


def test_batches_that_are_looked_up_together_say_so() -> None:
    for source in np.zeros((4, 2)), Gathering():
        flow = (source | batch_by(2)).draw()._flow
        assert found(flow, LOOK_UP).notes == ('all of a batch at once',)
        assert found(flow, 'batch_by(2)').notes == ('of indices',)


def test_what_the_items_of_a_mix_need_in_the_workers() -> None:
    inner = mix(Dataset() | apply(abs), [1])
    flow = (mix(inner, sample([1, 2]) | apply(str)) | parallel_map(abs, threads=2)).draw()._flow
    assert found(flow, OF_STREAM).notes == (
        f'0: (0: {LOOK_UP} | apply(abs), 1: nothing)',
        '1: apply(str)',
    )


class Bad(Dataset):
    def __repr__(self) -> str:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError

    def __call__(self, item: Any) -> Any:
        return item


def test_data_that_cannot_be_printed_is_drawn() -> None:
    pipeline = [Bad()] | apply(Bad())
    assert drawn(pipeline) == [("the loop's thread", '<list>', 'apply(…)', LOOP)]
    assert repr(pipeline.draw()).startswith('<Picture of Stream;')


def test_an_iterator_that_had_its_run_is_drawn() -> None:
    numbers = stream(iter([1, 2]))
    assert next(iter(numbers)) == 1
    assert drawn(numbers) == [("the loop's thread", '<list_iterator>', LOOP)]


def test_drawing_takes_nothing_from_the_source() -> None:
    items = iter(range(4))
    pipeline = items | apply(abs) | shuffle(2, seed=0)
    pipeline.draw()
    assert sorted(pipeline) == [0, 1, 2, 3]


def test_a_running_infinite_is_drawn_and_not_disturbed() -> None:
    with Infinite(range(6), shuffle(3), batch_size=2, seed=0) as batch_iter:
        expected = [batch.tolist() for batch in batch_iter]
    with Infinite(range(6), shuffle(3), batch_size=2, seed=0) as batch_iter:
        got = []
        for batch in batch_iter:
            state = batch_iter.state_dict()
            assert ' taken, ' in str(batch_iter.draw())
            assert batch_iter.state_dict() == state
            got.append(batch.tolist())
    assert got == expected


def test_notebooks_show_pictures() -> None:
    for shown in pipe([1], abs), apply(abs), Infinite([1], abs):
        assert shown._repr_html_() == shown.draw()._repr_html_()
        assert '>apply(abs)</text>' in shown._repr_html_()


KEPT = [LOOK_UP, 'apply(abs)', "cache('memory')"]


@pytest.mark.parametrize(
    ('pipeline', 'expected'),
    [
        (lambda kept: kept, ['[1, 2]', 'apply(abs)', "cache('memory')", LOOP]),
        (lambda kept: kept | shuffle(), ['[1, 2]', 'shuffle()', *KEPT, LOOP]),
        (lambda kept: kept | shuffle() | str, ['[1, 2]', 'shuffle()', *KEPT, 'apply(str)', LOOP]),
        (lambda kept: kept | parallel_map(str, threads=2), ['[1, 2]', ('2 threads', *KEPT, 'apply(str)'), LOOP]),
        (
            lambda kept: kept | shuffle() | parallel_map(str, processes=2),
            ['[1, 2]', 'shuffle()', ('2 processes', *KEPT, 'apply(str)'), LOOP],
        ),
        (
            lambda kept: kept | str | cache('memory', limit=9) | shuffle(),
            ['[1, 2]', 'shuffle()', *KEPT, 'apply(str)', "cache('memory', limit=9)", LOOP],
        ),
    ],
)
def test_what_is_kept_is_drawn_wherever_it_is_made(pipeline, expected):
    flow = drawn(pipeline([1, 2] | apply(abs) | cache('memory')))
    assert flow == [("the loop's thread", *expected)]


def test_the_ways_of_several_streams_have_what_is_kept():
    kept = [1, 2] | apply(abs) | cache('memory')
    flow = kept | concat(kept | str) | parallel_map(len, threads=1)
    assert found(flow.draw()._flow, OF_STREAM).notes == (
        "0: look the item up | apply(abs) | cache('memory')",
        "1: look the item up | apply(abs) | cache('memory') | apply(str)",
    )


def test_the_time_of_what_is_kept_is_that_of_its_steps():
    """Not only that of `shuffle()`, which orders indices alone."""
    with Infinite([1, 2] | apply(abs) | cache('memory'), shuffle(), prefetch=0) as run:
        list(run)
        flow = run.draw()._flow
    kept = found(flow, "cache('memory')")
    assert kept.figures.text.startswith('4 together: 2 out')
    assert found(flow, 'shuffle()').figures is None
