"""How many items come out of a stream, where that is known before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from itpipe._core.show import format_step
from itpipe._core.steps import ItemStep, Step

__all__ = ['count_items']


def count_items(where: str, source: Any, steps: Sequence[Step | ItemStep], otherwise: str = '') -> int:
    """The number of items. Raises TypeError if it is not known, with the reason behind `where`, and
    `otherwise`, what to do then.

    A source says its number by a method `length`, which raises TypeError, with the reason, if it does not know it.
    """
    try:
        if not hasattr(source, 'length'):
            raise TypeError(f'`{source!r}` does not say how many items it has')
        count: int = source.length()
    except (
        Exception
    ) as error:  # of a dataset's own code, too: whoever asks for a hint, as `list` does, expects TypeError
        reason = str(error).rpartition('there is no len(), as ')[2]  # of a stream within, with no second beginning
        raise TypeError(f'{where}: there is no len(), as {reason}{otherwise}') from error
    for step in steps:
        if isinstance(step, ItemStep):
            continue
        if step.counted is None:
            raise TypeError(
                f'{where}: there is no len(), as `{format_step(step)}` does not say how many items it gives{otherwise}'
            )
        count = step.counted(count)
    return count
