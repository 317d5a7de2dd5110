"""A description and a seed make functions: what a step calls, with the random generators it needs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from .keys import Key, describe
from .rng import Draws, fresh_seed, generator, step_word
from .stalls import Party
from .steps import STOP, Function, ItemStep, Seed, show
from .tracebacks import add_note, notes_of

if TYPE_CHECKING:
    from .errors import Dropped
    from .resources import Resource

__all__ = ['KEPT', 'Drawn', 'ItemFunction', 'Sites', 'Stop', 'bind_option', 'note', 'noted', 'remark']


KEPT = 10_000
"""The most dropped items of which a run remembers the errors."""


MOST_NOTES = 16
"""On one error, which a function may keep and raise for every item."""


def note(error: BaseException, where: str, key: Key | None) -> None:
    """Say on the error which stage and which item it comes from; the error stays what it was."""
    remark(error, f'itpipe: raised in {where}' + ('' if key is None else f', {describe(key)}'))


def remark(error: BaseException, text: str) -> None:
    """Say something more on the error, if it is not said there yet."""
    notes = notes_of(error)
    if text not in notes and len(notes) < MOST_NOTES:  # the same one may be raised again and again
        add_note(error, text)


def close_after(error: BaseException, close: Callable[[], object]) -> None:
    """Close because of an error, which stays the one that is raised: what closing raises is noted on it."""
    try:
        close()
    except Exception as second:
        add_note(error, f'itpipe: closing raised {second!r} as well')


def noted(error: BaseException) -> bool:
    """Whether it is said on the error where it comes from."""
    return any(isinstance(text, str) and text.startswith('itpipe: raised in ') for text in notes_of(error))


class Sites:
    """Numbers the random steps in reading order and gives each its word.

    A step's own seed comes first, then the run's (`seed`), then that of the source it stands behind (`fallback`), and
    fresh entropy, drawn once, where there is none (`entropy`: that of a run that goes on).
    """

    def __init__(
        self, seed: int | None = None, pass_: int = 0, fallback: int | None = None, entropy: int | None = None
    ):
        self._given, self._fallback = seed, fallback
        self.pass_ = pass_
        self._fresh: list[int] = [] if entropy is None else [entropy]
        self._count = [0]

    @property
    def number(self) -> int:
        """How many random steps there were so far."""
        return self._count[0]

    @property
    def seeded(self) -> bool:
        """Whether steps that have no seed of their own get one that was given."""
        return self._given is not None or self._fallback is not None

    @property
    def seed(self) -> int:
        """The seed of the steps that have none of their own."""
        for seed in (self._given, self._fallback):
            if seed is not None:
                return seed
        if not self._fresh:
            self._fresh.append(fresh_seed())
        return self._fresh[0]

    @property
    def entropy(self) -> int | None:
        """The entropy that was drawn; None for none."""
        return self._fresh[0] if self._fresh else None

    def next(self, seed: int | None = None) -> int:
        """The word of the next random step."""
        self._count[0] += 1
        return step_word(self.seed if seed is None else seed, self._count[0] - 1, self.pass_)

    def branch(self, fallback: int | None) -> Sites:
        """The sites of a stream within this one: numbered on, with its own source."""
        sites = copy(self)
        sites._fallback = self._fallback if fallback is None else fallback
        return sites

    def again(self, number: int) -> Sites:
        """The same sites from the one with this number on."""
        sites = copy(self)
        sites._count = [number]
        return sites


class Drawn:
    """A function of an item that waits for the item's random generator."""

    __slots__ = ('make', 'parts', 'word')

    def __init__(self, make: Callable[..., Callable[..., Any]], parts: tuple[Any, ...], word: int | None = None):
        self.make, self.parts, self.word = make, parts, word

    def at(self, key: Key) -> Callable[..., Any]:
        """The function for the item with this key."""
        parts = [part.at(key) if isinstance(part, Drawn) else part for part in self.parts]
        return self.make(*parts) if self.word is None else self.make(generator(self.word, key), *parts)


class ItemFunction:
    """Item-wise steps bound to a run: the one way in which a function of an item is called, wherever it runs."""

    __slots__ = ('calls', 'names', 'random', 'resource')

    resource: Resource | None
    """What each worker has to open before its first call."""

    def __init__(self, steps: Iterable[ItemStep], sites: Sites):
        steps = tuple(steps)
        self.calls = [bind_step(step, sites) for step in steps]
        self.names = [show(step) for step in steps]
        self.random = any(isinstance(call, Drawn) for call in self.calls)
        self.resource = None

    def stop(self) -> None:
        """Break what waits within a call; from any thread."""

    def __call__(self, key: Key, value: Any) -> Any:
        call = None
        try:
            if self.random:
                for call in self.calls:
                    value = call.at(key)(value) if type(call) is Drawn else call(value)
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


def bind_step(step: ItemStep, sites: Sites) -> Any:
    """The step's function of an item, `Drawn` where it or one of its functions is random."""
    word = sites.next() if step.draws else None
    parts = tuple(bind(function, sites) for function in step.functions)
    if step.draws or any(isinstance(part, Drawn) for part in parts):
        return Drawn(step.make, parts, word)
    return step.make(*parts)


def bind(function: Function, sites: Sites) -> Any:
    """The function with its arguments, `Drawn` where it is random."""
    if callable(function.target):
        call: Any = function.target
    else:
        calls = tuple(bind_step(step, sites) for step in function.target)
        if len(calls) == 1:
            call = calls[0]
        else:
            from toolz import compose_left  # takes a while to import, and is needed by nested stages only

            call = Drawn(compose_left, calls) if any(isinstance(c, Drawn) for c in calls) else compose_left(*calls)
    if not function.args and not function.kwargs:
        return call
    extend = partial(_extended, function.args, function.kwargs)
    return Drawn(extend, (call,)) if isinstance(call, Drawn) else extend(call)


def _extended(args: tuple[Any, ...], kwargs: dict[str, Any], call: Callable[..., Any]) -> Callable[..., Any]:
    return partial(_call, call, args, kwargs)


def _call(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /, *item: Any, **named: Any) -> Any:
    return call(*item, *args, **named, **kwargs)


class Stop:
    """Breaks, from any thread, the waits of a run: all `parties` that it may be waiting for are stopped once.

    Being all that the steps of a run have in common, it has the list of what was `dropped`, too.
    """

    def __init__(self, dropped: deque[Dropped] | None = None) -> None:
        self.dropped: deque[Dropped] = deque(maxlen=KEPT) if dropped is None else dropped
        self.parties: list[Party] = []
        self.called = False
        self.stall_timeout: float | None = None
        """For stages that have none of their own."""

    def add(self, party: Party) -> None:
        self.parties.append(party)
        if self.called:
            party.stop()

    def remove(self, party: Party) -> None:
        self.parties.remove(party)  # in place: another thread may be adding one

    def threads(self, above: Party | None = None) -> list[threading.Thread]:
        """Those of all parties, or of the ones that were added after this one: it may wait for them."""
        parties = self.parties[:] if above is None else self.parties[self.parties.index(above) + 1 :]
        return [thread for party in parties for thread in party.threads]

    def check(self) -> None:
        """Raise an error if the run was stopped; for whoever calls the user's functions without giving anything out."""
        if self.called:
            raise RuntimeError('the run was closed while an item was awaited')

    def __call__(self) -> None:
        self.called = True
        for party in list(self.parties):
            party.stop()


def bind_option(option: Any, sites: Sites, stop: Stop) -> Any:
    """What a step's `work` gets for one of its options."""
    if isinstance(option, Seed):
        return Draws(sites.next(option.seed))
    if isinstance(option, tuple) and option and isinstance(option[0], ItemStep):
        return ItemFunction(option, sites)
    return stop if option is STOP else option
