"""A clock that only moves where a test says so, for each thread by itself."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

MODULES = [
    '_engine.meters',
    '_engine.ledgers',
    '_engine.collecting',
    '_engine.epochs',
    '_engine.epoch_run',
    '_workers.threads',
]


class Clock:
    """The seconds that this thread has worked; if it is shared, that all threads have."""

    def __init__(self, shared: bool = False) -> None:
        self._own: Any = SimpleNamespace() if shared else threading.local()

    def __call__(self) -> float:
        return float(getattr(self._own, 'now', 1000.0))

    def work(self, seconds: float) -> None:
        """Let time pass in this thread."""
        self._own.now = self() + seconds

    def takes(self, seconds: float) -> Any:
        """A function of an item that takes so long, and returns the item."""

        def function(item: Any) -> Any:
            self.work(seconds)
            return item

        return function


def virtual(monkeypatch: pytest.MonkeyPatch, shared: bool = False) -> Clock:
    """A clock that the meters of all runs look at instead of the real one."""
    clock = Clock(shared)
    for module in MODULES:
        monkeypatch.setattr(f'itpipe.{module}.perf_counter', clock)
    return clock
