"""The workers that a `parallel_map` asks for, and the pool that they become in a run."""

from __future__ import annotations

from typing import Any, NamedTuple

from itpipe._core.checks import one_of, positive
from itpipe._core.notes import note
from itpipe._engine.functions import ItemFunction
from itpipe._engine.resources import Resource
from itpipe._engine.threads import check_running
from itpipe._engine.waiting import StallTimer, Stop

from .failures import Retries, Retrying
from .pool import Pool
from .threads import Threads

__all__ = ['Workers', 'check_limits']


class Workers(NamedTuple):
    """Which workers, and how they call the function."""

    kind: str
    """`'threads'`, `'processes'`, `'tasks'`, `'executor'` or `'workers'` …"""
    given: Any
    """… with how many, or the executor, or `'auto'`."""
    in_flight: int | None
    max_crashes: int
    max_tasks: int | None
    stall_timeout: float | None
    resource: Resource | None
    retries: Retries | None
    timeout: float | None = None
    """Seconds that a process or a task may take for an item."""
    restart: bool = False
    """Whether processes are replaced that take longer than `stall_timeout` for an item."""

    def open(self, function: ItemFunction, stop: Stop) -> Pool:
        """A pool of these workers for the function: that of an earlier pass, or a new one."""
        where = function.where
        function.resource = self.resource
        called = function if self.retries is None else Retrying(function, self.retries)
        if stop.pools is not None:
            idle: Pool | None = stop.pools.take(lambda pool: pool.function.place == function.place, called)
            if idle is not None:
                idle.begin(called)
                return idle
        try:
            return self._opened(called, stop, where)
        except Exception as error:
            note(error, where, None)
            raise

    def _opened(self, function: ItemFunction, stop: Stop, where: str) -> Pool:
        pool = self._auto(function, stop, where) if self.kind == 'workers' else self._pool(function)
        seconds = stop.stall_timeout if self.stall_timeout is None else self.stall_timeout
        pool.where = where
        pool.stall_timer = StallTimer(f'no item has come out of {where}', seconds)
        return pool

    def _auto(self, function: ItemFunction, stop: Stop, where: str) -> Pool:
        from .auto import Auto

        return Auto(
            function,
            lambda setting, function: self._replace(kind=setting.kind, given=setting.size)._opened(
                function, stop, where
            ),
        )

    def _pool(self, function: ItemFunction) -> Pool:
        if self.kind == 'threads':
            return Threads(self.given, function, self.in_flight)
        if self.kind == 'processes':
            check_running()  # if the interpreter is ending, the next import fails and does not say why
            from .crashes import Timeout
            from .processes import Processes

            timeout = None if self.timeout is None else Timeout(self.timeout, self._tries_after(TimeoutError))
            restart_after = self.stall_timeout if self.restart else None
            return Processes(
                self.given, function, self.in_flight, self.max_crashes, self.max_tasks, timeout, restart_after
            )
        if self.kind == 'tasks':
            from .tasks import Tasks

            return Tasks(self.given, function, self.in_flight, self.timeout)
        from .executors import ExecutorPool

        return ExecutorPool(self.given, function, self.in_flight)

    def _tries_after(self, error: type[Exception]) -> int:
        """How many times a call is tried again after such an error."""
        return self.retries.tries if self.retries is not None and issubclass(error, self.retries.on) else 0


def check_limits(where: str, kind: str, timeout: Any, stall_timeout: Any, on_stall: Any) -> bool:
    """Check the limits in time of workers of this kind; whether those are restarted that stall."""
    for name, seconds in ('timeout', timeout), ('stall_timeout', stall_timeout):
        if seconds is not None:
            positive(where, name, seconds)
    restart = one_of(where, 'on_stall', on_stall, ('warn', 'restart')) == 'restart'
    for option, given in ('timeout', timeout is not None), ('on_stall', restart):
        if given and kind == 'tasks':
            if option == 'on_stall':
                raise TypeError(f'{where}: `on_stall` goes with `processes`; `timeout` cancels a task')
        elif given and kind != 'processes':
            what = 'a thread' if kind == 'threads' else 'a call in an executor'
            raise TypeError(f'{where}: `{option}` goes with `processes`, as {what} cannot be stopped from outside')
    if restart and stall_timeout is None:
        raise TypeError(f'{where}: `on_stall` goes with `stall_timeout`, the seconds after which it restarts')
    return restart
