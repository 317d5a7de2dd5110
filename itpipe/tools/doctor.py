"""`itpipe doctor`: what a report of a bug needs to say, and whether each kind of run works on this machine."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Thread
from time import perf_counter
from traceback import walk_stack
from typing import Any, Final, NamedTuple

import numpy as np

from itpipe._engine.stream import Stream, stream
from itpipe._workers.files import File
from itpipe.infinite import Infinite
from itpipe.stages.batch import batch_by
from itpipe.stages.combine import combine
from itpipe.stages.items import with_rng
from itpipe.stages.parallel import parallel_map
from itpipe.stages.reorder import shuffle

from .machine import Facts, facts, without_paths

__all__ = ['Report', 'Trial', 'examined']

LIMIT: Final = 30.0
"""Seconds after which a run is not waited for any more."""
ITEMS: Final = 64
LARGE: Final = 1 << 18
"""Bytes of an item that is large."""
SHORT_OF: Final[dict[int, str]] = {
    errno.EMFILE: 'too few files may be open: `ulimit -n 4096`, or fewer processes',
    errno.ENFILE: 'too many files are open on this machine: end other programs',
    errno.EAGAIN: 'no more processes or threads may be started: `ulimit -u`, or the limit of the container',
    errno.ENOMEM: 'memory is short: fewer processes, or a higher limit (`ulimit -v`, or that of the container)',
    errno.ENOSPC: 'a disk, or /dev/shm, is full: make room, or set TMPDIR to a folder that has some',
    errno.EDQUOT: 'a disk quota is used up: make room, or set TMPDIR to a folder that has some',
    errno.EFBIG: 'files may not be large enough: `ulimit -f unlimited`',
    errno.EACCES: 'something may not be opened or run: look at the permissions of the file in the message',
    errno.EPERM: 'the system does not allow it, as in a sandbox: `threads=` needs less',
}
"""What to do, by the number of the error."""
NO_PROCESSES: Final = '`threads=` does without processes; the page "Troubleshooting" has more'
ADVICE: Final = {
    'processes': NO_PROCESSES,
    'whole batches in processes': NO_PROCESSES,
    'large arrays in processes': NO_PROCESSES,
    'shared memory': 'large arrays go through sockets instead, which takes longer: use a system with memfd_create, or a'
    ' TMPDIR that has room, and look at `ulimit -f`',
}
"""What to do, by what fails."""
REPORT: Final = 'report it, with all of this'
SLOW: Final = (
    'if this machine is slow or busy, try again when it has less to do. If the run hangs then, too, it waits where the'
    f' lines below say: {REPORT}'
)
"""What to do, if nothing comes."""


class Trial(NamedTuple):
    """A kind of run that was tried."""

    name: str
    seconds: float
    error: str | None = None
    advice: str | None = None
    stack: tuple[str, ...] = ()
    """Where it was when it was not waited for any more, the innermost call last."""


class Report(NamedTuple):
    """What was found."""

    facts: Facts
    trials: list[Trial]

    @property
    def ok(self) -> bool:
        """Whether all runs went as they should."""
        return all(trial.error is None for trial in self.trials)

    def as_json(self) -> str:
        trials = [{'ok': trial.error is None, **trial._asdict()} for trial in self.trials]
        return json.dumps({'ok': self.ok, **self.facts, 'runs': trials}, indent=2)

    def lines(self) -> Iterator[str]:
        for topic, found in self.facts.items():
            if found:
                yield topic
                widest = max(map(len, found))
                yield from (f'  {name.ljust(widest)}  {value}' for name, value in found.items())
        yield 'runs'
        for trial in self.trials:
            if trial.error is None:
                yield f'  ok      {trial.name}'
            else:
                yield f'  FAILED  {trial.name}: {trial.error}'
                yield f'          what to do: {trial.advice}'
                yield from (f'            {line}' for line in trial.stack)


def examined() -> Report:
    """What there is to say of this machine, and of a run of each kind."""
    return Report(facts(), [_tried(name, run) for name, run in RUNS.items()])


def _tried(name: str, run: Callable[[], object]) -> Trial:
    """Run it in a thread of its own, as it may hang."""
    failed: list[tuple[Any, ...]] = []  # not the errors, which hold what the runs have opened

    def call() -> None:
        try:
            run()
        except BaseException as error:
            failed.append((_in_words(error), _advice(name, error)))

    begun = perf_counter()
    thread = Thread(target=call, name=f'itpipe-doctor-{name}', daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # there may be no more threads
        failed.append((_in_words(error), _advice(name, error)))
    else:
        thread.join(LIMIT)
        if thread.is_alive():
            instead = f'; {NO_PROCESSES}' if ADVICE.get(name) is NO_PROCESSES else ''
            failed.append((f'nothing has come for {LIMIT:g} seconds', SLOW + instead, _stack(thread)))
    return Trial(name, round(perf_counter() - begun, 3), *failed[:1] and failed[0])


def _stack(thread: Thread) -> tuple[str, ...]:
    """What the thread is doing, without paths."""
    frames = walk_stack(sys._current_frames().get(thread.ident or 0)) if thread.is_alive() else ()
    lines = [f'{frame.f_globals.get("__name__")}, line {line}, in {frame.f_code.co_name}' for frame, line in frames]
    return tuple(reversed(lines))


def _in_words(error: BaseException) -> str:
    first = str(error).strip().partition('\n')[0]
    return without_paths(f'{type(error).__name__}: {first}' if first else type(error).__name__)


def _advice(name: str, error: BaseException) -> str:
    """What to do about the error, or about what has caused it."""
    seen: BaseException | None = error
    while seen is not None:
        number = errno.ENOMEM if isinstance(seen, MemoryError) else getattr(seen, 'errno', None)
        if isinstance(seen, RuntimeError) and 'start new thread' in str(seen):
            number = errno.EAGAIN
        if number in SHORT_OF:
            return SHORT_OF[number]
        seen = seen.__cause__ or seen.__context__
    return ADVICE.get(name, REPORT)


# ---------------------------------------------------------------------------------------------------------------------
# The runs. Each raises an error if it does not go as it should.


def noisy(x: int, rng: np.random.Generator) -> tuple[float, int]:
    """An item that depends on random numbers."""
    return x + rng.random(), x


def large(x: int) -> np.ndarray[Any, Any]:
    """An item that goes through shared memory."""
    return np.full(LARGE // 8, x, np.int64)


def _source() -> Stream[Any]:
    return stream(range(ITEMS), seed=0) | shuffle(10)


def _batches(batches: Iterable[Any]) -> list[list[list[float]]]:
    return [[part.tolist() for part in batch] for batch in batches]


def _expected() -> list[list[list[float]]]:
    return _batches(_source() | with_rng(noisy) | batch_by(8) | combine)


def _compare(found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError('the batches have other bits than in serial')


def _serial() -> None:
    _compare(_expected(), _expected())


def _with(**workers: Any) -> None:
    _compare(_batches(_source() | parallel_map(with_rng(noisy), **workers) | batch_by(8) | combine), _expected())


def _whole_batches() -> None:
    made: Any = with_rng(noisy) | batch_by(8) | combine
    _compare(_batches(_source() | parallel_map(made, processes=2)), _expected())


def _infinite(**options: Any) -> Infinite[Any]:
    return Infinite(range(ITEMS), shuffle(10), with_rng(noisy), batch_size=8, seed=0, **options)


def _background() -> None:
    with _infinite() as batch_iter:
        _compare(_batches(batch_iter), _expected())


def _large_arrays() -> None:
    sums = [int(item.sum()) for item in range(ITEMS) | parallel_map(large, processes=2)]
    _compare(sums, [x * (LARGE // 8) for x in range(ITEMS)])


def _shared_memory() -> None:
    file = File.new(1 << 24)
    if file is None:
        raise OSError('there is none: neither memfd_create nor a temporary file gives 16 MiB')
    mapped = file.mapped(LARGE)
    file.close()
    if mapped is None:
        raise OSError('it cannot be mapped')


def _resumed() -> None:
    with _infinite() as batch_iter:
        epoch = iter(batch_iter)
        for _ in range(3):
            next(epoch)
        state = json.loads(json.dumps(batch_iter.state_dict()))
    with _infinite(threads=2) as batch_iter:
        batch_iter.load_state_dict(state)
        _compare(_batches(batch_iter), _expected()[3:])


RUNS: Final[dict[str, Callable[[], object]]] = {
    'serial': _serial,
    'threads': partial(_with, threads=2),
    'processes': partial(_with, processes=2),
    'whole batches in processes': _whole_batches,
    'Infinite': _background,
    'large arrays in processes': _large_arrays,
    'shared memory': _shared_memory,
    'state and resume': _resumed,
}
