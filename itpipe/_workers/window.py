"""The ordered, bounded window over workers: what runs in a `parallel_map`.

Items are submitted to a pool as far ahead as there is room, and each result is asked for in its turn, or, without
order, when it is there. Where calls are so cheap that workers do not pay, they are made in place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Any

from itpipe._core.keys import END, Key
from itpipe._core.notes import close_after, note, noted
from itpipe._core.steps import Pair, State
from itpipe._engine.functions import ItemFunction
from itpipe._engine.order import each
from itpipe._engine.waiting import StallTimer, Stop

from .failures import SKIPPED, Failures, Policy
from .pool import Pool
from .task import Task

__all__ = ['ordered', 'replay_unordered', 'unordered']

HELD = 0.001
"""Seconds; where the source takes longer for an item, results that are ready do not wait for the next ones."""


class _Upstream:
    """The items, and the error with which they ended, kept until what came before it is delivered."""

    def __init__(self, items: Iterator[Pair]):
        self.items = items
        self.error: Exception | None = None
        self.ended = False

    def next(self) -> Pair | None:
        """The next pair, or None when there is no more."""
        if self.ended:
            return None
        try:
            return next(self.items)
        except StopIteration:
            self.ended = True
        except Exception as error:
            self.ended, self.error = True, error
        return None

    def raise_error(self) -> None:
        """Raise what ended the items, if it was an error."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # its traceback holds this frame


def _opened(
    open_pool: Callable[[ItemFunction], Pool], function: ItemFunction, stop: Stop, stall_timeout: float | None
) -> Pool:
    where = ' | '.join(function.names)
    try:
        pool = open_pool(function)
    except Exception as error:
        note(error, where, None)
        raise
    pool.where = where
    seconds = stop.stall_timeout if stall_timeout is None else stall_timeout
    pool.stall_timer = StallTimer(f'no item has come out of {where}', seconds)
    return pool


class _AtWork:
    """The pool is part of the run, and closed in the end.

    Not by contextlib, which sets attributes of errors; these may refuse.
    """

    def __init__(self, pool: Pool, stop: Stop):
        self.pool, self.stop = pool, stop

    def __enter__(self) -> None:
        self.stop.add(self.pool)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if isinstance(error, Exception):
                close_after(error, self.pool.close)
            else:
                self.pool.close()
        finally:
            self.stop.remove(self.pool)


def _failures(policy: Policy | None, pool: Pool, stop: Stop) -> Failures | None:
    return None if policy is None else Failures(policy, pool.where, stop.dropped)


def _result(pool: Pool, task: Task, failures: Failures | None) -> Any:
    """What goes out for the task, SKIPPED if nothing does."""
    try:
        value = pool.result(task)
    except Exception as error:
        if not noted(error):  # it was not the function that raised it
            note(error, pool.where, task.key)
        if failures is None or not task.item_failed:
            raise
        failures.seen += 1
        return failures.outcome(error, task.key, task.item)
    if failures is not None:
        failures.seen += 1
    return value


def ordered(
    items: Iterator[Pair],
    function: ItemFunction,
    open_pool: Callable[[ItemFunction], Pool],
    policy: Policy | None,
    stop: Stop,
    stall_timeout: float | None,
) -> Iterator[Pair]:
    upstream = _Upstream(items)
    window: deque[Task] = deque()
    pool = _opened(open_pool, function, stop, stall_timeout)
    failures = _failures(policy, pool, stop)
    keep = failures is not None and failures.keeps_items
    pace = pool.inline
    slow = False
    with _AtWork(pool, stop):
        while True:
            while pool.can_submit(len(window)) and not pace.active and not (slow and window and window[0].settled):
                begun = perf_counter()
                if (pair := upstream.next()) is None:
                    break
                slow = perf_counter() - begun > HELD
                window.append(pool.submit(*pair, keep=keep))
                del pair
                if not pace.calibrated and len(window) == 1:
                    pool.try_out(window[0])
            if window:
                task = window.popleft()
                if (value := _result(pool, task, failures)) is not SKIPPED:
                    yield task.key, value
                del value
            elif pace.active and not upstream.ended:
                in_place = _in_place(upstream.items, pool, failures, stop)
                upstream.ended = yield from (in_place if failures is None else _without_skipped(in_place))
            else:
                break
        upstream.raise_error()


def _in_place(pairs: Iterator[Pair], pool: Pool, failures: Failures | None, stop: Stop) -> Generator[Pair, None, bool]:
    """Without workers, as long as that is faster; returns whether all pairs are done."""
    pace, count = pool.inline, 1
    if failures is None and type(pool.function) is ItemFunction:
        unwatched = partial(each, function=pool.function, stop=stop)
    else:
        unwatched = partial(_guarded, pool=pool, failures=failures, stop=stop)
    while True:
        begun = perf_counter()
        if (yield from unwatched(islice(pairs, count))) is END:
            return True
        if perf_counter() - begun <= count * pace.CHEAP:
            count = min(2 * count, pace.GROUP)
        elif not (yield from _watched(pairs, pool, failures, stop)):  # though it may be what is around that is slow
            return False


def _watched(pairs: Iterator[Pair], pool: Pool, failures: Failures | None, stop: Stop) -> Generator[Pair, None, bool]:
    """Some calls in place, each of them timed; returns whether they are still cheap."""
    for key, value in islice(pairs, pool.inline.ONE_BY_ONE):
        begun = perf_counter()
        value = _called(pool, key, value, failures, stop)
        seconds = perf_counter() - begun
        yield key, value
        del value
        pool.inline.record_inline(seconds)
        if not pool.inline.active:
            return False
    return True


def _guarded(pairs: Iterator[Pair], pool: Pool, failures: Failures | None, stop: Stop) -> Generator[Pair, None, Any]:
    """What `each` does, where the call is more than those of the steps, or its errors may be left out."""
    key: Any = END
    for key, value in pairs:
        yield key, _called(pool, key, value, failures, stop)
        del value
    return key


def _called(pool: Pool, key: Key, item: Any, failures: Failures | None, stop: Stop) -> Any:
    if failures is None:
        value = pool.function(key, item)
        stop.check()
        return value
    failures.seen += 1
    try:
        return pool.function(key, item)
    except Exception as error:
        stop.check()
        return failures.outcome(error, key, item)


def _without_skipped(pairs: Generator[Pair, None, bool]) -> Generator[Pair, None, bool]:
    while True:
        try:
            pair = next(pairs)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if pair[1] is not SKIPPED:
            yield pair
        del pair


def unordered(
    items: Iterator[Pair],
    state: State,
    log: deque[Any],
    function: ItemFunction,
    open_pool: Callable[[ItemFunction], Pool],
    policy: Policy | None,
    stop: Stop,
    stall_timeout: float | None,
) -> Iterator[Pair]:
    again = state['slots'][:]
    state['slots'].clear()  # or they are held as long as the run lasts
    upstream = _Upstream(items)

    def pull() -> Pair | None:
        if again:
            return again.pop(0)  # type: ignore[no-any-return]
        if upstream.ended:
            return None
        pair = upstream.next()
        if upstream.error is None:
            log.append((END if pair is None else pair[0], False))
        return pair

    pool = _opened(open_pool, function, stop, stall_timeout)
    failures = _failures(policy, pool, stop)
    keep = failures is not None and failures.keeps_items
    pool.watch()
    pace = pool.inline
    running, slow = 0, False
    with _AtWork(pool, stop):
        while True:
            while pool.can_submit(running) and not pace.active and not (slow and pool.any_done):
                begun = perf_counter()
                if (pair := pull()) is None:
                    break
                slow = perf_counter() - begun > HELD
                task = pool.submit(*pair, keep=keep)
                del pair
                running += 1
                if not pace.calibrated and running == 1:
                    pool.try_out(task)
            if pace.active and not pool.any_done and pool.can_submit(running):
                pairs = iter(lambda: None if pool.any_done else pull(), None)
                for key, value in _in_place(pairs, pool, failures, stop):
                    log.append((key, True))
                    if value is not SKIPPED:
                        yield key, value
                    del value
                if not pace.active:
                    continue
            if not running:
                break
            task = pool.next_done()
            running -= 1
            log.append((task.key, True))
            if (value := _result(pool, task, failures)) is not SKIPPED:
                yield task.key, value
            del value
        upstream.raise_error()


def replay_unordered(log: deque[Any], position: list[Any], state: State) -> Iterator[Pair]:
    slots = state['slots']
    while log:
        key, came_out = log.popleft()
        if came_out:
            slots[:] = [pair for pair in slots if pair[0] != key]
            yield key, None
        else:
            position[0] = key
            if key is not END:
                slots.append((key, None))
