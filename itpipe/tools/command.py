"""The command `itpipe`: recorded runs and pipelines, looked into from a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from itpipe._core.show import format_steps
from itpipe._engine.recording import recording
from itpipe._views.leaves import lines
from itpipe.errors import NotRestartable

from .arguments import parser
from .pipelines import Pipeline, found, opened
from .records import Training, chosen, read

__all__ = ['main']


class _Wrong(Exception):
    """The command cannot be carried out as it was given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command with these arguments, by default those of the process; returns the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and (instead := IN_PYTHON.get(words[0])) is not None:
        sys.stderr.write(f'itpipe {words[0]}: there is no such command; in Python: `{instead}`\n')
        return 2
    given = parser().parse_args(words)
    try:
        status = COMMANDS[given.command](given)
        sys.stdout.flush()  # here, and not when the interpreter ends, which can only print an error
        return status
    except _Wrong as error:
        sys.stderr.write(f'itpipe {given.command}: {error}\n')
        return 2
    except KeyboardInterrupt:  # Ctrl-C, which has this status in a shell
        return 130
    except BrokenPipeError:  # as of `itpipe … | head`
        _write_no_more()
        return 0
    except OSError as error:  # the commands have caught those of files
        _write_no_more()
        sys.stderr.write(f'itpipe {given.command}: {error}\n')
        return 2


def _write_no_more() -> None:
    """Let what is left of the output, which cannot be written, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---------------------------------------------------------------------------------------------------------------------
# The commands. Each returns the exit status.


def _replay(given: Any) -> int:
    from .replay import ENDINGS, places, replayed, save, step_of, where

    if given.save is not None and given.save.suffix not in ENDINGS:
        raise _Wrong(f'--save needs a file that ends with {" or ".join(ENDINGS)}, got {str(given.save)!r}')
    training = _training(given.log, given.number)
    with _opened(given.pipeline, training) as pipeline:
        try:
            step_of(training, given.step)
        except LookupError as error:
            raise _Wrong(error) from None
        _say(where(training, given.step))
        try:
            batch = replayed(training, given.step, pipeline)
        except (LookupError, NotRestartable, ValueError) as error:
            raise _Wrong(f'{given.pipeline} does not have these items: {error}') from error
        for line in places(training, given.step, pipeline):
            _say(line)
    for line in lines(batch.value):
        _say(f'  {line}')
    if given.save is not None:
        try:
            save(batch.value, given.save)
        except (OSError, ValueError) as error:
            raise _Wrong(f'the batch cannot be saved: {error}') from None
        _say(f'saved to {given.save}')
    if batch.same is None:
        _say('no digest was recorded, so it is not known whether it has the same bits')
    else:
        _say('it has the bits that were recorded' if batch.same else 'it has OTHER bits than were recorded')
    return batch.same is False


def _diff(given: Any) -> int:
    from .compare import first_difference, header_differences, stage_of

    if len(given.pipeline) > 2:
        raise _Wrong('give --pipeline once, or twice: that of A and that of B')
    a, b = _training(given.a, None), _training(given.b, None)
    for line in header_differences(a, b):
        _say(line)
    found = first_difference(a, b)
    both = min(len(a.steps), len(b.steps))
    if found is None:
        digests = all(step.digest is not None for t in (a, b) for step in t.steps[:both])
        _say(f'no difference in {both} steps: the same items{" and the same bits" if digests else ""}')
        if not digests:
            _say('bits were not compared: record with digest=True for that')
        if len(a.steps) != len(b.steps):
            longer = 'a' if len(a.steps) > both else 'b'
            _say(f'{longer} goes on to step {max(len(a.steps), len(b.steps)) - 1}')
        return 0
    _say(f'the first difference is at step {found.step}: {found.what}')
    if given.pipeline:
        with _opened(given.pipeline[0], a) as mine, _opened(given.pipeline[-1], b) as theirs:
            try:
                _say(stage_of(a, b, found.step, mine, theirs))
            except (LookupError, NotRestartable, ValueError) as error:
                raise _Wrong(f'the batches cannot be made again: {error}') from error
    return 1


def _report(given: Any) -> int:
    from .report import leaving_out, report

    trainings = _trainings(given.log)
    if given.number is not None:
        trainings = [_training(given.log, given.number)]
    if given.steps is not None:
        lines = partial(leaving_out, trainings[-1], *_within(trainings[-1], given.steps))
    else:
        lines = partial(report, trainings)
    if given.pipeline is None:
        _say('\n'.join(lines()))
        return 0
    with _opened(given.pipeline, trainings[-1]) as pipeline:
        try:
            text = '\n'.join(lines(pipeline))
        except (LookupError, RuntimeError, ValueError) as error:
            raise _Wrong(f'{given.pipeline} does not tell where the items lie: {error}') from error
    _say(text)
    return 0


def _within(training: Training, steps: tuple[int, int]) -> tuple[int, int]:
    first, end = steps
    if not 0 <= first < end <= len(training.steps):
        raise _Wrong(f'--steps must be within 0:{len(training.steps)}, the steps that were recorded, got {first}:{end}')
    return steps


def _show(given: Any) -> int:
    with _opened(given.pipeline) as pipeline:
        if given.save is None and not given.mermaid:
            _say('\n| '.join([repr(pipeline.source), *format_steps(pipeline.steps)]))
            return 0
        picture = pipeline.value.draw()
        if given.mermaid:
            _say(picture.mermaid)
        if given.save is not None:
            try:
                picture.save(given.save)
            except (OSError, ValueError) as error:
                raise _Wrong(error) from None
            _say(f'saved to {given.save}')
    return 0


def _check(given: Any) -> int:
    from .check import check

    if given.items < 1:
        raise _Wrong(f'--items must be at least 1, got {given.items}')
    with _opened(given.pipeline) as pipeline:
        try:
            check([], ignore=given.ignore)
        except ValueError as error:
            raise _Wrong(str(error).partition(': ')[2]) from None
        findings = check(pipeline.value, given.items, processes=given.processes, ignore=given.ignore)
    _say(repr(findings))
    return int(bool(findings))


def _doctor(given: Any) -> int:
    from .doctor import examined

    report = examined()
    _say(report.as_json() if given.json else '\n'.join(report.lines()))
    return int(not report.ok)


COMMANDS: Final[dict[str, Callable[[Any], int]]] = {
    'replay': _replay, 'diff': _diff, 'report': _report, 'show': _show, 'draw': _show, 'check': _check,
    'doctor': _doctor,
}  # fmt: skip
IN_PYTHON: Final = {
    'explain': 'print(itpipe.explain(batch_iter))',
    'stats': 'print(batch_iter.stats())',
    'watch': 'with itpipe.watch(batch_iter): …',
}
"""What looks into a run of this process, which a command cannot do."""


# ---------------------------------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    sys.stdout.write(f'{text}\n')


def _trainings(path: str) -> list[Training]:
    try:
        trainings = read(path)
        chosen(trainings, None)
    except (OSError, ValueError, LookupError) as error:
        raise _Wrong(f'{path}: {getattr(error, "strerror", None) or error}') from None
    return trainings


def _training(path: str, number: int | None) -> Training:
    try:
        return chosen(_trainings(path), number)
    except LookupError as error:
        raise _Wrong(f'{path}: {error}') from None


@contextmanager
def _opened(name: str, training: Training | None = None) -> Iterator[Pipeline]:
    """The pipeline with this name, closed in the end; says in what it differs from that of the training."""
    rank, ranks = (training and training.header['shard']) or (0, 1)
    ours = {name: str(n) for name, n in (('RANK', rank), ('WORLD_SIZE', ranks)) if name not in os.environ}
    os.environ.update(ours)  # for `shard='env'`
    token = recording.set(False)
    try:
        try:
            pipeline = opened(found(name))
        except (LookupError, TypeError, ValueError) as error:
            if error.__traceback__ is not None and _is_ours(error):
                raise _Wrong(error) from None
            raise
        try:
            if training is not None and (difference := pipeline.differs(training.header['pipeline'])):
                sys.stderr.write(f'note: the record is that of another pipeline, {difference}\n')
            yield pipeline
        finally:
            pipeline.close()
    finally:
        recording.reset(token)
        for name in ours:
            del os.environ[name]


def _is_ours(error: BaseException) -> bool:
    """Whether it was raised by the look for the pipeline, rather than by its code."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and Path(last.tb_frame.f_code.co_filename).name == 'pipelines.py'
