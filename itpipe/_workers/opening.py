"""The workers that a `parallel_map` asks for, and the pool that they become in a run."""

from __future__ import annotations

from typing import Any, NamedTuple

from itpipe._core.notes import note
from itpipe._engine.functions import ItemFunction
from itpipe._engine.resources import Resource
from itpipe._engine.threads import check_running
from itpipe._engine.waiting import StallTimer, Stop

from .failures import Retries, Retrying
from .pool import Pool
from .threads import Threads

__all__ = ['Workers']


class Workers(NamedTuple):
    """Which workers, and how they call the function."""

    kind: str
    """`'threads'`, `'processes'` or `'executor'` …"""
    given: Any
    """… with how many, or the executor."""
    in_flight: int | None
    max_crashes: int
    max_tasks: int | None
    stall_timeout: float | None
    resource: Resource | None
    retries: Retries | None

    def open(self, function: ItemFunction, stop: Stop) -> Pool:
        """A pool of these workers for the function: that of an earlier pass, or a new one."""
        where = function.where
        function.resource = self.resource
        called = function if self.retries is None else Retrying(function, self.retries)
        if stop.pools is not None:
            idle: Pool | None = stop.pools.take(lambda pool: pool.function.place == function.place)
            if idle is not None:
                idle.begin(called)
                return idle
        try:
            pool = self._pool(called)
        except Exception as error:
            note(error, where, None)
            raise
        seconds = stop.stall_timeout if self.stall_timeout is None else self.stall_timeout
        pool.where = where
        pool.stall_timer = StallTimer(f'no item has come out of {where}', seconds)
        return pool

    def _pool(self, function: ItemFunction) -> Pool:
        if self.kind == 'threads':
            return Threads(self.given, function, self.in_flight)
        if self.kind == 'processes':
            check_running()  # if the interpreter is ending, the next import fails and does not say why
            from .processes import Processes

            return Processes(self.given, function, self.in_flight, self.max_crashes, self.max_tasks)
        from .executors import ExecutorPool

        return ExecutorPool(self.given, function, self.in_flight)
