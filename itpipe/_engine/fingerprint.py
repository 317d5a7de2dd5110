"""What must be the same where a run goes on, as text: a line for the source, and one for each step.

The line of a step begins with a mark and a tab. The mark says what the step does with items and keys:

- nothing: each item stays, with its key;
- `?`: some are left out;
- `[]`: lists are made of so many items, `[?]`: of as many as a function says;
- `=NAME`: it remembers something, and this is the name of its entry in the position;
- `*NAME`: the same of one that makes several items of one;
- `!NAME`: the same of a user's stage, which may do anything.

The steps stand in the order in which they run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from itpipe._core.show import format_call, format_step
from itpipe._core.steps import Expanding, ItemStep, Opaque, Seed, Step

from .order import fused, is_by_count, last_shard, running

if TYPE_CHECKING:
    from .source import Source

__all__ = [
    'batching',
    'differ_in_batch_size',
    'differ_in_reweight',
    'differ_in_weights',
    'difference',
    'entry_names',
    'fingerprint',
    'items_in_batch',
    'names_in',
    'pipeline_text',
    'split_lines',
]

MAX_LINE: Final = 40
"""Characters; a longer line is shortened to its first ones and a checksum, which keeps states small."""
SIZE: Final = r'(?m)(?<=^\[\]\tbatch_by\()[0-9]+'
"""The number of items in a batch, where that is a number."""
WEIGHTS: Final = r"(.*), weights='([0-9a-f]+)"
"""A source with weights: how it begins, and their checksum."""


def fingerprint(source: Source, steps: Sequence[Step | ItemStep]) -> str:
    """What must be the same, without marks. It says nothing of the data, nor of how the pipeline runs."""
    return '\n'.join([source.fingerprint(), *chain.from_iterable(map(_lines, steps))])


def pipeline_text(source: Source, steps: Sequence[Step | ItemStep], seed: int | None) -> str:
    """The text by which a state knows its pipeline. Which rank's it is does not matter."""
    described: list[Any] = list(steps)
    if (index := last_shard(steps)) is not None:
        described[index] = replace(described[index], fingerprint=format_call('shard', (), described[index].kwargs))
    lines = source.fingerprint().splitlines()
    if seed is not None:
        lines.append(format_call('Infinite', (), {'seed': seed}))
    result = list(map(_brief, lines))
    names = entry_names(described)
    for index in running([fused([step])[0] for step in described]):
        parts = list(map(_brief, _lines(described[index])))
        marks = [''] * len(parts)
        marks[-1:] = [_mark(described[index], names[index])] * len(parts[-1:])
        result += [f'{mark}\t{part}' for mark, part in zip(marks, parts, strict=True)]
    return '\n'.join(result)


def entry_names(steps: Sequence[Step | ItemStep]) -> list[str]:
    """The names of the entries in a position, for each step; '' for a step that has none.

    It is the name of the step, of a random one the name of its draws. Several of one name are numbered from the second
    on, in reading order.
    """
    counts: Counter[str] = Counter()
    names = []
    for step in steps:
        if isinstance(step, ItemStep) or not step.remembers:
            names.append('')
            continue
        name = next((option.name for option in step.options if isinstance(option, Seed)), step.name)
        name = ' '.join(name.split()).replace('#', '##')  # or a name could look like a numbered one
        counts[name] += 1
        names.append(name if counts[name] == 1 else f'{name} #{counts[name]}')
    return names


def split_lines(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The lines of the source, and of each step the mark and the line."""
    lines = text.split('\n')
    head = [line for line in lines if '\t' not in line]
    steps = [(mark, line) for mark, tab, line in (line.partition('\t') for line in lines) if tab]
    return head, steps


def names_in(text: str) -> list[str]:
    """The names of the entries in positions of the pipeline with this text, in the order in which the steps run."""
    return [mark[1:] for mark, _ in split_lines(text)[1] if mark[:1] in ('=', '*', '!')]


def differ_in_batch_size(there: str, here: str) -> bool:
    """Whether the pipelines are the same but for how many items make a batch."""
    return there != here and re.sub(SIZE, '', there) == re.sub(SIZE, '', here)


def batching(text: str) -> list[str]:
    """How the pipeline with this text makes batches, as lines of the text."""
    return [line for line in text.split('\n') if line.startswith('[')]


def items_in_batch(text: str) -> int | None:
    """How many items are in what comes out of the pipeline with this text; None if that is not always the same."""
    count = 1
    for mark, line in split_lines(text)[1]:
        if mark == '[]' and (size := re.search(SIZE, f'[]\t{line}')):
            count *= int(size[0])
        elif mark.startswith('[') or (mark[:1] in ('*', '!') and count > 1):
            return None
    return count


def difference(there: str, here: str) -> str:
    """Where the first pipeline differs from the second one, in words."""
    for theirs, ours in zip_longest(_texts(there), _texts(here)):
        if theirs is None:
            return f'which ends where this one goes on with `{ours}`'
        if ours is None:
            return f'which goes on with `{theirs}` where this one ends'
        if theirs != ours:
            break
    if (call := _differs_in_weights(theirs, ours)) is not None:
        return f'which has other `weights` in `{call}, …)`'
    return f'which has `{theirs}` where this one has `{ours}`'


def differ_in_weights(there: str, here: str) -> bool:
    """Whether the first difference is that the same source has other weights."""
    both = zip(_texts(there), _texts(here), strict=False)
    return next((_differs_in_weights(*pair) is not None for pair in both if pair[0] != pair[1]), False)


def differ_in_reweight(there: str, source: Source) -> str | None:
    """In words, that only one of a pipeline and this source has `reweight=True`, if that is the first difference."""
    for theirs, line in zip(there.splitlines(), source.fingerprint().splitlines(), strict=False):
        if theirs == _brief(line):
            continue
        if theirs == _brief(line.replace(', reweight=True)', ')')):
            return 'which has no `reweight=True`: a run goes on without it if it has begun without it'
        if theirs == _brief(f'{line.removesuffix(")")}, reweight=True)'):
            return 'which has `reweight=True`: a run goes on with it if it has begun with it'
        return None
    return None


def _differs_in_weights(theirs: str, ours: str) -> str | None:
    """How both calls begin, if these have weights that differ, of which the text holds a checksum or its beginning."""
    a, b = re.match(WEIGHTS, theirs), re.match(WEIGHTS, ours)
    return a[1] if a is not None and b is not None and a[1] == b[1] and a[2] != b[2] else None


def _texts(text: str) -> Iterator[str]:
    head, steps = split_lines(text)
    return (line.strip() for line in [*head, *(line for _, line in steps)])


def _lines(step: Step | ItemStep) -> list[str]:
    text = step.fingerprint if isinstance(step, Step) else None
    return [format_step(step)] if text is None else text.splitlines()


def _mark(step: Step | ItemStep, name: str) -> str:
    if name:
        return f'{"*" if isinstance(step, Expanding) else "!" if isinstance(step, Opaque) else "="}{name}'
    if isinstance(step, ItemStep) or step.itemwise:
        return ''
    if not step.same_key:
        return '[]' if is_by_count(step) else '[?]'
    return '?' if step.fingerprint is None else ''


def _brief(line: str) -> str:
    line = re.sub(' at 0x[0-9a-fA-F]+', '', line.replace('\t', ' '))  # an address differs in the next process
    return line if len(line) <= MAX_LINE else f'{line[: MAX_LINE - 9]}…{crc32(line.encode()):08x}'
