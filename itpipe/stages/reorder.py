"""Stages that reorder and repeat items."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from operator import mul
from typing import TYPE_CHECKING

from itpipe._core.checks import integer
from itpipe._core.names import step_name
from itpipe._core.rng import Draws, check_seed
from itpipe._core.steps import Joins, Pair, Seed, State, Stateful
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage

from .sampled import shuffled

if TYPE_CHECKING:
    from itpipe._engine.stream import Same
else:
    Same = Stage

__all__ = ['reuse', 'shuffle']


@factory
def shuffle(buffer_size: int | None = None, seed: int | None = None, *, name: str | None = None) -> Same:
    """The items in random order: all of a dataset, or through a buffer of `buffer_size` items.

    `shuffle()` directly behind data with a length and access by index gives a uniform permutation of it. It takes no
    memory and no time before the first item, however long the data is. With `buffer_size` it may stand anywhere. When
    the buffer is full, each new item takes the place of a randomly chosen one, which goes out. So an item may wait for
    any time, but comes less than `buffer_size` places early. A buffer for all items gives a uniform permutation.

    In both cases, items of a dataset with an index are looked up when they go out, and item-wise stages before this one
    work on them then. So the buffer holds indices, and only items that are asked for are read. (For lists and arrays in
    memory, a buffer holds the items.)

    The order depends on the seed, on the number of `shuffle` stages before this one, and on the pass over the source.
    It does not depend on the items. With a `name`, only `shuffle` stages of the same name are counted.

    Raises TypeError if `buffer_size` or `seed` is not an int or `name` not a str, ValueError if `buffer_size` is less
    than 1, `seed` negative or `name` empty. Without `buffer_size`, raises TypeError if it stands elsewhere.

    >>> list(range(8) | shuffle(seed=0))
    [4, 3, 7, 5, 1, 2, 6, 0]
    >>> list(range(8) | shuffle(4, seed=0))
    [1, 0, 3, 6, 7, 5, 4, 2]

    See also: `sample`, for data with random access; `reuse`.
    """
    if buffer_size is None:
        check_seed('shuffle', seed)
        step_name('shuffle', name=name)
        return Same((Joins('shuffle', shuffled),))
    size = integer('shuffle', 'buffer_size', buffer_size, least=1)
    options = (Seed(step_name('shuffle', name=name), check_seed('shuffle', seed)), size)
    state: State = {'t': 0, 'slots': []}
    return Same(
        (Stateful('shuffle', _shuffle, options, state=state, clock=('t',), counts=int, gives='same', capacity=size),)
    )


@factory
def reuse(
    pool_size: int, repetitions: int, iterations: int = 1, seed: int | None = None, *, name: str | None = None
) -> Same:
    """Each item `repetitions` times, in random order, from a pool of at most `pool_size` items.

    It is for items that take long to make. After each new item, `iterations` values are drawn from the pool, and more
    while the pool is full. An item leaves the pool when it has been drawn `repetitions` times. The first values come
    when the first item is there. To later random stages, repetitions are separate items: each is augmented differently.
    `name` is as for `shuffle`.

    The idea is the expiration pool of deep-pipe; Choi and others, "Faster neural network training with data echoing",
    2019, say when it pays.

    Raises TypeError if an argument is not an int (`name`: a str), ValueError if it is less than 1 (`seed`: negative,
    `name`: empty).

    >>> list('abc' | reuse(pool_size=2, repetitions=2, seed=0))
    ['a', 'b', 'b', 'a', 'c', 'c']

    See also: `shuffle`.
    """
    sizes = (
        integer('reuse', 'pool_size', pool_size, least=1),
        integer('reuse', 'repetitions', repetitions, least=1),
        integer('reuse', 'iterations', iterations, least=1),
    )
    step = Stateful(
        'reuse', _reuse, (Seed(step_name('reuse', name=name), check_seed('reuse', seed)), *sizes),
        state={'t': 0, 'due': 0, 'slots': [], 'counts': []}, clock=('t', 'due'), beside=('counts',),
        counts=partial(mul, sizes[1]), gives='repeated', fits=partial(_fits_reuse, sizes[1]), capacity=sizes[0],
    )  # fmt: skip
    return Same((step,))


def _fits_reuse(repetitions: int, state: State) -> bool:
    return all(count < repetitions for count in state['counts'])


def _shuffle(items: Iterator[Pair], state: State, draws: Draws, size: int) -> Iterator[Pair]:
    slots = state['slots']
    while len(slots) > size:  # as where there were more ranks before
        yield _drawn(slots, state, draws)
    for pair in items:
        if len(slots) < size:
            slots.append(pair)
            continue
        at = draws.below(state['t'], size)
        state['t'] += 1
        out, slots[at] = slots[at], pair
        yield out
    while slots:
        yield _drawn(slots, state, draws)


def _drawn(slots: list[Pair], state: State, draws: Draws) -> Pair:
    at = draws.below(state['t'], len(slots))
    state['t'] += 1
    slots[at], slots[-1] = slots[-1], slots[at]
    return slots.pop()


def _reuse(
    items: Iterator[Pair], state: State, draws: Draws, size: int, repetitions: int, iterations: int
) -> Iterator[Pair]:
    slots, counts, ended = state['slots'], state['counts'], False
    while slots or not ended:
        if slots and (ended or state['due'] or len(slots) >= size):
            at = draws.below(state['t'], len(slots))
            key, value = slots[at]
            repetition = counts[at]
            state['t'] += 1
            state['due'] = max(0, state['due'] - 1)
            counts[at] += 1
            if counts[at] == repetitions:
                slots[at], counts[at] = slots[-1], counts[-1]
                del slots[-1], counts[-1]
            yield (key, repetition), value
            continue
        pair = next(items, None)
        if pair is None:
            ended = True
        else:
            slots.append(pair)
            counts.append(0)
            state['due'] = iterations
