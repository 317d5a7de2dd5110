"""Random pipelines for hypothesis, as data: see `reference`."""

import functools
import itertools
import operator
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from loky.backend import get_context
from loky.process_executor import ProcessPoolExecutor
from reference import (
    ITEMWISE,
    Call,
    Pipe,
    build,
    cost,
    digest,
    fits,
    fragile,
    grid_patches,
    half,
    is_looked_up,
    letters,
    likely,
    noisy,
    normal,
    often,
    one_by_draw,
    pair,
    parts,
    parts_of_a_generator,
    parts_of_an_async_generator,
    picture,
    random_patches,
    record,
    shards,
    spawning,
    three_by_draw,
    two_by_draw,
)
from restless import Restless
from running import AtOnce, Lazily

from itpipe import balanced
from itpipe._core.keys import Batch, Draw, Zipped
from itpipe._workers.inline import InlinePolicy

keys = st.recursive(
    st.integers(0, 2**40) | st.tuples(st.integers(0, 2**40), st.integers(0, 2**20)).map(Draw),
    lambda inner: (
        st.tuples(inner, st.integers(0, 2**20))
        | st.lists(inner, min_size=1, max_size=4).map(Batch)
        | st.lists(inner, min_size=1, max_size=3).map(Zipped.of)
    ),
    max_leaves=12,
)
"""Keys of items."""


def examples(n: int) -> settings:
    """A twentieth of so many examples in the `quick` profile, a tenth in `full`, and as many as `thorough` says."""
    profile = settings.get_current_profile_name()
    if profile == 'quick':
        n = min(n, max(5, n // 20))
    elif profile == 'full':
        n = min(n, max(20, n // 10))
    elif profile == 'thorough':
        n = max(1, n * settings().max_examples // 1000)
    return settings(max_examples=n)


# Item-wise stages. What an item is decides what can be done with it: 'any' knows nothing; 'number'; a 'pair' of numbers
# or other 'tuple' of two; a 'dict' with numbers at a and b or other 'mapping' with these keys; a 'picture', which is a
# tuple of an array and a str; 'many' is a list of numbers; ('batch', kind) is a list of these.

RESULTS = {digest: 'number', half: 'number', pair: 'pair', record: 'dict', parts: 'many', picture: 'picture'}

seeds = st.none() | st.integers(0, 3)
extra_args = st.sampled_from([((), {}), ((), {}), ((7,), {}), ((), {'scale': 2}), ((1, 'x'), {'scale': 3})])
samplers = st.sampled_from([((normal,), {}), ((), {'by': letters}), ((letters, normal), {'by': normal})])


@st.composite
def functions(draw: Any, failing: bool = False) -> Any:
    """A function of anything, or an item-wise stage in the place of one."""
    kind = draw(st.integers(0, 9))
    plain = draw(st.sampled_from([digest, half, pair, *[fragile] * failing]))
    if kind <= 4:
        return plain
    if kind == 5:
        return Call('with_rng', (draw(st.sampled_from([noisy, spawning])),))
    if kind == 6:
        return Call('random_apply', (draw(st.sampled_from([0, 0.3, 0.5, 1])), plain))
    if kind == 7:
        args, named = draw(samplers)
        return Call('sample_args', (plain, *args), named)
    if kind == 8:
        return Call('apply', (pair,)), Call('map_at', (draw(st.sampled_from([0, 1, -1])), plain))
    return Call('random_apply', (0.5, Call('with_rng', (noisy,)), 5))


paddings = st.builds(
    lambda *options: Call('combine_pad', (), functools.reduce(operator.or_, options)),
    st.sampled_from([{}, {'padding_values': 5}, {'ratio': 0.5}, {'ratio': 0, 'padding_values': 1}]),
    st.sampled_from([{}, {'to': 4}, {'edges': [1, 3]}, {'edges': [4]}, {'multiple_of': 2}]),
    st.sampled_from([{}, {'mask': True}, {'lengths': True}, {'lengths': True, 'mask': True}]),
)


@st.composite
def itemwise(draw: Any, kind: Any, failing: bool = False) -> tuple[Any, Any]:
    """An item-wise stage for items of this kind, and the kind of its results."""
    names = ['apply', 'plain', 'with_rng', 'random_apply', 'sample_args']
    if kind in ('pair', 'tuple', 'dict', 'mapping', 'picture'):
        names += ['map_at', 'unpack', 'map_all', 'zip_apply']
    if isinstance(kind, tuple) and kind[1] in ('number', 'pair', 'dict'):
        names += ['combine', 'combine_lists', 'combine_pad'] * 2
    if isinstance(kind, tuple) and kind[1] == 'picture':
        names += ['combine_pad', 'combine_lists'] * 5
    name = draw(st.sampled_from(names))
    args, kwargs = draw(extra_args)
    f = draw(functions(failing))
    if isinstance(f, tuple) or (isinstance(f, Call) and f.name == 'random_apply'):
        args, kwargs = (), {}  # that of several steps takes no further arguments, this has its own
    if name in ('plain', 'apply'):
        f = draw(st.sampled_from([*RESULTS, *[fragile] * failing]))
        made = f if name == 'plain' else Call('apply', (f, *args), kwargs)
        return made, RESULTS.get(f, 'number')
    if name == 'with_rng':
        return Call('with_rng', (draw(st.sampled_from([noisy, spawning])), *args), kwargs), 'any'
    if name == 'random_apply':
        return Call('random_apply', (draw(st.sampled_from([0, 0.5, 1])), f, *args), kwargs), 'any'
    if name == 'sample_args':
        args, named = draw(samplers)
        return Call(
            'sample_args', (draw(st.sampled_from([digest, pair, Call('with_rng', (noisy,))])), *args), named
        ), 'any'
    if name == 'map_at':
        places = ['a', ['a', 'b'], ('b',)] if kind in ('dict', 'mapping') else [0, 1, -1, [0, 1], (0, -1)]
        made = Call('map_at', (draw(st.sampled_from(places)), f, *args), kwargs)
        return made, 'mapping' if kind in ('dict', 'mapping') else 'tuple'
    if name == 'map_all':
        return Call('map_all', (f, *args), kwargs), 'mapping' if kind in ('dict', 'mapping') else 'tuple'
    if name == 'zip_apply':
        made = Call('zip_apply', (f, draw(functions(failing))), kwargs if args == () and not kwargs else {})
        return made, 'mapping' if kind in ('dict', 'mapping') else 'tuple'
    if name == 'unpack':
        return Call('unpack', (f, *args), kwargs), 'any'
    if name == 'combine_pad':
        return draw(paddings), 'any'
    return Call(name), 'any'


def is_itemwise(made: Any) -> bool:
    return not isinstance(made, Call) or made.name in ITEMWISE


# How parallel maps run

windows = st.integers(1, 6)


def pooled(*names: str) -> Any:
    return st.fixed_dictionaries({'executor': st.sampled_from(names), 'in_flight': windows})


threads = st.fixed_dictionaries({'threads': st.integers(1, 4)}, optional={'in_flight': windows})
tasks = st.fixed_dictionaries({'tasks': st.integers(1, 4)}, optional={'in_flight': windows})
in_this_process = st.one_of(
    threads,
    tasks,
    st.just({'workers': 'auto'}),
    pooled('at once', 'threads', 'lazily'),
)
unordered = in_this_process.map(lambda mode: {**mode, 'ordered': False})
remote = pooled('processes')
processes = st.fixed_dictionaries({'processes': st.integers(1, 2)}, optional={'in_flight': windows})


@pytest.fixture(scope='module')
def executors() -> Iterator[dict[str, Any]]:
    """Executors by the names that pipelines have for them."""
    with ThreadPoolExecutor(2) as pool:
        both = threading.Barrier(2)
        list(pool.map(lambda _: both.wait(30), range(2)))  # now both of its threads are there
        yield {'at once': AtOnce(), 'lazily': Lazily(), 'threads': pool}


@pytest.fixture(scope='module')
def executors_with_processes(executors: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pool = ProcessPoolExecutor(2, context=get_context('loky'))
    assert [future.result() for future in [pool.submit(abs, -n) for n in range(4)]] == list(range(4))
    yield {**executors, 'processes': pool}
    pool.shutdown(kill_workers=True)


class Fickle(InlinePolicy):
    """Calls run in threads and inline by turns, whatever time they take."""

    turns = itertools.cycle([(1, 0), (3, 1000), (0, 1000), (2, 0), (0, 0), (5, 0), (1, 1000)])

    def __init__(self, calibrated: bool = False):
        super().__init__(calibrated)
        self.left, self.CHEAP = next(self.turns)

    def record(self, seconds: float) -> None:
        self.calibrated, self.left = True, self.left - 1
        self.active = self.active or self.left < 0

    def to_workers(self) -> None:
        self.active = False
        self.left, self.CHEAP = next(self.turns)


@pytest.fixture(scope='module')
def fickle() -> Iterator[None]:
    with (
        mock.patch('itpipe._workers.threads.InlinePolicy', Fickle),
        mock.patch('itpipe._workers.auto.Tuner', Restless),
    ):
        yield
    Restless.made.clear()


@st.composite
def parallel(draw: Any, kind: Any, modes: Any, failing: bool = False) -> tuple[Call, Any]:
    first, result = draw(itemwise(kind, failing))
    mode = draw(modes)
    if draw(st.booleans()):
        if isinstance(first, Call) and draw(st.booleans()):
            second, result = draw(itemwise(result, failing))
            if isinstance(second, Call):
                return Call('parallel_map', ((first, second),), mode), result
            return Call('parallel_map', ((first, Call('apply', (second,))),), mode), result
        return Call('parallel_map', (first,), mode), result
    args, kwargs = draw(extra_args)
    f = draw(st.sampled_from([*RESULTS, *[fragile] * failing]))
    return Call('parallel_map', (f, *args), {**kwargs, **mode}), RESULTS.get(f, 'number')


# Flow stages, batches, custom stages

small = st.integers(0, 8)
numbers = st.integers(0, 12) | st.builds(lambda first, count: range(first, first + count), small, small)
FLOW = {
    'exclude': st.builds(
        lambda items, passes: Call('exclude', tuple(items), {} if passes is None else {'passes': passes}),
        st.lists(numbers | st.tuples(small | st.tuples(small, st.integers(0, 1)), numbers), max_size=3),
        st.none() | st.integers(0, 1),
    ),
    'filter_by': st.sampled_from([(often,), (often, 3), (Call('with_rng', (likely,)),), (digest,)]).map(
        lambda args: Call('filter_by', args)
    ),
    'take': st.integers(0, 25).map(lambda n: Call('take', (n,))),
    'skip': small.map(lambda n: Call('skip', (n,))),
    'shard': st.sampled_from([(0, 1), (0, 2), (1, 2), (2, 3)]).map(lambda args: Call('shard', args)),
    'shuffle': st.builds(
        lambda size, seed: Call('shuffle', (size,), {} if seed is None else {'seed': seed}), st.integers(1, 9), seeds
    ),
    'reuse': st.builds(
        lambda size, times, iterations, seed: Call('reuse', (size, times), {'iterations': iterations, 'seed': seed}),
        st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), seeds,
    ),
    'prefetch': st.integers(1, 5).map(lambda n: Call('prefetch', (n,))),
}  # fmt: skip
batches = (
    st.builds(
        lambda n, drop: Call('batch_by', (n,), {'drop_last': True} if drop else {}), st.integers(1, 6), st.booleans()
    )
    | st.just(Call('batch_by', (fits,)))
    | st.builds(
        lambda limit, padded: Call('batch_by', (), {'limit': limit, 'cost': cost, 'padded': padded}),
        st.integers(0, 20), st.booleans(),
    )
)  # fmt: skip
lists_by_length = st.builds(
    lambda how, most: Call('bucket_by', (cost,), {**how, **most}),
    st.sampled_from([{'edges': [2]}, {'edges': [1, 3, 4]}, {'window': 1}, {'window': 4}, {'window': 7}]),
    st.fixed_dictionaries({'size': st.integers(1, 4)}) | st.fixed_dictionaries({'limit': st.integers(0, 20)})
    | st.fixed_dictionaries({'size': st.integers(1, 4), 'limit': st.integers(0, 20)}),
)  # fmt: skip
rows = st.builds(
    lambda length, options: Call('pack', (length,), options),
    st.integers(1, 6), st.sampled_from([{}, {'cut': 'all'}, {'rows': 1}, {'rows': 2}]),
)  # fmt: skip
batched_and_not = st.just(()) | st.integers(1, 4).map(lambda n: (Call('batch_by', (n,)), Call('flatten')))
"""What leaves the items as they are, but for that they come in batches on their way."""
interleaves = st.builds(
    lambda read, cycle, block, ahead: Call('interleave', (read,), {'cycle': cycle, 'block': block, **ahead}),
    st.sampled_from([parts, parts_of_a_generator, parts_of_an_async_generator, shards]),
    st.integers(1, 4), st.integers(1, 3),
    st.just({}) | st.integers(1, 3).map(lambda n: {'prefetch': n}),
)  # fmt: skip
nothing_fails = st.sampled_from([{}, {'on_error': 'skip'}])
"""Options of what reads, where all can be read."""
JOINS = ('zip_with', 'concat', 'cycle')
WHATEVER_THE_ORDER = ('exclude', 'filter_by', 'shuffle', 'reuse', 'prefetch')
"""What gives the same items, in some order, whatever the order in which it gets them."""


@st.composite
def stages(
    draw: Any,
    kind: Any = 'any',
    most: int = 6,
    modes: Any = in_this_process,
    failing: bool = False,
    opaque: bool = True,
    flow: Any = (*FLOW, 'join'),
    batching: bool = True,
    endless: bool = True,
    one_shot: bool = False,
    once: bool = False,
    depth: int = 0,
) -> tuple[tuple, Any]:
    """Stages in a row for items of this kind, and the kind of what comes out."""
    options = {'modes': modes, 'failing': failing, 'opaque': opaque, 'batching': batching, 'endless': endless}
    options |= {'one_shot': one_shot, 'depth': depth + 1}
    result: list[Any] = []
    reuses = 0
    if failing:  # behind these, nobody hears of the errors of items that do not come
        flow = tuple(name for name in flow if name not in ('exclude', 'shard'))
    options['flow'] = flow
    joining = 'join' in flow and depth < 2
    flow = tuple(name for name in flow if name != 'join')
    for _ in range(draw(st.integers(0, most))):
        names = ['itemwise', 'flow', 'flow', 'parallel', *['batch', 'padded'] * batching, *['join'] * joining]
        if kind == 'many' or isinstance(kind, tuple):
            names += ['flatten'] * 2
        if isinstance(kind, tuple):
            names += ['itemwise'] * 3
        if kind == 'picture':
            names += ['take apart'] * 2
        name = draw(st.sampled_from([*names, 'take apart', 'interleave', *['custom'] * opaque]))
        if name == 'itemwise':
            made, kind = draw(itemwise(kind, failing))
            result.append(made)
        elif name == 'parallel':
            made, kind = draw(parallel(kind, modes, failing))
            result.append(made)
        elif name == 'flow':
            name = draw(st.sampled_from([name for name in flow if name != 'reuse' or reuses < 2]))
            made = draw(FLOW[name])
            reuses += made.name == 'reuse'
            result.append(made)
        elif name == 'join':
            once = once or 'one_shot(' in repr(result)
            made, kind = draw(joins(kind, once, **options))
            result.append(made)
            if has_weights(made):
                once, opaque = True, False
        elif name == 'padded':
            result += [Call('apply', (picture,)), Call('batch_by', (draw(st.integers(1, 4)),)), draw(paddings)]
            kind = 'any'
        elif name == 'batch':
            result.append(draw(batches))
            kind = ('batch', kind)
        elif name == 'flatten':
            result.append(Call('flatten', (), draw(nothing_fails)))
            kind = kind[1] if isinstance(kind, tuple) else 'number'
        elif name == 'take apart' and kind == 'picture':
            cut = draw(
                st.sampled_from([Call('with_rng', (random_patches, (1, 1), 2)), Call('apply', (grid_patches, (1, 1)))])
            )
            result += [cut, Call('flatten')]
        elif name == 'take apart':  # a generator cannot be sent anywhere, or kept
            result += [
                Call('apply', (draw(st.sampled_from([parts, parts_of_a_generator, parts_of_an_async_generator])),)),
                Call('flatten', (), draw(nothing_fails)),
            ]
            kind = 'number'
        elif name == 'interleave':
            made = draw(interleaves)
            own = {'processes': True} if modes is processes and draw(st.booleans()) else {}
            result.append(Call('interleave', made.args, {**made.kwargs, **own, **draw(nothing_fails)}))
            kind = 'number'
        elif name == 'custom':
            customs = [
                (Call('running', (), {'start': 3}), 'number'),
                (Call('every_other'), kind),
                (Call('twice'), 'any'),
                (Call('in_threes'), 'number'),
                (Call('held_back', (), {'size': 3}), 'any'),
                *[(draw(lists_by_length), ('batch', kind))] * 2,
                *[((Call('apply', (parts,)), draw(rows)), 'any')] * 2,
            ]
            if failing:
                customs.append((Call('fragile_sums'), 'number'))
            made, kind = draw(st.sampled_from(customs))
            result += made if isinstance(made, tuple) else [made]
    return tuple(result), kind


def has_weights(made: Any) -> bool:
    """Whether there are weights that may be replaced: behind them, nothing can run again from the beginning."""
    return "'reweight'" in repr(made) or 'reweight=' in repr(made)


@st.composite
def joins(draw: Any, kind: Any, once: bool, **options: Any) -> tuple[Call, Any]:
    """A stage that joins streams, or reads the one before it several times."""
    name = draw(st.sampled_from([*JOINS[:2], *['cycle'] * (not once)]))
    if name == 'cycle':
        times = st.integers(0, 3).map(lambda n: (n,))
        return Call('cycle', draw(times | st.just(()) if options['endless'] else times)), kind
    other = finite | pipes(seed=draw(seeds), most=2, **options) | (st.nothing() if options['failing'] else datasets)
    others = tuple(draw(st.lists(other, min_size=1, max_size=2)))
    return Call(name, others), 'tuple' if name == 'zip_with' and len(others) == 1 else 'any'


# Sources

sizes = st.integers(0, 30)
sequences = (
    st.integers(1, 12).map(range)
    | st.lists(st.integers(0, 9), min_size=1, max_size=8)
    | st.sampled_from(
        ['abcde', (1, 2.5, None), Call('array', ([[1, 2], [3, 4], [5, 6]],)), Call('array', ([1.5, -2],))]
    )
)
finite = (
    sizes.map(range)
    | st.lists(st.integers(0, 9), max_size=12)
    | st.sampled_from([
        'abcdefgh',
        b'bytes',
        Call('dict', ('keys', 1)),
        Call('array', ([[1, 2], [3, 4], [5, 6]],)),
        Call('array', ([0.5] * 7,)),
        {3: 4, 'x': 2},
        Call('Asynchronous', ([3, 1, 4, 1, 5, 9, 2, 6],)),
        [[1, 2], [], (3,), 'ab'],
    ])
)  # fmt: skip


datasets = st.lists(st.integers(0, 9), max_size=12).map(lambda values: Call('Indexed', (values,)))
datasets = datasets | st.builds(lambda *args: Call('part', args), datasets, st.integers(0, 2), st.integers(0, 2))
SCHEDULES = {1: one_by_draw, 2: two_by_draw, 3: three_by_draw}


replaced = st.sampled_from([{}, {'reweight': True}])


@st.composite
def weighted(draw: Any, count: int) -> dict:
    if draw(st.booleans()):
        return {}
    if draw(st.integers(0, 3)) == 0:
        labels = draw(st.lists(st.sampled_from('abc'), min_size=count, max_size=count))
        return {'weights': balanced(labels).tolist()}
    return {'weights': draw(st.lists(st.sampled_from([0, 1, 2, 0.5]), min_size=count, max_size=count).filter(any))}


@st.composite
def sources(
    draw: Any, seed: int | None, depth: int, failing: bool, endless: bool, one_shot: bool, **options: Any
) -> Any:
    """A source with this seed."""
    own = {} if seed is None else {'seed': seed}
    # what raises is not told from the outside of streams whose items are looked up later
    looked_up = depth == 0 or not failing
    names = ['finite'] * 3 + ['one-shot'] * one_shot + ['sample', 'sample', 'Endless'] * endless
    names += ['dataset', 'dataset', *['load'] * endless] * looked_up + ['cached'] * (not failing)
    name = draw(st.sampled_from(names + ['stream', 'mix', 'mix'] * (depth < 2)))
    if name == 'finite':
        return Call('stream', (draw(finite),), own)
    if name == 'one-shot':
        return Call('stream', (Call('one_shot', (draw(sizes.map(range)),), {'fails': True} if failing else {}),), own)
    if name == 'Endless':
        return Call('stream', (Call('Endless'),), own)
    if name == 'cached':
        made = Call('apply', (draw(st.sampled_from([digest, pair, record, picture])),))
        return Call('cached', (draw(datasets), made, 'memory'), own)
    if name == 'dataset':
        return Call('stream', (draw(datasets),), own)
    if name == 'sample':
        sequence = draw(sequences | datasets.filter(lambda made: len(build(made))) if looked_up else sequences)
        count = len(build(sequence))
        replace = draw(st.sampled_from([{}, {'replace': False}, {'reweight': True}]))
        return Call('sample', (sequence,), {**draw(weighted(count)), **replace, **own})
    if name == 'load':
        ids = draw(st.integers(1, 9).map(range) | st.just(['x', 'yz']))
        loaders = draw(st.sampled_from([(digest,), (half,), (digest, pair)]))
        return Call('load_by_random_id', loaders, {'ids': ids, **draw(weighted(len(ids))), **draw(replaced), **own})
    options |= {'failing': failing, 'endless': endless, 'one_shot': one_shot, 'depth': depth + 1}
    if name == 'stream':
        return Call('stream', (draw(pipes(seed=draw(seeds), most=2, **options)),), own)
    branch = finite | pipes(seed=draw(seeds), most=3, **options) | (st.nothing() if failing else datasets)
    branches = draw(st.lists(branch, min_size=1, max_size=3))
    schedule = st.just({'weights': SCHEDULES[len(branches)]})
    weights = draw(schedule | st.builds(operator.or_, weighted(len(branches)), replaced))
    return Call('mix', tuple(branches), {**weights, **own})


@st.composite
def pipes(
    draw: Any,
    seed: int | None = 0,
    most: int = 6,
    failing: bool = False,
    endless: bool = True,
    one_shot: bool = True,
    depth: int = 0,
    **options: Any,
) -> Pipe:
    """A pipeline whose source has this seed; without one, it is one within another."""
    source = draw(sources(seed, depth, failing, endless, one_shot, **options))
    options |= {'failing': failing, 'endless': endless, 'depth': depth}
    once = 'one_shot(' in repr(source)
    if has_weights(source):
        once, options['opaque'] = True, False
    if failing and is_looked_up(source):
        options['flow'] = tuple(FLOW)  # without joins
    made, _ = draw(stages(most=most, one_shot=one_shot, once=once, **options))
    return Pipe(source, made)


HOW = ('threads', 'processes', 'tasks', 'executor', 'workers', 'in_flight')


@st.composite
def in_other_modes(draw: Any, value: Any, modes: Any = in_this_process) -> Any:
    """The same pipeline, where what runs elsewhere runs somewhere else, or here."""
    if isinstance(value, Pipe):
        stages = value.stages
        if draw(st.booleans()):
            stages = draw(with_whole_batches(stages, modes))
        made = [draw(in_another_mode(each, modes)) for each in stages]
        return Pipe(draw(in_other_modes(value.source, modes)), tuple(itertools.chain.from_iterable(made)))
    if not isinstance(value, Call):
        return value
    return Call(value.name, tuple(draw(in_other_modes(each, modes)) for each in value.args), value.kwargs)


@st.composite
def with_whole_batches(draw: Any, stages: tuple, modes: Any) -> tuple:
    """The stages, where some that make batches, and those around them, run in workers as one."""
    for n, made in enumerate(stages):
        if isinstance(made, Call) and made.name == 'batch_by' and made.args and isinstance(made.args[0], int):
            first, end = n, n + 1
            while first and is_itemwise(stages[first - 1]) and draw(st.integers(0, 3)):
                first -= 1
            while end < len(stages) and is_itemwise(stages[end]) and draw(st.integers(0, 3)):
                end += 1
            whole = tuple(each if isinstance(each, Call) else Call('apply', (each,)) for each in stages[first:end])
            return (*stages[:first], Call('parallel_map', (whole,), draw(modes)), *stages[end:])
    return stages


@st.composite
def in_another_mode(draw: Any, made: Any, modes: Any) -> tuple:
    """Stages that do the same as this one."""
    ahead = (Call('prefetch', (draw(st.integers(1, 5)),)),) if draw(st.integers(0, 3)) == 0 else ()
    if isinstance(made, Call) and made.name in JOINS:
        return (draw(in_other_modes(made, modes)), *ahead)
    if isinstance(made, Call) and made.name == 'interleave':
        options = {name: made.kwargs[name] for name in ('cycle', 'block')}
        options |= {'prefetch': draw(st.integers(1, 3))} if draw(st.booleans()) else {}
        options |= {'processes': True} if modes is processes and draw(st.booleans()) else {}
        return (Call('interleave', made.args, options | draw(nothing_fails)), *ahead)
    if not isinstance(made, Call) or made.name not in ('parallel_map', 'prefetch'):
        return (made, *ahead)
    if made.name == 'prefetch':
        return ahead
    kept = {k: v for k, v in made.kwargs.items() if k not in HOW}
    if draw(st.booleans()) or 'ordered' in kept or 'on_error' in kept:
        return (Call('parallel_map', made.args, {**kept, **draw(modes)}), *ahead)
    f = made.args[0]
    if isinstance(f, tuple):
        return (*f, *ahead)
    return (f if isinstance(f, Call) else Call('apply', made.args, kept), *ahead)
