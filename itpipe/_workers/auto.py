"""A pool that finds out while it runs which workers are best: threads or processes, and how many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from itpipe._core.keys import Key
from itpipe._core.nbytes import nbytes
from itpipe._core.notes import noted
from itpipe._engine.functions import ItemFunction
from itpipe._engine.meters import Meter
from itpipe.errors import NotPicklable, WorkerCrashed

from .cores import usable_cores
from .pool import Pool
from .task import Task
from .tuning import FIRST, Setting, Tuner

__all__ = ['Auto']

BYTES = 1 << 28
"""There are more workers than cores only while the results on their way hold no more bytes than this."""


class Auto(Pool):
    """One pool after another, beginning with a thread. It does nothing itself.

    A pool takes over when all tasks of the one before have been taken. So the order is that of the items, and all
    pending tasks are of one pool. The best pool so far stays, idle, until there is a better one.
    """

    def __init__(self, function: ItemFunction, open_pool: Callable[[Setting, ItemFunction], Pool]):
        super().__init__(1, function)
        self._open_pool = open_pool
        cores = usable_cores()
        self._result_bytes, self._is_new = 1, True
        self._tuner = Tuner(cores, lambda: max(cores, BYTES // (2 * self._result_bytes)))
        self._next: Setting | None = None
        """What takes over as soon as nothing is pending."""
        self._watches = False
        self._pools: dict[Setting, Pool] = {}
        self._spare: Pool | None = None
        """A thread for items that could not go to a process."""
        self._pool = self._opened(FIRST)
        self.inline = self._pool.inline

    @property
    def settings(self) -> list[Setting]:
        """All that were tried, in this order. The last one is that of now."""
        return self._tuner.settings

    # -----------------------------------------------------------------------------------------------------------------
    # Tasks

    @property
    def max_pending(self) -> int:
        return self._pool.max_pending

    def can_submit(self, pending: int) -> bool:
        self._tuner.came_back()
        if self.inline.active:  # these calls are no tasks
            self._tuner.restart()
        if self._next is not None and not pending:
            self._change()
        return self._next is None and self._pool.can_submit(pending)

    def submit(self, key: Key, value: Any, keep: bool = False) -> Task:
        return self._pool.submit(key, value, keep or self._may_move(NotPicklable) or self._may_move(OSError))

    def try_out(self, task: Task) -> None:
        self._pool.try_out(task)

    def result(self, task: Task) -> Any:
        moves, value = False, None
        try:
            value = self._pool.result(task)
        except Exception as error:
            moves = not (task.item_failed or self._stopped or noted(error)) and self._may_move(type(error))
            if not moves or (task.item is None and not self._pool.copies):  # it was not kept, before the search began
                raise
        if moves:
            value = self._call_here(task)
        if self._is_new:
            self._result_bytes, self._is_new = max(1, nbytes(value)), False
        if self._next is None:
            self._next = self._tuner.goes_out(self._pool.is_complete)
        return value

    def _may_move(self, error: type[Exception]) -> bool:
        """Whether an item is called here, if this error of the workers is why it was not called there.

        What cannot be pickled need not be. And workers that are tried only may turn out to be too many.
        """
        if issubclass(error, NotPicklable):
            return self._pool.copies
        is_tried = self._tuner.is_searching and self._pool is not self._pools.get(FIRST)
        return is_tried and not issubclass(error, WorkerCrashed)

    def _call_here(self, task: Task) -> Any:
        """Call the function with an item that its worker could not be given, or could not give back."""
        if self._spare is None:
            self._spare = self._new(FIRST)
        if self._next is None and self._tuner.is_searching:
            self._next = self._tuner.failed()
        again = self._spare.submit(task.key, task.item)
        try:
            return self._spare.result(again)
        finally:
            task.item_failed = again.item_failed

    def starves(self, task: Task) -> bool:
        return self._next is None and self._pool.starves(task)

    def widen(self, results: Iterable[Any]) -> None:
        self._pool.widen(results)

    def watch(self) -> None:
        self._watches = True
        self._pool.watch()

    @property
    def done(self) -> list[Task]:
        return self._pool.done

    @property
    def any_done(self) -> bool:
        return self._pool.any_done

    def next_done(self) -> Task:
        return self._pool.next_done()

    # -----------------------------------------------------------------------------------------------------------------
    # Pools

    def _change(self) -> None:
        while self._next is not None:
            setting, self._next = self._next, None
            try:
                self._pool = self._opened(setting)
            except (NotPicklable, OSError, RuntimeError):  # of the function, or there can be no more workers
                if not self._tuner.is_searching:
                    raise
                self._next = self._tuner.failed()
        for setting in [setting for setting in self._pools if setting not in self._tuner.kept]:
            self._close(self._pools.pop(setting))
        self._close_spare()
        self._is_new = True
        self._tuner.restart()

    def _opened(self, setting: Setting) -> Pool:
        pool = self._pools.get(setting)
        if pool is None:
            pool = self._pools[setting] = self._new(setting)
        else:
            pool.begin(self.function.apart())
        pool.attach(self.meter)
        if self._watches:
            pool.watch()
        if self._stopped:  # only now, from another thread
            pool.stop()
        return pool

    def _new(self, setting: Setting) -> Pool:
        pool = self._open_pool(setting, self.function.apart())
        if self._pools:
            pool.inline = self.inline
        return pool

    def _close_spare(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            self._close(spare)

    def _close(self, pool: Pool) -> None:
        try:
            pool.close()
        except Exception as error:  # of closing what a worker has set up: to be raised in the end, as always
            self._failures.append(error)

    def _all(self) -> list[Pool]:
        return [*self._pools.values(), *([] if self._spare is None else [self._spare])]

    # -----------------------------------------------------------------------------------------------------------------
    # Passes, stalls and the end

    def attach(self, meter: Meter) -> None:
        super().attach(meter)
        self._pool.attach(meter)
        meter.tried = self.settings

    def serves(self, function: ItemFunction) -> bool:
        return all(pool.serves(function) for pool in self._pools.values())

    def begin(self, function: ItemFunction) -> None:
        super().begin(function)
        self._pool.begin(function.apart())
        self._tuner.restart()

    def rest(self) -> None:
        self._watches = False
        self._pool.rest()
        self._close_spare()  # the function of the next pass draws other numbers

    @property
    def is_broken(self) -> bool:
        return self._pool.is_broken

    @property
    def threads(self) -> list[threading.Thread]:
        return [thread for pool in self._all() for thread in pool.threads]

    def doing(self) -> str:
        return ''.join(pool.doing() for pool in self._all())

    def stop(self) -> None:
        super().stop()
        for pool in self._all():
            pool.stop()

    def close(self) -> None:
        self.stop()
        with ExitStack() as closing:
            for pool in self._all():
                closing.callback(pool.close)
        self._raise_failure()
