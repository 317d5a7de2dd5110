"""The bounded window over workers: what runs in a `parallel_map`.

Items are submitted to a pool as far ahead as the pool allows. Results are taken in the order of the items (`_InOrder`)
or as they are completed (`_AsCompleted`); the loop over both is the same. Calls that are too cheap for workers are made
inline, in the thread of the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from itpipe._core.keys import END
from itpipe._core.notes import close_after, note, noted
from itpipe._core.snapshots import snapshot
from itpipe._core.steps import HIDDEN, Pair, State
from itpipe._engine.failures import SKIPPED, Policy
from itpipe._engine.functions import ItemFunction
from itpipe._engine.indexing import LookUpFailed
from itpipe._engine.look_ups import LookUps
from itpipe._engine.meters import Meter
from itpipe._engine.waiting import Stop
from itpipe.errors import WorkerCrashed

from .failures import FunctionFailures
from .inline import call_inline
from .opening import Workers
from .pool import Pool
from .task import Task

__all__ = ['map_ordered', 'map_unordered', 'replay_unordered']

HELD = 0.001
"""Seconds; if the source takes longer for an item, a result that is ready does not wait for the next item."""


class _InOrder:
    """The items, and their tasks in the same order.

    An error that ends the items is kept until the results before it are out.
    """

    def __init__(self, items: Iterator[Pair], pool: Pool):
        self.items, self.pool = items, pool
        self.tasks: deque[Task] = deque()
        self.ended = False
        self.error: Exception | None = None

    def values(self) -> list[Any]:
        """The results that are ready."""
        return [task.value for task in snapshot(self.tasks) if task.settled]

    def pull(self) -> Pair | None:
        """The next item, or None if there is none."""
        if not self.ended:
            try:
                return next(self.items)
            except StopIteration:
                self.ended = True
            except Exception as error:
                self.ended, self.error = True, error
        return None

    def raise_error(self) -> None:
        """Raise the error that ended the items, if there was one."""
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # its traceback holds this frame

    def add(self, task: Task) -> None:
        """A task was submitted."""
        self.tasks.append(task)

    def is_ready(self) -> bool:
        """Whether a task can be taken that is done."""
        return bool(self.tasks) and self.tasks[0].settled

    def take(self) -> Task:
        """The task whose result goes out next, done or not."""
        return self.tasks.popleft()

    def add_again(self, task: Task) -> None:
        """A task was submitted in the place of the one that was taken last."""
        self.tasks.appendleft(task)

    def gave(self, task: Task) -> None:
        """Nothing else comes of this task."""

    def widen(self) -> bool:
        """Have the pool allow more tasks if workers are idle because the first one takes far longer than others."""
        if (
            self.ended
            or self.is_ready()
            or len(self.tasks) < self.pool.max_pending
            or not self.pool.starves(self.tasks[0])
        ):
            return False
        self.pool.widen(task.value for task in self.tasks if task.settled)
        return True

    def inline_items(self) -> Iterator[Pair]:
        """The items to be called inline before the next task is taken."""
        return iter(()) if self.tasks else self.items


class _AsCompleted(_InOrder):
    """The items, and their tasks as they are done. What goes in and comes out is logged, for `replay_unordered`."""

    def __init__(self, items: Iterator[Pair], state: State, log: deque[Any], pool: Pool):
        super().__init__(items, pool)
        self.log = log
        self.again: deque[Pair] = deque(state['slots'])
        state['slots'].clear()  # or they are held as long as the run lasts
        pool.watch()

    def values(self) -> list[Any]:
        return [task.value for task in self.pool.done]

    def pull(self) -> Pair | None:
        if self.again:
            return self.again.popleft()
        if self.ended:
            return None
        pair = super().pull()
        if self.error is None:
            self.log.append((END if pair is None else pair[0], False))
        return pair

    def add(self, task: Task) -> None:
        pass  # the pool gives it back when it is done

    def is_ready(self) -> bool:
        return self.pool.any_done

    def widen(self) -> bool:
        return False  # no task waits for another one

    def take(self) -> Task:
        return self.pool.next_done()

    def add_again(self, task: Task) -> None:
        pass

    def gave(self, task: Task) -> None:
        self.log.append((task.key, True))

    def inline_items(self) -> Iterator[Pair]:
        return iter(self._pull_inline, None)

    def _pull_inline(self) -> Pair | None:
        if self.pool.any_done or (pair := self.pull()) is None:
            return None
        self.log.append((pair[0], True))
        return pair


def map_ordered(items: Iterator[Pair], *options: Any) -> Iterator[Pair]:
    return _map(partial(_InOrder, items), *options)


def map_unordered(items: Iterator[Pair], state: State, log: deque[Any], *options: Any) -> Iterator[Pair]:
    return _map(partial(_AsCompleted, items, state, log), *options)


def replay_unordered(log: deque[Any], position: list[Any], state: State) -> Iterator[Pair]:
    slots = state['slots']
    while log:
        key, came_out = log.popleft()
        if came_out:
            slots[:] = [pair for pair in slots if pair[0] != key]
            yield key, HIDDEN
        elif key is END:
            state['ended'] = True
        else:
            position[0] = key
            slots.append((key, HIDDEN))


def _map(
    window_over: Callable[[Pool], _InOrder],
    function: ItemFunction,
    workers: Workers,
    policy: Policy | None,
    stop: Stop,
    meter: Meter,
) -> Iterator[Pair]:
    pool = workers.open(function, stop)
    pool.attach(meter)
    leave = partial(_leave, meter, pool.close if stop.pools is None else partial(stop.pools.give_back, pool))
    failures = None if policy is None else FunctionFailures(policy, pool.where, stop.dropped, function, meter)
    look_ups = LookUps(function, stop.dropped, meter)
    keep = (policy is not None and policy.replaces) or look_ups.replace
    window, inline = window_over(pool), pool.inline
    pending, slow = 0, False
    probe, before, meter.pending = meter.probe, meter.before, 0
    meter.values = window.values
    meter.capacity = lambda: max(pool.max_pending, meter.held)  # it may have been more when they were submitted
    stop.add(pool)
    try:
        while True:
            while pool.can_submit(pending) and not inline.active and not (slow and window.is_ready()):
                if probe.on:
                    probe.charge(meter)
                begun = perf_counter()
                pair = window.pull()
                if probe.on:
                    probe.charge(before, pair and pair[0])
                if pair is None:
                    break
                slow = perf_counter() - begun > HELD
                window.add(task := pool.submit(*pair, keep=keep))
                del pair
                pending += 1
                meter.pending = pending
                if not inline.calibrated and pending == 1:
                    pool.try_out(task)
            if inline.active and pool.can_submit(pending):
                yield from call_inline(window.inline_items(), pool.function, inline, failures, look_ups, stop, meter)
                if not inline.active:
                    continue
            if not pending:
                break
            if window.widen():
                continue
            task = window.take()
            pending -= 1
            meter.pending = pending
            value = _result(pool, task, failures, look_ups)
            if isinstance(value, _Instead):
                window.add_again(pool.submit(task.key, value.item, keep=keep))
                pending += 1
                look_ups.count(-1)  # it is counted when its task is taken
                if failures is not None:
                    failures.seen -= 1
                continue
            window.gave(task)
            if value is not SKIPPED:
                yield task.key, value
            del value
        window.raise_error()
    except Exception as error:
        close_after(error, leave if stop.called else pool.close)
        raise
    except BaseException:
        leave()
        raise
    else:
        leave()
    finally:
        meter.tasks = None
        meter.forget()
        stop.remove(pool)


def _leave(meter: Meter, leave: Callable[[], None]) -> None:
    meter.read_cpu()  # while the workers are there
    leave()


class _Instead(NamedTuple):
    """What to call the function with, instead of an index at which nothing could be looked up."""

    item: Any


def _result(pool: Pool, task: Task, failures: FunctionFailures | None, look_ups: LookUps) -> Any:
    """What goes out for the task, SKIPPED if nothing does."""
    if failures is not None:
        failures.seen += 1
    look_ups.count()
    try:
        return pool.result(task)
    except LookUpFailed as error:
        failed = error
    except Exception as error:
        if not noted(error):  # it was not the function that raised it
            unclear = isinstance(error, (WorkerCrashed, TimeoutError))  # whether it was in a look-up
            places = pool.function.split()[0].places if unclear else []
            note(error, ' or in '.join([*filter(None, places), pool.where]), task.key)
        if failures is None or not task.item_failed:
            raise
        return failures.outcome(error, task.key, task.item)
    try:
        instead = look_ups.instead(failed, task.item)
    finally:
        del failed  # its traceback holds this frame
    return SKIPPED if instead is SKIPPED else _Instead(instead)
