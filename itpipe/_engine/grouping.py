"""A step that puts items together by their values, at work.

It goes on as a user's stage with a state does. But it gets and gives pairs, and the keys of what it gives say of which
items that was made. So it is made again of these items, and no segment is kept for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from itpipe._core.keys import Key
from itpipe._core.show import format_step
from itpipe._core.steps import Grouping, Pair

from .operators import Operator, Upstream
from .seeds import Seeds
from .user_state import UserStatefulOperator
from .waiting import Stop

__all__ = ['GroupingOperator']


class GroupingOperator(UserStatefulOperator):
    """A step that puts items together: for it, pairs are the values that go in and come out."""

    step: Grouping

    def __init__(self, step: Grouping, seeds: Seeds, stop: Stop, tracked: bool = True):
        super().__init__(step, seeds, stop, tracked)
        self._made: deque[Key] = deque(maxlen=None if tracked else 0)
        """The keys of what came out, but was not consumed yet, …"""
        self._number = 0
        """… and the number of the first of them."""

    def start(self, items: Iterator[Pair], entry: Any, upstream: Upstream) -> Iterator[Pair]:
        numbered = super().start(map(_paired, items), entry, _PairedUpstream(upstream))
        self._number = self._received
        return self._keyed(numbered)

    def _keyed(self, numbered: Any) -> Iterator[Pair]:
        try:
            for _, pair in numbered:
                self._made.append(pair[0])
                yield pair
                del pair
        finally:
            numbered.close()

    def consumed(self, key: Any) -> Any:
        while self._made:
            self._number += 1
            if self._made.popleft() == key:
                return super().consumed(self._number - 1)
        raise RuntimeError(f'`{format_step(self.step)}`: nothing came out with the key {key!r}')

    def forget(self, held: Iterable[Any]) -> None:
        super().forget(())

    recompute = Operator.recompute

    def _recomputed(self, origins: dict[Key, tuple[Key, ...]], values: dict[Key, Any]) -> dict[Key, Any]:
        if self.step.again is not None:
            return self.step.again(values, origins, *self.options)
        return {key: [values[part] for part in parts if part in values] for key, parts in origins.items()}


def _paired(pair: Pair) -> tuple[Key, Pair]:
    return pair[0], pair


class _PairedUpstream:
    def __init__(self, upstream: Upstream):
        self._upstream = upstream

    def again(self) -> Any:
        return self._upstream.again()

    def recompute(self, keys: list[Key]) -> dict[Key, Any]:
        return {key: (key, value) for key, value in self._upstream.recompute(keys).items()}
