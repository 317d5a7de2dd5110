"""The same pipeline with other steps, also in the streams that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any

from itpipe._core.steps import ItemStep, Step
from itpipe._engine.branches import Branched, Joined
from itpipe._engine.source import Seeded, Source
from itpipe._engine.stream import Stream

__all__ = ['rewritten']


def rewritten(
    stream: Stream[Any],
    steps: Callable[[tuple[Step | ItemStep, ...]], Iterable[Step | ItemStep]],
    source: Callable[[Source, Source], Any] = lambda source, _: source,
) -> Stream[Any]:
    """The stream with what `steps` makes of its steps, and `source` of its source (rewritten, and as it was)."""
    changed = source(_source(stream.source, steps, source), stream.source)
    return Stream(changed, tuple(steps(tuple(stream.steps))))


def _source(given: Any, steps: Any, source: Any) -> Any:
    if isinstance(given, Seeded):
        return given.over(_source(given.source, steps, source))
    if not isinstance(given, Branched):
        return given
    again: Any = copy(given)
    again.branches = tuple(rewritten(branch, steps, source) for branch in given.branches)
    if isinstance(given, Joined):
        again.left = again.branches[0]
    return again
