"""What is refused where items may be left out, with the reason, when the stream is made."""

from typing import Any

import pytest
from broken import Data, Together, more
from running import raises

from itpipe import (
    Infinite,
    apply,
    batch_by,
    concat,
    cycle,
    exclude,
    filter_by,
    flatten,
    mix,
    parallel_map,
    prefetch,
    sample,
    shard,
    shuffle,
    skip,
    stream,
    take,
    zip_with,
)

NO_INDEX = (
    'stream: `on_error` needs data with a length and access by index, as what is iterated has ended when it has'
    ' raised, got {}; read the items in a stage, as in `paths | parallel_map(read, threads=8, on_error=…)`, or give'
    ' `flatten` or `interleave` the `on_error`'
)
skipping = stream(Data(), on_error='skip')


class WithStates(Data):
    def __iter__(self) -> Any:
        return iter(())

    def state_dict(self) -> Any:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


class ByBoth(Data):
    def __iter__(self) -> Any:
        return iter(range(12))


def test_what_has_no_index():
    with raises(TypeError, NO_INDEX.format('generator')):
        stream((x for x in 'abc'), on_error='skip')
    with raises(TypeError, NO_INDEX.format('set')):
        stream({1, 2}, on_error='skip')
    with raises(TypeError, NO_INDEX.format('WithStates, data that reads itself, by its `state_dict`')):
        stream(WithStates(), on_error='skip')
    with raises(TypeError, NO_INDEX.format('ByBoth, data that is read again, by `reread=True`')):
        stream(ByBoth(), reread=True, on_error='skip')


def test_a_stream():
    with raises(
        TypeError, 'stream: `on_error` is for what a stream begins with, got a Stream: give it to `stream` there'
    ):
        stream(stream('abc'), on_error='skip')


@pytest.mark.parametrize('make', [stream, sample], ids=['stream', 'sample'])
def test_wrong_arguments(make):
    name = make.__name__
    with raises(ValueError, f"{name}: `on_error` must be 'raise', 'skip' or a function, got 'drop'"):
        make('abc', on_error='drop')
    with raises(TypeError, f"{name}: `on_error` must be 'raise', 'skip' or a function, got NoneType"):
        make('abc', on_error=None)
    with raises(TypeError, f"{name}: `max_errors` goes with another `on_error` than 'raise'"):
        make('abc', max_errors=3)
    with raises(ValueError, f'{name}: `max_errors` must be a count or a share below 1, got 1.5'):
        make('abc', on_error='skip', max_errors=1.5)


def whole_batches(source: str) -> str:
    return (
        'parallel_map: with a `batch_by` in `f`, its workers would look up the items of whole batches, but'
        f' `{source}` may leave some of them out; so put a `parallel_map` of single items in front of the batches, or'
        " give this one `lookups='main'`"
    )


@pytest.mark.parametrize('data', [Data(), Together()], ids=['Data', 'Together'])
def test_whole_batches_in_workers(data):
    source, whole = stream(data, on_error='skip'), apply(more) | batch_by(2)
    text = whole_batches(repr(source))
    for before in (source, source | shuffle(3), source | take(9) | more, mix(source, range(9))):
        with raises(TypeError, text.replace(repr(source), repr(before.source))):
            before | parallel_map(whole, threads=2)
    with raises(TypeError, text):
        Infinite(source, more, batch_size=2, processes=2)
    assert len(list(source | parallel_map(whole, threads=2, lookups='main'))) == 5
    assert len(list(source | parallel_map(more, threads=2) | parallel_map(whole, threads=2))) == 5
    assert len(list(source | filter_by(lambda x: True) | parallel_map(whole, threads=2))) == 5
    with Infinite(source, parallel_map(more, threads=1), batch_size=2, threads=2, combiner=len) as batches:
        assert list(batches) == [2, 2, 2, 2, 1]


def counts(name: str, looked_up: str, counting: str) -> str:
    return (
        f'{name}: it counts items of `{skipping!r}` that may be left out, and must not stand behind `{looked_up}`,'
        f' which has left them out; put the latter behind `{counting}`'
    )


@pytest.mark.parametrize(
    'looked_up', [parallel_map(more, threads=2), parallel_map(more, threads=2, ordered=False), prefetch(2)], ids=repr
)
def test_what_counts_items_behind_workers(looked_up):
    """With `apply` in the place of the workers, it would count those that are left out, too."""
    for made in (take(3), skip(3), shuffle(3)):
        with raises(TypeError, counts(repr(made).split('(')[0], repr(looked_up), repr(made))):
            skipping | looked_up | made
        with raises(TypeError, counts(repr(made).split('(')[0], repr(looked_up), repr(made))):
            skipping | take(9) | looked_up | more | made
    for name, made in (('zip_with', zip_with('ab')), ('concat', concat('ab')), ('cycle', cycle(2))):
        with raises(TypeError, counts(name, repr(looked_up), name)):
            skipping | looked_up | made
    with raises(TypeError, counts('mix', repr(looked_up), 'mix')):
        mix('ab', skipping | looked_up)


def test_what_is_not_refused():
    """What does not count, and what stands behind a stage that needs the items anyway."""
    workers = parallel_map(more, threads=2)
    assert len(list(skipping | workers | exclude(0))) == 8
    assert len(list(skipping | workers | shard(0, 2))) == 5
    assert len(list(skipping | workers | filter_by(bool) | take(3))) == 3
    assert len(list(skipping | parallel_map(more, threads=2, on_error='skip') | take(3))) == 3
    assert len(list(skipping | batch_by(2) | workers | take(3))) == 3
    assert len(list(stream(Data()) | take(2) | workers | take(1))) == 1


def test_how_many_there_are():
    reason = f'`{skipping!r}` does not say how many items it leaves out'
    for made in (skipping, skipping | shuffle(3), skipping | shuffle(), skipping | concat('ab')):
        with raises(TypeError, f'Stream: there is no len(), as {reason}'):
            len(made)
    with raises(ValueError, f'Stream.at: `{skipping!r}` may leave items out, and does not say which come out where'):
        skipping.at(3)


NO_PLACES = (
    'exclude: `indices` are places in data with a length and access by index, which `{}` has not; give the numbers of'
    ' its items: `exclude(3, 5)`'
)
SEVERAL = (
    'exclude: `indices` are places in the data of one stream, but `{}` is made of several; put it into these, behind'
    ' the data'
)
BEHIND = (
    'exclude: with `indices`, it must stand in front of `{}`, where items are not looked up yet; best directly behind'
    ' the data'
)


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda some: {1: 2} | some, NO_PLACES.format({1: 2})),
        (lambda some: stream(range(9), reread=True) | some, None),
        (lambda some: mix('abc', 'de') | some, SEVERAL.format("mix('abc', 'de')")),
        (lambda some: stream(mix('abc', 'de'), seed=1) | some, SEVERAL.format("stream(mix('abc', 'de'), seed=1)")),
        (lambda some: 'abc' | cycle() | some, SEVERAL.format("'abc' | cycle()")),
        (lambda some: stream('abc') | zip_with('abc') | some, SEVERAL.format("'abc' | zip_with('abc')")),
        (lambda some: 'abc' | batch_by(2) | some, BEHIND.format('batch_by(2)')),
        (lambda some: ['abc'] | flatten | some, BEHIND.format('flatten()')),
        (
            lambda some: Data() | parallel_map(abs, threads=1, ordered=False) | some,
            BEHIND.format('parallel_map(abs, threads=1, ordered=False)'),
        ),
        (lambda some: Data() | batch_by(2) | some, BEHIND.format('batch_by(2)')),
        (lambda some: Data() | filter_by(abs) | take(3) | some, BEHIND.format('filter_by(abs)')),
    ],
)
def test_where_items_have_no_places_in_the_data_any_more(make: Any, text: str | None) -> None:
    """By numbers, they can be left out there."""
    with pytest.raises(TypeError) as caught:
        make(exclude(indices=[1]))
    assert text is None or str(caught.value) == text
    make(exclude(1))


class Otherwise(Data):
    """Iterating gives other things than the index."""

    def __iter__(self) -> Any:
        return iter('abcdef')


def test_an_index_that_does_not_agree_with_iterating_is_seen_when_a_run_begins() -> None:
    with pytest.raises(TypeError, match='exclude: `indices` are places in data with a length and access by index'):
        list(stream(Otherwise()) | exclude(indices=[1]))
