"""`watch`: what a run does, shown while it runs."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from itpipe._core.checks import positive
from itpipe._engine.stats import Stats
from itpipe._engine.threads import Thread
from itpipe._views.figures import bytes_of, count, plural, rate, share, singular
from itpipe._views.live import Line

from .screens import Screen, screen

if TYPE_CHECKING:
    from typing import Self

__all__ = ['watch']

SPAN = 3.0
"""Seconds that the figures are of: long enough to be steady, short enough to follow."""


def watch(batch_iter: Any, every: float | None = None) -> Watch:
    """Show what a run does, as long as a `with` block runs: `with watch(batch_iter): …`.

    `batch_iter` is an `Infinite`, or a run: what `iter(stream)` returns. There is a line for each stage. Its bar shows
    how full a buffer is, or what share of the time a stage or its workers are busy; that of the last line, the share of
    the time in which the loop waits. The figures are of the last three seconds in which the loop ran. Below is what
    limits the run, and what would help: in the same seconds, or in the block if these had fewer than 10 batches.

    In a terminal it is drawn in place, by `rich` if that is installed. What the loop prints goes above. In a notebook
    it is an output of the cell. Elsewhere, as in a log file, one line about the block so far is written now and then.
    It goes to stderr. `every` is the number of seconds between two looks: by default 0.5, and 30 if it is not drawn in
    place. When the block ends, also after an error, the last figures stay.

    To watch changes no bit of what the run gives. It takes about 0.2 ms each time, or 1 ms with processes.

    Raises TypeError for anything that has no `stats()`, and for `every` that is not a number; ValueError if it is not
    positive.

    >>> from itpipe import Infinite, watch
    >>> with Infinite(range(8), abs, batch_size=4) as batch_iter, watch(batch_iter):
    ...     for batch in batch_iter:
    ...         print(batch)
    [0 1 2 3]
    [4 5 6 7]

    See also: `Infinite.stats`, for the table and for numbers to log.
    """
    if not callable(getattr(batch_iter, 'stats', None)):
        got = type(batch_iter).__name__
        hint = ': give it a run, `run = iter(stream)`' if got == 'Stream' else ''
        raise TypeError(f'watch: `batch_iter` must be an Infinite or a run, got {got}{hint}')
    if every is not None:
        positive('watch', 'every', every)
    return Watch(batch_iter, every)


class Watch:
    """What `watch` returns: a context in which something is watched."""

    def __init__(self, batch_iter: Any, every: float | None):
        self._watched, self._every = batch_iter, every
        self._seen: deque[Stats] = deque()
        self._begun: Stats | None = None
        self._ended = threading.Event()
        self._screen: Screen | None = None
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError('watch: it is in use already; make another one')
        self._ended.clear()
        self._seen.clear()
        self._begun = self._watched.stats()
        self._seen.append(self._begun)
        self._screen = screen()
        self._thread = Thread(self._look, 'itpipe-watch', self._screen, self._every or self._screen.every)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        thread, self._thread = self._thread, None
        screen, self._screen = self._screen, None
        self._ended.set()
        try:
            if thread is not None:
                thread.join()
            if screen is not None:
                self._draw(screen, last=True)
        finally:
            if screen is not None:
                screen.close()
        failure, self._failure = self._failure, None
        if failure is not None:
            warnings.warn(f'watch: it could not show the run: {failure!r}', stacklevel=2)

    def _look(self, screen: Screen, every: float) -> None:
        while not self._ended.wait(every):
            self._draw(screen)

    def _draw(self, screen: Screen, last: bool = False) -> None:
        if self._failure is not None:
            return
        try:
            stats = self._watched.stats()
            block, span = self._since(stats)
            advice = (block if span.limits.early else span).advice
            screen.draw(lines(span), advice, _summary(block), last)
        except Exception as error:  # what is watched goes on
            self._failure = error

    def _since(self, stats: Stats) -> tuple[Stats, Stats]:
        """What was done in the block, and in the last seconds of it."""
        seen = self._seen
        if seen and (seen[-1].loop.items > stats.loop.items or seen[-1].elapsed > stats.elapsed):
            seen.clear()  # another run has begun
            self._begun = None
        if len(seen) > 1 and seen[-1].elapsed == stats.elapsed:  # nothing more has been done
            seen.pop()
        seen.append(stats)
        while len(seen) > 2 and stats.elapsed - seen[1].elapsed >= SPAN:
            seen.popleft()
        block = stats if self._begun is None else stats - self._begun
        return block, stats - seen[0] if stats.elapsed > seen[0].elapsed else stats


def lines(stats: Stats) -> list[Line]:
    """The line of each stage, and of the loop."""
    result, stats = [], stats.steady
    for stage in stats.stages:
        each = stage.items_out / stats.elapsed if stats.elapsed else 0.0
        parts = [f'{rate(each)} a second']
        if stage.kind == 'buffer':
            full = stage.held / stage.capacity if stage.capacity else float(stage.held > 0)
            parts.insert(0, count(stage.held) + (f' of {count(stage.capacity)}' if stage.capacity else ''))
        elif stage.workers:
            full = stage.busy(stats.elapsed)
            parts += [plural(stage.workers, singular(stage.unit)), f'{count(stage.held)} on their way']
        else:
            full = stage.busy(stats.elapsed)
            parts += [f'{count(stage.held)} held'] if stage.held else []
        if stage.held_bytes:
            parts.append(bytes_of(stage.held_bytes))
        if stage.dropped:
            parts.append(f'{count(stage.dropped)} left out')
        result.append(Line('  ' * stage.depth + stage.name, full, ', '.join(parts)))
    loop = stats.loop
    waits = loop.waited / (loop.waited + loop.worked) if loop.waited + loop.worked else 0.0
    result.append(Line('the loop waits', waits, f'{share(waits)}, {rate(stats.rate)} a second'))
    return result


def _summary(stats: Stats) -> str:
    waited = share(stats.loop.waiting_share)
    return f'{plural(stats.loop.items, stats.unit)}, {rate(stats.rate)} a second, the loop waited {waited} of the time'
