"""Open shards, and what reads them: the thread of the run, or a thread for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain, islice
from typing import Any, Final

from itpipe._core.keys import END
from itpipe._core.notes import note
from itpipe._core.show import shortened
from itpipe._core.steps import MISSING, Pair

from .background import Background
from .functions import ItemFunction
from .indexing import has_index, index_agrees
from .iterators import close_iterator, is_iterable, iterator_of, without_first
from .meters import Meter
from .parts import Broken, parts_of, reported_at
from .threads import close_outside
from .waiting import Stop

__all__ = ['Readers', 'ReadingAhead', 'ReadingThreads', 'shard_items', 'some_items']

OPEN: Final = 2
"""With threads, so many times as many shards as take turns are open at most: those that have been read stay until their
items are gone, and others are read meanwhile."""


def shard_items(
    read: ItemFunction, name: str, pair: Pair, n: int, stop: Stop | None = None, failing: bool = False
) -> Iterator[Pair]:
    """The items of a shard from the n-th on, with their keys. In errors, `name` is what reads it.

    If `failing`, what cannot be read is `Broken`, and the next item follows, if there is an index.
    """
    if pair[1] is MISSING:
        return
    try:
        found = read(*pair)
    except Exception as error:
        if not failing:
            raise
        if (at := reported_at(0, n)) is not None:
            yield (pair[0], at), Broken(error)
        return
    yield from (_failing_items if failing else _items)(found, name, pair, n, stop)


def some_items(
    read: ItemFunction, name: str, pair: Pair, numbers: Sequence[int], failing: bool = False
) -> Iterator[Pair]:
    """Those with these numbers. If the shard has no index, it is read up to the last of them."""
    try:
        found = read(*pair)
    except Exception as error:
        if not failing:
            raise
        return iter([((pair[0], 0), Broken(error))])
    items = _failing_items if failing else _items
    if has_index(found) and index_agrees(found):
        return chain.from_iterable(_first(1, items(found, name, pair, n)) for n in numbers)
    wanted = set(numbers)
    return (item for n, item in enumerate(_first(max(numbers) + 1, items(found, name, pair, 0))) if n in wanted)


def _first(count: int, items: Generator[Pair]) -> Iterator[Pair]:
    with closing(items):
        yield from islice(items, count)


def _failing_items(found: Any, name: str, pair: Pair, n: int, stop: Stop | None = None) -> Generator[Pair]:
    if not is_iterable(found):
        raise _not_iterable(found)
    with closing(parts_of(found, n, stop, close=True)) as parts:
        for number, value in parts:
            if type(value) is Broken:
                note(value.error, f'{name}, shard {shortened(pair[1])}', (pair[0], number))
            yield (pair[0], number), value
            del value


def _items(found: Any, name: str, pair: Pair, n: int, stop: Stop | None = None) -> Generator[Pair]:
    iterator = None
    try:
        if not is_iterable(found):
            raise _not_iterable(found)
        iterator = iterator_of(found, stop)
        for value in without_first(n, iterator, found):
            yield (pair[0], n), value
            n += 1
            del value
    except Exception as error:
        note(error, f'{name}, shard {shortened(pair[1])}', (pair[0], n))
        raise
    finally:
        close_iterator(iterator)


def _not_iterable(found: Any) -> TypeError:
    return TypeError(f'interleave: `read` must return something iterable, got {type(found).__name__}')


class Readers:
    """Open shards, read by who asks. They are told apart by their pairs, as two ranks may have had the same one."""

    failed = False
    """Whether the run ends by an error. Then no workers are kept for the next pass."""

    def __init__(self, opened: Callable[[Pair, int], Iterator[Pair]]):
        self.opened = opened
        self.readers: dict[int, Iterator[Pair]] = {}

    def shards(self, items: Iterator[Pair]) -> Iterator[Pair]:
        """The shards, each opened when it is asked for."""
        for pair in items:
            self.open(pair, 0)
            yield pair

    def open(self, pair: Pair, n: int) -> None:
        """Open the shard, to read it from the n-th item on."""
        self.readers[id(pair)] = self.opened(pair, n)

    def next_of(self, pair: Pair) -> Any:
        """The next item of an open shard; END if there is none, and then it is not open any more."""
        found = next(self.readers[id(pair)], None)
        if found is not None:
            return found[1]
        del self.readers[id(pair)]
        return END

    def close(self) -> None:
        """Close all that is open."""
        with ExitStack() as closing:
            for reader in self.readers.values():
                closing.callback(close_iterator, reader)


class _WaitsAtStage(Meter):
    """The meter of one thread: who waits for it waits at the stage, and calls `before` each time."""

    def __init__(self, stage: Meter, before: Callable[[], object]):
        super().__init__()
        self.stage, self.before_wait = stage, before

    def wait(self, sleep: Callable[..., object], *args: Any) -> None:
        self.before_wait()
        self.stage.wait(sleep, *args)


class ReadingAhead(Readers):
    """Open shards that are read ahead by others, `cycle` of them at any time. So they are opened before they are asked
    for.
    """

    def __init__(self, opened: Callable[[Pair, int], Iterator[Pair]], cycle: int):
        super().__init__(opened)
        self.cycle = cycle
        self.unread: set[int] = set()
        """The open shards of which there is more to read."""
        self.items: Iterator[Pair] = iter(())
        self.ahead: deque[Pair] = deque()
        """Shards that were opened before they are asked for, …"""
        self.error: Exception | None = None
        """… and what was raised behind them."""

    def shards(self, items: Iterator[Pair]) -> Iterator[Pair]:
        self.items = items
        while True:
            self._open_more()
            if not self.ahead:
                break
            yield self.ahead.popleft()
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame

    def _open_more(self) -> None:
        while len(self.unread) < self.cycle and len(self.readers) < OPEN * self.cycle:
            try:
                pair = next(self.items, None)
            except Exception as error:
                self.items, self.error = iter(()), error
                return
            if pair is None:
                self.items = iter(())
                return
            self.open(pair, 0)
            self.ahead.append(pair)


class ReadingThreads(ReadingAhead):
    """Open shards, each read by a thread, up to `depth` items ahead. Threads that are done with one get another."""

    def __init__(self, opened: Callable[[Pair, int], Iterator[Pair]], cycle: int, depth: int, stop: Stop, meter: Meter):
        super().__init__(opened, cycle)
        self.depth, self.stop, self.meter = depth, stop, meter
        self.threads: list[Background] = []
        self.busy: dict[int, Background] = {}
        self.idle: list[Background] = []
        self.awaited: Background | None = None
        meter.values = lambda: [value for thread in self.threads[:] for value in thread.meter.values()]

    def open(self, pair: Pair, n: int) -> None:
        if not self.idle:
            thread = Background('itpipe-interleave', self.depth, _WaitsAtStage(self.meter, self._open_more))
            self.threads.append(thread)
            self.idle.append(thread)
            self.stop.add(thread)
        thread = self.idle.pop()
        self.unread.add(id(pair))  # the thread takes it out
        pairs = self._read(pair, n)
        thread.make(lambda: (pairs, pairs.close))  # type: ignore[attr-defined]
        self.busy[id(pair)] = thread
        self.readers[id(pair)] = thread.made()

    def _read(self, pair: Pair, n: int) -> Iterator[Pair]:
        try:
            yield from self.opened(pair, n)
        finally:
            self.unread.discard(id(pair))
            if (awaited := self.awaited) is not None:  # who waits is to open another one
                awaited.wake()

    def next_of(self, pair: Pair) -> Any:
        self.awaited = self.busy[id(pair)]  # said before it looks at what is unread
        if len(self.unread) < self.cycle:
            self._open_more()
        value = super().next_of(pair)
        self.awaited = None
        if value is END:
            self.idle.append(self.busy.pop(id(pair)))
        return value

    def close(self) -> None:
        if not self.threads:
            return
        threads = self.stop.threads(above=self.threads[0])
        for thread in self.threads:
            thread.stop()
            self.stop.remove(thread)
        close_outside(threads, self._close_threads)

    def _close_threads(self) -> None:
        with ExitStack() as closing:
            for thread in self.threads:
                closing.callback(thread.close)
