"""Which operator a step has, and which one an entry is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itpipe._core.keys import is_count
from itpipe._core.show import shortened
from itpipe._core.steps import Expanding, Grouping, Stateful, Stateless, Step, UserStateful

if TYPE_CHECKING:
    from .operators import Operator

__all__ = ['kind_of', 'kind_of_step']


def kind_of_step(step: Step) -> type[Operator]:
    """The operator for the step's kind."""
    from . import grouping, operators, stateful, user_state  # not needed to describe a stream

    if isinstance(step, Stateless):
        return operators.BatchOperator if step.gives == 'lists' else operators.StatelessOperator
    if isinstance(step, Expanding):
        return operators.ExpandingOperator
    if isinstance(step, Stateful):
        return stateful.StatefulOperator
    if isinstance(step, Grouping):
        return grouping.GroupingOperator
    return user_state.UserStatefulOperator if isinstance(step, UserStateful) else operators.OpaqueOperator


def kind_of(entry: Any) -> type[Operator]:
    """The kind of the steps that have such an entry; raises ValueError if there is none."""
    from . import operators, stateful, user_state

    if isinstance(entry, dict):
        return user_state.UserStatefulOperator if 'segments' in entry else stateful.StatefulOperator
    if isinstance(entry, list):
        return operators.ExpandingOperator
    if is_count(entry):
        return operators.OpaqueOperator
    raise ValueError(f'an entry of its "steps" cannot be {shortened(entry)}')
