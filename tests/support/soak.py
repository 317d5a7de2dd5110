"""Random pipelines over threads and processes for as long as one likes: broken off, started again, failing, killed.

    python tests/support/soak.py --seconds 600 --seed 7

Each delivered ordinal is accounted for: it comes exactly once, in order where there is one, with the right value. After
each pipeline there are the threads, children, descriptors and shared blocks of the start, and no more resident memory
than `TOLERANCE` above what it was after the `WARM_UP`. The seed decides what is done, not when workers are killed.
"""

import argparse
import ctypes
import faulthandler
import gc
import secrets
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import psutil
from leftovers import alive, describe, still_left

from itpipe import Infinite, Stream, apply, batch_by, parallel_map, prefetch, stream

WARM_UP = 10
"""Pipelines, after which what is imported and allocated once has been."""
TOLERANCE = 24e6
"""Bytes; one pipeline has up to 20 MB of arrays on their way, and memory has holes."""
MOST_KILLS = 30
"""In one pipeline; where workers start slowly, it would not come to an end otherwise."""
HUNG = 120
"""Seconds over time after which it ends with the stacks of all threads."""


@dataclass(frozen=True)
class Plan:
    """A pipeline, and what befalls it."""

    where: str
    workers: int
    ordered: bool
    in_flight: int | None
    seconds: float
    """What the function takes."""
    length: int
    size: int
    """Numbers in the array that is an item."""
    batch_size: int | None
    prefetched: bool
    infinite: bool
    epochs: int
    batches_per_epoch: int | None
    breaks: float
    """How likely an epoch is broken off after a batch."""
    restarts: float
    """How likely it is started from the beginning after an epoch."""
    closed: bool
    """At the end; or dropped."""
    killed: float | None
    """Seconds between two kills of a worker, on average."""
    fails: frozenset[int]
    """The ordinals whose function raises."""
    skips: bool
    """Whether these are left out."""

    @cached_property
    def stage(self) -> Any:
        options: dict[str, Any] = {self.where: 'auto' if self.where == 'workers' else self.workers}
        if self.killed:
            options['max_crashes'] = 1000  # an item may have bad luck time and again
        if self.skips:
            options['on_error'] = 'skip'
        return parallel_map(
            plus_one, self.fails, self.seconds, ordered=self.ordered, in_flight=self.in_flight, **options
        )

    @cached_property
    def stream(self) -> Stream[Any]:
        items = stream(range(self.length)) | apply(filled, self.size) | self.stage
        if self.prefetched:
            items = items | prefetch(3)
        return items | batch_by(self.batch_size or 1)


def draw(rng: np.random.Generator) -> Plan:
    """A plan at random."""

    def one_of(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    where, length = one_of('threads', 'processes', 'workers'), int(rng.integers(1, 400))
    return Plan(
        where=where,
        workers=one_of(1, 2, 3),
        ordered=one_of(True, False),
        in_flight=one_of(None, None, 1, 2, 7),
        seconds=one_of(0, 0, 1e-4, 2e-3),
        length=length,
        size=one_of(10, 10, 5000, 30000),
        batch_size=one_of(None, None, 4, 10),
        prefetched=one_of(True, False),
        infinite=one_of(True, False),
        epochs=int(rng.integers(1, 6)),
        batches_per_epoch=one_of(None, 1, 10, 50),
        breaks=one_of(0, 0.01, 0.1),
        restarts=one_of(0, 0, 0.3),
        closed=one_of(True, False),
        killed=one_of(None, 0.1, 0.4) if where == 'processes' else None,
        fails=frozenset(rng.integers(0, length, one_of(0, 0, 1, 3)).tolist()),
        skips=one_of(True, False),
    )


def filled(ordinal: int, size: int) -> Any:
    return np.full(size, ordinal)


def plus_one(item: Any, fails: frozenset[int], seconds: float) -> Any:
    ordinal = whole(item)
    time.sleep(seconds)
    if ordinal in fails:
        raise LookupError(ordinal)
    return item + 1


def whole(item: Any) -> int:
    """The number of which the item consists."""
    assert (item == item[0]).all()
    return int(item[0])


class Account:
    """What is still to be delivered in this pass over the source."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.due = [ordinal for ordinal in range(plan.length) if not (plan.skips and ordinal in plan.fails)]
        self.delivered: set[int] = set()

    def restart(self) -> None:
        self.delivered = set()

    def deliver(self, ordinal: int) -> None:
        if len(self.delivered) == len(self.due):
            self.restart()
        assert ordinal in self.due, ordinal
        assert ordinal not in self.delivered, ordinal
        assert not self.plan.ordered or ordinal == self.due[len(self.delivered)], ordinal
        self.delivered.add(ordinal)

    def fail(self, error: LookupError) -> None:
        """The error is that of an item that was due, and comes after all those before it."""
        (ordinal,) = error.args
        assert ordinal in self.plan.fails - self.delivered
        assert error.__notes__ == [f'itpipe: raised in {self.plan.stage!r}, item {ordinal}']
        if self.plan.ordered:
            assert ordinal == min(self.plan.fails)
            size = self.plan.batch_size or 1
            assert len(self.delivered) % self.plan.length == ordinal // size * size
        self.restart()


def live_through(plan: Plan, rng: np.random.Generator, counts: Counter[str]) -> None:
    """Make the pipeline and have it suffer all that is planned."""
    account = Account(plan)

    def start() -> Any:
        counts['runs'] += 1
        account.restart()
        return Infinite(plan.stream, batches_per_epoch=plan.batches_per_epoch) if plan.infinite else iter(plan.stream)

    run = start()
    for _ in range(plan.epochs):
        try:
            if epoch(plan, run, account, rng, counts):
                counts['breaks'] += 1
            elif not plan.infinite:
                assert len(account.delivered) == len(account.due)
                assert Counter(each.ordinal for each in run.dropped) == Counter(plan.fails if plan.skips else ())
                run = start()
        except LookupError as error:
            counts['errors'] += 1
            account.fail(error)
            if plan.infinite:
                counts['runs'] += 1
            else:
                assert list(run) == []
                run = start()
        dropped = {each.ordinal for each in run.dropped}
        assert dropped <= plan.fails
        counts['drops'] += len(dropped)
        if rng.random() < plan.restarts:
            counts['restarts'] += 1
            run.close()
            run = start()
    if plan.closed:
        run.close()


def epoch(plan: Plan, run: Any, account: Account, rng: np.random.Generator, counts: Counter[str]) -> bool:
    """Take batches until they end, or until it is broken off; says whether it was."""
    for batch in run:
        for item in batch:
            account.deliver(whole(item) - 1)
        counts['items'] += len(batch)
        if rng.random() < plan.breaks:
            return True
    return False


@contextmanager
def killer(seconds: float | None, seed: int, counts: Counter[str]) -> Iterator[None]:
    """Kills a worker of this process, now and then, but not for ever."""
    if seconds is None:
        yield
        return
    rng, over = np.random.default_rng(seed), threading.Event()

    def kill() -> None:
        for _ in range(MOST_KILLS):
            if over.wait(rng.exponential(seconds)):
                return
            with suppress(psutil.Error):
                workers = [child for child in psutil.Process().children() if is_worker(child)]
                if workers:
                    workers[rng.integers(len(workers))].kill()
                    counts['kills'] += 1

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def is_worker(process: psutil.Process) -> bool:
    return 'loky.backend.popen_loky_posix' in process.cmdline()


M_ARENA_MAX = -8


def in_one_arena() -> None:
    """Let all threads share one arena of glibc, if that is the C library: only that one is trimmed."""
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def resident_memory() -> int:
    """Bytes, without what the C library keeps for later."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


def soak(seconds: float, seed: int) -> str:
    """A line of what was lived through; raises AssertionError, with the plan in a note, for what went wrong."""
    rng, counts = np.random.default_rng(seed), Counter[str]()
    before, resident, grown = alive(), 0, 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or counts['pipelines'] <= WARM_UP:
        plan = draw(rng)
        try:
            with killer(plan.killed, int(rng.integers(1 << 32)), counts):
                live_through(plan, rng, counts)
            left = still_left(before)
            assert not left, 'left behind: ' + '; '.join(map(describe, left))
            gc.collect()
            if counts['pipelines'] == WARM_UP:
                resident = resident_memory()
            elif resident:
                grown = max(grown, resident_memory() - resident)
                assert grown < TOLERANCE, f'resident memory has grown by {grown / 1e6:.1f} MB'
        except BaseException as error:
            error.add_note(f'soak: seed {seed}, pipeline {counts["pipelines"]}: {plan}')
            raise
        counts['pipelines'] += 1
    kinds = 'pipelines', 'runs', 'items', 'kills', 'errors', 'drops', 'breaks', 'restarts'
    said = ', '.join(f'{counts[kind]} {kind}' for kind in kinds)
    return f'soak: {seconds:g} s, seed {seed}: {said}; resident memory grew by {grown / 1e6:.1f} MB at most'


def main() -> None:
    warnings.filterwarnings('ignore', 'Infinite: an epoch')  # they are cut anywhere
    parser = argparse.ArgumentParser(description='Random pipelines that are broken off, started again, fail, and die.')
    parser.add_argument('--seconds', type=float, default=600)
    parser.add_argument('--seed', type=int, default=None, help='default: a new one')
    given = parser.parse_args()
    in_one_arena()
    faulthandler.dump_traceback_later(given.seconds + HUNG, exit=True)
    print(soak(given.seconds, secrets.randbits(32) if given.seed is None else given.seed))


if __name__ == '__main__':
    main()
