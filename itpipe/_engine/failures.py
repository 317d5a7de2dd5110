"""What a stage does about an error of an item: the item is left out or replaced, or the run ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from itpipe._core.checks import integer, not_async
from itpipe._core.keys import Key, ordinals
from itpipe._core.notes import note
from itpipe._core.tracebacks import add_note, own, related, without_values
from itpipe.errors import Dropped

if TYPE_CHECKING:
    from .meters import Meter

__all__ = ['SKIPPED', 'Failures', 'OnError', 'Policy', 'policy_of']

OnError: TypeAlias = "Literal['raise', 'skip'] | Callable[[Exception, Any, int], Any]"
"""What to do about an error: always the same, or what a function of the error, the item and its ordinal returns."""

FEWEST = 100
"""If `max_errors` is a share, it is a share of at least this many items: one of two is not too many."""
SKIPPED: Final = object()
"""In the place of a result: the item is left out."""


class Policy(NamedTuple):
    """What to do about errors, and how many are allowed."""

    on_error: OnError
    max_errors: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """It as options that are not the default, to be printed."""
        return {'on_error': self.on_error} | ({} if self.max_errors is None else {'max_errors': self.max_errors})

    @property
    def replaces(self) -> bool:
        """Whether something else may come in the place of an item."""
        return callable(self.on_error)


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


class Failures:
    """Applies the policy of a stage to the errors in a run."""

    def __init__(self, policy: Policy, stage: str, dropped: deque[Dropped], meter: Meter):
        self.policy, self.stage, self.dropped, self.meter = policy, stage, dropped, meter
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
            choice = on_error if isinstance(on_error, str) else on_error(error, self.item(error, key, item), ordinal)
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
        if self.meter.records:
            self.dropped.append(Dropped(ordinal, self.stage_of(error), error))
        self.meter.dropped += 1
        return SKIPPED

    def item(self, error: Exception, key: Key, item: Any) -> Any:
        """The item as `on_error` gets it."""
        return item

    def stage_of(self, error: Exception) -> str:
        """Where the error was raised."""
        return self.stage

    def _limit(self, allowed: float) -> float:
        return max(1, allowed * max(self.seen, FEWEST)) if 0 < allowed < 1 else allowed
