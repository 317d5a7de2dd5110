"""The stage that runs what is upstream in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from itpipe._core.sizes import size
from itpipe._core.steps import METER, STOP, AsRun, Elsewhere, ItemStep, Pair, Stateless, Step
from itpipe._engine.factories import factory
from itpipe._engine.stream import Stage

if TYPE_CHECKING:
    from itpipe._engine.meters import Meter
    from itpipe._engine.stream import Same
    from itpipe._engine.waiting import Stop
else:
    Same = Stage

__all__ = ['as_run', 'prefetch']


@factory
def prefetch(n: int | str) -> Same:
    """The same items. What is upstream runs in a thread of its own, up to `n` items ahead.

    `prefetch('512MB')` limits the memory of these items instead of their number, but there is always at least one. The
    memory is estimated as by `parallel_map`.

    Raises TypeError if `n` is neither an int nor text, ValueError if it is less than 1 or not a size.

    >>> list(range(5) | prefetch(2))
    [0, 1, 2, 3, 4]

    See also: `parallel_map`; `Infinite`, which does this with the whole stream.
    """
    depth = size('prefetch', 'n', n)
    step = Stateless(
        'prefetch', _prefetch, (STOP, METER, depth), gives='same', fingerprint='', itemwise=True,
        elsewhere=Elsewhere('thread', limit=depth),
    )  # fmt: skip
    return Same((step,))


def as_run(steps: Sequence[Step | ItemStep], depth: int | None, written: int | str | None = None) -> AsRun:
    """The steps as an `Infinite` with this `prefetch`, which is written like that, runs them.

    If the last step hands batches over to the loop, as `to_device` does, the background thread does only that. Another
    thread before it keeps `depth` batches ready. In `stats`, it is named after the `Infinite`.
    """
    last = steps[-1] if steps else None
    if not isinstance(last, Step) or last.handover is None or depth == 0:
        return AsRun(steps, depth)
    given = last.handover
    before = Stateless(
        'Infinite', _prefetch, (STOP, METER, depth), gives='same', fingerprint='', itemwise=True,
        kwargs={} if written is None else {'prefetch': written}, elsewhere=Elsewhere('thread', limit=depth),
    )  # fmt: skip
    hand = replace(last, work=given.work, options=given.options, elsewhere=None, handover=None)
    return AsRun((*steps[:-1], before, hand), given.ahead, given.receive)


def _prefetch(items: Iterator[Pair], stop: Stop, meter: Meter, n: int | None) -> Iterator[Pair]:
    from itpipe._engine.background import Background
    from itpipe._engine.threads import close_outside

    background = Background('itpipe-prefetch', n, meter)
    stop.add(background)
    try:
        yield from background.run(items)
    finally:
        threads = stop.threads(above=background)
        stop.remove(background)
        close_outside(threads, background.close)
