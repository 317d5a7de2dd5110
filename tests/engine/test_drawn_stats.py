"""The figures in the picture of a run are those of its stats."""

from dataclasses import replace
from typing import Any

import pytest

from itpipe import (
    Infinite,
    apply,
    batch_by,
    concat,
    cycle,
    mix,
    parallel_map,
    prefetch,
    shard,
    shuffle,
    stream,
    take,
    zip_with,
)  # fmt: skip
from itpipe._engine.drawn_stats import figures_of
from itpipe._engine.figures import LoopFigures
from itpipe._engine.stats import Stats
from itpipe._views.layout import Text, laid_out
from itpipe._views.mermaid import mermaid
from itpipe._views.parts import Box, Figures, Inputs, Node

from .test_limits import EMPTY, pool, stats


class Dataset:
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> int:
        return index


def parts_of(flow: Any) -> Any:
    """All parts that are drawn, in the order in which items pass them; what is in a box, before the box."""
    for part in flow:
        if isinstance(part, Inputs):
            for inner in part.flows:
                yield from parts_of(inner)
            continue
        if isinstance(part, Box):
            yield from parts_of(part.inside)
        yield part


def shown(batch_iter: Infinite) -> list[str]:
    return [part.figures.text for part in parts_of(batch_iter.draw()._flow) if part.figures is not None]


def test_before_the_start_there_are_none() -> None:
    assert figures_of(Infinite([1]).stats()) == ([], None)
    assert shown(Infinite([1])) == []


def test_items_rates_and_shares() -> None:
    made = stats({'name': 'source', 'kind': 'source', 'seconds': 20.0}, pool('load', 150.0, 2), worked=25.0)
    stages, loop = figures_of(made)
    assert stages == [
        Figures('100 out, 1 a second, busy 20 %', 0.2),
        Figures('100 out, 1 a second, busy 75 %', 0.75, limits=True),
    ]
    assert loop == Figures('100 taken, 1 a second, waited 75 %')


def test_rates_are_those_after_the_first_item() -> None:
    late = stats({'name': 'source', 'kind': 'source', 'seconds': 60.0}, worked=30.0)
    stage = replace(EMPTY, name='source', label='source', kind='source', items_out=20, seconds=20.0)
    first = Stats(20.0, (stage,), LoopFigures(0, 20.0, 0.0, 20.0))
    stages, _ = figures_of(replace(late, first=first))
    assert stages == [Figures('100 out, 1 a second, busy 50 %', 0.5, limits=True)]


def test_buffers_loops_and_trouble() -> None:
    buffer = {'name': 'ready', 'kind': 'buffer', 'held': 3}
    failed = pool('load', 1.0, 1, errors=1, dropped=2, retries=3, restarts=4)
    stages, loop = figures_of(stats(failed, buffer, buffer | {'capacity': 4}, worked=99.0))
    assert stages[0].text == '100 out, 1 a second, busy 1 %, 1 error, 2 left out, 3 retries, 4 restarts'
    assert stages[1:] == [Figures('holds 3'), Figures('holds 3 of 4', 0.75)]
    assert loop == Figures('100 taken, 1 a second, waited 1 %', None, limits=True)


@pytest.mark.parametrize(
    'pipeline',
    [
        stream(range(40)) | apply(abs) | shuffle(4) | batch_by(4),
        Dataset() | apply(abs) | parallel_map(abs, threads=2) | apply(str) | apply(len),
        stream(Dataset(), seed=0) | shuffle() | batch_by(2) | parallel_map(len, threads=1) | prefetch(2) | apply(abs),
        mix(Dataset() | apply(abs), mix([1] * 20, range(20)) | shuffle(3), seed=0) | parallel_map(abs, threads=2),
        stream(mix('ab' * 10, 'cd', seed=1), seed=2) | apply(str.upper),
        range(20) | apply(abs) | zip_with(range(5) | cycle(4), Dataset() | prefetch(1)) | take(18),
        Dataset() | apply(abs) | concat([5, 6] | apply(abs)) | cycle(2) | shard(0, 2),
    ],
    ids=repr,
)
@pytest.mark.parametrize('ahead', [0, None])
def test_each_stage_that_is_counted_has_its_figures(pipeline: Any, ahead: int | None) -> None:
    """In the order of the stats, with the counts of the stats."""
    with Infinite(pipeline, prefetch=ahead) as batch_iter:
        list(batch_iter)
    made, figures = batch_iter.stats(), shown(batch_iter)  # nothing runs any more
    counts = [f'{stage.items_out} out' for stage in made.stages if stage.kind != 'buffer']
    assert len(counts) > 1
    drawn = [text.rpartition(' together: ')[2].partition(',')[0] for text in figures]
    assert sorted(text for text in drawn if text.endswith(' out')) == sorted(counts)
    assert drawn[-1] == f'{made.loop.items} taken'
    assert sum(text.startswith('holds') for text in drawn) == sum(stage.kind == 'buffer' for stage in made.stages)


def test_a_run_of_a_stream_is_drawn_with_its_figures() -> None:
    pipeline = range(8) | apply(abs) | batch_by(2)
    run = iter(pipeline)
    assert next(run) == [0, 1]
    title = run.draw()._title
    list(run)
    texts = [part.figures.text for part in parts_of(run.draw()._flow) if part.figures is not None]
    assert [text.partition(',')[0] for text in texts] == ['8 out', '8 out', '4 out', '4 taken']
    assert title == 'range(0, 8) | apply(abs) | batch_by(2)'
    assert ' out' not in str(pipeline.draw())


class Letters(Dataset):
    def __iter__(self) -> Any:
        return iter('ab')


def test_where_other_stages_run_than_is_drawn_there_are_only_figures_of_the_loop() -> None:
    """Nothing is read for a picture: so it is not known there that the index gives other items than iterating."""
    with Infinite(Letters() | shuffle(2) | batch_by(1), prefetch=0) as batch_iter:
        assert sorted(batch_iter) == [['a'], ['b']]
    assert [text.partition(',')[0] for text in shown(batch_iter)] == ['2 taken']


def test_the_bottleneck_is_marked() -> None:
    figures = Figures('3 out', 0.5, limits=True)
    assert str(figures) == 'bottleneck: 3 out'
    texts = [shape for shape in laid_out((Node('f', figures=figures),))[2] if isinstance(shape, Text)]
    assert [(text.text, text.look) for text in texts] == [('f', 'code'), ('bottleneck: 3 out', 'limits')]
    assert mermaid((Node('f', figures=figures),)).endswith('["f<br/>bottleneck: 3 out"]')


def test_the_part_of_whole_batches_that_is_done_before_has_none() -> None:
    """That indices are put in lists is not drawn: the workers show `batch_by`."""
    with Infinite(Dataset(), abs, batch_size=4, threads=1, batches_per_epoch=3) as batch_iter:
        list(batch_iter)
    source, batches, ready, loop = (text.partition(',')[0] for text in shown(batch_iter))
    made = batch_iter.stats()
    assert (source, loop) == (f'{made.stages[0].items_out} out', '3 taken')
    assert (batches, ready.partition(' of ')[0]) == (f'{made.stages[2].items_out} out', 'holds 0')


def test_item_wise_stages_that_run_together_have_their_figures_together() -> None:
    with Infinite(range(8), apply(abs), apply(str), apply(len)) as batch_iter:
        list(batch_iter)
    count = batch_iter.stats().stages[0].items_out
    assert [text.partition(',')[0] for text in shown(batch_iter)[:2]] == [f'{count} out', f'3 together: {count} out']
