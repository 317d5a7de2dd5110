"""The stage that reads several shards by turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from itpipe._core.checks import integer
from itpipe._core.keys import END, Key
from itpipe._core.show import format_call, non_defaults
from itpipe._core.sizes import size
from itpipe._core.steps import AS_WRITTEN, HIDDEN, METER, STOP, Elsewhere, ItemStep, Pair, State, Stateful, identity
from itpipe._engine.factories import factory, function_of
from itpipe._engine.failures import SKIPPED, Failures
from itpipe._engine.parts import Broken
from itpipe._engine.stream import Stage, reading_policy

if TYPE_CHECKING:
    from itpipe._engine.failures import OnError, Policy
    from itpipe._engine.functions import ItemFunction
    from itpipe._engine.meters import Meter
    from itpipe._engine.types import AnyIterable, X, Y
    from itpipe._engine.waiting import Stop

__all__ = ['interleave']


@factory
def interleave(
    read: Callable[[X], AnyIterable[Y]],
    cycle: int = 4,
    block: int = 1,
    *,
    prefetch: int | str | None = None,
    processes: bool = False,
    on_error: OnError = 'raise',
    max_errors: float | None = None,
) -> Stage[X, Y]:
    """The items of several shards by turns: `block` items of the first one, `block` of the second, and so on.

    What comes in are shards: paths, URLs, or anything else. `read(shard)` returns what is in one: a dataset, a list, a
    generator, an async generator or another iterable. `cycle` shards are open at once. When one ends, the next shard
    takes its place, and it is its turn. Empty shards are passed over. So the order depends on what is in the shards,
    and on nothing else.

    With `prefetch`, each open shard is read in a thread of its own, up to so many items ahead, or so many bytes, as
    with `'64MB'`. The next shard is opened when one has been read, so up to twice `cycle` are then open. The items are
    the same, in the same order. `read` has to be safe to call in several threads.

    With `processes=True`, each open shard is read in a process of its own: for `read` whose own Python code takes the
    time, as where it decodes. There are `cycle` of them, and they are used for one shard after another. Each item comes
    back as soon as it is made, large arrays through shared memory. Without `prefetch`, so many are read ahead that a
    process has work. `read`, shards and items are pickled: let the shards be paths rather than data. As with
    `parallel_map`, a process that is killed is replaced, and no item is lost or comes twice: the next process opens the
    shard again, as a run that goes on does. A generator that is not at its end when the run is closed gets a moment to
    close what it has opened.

    A run that goes on opens again the shards that were open. What has a length and an index, such as the datasets of
    `itpipe.files`, is read from the next item on. Of everything else, what was delivered is read again, and left out.
    The n-th item of a shard always has to be the same one. With `strict=False`, a run goes on with another `read`, such
    as one that was repaired.

    `on_error='skip'` leaves out what cannot be read. Of a shard with a length and an index, that is the broken item,
    and the next one follows. Anything else, such as a generator that reads a truncated file, ends where it raises, so
    the rest of that shard is left out; so is all of a shard for which `read` raises. With `'raise'`, the default, the
    run ends. A function `(error, shard, ordinal)` returns one of the two, or what to put in the place of the item, or
    of the rest; the ordinal is that of the shard. What is left out takes its turn, so the order of the others stays.
    `dropped` of the run lists it. `max_errors` is how many errors are allowed: a count, or a share of the items so far
    (at first, of a hundred).

    The idea is that of `interleave` in tf.data; Murray and others, "tf.data: a machine learning data processing
    framework", 2021, say what it is for.

    Raises TypeError if `read` is neither a function nor an item-wise stage, and TypeError or ValueError for wrong
    numbers, and for a wrong `on_error` or `max_errors`. While running, raises TypeError if `read` returns what is not
    iterable. What is raised in reading comes when it is the turn of that item, with a note that says which shard it
    was, and which item. With `processes`, raises `NotPicklable` for what cannot be pickled, of `read` before anything
    is read, and `WorkerCrashed` if three processes die of the same item, whatever `on_error` says.

    >>> list(['ab', 'cdef', 'g', 'hi'] | interleave(list, cycle=2))
    ['a', 'c', 'b', 'd', 'g', 'e', 'h', 'f', 'i']
    >>> list(['ab', 'cdef', 'g', 'hi'] | interleave(list, cycle=2, block=2))
    ['a', 'b', 'c', 'd', 'g', 'h', 'i', 'e', 'f']

    >>> list(['ab', 'cdef', 'g', 'hi'] | interleave(list, cycle=2, processes=True))
    ['a', 'c', 'b', 'd', 'g', 'e', 'h', 'f', 'i']

    See also: `flatten`, which reads one after the other; `mix`, for streams; `shuffle`.
    """
    function = function_of('interleave', read, name='read', read=True)
    sizes = integer('interleave', 'cycle', cycle, least=1), integer('interleave', 'block', block, least=1)
    depth = None if prefetch is None else size('interleave', 'prefetch', prefetch)
    if not isinstance(processes, bool):
        raise TypeError(
            'interleave: `processes` must be True or False, as each open shard has a process of its own, got'
            f' {type(processes).__name__}'
        )
    functions = (ItemStep('interleave', identity, (function,)),)
    policy = reading_policy('interleave', on_error, max_errors)
    step = Stateful(
        'interleave', _interleave, (functions, AS_WRITTEN, STOP, METER, policy, *sizes, depth, processes),
        state={'slots': [], 'given': []}, beside=('given',), gives='parts',
        replay=partial(_replay, *sizes), again=_again,
        fingerprint=_fingerprint(read, *sizes),
        elsewhere=_elsewhere(read, sizes[0], depth) if processes else None,
    )  # fmt: skip
    return Stage((step,))


def _fingerprint(read: Any, cycle: int, block: int) -> str:
    """Whose turn it is has a line of its own, as only that has to be the same in the middle of a pass."""
    turns = format_call('interleave', (), non_defaults(cycle=(cycle, 4), block=(block, 1)))
    return f'{format_call("interleave", (read,), {})}\n{turns}'


def _elsewhere(read: Any, cycle: int, depth: int | None) -> Elsewhere:
    limit = None if depth is None else type(depth)(cycle * depth)
    return Elsewhere('processes', cycle, limit, (ItemStep('apply', identity, args=(read,)),))


# ---------------------------------------------------------------------------------------------------------------------
# Whose turn it is


def _turns(
    shards: Iterator[Pair], next_of: Callable[[Pair], Any], state: State, cycle: int, block: int
) -> Iterator[Pair]:
    """The items by turns.

    `next_of(shard)` is the next item of an open shard, SKIPPED if that is left out, END if there are no more.

    The slots are the open shards, the first being that whose turn it is. Beside each, `'given'` has how many of its
    items came out, or were left out.
    """
    slots, given = state['slots'], state['given']
    while len(slots) < cycle and (pair := next(shards, None)) is not None:
        slots.append(pair)
        given.append(0)
    while slots:
        key, n = slots[0][0], given[0]
        value = next_of(slots[0])
        if value is END:
            # more than `cycle` may be open where there were more ranks before
            pair = next(shards, None) if len(slots) <= cycle else None
            if pair is None:
                del slots[0], given[0]
            else:
                slots[0], given[0] = pair, 0
            continue
        given[0] += 1
        if given[0] % block == 0:
            slots.append(slots.pop(0))
            given.append(given.pop(0))
        if value is not SKIPPED:
            yield (key, n), value
        del value


def _interleave(
    items: Iterator[Pair],
    state: State,
    log: deque[Any],
    read: ItemFunction,
    name: str,
    stop: Stop,
    meter: Meter,
    policy: Policy | None,
    cycle: int,
    block: int,
    depth: int | None,
    processes: bool,
) -> Iterator[Pair]:
    from itpipe._engine.meters import passed
    from itpipe._engine.readers import Readers, ReadingThreads, shard_items

    failures = None if policy is None else Failures(policy, name, stop.dropped, meter)
    opened = partial(shard_items, read, name, stop=stop, failing=failures is not None)
    if processes:
        from itpipe._workers.reading import ReadingProcesses

        size = max(cycle, len(state['slots']))
        failing = failures is not None
        readers: Readers = ReadingProcesses(read, name, cycle, size, depth, stop, meter, failing)
    else:
        readers = Readers(opened) if depth is None else ReadingThreads(opened, cycle, depth, stop, meter)
    for pair, n in zip(state['slots'], state['given'], strict=True):
        readers.open(pair, n)

    def taken() -> Iterator[Pair]:
        for pair in readers.shards(passed(items, meter)):
            log.append(pair[0])
            yield pair
        log.append(END)

    def next_of(pair: Pair) -> Any:
        value = readers.next_of(pair)
        if failures is not None and value is not END:
            if stop.called:  # or an end from outside would be an error of the shard
                stop.check()
            value = _found(failures, (pair[0], state['given'][0]), value, pair[1])
        log.append(None if value is SKIPPED else value is not END)
        if value is END or value is SKIPPED:
            stop.check()  # there may be no end of empty shards
        return value

    try:
        yield from _turns(taken(), next_of, state, cycle, block)
    except Exception:
        readers.failed = not stop.called
        raise
    finally:
        readers.close()


def _found(failures: Failures, key: Key, value: Any, shard: Any) -> Any:
    """The item with this key, or what is done about it."""
    failures.seen += 1
    return failures.outcome(value.error, key, shard) if type(value) is Broken else value


def _replay(cycle: int, block: int, log: deque[Any], position: list[Any], state: State) -> Iterator[Pair]:
    """The same turns, from what was found out: the next shard, or whether there was an item, None if it is left out."""

    def taken() -> Iterator[Pair]:
        while (key := log.popleft()) is not END:
            position[0] = key
            yield key, HIDDEN
        state['ended'] = True

    found = {True: HIDDEN, False: END, None: SKIPPED}
    return _turns(taken(), lambda _: found[log.popleft()], state, cycle, block)


def _again(
    shards: dict[Key, Any],
    keys: Iterable[Any],
    read: ItemFunction,
    name: str,
    stop: Stop,
    meter: Meter,
    policy: Policy | None,
    *_: Any,
) -> dict[Key, Any]:
    """The items of these shards that have these keys."""
    from itpipe._engine.readers import some_items

    wanted: dict[Key, list[int]] = {}
    for key, n in keys:
        wanted.setdefault(key, []).append(n)
    found = chain.from_iterable(
        some_items(read, name, (key, shards[key]), numbers, policy is not None)
        for key, numbers in wanted.items()
        if key in shards
    )
    if policy is None:
        return dict(found)
    failures = Failures(policy, name, stop.dropped, meter)
    made = {key: _found(failures, key, value, shards[key[0]]) for key, value in found}  # type: ignore[index]
    return {key: value for key, value in made.items() if value is not SKIPPED}
