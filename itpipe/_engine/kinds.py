"""Which operator a step has, and which one an entry is of."""

from __future__ import annotations

from typing import Any

from itpipe._core.keys import is_count
from itpipe._core.show import shortened
from itpipe._core.steps import Expanding, Stateful, Stateless, Step, UserStateful

from .operators import BatchOperator, ExpandingOperator, OpaqueOperator, Operator, StatelessOperator
from .stateful import StatefulOperator
from .user_state import UserStatefulOperator

__all__ = ['kind_of', 'kind_of_step']


def kind_of_step(step: Step) -> type[Operator]:
    """The operator for the step's kind."""
    if isinstance(step, Stateless):
        return BatchOperator if step.gives == 'lists' else StatelessOperator
    if isinstance(step, Expanding):
        return ExpandingOperator
    if isinstance(step, Stateful):
        return StatefulOperator
    return UserStatefulOperator if isinstance(step, UserStateful) else OpaqueOperator


def kind_of(entry: Any) -> type[Operator]:
    """The kind of the steps that have such an entry; raises ValueError if there is none."""
    if isinstance(entry, dict):
        return UserStatefulOperator if 'segments' in entry else StatefulOperator
    if isinstance(entry, list):
        return ExpandingOperator
    if is_count(entry):
        return OpaqueOperator
    raise ValueError(f'an entry of its "steps" cannot be {shortened(entry)}')
