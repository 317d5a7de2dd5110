"""How fast a loop would be if its data were free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any, Generic, TypeVar

from itpipe._core.checks import integer
from itpipe._engine.iterators import is_async, is_iterable
from itpipe._engine.stream import no_stage
from itpipe._views.figures import rate, seconds, share

__all__ = ['Headspace', 'headspace']

B = TypeVar('B')


@no_stage('it takes the batches that a loop is about to use, `for batch in headspace(batch_iter)`')
def headspace(batches: Iterable[B], count: int = 100, warm_up: int = 5) -> Headspace[B]:
    """Measures how fast a loop would be if its data were free: iterate over it in the place of `batches`.

    It gives `count` real batches, then the last of them `count` times, for which the loop does not wait. The two times
    are compared: `print` it behind the loop. Before each of the two parts, `warm_up`
    batches are not counted, such as those for which workers or the accelerator have to start. If `batches` ends, it is
    begun again, as an `Infinite` begins the next epoch.

    The model is trained with one batch many times, so measure apart from the training. A step that only asks the
    accelerator for work should wait for it, by looking at the loss, for example.

    Raises TypeError if `batches` is not iterable or a count not an int, ValueError for a `count` less than 1 or a
    negative `warm_up`; while iterating, ValueError if there are no batches.

    >>> from itpipe import Infinite
    >>> with Infinite(range(1000), batch_size=4) as batch_iter:
    ...     loop = headspace(batch_iter, count=20)
    ...     for batch in loop:
    ...         pass  # the training step
    >>> print(loop)  # doctest: +SKIP
    16.2 batches a second, 24 with free data: the loop loses 33 % of its time to data (62 ms a batch instead of 42 ms)

    See also: `Infinite.stats`, which says what the loop waits for.
    """
    if not is_iterable(batches) or is_async(batches):
        raise TypeError(f'headspace: `batches` must be iterable, got {type(batches).__name__}')
    integer('headspace', 'count', count, least=1)
    integer('headspace', 'warm_up', warm_up, least=0)
    return Headspace(batches, count, warm_up)


class Headspace(Generic[B]):
    """The batches of a loop that is measured, and what was found: see `headspace`.

    `seconds` is the time of a batch, `free_seconds` that with free data, and `lost` the share of the time that the loop
    loses to data: 0.25 says that free data would save a quarter. They are None before the end of the loop.
    """

    def __init__(self, batches: Iterable[B], count: int, warm_up: int):
        self._batches, self._count, self._warm_up = batches, count, warm_up
        self.seconds: float | None = None
        self.free_seconds: float | None = None

    def __len__(self) -> int:
        return 2 * (self._count + self._warm_up)

    def __iter__(self) -> Iterator[B]:
        self.seconds = self.free_seconds = None
        endless = _again_and_again(self._batches)
        try:
            batch: Any = None
            begun = perf_counter()
            for n in range(self._warm_up + self._count):
                if n == self._warm_up:
                    begun = perf_counter()
                batch = next(endless)
                yield batch
            took = (perf_counter() - begun) / self._count
        finally:
            endless.close()
        for n in range(self._warm_up + self._count):
            if n == self._warm_up:
                begun = perf_counter()
            yield batch
        self.seconds, self.free_seconds = took, (perf_counter() - begun) / self._count

    @property
    def lost(self) -> float | None:
        """The share of the time that the loop loses to data; None before its end."""
        if self.seconds is None or self.free_seconds is None:
            return None
        return max(0.0, 1 - self.free_seconds / self.seconds) if self.seconds else 0.0

    def __repr__(self) -> str:
        if self.seconds is None or self.free_seconds is None or self.lost is None:
            return f'headspace of {self._count} batch{"es" * (self._count != 1)}, not measured yet'
        rates = [rate(1 / each) if each else '∞' for each in (self.seconds, self.free_seconds)]
        return (
            f'{rates[0]} batches a second, {rates[1]} with free data: the loop loses {share(self.lost)} of its time to'
            f' data ({seconds(self.seconds)} a batch instead of {seconds(self.free_seconds)})'
        )


def _again_and_again(batches: Iterable[B]) -> Any:
    """The batches, and again from the beginning, or the next epoch."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError('headspace: `batches` is empty, or an iterator that ended before `count` batches had come')
