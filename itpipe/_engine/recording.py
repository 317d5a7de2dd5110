"""The record of a run: which items were in each batch that was received, in a file, see `record_frames`.

Each write goes to the system at once, so that it outlives the process. If batches come fast, one of them waits for the
next one: to write takes longer than all else here.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import warnings
import weakref
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from itpipe._core.digests import digest
from itpipe._core.record_frames import BEGIN, Received, batch_frame, json_frame, place_frame
from itpipe._core.show import shortened
from itpipe._core.version import VERSION

from .record_paths import WHERE, check_file, check_head
from .stacks import user_stacklevel
from .state_checks import Position

if TYPE_CHECKING:
    from .checkpoint import StateCodec
    from .waiting import DroppedLog

__all__ = ['Recorder', 'RunRecord', 'recording']

recording: ContextVar[bool] = ContextVar('recording', default=True)
"""False where an `Infinite` with `record` shall be made, but nothing be recorded."""
FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, 'O_CLOEXEC', 0) | getattr(os, 'O_BINARY', 0)
FAST: Final = 1e-3
"""Seconds. A batch that comes sooner behind the one before may wait for the next one before it is written."""


class Recorder:
    """Writes the record of an `Infinite`. The file is open while a run lasts.

    If a write fails, it warns and records no more, and the run goes on. Only what fails when it is first opened is
    raised.
    """

    def __init__(self, path: str, digests: bool, about: dict[str, Any]):
        self.path, self.digests, self.about = path, digests, about
        self._opened = self._failed = False
        self._unsaid: Exception | None = None
        """Why a write has failed, if nobody was warned yet."""
        self._id = os.urandom(4).hex()
        self._set_up()

    def __reduce__(self) -> Any:
        return Recorder, (self.path, self.digests, self.about)

    def _set_up(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may end a run within any call
        self._file: int | None = None
        self._begun = self._running = 0
        """How many runs were begun in this section, and how many of them last."""
        self._waiting: Received | None = None
        """A batch that is not written yet."""
        self._epoch: EpochRecord | None = None
        """That of the batch before."""
        self._before = 0.0
        """When that came."""

    def begin(self, codec: StateCodec, start: Position, dropped: DroppedLog) -> RunRecord:
        """Begin a run, and open the file if it is not open.

        Raises OSError, RuntimeError or ValueError if the file cannot be opened for the first time.
        """
        with self._lock:
            run = RunRecord(self, self._begun + 1, dropped)
            try:
                if self._file is None and not self._failed:
                    self._open({'pipeline': codec.text, 'shard': codec.shard})
                self._write_json(
                    run=run.number, time=_now(), entropy=start.entropy, resumed=start != Position(start.entropy)
                )
            except Exception as error:
                if not self._opened:
                    raise
                self._fail(error)
                self.warn()
            self._before = perf_counter()
            self._begun += 1
            self._running += 1
            return run

    def _open(self, pipeline: dict[str, Any]) -> None:
        try:
            file = os.open(self.path, FLAGS, 0o666)
            try:
                check_file(self.path, os.fstat(file))
                check_head(self.path, os.read(file, len(BEGIN)))
                self._keep_others_out(file)
                _write(file, BEGIN + json_frame(_process() | pipeline | self.about | {'id': self._id}))
            except BaseException:
                os.close(file)
                raise
        except OSError as error:
            raise type(error)(error.errno, f'{WHERE} cannot be written: {error.strerror}', self.path) from None
        _to_let_go().add(self)
        self._opened = True
        self._file = file

    def _keep_others_out(self, file: int) -> None:
        """Let no other Infinite write to it, in whichever process. On a file system without locks, nothing is done."""
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise RuntimeError(
                    f'{WHERE} is being written by another Infinite: {self.path!r}; give each its own file'
                ) from None

    def received(self, epoch: EpochRecord, pass_: int, batch: int, key: Any, value: Any) -> None:
        """Write that the batch with this key was received, as the `batch`-th of the epoch, counted from 1."""
        with self._lock:
            if self._file is None:
                return
            try:
                if self._epoch is not epoch or batch != epoch.next or pass_ != epoch.pass_:
                    self._write_place(epoch, pass_, batch)
                epoch.next += 1
                if epoch.run.dropped.total != epoch.run.seen:
                    self._write_dropped(epoch.run)
                now = perf_counter()
                seconds, self._before = now - self._before, now
                received = seconds, key, digest(value) if self.digests else None
                waiting = self._waiting
                if waiting is not None:
                    self._waiting = None
                    self._write(batch_frame(waiting, received))
                elif seconds > FAST:
                    self._write(batch_frame(received))
                else:
                    self._waiting = received
            except Exception as error:
                self._fail(error)

    def _write_place(self, epoch: EpochRecord, pass_: int, batch: int) -> None:
        self._flush()
        self._write(place_frame(epoch.run.number, epoch.number, pass_, batch - 1))
        self._epoch, epoch.pass_, epoch.next = epoch, pass_, batch

    def _write_dropped(self, run: RunRecord) -> None:
        self._flush()
        before = run.seen
        run.seen, new = run.dropped.since(before)
        fields: dict[str, Any] = {'dropped': [[each.ordinal, each.stage, shortened(each.error)] for each in new]}
        if missing := run.seen - before - len(new):
            fields['missing'] = missing
        self._write_json(run=run.number, **fields)

    def _write_json(self, **fields: Any) -> None:
        self._write(json_frame(fields))

    def _flush(self) -> None:
        """Write the batch that waits."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._write(batch_frame(waiting))

    def _write(self, data: bytes) -> None:
        if self._file is not None and (written := os.write(self._file, data)) < len(data):
            _write(self._file, data[written:])  # which raises why that was not all

    def begin_epoch(self, run: RunRecord) -> EpochRecord:
        """What writes the batches of the next epoch of the run."""
        with self._lock:
            epoch = EpochRecord(run, run.epochs)
            run.epochs += 1
            try:
                if self._file is not None and os.fstat(self._file).st_nlink == 0:
                    raise FileNotFoundError(errno.ENOENT, 'the file was removed', self.path)
            except OSError as error:
                self._fail(error)
            return epoch

    def end(self, run: RunRecord) -> None:
        """The run has ended. Close the file if it was the last one."""
        with self._lock:
            self._running -= 1
            if self._file is not None:
                try:
                    if run.dropped.total != run.seen:
                        self._write_dropped(run)
                    self._flush()
                except Exception as error:
                    self._fail(error)
            if self._running == 0 and self._file is not None:
                os.close(self._file)
                self._set_up()
            self.warn()

    def _fail(self, error: Exception) -> None:
        self._failed = True
        file, self._file = self._file, None
        self._waiting = None
        if file is not None:
            with suppress(OSError):
                os.close(file)
        self._unsaid = error

    def warn(self) -> None:
        """Warn if a write has failed since. Where warnings are errors, it raises one."""
        error = self._unsaid
        if error is not None:  # else it is left alone, as another thread may be about to set it
            self._unsaid = None
            warnings.warn(
                f'{WHERE} cannot be written any more, and the run goes on without it: {error}',
                RuntimeWarning,
                stacklevel=user_stacklevel(),
            )


class RunRecord:
    """A run in the record."""

    __slots__ = ('dropped', 'epochs', 'number', 'recorder', 'seen')

    def __init__(self, recorder: Recorder, number: int, dropped: DroppedLog):
        self.recorder, self.number, self.dropped = recorder, number, dropped
        self.epochs = self.seen = 0

    def epoch(self) -> EpochRecord:
        """What writes the batches of the next epoch."""
        return self.recorder.begin_epoch(self)

    def warn(self) -> None:
        """Warn if it cannot be written any more."""
        self.recorder.warn()

    def end(self) -> None:
        """The run has ended."""
        self.recorder.end(self)


class EpochRecord:
    """An epoch in the record: `received(pass, batches so far, key, batch)` writes what was received in it."""

    __slots__ = ('next', 'number', 'pass_', 'received', 'run')

    def __init__(self, run: RunRecord, number: int):
        self.run, self.number = run, number
        self.pass_ = self.next = -1
        self.received = partial(run.recorder.received, self)


@cache
def _to_let_go() -> weakref.WeakSet[Recorder]:
    """The recorders that have opened a file. One hook is for all of them, as nothing can remove a hook."""
    recorders = weakref.WeakSet[Recorder]()
    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=partial(_let_go, recorders))
    return recorders


def _let_go(recorders: weakref.WeakSet[Recorder]) -> None:
    """In a fork of the process: close the files, or their locks would outlive the parent."""
    for recorder in list(recorders):
        if (file := recorder._file) is not None:
            recorder._set_up()
            os.close(file)


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec='milliseconds')


def _process() -> dict[str, Any]:
    """What the bits may depend on besides the pipeline."""
    from platform import machine  # takes a while to import

    versions = {'itpipe': VERSION, 'python': sys.version.split()[0], 'numpy': np.__version__}
    if (torch := sys.modules.get('torch')) is not None:
        versions['torch'] = str(getattr(torch, '__version__', ''))
    return {'versions': versions, 'platform': f'{sys.platform} {machine()}', 'pid': os.getpid()}
