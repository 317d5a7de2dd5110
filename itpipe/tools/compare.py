"""`itpipe diff`: the first step at which two recorded runs differ, and which stage makes the difference."""

from __future__ import annotations

from itertools import zip_longest
from typing import NamedTuple

from itpipe._core.digests import digest
from itpipe._core.keys import Key, describe
from itpipe._engine.fingerprint import difference

from .pipelines import Pipeline
from .records import Step, Training
from .replay import step_of
from .stepwise import views

__all__ = ['Difference', 'first_difference', 'header_differences', 'stage_of']

ABOUT = ('platform', 'shard', 'batches_per_epoch', 'restart')


class Difference(NamedTuple):
    """Where two runs differ first."""

    step: int
    what: str
    """In which way, in words."""
    same_items: bool
    """Whether the batches there have the same items, and other bits."""


def header_differences(a: Training, b: Training) -> list[str]:
    """In what the pipelines and the processes differ, a line for each."""
    lines = []
    if a.header['pipeline'] != b.header['pipeline']:
        words = difference(a.header['pipeline'], b.header['pipeline']).removeprefix('which ')
        lines.append(f'pipeline: a {words.replace("this one", "b")}')
    versions = {**a.header['versions'], **b.header['versions']}
    pairs = [(name, a.header['versions'].get(name), b.header['versions'].get(name)) for name in versions]
    pairs += [(name, a.header.get(name), b.header.get(name)) for name in ABOUT]
    lines += [f'{name}: {mine} in a, {theirs} in b' for name, mine, theirs in pairs if mine != theirs]
    drawn = [training.steps[0].entropy if training.steps else None for training in (a, b)]
    if drawn[0] != drawn[1]:
        lines.append('seed: there is none, so each run has drawn its own numbers')
    return lines


def first_difference(a: Training, b: Training) -> Difference | None:
    """The first step at which the batches differ, as far as both runs went; None if there is none."""
    for number, (mine, theirs) in enumerate(zip(a.steps, b.steps, strict=False)):
        if mine.key != theirs.key:
            return Difference(number, f'other items: a has {describe(mine.key)}; b has {describe(theirs.key)}', False)
        if mine.pass_ != theirs.pass_:
            return Difference(number, f'a is in pass {mine.pass_}, b in pass {theirs.pass_}', False)
        if None not in (mine.digest, theirs.digest) and mine.digest != theirs.digest:
            return Difference(number, f'the same items with other bits: {describe(mine.key)}', True)
        if mine.epoch != theirs.epoch:
            return Difference(number, f'a is in epoch {mine.epoch}, b in epoch {theirs.epoch}', False)
    return None


def stage_of(a: Training, b: Training, number: int, mine: Pipeline, theirs: Pipeline) -> str:
    """Which stage makes the difference at this step, found by making both batches again, stage by stage.

    If both are the same pipeline, the batches of both runs are made by it, twice, so that a function that gives other
    bits each time is found.
    """
    first, second = (_stages(each, step_of(t, number)) for each, t in ((mine, a), (theirs, b)))
    for one, other in zip_longest(first, second):
        if one is None or other is None:
            return f'`{(one or other).name}` is in one of the pipelines only'
        if one.digests != other.digests:
            name = f'`{one.name}`' if one.name == other.name else f'`{one.name}` in a, `{other.name}` in b'
            items = '' if one.digests.keys() == other.digests.keys() else ', which gives other items'
            return f'the first stage that differs is {name}{items}'
    made = first[-1].digests[step_of(a, number).key]
    a_is_it, b_is_it = (step_of(t, number).digest == made for t in (a, b))
    if a_is_it == b_is_it:
        return (
            'made again, it has neither the bits of a nor those of b, and each stage gives the same twice; code, data'
            ' or versions have changed since'
        )
    one, other = 'ab' if a_is_it else 'ba'
    return (
        f'made again, it has the bits that {one} recorded, and each stage gives the same twice; {other} had other code,'
        ' data or versions'
    )


class _Stage(NamedTuple):
    name: str
    digests: dict[Key, int]
    """Of what came out of it for this batch, by the keys."""


def _stages(pipeline: Pipeline, step: Step) -> list[_Stage]:
    """What the batch has gone through."""
    made = views(pipeline.source, pipeline.steps, pipeline.seeds(step.pass_, step.entropy), step.key)
    return [_Stage(view.stage, {key: digest(value) for key, value in view.values.items()}) for view in made]
