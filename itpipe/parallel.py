"""A map over an executor, ordered and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Any, overload

from .background import BEAT
from .binding import ItemFunction, Stop, note, noted
from .checks import integer, truth
from .keys import END, Key
from .pace import Pace
from .stage import Stage, factory, function_of
from .steps import STOP, ItemStep, Pair, State, Step, unchanged

if TYPE_CHECKING:
    from .typing import AnyFunction, Map, S, Submits, X, Y
    from .workers import Pool

__all__ = ['parallel_map']


@overload
def parallel_map(f: S, /, *args: Any, **kwargs: Any) -> S: ...
@overload
def parallel_map(
    f: Map[X, Y],
    /,
    *args: Any,
    threads: int | None = None,
    processes: int | None = None,
    executor: Submits | None = None,
    ordered: bool = True,
    in_flight: int | None = None,
    **kwargs: Any,
) -> Stage[X, Y]: ...
@overload
def parallel_map(
    f: AnyFunction[Y],
    /,
    *args: Any,
    threads: int | None = None,
    processes: int | None = None,
    executor: Submits | None = None,
    ordered: bool = True,
    in_flight: int | None = None,
    **kwargs: Any,
) -> Stage[Any, Y]: ...
@factory
def parallel_map(
    f: Any,
    /,
    *args: Any,
    threads: int | None = None,
    processes: int | None = None,
    executor: Any = None,
    ordered: bool = True,
    in_flight: int | None = None,
    **kwargs: Any,
) -> Stage[Any, Any]:
    """`f(item, *args, **kwargs)` for each item, several at a time.

    `f` is a function of an item or an item-wise stage, all of which then runs in the workers. Exactly one of

    - `threads=N`: in N threads, for functions that wait or release the interpreter lock (reading files, numpy). One
      that takes less than 30 µs is called in the thread of the run, where that is faster;
    - `processes=N`: in N processes, for pure Python. They are started without fork, for this run alone, and get the
      function once. Lambdas, closures and functions of a notebook will do. What goes to a process and comes back is
      copied, arrays through shared memory. Native thread pools (BLAS, OpenMP) in them share the cores;
    - `executor=E`: whatever has `submit`, such as a `concurrent.futures.Executor` or a dask `Client`. It is not shut
      down.

    Negative N counts from the number of usable cores: -1 is all of them, -2 all but one. The workers start when the
    run does and end with it.

    The results come in the order of the items, or with `ordered=False` as they are ready. At most `in_flight` items
    (by default twice the number of workers, or what takes processes a millisecond) are between input and output.

    Raises TypeError or ValueError for wrong arguments. While running: what `f` raises, as it was raised, and, in order,
    after the results before it; `NotPicklable` if something that must go to a process or come back cannot be pickled;
    `WorkerDied` if a process of `processes=N` ended by itself.

    >>> list(range(5) | parallel_map(pow, 2, threads=2))
    [0, 1, 4, 9, 16]
    >>> from itpipe import map_at
    >>> list([(1, -2), (3, -4)] | parallel_map(map_at(0, str) | map_at(1, abs), threads=2))
    [('1', 2), ('3', 4)]

    See also: `apply`, the same without workers; `prefetch`; `Infinite`.
    """
    given = {'threads': threads, 'processes': processes, 'executor': executor}
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        got = ', '.join(chosen) or 'none of them'
        raise TypeError(f'parallel_map: give exactly one of `threads`, `processes` and `executor`, got {got}')
    open_pool: Callable[[ItemFunction], Pool]
    if executor is not None:
        if not callable(getattr(executor, 'submit', None)):
            raise TypeError(f'parallel_map: `executor` must have a method `submit`, got {type(executor).__name__}')
        open_pool = partial(_open, 'Borrowed', executor)
    else:
        ((name, count),) = chosen.items()
        if integer('parallel_map', name, count) == 0:
            raise ValueError(f'parallel_map: `{name}` must not be 0')
        open_pool = partial(_open, 'Threads' if threads is not None else 'Processes', count)
    truth('parallel_map', 'ordered', ordered)
    if in_flight is not None:
        integer('parallel_map', 'in_flight', in_flight, least=1)
    written = kwargs | chosen
    written |= ({} if ordered else {'ordered': False}) | ({} if in_flight is None else {'in_flight': in_flight})
    function = function_of('parallel_map', f, args, kwargs)
    if isinstance(function.target, tuple) and not (args or kwargs):
        steps = function.target
    else:
        steps = (ItemStep('parallel_map', unchanged, (function,), (f, *args), written),)
    options = (steps, open_pool, in_flight, STOP)
    if ordered:
        return Stage((Step('parallel_map', _ordered, options, (f, *args), written),))
    return Stage(
        (Step('parallel_map', _unordered, options, (f, *args), written, state={'slots': []}, replay=_replay_unordered),)
    )


def _open(kind: str, given: Any, function: ItemFunction) -> Pool:
    if kind == 'Processes':
        from .processes import Processes

        return Processes(given, function)
    from . import workers  # and with it concurrent.futures, which takes a while

    return getattr(workers, kind)(given, function)  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------------------------
# What runs


class _Upstream:
    """The items, and the error with which they ended, kept until what came before it is delivered."""

    def __init__(self, items: Iterator[Pair]):
        self.error: Exception | None = None
        self.ended = False
        self.pairs = self._pairs(items)

    def next(self) -> Pair | None:
        """The next pair, or None when there is no more."""
        return next(self.pairs, None)

    def _pairs(self, items: Iterator[Pair]) -> Iterator[Pair]:
        try:
            for pair in items:
                yield pair
                del pair
        except Exception as error:
            self.error = error
        self.ended = True

    def raise_error(self) -> None:
        """Raise what ended the items, if it was an error."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # its traceback holds this frame


def _opened(open_pool: Callable[[ItemFunction], Pool], function: ItemFunction) -> Pool:
    try:
        return open_pool(function)
    except Exception as error:
        note(error, ' | '.join(function.names), None)
        raise


def _result(pool: Pool, future: Any, function: ItemFunction, key: Key) -> Any:
    try:
        return pool.result(future)
    except Exception as error:
        if not noted(error):  # it was not the function that raised it
            note(error, ' | '.join(function.names), key)
        raise


def _ordered(
    items: Iterator[Pair],
    function: ItemFunction,
    open_pool: Callable[[ItemFunction], Pool],
    in_flight: int | None,
    stop: Stop,
) -> Iterator[Pair]:
    upstream = _Upstream(items)
    window: deque[tuple[Any, Any]] = deque()
    pool = _opened(open_pool, function)
    pace = pool.pace
    stop.add(pool.stop)
    try:
        while True:
            while len(window) < (in_flight or pool.window) and not pace.in_place:
                if (pair := upstream.next()) is None:
                    break
                window.append((pair[0], pool.submit(*pair)))
                del pair
                if not pace.known and len(window) == 1:
                    pool.try_out(window[0][1])
            if window:
                key, future = window.popleft()
                yield key, _result(pool, future, function, key)
                del future
            elif pace.in_place and not upstream.ended:
                yield from _in_place(upstream.pairs, function, pace, stop)
            else:
                break
        upstream.raise_error()
    finally:
        stop.remove(pool.stop)
        pool.close()


def _in_place(pairs: Iterable[Pair], function: ItemFunction, pace: Pace, stop: Stop) -> Iterator[Pair]:
    """Without workers, as long as that is faster."""
    average = 0.0
    for key, value in pairs:
        begun = perf_counter()
        value = function(key, value)
        seconds = perf_counter() - begun
        if stop.called:
            stop.check()
        yield key, value
        del value
        # one call that had to wait for the interpreter lock is not enough
        average += (seconds - average) / 16 if seconds < 8 * pace.CHEAP else pace.CHEAP / 2
        if average > pace.CHEAP:
            pace.leave()
            return


def _unordered(
    items: Iterator[Pair],
    state: State,
    log: deque[Any],
    function: ItemFunction,
    open_pool: Callable[[ItemFunction], Pool],
    in_flight: int | None,
    stop: Stop,
) -> Iterator[Pair]:
    again = list(state['slots'])
    upstream = _Upstream(items)
    running: dict[Any, Any] = {}
    done: SimpleQueue[Any] = SimpleQueue()

    def pull() -> Pair | None:
        if again:
            return again.pop(0)  # type: ignore[no-any-return]
        if upstream.ended:
            return None
        pair = upstream.next()
        if upstream.error is None:
            log.append((END if pair is None else pair[0], False))
        return pair

    pool = _opened(open_pool, function)
    pace = pool.pace
    stop.add(pool.stop)
    try:
        while True:
            while len(running) < (in_flight or pool.window) and not pace.in_place:
                if (pair := pull()) is None:
                    break
                key = pair[0]
                running[key] = pool.submit(*pair)
                del pair
                if not pace.known and len(running) == 1:
                    pool.try_out(running[key])
                pool.when_done(running[key], partial(done.put, key))
            if pace.in_place and done.empty():
                pairs = iter(lambda: pull() if done.empty() else None, None)
                for key, value in _in_place(pairs, function, pace, stop):
                    log.append((key, True))
                    yield key, value
                    del value
                if not pace.in_place:
                    continue
            if not running:
                break
            if done.empty():
                pool.flush()
            while (key := _ready(done)) is None:
                pass
            log.append((key, True))
            yield key, _result(pool, running.pop(key), function, key)
        upstream.raise_error()
    finally:
        stop.remove(pool.stop)
        pool.close()


def _ready(done: SimpleQueue[Any]) -> Any:
    try:
        return done.get(timeout=BEAT)
    except Empty:
        return None


def _replay_unordered(log: deque[Any], position: list[Any], state: State) -> Iterator[Pair]:
    slots = state['slots']
    while True:
        key, came_out = log.popleft()
        if came_out:
            slots[:] = [pair for pair in slots if pair[0] != key]
            yield key, None
        else:
            position[0] = key
            if key is not END:
                slots.append((key, None))
