"""What a step of a stage is: a description, made of functions and their arguments, that never runs.

A stage is a tuple of these. They print as they were written, compare and pickle; `binding` and `run` make them live.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from .keys import Key

__all__ = [
    'STOP', 'Function', 'ItemStep', 'Pair', 'Seed', 'State', 'Step', 'itself', 'literal', 'parent', 'show', 'shown',
    'unchanged', 'unordered',
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
    """Among a step's options: stands for the step's own random draws."""

    seed: int | None = None


class Function(NamedTuple):
    """A function of an item, or the item-wise steps that stand for one, with further arguments."""

    target: Callable[..., Any] | tuple[ItemStep, ...]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012


class ItemStep(NamedTuple):
    """A step that handles each item by itself.

    `make(*functions)` is the function of an item, `functions` being those that the user gave, bound to the run. Where
    `draws` is set, `make` gets the item's random generator first.
    """

    name: str
    make: Callable[..., Callable[..., Any]]
    functions: tuple[Function, ...] = ()
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012
    draws: bool = False


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


def same(a: object, b: object) -> bool:
    """Whether two arguments are the same, which for arrays is not what `==` says."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, partial) and isinstance(b, partial):
        return same((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    if any(getattr(a, trait, None) != getattr(b, trait, None) for trait in ('shape', 'dtype')):
        return False
    try:
        equal: Any = a == b
        return bool(equal.all() if hasattr(equal, 'all') else equal)
    except Exception:  # then whoever made their type does not want them compared
        return False


def show(step: Step | ItemStep) -> str:
    """The step as it was written."""
    return shown(step.name, step.args, step.kwargs)


def shown(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """A call as it was written."""
    parts = [*map(literal, args), *(f'{key}={literal(value)}' for key, value in kwargs.items())]
    return f'{name}({", ".join(parts)})'


def literal(value: Any) -> str:
    """A value as one would write it, cut where it is long."""
    if isinstance(value, partial):
        return shown('partial', (value.func, *value.args), value.keywords)
    if isinstance(value, (list, tuple, dict, set, frozenset)) and type(value).__module__ == 'builtins':
        return _container(value)
    array_like: Any = hasattr(value, 'shape') and hasattr(value, 'dtype') and getattr(value, 'ndim', 0)
    if array_like and not isinstance(value, type):  # numpy.float32 has all of these, too
        return f'<{type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}>'
    if callable(value) and hasattr(value, '__name__'):
        owner = getattr(value, '__self__', None)
        bound = owner is not None and not isinstance(owner, (type, ModuleType))
        return f'{literal(owner)}.{value.__name__}' if bound else _name(value)
    text = repr(value)
    if text.startswith('<') and ' at 0x' in text:
        return f'<{type(value).__name__}>'
    return text if len(text) <= 200 else f'{text[:120]}…{text[-20:]}'


def _name(function: Any) -> str:
    return str(getattr(function, '__qualname__', function.__name__)).rpartition('<locals>.')[2]


def _container(value: Any) -> str:
    brackets: dict[type, tuple[str, str]] = {list: ('[', ']'), tuple: ('(', ')')}
    opening, closing = brackets.get(type(value), ('{', '}'))
    if isinstance(value, dict):
        parts = [f'{literal(k)}: {literal(v)}' for k, v in list(value.items())[:7]]
    elif isinstance(value, (set, frozenset)):  # whose order differs in the next process
        parts = sorted(map(literal, value), key=lambda text: (len(text), text))[:7]
    else:
        parts = [literal(v) for v, _ in zip(value, range(7), strict=False)]
    if len(value) > 7:
        parts[6:] = ['…']
    if isinstance(value, (set, frozenset)) and (not value or isinstance(value, frozenset)):
        return f'{type(value).__name__}({"{" + ", ".join(parts) + "}" if value else ""})'
    return opening + ', '.join(parts) + (',)' if isinstance(value, tuple) and len(value) == 1 else closing)
