"""One run: who may ask it for items, and what is closed with it."""

import io
import threading

import pytest

import itpipe
from itpipe import (
    apply,
    batch_by,
    bucket_by,
    concat,
    cycle,
    flatten,
    mix,
    pack,
    parallel_map,
    sample,
    stage,
    stream,
    take,
    zip_with,
)


def test_a_run_that_is_a_source_is_closed_with_what_runs_over_it():
    inner = parallel_map(abs, threads=2)(range(100))  # its threads would be found by the check for leftovers
    outer = batch_by(3)(inner)
    assert next(outer) == [0, 1, 2]
    outer.close()
    assert list(inner) == []


def test_an_error_of_the_user_is_not_replaced_by_one_of_closing():
    def source():
        try:
            yield from range(3)
        finally:
            raise KeyError('from finally')

    def fail(x):
        raise ValueError('mine')

    def fails(made):
        with pytest.raises(ValueError, match='^mine') as caught:
            list(made)
        assert caught.value.args == ('mine',)
        return caught.value.__notes__

    notes = ['itpipe: raised in apply(fail), item 0', "itpipe: closing raised KeyError('from finally') as well"]
    assert fails(source() | apply(fail)) == notes
    assert fails(itpipe.Infinite(source(), fail)) == notes
    assert fails(itpipe.Infinite(source(), fail, prefetch=0)) == notes


def refuses_55(x):
    if x == 55:
        raise ValueError('55')
    return x


def has_55(batch):
    for x in batch:
        refuses_55(x)


@stage
def numbered_anew(items):
    yield from items


@stage
def refusing(items):
    yield from map(refuses_55, items)


@pytest.mark.parametrize(
    ('described', 'note'),
    [
        (lambda: sample(range(100), seed=0) | refuses_55, 'apply(refuses_55), item 248 (index 55)'),
        (
            lambda: sample(range(100), seed=0) | parallel_map(apply(refuses_55) | batch_by(4), threads=2),
            'apply(refuses_55), item 248 (index 55)',
        ),
        (
            lambda: mix(range(100), sample(range(100), seed=2), weights=[0, 1]) | refuses_55,
            'apply(refuses_55), item 37 (part 1) (index 55)',
        ),
        (
            lambda: sample(range(100), seed=0) | (lambda x: [x, x]) | flatten | refuses_55,
            'apply(refuses_55), item 248 (part 0) (index 55)',
        ),
        (
            lambda: sample(range(100), seed=0) | batch_by(3) | has_55,
            'apply(has_55), items 246 to 248 (indices 65, 75, 55)',
        ),
        (lambda: stream(range(100)) | refuses_55, 'apply(refuses_55), item 55'),
        (lambda: sample(range(100), seed=0) | numbered_anew() | refuses_55, 'apply(refuses_55), item 248'),
        (
            lambda: sample(range(100), seed=0) | refuses_55 | numbered_anew() | numbered_anew(),
            'apply(refuses_55), item 248 (index 55)',
        ),
        (lambda: sample(range(100), seed=0) | refusing() | numbered_anew(), 'refusing(), item 248 (index 55)'),
        (
            lambda: sample(range(100), seed=0) | refuses_55 | bucket_by(abs, window=9, size=3) | batch_by(2),
            'apply(refuses_55), item 248 (index 55)',
        ),
        (
            lambda: sample(range(100), seed=0) | (lambda x: [x]) | pack(1) | (lambda row: refuses_55(*row['tokens'])),
            'apply(<lambda>), item 248 (part 0) (index 55)',
        ),
        (
            lambda: mix(range(100), sample(range(100), seed=2) | refuses_55, weights=[0, 1]),
            'apply(refuses_55), item 37 (index 55)',
        ),
        (
            lambda: stream(range(100)) | zip_with(sample(range(100), seed=2) | refuses_55 | batch_by(1)),
            'apply(refuses_55), item 37 (index 55)',
        ),
        (
            lambda: sample(range(100), seed=0) | refuses_55 | concat(range(3)) | numbered_anew(),
            'apply(refuses_55), item 248 (index 55)',
        ),
        (
            lambda: sample(range(100), seed=0) | refuses_55 | numbered_anew() | cycle(2),
            'apply(refuses_55), item 248 (index 55)',
        ),
    ],
)
def test_an_error_names_the_index_in_the_data_where_that_is_another_number(described, note):
    for made in (described(), itpipe.Infinite(described(), batches_per_epoch=1000, restart=True, prefetch=0)):
        with pytest.raises(ValueError, match='55') as caught:
            list(made)
        assert caught.value.__notes__ == [f'itpipe: raised in {note}']


def test_the_index_is_that_of_the_pass_in_which_the_error_was():
    seen = []

    def drawn(x):
        seen.append(x)
        if len(seen) == 70:
            raise ValueError('the 70th')
        return x

    with itpipe.Infinite(range(40), itpipe.shuffle(), drawn, batch_size=8, seed=1) as batch_iter:
        assert len(list(batch_iter)) == 5
        with pytest.raises(ValueError, match='the 70th') as caught:
            list(batch_iter)
    assert sorted(seen[:40]) == [*range(40)]
    assert seen[69] != seen[29]
    assert caught.value.__notes__ == [f'itpipe: raised in apply(drawn), item 29 (index {seen[69]})']


def test_a_file_that_was_passed_in_stays_open():
    """What is not a generator and was not made for the run is its owner's."""
    file = io.StringIO('a\nb\nc\n')
    assert list(file | apply(str.strip) | take(1)) == ['a']
    assert not file.closed


def test_two_threads_in_one_run_are_told_so_and_the_first_goes_on():
    inside, told = threading.Event(), threading.Event()

    def wait(x):
        if x == 1:
            inside.set()
            assert told.wait(60)
        return x

    run, got = iter(stream(range(4)) | apply(wait)), []
    other = threading.Thread(target=lambda: got.extend(run))
    other.start()
    assert inside.wait(60)
    with pytest.raises(RuntimeError) as caught:
        next(run)
    told.set()
    other.join()
    assert got == [0, 1, 2, 3]
    assert str(caught.value) == (
        'two threads have asked one run for an item at the same time, or the run has asked itself;'
        ' give each thread a run of its own, by `iter(stream)`, or let them share an `Infinite`'
    )


def test_a_run_that_asks_itself_is_told_so():
    run = iter(stream(range(3)) | apply(lambda x: next(run)))
    with pytest.raises(RuntimeError, match='^two threads have asked one run'):
        next(run)


def test_a_generator_of_the_users_that_is_asked_twice_is_no_run():
    def asks_itself():
        yield next(itself)

    itself = asks_itself()
    with pytest.raises(ValueError, match='^generator already executing') as caught:
        list(stream(itself) | apply(abs))
    assert caught.value.__notes__


def test_errors_in_closing_do_not_keep_others_from_closing():
    log = []

    def source():
        try:
            yield from range(5)
        finally:
            log.append('source')

    @stage
    def sulky(items):
        try:
            yield from items
        finally:
            raise OSError('sulks')

    run = iter(source() | sulky())
    next(run)
    with pytest.raises(OSError, match='^sulks$'):
        run.close()
    assert log == ['source']
