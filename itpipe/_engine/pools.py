"""Pools of workers that outlive a pass over the source, with what their workers have set up and cached."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

from .threads import close_outside

__all__ = ['Pools', 'Spare']

MAX_IDLE = 8
"""The most idle pools. There may be more in a `concat` of many streams that have workers each."""


class Lasting(Protocol):
    """A pool that can be used in one pass after another."""

    @property
    def threads(self) -> list[threading.Thread]:
        """Its own threads. Closing it waits for them."""

    @property
    def is_broken(self) -> bool:
        """Whether it cannot be used any more."""

    def serves(self, function: Any) -> bool:
        """Whether its workers do the same as new ones would for this function, which may have been edited."""

    def rest(self) -> None:
        """Forget the tasks of the pass that has ended. Workers may be busy with them still."""

    def close(self) -> None:
        """Wait until nothing of this pool is left."""


class Pools:
    """The pools that no pass is using. Closing them ends their workers."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._idle: list[Lasting] = []
        self._before: list[Lasting] = []
        """Those of an earlier run that this run has not used yet."""
        self._closed = False
        self._lock = threading.RLock()

    def take(self, fits: Callable[[Any], bool], function: Any) -> Any:
        """An idle pool that fits, for this function; None if there is none.

        One of an earlier run is closed if new workers would do something else now.
        """
        while (pool := self._take(fits)) is not None:
            if pool not in self._before:
                return pool
            self._before.remove(pool)
            if pool.serves(function):
                return pool
            pool.close()
        return None

    def _take(self, fits: Callable[[Any], bool]) -> Lasting | None:
        with self._lock:
            for pool in self._idle:
                if fits(pool):
                    self._idle.remove(pool)
                    return pool
        return None

    def begin_run(self) -> None:
        """What is idle now is of an earlier run."""
        self._before = self._idle[:]

    def give_back(self, pool: Lasting) -> None:
        """Keep the pool for the next pass. If there are too many, close the pool that has been idle longest.

        After `close`, and if the pool is broken, close the pool.
        """
        too_many: Lasting | None = pool
        with self._lock:
            if not (self._closed or pool.is_broken):
                pool.rest()
                self._idle.append(pool)
                too_many = self._idle.pop(0) if len(self._idle) > MAX_IDLE else None
        if too_many is not None:
            too_many.close()

    @property
    def is_forked(self) -> bool:
        """Whether this process is a fork of that which the workers belong to."""
        return os.getpid() != self._pid

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads of the idle pools."""
        return [thread for pool in self._idle[:] for thread in pool.threads]

    def close(self) -> None:
        """Close the idle pools, and later each of the others when it is given back."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        with ExitStack() as closing:
            for pool in idle:
                closing.callback(pool.close)


class Spare:
    """The pools of the run that ended last, for the next run. Two runs at the same time share none.

    It has no lock, so that a process which was forked meanwhile can go on.
    """

    def __init__(self) -> None:
        self._pools: list[Pools] = []
        self._closed = False

    def take(self) -> Pools:
        """The pools for a run that begins."""
        self._closed = False
        self._forget_forked()
        try:
            pools = self._pools.pop()
        except IndexError:
            return Pools()
        pools.begin_run()
        return pools

    def keep(self, pools: Pools) -> None:
        """Keep the pools of a run that has ended, and close those of another one; after `close`, close these."""
        self._pools.append(pools)
        self._close_all_but(0 if self._closed else 1)

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads of the pools."""
        return [thread for pools in self._pools[:] for thread in pools.threads]

    def close(self) -> None:
        """Close the pools that are kept."""
        self._closed = True
        self._forget_forked()
        self._close_all_but(0)

    def drop(self) -> None:
        """Close them because nobody refers to them any more, in whichever thread the garbage collector runs."""
        close_outside(self.threads, self.close)

    def _forget_forked(self) -> None:
        self._pools[:] = [pools for pools in self._pools if not pools.is_forked]

    def _close_all_but(self, most: int) -> None:
        with ExitStack() as closing:
            while len(self._pools) > most:
                closing.callback(self._pools.pop(0).close)
