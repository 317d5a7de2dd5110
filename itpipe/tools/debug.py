"""`debug`: one function, called for one row of a batch under pdb."""

from __future__ import annotations

from bdb import BdbQuit
from collections.abc import Callable
from functools import partial
from pdb import Pdb
from typing import Any

from itpipe._core.checks import integer
from itpipe._core.steps import Step

from .rows import row_of, row_views, views_of
from .stepwise import View
from .wrapping import with_functions

__all__ = ['debug']


def debug(batch_iter: Any, row: int, stage: int | str) -> Any:
    """Call the function of one stage again, for one row of the batch received last, under pdb.

    The first stop is the first line of your function, with the item and the random numbers that it had in the run. The
    stages before it run as usual, and so do those behind it after `c` (continue). It all happens in this thread, also
    what workers do in the run, which is not disturbed.

    `batch_iter` and `row` are those of `explain`. `stage` is the number of the stage in `explain`, or a part of its
    text that no other stage has, such as the name of the function. Behind `batch_by`, the function gets the whole
    batch. The stages of the item are made once before, to find the one that is meant.

    Returns what came out of the stage; None after `q` (quit).

    Raises what `explain` does, and ValueError if `stage` names no stage or several, or one without a function of yours,
    such as `shuffle`.

    >>> from itpipe import Infinite
    >>> def halved(x):
    ...     return x // 2
    >>> with Infinite(range(8), halved, batch_size=4) as batch_iter:
    ...     batch = next(batch_iter())
    >>> debug(batch_iter, 3, 'halved')  # doctest: +SKIP
    > train.py(2)halved()
    -> return x // 2
    (Pdb) p x
    3
    (Pdb) c
    1

    See also: `explain`.
    """
    found = row_of('debug', batch_iter, row)
    own, in_batch = row_views(found)
    number = _number([*own, *in_batch], stage)
    view = [*own, *in_batch][number]
    key = found.key if number < len(own) else found.batch
    called: list[None] = []

    def change(at: int, step: Step) -> Step:
        return with_functions(step, partial(_UnderPdb, called)) if at == view.at else step

    try:
        views = views_of(found, key, change=change)
    except BdbQuit:
        return None
    if not called:
        raise ValueError(f'debug: `stage` must be one that calls a function, got `{view.stage}`')
    values: dict[Any, Any] = next((each.values for each in views if each.at == view.at), {})
    return next(iter(values.values())) if len(values) == 1 else values or None


def _number(found: list[View], stage: Any) -> int:
    """The number of the stage that is meant."""
    listed = ''.join(f'\n  {number}  {view.stage}' for number, view in enumerate(found))
    if isinstance(stage, str):
        numbers = [number for number, view in enumerate(found) if stage in view.stage]
        if len(numbers) != 1:
            many = 'several' if numbers else 'no'
            raise ValueError(
                f'debug: `stage` must be in the text of one stage, {stage!r} is in that of {many}:{listed}'
            )
        return numbers[0]
    number = integer('debug', 'stage', stage, least=0)
    if number >= len(found):
        raise ValueError(f'debug: `stage` must be one of these, got {number}:{listed}')
    return number


class _UnderPdb:
    """The function, called under pdb."""

    def __init__(self, called: list[None], function: Callable[..., Any]):
        self.called, self.function = called, function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.called.append(None)
        return Pdb(nosigint=True).runcall(self.function, *args, **kwargs)
