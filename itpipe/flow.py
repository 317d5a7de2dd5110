"""Stages that choose, reorder and repeat items, or take them apart."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, overload

from .background import Background
from .binding import ItemFunction, Stop, note
from .checks import integer
from .iterables import is_iterable, iterate
from .keys import END
from .ranks import EVEN, Dealing, Even, check_rank, distributed, fits_dealing
from .rng import Draws, check_seed
from .sizes import size
from .stage import Stage, factory, function_of
from .stalls import outside
from .steps import STOP, ItemStep, Pair, Seed, State, Step, parent, unchanged
from .threads import close_for

if TYPE_CHECKING:
    from .typing import Parts, Same
else:
    Parts = Same = Stage

__all__ = ['filter_by', 'flatten', 'prefetch', 'reuse', 'shard', 'shard_step', 'shuffle', 'skip', 'take']


@overload
def filter_by(predicate: Callable[[Any], object], /) -> Same: ...  # tells a lambda what it takes
@overload
def filter_by(predicate: Callable[..., object], /, *args: Any, **kwargs: Any) -> Same: ...
@factory
def filter_by(predicate: Callable[..., object], /, *args: Any, **kwargs: Any) -> Same:
    """The items for which `predicate(item, *args, **kwargs)` is true.

    What a random stage behind it does to an item does not depend on the items that are left out.

    Raises TypeError if `predicate` is neither a function nor an item-wise stage.

    >>> list(range(10) | filter_by(lambda x: x % 3 == 0))
    [0, 3, 6, 9]

    See also: `take`, `skip`.
    """
    function = function_of('filter_by', predicate, args, kwargs, 'predicate')
    test = ItemStep('filter_by', unchanged, (function,), (predicate, *args), kwargs)
    return Same((Step('filter_by', _filter_by, ((test,), STOP), (predicate, *args), kwargs),))


class _Flatten(Parts):
    """The items of the items: lists, tuples, generators and other iterables are taken apart by one level.

    An item may hold any number of others, none included; it is read as far as is asked for. A dict gives its keys.
    Having no options, `flatten` is a stage by itself; `flatten()` is the same.

    Raises, while running, TypeError for an item that is not iterable.

    >>> from itpipe import flatten
    >>> list([[1, 2], [], (3,)] | flatten)
    [1, 2, 3]

    See also: `batch_by`, which puts together.
    """

    __slots__ = ()

    def __call__(self, *iterable: Any) -> Any:
        return super().__call__(*iterable) if iterable else self


@factory
def take(n: int) -> Same:
    """The first `n` items; not one more is asked for.

    Raises TypeError if `n` is not an int, ValueError if it is negative.

    >>> list(range(10) | take(3))
    [0, 1, 2]

    See also: `skip`, `shard`.
    """
    count = integer('take', 'n', n, least=0)
    return Same(
        (
            Step(
                'take',
                _take,
                (count,),
                (n,),
                state={'taken': 0},
                remake='pass',
                fits=partial(_within, 'taken', count),
                counts=True,
            ),
        )
    )


@factory
def skip(n: int) -> Same:
    """All items but the first `n`.

    Raises TypeError if `n` is not an int, ValueError if it is negative.

    >>> list(range(5) | skip(3))
    [3, 4]

    See also: `take`, `shard`.
    """
    count = integer('skip', 'n', n, least=0)
    state = {'skipped': 0}
    fits = partial(_within, 'skipped', count)
    return Same(
        (Step('skip', _skip, (count,), (n,), {}, state, remake='pass', replay=_replay_skip, fits=fits, counts=True),)
    )


@factory
def shard(index: int, count: int, even: Even = 'keep') -> Same:
    """Every `count`-th item, beginning with the one at `index`: the part of one of `count` ranks.

    The shards 0 to `count - 1` of the same items are disjoint and together have all of them; a random stage behind it
    does to each item what it would do without shards. For that all ranks need the same seed, if what is upstream is
    random.

    No rank works on items of another: a shard runs before the item-wise stages that it is written behind (also those
    within a `parallel_map`, if that leaves nothing out), and before the items of a sequence are looked up. It does not
    change places with stages that need to see the items, such as `filter_by`, `flatten` and `batch_by`.

    `even` says what happens where `count` does not divide the number of items. With `'keep'` each item comes in one
    shard, and some have one more than others; with `'drop'` the last few are left out, with `'repeat'` some of the
    first ones come a second time, so that all shards have as many.

    Raises TypeError if `index` or `count` is not an int; ValueError if not 0 <= `index` < `count`, for another `even`,
    and, when it runs, if what is upstream is random and there is no seed, or gives items in the order in which they
    are done.

    >>> list(range(8) | shard(1, 3))
    [1, 4, 7]
    >>> list(range(8) | shard(2, 3)), list(range(8) | shard(2, 3, even='repeat')), list(range(8) | shard(1, 3, 'drop'))
    ([2, 5], [2, 5, 0], [1, 4])

    See also: `Infinite`, which finds the place for it; `merge_states`; `take`, `skip`.
    """
    return Same((shard_step('shard', check_rank('shard', index, count, 'index', 'count'), even),))


def shard_step(where: str, share: tuple[int, int], even: Even) -> Step:
    """The step that lets pass what is dealt to one of so many ranks; errors in `even` name `where`."""
    if not isinstance(even, str) or even not in EVEN:
        raise ValueError(f"{where}: `even` must be 'keep', 'drop' or 'repeat', got {even!r}")
    written = {} if even == 'keep' else {'even': even}
    state: State = {'begun': 0, 'passed': 0, 'seen': [], 'slots': []}
    return Step(
        'shard', _shard, (*share, even), share, written, state,
        remake='pass', replay=_replay_shard, fits=fits_dealing, counts=True, share=share,
    )  # fmt: skip


@factory
def shuffle(buffer_size: int, seed: int | None = None) -> Same:
    """The items in random order, as far as a buffer of `buffer_size` of them allows.

    Each item that arrives at the full buffer takes the place of a randomly chosen one, which goes out. So an item may
    wait for any time, but comes less than `buffer_size` places early; a buffer for all items gives a uniform
    permutation. The order depends on the seed, the place of the stage among the random ones and the pass over the
    source, not on the items.

    Raises TypeError if `buffer_size` or `seed` is not an int, ValueError if it is less than 1 or negative.

    >>> list(range(8) | shuffle(4, seed=0))
    [2, 4, 1, 0, 7, 3, 6, 5]

    See also: `sample`, for data with random access; `reuse`.
    """
    size = integer('shuffle', 'buffer_size', buffer_size, least=1)
    draws = Seed(check_seed('shuffle', seed))
    written = {} if seed is None else {'seed': seed}
    return Same(
        (Step('shuffle', _shuffle, (draws, size), (size,), written, state={'t': 0, 'slots': []}, remake='pass'),)
    )


@factory
def reuse(pool_size: int, repetitions: int, iterations: int = 1, seed: int | None = None) -> Same:
    """Each item `repetitions` times, in random order, from a pool of at most `pool_size` items.

    For items that are dear to make: after each new item `iterations` values are drawn from the pool, and more while it
    is full; an item that was drawn `repetitions` times leaves it. The first values come when the first item is there.
    Repetitions are items of their own to random stages behind it: each is augmented differently.

    The idea is the expiration pool of deep-pipe.

    Raises TypeError if an argument is not an int, ValueError if it is less than 1 (`seed`: negative).

    >>> list('abc' | reuse(pool_size=2, repetitions=2, seed=0))
    ['a', 'b', 'a', 'b', 'c', 'c']

    See also: `shuffle`.
    """
    sizes = (
        integer('reuse', 'pool_size', pool_size, least=1),
        integer('reuse', 'repetitions', repetitions, least=1),
        integer('reuse', 'iterations', iterations, least=1),
    )
    written = ({} if iterations == 1 else {'iterations': iterations}) | ({} if seed is None else {'seed': seed})
    state: State = {'t': 0, 'due': 0, 'slots': [], 'counts': []}
    options = (Seed(check_seed('reuse', seed)), *sizes)
    return Same(
        (
            Step(
                'reuse',
                _reuse,
                options,
                sizes[:2],
                written,
                state=state,
                origin=parent,
                remake='pass',
                fits=partial(_fits_reuse, sizes[1]),
            ),
        )
    )


@factory
def prefetch(n: int | str) -> Same:
    """The same items; what is upstream runs in a thread of its own, up to `n` items ahead.

    `prefetch('512MB')` is as many as hold so much, by the estimate that `parallel_map` makes, but at least one.

    Raises TypeError if `n` is neither an int nor text, ValueError if it is less than 1 or not a size.

    >>> list(range(5) | prefetch(2))
    [0, 1, 2, 3, 4]

    See also: `parallel_map`; `Infinite`, which does this with the whole stream.
    """
    return Same(
        (Step('prefetch', _prefetch, (STOP, size('prefetch', 'n', n)), (n,), remake='pass', lasting='', itemwise=True),)
    )


# ---------------------------------------------------------------------------------------------------------------------
# What runs


def _within(name: str, most: int, state: State) -> bool:
    return state[name] <= most  # type: ignore[no-any-return]


def _fits_reuse(repetitions: int, state: State) -> bool:
    return len(state['counts']) == len(state['slots']) and all(count < repetitions for count in state['counts'])


def _filter_by(items: Iterator[Pair], predicate: ItemFunction, stop: Stop) -> Iterator[Pair]:
    for pair in items:
        if predicate(*pair):
            yield pair
        else:
            stop.check()


def _flatten(items: Iterator[Pair]) -> Iterator[Pair]:
    for key, value in items:
        position = -1
        try:
            for position, part in enumerate(iterate(value)):
                yield (key, position), part
        except Exception as error:
            if position < 0 and isinstance(error, TypeError) and not is_iterable(value):
                error = TypeError(f'flatten: items must be iterable, got {type(value).__name__}')
                note(error, 'flatten()', key)
                raise error from None
            note(error, 'flatten()', key)
            raise


flatten: Parts = _Flatten((Step('flatten', _flatten, origin=parent, parts=True),))


def _take(items: Iterator[Pair], state: State, n: int) -> Iterator[Pair]:
    if state['taken'] == n:
        return
    for pair in items:
        state['taken'] += 1
        yield pair
        if state['taken'] == n:
            return


def _skip(items: Iterator[Pair], state: State, log: deque[Any], n: int) -> Iterator[Pair]:
    for pair in islice(items, n - state['skipped'], None):
        log.append((pair[0], n))
        yield pair
        del pair
    log.append((END, n))


def _replay_skip(log: deque[Any], position: list[Any], state: State) -> Iterator[Pair]:
    while log:
        position[0], state['skipped'] = log.popleft()
        if position[0] is not END:
            yield position[0], None


def _shard(items: Iterator[Pair], state: State, log: deque[Any], index: int, count: int, even: Even) -> Iterator[Pair]:
    """Where all ranks shall get as many, the slots are the first items, which may come again."""
    dealing, slots = Dealing(state['begun'], state['seen']), state['slots']
    places = dealing.lacking(enumerate(items, state['passed']), state['passed'])
    fresh = even == 'repeat' and not slots
    if fresh:
        first = list(islice(places, max(index, 1)))
        slots[:] = [pair for _, pair in first]
        places = chain(first, places)
    before, reached = (index - dealing.turn(state['passed'])) % count, state['passed']
    while own := deque(islice(places, before + 1), maxlen=1):
        place, pair = own.pop()
        reached = place + 1
        if dealing.turn(place) % count != index:
            break  # there are no more
        before, last = count - 1, pair[0]
        if even == 'drop' and index < count - 1:
            others = deque(islice(places, count - 1 - index), maxlen=1)
            reached = others[0][0] + 1 if others else reached
            if not others or dealing.turn(reached - 1) % count != count - 1:
                break
            before, last = index, others[0][1][0]
        log.append((pair[0], last, reached, [(key, None) for key, _ in slots] if fresh else None))
        fresh = False
        yield pair
        del pair
    left = dealing.turn(reached) % count
    if even == 'keep' and left and distributed() is not None:
        warnings.warn(
            f'shard: {count} ranks share {dealing.turn(reached)} items, so {left} of them get one more than the others,'
            " and what waits for all ranks in each step hangs; give `even='repeat'` or `even='drop'`, or evaluate only",
            stacklevel=outside(),
        )
    if even == 'repeat' and slots and 0 < left <= index:
        again = slots[(index - left) % len(slots)]
        log.append((again[0], END, reached, []))
        yield again
    log.append((END, END, reached, None))


def _replay_shard(log: deque[Any], position: list[Any], state: State) -> Iterator[Pair]:
    while log:
        key, position[0], state['passed'], slots = log.popleft()
        if slots is not None:
            state['slots'] = slots
        if key is not END:
            yield key, None


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


def _prefetch(items: Iterator[Pair], stop: Stop, n: int) -> Iterator[Pair]:
    background = Background('itpipe-prefetch', depth=n)
    stop.add(background)
    try:
        yield from background.run(items)
    finally:
        threads = stop.threads(above=background)
        stop.remove(background)
        close_for(threads, background.close)
