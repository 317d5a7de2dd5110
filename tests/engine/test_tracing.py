"""`trace` writes what happened, for Perfetto, and changes nothing."""

import errno
import json
import os
import pickle
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from taken import Taken
from traced import check_trace

from itpipe import (
    Infinite,
    apply,
    batch_by,
    cycle,
    flatten,
    mix,
    parallel_map,
    prefetch,
    sample,
    shuffle,
    stream,
    zip_with,
)
from itpipe._core.keys import Batch, Zipped, describe
from itpipe._engine import meters
from itpipe._engine.ledgers import Ledger
from itpipe._engine.meters import Meter, Probe
from itpipe._engine.tracing import MOST_PARTS, Trace


def digested(number: int) -> int:
    for _ in range(3000):
        number = (number * 31 + 7) % 1_000_003
    return number


def read(path: Path) -> list[dict[str, Any]]:
    trace = json.loads(path.read_text(encoding='utf-8'))
    check_trace(trace)
    events: list[dict[str, Any]] = trace['traceEvents']
    return events


def tracks(events: list[dict[str, Any]]) -> dict[int, str]:
    return {event['tid']: event['args']['name'] for event in events if event['name'] == 'thread_name'}


@pytest.mark.long
@pytest.mark.parametrize('workers', [{'threads': 2}, {'processes': 2}, {'threads': 2, 'ordered': False}])
def test_each_thread_and_process_has_a_track_and_each_item_its_way(tmp_path, workers):
    described = sample(range(100), seed=0) | parallel_map(digested, **workers) | prefetch(4)
    expected = []
    with Infinite(described, batch_size=4, batches_per_epoch=6) as batch_iter:
        expected = [batch.tolist() for batch in batch_iter]
    with Infinite(described, batch_size=4, batches_per_epoch=6) as batch_iter, batch_iter.trace(tmp_path / 'run.json'):
        found = [batch.tolist() for batch in batch_iter]
    assert found == expected or 'ordered' in workers
    events = read(tmp_path / 'run.json')
    names = tracks(events)
    assert {'itpipe-Infinite', 'itpipe-prefetch', 'MainThread'} <= {*names.values()}
    assert any(name.startswith('process ' if 'processes' in workers else 'itpipe-') for name in names.values())
    slices = Counter(event['cat'] for event in events if event['ph'] == 'X')
    assert slices['ask'] == 6
    assert slices['call'] > 0
    asked = [event['args']['item'] for event in events if event['ph'] == 'X' and event['cat'] == 'ask']
    assert 'ordered' in workers or asked == [f'items {n} to {n + 3}' for n in range(0, 24, 4)]
    counters = {event['name'] for event in events if event['ph'] == 'C'}
    assert {'held: ready', 'held: prefetch(4)'} <= counters
    ends = Counter(names[event['tid']] for event in events if event['ph'] == 'f')
    assert ends['MainThread'] > 0  # an item's way ends where the loop gets its batch


def test_a_run_of_a_stream_and_streams_of_streams(tmp_path):
    run = iter(mix(range(9) | apply(abs), range(5), seed=0) | shuffle(3, seed=0) | batch_by(2))
    with run.trace(tmp_path / 'run.json'):
        assert len(list(run)) == 7
    names = {event['name'] for event in read(tmp_path / 'run.json') if event['ph'] == 'X'}
    assert {'apply(abs)', 'shuffle(3, seed=0)', 'batch_by(2)', 'range(0, 5)', 'the loop'} <= names


def joined(events: list[dict[str, Any]]) -> Counter[str]:
    """The ways that arrows go, from slice to slice, and how many go each of them."""
    spans = [event for event in events if event['ph'] == 'X']
    ways = defaultdict(list)
    for arrow in sorted((event for event in events if event['ph'] in 'stf'), key=lambda event: event['ts']):
        around = [
            span for span in spans
            if span['tid'] == arrow['tid'] and span['ts'] <= arrow['ts'] < span['ts'] + span['dur']
        ]  # fmt: skip
        innermost = min(around, key=lambda span: span['dur'])
        ways[arrow['id']].append(innermost['args'].get('name', innermost['name']))
    return Counter(' > '.join(way) for way in ways.values())


def near(x):
    return x


def far(x):
    return x


def end(x):
    return x


@pytest.mark.parametrize(
    ('described', 'ways'),
    [
        (
            stream(range(12)) | near | batch_by(2) | far | batch_by(3),
            {'range(0, 12) > apply(near) > batch_by(2) > apply(far) > batch_by(3)': 12},
        ),
        (
            mix(range(6) | apply(near), range(7) | apply(far), seed=0) | end,
            {
                'range(0, 6) > apply(near) >'
                ' mix(range(0, 6) | apply(near), range(0, 7) | apply(far), seed=0) > apply(end)': 6,
                'range(0, 7) > apply(far) >'
                ' mix(range(0, 6) | apply(near), range(0, 7) | apply(far), seed=0) > apply(end)': 7,
            },
        ),
        (
            stream(range(6)) | zip_with(range(6) | apply(far)) | end,
            {
                'range(0, 6) > range(0, 6) | zip_with(range(0, 6) | apply(far)) > apply(end)': 6,
                'range(0, 6) > apply(far) > range(0, 6) | zip_with(range(0, 6) | apply(far)) > apply(end)': 6,
            },
        ),
        (
            stream(range(3)) | near | cycle(2) | far,
            {'range(0, 3) > apply(near) > range(0, 3) | apply(near) | cycle(2) > apply(far)': 6},
        ),
        (
            mix(range(4) | apply(near) | cycle(2), range(5), seed=0) | end,
            {
                'range(0, 4) > apply(near) > range(0, 4) | apply(near) | cycle(2) >'
                ' mix(range(0, 4) | apply(near) | cycle(2), range(0, 5), seed=0) > apply(end)': 8,
                'range(0, 5) > mix(range(0, 4) | apply(near) | cycle(2), range(0, 5), seed=0) > apply(end)': 5,
            },
        ),
        (
            stream([[1, 2], [3]]) | near | flatten | far,
            {'[[1, 2], [3]] > apply(near) > flatten()': 2, 'flatten() > apply(far)': 3},
        ),
    ],
)
def test_arrows_go_from_where_an_item_was_to_where_it_went(described, ways, tmp_path, monkeypatch):
    monkeypatch.setattr(meters, 'SHARE', 1e9)  # each item is timed
    run = iter(described)
    with run.trace(tmp_path / 'run.json'):
        list(run)
    assert joined(read(tmp_path / 'run.json')) == ways


def test_it_begins_and_ends_with_its_block(tmp_path):
    with Infinite(range(8), digested, batch_size=1, prefetch=0) as batch_iter:
        batches = batch_iter()
        next(batches)
        with batch_iter.trace(tmp_path / 'run.json'):
            for _ in range(3):
                next(batches)
        next(batches)
        assert batch_iter._epochs.run.ledger.probe.trace is None
    events = read(tmp_path / 'run.json')
    assert [event['args']['item'] for event in events if event.get('cat') == 'ask'] == ['item 1', 'item 2', 'item 3']


def test_it_is_written_after_an_error_too(tmp_path):
    run = iter([2, 1, 0] | apply(lambda x: 1 / x))
    with pytest.raises(ZeroDivisionError), run.trace(tmp_path / 'run.json'):
        list(run)
    assert any(event['ph'] == 'X' for event in read(tmp_path / 'run.json'))


def test_it_has_the_last_spans_only(tmp_path):
    run = iter(range(500) | apply(digested))
    with run.trace(tmp_path / 'run.json', limit=10):
        list(run)
    events = read(tmp_path / 'run.json')
    slices = [event for event in events if event['ph'] == 'X']
    assert 5 <= len(slices) <= 10  # what a stage does around its function is a span of its own, but shown with that
    assert slices[-1]['ts'] > 0


def test_what_is_wrong_shows_before_the_run(tmp_path):
    run = iter(stream([1]))
    with pytest.raises(ValueError, match='^Run.trace: `limit` must be at least 1, got 0$'):
        run.trace(tmp_path / 'run.json', limit=0)
    with pytest.raises(FileNotFoundError), run.trace(tmp_path / 'no' / 'run.json'):
        pass
    for path, name in ((7, 'int'), (True, 'bool'), (None, 'NoneType')):
        with pytest.raises(TypeError, match=f'^Run.trace: `path` must be the path of a file, got {name}$'):
            run.trace(path)
    traced = run.trace(tmp_path / 'run.json')
    with traced, pytest.raises(RuntimeError, match='in use already'), traced:
        pass


@pytest.mark.parametrize('made', [lambda: iter(stream([1])), lambda: Infinite([1])], ids=['run', 'infinite'])
def test_a_second_trace_at_the_same_time_is_refused(made, tmp_path):
    traced = made()
    with traced.trace(tmp_path / 'outer.json'):
        refused = pytest.raises(RuntimeError, match=r'\.trace: another trace is being written; let that end first$')
        with refused, traced.trace(tmp_path / 'inner.json'):
            pass
        assert not (tmp_path / 'inner.json').exists()
        for _ in zip(range(1), traced, strict=False):
            pass
    assert any(event['ph'] == 'X' for event in read(tmp_path / 'outer.json'))
    with traced.trace(tmp_path / 'inner.json'):
        pass
    traced.close()


class Unwritable:
    """A file on a full disk."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, text):
        pass


def test_an_error_in_the_block_is_raised_although_the_trace_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr('itpipe._engine.tracing.open', lambda *_, **options: Unwritable(), raising=False)
    run = iter([1, 0] | apply(lambda x: 1 / x))
    with pytest.raises(KeyError) as caught, run.trace(tmp_path / 'run.json'):
        raise KeyError('mine')
    assert caught.value.__notes__ == [
        f'itpipe: Run.trace: the trace could not be written: [Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}'
    ]
    with pytest.raises(OSError, match='No space left'), run.trace(tmp_path / 'run.json'):
        next(run)
    run.close()


@pytest.mark.parametrize(
    'key', [Batch(range(1000)), Batch(range(0, 2000, 2)), Batch(range(3)), (4, 1), Zipped.of([1, 2])]
)
def test_of_a_large_batch_only_what_is_shown_is_kept(key):
    trace = Trace(10)
    trace.add('work', Meter(), trace.begun, trace.begun + 1, key)
    (span,) = trace.spans()
    assert span.item == describe(key)
    parts = ((1, 0), (2, 1)) if isinstance(key, Zipped) else key[:MOST_PARTS] if isinstance(key, Batch) else (key,)
    assert span.parts == tuple(map(str, parts))


def test_a_trace_does_not_hold_the_keys_of_large_batches():
    trace, key = Trace(10), Batch(range(1000))
    references = sys.getrefcount(key)
    trace.add('work', Meter(), trace.begun, trace.begun + 1, key)
    assert sys.getrefcount(key) == references


def test_an_infinite_can_be_pickled_while_it_would_be_traced(tmp_path):
    batch_iter = Infinite([1, 2], batch_size=2)
    with batch_iter.trace(tmp_path / 'run.json'), pickle.loads(pickle.dumps(batch_iter)) as copy:
        assert next(copy()).tolist() == [1, 2]


# ---------------------------------------------------------------------------------------------------------------------
# It ends in one thread while others work


@pytest.mark.parametrize(('place', 'ahead'), [(Meter, 0), (Meter, 2), (Probe, 0), (Probe, 2), (Ledger, 0), (Ledger, 2)])
def test_it_may_end_between_any_two_steps_of_a_run(place, ahead, monkeypatch):
    trace = Trace(1000)
    monkeypatch.setattr(place, 'trace', Taken(trace), raising=False)
    with Infinite(range(40), digested, batch_size=4, prefetch=ahead) as batch_iter:
        assert [item for batch in batch_iter for item in batch.tolist()] == [*map(digested, range(40))]
    assert place is Meter or trace.spans()


def test_it_may_end_while_something_waits_or_a_worker_answers(monkeypatch):
    trace, meter = Trace(10), Meter()
    calls = (lambda: meter.wait(list), lambda: meter.wait_full(list), lambda: meter.worked(1, 0.5))
    for call in calls:
        monkeypatch.setattr(Meter, 'trace', Taken(trace), raising=False)
        call()
    assert [span.kind for span in trace.spans()] == ['wait', 'full', 'call']
    assert len(trace.counts()) == 1
