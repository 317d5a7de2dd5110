"""A description and a seed make functions: what a step calls, with the random generators it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from itpipe._core.keys import Key
from itpipe._core.notes import note
from itpipe._core.rng import Draws, generator
from itpipe._core.show import format_step, same
from itpipe._core.steps import AS_WRITTEN, STOP, Function, ItemStep, Seed, Step

from .seeds import Seeds, StepSeed
from .waiting import Stop

if TYPE_CHECKING:
    from .resources import Resource

__all__ = ['ItemFunction', 'NeedsRng', 'bind_option']


class NeedsRng:
    """A function of an item that waits for the item's random generator."""

    __slots__ = ('make', 'parts', 'seed', 'step_key')

    def __init__(self, make: Callable[..., Callable[..., Any]], parts: tuple[Any, ...], seed: StepSeed | None = None):
        self.make, self.parts, self.seed = make, parts, seed
        self.step_key = None if seed is None else seed.key

    def at(self, key: Key) -> Callable[..., Any]:
        """The function for the item with this key."""
        parts = [part.at(key) if isinstance(part, NeedsRng) else part for part in self.parts]
        return self.make(*parts) if self.step_key is None else self.make(generator(self.step_key, key), *parts)

    def in_pass(self, pass_: int) -> NeedsRng:
        """The same in another pass over the source, where it draws other numbers."""
        parts = tuple(part.in_pass(pass_) if isinstance(part, NeedsRng) else part for part in self.parts)
        return NeedsRng(self.make, parts, self.seed and self.seed._replace(pass_=pass_))

    def drawn(self) -> Iterator[tuple[Any, ...]]:
        """What the draws in it depend on, apart from the pass and the item."""
        if self.seed is not None:
            yield self.seed[:-1]
        for part in self.parts:
            if isinstance(part, NeedsRng):
                yield from part.drawn()


class ItemFunction:
    """Item-wise steps bound to a run: the one way in which a function of an item is called, wherever it runs."""

    __slots__ = ('calls', 'described', 'names', 'pass_', 'random', 'resource')

    resource: Resource | None
    """What each worker has to open before its first call."""
    described: tuple[Any, ...]
    """What it was made of, apart from the pass. It stays in this process."""

    def __init__(self, steps: Iterable[ItemStep], seeds: Seeds):
        steps = tuple(steps)
        self.pass_ = seeds.pass_
        self.calls = [bind_step(step, seeds) for step in steps]
        self.names = [format_step(step) for step in steps]
        self.random = any(isinstance(call, NeedsRng) for call in self.calls)
        self.described = steps, [seed for call in self.calls if isinstance(call, NeedsRng) for seed in call.drawn()]
        self.resource = None

    def is_like(self, other: ItemFunction) -> bool:
        """Whether it is the same function, perhaps in another pass."""
        return same(self.described, other.described)

    def in_pass(self, pass_: int) -> ItemFunction:
        """The same in another pass over the source, where it draws other random numbers."""
        if pass_ == self.pass_ or not self.random:
            return self
        function = copy(self)
        function.pass_ = pass_
        function.calls = [call.in_pass(pass_) if isinstance(call, NeedsRng) else call for call in self.calls]
        return function

    def __getstate__(self) -> Any:
        return None, {name: getattr(self, name) for name in ItemFunction.__slots__ if name != 'described'}

    def stop(self) -> None:
        """Break what waits within a call; from any thread."""

    def __call__(self, key: Key, value: Any) -> Any:
        call = None
        try:
            if self.random:
                for call in self.calls:
                    value = call.at(key)(value) if type(call) is NeedsRng else call(value)
            else:
                for call in self.calls:
                    value = call(value)
            return value
        except StopIteration as error:
            raise self.misplaced(error, call, key) from error
        except Exception as error:
            self.blame(error, call, key)
            raise

    def blame(self, error: Exception, call: Any, key: Key) -> None:
        """Note on the error that it comes from this one of the calls."""
        note(error, self.name(call), key)

    def misplaced(self, error: StopIteration, call: Any, key: Key) -> RuntimeError:
        """The error instead of one that would end the stream as if there were no more items."""
        instead = RuntimeError(f'{self.name(call)}: the function raised {error!r}')
        self.blame(instead, call, key)
        return instead

    def name(self, call: Any) -> str:
        """What the step with this one of the calls looks like."""
        return next(name for name, each in zip(self.names, self.calls, strict=True) if each is call)


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
    if isinstance(option, tuple) and option and isinstance(option[0], ItemStep):
        arguments = {'args': step.args, 'kwargs': step.kwargs}
        return ItemFunction((item._replace(**arguments) if item.name == step.name else item for item in option), seeds)
    if option is AS_WRITTEN:
        return format_step(step)
    return stop if option is STOP else option
