"""Endless random items that answer `next()`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from itpipe._core.checks import integer
from itpipe._core.show import same
from itpipe._engine.stream import Stream
from itpipe.stages import sample as sources

if TYPE_CHECKING:
    from itpipe._engine.run import Run

RandomState: TypeAlias = (
    np.random.RandomState | np.random.BitGenerator | int | Sequence[int] | np.ndarray[Any, Any] | None
)

__all__ = ['load_by_random_id', 'sample']


class Source(Stream[Any]):
    """An endless stream that is its own iterator, too: `next(source)`.

    Only `next` and `for` share a place in it. A stream or an `Infinite` made of it has a run of its own, from the
    beginning.
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

    The items are looked up by their places 0, 1, …: also in a pandas Series, whatever its index, and in a dict that has
    these for its keys. `weights` are probabilities up to a common factor, one per item.

    `random_state` makes the items reproducible, and what is random behind them: an int, or what a
    `numpy.random.RandomState` can be made of, such as a list of ints. A `RandomState` is asked once, for a seed.

    Raises TypeError or ValueError for wrong arguments, as `itpipe.sample` does; ValueError for a dict with other keys.

    >>> source = sample(['a', 'b'], weights=[0, 1])
    >>> next(source), next(source)
    ('b', 'b')
    >>> next(sample({0: 'a', 1: 'b'}, weights=[1, 0], random_state=[1, 2, 3]))
    'a'

    See also: `itpipe.sample`, which has permutations, too.
    """
    sequence = _by_place('sample', 'sequence', sequence)
    return _source(sources.sample(sequence, weights, seed=_seed('sample', random_state)))


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
    ids = _by_place('load_by_random_id', 'ids', ids)
    return _source(sources.load_by_random_id(*loaders, ids=ids, weights=weights, seed=seed))


def _source(made: Stream[Any]) -> Source:
    return Source(made.source, made.steps)


def _seed(where: str, random_state: Any) -> int | None:
    if random_state is None:
        return None
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(1 << 63, dtype=np.uint64))
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        return integer(where, 'random_state', random_state, least=0)
    try:
        made = None if isinstance(random_state, (bool, np.bool_)) else np.random.RandomState(random_state)
    except TypeError:
        made = None
    except ValueError:
        rule = 'an int, or ints from 0 to 2**32 - 1'
        raise ValueError(f'{where}: `random_state` must be {rule}, got {random_state!r}') from None
    if made is None:
        got = type(random_state).__name__
        raise TypeError(f'{where}: `random_state` must be an int, a RandomState or None, got {got}')
    return _seed(where, made)


class _Numbered:
    """The values of a mapping with the keys 0, 1, …"""

    def __init__(self, mapping: Mapping[Any, Any]):
        self.mapping = mapping

    def __len__(self) -> int:
        return len(self.mapping)

    def __getitem__(self, place: int) -> Any:
        return self.mapping[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Numbered) and same(self.mapping, other.mapping)

    def __repr__(self) -> str:
        return repr(self.mapping)

    __hash__ = None  # type: ignore[assignment]


def _by_place(where: str, name: str, value: Any) -> Any:
    """The value as something to index by place."""
    if isinstance(value, Mapping):
        missing = next((place for place in range(len(value)) if place not in value), None)
        if missing is not None:
            message = (
                f'{where}: `{name}` must have the keys 0, 1, …, as a dict is looked up by place, got none {missing}'
            )
            raise ValueError(f'{message}; give list(d) for its keys or list(d.values()) for its values')
        return _Numbered(value)
    # a pandas Series is looked up by its labels, its `array` by place; a data frame can have a column of that name
    return value.array if hasattr(value, 'iloc') and value.ndim == 1 else value
