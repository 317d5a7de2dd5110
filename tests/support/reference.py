"""What pipelines should give, worked out the naive way: every step takes a list and makes a list.

A pipeline is written down as data, `Pipe('abcdef', (Call('shuffle', (3,)), Call('batch_by', (2,))))`, of which `build`
makes the real thing and `expected` says what comes out. The latter uses nothing of itpipe but what is documented of
its randomness: the generator of an item from (seed, number of the random step in reading order, pass, key).
"""

import asyncio
import functools
import itertools
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

import itpipe
from itpipe._core.keys import Batch, Zipped, describe
from itpipe._core.rng import generator, step_key
from itpipe.image import grid_patches, random_patches  # noqa: F401  (in pipelines)

# ---------------------------------------------------------------------------------------------------------------------
# Pipelines as data


@dataclass(frozen=True)
class Call:
    """`name(*args, **kwargs)`, where the arguments may hold further ones."""

    name: str
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)

    def __repr__(self) -> str:
        parts = [*map(written, self.args), *(f'{name}={written(value)}' for name, value in self.kwargs.items())]
        return f'{self.name}({", ".join(parts)})'


@dataclass(frozen=True)
class Pipe:
    """`source | stages[0] | stages[1] | …`; a stage is a `Call` or a function."""

    source: Any
    stages: tuple = ()

    def __repr__(self) -> str:
        return ' | '.join(map(written, [self.source, *self.stages]))


def written(value: Any) -> str:
    """A part of a pipeline as one would write it; a tuple of calls is one stage of several steps."""
    if isinstance(value, tuple) and value and all(isinstance(part, Call) for part in value):
        return ' | '.join(map(repr, value))
    return value.__name__ if hasattr(value, '__name__') else repr(value)


def build(value: Any, executors: dict[str, Any] | None = None) -> Any:
    """What the data describes, made with itpipe; executors are given by name."""
    if isinstance(value, Pipe):
        result = itpipe.stream(build(value.source, executors))
        for each in value.stages:
            result = result | build(each, executors)
        return result
    if isinstance(value, Call):
        args = [build(each, executors) for each in value.args]
        kwargs = {name: build(each, executors) for name, each in value.kwargs.items()}
        if 'executor' in kwargs:
            kwargs['executor'] = (executors or {})[kwargs['executor']]
        if 'tasks' in kwargs:  # which are for a function alone
            if isinstance(args[0], itpipe.Stage):
                kwargs['threads'] = kwargs.pop('tasks')
            else:
                args[0] = awaited(args[0])
        own = CUSTOM | SOURCES
        return (own[value.name] if value.name in own else getattr(itpipe, value.name))(*args, **kwargs)
    if isinstance(value, tuple) and value and all(isinstance(part, Call) for part in value):
        result, *others = [build(part, executors) for part in value]
        for other in others:
            result = result | other
        return result
    return value


def bits(value: Any) -> Any:
    """The value as something that is equal only to what has the same types, shapes and bits."""
    if isinstance(value, np.ndarray):
        content = value.tobytes() if value.dtype != object else tuple(map(bits, value.ravel().tolist()))
        return 'array', value.dtype.str, value.shape, content
    if isinstance(value, np.generic):
        return type(value).__name__, value.tobytes()
    if isinstance(value, float):
        return 'float', value.hex()
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(map(bits, value))
    if isinstance(value, dict):
        return 'dict', tuple((key, bits(each)) for key, each in value.items())
    return type(value).__name__, value


# ---------------------------------------------------------------------------------------------------------------------
# Functions to put into pipelines: of anything, and their results depend on all they are given


def digest(*args: Any, **kwargs: Any) -> int:
    return zlib.crc32(repr(bits((args, sorted(kwargs.items())))).encode())


def half(*args: Any, **kwargs: Any) -> float:
    return digest(*args, **kwargs) / 2**32


def pair(*args: Any, **kwargs: Any) -> tuple:
    return digest(*args, **kwargs), half(*args)


def record(*args: Any, **kwargs: Any) -> dict:
    return {'a': digest(*args, **kwargs), 'b': half(*args)}


def picture(*args: Any, **kwargs: Any) -> tuple:
    """An image that is never empty, and a label."""
    seed = digest(*args, **kwargs)
    return np.full((1 + seed % 3, 1 + seed % 2), seed % 100, [np.uint8, np.float32][seed % 2]), str(seed % 7)


def parts(*args: Any, **kwargs: Any) -> list:
    seed = digest(*args, **kwargs)
    return [seed + n for n in range(1 + seed % 3)]  # not none: an endless stream of few items might never go on


def parts_of_a_generator(*args: Any, **kwargs: Any) -> Iterator:
    yield from parts(*args, **kwargs)


async def parts_of_an_async_generator(*args: Any, **kwargs: Any) -> AsyncIterator:
    for part in parts(*args, **kwargs):
        await asyncio.sleep(0)
        yield part


def shards(*args: Any, **kwargs: Any) -> Any:
    """From one to five items: a list, a dataset, a generator, or what has to be awaited."""
    seed = digest(*args, **kwargs)
    items = [seed + n for n in range(1 + seed % 5)]
    return [list, Indexed, iter, Asynchronous][seed % 4](items)  # type: ignore[operator]


def noisy(*args: Any, rng: np.random.Generator, **kwargs: Any) -> tuple:
    return digest(*args, **kwargs), rng.random(), int(rng.integers(1000))


def spawning(*args: Any, rng: np.random.Generator, **kwargs: Any) -> tuple:
    return tuple(float(child.random()) + digest(*args, **kwargs) for child in rng.spawn(2))


def normal(rng: np.random.Generator) -> float:
    return float(rng.normal())


def letters(rng: np.random.Generator) -> str:
    return ''.join(rng.choice(list('abc'), size=3))


def often(*args: Any, **kwargs: Any) -> bool:
    return digest(*args, **kwargs) % 4 > 0


def likely(*args: Any, rng: np.random.Generator, **kwargs: Any) -> bool:
    return rng.random() < 0.7


def fits(items: list, item: Any) -> bool:
    return (len(items) + digest(item)) % 3 > 0


def cost(item: Any) -> int:
    return 1 + digest(item) % 6  # not nothing: a batch of an endless stream would never be full


class Boom(Exception):
    """An error that takes several arguments, which pickle only keeps where care is taken."""

    def __init__(self, value: Any, *, rule: str):
        super().__init__(value, rule)
        self.rule = rule


def fragile(*args: Any, **kwargs: Any) -> int:
    seed = digest(*args, **kwargs)
    if seed % 16 == 0:
        raise Boom(seed, rule='fragile')
    return seed


def awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same as a coroutine function, by the same name."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args, **kwargs)

    return call


def one_by_draw(draw: int) -> list[float]:
    return [1 + draw]


def two_by_draw(draw: int) -> list[float]:
    return [draw % 3, 1]


def three_by_draw(draw: int) -> list[float]:
    return [draw, 2, 0 if draw % 2 else 5]


# ---------------------------------------------------------------------------------------------------------------------
# Sources and stages that itpipe does not have: the real ones, for `build`


def one_shot(values: Any, fails: bool = False) -> Iterator:
    yield from values
    if fails:
        raise Boom(len(values), rule='one_shot')


@dataclass(frozen=True)
class Endless:
    """The squares; each iteration begins anew."""

    def __iter__(self) -> Iterator[int]:
        n = 0
        while True:
            yield n * n
            n += 1


@dataclass(frozen=True)
class Indexed:
    """A dataset: only an index and a length, and nothing says that the index costs nothing."""

    values: Any

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        return self.values[index]


@dataclass(frozen=True)
class Asynchronous:
    """What only `async for` takes; each iteration begins anew."""

    values: Any

    async def __aiter__(self) -> AsyncIterator:
        for value in self.values:
            await asyncio.sleep(0)
            yield value


def values_of(iterable: Any) -> list:
    """What `for` or `async for` would give."""

    async def awaited() -> list:
        return [value async for value in iterable]

    return asyncio.run(awaited()) if hasattr(iterable, '__aiter__') else list(iterable)


def cached(data: Any, made: Any, where: str, seed: int | None = None) -> itpipe.Stream[Any]:
    """The items of the data, made once by these item-wise stages."""
    return itpipe.stream(data, seed=seed) | made | itpipe.cache(where)


def part(data: Any, number: int, seed: int) -> Any:
    return itpipe.split(data, [0.5, 0.3, 0.2], seed=seed)[number]


@itpipe.stage
def running(items, start=0):
    total = start
    for item in items:
        total = digest(total, item)
        yield total


@itpipe.stage
def every_other(items):
    for item in items:
        yield item
        next(items, None)


@itpipe.stage
def twice(items):
    for item in items:
        yield item
        yield digest(item)


@itpipe.stage
def fragile_sums(items):
    last = 0
    for item in items:
        last = fragile(last, item)
        yield last


@itpipe.stage(state={'slots': []})
def in_threes(items, state):
    slots = state['slots']
    for item in items:
        slots.append(item)
        if len(slots) == 3:
            yield digest(*slots)
            slots.clear()
    for item in slots:
        yield digest(item)


@itpipe.stage(state={'slots': [], 'count': 0})
def held_back(items, state, size=2):
    for item in items:
        state['count'] += 1
        state['slots'].append(item)
        if len(state['slots']) > size:
            yield state['slots'].pop(state['count'] % size)
            yield state['count']
    while state['slots']:
        yield state['slots'].pop()
    yield state['count']


CUSTOM = {
    'running': running,
    'every_other': every_other,
    'twice': twice,
    'fragile_sums': fragile_sums,
    'in_threes': in_threes,
    'held_back': held_back,
}
SOURCES = {
    'cached': cached,
    'part': part,
    'one_shot': one_shot,
    'Endless': Endless,
    'Indexed': Indexed,
    'Asynchronous': Asynchronous,
    'array': np.array,
    'dict': dict.fromkeys,
    'set': set,
}


# ---------------------------------------------------------------------------------------------------------------------
# What should come out


class Item(NamedTuple):
    key: Any
    value: Any
    need: float
    """How many items had been taken from the source, at most, when this one was handed out."""


@dataclass
class Flow:
    """What flows between two steps."""

    items: list[Item]
    end: float | None
    """How many items had been taken from the source when the end was seen; None: there was none to be seen."""
    error: Exception | None = None
    """What was raised behind the last item."""
    note: str | None = None

    @property
    def values(self) -> list[Any]:
        return [item.value for item in self.items]

    def from_(self, items: list[Item], **changes: Any) -> 'Flow':
        return Flow(**{**vars(self), 'items': items, **changes})


class Words:
    """The words of the random steps, in the order in which they are written."""

    def __init__(self, seed: int | None, pass_: int, fallback: int | None, counts: dict[str, int] | None = None):
        self.seed, self.pass_, self.fallback = seed, pass_, fallback
        self.counts = {} if counts is None else counts

    def next(self, name: str, own: int | None = None) -> int:
        seed = next((seed for seed in (own, self.seed, self.fallback) if seed is not None), None)
        assert seed is not None, 'a random pipeline needs a seed'
        count = self.counts[name] = self.counts.get(name, -1) + 1
        return step_key(seed, name, count, self.pass_)

    def inside(self, source: Any) -> 'Words':
        own = seed_of(source)
        return Words(self.seed, self.pass_, self.fallback if own is None else own, self.counts)

    def again(self, counts: dict[str, int], pass_: int) -> 'Words':
        """The words of the same steps in another pass."""
        return Words(self.seed, pass_, self.fallback, counts)


def named(stage: str, f: Any) -> str:
    """The name of a random step by its stage and the first function of the user's in it."""
    while isinstance(f, (tuple, Call)):
        if isinstance(f, tuple):
            f = f[0]
        elif not f.args:
            return f'{stage}:{f.name}'
        else:
            f = f.args[1 if f.name in ('map_at', 'random_apply') else 0]
    return f'{stage}:{f.__name__}'


def seed_of(source: Any) -> int | None:
    """The seed that a source gives to the steps behind it."""
    if isinstance(source, Pipe):
        return seed_of(source.source)
    if not isinstance(source, Call):
        return None
    own = source.kwargs.get('seed')
    return seed_of(source.args[0]) if own is None and source.name == 'stream' else own


def expected(pipe: Pipe, cut: int = 100, seed: int | None = None, pass_: int = 0) -> Flow:
    """What comes out of the pipeline, if endless sources are looked at for `cut` items.

    What may have to wait for items behind the cut is left out: a filter behind an endless source may let none pass.
    """
    flow = pipe_flow(pipe, Words(seed, pass_, seed_of(pipe)), cut)
    if flow.end is not None or flow.error is not None:
        return flow
    return flow.from_([item for item in flow.items if item.need < float('inf')])


def pipe_flow(pipe: Pipe, words: Words, cut: int) -> Flow:
    last = max((n for n, each in enumerate(pipe.stages) if isinstance(each, Call) and each.name in JOINS), default=None)
    if last is None:
        flow = source_flow(pipe.source, words, cut)
    else:
        joining = pipe.stages[last]
        left = Pipe(pipe.source, pipe.stages[:last])
        flow = JOINS[joining.name](words, cut, left, *joining.args, **joining.kwargs)
    stages = pipe.stages[0 if last is None else last + 1 :]
    for each in as_they_run(stages) if is_looked_up(pipe.source) else stages:
        flow = stage_flow(each, words, flow)
    return flow


def is_looked_up(source: Any) -> bool:
    """Whether the items of the source are looked up behind the steps that only choose and order them."""
    if not isinstance(source, Call):
        return False
    if source.name in ('stream', 'sample', 'part'):
        return is_looked_up(source.args[0])
    return source.name in ('Indexed', 'load_by_random_id')


def as_they_run(stages: tuple) -> list[Any]:
    """The stages in the order in which they run, which matters if one raises: item-wise ones wait for such steps."""
    waiting: list[Any] = []
    result: list[Any] = []
    for n, each in enumerate(stages):
        if not isinstance(each, Call) or each.name in ITEMWISE:
            waiting.append(each)
        elif each.name in ('shuffle', 'take', 'skip', 'shard'):
            result.append(each)
        else:
            return [*result, *waiting, *stages[n:]]
    return result + waiting


def first_error(flow: Flow, items: list[Item], error: Exception, note: str | None) -> Flow:
    return Flow(items, None, error, note)


# Sources


def source_flow(source: Any, words: Words, cut: int) -> Flow:
    if isinstance(source, Pipe):
        return pipe_flow(source, words, cut)
    if isinstance(source, Call) and source.name == 'stream':
        return source_flow(source.args[0], words, cut)
    if isinstance(source, Call) and source.name == 'cached':
        return stage_flow(source.args[1], words, source_flow(source.args[0], words, cut))
    if isinstance(source, Call) and source.name in ENDLESS:
        return ENDLESS[source.name](words, cut, *source.args, **source.kwargs)
    if isinstance(source, Call) and source.name == 'Endless':
        return numbered([n * n for n in range(cut)], None)
    if isinstance(source, Call) and source.name == 'one_shot' and source.kwargs.get('fails'):
        values = source.args[0]
        flow = numbered(list(values), None)
        return first_error(flow, flow.items, Boom(len(values), rule='one_shot'), describe(len(values)))
    values = values_of(build(source))
    return numbered(values, len(values))


def numbered(values: list[Any], end: float | None) -> Flow:
    return Flow([Item(n, value, n + 1) for n, value in enumerate(values)], end)


def uniform(word: int, t: int) -> float:
    """The t-th draw of a step: they are made 1024 at a time."""
    return float(generator(word, t // 1024).random(1024)[t % 1024])


def below(word: int, t: int, n: int) -> int:
    return int(uniform(word, t) * n)


def sample(
    words: Words,
    cut: int,
    sequence: Any,
    weights: Any = None,
    replace: bool = True,
    seed: int | None = None,
    name: str = 'sample',
    reweight: bool = False,
) -> Flow:
    sequence, word = build(sequence), words.next(name, seed)
    if reweight and weights is None:
        weights = [1] * len(sequence)
    drawn = indices(word, cut, len(sequence), weights, replace)
    flow = numbered([sequence[index] for index in drawn], None)
    if not reweight:
        return flow
    return flow.from_([item._replace(key=(item.key, index)) for item, index in zip(flow.items, drawn, strict=True)])


def indices(word: int, cut: int, size: int, weights: Any, replace: bool) -> list[int]:
    if replace and weights is None:
        return [below(word, t, size) for t in range(cut)]
    if replace:
        edges = list(accumulate(weights))
        return [next(n for n, edge in enumerate(edges) if edge > uniform(word, t) * edges[-1]) for t in range(cut)]
    result: list[int] = []
    turn = 0
    while len(result) < cut:
        if weights is None:
            result.extend(generator(word, turn).permutation(size).tolist())
        else:
            chosen = [n for n in range(size) if weights[n] > 0]
            times = generator(word, turn).exponential(size=len(chosen)).tolist()
            result.extend(n for _, n in sorted((time / weights[n], n) for time, n in zip(times, chosen, strict=True)))
        turn += 1
    return result[:cut]


def load_by_random_id(
    words: Words,
    cut: int,
    *loaders: Any,
    ids: Any,
    weights: Any = None,
    seed: int | None = None,
    reweight: bool = False,
) -> Flow:
    flow = sample(words, cut, ids, weights, True, seed, named('load_by_random_id', loaders[0]), reweight)
    alone = len(loaders) == 1
    return flow.from_([
        item._replace(value=loaders[0](item.value) if alone else tuple(load(item.value) for load in loaders))
        for item in flow.items
    ])  # fmt: skip


def mix(
    words: Words, cut: int, *streams: Any, weights: Any = None, seed: int | None = None, reweight: bool = False
) -> Flow:
    word = words.next('mix', seed)
    flows = [pipe_flow(Pipe(branch), words.inside(branch), cut) for branch in streams]
    scheduled = weights if callable(weights) else lambda _: weights or [1] * len(flows)
    places = [0] * len(flows)
    ended: set[int] = set()
    items: list[Item] = []
    t = 0
    while True:
        weights = scheduled(t)
        left = [n for n in range(len(flows)) if n not in ended]
        left = [n for n in left if weights[n] > 0] or left
        if not left:
            return Flow(items, len(items))
        edges = list(accumulate(weights[n] or 1 for n in left))
        branch = next(n for n, edge in zip(left, edges, strict=True) if edge > uniform(word, t) * edges[-1])
        t += 1
        flow = flows[branch]
        if places[branch] < len(flow.items):
            item = flow.items[places[branch]]
            places[branch] += 1
            items.append(Item((item.key, branch), item.value, len(items) + 1))
        elif flow.error is not None:
            return Flow(items, None, flow.error, flow.note)
        elif flow.end is None:
            return Flow(items, None)
        else:
            ended.add(branch)


def branches(words: Words, cut: int, left: Pipe, others: tuple) -> list[Flow]:
    return [pipe_flow(Pipe(each), words.inside(each), cut) for each in (left, *others)]


def zip_with(words: Words, cut: int, left: Pipe, *others: Any, strict: bool = False) -> Flow:
    flows = branches(words, cut, left, others)
    items = [
        Item(
            Zipped.of([item.key for item in row]),
            tuple(item.value for item in row),
            float('inf') if any(item.need == float('inf') for item in row) else row[0].need,
        )
        for row in zip(*(flow.items for flow in flows), strict=False)
    ]
    count, first = len(items), flows[0]
    short = next(flow for flow in flows if len(flow.items) == count)
    if short.error is not None:
        return Flow(items, None, short.error, short.note)
    if short.end is None:
        return Flow(items, None)
    assert not strict or all(len(flow.items) == count and flow.end is not None for flow in flows)
    return Flow(items, first.end if short is first else first.items[count].need)


def concat(words: Words, cut: int, left: Pipe, *others: Any) -> Flow:
    flows = branches(words, cut, left, others)
    items: list[Item] = []
    for n, flow in enumerate(flows):
        for item in flow.items:
            need = item.need if n == 0 or item.need == float('inf') else flows[0].end
            items.append(Item((item.key, n), item.value, need))
        if flow.error is not None or flow.end is None:
            return Flow(items, None, flow.error, flow.note)
    return Flow(items, flows[0].end)


def cycle(words: Words, cut: int, left: Pipe, n: int | None = None) -> Flow:
    """For endless ones a few passes are looked at: as many as have 30 items."""
    before, items, taken = words.counts.copy(), [], 0
    for p in itertools.count() if n is None else range(n):
        counts = words.counts if p == 0 else before.copy()
        within = words.again(counts, words.pass_ * n + p if n else words.pass_ << 32 | p)
        flow = pipe_flow(Pipe(left), within.inside(left), cut)
        items += [Item((item.key, p), item.value, taken + item.need) for item in flow.items]
        if flow.error is not None or flow.end is None:
            return Flow(items, None, flow.error, flow.note)
        taken += flow.end
        if n is None and not flow.items:
            return Flow(items, taken)
        if n is None and len(items) >= 30:
            return Flow(items, None)
    return Flow(items, taken)


JOINS = {'concat': concat, 'cycle': cycle, 'zip_with': zip_with}
ENDLESS = {'sample': sample, 'load_by_random_id': load_by_random_id, 'mix': mix}


# Functions of an item, and the item-wise stages that stand for them. `bind(f, words)(key)` is the function for the item
# with this key; the words are given out by `bind`, so in the order in which they are written.

At = Callable[[Any], Callable[..., Any]]


def bind(f: Any, words: Words) -> At:
    if isinstance(f, tuple):
        parts = [bind(each, words) for each in f]
        return lambda key: in_turn([part(key) for part in parts])
    if isinstance(f, Call):
        return ITEMWISE[f.name](words, *f.args, **f.kwargs)
    return lambda key: f


def in_turn(functions: list[Callable[..., Any]]) -> Callable[..., Any]:
    def call(*item: Any, **named: Any) -> Any:
        value = functions[0](*item, **named)
        for function in functions[1:]:
            value = function(value)
        return value

    return call


def apply(words: Words, f: Any, *args: Any, **kwargs: Any) -> At:
    inner = bind(f, words)

    def at(key: Any) -> Callable[..., Any]:
        function = inner(key)
        return lambda *item, **named: function(*item, *args, **named, **kwargs)

    return at


def map_at(words: Words, index: Any, f: Any, *args: Any, **kwargs: Any) -> At:
    inner = apply(words, f, *args, **kwargs)
    places = index if isinstance(index, (list, tuple)) else [index]

    def at(key: Any) -> Callable[..., Any]:
        function = inner(key)

        def call(item: Any) -> Any:
            result = dict(item) if isinstance(item, dict) else list(item)
            for place in places:
                result[place] = function(result[place])
            return tuple(result) if isinstance(item, tuple) else result

        return call

    return at


def unpack(words: Words, f: Any, *args: Any, **kwargs: Any) -> At:
    inner = apply(words, f, *args, **kwargs)

    def at(key: Any) -> Callable[..., Any]:
        function = inner(key)
        return lambda item: function(**item) if isinstance(item, dict) else function(*item)

    return at


def map_all(words: Words, f: Any, *args: Any, **kwargs: Any) -> At:
    inner = apply(words, f, *args, **kwargs)

    def at(key: Any) -> Callable[..., Any]:
        function = inner(key)

        def call(item: Any) -> Any:
            if isinstance(item, dict):
                return {name: function(element) for name, element in item.items()}
            return type(item)([function(element) for element in item])

        return call

    return at


def zip_apply(words: Words, *functions: Any, **kwargs: Any) -> At:
    inner = [apply(words, f, **kwargs) for f in functions]

    def at(key: Any) -> Callable[..., Any]:
        bound = [each(key) for each in inner]

        def call(item: Any) -> Any:
            elements = list(item.values()) if isinstance(item, dict) else item
            results = [bound[n](elements[n]) for n in range(len(bound))]
            return dict(zip(item, results, strict=True)) if isinstance(item, dict) else type(item)(results)

        return call

    return at


def random_apply(words: Words, p: float, f: Any, *args: Any, **kwargs: Any) -> At:
    word = words.next(named('random_apply', f))
    inner = apply(words, f, *args, **kwargs)

    def at(key: Any) -> Callable[..., Any]:
        rng, function = generator(word, key), inner(key)

        def call(*item: Any, **named: Any) -> Any:
            if rng.random() < p:
                return function(*item, **named)
            return named or (item if len(item) > 1 else item[0])

        return call

    return at


def sample_args(words: Words, f: Any, *samplers: Any, **named_samplers: Any) -> At:
    word = words.next(named('sample_args', f))
    inner = bind(f, words)

    def at(key: Any) -> Callable[..., Any]:
        rng, function = generator(word, key), inner(key)

        def call(*item: Any, **named: Any) -> Any:
            drawn = [sampler(rng) for sampler in samplers]
            return function(*item, *drawn, **named, **{name: draw(rng) for name, draw in named_samplers.items()})

        return call

    return at


def with_rng(words: Words, f: Any, *args: Any, **kwargs: Any) -> At:
    word = words.next(named('with_rng', f))
    inner = apply(words, f, *args, **kwargs)

    def at(key: Any) -> Callable[..., Any]:
        rng, function = generator(word, key), inner(key)
        return lambda *item, **named: function(*item, rng=rng, **named)

    return at


def combine(words: Words) -> At:
    return lambda key: lambda items: combined(items, lambda arrays: np.array(arrays))


def combine_lists(words: Words) -> At:
    return lambda key: lambda items: combined(items, None)


def combine_pad(
    words: Words,
    padding_values: Any = 0,
    ratio: float = 0.5,
    multiple_of: int = 1,
    to: int | None = None,
    edges: Any = None,
    lengths: bool = False,
    mask: bool = False,
) -> At:
    def common(size: int) -> int:
        if to is not None:
            return to
        return -(-size // multiple_of) * multiple_of if edges is None else next(edge for edge in edges if edge >= size)

    def pad(arrays: list[Any], value: Any = padding_values) -> np.ndarray:
        return padded(arrays, value, ratio, common)

    def shapes(arrays: list[Any]) -> Any:
        return np.array([array.shape for array in arrays]) if np.ndim(arrays[0]) else None

    def masks(arrays: list[Any]) -> Any:
        return pad([np.ones(array.shape, bool) for array in arrays], False) if np.ndim(arrays[0]) else None

    def call(items: list[Any]) -> Any:
        further = [f for f, wanted in ((shapes, lengths), (masks, mask)) if wanted]
        results = (combined(items, pad), *(combined(items, f, text=lambda _: None) for f in further))
        return results if further else results[0]

    return lambda key: call


def combined(items: list[Any], join: Callable[[list[Any]], Any] | None, text: Any = list) -> Any:
    first = items[0]
    if isinstance(first, tuple):
        return tuple(combined([item[n] for item in items], join, text) for n in range(len(first)))
    if isinstance(first, dict):
        return {key: combined([item[key] for item in items], join, text) for key in first}
    return text(items) if join is None or isinstance(first, str) else join(items)


def padded(arrays: list[Any], value: Any, ratio: float, size: Callable[[int], int]) -> np.ndarray:
    arrays = [np.asarray(array) for array in arrays]
    if not arrays[0].ndim:
        return np.array(arrays)
    common = [size(max(array.shape[axis] for array in arrays)) for axis in range(arrays[0].ndim)]
    widths = [
        [
            (int((size - old) * ratio), size - old - int((size - old) * ratio))
            for size, old in zip(common, a.shape, strict=True)
        ]
        for a in arrays
    ]
    dtype = np.result_type(*arrays)
    return np.array(
        [np.pad(a.astype(dtype), width, constant_values=value) for a, width in zip(arrays, widths, strict=True)]
    )


ITEMWISE = {
    'apply': apply,
    'combine': combine,
    'combine_lists': combine_lists,
    'combine_pad': combine_pad,
    'map_all': map_all,
    'map_at': map_at,
    'random_apply': random_apply,
    'sample_args': sample_args,
    'unpack': unpack,
    'with_rng': with_rng,
    'zip_apply': zip_apply,
}


# Stages


def stage_flow(each: Any, words: Words, flow: Flow) -> Flow:
    if not isinstance(each, Call):  # a function, or item-wise stages in a row
        return mapped(bind(each, words), flow)
    if each.name in ITEMWISE:
        return mapped(bind(each, words), flow)
    if each.name in CUSTOM:
        made = CUSTOM[each.name]
        state = [] if made.state is None else [deepcopy(made.state)]
        return custom(made.function, flow, *state, *each.args, **each.kwargs)
    return FLOW[each.name](words, flow, *each.args, **each.kwargs)


def mapped(at: At, flow: Flow) -> Flow:
    items: list[Item] = []
    for item in flow.items:
        try:
            items.append(item._replace(value=at(item.key)(item.value)))
        except Boom as error:
            return first_error(flow, items, error, describe(item.key))
    return flow.from_(items)


def ahead(flow: Flow, n: int) -> Flow:
    """The same items, where those up to n places behind may have been made before."""
    latest = float('inf') if flow.end is None else flow.end
    items = flow.items
    return flow.from_([
        item._replace(need=items[place + n].need if place + n < len(items) else latest)
        for place, item in enumerate(items)
    ])  # fmt: skip


def parallel_map(
    words: Words,
    flow: Flow,
    f: Any,
    *args: Any,
    threads: int | None = None,
    processes: int | None = None,
    tasks: int | None = None,
    executor: Any = None,
    workers: str | None = None,
    ordered: bool = True,
    in_flight: int | None = None,
    **kwargs: Any,
) -> Flow:
    window = in_flight or 2 * (threads or processes or tasks or (3 if workers else 1))  # see `Restless`
    return mapped(apply(words, f, *args, **kwargs), ahead(flow, window - 1))


def prefetch(words: Words, flow: Flow, n: int) -> Flow:
    return ahead(flow, n)


def filter_by(words: Words, flow: Flow, predicate: Any, *args: Any, **kwargs: Any) -> Flow:
    answers = mapped(apply(words, predicate, *args, **kwargs), flow)
    kept = [item for item, answer in zip(flow.items, answers.items, strict=False) if answer.value]
    return Flow(kept, answers.end, answers.error, answers.note)


def exclude(words: Words, flow: Flow, *items: Any, passes: int | None = None) -> Flow:
    def left_out(key: Any) -> bool:
        """Whether it is the key of such an item, or made of one."""
        if isinstance(key, Batch):
            return any(map(left_out, key))
        whole, number = (None, key) if isinstance(key, int) else key[:2]
        for item in items:
            at, numbers = item if isinstance(item, tuple) else (None, item)
            if at == whole and number in (numbers if isinstance(numbers, range) else [numbers]):
                return True
        return whole is not None and left_out(whole)

    if passes not in (None, words.pass_):
        return flow
    return flow.from_([item for item in flow.items if not left_out(item.key)])


def flatten(words: Words, flow: Flow, on_error: str = 'raise') -> Flow:
    return flow.from_([
        Item((item.key, n), part, item.need) for item in flow.items for n, part in enumerate(values_of(item.value))
    ])  # fmt: skip


def interleave(
    words: Words,
    flow: Flow,
    read: Any,
    cycle: int = 4,
    block: int = 1,
    prefetch: int | None = None,
    on_error: str = 'raise',
) -> Flow:
    """With a place for each open shard, and a look at each place in turn."""
    flow = flow if prefetch is None else ahead(flow, 2 * cycle)
    shards = [
        [Item((shard.key, n), part, 0) for n, part in enumerate(values_of(read(shard.value)))] for shard in flow.items
    ]
    if len(shards) < cycle and flow.end is None:
        return flow.from_([])
    places, taken = shards[:cycle], min(cycle, len(shards))
    need = flow.end if len(shards) < cycle else flow.items[taken - 1].need if taken else 0
    items: list[Item] = []
    at = 0
    while places:
        left = block
        while left:
            if places[at]:
                items.append(places[at].pop(0)._replace(need=need))
                left -= 1
            elif taken < len(shards):
                places[at], need, left = shards[taken], flow.items[taken].need, block
                taken += 1
            elif flow.end is None:
                return flow.from_(items)
            else:
                del places[at]
                need, at, left = flow.end, at - 1, 0
        at = (at + 1) % max(1, len(places))
    return flow.from_(items)


def take(words: Words, flow: Flow, n: int) -> Flow:
    if n == 0:
        return Flow([], 0)
    if len(flow.items) >= n:
        return Flow(flow.items[:n], flow.items[n - 1].need)
    return flow


def skip(words: Words, flow: Flow, n: int) -> Flow:
    return flow.from_(flow.items[n:])


def shard(words: Words, flow: Flow, index: int, count: int) -> Flow:
    return flow.from_(flow.items[index::count])


def shuffle(words: Words, flow: Flow, buffer_size: int, seed: int | None = None) -> Flow:
    word = words.next('shuffle', seed)
    slots: list[Item] = []
    items: list[Item] = []
    t = 0
    for item in flow.items:
        if len(slots) < buffer_size:
            slots.append(item)
        else:
            place = below(word, t, buffer_size)
            t += 1
            items.append(slots[place]._replace(need=item.need))
            slots[place] = item
    while slots and flow.end is not None:
        place = below(word, t, len(slots))
        t += 1
        slots[place], slots[-1] = slots[-1], slots[place]
        items.append(slots.pop()._replace(need=flow.end))
    return flow.from_(items)


def reuse(
    words: Words, flow: Flow, pool_size: int, repetitions: int, iterations: int = 1, seed: int | None = None
) -> Flow:
    word = words.next('reuse', seed)
    pool: list[tuple[Item, int]] = []
    items: list[Item] = []

    def draw(need: float) -> None:
        place = below(word, len(items), len(pool))
        item, drawn = pool[place]
        items.append(Item((item.key, drawn), item.value, need))
        if drawn + 1 < repetitions:
            pool[place] = item, drawn + 1
        else:
            pool[place] = pool[-1]
            pool.pop()

    for item in flow.items:
        pool.append((item, 0))
        for _ in range(iterations):
            if pool:
                draw(item.need)
        while len(pool) == pool_size:
            draw(item.need)
    while pool and flow.end is not None:
        draw(flow.end)
    return flow.from_(items)


def batch_by(
    words: Words,
    flow: Flow,
    size: Any = None,
    drop_last: bool = False,
    *,
    limit: float | None = None,
    cost: Any = None,
    padded: bool = False,
) -> Flow:
    def fit(items: list[Any], item: Any) -> bool:
        if cost is None:
            return size(items, item)
        costs = [cost(each) for each in [*items, item]]
        return (len(costs) * max(costs) if padded else sum(costs)) <= limit

    batches: list[Item] = []
    current: list[Item] = []

    def close(need: float) -> None:
        batches.append(Item(Batch(item.key for item in current), [item.value for item in current], need))
        current.clear()

    for item in flow.items:
        if isinstance(size, int):
            current.append(item)
            if len(current) == size:
                close(item.need)
            continue
        if current and not fit([each.value for each in current], item.value):
            close(item.need)
        current.append(item)
    if current and flow.end is not None and not drop_last:
        close(flow.end)
    return flow.from_(batches)


def lists_by_length(
    values: Iterator[Any], length: Any, edges: Any = None, window: Any = None, size: Any = None, limit: Any = None
) -> Iterator[list[Any]]:
    def fit(count: int, longest: float) -> bool:
        return (size is None or count <= size) and (limit is None or count == 1 or count * longest <= limit)

    def nearest() -> list[Any]:
        order = sorted(range(len(held)), key=lambda n: length(held[n]))
        first = end = order.index(0)
        end += 1
        own = length(held[0])
        while True:
            shorter = own - length(held[order[first - 1]]) if first else float('inf')
            longer = length(held[order[end]]) - own if end < len(order) else float('inf')
            grown = [(first, end + 1)] if end < len(order) else []
            grown = [*grown, (first - 1, end)] if longer < shorter else [(first - 1, end), *grown]
            grown = [(a, b) for a, b in grown if a >= 0 and fit(b - a, length(held[order[b - 1]]))]
            if not grown:
                break
            first, end = grown[0]
        taken = order[first:end]
        result = [held[n] for n in taken]
        held[:] = [value for n, value in enumerate(held) if n not in taken]
        return result

    held: list[Any] = []
    buckets: list[list[Any]] = [[] for _ in [*(edges or ()), None]]
    for value in values:
        if window is not None:
            held.append(value)
            if len(held) == window:
                yield nearest()
            continue
        bucket = buckets[sum(edge < length(value) for edge in edges)]
        if bucket and not fit(len(bucket) + 1, max(map(length, [*bucket, value]))):
            yield bucket[:]
            bucket.clear()
        bucket.append(value)
        if not fit(len(bucket) + 1, max(map(length, bucket))):
            yield bucket[:]
            bucket.clear()
    while held:
        yield nearest()
    yield from filter(None, buckets)


def rows_of(items: Iterator[Item], length: int, cut: str = 'long', rows: int = 32) -> Iterator[list[Any]]:
    """Rows of parts, each part a key, its beginning and its tokens."""
    opened: list[list[Any]] = []

    def fill(row: list[Any]) -> int:
        return sum(len(tokens) for _, _, tokens in row)

    most = 1 if cut == 'all' else rows
    for item in items:
        begin, left = 0, list(item.value)
        while left:
            count = length - fill(opened[0]) if cut == 'all' and opened else length
            part, left = (item.key, begin, left[:count]), left[count:]
            begin += len(part[2])
            if len(part[2]) == length:
                yield [part]
                continue
            fitting = [row for row in opened if fill(row) + len(part[2]) <= length]
            if fitting:
                row = max(fitting, key=fill)
            else:
                if len(opened) == most:
                    fullest = max(opened, key=fill)
                    opened[:] = [row for row in opened if row is not fullest]
                    yield fullest
                row = []
                opened.append(row)
            row.append(part)
            if fill(row) == length:
                opened[:] = [other for other in opened if other is not row]
                yield row
    yield from opened


def bucket_by(words: Words, flow: Flow, length: Any, **options: Any) -> Flow:
    def made(items: list[Item]) -> tuple[Any, Any]:
        return Batch(item.key for item in items), [item.value for item in items]

    return regrouped(lambda items: lists_by_length(items, lambda item: length(item.value), **options), flow, made)


def pack(words: Words, flow: Flow, length: int, **options: Any) -> Flow:
    def made(row: list[Any]) -> tuple[Any, Any]:
        rest = [0] * (length - sum(len(tokens) for _, _, tokens in row))
        positions = np.array([n for *_, tokens in row for n in range(len(tokens))] + rest, np.int32)
        value = {
            'tokens': np.array([token for *_, tokens in row for token in tokens] + rest),
            'segment_ids': np.array([n for n, (*_, tokens) in enumerate(row, 1) for _ in tokens] + rest, np.int32),
            'positions': positions,
            'loss_mask': positions > 0,
        }
        return (Batch(key for key, *_ in row), row[0][1]), value

    return regrouped(lambda items: rows_of(items, length, **options), flow, made)


def regrouped(groups: Callable[..., Iterator[Any]], flow: Flow, made: Callable[[Any], tuple[Any, Any]]) -> Flow:
    """What a generator makes of the items, each time with what was needed for it."""
    latest: float = 0

    def items() -> Iterator[Item]:
        nonlocal latest
        for item in flow.items:
            latest = item.need
            yield item
        latest = flow.end or 0
        if flow.end is None:
            raise Unknown

    result: list[Item] = []
    try:
        for group in groups(items()):
            result.append(Item(*made(group), latest))
    except Unknown:
        pass
    return flow.from_(result)


def custom(function: Callable[..., Iterator[Any]], flow: Flow, *args: Any, **kwargs: Any) -> Flow:
    """The same generator function over a list, which says how much of it was needed for each value."""
    needed: list[Item] = []

    def values() -> Iterator[Any]:
        for item in flow.items:
            needed.append(item)
            yield item.value
        needed.append(Item(None, None, flow.end or 0))
        if flow.end is None:
            raise Unknown

    items: list[Item] = []
    try:
        for value in function(values(), *args, **kwargs):
            items.append(Item(len(items), value, needed[-1].need))
    except Unknown:
        return flow.from_(items)
    except Boom as error:
        return first_error(flow, items, error, describe(needed[-1].key))
    return flow.from_(items)


class Unknown(Exception):
    """What is behind the last item was not looked at, or is an error."""


FLOW = {
    'batch_by': batch_by,
    'exclude': exclude,
    'bucket_by': bucket_by,
    'filter_by': filter_by,
    'flatten': flatten,
    'interleave': interleave,
    'pack': pack,
    'parallel_map': parallel_map,
    'prefetch': prefetch,
    'reuse': reuse,
    'shard': shard,
    'shuffle': shuffle,
    'skip': skip,
    'take': take,
}


# Infinite


class Epochs:
    """What the epochs of an `Infinite` give: the batches of pass after pass, cut into pieces."""

    def __init__(self, batches_of_pass: Callable[[int], list[Any]], batches_per_epoch: int | None):
        self.batches_of_pass, self.batches_per_epoch = batches_of_pass, batches_per_epoch
        self.pass_ = -1
        self.left: list[Any] = []

    def next(self, breaks_after: int | None = None) -> list[Any]:
        """The batches of the next epoch, of which only so many are taken."""
        if not self.left:
            self.pass_ += 1
            self.left = self.batches_of_pass(self.pass_)
        count = min([len(self.left), *(n for n in (self.batches_per_epoch, breaks_after) if n is not None)])
        batches, self.left = self.left[:count], self.left[count:]
        return batches
