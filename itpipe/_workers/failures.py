"""If the function fails for an item: the call is tried again, the item is left out or replaced, or the run ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Event
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from itpipe._core.checks import integer, not_async, number
from itpipe._core.keys import Key, ordinals
from itpipe._core.notes import note
from itpipe._core.tracebacks import add_note, own, related, without_values
from itpipe._engine.functions import ItemFunction
from itpipe._engine.meters import Meter
from itpipe.errors import Dropped, WorkerCrashed

__all__ = ['SKIPPED', 'Failures', 'OnError', 'Policy', 'Retries', 'Retrying', 'policy_of', 'retries_of']

OnError: TypeAlias = "Literal['raise', 'skip'] | Callable[[Exception, Any, int], Any]"
"""What to do about an error: always the same, or what a function of the error, the item and its ordinal returns."""

BACKOFF = 0.1
"""Seconds before the second try, by default."""
MAX_BACKOFF = 60.0
"""Seconds between two tries, at most."""
FEWEST = 100
"""If `max_errors` is a share, it is a share of at least this many items: one of two is not too many."""
SKIPPED: Final = object()
"""In the place of a result: the item is left out."""


class Retries(NamedTuple):
    """How many times a call is tried again, after which errors, and after how many seconds."""

    tries: int
    on: tuple[type[Exception], ...]
    backoff: float

    def pause(self, n: int) -> float:
        """Seconds before the call is made again for the n-th time, from 0 on."""
        return min(self.backoff * 2.0 ** min(n, 64), MAX_BACKOFF)


class Policy(NamedTuple):
    """What to do about errors, and how many are allowed."""

    on_error: OnError
    max_errors: float | None = None


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


def policy_of(where: str, on_error: Any, max_errors: Any) -> Policy | None:
    """The checked arguments; None if every error ends the run."""
    rule = f"{where}: `on_error` must be 'raise', 'skip' or a function, got"
    if isinstance(on_error, type):
        raise TypeError(f'{rule} the class {on_error.__name__}')
    if not callable(on_error):
        if not isinstance(on_error, str):
            raise TypeError(f'{rule} {type(on_error).__name__}')
        if on_error not in ('raise', 'skip'):
            raise ValueError(f'{rule} {on_error!r}')
    not_async(f'{where}: `on_error`', on_error)
    if max_errors is not None:
        if isinstance(max_errors, float):
            if not 0 < max_errors < 1:
                raise ValueError(f'{where}: `max_errors` must be a count or a share below 1, got {max_errors}')
        else:
            integer(where, 'max_errors', max_errors, least=0)
        if on_error == 'raise':
            raise TypeError(f"{where}: `max_errors` goes with another `on_error` than 'raise'")
    return None if on_error == 'raise' else Policy(on_error, max_errors)


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
        for n in range(self.retries.tries):
            try:
                return self.function(key, value)
            except self.retries.on:
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


class Failures:
    """Applies the policy of a stage to the errors in a run."""

    def __init__(self, policy: Policy, stage: str, dropped: deque[Dropped], function: ItemFunction, meter: Meter):
        self.meter = meter
        self.policy, self.stage, self.dropped = policy, stage, dropped
        self._first, _ = function.split()
        self.keeps_items = callable(policy.on_error)
        self.seen = self.count = 0
        """How many items there were, and how many errors."""

    def outcome(self, error: Exception, key: Key, item: Any) -> Any:
        """What goes out instead of a result, SKIPPED if nothing does; or raises the error."""
        self.count += 1
        self.meter.errors += 1
        on_error, allowed = self.policy
        if allowed is not None and self.count > self._limit(allowed):
            add_note(error, f'itpipe: with {self.count} errors, there were more than `max_errors={allowed}` allows')
            raise error
        ordinal = ordinals(key)[0]
        try:
            choice = on_error if isinstance(on_error, str) else on_error(error, self._item(error, key, item), ordinal)
        except Exception as second:
            if second is not error:
                note(second, f'`on_error` of {self.stage}', key)
            raise
        if choice is None:
            raise TypeError(
                f"{self.stage}: `on_error` must return 'raise', 'skip' or what to put in the item's place, got None"
            ) from error
        if not isinstance(choice, str) or choice not in ('raise', 'skip'):
            return choice
        if choice == 'raise':
            raise error
        for each in related(error):  # the error is kept, but not what the function worked on
            BaseException.with_traceback(each, without_values(own(each, '__traceback__')))
        self.dropped.append(Dropped(ordinal, self.stage, error))
        self.meter.dropped += 1
        return SKIPPED

    def _item(self, error: Exception, key: Key, item: Any) -> Any:
        """What the function of the stage got: made again, if workers look items up; the index if that fails."""
        if isinstance(error, WorkerCrashed):  # the look-up may be what killed the workers
            return item
        try:
            return self._first(key, item)
        except Exception:
            return item

    def _limit(self, allowed: float) -> float:
        return max(1, allowed * max(self.seen, FEWEST)) if 0 < allowed < 1 else allowed
