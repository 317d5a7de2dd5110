"""The global random generators: whether a function draws from them, and how their states are put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ['GlobalStates', 'left_as_they_were']


class GlobalStates:
    """The states of `random`, `numpy.random` and torch at one moment."""

    def __init__(self) -> None:
        self.python = random.getstate()
        self.numpy: Any = np.random.get_state()  # noqa: NPY002
        torch: Any = sys.modules.get('torch')
        self.torch: Any = None if torch is None else torch.default_generator.get_state()

    def moved(self, later: GlobalStates) -> tuple[str, ...]:
        """The names of the generators that were drawn from or seeded between this moment and the later one."""
        names = []
        if self.python != later.python:
            names.append('random')
        if not _same_of_numpy(self.numpy, later.numpy):
            names.append('numpy.random')
        if self.torch is not None and later.torch is not None and not bool((self.torch == later.torch).all()):
            names.append('torch')
        return tuple(names)

    def restore(self) -> None:
        """Let the generators stand as they stood then."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        if self.torch is not None:
            sys.modules['torch'].default_generator.set_state(self.torch)


def _same_of_numpy(a: Any, b: Any) -> bool:
    return bool(a[0] == b[0] and np.array_equal(a[1], b[1]) and a[2:] == b[2:])


@contextmanager
def left_as_they_were() -> Iterator[None]:
    """Put the states of the global generators back at the end of the block."""
    states = GlobalStates()
    try:
        yield
    finally:
        states.restore()
