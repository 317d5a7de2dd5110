"""Endless random items that answer `next()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from itpipe._core.checks import integer
from itpipe._engine.stream import Stream
from itpipe.stages import sample as sources

if TYPE_CHECKING:
    from itpipe._engine.run import Run

RandomState: TypeAlias = (
    np.random.RandomState | np.random.BitGenerator | int | Sequence[int] | np.ndarray[Any, Any] | None
)

__all__ = ['load_by_random_id', 'sample']


class Source(Stream[Any]):
    """An endless stream that is also its own iterator: `next(source)`.

    `next` and `for` go on where the other one stopped. A stream or an `Infinite` made of it has a run of its own, from
    the beginning.
    """

    __slots__ = ('_run',)

    def __init__(self, source: Any, steps: Any = ()):
        super().__init__(source, steps)
        self._run: Run[Any] | None = None

    def __iter__(self) -> Source:  # type: ignore[override]
        return self

    def __next__(self) -> Any:
        if self._run is None:
            self._run = super().__iter__()
        return next(self._run)

    def __reduce__(self) -> Any:
        return Source, (self.source, self.steps)


def sample(sequence: Any, weights: Any = None, random_state: RandomState = None) -> Source:
    """Endless random items of a sequence.

    The items are looked up by position: also in a pandas Series, whatever its index, and in a dict, whose keys must be
    0, 1, …. `weights` are probabilities up to a common factor, one per item.

    `random_state` makes the items reproducible, and all random functions behind them: an int, or something else that
    `numpy.random.RandomState` takes, such as a list of ints. From a `RandomState` one number is drawn, as the seed.

    Raises TypeError or ValueError for wrong arguments, as `itpipe.sample` does; ValueError for a dict with other keys.

    >>> source = sample(['a', 'b'], weights=[0, 1])
    >>> next(source), next(source)
    ('b', 'b')
    >>> next(sample({0: 'a', 1: 'b'}, weights=[1, 0], random_state=[1, 2, 3]))
    'a'

    See also: `itpipe.sample`, which has permutations, too.
    """
    sequence = _sequence('sample', 'sequence', sequence)
    stream = sources.sample(sequence, weights, seed=_seed('sample', random_state))
    return Source(stream.source, stream.steps)


def load_by_random_id(
    *loaders: Callable[[Any], Any],
    ids: Any,
    weights: Any = None,
    random_state: RandomState = None,
) -> Source:
    """Endless `(loader_1(id), loader_2(id), …)` for random ids; bare values for one loader.

    `ids`, `weights` and `random_state` are what `sample` takes.

    Raises TypeError or ValueError for wrong arguments, as `itpipe.load_by_random_id` does.

    >>> next(load_by_random_id(str.upper, len, ids=['abc']))
    ('ABC', 3)

    See also: `itpipe.load_by_random_id`.
    """
    seed = _seed('load_by_random_id', random_state)
    ids = _sequence('load_by_random_id', 'ids', ids)
    stream = sources.load_by_random_id(*loaders, ids=ids, weights=weights, seed=seed)
    return Source(stream.source, stream.steps)


def _seed(where: str, random_state: Any) -> int | None:
    if random_state is None:
        return None
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        return integer(where, 'random_state', random_state, least=0)
    try:
        if isinstance(random_state, (bool, np.bool_)):
            raise TypeError
        if not isinstance(random_state, np.random.RandomState):
            random_state = np.random.RandomState(random_state)
    except TypeError:
        got = type(random_state).__name__
        raise TypeError(f'{where}: `random_state` must be an int, a RandomState or None, got {got}') from None
    except ValueError:
        rule = 'an int, or ints from 0 to 2**32 - 1'
        raise ValueError(f'{where}: `random_state` must be {rule}, got {random_state!r}') from None
    return int(random_state.randint(1 << 63, dtype=np.uint64))


def _sequence(where: str, name: str, value: Any) -> Any:
    """The value as something to look up by position."""
    if isinstance(value, Mapping):
        for index in range(len(value)):
            if index not in value:
                raise ValueError(
                    f'{where}: `{name}` is a dict and must have the keys 0, 1, …, but has no {index};'
                    ' give list(d) for its keys or list(d.values()) for its values'
                )
        return [value[index] for index in range(len(value))]
    # a pandas Series looks up by its labels, its `array` by position; a data frame may have a column named `array`
    return value.array if hasattr(value, 'iloc') and value.ndim == 1 else value
