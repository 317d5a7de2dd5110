"""Whether a pipeline goes on exactly where it was stopped, in whichever way it runs; and if not, which stage is why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from itpipe._core.checks import integer
from itpipe._core.keys import END, Key, ordinals
from itpipe._core.show import format_step
from itpipe._core.steps import State, Step
from itpipe._engine.branches import Branched, Joined
from itpipe._engine.source import Seeded
from itpipe._engine.stream import Stream, no_stage

from .comparing import difference
from .reruns import MODES, Made, Rerun, maker

__all__ = ['check_resume']

MOST: Final = 400
"""So many items of a stage are compared, at most, to find out which one is to blame."""


@no_stage('it takes the stream, `check_resume(stream)`')
def check_resume(pipeline: Any, modes: Sequence[str] = ('serial', 'threads'), batches: int = 10) -> None:
    """Raise AssertionError if a stream or an `Infinite` does not go on exactly where it was stopped.

    The first `batches` batches (of a stream without batches, items) are compared with those of runs that are stopped
    at four places. Each goes on from there in another of the `modes`, with its state through JSON: `'serial'`, without
    workers; `'threads'`, two of them; `'processes'`, one. Without a `parallel_map`, they do the first item-wise stages.
    All has to be the same bit for bit. The error names the first batch that differs, and the stage to blame. An
    `Infinite` goes over several passes if its source is short.

    `pipeline` may also be a function that makes the stream or the `Infinite`, anew for each run. This is needed for an
    iterator, and shows more: that another process could go on. It takes the time of a few runs of so many batches, and
    with processes a few seconds more.

    Raises TypeError or ValueError for wrong arguments, and what the pipeline raises when it is not stopped.

    >>> import numpy as np
    >>> from itpipe import batch_by, sample, with_rng
    >>> def noisy(x, rng):
    ...     return x + rng.random()
    >>> check_resume(sample(range(100)) | with_rng(noisy) | batch_by(4))
    >>> noise = np.random.default_rng(0)
    >>> check_resume(sample(range(100)) | (lambda x: x + noise.random()) | batch_by(4))
    Traceback (most recent call last):
    AssertionError: check_resume: batch 0 is another one in a second run (serial), which was not stopped: ...
    The first stage that gives something else is `apply(<lambda>)`.

    See also: `check`; `Infinite.state_dict`, `Stream.resume`.
    """
    count = integer('check_resume', 'batches', batches, least=2)
    chosen = _modes(modes)
    make = maker(pipeline)
    expected, keys, begin = _undisturbed(make(), count)
    wrong = _first_wrong(make, chosen, expected, begin)
    if wrong is None:
        return
    items = 2 * sum(len(ordinals(key)) for key in keys[: wrong.number + 1]) + 4
    quick = [mode for mode in chosen if mode != 'processes'] or ['serial']
    blamed = next(filter(None, (_to_blame(make(), some, min(items, MOST)) for some in (quick, chosen))), '')
    blame = f'The first stage that gives something else is `{blamed}`.' if blamed else _nobody(make())
    raise AssertionError(f'check_resume: {wrong.text}\n{blame}') from wrong.error


def _modes(modes: Any) -> list[str]:
    chosen = [modes] if isinstance(modes, str) else list(modes)
    for mode in chosen:
        if mode not in MODES:
            raise ValueError(f"check_resume: `modes` must be of 'serial', 'threads', 'processes', got {mode!r}")
    if not chosen:
        raise ValueError('check_resume: `modes` must not be empty')
    return chosen


# ---------------------------------------------------------------------------------------------------------------------
# Runs


def _undisturbed(made: Made, count: int) -> tuple[list[Any], list[Key], State]:
    """The values of a run that is left alone, with END if they end; their keys; and the state before the first."""
    run = Rerun(made, None)
    values: list[Any] = []
    keys: list[Any] = []
    try:
        begin = run.state()
        for _ in range(count):
            values.append(run.next())
            if values[-1] is END:
                break
            keys.append(run.key())
    finally:
        run.close()
    return values, keys, begin


@dataclass(frozen=True)
class _Wrong:
    number: int
    text: str
    error: Exception | None = None


def _first_wrong(make: Callable[[], Made], modes: list[str], expected: list[Any], begin: State) -> _Wrong | None:
    """Where a run that was stopped differs first. In each run, other modes follow each other."""
    count = len(expected)
    stops = sorted({1, count // 3, 2 * count // 3, count - 1} - {0})
    for n in range(len(modes)):
        state, done, before = begin, 0, ''
        for segment, stop in enumerate([*stops, count]):
            mode = modes[(n + segment) % len(modes)]
            how = f'in a second run ({mode}), which was not stopped' if not done else f'{before} and went on ({mode})'
            run: Rerun | None = None
            try:
                run = Rerun(make(), mode, state)
                while done < stop:
                    found = _differ(expected[done], run.next())
                    if found is not None:
                        return _Wrong(done, f'batch {done} is another one {how}: {found}.')
                    done += 1
                state = run.state()
            except Exception as error:
                return _Wrong(done, f'batch {done} raised {type(error).__name__} {how}: {error}', error)
            finally:
                if run is not None:
                    run.close()
            before = f'after the run was stopped behind batch {done - 1} ({mode})'
    return None


def _differ(expected: Any, found: Any) -> str | None:
    if expected is END or found is END:
        return None if expected is found else 'it ends there' if found is END else 'it does not end there'
    return difference(expected, found)


# ---------------------------------------------------------------------------------------------------------------------
# Who is to blame


def _to_blame(made: Made, modes: list[str], items: int) -> str:
    """The first stage behind which the stream differs, where only the stages up to it are run; empty if none does."""
    source: Any = made.source
    while isinstance(source, Seeded):
        source = source.source
    if isinstance(source, Branched):
        for branch in source.branches:
            inner = Made(Seeded(branch.source, _seed_of(made, branch)), branch.steps)
            if not branch.source.one_shot and (found := _to_blame(inner, modes, items)):
                return found
    if made.source.one_shot:
        return ''
    for n in range(len(made.steps) + 1):
        last = made.steps[n - 1] if n else None
        if isinstance(last, Step) and last.hidden:
            continue
        part = replace(made, steps=made.steps[:n], options=made.options and (made.options[0], None, made.options[2]))
        with suppress(Exception):  # that is not what is looked for
            expected, _, begin = _undisturbed(part, items)
            if _first_wrong(lambda part=part: part, modes, expected, begin) is not None:  # type: ignore[misc]
                return format_step(last) if last is not None else _name(source)
    return ''


def _seed_of(made: Made, branch: Stream[Any]) -> int:
    seeds: list[Any] = [branch.source.seed, made.options and made.options[0], made.source.seed, 0]
    return next(seed for seed in seeds if seed is not None)  # type: ignore[no-any-return]


def _name(source: Any) -> str:
    return format_step(source.step) if isinstance(source, Joined) else repr(source)


def _nobody(made: Made) -> str:
    if made.source.one_shot:
        return 'To find out which stage is to blame, it needs a source that can be read again.'
    return 'Each stage by itself goes on exactly, so it depends on what is running beside it.'
