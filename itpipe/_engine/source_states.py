"""Iterables that have states themselves, as those of torchdata and Hugging Face have: how they are rewound."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from math import inf
from typing import Any

from .stacks import user_stacklevel

__all__ = ['Rewinder', 'has_epochs', 'has_states', 'warn_of_buffer']


def has_states(iterable: Any) -> bool:
    """Whether it says where it stands, and can be told."""
    return all(hasattr(iterable, name) for name in ('state_dict', 'load_state_dict'))


def has_epochs(iterable: Any) -> bool:
    """Whether somebody may tell it, or what it reads from, the number of the epoch before each pass."""
    parts = (iterable, *(getattr(iterable, name, None) for name in ('sampler', 'batch_sampler', 'dataset')))
    return any(hasattr(part, 'set_epoch') for part in parts)


class Rewinder:
    """Lets each pass over an iterable with states begin at the beginning.

    Some of these iterables begin where they were left, or at the state that was loaded last. So their first state is
    loaded again. That is not done if the next pass comes in its turn, because it may differ from the first. Those of
    Hugging Face have `set_epoch`, which tells them the number of the pass.
    """

    def __init__(self, iterable: Any):
        self.iterable = iterable
        self.first: list[Any] = []
        """The first state, if it is known."""
        self.unfinished = False
        """Whether the last pass may not have ended by itself."""
        self._pass: float = 0

    def require(self) -> None:
        """Rewind the next pass in any case."""
        self._pass = inf

    def rewind(self, iterable: Any, pass_: int, loading: bool = False) -> None:
        """Prepare the iterable, or a copy of it, for this pass. With `loading` a state is loaded after that.

        Then the iterable is not asked for a state before, because some do not go on from a state that is loaded after
        they were asked.
        """
        if not self.first:
            first = None if loading else _state_of(iterable)
            self.first = [] if first is None else [first]
        elif not loading and (
            pass_ < self._pass or (self.unfinished and (pass_ == self._pass or _stays_loaded(iterable)))
        ):
            iterable.load_state_dict(deepcopy(self.first[0]))
        if hasattr(iterable, 'set_epoch'):
            iterable.set_epoch(pass_)
        if iterable is self.iterable:
            self.unfinished, self._pass = True, pass_


def _state_of(iterable: Any) -> Any:
    try:
        return deepcopy(iterable.state_dict())
    except Exception:  # some have no state before they have begun
        return None


def _with_states_inside(iterable: Any) -> Iterator[Any]:
    """The iterable, and what it holds that has a state, too."""
    seen: dict[int, Any] = {}
    left = [iterable]
    while left and len(seen) < 10_000:
        value = left.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, (list, tuple)):
            left += value[:1000]
        elif isinstance(value, dict):
            left += islice(value.values(), 1000)
        elif hasattr(type(value), 'state_dict'):
            yield value
            left += getattr(value, '__dict__', {}).values()


def warn_of_buffer(iterable: Any) -> None:
    """Warn if a buffer of Hugging Face's is in the iterable: its states leave out what the buffer holds."""
    if not any(
        kind.__name__ == 'BufferShuffledExamplesIterable' and getattr(inner, 'buffer_size', 2) > 1
        for inner in _with_states_inside(iterable)
        for kind in type(inner).__mro__
    ):
        return
    warnings.warn(
        f'itpipe: {type(iterable).__name__} has a `.shuffle(buffer_size=…)`, but not what is in the buffer in its own'
        ' state, so a run that goes on from there loses some items and repeats others; use `shuffle` of itpipe behind'
        ' it instead, or `stream(…, reread=True)`, which reads it again up to the place',
        stacklevel=user_stacklevel(),
    )


def _stays_loaded(iterable: Any) -> bool:
    """Whether it holds a dataset of Hugging Face without telling that the epoch.

    Each pass over such an iterable would begin at the state that was loaded last.
    """
    inner = (value for value in _with_states_inside(iterable) if value is not iterable)
    return not hasattr(iterable, 'set_epoch') and any(hasattr(value, '_ex_iterable') for value in inner)
