"""Several shards, read by turns."""

import json
import pickle
import threading
from collections import Counter
from itertools import count, islice
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from reference import Indexed
from running import LIMIT, raises
from strategies import examples

from itpipe import Infinite, apply, batch_by, check, interleave, merge_states, shuffle, stream, take, with_rng

AHEAD = [None, 1, 3]
in_either_way = pytest.mark.parametrize('ahead', [None, 2], ids=['here', 'in threads'])
WAYS: dict[str, dict[str, Any]] = {
    'here': {},
    'in threads': {'prefetch': 2},
    'in processes': {'processes': True},
    'in processes, ahead': {'prefetch': 2, 'processes': True},
}
in_all_ways = pytest.mark.parametrize('way', WAYS.values(), ids=WAYS)


def by_turns(shards, cycle, block):
    """What should come out, as pairs of the number of the shard and the number of the item in it."""
    waiting = [(n, iter(range(size))) for n, size in enumerate(shards)]
    places, waiting = waiting[:cycle], waiting[cycle:]
    result = []
    at = 0
    while places:
        left = block
        while left:
            shard, numbers = places[at]
            number = next(numbers, None)
            if number is not None:
                result.append((shard, number))
                left -= 1
            elif waiting:
                places[at], left = waiting.pop(0), block
            else:
                del places[at]
                at, left = at - 1, 0
        at = (at + 1) % max(1, len(places))
    return result


def read(shard):
    """A list, a dataset or a generator of the places in it."""
    number, size = shard
    items = [(number, n) for n in range(size)]
    return [list, Indexed, iter][number % 3](items)


def saved(run):
    return json.loads(json.dumps(run.state_dict()))


sizes = st.lists(st.integers(0, 6), max_size=9)


@given(sizes, st.integers(1, 5), st.integers(1, 4), st.sampled_from(AHEAD))
@examples(400)
def test_takes_items_by_turns(shards, cycle, block, ahead):
    made = list(enumerate(shards)) | interleave(read, cycle, block, prefetch=ahead)
    run = iter(made)
    assert list(run) == by_turns(shards, cycle, block)
    run = iter(made)
    assert [run.item_keys[0] for _ in run] == by_turns(shards, cycle, block)


@given(sizes, st.integers(1, 4), st.integers(1, 4), st.sampled_from([None, 1, 3, '1kB']), st.data())
@examples(12)
def test_processes_give_the_same_items_from_everywhere(shards, cycle, block, ahead, data):
    expected = by_turns(shards, cycle, block)
    state = saved(iter(list(enumerate(shards)) | interleave(read, cycle, block)))
    got, most = [], len(expected)
    for stop in [*data.draw(st.lists(st.integers(0, most), max_size=1)), None]:
        run = (list(enumerate(shards)) | interleave(read, cycle, block, prefetch=ahead, processes=True)).resume(state)
        for item in islice(run, stop):
            assert run.item_keys == [item]
            got.append(item)
        state = saved(run)
        run.close()
    assert got == expected


@given(sizes, st.integers(1, 5), st.integers(1, 4), st.data())
@examples(300)
def test_goes_on_from_everywhere(shards, cycle, block, data):
    expected = by_turns(shards, cycle, block)
    got, state = [], saved(iter(list(enumerate(shards)) | interleave(read, cycle, block)))
    for stop in [*data.draw(st.lists(st.integers(0, 8), max_size=4)), None]:
        made = list(enumerate(shards)) | interleave(read, cycle, block, prefetch=data.draw(st.sampled_from(AHEAD)))
        run = made.resume(state)
        got += islice(run, stop)
        state = saved(run)
        run.close()
    assert got == expected
    assert list(made.resume(state)) == []


class Watched:
    """A dataset that knows what it was asked for."""

    def __init__(self, number):
        self.number, self.asked = number, []

    def __len__(self):
        return 5

    def __getitem__(self, index):
        self.asked.append(index)
        return self.number, index


@in_either_way
def test_what_has_an_index_is_not_read_again(ahead):
    shards = list(map(Watched, range(4)))
    made = shards | interleave(lambda shard: shard, cycle=2, prefetch=ahead)
    run = iter(made)
    got = list(islice(run, 13))
    state = saved(run)
    run.close()
    for shard in shards:
        shard.asked.clear()
    assert got + list(made.resume(state)) == by_turns([5] * 4, 2, 1)
    assert [shard.asked for shard in shards] == [[], [], [2, 3, 4], [1, 2, 3, 4]]


@in_either_way
def test_generators_are_read_on_in_the_open_shards_only(ahead):
    asked = []

    def read(number):
        for n in range(5):
            asked.append((number, n))
            yield number, n

    made = range(4) | interleave(read, cycle=2, prefetch=ahead)
    run = iter(made)
    got = list(islice(run, 13))
    state = saved(run)
    run.close()
    asked.clear()
    assert got + list(made.resume(state)) == by_turns([5] * 4, 2, 1)
    assert sorted(asked) == [(number, n) for number in (2, 3) for n in range(5)]


def test_items_that_a_later_stage_holds_are_looked_up_again_and_no_others():
    shards = list(map(Watched, range(4)))
    made = stream(shards, seed=0) | interleave(lambda shard: shard, cycle=2) | shuffle(3)
    run = iter(made)
    got = list(islice(run, 7))
    held = set(by_turns([5] * 4, 2, 1)[:10]) - set(got)
    state = saved(run)
    for shard in shards:
        shard.asked.clear()
    resumed = made.resume(state)
    got.append(next(resumed))
    assert {(shard.number, n) for shard in shards for n in shard.asked} == held | {by_turns([5] * 4, 2, 1)[10]}
    assert sorted([*got, *resumed]) == sorted(by_turns([5] * 4, 2, 1))


def test_generators_are_read_again_for_what_a_later_stage_holds():
    made = stream(range(2, 8), seed=0) | interleave(lambda n: iter(range(n)), block=2) | shuffle(9)
    run = iter(made)
    got = list(islice(run, 8))
    assert got + list(made.resume(saved(run))) == list(made)
    assert made.item((2, 3)) == 3


def test_a_shard_that_is_gone_has_ended():
    """Where a run goes on, and the shard is not there any more."""
    left = [3]

    def shards():
        yield from range(left[0])

    class Listing:
        __iter__ = staticmethod(shards)

    made = stream(Listing()) | interleave(lambda n: [n] * 3, cycle=3)
    run = iter(made)
    assert list(islice(run, 4)) == [0, 1, 2, 0]
    state = saved(run)
    left[0] = 2
    run = made.resume(state)
    assert list(run) == [1, 0, 1]
    assert list(made.resume(saved(run))) == []


@in_all_ways
def test_random_shards_are_the_same_wherever_a_run_goes_on(way):
    def drawn(n, rng):
        yield from rng.random(n).tolist()

    made = stream(range(9), seed=0) | interleave(with_rng(drawn), cycle=3, **way)
    whole = list(made)
    assert len(set(whole)) == 36
    run = iter(made)
    assert list(islice(run, 20)) + list(made.resume(saved(run))) == whole
    run.close()


def test_read_may_be_stages_and_return_streams():
    assert list([2, 3] | interleave(apply(range) | apply(list))) == [0, 0, 1, 1, 2]
    made = [2, 3] | interleave(lambda n: range(n) | apply(pow, 2) | take(2))
    run = iter(made)
    assert list(islice(run, 1)) + list(made.resume(saved(run))) == [0, 0, 1, 1]


# ---------------------------------------------------------------------------------------------------------------------
# Errors


def broken(number):
    yield number, 0
    if number == 1:
        raise OSError('disk')
    yield number, 1


@in_all_ways
def test_an_error_comes_when_it_is_the_turn_of_its_item(way):
    run = iter('abc' | apply('abc'.index) | interleave(broken, **way))
    assert list(islice(run, 4)) == [(0, 0), (1, 0), (2, 0), (0, 1)]
    name = repr(interleave(broken, **way))
    with raises(OSError, 'disk', f'itpipe: raised in {name}, shard 1, item 1 (part 1)'):
        next(run)


@in_all_ways
def test_an_error_in_opening_a_shard_names_it(way):
    def read(number):
        return [10 // number]

    run = iter([5, 2, 0] | interleave(read, cycle=1, **way))
    assert list(islice(run, 2)) == [2, 5]
    with pytest.raises(ZeroDivisionError) as caught:
        next(run)
    (note,) = caught.value.__notes__
    assert note.startswith('itpipe: raised in interleave(')
    assert note.endswith('), item 2')


class Cut:
    """A dataset of pairs of the number of the shard and that of the item, some of which are broken."""

    def __init__(self, number, size, *bad):
        self.number, self.size, self.bad = number, size, bad

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError(f'{index} of {self.number}')
        return self.number, index


def cut_off(number, end):
    for n in range(end):
        yield number, n
    raise OSError(f'{end} of {number}')


def read_or_not(number):
    if number == 4:
        raise OSError('0 of 4')
    return [Cut(0, 5), Cut(1, 4, 1, 3), cut_off(2, 3), cut_off(3, 0), None, Cut(5, 3, 0), iter([(6, 0)])][number]


SIZES, BAD = [5, 4, 4, 1, 1, 3, 1], {(1, 1), (1, 3), (2, 3), (3, 0), (4, 0), (5, 0)}


def put_in(error, shard, ordinal):
    assert shard == ordinal
    return 'instead', str(error)


@in_all_ways
@pytest.mark.parametrize(('cycle', 'block'), [(1, 1), (3, 2)])
def test_what_is_broken_is_left_out_in_its_turn(way, cycle, block):
    """The others come in the order in which they come if nothing is broken."""
    order = by_turns(SIZES, cycle, block)
    run = iter(range(7) | interleave(read_or_not, cycle, block, on_error='skip', **way))
    assert [(run.item_keys[0], item) for item in run] == [(item, item) for item in order if item not in BAD]
    assert [str(each.error) for each in run.dropped] == [f'{n} of {shard}' for shard, n in order if (shard, n) in BAD]
    assert [each.ordinal for each in run.dropped] == [shard for shard, n in order if (shard, n) in BAD]
    stats = run.stats().stages[-1]
    assert (stats.items_in, stats.items_out, stats.errors, stats.dropped) == (7, 13, 6, 6)
    run = iter(range(7) | interleave(read_or_not, cycle, block, on_error=put_in, **way))
    assert list(run) == [('instead', f'{n} of {s}') if (s, n) in BAD else (s, n) for s, n in order]
    assert not run.dropped


@in_all_ways
def test_goes_on_where_shards_are_broken(way):
    for policy in ('skip', put_in):
        made = stream(range(7), seed=0) | interleave(read_or_not, 3, 2, on_error=policy, **way) | shuffle(3)
        whole = list(made)
        run = iter(made)
        for received in range(len(whole) + 1):
            if not way.get('processes') or received == 8:  # to start them takes a while
                assert list(made.resume(saved(run))) == whole[received:]
            next(run, None)
        assert len(run.dropped) == (6 if policy == 'skip' else 0)


@in_all_ways
def test_too_many_broken_items_end_the_run(way):
    run = iter([1, 5] | interleave(read_or_not, 1, on_error='skip', max_errors=2, **way))
    assert list(islice(run, 2)) == [(1, 0), (1, 2)]
    with pytest.raises(OSError, match='0 of 5') as caught:
        next(run)
    assert 'itpipe: with 3 errors, there were more than `max_errors=2` allows' in caught.value.__notes__


@in_all_ways
def test_an_error_that_is_left_out_names_its_shard(way):
    run = iter([1] | interleave(read_or_not, on_error='skip', **way))
    list(run)
    name = repr(interleave(read_or_not, on_error='skip', **way))
    assert run.dropped[0].error.__notes__ == [f'itpipe: raised in {name}, shard 1, item 0 (part 1)']
    assert run.dropped[0].stage == name


@in_all_ways
def test_what_is_not_iterable_is_no_error_of_a_shard(way):
    with pytest.raises(TypeError, match='`read` must return something iterable, got int'):
        list([1] | interleave(int, on_error='skip', **way))


@in_all_ways
def test_an_error_of_the_source_comes_behind_the_items_before_it(way):
    def shards():
        yield 'ab'
        yield 'cd'
        raise OSError('no list')

    run = iter(shards() | interleave(list, cycle=1, **way))
    assert list(islice(run, 4)) == list('abcd')
    with pytest.raises(OSError, match='^no list'):
        next(run)


@in_all_ways
def test_what_is_not_iterable_is_refused(way):
    with pytest.raises(TypeError, match='^interleave: `read` must return something iterable, got int'):
        list([1] | interleave(abs, **way))


def test_an_error_where_items_are_made_again_says_which_one_it_was():
    fine = [True]

    def read(number):
        for n in range(3):
            if not fine[0] and n == 1:
                raise OSError('disk')
            yield number, n

    made = stream('a', seed=0) | interleave(read) | shuffle(3)
    run = iter(made)
    next(run)
    state = saved(run)
    fine[0] = False
    with raises(OSError, 'disk', "itpipe: raised in interleave(read), shard 'a', item 0 (part 1)"):
        next(made.resume(state))


# ---------------------------------------------------------------------------------------------------------------------
# What is left


@in_either_way
@pytest.mark.parametrize('taken', [0, 1, 7, None])
@pytest.mark.parametrize('how', ['close', 'drop', 'error'])
def test_all_shards_are_closed(ahead, taken, how):
    opened, closed = Counter(), Counter()

    def read(number):
        opened[number] += 1
        try:
            yield from range(4)
        finally:
            closed[number] += 1

    run = iter(range(6) | interleave(read, cycle=3, prefetch=ahead) | apply(lambda x: x / (how != 'error' or x)))
    try:
        list(islice(run, taken))
    except ZeroDivisionError:
        assert how == 'error'
    if how == 'close':
        run.close()
    del run
    assert closed == opened
    assert set(opened) == set(range(6)) or taken is not None or how == 'error'


@in_all_ways
@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_an_error_in_closing_a_shard_arrives_and_the_others_are_closed(way, on_error, tmp_path):
    def read(number):
        try:
            yield from range(1000)
        finally:
            (tmp_path / str(number)).touch()
            if number == 0:
                raise OSError('closing')

    run = iter(range(3) | interleave(read, on_error=on_error, **way))
    assert list(islice(run, 3)) == [0, 0, 0]
    with pytest.raises(OSError, match='^closing$'):
        run.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['0', '1', '2']


# ---------------------------------------------------------------------------------------------------------------------
# Around it


def test_shards_are_dealt_to_ranks():
    """All items of a shard go to one rank; and together, once each."""
    shards = list(enumerate([3, 0, 5, 2, 4, 1, 6]))
    parts = []
    for rank in range(2):
        with Infinite(shards, interleave(read, cycle=2), shard=(rank, 2), even='keep') as batch_iter:
            parts.append(list(batch_iter))
    assert parts == [
        [(shards[2 * n + rank][0], number) for n, number in by_turns([size for _, size in shards[rank::2]], 2, 1)]
        for rank in range(2)
    ]


@pytest.mark.parametrize('ranks', [1, 2, 5])
@in_all_ways
def test_goes_on_with_another_number_of_ranks(ranks, way):
    shards = list(enumerate([3, 0, 5, 2, 4, 1, 6, 3, 4]))
    states, got = [], []
    for rank in range(3):
        stages = interleave(read, cycle=2, block=2)
        with Infinite(shards, stages, batch_size=2, shard=(rank, 3), even='keep', combiner=list) as it:
            for batch in islice(it, 2 + (rank == 1)):
                got += batch
            states.append(it.state_dict())
    merged = merge_states(states)
    for rank in range(ranks):
        stages = interleave(read, cycle=2, block=2, **way)
        with Infinite(shards, stages, batch_size=2, shard=(rank, ranks), even='keep', combiner=list) as it:
            it.load_state_dict(merged)
            for batch in it:
                got += batch
    assert sorted(got) == sorted(by_turns([size for _, size in shards], 2, 2))


def test_the_order_does_not_depend_on_speed():
    """The first shard waits until all others that are open have been read."""
    others = threading.Semaphore(0)

    def read(number):
        if number == 0:
            for _ in range(2):
                assert others.acquire(timeout=LIMIT)
        yield from [(number, n) for n in range(3)]
        if number in (1, 2):
            others.release()

    made = range(5) | interleave(read, cycle=3, prefetch=4)
    assert list(made) == by_turns([3] * 5, 3, 1)


def test_a_check_reads_the_first_items_of_endless_shards():
    report = check(range(3) | interleave(count, prefetch=2) | batch_by(2))
    assert list(report) == []
    assert [row['items'] for row in report.table[:2]] == ['int', 'int']


def test_prints_without_defaults_and_goes_on_whatever_prefetch_is():
    assert repr(interleave(list, 4, 1)) == 'interleave(list)'
    made = interleave(list, cycle=2, prefetch='1MB')
    assert repr(made) == "interleave(list, cycle=2, prefetch='1MB')"
    assert pickle.loads(pickle.dumps(made)) == made
    run = iter(['ab', 'cd'] | made)
    assert next(run) == 'a'
    state = saved(run)
    run.close()
    assert list((['ab', 'cd'] | interleave(list, cycle=2)).resume(state)) == ['c', 'b', 'd']
    with pytest.raises(ValueError, match='interleave'):
        (['ab', 'cd'] | interleave(list, cycle=3)).resume(state)


@pytest.mark.parametrize(
    ('make', 'error', 'text'),
    [
        (lambda: interleave(3), TypeError, 'interleave: `read` must be a function or an item-wise stage, got int'),
        (lambda: interleave(list, 0), ValueError, 'interleave: `cycle` must be at least 1, got 0'),
        (lambda: interleave(list, block=0), ValueError, 'interleave: `block` must be at least 1, got 0'),
        (lambda: interleave(list, 1.5), TypeError, 'interleave: `cycle` must be an int, got float'),
        (
            lambda: interleave(list, prefetch='2'), ValueError,
            "interleave: `prefetch` must be an int or a size such as '512MB', got '2'",
        ),
        (
            lambda: interleave(list, processes=4), TypeError,
            'interleave: `processes` must be True or False, as each open shard has a process of its own, got int',
        ),
        (lambda: interleave(list, cycle_length=2), TypeError, None),
    ],
)  # fmt: skip
def test_wrong_arguments(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text or (text is None and '`cycle`' in str(caught.value))
