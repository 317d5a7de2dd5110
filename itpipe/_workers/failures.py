"""If the function of a `parallel_map` fails for an item: it is called again, or the policy of the stage is applied."""

from __future__ import annotations

from collections import deque
from threading import Event
from typing import Any, NamedTuple

from itpipe._core.checks import integer, number
from itpipe._core.keys import Key
from itpipe._core.notes import raised_in
from itpipe._engine.failures import Failures, Policy
from itpipe._engine.functions import ItemFunction
from itpipe._engine.indexing import LookUpFailed
from itpipe._engine.meters import Meter
from itpipe.errors import Dropped, WorkerCrashed

__all__ = ['FunctionFailures', 'Retries', 'Retrying', 'retries_of']

BACKOFF = 0.1
"""Seconds before the second try, by default."""
MAX_BACKOFF = 60.0
"""Seconds between two tries, at most."""


class Retries(NamedTuple):
    """How many times a call is tried again, after which errors, and after how many seconds."""

    tries: int
    on: tuple[type[Exception], ...]
    backoff: float

    def pause(self, n: int) -> float:
        """Seconds before the call is made again for the n-th time, from 0 on."""
        return min(self.backoff * 2.0 ** min(n, 64), MAX_BACKOFF)


def retries_of(where: str, retries: Any, retry_on: Any, backoff: Any) -> Retries | None:
    """The checked arguments; None if there are no retries."""
    count = integer(where, 'retries', retries, least=0)
    seconds = BACKOFF if backoff is None else number(where, 'backoff', backoff, least=0)
    if not count:
        for name, value in ('retry_on', retry_on), ('backoff', backoff):
            if value is not None:
                raise TypeError(f'{where}: `{name}` goes with `retries`')
        return None
    if retry_on is None:
        raise TypeError(f'{where}: `retries` needs `retry_on`, the class or classes of errors to try again after')
    classes = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    for kind in classes:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            got = kind.__name__ if isinstance(kind, type) else type(kind).__name__
            raise TypeError(f'{where}: `retry_on` must be a class of exceptions or a tuple of such, got {got}')
    if not classes:
        raise ValueError(f'{where}: `retry_on` must not be empty')
    return Retries(count, classes, seconds)


class Retrying(ItemFunction):
    """A function of an item that is called again after some errors, in the same worker."""

    __slots__ = ('function', 'retried', 'retries', 'stopped')

    def __init__(self, function: ItemFunction, retries: Retries):
        super().__init__(function.calls, function.names, function.lead, function.pass_)
        self.place, self.resource = function.place, function.resource
        self.function, self.retries = function, retries
        self.stopped = Event()
        self.retried: list[None] = []

    def in_pass(self, pass_: int) -> ItemFunction:
        function = Retrying(self.function.in_pass(pass_), self.retries)
        function.stopped, function.retried = self.stopped, self.retried
        return function

    def apart(self) -> ItemFunction:
        function = Retrying(self.function, self.retries)
        function.retried = self.retried
        return function

    def __call__(self, key: Key, value: Any) -> Any:
        failures: tuple[type[Exception], ...] = (*self.retries.on, LookUpFailed)
        for n in range(self.retries.tries):
            try:
                return self.function(key, value)
            except failures as error:
                if isinstance(error, LookUpFailed) and not isinstance(error.__cause__, self.retries.on):
                    raise
                if self.stopped.wait(self.retries.pause(n)):
                    raise
                self.retried.append(None)
        return self.function(key, value)

    def stop(self) -> None:
        self.stopped.set()

    def count_retries(self, retried: list[None]) -> None:
        self.retried = retried

    def __reduce__(self) -> Any:
        return Retrying, (self.function, self.retries)


class FunctionFailures(Failures):
    """Those of a function that workers call, after what they do before it."""

    def __init__(self, policy: Policy, stage: str, dropped: deque[Dropped], function: ItemFunction, meter: Meter):
        super().__init__(policy, stage, dropped, meter)
        self._first, _ = function.split()

    def item(self, error: Exception, key: Key, item: Any) -> Any:
        """What the function of the stage got: made again, if workers look items up; the index if that fails."""
        if isinstance(error, WorkerCrashed):  # the look-up may be what killed the workers
            return item
        try:
            return self._first(key, item)
        except Exception:
            return item

    def stage_of(self, error: Exception) -> str:
        """What failed: this stage, or what workers do before it, such as to look the item up."""
        return raised_in(error, self._first.places) or self.stage
