"""Shards that are read in processes, each open one in a process of its own.

Each item is the result of a call, see `shards`, so whatever holds for calls in processes holds here. The calls of a
shard all go to one process, in the order of the items.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from itpipe._core.averages import MovingAverage
from itpipe._core.keys import END, Key
from itpipe._core.notes import note, noted
from itpipe._core.show import shortened
from itpipe._core.sizes import Bytes
from itpipe._core.snapshots import snapshot
from itpipe._core.steps import MISSING, Pair
from itpipe._engine.functions import ItemFunction
from itpipe._engine.meters import Meter
from itpipe._engine.readers import ReadingAhead
from itpipe._engine.threads import check_running
from itpipe._engine.waiting import StallTimer, Stop

from .pickling import dumps
from .processes import Processes
from .shards import NO_MORE, ItemOfShard, received
from .task import Packed, Task

__all__ = ['ReadingProcesses']

MOST: Final = 64
"""The most items that a shard is read ahead if the limit is in bytes, however small they are."""


class _ShardProcesses(Processes):
    """Processes, each of them for one shard at a time."""

    def __init__(self, size: int, function: ItemFunction, in_flight: int | None):
        super().__init__(size, function, in_flight, lanes=True)
        self.openings = count()
        self.before_wait: Callable[[], None] = _nothing
        """Called each time before the thread of the run waits."""

    def ask(self, lane: int, key: Key, value: Any) -> Task:
        """Have this process called."""
        task = Task(key, self._use)
        task.lane = lane
        self._submit(task, value)
        return task

    def wait_for(self, task: Task) -> None:
        """Wait until it is settled."""
        self._await(task)

    def group_size(self, lane: int) -> int:
        """How many calls are sent together to this process at present."""
        return self._dispatcher[lane].group_size  # type: ignore[index]

    def _wait(self, task: Task, seconds: float) -> None:
        self.before_wait()
        self._flush()
        super()._wait(task, seconds)

    def _settle(self, task: Task, *args: Any, **kwargs: Any) -> None:
        super()._settle(task, *args, **kwargs)
        if _is_last(task):  # who waits for another shard is to open the next one
            self._signal()


def _nothing() -> None:
    pass


def _is_last(task: Task) -> bool:
    """Whether it is settled, and none of the items behind it will come."""
    answer = task.value
    return task.error is not None or (type(answer) is Packed and (answer.failed or answer.data == NO_MORE))


class _Reading:
    """One open shard: the items that a process has been asked for."""

    def __init__(self, pair: Pair, n: int, opening: int, lane: int):
        self.pair, self.n, self.opening, self.lane = pair, n, opening, lane
        self.tasks: deque[Task] = deque()
        self.seen = 0
        """How many of the tasks were settled when they were looked at."""
        self.bytes = MovingAverage(0.1)
        """Of an item."""
        self.error: Exception | None = None
        self.data = b''
        """The shard, pickled; nothing if it is gone, or there is an error."""

    def see(self) -> bool:
        """Look at what is settled now; whether that was the last one."""
        while self.seen < len(self.tasks) and self.tasks[self.seen].settled:
            task = self.tasks[self.seen]
            self.seen += 1
            if _is_last(task):
                return True
            self.bytes.add(task.value.nbytes)
        return not self.data

    def fits(self, limit: int) -> bool:
        """Whether one more is expected to fit into so many bytes."""
        each = self.bytes.value
        if each is None or not self.tasks:
            return not self.tasks
        held = sum(self.tasks[n].value.nbytes for n in range(self.seen))
        return len(self.tasks) < MOST and held + (len(self.tasks) - self.seen + 1) * each <= limit


class ReadingProcesses(ReadingAhead):
    """Open shards, each read by a process, up to `depth` items ahead. Processes that are done with one get another.

    There are `size` processes at most.
    """

    def __init__(
        self,
        read: ItemFunction,
        name: str,
        cycle: int,
        size: int,
        depth: int | None,
        stop: Stop,
        meter: Meter,
        failing: bool = False,
    ):
        super().__init__(lambda *_: iter(()), cycle)
        self.name, self.depth, self.stop, self.meter = name, depth, stop, meter
        self.reading: dict[int, _Reading] = {}
        self.pool = self._pool(ItemOfShard(read, name, failing), size)
        self.free = list(reversed(range(self.pool.size)))
        """The processes without a shard."""
        self.pool.before_wait = self._go_on
        self.pool.attach(meter)
        meter.values = self._values
        stop.add(self.pool)

    def _pool(self, function: ItemFunction, size: int) -> _ShardProcesses:
        """That of an earlier pass, or a new one."""
        pools = self.stop.pools
        if pools is not None:
            idle: _ShardProcesses | None = pools.take(
                lambda pool: pool.function.place == function.place and pool.size >= size, function
            )
            if idle is not None:
                idle.begin(function)
                return idle
        try:
            check_running()
            in_flight = None if self.depth is None or isinstance(self.depth, Bytes) else self.depth * size
            pool = _ShardProcesses(size, function, in_flight)
        except Exception as error:
            note(error, self.name, None)
            raise
        pool.where = self.name
        pool.stall_timer = StallTimer(f'no item has come out of {self.name}', self.stop.stall_timeout)
        return pool

    def _values(self) -> list[Any]:
        """What is ready."""
        readings = list(self.reading.copy().values())
        return [task.value for reading in readings for task in snapshot(reading.tasks) if task.settled]

    def open(self, pair: Pair, n: int) -> None:
        reading = _Reading(pair, n, next(self.pool.openings), self.free.pop())
        if pair[1] is not MISSING:
            try:
                hint = 'give `read` what it can open, such as a path, or leave `processes` out'
                reading.data = dumps(pair[1], 'the shard', hint)
            except Exception as error:
                self._note(error, pair, pair[0])
                reading.error = error
        self.readers[id(pair)] = iter(())
        self.reading[id(pair)] = reading
        self.unread.add(id(pair))
        self._ask(reading)

    def _ask(self, reading: _Reading) -> None:
        """Ask for as many items ahead as may be."""
        key = id(reading.pair)
        if key in self.unread and reading.see():
            self.unread.discard(key)
            self.free.append(reading.lane)
        while key in self.unread and self._may_ask(reading):
            item = reading.pair[0], reading.n
            reading.tasks.append(self.pool.ask(reading.lane, item, (reading.opening, reading.data)))
            reading.n += 1

    def _may_ask(self, reading: _Reading) -> bool:
        if isinstance(self.depth, Bytes):
            return reading.fits(self.depth)
        return len(reading.tasks) < (self.depth or 2 * self.pool.group_size(reading.lane))

    def _go_on(self) -> None:
        """Open others in the place of shards that have been read."""
        for key in list(self.unread):
            self._ask(self.reading[key])
        self._open_more()

    def next_of(self, pair: Pair) -> Any:
        reading = self.reading[id(pair)]
        self._go_on()
        value = self._next(reading)
        if value is END:
            del self.readers[id(pair)], self.reading[id(pair)]
        return value

    def _next(self, reading: _Reading) -> Any:
        error, reading.error = reading.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        if not reading.tasks:
            return END
        self.pool.wait_for(reading.tasks[0])
        self._ask(reading)
        task = reading.tasks.popleft()
        reading.seen -= 1
        self._ask(reading)
        try:
            found = self.pool.result(task)
        except Exception as raised:
            reading.tasks.clear()
            self._note(raised, reading.pair, task.key)
            raise
        return END if found is None else received(found[0])

    def _note(self, error: Exception, pair: Pair, key: Key) -> None:
        if not noted(error):  # it was not raised in reading
            note(error, f'{self.name}, shard {shortened(pair[1])}', key)

    def close(self) -> None:
        if self.pool not in self.stop.waitables:
            return
        self.stop.remove(self.pool)
        self.pool.before_wait = _nothing
        self.meter.read_cpu()  # while the processes are there
        self.meter.tasks = None
        self.meter.forget()
        # A process that is kept would have its shard open until it gets another, with the errors of closing this one.
        if self.stop.pools is None or self.failed or not all(self.reading[key].see() for key in self.unread):
            self.pool.close()
        else:
            self.stop.pools.give_back(self.pool)
