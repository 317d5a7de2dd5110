"""Several ranks that share one run: what each gets, what each does, and how other ranks go on."""

import itertools
import json
import random
import re
import signal
import subprocess
import threading
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given
from naming import named
from reference import bits, build, expected
from running import LIMIT, start_script, through_json, wait_until
from strategies import examples, in_other_modes, pipes

from itpipe import (
    Infinite,
    apply,
    batch_by,
    combine_lists,
    filter_by,
    flatten,
    merge_states,
    mix,
    parallel_map,
    prefetch,
    reuse,
    sample,
    shard,
    shuffle,
    skip,
    stage,
    stream,
    take,
    with_rng,
)
from itpipe._engine.dealing import Dealing

pytestmark = [
    pytest.mark.usefixtures('fickle'),
    pytest.mark.filterwarnings('ignore:itpipe. nothing is known of'),
    pytest.mark.filterwarnings('ignore:Infinite. an epoch'),  # as where there are fewer items than ranks
]


def each(values):
    """How often each of them comes, by their bits."""
    return Counter(map(repr, map(bits, values)))


class Rank:
    """One of several ranks, which are driven by turns in one process."""

    def __init__(self, described, rank, ranks, state=None, **options):
        self.batch_iter = Infinite(described, shard=(rank, ranks), prefetch=0, **({'even': 'keep'} | options))
        if state is not None:
            self.batch_iter.load_state_dict(state)
        self.epoch = self.batch_iter()
        self.got = []

    def go_on(self, most=None):
        """Receive so many more, or what is left of the epoch."""
        self.got += itertools.islice(self.epoch, most)
        return self

    def state(self):
        state = through_json(self.batch_iter.state_dict())
        self.batch_iter.close()
        return state


def all_of(described, ranks, **options):
    """What each rank gets in one epoch."""
    result = []
    for rank in range(ranks):
        with Infinite(described, shard=(rank, ranks), **({'even': 'keep'} | options)) as batch_iter:
            result.append(list(batch_iter))
    return result


# ---------------------------------------------------------------------------------------------------------------------
# Whatever the pipeline

FLOW = ('exclude', 'filter_by', 'take', 'skip', 'shuffle', 'reuse', 'prefetch', 'shard')
counts = st.integers(1, 4)
shared = pipes(endless=False, one_shot=False, batching=False, flow=FLOW)


@given(shared, counts, st.data())
@examples(400)
def test_together_the_ranks_get_what_there_is_without_ranks(executors, pipe, ranks, data):
    flow = expected(pipe)
    made = build(data.draw(in_other_modes(pipe)), executors)
    got = all_of(made, ranks, prefetch=data.draw(st.sampled_from([None, 0])))
    assert each(itertools.chain(*got)) == each(flow.values)


@given(shared, counts, st.sampled_from(['drop', 'repeat']))
@examples(200)
def test_ranks_that_get_as_many_get_the_same_items_but_for_the_last_ones(executors, pipe, ranks, even):
    """If nothing behind the place where items are dealt changes their number."""
    assume(not re.search('exclude|filter_by|flatten|interleave|reuse', repr(pipe)))
    values = each(expected(pipe).values)
    got = all_of(build(pipe, executors), ranks, even=even)
    total, (count,) = sum(values.values()), set(map(len, got))
    together = each(itertools.chain(*got))
    if even == 'drop':
        assert count == total // ranks
        assert together <= values
    else:
        assert count == -(-total // ranks)
        assert together >= values


@pytest.mark.long
@given(shared, st.lists(counts, min_size=2, max_size=4), st.data())
@examples(600)
def test_other_ranks_go_on_with_what_no_rank_has_seen(executors, pipe, numbers, data):
    """However far each of them had come, and as often as the number of ranks changes."""
    assume('shard' not in repr(pipe))
    flow = expected(pipe)
    got, state = [], None
    for number, ranks in enumerate(numbers, 1):
        made = [build(data.draw(in_other_modes(pipe)), executors) for _ in range(ranks)]
        those = [Rank(each, rank, ranks, state) for rank, each in enumerate(made)]
        for rank in those:
            rank.go_on(None if number == len(numbers) else data.draw(st.integers(0, 5), 'received'))
            got += rank.got
        states = [rank.state() for rank in those]
        if number < len(numbers):
            assume({state['pass'] for state in states} == {0})
            state = through_json(merge_states(data.draw(st.permutations(states))))
    assert each(got) == each(flow.values)


@given(pipes(one_shot=False), counts, st.data())
@examples(300)
def test_a_rank_goes_on_as_it_would_have(executors, pipe, ranks, data):
    """With its own state: bit for bit, in order."""
    rank, even = data.draw(st.integers(0, ranks - 1), 'rank'), data.draw(st.sampled_from(['keep', 'drop', 'repeat']))
    count = len(expected(pipe).items) // ranks if expected(pipe).end is None else 30
    whole = Rank(build(pipe, executors), rank, ranks, even=even).go_on(count)
    whole.batch_iter.close()
    received = data.draw(st.integers(0, len(whole.got)), 'received')
    before = Rank(build(pipe, executors), rank, ranks, even=even).go_on(received)
    again = Rank(build(data.draw(in_other_modes(pipe)), executors), rank, ranks, before.state(), even=even)
    again.go_on(len(whole.got) - received)
    again.batch_iter.close()
    assert list(map(bits, before.got + again.got)) == list(map(bits, whole.got))


# ---------------------------------------------------------------------------------------------------------------------
# What each rank does


class Data:
    """A sequence that knows which of its items were asked for."""

    def __init__(self, size):
        self.size, self.asked = size, []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if not 0 <= index < self.size:
            raise IndexError(index)
        self.asked.append(index)
        return index


def seen_by(calls):
    def f(x):
        calls.append(x)
        return x

    return f


def stays_itself(x, rng=None):
    return x


@pytest.mark.parametrize(
    'upstream',
    [
        lambda f: apply(f),
        lambda f: apply(f) | shuffle(5) | with_rng(stays_itself),
        lambda f: shuffle(5) | apply(f) | apply(f),
        lambda f: parallel_map(f, threads=2) | shuffle(3) | prefetch(2) | shuffle(3),
        lambda f: skip(2) | apply(f) | skip(1) | apply(f),
        lambda f: apply(f) | take(20) | apply(f) | shuffle(4) | take(17),
        lambda f: parallel_map(f, threads=2, ordered=False),
        lambda f: parallel_map(f, threads=2, on_error='skip'),
        lambda f: parallel_map(f, threads=2, on_error='skip') | shuffle(3),
        lambda f: apply(f) | filter_by(lambda x: x % 2),
        lambda f: filter_by(lambda x: f(x) % 2) | shuffle(3) | apply(f),
        lambda f: apply(f) | apply(lambda x: [x]) | flatten,
        lambda f: apply(f) | batch_by(3) | flatten,
        lambda f: apply(f) | reuse(2, 1),
    ],
)  # fmt: skip
def test_no_rank_works_on_items_of_another(upstream):
    calls, data, everything = [], Data(30), []
    for rank in range(3):
        calls.clear()
        data.asked.clear()
        options = {'shard': (rank, 3), 'even': 'keep', 'seed': 0, 'prefetch': 0}  # or the next pass is begun
        with Infinite(data, upstream(seen_by(calls)), **options) as batch_iter:
            got = list(batch_iter)
        own = {place for place in range(30) if place in calls}
        assert set(got) <= own
        assert set(data.asked) == own
        assert len(data.asked) == len(own)
        everything += own
    assert len(everything) == len(set(everything))


@pytest.mark.parametrize(
    'upstream',
    [
        lambda f: apply(f) | shuffle(5) | shard(1, 3),
        lambda f: shard(1, 3) | apply(f),
        lambda f: parallel_map(f, threads=2) | take(20) | shard(1, 3) | shuffle(3) | shard(0, 2),
        lambda f: apply(f) | shard(1, 3) | apply(f) | shard(1, 2) | filter_by(lambda x: x % 2) | shard(0, 2),
    ],
)  # fmt: skip
def test_the_stage_moves_as_well(upstream):
    calls, data = [], Data(30)
    got = list(stream(data, seed=0) | upstream(seen_by(calls)))
    assert set(got) <= set(calls)
    assert len(set(calls)) <= 10
    assert len(data.asked) == len(set(calls))


@pytest.mark.parametrize(
    'mixed',
    [
        lambda f, a, b: mix(stream(a) | apply(f), sample(b) | take(30) | apply(f)),
        lambda f, a, b: mix(stream(a) | apply(f) | shuffle(4) | apply(f), b) | shuffle(5) | apply(f),
        lambda f, a, b: mix(mix(stream(a) | apply(f), b) | apply(f), mix(range(5)) | skip(1)) | apply(f) | take(50),
        lambda f, a, b: mix(stream(a) | shard(0, 2) | apply(f), b, weights=[0, 1]),
        lambda f, a, b: mix(stream(a) | shard(0, 2) | shuffle(3) | apply(f), b) | prefetch(3) | shard(0, 2),
    ],
)
def test_no_rank_works_on_items_of_another_that_are_mixed(mixed):
    calls, data, everything = [], [Data(30), Data(30)], []
    noisy = with_rng(lambda x, rng: seen_by(calls)((x if isinstance(x, int) else x[0], rng.random())))
    described = mixed(noisy, *data)
    whole = list(stream(described, seed=0))
    for rank in range(3):
        calls.clear()
        for each_data in data:
            each_data.asked.clear()
        options = {'shard': (rank, 3), 'even': 'keep', 'seed': 0, 'prefetch': 0}
        with Infinite(described, batch_size=1, combiner=list, **options) as batch_iter:
            got, keys = [], []
            for [x] in batch_iter:
                got.append(x)
                keys += batch_iter.item_keys
                assert batch_iter.item(keys[-1]) == x
                assert len(batch_iter.indices) == 1
        asked = sum(len(each_data.asked) for each_data in data)
        assert asked <= 2 * len(got)  # and as often by `item`
        assert len(calls) <= 6 * len(got)
        everything += got
    assert each(everything) == each(whole)


def test_a_mix_of_streams_with_workers_runs_them_in_every_rank():
    calls = []
    described = mix(stream(range(10)) | apply(seen_by(calls)) | parallel_map(abs, threads=2), seed=0)
    assert (list(described | shard(0, 2)), calls) == ([0, 2, 4, 6, 8], list(range(10)))


def test_the_stage_moves_not_before_what_needs_to_see_the_items():
    calls = []
    got = list(range(12) | apply(seen_by(calls)) | filter_by(lambda x: x % 2) | shard(1, 3))
    assert (got, calls) == ([3, 9], list(range(12)))


@pytest.mark.parametrize('options', [{}, {'replace': False}, {'weights': np.arange(100)}])
def test_of_a_sequence_each_rank_looks_up_its_own(options):
    data = Data(100)
    described = sample(data, seed=0, **options)
    whole = list(itertools.islice(described, 100))
    data.asked.clear()
    with Infinite(described, batch_size=4, batches_per_epoch=5, shard=(2, 5), even='keep', prefetch=0) as batch_iter:
        got = np.concatenate(list(batch_iter))
        assert list(got) == data.asked == whole[2::5]
        assert batch_iter.ordinals == [82, 87, 92, 97]
        assert batch_iter.indices == list(got[-4:])


@pytest.mark.parametrize('made_of', [stream, sample])
def test_nothing_more_is_looked_up_once_it_is_closed(made_of):
    """Also in the midst of a batch."""

    class Closing(Data):
        def __getitem__(self, index):
            if len(self.asked) == 2:
                batch_iter.close()
            return super().__getitem__(index)

    data = Closing(1000)
    batch_iter = Infinite(made_of(data), batch_size=100, combiner=list, shard=(0, 2), even='keep', seed=0)
    assert list(batch_iter) == []
    wait_until(lambda: 'itpipe' not in repr(threading.enumerate()), 'the thread that looks up has ended')
    assert len(data.asked) == 3


def test_what_is_random_is_drawn_as_without_ranks():
    described = stream(range(20), seed=3) | with_rng(lambda x, rng: (x, rng.random())) | shuffle(4) | with_rng(
        lambda x, rng: (*x, rng.random())
    )  # fmt: skip
    assert sorted(itertools.chain(*all_of(described, 3))) == sorted(described)


def test_an_error_is_that_of_one_rank():
    def check(x):
        if x == 4:
            raise ValueError('four')
        return x

    with Infinite(range(9), check, shard=(0, 3), even='keep') as batch_iter:
        assert list(batch_iter) == [0, 3, 6]
    with (
        Infinite(Data(9), check, shard=(1, 3), even='keep') as batch_iter,
        pytest.raises(ValueError, match='four') as caught,
    ):
        list(batch_iter)
    assert caught.value.__notes__ == ['itpipe: raised in apply(check), item 4']


def test_an_error_of_the_data_says_where_it_is_from():
    class Broken(Data):
        def __getitem__(self, index):
            raise OSError('no such file')

    data = Broken(5)
    with (
        Infinite(sample(data, seed=0), shard=(1, 2), even='keep') as batch_iter,
        pytest.raises(OSError, match='no such') as caught,
    ):
        list(batch_iter)
    assert caught.value.__notes__ == [f'itpipe: raised in {sample(data, seed=0)!r}, item 1 (index 3)']
    with Infinite(data, shard=(1, 2), even='keep') as batch_iter, pytest.raises(OSError, match='no such') as caught:
        list(batch_iter)
    assert caught.value.__notes__ == ['itpipe: raised in the source <Broken>, item 1']


def test_sources_without_an_index_are_read_by_all():
    class IterableDataset:
        """As torch's."""

        def __iter__(self):
            return iter('abcde')

        def __len__(self):
            return 5

        def __getitem__(self, index):
            raise NotImplementedError

    assert all_of(IterableDataset(), 2) == [['a', 'c', 'e'], ['b', 'd']]

    class Table:
        """As that of polars: of other things by index than by iterating."""

        columns = ('x', 'y', 'z')

        def __iter__(self):
            return iter(self.columns)

        def __len__(self):
            return 100

        def __getitem__(self, index):
            return f'row {index}'

    assert all_of(Table(), 2) == [['x', 'z'], ['y']]
    assert list((letter for letter in 'abcde') | shard(1, 2)) == ['b', 'd']
    assert list({'a': 1, 'b': 2, 'c': 3} | shard(0, 2)) == ['a', 'c']


def test_a_dataset_that_has_an_item_for_any_number_ends_where_it_says():
    """With ranks and without them: torch's map-style datasets need not raise IndexError."""

    class Squares:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return index**2

    assert list(itertools.islice(stream(Squares()), 9)) == [0, 1, 4, 9, 16]
    assert all_of(Squares(), 2) == [[0, 4, 16], [1, 9]]


@pytest.mark.parametrize(
    ('even', 'size', 'expected'),
    [
        ('keep', 7, [[0, 3, 6], [1, 4], [2, 5]]),
        ('drop', 7, [[0, 3], [1, 4], [2, 5]]),
        ('repeat', 7, [[0, 3, 6], [1, 4, 0], [2, 5, 1]]),
        ('repeat', 8, [[0, 3, 6], [1, 4, 7], [2, 5, 0]]),
        ('drop', 9, [[0, 3, 6], [1, 4, 7], [2, 5, 8]]),
        ('repeat', 9, [[0, 3, 6], [1, 4, 7], [2, 5, 8]]),
        ('keep', 1, [[0], [], []]),
        ('drop', 2, [[], [], []]),
        ('repeat', 1, [[0], [0], [0]]),
        ('repeat', 2, [[0], [1], [0]]),
        ('repeat', 0, [[], [], []]),
    ],
)  # fmt: skip
def test_numbers_that_the_ranks_do_not_divide(even, size, expected):
    assert all_of(range(size), 3, even=even) == expected
    assert [list(range(size) | shard(rank, 3, even)) for rank in range(3)] == expected


def test_items_are_dealt_anew_in_every_pass():
    batch_iter = [Infinite(range(5), shuffle(5), shard=(rank, 2), even='keep', seed=1) for rank in range(2)]
    passes = [sorted(itertools.chain(*map(list, batch_iter))) for _ in range(3)]
    assert passes == [[0, 1, 2, 3, 4]] * 3
    for each in batch_iter:
        each.close()


# ---------------------------------------------------------------------------------------------------------------------
# Other ranks go on


def states_of(described, received, **options):
    """The states of ranks that have received so many batches."""
    ranks = len(received)
    return [Rank(described, rank, ranks, **options).go_on(n).state() for rank, n in enumerate(received)]


def test_ranks_in_step_leave_little_to_say():
    described = sample(range(1000), seed=0) | apply(str) | batch_by(4)
    merged = merge_states(states_of(described, [50] * 8, batches_per_epoch=100))
    assert merged['position'] == {
        'source': 1600,
        'steps': {'shard': {'own': {'dealt': {'begun': 1600, 'passed': 1600, 'seen': []}}, 'slots': []}},
    }
    assert (merged['shard'], merged['batch'], merged['pass']) == (['merged', 8], 50, 0)
    assert len(json.dumps(merged)) < 400


def test_a_rank_that_has_begun_later():
    merged = merge_states(states_of(range(20), [0, 3, 5]))
    assert merged['position']['steps'] == {
        'shard': {'own': {'dealt': {'begun': 0, 'passed': 0, 'seen': [1, 2, 4, 5, 7, 8, 11, 14]}}, 'slots': []}
    }
    ranks = [Rank(range(20), rank, 2, merged).go_on() for rank in range(2)]
    assert [rank.got for rank in ranks] == [[0, 6, 10, 13, 16, 18], [3, 9, 12, 15, 17, 19]]
    for rank in ranks:
        rank.batch_iter.close()


def test_ranks_of_which_some_have_not_begun_are_merged_again():
    """What is merged then says nothing of the steps before `shard`, as their beginning says nothing."""
    merged = merge_states(states_of(stream(range(9)) | skip(0), [0, 1, 0]))
    ranks = [Rank(stream(range(9)) | skip(0), rank, 2, merged) for rank in range(2)]
    states = [ranks[0].go_on(1).state(), ranks[1].state()]
    assert merged['position']['steps']['skip'] is None
    (whole,) = [Rank(stream(range(9)) | skip(0), 0, 1, merge_states(states)).go_on()]
    assert ranks[0].got == [0]
    assert whole.got == [2, 3, 4, 5, 6, 7, 8]
    whole.batch_iter.close()


@pytest.mark.many(5)
@pytest.mark.parametrize('before', range(1, 5))
@pytest.mark.parametrize('after', range(1, 5))
@pytest.mark.parametrize('even', ['keep', 'drop', 'repeat'])
def test_as_many_for_each_of_the_other_ranks(before, after, even):
    rng = random.Random(f'{before} {after} {even}')
    for _ in range(20):
        size = rng.randrange(40)
        ranks = [Rank(range(size), rank, before, even=even).go_on(size // before // 2) for rank in range(before)]
        got = [x for rank in ranks for x in rank.got]
        merged = merge_states([rank.state() for rank in ranks])
        others = [Rank(range(size), rank, after, merged, even=even).go_on() for rank in range(after)]
        left = size - len(got)
        counts = [len(rank.got) for rank in others]
        assert (
            counts
            == {
                'keep': [len(range(rank, left, after)) for rank in range(after)],
                'drop': [left // after] * after,
                'repeat': [-(-left // after)] * after,
            }[even]
        )
        got += [x for rank in others for x in rank.got]
        assert len(set(got)) == (len(got) if even != 'repeat' else size)
        for rank in others:
            rank.batch_iter.close()


ELASTIC = [
    sample(range(240), replace=False, seed=0) | take(240),
    stream(range(240), seed=1) | shuffle(50) | with_rng(stays_itself),
    stream(range(240), seed=1) | shuffle() | parallel_map(stays_itself, threads=2),
    mix(range(100), sample(range(100, 200), seed=2) | take(140), seed=3),
]


@pytest.mark.many(20)
@pytest.mark.parametrize('described', ELASTIC, ids=named)
@pytest.mark.parametrize('numbers', [*itertools.permutations([1, 2, 3, 4, 8], 3)])
def test_global_batches_stay_while_ranks_come_and_go(described, numbers):
    """Their size is the same, and so are their items, at whatever batch the number of ranks changes."""
    size = 24
    whole = [sorted(items) for items in described | batch_by(size)]
    state, got = None, []
    for ranks, steps in zip(numbers, [3, 4, None], strict=True):
        parts = [Rank(described, rank, ranks, state, batch_size=size // ranks) for rank in range(ranks)]
        batches = zip(*(part.go_on(steps).got for part in parts), strict=True)
        got += [sorted(np.concatenate(batch)) for batch in batches]
        state = merge_states([part.state() for part in parts])
    assert got == whole


def test_the_size_of_batches_changes_where_one_ends():
    state = Rank(range(20), 0, 1, batch_size=6).go_on(2).state()
    rank = Rank(range(20), 0, 1, state, batch_size=4).go_on()
    assert [batch.tolist() for batch in rank.got] == [[12, 13, 14, 15], [16, 17, 18, 19]]
    rank.batch_iter.close()


def test_what_is_in_buffers_is_dealt_too():
    """Of an endless source: the buffer of one rank gets what three had, and becomes small again."""
    described = stream(Endless()) | filter_by(lambda x: x % 5) | shuffle(10)
    ranks = [Rank(described, rank, 3, seed=0).go_on(40) for rank in range(3)]
    got = [x for rank in ranks for x in rank.got]
    only = Rank(described, 0, 1, merge_states([rank.state() for rank in ranks]), seed=0).go_on(400)
    got += only.got
    slots = only.state()['position']['steps']['shuffle']['slots']
    assert len(slots) == 10
    assert sorted(got + slots) == [x for x in range(max(got + slots) + 1) if x % 5]


@pytest.mark.many(4)
@pytest.mark.parametrize(
    'steps', [shuffle(4), reuse(4, 2), apply(lambda x: [(x, n) for n in range(3)]) | flatten, shuffle(3) | batch_by(2)]
)
@pytest.mark.parametrize('after', [1, 2, 3])
def test_what_is_in_two_ranks_so_that_all_get_as_many(steps, after):
    """By `even='repeat'` an item may be held in two ranks when they are merged, and in one of them twice after that."""
    described = stream(range(5)) | filter_by(lambda x: True) | steps
    described = described | flatten if 'batch_by' in repr(steps) else described
    items = set(described)
    for received in itertools.product(range(9), repeat=2):
        ranks = [Rank(described, rank, 2, even='repeat', seed=0).go_on(count) for rank, count in enumerate(received)]
        states = [rank.state() for rank in ranks]
        if any(state['pass'] for state in states):  # who has asked for more than there is
            continue
        merged = merge_states(states)
        got = [item for rank in ranks for item in rank.got]
        for rank in range(after):
            other = Rank(described, rank, after, merged, even='repeat', seed=0).go_on(1)
            got += other.got
            got += Rank(described, rank, after, other.state(), even='repeat', seed=0).go_on().got
        assert set(got) == items, received


def test_buffers_that_one_rank_has_emptied_since_its_last_state_are_empty():
    """While those of another are not: what its source gave had all been read before, at the first state."""
    described = stream(range(16)) | filter_by(lambda x: True) | shuffle(4) | shuffle(2)
    for first in range(1, 8):
        one, other = Rank(described, 0, 2, seed=0).go_on(first), Rank(described, 1, 2, seed=0).go_on(1)
        one.batch_iter.state_dict()
        one.go_on(7 - first)
        got = one.got + other.got
        rest = Rank(described, 0, 1, merge_states([one.state(), other.state()]), seed=0).go_on()
        rest.batch_iter.close()
        assert sorted(got + rest.got) == list(range(16))


class Endless:
    def __iter__(self):
        return itertools.count()


def test_parts_of_several_items_that_were_not_delivered_yet():
    described = stream([list(range(10 * n, 10 * n + 10)) for n in range(6)]) | flatten
    states = states_of(described, [3, 2, 5])
    merged = merge_states(states)
    assert merged['position']['steps']['flatten'] == [[0, 2], [1, 1], [2, 4]]
    ranks = [Rank(described, rank, 2, merged) for rank in range(2)]
    for rank in ranks:
        rank.go_on(6)
    assert [rank.got for rank in ranks] == [[3, 4, 5, 6, 7, 8], [12, 13, 14, 15, 16, 17]]
    one = Rank(described, 0, 1, merge_states([rank.state() for rank in ranks])).go_on()
    assert sorted(one.got) == [9, 18, 19, *range(25, 60)]
    one.batch_iter.close()


def test_bare_runs_of_ranks():
    def part(rank, ranks):
        return sample(range(50), replace=False, seed=0) | shuffle(5) | shard(rank, ranks) | take(10)

    def parts(rank, ranks):
        return stream(range(20), seed=0) | shuffle(5) | shard(rank, ranks) | batch_by(2) | combine_lists

    got, states = [], []
    for rank in range(3):
        run = iter(parts(rank, 3))
        got += next(run)
        states.append(through_json(run.state_dict()))
        run.close()
    for rank in range(2):
        got += itertools.chain(*parts(rank, 2).resume(merge_states(states)))
    assert sorted(got) == list(range(20))
    runs = [iter(part(rank, 2)) for rank in range(2)]
    states = [(next(run), run.state_dict())[1] for run in runs]
    with pytest.raises(ValueError, match=re.escape('merge_states: `states` cannot be merged: behind `shard` there is')):
        merge_states(states)


@stage
def halves(items):
    for item in items:
        yield item // 2


def test_a_stage_of_your_own_comes_before_the_ranks():
    calls = []
    described = range(12) | apply(seen_by(calls)) | halves | apply(str)
    states = states_of(described, [1, 1])
    got = [x for rank in range(3) for x in Rank(described, rank, 3, merge_states(states)).go_on().got]
    assert each(got) == each(str(n // 2) for n in range(2, 12))


def test_a_merged_state_is_for_ranks_only():
    states = states_of(range(9), [1, 1])
    one = merge_states(states)
    with Infinite(range(9)) as batch_iter:
        way = r'; one process goes on with it as the only rank: `shard=\(0, 1\)`, or the stage `shard\(0, 1\)`$'
        with pytest.raises(ValueError, match='is that of merged ranks, this is a run without `shard`' + way):
            batch_iter.load_state_dict(one)
        way = r'; what .* goes on with any number of them, with `shard=\(0, 1\)` also in one process$'
        with pytest.raises(ValueError, match='is that of rank 0 of 2, this is a run without `shard`' + way):
            batch_iter.load_state_dict(states[0])
        plain = batch_iter.state_dict()
        assert list(batch_iter) == list(range(9))
    with Infinite(range(9), shard=(1, 2), even='keep') as batch_iter:
        with pytest.raises(ValueError, match='is that of a run without `shard`, this is rank 1 of 2; what `merge_sta'):
            batch_iter.load_state_dict(plain)
        with pytest.raises(ValueError, match='is that of rank 0 of 2, this is rank 1 of 2'):
            batch_iter.load_state_dict(states[0])
        with pytest.raises(ValueError, match=r"has `shard\(even='drop'\)` where this one has `shard\(\)`"):
            batch_iter.load_state_dict(states_of(range(9), [1, 1], even='drop')[1])
        assert list(batch_iter) == [1, 3, 5, 7]
    with Infinite(range(9), shard=(0, 1), even='keep') as batch_iter:
        batch_iter.load_state_dict(one)
        assert list(batch_iter) == list(range(2, 9))
    assert list((range(9) | shard(0, 1)).resume(one)) == list(range(2, 9))


two = states_of(range(9), [1, 1])
three = states_of(range(9), [1, 1, 1])
ended = states_of(range(3), [5, 0])


@pytest.mark.parametrize(
    ('states', 'kind', 'message'),
    [
        ([], ValueError, 'merge_states: `states` must not be empty'),
        (two[0], TypeError, 'merge_states: `states` must be the states of all ranks, got dict'),
        (None, TypeError, 'merge_states: `states` must be the states of all ranks, got NoneType'),
        (two[:1], ValueError, 'merge_states: `states` must be one of each rank of 2, got those of rank 0 of 2'),
        (
            [two[0], two[0]],
            ValueError,
            'merge_states: `states` must be one of each rank of 2, got those of rank 0 of 2, rank 0 of 2',
        ),
        (
            [two[0], three[1]],
            ValueError,
            'merge_states: `states` must be one of each rank of 2, got those of rank 0 of 2, rank 1 of 3',
        ),
        ([two[0], 3], TypeError, 'merge_states: `states[1]` must be a dict, as `state_dict()` gives it, got int'),
        (
            [two[0], two[1] | {'pass': 1}],
            ValueError,
            'merge_states: `states[1]` is damaged, its checksum is that of another one',
        ),
        (
            [two[0], two[1] | {'shard': [0, 1]}],
            ValueError,
            'merge_states: `states[1]` is damaged, its checksum is that of another one',
        ),
        ([merge_states(two)], ValueError, 'merge_states: `states[0]` is that of merged ranks'),
        (
            [iter(range(9) | batch_by(2)).state_dict()],
            ValueError,
            'merge_states: `states[0]` is that of a run without `shard`',
        ),
        (
            [two[0], states_of(range(9) | apply(abs), [1, 1])[1]],
            ValueError,
            ('merge_states: `states[1]` is that of another pipeline than `states[0]`,'
             ' which goes on with `apply(abs)` where this one ends'),
        ),
        (
            ended[::-1],
            ValueError,
            ('merge_states: `states` must have been taken in the same pass over the source,'
             ' but `states[0]` was taken in pass 0, `states[1]` in pass 1'),
        ),
        (
            [two[0], Rank(range(9), 1, 2, merge_states(three)).go_on(1).state()],
            ValueError,
            'merge_states: `states` are not of one run: their ranks began at different places',
        ),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_cannot_be_merged(states, kind, message):
    with pytest.raises(kind) as caught:
        merge_states(states)
    assert str(caught.value) == message


TRAINING = """
    import json, sys
    from pathlib import Path
    from itpipe import Infinite, flatten, merge_states, parallel_map, stream, shuffle, with_rng

    def noisy(x, rng):
        return [[x, 0, rng.random()], [x, 1, rng.random()]]

    folder, (rank, ranks, life, before, most) = Path(sys.argv[1]), map(int, sys.argv[2:])
    numbers = stream(range(600), seed=3) | parallel_map(with_rng(noisy), threads=2) | shuffle(50) | flatten | shuffle(9)
    with Infinite(numbers, batch_size=8, combiner=list, shard=(rank, ranks), even='keep') as batch_iter:
        if before:
            logs = [(folder / f'{life - 1}-{n}').read_text().splitlines(keepends=True) for n in range(before)]
            whole = [[line for line in log if line.endswith('\\n')] for log in logs]
            batch_iter.load_state_dict(merge_states([json.loads(lines[-1])['state'] for lines in whole]))
        with open(folder / f'{life}-{rank}', 'w', buffering=1) as log:
            print(json.dumps({'batch': [], 'state': batch_iter.state_dict()}), file=log)
            print('begun', flush=True)
            for step, batch in enumerate(batch_iter):
                print(json.dumps({'batch': batch, 'state': batch_iter.state_dict()}), file=log)
                print(step, flush=True)
                if step == most:
                    sys.stdin.read()
"""


@pytest.mark.long
def test_ranks_that_are_killed_and_go_on_as_others_lose_nothing_and_see_nothing_twice(tmp_path):
    """Each rank leaves off wherever it is; a state after each step is all that is needed."""
    numbers = [2, 4, 1, 3]
    for life, ranks in enumerate(numbers):
        last = life == len(numbers) - 1
        most = -1 if last else 10  # then it waits to be killed
        of_all = (tmp_path, ranks, life, numbers[life - 1] if life else 0, most)
        scripts = [start_script(TRAINING, of_all[0], rank, *of_all[1:], stdin=subprocess.PIPE) for rank in range(ranks)]
        for script in scripts:
            if not last:
                for _ in range(random.randrange(1, 9)):
                    script.stdout.readline()
                script.kill()
        for script in scripts:
            _, err = script.communicate(timeout=LIMIT)
            assert (script.returncode, err) == (0 if last else -signal.SIGKILL, '')
    got = []
    for life, ranks in enumerate(numbers):
        for rank in range(ranks):
            lines = (tmp_path / f'{life}-{rank}').read_text().splitlines(keepends=True)
            got += itertools.chain(*(json.loads(line)['batch'] for line in lines if line.endswith('\n')))

    def noisy(x, rng):
        return [[x, 0, rng.random()], [x, 1, rng.random()]]

    assert sorted(got) == sorted(itertools.chain(*(stream(range(600), seed=3) | with_rng(noisy))))


def test_ranks_that_have_ended_their_pass_go_on_in_the_next_one():
    options = {'shard': (0, 3), 'even': 'keep', 'seed': 0}
    merged = merge_states(states_of(range(9) | shuffle(3), [None, None], seed=0))
    with Infinite(range(9), shuffle(3), **options) as whole, Infinite(range(9), shuffle(3), **options) as batch_iter:
        list(whole)
        batch_iter.load_state_dict(merged)
        assert list(batch_iter) == list(whole)


def test_dealing():
    dealing = Dealing(3, [5, 6, 9])
    assert [place for place in range(12) if dealing.is_pending(place)] == [3, 4, 7, 8, 10, 11]
    assert [dealing.order(place) for place in (0, 3, 4, 7, 8, 10, 11, 12)] == [0, 0, 1, 2, 3, 4, 5, 6]
    assert [place for place, _ in dealing.pending(enumerate('abcdefghijkl'), 0)] == [3, 4, 7, 8, 10, 11]
    assert [place for place, _ in dealing.pending(enumerate('hijkl', 7), 7)] == [7, 8, 10, 11]


# ---------------------------------------------------------------------------------------------------------------------
# Who is which rank


def test_one_item_of_another_rank_can_be_made_again():
    described = sample(range(100), seed=0) | with_rng(lambda x, rng: x + rng.random())
    with Infinite(described, batch_size=2, shard=(1, 4), even='keep') as batch_iter:
        assert list(next(batch_iter())) == [described.item(1), described.item(5)]
        assert [batch_iter.item(n) for n in range(4)] == [described.item(n) for n in range(4)]


@pytest.mark.parametrize(
    ('options', 'kind', 'message'),
    [
        ({'shard': 3}, TypeError, "Infinite: `shard` must be (rank, number of ranks) or 'env', got 3"),
        ({'shard': 'all'}, TypeError, "Infinite: `shard` must be (rank, number of ranks) or 'env', got 'all'"),
        ({'shard': (1, 2, 3)}, TypeError, "Infinite: `shard` must be (rank, number of ranks) or 'env', got (1, 2, 3)"),
        ({'shard': (2, 2)}, ValueError, 'Infinite: `shard[0]` must be less than `shard[1]` (2), got 2'),
        ({'shard': (0.5, 2)}, TypeError, 'Infinite: `shard[0]` must be an int, got float'),
        ({'shard': (0, 0)}, ValueError, 'Infinite: `shard[1]` must be at least 1, got 0'),
        ({'shard': (0, 2), 'even': 'no'}, ValueError, "Infinite: `even` must be 'keep', 'drop' or 'repeat', got 'no'"),
        ({'even': 'drop'}, TypeError, 'Infinite: `even` goes with `shard`'),
        (
            {'shard': (0, 2), 'even': np.arange(2)},
            ValueError,
            "Infinite: `even` must be 'keep', 'drop' or 'repeat', got array([0, 1])",
        ),
    ],
)
def test_wrong_ranks(options, kind, message):
    with pytest.raises(kind) as caught:
        Infinite(range(3), **options)
    assert str(caught.value) == message


SEEDED = 'the ranks need a seed, the same for all'
unordered_map = parallel_map(stays_itself, threads=3, ordered=False)


@pytest.mark.parametrize(
    'described',
    [
        sample(range(9)),
        mix('ab', 'cd'),
        stream(range(9)) | shuffle(3),
        stream(range(9)) | apply(abs) | shuffle(3),
        sample(range(9)) | shuffle(3, seed=0),
        stream(range(9)) | shuffle(3, seed=0) | shuffle(3),
    ],
    ids=named,
)
def test_ranks_that_would_draw_by_themselves_need_a_seed(described):
    with pytest.raises(ValueError, match=f'^Infinite: {SEEDED}'):
        Infinite(described, shard=(0, 2), even='keep')
    with pytest.raises(ValueError, match=f'^shard: {SEEDED}'):
        list(described | shard(0, 2))
    Infinite(described, shard=(0, 2), even='keep', seed=0)
    Infinite(described, shard=(0, 1), even='keep')
    assert stream(described, seed=0) | shard(0, 2)


@pytest.mark.parametrize(
    'described',
    [
        stream(range(9)),
        sample(range(9), seed=0),
        stream(range(9)) | shuffle(3, seed=0),
        stream(range(9)) | with_rng(stays_itself),
        stream(range(9)) | filter_by(with_rng(stays_itself)) | shuffle(4),
    ],
    ids=named,
)
def test_ranks_that_draw_nothing_before_items_are_dealt_need_no_seed(described):
    with Infinite(described, shard=(0, 2), even='keep', batches_per_epoch=2) as batch_iter:
        assert len(list(batch_iter)) == 2


@pytest.mark.parametrize(
    'described',
    [
        stream(Data(24)) | unordered_map | skip(1) | take(20) | apply(abs),
        stream(Data(24)) | unordered_map | shuffle(9, seed=0) | take(20),
    ],
    ids=named,
)
def test_items_are_dealt_and_counted_before_a_map_that_gives_them_in_any_order(described):
    """What comes out of it first differs from rank to rank."""
    assert len(set(itertools.chain(*all_of(described, 3)))) == 20
    assert len(set(itertools.chain(*(described | shard(rank, 3) for rank in range(3))))) == 20


@pytest.mark.parametrize(
    'described',
    [
        stream(range(9)) | unordered_map | filter_by(lambda x: x % 2) | take(3),
        stream(range(9)) | parallel_map(abs, threads=2, ordered=False, on_error='skip') | skip(1),
        mix(stream(range(9)) | unordered_map, range(9), seed=0),
        stream(mix(mix(stream(range(9)) | unordered_map | filter_by(abs)), seed=0), seed=1),
    ],
    ids=named,
)
def test_ranks_that_would_get_items_in_another_order_each_are_refused(described):
    with pytest.raises(ValueError, match=r'^Infinite: the ranks need items in the same order, .*; leave that out$'):
        Infinite(described, shard=(0, 2), even='keep')
    with pytest.raises(ValueError, match=r'^shard: the ranks need items in the same order, .*; leave that out$'):
        list(described | shard(0, 2))
    with Infinite(described, shard=(0, 1), even='keep') as batch_iter:
        assert len(list(batch_iter)) > 2


def test_a_shard_of_several_is_checked_before_one_of_one():
    with pytest.raises(ValueError, match=f'^Infinite: {SEEDED}'):
        Infinite(sample(range(9)) | shard(0, 2), shard=(0, 1), even='keep')
    with pytest.raises(ValueError, match=f'^shard: {SEEDED}'):
        list(stream(range(9)) | shuffle(3) | shard(0, 2) | shard(0, 1))


def test_what_is_random_before_a_stage_that_stays_behind_it_needs_a_seed():
    described = stream(range(9)) | with_rng(lambda x, rng: rng.random()) | filter_by(lambda x: x > 0.5) | shard(0, 2)
    with pytest.raises(ValueError, match=f'^shard: {SEEDED}'):
        list(described)
