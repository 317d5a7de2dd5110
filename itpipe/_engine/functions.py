"""A description and a seed make functions: what a step calls, with the random generators it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from itpipe._core.notes import note, note_arguments
from itpipe._core.rng import Draws, generator
from itpipe._core.show import format_step
from itpipe._core.steps import AS_WRITTEN, PASS, STOP, EachStep, Function, ItemStep, Seed, Step

if TYPE_CHECKING:
    from itpipe._core.keys import Key

    from .resources import Resource
    from .seeds import Seeds, StepSeed
    from .waiting import Stop

__all__ = ['NOTHING', 'Blames', 'Each', 'ItemFunction', 'Keyed', 'NeedsRng', 'bind_option', 'item_function']


class Keyed:
    """A function of an item that waits for the item's key. Each kind defines `at` and `in_pass`."""

    __slots__ = ()

    @property
    def inner(self) -> Iterable[ItemFunction]:
        """The functions that it calls, where they are bound to the run by themselves."""
        return ()

    def at(self, key: Key) -> Callable[..., Any]:
        """The function for the item with this key."""
        raise NotImplementedError

    def in_pass(self, pass_: int) -> Keyed:
        """The same in another pass over the source, where it draws other numbers."""
        raise NotImplementedError


class Blames:
    """A function of an item that says itself where its errors come from."""

    __slots__ = ()

    def blame(self, error: Exception, key: Key, value: Any) -> None:
        """Note on the error that it was raised for this item."""

    def misplaced(self, error: StopIteration, value: Any) -> RuntimeError:
        """The error instead of one that would end the stream."""
        return RuntimeError(repr(error))


class NeedsRng(Keyed):
    """A function of an item that waits for the item's random generator."""

    __slots__ = ('make', 'parts', 'seed', 'step_key')

    def __init__(self, make: Callable[..., Callable[..., Any]], parts: tuple[Any, ...], seed: StepSeed | None = None):
        self.make, self.parts, self.seed = make, parts, seed
        self.step_key = None if seed is None else seed.key

    def at(self, key: Key) -> Callable[..., Any]:
        parts = [part.at(key) if isinstance(part, NeedsRng) else part for part in self.parts]
        return self.make(*parts) if self.step_key is None else self.make(generator(self.step_key, key), *parts)

    def in_pass(self, pass_: int) -> NeedsRng:
        parts = tuple(part.in_pass(pass_) if isinstance(part, NeedsRng) else part for part in self.parts)
        return NeedsRng(self.make, parts, self.seed and self.seed._replace(pass_=pass_))


class Each(Keyed, Blames):
    """A function of the items of a batch: each is called with its own key, and says itself what it raises."""

    __slots__ = ('function',)

    def __init__(self, function: ItemFunction):
        self.function = function

    @property
    def inner(self) -> Iterable[ItemFunction]:
        return (self.function,)

    def at(self, key: Any) -> Callable[[Any], list[Any]]:
        return lambda values: [self.function(part, value) for part, value in zip(key, values, strict=True)]

    def in_pass(self, pass_: int) -> Each:
        return Each(self.function.in_pass(pass_))

    def together_with(self, call: Any) -> Each | None:
        """One call for this and the next one, if that takes less."""
        return None


class ItemFunction:
    """Item-wise steps bound to a run: the one way in which a function of an item is called, wherever it runs.

    It belongs to one step. The first `lead` of its calls are of steps before that.
    """

    __slots__ = ('calls', 'keyed', 'lead', 'names', 'pass_', 'place', 'resource')

    resource: Resource | None
    """What each worker has to open before its first call."""
    takes_setup: ClassVar[bool] = True
    """Whether users can give a `setup`."""
    place: int | None
    """Which of the functions of the pipeline it is. It is the same in each pass."""

    def __init__(self, calls: Iterable[Any], names: Iterable[str], lead: int = 0, pass_: int = 0):
        self.calls, self.names, self.lead, self.pass_ = list(calls), list(names), lead, pass_
        self.keyed = any(isinstance(call, Keyed) for call in self.calls)
        self.place = self.resource = None

    def after(self, first: ItemFunction) -> ItemFunction:
        """This function of what the first one makes of an item."""
        calls, names, lead = first.calls + self.calls, first.names + self.names, len(first.calls)
        last = calls[lead - 1] if 0 < lead < len(calls) else None
        if isinstance(last, Each) and (both := last.together_with(calls[lead])) is not None:
            calls[lead - 1 : lead + 1], names[lead - 1 : lead] = [both], []
        function = ItemFunction(calls, names, lead + self.lead, self.pass_)
        function.place = self.place
        return function

    @property
    def where(self) -> str:
        """What its own steps look like."""
        return ' | '.join(filter(None, self.names[self.lead :])) or 'parallel_map'

    @property
    def places(self) -> list[str]:
        """Where its errors may come from, as these name it: the steps, and sources in which items are looked up."""
        places = []
        for call in self.calls:
            if isinstance(call, Keyed) and call.inner:
                places += [place for function in call.inner for place in function.places]
            else:
                places.append(getattr(call, 'described', '') or self.name(call))
        return places

    def split(self) -> tuple[ItemFunction, ItemFunction]:
        """Two functions: of the steps before its own, and of its own."""
        own = ItemFunction(self.calls[self.lead :], self.names[self.lead :], pass_=self.pass_)
        own.place, own.resource = self.place, self.resource
        return ItemFunction(self.calls[: self.lead], self.names[: self.lead], pass_=self.pass_), own

    def in_pass(self, pass_: int) -> ItemFunction:
        """The same in another pass over the source, where it draws other random numbers."""
        if pass_ == self.pass_ or not self.keyed:
            return self
        function = copy(self)
        function.pass_ = pass_
        function.calls = [call.in_pass(pass_) if isinstance(call, Keyed) else call for call in self.calls]
        return function

    def apart(self) -> ItemFunction:
        """The same, to be stopped by itself."""
        return self

    def stop(self) -> None:
        """Break what waits within a call; from any thread."""

    def count_retries(self, retried: list[None]) -> None:
        """Put something there each time that a call is made again. Only in this process."""

    def __call__(self, key: Key, value: Any) -> Any:
        call = None
        try:
            if self.keyed:
                for call in self.calls:
                    value = call.at(key)(value) if isinstance(call, Keyed) else call(value)
            else:
                for call in self.calls:
                    value = call(value)
            return value
        except StopIteration as error:
            raise self.misplaced(error, call, key, value) from error
        except Exception as error:
            self.blame(error, call, key, value)
            raise

    def blame(self, error: Exception, call: Any, key: Key, value: Any) -> None:
        """Note on the error that it comes from this one of the calls, which got this value."""
        if isinstance(call, Blames):
            call.blame(error, key, value)
        else:
            note(error, self.name(call), key)
            note_arguments(error, value)

    def misplaced(self, error: StopIteration, call: Any, key: Key, value: Any) -> RuntimeError:
        """The error instead of one that would end the stream as if there were no more items."""
        if isinstance(call, Blames):
            instead = call.misplaced(error, value)
        else:
            instead = RuntimeError(f'{self.name(call)}: the function raised {error!r}')
        self.blame(instead, call, key, value)
        return instead

    def name(self, call: Any) -> str:
        """What the step with this one of the calls looks like."""
        return next(name for name, each in zip(self.names, self.calls, strict=True) if each is call)


NOTHING: Final = ItemFunction((), ())
"""The function that returns the item."""


def item_function(steps: Iterable[ItemStep | EachStep], seeds: Seeds) -> ItemFunction:
    """The function of these steps, bound to a run."""
    calls, names = [], []
    for step in steps:
        if isinstance(step, EachStep) and not step.steps:
            continue
        calls.append(Each(item_function(step.steps, seeds)) if isinstance(step, EachStep) else bind_step(step, seeds))
        names.append(step.name if isinstance(step, EachStep) else format_step(step))
    function = ItemFunction(calls, names, pass_=seeds.pass_)
    function.place = seeds.next_place()
    return function


def bind_step(step: ItemStep, seeds: Seeds) -> Any:
    """The step's function of an item, `NeedsRng` where it or one of its functions is random."""
    seed = seeds.next_step(step.draws) if step.draws else None
    parts = tuple(bind(function, seeds) for function in step.functions)
    if step.draws or any(isinstance(part, NeedsRng) for part in parts):
        return NeedsRng(step.make, parts, seed)
    return step.make(*parts)


def bind(function: Function, seeds: Seeds) -> Any:
    """The function with its arguments, `NeedsRng` where it is random."""
    if callable(function.target):
        call: Any = function.target
    else:
        calls = tuple(bind_step(step, seeds) for step in function.target)
        if len(calls) == 1:
            call = calls[0]
        else:
            from toolz import compose_left  # takes a while to import, and is needed by nested stages only

            call = (
                NeedsRng(compose_left, calls) if any(isinstance(c, NeedsRng) for c in calls) else compose_left(*calls)
            )
    if not function.args and not function.kwargs:
        return call
    extend = partial(_extended, function.args, function.kwargs)
    return NeedsRng(extend, (call,)) if isinstance(call, NeedsRng) else extend(call)


def _extended(args: tuple[Any, ...], kwargs: dict[str, Any], call: Callable[..., Any]) -> Callable[..., Any]:
    return partial(_call, call, args, kwargs)


def _call(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /, *item: Any, **named: Any) -> Any:
    return call(*item, *args, **named, **kwargs)


def bind_option(option: Any, step: Step, seeds: Seeds, stop: Stop) -> Any:
    """What a step's `work` gets for one of its options."""
    if isinstance(option, Seed):
        return Draws(seeds.next(option.name, option.seed))
    if isinstance(option, tuple) and option and isinstance(option[0], (ItemStep, EachStep)):
        arguments = {'args': step.args, 'kwargs': step.kwargs}
        return item_function((item._replace(**arguments) if item.name == step.name else item for item in option), seeds)
    if option is AS_WRITTEN:
        return format_step(step)
    if option is PASS:
        return seeds.pass_
    return stop if option is STOP else option
