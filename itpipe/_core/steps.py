"""What a step of a stage is: a description, made of functions and their arguments, that never runs.

A stage is a tuple of these. They print as they were written, compare and pickle; `binding` and `run` make them live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from .keys import Key

__all__ = [
    'EVEN',
    'STOP',
    'Even',
    'Function',
    'ItemStep',
    'Joins',
    'Pair',
    'Seed',
    'State',
    'Step',
    'draws',
    'itself',
    'parent',
    'unchanged',
    'unordered',
]  # fmt: skip

Pair: TypeAlias = 'tuple[Key, Any]'
State: TypeAlias = 'dict[str, Any]'


class _Stop:
    def __repr__(self) -> str:
        return 'STOP'

    def __reduce__(self) -> str:
        return 'STOP'


STOP: Final = _Stop()
"""Among a step's options: stands for what breaks the waits of the run, see `binding.Stop`."""


def itself(key: Key) -> tuple[Key, ...]:
    """The origin of a key that a step leaves as it is."""
    return (key,)


def unchanged(f: Callable[..., Any]) -> Callable[..., Any]:
    """What an item-wise step makes of the user's function if that is already the function of an item."""
    return f


def parent(key: Key) -> tuple[Key, ...]:
    """The origin of a key `(key, n)`."""
    return (key[0],)  # type: ignore[index]


class Seed(NamedTuple):
    """Among a step's options: stands for the step's own random draws, which go by this name."""

    name: str
    seed: int | None = None


class Function(NamedTuple):
    """A function of an item, or the item-wise steps that stand for one, with further arguments."""

    target: Callable[..., Any] | tuple[ItemStep, ...]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012


class ItemStep(NamedTuple):
    """A step that handles each item by itself.

    `make(*functions)` is the function of an item, `functions` being those that the user gave, bound to the run. If
    `draws` is not empty, the step is random: its draws go by this name, and `make` gets the item's generator first.
    """

    name: str
    make: Callable[..., Callable[..., Any]]
    functions: tuple[Function, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012
    draws: str = ''


class Joins(NamedTuple):
    """A step that makes a source of the whole stream before it: `make(stream, step)` is that source.

    There is one in a stage only: where the stage gets its stream, the source takes the place of the step and of all
    that is before it.
    """

    name: str
    make: Callable[[Any, Joins], Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012


class Step(NamedTuple):
    """Any other step: `work(items, *options)` is a generator from pairs to pairs.

    Options that are a `Seed`, a tuple of `ItemStep`s or `STOP` are given to `work` as `Draws`, an `ItemFunction` and
    the run's own `Stop`. What it does with keys decides how a run is resumed:

    - `state`: what a stateful step starts from; then `work(items, state, *options)`, see `run`;
    - `origin`: the keys that had gone into a key that came out, the one consumed last being last;
    - `remake`: how a value is made again from those of its origin: by running the step on them, by passing the one
      on, or as their list;
    - `parts`: many values come out of one, with keys `(key, 0)`, `(key, 1)`, …;
    - `opaque`: nothing is known of the keys, they are places in what comes out, and one starts again at the beginning;
    - `replay`: the replica of a stateful step that keeps its log itself: `work(items, state, log, *options)`;
    - `fits`: whether a saved state with the right names in it can be one of this step;
    - `lasting`: what must be the same where a run goes on, as text, if not all of its arguments.

    And where other steps may stand, see `plan`:

    - `itemwise`: each pair that goes in comes out, with its key, and in order if that matters;
    - `counts`: what comes out depends on how many pairs went in before;
    - `share`: which of how many ranks' items come out.
    """

    name: str
    work: Callable[..., Iterator[Pair]]
    options: tuple[Any, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012
    state: State | None = None
    origin: Callable[[Any], tuple[Key, ...]] = itself
    remake: Literal['run', 'pass', 'list'] = 'run'
    parts: bool = False
    opaque: bool = False
    replay: Callable[..., Iterator[Pair]] | None = None
    fits: Callable[[State], bool] | None = None
    lasting: str | None = None
    itemwise: bool = False
    counts: bool = False
    share: tuple[int, int] | None = None

    @property
    def remembers(self) -> bool:
        """Whether there is more to remember of it than the last key that it gave."""
        return self.state is not None or self.parts or self.opaque

    @property
    def blind(self) -> bool:
        """Whether it chooses and orders pairs whatever their values, so that they may as well get these behind it."""
        return self.state is not None and self.remake == 'pass' and self.origin is itself


def unordered(step: Step | ItemStep) -> bool:
    """Whether what comes out first depends on what is done first."""
    return isinstance(step, Step) and step.replay is not None and not step.blind


Even: TypeAlias = Literal['keep', 'drop', 'repeat']
EVEN: Final = ('keep', 'drop', 'repeat')


def draws(step: Step | ItemStep) -> bool:
    """Whether the step is random and has no seed of its own."""
    if isinstance(step, ItemStep):
        inner = chain.from_iterable(f.target for f in step.functions if isinstance(f.target, tuple))
        return bool(step.draws) or any(map(draws, inner))
    return any(
        option.seed is None if isinstance(option, Seed) else isinstance(option, ItemStep) and draws(option)
        for given in step.options
        for option in ([given] if isinstance(given, Seed) or not isinstance(given, tuple) else given)
    )
