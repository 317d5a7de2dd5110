"""Records of runs, as they are read: `read` gives the trainings in a file, each with all of its steps."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from itpipe._core.keys import Key
from itpipe._core.record_frames import BEGIN, frames

__all__ = ['Step', 'Training', 'chosen', 'read']


class Step(NamedTuple):
    """A batch that was received."""

    epoch: int
    pass_: int
    batch: int
    """Its number in the epoch."""
    seconds: float
    """Since the batch before, or the beginning of the run."""
    digest: int | None
    key: Key
    entropy: int | None
    """What was drawn from the system if there is no seed."""


@dataclass
class Training:
    """A run with all that went on from it: the n-th of `steps` is the batch that the loop received at step n.

    Where a run goes on from a state, it does some steps again. These take the place of those that were done before.
    """

    header: dict[str, Any]
    """About the process and the pipeline, from the last time that it was started."""
    steps: list[Step] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """The first step of each of its runs."""
    times: list[str] = field(default_factory=list)
    """When these began."""
    dropped: list[tuple[int, list[Any]]] = field(default_factory=list)
    """Items that were left out: the step before which that was noticed, and [number in the source, stage, error]."""
    missing: list[tuple[int, int]] = field(default_factory=list)
    """How many more were left out that were too many at once to be written, and the step before which."""

    @property
    def restarts(self) -> bool:
        """Whether each epoch is a run of its own."""
        return bool(self.header.get('restart'))


@dataclass
class _Run:
    header: dict[str, Any]
    begun: dict[str, Any]
    steps: list[Step] = field(default_factory=list)
    dropped: list[tuple[int, list[Any]]] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)


def read(path: str | os.PathLike[str]) -> list[Training]:
    """The trainings that were recorded in the file.

    Raises OSError if it cannot be read, and ValueError if it is not a record.
    """
    with open(path, 'rb') as file:
        data = file.read()
    if not data.startswith(BEGIN):
        raise ValueError(f'{os.fspath(path)!r} is not a record that `Infinite(…, record=…)` has written')
    trainings: list[Training] = []
    for section in data.split(BEGIN)[1:]:
        for run in _runs(section):
            _add(trainings, run)
    return trainings


def chosen(trainings: list[Training], number: int | None) -> Training:
    """The training with this number, counted from 1; by default the last. Raises LookupError."""
    if not trainings:
        raise LookupError('nothing was recorded in it')
    if number is None:
        return trainings[-1]
    if not 1 <= number <= len(trainings):
        raise LookupError(f'it has the runs 1 to {len(trainings)}, and no run {number}')
    return trainings[number - 1]


def _runs(section: bytes) -> Iterable[_Run]:
    """The runs of a section in the order in which they began."""
    header: dict[str, Any] = {}
    runs: dict[int, _Run] = {}
    place = (0, 0, 0, 0)
    for frame in frames(section):
        if frame.json is not None:
            fields = frame.json
            if 'run' not in fields:
                header = fields
            elif 'dropped' in fields:
                run = runs[fields['run']]
                run.dropped += [(len(run.steps), each) for each in fields['dropped']]
                if 'missing' in fields:
                    run.missing.append((len(run.steps), fields['missing']))
            else:
                runs[fields['run']] = _Run(header, fields)
        elif frame.place is not None:
            place = frame.place
        else:
            number, epoch, pass_, batch = place
            if number not in runs:
                break  # damaged
            run = runs[number]
            for seconds, digest, key in frame.batches or ():
                run.steps.append(Step(epoch, pass_, batch, seconds, digest, key, run.begun['entropy']))
                batch += 1
            place = (number, epoch, pass_, batch)
    return runs.values()


def _add(trainings: list[Training], run: _Run) -> None:
    """Let the run go on with the last training, if it does, or begin another one."""
    last = trainings[-1] if trainings else None
    again = last is not None and last.restarts and last.header.get('id') == run.header.get('id')
    if last is None or not (run.begun['resumed'] or again):
        last = Training(run.header)
        trainings.append(last)
    first, epoch = _joint(last.steps, run) if run.begun['resumed'] else (len(last.steps), _next_epoch(last.steps))
    last.header = run.header
    del last.steps[first:]
    last.dropped = [each for each in last.dropped if each[0] <= first]
    last.missing = [each for each in last.missing if each[0] <= first]
    last.starts.append(first)
    last.times.append(run.begun['time'])
    shift = epoch - run.steps[0].epoch if run.steps and len(last.starts) > 1 else 0
    last.steps += [step._replace(epoch=step.epoch + shift) for step in run.steps]
    last.dropped += [(first + number, each) for number, each in run.dropped]
    last.missing += [(first + number, count) for number, count in run.missing]


def _joint(steps: list[Step], run: _Run) -> tuple[int, int]:
    """At which step and epoch a run goes on that began from a state: where its first batch was received before.

    If that was not, it goes on behind the last step.
    """
    if not run.steps:
        return len(steps), _next_epoch(steps)
    first = run.steps[0]
    for number in range(len(steps) - 1, -1, -1):
        step = steps[number]
        if step.key == first.key and (step.pass_, step.entropy) == (first.pass_, first.entropy):
            return number, step.epoch if first.batch or not step.batch else step.epoch + 1
    if steps and first.batch > 0:
        return len(steps), steps[-1].epoch
    return len(steps), _next_epoch(steps)


def _next_epoch(steps: list[Step]) -> int:
    return steps[-1].epoch + 1 if steps else 0
