"""Composition: stages, streams, and `|` between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar, TypeVarTuple, overload

from itpipe._core.checks import integer, not_async, truth
from itpipe._core.instead import check_source, no_attribute
from itpipe._core.rng import check_seed
from itpipe._core.show import format_step, format_steps, same, shortened
from itpipe._core.steps import Function, ItemStep, Joins, State, Stateless, Step, identity

from .functions import item_function
from .iterables import Items, check_index
from .iterators import is_iterable
from .left_out import check_indices, check_left_out
from .lengths import count_items
from .order import fused, is_by_count
from .seeds import Seeds
from .source import Seeded, Source, may_skip

if TYPE_CHECKING:
    import numpy.typing as npt

    from itpipe._views.picture import Picture

    from .failures import OnError, Policy
    from .run import Run
    from .types import AnyFunction, AnyIterable, Array, Each, F, G, HalfKnown, K, N, Named, Pair, R, Unknown, X, Y

__all__ = [
    'Stage', 'Stream', 'as_stage', 'itemwise', 'no_stage', 'not_iterable', 'only_items', 'pipe', 'reading_policy',
    'stream',
]  # fmt: skip

A = TypeVar('A', contravariant=True)
B = TypeVar('B', covariant=True)
C = TypeVar('C', bound=Callable[..., Any])
P = ParamSpec('P')


class Stage(Generic[A, B]):
    """A description of what happens to a stream of items. `apply`, `batch_by`, … make stages, and `|` joins them.

    `iterable | stage` is a `Stream`. `stage | stage` is a longer stage. `stage | function` applies the function to each
    item. A stage is a value: it prints as it was written, and it can be compared and pickled. It never runs by itself.

    Raises TypeError if what stands right of `|` is neither a stage nor a function, or if what stands left of it is not
    iterable.

    >>> from itpipe import apply, batch_by
    >>> pairs = apply(abs) | batch_by(2)
    >>> pairs
    apply(abs) | batch_by(2)
    >>> list([-1, 2, -3] | pairs)
    [[1, 2], [3]]

    See also: `stage`, which makes one of a generator function; `pipe`.
    """

    __slots__ = ('__weakref__', 'steps')
    __array_ufunc__ = None
    __pandas_priority__ = 10_000
    if TYPE_CHECKING:
        __sizeof__: None  # type: ignore[assignment]  # says that it is not an item, see typing.Item

    def __init__(self, steps: tuple[Step | ItemStep | Joins, ...]):
        self.steps = steps

    @overload
    def __or__(self, other: Same) -> Stage[A, B]: ...
    @overload
    def __or__(self, other: Lists) -> Stage[A, list[B]]: ...
    @overload
    def __or__(self: Stage[X, AnyIterable[Y]], other: Parts) -> Stage[X, Y]: ...
    @overload
    def __or__(self, other: ByItem[B, Y]) -> Stage[A, Y]: ...
    @overload
    def __or__(self, other: Stage[B, Y]) -> Stage[A, Y]: ...
    @overload
    def __or__(self, other: Each[B, R]) -> Stage[A, R]: ...
    def __or__(self, other: Any) -> Any:
        return Stage(self.steps + as_stage(other).steps)

    def __ror__(self, iterable: AnyIterable[A]) -> Stream[B]:
        return _followed(stream(iterable), self)

    def __call__(self, iterable: AnyIterable[A]) -> Run[B]:
        """An iterator over the results for this iterable.

        >>> from itpipe import batch_by
        >>> list(batch_by(3)(range(4)))
        [[0, 1, 2], [3]]
        """
        return iter(self.__ror__(iterable))

    def item(self, item: A, ordinal: int = 0, seed: int | None = None) -> B:
        """The result of an item-wise stage for a single item.

        If the stage is random, the result is the one for the item with this `ordinal` in a stream with this `seed`, if
        nothing before the stage is random.

        Raises TypeError if the stage is not item-wise.

        >>> from itpipe import map_at
        >>> (map_at(0, abs) | map_at(1, str)).item((-1, 2))
        (1, '2')

        See also: `Stream.item`.
        """
        steps = only_items('Stage.item', self)
        key = integer('Stage.item', 'ordinal', ordinal, least=0)
        return item_function(steps, Seeds(check_seed('Stage.item', seed)))(key, item)  # type: ignore[no-any-return]

    def draw(self) -> Picture:
        """A picture of the stage. What can be told only with a source is left open, such as where items are looked up.

        >>> from itpipe import apply, batch_by
        >>> print((apply(abs) | batch_by(2)).draw())
        flowchart TD
            n1["items of any source"]
            n2["apply(abs)"]
            n1 --> n2
            n3["batch_by(2)"]
            n2 --> n3

        See also: `Stream.draw`.
        """
        from .drawing import draw_stage

        return draw_stage(self.steps, shortened(self))

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    if not TYPE_CHECKING:
        __getattr__ = no_attribute

        def __iter__(self) -> NoReturn:
            raise TypeError(
                'a Stage is not iterable, it needs a source: write `source | stage`'
                ' (and `stream(d.items()) | stage` for the views of a dict)'
            )

    def __repr__(self) -> str:
        return ' | '.join(format_steps(self.steps))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stage) and same(self.steps, other.steps)

    def __hash__(self) -> int:
        return hash(tuple(step.name for step in self.steps))


class Stream(Generic[B]):
    """A source and the stages for its items. Nothing runs until it is iterated.

    Every `iter(stream)` is a fresh run, with the same values if the stream has a seed. A one-shot iterator, such as a
    generator, allows one run; a second one raises `NotRestartable`. An iterator that begins anew when `iter` is called
    on it allows several.

    >>> from itpipe import apply
    >>> squares = range(4) | apply(pow, 2)
    >>> squares
    range(0, 4) | apply(pow, 2)
    >>> list(squares), list(squares)
    ([0, 1, 4, 9], [0, 1, 4, 9])

    See also: `stream`, which makes one of an iterable; `Infinite`, which runs one in the background.
    """

    __slots__ = ('__weakref__', 'source', 'steps')

    def __init__(self, source: Source, steps: tuple[Step | ItemStep, ...] = ()):
        self.source = source
        self.steps = steps
        check_left_out(source, steps)
        check_indices(source, steps)

    @overload
    def __or__(self, other: ByItem[B, Y]) -> Stream[Y]: ...
    @overload
    def __or__(self, other: Each[B, R]) -> Stream[R]: ...  # and stages: by their `__ror__`
    def __or__(self, other: Any) -> Any:
        return _followed(self, as_stage(other))

    def __iter__(self) -> Run[B]:
        return _run(self, Seeds(fallback=self.source.seed))

    def __len__(self) -> int:
        """How many items come out, where that is known before: of data with a `len()`, through stages that keep or
        divide the number of items, and `take`, `skip`, `shard` and `reuse`.

        Raises TypeError, with the reason, where it is not known.

        >>> from itpipe import batch_by, shuffle
        >>> len(range(100) | shuffle(9) | batch_by(8))
        13
        """
        return count_items('Stream', self.source, self.steps)

    def __bool__(self) -> bool:
        return True  # also where there is no len()

    def resume(self, state: dict[str, Any], strict: bool = True, *, append: bool = False) -> Run[B]:
        """A run that goes on, bit for bit, from the place at which a run returned `state` from `state_dict()`.

        The state may come from an `Infinite` over this stream; then the run is the rest of the pass. The stream may run
        in another way: with or without `parallel_map`, with other workers, with or without `prefetch`. Items that were
        delivered are not made again. `Infinite.load_state_dict` says which items are, and what `strict` and `append`
        do.

        Raises TypeError if `state` is not a dict. Raises ValueError if it is not a complete state, or is that of a
        newer version of itpipe, of another pipeline or of other data.

        >>> from itpipe import batch_by
        >>> pairs = range(6) | batch_by(2)
        >>> run = iter(pairs)
        >>> next(run)
        [0, 1]
        >>> list(pairs.resume(run.state_dict()))
        [[2, 3], [4, 5]]

        See also: `Infinite`.
        """
        from .checkpoint import StateCodec

        where, codec = 'Stream.resume', StateCodec(self.source, self.steps)
        truth(where, 'strict', strict)
        if truth(where, 'append', append):
            position, codec = codec.read_appended(where, state, strict)
        else:
            position = codec.read(where, state, strict)
        seeds = Seeds(pass_=position.pass_, fallback=self.source.seed, entropy=position.entropy)
        return _run(Stream(codec.source, self.steps), seeds, position.in_pass)

    def at(self, number: int) -> Run[B]:
        """A run that begins with what comes out at this index: 0 is the first, and nothing before it is made.

        This takes no time if the items can be looked up. It is for streams whose stages keep or count items: item-wise
        ones, `batch_by(int)`, `prefetch`, and `parallel_map` with an order and without `on_error`. The data may be
        anything with an index, `sample`, `load_by_random_id` or `shuffle()`.

        Raises TypeError if `number` is not an int. Raises ValueError if it is negative, or if a stage or the source
        does not say which items come out there; `resume` goes on there from a state.

        >>> from itpipe import batch_by, sample, shuffle, stream
        >>> batches = stream(range(10**9), seed=0) | shuffle() | batch_by(4)
        >>> run = batches.at(200_000_000)
        >>> next(run) == [batches.item(800_000_000 + n) for n in range(4)]
        True

        See also: `Infinite.load_state_dict`, which takes the state of the run.
        """
        place = integer('Stream.at', 'number', number, least=0)
        if may_skip(self.source):
            raise ValueError(f'Stream.at: `{self.source!r}` may leave items out, and does not say which come out where')
        for step in reversed(fused(self.steps)):
            if is_by_count(step):
                place *= step.options[0]
            elif not (step.itemwise and isinstance(step, Stateless)):
                raise ValueError(f'Stream.at: `{format_step(step)}` does not say which items come out where')
        try:
            self.source.check_entry(place)
        except ValueError:
            raise ValueError(f'Stream.at: `{self.source!r}` does not give its items by number') from None
        state = {'source': place, 'steps': {}}
        return _run(self, Seeds(fallback=self.source.seed), state)

    def item(self, key: Any) -> Any:
        """One item, made again separately, with its randomness, as it was just before it was put into a batch.

        `key` is the item's ordinal, which is its place in the source, or one of `item_keys` of a run or an `Infinite`.
        Such a key also tells the parts of one item after `flatten` apart. After such a stage, an ordinal stands for the
        item before it. The item is that of a fresh run; `Infinite.item` makes it as in its present pass. A stream
        without a seed draws new random numbers.

        Raises ValueError if `key` is not the key of an item, LookupError if there is no such item or it is left out.

        >>> from itpipe import batch_by, sample, with_rng
        >>> noisy = sample(range(100), seed=0) | with_rng(lambda x, rng: x + rng.random()) | batch_by(2)
        >>> next(iter(noisy))[1] == noisy.item(1)
        True

        See also: `Infinite.item`, `Stage.item`.
        """
        from .chain import item_again

        return item_again('Stream.item', self.source, self.steps, Seeds(fallback=self.source.seed), key)

    def draw(self) -> Picture:
        """A picture of the stream as it will run: in which order, and what in which thread, or in which workers.

        Notebooks show it, and also the stream itself in this way. `picture.save('pipeline.svg')` writes a file,
        `picture.svg` and `picture.mermaid` are texts. Nothing runs for it, and no item is looked up.

        >>> from itpipe import parallel_map
        >>> print((range(4) | parallel_map(pow, 2, threads=2)).draw())
        flowchart TD
            subgraph n1["the loop's thread"]
                direction TB
                n2(["range(0, 4)<br/>4 items"])
                subgraph n3["2 threads, parallel_map"]
                    direction TB
                    n4["apply(pow, 2)"]
                end
                n2 --> n3
                n5(["for item in stream:"])
                n3 -->|"as many in flight as needed"| n5
            end

        See also: `Infinite.draw`, with the background thread; `Stage.draw`.
        """
        from .drawing import draw_stream

        return draw_stream(self.source, self.steps, shortened(self))

    def _repr_html_(self) -> str:
        return self.draw()._repr_html_()

    if not TYPE_CHECKING:
        __getattr__ = no_attribute

    def __repr__(self) -> str:
        return ' | '.join([repr(self.source), *format_steps(self.steps)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.source == other.source and same(self.steps, other.steps)

    def __hash__(self) -> int:
        return hash(tuple(step.name for step in self.steps))


def _run(stream: Stream[B], seeds: Seeds, state: State | None = None) -> Run[B]:
    """A run of the stream. What it takes is imported now: who only describes a stream need not wait for it."""
    from .chain import Chain
    from .run import Run

    return Run(Chain(stream.source, stream.steps, seeds, state=state))


def _followed(left: Stream[Any], stage: Stage[Any, Any]) -> Stream[Any]:
    """The stream with the steps of the stage behind it. A `Joins` step makes a new source of what is in front of it."""
    source, steps = left.source, left.steps
    for step in stage.steps:
        if isinstance(step, Joins):
            source, steps = step.make(Stream(source, steps), step), ()
        else:
            steps = (*steps, step)
    return Stream(source, steps)


def stream(
    iterable: AnyIterable[X],
    *,
    seed: int | None = None,
    reread: bool = False,
    on_error: OnError = 'raise',
    max_errors: float | None = None,
) -> Stream[X]:
    """A stream of the items of any iterable.

    `iterable | stage` does this by itself. Call `stream` to give a seed, or for iterables that cannot stand to the left
    of `|`, such as the views of a dict. The seed is that of every later random stage that has no seed of its own.

    An iterable with a length and access by index, but without an `__iter__` of its own, is read by index up to its
    length. If reading an item raises, that is an error, even an IndexError. One that also has an `__iter__` must give
    the same items by both. If only `shuffle`, `take`, `skip`, `shard` and item-wise stages stand between it and a
    `parallel_map`, the workers look the items up. Behind a `shuffle`, only the items that come out are looked up. If a
    `batch_by` with a number follows, the items of a batch are looked up together, by `__getitems__` if there is one.

    What only `async for` takes, such as an async generator, is read by an event loop in a thread of its own. Each item
    is asked for when it is needed. At the end, or if the run is closed before it, `aclose()` is awaited, and the tasks
    that are left are cancelled.

    `reread` is about a run that goes on (`Stream.resume`, `Infinite.load_state_dict`). With `reread=True` the iterable
    is read again from its beginning up to the place. Without it, an iterable with `state_dict` and `load_state_dict`
    goes to the place by itself; this is exact if its own states are. An iterable with access by index is asked only for
    the rest of its items.

    `on_error` is for an iterable with a length and access by index: what to do if looking an item up raises. `'raise'`
    ends the run, and `'skip'` leaves the item out. A function `(error, index, ordinal)` returns one of the two, or the
    item to take instead. All other items keep their ordinals, and so their random numbers. `dropped` of the run lists
    what was left out. `max_errors` is how many errors are allowed: a count, or a share of the items so far (at first,
    of a hundred). If there is one more, the run ends with that error.

    Items are left out in front of the first stage that needs them, such as `filter_by` or `batch_by`. Up to there, they
    hold their places for `shuffle`, `take`, `skip`, `shard`, `mix`, `concat`, `zip_with` and `cycle`, also with
    item-wise stages between. So `take(10)` gives fewer items if some of the first ten are broken, while batches are
    full. If an element of a tuple of `zip_with` is left out, so is the tuple. All this is the same with workers: those
    of these stages that stand behind a `parallel_map` are refused, and so are batches that its workers would look up.

    Raises TypeError if `iterable` is not iterable, is a DataFrame of pandas or a `DatasetDict` of Hugging Face, if the
    seed is not an int, and for `reread` of a stream. Raises ValueError for a negative seed. Raises TypeError or
    ValueError for a wrong `on_error` or `max_errors`, and for one that cannot be, as of a generator, which has ended
    when it has raised.

    >>> from itpipe import apply
    >>> list(stream({'a': 1}.items()) | apply(len))
    [2]
    >>> async def numbers(n):
    ...     for number in range(n):
    ...         yield number
    >>> list(numbers(3) | apply(str))
    ['0', '1', '2']
    >>> class Numbers:
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return 6 // (index - 1)
    >>> run = iter(stream(Numbers(), on_error='skip'))
    >>> list(run), [(each.ordinal, each.error) for each in run.dropped]
    ([-6, 6, 3], [(1, ZeroDivisionError('integer division or modulo by zero'))])

    See also: `sample`; `parallel_map`, about datasets in workers and coroutine functions.
    """
    truth('stream', 'reread', reread)
    policy = reading_policy('stream', on_error, max_errors)
    if isinstance(iterable, Stream):
        if policy is not None:
            raise TypeError(
                'stream: `on_error` is for what a stream begins with, got a Stream: give it to `stream` there'
            )
        if reread:
            raise TypeError(
                'stream: `reread` is for what a stream begins with, got a Stream: give it to `stream` there'
            )
        return iterable if seed is None else Stream(Seeded(iterable.source, check_seed('stream', seed)), iterable.steps)
    if isinstance(iterable, Stage) or not is_iterable(iterable):
        got = not_iterable(iterable)
        if got == 'function':
            got += '; a stage that begins with a function is written `apply(f) | …`, or `combine() | …`'
        raise TypeError(f'stream: what stands left of `|` must be iterable, got {got}')
    check_source('stream: what stands left of `|`', iterable)
    items = Items(iterable, check_seed('stream', seed), reread, policy)
    if policy is not None:
        check_index(items)
    return Stream(items)


def pipe(source: AnyIterable[Any], *stages: Any) -> Stream[Any]:
    """The stream `source | stages[0] | stages[1] | …`.

    Raises TypeError for a source that is not iterable, and for stages that are neither a stage nor a function.

    >>> from itpipe import batch_by
    >>> list(pipe(range(3), str, batch_by(2)))
    [['0', '1'], ['2']]

    See also: `stream`.
    """
    result = stream(source)
    for n, stage in enumerate(stages):
        result = result | as_stage(stage, f'pipe: `stages[{n}]`')
    return result


# ---------------------------------------------------------------------------------------------------------------------
# For the modules that define stages


def not_iterable(value: Any) -> str:
    """What such a value is, for an error message, and what to write instead if one can guess what was meant."""
    if isgeneratorfunction(value):
        return 'a generator function; call it, or, for several epochs, write a class with an `__iter__` that yields'
    if isasyncgenfunction(value):
        return (
            'an async generator function; call it, or, for several epochs, write a class with an `async def __aiter__`'
            ' that yields'
        )
    return 'a Stage' if isinstance(value, Stage) else type(value).__name__


def reading_policy(where: str, on_error: Any, max_errors: Any) -> Policy | None:
    """The policy of a source, or of a stage that reads; None if every error ends the run."""
    if isinstance(on_error, str) and on_error == 'raise' and max_errors is None:
        return None
    from .failures import policy_of  # which few streams need

    return policy_of(where, on_error, max_errors)


def no_stage(reason: str) -> Callable[[C], C]:
    """Marks a function or class that does not work on one item, so that `stream | function` can say why."""

    def mark(function: C) -> C:
        function.no_stage = reason  # type: ignore[attr-defined]
        return function

    return mark


no_stage('a stream stands left of it')(stream)
no_stage('a stream stands left of it')(pipe)


def as_stage(other: Any, where: str = 'what stands right of `|`') -> Stage[Any, Any]:
    """What stands right of `|`, or is used like that, as a stage. A plain function is applied to each item."""
    if isinstance(other, Stage):
        return other
    if getattr(other, 'is_factory', False):
        return _called(other)
    if reason := getattr(other, 'no_stage', ''):
        raise TypeError(f'`{other.__name__}` cannot stand right of `|`: {reason}')
    if isinstance(other, Stream) or not callable(other):
        streams = 'a Stream: `concat`, `zip_with` and `mix` put streams together'
        got = streams if isinstance(other, Stream) else type(other).__name__
        if hasattr(type(other), '__getitem__') and not isinstance(other, (list, tuple, str, bytes, dict, Stream)):
            got += ': to look items up in it, write `dataset.__getitem__`'
        raise TypeError(f'{where} must be a stage or a function of one item, got {got}')
    not_async(where, other, generators=True)
    return itemwise('apply', other, args=(other,))


def _called(made: Any) -> Stage[Any, Any]:
    try:
        return made()  # type: ignore[no-any-return]
    except (TypeError, ValueError):  # it needs arguments, as most do
        name = made.__name__
        raise TypeError(f'`{name}` makes a stage when it is called: did you mean `{name}(…)`?') from None


def itemwise(name: str, call: Callable[[Any], Any], args: tuple[Any, ...] = (), kwargs: Any = None) -> Stage[Any, Any]:
    """The stage that calls a function with each item and prints as `name(*args, **kwargs)`."""
    return Stage((ItemStep(name, identity, (Function(call),), args, kwargs or {}),))


def only_items(where: str, given: Stage[Any, Any], name: str = 'stage') -> tuple[ItemStep, ...]:
    """The steps of a stage; raises TypeError if one of them is not item-wise."""
    for step in given.steps:
        if not isinstance(step, ItemStep):
            raise TypeError(f'{where}: `{name}` must be item-wise, but `{format_step(step)}` is not')
    return given.steps  # type: ignore[return-value]


if TYPE_CHECKING:
    Others = TypeVarTuple('Others')
    S = TypeVar('S', bound=Stage[Any, Any])

    class Same(Stage[Any, Any]):
        """T → T."""

        @overload  # type: ignore[override]
        def __or__(self, other: S) -> S: ...
        @overload
        def __or__(self, other: AnyFunction[R]) -> Stage[Any, R]: ...
        def __or__(self, other: Any) -> Any: ...
        def __ror__(self, iterable: AnyIterable[X]) -> Stream[X]: ...
        def __call__(self, iterable: AnyIterable[X]) -> Run[X]: ...

    class Perhaps(Stage[Any, Any], Generic[B]):
        """T → T | B."""

        def __ror__(self, iterable: AnyIterable[X]) -> Stream[X | B]: ...

    class Lists(Stage[Any, list[Any]]):
        """T → list[T]."""

        @overload  # type: ignore[override]
        def __or__(self, other: Same) -> Lists: ...
        @overload
        def __or__(self, other: Parts) -> Same: ...
        @overload
        def __or__(self, other: Stage[list[X], Y]) -> Stage[X, Y]: ...
        @overload
        def __or__(self, other: Each[list[Any], R]) -> Stage[Any, R]: ...
        def __or__(self, other: Any) -> Any: ...
        def __ror__(self, iterable: AnyIterable[X]) -> Stream[list[X]]: ...
        def __call__(self, iterable: AnyIterable[X]) -> Run[list[X]]: ...

    class Parts(Stage['AnyIterable[Any]', Any]):
        """AnyIterable[T] → T."""

        def __ror__(self, iterable: AnyIterable[AnyIterable[X]]) -> Stream[X]: ...
        @overload
        def __call__(self, *, on_error: OnError = 'raise', max_errors: float | None = None) -> Parts: ...
        @overload
        def __call__(
            self, iterable: AnyIterable[AnyIterable[X]], *, on_error: OnError = 'raise', max_errors: float | None = None
        ) -> Run[X]: ...
        def __call__(self, iterable: Any = (), **options: Any) -> Any: ...

    class ByItem(Protocol[A, B]):
        """A stage that gives for each item of type A one of type B: `Changed`, `Combined`."""

        def _by_item(self, item: A, /) -> B: ...

    class Beside(Stage[Any, Any], Generic[*Others]):
        """T → tuple[T, *Others]."""

        def __ror__(self, iterable: AnyIterable[X]) -> Stream[tuple[X, *Others]]: ...
        def _by_item(self, item: X, /) -> tuple[X, *Others]: ...

    class Changed(Stage[Any, Any]):
        """Tuples, lists, dicts and dataclasses with other elements."""

        @overload
        def __ror__(self, iterable: AnyIterable[Unknown]) -> Stream[Any]: ...
        @overload
        def __ror__(self, iterable: AnyIterable[N]) -> Stream[N]: ...
        @overload
        def __ror__(self, iterable: AnyIterable[F]) -> Stream[F]: ...
        @overload
        def __ror__(self, iterable: AnyIterable[tuple[Any, ...]]) -> Stream[tuple[Any, ...]]: ...
        @overload
        def __ror__(self, iterable: AnyIterable[list[Any]]) -> Stream[list[Any]]: ...
        @overload
        def __ror__(self, iterable: AnyIterable[Mapping[K, Any]]) -> Stream[dict[K, Any]]: ...
        def __ror__(self, iterable: Any) -> Any: ...
        @overload
        def _by_item(self, item: Unknown, /) -> Any: ...
        @overload
        def _by_item(self, item: N, /) -> N: ...
        @overload
        def _by_item(self, item: F, /) -> F: ...
        @overload
        def _by_item(self, item: tuple[Any, ...], /) -> tuple[Any, ...]: ...
        @overload
        def _by_item(self, item: list[Any], /) -> list[Any]: ...
        @overload
        def _by_item(self, item: Mapping[K, Any], /) -> dict[K, Any]: ...
        def _by_item(self, item: Any, /) -> Any: ...

    class Combined(Stage['Iterable[Any]', Any]):
        """What `combine` and `combine_pad` make of lists of items."""

        @overload
        def _by_item(self, item: Iterable[Unknown | Named], /) -> Any: ...
        @overload
        def _by_item(self, item: Iterable[HalfKnown], /) -> tuple[Any, Any]: ...
        @overload
        def _by_item(self, item: Iterable[Pair], /) -> tuple[Array, Array]: ...
        @overload
        def _by_item(self, item: Iterable[tuple[Any, ...]], /) -> tuple[Any, ...]: ...
        @overload
        def _by_item(self, item: Iterable[Mapping[K, Any]], /) -> dict[K, Any]: ...
        @overload
        def _by_item(self, item: Iterable[npt.NDArray[G]], /) -> npt.NDArray[G]: ...
        @overload
        def _by_item(self, item: Iterable[Any], /) -> Any: ...
        def _by_item(self, item: Any, /) -> Any: ...
