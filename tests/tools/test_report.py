"""What the epochs of a recorded run held."""

import re
import warnings

import pytest

from itpipe import (
    Infinite,
    apply,
    batch_by,
    bucket_by,
    cycle,
    exclude,
    flatten,
    interleave,
    mix,
    pack,
    parallel_map,
    reuse,
    sample,
    shuffle,
    stage,
    stream,
    take,
    zip_with,
)
from itpipe.tools.pipelines import opened
from itpipe.tools.records import read
from itpipe.tools.report import leaving_out, report


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'run.log'


def run(batch_iter, epochs=2):
    with batch_iter, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for _ in range(epochs):
            for _ in batch_iter:
                pass


def lines(path, pipeline=None):
    """The lines of the report, without times and the head."""
    found = [re.sub(r', [^,]+, [^,]+ a batch, .*', '', line.strip()) for line in report(read(path), pipeline)]
    return [line for line in found if not re.match('run|Infinite|itpipe', line)]


def test_epochs_and_items(path):
    run(Infinite(range(10), shuffle(4), batch_size=4, seed=0, record=path))
    assert lines(path) == [
        'epoch 0: steps 0 to 2, pass 0, 3 batches', '10 items, each once',
        'epoch 1: steps 3 to 5, pass 1, 3 batches', '10 items, each once',
    ]  # fmt: skip


def test_an_epoch_of_two_passes(path):
    with Infinite(range(6), batch_size=2, batches_per_epoch=2, record=path) as batch_iter:
        run(batch_iter, 4)
    assert lines(path)[2:] == [
        'epoch 1: steps 2 to 2, pass 0, 1 batch', '2 items, each once',
        'epoch 2: steps 3 to 4, pass 1, 2 batches', '4 items, each once',
        'epoch 3: steps 5 to 5, pass 1, 1 batch', '2 items, each once',
    ]  # fmt: skip


def test_with_the_pipeline_items_are_told_apart_by_their_places_in_the_data(path):
    made = sample('abc', seed=1)
    batches = Infinite(made, batch_size=4, combiner=list, batches_per_epoch=2, record=path)
    run(batches, 1)
    assert lines(path)[1] == ('8 items, each once, as draws; to count the items of the data, give the pipeline as well')
    assert lines(path, opened(batches))[1] == '8 items, 3 different (once: 1, twice: 1, 5 times: 1)'


def test_items_that_are_used_again(path):
    batches = Infinite(list('abcde'), reuse(3, 2), batch_size=4, combiner=list, record=path)
    run(batches, 1)
    assert lines(path, opened(batches))[1] == '10 items, 5 different (twice: 5)'


def parts_of(data=('ab', 'cdef', 'ghi')):
    return stream(list(data)) | interleave(list, cycle=2)


@pytest.mark.parametrize(
    ('described', 'expected'),
    [
        (parts_of(), '9 items, each once'),
        (stream(['ab', 'cdef', 'ghi']) | flatten, '9 items, each once'),
        (stream(range(6)) | batch_by(2) | flatten, '6 items, each once'),
        (parts_of() | reuse(3, 2), '18 items, 9 different (twice: 9)'),
        (mix(parts_of(), parts_of(['jkl'])), '12 items, each once'),
        (parts_of() | zip_with(range(9)), '9 items, each once'),
        (parts_of() | cycle(2), '18 items, 9 different (twice: 9)'),
        (parts_of() | apply(lambda x: [1] * 2) | pack(4), '9 items, each once'),
    ],
)
def test_with_the_pipeline_parts_are_told_apart(path, described, expected):
    batches = Infinite(described, batch_size=3, combiner=list, seed=0, record=path)
    run(batches, 1)
    assert lines(path, opened(batches))[1] == expected


def test_rows_are_counted_as_rows(path):
    batches = Infinite(stream([[1] * 3] * 5), pack(4, cut='all'), batch_size=2, combiner=list, record=path)
    run(batches, 1)
    assert lines(path)[1] == '4 rows, each once'
    assert lines(path, opened(batches))[1] == '7 items, 5 different (once: 3, twice: 2)'


def test_many_counts_are_put_together(path):
    run(Infinite([n for n in range(1, 8) for _ in range(n)], record=path), 1)

    class Same(type(opened(stream('a')))):
        def indices(self, keys, pass_, entropy, parts):
            return [n for n in range(1, 8) for _ in range(n)]

    assert lines(path, Same(*opened(stream('a'))))[1] == (
        '28 items, 7 different (once: 1, twice: 1, 3 times: 1, 4 times: 1, more often: 3)'
    )


def test_dropped_items_are_named(path):
    def fragile(x):
        if x % 5 == 3:
            raise ValueError(x)
        return x

    made = stream(range(12)) | parallel_map(fragile, threads=1, on_error='skip')
    run(Infinite(made, batch_size=4, record=path, prefetch=0), 2)
    dropped = "2 items dropped by `parallel_map(fragile, threads=1, on_error='skip')`, ValueError: 3, 8"
    assert [line for line in lines(path) if 'dropped' in line] == [dropped] * 2


def test_items_that_were_too_many_to_be_named_are_counted(path, monkeypatch):
    def fragile(x):
        if x < 8:
            raise ValueError(x)
        return x

    monkeypatch.setattr('itpipe._engine.waiting.MAX_DROPPED', 3)
    made = stream(range(9)) | parallel_map(fragile, threads=1, on_error='skip')
    run(Infinite(made, batch_size=1, record=path, prefetch=0), 1)
    dropped = "3 items dropped by `parallel_map(fragile, threads=1, on_error='skip')`, ValueError: 5, 6, 7"
    assert [line for line in lines(path) if 'dropped' in line] == [
        dropped, '5 items more dropped, too many at once for the record'
    ]  # fmt: skip


def test_runs_and_where_they_went_on(path):
    def batches():
        return Infinite(range(9), batch_size=2, batches_per_epoch=2, record=path)

    with batches() as batch_iter:
        for _ in batch_iter:
            state = batch_iter.state_dict()
    with batches() as batch_iter:
        batch_iter.load_state_dict(state)
        run(batch_iter, 2)
    run(batches(), 1)
    found = list(report(read(path)))
    assert [re.sub(r'20.*', 'T', line) for line in found if re.match(r'run|  went', line)] == [
        'run 1: 4 batches, begun T',
        '  went on at step 2, T',
        'run 2: 2 batches, begun T',
    ]
    assert all(
        re.search(r'\d (µs|ms|s), [\d.e-]+ (µs|ms|s) a batch, the slowest', x) for x in found if 'epoch ' in x[:8]
    )


def test_what_a_stage_of_ones_own_makes_has_no_place_in_the_data(path):
    @stage
    def twice(items):
        for item in items:
            yield from (item, item)

    made = stream(range(3)) | twice()
    run(Infinite(made, batch_size=4, record=path), 1)
    with pytest.raises(RuntimeError, match='does not say of which items it makes what it gives'):
        list(report(read(path), opened(made | batch_by(4))))
    with pytest.raises(ValueError, match=r'the pipeline has nothing with the key \(0, 1, 2, 3\)'):
        list(report(read(path), opened(made)))
    assert lines(path)[1] == '6 items, each once'


def encoded(text):
    return list(text.encode())


def test_what_leaves_out_what_was_in_some_steps(path):
    def made(*stages):
        return Infinite(range(20), shuffle(6), *stages, batch_size=3, combiner=list, seed=0, record=path)

    with made() as batch_iter:
        batches = [[*batch_iter], [*batch_iter]]
    (training,) = read(path)
    first, second = leaving_out(training, 5, 9)
    assert (first[:8], first[-11:], second[-11:]) == ('exclude(', ', passes=0)', ', passes=1)')
    with made(eval(first, {'exclude': exclude}), eval(second, {'exclude': exclude})) as batch_iter:
        again = [[x for batch in batch_iter for x in batch] for _ in range(2)]
    assert again == [[x for batch in batches[0][:5] for x in batch], [x for batch in batches[1][2:] for x in batch]]


@pytest.mark.parametrize(
    ('described', 'expected'),
    [
        (stream(['abcd', 'ef', 'gh']) | flatten, 'exclude((0, 2), (0, 3), (1, 0), (1, 1), passes=0)'),
        (stream('abcdefgh') | zip_with(range(8) | shuffle(3)), 'exclude(range(2, 6), passes=0)'),
        (
            stream('abcdefgh') | cycle(),
            'exclude((2, 0), (3, 0), (4, 0), (5, 0), passes=0)',
        ),
        (stream(range(24)) | bucket_by(abs, edges=[30], size=3), 'exclude(range(6, 18), passes=0)'),
        (stream(['ab', 'cde', 'f'] * 4) | encoded | pack(3) | len, 'exclude(range(3, 9), passes=0)'),
        (stream(range(24)) | batch_by(2), 'exclude(range(4, 12), passes=0)'),
    ],
)
def test_what_leaves_out_nested_items(path, described, expected):
    batches = Infinite(described, batch_size=2, combiner=list, batches_per_epoch=4, seed=0, record=path)
    run(batches, 1)
    assert list(leaving_out(read(path)[0], 1, 3)) == [expected]


def test_what_leaves_out_items_by_their_places_in_the_data(path):
    """With the pipeline, where its data has an index: then they do not come again at later draws, either."""
    made = sample(range(9), seed=0)
    run(Infinite(made | (lambda x: [x, x]) | flatten, batch_size=3, batches_per_epoch=6, record=path), 1)
    (training,) = read(path)
    described = opened(made | (lambda x: [x, x]) | flatten | batch_by(3))
    found = {x for batch in list(made | (lambda x: [x, x]) | flatten | batch_by(3) | take(4))[2:] for x in batch}
    (line,) = leaving_out(training, 2, 4, described)
    assert (line, found) == ('exclude(indices=[range(2, 5)])', {2, 3, 4})
    assert list(leaving_out(training, 2, 4)) == ['exclude((3, 0), (3, 1), (4, 0), (4, 1), (5, 0), (5, 1), passes=0)']
    several = opened(made | (lambda x: [x, x]) | cycle(1) | flatten | batch_by(3))
    assert '), passes=0)' in ''.join(leaving_out(training, 2, 4, several))
