"""What is written down of a trial: the stages, and the calls of their functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, process_time, thread_time
from typing import Any, Final

from itpipe._core.keys import Key
from itpipe._core.steps import Opaque, Pair, Stateless
from itpipe._engine.branches import Branched
from itpipe._engine.functions import ItemFunction
from itpipe._workers.opening import Workers

from .comparing import change
from .copying import UNKNOWN, copied, is_large
from .global_states import GlobalStates

__all__ = ['BATCHING', 'Budget', 'Call', 'Seen', 'Watch']

BATCHING: Final = ('batch_by', 'bucket_by')
"""Stages that make lists of items."""

SPARE: Final = 30
"""So many more items are looked at where a stage leaves some out, or asks for more before it gives anything."""


@dataclass(eq=False)
class Call:
    """A call of one of the user's functions."""

    key: Any
    """None for what is no call for an item."""
    given: Any
    """A copy of what it got, made before; UNKNOWN if it could not be copied."""
    got: Any
    """What it got, which it may have changed."""
    result: Any = UNKNOWN
    made: Any = UNKNOWN
    """A copy of the result, made at once."""
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds at work in this thread …"""
    cpu_of_all: float = 0.0
    """… and in all threads of the process."""
    changed: str | None = None
    """What it changed in what it got."""
    drew: tuple[str, ...] = ()
    """The global generators that it has used."""
    error: Exception | None = None


@dataclass(eq=False)
class Seen:
    """What was seen of one stage; a stage of a `parallel_map` of several stages is one, too."""

    stage: str
    """As it was written."""
    step: Any
    """None for a source."""
    branch: tuple[int, ...]
    function: ItemFunction | None = None
    """What is called for an item; None for stages without such a function."""
    unused: ItemFunction | None = None
    """The same function, of the user's own objects, which the trial leaves alone. None for a source."""
    workers: Workers | None = None
    """Who does it; None for the thread of the run."""
    sequence: Any = None
    """What a source looks its items up in, or iterates."""
    source: Any = None
    original: Any = None
    """The `sequence` that is the user's own; that of the trial is a copy."""
    calls: list[Call] = field(default_factory=list)
    out: list[Pair] = field(default_factory=list)
    scale: float = 1.0
    """How many times as many items are in a batch as there were in the trial."""
    ended: bool = False
    """Whether a source has given all that it has."""
    size: int | None = None
    """How many items a batch of it has in a run."""
    holds_indices: bool = False
    """Whether it gets indices in a run, which are looked up behind it."""
    before: list[Seen] = field(default_factory=list)
    """The stages that its items come from, in order."""

    @property
    def is_source(self) -> bool:
        return self.step is None

    @property
    def source_is_joined(self) -> bool:
        """Whether it is a source that is made of streams."""
        return isinstance(self.source, Branched)

    @property
    def in_processes(self) -> bool:
        """Whether processes do it."""
        return self.where == 'processes'

    @property
    def where(self) -> str:
        """The kind of the workers that do it."""
        if self.workers is not None:
            return self.workers.kind
        elsewhere = getattr(self.step, 'elsewhere', None)  # that of `interleave`
        return 'processes' if elsewhere is not None and elsewhere.kind == 'processes' else 'this thread'

    @property
    def batched_by(self) -> Seen | None:
        """The stage in front of it that makes lists of items; None if there is none, or they are single items again."""
        batches = None
        for seen in self.before:
            if seen.branch == self.branch and seen.written in BATCHING:
                batches = seen
            elif seen.written in ('flatten', 'interleave', 'pack') or isinstance(seen.step, Opaque):
                batches = None
        return batches

    @property
    def written(self) -> str:
        """The name of the step; empty for a source."""
        return '' if self.step is None else self.step.name


class Budget:
    """How many items a source still gives."""

    def __init__(self, items: int):
        self.left, self.spare = items, SPARE

    def more(self) -> None:
        if self.spare:
            self.spare -= 1
            self.left += 1


class Watch:
    """Calls functions, and writes down what they do. Of a generator of the user's, it sees what it draws."""

    def __init__(self) -> None:
        self._state = GlobalStates()

    def begin(self) -> None:
        """What is drawn from now on, is drawn by what runs now."""
        self._state = GlobalStates()

    def note(self, seen: Seen) -> None:
        """If something was drawn since then, this stage has drawn it."""
        now = GlobalStates()
        if isinstance(seen.step, (Opaque, Stateless)) and (drew := self._state.moved(now)):
            seen.calls.append(Call(None, UNKNOWN, None, drew=drew))
        self._state = now

    def call(self, seen: Seen, key: Key, value: Any) -> Call:
        """Call the function of the stage."""
        assert seen.function is not None
        first = not seen.calls
        call = Call(key, copied(value) if first or not is_large(value) else UNKNOWN, value)
        seen.calls.append(call)
        function = seen.function
        try:
            call.result = self.timed(call, lambda: function(key, value))
        except Exception as error:
            call.error = error
        else:
            call.made = copied(call.result) if first or not is_large(call.result) else UNKNOWN
            call.changed = None if call.given is UNKNOWN else change(call.given, value)
        return call

    def timed(self, call: Call, function: Callable[[], Any]) -> Any:
        """What the function returns; the call knows how long it took, and what it drew."""
        before = GlobalStates()
        begun, cpu, cpu_of_all = perf_counter(), thread_time(), process_time()
        try:
            return function()
        finally:
            call.seconds, call.cpu = perf_counter() - begun, thread_time() - cpu
            call.cpu_of_all = process_time() - cpu_of_all
            self._state = GlobalStates()
            call.drew = before.moved(self._state)
