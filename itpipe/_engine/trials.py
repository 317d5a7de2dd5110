"""Whether a user's stage with a state keeps all that it remembers in there: a new generator is tried out beside it."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from copy import deepcopy
from numbers import Number
from typing import Any, Final

from itpipe._core.steps import State, UserStateful
from itpipe._core.tracebacks import position_of

from .stacks import user_stacklevel

__all__ = ['Trials']

TRIALS: Final = 3
"""So often a new generator is tried out for each place where the user's asks for an item."""
_RULE: Final = 'each time that it asks, all that it remembers must be in its state'


class _Asked(BaseException):
    """A generator that is tried out has asked for an item."""


class Trials:
    """New generators of the step, each of which begins with the state of the one at work and is let go when it asks."""

    def __init__(self, step: UserStateful, options: tuple[Any, ...]):
        self.step, self.options = step, options
        self._counts: Counter[int] = Counter()
        self._named: set[str] = set()

    def at(self, generator: Any, state: State) -> None:
        """See what a new generator does with this state, with which `generator` has just asked for an item.

        Raises RuntimeError if it does not ask in the same place. Warns if a variable to which it gives a value before
        it asks has another one there: what is kept in that is lost when a run goes on.
        """
        frame = generator.gi_frame
        if frame is None or self._counts[frame.f_lasti] == TRIALS:
            return
        self._counts[frame.f_lasti] += 1

        def asking() -> Iterator[Any]:
            raise _Asked
            yield

        copied = {name: value[:] if name == 'slots' else deepcopy(value) for name, value in state.items()}
        trial: Any = self.step.work(asking(), copied, *self.options)
        try:
            next(trial)
            does = 'gives an item first'
        except StopIteration:
            does = 'ends'
        except _Asked as asked:
            traceback: Any = asked.__traceback__
            while traceback.tb_frame.f_code is not frame.f_code and traceback.tb_next is not None:
                traceback = traceback.tb_next
            # not the instruction: the condition of a `while` is compiled twice
            if position_of(frame.f_code, traceback.tb_lasti) == position_of(frame.f_code, frame.f_lasti):
                self._compare(frame.f_locals, traceback.tb_frame.f_locals)
                return
            does = f'does so in line {traceback.tb_lineno}'
        finally:
            trial.close()
        raise RuntimeError(
            f'{self.step.name}: in line {frame.f_lineno} it asks for an item, but a new one with the same state {does};'
            f' {_RULE}'
        )

    def _compare(self, variables: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        for name in new:
            if name in variables and name not in self._named and _differ(variables[name], new[name]):
                self._named.add(name)
                warnings.warn(
                    f'itpipe: {self.step.name}: when it asks for an item, its variable `{name}` has another value than'
                    f' in a new one with the same state; {_RULE}',
                    stacklevel=user_stacklevel(),
                )


def _differ(a: Any, b: Any) -> bool:
    """Whether they differ at a glance: numbers, text, types, and how much is in a collection."""
    if isinstance(a, (Number, str, bytes)) and isinstance(b, (Number, str, bytes)):
        return bool(a != b and a == a)
    if type(a) in (list, tuple, dict, set, deque) and type(a) is type(b):
        return len(a) != len(b)
    return type(a) is not type(b)
