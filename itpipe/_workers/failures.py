"""What becomes of an item on which the function fails: it is tried again, left out or replaced, or it ends the run."""

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
from itpipe.errors import Dropped

__all__ = ['SKIPPED', 'Failures', 'OnError', 'Policy', 'Retries', 'Retrying', 'policy_of', 'retries_of']

OnError: TypeAlias = "Literal['raise', 'skip'] | Callable[[Exception, Any, int], Any]"
"""What to do about an error: always the same, or what a function of error, item and ordinal says."""

BACKOFF = 0.1
"""Seconds before the second try, where nothing is said."""
LONGEST = 60.0
"""Seconds between two tries, at most."""
FIRST = 100
"""Items that are taken to have come already where `max_errors` is a share: one of two is not many."""
SKIPPED: Final = object()
"""In the place of a result: there is none."""


class Retries(NamedTuple):
    """How often, after which errors, and after how many seconds a call is tried again."""

    tries: int
    on: tuple[type[Exception], ...]
    backoff: float


class Policy(NamedTuple):
    """What to do about errors, and how many are too many."""

    on_error: OnError
    max_errors: float | None = None


def retries_of(where: str, retries: Any, retry_on: Any, backoff: Any) -> Retries | None:
    """The arguments, checked; None for no retries."""
    count = integer(where, 'retries', retries, least=0)
    seconds = BACKOFF if backoff is None else number(where, 'backoff', backoff, least=0)
    if not count:
        for name, given in ('retry_on', retry_on), ('backoff', backoff):
            if given is not None:
                raise TypeError(f'{where}: `{name}` goes with `retries`')
        return None
    if retry_on is None:
        raise TypeError(f'{where}: `retries` needs `retry_on`, the class or classes of errors to try again after')
    classes = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            got = each.__name__ if isinstance(each, type) else type(each).__name__
            raise TypeError(f'{where}: `retry_on` must be a class of exceptions or a tuple of such, got {got}')
    if not classes:
        raise ValueError(f'{where}: `retry_on` must not be empty')
    return Retries(count, classes, seconds)


def policy_of(where: str, on_error: Any, max_errors: Any) -> Policy | None:
    """The arguments, checked; None where every error ends the run."""
    if isinstance(on_error, type):
        raise TypeError(f"{where}: `on_error` must be 'raise', 'skip' or a function, got the class {on_error.__name__}")
    if not callable(on_error):
        if not isinstance(on_error, str):
            got = type(on_error).__name__
            raise TypeError(f"{where}: `on_error` must be 'raise', 'skip' or a function, got {got}")
        if on_error not in ('raise', 'skip'):
            raise ValueError(f"{where}: `on_error` must be 'raise', 'skip' or a function, got {on_error!r}")
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
    """A function of an item that is called again after some errors; in the worker, while the item keeps its place."""

    __slots__ = ('function', 'retries', 'stopped')

    def __init__(self, function: ItemFunction, retries: Retries):
        self.calls, self.names, self.random = function.calls, function.names, function.random
        self.resource = function.resource
        self.function, self.retries = function, retries
        self.stopped = Event()

    def __call__(self, key: Key, value: Any) -> Any:
        for n in range(self.retries.tries):
            try:
                return self.function(key, value)
            except self.retries.on:
                if self.stopped.wait(min(self.retries.backoff * 2.0 ** min(n, 64), LONGEST)):
                    raise
        return self.function(key, value)

    def stop(self) -> None:
        self.stopped.set()

    def __reduce__(self) -> Any:
        return Retrying, (self.function, self.retries)


class Failures:
    """The errors of a stage in a run, by the stage's policy."""

    def __init__(self, policy: Policy, stage: str, dropped: deque[Dropped]):
        self.policy, self.stage, self.dropped = policy, stage, dropped
        self.keeps_items = callable(policy.on_error)
        self.seen = self.count = 0

    def outcome(self, error: Exception, key: Key, item: Any) -> Any:
        """What takes the place of the result: SKIPPED or something else. Or raises the error."""
        self.count += 1
        on_error, most = self.policy
        if most is not None and self.count > (max(1, most * max(self.seen, FIRST)) if most and most < 1 else most):
            add_note(error, f'itpipe: with {self.count} errors, there were more than `max_errors={most}` allows')
            raise error
        ordinal = ordinals(key)[0]
        try:
            choice = on_error if isinstance(on_error, str) else on_error(error, item, ordinal)
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
        self.dropped.append(Dropped(ordinal, self.stage, _light(error)))
        return SKIPPED


def _light(error: Exception) -> Exception:
    """The error, to be kept: its traceback reads as it did, but what the function worked on is let go."""
    for each in related(error):
        BaseException.with_traceback(each, without_values(own(each, '__traceback__')))
    return error
