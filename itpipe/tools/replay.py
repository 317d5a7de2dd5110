"""`itpipe replay`: a batch of a recorded run, made again."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from itpipe._core.digests import digest
from itpipe._core.keys import describe

from .origins import origin
from .pipelines import Pipeline
from .records import Step, Training

__all__ = ['ENDINGS', 'Replayed', 'places', 'replayed', 'save', 'step_of', 'where']

ENDINGS = ('.npz', '.pkl')
"""Of the files that a batch can be saved to."""


class Replayed(NamedTuple):
    """A batch that was made again."""

    value: Any
    same: bool | None
    """Whether it has the digest that was recorded; None if none was."""


def step_of(training: Training, number: int) -> Step:
    """The step with this number, of which negative ones count from the end. Raises LookupError if there is none."""
    count = len(training.steps)
    if not -count <= number < count:
        raise LookupError(f'the run has no step {number}: {f"it has 0 to {count - 1}" if count else "it has none"}')
    return training.steps[number]


def where(training: Training, number: int) -> str:
    """Which batch it is, in words."""
    step = step_of(training, number)
    place = f'step {number % len(training.steps)}: epoch {step.epoch}, batch {step.batch}'
    return f'{place}, pass {step.pass_}: {describe(step.key)}'


def places(training: Training, number: int, pipeline: Pipeline) -> list[str]:
    """Where the items of the batch lie in the data, in lines of text; none if a stage does not say that.

    There is a line for each item if the data is a part of other data, or has the paths of its items.
    """
    step = step_of(training, number)
    try:
        found = pipeline.indices([step.key], step.pass_, step.entropy)
    except (LookupError, RuntimeError, ValueError):
        return []
    told = [origin(pipeline.source, place) for place in found]
    if not any(told):
        return [f'places in the data: {", ".join(map(str, found))}']
    return ['places in the data:', *(f'  {place}: {more}' for place, more in zip(found, told, strict=True))]


def replayed(training: Training, number: int, pipeline: Pipeline) -> Replayed:
    """The batch of this step, made by the pipeline.

    Nothing before it is made, unless a stage has to run from the beginning of the pass. Raises LookupError if there is
    no such step, LookupError or ValueError if the pipeline has no such items.
    """
    step = step_of(training, number)
    value = pipeline.made_again(step.key, step.pass_, step.entropy, number % len(training.steps))
    return Replayed(value, None if step.digest is None else digest(value) == step.digest)


def save(value: Any, path: Path) -> None:
    """Save a batch: its arrays as `.npz`, each under the name of its place, or all of it as `.pkl`.

    Raises ValueError if a part of it is no array and `.npz` was asked for.
    """
    if path.suffix == '.pkl':
        path.write_bytes(pickle.dumps(value))
        return
    arrays = dict(_arrays(value, ''))
    if objects := [name for name, array in arrays.items() if array.dtype == object]:
        raise ValueError(f'{objects[0]!r} of the batch is not an array of numbers or text: save it to a .pkl file')
    with zipfile.ZipFile(path, 'w') as file:  # as `numpy.savez`, which takes some names for arguments
        for name, array in arrays.items():
            with file.open(f'{name}.npy', 'w', force_zip64=True) as part:
                np.save(part, array, allow_pickle=False)


def _arrays(value: Any, name: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    if isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, tuple) and hasattr(value, '_fields'):
        parts = list(zip(value._fields, value, strict=True))
    elif isinstance(value, (tuple, list)):
        parts = [(str(n), part) for n, part in enumerate(value)]
    else:
        yield name or 'batch', np.asarray(value)
        return
    for step, part in parts:
        yield from _arrays(part, f'{name}.{step}' if name else step)
