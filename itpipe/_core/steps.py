"""What a step of a stage is: a description, made of functions and their arguments, that never runs.

A stage is a tuple of steps. They print like the call that made them, compare and pickle; `_engine` makes them run.

An item-wise step is an `ItemStep`. Every other step is of one of four kinds, which differ in what has to be remembered
to go on behind an item: `Stateless`, `Expanding`, `Stateful`, `Opaque`. The kind of a step is declared. What a kind
cannot do is refused when the step is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeAlias

from .keys import Batch, Key, is_count, is_pair

__all__ = [
    'AS_WRITTEN',
    'HIDDEN',
    'METER',
    'MISSING',
    'PASS',
    'STOP',
    'AsRun',
    'EachStep',
    'Elsewhere',
    'Expanding',
    'Function',
    'Grouping',
    'Handover',
    'Hidden',
    'ItemStep',
    'Joins',
    'Opaque',
    'Pair',
    'Seed',
    'State',
    'Stateful',
    'Stateless',
    'Step',
    'UserStateful',
    'draws',
    'identity',
    'in_order',
    'is_json',
]  # fmt: skip

Pair: TypeAlias = 'tuple[Key, Any]'
State: TypeAlias = 'dict[str, Any]'


class _Stop:
    def __repr__(self) -> str:
        return 'STOP'

    def __reduce__(self) -> str:
        return 'STOP'


STOP: Final = _Stop()
"""Among a step's options: stands for what ends the waits of the run, see `waiting.Stop`."""


class _Meter:
    def __repr__(self) -> str:
        return 'METER'

    def __reduce__(self) -> str:
        return 'METER'


METER: Final = _Meter()
"""Among a step's options: stands for its meter, see `meters.Meter`. Its work then counts what comes in by itself."""


class _Pass:
    def __reduce__(self) -> str:
        return 'PASS'


PASS: Final = _Pass()
"""Among a step's options: stands for the number of the pass over the source."""


class _AsWritten:
    def __reduce__(self) -> str:
        return 'AS_WRITTEN'


AS_WRITTEN: Final = _AsWritten()
"""Among a step's options: stands for what the step looks like, for notes on errors."""


class Hidden:
    """A value that nobody may look at, of the item with this key, if that is known."""

    def __init__(self, key: Key | None = None):
        self.key = key

    def _refuse(self, *_: Any) -> Any:
        raise TypeError('a stateful step looks at a value, but what it does may depend on keys and its state only')

    __bool__ = __eq__ = __ne__ = __hash__ = __len__ = __iter__ = __getitem__ = __call__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):  # what Python and its tools ask of any object
            raise AttributeError(name)
        return self._refuse()

    def __repr__(self) -> str:
        return 'HIDDEN'


HIDDEN: Final = Hidden()
"""In the place of the values where the state of a stateful step is worked out again from keys alone."""
MISSING: Final = object()
"""In the place of a value in a slot: it could not be made again."""


def identity(f: Callable[..., Any]) -> Callable[..., Any]:
    """What an item-wise step makes of the user's function if that is already the function of an item."""
    return f


def is_json(value: Any) -> bool:
    """Whether JSON can hold the value, and gives it back as it was."""
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, dict):
        return all(type(name) is str and is_json(part) for name, part in value.items())
    return value is None or type(value) in (bool, int, str) or (type(value) is float and value - value == 0)


def in_order(value: Any) -> Any:
    """A copy of what JSON can hold, the entries of dicts in the order of their names."""
    if isinstance(value, dict):
        return {name: in_order(part) for name, part in sorted(value.items())}
    return list(map(in_order, value)) if isinstance(value, list) else value


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
    stays: bool = False
    """Whether it takes no time, but in each worker process the import of a large library."""


class EachStep(NamedTuple):
    """Item-wise steps for each item of a list, among the options of a step with `in_workers`."""

    steps: tuple[ItemStep, ...]
    name: str
    """What they look like."""


class Joins(NamedTuple):
    """A step that makes a new source of the whole stream in front of it: `make(stream, step)`.

    Only stages have such steps. When a stage gets its stream, the new source replaces the step and everything in front.
    """

    name: str
    make: Callable[[Any, Joins], Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012


class Elsewhere(NamedTuple):
    """Where a step has work done, if not in the thread of the run: for pictures of it."""

    kind: Literal['thread', 'threads', 'processes', 'tasks', 'executor', 'workers']
    """A thread that does everything before the step, or workers …"""
    given: Any = None
    """… with how many, or the executor, or `'auto'`."""
    limit: int | None = None
    """How many items may be on their way; `Bytes` for a limit in memory."""
    steps: tuple[Step | ItemStep, ...] = ()
    """What workers do, as it was written."""


class Handover(NamedTuple):
    """How an `Infinite` runs its last step, if that hands values over from one thread to another.

    Its background thread does `work(items, *options)`, and keeps at most `ahead` values ready. The thread that iterates
    calls `receive` with each of them.
    """

    work: Callable[..., Iterator[Pair]]
    options: tuple[Any, ...]
    receive: Callable[[Any], Any]
    ahead: int


class AsRun(NamedTuple):
    """How an `Infinite` runs its steps."""

    steps: Sequence[Step | ItemStep]
    prefetch: int | None
    """How many batches its background thread keeps ready; `Bytes` for a limit in memory."""
    receive: Callable[[Any], Any] | None = None
    """What the thread that iterates makes of each batch."""


@dataclass(frozen=True, eq=False, repr=False)
class Step:
    """What the four kinds have in common.

    `work(items, *options)` is a generator from pairs to pairs. Some options are replaced when a run begins: a `Seed` by
    `Draws`, a tuple of `ItemStep`s by an `ItemFunction`, `STOP` by the run's own `Stop`, `METER` by the step's own
    `Meter`, `PASS` by the number of the pass, and `AS_WRITTEN` by the text that the step prints. This text is
    `name(*args, **kwargs)`; `factory` fills these in, also for an `ItemStep` of the same name. `fingerprint` is what
    must be the same where a run goes on, by default this text.
    """

    name: str
    work: Callable[..., Iterator[Pair]]
    options: tuple[Any, ...] = ()
    _: KW_ONLY
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None
    in_workers: bool = False
    """Whether `options[0]` are item-wise steps that workers do, who can do those before it, too."""
    hidden: bool = False
    """Whether it is a part of the step behind it, which prints for both."""
    elsewhere: Elsewhere | None = None
    handover: Handover | None = None
    capacity: int | None = None
    """How many items it may hold, if it has a buffer."""
    counts: Callable[[int], int] | None = None
    """How many items come out if so many come in, where it does not keep their number but that is known."""

    remembers: ClassVar[bool] = False
    """Whether the last key that it gave is not all that there is to remember: it has an entry in the position."""

    from_beginning: ClassVar[bool] = False
    """Whether it goes on by starting again, so that steps before it need not know where the consumer stands."""

    numbers: ClassVar[bool] = False
    """Whether it numbers what comes out, so that a key does not say which items that was made of."""

    gives_parts: ClassVar[bool] = False
    """Whether what comes out are parts of what came in, each another item of the data."""

    def origins(self, key: Any) -> tuple[Key, ...]:
        """The keys of the pairs that a pair with this key is made of; the one consumed last is last."""
        return (key,)

    def has_key(self, key: Any, upstream: Callable[[Any], bool]) -> bool:
        """Whether such a key can come out, by its form; `upstream` tells it of the step before."""
        return upstream(key)

    @property
    def counted(self) -> Callable[[int], int] | None:
        """How many items come out if so many come in; None if that is not known before."""
        return self.counts or (int if self.itemwise else None)

    @property
    def same_key(self) -> bool:
        """Whether each item keeps its key."""
        return False

    @property
    def apart(self) -> bool:
        """Whether what comes in is made in a thread of its own."""
        return self.elsewhere is not None and self.elsewhere.kind == 'thread'

    @property
    def itemwise(self) -> bool:
        """Whether each pair that goes in comes out, with its key, and in order if that matters."""
        return False

    @property
    def reorders_only(self) -> bool:
        """Whether it chooses and orders pairs without looking at values, so that it may get these later."""
        return False

    @property
    def positional(self) -> bool:
        """Whether what comes out depends on how many pairs went in before."""
        return False

    @property
    def yields_as_completed(self) -> bool:
        """Whether what comes out first depends on what is done first."""
        return False

    @property
    def share(self) -> tuple[int, int] | None:
        """Which of how many ranks' items come out; None if it does not deal items."""
        return None


@dataclass(frozen=True, eq=False, repr=False)
class Stateless(Step):
    """It remembers nothing: where it stands follows from the last key that it gave.

    `gives` says what comes out: `'results'` of `work` with the keys of the items, or as many of them as it lets pass;
    `'same'`, the pairs that went in; `'lists'` of items, each with a `Batch` of their keys, `by_count` if it does not
    depend on the values which of them make a list. With `reorders_only`, what it leaves out depends on keys alone, or,
    if it is `by_index`, on the indices of items as well: it gets these instead of items.
    """

    _: KW_ONLY
    gives: Literal['results', 'same', 'lists'] = 'results'
    itemwise: bool = False
    by_count: bool = False
    reorders_only: bool = False
    by_index: bool = False

    def __post_init__(self) -> None:
        _check_choice(self, 'gives', ('results', 'same', 'lists'))
        if self.itemwise and not self.same_key:
            _refuse(self, "`itemwise` does not go with `gives='lists'`, as items do not keep their keys")

    @property
    def same_key(self) -> bool:
        return self.gives != 'lists'

    def origins(self, key: Any) -> tuple[Key, ...]:
        return (key,) if self.gives != 'lists' else key

    def has_key(self, key: Any, upstream: Callable[[Any], bool]) -> bool:
        if self.gives != 'lists':
            return upstream(key)
        return isinstance(key, Batch) and all(map(upstream, key))


class Expanding(Step):
    """It makes any number of values of one, with the keys `(key, 0)`, `(key, 1)`, …

    It remembers how many of them it gave. To go on, `work` runs once more on the item that it was at, with `first`, the
    number of the value that it is to begin at.
    """

    remembers: ClassVar[bool] = True
    gives_parts: ClassVar[bool] = True

    def origins(self, key: Any) -> tuple[Key, ...]:
        return (key[0],)

    def has_key(self, key: Any, upstream: Callable[[Any], bool]) -> bool:
        return is_pair(key) and upstream(key[0])


@dataclass(frozen=True, eq=False, repr=False)
class Stateful(Step):
    """It remembers a dict: `work(items, state, *options)` never looks at values, and keeps all it needs in `state`.

    It begins with a copy of `state`. `'slots'`, if there, is a list of the pairs that it holds; everything else is
    JSON. Each field has a role, which decides what becomes of it where ranks are put together or dealt anew:

    - `clock`: a number; of several ranks' the largest goes on;
    - `beside`: a list of numbers, one for each of the slots, which goes where they go;
    - all others are true for one rank only. They cannot be put together, and behind `shard` this is refused.

    `gives` says what comes out: `'same'`, the pairs that went in, or some of them, in any order; `'repeated'`, their
    values with keys `(key, n)`; `'parts'` of the values, with such keys; `'results'`, the keys that went in with values
    of its own making, whichever is done first. Where it cannot be run again on keys alone, it keeps the log itself, and
    `replay(log, position, state)` yields from it what came out: `work(items, state, log, *options)`. Parts are made
    again by `again(values, keys, *options)`, from the values that went in, by their keys. `fits` says whether a saved
    state with the right fields can be one.
    """

    remembers: ClassVar[bool] = True

    _: KW_ONLY
    state: State
    gives: Literal['same', 'repeated', 'parts', 'results']
    clock: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    replay: Callable[..., Iterator[Pair]] | None = None
    again: Callable[..., dict[Key, Any]] | None = None
    fits: Callable[[State], bool] | None = None
    itemwise: bool = False
    positional: bool = False
    share: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        state = self.state
        _check_choice(self, 'gives', ('same', 'repeated', 'parts', 'results'))
        if not isinstance(state, dict) or not state:
            _refuse(self, f'`state` must be a dict with what it remembers, got {state!r}', TypeError)
        for name, value in state.items():
            if not is_json({name: value}):
                _refuse(self, f"`state` must be JSON, got {value!r} for {name!r}; items go into its 'slots'", TypeError)
        for name in ('slots', *self.beside):
            if state.get(name, []) != [] or (name != 'slots' and not ({name, 'slots'} <= state.keys())):
                _refuse(self, f"`state` must begin with [] for {name!r}, beside 'slots', got {state}")
        if not all(is_count(state.get(name)) for name in self.clock):
            _refuse(self, f'`state` must begin with a number for each `clock`, got {state}')
        if 'ended' in state:
            _refuse(self, "`state` must not have 'ended', which says that there are no more items")
        if self.gives in ('parts', 'results') and self.replay is None:
            _refuse(self, f'`gives={self.gives!r}` needs `replay`, as it cannot be run again on keys alone')
        if (self.gives == 'parts') != (self.again is not None):
            _refuse(self, "`gives='parts'` needs `again`, and nothing else does")
        if self.itemwise and self.gives != 'results':
            _refuse(self, "`itemwise` goes with `gives='results'` only")

    @property
    def same_key(self) -> bool:
        return self.gives not in ('repeated', 'parts')

    @property
    def gives_parts(self) -> bool:  # type: ignore[override]
        return self.gives == 'parts'

    @property
    def reorders_only(self) -> bool:
        return self.gives == 'same'

    @property
    def yields_as_completed(self) -> bool:
        return self.gives == 'results'

    @property
    def own(self) -> list[str]:
        """The fields of its state that are true for one rank only."""
        return [name for name in self.state if name not in ('slots', *self.clock, *self.beside)]

    def origins(self, key: Any) -> tuple[Key, ...]:
        return (key,) if self.same_key else (key[0],)

    def has_key(self, key: Any, upstream: Callable[[Any], bool]) -> bool:
        return upstream(key) if self.same_key else is_pair(key) and upstream(key[0])


class Opaque(Step):
    """The engine knows nothing of it: what comes out is numbered, and to go on, it starts from the beginning."""

    remembers: ClassVar[bool] = True
    from_beginning: ClassVar[bool] = True
    numbers: ClassVar[bool] = True

    def origins(self, key: Any) -> tuple[Key, ...]:
        return ()  # which is to say that none is known

    def has_key(self, key: Any, upstream: Callable[[Any], bool]) -> bool:
        return isinstance(key, int) and key >= 0

    @property
    def positional(self) -> bool:
        return True


@dataclass(frozen=True, eq=False, repr=False)
class UserStateful(Opaque):
    """A user's generator with a state: `work(values, state, *options)`, from values to values.

    It begins with a copy of `state`: JSON, and a list `'slots'`, if there, of the values that it holds. Each time that
    it asks for a value, its state is all that it needs to go on from there.
    """

    from_beginning: ClassVar[bool] = False

    _: KW_ONLY
    state: State


@dataclass(frozen=True, eq=False, repr=False)
class Grouping(UserStateful):
    """It puts items together, by their values: `work(pairs, state, *options)`, from pairs to pairs.

    Its state is as that of a user's generator, but `'slots'` has pairs. What comes out has a key that says of which
    items: the `Batch` of their keys, for a list of them; or, with `again`, the pair of that and a number. What has such
    keys is made again by `again(values, keys, *options)`, from the values that went in, by their keys.
    """

    numbers: ClassVar[bool] = False

    _: KW_ONLY
    again: Callable[..., dict[Key, Any]] | None = None

    def origins(self, key: Any) -> tuple[Key, ...]:
        return key if self.again is None else key[0]  # type: ignore[no-any-return]

    def has_key(self, key: Any, upstream: Callable[[Any], bool]) -> bool:
        if self.again is not None:  # read from JSON, the batch within is a tuple
            return is_pair(key) and isinstance(key[0], tuple) and len(key[0]) > 0 and all(map(upstream, key[0]))
        return isinstance(key, Batch) and all(map(upstream, key))


def _check_choice(step: Step, name: str, choices: tuple[str, ...]) -> None:
    if (value := getattr(step, name)) not in choices:
        _refuse(step, f'`{name}` must be one of {", ".join(map(repr, choices))}, got {value!r}')


def _refuse(step: Step, rule: str, error: type[Exception] = ValueError) -> None:
    raise error(f'{step.name}: the step cannot be {type(step).__name__}: {rule}')


def draws(step: Step | ItemStep | EachStep) -> bool:
    """Whether the step is random and has no seed of its own."""
    if isinstance(step, EachStep):
        return any(map(draws, step.steps))
    if isinstance(step, ItemStep):
        inner = chain.from_iterable(f.target for f in step.functions if isinstance(f.target, tuple))
        return bool(step.draws) or any(map(draws, inner))
    return any(
        option.seed is None if isinstance(option, Seed) else isinstance(option, (ItemStep, EachStep)) and draws(option)
        for given in step.options
        for option in ([given] if isinstance(given, Seed) or not isinstance(given, tuple) else given)
    )
