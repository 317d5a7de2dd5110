"""What limits a run, and what would help: by figures that are given, and by runs of which the times are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from itpipe import (
    apply,
    batch_by,
    bucket_by,
    filter_by,
    interleave,
    pack,
    parallel_map,
    reuse,
    shuffle,
    stream,
)  # fmt: skip
from itpipe._engine.figures import LoopFigures, StageFigures
from itpipe._engine.stats import Stats

EMPTY = StageFigures(
    name='', label='', kind='stage', thread=1, depth=0, behind=None, items_in=0, items_out=0, gone=0, seconds=0.0,
    upstream=0.0, downstream=0.0, waited=0.0, full=0.0, calls=0, worker_seconds=(), workers=0, unit='', held=0,
    capacity=None, held_bytes=0, errors=0, dropped=0, retries=0, restarts=0,
)  # fmt: skip


def stats(*stages: dict[str, Any], items: int = 100, worked: float = 0.0) -> Stats:
    """Stats of these stages, one behind the other."""
    made = []
    for n, stage in enumerate(stages):
        count = stage.get('items_out', items)
        rest = {'items_in': count, 'items_out': count, 'gone': count, 'behind': n + 1 if n + 1 < len(stages) else None}
        made.append(replace(EMPTY, **{'label': stage['name']} | rest | stage))
    return Stats(100.0, tuple(made), LoopFigures(items, 100.0 - worked, worked, 0.0))


def pool(name: str, seconds: float, workers: int, **more: Any) -> dict[str, Any]:
    each = (seconds / workers,) * workers
    return {'name': name, 'workers': workers, 'worker_seconds': each, 'calls': 100, 'unit': 'threads'} | more


def test_more_workers_until_the_next_one_limits():
    made = stats({'name': 'source', 'kind': 'source', 'seconds': 60.0}, pool('load', 300.0, 3))
    assert made.bottleneck == 'load'
    assert made.gain('load', 1) == pytest.approx(1 / 3)
    assert made.gain('load', 2) == pytest.approx(2 / 3)
    assert made.gain('load', 30) == pytest.approx(2 / 3)
    assert made.advice == '`load` limits: with 2 more threads about +67 %.'


def test_no_more_than_twice_the_workers_are_advised():
    assert stats(pool('load', 100.0, 1)).advice == '`load` limits: with 1 more thread about +100 %.'


def test_one_process_is_a_process():
    made = stats(pool('load', 100.0, 1, unit='processes'))
    assert made.advice == '`load` limits: with 1 more process about +100 %.'
    assert 'of 1 process ' in str(made)


def test_coroutines_that_block_their_event_loop():
    made = stats(pool('ask', 90.0, 50, unit='tasks', loop_busy=89.0), {'name': 'f', 'seconds': 20.0})
    assert made.bottleneck == 'ask'
    assert made.advice == (
        '`ask` limits: it keeps the event loop, in which all its tasks run, busy for 890 ms for each item.'
        ' A coroutine must not block: let it await, or use `threads`.'
    )
    assert stats(pool('ask', 90.0, 1, unit='tasks', loop_busy=9.0)).advice.startswith('`ask` limits: with 1 more task ')


def test_a_source_is_called_as_in_the_table():
    made = stats({'name': 'Dataset(30 rows: text)', 'label': 'source', 'kind': 'source', 'seconds': 80.0})
    assert made.bottleneck == 'source'
    assert made.advice == '`Dataset(30 rows: text)` limits: what is behind it could take items faster.'
    made = stats({'name': 'x' * 50, 'label': 'source', 'kind': 'source', 'seconds': 80.0})
    assert made.advice.startswith(f'`{"x" * 39}…` limits')


def test_two_that_are_as_slow():
    made = stats(pool('load', 200.0, 2), pool('augment', 198.0, 2))
    assert made.advice == '`load` limits, and `augment` nearly so: more threads alone do not help.'


def test_a_stage_in_the_thread_beside_the_loop():
    made = stats({'name': 'source', 'kind': 'source', 'seconds': 20.0}, {'name': 'f', 'seconds': 80.0}, worked=40.0)
    assert made.bottleneck == 'f'
    assert made.advice.endswith('with 2 workers, as by `parallel_map` or `Infinite(…, threads=2)`, about +150 %.')


def test_a_source_that_nothing_helps():
    made = stats({'name': 'disk', 'kind': 'source', 'seconds': 90.0}, {'name': 'f', 'seconds': 1.0})
    assert (made.bottleneck, made.advice) == ('disk', '`disk` limits: what is behind it could take items faster.')


def test_a_source_that_should_run_beside_the_rest():
    made = stats({'name': 'disk', 'kind': 'source', 'seconds': 50.0}, {'name': 'f', 'seconds': 40.0})
    assert made.advice == '`disk` limits, in one thread: with a `prefetch` behind it about +80 %.'


def test_a_loop_that_is_slower_than_its_data():
    made = stats({'name': 'source', 'kind': 'source', 'seconds': 20.0}, worked=90.0)
    assert (made.bottleneck, made.advice) == ('loop', 'The loop limits: data could come 4.5 times as fast.')
    made = stats({'name': 'source', 'kind': 'source', 'seconds': 0.1}, worked=90.0)
    assert made.advice == 'The loop limits: data could come more than 10 times as fast.'


def test_a_loop_that_does_all_by_itself():
    made = stats({'name': 'source', 'kind': 'source', 'thread': 0, 'seconds': 40.0}, worked=60.0)
    assert made.advice == (
        'The loop limits, and the stages run in its thread. `Infinite`, or `prefetch` as the last stage, would prepare'
        ' data meanwhile: about +67 %.'
    )


def test_only_what_the_loop_has_received_counts():
    """Twice as many items were loaded as have come out: of each, the time is what it is."""
    made = stats(
        pool('load', 400.0, 2, items_in=200, items_out=200, gone=200, calls=200),
        {'name': 'f', 'items_in': 200, 'held': 100, 'gone': 100},
    )
    (load,) = [each for each in made.limits.resources if each.label == 'load']
    assert load.seconds == pytest.approx(1)


def test_more_workers_than_cores_do_not_help():
    busy = pool('compute', 200.0, 2, cpu_seconds=200.0, cores=2, unit='processes')
    assert stats(busy).gain('compute', 2) == pytest.approx(0)
    assert 'more processes alone do not help' in stats(busy).advice or 'All cores are busy' in stats(busy).advice
    half = pool('compute', 200.0, 2, cpu_seconds=100.0, cores=2)
    assert stats(half).gain('compute', 2) == pytest.approx(1)
    assert stats(half).gain('compute', 6) == pytest.approx(1)
    crowded = pool('compute', 800.0, 8, cpu_seconds=800.0, cores=2)
    assert stats(crowded).bottleneck == 'cores'
    assert stats(crowded).advice == 'All cores are busy: more workers do not help, less work would.'


def test_items_that_make_batches():
    made = stats(
        pool('load', 300.0, 1, items_in=3200, items_out=3200, gone=3200, calls=3200),
        {'name': 'batch_by', 'items_in': 3200, 'items_out': 100, 'gone': 3200},
    )
    (load,) = [each for each in made.limits.resources if each.label == 'load']
    assert load.seconds == pytest.approx(3)


def test_a_stage_without_workers_has_no_gain():
    made = stats(pool('load', 300.0, 3), {'name': 'f', 'seconds': 1.0})
    with pytest.raises(ValueError, match="^Stats.gain: `stage` must be one that has workers \\('load'\\), got 'f'$"):
        made.gain('f', 1)


def test_it_is_too_early_after_a_few_items_or_a_short_time():
    """The advice says what there is, and what is needed."""
    early = 'It is too early to say what limits: there are {} behind the first one, and {} and 500 ms are needed.'
    made = stats(pool('load', 100.0, 1))
    assert replace(made, elapsed=0.49).advice == early.format('100 items in 490 ms', '10 items')
    assert not replace(made, elapsed=0.51).advice.startswith('It is too early')
    few = stats(pool('load', 100.0, 1), items=9)
    assert few.advice == early.format('9 items in 100 s', '10 items')
    assert (few.bottleneck, made.bottleneck) == ('', 'load')
    assert replace(few, unit='batch').advice == early.format('9 batches in 100 s', '10 batches')
    assert not stats(pool('load', 100.0, 1), items=10).advice.startswith('It is too early')


def test_auto_is_told_to_take_no_more_workers():
    tried = (('threads', 1), ('threads', 2), ('processes', 1))
    made = stats(pool('load', 200.0, 2, tried=tried))
    assert made.advice == ("`load` limits, with 2 threads; 'auto' has tried 1 thread, 2 threads, 1 process.")


def test_workers_that_hardly_work_should_be_fewer():
    """What limits is not their work, so more of them do not help."""
    advice = (
        '`load` limits, though 2 processes work for only 9 % of the time: to send items there takes longer.'
        ' Fewer workers, or none, may be faster; or more work in one call.'
    )
    made = stats(pool('load', 18.0, 2, unit='processes'))
    assert (made.advice, made.gain('load', 2)) == (advice, 0)
    made = stats(pool('load', 18.0, 2, unit='processes') | {'seconds': 80.0})
    assert made.advice == advice
    made = stats(pool('load', 18.0, 2, unit='processes'), worked=99.0)
    assert made.advice.startswith('The loop limits')


def test_nothing_is_said_of_a_run_that_has_given_nothing():
    made = stats(pool('load', 300.0, 3), items=0)
    assert (made.bottleneck, made.advice) == ('', '')


def test_no_workers_are_advised_for_what_runs_in_one_thread():
    """`parallel_map(pack(256))` is a TypeError, so that cannot be the way out."""
    made = stats({'name': 'pack(256)', 'label': 'pack', 'seconds': 90.0, 'single': 'pack'})
    assert made.advice == (
        '`pack` limits, in one thread, and workers cannot do its work. Fewer or smaller items help, or work of it that'
        ' is done in front of it, by workers.'
    )
    made = stats({'name': 'interleave', 'seconds': 90.0, 'single': 'interleave'})
    assert made.advice == (
        '`interleave` limits, in one thread: with `prefetch=` it reads in threads, with `processes=True` in processes.'
    )


STAGES: list[tuple[Any, str | None]] = [
    (pack(4), 'pack'), (bucket_by(len, window=8, size=4), 'bucket_by'), (shuffle(4, seed=0), 'shuffle'),
    (reuse(2, 2), 'reuse'), (batch_by(2), 'batch_by'), (interleave(list), 'interleave'), (filter_by(len), 'filter_by'),
    (apply(len), ''), (parallel_map(len, threads=1), None),
]  # fmt: skip


@pytest.mark.parametrize(('step', 'single'), STAGES, ids=str)
def test_what_runs_in_one_thread_by_nature_is_what_parallel_map_refuses(step: Any, single: str | None):
    run = iter(stream([np.arange(n % 3 + 1) for n in range(20)]) | step)
    for _ in run:
        pass
    stage = run.stats().stages[-1]
    assert (stage.kind, stage.single) == (('stage', single) if single is not None else ('workers', 'parallel_map'))
    if single and single != 'batch_by':  # which they do with what is in front of it
        with pytest.raises(TypeError):
            parallel_map(step, threads=2)


def test_what_is_scarcely_busy_does_not_limit_a_loop_that_waits():
    made = stats({'name': 'source', 'kind': 'source', 'seconds': 1.0}, {'name': 'f', 'seconds': 6.0})
    assert (made.bottleneck, made.advice) == (
        '',
        (
            'What limits was not seen: the loop waited 100 % of the time, and what was measured takes no more than 7 %'
            ' of it. Rare slow calls may not be among those that are timed.'
        ),
    )
    made = stats({'name': 'read', 'seconds': 6.0, 'waited': 90.0}, pool('load', 4.0, 2))
    assert made.advice.endswith(' The longest waits are at `read`.')
    assert made.gain('load', 2) == 0
    assert stats({'name': 'f', 'seconds': 6.0}, worked=90.0).bottleneck == 'loop'


def test_restarts_are_said_first():
    advice = (
        '`load` had 2 restarts: processes that end are replaced, as after a crash, a `timeout` or'
        ' `max_tasks_per_worker`, and the rest waits meanwhile. Look at these first.'
    )
    assert stats(pool('load', 18.0, 2, unit='processes', restarts=2)).advice == advice
    made = stats(pool('load', 100.0, 1, unit='processes', restarts=2))
    assert made.advice == f'{advice} `load` limits: with 1 more process about +100 %.'
