"""States that come from anyone: whatever is in them, they are refused at once, or they are states."""

import copy
import itertools
import json
import tracemalloc
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import given
from running import AtOnce, raises, through_json
from signing import signed
from strategies import examples

from itpipe import (
    Infinite,
    apply,
    batch_by,
    concat,
    cycle,
    filter_by,
    flatten,
    load_by_random_id,
    merge_states,
    mix,
    parallel_map,
    reuse,
    sample,
    shuffle,
    skip,
    stage,
    stream,
    take,
    zip_with,
)

pytestmark = [
    pytest.mark.filterwarnings('ignore:itpipe. nothing is known of'),
    pytest.mark.filterwarnings('ignore:Infinite. an epoch'),
]


@stage
def own(items):
    yield from items


class Stateful:
    """A source with a state of its own."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while self.at < 30:
            self.at += 1
            yield self.at - 1

    def state_dict(self):
        return {'at': self.at}

    def load_state_dict(self, state):
        self.at = state['at']


def double(x):
    return [x, -x]


PIPELINES = {
    'plain': lambda: stream(range(30), seed=0) | batch_by(2),
    'shuffle': lambda: stream(range(30), seed=0) | shuffle(5) | batch_by(2),
    'batches': lambda: stream(range(60), seed=0) | batch_by(2) | filter_by(bool) | shuffle(4),
    'parts': lambda: stream(range(30), seed=0) | apply(double) | flatten | shuffle(4) | batch_by(3),
    'reuse': lambda: stream(range(30), seed=0) | reuse(4, 3) | batch_by(2),
    'counted': lambda: stream(range(30), seed=0) | skip(3) | take(20) | batch_by(2),
    'unordered': lambda: stream(range(30), seed=0) | parallel_map(abs, executor=AtOnce(), ordered=False) | batch_by(2),
    'own': lambda: stream(range(30), seed=0) | own() | batch_by(2) | flatten,
    'sample': lambda: sample(range(30), seed=0) | shuffle(3) | batch_by(2),
    'permuted': lambda: sample(range(30), seed=0, replace=False) | take(45) | batch_by(2),
    'by id': lambda: load_by_random_id(abs, ids=range(9), seed=0) | reuse(2, 2),
    'mix': lambda: (
        stream(mix(range(30), sample('abc', seed=1) | shuffle(2), seed=3), seed=0) | shuffle(4) | batch_by(2)
    ),
    'zip': lambda: stream(range(30), seed=0) | zip_with(range(20) | shuffle(2)) | shuffle(3) | batch_by(2),
    'concat': lambda: stream(range(7), seed=0) | concat(range(9) | shuffle(2)) | shuffle(4) | batch_by(2),
    'cycle': lambda: stream(range(7), seed=0) | shuffle(2) | cycle(3) | shuffle(4) | batch_by(2),
    'endless': lambda: stream(range(7), seed=0) | shuffle(2) | cycle() | zip_with('ab' | cycle()) | batch_by(2),
    'stateful': lambda: stream(Stateful(), seed=0) | shuffle(3) | batch_by(2),
    'seeds': lambda: stream(stream(mix(range(30), 'abcdef'), seed=1) | shuffle(3), seed=0) | batch_by(2),
    'seeded twice': lambda: (
        mix(stream(stream(mix(range(30), 'abcdef'), seed=1), seed=2), range(9), seed=0) | shuffle(4) | batch_by(2)
    ),
    'generator': lambda: stream({n: n for n in range(30)}, seed=0) | shuffle(3),
}
ODD = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    7,
    1.5,
    10**12,
    1 << 63,
    1 << 70,
    '',
    'x',
    [],
    {},
    [[]],
    [0, 0],
    [3, 1],
    [[0, 0]],
]
ODD += [
    {'runs': [0, 10**12]},
    {'runs': [0]},
    {'batch': []},
    {'batch': [0]},
    {'n': [1], 'of': [0]},
    {'of': [], 'sizes': [0]},
]
ODD.append(json.loads('[' * 200 + ']' * 200))
ODD.append(json.loads('{"batch": [' * 200 + ']}' * 200))


def places_in(state):
    places = [(state, name) for name in state if name not in ('check', 'itpipe', 'pipeline')]
    for holder, name in places:  # grows while it is read
        value = holder[name]
        if isinstance(value, (dict, list)):
            inner = value if isinstance(value, dict) else range(len(value))
            places += [(value, each) for each in inner if each != 'state']  # that of a source is its own
    return places


def mutated(state, data):
    """The state with one or two changes of any kind."""
    state = copy.deepcopy(state)
    for _ in range(data.draw(st.integers(1, 2))):
        if not (places := places_in(state)):
            break
        holder, name = data.draw(st.sampled_from(places))
        value = holder[name]
        how = data.draw(st.sampled_from(['replace', 'number', 'remove', 'add', 'twice']))
        if how == 'replace':
            holder[name] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
        elif how == 'number' and type(value) is int:
            holder[name] = value + data.draw(st.integers(-3, 3))
        elif how == 'remove':
            del holder[name]
        elif how == 'add' and isinstance(value, dict):
            added = data.draw(st.sampled_from(['x', 'slots', 'own', 'ended', 'dealt', 'clock', 't', 'counts']))
            value[added] = copy.deepcopy(data.draw(st.sampled_from(ODD)))
        elif how == 'twice' and isinstance(value, list) and value:
            value.append(copy.deepcopy(value[0]))
    return signed(state)


def state_of(described, received, **options):
    with (
        mock.patch('itpipe._engine.iterables.STATE_PAUSE', 0),
        Infinite(described, prefetch=0, **options) as batch_iter,
    ):
        list(itertools.islice(batch_iter, received))
        return through_json(batch_iter.state_dict())


@pytest.mark.parametrize('name', sorted(PIPELINES))
@pytest.mark.parametrize('received', [1, 4])
def test_what_a_run_has_written_is_taken(name, received):
    state = state_of(PIPELINES[name](), received)
    with Infinite(PIPELINES[name](), prefetch=0) as batch_iter:
        batch_iter.load_state_dict(state)
        rest = list(itertools.islice(batch_iter, 5))
    with Infinite(PIPELINES[name](), prefetch=0) as batch_iter:
        assert list(itertools.islice(batch_iter, received + 5))[received:] == rest


def test_more_batches_in_a_buffer_than_a_few_numbers_may_stand_for():
    """A state that was written is taken, however much the buffers hold."""
    described = stream(range(600), seed=0) | batch_by(20) | shuffle(9) | batch_by(1)
    short = state_of(described, 3)
    with mock.patch('itpipe._core.key_codes.MAX_IN_RUNS', 9 * 20 - 1):
        state = state_of(described, 3)
        assert 2 * len(json.dumps(short)) < len(json.dumps(state))
        rest = list(described.resume(state))
    assert rest == list(described)[3:] == list(described.resume(short))


def test_a_dataset_is_not_asked_for_its_length_by_each_item_in_a_buffer():
    class Counted(list):
        asked = 0

        def __len__(self):
            self.asked += 1
            return super().__len__()

    described = stream(Counted(range(900)), seed=0) | shuffle(500)
    state = state_of(described, 3)
    described.source.iterable.asked = 0
    described.resume(state)
    assert described.source.iterable.asked < 10


@pytest.mark.long
@given(st.sampled_from(sorted(PIPELINES)), st.integers(0, 9), st.data())
@examples(3000)
def test_a_state_is_refused_or_it_is_one(name, received, data):
    """No other error than ValueError comes of what is changed in it, neither where it is loaded nor in the run."""
    state = mutated(state_of(PIPELINES[name](), received), data)
    with Infinite(PIPELINES[name](), prefetch=0) as batch_iter:
        try:
            batch_iter.load_state_dict(state)
        except ValueError:
            return
        for _ in itertools.islice(batch_iter, 100):
            batch_iter.state_dict()
    list(itertools.islice(PIPELINES[name]().resume(state), 10))


RANKED = ['plain', 'shuffle', 'batches', 'parts', 'reuse', 'sample', 'mix', 'zip', 'concat', 'cycle', 'generator']


@given(
    st.sampled_from(RANKED), st.sampled_from(['keep', 'repeat', 'drop']), st.tuples(*[st.integers(0, 4)] * 2), st.data()
)
@examples(1000)
def test_states_of_ranks_are_refused_or_they_are_ones(name, even, received, data):
    states = [
        state_of(PIPELINES[name](), count, shard=(rank, 2), even=even, seed=5) for rank, count in enumerate(received)
    ]
    changed = data.draw(st.integers(0, 1))
    states[changed] = mutated(states[changed], data)
    try:
        merged = through_json(merge_states(states))
        if data.draw(st.booleans()):
            merged = mutated(merged, data)
        with Infinite(PIPELINES[name](), prefetch=0, shard=(1, 3), even=even, seed=5) as batch_iter:
            batch_iter.load_state_dict(merged)
            list(itertools.islice(batch_iter, 50))
    except ValueError:
        pass


@pytest.mark.parametrize('shard', [[], ['a', 'b'], [0, 3_000_000], [0, 0], [3, 2], [0, 2, 0], [True, 2], 'all', {}, 2])
def test_a_wrong_number_of_ranks_takes_no_memory(shard):
    state = signed({**state_of(PIPELINES['shuffle'](), 1, shard=(0, 2), seed=0), 'shard': shard})
    tracemalloc.start()
    try:
        for load in (lambda: merge_states([state]), lambda: merge_states([state, state])):
            with pytest.raises(ValueError, match='^merge_states: '):
                load()
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('plain', {'source': 5.5}, 'what it says of the source cannot be'),
        ('plain', {'steps': {'take': None}}, 'its "position" has entries for other steps than its "pipeline"'),
        ('plain', {'steps': [None]}, 'the "steps" of its "position" are not a dict'),
        ('plain', {'more': 1}, 'its "position" must have a "source" and "steps"'),
        (
            'shuffle',
            {'steps': {'shuffle': {'slots': [0], 'clock': {'t': -1}}}},
            'an entry of its "steps" has -1 for \'t\'',
        ),
        ('shuffle', {'steps': {'shuffle': {'slots': {'runs': [0, 10**9]}, 'clock': {'t': 1}}}}, 'not keys: too many'),
        (
            'shuffle',
            {'steps': {'shuffle': {'slots': [[0, 1]], 'clock': {'t': 1}}}},
            'what it says of `shuffle(5)` cannot be',
        ),
        (
            'shuffle',
            {'steps': {'shuffle': {'slots': [30], 'clock': {'t': 1}}}},
            'what it says of `shuffle(5)` cannot be',
        ),
        (
            'counted',
            {'steps': {'skip': {'own': {'skipped': 4}}, 'take': {'own': {'taken': 0}}}},
            'what it says of `skip(3)` cannot be',
        ),
        (
            'counted',
            {'steps': {'skip': {'own': {'skipped': 3}}, 'take': {'own': {'taken': 21}}}},
            'what it says of `take(20)` cannot be',
        ),
        (
            'reuse',
            {'steps': {'reuse': {'beside': {'counts': [3]}, 'clock': {'due': 0, 't': 1}, 'slots': [0]}}},
            'what it says of `reuse(4, 3)` cannot be',
        ),
        (
            'reuse',
            {'steps': {'reuse': {'beside': {'counts': []}, 'clock': {'due': 0, 't': 1}, 'slots': [0]}}},
            'an entry of its "steps" has [] for \'counts\'',
        ),
        ('own', {'steps': {'own': {'own': {'taken': 1}}, 'flatten': None}}, 'what it says of `own()` cannot be'),
        ('mix', {'source': {'branches': [None], 'ended': [], 't': 0}}, 'it is of a `mix` of another number of streams'),
        (
            'mix',
            {'source': {'branches': [None, None], 'ended': [2], 't': 0}},
            'what it says of `mix` cannot be',
        ),
        ('zip', {'source': {'branches': [None, None], 't': 0}}, 'what it says of `zip_with` cannot be'),
        (
            'zip',
            {'steps': {'shuffle': {'clock': {'t': 1}, 'slots': [[0, 1]]}}},
            'what it says of `shuffle(3)` cannot be',
        ),
        (
            'zip',
            {'steps': {'shuffle': {'clock': {'t': 1}, 'slots': [{'zip': [0, 20]}]}}},
            'what it says of `shuffle(3)` cannot be',
        ),
        ('concat', {'source': {'at': 2, 'branches': [None, None]}}, 'what it says of `concat` cannot be'),
        (
            'concat',
            {'steps': {'shuffle': {'clock': {'t': 1}, 'slots': [[0, 2]]}}},
            'what it says of `shuffle(4)` cannot be',
        ),
        ('cycle', {'source': {'branches': [None], 'pass': 3}}, 'what it says of `cycle` cannot be'),
        ('cycle', {'source': {'branches': [None], 'pass': -1}}, 'what it says of `cycle` cannot be'),
        (
            'cycle',
            {'steps': {'shuffle': {'clock': {'t': 1}, 'slots': [[0, 3]]}}},
            'what it says of `shuffle(4)` cannot be',
        ),
    ],
)
def test_what_is_wrong_is_said(name, change, message):
    state = state_of(PIPELINES[name](), 2)
    state['position'] |= change
    with raises(ValueError, f'Stream.resume: `state` is damaged: {message}'):
        PIPELINES[name]().resume(signed(state))
