"""A trace of a run: what its threads, workers and buffers did, and when."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from os import PathLike
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from itpipe._core.checks import integer
from itpipe._core.keys import Batch, Key, Zipped, describe, is_pair
from itpipe._core.notes import remark
from itpipe._core.steps import Expanding
from itpipe._views.timeline import Count, Span, write

from .collecting import name_of
from .meters import Meter, Shows

if TYPE_CHECKING:
    from typing import Self

__all__ = ['Trace', 'Tracing']

TEXTS = {'work': '{}', 'call': '{}', 'wait': 'waits at: {}', 'full': 'full: {}', 'ask': '{} waits', 'step': '{}'}
"""What a span is called, by its kind."""
MOST_PARTS = 64
"""Of a batch with more items than this, only so many are shown on their way."""


class _Large(NamedTuple):
    """What is kept of the key of a large batch: a trace holds many keys."""

    text: str
    parts: tuple[Key, ...]


class Trace:
    """The last so many spans of a run, from all of its threads."""

    def __init__(self, limit: int):
        self.begun = perf_counter()
        self._names: dict[int, str] = {}
        """The names of the tracks, by the numbers of threads, or negative ones for processes."""
        self._spans: deque[tuple[int, str, Meter, float, float, Key | _Large | None, tuple[int, ...]]]
        self._spans = deque(maxlen=limit)
        self._counts: deque[tuple[Meter, float, int]] = deque(maxlen=limit)

    def add(
        self, kind: str, meter: Meter, begun: float, ended: float, key: Key | None = None, process: int | None = None
    ) -> None:
        """In this time something was done, or waited for, in this thread, or in the process with this number."""
        if process is None:
            track = threading.get_ident()
            if track not in self._names:
                self._names[track] = threading.current_thread().name
        else:
            track = -id(meter) - process
            self._names[track] = f'process {process}'
        kept: Key | _Large | None = key
        if isinstance(key, Batch) and len(key) > MOST_PARTS:
            kept = _Large(describe(key), key[:MOST_PARTS])
        self._spans.append((track, kind, meter, begun, ended, kept, meter.path))

    def count(self, meter: Meter, held: int) -> None:
        """So many items are held now."""
        self._counts.append((meter, perf_counter(), held))

    def spans(self) -> list[Span]:
        """What happened, as plain data, in the order in which it ended."""
        result: list[Span] = []
        ends: dict[int, float] = {}
        before: dict[int, tuple[float, Any, int]] = {}
        """Of each track, the end of its last span, what that was about, and its place in the result."""
        for track, kind, meter, begun, ended, key, path in self._spans.copy():
            begun, ended = max(0.0, begun - self.begun), max(0.0, ended - self.begun)
            if track < 0:  # when a process has answered is known, and how long it took, but not when it began
                begun = min(ended, max(begun, ends.get(track, 0.0)))
                ends[track] = ended
            last = before.get(track)
            if last is not None and last[:2] == (begun, (kind, meter, key)):  # what a stage does around its function
                result[last[2]] = result[last[2]]._replace(ended=ended)
                before[track] = ended, *last[1:]
                continue
            before[track] = ended, (kind, meter, key), len(result)
            item, parts = _shown(key, path)
            parts += _shown(_origin(meter, key), path)[1]
            text = TEXTS[kind].format(_named(meter))
            result.append(Span(str(track), self._names[track], text, kind, begun, ended, item, parts, meter.begins))
        return result

    def counts(self) -> list[Count]:
        """How many items were held when, as plain data."""
        return [Count(_named(meter), max(0.0, at - self.begun), held) for meter, at, held in self._counts.copy()]


def _named(meter: Meter) -> str:
    return name_of(meter.what)


def _shown(key: Key | _Large | None, path: tuple[int, ...]) -> tuple[str, tuple[str, ...]]:
    """The key in words, and the names of the items in it, which are the same in front of a `mix` and behind it."""
    if key is None:
        return '', ()
    text, parts = key if isinstance(key, _Large) else (describe(key), key if isinstance(key, Batch) else (key,))
    names = []
    for part in islice(chain.from_iterable(map(_items_of, parts)), MOST_PARTS):
        for number in path:
            part = part, number
        names.append(str(part))
    return text, tuple(names)


def _origin(meter: Meter, key: Any) -> Key | None:
    """The key of what this stage has made several items of, if this is the first one of them."""
    step = meter.what[0] if isinstance(meter.what, tuple) else None
    return key[0] if isinstance(step, Expanding) and is_pair(key) and key[1] == 0 else None


def _items_of(key: Key) -> Iterator[Key]:
    """The keys of the single items in this key."""
    if isinstance(key, (Batch, Zipped)):
        return chain.from_iterable(map(_items_of, key))
    return ((item, key[1]) for item in _items_of(key[0])) if isinstance(key, tuple) else iter((key,))


class Traced(Protocol):
    """What runs."""

    trace: Shows | None

    def show(self, trace: Shows | None) -> None:
        """Show all that happens in this trace; None: no more."""


class Tracing:
    """Writes a trace of what runs while a `with` block does."""

    def __init__(self, where: str, path: str | PathLike[str], limit: int, traced: Traced):
        if not isinstance(path, (str, os.PathLike)):  # an int would be taken for a file that is open, and closed
            raise TypeError(f'{where}: `path` must be the path of a file, got {type(path).__name__}')
        self._where, self._path, self._traced = where, path, traced
        self._limit = integer(where, 'limit', limit, least=1)
        self._trace: Trace | None = None
        self._file: Any = None

    def __enter__(self) -> Self:
        if self._trace is not None:
            raise RuntimeError(f'{self._where}: it is in use already; make another one')
        if self._traced.trace is not None:
            raise RuntimeError(f'{self._where}: another trace is being written; let that end first')
        self._file = open(self._path, 'w', encoding='utf-8')  # now, so that a wrong path shows before the run
        self._trace = Trace(self._limit)
        self._traced.show(self._trace)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        trace, self._trace = self._trace, None
        self._traced.show(None)
        try:
            with self._file as file:
                if trace is not None:
                    write(file, trace.spans(), trace.counts())
        except Exception as failure:
            if error is None:
                raise
            remark(error, f'itpipe: {self._where}: the trace could not be written: {failure}')
